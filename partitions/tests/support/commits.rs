//! Commits: what one writes, and what its end means to the reference.

use super::{
    lane::{Mode, Owed, Stage},
    part::Part,
    reference::Model,
    store::before,
    world::{Commit, End, World},
};
use partitions::{Change, CommitEnd, Rest, Resume, Ticket};
use std::collections::BTreeSet;

impl World {
    /// The changes of a partition that wait for a commit.
    pub fn pending(&self, part: usize) -> Vec<(Ticket, u8)> {
        let lanes = self.parts[part].model.lanes.iter();
        lanes
            .filter_map(|(key, lane)| lane.persist.as_ref().map(|out| (out.0, *key)))
            .collect()
    }

    /// Begins a commit with these changes, and checks that it says exactly what is settled.
    pub fn begin(&mut self, part: usize, with: &[(Ticket, u8)]) {
        let id = self.parts[part].id.expect("an assigned partition");
        let tickets: Vec<Ticket> = with.iter().map(|(ticket, _)| *ticket).collect();
        let mut after = self.parts[part].store.clone();
        let open_count = self.engine.open_count(id);
        let snapshot = self.engine.begin_commit(id, &tickets);
        after.resume = snapshot.resume.clone();
        after.settled_to = snapshot.settled_to;
        let open: Vec<u64> = snapshot.open().copied().collect();
        let attempts: Vec<(u64, u32)> = snapshot
            .attempts()
            .map(|(at, count)| (*at, count))
            .collect();
        let (mut drained, mut heads) = (Vec::new(), Vec::new());
        for one in snapshot.drained() {
            drained.push((one.lane, *one.through, one.records));
            heads.push((one.lane, *one.through, one.head.copied()));
        }
        for (lane, through, head) in heads {
            let key = self.engine.lane_key(lane).expect("a lane")[1];
            let next = self.parts[part].store.chain_behind(key, through);
            assert_eq!(
                head, next,
                "G5 checkpoint: head of a chain run to {through}"
            );
        }
        check_listed(&open, open_count.filter(|_| with.is_empty()));
        after.open = open.into_iter().collect();
        self.log(|| format!(
            "begin {part} with {:?}: {:?} to {:?} open {:?} attempts {attempts:?} drained {drained:?}",
            self.changes(part, with), after.resume, after.settled_to, after.open));
        // What has not come in this assignment keeps the attempts that the checkpoint knows.
        after.attempts.retain(|at, _| {
            let row = self.parts[part]
                .model
                .rows
                .iter()
                .find(|row| row.position == *at);
            row.is_some_and(|row| !row.accepted) && after.open.contains(at)
        });
        after.attempts.extend(attempts.iter().copied());
        for (ticket, key) in with {
            let lane = &self.parts[part].model.lanes[key];
            let (out, change, lent) = lane.persist.clone().expect("a change that is out");
            assert_eq!(out, *ticket);
            after.apply(*key, change, &lent);
        }
        let passed = self.parts[part]
            .model
            .rows
            .iter()
            .filter(|row| row.stage == Stage::Passed);
        let mut passed: Vec<u64> = passed.map(|row| row.position).collect();
        let effects = self
            .changes(part, with)
            .into_iter()
            .filter(|(_, change, _)| *change == Change::Effects);
        passed.extend(effects.flat_map(|(_, _, lent)| lent));
        let commit = Commit {
            tickets: with.to_vec(),
            after,
            passed,
            drained,
        };
        self.check_snapshot(part, &commit);
        self.parts[part].commit = Some(commit);
    }

    fn changes(&self, part: usize, with: &[(Ticket, u8)]) -> Vec<(char, Change, Vec<u64>)> {
        let of = |key: &u8| self.parts[part].model.lanes[key].persist.clone();
        with.iter()
            .filter_map(|(_, key)| of(key).map(|out| (*key as char, out.1, out.2)))
            .collect()
    }

