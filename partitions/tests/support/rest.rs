//! What must hold whenever the engine has nothing left to do: nothing more, and nothing less.

use super::{
    lane::{Lane, Mode, Owed, Row, Stage},
    part::{Part, WEIGHT},
    reference::Model,
    store::Item,
    world::{Try, World},
};
use partitions::{PartitionId, Stops, Time};
use std::time::Duration;

impl World {
    /// What must hold whenever nothing is left to poll.
    pub(super) fn check_rest(&self) {
        assert_eq!(
            self.engine.in_flight() as usize,
            self.tries.len(),
            "G2 cap: count of tries"
        );
        for (at, part) in self.parts.iter().enumerate() {
            let Some(id) = part.id else { continue };
            self.check_figures(at, part, id);
            for (key, lane) in &part.model.lanes {
                self.check_owed(at, part, *key);
                self.check_starts(at, part, *key);
                let changes = |lane: &Lane| lane.persist.is_some() || lane.shut();
                let changing = part.model.lanes.values().any(changes);
                let whole = self.limits.failure.stops == Stops::Partition;
                let later = part.draining || (whole && changing) || self.still_out(at, *key);
                let announced = lane.announced || later;
                assert!(
                    lane.mode != Mode::Stopped || announced,
                    "stop: {at}/{} is not announced",
                    *key as char
                );
            }
            let owes = part.model.lanes.values().any(|lane| !lane.owes.is_empty());
            let drained = part.drained || owes || self.any_out(at);
            assert!(
                !part.draining || drained,
                "G10 progress: partition {at} is drained and nobody hears"
            );
        }
        if let Some(first) = self
            .tries
            .iter()
            .filter_map(|one| one.until)
            .map(|(until, _)| until)
            .min()
        {
            self.check_wake(first);
        }
    }

    fn check_wake(&self, by: u64) {
        let wake = self.engine.wake_at().map(|(time, _)| time);
        let in_time = wake.is_some_and(|time| time <= Time(Duration::from_millis(by)));
        assert!(
            in_time,
            "G10 progress: wakes at {wake:?}, but something is due at {by}"
        );
    }

    fn check_figures(&self, at: usize, part: &Part, id: PartitionId) {
        let figures = self
            .engine
            .figures(id)
            .expect("figures of an assigned partition");
        let held = part
            .model
            .rows
            .iter()
            .filter(|row| row.accepted && !Model::settled(row) && row.stage != Stage::Gone);
        let weight: u64 = held.clone().map(|row| u64::from(row.weight)).sum();
        let buffered = held.clone().count() as u64;
        assert_eq!(
            figures.buffered, buffered,
            "G9 memory: records of partition {at}"
        );
        assert!(
            self.engine
                .open(id)
                .map(|record| record.position)
                .eq(held.map(|row| row.position)),
            "G5 checkpoint: open records of {at}"
        );
        let mine = |one: &&Try| one.part == at && !one.ghost;
        assert_eq!(
            figures.in_flight as usize,
            self.tries.iter().filter(mine).count(),
            "tries of {at}"
        );
        let free = self.engine.in_flight() < self.limits.cap && self.engine.sick_since().is_none();
        assert!(
            !(figures.runnable && free),
            "G10 progress: {at} could go on and does not"
        );
        assert_eq!(
            figures.paused, part.paused,
            "G9 memory: what the source was told of {at}"
        );
        // Of a chain only some records are loaded, and the engine says which.
        if part
            .model
            .lanes
            .values()
            .all(|lane| lane.mode <= Mode::Stopped)
        {
            assert_eq!(figures.bytes, weight, "G9 memory: bytes of partition {at}");
        }
        let full = |parts: u64| {
            figures.bytes * 4 >= self.limits.partition_bytes_max * parts
                || buffered * 4 >= u64::from(self.limits.records_max) * parts
        };
        if !part.draining && !part.halted {
            // The source may have to come further for a record that failed before its lane's chain.
            let displaced = |row: &Row| {
                let lane = &part.model.lanes[&row.key];
                let before = lane.mode > Mode::Stopped && !row.chained;
                row.failed && before && lane.persist.is_none()
            };
            let bounded = !part.model.rows.iter().any(displaced);
            assert!(
                !(full(4) && bounded || part.intake_held) || part.paused,
                "G9 memory: {at} is full and not paused"
            );
            assert!(
                full(3) || part.intake_held || part.starved || !part.paused,
                "G10 progress: {at} has room and is paused"
            );
            let rests = self.engine.is_idle() && figures.unflushed == 0 && part.commit.is_none();
            assert!(
                !(part.starved && rests && !part.held) || part.paused,
                "G9 memory: {at} rests, its source finds no memory, and it is not paused"
            );
        }
    }

