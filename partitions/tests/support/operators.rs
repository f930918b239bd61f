//! What operators and the dead-letter target say, and what the store has of a chain.

use super::{
    answers::millis,
    lane::{Mode, Owed, Row, Stage},
    record::Rec,
    store::Item,
    world::World,
};
use partitions::{Change, Decision, Published};

impl World {
    /// The reference's view of a decision, and whether it had to be offered.
    pub(super) fn decided(&mut self, part: usize, key: u8, decision: Decision, offered: bool) {
        let head = self.head_of(part, key);
        let here = head.is_some_and(|head| self.stage(part, head) == Stage::Queued);
        let lane = self.parts[part].model.lane(key);
        let busy = lane.shut() || !lane.owes.is_empty() || (lane.verdict && here);
        let state = match lane.mode {
            Mode::Stopped => decision == Decision::Skip || (decision != Decision::Release && here),
            Mode::Parked => decision != Decision::Park,
            Mode::Live | Mode::Releasing | Mode::Draining => false,
        };
        if lane.persist.is_none() || !state || busy {
            let (key, mode) = (key as char, lane.mode);
            assert_eq!(
                offered,
                state && !busy,
                "decision {decision:?} on {part}/{key} ({mode:?})"
            );
        }
        if !offered {
            return;
        }
        let parked = lane.mode == Mode::Parked;
        match decision {
            Decision::Retry | Decision::Release if parked => {
                lane.mode = Mode::Releasing;
                // The decision is taken on the item at once, whatever a commit that is out brings.
                let part = &mut self.parts[part];
                let after = part.commit.as_mut().map(|commit| &mut commit.after);
                for store in [Some(&mut part.store), after].into_iter().flatten() {
                    if let Some(Item::Chain { releasing, .. }) = store.items.get_mut(&key) {
                        *releasing = true;
                    }
                }
            }
            Decision::Retry | Decision::Release => {
                lane.owes.push_back(Owed::Change(Change::Reopen))
            }
            Decision::Skip => lane.owes.push_back(Owed::Change(Change::Skip)),
            Decision::Park => lane.owes.push_back(Owed::Change(Change::Park)),
            Decision::DeadLetter => lane.owes.push_back(Owed::Change(Change::Verdict)),
        }
    }

    /// The publication of this lane's head ends.
    pub fn published(&mut self, part: usize, key: u8, published: Published) {
        self.log(|| format!("published {part} {}: {published:?}", key as char));
        let rules = self.limits.failure;
        let lane = self.parts[part].model.lane(key);
        let ticket = lane.publishing.take().expect("a publication that is out");
        self.engine.dead_lettered(ticket, published);
        match published {
            Published::Done => self.dead(part, key),
            Published::Failed if lane.publications + 1 >= rules.attempts_max => {
                (lane.publications, lane.verdict) = (0, false);
                lane.owes.push_back(Owed::Change(Change::Stop));
            }
            Published::Failed | Published::Target => {
                lane.publications += u32::from(published == Published::Failed);
                lane.owes.push_back(Owed::Publish);
                lane.wait = (self.now, self.now + millis(rules.backoff_max));
            }
        }
        self.turn();
    }

    fn dead(&mut self, part: usize, key: u8) {
        let head = self.head_of(part, key).expect("the head of a verdict");
        let model = &mut self.parts[part].model;
        let row = model.row(head);
        (row.stage, row.published, row.chained) = (Stage::Passed, true, false);
        let lane = model.lane(key);
        if lane.mode != Mode::Parked {
            (lane.mode, lane.head) = (Mode::Live, None);
        }
        (lane.publications, lane.verdict, lane.wait) = (0, false, (0, 0));
        lane.owes.push_back(Owed::Change(Change::DeadLettered));
    }

    /// The record that a verdict, a skip or a park of this lane is about.
    pub fn head_of(&self, part: usize, key: u8) -> Option<u64> {
        let model = &self.parts[part].model;
        match model.lanes[&key].mode {
            Mode::Live | Mode::Stopped => model.lanes[&key].head,
            Mode::Parked | Mode::Releasing | Mode::Draining => {
                model.chain(key).map(|row| row.position).next()
            }
        }
    }

    /// Answers a load of a lane's chain with at most `most` records.
    pub fn load(&mut self, part: usize, key: u8, most: usize) {
        let lane = self.parts[part].model.lane(key);
        let Some((id, chain)) = lane.loading.take() else {
            return;
        };
        let to = self.engine.chain_loaded_to(id).copied();
        let behind = |at: &&u64| to.is_none_or(|to| **at > to);
        let behind: Vec<u64> = chain.iter().filter(behind).copied().collect();
        let last = behind.len() <= most;
        let now = match self.parts[part].store.items.get(&key) {
            Some(Item::Chain { chain: now, .. }) => now.len(),
            Some(Item::Stopped { .. }) | None => 0,
        };
        if now > chain.len() {
            self.count("raced loads");
        }
        self.log(|| format!("load {part} {}: {behind:?} of {chain:?}", key as char));
        let model = &mut self.parts[part].model;
        let record = |at: &u64| Rec::new(*at, key, model.row(*at).weight);
        let records: Vec<Rec> = behind.iter().take(most).map(record).collect();
        self.engine.chain(id, &mut records.into_iter(), last);
        if let Some(to) = self.engine.chain_loaded_to(id).copied() {
            let mine = |row: &&mut Row| row.key == key && row.chained && row.position <= to;
            self.parts[part]
                .model
                .rows
                .iter_mut()
                .filter(mine)
                .for_each(|row| row.loaded = true);
        }
        self.turn();
    }
}
