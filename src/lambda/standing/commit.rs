//! A commit: what the processor has settled, said by a mark.

use super::{Sent, Standing, stands};
use crate::{
    checkpoint::Checkpoint,
    position::Position,
    store::{Commit, ContentId, Failed, LaneChange, Tried},
};
use std::collections::BTreeSet;

impl Standing {
    /// What was sent for this content of the processor, if its outcome is not known.
    pub(in crate::lambda) fn sent(
        &self,
        content: ContentId,
    ) -> Option<(Commit, Vec<usize>, Vec<usize>)> {
        let sent = self.sent.as_ref().filter(|sent| sent.content == content)?;
        Some((sent.commit.clone(), sent.of.clone(), sent.effects.clone()))
    }

    pub(in crate::lambda) fn sending(
        &mut self,
        content: ContentId,
        commit: &Commit,
        (of, effects): (&[usize], &[usize]),
    ) {
        self.sent = Some(Sent {
            content,
            commit: commit.clone(),
            of: of.to_vec(),
            effects: effects.to_vec(),
        });
    }

    pub(in crate::lambda) fn answered(&mut self) {
        self.sent = None;
    }

    /// The processor's commit as one with a mark; `effects`: those of its records that are not applied
    /// yet; `spare`: so many bytes fewer of tries.
    pub(in crate::lambda) fn build(
        &self,
        commit: &Commit,
        lanes: Vec<LaneChange>,
        (effects, spare): (&[usize], u64),
    ) -> Commit {
        let of = &commit.checkpoint;
        let delivered: BTreeSet<&Position> = { self.batch.positions.iter() }
            .chain(self.heads.keys())
            .collect();
        let done = { delivered.iter() }
            .filter(|p| of.settles(p) && !self.elsewhere.contains(**p) && self.is_ours(p))
            .map(|p| (*p).clone());
        let mut mark = self.mark.clone();
        mark.done = done.collect();
        mark.tried = self.own_tries(of, &commit.failed);
        forget(&mut mark.tried, spare);
        mark.announced = { of.announced.iter() }
            .filter(|(position, _)| delivered.contains(&position))
            .cloned()
            .collect();
        let is_done = |p: &&Position| of.settles(p) && self.is_ours(p);
        let all = { delivered.iter() }.all(|p| is_done(p) || self.elsewhere.contains(*p));
        let lease = self.mark.invocation.as_str();
        let acts = { self.actual.values() }.any(|item| {
            let held = item.decision.as_ref().and_then(|d| d.lease.as_ref());
            stands(item) && held.is_some_and(|held| held.holder == lease)
        });
        mark.ended = all && !acts && mark.announced.is_empty();
        let effects = effects
            .iter()
            .filter_map(|index| commit.effects.get(*index));
        Commit {
            checkpoint: Checkpoint::default(),
            lanes,
            effects: effects.cloned().collect(),
            keep: false,
            settled_in: false,
            mark: Some(mark),
            lanes_at: self.is_sharing().then(|| self.batch.lanes_at.clone()),
            ..commit.clone()
        }
    }

    fn own_tries(&self, checkpoint: &Checkpoint, failed: &[(Position, Failed)]) -> Vec<Tried> {
        let mut tries = Vec::new();
        for (position, attempts) in &checkpoint.attempts {
            if self.lane_of(position).is_none() {
                continue;
            }
            let own = attempts.saturating_sub(self.tried_elsewhere(position));
            if own > 0 {
                let mut known = failed.iter().filter(|(of, _)| of == position);
                let known = known.next().map(|(_, known)| known.clone());
                let Failed { error, not_before } = known.unwrap_or_default();
                tries.push(Tried {
                    position: position.clone(),
                    rev: self.rev_of(position),
                    attempts: own,
                    error,
                    not_before,
                });
            }
        }
        tries
    }

    /// A commit of the processor, as it was written, is durable.
    pub(in crate::lambda) fn durable(&mut self, commit: &Commit, built: &Commit) {
        self.number = commit.number;
        if let Some(mark) = &built.mark {
            self.mark = mark.clone();
        }
        for change in &built.lanes {
            if let Some(passed) = &change.passed {
                self.passed.insert(change.lane.clone(), passed.clone());
            }
            match &change.item {
                Some(item) => self.actual.insert(change.lane.clone(), item.clone()),
                None => self.actual.remove(&change.lane),
            };
        }
        for change in &commit.lanes {
            match &change.item {
                Some(item) => self.shown.insert(change.lane.clone(), item.clone()),
                None => self.shown.remove(&change.lane),
            };
        }
    }
}

/// Tries are not remembered, so that the rest fits: those of records that failed least often.
fn forget(tries: &mut Vec<Tried>, spare: u64) {
    if spare == 0 {
        return;
    }
    tries.sort_by_key(|one| std::cmp::Reverse(one.attempts));
    let mut left = spare;
    while left > 0
        && let Some(one) = tries.pop()
    {
        left = left.saturating_sub(160 + one.error.len() as u64);
    }
    tries.sort_by(|one, other| one.position.cmp(&other.position));
}
