//! G3 stop at first failure, G4 isolation.

use crate::support::{Mode, World, done, key_of, limits, reject, retry};
use partitions::{Action, Answer, Change, Decision, Published, Rest, Stops, Then};
use std::time::Duration;

fn target() -> Answer {
    Answer {
        rest: Rest::Target {
            after: Duration::ZERO,
        },
        ..done(0)
    }
}

fn stopped(world: &World) -> usize {
    world
        .actions
        .iter()
        .filter(|action| matches!(action, Action::Stopped { .. }))
        .count()
}

#[test]
fn g3_nothing_later_in_the_lane_starts_after_a_record_failed_for_good() {
    let mut world = World::with_log(limits(Then::Stop), b"aba");
    world.answer(0, 10, reject());
    world.commit(0);
    world.tick(60_000);
    assert_eq!(world.running(0), [20], "only the other lane goes on");
    assert_eq!(world.lane(0, b'a').mode, Mode::Stopped);
    assert_eq!(stopped(&world), 1);
}

#[test]
fn g3_used_up_attempts_are_a_failure_for_good() {
    let mut world = World::with_log(limits(Then::Stop), b"aa");
    for attempt in 1..=3 {
        assert_eq!(
            world.started.len(),
            attempt,
            "attempt {attempt} comes after its backoff"
        );
        world.answer(0, 10, retry());
        world.tick(100);
    }
    world.commit(0);
    assert_eq!(
        (world.started.len(), world.lane(0, b'a').mode),
        (3, Mode::Stopped)
    );
    assert_eq!(world.parts[0].store.attempts.get(&10), Some(&3));
}

#[test]
fn g3_a_restart_is_no_decision() {
    let mut world = World::with_log(limits(Then::Stop), b"aa");
    world.answer(0, 10, reject());
    world.commit(0);
    let started = world.started.len();
    world.crash();
    world.push_all(0);
    world.tick(60_000);
    assert_eq!(world.started.len(), started);
    assert!(world.decide(0, b'a', Decision::Retry));
    assert_eq!(
        world.started.len(),
        started,
        "nor is a decision that is not durable"
    );
    world.commit(0);
    assert_eq!(world.started.last(), Some(&(0, vec![10])));
}

#[test]
fn g3_a_restart_before_the_stop_is_durable_tries_the_same_record_again() {
    let mut world = World::with_log(limits(Then::Stop), b"aa");
    world.answer(0, 10, reject());
    world.crash();
    world.push_all(0);
    assert_eq!(
        world.running(0),
        [10],
        "the failed record, not its successor"
    );
}

#[test]
fn g3_each_decision_on_a_stopped_lane_acts_only_when_durable() {
    for (decision, next) in [
        (Decision::Retry, Some(10)),
        (Decision::Skip, Some(20)),
        (Decision::Park, None),
    ] {
        let mut world = World::with_log(limits(Then::Stop), b"aa");
        world.answer(0, 10, reject());
        world.commit(0);
        assert!(world.decide(0, b'a', decision));
        assert!(
            !world.decide(0, b'a', Decision::Skip),
            "one decision at a time"
        );
        assert!(
            world.running(0).is_empty(),
            "{decision:?} before it is durable"
        );
        world.commit(0);
        assert_eq!(world.running(0).first().copied(), next, "{decision:?}");
        world.heal();
    }
}

#[test]
fn g3_a_decision_is_offered_only_where_the_lane_stands() {
    let mut world = World::with_log(limits(Then::Stop), b"ab");
    let id = world.parts[0].id.expect("assigned");
    for decision in [
        Decision::Retry,
        Decision::Skip,
        Decision::Park,
        Decision::DeadLetter,
        Decision::Release,
    ] {
        assert!(
            !world.decide(0, b'a', decision),
            "{decision:?} on a live lane"
        );
        assert!(
            !world.engine.decide(id, &key_of(b'z'), decision),
            "{decision:?} on an unknown key"
        );
    }
    world.answer(0, 10, reject());
    assert!(
        !world.decide(0, b'a', Decision::Retry),
        "not before the stop is durable"
    );
    world.commit(0);
    assert!(!world.decide(0, b'a', Decision::Release));
    assert!(world.decide(0, b'a', Decision::Retry));
}

