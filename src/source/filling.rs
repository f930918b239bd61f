//! A batch on its way: what it may hold within the permit that its partition's budget gave for it.

use super::Start;
use crate::{
    position::Position,
    record::{BatchBuilder, LaneOrder, NoKeyError, Record},
};
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// Most records of a batch.
pub(crate) const RECORDS_MAX: usize = 512;

/// Most bytes of a batch of several records.
const BYTES_MAX: usize = 64 << 10;

/// What a record weighs beside its key, value and headers, at most: the batch's entry, its tag byte, and
/// the position that names the lane of a record without key.
const OVERHEAD: u64 = 192;

/// What a header weighs beside its name and value, at most.
const HEADER_OVERHEAD: usize = 16;

/// A record as its source has it.
pub(crate) struct Incoming<'a> {
    pub(crate) position: Position,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: &'a [(std::borrow::Cow<'a, str>, &'a [u8])],
    pub(crate) timestamp: Option<i64>,
}

impl Incoming<'_> {
    fn bytes(&self) -> usize {
        let headers = self.headers.iter();
        let headers = headers.map(|(name, value)| name.len() + value.len() + HEADER_OVERHEAD);
        let length = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
        length(self.key) + length(self.value) + headers.sum::<usize>()
    }
}

/// A batch that is being filled.
pub(crate) struct Filling {
    builder: BatchBuilder,
    permit: OwnedSemaphorePermit,
    weight: u64,
    bytes: usize,
    /// The permit is for the whole share: a record that outweighs it may come alone.
    whole: bool,
}

/// Why a batch does not take a record.
pub(crate) enum Refused {
    /// It is full. The record weighs so much; a batch for it alone needs a permit for that.
    Full(u64),
    /// Records without key are refused.
    NoKey(NoKeyError),
}

impl Filling {
    /// An empty batch, with a permit for a whole one, else for part of one; for a record that is larger
    /// (`need`), exactly for that. Less is not asked for: what is left then is for records that will
    /// stay long and copy themselves out.
    ///
    /// # Errors
    /// When the budget has not so many bytes now: how many were wanted.
    pub(crate) fn begin(start: &Start, need: Option<u64>) -> Result<Self, u64> {
        let budget = &start.budget;
        let permit = match need {
            Some(need) => budget.try_acquire(need).ok_or(need)?,
            None => {
                let batch = BYTES_MAX as u64 + RECORDS_MAX as u64 * OVERHEAD;
                let whole = batch.min(budget.share() / 4).max(1);
                let part = (whole / 4).max(1);
                let permit = budget.try_acquire(whole);
                permit.or_else(|| budget.try_acquire(part)).ok_or(part)?
            }
        };
        Ok(Self {
            builder: BatchBuilder::new(Arc::clone(&start.assignment)),
            weight: 0,
            bytes: 0,
            whole: permit.num_permits() as u64 >= budget.share(),
            permit,
        })
    }

    /// Makes room for what is about to come: so many records of so many bytes, as far as a batch may hold
    /// them.
    #[cfg(any(feature = "kafka", feature = "lambda"))]
    pub(crate) fn expect(&mut self, records: usize, bytes: usize) {
        let most = records.min(RECORDS_MAX);
        // Of about equal size, each with its tag byte.
        let bytes = bytes / records.max(1) * most;
        let bytes = (bytes + bytes / 16).min(BYTES_MAX) + most;
        self.builder.reserve(most, bytes);
    }

    /// Adds a record.
    ///
    /// # Errors
    /// When the batch may not hold it; it is as it was.
    pub(crate) fn take(&mut self, order: LaneOrder, record: &Incoming<'_>) -> Result<(), Refused> {
        let bytes = record.bytes();
        let weight = bytes as u64 + OVERHEAD;
        let first = self.builder.is_empty();
        let room = self.permit.num_permits() as u64;
        let fits = self.weight + weight <= room || (first && self.whole);
        let many = self.bytes + bytes > BYTES_MAX || self.builder.len() >= RECORDS_MAX;
        if !fits || (!first && many) {
            return Err(Refused::Full(weight));
        }
        let headers = record.headers.iter();
        self.builder
            .push(
                order,
                record.position.clone(),
                record.key,
                record.value,
                headers.map(|(name, value)| (name.as_ref(), *value)),
                record.timestamp,
            )
            .map_err(Refused::NoKey)?;
        self.weight += weight;
        self.bytes += bytes;
        Ok(())
    }

    /// Whether it holds nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.builder.is_empty()
    }

    /// Its records. What the permit has beyond their weight is given back.
    pub(crate) fn finish(mut self) -> Vec<Record> {
        let weight = usize::try_from(self.builder.weight()).unwrap_or(usize::MAX);
        let surplus = self.permit.num_permits().saturating_sub(weight);
        drop(self.permit.split(surplus));
        self.builder.finish(Some(self.permit))
    }
}
