//! What a durable commit means for the history, the counters and the errors that are kept.

use super::{
    Processor,
    commits::Heads,
    log,
    owned::{Errors, OutCommit, Owned, Waiting},
};
use crate::{
    history::Event,
    position::Position,
    record::{LaneKey, Record},
    store::Commit,
};
use partitions::{Change, PartitionId};

impl Processor {
    /// The facts of the changes that a commit made durable.
    pub(super) fn note_durable(&mut self, id: PartitionId, out: &OutCommit, heads: &Heads) {
        for waiting in &out.tickets {
            let Some(owned) = self.partitions.get(&id) else {
                return;
            };
            let lane = self
                .engine
                .lane_key(waiting.lane)
                .and_then(LaneKey::from_bytes);
            let errors = lane
                .as_ref()
                .and_then(|lane| owned.errors.get(lane))
                .cloned()
                .unwrap_or_default();
            self.note_change(*waiting, &errors);
            if let Some(lane) = &lane {
                self.note_heads(owned, *waiting, lane, &out.commit, heads);
                let head = self.engine.records(waiting.ticket).next();
                let head = head.map(Record::position).or_else(|| heads.get(lane));
                log::changed(owned, lane, head, waiting.change, &errors);
            }
            let records = self.engine.records(waiting.ticket).len() as u64;
            let counts = self.counters.of(owned.source);
            match waiting.change {
                Change::Effects => counts.done += records,
                // A skipped head that never came in this process counts too.
                Change::Skip => counts.skipped += 1,
                Change::Stop => counts.stopped += 1,
                Change::Park => {
                    counts.parked += 1;
                    counts.chained += records.saturating_sub(1);
                }
                Change::Append => counts.chained += records,
                Change::Verdict
                | Change::DeadLettered
                | Change::Reopen
                | Change::Cut
                | Change::Live
                | Change::Announce => {}
            }
            if self.is_over(*waiting, &errors)
                && let Some(lane) = lane
                && let Some(owned) = self.partitions.get_mut(&id)
            {
                owned.errors.remove(&lane);
            }
        }
        self.note_effects(id, out);
    }

    fn note_change(&self, waiting: Waiting, errors: &Errors) {
        let (error, attempts) = (errors.last.as_str(), errors.attempts);
        for (index, record) in self.engine.records(waiting.ticket).enumerate() {
            let event = match waiting.change {
                // Before its chain: what lies between came along.
                Change::Park if index > 0 => Event::Appended,
                Change::Effects => Event::Done,
                Change::Stop => Event::Stopped { error, attempts },
                Change::Park => Event::Parked { error, attempts },
                Change::Append => Event::Appended,
                Change::Skip => Event::Skipped,
                Change::Verdict
                | Change::DeadLettered
                | Change::Reopen
                | Change::Cut
                | Change::Live
                | Change::Announce => return,
            };
            self.notes.record(record, event);
        }
    }

    /// Facts about heads that are not in memory.
    fn note_heads(
        &self,
        owned: &Owned,
        waiting: Waiting,
        lane: &LaneKey,
        commit: &Commit,
        heads: &Heads,
    ) {
        let absent = self.engine.records(waiting.ticket).len() == 0;
        if waiting.change == Change::Skip
            && absent
            && let Some(head) = heads.get(lane)
        {
            self.notes.head(owned, lane.bytes(), head, Event::Skipped);
        }
        if waiting.change == Change::Live
            && let Some(tail) = expected_tail(commit, lane)
        {
            self.notes.head(owned, lane.bytes(), tail, Event::Released);
        }
    }

    /// Whether what is known of the lane's errors is of the past. What was said of a later record
    /// stays: it may have failed behind the done ones of its run, or while the store was told of a
    /// published head.
    fn is_over(&self, waiting: Waiting, errors: &Errors) -> bool {
        match waiting.change {
            Change::Effects | Change::Skip | Change::DeadLettered => {
                let last = self.engine.records(waiting.ticket).last();
                let last = last.map(Record::position);
                last.is_none_or(|last| errors.of.as_ref() <= Some(last))
            }
            Change::Reopen | Change::Live => true,
            Change::Stop
            | Change::Park
            | Change::Append
            | Change::Verdict
            | Change::Cut
            | Change::Announce => false,
        }
    }

    fn note_effects(&self, id: PartitionId, out: &OutCommit) {
        let Some(owned) = self.partitions.get(&id) else {
            return;
        };
        for of in &out.commit.effects {
            for effect in &of.effects {
                let (table, key) = effect.target();
                self.notes.head(
                    owned,
                    of.lane.bytes(),
                    &of.position,
                    Event::Effect { table, key },
                );
            }
        }
    }
}

fn expected_tail<'c>(commit: &'c Commit, lane: &LaneKey) -> Option<&'c Position> {
    let change = commit.lanes.iter().find(|change| change.lane == *lane)?;
    change.expected.as_ref()?.1.as_ref()
}
