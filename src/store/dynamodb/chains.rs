//! Chains: segments of records under a partition key of their lane's own, and the parts of large
//! records.
//!
//! A segment's sort key is its first position and the commit that wrote it, so that no key is ever
//! written twice: what has passed is deleted after the commit that says so, without a condition, and
//! a late deletion harms nothing. Of the first segment only what is at or behind the lane item's head
//! is in the chain; a segment of a commit before the one that made the chain is of an ended life of
//! the lane.

use super::{
    DynamodbStore, Query,
    attributes::Wrong,
    expression::Expression,
    lanes,
    query::{behind, key_of},
    schema::{self, Item, PART, SEGMENT, Writer},
    segments::{DATA, Kept, RECORDS, TO, kept, opened},
};
use crate::{
    position::Position,
    record::{Assignment, LaneKey, PartitionName, Record},
    store::{LaneChange, StoreError, rules},
};
use aws_sdk_dynamodb::types::AttributeValue;
use std::{collections::BTreeMap, sync::Arc};

/// Which chain.
pub(super) type ChainName = (PartitionName, LaneKey);

/// Segments that this process read or wrote: keys by the position of their last record.
pub(super) type Known = BTreeMap<Position, Vec<Item>>;

impl DynamodbStore {
    pub(super) fn chain_pk(&self, (partition, lane): &ChainName) -> String {
        schema::chain(&self.app, partition, lane)
    }

