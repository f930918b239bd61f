//! An event, decoded: partitions and their entries, without a tie to the payload that they came in.

use super::event::{EventError, EventKind};
#[cfg(all(feature = "cli", feature = "kinesis"))]
use super::windows::Open;
use crate::{kpl, position::Position, record::PartitionName};
use serde_json::value::RawValue;
use std::{fmt, sync::Arc};

mod batches;

pub use batches::{Batches, Handed};

/// What one invocation brings.
pub struct Delivery {
    /// What it comes from.
    pub kind: EventKind,
    /// The ARN of the stream, its consumer, the queue or the cluster, as the event has it. `None`: Kafka
    /// that is not Amazon's, of which [`Delivery::bootstrap_servers`] says which it is.
    pub arn: Option<String>,
    /// Kafka: the brokers, `host:port` with commas between.
    pub bootstrap_servers: Option<String>,
    /// The tumbling window that it is of. Such a mapping takes an answer without `state` for a failure.
    pub window: Option<Window>,
    /// Each at most once, with one entry at least; none only in an invocation that ends a window.
    pub partitions: Vec<Delivered>,
}

/// What a mapping with a tumbling window says beside the records; not interpreted.
#[derive(Clone)]
pub struct Window {
    /// `window`: its `start` and `end`.
    pub window: Option<Box<RawValue>>,
    /// `state`: what the last invocation of this window answered as such.
    pub state: Option<Box<RawValue>>,
    /// `shardId`.
    pub shard: Option<String>,
    /// `isFinalInvokeForWindow`.
    pub is_final: bool,
    /// `isWindowTerminatedEarly`.
    pub is_terminated_early: bool,
}

/// One partition's part of a delivery.
#[derive(Clone)]
pub struct Delivered {
    pub(super) name: Arc<str>,
    /// The mapping's own name for it, where an answer needs it (Kafka: `{topic}-{n}`).
    pub(super) item_name: String,
    /// What entries point into: keys, payloads, ids and headers, decoded.
    bytes: Vec<u8>,
    items: Vec<Item>,
    headers: Vec<(Span, Span)>,
    /// Aggregates that were read apart, ascending.
    pub unpacked: Vec<Unpacked>,
    /// Records that begin like an aggregate and are none, ascending: they are entries as they came.
    pub not_unpacked: Vec<NotUnpacked>,
    /// Entries that share their sequence number with others that came beside them, as where the mapping
    /// itself read an aggregate apart (enhanced fan-out): their sub-sequence numbers are counted within
    /// this event, since it has none. Another batch of the same aggregate would count from 0 again.
    pub sharing: usize,
    /// Kinesis: the first record without a partition key, where there is one: the stream places its
    /// records by itself, wherever their keys would belong.
    pub unplaced: Option<Position>,
}

/// An aggregate that was read apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unpacked {
    /// Its own sequence number; its records have those behind it with a sub-sequence number.
    pub position: Position,
    /// How many records it held.
    pub records: usize,
    /// The sub-sequence number of the first whose partition key is not that of the aggregate.
    pub mixed_key: Option<usize>,
}

/// A record that begins like an aggregate and is none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NotUnpacked {
    /// Where it is.
    pub position: Position,
    /// Why it is taken as it came.
    pub why: kpl::Unsound,
}

/// A range of a partition's bytes.
#[derive(Clone, Copy)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    fn new(start: usize, end: usize) -> Self {
        // The payload's length was checked, and nothing decoded is longer than its text.
        let place = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Self {
            start: place(start),
            end: place(end),
        }
    }
}

/// An entry's parts, all in its partition's bytes but the headers.
#[derive(Clone)]
pub(super) struct Item {
    pub(super) position: Position,
    pub(super) key: Option<Span>,
    pub(super) value: Option<Span>,
    /// Of the partition's headers.
    pub(super) headers: Span,
    pub(super) timestamp: Option<i64>,
    pub(super) receives: Option<u32>,
    pub(super) id: Option<Span>,
}

/// One record as it was delivered.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    of: &'a Delivered,
    item: &'a Item,
}

impl Delivery {
    /// A delivery without partitions yet.
    pub(super) fn new(kind: EventKind, arn: Option<String>) -> Self {
        Self {
            kind,
            arn,
            bootstrap_servers: None,
            window: None,
            partitions: Vec::new(),
        }
    }

    /// One that brings nothing of one partition: what is decided on its lanes is acted on all the same.
    pub(super) fn of_nothing(kind: EventKind, partition: &str) -> Self {
        Self {
            partitions: vec![Delivered::new(partition, partition)],
            ..Self::new(kind, None)
        }
    }

