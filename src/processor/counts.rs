//! What is counted from the start on, for the report and for whoever watches the loop.

use super::StoreFact;
use crate::store::{CommitError, DecideError, StoreError};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// How a try ended for one of its records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TryOutcome {
    /// Passed.
    Done,
    /// Failed, by the record's own fault, for now.
    Retry,
    /// Failed for good.
    Reject,
    /// Failed, by the target's fault: no attempt is counted.
    Target,
    /// Failed, and of a run of several nobody knows which record did it.
    Unattributed,
    /// Not tried, as behind the failed one of its run.
    Untried,
    /// No answer within `failure.timeout`.
    Timeout,
    /// The handler panicked.
    Panic,
}

impl TryOutcome {
    /// Each of them, in the order of their declaration.
    pub const ALL: [Self; 8] = [
        Self::Done,
        Self::Retry,
        Self::Reject,
        Self::Target,
        Self::Unattributed,
        Self::Untried,
        Self::Timeout,
        Self::Panic,
    ];

    /// As the history and the metrics word it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Retry => "retry",
            Self::Reject => "reject",
            Self::Target => "target",
            Self::Unattributed => "unattributed",
            Self::Untried => "untried",
            Self::Timeout => "timeout",
            Self::Panic => "panic",
        }
    }
}

/// Records of one source.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Passed by the handler.
    pub done: u64,
    /// Published to the dead-letter target.
    pub dead_lettered: u64,
    /// Skipped by an operator.
    pub skipped: u64,
    /// Failed for good, and their lane was stopped, durably.
    pub stopped: u64,
    /// Failed for good, and their lane was parked, durably.
    pub parked: u64,
    /// Joined the chain of a parked lane, durably.
    pub chained: u64,
    /// Tries that failed and will be or were repeated.
    pub retries: u64,
    /// Rejected for good by the handler or by an effect's condition.
    pub rejected: u64,
    /// Writes refused because another worker owns the partition.
    pub fenced: u64,
    /// Tries that ended, counted per record, in the order of [`TryOutcome::ALL`].
    pub tries: [u64; TryOutcome::ALL.len()],
}

impl Counts {
    /// Tries that ended so, counted per record.
    pub fn tries(&self, outcome: TryOutcome) -> u64 {
        self.tries[outcome as usize]
    }

    pub(super) fn tried(&mut self, outcome: TryOutcome, records: u64) {
        self.tries[outcome as usize] += records;
    }
}

/// How long commits took, from the first request to the answer that says they are durable.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Latencies {
    /// How many took no longer than the bound of the same index and longer than the one before; the
    /// last: longer than all.
    pub within: [u64; Self::BOUNDS.len() + 1],
    /// All together, in seconds.
    pub sum: f64,
}

impl Latencies {
    /// In seconds, ascending.
    pub const BOUNDS: [f64; 13] = [
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0,
    ];

    pub(super) fn took(&mut self, time: Duration) {
        let seconds = time.as_secs_f64();
        self.sum += seconds;
        self.within[Self::BOUNDS.partition_point(|bound| *bound < seconds)] += 1;
    }
}

/// A call to the store that failed: what was asked for, and how it failed.
pub type StoreTrouble = (&'static str, &'static str);

/// All that the loop counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Counters {
    /// Handler calls that were started, counted per record.
    pub(super) tries: u64,
    pub(super) in_flight_peak: u32,
    pub(super) commits: Latencies,
    pub(super) store_errors: BTreeMap<StoreTrouble, u64>,
    /// In the order in which the sources were given.
    pub(super) sources: Vec<(Arc<str>, Counts)>,
}

impl Counters {
    pub(super) fn new(sources: impl Iterator<Item = Arc<str>>) -> Self {
        Self {
            sources: sources.map(|name| (name, Counts::default())).collect(),
            ..Self::default()
        }
    }

    /// A source's place. One that is not known gets one: nothing goes uncounted.
    pub(super) fn place(&mut self, source: &Arc<str>) -> usize {
        let known = self.sources.iter().position(|(name, _)| name == source);
        known.unwrap_or_else(|| {
            self.sources.push((Arc::clone(source), Counts::default()));
            self.sources.len() - 1
        })
    }

