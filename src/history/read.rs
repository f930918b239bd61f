//! Reads histories back.

use super::Line;
use std::{
    collections::HashMap,
    io::{self, BufRead},
};

/// A history that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file itself.
    #[error("cannot read `{name}`: {error}")]
    Io {
        /// Which file.
        name: String,
        /// Why.
        error: io::Error,
    },
    /// A line that is none, and that is not the last one of a worker that died writing it.
    #[error(
        "`{name}` line {line} is not a history line ({why}): the file was damaged or is no history"
    )]
    NotALine {
        /// Which file.
        name: String,
        /// From 1.
        line: u64,
        /// What the parser said.
        why: String,
    },
}

/// Lines of a reader, called `name` in errors.
///
/// A worker that is killed may leave its last line torn, at the end of the file or, where other
/// workers append to the same file, in its middle or before the beginning of another's line; that
/// torn line is ignored. A torn line whose worker goes on is an error, and so is text that does not
/// begin as a line does.
pub fn read_lines<R: BufRead>(reader: R, name: &str) -> Lines<R> {
    Lines {
        reader,
        name: name.to_owned(),
        number: 0,
        buffer: Vec::new(),
        seqs: HashMap::new(),
        torn: Vec::new(),
        over: false,
    }
}

/// Iterator of [`read_lines`].
#[derive(Debug)]
pub struct Lines<R> {
    reader: R,
    name: String,
    number: u64,
    buffer: Vec<u8>,
    /// The last `seq` of each worker.
    seqs: HashMap<String, u64>,
    torn: Vec<Torn>,
    over: bool,
}

/// A line without an end.
#[derive(Debug)]
struct Torn {
    line: u64,
    why: String,
    /// Where it is torn behind its `worker` field.
    worker: Option<String>,
}

/// Every line begins so; within JSON strings quotes are escaped, so it stands nowhere else.
const BEGIN: &[u8] = b"{\"t\":";

impl<R: BufRead> Lines<R> {
    fn step(&mut self) -> Result<Option<Line<'static>>, ReadError> {
        loop {
            self.buffer.clear();
            let length = self
                .reader
                .read_until(b'\n', &mut self.buffer)
                .map_err(|error| ReadError::Io {
                    name: self.name.clone(),
                    error,
                })?;
            if length == 0 {
                return Ok(None);
            }
            self.number += 1;
            if self.buffer.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            if let Some(line) = self.parse()? {
                self.continues(&line)?;
                return Ok(Some(line));
            }
        }
    }

    /// The line in the buffer, or the whole line behind a torn one; `None`: torn.
    fn parse(&mut self) -> Result<Option<Line<'static>>, ReadError> {
        let why = match serde_json::from_slice::<Line<'_>>(&self.buffer) {
            Ok(line) => return Ok(Some(line.into_owned())),
            Err(error) => error.to_string(),
        };
        let begins = self
            .buffer
            .windows(BEGIN.len())
            .rposition(|part| part == BEGIN);
        let behind = begins.filter(|&at| at > 0).and_then(|at| {
            let line = serde_json::from_slice::<Line<'_>>(&self.buffer[at..]).ok()?;
            Some((at, line.into_owned()))
        });
        let torn = match &behind {
            Some((at, _)) => &self.buffer[..*at],
            None => self.buffer.trim_ascii_end(),
        };
        // Whole JSON that is no line of ours was never torn.
        let whole = serde_json::from_slice::<serde::de::IgnoredAny>(torn).is_ok();
        if whole || !(torn.starts_with(BEGIN) || BEGIN.starts_with(torn)) {
            return Err(self.not_a_line(self.number, why));
        }
        self.torn.push(Torn {
            line: self.number,
            why,
            worker: worker_of(torn),
        });
        Ok(behind.map(|(_, line)| line))
    }

    /// Notes the line, unless its worker has left a torn line before it.
    fn continues(&mut self, line: &Line<'_>) -> Result<(), ReadError> {
        let last = self.seqs.get_mut(&*line.worker);
        let gap = line.seq > 1 && last.as_ref().is_none_or(|last| **last + 1 != line.seq);
        match last {
            Some(last) => *last = line.seq,
            None => {
                self.seqs.insert(line.worker.clone().into_owned(), line.seq);
            }
        }
        let its = self.torn.iter().find(|torn| match &torn.worker {
            Some(worker) => *worker == line.worker,
            None => gap,
        });
        match its {
            Some(torn) => Err(self.not_a_line(torn.line, torn.why.clone())),
            None => Ok(()),
        }
    }

    fn not_a_line(&self, line: u64, why: String) -> ReadError {
        ReadError::NotALine {
            name: self.name.clone(),
            line,
            why,
        }
    }
}

/// The worker of a torn line, where the line goes that far.
fn worker_of(torn: &[u8]) -> Option<String> {
    const FIELD: &[u8] = b"\"worker\":\"";
    let at = torn.windows(FIELD.len()).position(|part| part == FIELD)? + FIELD.len();
    let rest = &torn[at..];
    let end = rest.iter().position(|b| *b == b'"')?;
    String::from_utf8(rest[..end].to_vec()).ok()
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = Result<Line<'static>, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let next = self.step().transpose();
        self.over = !matches!(next, Some(Ok(_)));
        next
    }
}
