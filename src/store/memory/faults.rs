//! What befalls the calls to a store in memory: delays, lost requests and answers, writes that
//! arrive late, and writes that overlap.

use super::MarkPlace;
use crate::{
    position::Position,
    record::{LaneKey, PartitionName},
    store::{Commit, WorkerId},
};
use std::{sync::Mutex, time::Duration};

/// Asked once per call, in the order of the calls.
pub trait Faults: Send + Sync {
    /// What befalls this call.
    fn weather(&self, call: &Call<'_>) -> Weather;
}

impl<F: Fn(&Call<'_>) -> Weather + Send + Sync> Faults for F {
    fn weather(&self, call: &Call<'_>) -> Weather {
        self(call)
    }
}

/// A call to the store.
#[derive(Clone, Copy, Debug)]
pub enum Call<'a> {
    /// [`crate::store::Store::claim`].
    Claim(&'a PartitionName, WorkerId),
    /// [`crate::store::Store::ownership`].
    Ownership(&'a PartitionName),
    /// [`crate::store::Store::commit`].
    Commit(&'a [Commit]),
    /// [`crate::store::Store::release`].
    Release(&'a PartitionName),
    /// [`crate::store::Store::lanes`].
    Lanes(&'a PartitionName),
    /// [`crate::store::Store::chain`].
    Chain(&'a PartitionName, &'a LaneKey, Option<&'a Position>),
    /// [`crate::store::Store::decide`].
    Decide(&'a PartitionName, &'a LaneKey),
    /// [`crate::store::Store::take`].
    Take(&'a PartitionName, &'a LaneKey),
    /// The verbs of [`crate::store::MarkStore`] but its lease, which is a [`Call::Take`], and its lanes.
    Marks(&'a PartitionName),
    /// [`crate::store::Store::rewind`].
    Rewind(&'a PartitionName),
    /// [`crate::store::Store::beat`] and [`crate::store::Store::leave`].
    Worker(WorkerId),
    /// What only looks, for people.
    Look,
    /// [`crate::store::Store::forget`].
    Forget,
}

/// What befalls a call. Times pass by `tokio::time`, so that a test may pause them; a call without
/// any does not even yield.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Weather {
    /// The request's way.
    pub before: Duration,
    /// How long the store works on it; what it writes takes effect at the end. A write that overlaps
    /// with a transaction on the same item is refused, as DynamoDB does (TransactionConflict).
    pub during: Duration,
    /// The answer's way.
    pub after: Duration,
    /// What becomes of it.
    pub fate: Fate,
}

/// What becomes of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Fate {
    /// Done and answered.
    #[default]
    Sound,
    /// The store refuses it: nothing is written, and the caller knows.
    Refused,
    /// It is done, but the answer is lost.
    AnswerLost,
    /// The caller gives up on it now, and it arrives so much later. What only looks is lost.
    Late(Duration),
}

/// How often what could not be seen from outside happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Commits of which the store said that they had landed before.
    pub repeated: u64,
    /// Commits of which another content had landed.
    pub other_content: u64,
    /// Commits, releases and takes refused since somebody else owns the partition.
    pub fenced: u64,
    /// Commits whose lane items were not as expected.
    pub lane_moved: u64,
    /// Commits with an effect that was refused.
    pub effects_refused: u64,
    /// Writes refused since they overlapped with another on the same item.
    pub conflicts: u64,
    /// Late writes that arrived, whatever they found there.
    pub landed_late: u64,
    /// Commits that arrived late, behind a successor's claim, and were refused for it.
    pub late_behind_a_successor: u64,
    /// Claims that began anew, since the item was not as it was read.
    pub claims_overtaken: u64,
}

/// What a write locks for as long as the store works on it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Item {
    Checkpoint(PartitionName),
    Mark(MarkPlace),
    Lane(PartitionName, LaneKey),
    Value(String, String),
}

/// The writes that the store works on now.
#[derive(Default)]
pub(super) struct Flights(Mutex<FlightList>);

#[derive(Default)]
struct FlightList {
    next: u64,
    flying: Vec<(u64, bool, Vec<Item>)>,
}

/// A write that the store works on; dropped, it is over.
pub(super) struct Flight<'a> {
    flights: &'a Flights,
    number: u64,
}

impl Flights {
    /// `None`: it overlaps with another on one of its items, and one of the two is a transaction.
    pub(super) fn begin(&self, transaction: bool, items: Vec<Item>) -> Option<Flight<'_>> {
        let mut list = super::lock(&self.0);
        let overlaps = list.flying.iter().any(|(_, other, theirs)| {
            (transaction || *other) && items.iter().any(|item| theirs.contains(item))
        });
        if overlaps {
            return None;
        }
        list.next += 1;
        let number = list.next;
        list.flying.push((number, transaction, items));
        Some(Flight {
            flights: self,
            number,
        })
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        super::lock(&self.flights.0)
            .flying
            .retain(|(number, _, _)| *number != self.number);
    }
}
