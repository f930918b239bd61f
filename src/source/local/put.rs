//! `put`: lines of a file or a pipe become records of a topic.
//!
//! A record's value is its line's bytes without `\n` or `\r\n`. With a key setting each line must be
//! JSON with a key in it, so an empty line is a bad one; without it lines are any bytes, records have
//! no key, and an empty line is an empty record.

use super::log::{self, Log, LogError, NewRecord, PARTITIONS_DEFAULT, Topic};
use crate::sqlite::Access;
use lines::{Lines, Next};
use sha2::{Digest, Sha256};
use std::{
    borrow::Cow,
    io::{self, BufRead},
    ops::{ControlFlow, Range},
    path::PathBuf,
    time::{Duration, Instant},
};

mod key;
mod lines;

pub use key::{KeyFrom, PointerError};

/// Most lines of one transaction.
pub const LINES_MAX: usize = 10_000;

/// Most bytes of a line without its end. A longer one is a bad line.
pub const LINE_BYTES_MAX: usize = 16 << 20;

/// A transaction holds no more than this and one line.
const CHUNK_BYTES: usize = 8 << 20;

/// How long a line of a pipe that then pauses may wait for company.
const LINGER: Duration = Duration::from_millis(50);

/// A pipe that stays silent is told about this often.
const WAITING: Duration = Duration::from_millis(200);

/// What to append where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// The log's file; created when it does not exist.
    pub path: PathBuf,
    /// The topic; created when it does not exist.
    pub topic: String,
    /// Where a line's key stands. `None`: records have no key.
    pub key: Option<KeyFrom>,
    /// Lines whose key is absent, null, or of a type that is no key become records without key,
    /// instead of being bad.
    pub no_key: bool,
    /// Partitions of the topic, which are fixed when it is created: default 8, at most 4096.
    pub partitions: Option<u32>,
    /// Lines before this one are left out: from 1, and 0 is the same.
    pub from_line: u64,
    /// What to do with bad lines.
    pub bad_lines: BadLines,
}

/// What to do with bad lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadLines {
    /// The first one ends it; all lines before it are in.
    Fail,
    /// They are handed out ([`Progress::Bad`]) and counted.
    Skip,
}

/// What happens on the way.
#[derive(Clone, Copy, Debug)]
pub enum Progress<'a> {
    /// A transaction is durable.
    Appended(&'a Summary),
    /// A bad line was left out.
    Bad(BadLine<'a>),
    /// The input has had nothing to read for a while; what came is durable.
    Waiting,
}

/// A line that is no record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadLine<'a> {
    /// From 1.
    pub number: u64,
    /// What is wrong with it.
    pub why: &'a str,
    /// Its bytes without its end; of one that is too long the first 16 MiB.
    pub line: &'a [u8],
    /// Its whole length in bytes.
    pub length: u64,
}

/// What was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Records appended, durably.
    pub records: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// Lines left out as bad.
    pub bad: u64,
    /// All lines up to this one are in, were bad, or lie before `from_line`.
    pub through_line: u64,
    /// Partitions of the topic; 0 while it is not known.
    pub partitions: u32,
    /// The callback asked to stop.
    pub stopped: bool,
}

/// Why it ended early.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// The file or the topic cannot be used so. Nothing was appended.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A bad line.
    #[error(
        "line {number} is no record: {why}. The lines before it are in: mend it and go on with `--from-line {number}`, or leave such lines out with `--bad-lines skip`"
    )]
    BadLine {
        /// From 1.
        number: u64,
        /// What is wrong with it.
        why: String,
    },
    /// The input cannot be read.
    #[error(
        "cannot read the input behind line {}: {error}. The lines up to there are in: go on with `--from-line {next}`",
        .next - 1
    )]
    Input {
        /// What reading said.
        error: io::Error,
        /// First line that is not in.
        next: u64,
    },
    /// A transaction failed, as a whole.
    #[error(
        "cannot append line {next}: {error}. The lines before it are in, and it and what follows is not: go on with `--from-line {next}`"
    )]
    Append {
        /// Why.
        error: LogError,
        /// First line that is not in.
        next: u64,
    },
    /// There are not so many lines.
    #[error("there is no line {from}: the input ends with line {lines}")]
    FromLine {
        /// Where to begin.
        from: u64,
        /// Lines of the input.
        lines: u64,
    },
}

