//! Actions: what the engine asks for is performed.

use super::{
    Processor, log,
    owned::Waiting,
    tries::{Out, Started},
};
use crate::{
    history::Event as Noted,
    record::{LaneKey, Run},
};
use partitions::{Action, LaneId, PartitionId, Ticket};
use std::time::Duration;

/// Most actions performed in one turn.
const ACTIONS_PER_TURN: u32 = 1024;
/// Most time between a turn's look at the clock and what starts in it.
const TURN_MAX: Duration = Duration::from_millis(1);

impl Processor {
    /// Performs what the engine asks for; whether there may be more.
    pub(super) fn act(&mut self) -> bool {
        // What starts must be proven ours by a clock that has not moved on: facts and handlers may take
        // their time, and the process may be frozen.
        let (began, mut starts) = (self.clock.now(), 0);
        if began > self.now + TURN_MAX {
            self.advance();
        }
        let spawning = self.tries.spawning();
        let mut more = true;
        for _ in 0..ACTIONS_PER_TURN {
            match self.engine.poll() {
                None => {
                    more = false;
                    break;
                }
                Some(Action::Start {
                    ticket,
                    partition,
                    attempt,
                }) => {
                    starts += 1;
                    self.start(ticket, partition, attempt);
                }
                Some(action) => self.perform(action),
            }
            if self.clock.now() > self.now + TURN_MAX {
                break;
            }
        }
        if starts > 0 {
            self.idle_since = None;
            if !spawning {
                self.tries
                    .took(self.clock.now().saturating_sub(began), starts);
            }
        }
        more
    }

    fn start(&mut self, ticket: Ticket, partition: PartitionId, attempt: u32) {
        let Some(run) = Run::new(self.engine.records(ticket), attempt) else {
            return;
        };
        let number = self.tries.number();
        if self.notes.keeps() {
            let started = |record| {
                let ticket = number;
                self.notes
                    .record(record, Noted::Started { ticket, attempt });
            };
            run.records().iter().for_each(started);
        }
        let records = run.records().len();
        self.counters.tries += records as u64;
        self.counters.in_flight_peak = self.counters.in_flight_peak.max(self.engine.in_flight());
        // A probe is timed by itself: among tries that are only spawned it would seem quick.
        let began = self.tries.probes_next().then(|| self.clock.now());
        let started = self.tries.start(run);
        if let Some(began) = began {
            let elapsed = self.clock.now().saturating_sub(began);
            self.tries.took(elapsed, 1);
        }
        if let Started::Ended(end) = &started
            && self.passes(ticket, partition, records, end)
        {
            return;
        }
        // The same records: the engine lends them until it hears of the try's end.
        let Some(run) = Run::new(self.engine.records(ticket), attempt) else {
            return;
        };
        let out = Out {
            run,
            partition,
            number,
        };
        match started {
            Started::Ended(end) => self.try_ended(ticket, &out, end),
            Started::Out(pending) => self.tries.keep(ticket, out, pending, self.now),
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Start {
                ticket,
                partition,
                attempt,
            } => self.start(ticket, partition, attempt),
            Action::Persist {
                ticket,
                partition,
                lane,
                change,
            } => {
                if let Some(owned) = self.partitions.get_mut(&partition) {
                    owned.waiting.push(Waiting {
                        ticket,
                        lane,
                        change,
                    });
                }
            }
            Action::Publish {
                ticket, partition, ..
            } => self.publish(ticket, partition),
            Action::LoadChain { lane, partition } => {
                self.load_chain(partition, lane, Duration::ZERO)
            }
            Action::Stopped { lane, partition } => self.stopped(partition, lane),
            Action::Declined { lane, partition } => self.declined(partition, lane),
            Action::Gone(partition) => self.gone(partition),
            Action::Pause(partition) => self.pause(partition),
            Action::Resume(partition) => self.resume(partition),
            Action::Drained(partition) => {
                if let Some(owned) = self.partitions.get_mut(&partition)
                    && let Some(leaving) = &mut owned.leaving
                {
                    leaving.drained = true;
                    // An attempt of unknown end counts when its quarantine is over, which is no news.
                    owned.dirty |= !owned.errors.is_empty();
                }
            }
        }
    }

    fn stopped(&self, id: PartitionId, lane: LaneId) {
        let Some(owned) = self.partitions.get(&id) else {
            return;
        };
        if let Some(key) = self.engine.lane_key(lane).and_then(LaneKey::from_bytes) {
            log::stopped(owned, &key);
        }
    }
}
