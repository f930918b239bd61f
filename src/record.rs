//! Records, the batches that they travel in, and the runs that handlers get.

use crate::position::Position;
use std::{
    fmt,
    ops::Range,
    sync::{Arc, OnceLock},
};
use tokio::sync::OwnedSemaphorePermit;

mod lane;
mod stored;

pub use lane::{LaneKey, LaneKind, LaneOrder, NoKey, NoKeyError, OrderBy};
pub use stored::StoredError;

/// A partition's full name: `{source}/{partition}`. A clone is two reference counts.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PartitionName {
    /// The `NAME` of `[sources.NAME]`.
    pub source: Arc<str>,
    /// Kafka `{topic}/{n}`, Kinesis shard id, embedded log `{topic}/{n}`; for a queue, the queue.
    pub partition: Arc<str>,
}

impl PartitionName {
    /// A name.
    pub fn new(source: &str, partition: &str) -> Self {
        Self {
            source: source.into(),
            partition: partition.into(),
        }
    }

    /// Where a source's lanes are that all of its partitions share: a key's records go on in another shard
    /// when theirs is split or merged. No shard, queue or topic is called so.
    #[cfg(feature = "lambda")]
    pub(crate) fn of_all(source: &Arc<str>) -> Self {
        Self {
            source: Arc::clone(source),
            partition: "*".into(),
        }
    }

    /// Whether a person who says this means it: its name within its source, or the whole as it is shown.
    #[cfg(feature = "local")]
    pub(crate) fn is_meant_by(&self, said: &str) -> bool {
        *self.partition == *said || { said.strip_prefix(&*self.source) }
            .and_then(|rest| rest.strip_prefix('/'))
            .is_some_and(|rest| *self.partition == *rest)
    }
}

impl fmt::Display for PartitionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.source, self.partition)
    }
}

/// One ownership of a partition; records point to theirs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Assignment {
    /// What is owned.
    pub name: PartitionName,
    /// Ownership number, the fencing token.
    pub epoch: u64,
    /// Raised by an operator's rewind; part of the record id.
    pub generation: u64,
}

impl Assignment {
    /// The id of the record at this position: `{source}/{partition}/{position}/{generation}`.
    pub fn record_id(&self, position: &Position) -> String {
        format!("{}/{position}/{}", self.name, self.generation)
    }
}

/// Records of one fetch: one allocation for all bytes, one for all entries, freed with its last
/// record. It holds the permit for its bytes until then.
struct Batch {
    assignment: Arc<Assignment>,
    bytes: Box<[u8]>,
    entries: Box<[Entry]>,
    permit: Option<OwnedSemaphorePermit>,
}

/// Ranges into the batch's bytes.
struct Entry {
    position: Position,
    /// The lane's name: tag byte and what follows.
    lane: Range<u32>,
    /// Within the lane's name where the key makes the lane, else behind it.
    key: Option<Range<u32>>,
    /// `None`: a tombstone.
    value: Option<Range<u32>>,
    headers: Range<u32>,
    /// Milliseconds since 1970.
    timestamp: Option<i64>,
}

/// One request. A handle of 16 bytes; a clone is one reference count.
#[derive(Clone)]
pub struct Record {
    batch: Arc<Batch>,
    index: u32,
}

impl Record {
    fn entry(&self) -> &Entry {
        &self.batch.entries[self.index as usize]
    }

    fn slice(&self, range: &Range<u32>) -> &[u8] {
        &self.batch.bytes[range.start as usize..range.end as usize]
    }

    /// Whose ownership it was read under.
    pub fn assignment(&self) -> &Arc<Assignment> {
        &self.batch.assignment
    }

    /// Its place in its partition.
    pub fn position(&self) -> &Position {
        &self.entry().position
    }

    /// What must stay in order; `None` for a record without key (not: with an empty one).
    pub fn key(&self) -> Option<&[u8]> {
        self.entry().key.as_ref().map(|range| self.slice(range))
    }

    /// Tag byte and key: the lane's name in the engine.
    pub fn lane(&self) -> &[u8] {
        self.slice(&self.entry().lane)
    }

    /// The payload; `None` for a tombstone.
    pub fn value(&self) -> Option<&[u8]> {
        self.entry().value.as_ref().map(|range| self.slice(range))
    }

