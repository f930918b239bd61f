//! A second engine takes up what the first one committed, in every state that a lane can be in.

use crate::support::{End, Mode, World, done, effects, limits, reject, retry};
use partitions::{CommitEnd, Decision, Limits, Published, Then};
use std::time::Duration;

fn one_try(then: Then) -> Limits {
    let mut limits = limits(then);
    limits.failure.attempts_max = 1;
    limits
}

/// Crashes, takes up again, and demands that all passes once faults end and an operator decides.
fn restarted(mut world: World, mode: Mode) {
    world.crash();
    world.push_all(0);
    assert_eq!(
        world.lane(0, b'a').mode,
        mode,
        "the lane's state after the restart"
    );
    world.heal();
}

fn failed(then: Then, log: &[u8]) -> World {
    let mut world = World::with_log(one_try(then), log);
    world.answer(0, 10, reject());
    world
}

fn committed(then: Then, log: &[u8]) -> World {
    let mut world = failed(then, log);
    (0..log.len()).for_each(|_| world.commit(0));
    world
}

#[test]
fn a_live_lane_is_taken_up() {
    let mut world = World::with_log(limits(Then::Stop), b"aab");
    world.answer(0, 10, done(1));
    world.answer(0, 20, retry());
    world.commit(0);
    world.crash();
    world.push_all(0);
    assert_eq!(
        world.running(0),
        [20, 30],
        "the backoff is forgotten, the attempt is not"
    );
    assert_eq!(world.parts[0].model.row(20).attempts, 1);
    restarted(world, Mode::Live);
}

#[test]
fn a_stopped_lane_is_taken_up() {
    let world = committed(Then::Stop, b"aab");
    restarted(world, Mode::Stopped);
}

#[test]
fn a_stopped_lane_with_a_decision_that_is_not_durable_stays_stopped() {
    for decision in [
        Decision::Retry,
        Decision::Skip,
        Decision::Park,
        Decision::DeadLetter,
    ] {
        let mut world = committed(Then::Stop, b"aab");
        assert!(world.decide(0, b'a', decision));
        restarted(world, Mode::Stopped);
    }
}

#[test]
fn a_stop_that_is_not_durable_is_forgotten() {
    restarted(failed(Then::Stop, b"aab"), Mode::Live);
    restarted(failed(Then::Park, b"aab"), Mode::Live);
    restarted(failed(Then::DeadLetter, b"aab"), Mode::Live);
}

#[test]
fn a_parked_lane_is_taken_up_with_part_of_its_arrivals_appended() {
    for commits in 1..4 {
        let mut world = World::with_log(
            Limits {
                append_records_max: 1,
                ..one_try(Then::Park)
            },
            b"aaaa",
        );
        world.answer(0, 10, reject());
        (0..commits).for_each(|_| world.commit(0));
        let started = world.started.len();
        world.crash();
        world.push_all(0);
        assert_eq!(world.started.len(), started, "nothing of it starts");
        restarted(world, Mode::Parked);
    }
}

#[test]
fn a_releasing_lane_is_taken_up_wherever_its_chain_stands() {
    for ran in 0..5_usize {
        let mut world = World::with_log(
            Limits {
                cut_at: 1,
                ..one_try(Then::Park)
            },
            b"aaaaa",
        );
        world.answer(0, 10, reject());
        (0..5).for_each(|_| world.commit(0));
        assert!(world.decide(0, b'a', Decision::Release));
        for _ in 0..ran.min(3) {
            world.load(0, b'a', 2);
            let next = world.running(0)[0];
            world.answer(0, next, done(1));
            world.load(0, b'a', 2);
        }
        if ran == 4 {
            world.begin(0, &[]);
            world.end(0, &End::Durable);
        }
        world.crash();
        world.push_all(0);
        let expected = if ran == 4 { 40 } else { 10 };
        world.load(0, b'a', 3);
        assert_eq!(
            world.running(0),
            [expected],
            "what is not durable runs again"
        );
        restarted(world, Mode::Releasing);
    }
}