    /// The counts of a place that [`Counters::place`] gave.
    pub(super) fn of(&mut self, place: usize) -> &mut Counts {
        &mut self.sources[place].1
    }

    pub(super) fn of_source(&mut self, source: &Arc<str>) -> &mut Counts {
        let place = self.place(source);
        self.of(place)
    }

    pub(super) fn sum(&self, of: impl Fn(&Counts) -> u64) -> u64 {
        self.sources.iter().map(|(_, counts)| of(counts)).sum()
    }
}

/// What an answer says of the store itself: `None` where it answered, if only with a refusal.
pub(super) fn trouble(fact: &StoreFact) -> Vec<StoreTrouble> {
    let one = |what, trouble: Option<&'static str>| {
        let found = trouble.map(|trouble| (what, trouble));
        found.into_iter().collect()
    };
    match fact {
        StoreFact::Claimed { result, .. } => one("claim", of_store(result)),
        StoreFact::Committed(results) => {
            let troubles = results.iter().filter_map(|(_, result)| match result {
                Ok(_) => None,
                Err(error) => of_commit(error),
            });
            troubles.map(|trouble| ("commit", trouble)).collect()
        }
        StoreFact::Proof { found, .. } => one("ownership", of_store(found)),
        StoreFact::Lanes { found, .. } => one("lanes", of_store(found)),
        StoreFact::Taken { found, .. } => one(
            "take",
            match found {
                Err(DecideError::Store(error)) => name(error),
                Ok(_) | Err(DecideError::NoSuchLane { .. } | DecideError::State { .. }) => None,
            },
        ),
        StoreFact::Chain { found, .. } => one("chain", of_store(found)),
        StoreFact::Published { .. } | StoreFact::Waits { .. } => Vec::new(),
        StoreFact::Released { result, .. } | StoreFact::GivenBack(result) => {
            one("release", of_store(result))
        }
        StoreFact::Beat(result) => one("beat", of_store(result)),
    }
}

fn of_store<T>(result: &Result<T, StoreError>) -> Option<&'static str> {
    result.as_ref().err().and_then(name)
}

fn name(error: &StoreError) -> Option<&'static str> {
    match error {
        StoreError::OutOfReach(_) => Some("out_of_reach"),
        StoreError::Damaged(_) => Some("damaged"),
        // Counted as what it is: a refused write.
        StoreError::Fenced { .. } => None,
    }
}

/// What kept a commit from being durable, where that is the store and not what was to be committed.
pub(super) fn of_commit(error: &CommitError) -> Option<&'static str> {
    match error {
        CommitError::NotWritten(_) => Some("not_written"),
        CommitError::Unknown(_) => Some("unknown"),
        CommitError::TooLarge { .. } => Some("too_large"),
        CommitError::Damaged(_) | CommitError::OtherContent { .. } => Some("damaged"),
        CommitError::Fenced { .. }
        | CommitError::EffectsRefused(_)
        | CommitError::Apart(_)
        | CommitError::AlreadyDone(_)
        | CommitError::LaneMoved(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_counted_apart() {
        let mut counts = Counts::default();
        for (n, outcome) in TryOutcome::ALL.into_iter().enumerate() {
            counts.tried(outcome, n as u64 + 1);
        }
        let counted = TryOutcome::ALL.map(|outcome| counts.tries(outcome));
        assert_eq!(counted, [1, 2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn a_latency_on_a_bound_is_within_it() {
        let mut latencies = Latencies::default();
        for millis in [0, 1, 2, 250, 30_000, 30_001] {
            latencies.took(Duration::from_millis(millis));
        }
        let mut expected = [0; Latencies::BOUNDS.len() + 1];
        (expected[0], expected[1], expected[7]) = (2, 1, 1);
        (expected[12], expected[13]) = (1, 1);
        assert_eq!(latencies.within, expected);
        assert!((latencies.sum - 60.254).abs() < 1e-9, "{}", latencies.sum);
    }

    #[test]
    fn a_source_that_is_not_known_is_counted_too() {
        let mut counters = Counters::new([Arc::from("a")].into_iter());
        counters.of_source(&Arc::from("a")).done += 2;
        counters.of_source(&Arc::from("b")).done += 3;
        assert_eq!(counters.sum(|counts| counts.done), 5);
        assert_eq!(counters.sources.len(), 2);
    }
}
