//! Changes on their way into the store: offered one at a time per lane, acted on once durable.

use crate::answer::LOOK_AGAIN;
use crate::lane::{Chain, Front, Standing};
use crate::ticket::Kind;
use crate::window::{Body, CHAIN, NAMED, NIL};
use crate::{Action, Change, Engine, Item, Rest, Stops, zoo::Bug};

impl<R: Item> Engine<R> {
    /// The lane's next step waits until this is durable.
    pub(crate) fn want(&mut self, lane: u32, change: Change) {
        self.lanes[lane].front = Front::Shut;
        if self.lanes[lane].persist == NIL {
            self.offer(lane, change);
        } else {
            self.aside(lane).wanted = Some(change);
        }
    }

    /// Offers a change of a lane that has none out.
    pub(crate) fn offer(&mut self, at: u32, change: Change) {
        if self.needs_next_of_chain(at, change) {
            self.aside(at).wanted = Some(change);
            self.add_chore(at);
            return;
        }
        if change == Change::Effects {
            let slot = self.lanes[at].ticket;
            self.lanes[at].ticket = NIL;
            self.put_out(at, slot, change);
            return;
        }
        let lent = match change {
            Change::Park if self.lanes[at].is_chained() && self.runs_before(at) => {
                (self.front_of(at), self.may_join_front(at).unwrap_or(1))
            }
            Change::Stop | Change::Park | Change::Verdict | Change::DeadLettered => {
                (self.front_of(at), 1)
            }
            Change::Skip => {
                let named = self.name_head(at);
                if named.0 == NIL {
                    self.settle_missing_head(at);
                }
                named
            }
            Change::Reopen => (self.name_head(at).0, 0),
            Change::Announce => (self.front_of(at), 1),
            Change::Append => (self.lanes[at].head, self.appendable(at)),
            Change::Effects | Change::Cut | Change::Live => (NIL, 0),
        };
        self.offer_lending(at, change, lent);
    }

    /// A head leaves its chain only once it is known what is the head then: arrivals may have joined
    /// since the chain was looked at.
    pub(crate) fn needs_next_of_chain(&self, at: u32, change: Change) -> bool {
        let lane = &self.lanes[at];
        matches!(change, Change::Skip | Change::DeadLettered)
            && lane.is_chained()
            && lane
                .chain()
                .is_some_and(|chain| chain.loaded < 2 && chain.has_more())
    }

    pub(crate) fn offer_lending(&mut self, at: u32, change: Change, lent: (u32, u32)) {
        let slot = self.lanes[at].partition;
        let ticket = self.tickets.issue(Kind::Persist(change), (slot, at), lent);
        self.put_out(at, ticket.0.slot(), change);
    }

    fn put_out(&mut self, at: u32, slot: u32, change: Change) {
        self.lanes[at].persist = slot;
        if change == Change::Park && self.has(Bug::ParkedOnEmission) {
            self.mark(slot, true);
        }
        let lane = self.lanes.id(at);
        let ticket = self.tickets.name(slot);
        let partition = self.lanes[at].partition;
        let part = &mut self.partitions[partition as usize];
        part.persists += 1;
        let partition = part.id(partition);
        self.outbox.push_back(Action::Persist {
            ticket,
            partition,
            lane,
            change,
        });
    }

    /// The head that a decision is about; an entry whose record never came is named, not lent.
    fn name_head(&mut self, at: u32) -> (u32, u32) {
        if self.lanes[at].is_chained() || self.head_is_here(at) {
            return (self.front_of(at), 1);
        }
        match self.absent_head(at) {
            Some(entry) => {
                self.entries[entry].flags |= NAMED;
                (entry, 0)
            }
            None => (NIL, 0),
        }
    }

    /// A stopped head that is gone and that no checkpoint kept a place for is settled like any other
    /// place that the source went by, so that the commit that skips it says so.
    fn settle_missing_head(&mut self, at: u32) {
        let lane = &self.lanes[at];
        let head = lane.aside.as_ref().and_then(|aside| aside.head_at.clone());
        if let Some(head) = head {
            let window = &mut self.partitions[lane.partition as usize].window;
            window.settle_missing(&mut self.entries, head);
        }
    }