#[test]
fn a_draining_lane_is_taken_up_with_its_cut() {
    for ran in 0..=3 {
        let mut world = World::new(
            Limits {
                cut_at: 100,
                ..one_try(Then::Park)
            },
            &[b"aaaaa"],
        );
        (0..3).for_each(|_| assert!(world.push(0).is_some()));
        world.answer(0, 10, reject());
        (0..3).for_each(|_| world.commit(0));
        assert!(world.decide(0, b'a', Decision::Release));
        world.commit(0);
        world.push_all(0);
        for _ in 0..ran {
            world.load(0, b'a', 3);
            let next = world.running(0)[0];
            world.answer(0, next, done(1));
        }
        world.begin(0, &[]);
        world.end(0, &End::Durable);
        restarted(world, Mode::Draining);
    }
}

#[test]
fn a_durable_verdict_publishes_and_does_not_run_again() {
    let mut world = committed(Then::DeadLetter, b"aa");
    let started = world.started.len();
    world.crash();
    world.push_all(0);
    assert_eq!(world.started.len(), started);
    assert!(world.lane(0, b'a').publishing.is_some());
    world.published(0, b'a', Published::Done);
    assert_eq!(world.running(0), [20]);
    world.crash();
    world.push_all(0);
    assert!(
        world.lane(0, b'a').publishing.is_some(),
        "published again: its end was not durable"
    );
    world.published(0, b'a', Published::Done);
    world.commit(0);
    restarted(world, Mode::Live);
}

#[test]
fn answered_effects_that_are_not_durable_run_again() {
    let mut world = World::with_log(limits(Then::Stop), b"aab");
    world.answer(0, 10, effects(1));
    world.crash();
    world.push_all(0);
    assert_eq!(world.running(0), [10, 30]);
    restarted(world, Mode::Live);
}

#[test]
fn records_before_a_held_head_run_in_order_up_to_it() {
    for (then, mode) in [(Then::Stop, Mode::Stopped), (Then::Park, Mode::Parked)] {
        let mut world = World::with_log(one_try(then), b"aaaa");
        world.answer(0, 10, done(1));
        world.answer(0, 20, done(1));
        world.answer(0, 30, reject());
        (0..3).for_each(|_| world.commit(0));
        let chain = world.parts[0].model.chain(b'a').count();
        world.revoke(0);
        // An operator's rewind to the beginning that keeps what stands: its positions stay settled.
        world.parts[0].store.resume = partitions::Resume::Beginning;
        world.parts[0].store.open.extend([10, 20]);
        world.assign(0);
        world.push_all(0);
        assert_eq!(world.running(0), [10]);
        world.answer(0, 10, done(1));
        world.answer(0, 20, done(1));
        assert!(world.running(0).is_empty(), "{then:?}: not past the head");
        assert_eq!(world.lane(0, b'a').mode, mode);
        assert_eq!(world.parts[0].model.chain(b'a').count(), chain);
        world.heal();
    }
}

#[test]
fn g3_a_record_before_a_kept_chain_that_fails_joins_its_front_with_what_lies_between() {
    let mut world = World::with_log(one_try(Then::Park), b"aaaa");
    world.answer(0, 10, done(1));
    world.answer(0, 20, done(1));
    world.answer(0, 30, reject());
    (0..3).for_each(|_| world.commit(0));
    world.revoke(0);
    // An operator's rewind to the beginning that keeps what stands: its positions stay settled.
    world.parts[0].store.resume = partitions::Resume::Beginning;
    world.parts[0].store.open.extend([10, 20]);
    world.assign(0);
    world.push_all(0);
    world.answer(0, 10, reject());
    assert!(world.running(0).is_empty(), "20 does not overtake");
    (0..2).for_each(|_| world.commit(0));
    let chain = |world: &World| -> Vec<u64> {
        { world.parts[0].model.chain(b'a') }
            .map(|row| row.position)
            .collect()
    };
    assert_eq!(chain(&world), [10, 20, 30, 40]);
    assert!(world.running(0).is_empty(), "not before a decision");
    restarted(world, Mode::Parked);

    let mut world = World::with_log(one_try(Then::Park), b"aaa");
    world.answer(0, 10, done(1));
    world.answer(0, 20, done(1));
    world.answer(0, 30, reject());
    (0..2).for_each(|_| world.commit(0));
    world.revoke(0);
    world.parts[0].store.resume = partitions::Resume::Beginning;
    world.parts[0].store.open.extend([10, 20]);
    world.assign(0);
    world.push_all(0);
    world.answer(0, 10, done(1));
    world.answer(0, 20, reject());
    (0..2).for_each(|_| world.commit(0));
    assert_eq!(chain(&world), [20, 30], "10 is done");
    assert!(world.decide(0, b'a', Decision::Release));
    world.heal();
}