    pub fn end(&mut self, part: usize, end: &End) {
        self.log(|| format!("end {part} {end:?}"));
        let id = self.parts[part].id.expect("an assigned partition");
        let commit = self.parts[part]
            .commit
            .take()
            .expect("a commit that is out");
        match end {
            End::Durable => {
                let lane = |one: &(_, u64, u64)| {
                    self.engine
                        .lane_key(one.0)
                        .map(|key| (key[1], one.1, one.2))
                };
                let drained: Vec<_> = commit
                    .drained
                    .iter()
                    .map(|one| lane(one).expect("a lane"))
                    .collect();
                self.engine.end_commit(id, CommitEnd::Durable);
                self.durable(part, commit, &drained);
            }
            End::NotWritten => {
                self.count("not written");
                self.engine.end_commit(id, CommitEnd::NotWritten);
            }
            End::Fenced => {
                self.count("fenced");
                self.engine.end_commit(id, CommitEnd::Fenced);
                self.forget(part);
            }
            End::Refused(refused) => {
                let refusals = self.refusals(part, &commit, refused);
                self.count("refused");
                if refusals.iter().any(|(_, first)| *first > 0) {
                    self.count("refused behind others");
                }
                self.engine.end_commit(id, CommitEnd::Refused(&refusals));
                self.refused(part, &commit, refused);
                self.check_loans(part);
            }
        }
        self.turn();
    }

    /// One commit with all that waits for one.
    pub fn commit(&mut self, part: usize) {
        let with = self.pending(part);
        self.begin(part, &with);
        self.end(part, &End::Durable);
    }

    fn durable(&mut self, part: usize, commit: Commit, drained: &[(u8, u64, u64)]) {
        let before = std::mem::replace(&mut self.parts[part].store, commit.after);
        for (key, through, records) in drained {
            self.check_drained(part, *key, *through, *records, &commit.passed);
            self.parts[part].store.drained(*key, *through);
        }
        self.check_forward(part, &before);
        for position in &commit.passed {
            self.parts[part].model.row(*position).durable = true;
        }
        for (_, key) in &commit.tickets {
            let lane = self.parts[part].model.lane(*key);
            let (_, change, lent) = lane.persist.take().expect("a change that is out");
            self.changed(part, *key, change, &lent);
        }
    }

    /// What a durable change means for its lane.
    fn changed(&mut self, part: usize, key: u8, change: Change, lent: &[u64]) {
        let emptied =
            self.parts[part].model.chain(key).count() == usize::from(change == Change::Skip);
        let model = &mut self.parts[part].model;
        for position in lent {
            let row = model.row(*position);
            match change {
                Change::Effects | Change::Skip => {
                    (row.stage, row.durable, row.chained) = (Stage::Passed, true, false);
                }
                Change::Park | Change::Append => {
                    (row.stage, row.chained, row.attempts, row.failed) =
                        (Stage::Queued, true, 0, false);
                }
                Change::DeadLettered => (row.published, row.durable) = (false, true),
                Change::Stop
                | Change::Reopen
                | Change::Verdict
                | Change::Cut
                | Change::Live
                | Change::Announce => {}
            }
        }
        // A chain that stands is loaded anew when it moves on.
        if matches!(change, Change::Park | Change::Skip | Change::DeadLettered) {
            model
                .rows
                .iter_mut()
                .filter(|row| row.key == key)
                .for_each(|row| row.loaded = false);
        }
        let lane = model.lane(key);
        match change {
            Change::Stop => {
                (lane.mode, lane.announced, lane.verdict) = (Mode::Stopped, false, false)
            }
            Change::Park => {
                (lane.mode, lane.head, lane.single_to) = (Mode::Parked, Some(lent[0]), 0);
            }
            Change::Reopen => {
                let head = lane.head.take().expect("the head of a stopped lane");
                (lane.mode, lane.wait) = (Mode::Live, (0, 0));
                let row = model.row(head);
                (row.attempts, row.failed) = (0, false);
            }
            Change::Verdict => {
                lane.verdict = true;
                lane.owes.push_back(Owed::Publish);
            }
            Change::Cut => lane.mode = Mode::Draining,
            Change::Live => (lane.mode, lane.head) = (Mode::Live, None),
            Change::Skip if lane.mode == Mode::Stopped || emptied => {
                let head = lane.head.take();
                (lane.mode, lane.verdict) = (Mode::Live, false);
                if let Some(head) = head.filter(|_| lent.is_empty()) {
                    model.row(head).stage = Stage::Void;
                }
            }
            Change::DeadLettered if lane.mode == Mode::Parked && emptied => {
                (lane.mode, lane.head) = (Mode::Live, None);
            }
            Change::Effects => {
                if let Some((head, rest)) = lane.rest.take() {
                    self.head_failed(part, key, head, rest);
                }
            }
            Change::Append | Change::Skip | Change::DeadLettered | Change::Announce => {}
        }
    }

