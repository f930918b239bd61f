//! Where records go: the trait of the handlers, their answers, and Rust closures as handlers.

use crate::{
    effect::{self, Effect},
    record::{Record, Run},
};
use futures_util::future::BoxFuture;
use std::{fmt, future::Future, os::fd::OwnedFd, sync::Arc, time::Duration};

pub mod function;

#[cfg(feature = "exec")]
pub mod exec;

#[cfg(feature = "http")]
pub mod http;

mod trace;

pub use function::{each, each_with};
pub use trace::{trace_id, within_trace};

/// Applies records. Called for one run at a time a lane, for at most `cap` runs at once.
pub trait Handler: Send + Sync + 'static {
    /// One try of one run. Dropping the future is a failed try, as are a panic and a timeout; none of
    /// them is ever taken for success.
    fn handle(&self, run: Run) -> impl Future<Output = Answer> + Send;
}

/// The processor's view of a handler: object-safe, `'static`, spawnable.
pub trait Target: Send + Sync {
    /// One try.
    fn try_run(self: Arc<Self>, run: Run) -> BoxFuture<'static, Answer>;

    /// How long after a try of unknown end (timeout, lost connection, dead worker) the remote may
    /// still be running it, where the configuration says `auto` and a try may take `timeout`.
    fn settle(&self, timeout: Duration) -> Duration;

    /// Process groups that this handler has running now, to be named and ended by a take-over.
    fn children(&self) -> Vec<u32>;

    /// Every process that it starts from now on keeps these open, so that a lock on one of them is
    /// held until all are gone. Called before the first try.
    fn share(&self, descriptors: Vec<OwnedFd>);
}

/// Where records go that failed for good, where `failure.then` is `dead-letter`.
pub trait DeadLetter: Send + Sync {
    /// Publishes a record with its id, its error and the attempts that it used up. The same record
    /// may come again after a crash, with the same id.
    fn publish(
        &self,
        record: Record,
        error: String,
        attempts: u32,
    ) -> BoxFuture<'static, Result<(), PublishError>>;
}

/// Why a record was not published.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{error}")]
pub struct PublishError {
    /// The dead-letter target is to blame: repeated for ever. Else it counts as an attempt.
    pub target: bool,
    /// What went wrong.
    pub error: String,
}

/// A [`Handler`] in Rust, as the processor takes it.
pub struct Rust<H>(pub H);

impl<H: Handler> Target for Rust<H> {
    fn try_run(self: Arc<Self>, run: Run) -> BoxFuture<'static, Answer> {
        Box::pin(async move { self.0.handle(run).await })
    }

    // A dropped future runs no more.
    fn settle(&self, _timeout: Duration) -> Duration {
        Duration::ZERO
    }

    fn children(&self) -> Vec<u32> {
        Vec::new()
    }

    // A process that a closure starts is the closure's: nobody here could end it.
    fn share(&self, _descriptors: Vec<OwnedFd>) {}
}

/// Done, with or without effects.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Done {
    /// Written with the commit that makes the record durable.
    pub effects: Vec<Effect>,
}

/// Done, without effects.
#[expect(
    non_upper_case_globals,
    reason = "reads as the outcome that it is: `Ok(Done)`"
)]
pub const Done: Done = Done {
    effects: Vec::new(),
};

impl Done {
    /// Done, with effects.
    pub fn with(effects: Vec<Effect>) -> Self {
        Self { effects }
    }
}

/// What became of a run: records `0..done` are done, the record at `done` failed with `failure`,
/// what follows did not run.
#[derive(Debug, Default)]
pub struct Answer {
    /// From the first on.
    pub done: usize,
    /// Of which record (index into the run, below `done`) and what; in order.
    pub effects: Vec<(usize, Effect)>,
    /// `None`: the rest, if any, was not tried.
    pub failure: Option<Failure>,
}

impl Answer {
    /// All `n` records are done.
    pub fn all(n: usize) -> Self {
        Self {
            done: n,
            ..Self::default()
        }
    }

