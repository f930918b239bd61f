//! The ordering engine of lanekeeper: which record may start, what an answer means, and how far a
//! partition is settled. It does no I/O, reads no clock, has no thread and no chance but a seed,
//! and it cannot fail: facts go in by method calls, actions come out of [`Engine::poll`].
//!
//! # Terms
//!
//! A **lane** is the records of one key of one partition, in order; a **run** is one to several
//! consecutive records of a lane in one **try**. A record is **passed** when its lane may go on (it
//! is done, or its effects are durable, or it is published, or skipped) and **settled** when it is
//! passed or parked: a parked record is settled but not passed. It is **durable** when a commit that
//! the store has acknowledged covers it. The **frontier** is the end of the settled prefix, and the
//! **open set** is what is not settled below the highest settled position.
//!
//! # Guarantees
//!
//! The tests are named after these numbers. What a guarantee needs besides (a clock that does not
//! lie, a store that refuses stale owners, a source that keeps its records) is the shell's.
//!
//! - **G1 order.** A record starts only when every earlier record of its lane is passed, and no try
//!   of a lane starts while an earlier one may still run: not before its quarantine ends, and not
//!   before [`Engine::complete`] came for a try of an earlier assignment. A record of a parked lane
//!   starts only out of its chain, in the chain's order.
//! - **G2 cap.** Tries that are out, in quarantine or left over from a revoked partition are never
//!   more than the cap.
//! - **G3 stop at first failure.** Behind a record that failed for good nothing of its lane (or, by
//!   [`Stops::Partition`], of its partition) starts until a decision is durable, nor after a restart
//!   with [`Held::Stopped`].
//! - **G4 isolation.** A lane that waits for its next try, for a commit or for a decision holds no
//!   slot; partitions take turns, and so do lanes with every other start at least.
//! - **G5 exact checkpoint.** A [`Snapshot`] covers settled records only, exactly, and its frontier
//!   never goes back within an assignment.
//! - **G6 fencing.** After [`Engine::revoke`] or [`CommitEnd::Fenced`] no answer, publication or
//!   commit of the old assignment changes anything: stale ids and tickets are told apart.
//! - **G7 no loss.** Nothing is settled but by an answer that says done or by a durable change;
//!   an answer that says nothing of a record leaves it untried.
//! - **G8 bounded repeats.** Records in flight, answered with effects that are not durable, or passed
//!   since the last durable commit are at most [`Limits::unflushed_max`] per partition.
//! - **G9 bounded memory.** A partition is paused at its share of bytes and records, and where its
//!   source is [starved](Engine::starve) while nothing of it can go on; a lane with nothing left to do
//!   is freed.
//! - **G10 progress.** Whatever is not settled is ready, out, waiting for a time that
//!   [`Engine::wake_at`] names, or stands in a stopped or parked lane or a held partition.
//!
//! # Driving it
//!
//! <div class="warning">
//!
//! **The contract.** Per turn: [`advance`](Engine::advance) once; then any facts, in the order in
//! which they happened; then [`poll`](Engine::poll) until it returns `None` or the turn's budget
//! ends; then sleep until a fact comes or [`wake_at`](Engine::wake_at) is due. Every
//! [`Action::Start`] is answered by one [`complete`](Engine::complete), every [`Action::Publish`] by
//! one [`dead_lettered`](Engine::dead_lettered), every [`Action::LoadChain`] by one
//! [`chain`](Engine::chain). The ticket of an [`Action::Persist`] is the shell's until a commit that
//! names it is durable, or refuses it: a commit that was not written leaves it to be named again. A
//! partition has at most one commit out. An action counts for nothing until its fact has come.
//!
//! </div>
//!
//! The canonical loop, with a handler that answers at once and a store that is always there:
//!
//! ```
//! use core::time::Duration;
//! use partitions::*;
//!
//! struct Request(u64, &'static str);
//!
//! impl Item for Request {
//!     type Position = u64;
//!     fn position(&self) -> &u64 { &self.0 }
//!     fn key(&self) -> &[u8] { self.1.as_bytes() }
//!     fn weight(&self) -> u32 { 1 }
//! }
//!
//! let second = Duration::from_secs(1);
//! let mut engine = Engine::new(Limits {
//!     cap: 8,
//!     run_max: 1,
//!     failure: FailureRules {
//!         attempts_max: 3,
//!         backoff_min: second,
//!         backoff_max: 60 * second,
//!         then: Then::Stop,
//!         stops: Stops::Lane,
//!     },
//!     records_max: 10_000,
//!     partition_bytes_max: 1 << 26,
//!     unflushed_max: 10_000,
//!     append_records_max: 200,
//!     append_bytes_max: 1 << 18,
//!     park_records_max: 100_000,
//!     park_bytes_max: 1 << 30,
//!     cut_at: 1_000,
//!     seed: 1,
//! });
//! let partition = engine.assign(Assignment {
//!     identity: 1,
//!     resume: Resume::Beginning,
//!     settled_to: None,
//!     open: &mut core::iter::empty(),
//!     held: &mut core::iter::empty(),
//! });
//!
//! // The handler: "poison" never passes, everything else is done.
//! let handle = |request: &Request| match request.1 {
//!     "poison" => Answer {
//!         done: 0, with_effects: false, rest: Rest::Reject, quarantine: Duration::ZERO,
//!     },
//!     _ => Answer {
//!         done: 1, with_effects: false, rest: Rest::Nothing, quarantine: Duration::ZERO,
//!     },
//! };
//!
//! let mut source = [(1, "a"), (2, "poison"), (3, "a"), (4, "poison"), (5, "b")].into_iter();
//! let mut clock = Time::default();
//! let mut handled = Vec::new();
//! loop {
//!     engine.advance(clock);
//!
//!     // Facts: what the source hands over, what the handler answered, how a commit ended.
//!     for (position, key) in source.by_ref().take(2) {
//!         assert_eq!(engine.push(partition, Request(position, key), 0), Pushed::Accepted);
//!     }
//!
//!     // Actions.
//!     let mut changes = Vec::new();
//!     while let Some(action) = engine.poll() {
//!         match action {
//!             Action::Start { ticket, .. } => {
//!                 let run = engine.records(ticket);
//!                 handled.extend(run.clone().map(|request| request.0));
//!                 let answer = run.map(handle).next().unwrap();
//!                 engine.complete(ticket, answer);
//!             }
//!             Action::Persist { ticket, .. } => changes.push(ticket),
//!             Action::Stopped { lane, .. } => {
//!                 assert_eq!(engine.lane_key(lane), Some(&b"poison"[..]));
//!             }
//!             _ => {}
//!         }
//!     }
//!
//!     // One commit, which the store acknowledges at once.
//!     let snapshot = engine.begin_commit(partition, &changes);
//!     let _checkpoint = (snapshot.resume.clone(), snapshot.open().copied().collect::<Vec<_>>());
//!     engine.end_commit(partition, CommitEnd::Durable);
//!
//!     if source.len() == 0 && engine.is_idle() {
//!         break;
//!     }
//!     // Nothing else is awaited here, so the clock may jump.
//!     clock = engine.wake_at().map_or(clock, |(at, _)| at);
//! }
//!
//! // 2 failed for good: 4, behind it in its lane, never starts; the frontier stays before 2.
//! assert_eq!(handled, [1, 2, 3, 5]);
//! assert_eq!(engine.settled(partition), Some(Resume::After(1)));
//! let snapshot = engine.begin_commit(partition, &[]);
//! assert_eq!(snapshot.settled_to, Some(5));
//! assert_eq!(snapshot.open().collect::<Vec<_>>(), [&2, &4]);
//! ```
//!
//! # Where things are
//!
//! `engine` holds the state. Facts arrive in `intake` (partitions, records), `answer` (tries),
//! `publish`, `chain`, `commit`, `decide`, `revoke` and `wait` (time); `schedule` has [`Engine::poll`]
//! and what starts next, `careful` what must be announced before it may; `persist` offers changes and
//! acts on durable ones. The data below them:
//! `window` (a partition's records and its frontier), `lane`, `keys`, `ticket`, `id`, `partition`,
//! `backoff`.
//!
//! Every lane with nothing out passes through `go_on` (in `schedule`), which alone decides its next
//! step from where it *stands* (what the store has of it) and what is queued. Everything that only
//! failed, held or parked lanes need is set aside in one box, so the main path stays small.
//!
//! What every record goes through ([`Engine::push`], [`Engine::poll`] that starts it,
//! [`Engine::complete`] that says done) is one straight piece of code each: its parts are inlined, on
//! command where they have several callers, and what few records need is out of line, `#[cold]`. What
//! costs there is memory, not arithmetic: a cache line more per record shows, and so does a value that
//! is written in parts and read whole.
#![no_std]
extern crate alloc;

