//! G4 isolation: who starts next.

use crate::support::{World, done, limits};
use partitions::Then;

#[test]
fn g4_lanes_take_turns() {
    let mut limits = limits(Then::Stop);
    limits.cap = 1;
    let mut world = World::with_log(limits, b"aaaaaaaabcdaaaa");
    for _ in 0..7 {
        world.complete(0, done(1));
    }
    let first: Vec<u64> = world
        .started
        .iter()
        .take(8)
        .map(|(_, rows)| rows[0])
        .collect();
    for lonely in [90, 100, 110] {
        assert!(
            first.contains(&lonely),
            "the long lane lets the others go first: {first:?}"
        );
    }
    assert_eq!(
        first[..6],
        [10, 20, 90, 30, 100, 40],
        "what came earlier goes first, and not for ever"
    );
}

#[test]
fn g4_a_new_lane_does_not_wait_for_as_many_long_ones_as_there_are_slots() {
    let mut limits = limits(Then::Stop);
    limits.cap = 2;
    let mut world = World::with_log(limits, &[&b"ab".repeat(40)[..], b"c"].concat());
    let new = 810;
    let mut completed = 0;
    while !world.started.iter().any(|(_, rows)| rows[0] == new) {
        world.complete(0, done(1));
        completed += 1;
    }
    assert!(completed <= 3, "it waited for {completed} records");
}

#[test]
fn g4_a_lane_that_may_come_early_has_its_turn_before_those_that_came_behind_it() {
    let mut limits = limits(Then::Stop);
    limits.cap = 1;
    let long = b"a".repeat(40);
    let log = [&long[..], b"bb", b"cdefghijklmnopqrstuvwxyz"].concat();
    let mut world = World::new(limits, &[&log]);
    world.push_batch(0, 43);
    let second = 420;
    // One lane more comes with each record that is done.
    while !world.started.iter().any(|(_, rows)| rows[0] == second) {
        world.complete(0, done(1));
        world.push(0);
    }
    let started = world.started.len();
    assert!(started <= 13, "it waited for {started} records");
}

#[test]
fn g10_of_many_lanes_that_may_come_early_none_is_forgotten() {
    for cap in [1, 3, 30] {
        let mut limits = limits(Then::Stop);
        limits.cap = cap;
        let mut world = World::with_log(limits, &b"abcdefghijklmnopqrstuvwxyz".repeat(4));
        while !world.tries.is_empty() {
            world.complete(0, done(1));
        }
        assert_eq!(world.started.len(), 104, "cap {cap}");
    }
}
