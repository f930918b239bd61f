//! Sinks: a file of JSON lines, and a list in memory.

use super::{Fact, History, Line};
use crate::store::WorkerId;
use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Appends JSON lines to a file that other workers may write too: each line is one write.
///
/// A line that cannot be written (disk full) does not stop the processing: the first is logged, all
/// are counted, and the audit finds the gap in `seq`, so that a history with holes proves nothing.
#[derive(Debug)]
pub struct HistoryFile {
    path: PathBuf,
    worker: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: File,
    line: Vec<u8>,
    seq: u64,
    /// The file does not end with a line's end: the next line begins with one.
    torn: bool,
    lost: u64,
}

impl HistoryFile {
    /// Opens a file for append; creates it if there is none.
    ///
    /// # Errors
    /// As [`OpenOptions::open`] and reading its last byte.
    pub fn open(path: impl AsRef<Path>, worker: WorkerId) -> io::Result<Self> {
        let path = path.as_ref().to_owned();
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(&path)?;
        let torn = ends_torn(&mut file)?;
        Ok(Self {
            path,
            worker: worker.to_string(),
            state: Mutex::new(State {
                file,
                line: Vec::with_capacity(512),
                seq: 0,
                torn,
                lost: 0,
            }),
        })
    }

    /// How many lines could not be written.
    pub fn lost(&self) -> u64 {
        lock(&self.state).lost
    }
}

impl History for HistoryFile {
    fn note(&self, fact: Fact<'_>) {
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        state.seq += 1;
        state.line.clear();
        if state.torn {
            state.line.push(b'\n');
        }
        let line = Line::of(&fact, state.seq, &self.worker);
        let written = serde_json::to_writer(&mut state.line, &line)
            .map_err(io::Error::from)
            .and_then(|()| {
                state.line.push(b'\n');
                write_once(&mut state.file, &state.line)
            });
        match written {
            Ok(count) if count == state.line.len() => state.torn = false,
            other => {
                // What is there of the line, if anything, has no end.
                state.torn |= !matches!(other, Err(_) | Ok(0));
                state.lost += 1;
                if state.lost == 1 {
                    let error = other.map_or_else(
                        |e| e.to_string(),
                        |n| format!("{n} of {} bytes written", state.line.len()),
                    );
                    tracing::error!(
                        path = %self.path.display(), seq = state.seq, %error,
                        "history line lost; processing goes on, but this history proves nothing any more"
                    );
                }
            }
        }
    }
}

/// One write: a line is never interleaved with another worker's.
fn write_once(file: &mut File, line: &[u8]) -> io::Result<usize> {
    loop {
        match file.write(line) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

fn ends_torn(file: &mut File) -> io::Result<bool> {
    let length = file.metadata()?.len();
    if length == 0 {
        return Ok(false);
    }
    file.seek(SeekFrom::Start(length - 1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere leaves at worst one line unwritten, and that shows as a gap.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps the lines of one worker in memory, as its file would hold them.
#[derive(Debug)]
pub struct Collected {
    worker: String,
    lines: Mutex<Vec<Line<'static>>>,
}

impl Collected {
    /// An empty list.
    pub fn new(worker: WorkerId) -> Self {
        Self {
            worker: worker.to_string(),
            lines: Mutex::default(),
        }
    }

    /// Takes what was collected; numbering starts anew, so take once.
    pub fn take(&self) -> Vec<Line<'static>> {
        std::mem::take(&mut lock(&self.lines))
    }
}

impl History for Collected {
    fn note(&self, fact: Fact<'_>) {
        let mut lines = lock(&self.lines);
        let seq = lines.len() as u64 + 1;
        lines.push(Line::of(&fact, seq, &self.worker).into_owned());
    }
}