mod action;
mod answer;
mod backoff;
mod careful;
mod chain;
mod commit;
mod decide;
mod engine;
mod id;
mod intake;
mod keys;
mod lane;
mod partition;
mod persist;
mod publish;
mod ready;
mod revoke;
mod schedule;
mod ticket;
mod wait;
mod window;
mod zoo;

#[cfg(test)]
mod tests;

pub use action::*;
pub use commit::{Drained, Snapshot};
use core::time::Duration;
pub use engine::Engine;
pub use intake::Assignment;
pub use partition::Figures;
#[cfg(feature = "bug-zoo")]
pub use zoo::Bug;

/// All that the engine asks of a record. It owns the record until it is durable.
pub trait Item {
    /// A place in a partition. Ascending within one assignment.
    type Position: Ord + Clone;
    /// The record's place.
    fn position(&self) -> &Self::Position;
    /// The lane's name: records with equal keys of one partition stay in order. The shell puts a tag
    /// byte before the user's key, so that records without key, by-partition order and lanes of one
    /// record have names of their own.
    fn key(&self) -> &[u8];
    /// Bytes held, against the partition's share of the budget.
    fn weight(&self) -> u32;
    /// Called when the record will stay long (waits, stopped, parked): own your bytes. `false`: there is
    /// no memory for that now. It is asked again when its partition is starved, until it said `true`.
    fn detach(&mut self) -> bool {
        true
    }
    /// Called before those of a starved partition are asked again: all of it that stay long and do not
    /// own their bytes. Those who are the last to hold some may share them out.
    fn share_out(records: &mut [Self])
    where
        Self: Sized,
    {
        let _ = records;
    }
}