#[test]
fn g3_stops_partition_starts_nothing_behind_the_failed_record() {
    let mut limits = limits(Then::Stop);
    (limits.failure.stops, limits.cap) = (Stops::Partition, 2);
    let mut world = World::with_log(limits, b"abcab");
    world.answer(0, 20, reject());
    assert_eq!(
        world.running(0),
        [10],
        "the record before it goes on, nothing behind it starts"
    );
    world.answer(0, 10, done(1));
    world.commit(0);
    world.crash();
    world.push_all(0);
    assert!(world.running(0).is_empty(), "nor after a restart");
    world.decide(0, b'b', Decision::Skip);
    world.commit(0);
    assert_eq!(world.running(0), [30, 40]);
}

#[test]
fn g3_the_first_failure_can_move_earlier_and_is_announced_when_nothing_is_out() {
    let mut limits = limits(Then::Stop);
    limits.failure.stops = Stops::Partition;
    let mut world = World::with_log(limits, b"abcb");
    world.answer(0, 20, reject());
    world.commit(0);
    assert_eq!(
        stopped(&world),
        0,
        "10 and 30 are out: the first failure may still move"
    );
    world.answer(0, 10, reject());
    world.commit(0);
    assert_eq!(stopped(&world), 0);
    world.answer(0, 30, done(1));
    assert_eq!(stopped(&world), 2, "each stopped lane is announced once");
    assert_eq!(world.parts[0].model.barrier(), Some(10));
    world.tick(1_000);
    assert_eq!(stopped(&world), 2);
}

#[test]
fn g3_a_run_ends_before_a_stopped_head_of_the_partition() {
    let mut limits = limits(Then::Stop);
    (limits.failure.stops, limits.run_max, limits.cap) = (Stops::Partition, 8, 2);
    let mut world = World::new(limits, &[b"abaaa"]);
    world.push(0);
    world.push_all(0);
    world.answer(0, 20, reject());
    world.answer(0, 10, done(1));
    assert!(world.running(0).is_empty(), "30 to 50 are behind the stop");
    assert_eq!(world.started.len(), 2);
}

#[test]
fn g4_a_lane_that_waits_for_its_next_try_holds_no_slot() {
    let mut limits = limits(Then::Stop);
    limits.cap = 1;
    let mut world = World::with_log(limits, b"ab");
    let after = Duration::from_millis(90);
    world.answer(
        0,
        10,
        Answer {
            rest: Rest::Retry { after },
            ..done(0)
        },
    );
    assert_eq!(world.running(0), [20]);
    assert_eq!(world.engine.in_flight(), 1);
}

#[test]
fn g4_the_floor_of_a_backoff_is_kept_and_bounded() {
    let mut world = World::with_log(limits(Then::Stop), b"a");
    let after = Duration::from_secs(3_600);
    world.answer(
        0,
        10,
        Answer {
            rest: Rest::Retry { after },
            ..done(0)
        },
    );
    world.tick(99);
    assert!(world.running(0).is_empty());
    world.tick(1);
    assert_eq!(
        world.running(0),
        [10],
        "backoff_max bounds what a handler may ask for"
    );
}

#[test]
fn g4_stopped_and_parked_lanes_take_no_slot() {
    for then in [Then::Stop, Then::Park, Then::DeadLetter] {
        let mut limits = limits(then);
        limits.cap = 1;
        let mut world = World::with_log(limits, b"abcab");
        world.answer(0, 10, reject());
        assert_eq!(
            world.running(0),
            [20],
            "{then:?}: not even while it waits for the store"
        );
        world.answer(0, 20, reject());
        world.commit(0);
        assert_eq!(world.running(0), [30], "{then:?}");
    }
}

#[test]
fn g4_a_slow_lane_takes_one_slot() {
    let mut limits = limits(Then::Stop);
    limits.cap = 2;
    let mut world = World::with_log(limits, b"abababababab");
    for position in [20, 40, 60, 80, 100, 120] {
        assert_eq!(world.running(0), [10, position]);
        world.answer(0, position, done(1));
    }
}