/// A rewind before a kept chain, from 40 on; of what runs again 10 failed for good, and the source has
/// not come further.
fn failed_before_a_kept_chain() -> World {
    // More lies between than a chain takes in at its end in one change.
    let mut limits = one_try(Then::Park);
    limits.append_records_max = 2;
    limits.failure.backoff_max = Duration::from_secs(3_600);
    let mut world = World::with_log(limits, b"aaaaa");
    for at in [10, 20, 30] {
        world.answer(0, at, done(1));
    }
    world.answer(0, 40, reject());
    (0..3).for_each(|_| world.commit(0));
    world.revoke(0);
    world.parts[0].store.resume = partitions::Resume::Beginning;
    world.parts[0].store.open.extend([10, 20, 30]);
    world.assign(0);
    world.push(0);
    world.answer(0, 10, reject());
    world
}

#[test]
fn g3_a_record_that_failed_before_a_kept_chain_waits_untried_for_what_lies_between() {
    let mut world = failed_before_a_kept_chain();
    for _ in 0..5 {
        world.tick(1_000);
        assert!(world.running(0).is_empty(), "10 failed for good");
    }
    world.push_all(0);
    world.tick(1_000);
    assert!(world.running(0).is_empty(), "20 does not overtake");
    (0..2).for_each(|_| world.commit(0));
    let chain = world.parts[0].model.chain(b'a');
    let chain: Vec<u64> = chain.map(|row| row.position).collect();
    assert_eq!(chain, [10, 20, 30, 40, 50]);
    restarted(world, Mode::Parked);
}

#[test]
fn g10_a_record_that_failed_before_a_kept_chain_does_not_keep_out_what_lies_between() {
    let mut world = failed_before_a_kept_chain();
    let paused = |world: &mut World, bytes| {
        world.limits.partition_bytes_max = bytes;
        world.engine.set_partition_bytes_max(bytes);
        world.tick(0);
        world.parts[0].paused
    };
    assert!(!paused(&mut world, 10), "10 fills the share, and waits");
    world.tick(1_000);
    assert!(!world.parts[0].paused, "nor has it looked in vain");
    world.push(0);
    world.push(0);
    assert!(!world.parts[0].paused);
    world.push(0);
    world.tick(1_000);
    assert!(world.parts[0].paused, "it has its place");
    world.commit(0);
    assert!(!world.parts[0].paused, "in the chain they take no memory");
    restarted(world, Mode::Parked);
}

#[test]
fn g9_a_record_that_the_store_does_not_take_before_its_chain_keeps_its_share() {
    let mut world = failed_before_a_kept_chain();
    world.push_all(0);
    world.tick(1_000);
    let (ticket, _) = world.pending(0)[0];
    let id = world.parts[0].id.expect("assigned");
    let engine = &mut world.engine;
    let _ = engine.begin_commit(id, &[ticket]);
    engine.end_commit(id, CommitEnd::Refused(&[(ticket, 0)]));
    engine.set_partition_bytes_max(10);
    let figures = engine.figures(id).expect("figures");
    assert!(figures.paused, "the source has nothing that it waits for");
}

#[test]
fn g3_a_record_that_failed_before_a_kept_chain_asks_for_nothing_once_drained() {
    let mut world = failed_before_a_kept_chain();
    // All is here before it looks again, and the partition is given up.
    world.push_all(0);
    world.drain(0);
    assert!(world.parts[0].drained);
    for _ in 0..3 {
        world.tick(1_000);
        assert!(world.lane(0, b'a').persist.is_none(), "nothing is out");
    }
    restarted(world, Mode::Parked);
}

#[test]
fn g1_a_decision_on_a_kept_chain_waits_for_what_lies_before_it() {
    for decision in [Decision::Skip, Decision::DeadLetter] {
        let mut world = World::with_log(one_try(Then::Park), b"aaaa");
        world.answer(0, 10, done(1));
        world.answer(0, 20, reject());
        (0..3).for_each(|_| world.commit(0));
        world.revoke(0);
        // An operator's rewind to the beginning that keeps what stands, and its positions settled.
        world.parts[0].store.resume = partitions::Resume::Beginning;
        world.parts[0].store.open.insert(10);
        world.assign(0);
        assert!(world.decide(0, b'a', decision));
        world.push_all(0);
        world.load(0, b'a', 4);
        world.commit(0);
        assert_eq!(world.running(0), [10], "{decision:?}");
        world.answer(0, 10, done(1));
        if decision == Decision::DeadLetter {
            world.load(0, b'a', 4);
            world.commit(0);
            world.published(0, b'a', Published::Done);
        }
        world.commit(0);
        let chain = world.parts[0].model.chain(b'a');
        let chain: Vec<u64> = chain.map(|row| row.position).collect();
        assert_eq!(chain, [30, 40], "{decision:?}");
        world.heal();
    }
}