    /// Remembers a segment, to delete it once it passed.
    fn know(&self, chain: &ChainName, last: Position, item: &Item) {
        if let Some(key) = key_of(item)
            && let Ok(mut known) = self.segments.lock()
        {
            let keys = known
                .entry(chain.clone())
                .or_default()
                .entry(last)
                .or_default();
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
    }

    /// A commit that wrote these is durable.
    pub(super) fn know_written(&self, chain: &ChainName, segments: &[Item]) {
        for item in segments {
            if let Ok((last, _)) = opened(item) {
                self.know(chain, last, item);
            }
        }
    }

    /// Writes the parts of large records. Nobody sees them before a segment names them.
    pub(super) async fn write_parts(&self, parts: &[Item]) -> Result<f64, super::call::Trouble> {
        let client = self.client().await;
        let mut units = 0.0;
        for item in parts {
            let write = || async {
                let output = client
                    .put_item()
                    .table_name(&*self.table)
                    .set_item(Some(item.clone()))
                    .return_consumed_capacity(super::call::TOTAL)
                    .send()
                    .await
                    .map_err(super::call::trouble)?;
                Ok(self.meter.wrote(output.consumed_capacity()))
            };
            units += self.retrying(write).await?;
        }
        Ok(units)
    }

    pub(super) async fn read_chain(
        &self,
        assignment: &Arc<Assignment>,
        lane: &LaneKey,
        after: Option<&Position>,
        records_max: usize,
        bytes_max: u64,
    ) -> Result<Vec<Record>, StoreError> {
        let name = (assignment.name.clone(), lane.clone());
        let item = self.item(&self.lane_key(&name.0, lane)).await?;
        let Some((head, made)) = self.chain_head(&name, item.as_ref())? else {
            return Ok(Vec::new());
        };
        let mut reading = Reading {
            store: self,
            assignment,
            name: &name,
            from: head,
            after: after.cloned(),
            records_max,
            bytes_max,
            bytes: 0,
            records: Vec::new(),
        };
        let first = match after {
            Some(after) => self.segment_before(&name, after, &made).await?,
            None => None,
        };
        let pk = self.chain_pk(&name);
        let from = first.unwrap_or_else(|| SEGMENT.to_owned());
        let mut query = Query::between(pk, from, format!("{SEGMENT}{}", schema::LAST));
        // What is read is paid for, wanted or not: most often two segments are enough, but they may be
        // of one record each.
        let (mut start, mut limit) = (None, 2);
        loop {
            query = query.limit(limit);
            limit *= 2;
            let page = self.query_page(&query, start).await?;
            for item in &page.items {
                let sk = schema::sk_of(item);
                if schema::writer_of(&sk).is_some_and(|writer| writer >= made)
                    && reading.take(item).await?
                {
                    return Ok(reading.records);
                }
            }
            match page.next {
                Some(next) => start = Some(next),
                None => return Ok(reading.records),
            }
        }
    }

    /// Where a lane's chain begins, and the commit that made it.
    fn chain_head(
        &self,
        (partition, _): &ChainName,
        item: Option<&Item>,
    ) -> Result<Option<(Position, Writer)>, StoreError> {
        let Some(item) = item else { return Ok(None) };
        if !matches!(lanes::ended(item), Ok(None)) {
            return Ok(None);
        }
        let sk = schema::sk_of(item);
        let wrong = |wrong: Wrong| self.wrong_lane(partition, &sk, &wrong);
        let lane = lanes::decode(item).map_err(wrong)?;
        let made = lanes::chain_of(item).map_err(wrong)?;
        Ok(made
            .filter(|_| lane.tail.is_some())
            .map(|made| (lane.head, made)))
    }

    /// The sort key of the chain's last segment that begins at or before a position.
    async fn segment_before(
        &self,
        name: &ChainName,
        position: &Position,
        made: &Writer,
    ) -> Result<Option<String>, StoreError> {
        let to = behind(&format!("{SEGMENT}{}#", position.padded()));
        let query = Query::between(self.chain_pk(name), SEGMENT.to_owned(), to)
            .backwards()
            .limit(4)
            .keys_only();
        let mut start = None;
        loop {
            let page = self.query_page(&query, start).await?;
            let mut keys = page.items.iter().map(schema::sk_of);
            let found = keys.find(|sk| schema::writer_of(sk).is_some_and(|w| w >= *made));
            match (found, page.next) {
                (Some(sk), _) => return Ok(Some(sk)),
                (None, Some(next)) => start = Some(next),
                (None, None) => return Ok(None),
            }
        }
    }

    /// Deletes what a durable commit passed, as far as this process knows it. What it does not know
    /// is below the head, and goes with the chain.
    pub(super) async fn delete_passed(&self, chain: &ChainName, passed: &Position) {
        let keys: Vec<Item> = match self.segments.lock() {
            Ok(mut known) => {
                let Some(of) = known.get_mut(chain) else {
                    return;
                };
                let mut gone = Vec::new();
                while let Some(entry) = of.first_entry()
                    && entry.key() <= passed
                {
                    gone.extend(entry.remove());
                }
                gone
            }
            Err(_) => return,
        };
        if let Err(error) = self.delete_all(keys).await {
            tracing::debug!(source = %chain.0.source, partition = %chain.0.partition, lane = chain.1.id(&chain.0.partition), %error, "segments that passed stay for now");
        }
    }

    /// Deletes what is left of a lane whose chain ended, then its item.
    pub(super) async fn sweep(&self, chain: &ChainName, ended: &Writer) {
        if let Ok(mut known) = self.segments.lock() {
            known.remove(chain);
        }
        if let Err(error) = self.try_sweep(chain, ended).await {
            tracing::debug!(source = %chain.0.source, partition = %chain.0.partition, lane = chain.1.id(&chain.0.partition), %error, "what is left of an ended chain stays until the next claim");
        }
    }

    async fn try_sweep(&self, chain: &ChainName, ended: &Writer) -> Result<(), StoreError> {
        let query = Query::all(self.chain_pk(chain)).keys_only();
        let mut keys = self.query_all(query).await?;
        // Of a later life nothing, which may have begun meanwhile.
        keys.retain(|item| schema::writer_of(&schema::sk_of(item)).is_none_or(|w| w <= *ended));
        self.delete_all(keys).await?;
        let mut expression = Expression::default();
        let as_left = expression.compare("ended", "=", super::attributes::text(&ended.0));
        expression.and(&as_left);
        self.delete_if(self.lane_key(&chain.0, &chain.1), &expression)
            .await
    }

    /// Sweeps what a former owner could not.
    pub(super) async fn sweep_ended(&self, partition: &PartitionName) {
        if let Ok(mut known) = self.segments.lock() {
            known.retain(|(of, _), _| of != partition);
        }
        let Ok(items) = self.lane_items(partition).await else {
            return;
        };
        for item in items {
            let of = super::attributes::Reader(&item);
            let lane = of.bytes("lane").ok().and_then(LaneKey::from_bytes);
            if let (Ok(Some(ended)), Some(lane)) = (lanes::ended(&item), lane) {
                self.sweep(&(partition.clone(), lane), &ended).await;
            }
        }
    }

    /// Segments that begin before a chain's head, for a change that joins records in front of it:
    /// what of them passed would come alive again, so they are written anew without it. Gives the
    /// segments to write and the keys to delete.
    pub(super) async fn trimmed(
        &self,
        chain: &ChainName,
        change: &LaneChange,
        writer: &Writer,
    ) -> Result<(Vec<Item>, Vec<Item>), StoreError> {
        let nothing = (Vec::new(), Vec::new());
        let item = self.item(&self.lane_key(&chain.0, &chain.1)).await?;
        let Some((head, made)) = self.chain_head(chain, item.as_ref())? else {
            return Ok(nothing);
        };
        if change
            .append
            .last()
            .is_none_or(|last| *last.position() > head)
        {
            return Ok(nothing);
        }
        let to = format!("{SEGMENT}{}", head.padded());
        let query = Query::between(self.chain_pk(chain), SEGMENT.to_owned(), to);
        let (mut anew, mut old) = nothing;
        let mut passed = Vec::new();
        for item in self.query_all(query).await? {
            let sk = schema::sk_of(&item);
            // What a commit from this one on wrote is not this one's to judge: where there is any, a
            // successor came after the head was read, and this commit is refused.
            if schema::writer_of(&sk).is_none_or(|w| w < made || w >= *writer) {
                continue;
            }
            let wrong = |wrong: Wrong| {
                self.damaged(
                    format_args!("{sk} of lane `{}` of {}", chain.1, chain.0),
                    &wrong,
                )
            };
            let (_, entries) = opened(&item).map_err(wrong)?;
            let mut left = Vec::new();
            let mut first = None;
            for entry in entries {
                let kept = kept(entry).map_err(wrong)?;
                if kept.position >= head {
                    first.get_or_insert(kept.position);
                    left.push(entry.clone());
                }
            }
            if let (Some(first), Some(last)) = (first, item.get(TO)) {
                let mut trimmed =
                    schema::key(self.chain_pk(chain), schema::segment(&first, writer));
                trimmed.insert(TO.to_owned(), last.clone());
                trimmed.insert(RECORDS.to_owned(), AttributeValue::L(left));
                anew.push(trimmed);
                old.extend(key_of(&item));
            } else {
                passed.extend(key_of(&item));
            }
        }
        self.delete_all(passed).await?;
        Ok((anew, old))
    }
}

/// A page of a chain in the making.
struct Reading<'r> {
    store: &'r DynamodbStore,
    assignment: &'r Arc<Assignment>,
    name: &'r ChainName,
    from: Position,
    after: Option<Position>,
    records_max: usize,
    bytes_max: u64,
    bytes: u64,
    records: Vec<Record>,
}