    /// The entries of these partitions and positions, and no others.
    #[cfg(all(feature = "cli", feature = "kinesis"))]
    pub(super) fn only(&self, wanted: &Open) -> Self {
        let of = |delivered: &Delivered| {
            let mut delivered = delivered.clone();
            let name = Arc::clone(&delivered.name);
            delivered
                .retain(|entry| wanted.contains(&(Arc::clone(&name), entry.position().clone())));
            delivered
        };
        let partitions = self.partitions.iter().map(of);
        Self {
            kind: self.kind,
            arn: self.arn.clone(),
            bootstrap_servers: self.bootstrap_servers.clone(),
            window: self.window.clone(),
            partitions: partitions.filter(|part| !part.is_empty()).collect(),
        }
    }

    /// How many entries there are, in all partitions.
    pub fn entries(&self) -> usize {
        self.partitions.iter().map(Delivered::len).sum()
    }

    /// The ARN without the consumer that it may name: enhanced fan-out has
    /// `…:stream/NAME/consumer/NAME:TIME` for `…:stream/NAME`.
    pub fn source_arn(&self) -> Option<&str> {
        let arn = self.arn.as_deref()?;
        let consumer = { arn.split_once("/consumer/") }.filter(|_| self.kind == EventKind::Kinesis);
        Some(consumer.map_or(arn, |(stream, _)| stream))
    }

    /// Refuses aggregates whose records have other partition keys than they themselves: for a mapping
    /// with a ParallelizationFactor above 1, or one that is not known.
    ///
    /// # Errors
    /// When there is one: [`EventError::MixedKeys`].
    pub fn refuse_mixed_keys(&self) -> Result<(), EventError> {
        for partition in &self.partitions {
            for unpacked in &partition.unpacked {
                if let Some(sub) = unpacked.mixed_key {
                    return Err(EventError::MixedKeys {
                        partition: partition.name.to_string(),
                        position: unpacked.position.clone(),
                        sub,
                        records: unpacked.records,
                    });
                }
            }
        }
        Ok(())
    }

    /// Says of each record that begins like an aggregate of the producer library, and is none, why it is taken as
    /// it came.
    pub(super) fn tell_of_what_is_no_aggregate(&self, source: &str) {
        for delivered in &self.partitions {
            for NotUnpacked { position, why } in &delivered.not_unpacked {
                let partition = &*delivered.name;
                tracing::warn!(source, partition, %position, %why, "the record begins like an aggregate of the producer library and is none: the handler gets it as it came");
            }
        }
    }

    /// Refuses records of a stream that places them by itself: for an order by key, which such a stream
    /// does not keep.
    ///
    /// # Errors
    /// When there is one: [`EventError::Unplaced`].
    pub fn refuse_unplaced(&self) -> Result<(), EventError> {
        for partition in &self.partitions {
            if let Some(position) = &partition.unplaced {
                return Err(EventError::Unplaced {
                    partition: partition.name.to_string(),
                    position: position.clone(),
                });
            }
        }
        Ok(())
    }
}

impl Delivery {
    /// Refuses records of shards that the event does not name: for an order of each shard as a whole.
    ///
    /// # Errors
    /// When there is one: [`EventError::NoShard`].
    pub fn refuse_unnamed_shards(&self) -> Result<(), EventError> {
        let partition = self.partitions.first();
        match partition.filter(|_| self.kind == EventKind::DynamodbStreams) {
            Some(partition) => Err(EventError::NoShard {
                partition: partition.name.to_string(),
            }),
            None => Ok(()),
        }
    }
}

impl Delivered {
    /// A partition without entries yet.
    pub(super) fn new(name: &str, item_name: &str) -> Self {
        Self {
            name: name.into(),
            item_name: item_name.to_owned(),
            bytes: Vec::new(),
            items: Vec::new(),
            headers: Vec::new(),
            unpacked: Vec::new(),
            not_unpacked: Vec::new(),
            sharing: 0,
            unplaced: None,
        }
    }

    /// Its name within its source: shard id, queue name or `{topic}/{n}`.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Its full name, where the source is called so.
    pub fn full_name(&self, source: &Arc<str>) -> PartitionName {
        PartitionName {
            source: Arc::clone(source),
            partition: Arc::clone(&self.name),
        }
    }

