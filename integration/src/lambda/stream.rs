//! A stream of shards in memory.

mod sequence;

pub use sequence::Sequence;

use super::{
    clock::Clock,
    event::{ACCOUNT, REGION},
};
use md5::{Digest as _, Md5};
use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

/// What Kinesis keeps unless it is told otherwise.
const RETENTION: Duration = Duration::from_secs(24 * 3600);

/// A stream: the model itself, or what was read from a server. A clone is the same stream.
#[derive(Clone)]
pub struct Stream {
    name: Arc<str>,
    kind: Kind,
    clock: Clock,
    state: Arc<Mutex<State>>,
}

/// Whose stream it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Of Kinesis.
    Kinesis,
    /// Of a table of DynamoDB: its records are items with a text. Numbers begin anew in each shard that has no
    /// parent, since AWS promises no more than an order within a shard; a child's are greater than its
    /// parents'.
    Table,
}

struct State {
    kind: Kind,
    shards: Vec<Shard>,
    retention: Duration,
    feed: Option<Box<dyn Feed>>,
}

/// Brings what has arrived on a server since.
pub(crate) trait Feed: Send {
    fn bring(&mut self, shards: &mut Vec<Shard>) -> io::Result<()>;
}

/// One shard with all its records.
#[derive(Clone, Debug)]
pub(crate) struct Shard {
    pub(crate) id: String,
    /// None, one after a split, two after a merge.
    pub(crate) parents: Vec<String>,
    /// Hash keys, both inclusive.
    pub(crate) range: (u128, u128),
    /// Nothing will come any more.
    pub(crate) is_closed: bool,
    pub(crate) records: Vec<Arc<StreamRecord>>,
}

/// A record as the stream holds it.
#[derive(Clone, Debug)]
pub struct StreamRecord {
    /// Its place in the stream.
    pub sequence: Sequence,
    /// `None`: from a stream that ignores keys.
    pub key: Option<String>,
    /// Its payload.
    pub data: Vec<u8>,
    /// When the stream took it, by the clock of the stream.
    pub arrival: SystemTime,
}

/// A record that is to be put.
#[derive(Clone, Debug, Default)]
pub struct Put {
    key: Option<String>,
    data: Vec<u8>,
    sequence: Option<String>,
    age: Duration,
    shard: Option<usize>,
}

impl Put {
    /// One with this key.
    pub fn new(key: &str, data: impl Into<Vec<u8>>) -> Self {
        Self {
            key: Some(key.to_owned()),
            data: data.into(),
            ..Self::default()
        }
    }

    /// One of a stream that ignores keys.
    pub fn without_key(data: impl Into<Vec<u8>>) -> Self {
        Self {
            data: data.into(),
            ..Self::default()
        }
    }

    /// With this sequence number, greater than all of its shard.
    pub fn numbered(mut self, sequence: &str) -> Self {
        self.sequence = Some(sequence.to_owned());
        self
    }

    /// As if it had been put so long ago.
    pub fn aged(mut self, age: Duration) -> Self {
        self.age = age;
        self
    }

    /// Into this shard, by its number from 0, whatever its key says.
    pub fn into_shard(mut self, shard: usize) -> Self {
        self.shard = Some(shard);
        self
    }
}

impl Stream {
    /// A stream with so many open shards, at least one, on a clock of its own.
    pub fn new(name: &str, shards: usize) -> Self {
        Self::with_clock(name, shards, Clock::default())
    }

    /// The same on this clock.
    pub fn with_clock(name: &str, shards: usize, clock: Clock) -> Self {
        Self::of_kind(Kind::Kinesis, name, shards, clock)
    }

    /// The stream of a table with so many open shards, on a clock of its own.
    pub fn of_table(name: &str, shards: usize) -> Self {
        Self::of_kind(Kind::Table, name, shards, Clock::default())
    }

    fn of_kind(kind: Kind, name: &str, shards: usize, clock: Clock) -> Self {
        let count = shards.max(1) as u128;
        let width = u128::MAX / count;
        let shards = (0..count).map(|number| {
            let begin = number * width;
            let is_last = number + 1 == count;
            let end = if is_last {
                u128::MAX
            } else {
                begin + width - 1
            };
            Shard::open(number as usize, Vec::new(), (begin, end))
        });
        Self {
            name: name.into(),
            kind,
            clock,
            state: Arc::new(Mutex::new(State {
                kind,
                shards: shards.collect(),
                retention: RETENTION,
                feed: None,
            })),
        }
    }

