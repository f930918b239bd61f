//! Chains in the store: arrivals join a parked lane's, a release runs it, a cut ends it.

use crate::lane::{Front, Load, Progress, Standing};
use crate::window::{Body, CHAIN, NIL};
use crate::{Action, Change, Decision, Engine, Item, LaneId};

impl<R: Item> Engine<R> {
    /// Has the lane looked at before anything else starts.
    pub(crate) fn add_chore(&mut self, at: u32) {
        let id = self.lanes.id(at);
        if let Some(aside) = &mut self.lanes[at].aside
            && aside.chain.is_some()
            && !aside.chore
        {
            aside.chore = true;
            self.chores.push_back(id);
        }
    }

    /// Does what the lane's chain asks for: load it, append to it, cut it, end it.
    pub(crate) fn chore(&mut self, id: LaneId) {
        let Some(at) = self.lanes.find_id(id) else {
            return;
        };
        self.aside(at).chore = false;
        if !self.lanes[at].is_chained() || self.part_of(at).draining {
            return;
        }
        // What lies before the chain, after a rewind, is to pass or to join it first, also while it is
        // still to come: it would be taken for the head that was decided on.
        if self.lanes[at].front == Front::Idle && !self.runs_before(at) && self.is_reached(at) {
            self.act_on_parked(at);
        }
        self.load_more(at);
        let lane = &self.lanes[at];
        let wanted = lane.aside.as_ref().and_then(|aside| aside.wanted);
        let Some(chain) = lane.chain() else { return };
        if lane.persist != NIL {
            return;
        }
        if let Some(change) = wanted {
            if !self.needs_next_of_chain(at, change) {
                self.aside(at).wanted = None;
                self.offer(at, change);
            }
            return;
        }
        match lane.standing {
            Standing::Live | Standing::Stopped => {}
            Standing::Releasing if chain.remaining() <= self.limits.cut_at => {
                if let Some(chain) = self.lanes[at].chain_mut() {
                    chain.cutting = true;
                }
                self.offer(at, Change::Cut);
            }
            Standing::Parked | Standing::Releasing => {
                if self.appendable(at) > 0 {
                    self.offer(at, Change::Append);
                }
            }
            Standing::Draining => {
                if chain.remaining() == 0
                    && chain.first == NIL
                    && lane.front == Front::Idle
                    && !self.runs_before(at)
                {
                    self.want(at, Change::Live);
                }
            }
        }
    }

    /// How many arrivals may join the chain now, in one change.
    pub(crate) fn appendable(&self, at: u32) -> u32 {
        let limits = &self.limits;
        let lane = &self.lanes[at];
        let Some(chain) = lane.chain() else { return 0 };
        if chain.refused || chain.cutting || self.runs_before(at) {
            return 0;
        }
        let mut entry = lane.head;
        let (mut records, mut bytes) = (0_u32, 0_u64);
        while entry != NIL
            && records < limits.append_records_max.max(1)
            && chain.count + u64::from(records) < limits.park_records_max
            && chain.bytes + bytes < limits.park_bytes_max
        {
            let weight = self.entries[entry].weight();
            if records > 0 && bytes + weight > limits.append_bytes_max {
                break;
            }
            records += 1;
            bytes += weight;
            entry = self.entries[entry].lane_next;
        }
        records
    }

    /// Arrivals are durably in the chain.
    pub(crate) fn appended(&mut self, at: u32, records: u32) {
        for _ in 0..records {
            let entry = &self.entries[self.lanes[at].head];
            let (weight, position) = (entry.weight(), entry.position().clone());
            self.settle_head(at);
            if let Some(chain) = self.lanes[at].chain_mut() {
                if !chain.has_more() {
                    chain.next = Some(position);
                }
                chain.count += 1;
                chain.bytes += weight;
                if chain.load == Load::Out {
                    chain.load = Load::Raced;
                }
            }
        }
    }

    /// Whether the chain runs and its next record is here. Not before the source is at its
    /// beginning: after a rewind, records of the lane may come that are before it.
    pub(crate) fn chain_may_run(&self, at: u32) -> bool {
        let lane = &self.lanes[at];
        let running = matches!(lane.standing, Standing::Releasing | Standing::Draining);
        lane.chain().is_some_and(|chain| {
            running && chain.first != NIL && !(chain.loaded == 1 && chain.ends_in_the_dark())
        }) && self.is_reached(at)
    }