/// The partition of a key: the first eight bytes of its SHA-256, as a big-endian number, modulo the
/// number of partitions. Without key: 0.
pub fn partition_of(key: Option<&[u8]>, partitions: u32) -> u32 {
    let Some(key) = key else {
        return 0;
    };
    let digest = Sha256::digest(key);
    let mut head = [0u8; 8];
    head.copy_from_slice(&digest[..8]);
    let partition = u64::from_be_bytes(head) % u64::from(partitions.max(1));
    u32::try_from(partition).unwrap_or(0)
}

/// Appends the lines of an input, in transactions of at most 10,000 lines; a pipe's lines are
/// durable soon after they came. `progress` may ask to stop: what was read until then is in.
///
/// The input is read on a thread of its own, which ends with the input or the next line after `put`
/// ended.
///
/// # Errors
/// See [`PutError`]: each says which lines are in and how to go on.
pub fn put(
    options: &Options,
    input: impl BufRead + Send + 'static,
    progress: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
) -> Result<Summary, PutError> {
    let log = Log::open(&options.path, Access::Create)?;
    match log.topic(&options.topic)? {
        Some(found) => drop(log::check_partitions(found, options.partitions)?),
        None => {
            let partitions = options.partitions.unwrap_or(PARTITIONS_DEFAULT);
            log::check_new(&options.topic, partitions)?;
        }
    }
    let mut put = Put {
        options,
        log,
        progress,
        chunk: Chunk::default(),
        summary: Summary::default(),
    };
    put.run(&mut Lines::new(input, LINE_BYTES_MAX))?;
    Ok(put.summary)
}

struct Put<'a> {
    options: &'a Options,
    log: Log,
    progress: &'a mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
    chunk: Chunk,
    summary: Summary,
}

/// Lines of one transaction.
#[derive(Default)]
struct Chunk {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    values: u64,
    since: Option<Instant>,
    /// The last line looked at, also when it is no record.
    through_line: u64,
}

struct Entry {
    key: Option<Range<usize>>,
    value: Range<usize>,
}

