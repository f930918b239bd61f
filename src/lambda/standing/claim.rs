//! A claim: what marks and lanes say, put together into what an owner would find.

use super::{Batch, Head, Standing, stands};
use crate::{
    checkpoint::{Checkpoint, OpenSet},
    lambda::holder::Invocation,
    position::Position,
    processor::CAREFUL_FROM,
    record::{Assignment, LaneKey, Record},
    store::{Claimed, Failed, LaneItem, LaneState, Lease, Mark, Verb},
};
use partitions::Resume;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Whether a record that is not in a lane's chain has no place in it either: its producer sends one key to
/// several shards at once. Until the chain has run, it waits, and so does what follows it in its shard.
fn is_unplaced(item: &LaneItem, position: &Position) -> bool {
    match item.state {
        LaneState::Stopped | LaneState::Live => false,
        LaneState::Parked | LaneState::Draining => {
            item.tail.as_ref().is_some_and(|tail| position <= tail)
        }
    }
}

impl Standing {
    /// Takes in what a claim has read, and says of it what an owner's claim would.
    pub(in crate::lambda) fn claimed(
        &mut self,
        invocation: &Invocation,
        marks: &[Mark],
        items: Vec<LaneItem>,
        now: i64,
    ) -> Claimed {
        self.number = u64::from(!self.batch.is_queue);
        self.read(items);
        let others = marks.iter();
        // Of a replay, what another one of the same records did says nothing.
        let others = others.filter(|mark| {
            mark.invocation != self.mark.invocation && mark.generation == self.mark.generation
        });
        let others: Vec<&Mark> = others.collect();
        self.take_in(&others);
        let lease = invocation.lease();
        self.show(&lease, now);
        // Deaths in a row: one that came to its end says that what was before does not kill.
        let ended = others.iter().filter(|mark| mark.ended);
        let ended = ended.filter(|mark| self.shares_a_record_with(mark));
        let ended = ended.map(|mark| mark.begun).max();
        let dead: Vec<&Mark> = { others.iter().copied() }
            .filter(|mark| !mark.ended && mark.deadline <= now && Some(mark.begun) > ended)
            .filter(|mark| self.shares_a_record_with(mark))
            .collect();
        let checkpoint = self.put_together(&dead, invocation.attempts_max);
        self.unclean_claims = if dead.is_empty() && checkpoint.announced.is_empty() {
            0
        } else {
            CAREFUL_FROM
        };
        self.checkpoint = Some(checkpoint);
        let mut failed = self.failed(invocation.attempts_max);
        for (position, until) in self.not_over(&others, invocation.quiet, now) {
            let known = failed.entry(position).or_default();
            known.not_before = until.max(known.not_before);
        }
        Claimed {
            ownership: self.ownership(invocation),
            unclean: None,
            lanes: self.shown.values().cloned().collect(),
            failed: failed.into_iter().collect(),
        }
    }

    /// What marks say of open records that failed, and whose tries count.
    fn failed(&self, attempts_max: u32) -> BTreeMap<Position, Failed> {
        let open = { self.tried.iter() }.filter(|((position, rev), _)| {
            *rev == self.rev_of(position) && !self.elsewhere.contains(position)
        });
        open.map(|((position, _), tried)| {
            let first = tried.first.as_ref();
            let failed = Failed {
                error: first.map(|(_, said)| said.clone()).unwrap_or_default(),
                // What is used up fails without a try.
                not_before: match tried.attempts < attempts_max {
                    true => tried.not_before,
                    false => 0,
                },
            };
            (position.clone(), failed)
        })
        .collect()
    }

    /// Whether a mark is of an invocation that had a record of this batch.
    fn shares_a_record_with(&self, mark: &Mark) -> bool {
        let mut batch = self.batch.positions.iter().zip(&self.batch.lanes);
        batch.any(|(position, lane)| mark.had(lane, position))
    }

    /// Records that an invocation had which ended without a word, and that its target may still be at: the
    /// mapping would not deliver them again if it lived.
    fn not_over(&self, others: &[&Mark], quiet: i64, now: i64) -> Vec<(Position, i64)> {
        let mut waits = Vec::new();
        for mark in others.iter().filter(|mark| !mark.ended) {
            let until = now.min(mark.deadline).saturating_add(quiet);
            let batch = self.batch.positions.iter().zip(&self.batch.lanes);
            let had = batch.filter(|(position, lane)| {
                until > now && mark.had(lane, position) && !self.elsewhere.contains(position)
            });
            waits.extend(had.map(|(position, _)| (position.clone(), until)));
        }
        waits
    }

    fn take_in(&mut self, marks: &[&Mark]) {
        for mark in marks {
            for position in mark.done.positions() {
                if self.batch.lane_of(position).is_some() {
                    self.elsewhere.insert(position.clone());
                }
            }
            for one in &mark.tried {
                let sum = self.tried.entry((one.position.clone(), one.rev));
                let sum = sum.or_default();
                sum.attempts = sum.attempts.saturating_add(one.attempts);
                sum.not_before = sum.not_before.max(one.not_before);
                if sum
                    .first
                    .as_ref()
                    .is_none_or(|(begun, _)| mark.begun < *begun)
                {
                    sum.first = Some((mark.begun, one.error.clone()));
                }
            }
        }
        // What a chain covers is in it, or has passed, whatever became of the mark that said so.
        let Batch {
            positions,
            lanes,
            partition,
            ..
        } = &self.batch;
        for (position, lane) in positions.iter().zip(lanes) {
            let Some(item) = self.actual.get(lane) else {
                continue;
            };
            if item.covers(&partition.partition, position) {
                self.elsewhere.insert(position.clone());
            } else if is_unplaced(item, position) && !self.elsewhere.contains(position) {
                self.given_up.insert(lane.clone());
            }
        }
    }

