//! One partition that is being read: a batch at a time, within its budget.

use super::{
    super::{
        Settings,
        log::{Log, LogRecord, Topic},
    },
    cursor::Cursor,
    refused, unreadable,
};
use crate::{
    position::Position,
    record::{BatchBuilder, Record},
    source::{SourceError, Start},
};
use std::{sync::Arc, time::Instant};
use tokio::sync::OwnedSemaphorePermit;

/// Most records of a batch.
const RECORDS_MAX: usize = 512;

/// Most bytes of a batch of several records.
const BYTES_MAX: usize = 64 << 10;

/// What a record weighs beside its key and value, at most: the batch's entry, its tag byte, and the
/// position that names the lane of a record without key.
const OVERHEAD: u64 = 192;

/// A partition of ours.
pub(super) struct Reading {
    pub(super) start: Start,
    pub(super) cursor: Cursor,
    /// End of the log when it was last looked at.
    pub(super) last: u64,
    pub(super) paused: bool,
    /// Weight of the next record, which did not fit the last permit.
    need: Option<u64>,
    /// What was said to find no room since the last batch.
    pub(super) wanted: Option<u64>,
    /// What was last said to be behind, and when.
    pub(super) told: Option<(u64, Instant)>,
    /// Durable frontier, and what the log knows of it.
    pub(super) frontier: u64,
    pub(super) registered: u64,
}

/// What a look at a partition gave.
pub(super) enum Read {
    Records(Vec<Record>),
    /// Nothing up to and with `through` is of the key that is read.
    PassedOver {
        through: u64,
    },
    /// Its end is reached, or it is paused.
    Nothing,
    /// There is more, and the budget has not so many bytes for it now.
    NoBudget {
        wants: u64,
    },
    /// The log holds none of these positions (both ends included).
    Hole(u64, u64),
}

impl Reading {
    pub(super) fn new(start: Start, cursor: Cursor, last: u64) -> Self {
        Self {
            start,
            cursor,
            last,
            paused: false,
            need: None,
            wanted: None,
            told: None,
            frontier: 0,
            registered: 0,
        }
    }

    /// Records that are still to be handed over.
    pub(super) fn behind(&self) -> u64 {
        self.cursor.remaining(self.last)
    }

    /// The next batch.
    pub(super) fn read(
        &mut self,
        log: &Log,
        topic: &Topic,
        partition: u32,
        settings: &Settings,
    ) -> Result<Read, SourceError> {
        let Some(span) = self.cursor.span(self.last).filter(|_| !self.paused) else {
            return Ok(Read::Nothing);
        };
        loop {
            let permit = match self.permit() {
                Ok(permit) => permit,
                Err(wants) => return Ok(Read::NoBudget { wants }),
            };
            let mut batch = Batch {
                builder: BatchBuilder::new(Arc::clone(&self.start.assignment)),
                expected: span.0,
                weight: 0,
                bytes: 0,
                room: permit.num_permits() as u64,
                whole: permit.num_permits() as u64 >= self.start.budget.share(),
                end: End::Read,
            };
            let each = |record: LogRecord<'_>| batch.take(settings, record);
            log.read(topic, partition, span, RECORDS_MAX, each)
                .map_err(unreadable)?;
            if !batch.builder.is_empty() {
                (self.need, self.wanted) = (None, None);
                self.cursor.pass(batch.expected - 1);
                let permit = give_back(permit, batch.builder.weight());
                return Ok(Read::Records(batch.builder.finish(Some(permit))));
            }
            if batch.expected > span.0 {
                let through = batch.expected - 1;
                self.cursor.pass(through);
                return Ok(Read::PassedOver { through });
            }
            match batch.end {
                End::Read => return Ok(Read::Hole(span.0, span.1)),
                End::Hole(found) => return Ok(Read::Hole(span.0, found - 1)),
                // Asked for again with a permit for exactly this record; what is smaller than that
                // one was granted is a share that grew meanwhile.
                End::Weight(wants) if self.need == Some(wants) => {
                    return Ok(Read::NoBudget { wants });
                }
                End::Weight(weight) => self.need = Some(weight),
                End::NoKey(error) => {
                    let name = &self.start.assignment.name;
                    return Err(refused(format!("`{name}`: {error}")));
                }
            }
        }
    }

    /// For a whole batch, else for part of one; for a record that is larger, exactly for that. Less is
    /// not asked for: what is left then is for records that will stay long and copy themselves out.
    /// `Err`: the budget has not so much.
    fn permit(&self) -> Result<OwnedSemaphorePermit, u64> {
        let budget = &self.start.budget;
        if let Some(need) = self.need {
            return budget.try_acquire(need).ok_or(need);
        }
        let batch = BYTES_MAX as u64 + RECORDS_MAX as u64 * OVERHEAD;
        let whole = batch.min(budget.share() / 4).max(1);
        let part = (whole / 4).max(1);
        let permit = budget.try_acquire(whole);
        permit.or_else(|| budget.try_acquire(part)).ok_or(part)
    }
}

/// Permits beyond what the records weigh.
fn give_back(mut permit: OwnedSemaphorePermit, weight: u64) -> OwnedSemaphorePermit {
    let weight = usize::try_from(weight).unwrap_or(usize::MAX);
    let surplus = permit.num_permits().saturating_sub(weight);
    drop(permit.split(surplus));
    permit
}

struct Batch {
    builder: BatchBuilder,
    /// Position that comes next when none is missing.
    expected: u64,
    weight: u64,
    bytes: usize,
    /// Permits.
    room: u64,
    /// The permit is for the whole share: a record that outweighs it may come alone.
    whole: bool,
    end: End,
}

/// Why a batch takes no more.
enum End {
    Read,
    Hole(u64),
    Weight(u64),
    NoKey(crate::record::NoKeyError),
}

impl Batch {
    /// Adds a record; whether more may follow.
    fn take(&mut self, settings: &Settings, record: LogRecord<'_>) -> bool {
        if record.position != self.expected {
            self.end = End::Hole(record.position);
            return false;
        }
        let wanted = settings.extent.key();
        if wanted.is_some_and(|wanted| record.key != Some(wanted)) {
            self.expected += 1;
            return true;
        }
        let bytes = record.key.map_or(0, <[u8]>::len) + record.value.len();
        let weight = bytes as u64 + OVERHEAD;
        let first = self.builder.is_empty();
        let fits = self.weight + weight <= self.room || (first && self.whole);
        if !fits || (!first && self.bytes + bytes > BYTES_MAX) {
            self.end = End::Weight(weight);
            return false;
        }
        let pushed = self.builder.push(
            settings.order,
            Position::Offset(record.position),
            record.key,
            Some(record.value),
            [],
            Some(record.timestamp),
        );
        if let Err(error) = pushed {
            self.end = End::NoKey(error);
            return false;
        }
        self.expected += 1;
        self.weight += weight;
        self.bytes += bytes;
        true
    }
}