impl Put<'_> {
    fn run(&mut self, lines: &mut Lines) -> Result<(), PutError> {
        loop {
            match self.next(lines) {
                Ok(Next::Line) => self.line(lines)?,
                Ok(Next::Pause) => {
                    self.append()?;
                    self.summary.stopped |= (self.progress)(Progress::Waiting).is_break();
                }
                Ok(Next::End) => break,
                Err(error) => {
                    self.append()?;
                    let next = self.next_line();
                    return Err(PutError::Input { error, next });
                }
            }
            if self.chunk.entries.len() >= LINES_MAX || self.chunk.bytes.len() >= CHUNK_BYTES {
                self.append()?;
            }
            if self.summary.stopped {
                return self.append();
            }
        }
        self.append()?;
        let (from, lines) = (self.options.from_line, lines.number());
        if from > lines.saturating_add(1) {
            return Err(PutError::FromLine { from, lines });
        }
        if self.summary.records == 0 && !self.summary.stopped {
            // Nothing to append is a way to create a topic.
            let topic = self
                .log
                .create(&self.options.topic, self.options.partitions)?;
            self.summary.partitions = topic.partitions();
        }
        Ok(())
    }

    /// A clock is looked at only when the input pauses.
    fn next(&self, lines: &mut Lines) -> io::Result<Next> {
        match lines.next(Duration::ZERO)? {
            Next::Pause => {}
            next @ (Next::Line | Next::End) => return Ok(next),
        }
        let patience = self
            .chunk
            .since
            .map_or(WAITING, |since| LINGER.saturating_sub(since.elapsed()));
        lines.next(patience)
    }

    fn line(&mut self, lines: &Lines) -> Result<(), PutError> {
        let number = lines.number();
        if number < self.options.from_line {
            self.chunk.through_line = number;
            return Ok(());
        }
        match self.key(lines) {
            Ok(key) => self.chunk.push(key.as_deref(), lines.line()),
            Err(why) => match self.options.bad_lines {
                BadLines::Fail => {
                    self.append()?;
                    return Err(PutError::BadLine { number, why });
                }
                BadLines::Skip => {
                    self.summary.bad += 1;
                    let (line, length) = (lines.line(), lines.length());
                    let bad = BadLine {
                        number,
                        why: &why,
                        line,
                        length,
                    };
                    self.summary.stopped |= (self.progress)(Progress::Bad(bad)).is_break();
                }
            },
        }
        self.chunk.through_line = number;
        Ok(())
    }

    fn key<'l>(&self, lines: &'l Lines) -> Result<Option<Cow<'l, [u8]>>, String> {
        let length = lines.length();
        if length > LINE_BYTES_MAX as u64 {
            return Err(format!(
                "it has {length} bytes, and a record has at most {LINE_BYTES_MAX}"
            ));
        }
        let Some(from) = &self.options.key else {
            return Ok(None);
        };
        if lines.line().trim_ascii().is_empty() {
            return Err("it is blank, and with a key each line is a JSON record".to_owned());
        }
        match from.extract(lines.line()) {
            Ok(key) => Ok(Some(key)),
            Err(key::KeyError::Absent(_) | key::KeyError::NoKey { .. }) if self.options.no_key => {
                Ok(None)
            }
            Err(error @ (key::KeyError::Absent(_) | key::KeyError::NoKey { .. })) => {
                Err(format!("{error} (`--no-key` takes such lines without key)"))
            }
            Err(error @ (key::KeyError::NotJson(_) | key::KeyError::Twice(_))) => {
                Err(error.to_string())
            }
        }
    }

    fn next_line(&self) -> u64 {
        self.summary.through_line + 1
    }

    /// Makes the chunk durable and begins the next one.
    fn append(&mut self) -> Result<(), PutError> {
        let chunk = &self.chunk;
        if !chunk.entries.is_empty() {
            let (topic, partitions) = (&self.options.topic, self.options.partitions);
            let appended = self.log.append(topic, partitions, |n| chunk.records(n));
            let topic: Topic = appended.map_err(|error| PutError::Append {
                error,
                next: self.next_line(),
            })?;
            self.summary.partitions = topic.partitions();
            self.summary.records += chunk.entries.len() as u64;
            self.summary.bytes += chunk.values;
        }
        let news = !chunk.entries.is_empty();
        self.summary.through_line = self.summary.through_line.max(chunk.through_line);
        self.chunk.clear();
        if news {
            let flow = (self.progress)(Progress::Appended(&self.summary));
            self.summary.stopped |= flow.is_break();
        }
        Ok(())
    }
}

impl Chunk {
    fn push(&mut self, key: Option<&[u8]>, value: &[u8]) {
        if self.entries.is_empty() {
            self.since = Some(Instant::now());
        }
        let key = key.map(|key| self.keep(key));
        let value_range = self.keep(value);
        self.values += value.len() as u64;
        let value = value_range;
        self.entries.push(Entry { key, value });
    }

    fn keep(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len()
    }

    fn records(&self, partitions: u32) -> Vec<NewRecord<'_>> {
        let record = |entry: &Entry| {
            let key = entry.key.clone().map(|range| &self.bytes[range]);
            NewRecord {
                partition: partition_of(key, partitions),
                key,
                value: &self.bytes[entry.value.clone()],
            }
        };
        self.entries.iter().map(record).collect()
    }

    fn clear(&mut self) {
        self.bytes.clear();
        // One giant line must not keep its memory for ever.
        self.bytes.shrink_to(2 * CHUNK_BYTES);
        self.entries.clear();
        self.values = 0;
        self.since = None;
    }
}

#[cfg(test)]
mod tests;