    /// Name and value of each header, in order.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        stored::Headers(self.slice(&self.entry().headers))
    }

    /// Milliseconds since 1970, where the source knows them.
    pub fn timestamp(&self) -> Option<i64> {
        self.entry().timestamp
    }

    /// `{source}/{partition}/{position}/{generation}`: the same at every try, so a target can use it
    /// as its idempotency key.
    pub fn id(&self) -> String {
        self.assignment().record_id(self.position())
    }

    /// The same record in a batch of its own.
    fn copied(&self, permit: Option<OwnedSemaphorePermit>) -> Self {
        let mut copy = BatchBuilder::new(Arc::clone(self.assignment()));
        copy.push_parts(
            self.position().clone(),
            (self.lane(), self.key()),
            self.value(),
            self.timestamp(),
            |bytes| bytes.extend_from_slice(self.slice(&self.entry().headers)),
        );
        Self {
            batch: Arc::new(copy.into_batch(permit)),
            index: 0,
        }
    }

    /// Bytes of lane name, key, value and headers.
    pub fn bytes(&self) -> usize {
        let entry = self.entry();
        let length = |range: &Option<Range<u32>>| range.as_ref().map_or(0, ExactSizeIterator::len);
        let key = if lane::key_of(self.lane()).is_some() {
            0
        } else {
            length(&entry.key)
        };
        entry.lane.len() + key + length(&entry.value) + entry.headers.len()
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the payload: debug output ends up in logs.
        f.debug_tuple("Record")
            .field(&format_args!("{}", self.id()))
            .finish()
    }
}

/// What a record costs beside its bytes: its entry and its share of the engine.
const OVERHEAD: u32 = 160;

impl partitions::Item for Record {
    type Position = Position;

    fn position(&self) -> &Position {
        Self::position(self)
    }

    fn key(&self) -> &[u8] {
        self.lane()
    }

    fn weight(&self) -> u32 {
        u32::try_from(self.bytes())
            .unwrap_or(u32::MAX)
            .saturating_add(OVERHEAD)
    }

    fn detach(&mut self) -> bool {
        if self.batch.entries.len() == 1 {
            return true;
        }
        // The copy needs a permit of its own. Where the budget has none left, the batch stays pinned:
        // that is accounted for already.
        let permit = match &self.batch.permit {
            None => None,
            Some(permit) => {
                let semaphore = Arc::clone(permit.semaphore());
                match semaphore.try_acquire_many_owned(partitions::Item::weight(self)) {
                    Ok(own) => Some(own),
                    Err(_) => return false,
                }
            }
        };
        *self = self.copied(permit);
        true
    }

    /// A batch ends with those that nobody else has records of, so that its permit is enough for
    /// their copies.
    fn share_out(records: &mut [Self]) {
        let batches: Vec<_> = records.iter().map(|r| Arc::as_ptr(&r.batch)).collect();
        let mut order: Vec<usize> = (0..records.len()).collect();
        order.sort_unstable_by_key(|&at| batches[at]);
        for group in order.chunk_by(|&one, &other| batches[one] == batches[other]) {
            if Arc::strong_count(&records[group[0]].batch) > group.len() {
                continue;
            }
            let mut last = None;
            for &at in group {
                let copy = records[at].copied(None);
                last = Some(std::mem::replace(&mut records[at], copy));
            }
            let batch = last.and_then(|record| Arc::into_inner(record.batch));
            let Some(mut permit) = batch.and_then(|batch| batch.permit) else {
                continue;
            };
            for &at in group {
                let weight = partitions::Item::weight(&records[at]) as usize;
                let own = permit.split(weight.min(permit.num_permits()));
                if let Some(batch) = Arc::get_mut(&mut records[at].batch) {
                    batch.permit = own;
                }
            }
        }
    }
}

/// Collects the records of one fetch.
pub struct BatchBuilder {
    assignment: Arc<Assignment>,
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

impl BatchBuilder {
    /// An empty batch.
    pub fn new(assignment: Arc<Assignment>) -> Self {
        Self {
            assignment,
            bytes: Vec::new(),
            entries: Vec::new(),
        }
    }

    /// Makes room for so many more records, with so many bytes together.
    #[cfg(any(feature = "kafka", feature = "lambda"))]
    pub(crate) fn reserve(&mut self, records: usize, bytes: usize) {
        self.entries.reserve_exact(records);
        self.bytes.reserve_exact(bytes);
    }

