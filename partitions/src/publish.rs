//! Dead letters: the verdict is durable before the publication, so a restart publishes again and
//! never runs the record again.

use crate::lane::{Front, Standing};
use crate::ticket::Kind;
use crate::window::NIL;
use crate::{Action, Change, Engine, Item, Published, Stops, Ticket};

impl<R: Item> Engine<R> {
    /// The verdict on the head is durable.
    pub(crate) fn condemned(&mut self, at: u32) {
        let lane = &mut self.lanes[at];
        if !lane.is_chained() {
            lane.standing = Standing::Stopped;
        }
        self.aside(at).verdict = true;
        self.lift_bar(at);
        self.reopen_front(at);
    }

    /// Publishes the condemned head, unless its partition is to become quiet.
    pub(crate) fn publish(&mut self, at: u32) {
        let slot = self.lanes[at].partition;
        let part = &mut self.partitions[slot as usize];
        if part.draining {
            return;
        }
        part.publishing += 1;
        let partition = part.id(slot);
        let ticket = self
            .tickets
            .issue(Kind::Publish, (slot, at), (self.front_of(at), 1));
        self.lanes[at].front = Front::Publishing;
        self.lanes[at].ticket = ticket.0.slot();
        let lane = self.lanes.id(at);
        self.outbox.push_back(Action::Publish {
            ticket,
            partition,
            lane,
        });
    }

    /// A publication ended.
    pub fn dead_lettered(&mut self, ticket: Ticket, published: Published) {
        let Some(slot) = self.tickets.find(ticket) else {
            return;
        };
        let out = *self.tickets.get(slot);
        if out.kind != Kind::Publish {
            debug_assert!(false, "what ended is no publication");
            return;
        }
        self.tickets.end(slot);
        let at = out.lane;
        self.lanes[at].ticket = NIL;
        self.part_of(at).publishing -= 1;
        let rules = self.limits.failure;
        match published {
            Published::Done if self.lanes[at].is_chained() => self.want(at, Change::DeadLettered),
            Published::Done => self.published(at),
            Published::Failed => {
                let aside = self.aside(at);
                aside.target_failures = 0;
                aside.publish_failures = aside.publish_failures.saturating_add(1);
                let failures = aside.publish_failures;
                if failures < rules.attempts_max {
                    let delay = self
                        .jitter
                        .backoff(&rules, failures, core::time::Duration::ZERO);
                    self.wait(at, Front::Republishing, delay);
                } else {
                    self.give_up_publishing(at);
                }
            }
            Published::Target => {
                let aside = self.aside(at);
                aside.target_failures = aside.target_failures.saturating_add(1);
                let failures = u32::from(aside.target_failures);
                let delay = self
                    .jitter
                    .backoff(&rules, failures, core::time::Duration::ZERO);
                self.wait(at, Front::Republishing, delay);
            }
        }
    }

    /// The head of a lane is passed; its lane goes on while the store is told.
    fn published(&mut self, at: u32) {
        let head = self.unqueue_head(at);
        let slot = self.lanes[at].partition;
        self.settle(slot, head);
        self.partitions[slot as usize].unflushed += 1;
        self.entries[head].lane_next = NIL;
        self.offer_lending(at, Change::DeadLettered, (head, 1));
        self.revive(at);
    }

    /// The item stands already; written again, it names the publication's error.
    fn give_up_publishing(&mut self, at: u32) {
        let aside = self.aside(at);
        aside.verdict = false;
        aside.publish_failures = 0;
        if self.lanes[at].is_chained() {
            self.want(at, Change::Park);
        } else {
            self.stop_instead(at);
        }
    }

    /// The lane's head stops it.
    pub(crate) fn stop_instead(&mut self, at: u32) {
        let wide = self.limits.failure.stops == Stops::Partition;
        self.aside(at).bars |= wide;
        self.want(at, Change::Stop);
        if wide {
            self.set_barrier(self.lanes[at].partition);
        }
    }
}
