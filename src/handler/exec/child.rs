//! One worker: its pipes, one call at a time, what it says on standard error.

use super::group::{Exit, ExitReceiver, Group, Registry, Started, lock, start};
use crate::handler::excerpt;
use std::{
    io,
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::{ChildStderr, ChildStdin, ChildStdout},
    task::JoinHandle,
    time::timeout,
};

/// Most bytes of an answer.
pub(super) const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Most bytes of a line of standard error; the rest of a longer one is dropped.
const LOG_LINE_BYTES_MAX: usize = 8 * 1024;

/// A worker that closed its output usually ends: this long is waited to say how.
const EXIT_GRACE: Duration = Duration::from_millis(500);

/// A worker, idle or busy. Dropping it closes its standard input.
pub(super) struct Child {
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    group: Arc<Group>,
    exit: ExitReceiver,
    last_words: Arc<Mutex<String>>,
    log: JoinHandle<()>,
    /// Bytes of the current call that are in the pipe.
    sent: usize,
    /// Nobody has the other end of that pipe any more.
    shut: bool,
    /// Calls answered.
    answered: u64,
}

/// Why there is no answer.
pub(super) enum Broken {
    /// The output ended, after these bytes of a line.
    Ended(Vec<u8>),
    /// The line is longer than any answer; its start.
    TooLong(Vec<u8>),
    /// A line came before the whole call was sent.
    Early(Vec<u8>),
    /// A pipe failed.
    Pipe(io::Error),
}

impl Child {
    /// Starts a worker.
    pub(super) async fn start(command: Command, registry: &Arc<Registry>) -> io::Result<Self> {
        let started = start(command, registry).await?;
        let group = Arc::clone(&started.group);
        Self::connect(started).inspect_err(|_| group.kill())
    }

