//! Lines out of bytes as they arrive: a live pipe's last lines must not wait for a full buffer, so
//! a thread of its own reads and this side can tell "nothing yet" from "nothing more".

use std::{
    io::{self, BufRead},
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    time::Duration,
};

/// Chunks between the threads: enough to overlap reading with appending, and little memory.
const CHUNKS: usize = 16;

/// What comes next.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// A line is in [`Lines::line`].
    Line,
    /// The input has nothing more for now.
    Pause,
    /// The input has ended.
    End,
}

/// The lines of an input, counted from 1.
pub(super) struct Lines {
    chunks: Receiver<io::Result<Vec<u8>>>,
    chunk: Vec<u8>,
    at: usize,
    line: Vec<u8>,
    /// Bytes of the line, also those that were not kept.
    length: u64,
    number: u64,
    line_bytes_max: usize,
    complete: bool,
    ended: bool,
}

impl Lines {
    /// Starts reading. Of a line longer than `line_bytes_max` only so much is kept.
    pub(super) fn new(input: impl BufRead + Send + 'static, line_bytes_max: usize) -> Self {
        let (sender, chunks) = sync_channel(CHUNKS);
        // Detached: it may stand in a read that never ends, and ends at the first chunk that nobody
        // takes any more.
        std::thread::spawn(move || read_chunks(input, &sender));
        Self {
            chunks,
            chunk: Vec::new(),
            at: 0,
            line: Vec::new(),
            length: 0,
            number: 0,
            line_bytes_max,
            complete: true,
            ended: false,
        }
    }

    /// Moves to the next line, waiting up to `patience` for it (0: not at all).
    ///
    /// # Errors
    /// What reading said; the line that it broke off in is not handed out.
    pub(super) fn next(&mut self, patience: Duration) -> io::Result<Next> {
        if self.complete {
            self.line.clear();
            self.length = 0;
            self.complete = false;
        }
        loop {
            let rest = &self.chunk[self.at..];
            if let Some(end) = memchr::memchr(b'\n', rest) {
                keep(&mut self.line, &rest[..end], self.line_bytes_max + 1);
                self.length += end as u64;
                self.at += end + 1;
                return Ok(self.finish());
            }
            keep(&mut self.line, rest, self.line_bytes_max + 1);
            self.length += rest.len() as u64;
            self.at = self.chunk.len();
            if self.ended {
                return Ok(if self.length > 0 {
                    self.finish()
                } else {
                    Next::End
                });
            }
            match self.chunks.recv_timeout(patience) {
                Ok(chunk) => {
                    self.chunk = chunk?;
                    self.at = 0;
                }
                Err(RecvTimeoutError::Timeout) => return Ok(Next::Pause),
                Err(RecvTimeoutError::Disconnected) => {
                    self.chunk.clear();
                    self.at = 0;
                    self.ended = true;
                }
            }
        }
    }

    fn finish(&mut self) -> Next {
        if self.length == self.line.len() as u64 && self.line.last() == Some(&b'\r') {
            self.line.pop();
            self.length -= 1;
        }
        self.number += 1;
        self.complete = true;
        Next::Line
    }

    /// The line without its end (`\n` or `\r\n`); of a longer one than allowed what was kept.
    pub(super) fn line(&self) -> &[u8] {
        &self.line[..self.line.len().min(self.line_bytes_max)]
    }

    /// The line's whole length in bytes.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// The line's number, from 1.
    pub(super) fn number(&self) -> u64 {
        self.number
    }
}

/// One byte more than the bound is kept, so that a `\r` right behind it is still told from a longer
/// line.
fn keep(line: &mut Vec<u8>, bytes: &[u8], max: usize) {
    let room = max.saturating_sub(line.len());
    line.extend_from_slice(&bytes[..bytes.len().min(room)]);
}

fn read_chunks(mut input: impl BufRead, chunks: &SyncSender<io::Result<Vec<u8>>>) {
    loop {
        let chunk = match input.fill_buf() {
            Ok([]) => return,
            Ok(bytes) => Ok(bytes.to_vec()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => Err(e),
        };
        let taken = chunk.as_ref().map_or(0, Vec::len);
        let failed = chunk.is_err();
        if chunks.send(chunk).is_err() || failed {
            return;
        }
        input.consume(taken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufReader, Cursor, Read};

    const LONG: Duration = Duration::from_secs(30);

    fn all(input: &[u8], buffer: usize, max: usize) -> Vec<(u64, Vec<u8>, u64)> {
        let input = BufReader::with_capacity(buffer, Cursor::new(input.to_vec()));
        let mut lines = Lines::new(input, max);
        let mut out = Vec::new();
        while lines.next(LONG).expect("readable") == Next::Line {
            out.push((lines.number(), lines.line().to_vec(), lines.length()));
        }
        out
    }

    #[test]
    fn ends_are_taken_off_and_nothing_else() {
        for buffer in [1, 2, 3, 7, 1000] {
            let lines = all(b"a\r\n\n\r\n b \r\r\nlast", buffer, 100);
            let texts: Vec<&[u8]> = lines.iter().map(|(_, line, _)| &line[..]).collect();
            assert_eq!(texts, [&b"a"[..], b"", b"", b" b \r", b"last"]);
            assert_eq!(lines[4].0, 5);
        }
        assert_eq!(all(b"", 10, 100), []);
        assert_eq!(all(b"x\n", 10, 100).len(), 1);
    }

    #[test]
    fn a_long_line_keeps_its_bound_and_its_length() {
        for buffer in [1, 3, 1000] {
            let lines = all(b"abcd\nabcde\nabcd\r\nabcdefghij\r\nz\n", buffer, 4);
            let seen: Vec<(&[u8], u64)> = lines.iter().map(|(_, l, n)| (&l[..], *n)).collect();
            assert_eq!(seen[0], (&b"abcd"[..], 4));
            assert_eq!(seen[1], (&b"abcd"[..], 5));
            assert_eq!(seen[2], (&b"abcd"[..], 4), "the end is no part of it");
            assert_eq!(seen[3].0, b"abcd");
            assert!(seen[3].1 >= 10);
            assert_eq!(seen[4], (&b"z"[..], 1));
        }
    }

    #[test]
    fn a_pipe_that_has_nothing_yet_is_not_at_its_end() {
        let (mut writer, reader) = {
            let (reader, writer) = io::pipe().expect("a pipe");
            (writer, BufReader::new(reader))
        };
        let mut lines = Lines::new(reader, 100);
        io::Write::write_all(&mut writer, b"one\ntw").expect("written");
        assert_eq!(lines.next(LONG).expect("readable"), Next::Line);
        assert_eq!(
            lines.next(Duration::from_millis(20)).expect("readable"),
            Next::Pause
        );
        io::Write::write_all(&mut writer, b"o").expect("written");
        drop(writer);
        assert_eq!(lines.next(LONG).expect("readable"), Next::Line);
        assert_eq!(lines.line(), b"two");
        assert_eq!(lines.next(LONG).expect("readable"), Next::End);
    }

    #[test]
    fn an_input_that_fails_says_so() {
        struct Broken(bool);
        impl Read for Broken {
            fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
                if self.0 {
                    return Err(io::Error::other("torn cable"));
                }
                self.0 = true;
                out[..6].copy_from_slice(b"a\nhalf");
                Ok(6)
            }
        }
        let mut lines = Lines::new(BufReader::new(Broken(false)), 100);
        assert_eq!(lines.next(LONG).expect("readable"), Next::Line);
        assert_eq!(
            lines.next(LONG).expect_err("broken").to_string(),
            "torn cable"
        );
    }
}
