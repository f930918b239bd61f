//! The liveness phase: faults end, and what can go on must go on.

use super::{
    lane::{Mode, Owed, Stage},
    world::{End, World, done},
};
use partitions::{Decision, Published, Stops};

impl World {
    /// Ends all faults and runs until nothing moves: every record is passed, or stands in a stopped
    /// or parked lane. Then an operator reopens what stands, and everything passes.
    pub fn heal(&mut self) {
        self.log(|| "heal".into());
        self.set_cap(self.limits.cap.max(2));
        for part in 0..self.parts.len() {
            self.take_up_again(part);
        }
        self.run_on(false);
        self.check_named();
        self.run_on(true);
        self.check_all_passed();
    }

    fn take_up_again(&mut self, part: usize) {
        if self.parts[part].commit.is_some() {
            self.end(part, &End::NotWritten);
        }
        if self.parts[part].id.is_some() && (self.parts[part].draining || self.parts[part].halted) {
            self.revoke(part);
        }
        if self.parts[part].id.is_none() {
            self.assign(part);
        }
        self.hold(part, false);
        self.hold_intake(part, false);
        self.starve(part, false);
    }

    fn run_on(&mut self, decide: bool) {
        let mut still = 0;
        for _ in 0..2_000 {
            let before = self.moved();
            self.step_on(decide);
            // A backoff may be all that is left, so standing still once proves nothing.
            still = if self.moved() == before { still + 1 } else { 0 };
            if still == 2 {
                return;
            }
        }
        panic!("G10 progress: healed, and still no end");
    }

    fn moved(&self) -> (usize, usize, usize) {
        let rows = self.parts.iter().flat_map(|part| &part.model.rows);
        let passed = rows
            .clone()
            .filter(|row| row.stage == Stage::Passed && row.durable)
            .count();
        let chained = rows.filter(|row| row.chained).count();
        (self.actions.len(), passed, chained)
    }

    fn step_on(&mut self, decide: bool) {
        for part in 0..self.parts.len() {
            self.push_all(part);
            // What is left of the log was dropped: its end is all that the source can tell.
            self.pass_over(part, usize::MAX);
            if self.parts[part]
                .model
                .rows
                .iter()
                .any(|row| row.stage == Stage::Gone)
            {
                // Some stores have a copy, some have none.
                if self.limits.seed.is_multiple_of(2) {
                    self.recover(part);
                }
                self.settle_gone(part);
            }
            let lanes: Vec<u8> = self.parts[part].model.lanes.keys().copied().collect();
            for key in lanes {
                if decide {
                    self.reopen(part, key);
                }
                self.load(part, key, 3);
                if self.lane(part, key).publishing.is_some() {
                    self.published(part, key, Published::Done);
                }
            }
            self.commit(part);
        }
        while let Some(at) = self.tries.iter().position(|one| one.until.is_none()) {
            self.complete(at, done(u32::MAX));
        }
        self.tick(500);
    }

    fn reopen(&mut self, part: usize, key: u8) {
        let lane = self.lane(part, key);
        let busy = lane.shut() || lane.persist.is_some() || !lane.owes.is_empty();
        let head = self.head_of(part, key).map(|head| self.stage(part, head));
        let decision = match lane.mode {
            // Its head was dropped by the source: there is nothing to try or to publish.
            Mode::Stopped if !busy && head != Some(Stage::Queued) => Decision::Skip,
            Mode::Stopped if !busy && !lane.verdict => Decision::Retry,
            Mode::Parked if !busy => Decision::Release,
            Mode::Live | Mode::Stopped | Mode::Parked | Mode::Releasing | Mode::Draining => return,
        };
        self.decide(part, key, decision);
    }

    fn check_named(&self) {
        for (at, part) in self.parts.iter().enumerate() {
            let barrier = part
                .model
                .barrier()
                .filter(|_| self.limits.failure.stops == Stops::Partition);
            for row in part
                .model
                .rows
                .iter()
                .filter(|row| !matches!(row.stage, Stage::Passed | Stage::Void))
            {
                let lane = &part.model.lanes[&row.key];
                let stands = matches!(lane.mode, Mode::Stopped | Mode::Parked);
                let behind = barrier.is_some_and(|barrier| row.position > barrier);
                let name = format!("{at}/{} of {}", row.position, row.key as char);
                assert!(
                    stands || behind,
                    "G10 progress: {name} is stuck: {:?} {lane:?}",
                    row.stage
                );
                assert!(
                    !lane.owes.contains(&Owed::Publish),
                    "G10 progress: {name} is never published"
                );
            }
        }
    }

    fn check_all_passed(&self) {
        for (at, part) in self.parts.iter().enumerate() {
            for row in part
                .model
                .rows
                .iter()
                .filter(|row| row.stage != Stage::Void)
            {
                let name = format!("{at}/{} of {}", row.position, row.key as char);
                assert_eq!(
                    row.stage,
                    Stage::Passed,
                    "G10 progress: {name} never passed"
                );
                assert!(
                    row.durable && part.store.covers(row.position),
                    "G10 progress: {name} is not durable"
                );
            }
            assert!(
                part.store.items.is_empty(),
                "G10 progress: {at} keeps {:?}",
                part.store.items
            );
            let figures = self
                .engine
                .figures(part.id.expect("assigned"))
                .expect("figures");
            assert_eq!(
                (figures.buffered, figures.bytes, figures.unflushed),
                (0, 0, 0),
                "G9 memory: {at}"
            );
        }
        assert!(
            self.engine.is_idle(),
            "G10 progress: all has passed and the engine is not idle"
        );
    }
}