    /// Adds a record; its lane comes from `order`.
    ///
    /// # Errors
    /// When it has no key and `order` refuses that.
    pub fn push<'a>(
        &mut self,
        order: LaneOrder,
        position: Position,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
        timestamp: Option<i64>,
    ) -> Result<(), NoKeyError> {
        let start = self.bytes.len();
        order.write(key, &position, &mut self.bytes)?;
        let lane = place(start)..place(self.bytes.len());
        self.push_rest(position, lane, key, value, timestamp, |bytes| {
            for (name, value) in headers {
                stored::push_header(bytes, name, value);
            }
        });
        Ok(())
    }

    /// Adds a record whose lane is known.
    fn push_parts(
        &mut self,
        position: Position,
        (lane, key): (&[u8], Option<&[u8]>),
        value: Option<&[u8]>,
        timestamp: Option<i64>,
        headers: impl FnOnce(&mut Vec<u8>),
    ) {
        let lane = self.append(|bytes| bytes.extend_from_slice(lane));
        self.push_rest(position, lane, key, value, timestamp, headers);
    }

    fn push_rest(
        &mut self,
        position: Position,
        lane: Range<u32>,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        timestamp: Option<i64>,
        headers: impl FnOnce(&mut Vec<u8>),
    ) {
        let named = &self.bytes[lane.start as usize..lane.end as usize];
        let key = match key {
            Some(_) if lane::key_of(named).is_some() => Some(lane.start + 1..lane.end),
            Some(key) => Some(self.append(|bytes| bytes.extend_from_slice(key))),
            None => None,
        };
        let value = value.map(|value| self.append(|bytes| bytes.extend_from_slice(value)));
        let headers = self.append(headers);
        self.entries.push(Entry {
            position,
            lane,
            key,
            value,
            headers,
            timestamp,
        });
    }

    fn append(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Range<u32> {
        let start = self.bytes.len();
        write(&mut self.bytes);
        place(start)..place(self.bytes.len())
    }

    /// Records so far.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What the records will weigh: the permit to acquire before [`BatchBuilder::finish`].
    pub fn weight(&self) -> u64 {
        self.bytes.len() as u64 + self.entries.len() as u64 * u64::from(OVERHEAD)
    }

    /// The records. `permit` is given back when the last of them is dropped.
    pub fn finish(self, permit: Option<OwnedSemaphorePermit>) -> Vec<Record> {
        let batch = Arc::new(self.into_batch(permit));
        let count = u32::try_from(batch.entries.len()).unwrap_or(u32::MAX);
        (0..count)
            .map(|index| Record {
                batch: Arc::clone(&batch),
                index,
            })
            .collect()
    }

    fn into_batch(self, permit: Option<OwnedSemaphorePermit>) -> Batch {
        Batch {
            assignment: self.assignment,
            bytes: self.bytes.into_boxed_slice(),
            entries: self.entries.into_boxed_slice(),
            permit,
        }
    }
}

/// Sources bound a batch (one oversized record alone): no source hands over 4 GiB at once.
fn place(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// 1..n consecutive records of one lane, with the try that they are in. Owned: it outlives a
/// revocation.
#[derive(Clone, Debug)]
pub struct Run {
    records: Records,
    attempt: u32,
    id: OnceLock<String>,
}

#[derive(Clone, Debug)]
enum Records {
    One(Record),
    Many(Vec<Record>),
}

impl Run {
    /// A run of these records; `None` when there are none. `attempt` is the first record's, from 1.
    pub fn new<'a>(
        mut records: impl ExactSizeIterator<Item = &'a Record>,
        attempt: u32,
    ) -> Option<Self> {
        let records = if records.len() == 1 {
            Records::One(records.next()?.clone())
        } else {
            let all: Vec<Record> = records.cloned().collect();
            if all.is_empty() {
                return None;
            }
            Records::Many(all)
        };
        Some(Self {
            records,
            attempt,
            id: OnceLock::new(),
        })
    }

    /// The records, at least one.
    pub fn records(&self) -> &[Record] {
        match &self.records {
            Records::One(record) => std::slice::from_ref(record),
            Records::Many(records) => records,
        }
    }

    /// The records, taken out.
    pub(crate) fn into_records(self) -> impl Iterator<Item = Record> {
        let (one, many) = match self.records {
            Records::One(record) => (Some(record), Vec::new()),
            Records::Many(records) => (None, records),
        };
        one.into_iter().chain(many)
    }

    /// The first record.
    pub fn first(&self) -> &Record {
        &self.records()[0]
    }

    /// Which attempt this is for the first record, from 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The first record's id.
    pub fn id(&self) -> &str {
        self.id.get_or_init(|| self.first().id())
    }
}

#[cfg(all(test, feature = "local"))]
mod tests;
