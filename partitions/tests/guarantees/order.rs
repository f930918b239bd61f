//! G1 order, G2 cap.

use crate::support::{End, Stage, World, done, effects, limits, reject, retry};
use partitions::{Answer, Rest, Then};
use std::time::Duration;

fn quarantined(millis: u64) -> Answer {
    Answer {
        quarantine: Duration::from_millis(millis),
        ..retry()
    }
}

#[test]
fn g1_a_record_starts_only_when_every_earlier_one_of_its_lane_passed() {
    let mut world = World::with_log(limits(Then::Stop), b"abaab");
    assert_eq!(world.running(0), [10, 20]);
    world.answer(0, 10, done(1));
    assert_eq!(world.running(0), [20, 30]);
    world.answer(0, 20, done(1));
    assert_eq!(world.running(0), [30, 50]);
    world.answer(0, 30, done(1));
    assert_eq!(world.running(0), [40, 50]);
}

#[test]
fn g1_a_run_takes_consecutive_records_of_one_lane() {
    let mut limits = limits(Then::Stop);
    (limits.run_max, limits.cap) = (3, 1);
    let mut world = World::with_log(limits, b"abaaaab");
    assert_eq!(
        world.started,
        [(0, vec![10])],
        "nothing else had come when the first record did"
    );
    world.answer(0, 10, done(1));
    world.answer(0, 20, done(2));
    assert_eq!(
        world.started[1..],
        [(0, vec![20, 70]), (0, vec![30, 40, 50])]
    );
    world.answer(0, 30, done(2));
    assert_eq!(
        world.running(0),
        [50],
        "the record after the done ones heads the next run"
    );
    assert_eq!(world.started[3], (0, vec![50, 60]));
}

#[test]
fn g1_a_done_record_with_effects_opens_its_lane_only_when_they_are_durable() {
    let mut world = World::with_log(limits(Then::Stop), b"aa");
    world.answer(0, 10, effects(1));
    assert_eq!(
        world.engine.in_flight(),
        0,
        "the answered try frees its slot"
    );
    assert!(world.running(0).is_empty(), "and keeps its lane shut");
    world.begin(0, &world.pending(0));
    world.end(0, &End::NotWritten);
    assert!(world.running(0).is_empty());
    world.commit(0);
    assert_eq!(world.running(0), [20]);
}

#[test]
fn g1_a_try_of_an_earlier_assignment_keeps_its_lane_shut() {
    let mut world = World::with_log(limits(Then::Stop), b"ab");
    world.revoke(0);
    assert_eq!(world.engine.in_flight(), 2, "revoke frees no slot");
    world.assign(0);
    world.push_all(0);
    assert!(
        world.running(0).is_empty(),
        "both keys may still be running"
    );
    world.complete(0, done(1));
    assert_eq!(world.running(0), [10], "the other key's lane stays shut");
    world.complete(0, reject());
    assert_eq!(
        world.running(0),
        [10, 20],
        "what a late answer says is of no account"
    );
}

#[test]
fn g1_a_late_answer_that_is_quarantined_keeps_its_lane_shut_to_the_quarantines_end() {
    let mut world = World::with_log(limits(Then::Stop), b"a");
    world.revoke(0);
    world.assign(0);
    world.push_all(0);
    world.complete(0, quarantined(50));
    world.tick(49);
    assert!(world.running(0).is_empty());
    assert_eq!(world.engine.in_flight(), 1);
    world.tick(1);
    assert_eq!(world.running(0), [10]);
}

#[test]
fn g1_a_try_of_unknown_end_keeps_slot_and_lane_until_it_can_no_longer_run() {
    let mut limits = limits(Then::Stop);
    limits.cap = 1;
    let mut world = World::with_log(limits, b"ab");
    world.answer(0, 10, quarantined(500));
    world.tick(499);
    assert_eq!(
        world.engine.in_flight(),
        1,
        "the remote may still be running it"
    );
    assert!(world.running(0).is_empty());
    world.tick(1);
    assert_eq!(
        world.running(0),
        [20],
        "the slot is free; the backoff of the other lane begins here"
    );
}

#[test]
fn g1_a_quarantine_outlives_its_assignment() {
    let mut world = World::with_log(limits(Then::Stop), b"a");
    world.answer(0, 10, quarantined(500));
    world.revoke(0);
    world.assign(0);
    world.push_all(0);
    world.tick(499);
    assert!(world.running(0).is_empty());
    world.tick(1);
    assert_eq!(world.running(0), [10]);
}