    /// The lane's change is over: what waited for that goes out.
    pub(crate) fn next_persist(&mut self, at: u32) {
        let lane = &mut self.lanes[at];
        if let Some(aside) = &mut lane.aside
            && let Some(change) = aside.wanted.take()
        {
            self.offer(at, change);
        } else {
            self.go_on(at);
            self.add_chore(at);
        }
    }

    /// A commit with this change is durable.
    pub(crate) fn durable(&mut self, slot: u32) {
        let out = self.tickets.end(slot);
        let Kind::Persist(change) = out.kind else {
            return;
        };
        let at = out.lane;
        self.lanes[at].persist = NIL;
        let part = self.part_of(at);
        part.persists -= 1;
        match change {
            Change::Effects => {
                part.records_out -= u64::from(out.len);
                for _ in 0..out.len {
                    self.pass(at, true);
                }
                self.act_on(at, out.rest, out.behind);
            }
            Change::Stop => self.stopped(at),
            Change::Park => self.parked(at, out.len),
            Change::Append => {
                self.appended(at, out.len);
                self.next_persist(at);
            }
            Change::Reopen => self.reopened(at),
            Change::Skip if self.lanes[at].is_chained() => self.head_left_chain(at),
            Change::Skip => {
                self.settle_stopped_head(at);
                self.revive(at);
            }
            Change::Verdict => self.condemned(at),
            Change::DeadLettered => {
                if out.len == 1 && self.entries[out.first].is(CHAIN) {
                    self.head_left_chain(at);
                } else {
                    self.entries.remove(out.first);
                    self.next_persist(at);
                }
            }
            Change::Cut => {
                self.lanes[at].standing = Standing::Draining;
                self.next_persist(at);
            }
            Change::Live => self.chain_ended(at),
            Change::Announce => self.announced(at, out.first),
        }
    }

    fn stopped(&mut self, at: u32) {
        if self.has(Bug::FailedSkipped) {
            self.settle_stopped_head(at);
            return self.revive(at);
        }
        self.detach_all(at);
        // A verdict was on another head, behind this one: the lane's item no longer has it.
        self.aside(at).verdict = false;
        let lane = &mut self.lanes[at];
        lane.standing = Standing::Stopped;
        let (slot, id) = (lane.partition, self.lanes.id(at));
        let part = &mut self.partitions[slot as usize];
        let partition = part.id(slot);
        if self.limits.failure.stops == Stops::Lane {
            self.outbox.push_back(Action::Stopped {
                lane: id,
                partition,
            });
        } else {
            part.stops.push(id);
            self.notices.push(partition);
        }
        self.reopen_front(at);
    }

    fn parked(&mut self, at: u32, records: u32) {
        let first = self.front_of(at);
        let chained = self.lanes[at].is_chained();
        if !chained && self.has(Bug::ParkedPasses) {
            self.settle_head(at);
            return self.revive(at);
        }
        if !self.entries[first].is(CHAIN) {
            let from = self.entries[first].position().clone();
            let mut bytes = 0;
            for _ in 0..records {
                bytes += self.entries[self.lanes[at].head].weight();
                self.settle_head(at);
            }
            // A decision was on another head, behind this one: the lane's item no longer has it.
            self.aside(at).decided = None;
            match self.lanes[at].chain_mut().filter(|_| chained) {
                Some(chain) => {
                    chain.from = from;
                    chain.count += u64::from(records);
                    chain.bytes += bytes;
                }
                None => self.aside(at).chain = Some(Chain::new(from, 1, bytes)),
            }
        }
        self.drop_loaded(at);
        self.lanes[at].standing = Standing::Parked;
        if let Some(chain) = self.lanes[at].chain_mut() {
            chain.cutting = false;
        }
        self.clear_stop(at);
        self.detach_all(at);
        self.reopen_front(at);
    }

    /// The head may be tried again.
    fn reopened(&mut self, at: u32) {
        if self.head_is_here(at) {
            let head = self.lanes[at].head;
            let attempts = core::mem::take(&mut self.aside(at).tried_since);
            self.entries[head].attempts = attempts;
            let tried = &mut self.part_of(at).tried;
            if attempts == 0 {
                tried.remove(&head);
            } else {
                tried.insert(head);
            }
        }
        if let Some(absent) = self.absent_head(at) {
            self.entries[absent].flags &= !NAMED;
        }
        self.revive(at);
    }

