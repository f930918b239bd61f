//! Lanes that are not live: operators' decisions, chains, dead letters.

use super::{Processor, StoreFact, log, owned::Owned};
use crate::{
    handler::PublishError,
    history::Event,
    position::Position,
    record::{Assignment, LaneKey, Record},
    store::{DecideError, DecisionNote, HeadTried, LaneItem, LaneState, StoreError, Verb},
};
use futures_util::FutureExt;
use partitions::{Decision, FailureRules, LaneId, PartitionId, Published, Ticket};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// One load of a chain.
const LOAD_RECORDS_MAX: usize = 200;
const LOAD_BYTES_MAX: u64 = 256 * 1024;
/// Wait before a chain that could not be read is read again.
const LOAD_AGAIN: Duration = Duration::from_millis(200);
/// As before, of one whose records are not there.
const LOAD_DAMAGED_AGAIN: Duration = Duration::from_secs(5);

impl Processor {
    /// Reads the lane items of partitions that have any, each flush interval.
    pub(super) fn decisions_due(&mut self) {
        let interval = self.settings.flush_interval;
        let due: Vec<PartitionId> = self
            .partitions
            .iter()
            .filter(|(_, o)| !o.lanes.is_empty() && o.out.is_none() && o.leaving.is_none())
            // What is read beside a take may be older than its answer: the decision would seem untaken
            // again, and what was acted on already would be dropped as not offered.
            .filter(|(_, o)| o.taking == 0)
            .filter(|(_, o)| self.now >= o.lanes_read_at + interval)
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            self.read_lanes(id);
        }
    }

    pub(super) fn read_lanes(&mut self, id: PartitionId) {
        let Some(owned) = self.partitions.get_mut(&id) else {
            return;
        };
        if std::mem::replace(&mut owned.reading_lanes, true) {
            return;
        }
        let (store, name) = (Arc::clone(&self.store), owned.assignment.name.clone());
        self.calls.push(
            async move {
                StoreFact::Lanes {
                    id,
                    found: store.lanes(&name).await,
                }
            }
            .boxed(),
        );
    }

    pub(super) fn lanes_read(&mut self, id: PartitionId, found: Result<Vec<LaneItem>, StoreError>) {
        let Some(owned) = self.partitions.get_mut(&id) else {
            return;
        };
        owned.reading_lanes = false;
        owned.lanes_read_at = self.now;
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(source = %owned.assignment.name.source, partition = %owned.assignment.name.partition, %error, "lanes could not be read");
                return;
            }
        };
        let found: BTreeMap<LaneKey, LaneItem> = found
            .into_iter()
            .map(|item| (item.lane.clone(), item))
            .collect();
        let deleted = name_foreign_changes(owned, &found);
        owned.missing = deleted.iter().map(|item| item.lane.clone()).collect();
        owned.lanes = found;
        let deleted = deleted.into_iter().map(|item| (item.lane.clone(), item));
        owned.lanes.extend(deleted);
        let leaving = owned.leaving.is_some();
        let fresh: Vec<(LaneKey, u64)> = owned
            .lanes
            .values()
            .filter(|item| item.decision.as_ref().is_some_and(|d| !d.taken))
            .map(|item| (item.lane.clone(), item.rev))
            .collect();
        if leaving {
            return;
        }
        for (lane, rev) in fresh {
            self.take(id, lane, rev);
        }
        self.act_on_taken(id);
    }

    /// Acts on decisions that are taken, by a former owner or by a call of ours whose answer was lost.
    pub(super) fn act_on_taken(&mut self, id: PartitionId) {
        let Some(owned) = self.partitions.get_mut(&id) else {
            return;
        };
        let taken = |item: &LaneItem| item.taken().cloned();
        let Owned { lanes, acted, .. } = owned;
        acted.retain(|lane, decision| lanes.get(lane).and_then(taken).as_ref() == Some(decision));
        let fresh: Vec<(LaneKey, DecisionNote)> = lanes
            .values()
            .filter(|item| !acted.contains_key(&item.lane))
            .filter_map(|item| Some((item.lane.clone(), taken(item)?)))
            .collect();
        for (lane, decision) in fresh {
            self.decide(id, &lane, &decision);
        }
    }

    fn take(&mut self, id: PartitionId, lane: LaneKey, rev: u64) {
        let Some(owned) = self.partitions.get_mut(&id) else {
            return;
        };
        owned.taking += 1;
        let (store, name, fence) = (
            Arc::clone(&self.store),
            owned.assignment.name.clone(),
            owned.fence,
        );
        self.calls.push(
            async move {
                let found = store.take(&name, fence, &lane, rev).await;
                StoreFact::Taken { id, lane, found }
            }
            .boxed(),
        );
    }

    pub(super) fn taken(
        &mut self,
        id: PartitionId,
        lane: &LaneKey,
        found: Result<LaneItem, DecideError>,
    ) {
        let Some(owned) = self.partitions.get_mut(&id) else {
            return;
        };
        owned.taking -= 1;
        match found {
            Ok(item) => {
                let decision = item.decision.clone();
                owned.lanes.insert(lane.clone(), item);
                // It stays taken: the next owner acts on it.
                let decision = decision.filter(|_| owned.leaving.is_none());
                if let Some(decision) = decision {
                    self.decide(id, lane, &decision);
                }
            }
            Err(DecideError::Store(error @ StoreError::Fenced { worker, epoch, .. })) => {
                self.fenced(id, &error.to_string(), Some((worker, epoch)));
            }
            // It is read again at the next interval.
            Err(error) => {
                let name = &owned.assignment.name;
                let (partition, lane) = (&*name.partition, lane.id(&name.partition));
                let error = match error {
                    DecideError::NoSuchLane { .. } => "the lane is live".to_owned(),
                    DecideError::State { .. } => "it does not fit the lane any more".to_owned(),
                    DecideError::Store(error) => error.to_string(),
                };
                tracing::info!(source = %name.source, partition, lane, error, "decision not taken");
            }
        }
    }

    /// Acts on a decision that is taken; clears one that the lane's state does not offer.
    pub(super) fn decide(&mut self, id: PartitionId, lane: &LaneKey, note: &DecisionNote) {
        let Some(owned) = self.partitions.get_mut(&id) else {
            return;
        };
        let verb = note.verb;
        owned.acted.insert(lane.clone(), note.clone());
        let decision = match verb {
            Verb::Retry => Decision::Retry,
            Verb::Skip => Decision::Skip,
            Verb::Park => Decision::Park,
            Verb::DeadLetter if self.dead_letter.is_some() => Decision::DeadLetter,
            Verb::DeadLetter => {
                tracing::warn!(source = %owned.assignment.name.source, partition = %owned.assignment.name.partition, lane = %lane.id(&owned.assignment.name.partition), "`dead-letter` was decided and `failure.dead_letter` is not configured: the decision is dropped");
                owned.clear.push(lane.clone());
                return;
            }
            Verb::Release => Decision::Release,
        };
        if self.engine.decide(id, lane.bytes(), decision) {
            if let Some(item) = owned.lanes.get(lane) {
                let head = item.head.clone();
                self.notes
                    .head(owned, lane.bytes(), &head, Event::Decided { verb });
                let Assignment { name, .. } = &*owned.assignment;
                tracing::info!(source = %name.source, partition = %name.partition, lane = lane.id(&name.partition), record = owned.assignment.record_id(&head), ?verb, "decision taken");
            }
        } else {
            tracing::warn!(source = %owned.assignment.name.source, partition = %owned.assignment.name.partition, lane = %lane.id(&owned.assignment.name.partition), ?verb, "the lane's state does not offer this: the decision is dropped");
            owned.clear.push(lane.clone());
        }
    }

    /// Restored open positions will not come any more. A log that keeps what is not settled has
    /// none; elsewhere the source's `on_gap` has decided before it positioned. Of a stopped head the
    /// lane item has a copy, unless it was too large.
    pub(super) fn gone(&mut self, id: PartitionId) {
        let Some(owned) = self.partitions.get_mut(&id) else {
            return;
        };
        let gone: Vec<Position> = self.engine.gone(id).cloned().collect();
        for position in &gone {
            let tried = tried_before(owned, position);
            let used = tried.as_ref().map_or(0, |tried| tried.attempts);
            let attempts = used_up(used, &self.settings.failure);
            let partition = &owned.assignment.name;
            if let Some(copy) = copy_of(owned, position)
                && self.engine.recover(id, copy.clone(), attempts)
            {
                tracing::warn!(source = %partition.source, partition = %partition.partition, record = owned.assignment.record_id(position), "stopped head is gone from its log: its copy stands for it");
                if let Some(tried) = tried {
                    owned.remember(&copy, &tried.error, attempts);
                }
                self.notes.record(&copy, Event::Fetched);
                continue;
            }
            tracing::warn!(source = %partition.source, partition = %partition.partition, record = owned.assignment.record_id(position), "open record is gone from its log");
            owned.attempts.remove(position);
            self.notes.head(owned, &[], position, Event::Gone);
        }
        owned.dirty = true;
        self.engine.settle_gone(id);
    }

    /// A decision on a head that is gone: it is cleared, so that the operator can skip it.
    pub(super) fn declined(&mut self, id: PartitionId, lane: LaneId) {
        let key = self.engine.lane_key(lane).and_then(LaneKey::from_bytes);
        if let (Some(owned), Some(lane)) = (self.partitions.get_mut(&id), key) {
            tracing::error!(source = %owned.assignment.name.source, partition = %owned.assignment.name.partition, lane = %lane.id(&owned.assignment.name.partition), "the stopped head is gone from its log and was too large for a copy: nothing but `lanes skip` can be done; what was decided is dropped");
            owned.clear.push(lane);
        }
    }

    pub(super) fn load_chain(&mut self, id: PartitionId, lane: LaneId, wait: Duration) {
        let Some(owned) = self.partitions.get(&id) else {
            return;
        };
        let Some(key) = self.engine.lane_key(lane).and_then(LaneKey::from_bytes) else {
            return;
        };
        let after = self.engine.chain_loaded_to(lane).cloned();
        tracing::debug!(source = %owned.assignment.name.source, partition = %owned.assignment.name.partition, lane = %key.id(&owned.assignment.name.partition), ?after, "loading a chain");
        let (store, assignment) = (Arc::clone(&self.store), Arc::clone(&owned.assignment));
        self.calls.push(
            async move {
                super::pause(wait).await;
                let found = store
                    .chain(
                        &assignment,
                        &key,
                        after.as_ref(),
                        LOAD_RECORDS_MAX,
                        LOAD_BYTES_MAX,
                    )
                    .await;
                StoreFact::Chain { id, lane, found }
            }
            .boxed(),
        );
    }

    pub(super) fn chain_read(
        &mut self,
        id: PartitionId,
        lane: LaneId,
        found: Result<Vec<Record>, StoreError>,
    ) {
        let Some(owned) = self.partitions.get_mut(&id) else {
            return;
        };
        match found {
            Ok(records) => {
                for record in &records {
                    Self::note_charged(owned, record);
                }
                let key = self.engine.lane_key(lane).and_then(LaneKey::from_bytes);
                let tail = key
                    .as_ref()
                    .and_then(|key| owned.lanes.get(key)?.tail.clone());
                let loaded_to = self.engine.chain_loaded_to(lane);
                let is_broken = records.is_empty() && loaded_to < tail.as_ref();
                log::loaded(owned, key.as_ref(), records.len(), is_broken);
                if is_broken {
                    self.load_chain(id, lane, LOAD_DAMAGED_AGAIN);
                    return;
                }
                let last = records
                    .last()
                    .is_none_or(|r| tail.is_some_and(|tail| *r.position() >= tail));
                let first = records.first();
                let tried = first.and_then(|first| tried_before(owned, first.position()));
                let used = tried.as_ref().map_or(0, |tried| tried.attempts);
                let attempts = used_up(used, &self.settings.failure);
                if let Some((first, tried)) = first.zip(tried) {
                    owned.remember(first, &tried.error, attempts);
                }
                let records = &mut records.into_iter();
                self.engine.chain_tried(lane, records, last, attempts);
            }
            Err(error) => {
                tracing::warn!(source = %owned.assignment.name.source, partition = %owned.assignment.name.partition, %error, "chain could not be read");
                self.load_chain(id, lane, LOAD_AGAIN);
            }
        }
    }

    pub(super) fn publish(&mut self, ticket: Ticket, id: PartitionId) {
        let Some(record) = self.engine.records(ticket).next().cloned() else {
            return;
        };
        let errors = self
            .partitions
            .get(&id)
            .and_then(|owned| {
                let lane = LaneKey::from_bytes(record.lane())?;
                let item = owned.lanes.get(&lane)?;
                Some((item.last_error.clone(), item.attempts))
            })
            .unwrap_or_default();
        let Some(target) = &self.dead_letter else {
            self.engine.dead_lettered(ticket, Published::Failed);
            return;
        };
        let publish = target.publish(record, errors.0, errors.1);
        let timeout = self.settings.timeout;
        self.calls.push(
            async move {
                let result = match tokio::time::timeout(timeout, publish).await {
                    Ok(result) => result,
                    Err(_) => {
                        let error = format!("dead-letter target did not answer within {timeout:?}");
                        Err(PublishError {
                            target: true,
                            error,
                        })
                    }
                };
                StoreFact::Published { ticket, id, result }
            }
            .boxed(),
        );
    }

    pub(super) fn published(
        &mut self,
        ticket: Ticket,
        id: PartitionId,
        result: Result<(), PublishError>,
    ) {
        let record = self.engine.records(ticket).next().cloned();
        let published = match result {
            Ok(()) => {
                if let Some(record) = &record {
                    let source = &record.assignment().name.source;
                    self.counters.of_source(source).dead_lettered += 1;
                    self.notes.record(record, Event::DeadLettered);
                    let item = LaneKey::from_bytes(record.lane())
                        .and_then(|lane| self.partitions.get(&id)?.lanes.get(&lane));
                    let (attempts, error) =
                        item.map_or((0, ""), |item| (item.attempts, item.last_error.as_str()));
                    log::dead_lettered(record, attempts, error);
                }
                Published::Done
            }
            Err(error) => {
                if let (Some(owned), Some(record)) = (self.partitions.get_mut(&id), &record) {
                    let name = &owned.assignment.name;
                    tracing::warn!(source = %name.source, partition = %name.partition, record = record.id(), %error, "dead letter not published");
                    if let Some(lane) = LaneKey::from_bytes(record.lane()) {
                        let errors = owned.errors.entry(lane).or_default();
                        errors.note(
                            record.position(),
                            &format!("dead letter not published: {error}"),
                            errors.attempts,
                        );
                    }
                }
                if error.target {
                    Published::Target
                } else {
                    Published::Failed
                }
            }
        };
        self.engine.dead_lettered(ticket, published);
    }
}

