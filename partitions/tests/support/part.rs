//! One partition of the world: its log, its store, and what the reference makes of both.

use super::{
    lane::{Lane, Mode, Owed, Row, Stage},
    reference::Model,
    store::{Item, Stored},
    world::Commit,
};
use partitions::{PartitionId, Resume};

pub struct Part {
    pub id: Option<PartitionId>,
    pub model: Model,
    pub store: Stored,
    pub cursor: usize,
    pub commit: Option<Commit>,
    pub held: bool,
    pub intake_held: bool,
    /// The source's next record finds no memory.
    pub starved: bool,
    pub draining: bool,
    pub drained: bool,
    pub halted: bool,
    pub paused: bool,
}

/// What each record weighs, unless a test gives it another weight.
pub const WEIGHT: u32 = 10;

impl Part {
    pub fn new(log: &[u8]) -> Self {
        let row = |(at, key): (usize, &u8)| Row {
            position: (at as u64 + 1) * 10,
            key: *key,
            weight: WEIGHT,
            stage: Stage::Absent,
            attempts: 0,
            chained: false,
            loaded: false,
            failed: false,
            durable: false,
            published: false,
            accepted: false,
            restored: false,
            dropped: false,
        };
        Self {
            id: None,
            model: Model {
                rows: log.iter().enumerate().map(row).collect(),
                ..Model::default()
            },
            store: Stored::new(),
            cursor: 0,
            commit: None,
            held: false,
            intake_held: false,
            starved: false,
            draining: false,
            drained: false,
            halted: false,
            paused: false,
        }
    }

    /// The reference forgets all that is not durable.
    pub fn restore(&mut self) {
        let store = self.store.clone();
        self.commit = None;
        (self.held, self.intake_held, self.draining, self.drained) = (false, false, false, false);
        (self.halted, self.paused, self.starved) = (false, false, false);
        self.model.lanes = self
            .model
            .rows
            .iter()
            .map(|row| (row.key, Lane::new()))
            .collect();
        for row in &mut self.model.rows {
            let chained = matches!(store.items.get(&row.key),
                Some(Item::Chain { chain, .. }) if chain.contains(&row.position));
            let settled = store.covers(row.position);
            let lost = matches!(row.stage, Stage::Void | Stage::Gone);
            row.stage = match (chained, settled) {
                (true, _) => Stage::Queued,
                (false, true) if row.stage == Stage::Void => Stage::Void,
                (false, true) => Stage::Passed,
                (false, false) if lost => Stage::Void,
                (false, false) => Stage::Absent,
            };
            (row.chained, row.loaded, row.failed, row.published) = (chained, false, false, false);
            (row.durable, row.accepted) = (settled && !chained, false);
            row.restored = store.open.contains(&row.position);
            if row.restored && row.stage == Stage::Void {
                row.stage = Stage::Absent;
            }
            row.attempts = 0;
        }
        for (key, item) in &store.items {
            let lane = self.model.lane(*key);
            match item {
                Item::Stopped { head, verdict } => {
                    (lane.mode, lane.head, lane.verdict) = (Mode::Stopped, Some(*head), *verdict);
                }
                Item::Chain {
                    chain,
                    tail,
                    releasing,
                    cut,
                } => {
                    lane.head = Some(chain.front().copied().unwrap_or(*tail));
                    lane.mode = match (releasing, cut) {
                        (_, true) => Mode::Draining,
                        (true, false) => Mode::Releasing,
                        (false, false) => Mode::Parked,
                    };
                }
            }
        }
        let from = |row: &Row| match store.resume {
            Resume::Beginning => true,
            Resume::At(at) => row.position >= at,
            Resume::After(after) => row.position > after,
        };
        self.cursor = self
            .model
            .rows
            .iter()
            .position(from)
            .unwrap_or(self.model.rows.len());
    }

    /// Rows before `at` that were not handed over never will be.
    pub fn skip_to(&mut self, at: usize) {
        for row in &mut self.model.rows[self.cursor..at] {
            if row.stage == Stage::Absent {
                row.dropped = true;
                row.stage = if row.restored {
                    Stage::Gone
                } else {
                    Stage::Void
                };
            }
        }
    }

    pub fn accept(&mut self, at: usize, attempts: u32) {
        let row = &mut self.model.rows[at];
        (row.stage, row.accepted, row.attempts) = (Stage::Queued, true, attempts);
    }

    /// A restored verdict is published once its record came and nothing before it is left to run.
    pub fn owe_publications(&mut self) {
        let keys: Vec<u8> = self.model.lanes.keys().copied().collect();
        for key in keys {
            let first = self.model.queue(key).next().map(|row| row.position);
            let lane = self.model.lane(key);
            let condemned = lane.mode == Mode::Stopped && lane.verdict && lane.head == first;
            if condemned && first.is_some() && !lane.shut() && lane.persist.is_none() {
                lane.owes.push_back(Owed::Publish);
            }
        }
    }
}
