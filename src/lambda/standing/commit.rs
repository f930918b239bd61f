//! A commit: what the processor has settled, said by a mark.

use super::{Head, Sent, Standing, stands};
use crate::{
    checkpoint::Checkpoint,
    lambda::merge::Merged,
    position::Position,
    record::LaneKey,
    store::{Commit, ContentId, Failed, LaneChange, LaneState, Lease, Tried},
};

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

    /// Lanes whose heads were run from their copies, and are done by this commit: until then they stood, so
    /// that a head is not lost with who ran it. What has no room goes with the next commit, or the last.
    pub(in crate::lambda) fn reopened(
        &self,
        commit: &Commit,
        lanes: usize,
        (lease, now): (&Lease, i64),
    ) -> Vec<LaneChange> {
        let effects: usize = { commit.effects.iter() }
            .map(|record| record.effects.len() + 1)
            .sum();
        let room = self.items_max.saturating_sub(lanes + effects);
        let is_done = |head: &Position| {
            commit.checkpoint.settles(head)
                && self
                    .heads
                    .get(head)
                    .is_some_and(|head| commit.lanes.iter().all(|change| change.lane != head.lane))
        };
        let mut over = self.done_from_copies(is_done, (lease, now));
        over.truncate(room);
        over
    }

    /// Lanes that stand at heads which were run from their copies and are done.
    pub(super) fn done_from_copies(
        &self,
        is_done: impl Fn(&Position) -> bool,
        (lease, now): (&Lease, i64),
    ) -> Vec<LaneChange> {
        let over = self.heads.iter().filter(|(head, Head { lane, .. })| {
            let actual = self.actual.get(lane);
            let stands = actual.is_some_and(|item| {
                item.state == LaneState::Stopped
                    && item.head == **head
                    && self.is_leased(item, lease)
            });
            stands && is_done(head)
        });
        let changes = over.filter_map(|(_, Head { lane, .. })| {
            let change = LaneChange {
                lane: lane.clone(),
                expected: None,
                item: None,
                append: Vec::new(),
                passed: None,
            };
            match self.sides(&change, |_| true, None, (lease, now)).reopened() {
                Ok(Merged::Write(change)) => Some(*change),
                Ok(Merged::Nothing | Merged::Hold(_)) | Err(_) => None,
            }
        });
        changes.collect()
    }

    /// Whether a record is the head of a lane that stands by this invocation's word: its letter may go.
    pub(in crate::lambda) fn may_publish(
        &self,
        lane: &LaneKey,
        position: &Position,
        lease: &Lease,
    ) -> bool {
        let actual = self.actual.get(lane);
        actual.is_some_and(|item| item.head == *position && self.is_leased(item, lease))
    }

    /// A last commit is durable.
    pub(in crate::lambda) fn ended(&mut self, last: &Commit) {
        self.number = last.number;
        if let Some(mark) = &last.mark {
            self.mark = mark.clone();
        }
        for change in &last.lanes {
            if let Some(item) = &change.item {
                self.actual.insert(change.lane.clone(), item.clone());
            }
        }
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
        let delivered = self.delivered();
        let mut done = Vec::with_capacity(delivered.len());
        let mut all = true;
        for position in &delivered {
            if self.elsewhere.contains(*position) {
                continue;
            }
            if of.settles(position) && self.is_ours(position) {
                done.push((*position).clone());
            } else {
                all = false;
            }
        }
        let mut mark = self.mark.clone();
        mark.done = done.into_iter().collect();
        mark.tried = self.own_tries(of, &commit.failed);
        forget(&mut mark.tried, spare);
        mark.announced = { of.announced.iter() }
            .filter(|(position, _)| delivered.binary_search(&position).is_ok())
            .cloned()
            .collect();
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
            let is_a_head = self.heads.contains_key(position);
            if !is_a_head && !self.is_run_here(position) {
                continue;
            }
            let own = attempts.saturating_sub(self.tried_elsewhere(position));
            if own > 0 {
                let Failed { error, not_before } = known_of(position, failed);
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
        self.led = { commit.checkpoint.attempts.iter() }
            .filter(|(position, _)| !self.is_run_here(position))
            .map(|(position, attempts)| {
                let failed = known_of(position, &commit.failed);
                (position.clone(), (*attempts, failed))
            })
            .collect();
        for change in &built.lanes {
            if let Some(passed) = &change.passed {
                self.passed.insert(change.lane.clone(), passed.clone());
            }
            match &change.item {
                Some(item) => self.actual.insert(change.lane.clone(), item.clone()),
                None => self.actual.remove(&change.lane),
            };
            if change.item.as_ref().is_none_or(|item| !stands(item)) {
                self.shown.remove(&change.lane);
            }
        }
        for change in &commit.lanes {
            match &change.item {
                Some(item) => self.shown.insert(change.lane.clone(), item.clone()),
                None => self.shown.remove(&change.lane),
            };
        }
    }
}

/// What is known of a record that failed, of those that are, ascending.
fn known_of(position: &Position, failed: &[(Position, Failed)]) -> Failed {
    let at = failed.binary_search_by(|(of, _)| of.cmp(position)).ok();
    let known = at.and_then(|at| Some(failed.get(at)?.1.clone()));
    known.unwrap_or_default()
}

/// Less is remembered of tries, so that the rest fits: first what they said, then those of records that
/// failed least often.
fn forget(tries: &mut Vec<Tried>, spare: u64) {
    if spare == 0 {
        return;
    }
    let mut left = spare;
    for one in tries.iter_mut() {
        left = left.saturating_sub(one.error.len() as u64);
        one.error.clear();
    }
    tries.sort_by_key(|one| std::cmp::Reverse(one.attempts));
    while left > 0 && tries.pop().is_some() {
        left = left.saturating_sub(160);
    }
    tries.sort_by(|one, other| one.position.cmp(&other.position));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tries_said_goes_before_how_many_they_were() {
        let tries = |said: &str| -> Vec<Tried> {
            let one = |n: u32| Tried {
                position: Position::Offset(u64::from(n)),
                rev: 0,
                attempts: n,
                error: said.to_owned(),
                not_before: 0,
            };
            (1..=3).map(one).collect()
        };
        let mut known = tries("no");
        forget(&mut known, 6);
        assert_eq!(known, tries(""));
        forget(&mut known, 161);
        assert_eq!(known, tries("")[2..], "the one that failed most often");
    }
}