#[test]
fn g1_effects_of_a_lane_are_refused_as_a_suffix() {
    let mut limits = limits(Then::Stop);
    limits.run_max = 4;
    let mut world = World::new(limits, &[b"aaaa"]);
    world.hold(0, true);
    world.push_all(0);
    world.hold(0, false);
    world.answer(0, 10, effects(4));
    world.begin(0, &world.pending(0));
    world.end(0, &End::Refused(vec![20, 40]));
    assert_eq!(
        world.stage(0, 10),
        Stage::Answered,
        "what is before the refused one stands"
    );
    assert_eq!(
        world.stage(0, 30),
        Stage::Queued,
        "what is after it was never answered"
    );
    world.commit(0);
    assert_eq!(
        world.parts[0]
            .store
            .effects
            .keys()
            .copied()
            .collect::<Vec<_>>(),
        [10]
    );
    world.commit(0);
    assert_eq!(
        world.lane(0, b'a').head,
        Some(20),
        "the refused effect is a reject of its record"
    );
    assert_eq!(world.started.len(), 1, "and nothing behind it starts");
    world.heal();
}

#[test]
fn g1_the_first_effects_refused_are_rejected_at_once() {
    let mut world = World::with_log(limits(Then::Stop), b"ab");
    world.answer(0, 10, effects(1));
    world.answer(0, 20, effects(1));
    world.begin(0, &world.pending(0));
    world.end(0, &End::Refused(vec![10]));
    world.commit(0);
    assert_eq!(world.lane(0, b'a').head, Some(10));
    assert_eq!(
        world.parts[0]
            .store
            .effects
            .keys()
            .copied()
            .collect::<Vec<_>>(),
        [20]
    );
    assert_eq!(
        world.parts[0].store.items.len(),
        1,
        "the stop went into the same commit"
    );
}

#[test]
fn g1_an_unattributed_failure_goes_on_in_runs_of_one_and_charges_nobody() {
    let mut limits = limits(Then::Stop);
    (limits.run_max, limits.failure.attempts_max) = (3, 1);
    let mut world = World::new(limits, &[b"aaaaaa"]);
    world.hold(0, true);
    world.push_all(0);
    world.hold(0, false);
    world.answer(
        0,
        10,
        Answer {
            rest: Rest::Unattributed,
            ..done(0)
        },
    );
    world.tick(200);
    for position in [10, 20, 30] {
        world.answer(0, position, done(1));
    }
    let runs: Vec<usize> = world.started.iter().map(|(_, rows)| rows.len()).collect();
    assert_eq!(
        runs,
        [3, 1, 1, 1, 3],
        "past that run's end runs are whole again"
    );
}

#[test]
fn g1_an_unattributed_failure_of_a_run_of_one_is_its_records() {
    let mut limits = limits(Then::Stop);
    limits.failure.attempts_max = 1;
    let mut world = World::with_log(limits, b"a");
    world.answer(
        0,
        10,
        Answer {
            rest: Rest::Unattributed,
            ..done(0)
        },
    );
    world.commit(0);
    assert_eq!(world.lane(0, b'a').head, Some(10));
}

#[test]
fn g2_a_cap_of_one_is_strictly_serial() {
    let mut limits = limits(Then::Stop);
    limits.cap = 1;
    let mut world = World::with_log(limits, b"abcabc");
    for served in 1..=6 {
        assert_eq!((world.engine.in_flight(), world.started.len()), (1, served));
        world.complete(0, done(1));
    }
    assert_eq!(world.engine.in_flight(), 0);
}

#[test]
fn g2_as_many_run_as_the_cap_and_the_lanes_with_work_allow() {
    for (cap, log, expected) in [(3, &b"abcde"[..], 3), (8, b"abcde", 5), (8, b"aabbb", 2)] {
        let mut limits = limits(Then::Stop);
        limits.cap = cap;
        let world = World::with_log(limits, log);
        assert_eq!(world.engine.in_flight(), expected, "cap {cap}");
    }
}

#[test]
fn g2_a_lowered_cap_only_stops_what_would_start() {
    let mut world = World::with_log(limits(Then::Stop), b"abcdef");
    world.set_cap(2);
    assert_eq!(world.engine.in_flight(), 6, "nothing is taken back");
    world.revoke(0);
    world.assign(0);
    world.push_all(0);
    for left in (2..6).rev() {
        world.complete(0, done(1));
        assert_eq!(
            world.engine.in_flight(),
            left,
            "and nothing starts over the cap"
        );
    }
    world.complete(0, done(1));
    assert_eq!(
        world.engine.in_flight(),
        2,
        "below it, each end lets one start"
    );
    assert_eq!(world.running(0).len(), 1);
}

#[test]
fn g2_a_raised_cap_is_used_at_once() {
    let mut limits = limits(Then::Stop);
    limits.cap = 1;
    let mut world = World::with_log(limits, b"abc");
    world.set_cap(3);
    assert_eq!(world.running(0), [10, 20, 30]);
}