    /// A stopped head is settled without being done.
    fn settle_stopped_head(&mut self, at: u32) {
        if self.head_is_here(at) {
            self.settle_head(at);
        } else if let Some(absent) = self.absent_head(at) {
            let slot = self.lanes[at].partition;
            self.partitions[slot as usize]
                .window
                .gone
                .retain(|&gone| gone != absent);
            self.settle(slot, absent);
            self.entries.remove(absent);
        }
    }

    /// Nothing of the lane is in the store any more.
    pub(crate) fn revive(&mut self, at: u32) {
        self.lanes[at].standing = Standing::Live;
        self.clear_stop(at);
        self.reopen_front(at);
    }

    pub(crate) fn clear_stop(&mut self, at: u32) {
        let aside = self.aside(at);
        aside.head_at = None;
        aside.verdict = false;
        aside.publish_failures = 0;
        aside.target_failures = 0;
        self.lift_bar(at);
    }

    pub(crate) fn lift_bar(&mut self, at: u32) {
        if core::mem::take(&mut self.aside(at).bars) {
            self.set_barrier(self.lanes[at].partition);
        }
    }

    /// The store refused a change for its own condition; effects of the first `keep` records may
    /// still go.
    pub(crate) fn refused(&mut self, slot: u32, keep: u32) {
        let out = *self.tickets.get(slot);
        let at = out.lane;
        let Kind::Persist(change) = out.kind else {
            return;
        };
        match change {
            Change::Effects => {
                let keep = keep.min(out.len);
                if keep == out.len {
                    return;
                }
                let keep = if keep > 0 && self.has(Bug::EffectsBehindRefusedKept) {
                    out.len - 1
                } else {
                    keep
                };
                let void = out.len - keep;
                self.part_of(at).records_out -= u64::from(void);
                self.keep_first(slot, keep);
                let out = self.tickets.get_mut(slot);
                out.rest = Rest::Reject;
                out.behind += void;
                let behind = out.behind;
                if keep == 0 {
                    self.withdraw(slot);
                    self.act_on(at, Rest::Reject, behind);
                }
            }
            // Its record cannot be stored: the lane stops instead.
            Change::Park if !self.lanes[at].is_chained() => {
                self.withdraw(slot);
                self.stop_instead(at);
            }
            // One of its records cannot be stored: from there on arrivals wait here.
            Change::Append => {
                if let Some(chain) = self.lanes[at].chain_mut() {
                    chain.refused = true;
                }
                self.keep_first(slot, keep.min(out.len));
                if keep == 0 {
                    self.withdraw(slot);
                    self.next_persist(at);
                }
            }
            // In a chain or in front of it there is no other place for it: the store is asked again.
            Change::Park => {
                self.withdraw(slot);
                let delay = self.limits.failure.backoff_max.max(LOOK_AGAIN);
                self.wait(at, Front::Failed, delay);
            }
            // These write nothing of a record and hang on no condition of their own.
            Change::Stop
            | Change::Reopen
            | Change::Skip
            | Change::Verdict
            | Change::DeadLettered
            | Change::Cut
            | Change::Live
            | Change::Announce => debug_assert!(false, "{change:?} cannot be refused"),
        }
    }

    fn keep_first(&mut self, slot: u32, keep: u32) {
        self.tickets.get_mut(slot).len = keep;
    }

    /// A change that is not to be.
    fn withdraw(&mut self, slot: u32) {
        let out = self.tickets.end(slot);
        self.lanes[out.lane].persist = NIL;
        self.part_of(out.lane).persists -= 1;
    }

    /// Whether the stopped head is in the engine.
    pub(crate) fn head_is_here(&self, at: u32) -> bool {
        let lane = &self.lanes[at];
        let head = lane.aside.as_ref().and_then(|aside| aside.head_at.as_ref());
        lane.head != NIL && head == Some(self.entries[lane.head].position())
    }

    /// The place that a checkpoint kept for a stopped head that did not come.
    pub(crate) fn absent_head(&self, at: u32) -> Option<u32> {
        let lane = &self.lanes[at];
        let head = lane.aside.as_ref()?.head_at.as_ref()?;
        let window = &self.partitions[lane.partition as usize].window;
        let found = window.find(&self.entries, head)?;
        matches!(self.entries[found].body, Body::Absent(_)).then_some(found)
    }
}
