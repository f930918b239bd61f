//! One partition that is being read: a batch at a time, within its budget.

use super::{
    super::{
        Settings,
        log::{Log, LogRecord, Topic},
    },
    refused, unreadable,
};
use crate::{
    position::Position,
    record::{NoKeyError, Record},
    source::{
        SourceError, Start,
        cursor::Cursor,
        filling::{Filling, Incoming, RECORDS_MAX, Refused},
    },
};
use std::time::Instant;

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
            let filling = match Filling::begin(&self.start, self.need) {
                Ok(filling) => filling,
                Err(wants) => return Ok(Read::NoBudget { wants }),
            };
            let mut batch = Batch {
                filling,
                expected: span.0,
                end: End::Read,
            };
            let each = |record: LogRecord<'_>| batch.take(settings, record);
            log.read(topic, partition, span, RECORDS_MAX, each)
                .map_err(unreadable)?;
            if !batch.filling.is_empty() {
                (self.need, self.wanted) = (None, None);
                self.cursor.pass(batch.expected - 1);
                return Ok(Read::Records(batch.filling.finish()));
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
}

struct Batch {
    filling: Filling,
    /// Position that comes next when none is missing.
    expected: u64,
    end: End,
}

/// Why a batch takes no more.
enum End {
    Read,
    Hole(u64),
    Weight(u64),
    NoKey(NoKeyError),
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
        let incoming = Incoming {
            position: Position::Offset(record.position),
            key: record.key,
            value: Some(record.value),
            headers: &[],
            timestamp: Some(record.timestamp),
        };
        match self.filling.take(settings.order, &incoming) {
            Ok(()) => {
                self.expected += 1;
                true
            }
            Err(refused) => {
                self.end = match refused {
                    Refused::Full(weight) => End::Weight(weight),
                    Refused::NoKey(error) => End::NoKey(error),
                };
                false
            }
        }
    }
}