    /// How many entries it has.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The entries, in strictly ascending order of their positions.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = Entry<'_>> + DoubleEndedIterator {
        self.items.iter().map(|item| Entry { of: self, item })
    }

    /// Leaves out the entries that are not wanted.
    #[cfg(all(feature = "cli", feature = "kinesis"))]
    pub(super) fn retain(&mut self, wanted: impl Fn(Entry<'_>) -> bool) {
        let mut wanted = { self.entries().map(wanted) }
            .collect::<Vec<_>>()
            .into_iter();
        self.items.retain(|_| wanted.next().unwrap_or_default());
    }

    fn entry(&self, index: usize) -> Option<Entry<'_>> {
        let item = self.items.get(index)?;
        Some(Entry { of: self, item })
    }

    /// What was appended there.
    pub(super) fn slice(&self, span: Span) -> &[u8] {
        &self.bytes[span.start as usize..span.end as usize]
    }

    /// Bytes that entries may point to.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Span {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        Span::new(start, self.bytes.len())
    }

    /// The same of bytes that are given one by one.
    pub(super) fn append_each(&mut self, bytes: impl Iterator<Item = u8>) -> Span {
        let start = self.bytes.len();
        self.bytes.extend(bytes);
        Span::new(start, self.bytes.len())
    }

    /// The same of what a text in base64 says; `None`: it is no such text.
    pub(super) fn append_base64(&mut self, text: &str) -> Option<Span> {
        let start = self.bytes.len();
        base64_simd::STANDARD
            .decode_append(text, &mut self.bytes)
            .ok()?;
        Some(Span::new(start, self.bytes.len()))
    }

    /// Takes back what was appended last.
    pub(super) fn take_back(&mut self, span: Span) -> Vec<u8> {
        self.bytes.split_off(span.start as usize)
    }

    /// Where the headers begin of the entry that is pushed next.
    pub(super) fn headers_from(&self) -> usize {
        self.headers.len()
    }

    pub(super) fn push_header(&mut self, name: Span, value: Span) {
        self.headers.push((name, value));
    }

    /// The headers that were pushed since.
    pub(super) fn headers_since(&self, from: usize) -> Span {
        Span::new(from, self.headers.len())
    }

    pub(super) fn push(&mut self, item: Item) {
        self.items.push(item);
    }

    /// Puts the entries in order. Retries may come out of it, and a position is its own proof.
    ///
    /// # Errors
    /// When two of them have one position, or one sequence number in two places: which one.
    pub(super) fn seal(&mut self) -> Result<(), Position> {
        let ascends = |pair: &[Item]| pair[0].position < pair[1].position;
        if self.items.windows(2).all(ascends) {
            return Ok(());
        }
        self.items.sort_by(|a, b| a.position.cmp(&b.position));
        let twice = |pair: &&[Item]| {
            let (a, b) = (&pair[0].position, &pair[1].position);
            let is_one_number = a.number().is_some() && a.number() == b.number();
            a == b || (is_one_number && a.sub().is_none())
        };
        match self.items.windows(2).find(twice) {
            Some(pair) => Err(pair[1].position.clone()),
            None => Ok(()),
        }
    }
}

impl<'a> Entry<'a> {
    /// Its place in its partition; [`crate::lambda`] says of each kind what it is.
    pub fn position(self) -> &'a Position {
        &self.item.position
    }

    /// Partition key, message group or Kafka key; `None`: it has none.
    pub fn key(self) -> Option<&'a [u8]> {
        self.item.key.map(|span| self.of.slice(span))
    }

    /// The payload; `None`: a tombstone.
    pub fn value(self) -> Option<&'a [u8]> {
        self.item.value.map(|span| self.of.slice(span))
    }

    /// Name and value of each header, in order.
    pub fn headers(self) -> impl ExactSizeIterator<Item = (&'a str, &'a [u8])> {
        let Span { start, end } = self.item.headers;
        let headers = &self.of.headers[start as usize..end as usize];
        headers.iter().map(move |(name, value)| {
            // It was text when it was appended.
            let name = std::str::from_utf8(self.of.slice(*name)).unwrap_or_default();
            (name, self.of.slice(*value))
        })
    }

    /// When the source took it, in milliseconds since 1970, where it says so.
    pub fn timestamp(self) -> Option<i64> {
        self.item.timestamp
    }

    /// SQS: how often it was received, this time included, whether or not it was run.
    pub fn receives(self) -> Option<u32> {
        self.item.receives
    }

    /// SQS: the message's id. DynamoDB Streams: the sequence number as it was written.
    pub fn id(self) -> Option<&'a str> {
        let id = self.of.slice(self.item.id?);
        std::str::from_utf8(id).ok()
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("kind", &self.kind)
            .field("arn", &self.arn)
            .field("partitions", &self.partitions)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Delivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never a payload or a key: debug output ends up in logs.
        write!(f, "{} ({} entries)", self.name, self.items.len())
    }
}