/// The engine's bounds. No `Default`: defaults belong to the configuration.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Most tries in flight at once, quarantined ones included.
    pub cap: u32,
    /// Most records of one lane in one try; from 1.
    pub run_max: u32,
    /// What failures lead to.
    pub failure: FailureRules,
    /// Most records of one partition in the engine before it is paused.
    pub records_max: u32,
    /// Most bytes of one partition in the engine before it is paused.
    pub partition_bytes_max: u64,
    /// Most records of one partition that are in flight or passed since its last durable commit.
    pub unflushed_max: u64,
    /// Bounds of one [`Change::Append`] and of one load: records.
    pub append_records_max: u32,
    /// Bounds of one [`Change::Append`]: bytes; one larger record goes alone.
    pub append_bytes_max: u64,
    /// Most records of one chain; behind it arrivals are held in the engine.
    pub park_records_max: u64,
    /// Most bytes of one chain; behind it arrivals are held in the engine.
    pub park_bytes_max: u64,
    /// A releasing chain with more than this many records still takes appends.
    pub cut_at: u64,
    /// Seeds the key hasher and the jitter: the only chance in the engine.
    pub seed: u64,
}

/// What failures lead to.
#[derive(Clone, Copy, Debug)]
pub struct FailureRules {
    /// Tries of one record before it has failed for good, the first included; from 1.
    pub attempts_max: u32,
    /// First backoff, doubled with each attempt.
    pub backoff_min: Duration,
    /// Bound of backoff and of `after`.
    pub backoff_max: Duration,
    /// What becomes of a record that failed for good.
    pub then: Then,
    /// How far a stop reaches.
    pub stops: Stops,
}

/// What becomes of a record that failed for good.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Then {
    /// It and its lane wait for a decision.
    Stop,
    /// It and its successors move into the lane's chain in the store.
    Park,
    /// It is published elsewhere, then passed.
    DeadLetter,
}

/// How far a stop reaches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stops {
    /// Its lane.
    Lane,
    /// Everything in the partition behind the stopped head.
    Partition,
}