    /// What a lane owes must be asked for at once: only another change of the lane may go first.
    fn check_owed(&self, at: usize, part: &Part, key: u8) {
        let lane = &part.model.lanes[&key];
        if part.draining || part.halted || lane.persist.is_some() || lane.loading.is_some() {
            return;
        }
        // Chains share the memory: one that has nothing loaded may wait for another that has.
        let mine = |row: &&Row| row.chained && row.loaded && row.stage != Stage::Passed;
        let holds = |other: u8| part.model.chain(other).any(|row| mine(&row));
        let others = part.model.lanes.iter().filter(|(other, _)| **other != key);
        if !holds(key)
            && others
                .into_iter()
                .any(|(k, l)| l.loading.is_some() || holds(*k))
        {
            return;
        }
        // What lies before a chain comes first, whose lane nobody knows before it is here.
        let head = part.model.chain(key).next().map(|row| row.position);
        let comes = |row: &Row| match row.stage {
            Stage::Absent => true,
            Stage::Queued | Stage::Out | Stage::Answered => row.key == key && !row.chained,
            Stage::Passed | Stage::Void | Stage::Gone => false,
        };
        let before = |row: &&Row| Some(row.position) < head;
        if part.model.rows.iter().filter(before).any(comes) {
            return;
        }
        let name = format!(
            "{at}/{} ({:?}, owes {:?})",
            key as char, lane.mode, lane.owes
        );
        match lane.owes.front() {
            Some(Owed::Publish) if self.now < lane.wait.1 => return self.check_wake(lane.wait.1),
            Some(_) => panic!("G10 progress: {name} asks for nothing"),
            None => {}
        }
        let chain = part.model.chain(key).count() as u64;
        // Its bounds are about what the store holds: passed records leave it with a commit.
        let stored = match part.store.items.get(&key) {
            Some(Item::Chain { chain, .. }) => chain.len() as u64,
            Some(Item::Stopped { .. }) | None => 0,
        };
        let bytes = stored * u64::from(WEIGHT);
        let room = stored < self.limits.park_records_max && bytes < self.limits.park_bytes_max;
        let last = part.model.queue(key).last();
        let arrivals = last.is_some_and(|row| {
            row.stage == Stage::Queued && !row.chained && Some(row.position) > lane.head
        });
        // A record before the chain may fail, and would have to join it first.
        let mut queue = part.model.queue(key);
        let before = queue.any(|row| !row.chained && Some(row.position) < lane.head);
        let arrivals = arrivals && !before;
        let takes = match lane.mode {
            Mode::Parked => arrivals && room,
            Mode::Releasing => chain <= self.limits.cut_at || (arrivals && room),
            Mode::Live | Mode::Stopped | Mode::Draining => false,
        };
        assert!(
            !takes,
            "G10 progress: {name} appends or cuts nothing of {chain}"
        );
        assert!(
            lane.mode != Mode::Draining || chain > 0 || lane.shut(),
            "G10 progress: {name} is not made live"
        );
    }

    /// A lane that could start must have started, while a slot is free.
    fn check_starts(&self, at: usize, part: &Part, key: u8) {
        let lane = &part.model.lanes[&key];
        let free =
            self.tries.len() < self.limits.cap as usize && self.engine.sick_since().is_none();
        let fenced = part.held || part.draining || part.halted;
        let sick = self.engine.sick_since().is_some();
        let out = self
            .tries
            .iter()
            .any(|one| one.part == at && one.key == key);
        // A publication that would be repeated may count as a repeat, too.
        let published = part
            .model
            .rows
            .iter()
            .filter(|row| row.published && !row.durable)
            .count();
        let room = part.model.repeats() + (published as u64) < self.limits.unflushed_max;
        // A change that does not shut a lane may still delay the run of a chain's record behind it.
        let changing = lane.persist.is_some() && lane.mode != Mode::Live;
        let run = part
            .model
            .next_run(key, self.limits.failure.stops == Stops::Partition);
        // Nobody can know the lane of a record that is still to come before the chain.
        let comes = |row: &Row| row.stage == Stage::Absent && Some(&row.position) < run.first();
        if fenced || out || run.is_empty() || !room || part.model.rows.iter().any(comes) {
            return;
        }
        // The last loaded record of a chain waits for the one behind it to be known.
        let chained = part.model.chain(key).any(|row| run == [row.position]);
        if chained && lane.loading.is_some() {
            return;
        }
        if self.now < lane.wait.1 {
            // A sick target is asked for at its own pace, and a full house wakes by its answers.
            return match (sick, free) {
                (false, true) => self.check_wake(lane.wait.1),
                (true, _) if self.tries.is_empty() => self.check_wake(self.now + self.probe_max()),
                (_, false) | (true, true) => {}
            };
        }
        let may = free && !changing;
        assert!(
            !may,
            "G10 progress: {at}/{run:?} of {} could start",
            key as char
        );
    }

    fn probe_max(&self) -> u64 {
        super::answers::millis(self.limits.failure.backoff_max)
    }
}
