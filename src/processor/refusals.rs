//! Commits that the store refused: what of them goes in another one.

use super::{
    Processor, changes,
    owned::{OutCommit, Waiting},
};
use crate::{history::Event, record::LaneKey, store::TooLarge};
use partitions::{Change, CommitEnd, PartitionId};

impl Processor {
    /// Conditions of effects do not hold: the records are rejected, what comes before them in their
    /// lanes goes first.
    pub(super) fn refused(
        &mut self,
        id: PartitionId,
        out: &OutCommit,
        refused: &[(usize, String)],
    ) {
        let Some(owned) = self.partitions.get_mut(&id) else {
            return;
        };
        let mut of = Vec::new();
        for (index, why) in refused {
            let (Some(&(ticket, record)), Some(effects)) =
                (out.effects_of.get(*index), out.commit.effects.get(*index))
            else {
                continue;
            };
            self.counters.of(owned.source).rejected += 1;
            let errors = owned.errors.entry(effects.lane.clone()).or_default();
            errors.note(&effects.position, why, errors.attempts + 1);
            of.push((ticket, record));
            let kept = owned.effects.entry(ticket).or_default();
            kept.retain(|(k, _)| *k < record as usize);
            let empty = kept.is_empty();
            if empty {
                owned.effects.remove(&ticket);
            }
        }
        for (index, why) in refused {
            if let Some(effects) = out.commit.effects.get(*index) {
                let event = Event::Refused { why };
                self.notes
                    .head(owned, effects.lane.bytes(), &effects.position, event);
            }
        }
        let over = |w: &Waiting| of.iter().any(|(ticket, k)| *ticket == w.ticket && *k == 0);
        let mut back: Vec<Waiting> = out.tickets.iter().copied().filter(|w| !over(w)).collect();
        back.append(&mut owned.waiting);
        owned.waiting = back;
        owned.clear_again(&out.commit);
        owned.dirty = true;
        self.engine.end_commit(id, CommitEnd::Refused(&of));
    }

    /// Effects of several tries write one item, which the store takes once a commit: these go each in
    /// a commit of its own.
    pub(super) fn apart(&mut self, id: PartitionId, out: OutCommit, apart: &[usize]) {
        let Some(owned) = self.partitions.get_mut(&id) else {
            return;
        };
        let first = out.effects_of.first().map(|(ticket, _)| *ticket);
        let of = |index: &usize| out.effects_of.get(*index).copied();
        if let Some(index) = apart
            .iter()
            .find(|index| of(index).map(|(t, _)| t) == first)
        {
            // A run was cut where an item comes again: a store that says this of one is not believed.
            let why = "its effects write an item that an effect before them in the run writes too";
            return self.refused(id, &out, &[(*index, why.to_owned())]);
        }
        owned
            .apart
            .extend(apart.iter().filter_map(of).map(|(ticket, _)| ticket));
        let mut back = out.tickets;
        back.append(&mut owned.waiting);
        owned.waiting = back;
        owned.clear_again(&out.commit);
        owned.dirty = true;
        self.engine.end_commit(id, CommitEnd::NotWritten);
    }

    /// Somebody wrote a lane item of ours: an operator's decision came first, or a hand went into
    /// the store. Read them again, then commit anew.
    pub(super) fn lane_moved(&mut self, id: PartitionId, out: OutCommit, moved: &[usize]) {
        let Some(owned) = self.partitions.get_mut(&id) else {
            return;
        };
        for index in moved {
            if let Some(change) = out.commit.lanes.get(*index) {
                tracing::info!(source = %owned.assignment.name.source, partition = %owned.assignment.name.partition, lane = %change.lane.id(&owned.assignment.name.partition), "lane item changed in the store: reading it again");
            }
        }
        let mut back = out.tickets;
        back.append(&mut owned.waiting);
        owned.waiting = back;
        owned.clear_again(&out.commit);
        owned.dirty = true;
        self.engine.end_commit(id, CommitEnd::NotWritten);
        self.read_lanes(id);
    }

    pub(super) fn too_large(
        &mut self,
        id: PartitionId,
        out: OutCommit,
        what: TooLarge,
        error: String,
    ) {
        let Some(owned) = self.partitions.get_mut(&id) else {
            return;
        };
        let change = match what {
            TooLarge::Effects(index) => {
                self.refused(id, &out, &[(index, error)]);
                return;
            }
            TooLarge::Lane(index) => out.commit.lanes.get(index).and_then(|change| {
                let key = |w: &&Waiting| self.engine.lane_key(w.lane) == Some(change.lane.bytes());
                let of_lane = out.tickets.iter().filter(key);
                let mut stored =
                    of_lane.filter(|w| matches!(w.change, Change::Park | Change::Append));
                stored.next().copied()
            }),
            TooLarge::Checkpoint => None,
        };
        tracing::error!(source = %owned.assignment.name.source, partition = %owned.assignment.name.partition, "{error}");
        let refused = change.map(|w| {
            let records = self.engine.records(w.ticket).len();
            (w, changes::kept(w.change, records))
        });
        if let Some((w, 0)) = refused
            && w.change == Change::Park
            && let Some(head) = self.engine.records(w.ticket).next()
            && let Some(lane) = LaneKey::from_bytes(head.lane())
        {
            // The lane stops instead, and its item says why.
            let errors = owned.errors.entry(lane).or_default();
            let why = format!("cannot be parked: {error}");
            errors.note(head.position(), &why, errors.attempts);
        }
        let over =
            |w: &Waiting| refused.is_some_and(|(of, keep)| of.ticket == w.ticket && keep == 0);
        let mut back: Vec<Waiting> = out.tickets.iter().copied().filter(|w| !over(w)).collect();
        back.append(&mut owned.waiting);
        owned.waiting = back;
        owned.clear_again(&out.commit);
        owned.dirty = true;
        match refused {
            Some((w, keep)) => {
                let refused = [(w.ticket, keep)];
                self.engine.end_commit(id, CommitEnd::Refused(&refused));
            }
            None => {
                // It is built anew, of what is settled then; all that helps is that more settles.
                owned.not_before = self.now + self.settings.flush_interval;
                self.engine.end_commit(id, CommitEnd::NotWritten);
            }
        }
    }
}
