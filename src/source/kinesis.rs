//! A stream of Kinesis, read by place: for recoveries and replays of what a mapping delivers else.
//!
//! Nobody is registered as a reader and nothing is written: what was read before is nobody's business here.
//! [`Shards`] is what is asked of a stream, [`KinesisStream`] asks the service, [`Cursor`] reads one shard
//! within the service's limits, and [`in_order`] says which shard comes before which.

use crate::position::Position;
use futures_util::future::BoxFuture;
use std::{sync::Arc, time::Duration};

mod client;
mod cursor;
#[cfg(test)]
pub(crate) mod fake;
mod lineage;

pub use client::{KinesisStream, StreamArn};
pub use cursor::{Cursor, Part, first_from};
pub use lineage::in_order;

/// One shard, as the stream lists it: closed ones too, as long as they hold records.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shard {
    /// Its id.
    pub id: Arc<str>,
    /// Those it was made of: none, one after a split, two after a merge; also such as are not listed any
    /// more.
    pub parents: Vec<Arc<str>>,
    /// The number before which it has no record.
    pub first: Position,
    /// The number behind which it has none; `None`: it is open.
    pub last: Option<Position>,
}

/// Where reading of a shard begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Begin {
    /// At the oldest record that is kept.
    Horizon,
    /// At this sequence number.
    At(Position),
    /// Behind it.
    After(Position),
    /// At the first record that arrived then or later, in milliseconds since 1970; at the oldest one where
    /// that is later.
    Time(i64),
}

/// A record as the stream holds it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// Its sequence number.
    pub position: Position,
    /// `None`: the stream places its records by itself.
    pub key: Option<String>,
    /// Its payload, an aggregate's as a whole.
    pub data: Vec<u8>,
    /// When it arrived, in milliseconds since 1970.
    pub arrival: Option<i64>,
}

/// One answer.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Page {
    /// May be none, though there are more.
    pub rows: Vec<Row>,
    /// What to ask for next; `None`: the shard is closed, and this was its end.
    pub next: Option<String>,
    /// Milliseconds between the last record of this answer and the newest of the shard; `None`: not said.
    pub behind: Option<i64>,
}

/// What is asked of a stream.
pub trait Shards: Send + Sync {
    /// What it is, for people.
    fn describe(&self) -> String;

    /// All its shards, in any order.
    fn shards(&self) -> BoxFuture<'_, Result<Vec<Shard>, StreamError>>;

    /// How long it keeps a record.
    fn retention(&self) -> BoxFuture<'_, Result<Duration, StreamError>>;

    /// An iterator; it can be used for five minutes.
    fn iterator<'a>(
        &'a self,
        shard: &'a str,
        begin: &'a Begin,
    ) -> BoxFuture<'a, Result<String, StreamError>>;

    /// What an iterator gives, `max` records at most.
    fn page<'a>(&'a self, iterator: &'a str, max: u32) -> BoxFuture<'a, Result<Page, StreamError>>;
}

/// Why a stream gives nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StreamError {
    /// Its throughput, or that of the keys that it is encrypted with, is used up: later again.
    #[error("{0}")]
    Throttled(String),
    /// The iterator is older than five minutes: another one goes on.
    #[error("{0}")]
    Expired(String),
    /// The place is not in the shard, or not any more.
    #[error("{0}")]
    Gone(String),
    /// It does not answer.
    #[error("{0}")]
    OutOfReach(String),
    /// It will not answer otherwise until something is mended.
    #[error("{0}")]
    Refused(String),
}