    /// None is done.
    pub fn failed(failure: Failure) -> Self {
        Self {
            failure: Some(failure),
            ..Self::default()
        }
    }

    /// What a handler outside this process said of a run of `records`: so many done, then `failure`;
    /// `effects` is the JSON array of the interfaces page.
    ///
    /// A malformed effect is a reject of its record: what is done before it stays done, what is
    /// behind it counts as not run.
    ///
    /// # Errors
    /// When it cannot be told whose effect is malformed, or when that record is not done: a sentence
    /// that says what is wrong.
    pub fn from_json(
        records: usize,
        done: usize,
        failure: Option<Failure>,
        effects: Option<serde_json::Value>,
    ) -> Result<Self, String> {
        match effects.map(|list| effect::parse(list, records)) {
            None => Ok(Self {
                done,
                effects: Vec::new(),
                failure,
            }),
            Some(Ok(effects)) => match effects.last() {
                Some((record, _)) if *record >= done => Err(format!(
                    "an effect names record {record}, which is not done: {done} of {records} are"
                )),
                Some(_) | None => Ok(Self {
                    done,
                    effects,
                    failure,
                }),
            },
            Some(Err(error)) => match error.record {
                // Names and values in it are the worker's own.
                Some(record) if record < done => Ok(Self {
                    done: record,
                    failure: Some(Failure::reject(shown(&error))),
                    effects: error.before,
                }),
                Some(_) | None => Err(shown(&error)),
            },
        }
    }
}

/// Most characters that are kept of an error text that a handler outside this process has a part in.
const ERROR_CHARS_MAX: usize = 2_000;

fn shown(error: &impl fmt::Display) -> String {
    excerpt(error.to_string().as_bytes(), ERROR_CHARS_MAX)
}

/// The longest wait that a handler outside this process can ask for; any longer one counts as this.
pub const AFTER_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How a try failed.
#[derive(Debug)]
pub struct Failure {
    /// What went wrong, for operators.
    pub error: String,
    /// What follows from it.
    pub kind: FailureKind,
    /// Of a retry: no earlier than this (Retry-After), bounded by `failure.backoff_max`.
    pub after: Duration,
    /// The try's end is not known: the remote may go on with it for this long.
    pub unknown_end: Option<Duration>,
}

/// What follows from a failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FailureKind {
    /// Try again; an attempt is used up.
    Retry,
    /// No try will ever succeed.
    Reject,
    /// The target is to blame: try again, no attempt is used up.
    Target,
    /// Some record of the run failed and nobody knows which.
    Unattributed,
    /// It never ran (the worker drains): nothing is counted.
    Untried,
}

impl Failure {
    fn of(kind: FailureKind, error: impl fmt::Display) -> Self {
        Self {
            error: error.to_string(),
            kind,
            after: Duration::ZERO,
            unknown_end: None,
        }
    }

    /// The record failed and may pass later.
    pub fn retry(error: impl fmt::Display) -> Self {
        Self::of(FailureKind::Retry, error)
    }

    /// As [`Failure::retry`], no earlier than `after` from now.
    pub fn retry_after(error: impl fmt::Display, after: Duration) -> Self {
        Self {
            after,
            ..Self::retry(error)
        }
    }

    /// The record never will pass: it is not tried again.
    pub fn reject(error: impl fmt::Display) -> Self {
        Self::of(FailureKind::Reject, error)
    }

    /// The target is to blame, not the record: tried again without using up an attempt.
    pub fn target(error: impl fmt::Display) -> Self {
        Self::of(FailureKind::Target, error)
    }

    /// Some record of a run failed and nobody knows which: no attempt is used up, and the lane goes
    /// on in runs of one.
    pub fn unattributed(error: impl fmt::Display) -> Self {
        Self::of(FailureKind::Unattributed, error)
    }

    /// The remote may still be running the try for this long: its lane and its slot wait.
    #[must_use]
    pub fn unknown_end(mut self, at_most: Duration) -> Self {
        self.unknown_end = Some(at_most);
        self
    }
}

