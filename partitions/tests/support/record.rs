//! The record of the tests and their bounds.

use partitions::{FailureRules, Item, Limits, Stops, Then};
use std::{cell::Cell, time::Duration};

thread_local! {
    /// So many more records of this thread find memory of their own.
    pub static ROOM: Cell<u32> = const { Cell::new(u32::MAX) };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rec {
    pub position: u64,
    key: [u8; 2],
    pub weight: u32,
    pub detached: u8,
}

/// What the shell makes of a user's key: a tag byte and the key.
pub fn key_of(name: u8) -> [u8; 2] {
    [b'k', name]
}

impl Rec {
    pub fn new(position: u64, name: u8, weight: u32) -> Self {
        Self {
            position,
            key: key_of(name),
            weight,
            detached: 0,
        }
    }

    pub fn name(&self) -> u8 {
        self.key[1]
    }
}

impl Item for Rec {
    type Position = u64;

    fn position(&self) -> &u64 {
        &self.position
    }

    fn key(&self) -> &[u8] {
        &self.key
    }

    fn weight(&self) -> u32 {
        self.weight
    }

    fn detach(&mut self) -> bool {
        let room = ROOM.get();
        ROOM.set(room.saturating_sub(1));
        self.detached += u8::from(room > 0);
        room > 0
    }
}

/// Bounds that hold nothing back; a test narrows the one that it is about.
pub fn limits(then: Then) -> Limits {
    Limits {
        cap: 8,
        run_max: 1,
        failure: FailureRules {
            attempts_max: 3,
            backoff_min: Duration::from_millis(10),
            backoff_max: Duration::from_millis(100),
            then,
            stops: Stops::Lane,
        },
        records_max: 1_000,
        partition_bytes_max: 1_000_000,
        unflushed_max: 1_000,
        append_records_max: 4,
        append_bytes_max: 1_000,
        park_records_max: 1_000,
        park_bytes_max: 1_000_000,
        cut_at: 2,
        seed: 7,
    }
}