    /// One whose shards and records, with their arrivals, are those of a server. Waits are skipped all the
    /// same: its records age by what is skipped.
    pub(crate) fn fed(name: &str, feed: Box<dyn Feed>) -> Self {
        let kind = Kind::Kinesis;
        Self {
            name: name.into(),
            kind,
            clock: Clock::default(),
            state: Arc::new(Mutex::new(State {
                kind,
                shards: Vec::new(),
                retention: RETENTION,
                feed: Some(feed),
            })),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its ARN, as events name it.
    pub fn arn(&self) -> String {
        let name = &self.name;
        match self.kind {
            Kind::Kinesis => format!("arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/{name}"),
            Kind::Table => format!(
                "arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{name}/stream/2026-01-01T00:00:00.000"
            ),
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// The time that its arrivals, and the mappings on it, live by.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Keeps records for so long from now on: 24 h without this.
    pub fn keep_for(&self, retention: Duration) {
        self.state().retention = retention;
    }

    /// Puts a record with this key into the shard of that key.
    ///
    /// # Errors
    /// As [`Stream::put_record`].
    pub fn put(&self, key: &str, data: &str) -> io::Result<Sequence> {
        self.put_record(Put::new(key, data))
    }

    /// Puts a record.
    ///
    /// # Errors
    /// When its sequence number is none or not greater than the last of its shard, or there is no such
    /// open shard, or the stream is a server's.
    pub fn put_record(&self, put: Put) -> io::Result<Sequence> {
        let now = self.clock.now();
        let mut state = self.state();
        state.refuse_if_fed(&self.name)?;
        state.put(put, now)
    }

    /// Puts records, of which a mapping at work sees all or none.
    ///
    /// # Errors
    /// As [`Stream::put_record`].
    pub fn put_all(&self, puts: impl IntoIterator<Item = Put>) -> io::Result<()> {
        let now = self.clock.now();
        let mut state = self.state();
        state.refuse_if_fed(&self.name)?;
        puts.into_iter()
            .try_for_each(|put| state.put(put, now).map(drop))
    }

    /// Closes a shard, by its number from 0, and opens two children; gives their numbers.
    ///
    /// # Errors
    /// When there is no such open shard.
    pub fn split(&self, shard: usize) -> io::Result<[usize; 2]> {
        let mut state = self.state();
        state.refuse_if_fed(&self.name)?;
        let (id, (begin, end)) = state.close(shard)?;
        let middle = begin + (end - begin) / 2;
        let lower = state.open(vec![id.clone()], (begin, middle));
        let upper = state.open(vec![id], (middle + 1, end));
        Ok([lower, upper])
    }

    /// Closes two neighbours and opens their child; gives its number.
    ///
    /// # Errors
    /// When they are not two neighbours that are open.
    pub fn merge(&self, shard: usize, other: usize) -> io::Result<usize> {
        let mut state = self.state();
        state.refuse_if_fed(&self.name)?;
        let ranges = |number: usize| state.shards.get(number).map(|shard| shard.range);
        let are_neighbours = match (ranges(shard), ranges(other)) {
            (Some(one), Some(other)) => {
                one.1.checked_add(1) == Some(other.0) || other.1.checked_add(1) == Some(one.0)
            }
            _ => false,
        };
        if !are_neighbours {
            return Err(io::Error::other(format!(
                "shards {shard} and {other} are no neighbours: they cannot be merged"
            )));
        }
        let (one, range) = state.close(shard)?;
        let (two, other) = state.close(other)?;
        let range = (range.0.min(other.0), range.1.max(other.1));
        Ok(state.open(vec![one, two], range))
    }

    /// Brings what a server has, where there is one.
    pub(crate) fn refresh(&self) -> io::Result<()> {
        let mut state = self.state();
        let State { shards, feed, .. } = &mut *state;
        feed.as_mut().map_or(Ok(()), |feed| feed.bring(shards))
    }

    /// Looks at all shards and the retention.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&[Shard], Duration) -> T) -> T {
        let state = self.state();
        look(&state.shards, state.retention)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn put(&mut self, put: Put, now: SystemTime) -> io::Result<Sequence> {
        let count: usize = self.shards.iter().map(|shard| shard.records.len()).sum();
        let hash = put.key.as_deref().map_or(0, hash_key);
        let number = match put.shard {
            Some(number) => Some(number),
            None => self.shards.iter().position(|shard| shard.takes(hash)),
        };
        let generation = number.map_or(0, |number| self.generation(number));
        let shard = number
            .and_then(|number| self.shards.get_mut(number))
            .filter(|shard| !shard.is_closed)
            .ok_or_else(|| io::Error::other(format!("there is no such open shard: {put:?}")))?;
        let sequence = match (&put.sequence, self.kind) {
            (Some(number), _) => Sequence::new(number)?,
            (None, Kind::Kinesis) => Sequence::generated(count),
            (None, Kind::Table) => Sequence::of_table(generation, shard.records.len()),
        };
        if let Some(last) = shard.records.last()
            && last.sequence >= sequence
        {
            return Err(io::Error::other(format!(
                "{sequence} cannot follow {} in {}: sequence numbers grow",
                last.sequence, shard.id
            )));
        }
        shard.records.push(Arc::new(StreamRecord {
            sequence: sequence.clone(),
            key: put.key,
            data: put.data,
            arrival: now - put.age,
        }));
        Ok(sequence)
    }

    /// How many generations of parents a shard has.
    fn generation(&self, number: usize) -> usize {
        let parents = self.shards.get(number).map(|shard| &shard.parents);
        let places = { parents.into_iter().flatten() }
            .filter_map(|parent| self.shards.iter().position(|shard| shard.id == *parent));
        places
            .map(|place| self.generation(place) + 1)
            .max()
            .unwrap_or(0)
    }

    fn open(&mut self, parents: Vec<String>, range: (u128, u128)) -> usize {
        let number = self.shards.len();
        self.shards.push(Shard::open(number, parents, range));
        number
    }

    fn close(&mut self, number: usize) -> io::Result<(String, (u128, u128))> {
        let shard = self.shards.get_mut(number).filter(|s| !s.is_closed);
        let shard =
            shard.ok_or_else(|| io::Error::other(format!("there is no open shard {number}")))?;
        shard.is_closed = true;
        Ok((shard.id.clone(), shard.range))
    }

    fn refuse_if_fed(&self, name: &str) -> io::Result<()> {
        if self.feed.is_some() {
            return Err(io::Error::other(format!(
                "shards and records of `{name}` are those of a server: change them there"
            )));
        }
        Ok(())
    }
}

impl Shard {
    fn open(number: usize, parents: Vec<String>, range: (u128, u128)) -> Self {
        Self {
            id: format!("shardId-{number:012}"),
            parents,
            range,
            is_closed: false,
            records: Vec::new(),
        }
    }

    fn takes(&self, hash: u128) -> bool {
        !self.is_closed && self.range.0 <= hash && hash <= self.range.1
    }
}

/// The place of a key in the range of hash keys, as Kinesis computes it.
pub(super) fn hash_key(key: &str) -> u128 {
    u128::from_be_bytes(Md5::digest(key.as_bytes()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(stream: &Stream, shard: usize) -> Vec<String> {
        stream.look(|shards, _| {
            let records = shards[shard].records.iter();
            records
                .map(|record| String::from_utf8(record.data.clone()).unwrap())
                .collect()
        })
    }

    #[test]
    fn a_key_has_one_shard() {
        let stream = Stream::new("orders", 3);
        for number in 0..60 {
            let key = format!("k{}", number % 20);
            stream.put(&key, &key).unwrap();
        }
        let held: Vec<Vec<String>> = (0..3).map(|shard| texts(&stream, shard)).collect();
        assert_eq!(held.iter().map(Vec::len).sum::<usize>(), 60);
        for key in (0..20).map(|key| format!("k{key}")) {
            assert_eq!(held.iter().filter(|shard| shard.contains(&key)).count(), 1);
        }
        assert!(held.iter().all(|shard| !shard.is_empty()));
    }

    #[test]
    fn children_take_what_their_parent_took() {
        let stream = Stream::new("orders", 1);
        stream.put("a", "before").unwrap();
        let [lower, upper] = stream.split(0).unwrap();
        for number in 0..20 {
            stream.put(&number.to_string(), "after").unwrap();
        }
        assert_eq!(texts(&stream, 0), ["before"]);
        assert!(!texts(&stream, lower).is_empty() && !texts(&stream, upper).is_empty());
        assert!(stream.split(0).is_err(), "it is closed");
        let child = stream.merge(lower, upper).unwrap();
        stream.put("a", "merged").unwrap();
        assert_eq!(texts(&stream, child), ["merged"]);
        assert!(stream.merge(0, child).is_err());
    }

    #[test]
    fn sequence_numbers_grow() {
        let stream = Stream::new("orders", 1);
        let put = |number: &str| stream.put_record(Put::new("a", "").numbered(number));
        put("9").unwrap();
        assert!(put("9").is_err());
        put("10").unwrap();
        assert!(put("no number").is_err());
        let (one, two) = (stream.put("a", "").unwrap(), stream.put("a", "").unwrap());
        assert!(one < two);
    }
}