    fn connect(started: Started) -> io::Result<Self> {
        let stdin = ChildStdin::from_std(started.stdin)?;
        let stdout = ChildStdout::from_std(started.stdout)?;
        let stderr = ChildStderr::from_std(started.stderr)?;
        let last_words = Arc::default();
        let log = tokio::spawn(log(stderr, started.group.pid(), Arc::clone(&last_words)));
        Ok(Self {
            stdin,
            stdout: BufReader::new(stdout),
            group: started.group,
            exit: started.exit,
            last_words,
            log,
            sent: 0,
            shut: false,
            answered: 0,
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.group.pid()
    }

    pub(super) fn group(&self) -> &Arc<Group> {
        &self.group
    }

    pub(super) fn exit(&self) -> &ExitReceiver {
        &self.exit
    }

    /// Whether it ever answered a call.
    pub(super) fn has_answered(&self) -> bool {
        self.answered > 0
    }

    /// Whether it can take a call; else it is named in the log with the reason.
    pub(super) fn is_sound(&mut self) -> bool {
        let pid = self.pid();
        if let Some(exit) = &*self.exit.borrow() {
            tracing::info!(target: LOG, pid, "the idle worker {exit}");
            return false;
        }
        // Looking must not wait: a single poll tells what has come until now.
        let printed = {
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            let look = std::pin::Pin::new(&mut self.stdout).poll_fill_buf(&mut context);
            match look {
                std::task::Poll::Pending => return true,
                std::task::Poll::Ready(Ok(bytes)) => excerpt(bytes, 200),
                std::task::Poll::Ready(Err(_)) => String::new(),
            }
        };
        if printed.is_empty() {
            tracing::info!(target: LOG, pid, "the idle worker closed its standard output");
        } else {
            tracing::warn!(target: LOG, pid, "replaced: after its answer the worker printed `{printed}`");
        }
        false
    }

    /// Sends a line and reads the one that answers it, without its end. Dropping the future leaves
    /// the worker in the middle of a call.
    pub(super) async fn exchange(&mut self, line: &[u8]) -> Result<Vec<u8>, Broken> {
        let Self {
            stdin,
            stdout,
            exit,
            sent,
            shut,
            ..
        } = self;
        *sent = 0;
        let write = async {
            while *sent < line.len() {
                match stdin.write(&line[*sent..]).await {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(n) => *sent += n,
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        };
        let mut read = std::pin::pin!(read_line(stdout, LINE_BYTES_MAX));
        // Both at once, or a worker that prints before it reads would never go on. The write is
        // looked at first: where it waits, the worker cannot have seen the end of the call.
        let written = tokio::select! {
            biased;
            written = write => written,
            early = &mut read => return Err(match early {
                Ok(line) => Broken::Early(line),
                Err(broken) => broken,
            }),
        };
        if let Err(error) = written {
            *shut = true;
            // It ended, or closed its input, and will not answer what it did not read: only what it
            // says in a moment is worth waiting for.
            return Err(match timeout(EXIT_GRACE, read).await {
                Ok(Ok(line)) => Broken::Early(line),
                Ok(Err(Broken::Ended(part))) if part.is_empty() => Broken::Pipe(error),
                Ok(Err(broken)) => broken,
                Err(_) => Broken::Pipe(error),
            });
        }
        let answer = tokio::select! {
            biased;
            answer = &mut read => answer,
            // A process that left the group may hold the output open after the worker's end.
            _ = gone(exit) => match timeout(EXIT_GRACE, read).await {
                Ok(answer) => answer,
                Err(_) => Err(Broken::Ended(Vec::new())),
            },
        };
        self.answered += u64::from(answer.is_ok());
        answer
    }

    /// Whether the worker closed its input without having read anything of the call.
    pub(super) fn took_nothing(&self) -> bool {
        self.shut && self.left_unread()
    }

    /// How it ended by itself, waiting a moment for that.
    pub(super) async fn ended(&mut self) -> Option<Exit> {
        let exit = timeout(EXIT_GRACE, gone(&mut self.exit)).await.ok()??;
        // Its last words are in the pipe by now.
        let _ = timeout(EXIT_GRACE, &mut self.log).await;
        Some(exit)
    }

    /// Whether the worker, which has ended or closed its input, had read nothing of the call: then the call cannot be
    /// what ended it. The pipe keeps what was not read for as long as this end is open.
    pub(super) fn left_unread(&self) -> bool {
        rustix::io::ioctl_fionread(&self.stdin).is_ok_and(|unread| unread >= self.sent as u64)
    }

    /// The last line that it wrote to standard error, safe to show.
    pub(super) fn last_words(&self) -> String {
        lock(&self.last_words).clone()
    }
}

/// Waits until nothing of the group runs any more; `None`: the thread that would know is gone.
pub(super) async fn gone(exit: &mut ExitReceiver) -> Option<Exit> {
    exit.wait_for(Option::is_some).await.ok()?.clone()
}

/// Where workers' standard error goes.
const LOG: &str = "lanekeeper::worker";

/// Reads a line without its end.
async fn read_line(
    input: &mut (impl AsyncBufRead + Unpin),
    bytes_max: usize,
) -> Result<Vec<u8>, Broken> {
    let mut line = Vec::new();
    loop {
        let bytes = match input.fill_buf().await {
            Ok([]) => return Err(Broken::Ended(line)),
            Ok(bytes) => bytes,
            Err(error) => return Err(Broken::Pipe(error)),
        };
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let part = &bytes[..end.unwrap_or(bytes.len())];
        if line.len() + part.len() > bytes_max {
            line.extend_from_slice(part);
            line.truncate(1024);
            return Err(Broken::TooLong(line));
        }
        line.extend_from_slice(part);
        let used = part.len() + usize::from(end.is_some());
        input.consume(used);
        if end.is_some() {
            return Ok(line);
        }
    }
}

/// Passes standard error on, line by line, until it is closed: a worker must never wait for it.
async fn log(stderr: ChildStderr, pid: u32, last_words: Arc<Mutex<String>>) {
    let mut input = BufReader::new(stderr);
    let mut line = Vec::new();
    loop {
        let (used, ended) = match input.fill_buf().await {
            Ok([]) | Err(_) => {
                tell(&mut line, pid, &last_words);
                return;
            }
            Ok(bytes) => {
                let end = bytes.iter().position(|byte| *byte == b'\n');
                let part = &bytes[..end.unwrap_or(bytes.len())];
                let room = LOG_LINE_BYTES_MAX - line.len();
                line.extend_from_slice(&part[..part.len().min(room)]);
                (part.len() + usize::from(end.is_some()), end.is_some())
            }
        };
        input.consume(used);
        if ended {
            tell(&mut line, pid, &last_words);
        }
    }
}

fn tell(line: &mut Vec<u8>, pid: u32, last_words: &Mutex<String>) {
    if !line.trim_ascii().is_empty() {
        let text = excerpt(line.trim_ascii_end(), LOG_LINE_BYTES_MAX);
        tracing::info!(target: LOG, pid, "{text}");
        *lock(last_words) = excerpt(line.trim_ascii_end(), 200);
    }
    line.clear();
}
