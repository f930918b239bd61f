//! The naive reference: one list of records a partition; every answer is computed by brute force.

use super::lane::{Lane, Mode, Owed, Row, Stage};
use partitions::Change;
use std::collections::BTreeMap;

/// One partition as the reference sees it.
#[derive(Default)]
pub struct Model {
    pub rows: Vec<Row>,
    pub lanes: BTreeMap<u8, Lane>,
}

impl Model {
    pub fn settled(row: &Row) -> bool {
        row.chained || matches!(row.stage, Stage::Passed | Stage::Void)
    }

    pub fn row(&mut self, position: u64) -> &mut Row {
        let at = self
            .rows
            .binary_search_by_key(&position, |row| row.position);
        &mut self.rows[at.expect("a position of the log")]
    }

    pub fn lane(&mut self, key: u8) -> &mut Lane {
        self.lanes.get_mut(&key).expect("a lane of the log")
    }

    /// The rows of a lane that have not passed and came, in order.
    pub fn queue(&self, key: u8) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| {
            let present = matches!(row.stage, Stage::Queued | Stage::Out | Stage::Answered);
            row.key == key && present
        })
    }

    /// With `stops = partition`: nothing from here on starts.
    pub fn barrier(&self) -> Option<u64> {
        let stopped =
            |lane: &&Lane| (lane.mode == Mode::Stopped && !lane.verdict) || lane.asks(Change::Stop);
        self.lanes
            .values()
            .filter(stopped)
            .filter_map(|lane| lane.head)
            .min()
    }

    /// The lane's next records, as far as order, stop and park let them start.
    pub fn next_run(&self, key: u8, stops_partition: bool) -> Vec<u64> {
        let lane = &self.lanes[&key];
        let barrier = self
            .barrier()
            .filter(|_| stops_partition)
            .unwrap_or(u64::MAX);
        let chained = self.queue(key).next().is_some_and(|row| row.chained);
        // After a rewind, records that are before the lane's chain come after it was taken up.
        let comes = |row: &&Row| row.key == key && row.stage == Stage::Absent;
        let comes = self
            .rows
            .iter()
            .find(comes)
            .map_or(u64::MAX, |row| row.position);
        let ready = |row: &&Row| {
            let state = match (row.chained, lane.mode) {
                (true, mode) => row.loaded && mode >= Mode::Releasing,
                (false, Mode::Live) => true,
                (false, _) => lane.head.is_some_and(|head| row.position < head),
            };
            row.stage == Stage::Queued
                && row.chained == chained
                && state
                && row.position < barrier.min(comes)
        };
        // A decision on a chain waits for what lies before it, unless that failed for good.
        let failed = self.queue(key).next().is_some_and(|row| row.failed);
        let waits = !chained
            && !failed
            && lane.mode == Mode::Parked
            && lane.persist.is_none()
            && lane.publishing.is_none()
            && !lane.owes.contains(&Owed::Publish);
        if lane.shut() && !waits {
            return Vec::new();
        }
        self.queue(key)
            .take_while(ready)
            .map(|row| row.position)
            .collect()
    }

    /// Records of the lane's chain that have not passed.
    pub fn chain(&self, key: u8) -> impl Iterator<Item = &Row> {
        self.rows
            .iter()
            .filter(move |row| row.key == key && row.chained && row.stage != Stage::Passed)
    }

    /// Records that a crash now would hand to a handler a second time.
    pub fn repeats(&self) -> u64 {
        let again = |row: &&Row| match row.stage {
            Stage::Out | Stage::Answered => true,
            Stage::Passed => !row.durable && !row.published,
            Stage::Absent | Stage::Queued | Stage::Void | Stage::Gone => false,
        };
        self.rows.iter().filter(again).count() as u64
    }
}