/// Any error through `?` means: retry, with the texts of its causes. An `io::Error` of a refused
/// connection, also as a source of the error, blames the target.
impl<E: std::error::Error + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(e) = cause {
            if let Some(io) = e.downcast_ref::<std::io::Error>()
                && io.kind() == std::io::ErrorKind::ConnectionRefused
            {
                return Self::target(causes(&error));
            }
            cause = e.source();
        }
        Self::retry(causes(&error))
    }
}

/// An error's text and those of its sources, outermost first.
pub fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut texts: Vec<String> = std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect();
    // Some errors repeat their source's text.
    texts.dedup();
    texts.join(": ")
}

/// At most `chars_max` characters of what somebody else printed, for an error message or the log:
/// what is no printable character is escaped, so that it cannot fake lines or steer a terminal.
pub fn excerpt(bytes: &[u8], chars_max: usize) -> String {
    // No character is longer than 4 bytes, so this much is enough to know whether more follows.
    let start = &bytes[..bytes
        .len()
        .min(chars_max.saturating_mul(4).saturating_add(4))];
    let text = String::from_utf8_lossy(start);
    let mut shown = String::with_capacity(start.len());
    for (count, c) in text.chars().enumerate() {
        if count == chars_max {
            shown.push('…');
            break;
        }
        match c {
            '"' | '\'' | '\\' => shown.push(c),
            _ => shown.extend(c.escape_debug()),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_malformed_effect_rejects_its_record_and_voids_what_follows() {
        let effects = json!([
            {"record": 2, "add": {"table": "t", "key": "c", "by": 1}},
            {"record": 1, "ad": {"table": "t", "key": "b", "by": 1}},
            {"record": 0, "add": {"table": "t", "key": "a", "by": 1}},
        ]);
        let answer = Answer::from_json(3, 3, None, Some(effects)).expect("attributed");
        assert_eq!(answer.done, 1);
        assert_eq!(answer.effects, [(0, Effect::add("t", "a", 1))]);
        let failure = answer.failure.expect("rejected");
        assert_eq!(failure.kind, FailureKind::Reject);
        assert!(failure.error.contains("`ad`"), "{}", failure.error);
    }

    #[test]
    fn an_effect_of_what_is_not_done_is_an_error() {
        let effects = json!([{"record": 1, "delete": {"table": "t", "key": "k"}}]);
        let error = Answer::from_json(2, 1, Some(Failure::retry("later")), Some(effects))
            .expect_err("record 1 is not done");
        assert_eq!(
            error,
            "an effect names record 1, which is not done: 1 of 2 are"
        );
    }

    #[test]
    fn what_a_malformed_effect_says_is_shown_harmless() {
        let named = format!("\u{1b}[2J{}", "x".repeat(100_000));
        let add = |record: usize| json!([{"record": record, "add": {(named.as_str()): 1}}]);
        let answer = Answer::from_json(1, 1, None, Some(add(0))).expect("attributed");
        let rejected = answer.failure.expect("rejected").error;
        let nobody = Answer::from_json(2, 2, None, Some(add(7))).expect_err("nobody's");
        for error in [rejected, nobody] {
            assert!(error.len() <= 4 * ERROR_CHARS_MAX, "{} bytes", error.len());
            assert!(!error.contains(char::is_control), "{error:?}");
        }
    }

    #[test]
    fn excerpts_are_short_and_harmless() {
        assert_eq!(excerpt(b"plain \"text\"", 200), "plain \"text\"");
        assert_eq!(excerpt(b"a\x1b[2Jb\nc", 200), "a\\u{1b}[2Jb\\nc");
        assert_eq!(excerpt("ääää".as_bytes(), 4), "ääää");
        assert_eq!(excerpt("ääääx".as_bytes(), 4), "ääää…");
        assert_eq!(excerpt(b"\xff\xfe", 9), "\u{fffd}\u{fffd}");
        assert_eq!(excerpt(b"", 9), "");
    }
}
