//! Facts from sources: partitions come and go, records arrive.

use super::{Processor, claims::Claiming, lanes::used_up, log, owned::Leaving};
use crate::{
    history::Event as Noted,
    record::{PartitionName, Record},
    source::{Event, SourceError},
};
use partitions::{PartitionId, Pushed};
use std::{sync::Arc, time::Duration};
use tokio::sync::oneshot;

impl Processor {
    pub(super) fn source_event(&mut self, event: Event) {
        match event {
            Event::Announced { source, partitions } => self.sources.announced(&source, partitions),
            Event::Assigned {
                partition,
                incarnation,
                siblings,
                holder_is_dead,
                start,
            } => {
                // Assigned anew without a word of its loss: what it was claimed for is over.
                if let Some(&id) = self.names.get(&partition) {
                    self.lose(id);
                }
                let memory = self.settings.memory;
                let claiming = Claiming::new(incarnation, siblings, holder_is_dead, start, memory);
                self.claiming.insert(partition.clone(), claiming);
                self.share_memory();
                self.claim(partition, Duration::ZERO);
            }
            Event::Positioned {
                partition,
                from,
                gap,
                last,
            } => self.positioned(&partition, &from, gap, last),
            Event::Records(records) => self.records(records),
            Event::PassedOver { partition, through } => {
                if let Some(&id) = self.names.get(&partition) {
                    if let Some(owned) = self.partitions.get_mut(&id) {
                        let event = Noted::PassedOver { through: &through };
                        self.notes.partition(owned, event);
                        owned.dirty = true;
                    }
                    self.engine.passed_over(id, through);
                }
            }
            Event::Behind { partition, records } => {
                if let Some(owned) = self
                    .names
                    .get(&partition)
                    .and_then(|id| self.partitions.get_mut(id))
                {
                    owned.behind = Some(records);
                }
            }
            Event::Retention { partition, age } => self.retention(&partition, age),
            Event::Unreadable { partition, stands } => self.unreadable(&partition, stands),
            Event::Starved { partition, wants } => self.starved(&partition, wants),
            Event::Paused { partition } => self.paused(&partition),
            Event::Revoked {
                partition,
                lost,
                done,
            } => self.revoked(&partition, lost, done),
            Event::Ended { partition } => {
                if let Some(owned) = self
                    .names
                    .get(&partition)
                    .and_then(|id| self.partitions.get_mut(id))
                {
                    owned.checkpoint.ended = true;
                    owned.dirty = true;
                }
            }
        }
    }

    fn retention(&mut self, partition: &PartitionName, age: Option<Duration>) {
        let id = self.names.get(partition);
        if let Some(owned) = id.and_then(|id| self.partitions.get_mut(id)) {
            owned.retention = age;
        }
    }

    fn unreadable(&mut self, partition: &PartitionName, stands: bool) {
        let id = self.names.get(partition);
        if let Some(owned) = id.and_then(|id| self.partitions.get_mut(id)) {
            let since = owned.unreadable_since.unwrap_or(self.now);
            owned.unreadable_since = stands.then_some(since);
        }
    }

    fn records(&mut self, records: Vec<Record>) {
        let Some(first) = records.first() else { return };
        let assignment = Arc::clone(first.assignment());
        let Some(&id) = self.names.get(&assignment.name) else {
            return;
        };
        let Some(owned) = self.partitions.get_mut(&id) else {
            return;
        };
        if owned.assignment.epoch != assignment.epoch {
            return;
        }
        owned.memory.wants = None;
        if owned.held {
            self.proofs_due = self.now;
        }
        for record in records {
            let (used, not_before) = owned.found(&record);
            let attempts = used_up(used, &self.settings.failure);
            let delay = match not_before {
                0 => Duration::ZERO,
                at => {
                    let left = at.saturating_sub(self.clock.wall_millis());
                    Duration::from_millis(u64::try_from(left).unwrap_or(0))
                }
            };
            if !owned.charged.is_empty() {
                Self::note_charged(owned, &record);
            }
            let noted = self.notes.keeps().then(|| record.clone());
            let position = record.position().clone();
            let event = match self.engine.push_after(id, record, attempts, delay) {
                Pushed::Accepted => Noted::Fetched,
                Pushed::AlreadySettled => Noted::AlreadyDone,
                Pushed::Duplicate | Pushed::NotAssigned => continue,
                Pushed::NotInOrder => {
                    let what = format!(
                        "{}: position {position} was handed over after a later one: the partition starts nothing more; restart to read it again from its checkpoint",
                        assignment.name,
                    );
                    self.fail_source(&assignment.name.source, SourceError::Refused { what });
                    return;
                }
            };
            if let Some(noted) = noted {
                self.notes.record(&noted, event);
            }
        }
    }

    fn revoked(&mut self, partition: &PartitionName, lost: bool, done: oneshot::Sender<()>) {
        let Some(done) = self.claim_taken_back(partition, done) else {
            return;
        };
        let Some(&id) = self.names.get(partition) else {
            let _ = done.send(());
            return;
        };
        if lost {
            self.lose(id);
            self.share_memory();
            let _ = done.send(());
        } else {
            self.leave(id, Some(done));
        }
    }

    /// The partition may be another's already: nothing more of it is written.
    fn lose(&mut self, id: PartitionId) {
        if let Some(owned) = self.partitions.remove(&id) {
            log::let_go(&owned, false);
            self.notes
                .partition(&owned, Noted::Revoked { clean: false });
            self.names.remove(&owned.assignment.name);
        }
        self.engine.revoke(id);
    }

    /// Starts to give a partition up.
    pub(super) fn leave(&mut self, id: PartitionId, done: Option<oneshot::Sender<()>>) {
        let deadline = self.now + self.settings.drain;
        let Some(owned) = self.partitions.get_mut(&id) else {
            return;
        };
        match &mut owned.leaving {
            Some(leaving) => leaving.done = leaving.done.take().or(done),
            None => {
                owned.leaving = Some(Leaving {
                    deadline,
                    drained: false,
                    releasing: false,
                    done,
                });
                self.engine.drain(id);
            }
        }
    }
}