impl Reading<'_> {
    /// Takes what is wanted of a segment; `true` when the page is full.
    async fn take(&mut self, item: &Item) -> Result<bool, StoreError> {
        let sk = schema::sk_of(item);
        let (partition, lane) = self.name;
        let wrong = |why: &dyn std::fmt::Display| {
            let what = format!("chain of lane `{lane}` of {partition}, {sk}");
            self.store.damaged(what, &Wrong(why.to_string()))
        };
        let (last, entries) = opened(item).map_err(|error| wrong(&error.0))?;
        self.store.know(self.name, last, item);
        for entry in entries {
            if self.records.len() >= self.records_max {
                return Ok(true);
            }
            let kept = kept(entry).map_err(|error| wrong(&error.0))?;
            let passed = kept.position < self.from
                || self
                    .after
                    .as_ref()
                    .is_some_and(|after| kept.position <= *after);
            if passed {
                continue;
            }
            let whole;
            let stored = if kept.in_parts {
                whole = self.store.read_parts(self.name, &kept).await?;
                &whole
            } else {
                kept.stored
            };
            self.bytes += stored.len() as u64;
            if self.bytes > self.bytes_max && !self.records.is_empty() {
                return Ok(true);
            }
            let record = rules::chained(self.assignment, lane, kept.position, stored);
            self.records
                .push(record.map_err(|why| self.store.damaged(sk.as_str(), &Wrong(why)))?);
        }
        Ok(self.records.len() >= self.records_max)
    }
}

impl DynamodbStore {
    async fn read_parts(&self, name: &ChainName, kept: &Kept<'_>) -> Result<Vec<u8>, StoreError> {
        let what = || {
            format!(
                "parts of position {} of lane `{}` of {}",
                kept.position, name.1, name.0
            )
        };
        let wrong = |why: &str| self.damaged(what(), &Wrong(why.to_owned()));
        let writer =
            std::str::from_utf8(kept.stored).map_err(|_| wrong("their name is no text"))?;
        let named = schema::parts(&kept.position, &Writer(writer.to_owned()));
        debug_assert!(named.starts_with(PART));
        let mut stored = Vec::new();
        for item in self
            .query_all(Query::begins(self.chain_pk(name), &named))
            .await?
        {
            let data = super::attributes::Reader(&item)
                .bytes(DATA)
                .map_err(|e| wrong(&e.0))?;
            let (sum, chunk) = data
                .split_first_chunk::<4>()
                .ok_or_else(|| wrong("one ends early"))?;
            if crc32c::crc32c(chunk) != u32::from_le_bytes(*sum) {
                return Err(wrong("a checksum does not fit"));
            }
            stored.extend_from_slice(chunk);
        }
        Ok(stored)
    }
}