#[test]
fn g4_an_untried_record_is_charged_nothing() {
    let mut limits = limits(Then::Stop);
    limits.failure.attempts_max = 1;
    let mut world = World::with_log(limits, b"a");
    for _ in 0..5 {
        world.answer(
            0,
            10,
            Answer {
                rest: Rest::Untried,
                ..done(0)
            },
        );
    }
    assert_eq!(world.running(0), [10]);
    assert_eq!(world.started.len(), 6);
}

#[test]
fn g4_a_target_that_is_sick_for_ten_minutes_stops_and_parks_nothing() {
    for then in [Then::Stop, Then::Park, Then::DeadLetter] {
        let mut limits = limits(then);
        (limits.failure.attempts_max, limits.cap) = (1, 4);
        let mut world = World::with_log(limits, b"abcdabcd");
        let mut sick = false;
        while world.now < 600_000 {
            while !world.tries.is_empty() {
                world.complete(0, target());
            }
            sick |= world.engine.sick_since().is_some();
            world.tick(50);
        }
        assert!(sick && world.tries.len() <= 1, "one probe at a time");
        let persists = world
            .actions
            .iter()
            .filter(|action| matches!(action, Action::Persist { .. }));
        assert_eq!(
            persists.count(),
            0,
            "{then:?}: nobody's attempt was used up"
        );
        let probes = world.started.len();
        assert!(probes > 20 + 100, "it was probed on and on: {probes}");
        while world.tries.is_empty() {
            world.tick(50);
        }
        world.complete(0, done(1));
        assert_eq!(world.engine.sick_since(), None, "the first success resumes");
        world.tick(100);
        assert_eq!(world.tries.len(), 4, "at the full cap");
        world.heal();
    }
}

#[test]
fn g4_one_failing_lane_or_two_make_no_sick_target() {
    let mut world = World::with_log(limits(Then::Stop), b"abc");
    world.answer(0, 30, done(1));
    for _ in 0..40 {
        while let Some(position) = world.running(0).first() {
            world.answer(0, *position, target());
        }
        world.tick(100);
    }
    assert_eq!(world.engine.sick_since(), None);
}

#[test]
fn g4_partitions_take_turns() {
    let mut limits = limits(Then::Stop);
    limits.cap = 1;
    let many: Vec<u8> = (b'a'..=b'z').collect();
    let mut world = World::new(limits, &[&many, b"abcdef"]);
    world.push_all(0);
    world.push_all(1);
    for _ in 0..12 {
        world.complete(0, done(1));
    }
    let second = world
        .started
        .iter()
        .take(12)
        .filter(|(part, _)| *part == 1)
        .count();
    assert!(
        second >= 5,
        "a partition with few lanes waits for none with many: {:?}",
        world.started
    );
}

#[test]
fn g4_dead_letter_lets_the_lane_go_on_at_the_publication() {
    let mut world = World::with_log(limits(Then::DeadLetter), b"aa");
    world.answer(0, 10, reject());
    assert!(
        !world
            .actions
            .iter()
            .any(|action| matches!(action, Action::Publish { .. }))
    );
    world.commit(0);
    assert!(
        world
            .actions
            .iter()
            .any(|action| matches!(action, Action::Publish { .. })),
        "the verdict is durable"
    );
    assert!(world.running(0).is_empty());
    world.published(0, b'a', Published::Done);
    assert_eq!(world.running(0), [20]);
    world.commit(0);
    assert!(world.parts[0].store.items.is_empty());
}

#[test]
fn g4_a_publication_that_keeps_failing_stops_the_lane() {
    let mut world = World::with_log(limits(Then::DeadLetter), b"aa");
    world.answer(0, 10, reject());
    world.commit(0);
    for _ in 0..5 {
        world.published(0, b'a', Published::Target);
        world.tick(100);
    }
    for _ in 0..3 {
        world.published(0, b'a', Published::Failed);
        world.tick(100);
    }
    let change = world.lane(0, b'a').persist.as_ref().map(|out| out.1);
    assert_eq!(
        change,
        Some(Change::Stop),
        "so that the error gets into its item"
    );
    world.commit(0);
    assert_eq!(world.lane(0, b'a').mode, Mode::Stopped);
    assert_eq!(stopped(&world), 1);
    assert_eq!(world.started.len(), 1, "the record itself never runs again");
}