    /// Shows the lanes that stand to the processor; heads that are to come from their items.
    fn show(&mut self, lease: &Lease, now: i64) {
        let is_sharing = self.is_sharing();
        let in_batch: BTreeSet<&LaneKey> = self.batch.lanes.iter().collect();
        for (lane, item) in self.actual.iter().filter(|(_, item)| stands(item)) {
            let mut item = LaneItem {
                decision: self.offered(item, lease, now),
                ..item.clone()
            };
            let follows = in_batch.contains(lane) && item.head < self.mark.last;
            let delivered = self.batch.lane_of(&item.head).is_some();
            let has_chain = item.state != LaneState::Stopped;
            let is_drained = has_chain && item.decision.is_some();
            let of = item.record.as_deref().and_then(Record::stored_partition);
            let bars =
                self.batch.stops_all && of.is_none_or(|of| *of == *self.batch.partition.partition);
            if is_sharing && !in_batch.contains(lane) && !is_drained && (has_chain || !bars) {
                // What other shards have of it is theirs.
                continue;
            }
            if is_drained {
                let far = item.tail.as_ref().unwrap_or(&item.head);
                self.through = far.max(&self.through).clone();
            } else if let Some(decision) = item.decision.as_ref().filter(|_| !delivered) {
                // Its head may be on its way to somebody else, unless records behind it are here.
                let is_skipped = decision.verb == Verb::Skip;
                if follows && (is_skipped || self.can_be_read(&item)) {
                    let head = Head {
                        lane: lane.clone(),
                        partition: of.map(Box::from),
                    };
                    self.heads.insert(item.head.clone(), head);
                } else {
                    item.decision = None;
                }
            }
            self.shown.insert(lane.clone(), item);
        }
        if let Some((first, _)) = self.heads.first_key_value()
            && *first < self.mark.first
        {
            self.mark.first = first.clone();
        }
    }

    /// Whether a stopped head can be run from its copy. One that a later version wrote stands until such a
    /// version comes, or it is skipped: what cannot be read would count as gone.
    fn can_be_read(&self, item: &LaneItem) -> bool {
        let Some(copy) = &item.record else {
            return false;
        };
        let assignment = Arc::new(Assignment {
            name: self.batch.partition.clone(),
            epoch: 0,
            generation: self.mark.generation,
        });
        match Record::from_stored(&assignment, item.head.clone(), copy) {
            Ok(_) => true,
            Err(error) => {
                let partition = &self.batch.partition;
                tracing::error!(%partition, lane = %item.lane, %error, "the copy of the stopped head cannot be read: its lane stands; run the version that has stopped it, or skip its head");
                false
            }
        }
    }

    /// The checkpoint that the marks are together.
    fn put_together(&self, dead: &[&Mark], attempts_max: u32) -> Checkpoint {
        let mut delivered = self.delivered();
        // What is not handed over is not missed.
        if !self.given_up.is_empty() {
            let is_given_up = |lane: &LaneKey| self.given_up.contains(lane);
            delivered.retain(|position| !self.batch.lane_of(position).is_some_and(is_given_up));
        }
        let settled = { self.elsewhere.iter() }.chain(self.heads.keys()).max();
        let is_open = |position: &&&Position| !self.elsewhere.contains(**position);
        let open = { delivered.iter() }
            .filter(is_open)
            .take_while(|position| settled.is_some_and(|to| **position <= to))
            .map(|position| (*position).clone());
        let mut announced: BTreeMap<Position, bool> = BTreeMap::new();
        for (position, alone) in dead.iter().flat_map(|mark| &mark.announced) {
            if delivered.binary_search(&position).is_ok() && !self.elsewhere.contains(position) {
                *announced.entry(position.clone()).or_default() |= *alone;
            }
        }
        let mut attempts = Vec::new();
        for position in delivered.iter().filter(is_open) {
            let tried = self.tried_elsewhere(position);
            if tried == 0 {
                continue;
            }
            attempts.push(((*position).clone(), tried));
            // Used up, and nobody lived to say so of its lane: it fails for good without a try.
            let lane = self.lane_of(position);
            let is_live = lane.is_none_or(|lane| !self.shown.contains_key(lane));
            if tried >= attempts_max && is_live {
                announced.entry((*position).clone()).or_default();
            }
        }
        let first = delivered.first().map(|first| (*first).clone());
        Checkpoint {
            resume: first.map_or(Resume::Beginning, Resume::At),
            settled_to: settled.cloned(),
            open: open.collect::<OpenSet>(),
            attempts,
            announced: announced.into_iter().collect(),
            ..Checkpoint::default()
        }
    }
}
