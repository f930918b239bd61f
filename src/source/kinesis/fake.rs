//! A stream in memory, with what the service does to a reader.

use super::{Begin, Page, Row, Shard, Shards, StreamError};
use crate::position::Position;
use futures_util::future::BoxFuture;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};
use tokio::time::Instant;

/// Records that one answer has at most.
const PAGE: usize = 3;

/// How long it says that it keeps records.
pub(crate) const RETENTION: Duration = Duration::from_hours(7 * 24);

#[derive(Default)]
struct Held {
    shards: Vec<(Shard, Vec<Row>)>,
    /// What the next questions are answered with instead.
    errors: VecDeque<StreamError>,
    /// Answers without a record, though there are more.
    empty: u32,
    /// When records were asked for.
    asked: Vec<Instant>,
    /// Where iterators were asked for.
    begun: Vec<Begin>,
    /// An iterator behind a record that is gone is given all the same.
    is_lenient: bool,
    /// What it says of newer records, where it is not what is so.
    says: Option<Option<i64>>,
}

#[derive(Default)]
pub(crate) struct Fake(Mutex<Held>);

pub(crate) fn number(n: u64) -> Position {
    Position::sequence(&n.to_string(), None).expect("a number")
}

pub(crate) fn row(n: u64, key: &str, data: &str) -> Row {
    Row {
        position: number(n),
        key: Some(key.to_owned()),
        data: data.into(),
        arrival: Some(i64::try_from(n).expect("small") * 1_000),
    }
}

impl Fake {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().expect("sound")
    }

    /// A shard with these records; it begins at a number and is closed if it ends at one.
    pub(crate) fn shard(
        &self,
        id: &str,
        parents: &[&str],
        (first, last): (u64, Option<u64>),
        rows: Vec<Row>,
    ) -> Shard {
        let shard = Shard {
            id: id.into(),
            parents: parents.iter().map(|id| (*id).into()).collect(),
            first: number(first),
            last: last.map(number),
        };
        self.held().shards.push((shard.clone(), rows));
        shard
    }

    pub(crate) fn put(&self, id: &str, row: Row) {
        let mut held = self.held();
        let shard = held.shards.iter_mut().find(|(shard, _)| *shard.id == *id);
        shard.expect("a shard").1.push(row);
    }

    /// Retention removes all before a number.
    pub(crate) fn trim(&self, before: u64) {
        for (_, rows) in &mut self.held().shards {
            rows.retain(|row| row.position >= number(before));
        }
    }

    pub(crate) fn fail(&self, error: StreamError) {
        self.held().errors.push_back(error);
    }

    pub(crate) fn empty(&self, answers: u32) {
        self.held().empty = answers;
    }

    /// As the service is: a place that is gone is that of the oldest record.
    pub(crate) fn lenient(&self, is_lenient: bool) {
        self.held().is_lenient = is_lenient;
    }

    /// It says so of newer records, with every answer.
    pub(crate) fn says(&self, behind: Option<i64>) {
        self.held().says = Some(behind);
    }

    pub(crate) fn asked(&self) -> Vec<Instant> {
        self.held().asked.clone()
    }

    pub(crate) fn begun(&self) -> Vec<Begin> {
        self.held().begun.clone()
    }
}

impl Held {
    fn iterator(&mut self, id: &str, begin: &Begin) -> Result<String, StreamError> {
        self.begun.push(begin.clone());
        if let Some(error) = self.errors.pop_front() {
            return Err(error);
        }
        let shard = self.shards.iter().find(|(shard, _)| *shard.id == *id);
        let gone = || StreamError::Gone(format!("nothing at {begin:?} of {id}"));
        let (_, rows) = shard.ok_or_else(gone)?;
        // As the emulator has it, which is stricter than the service.
        let is_there = |position: &Position| {
            self.is_lenient || rows.iter().any(|row| row.position == *position)
        };
        let (edge, place) = match begin {
            Begin::Horizon => ("from", "0".to_owned()),
            Begin::At(position) | Begin::After(position) if !is_there(position) => {
                return Err(gone());
            }
            Begin::At(position) => ("from", position.to_string()),
            Begin::After(position) => ("behind", position.to_string()),
            Begin::Time(millis) => {
                let first = rows.iter().find(|row| row.arrival >= Some(*millis));
                let newest = rows.last().map(|row| row.position.to_string());
                match first {
                    Some(row) => ("from", row.position.to_string()),
                    None => ("behind", newest.unwrap_or_else(|| "0".to_owned())),
                }
            }
        };
        Ok(format!("{id} {edge} {place}"))
    }

    fn page(&mut self, iterator: &str, max: u32) -> Result<Page, StreamError> {
        self.asked.push(Instant::now());
        if let Some(error) = self.errors.pop_front() {
            return Err(error);
        }
        let parts: Vec<&str> = iterator.split(' ').collect();
        let [id, edge, place] = parts[..] else {
            panic!("an iterator of ours");
        };
        let place = Position::sequence(place, None).expect("ours");
        let shard = self.shards.iter().find(|(shard, _)| *shard.id == *id);
        let (shard, rows) = shard.expect("ours");
        let index = rows.partition_point(|row| {
            row.position < place || (edge == "behind" && row.position == place)
        });
        let newest = rows.last().and_then(|row| row.arrival).unwrap_or(0);
        let count = match self.empty.checked_sub(1) {
            Some(left) => {
                self.empty = left;
                0
            }
            None => PAGE.min(max as usize),
        };
        let rest = rows.get(index..).unwrap_or_default();
        let rows: Vec<Row> = rest.iter().take(count).cloned().collect();
        let is_end = rows.len() == rest.len();
        let behind = match (rows.last(), is_end) {
            (_, true) => 0,
            (Some(row), false) => newest - row.arrival.unwrap_or(0),
            (None, false) => 1,
        };
        let next = match rows.last() {
            Some(row) => format!("{id} behind {}", row.position),
            None => iterator.to_owned(),
        };
        Ok(Page {
            next: (!(is_end && shard.last.is_some())).then_some(next),
            rows,
            behind: self.says.unwrap_or(Some(behind)),
        })
    }
}

impl Shards for Fake {
    fn describe(&self) -> String {
        "a stream in memory".to_owned()
    }

    fn shards(&self) -> BoxFuture<'_, Result<Vec<Shard>, StreamError>> {
        let shards = self
            .held()
            .shards
            .iter()
            .map(|(shard, _)| shard.clone())
            .collect();
        Box::pin(async { Ok(shards) })
    }

    fn retention(&self) -> BoxFuture<'_, Result<Duration, StreamError>> {
        Box::pin(async { Ok(RETENTION) })
    }

    fn iterator<'a>(
        &'a self,
        shard: &'a str,
        begin: &'a Begin,
    ) -> BoxFuture<'a, Result<String, StreamError>> {
        Box::pin(async move { self.held().iterator(shard, begin) })
    }

    fn page<'a>(&'a self, iterator: &'a str, max: u32) -> BoxFuture<'a, Result<Page, StreamError>> {
        Box::pin(async move { self.held().page(iterator, max) })
    }
}

/// The same stream, as a reader has it.
pub(crate) fn shared(fake: &Arc<Fake>) -> Arc<dyn Shards> {
    Arc::clone(fake) as _
}
