//! Facts for the history.

use super::owned::Owned;
use crate::{
    history::{Event, Fact, History, Subject},
    position::Position,
    record::Record,
};
use std::{sync::Arc, time::Duration};

/// Notes facts, unless nobody keeps them.
pub(super) struct Notes {
    history: Arc<dyn History>,
    keeps: bool,
    pub(super) now: Duration,
}

impl Notes {
    pub(super) fn new(history: Arc<dyn History>) -> Self {
        let keeps = history.keeps();
        Self {
            history,
            keeps,
            now: Duration::ZERO,
        }
    }

    /// Whether anybody keeps them.
    pub(super) fn keeps(&self) -> bool {
        self.keeps
    }

    /// Of the worker itself.
    pub(super) fn worker(&self, event: Event<'_>) {
        self.fact(None, event);
    }

    /// Of a record.
    pub(super) fn record(&self, record: &Record, event: Event<'_>) {
        if self.keeps {
            let assignment = record.assignment();
            self.fact(
                Some(Subject {
                    partition: &assignment.name,
                    epoch: assignment.epoch,
                    generation: assignment.generation,
                    record: Some((record.lane(), record.position())),
                }),
                event,
            );
        }
    }

    /// Of a partition.
    pub(super) fn partition(&self, owned: &Owned, event: Event<'_>) {
        self.subject(owned, None, event);
    }

    /// Of a lane's head that may not be in memory.
    pub(super) fn head(&self, owned: &Owned, lane: &[u8], head: &Position, event: Event<'_>) {
        self.subject(owned, Some((lane, head)), event);
    }

    fn subject(&self, owned: &Owned, record: Option<(&[u8], &Position)>, event: Event<'_>) {
        if self.keeps {
            self.fact(
                Some(Subject {
                    partition: &owned.assignment.name,
                    epoch: owned.assignment.epoch,
                    generation: owned.assignment.generation,
                    record,
                }),
                event,
            );
        }
    }

    fn fact(&self, subject: Option<Subject<'_>>, event: Event<'_>) {
        if self.keeps {
            self.history.note(Fact {
                at: self.now,
                subject,
                event,
            });
        }
    }
}