    fn refusals(&self, part: usize, commit: &Commit, refused: &[u64]) -> Vec<(Ticket, u32)> {
        let first = |(ticket, key): &(Ticket, u8)| {
            let (_, change, lent) = self.parts[part].model.lanes[key].persist.as_ref()?;
            let first = lent
                .iter()
                .position(|position| refused.contains(position))?;
            (*change == Change::Effects).then_some((*ticket, u32::try_from(first).ok()?))
        };
        commit.tickets.iter().filter_map(first).collect()
    }

    /// The first refused record of a lane is rejected, what follows it was never answered.
    fn refused(&mut self, part: usize, commit: &Commit, refused: &[u64]) {
        for (ticket, first) in self.refusals(part, commit, refused) {
            let key = commit
                .tickets
                .iter()
                .find(|one| one.0 == ticket)
                .expect("its ticket")
                .1;
            let model = &mut self.parts[part].model;
            let lane = model.lane(key);
            let (_, _, lent) = lane.persist.as_mut().expect("a change that is out");
            let void = lent.split_off(first as usize);
            (lane.rest, lane.single_to) = (Some((void[0], Rest::Reject)), 0);
            let over = lent.is_empty();
            for position in &void {
                model.row(*position).stage = Stage::Queued;
            }
            if over {
                let lane = model.lane(key);
                (lane.persist, lane.rest) = (None, None);
                self.head_failed(part, key, void[0], Rest::Reject);
            }
        }
    }
}

/// Whether the commit says that everything before and at `position` is settled.
pub fn prefix_covers(resume: &Resume<u64>, position: u64) -> bool {
    before(resume, position)
}

/// What a commit must say is settled.
pub fn settled_with(part: &Part, commit: &Commit) -> BTreeSet<u64> {
    let lent = |(_, key): &(Ticket, u8)| match &part.model.lanes[key].persist {
        Some((_, change, lent)) => match change {
            Change::Skip if lent.is_empty() => part.model.lanes[key].head.into_iter().collect(),
            Change::Effects
            | Change::Park
            | Change::Append
            | Change::Skip
            | Change::DeadLettered => lent.clone(),
            Change::Stop
            | Change::Reopen
            | Change::Verdict
            | Change::Cut
            | Change::Live
            | Change::Announce => Vec::new(),
        },
        None => Vec::new(),
    };
    let by_commit = commit.tickets.iter().flat_map(lent);
    let already = part
        .model
        .rows
        .iter()
        .filter(|row| Model::settled(row))
        .map(|row| row.position);
    already.chain(by_commit).collect()
}

/// The open positions are in order, and as many as were counted.
fn check_listed(open: &[u64], counted: Option<u64>) {
    assert!(
        open.is_sorted(),
        "G5 checkpoint: open positions out of order: {open:?}"
    );
    assert!(
        counted.is_none_or(|count| count == open.len() as u64),
        "G5 checkpoint: {counted:?} open positions counted, and listed: {open:?}"
    );
}
