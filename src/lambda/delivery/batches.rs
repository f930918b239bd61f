//! A partition's entries as records, a batch at a time, within its budget.

use super::{Delivered, Delivery, Entry};
use crate::{
    position::Position,
    record::{LaneOrder, NoKeyError, Record},
    source::{
        Start,
        filling::{Filling, Incoming, Refused},
    },
};
use std::{borrow::Cow, sync::Arc};

/// Hands the entries of one partition over, in order, each once.
///
/// A batch has at most 512 records or 64 KB, or one record that is larger; it holds a permit of the
/// partition's budget for its bytes until its last record is dropped.
pub struct Batches {
    delivery: Arc<Delivery>,
    partition: usize,
    /// The entry that comes next.
    next: usize,
    /// Weight of that entry, which did not fit the last permit.
    need: Option<u64>,
}

/// What is handed over next.
#[derive(Debug)]
pub enum Handed {
    /// Records, at least one, ascending.
    Records(Vec<Record>),
    /// The budget has no room for the next one, which wants so many bytes. Ask again once there is.
    Starved(u64),
    /// The next record has no key, and `order.no_key` refuses that.
    NoKey(NoKeyError),
    /// All that was wanted has been handed over.
    Through,
}

impl Batches {
    /// Of the partition of this index in [`Delivery::partitions`], from its first entry on.
    pub fn new(delivery: Arc<Delivery>, partition: usize) -> Self {
        Self {
            delivery,
            partition,
            next: 0,
            need: None,
        }
    }

    /// Whether an entry is left that is wanted.
    pub fn has_more(&self, mut wanted: impl FnMut(&Position) -> bool) -> bool {
        let entries = self.delivered().map(Delivered::entries);
        let mut left = entries.into_iter().flatten().skip(self.next);
        left.any(|entry| wanted(entry.position()))
    }

    /// The next batch of entries that are `wanted`; the others are passed over.
    pub fn next(
        &mut self,
        start: &Start,
        order: LaneOrder,
        mut wanted: impl FnMut(&Position) -> bool,
    ) -> Handed {
        while let Some(entry) = self.entry(self.next) {
            if !wanted(entry.position()) {
                self.next += 1;
                continue;
            }
            let mut filling = match Filling::begin(start, self.need) {
                Ok(filling) => filling,
                Err(wants) => return Handed::Starved(wants),
            };
            match self.fill(&mut filling, order, &mut wanted) {
                _ if !filling.is_empty() => {
                    self.need = None;
                    return Handed::Records(filling.finish());
                }
                Ok(()) => {}
                Err(Refused::NoKey(error)) => return Handed::NoKey(error),
                // Asked for again with a permit for exactly this record; what is smaller than that one
                // was granted is a share that grew meanwhile.
                Err(Refused::Full(wants)) if self.need == Some(wants) => {
                    return Handed::Starved(wants);
                }
                Err(Refused::Full(wants)) => self.need = Some(wants),
            }
        }
        Handed::Through
    }

    /// Takes entries until none is left or the batch is full.
    fn fill(
        &mut self,
        filling: &mut Filling,
        order: LaneOrder,
        wanted: &mut impl FnMut(&Position) -> bool,
    ) -> Result<(), Refused> {
        let Some(delivered) = self.delivery.partitions.get(self.partition) else {
            return Ok(());
        };
        let left = delivered.len() - self.next;
        filling.expect(left, delivered.bytes.len() / delivered.len().max(1) * left);
        let mut headers = Vec::new();
        while let Some(entry) = delivered.entry(self.next) {
            if wanted(entry.position()) {
                headers.clear();
                headers.extend(
                    entry
                        .headers()
                        .map(|(name, value)| (Cow::Borrowed(name), value)),
                );
                let incoming = Incoming {
                    position: entry.position().clone(),
                    key: entry.key(),
                    value: entry.value(),
                    headers: &headers,
                    timestamp: entry.timestamp(),
                };
                filling.take(order, &incoming)?;
            }
            self.next += 1;
        }
        Ok(())
    }

    fn delivered(&self) -> Option<&Delivered> {
        self.delivery.partitions.get(self.partition)
    }

    fn entry(&self, index: usize) -> Option<Entry<'_>> {
        self.delivered()?.entry(index)
    }
}

#[cfg(test)]
mod tests;