    fn is_reached(&self, at: u32) -> bool {
        let lane = &self.lanes[at];
        let window = &self.partitions[lane.partition as usize].window;
        lane.chain()
            .is_some_and(|chain| window.reached(&self.entries, &chain.from))
    }

    /// How many records of the lane are before its chain, when all of them are here: what joins its
    /// front is one change.
    pub(crate) fn may_join_front(&self, at: u32) -> Option<u32> {
        let chain = self.lanes[at].chain()?;
        if !self.is_reached(at) {
            return None;
        }
        let mut records = 0_u32;
        let mut entry = self.lanes[at].head;
        while entry != NIL && *self.entries[entry].position() < chain.from {
            records += 1;
            entry = self.entries[entry].lane_next;
        }
        Some(records)
    }

    fn load_more(&mut self, at: u32) {
        let reached = self.is_reached(at);
        let id = self.lanes.id(at);
        let lane = &mut self.lanes[at];
        let standing = lane.standing;
        let Some(aside) = &mut lane.aside else { return };
        let leaves = matches!(aside.wanted, Some(Change::Skip | Change::DeadLettered));
        let decided = aside.decided.is_some() || leaves;
        let Some(chain) = &mut aside.chain else {
            return;
        };
        let enough = match standing {
            Standing::Live | Standing::Stopped => 0,
            // It could not run or pass yet, and would take the memory that what is before it needs.
            _ if !reached => 0,
            Standing::Parked if decided => 2,
            Standing::Parked => 0,
            Standing::Releasing | Standing::Draining => {
                // The last loaded one waits for what follows it.
                u64::from(self.limits.append_records_max / 2).max(2)
            }
        };
        if chain.loaded < enough && chain.has_more() && chain.load == Load::None {
            let slot = lane.partition;
            let part = &mut self.partitions[slot as usize];
            // One that runs goes on, or its last record could wait for memory that it holds itself.
            if chain.loaded == 0 && !part.may_load(&self.limits) {
                chain.load = Load::Wanted;
                part.unloaded.push_back(id);
                return;
            }
            chain.load = Load::Out;
            part.loads += 1;
            self.outbox.push_back(Action::LoadChain {
                lane: id,
                partition: part.id(slot),
            });
        }
    }

    /// Records of a lane's chain, in order, behind [`Engine::chain_loaded_to`]; `last`: the chain
    /// holds no more than these.
    pub fn chain(&mut self, lane: LaneId, records: &mut dyn Iterator<Item = R>, last: bool) {
        self.chain_tried(lane, records, last, 0);
    }

    /// As [`Engine::chain`], of a chain whose first record here has failed so often in another process.
    pub fn chain_tried(
        &mut self,
        lane: LaneId,
        records: &mut dyn Iterator<Item = R>,
        last: bool,
        attempts: u32,
    ) {
        let Some(at) = self.lanes.find_id(lane) else {
            return;
        };
        let Some(chain) = self.lanes[at].chain_mut() else {
            return;
        };
        let (load, had) = (chain.load, chain.loaded);
        if matches!(load, Load::None | Load::Wanted) {
            debug_assert!(false, "no load of this chain is out");
            return;
        }
        chain.load = Load::None;
        self.part_of(at).loads -= 1;
        if load != Load::Void {
            for record in records {
                self.load(at, record);
            }
            if let Some(chain) = self.lanes[at].chain_mut() {
                // The store is right, unless it was asked before the last arrivals joined.
                let known = chain.passed.records + chain.loaded;
                if last && load == Load::Out {
                    chain.count = known;
                } else if !last {
                    chain.count = chain.count.max(known + 1);
                }
            }
        }
        self.check_intake(self.lanes[at].partition);
        let first = self.lanes[at].chain().map_or(NIL, |chain| chain.first);
        if had == 0 && first != NIL {
            let entry = &mut self.entries[first];
            entry.attempts = entry.attempts.max(attempts);
        }
        self.go_on(at);
        self.add_chore(at);
    }