#[test]
fn g3_a_decision_on_a_kept_chain_is_not_on_what_joins_its_front() {
    for decision in [Decision::Skip, Decision::DeadLetter] {
        let mut world = World::with_log(one_try(Then::Park), b"aaaa");
        world.answer(0, 10, done(1));
        world.answer(0, 20, reject());
        (0..3).for_each(|_| world.commit(0));
        world.revoke(0);
        // An operator's rewind to the beginning that keeps what stands, and its positions settled.
        world.parts[0].store.resume = partitions::Resume::Beginning;
        world.parts[0].store.open.insert(10);
        world.assign(0);
        assert!(world.decide(0, b'a', decision));
        world.push_all(0);
        world.load(0, b'a', 4);
        world.answer(0, 10, reject());
        world.commit(0);
        world.load(0, b'a', 4);
        (0..3).for_each(|_| world.commit(0));
        let chain = world.parts[0].model.chain(b'a');
        let chain: Vec<u64> = chain.map(|row| row.position).collect();
        assert_eq!(chain, [10, 20, 30, 40], "{decision:?}");
        world.heal();
    }
}

#[test]
fn a_stopped_head_that_the_checkpoint_went_by_can_still_be_skipped() {
    let mut world = World::with_log(one_try(Then::Stop), b"ab");
    world.answer(0, 10, done(1));
    world.answer(0, 20, reject());
    world.commit(0);
    assert_eq!(
        world.parts[0].store.settled_to,
        Some(10),
        "20 is not among the open ones"
    );
    world.crash();
    world.pass_over(0, 1);
    world.commit(0);
    world.crash();
    assert!(
        !world.decide(0, b'b', Decision::Retry),
        "there is nothing to try"
    );
    assert!(world.decide(0, b'b', Decision::Skip));
    world.commit(0);
    assert!(world.parts[0].store.items.is_empty());
}

#[test]
fn a_record_before_a_condemned_head_needs_a_verdict_of_its_own() {
    let mut world = World::with_log(one_try(Then::DeadLetter), b"aa");
    world.answer(0, 10, done(1));
    world.answer(0, 20, reject());
    world.commit(0);
    world.revoke(0);
    // An operator's rewind that keeps what stands.
    world.parts[0].store.resume = partitions::Resume::Beginning;
    world.parts[0].store.settled_to = None;
    world.assign(0);
    world.push_all(0);
    world.answer(0, 10, reject());
    world.commit(0);
    assert!(
        world.lane(0, b'a').publishing.is_none(),
        "10 stopped the lane, and is not published"
    );
    assert_eq!(world.lane(0, b'a').mode, Mode::Stopped);
    assert_eq!(world.lane(0, b'a').head, Some(10));
}

#[test]
fn g10_a_decided_head_takes_no_memory_before_the_source_is_there() {
    let mut world = World::with_log(one_try(Then::Park), b"baaa");
    world.answer(0, 20, reject());
    (0..3).for_each(|_| world.commit(0));
    world.crash();
    assert!(world.decide(0, b'a', Decision::DeadLetter));
    assert!(
        world.lane(0, b'a').loading.is_none(),
        "it could fill the share that record 10 needs, or another chain"
    );
    world.push_all(0);
    assert!(world.lane(0, b'a').loading.is_some());
    restarted(world, Mode::Parked);
}

#[test]
fn g10_a_running_chain_takes_no_memory_before_the_source_is_there() {
    let mut world = World::with_log(one_try(Then::Park), b"baaa");
    world.answer(0, 20, reject());
    (0..3).for_each(|_| world.commit(0));
    assert!(world.decide(0, b'a', Decision::Release));
    world.commit(0);
    world.crash();
    assert!(
        world.lane(0, b'a').loading.is_none(),
        "its records could fill the share that record 10 needs"
    );
    world.push_all(0);
    assert!(world.lane(0, b'a').loading.is_some());
    restarted(world, Mode::Releasing);
}