/// What the decision on a lane with this head says of tries by other processes, since it was made.
fn tried_before(owned: &Owned, head: &Position) -> Option<HeadTried> {
    let items = owned.lanes.values();
    let tried = items.filter(|item| item.head == *head);
    let tried = tried.filter_map(|item| item.decision.as_ref()?.tried.clone());
    tried.into_iter().find(|tried| tried.head == head.padded())
}

/// Attempts that a record has used up in other processes. A verdict that is not durable falls again, by a
/// last try: nobody knows the error of one that was used up elsewhere.
pub(super) fn used_up(attempts: u32, rules: &FailureRules) -> u32 {
    attempts.min(rules.attempts_max.saturating_sub(1))
}

/// The copy of a stopped head at this position.
fn copy_of(owned: &Owned, position: &Position) -> Option<Record> {
    let stopped = |item: &&LaneItem| item.state == LaneState::Stopped && item.head == *position;
    let item = owned.lanes.values().find(stopped)?;
    match Record::from_stored(&owned.assignment, position.clone(), item.record.as_ref()?) {
        Ok(record) => Some(record),
        Err(error) => {
            tracing::error!(source = %owned.assignment.name.source, partition = %owned.assignment.name.partition, lane = %item.lane.id(&owned.assignment.name.partition), %error, "the copy of the stopped head cannot be read");
            None
        }
    }
}

/// Says by name when a lane item was deleted or its state changed by another hand than ours; those
/// that were deleted, as they were: without them their chains would be lost.
fn name_foreign_changes(owned: &Owned, found: &BTreeMap<LaneKey, LaneItem>) -> Vec<LaneItem> {
    let partition = &owned.assignment.name;
    let mut deleted = Vec::new();
    for (lane, known) in &owned.lanes {
        match found.get(lane).map(|item| item.state) {
            Some(state) if state == known.state => {}
            Some(state) => {
                tracing::error!(source = %partition.source, partition = %partition.partition, lane = %lane.id(&partition.partition), known = ?known.state, found = ?state, "lane item was changed in the store by another hand");
            }
            None => {
                tracing::error!(source = %partition.source, partition = %partition.partition, lane = %lane.id(&partition.partition), known = ?known.state, "lane item was deleted from the store by another hand: it is written anew");
                deleted.push(known.clone());
            }
        }
    }
    deleted
}