    fn load(&mut self, at: u32, record: R) {
        let weight = u64::from(record.weight());
        let careful = self.part_of(at).careful.as_ref();
        let attempts = careful.and_then(|careful| careful.attempts_of(record.position()));
        let lane = &mut self.lanes[at];
        let Some(chain) = lane.chain_mut() else {
            return;
        };
        if chain
            .loaded_to
            .as_ref()
            .is_some_and(|to| record.position() <= to)
        {
            return;
        }
        chain.loaded_to = Some(record.position().clone());
        chain.next = chain.next.take().filter(|next| next > record.position());
        let (inserted, entry) = self.entries.insert(Body::Record(record));
        entry.flags = CHAIN;
        entry.attempts = attempts.unwrap_or(0);
        entry.lane = at;
        if chain.first == NIL {
            chain.first = inserted;
        } else {
            self.entries[chain.last].lane_next = inserted;
        }
        chain.last = inserted;
        chain.loaded += 1;
        let part = self.part_of(at);
        part.bytes += weight;
        part.chain_records += 1;
    }

    /// The chain's next record is passed.
    pub(crate) fn pass_chain(&mut self, at: u32, durably: bool) {
        let slot = self.lanes[at].partition;
        let Some(chain) = self.lanes[at].chain_mut() else {
            return;
        };
        let first = chain.first;
        let entry = &self.entries[first];
        let one = Progress {
            records: 1,
            bytes: entry.weight(),
        };
        chain.first = entry.lane_next;
        chain.loaded -= 1;
        chain.through = Some(entry.position().clone());
        if durably {
            chain.shrink(one);
        } else {
            chain.passed.records += 1;
            chain.passed.bytes += one.bytes;
        }
        self.forget_loaded(slot, first, one.bytes);
        // Also when what follows it in its run failed, and its lane waits.
        self.add_chore(at);
    }

    fn forget_loaded(&mut self, slot: u32, entry: u32, bytes: u64) {
        self.entries.remove(entry);
        let part = &mut self.partitions[slot as usize];
        part.bytes -= bytes;
        part.chain_records -= 1;
        if part.wants_memory() {
            self.check_intake(slot);
        }
    }

    /// Gives back what is loaded of a chain: it stands, and the store has it.
    pub(crate) fn drop_loaded(&mut self, at: u32) {
        let slot = self.lanes[at].partition;
        let Some(chain) = self.lanes[at].chain_mut() else {
            return;
        };
        let mut entry = core::mem::replace(&mut chain.first, NIL);
        chain.loaded = 0;
        chain.loaded_to = None;
        chain.next = None;
        if matches!(chain.load, Load::Out | Load::Raced) {
            chain.load = Load::Void;
        }
        while entry != NIL {
            let next = self.entries[entry].lane_next;
            let bytes = self.entries[entry].weight();
            self.forget_loaded(slot, entry, bytes);
            entry = next;
        }
    }

    /// Acts on a decision about a standing chain's head, once it and what follows it are known.
    fn act_on_parked(&mut self, at: u32) {
        let Some(aside) = &mut self.lanes[at].aside else {
            return;
        };
        let Some(chain) = &aside.chain else { return };
        if aside.verdict && chain.first != NIL {
            self.publish(at);
            return;
        }
        if chain.first == NIL || chain.loaded < 2 && chain.has_more() {
            return;
        }
        match aside.decided.take() {
            Some(Decision::Skip) => self.want(at, Change::Skip),
            Some(Decision::DeadLetter) => self.want(at, Change::Verdict),
            Some(Decision::Retry | Decision::Park | Decision::Release) | None => {}
        }
    }

    /// A standing chain's head is durably out of it.
    pub(crate) fn head_left_chain(&mut self, at: u32) {
        self.pass_chain(at, true);
        if self.lanes[at].chain().is_some_and(|chain| chain.count == 0) {
            self.chain_ended(at);
            return;
        }
        self.drop_loaded(at);
        self.clear_stop(at);
        self.reopen_front(at);
    }

    /// The store has no chain of the lane any more.
    pub(crate) fn chain_ended(&mut self, at: u32) {
        self.drop_loaded(at);
        self.aside(at).chain = None;
        self.revive(at);
    }
}
