//! G5 exact checkpoint, G6 fencing, G7 no loss, G8 bounded repeats.

use crate::support::{End, Rec, Stage, World, done, effects, limits, reject};
use partitions::{Action, Answer, Change, CommitEnd, Decision, Pushed, Rest, Resume, Then};
use std::time::Duration;

fn open(world: &World) -> Vec<u64> {
    world.parts[0].store.open.iter().copied().collect()
}

#[test]
fn g5_a_checkpoint_covers_exactly_what_is_settled() {
    let mut world = World::with_log(limits(Then::Stop), b"abcdef");
    for (position, resume, settled_to, left) in [
        (30, Resume::Beginning, Some(30), &[10, 20][..]),
        (60, Resume::Beginning, Some(60), &[10, 20, 40, 50]),
        (10, Resume::After(10), Some(60), &[20, 40, 50]),
        (20, Resume::After(30), Some(60), &[40, 50]),
        (50, Resume::After(30), Some(60), &[40]),
        (40, Resume::After(60), Some(60), &[]),
    ] {
        world.answer(0, position, done(1));
        world.commit(0);
        let store = &world.parts[0].store;
        assert_eq!(
            (&store.resume, store.settled_to, &open(&world)[..]),
            (&resume, settled_to, left)
        );
    }
}

#[test]
fn g5_a_commit_says_what_was_settled_when_it_began() {
    let mut world = World::with_log(limits(Then::Stop), b"ab");
    world.answer(0, 10, done(1));
    world.begin(0, &[]);
    world.answer(0, 20, done(1));
    world.end(0, &End::Durable);
    assert_eq!(world.parts[0].store.resume, Resume::After(10));
    world.crash();
    world.push_all(0);
    assert_eq!(world.running(0), [20]);
}

#[test]
fn g5_what_was_passed_over_is_settled() {
    let mut world = World::new(limits(Then::Stop), &[b"abcd"]);
    world.push(0);
    world.pass_over(0, 2);
    world.commit(0);
    let store = &world.parts[0].store;
    assert_eq!((store.settled_to, open(&world)), (Some(30), vec![10]));
    world.answer(0, 10, done(1));
    world.commit(0);
    assert_eq!(world.parts[0].store.resume, Resume::After(30));
    world.pass_over(0, 1);
    world.commit(0);
    assert_eq!(
        world.parts[0].store.resume,
        Resume::After(40),
        "a tail without records moves it too"
    );
}

#[test]
fn g5_open_positions_that_never_come_stay_open_until_settled_by_name() {
    let mut world = World::with_log(limits(Then::Stop), b"abcde");
    world.answer(0, 30, done(1));
    world.answer(0, 50, done(1));
    world.commit(0);
    world.crash();
    world.push_after(0, 1);
    let id = world.parts[0].id.expect("assigned");
    assert_eq!(world.engine.gone(id).copied().collect::<Vec<_>>(), [10]);
    world.push_all(0);
    world.pass_over(0, 1);
    world.answer(0, 20, done(1));
    world.answer(0, 40, done(1));
    world.commit(0);
    assert_eq!(open(&world), [10], "gone is not settled");
    assert_eq!(world.engine.settled(id), Some(Resume::Beginning));
    world.settle_gone(0);
    world.commit(0);
    assert_eq!(world.parts[0].store.resume, Resume::After(50));
    assert_eq!(world.engine.gone(id).count(), 0);
}

/// Record 10 of `a` stopped its lane, and the source has it no more.
fn stopped_head_is_gone() -> World {
    let mut world = World::with_log(limits(Then::Stop), b"aab");
    world.answer(0, 10, reject());
    world.answer(0, 30, done(1));
    world.commit(0);
    world.crash();
    world.push_after(0, 1);
    world.push_all(0);
    assert!(world.running(0).is_empty(), "its successor does not start");
    world
}

#[test]
fn g7_a_copy_of_a_stopped_head_that_is_gone_runs_in_its_place() {
    let mut world = stopped_head_is_gone();
    world.recover(0);
    assert_eq!(open(&world), [10, 20]);
    assert!(world.decide(0, b'a', Decision::Retry));
    world.commit(0);
    assert_eq!(world.running(0), [10]);
    world.answer(0, 10, done(1));
    assert_eq!(world.running(0), [20]);
    world.heal();
}

#[test]
fn g10_a_decision_on_a_head_that_is_gone_is_declined_once_that_is_certain() {
    let mut world = stopped_head_is_gone();
    let id = world.parts[0].id.expect("assigned");
    let key = crate::support::key_of(b'a');
    assert!(
        world.engine.decide(id, &key, Decision::Retry),
        "there may be a copy"
    );
    world.settle_gone(0);
    let declined = |action: &Action| matches!(action, Action::Declined { .. });
    assert!(world.actions.iter().any(declined));
    assert!(world.decide(0, b'a', Decision::Skip));
    world.commit(0);
    assert_eq!(world.running(0), [20]);
    world.heal();
}

#[test]
fn g5_a_stopped_head_that_is_gone_keeps_its_lane_stopped_and_may_be_skipped() {
    let mut world = stopped_head_is_gone();
    world.settle_gone(0);
    let id = world.parts[0].id.expect("assigned");
    let key = crate::support::key_of(b'a');
    assert!(
        !world.engine.decide(id, &key, Decision::Retry),
        "there is nothing to try"
    );
    assert!(world.decide(0, b'a', Decision::Skip));
    world.commit(0);
    assert_eq!(world.running(0), [20]);
    world.heal();
}

#[test]
fn g5_a_skipped_head_that_is_gone_and_had_no_place_is_settled() {
    let mut world = World::with_log(limits(Then::Stop), b"aab");
    world.answer(0, 10, reject());
    world.commit(0);
    world.crash();
    world.push_after(0, 1);
    world.push_all(0);
    assert!(world.decide(0, b'a', Decision::Skip));
    world.commit(0);
    assert_eq!(
        world.parts[0].store.resume,
        Resume::After(10),
        "by the commit that skips it"
    );
    world.heal();
}

#[test]
fn g5_records_come_in_order_or_the_partition_halts() {
    let mut world = World::with_log(limits(Then::Stop), b"abc");
    world.answer(0, 10, done(1));
    let id = world.parts[0].id.expect("assigned");
    assert_eq!(
        world.engine.push(id, Rec::new(20, b'b', 10), 0),
        Pushed::Duplicate
    );
    assert_eq!(
        world.engine.push(id, Rec::new(15, b'x', 10), 0),
        Pushed::NotInOrder
    );
    world.parts[0].halted = true;
    world.answer(
        0,
        20,
        Answer {
            rest: Rest::Untried,
            ..done(0)
        },
    );
    world.tick(1_000);
    assert_eq!(world.running(0), [30], "what runs ends, nothing starts");
    world.answer(0, 30, done(1));
    world.commit(0);
    assert_eq!(open(&world), [20]);
    world.heal();
}

#[test]
fn g5_at_is_the_position_after_the_settled_ones() {
    let mut world = World::new(limits(Then::Stop), &[b"abc"]);
    world.revoke(0);
    world.parts[0].store.resume = Resume::At(20);
    world.assign(0);
    let id = world.parts[0].id.expect("assigned");
    assert_eq!(
        world.engine.push(id, Rec::new(10, b'a', 10), 0),
        Pushed::AlreadySettled
    );
    world.push_all(0);
    assert_eq!(world.running(0), [20, 30]);
    world.commit(0);
    assert_eq!(world.parts[0].store.resume, Resume::At(20));
}

#[test]
fn g6_a_late_answer_moves_no_checkpoint() {
    let mut world = World::with_log(limits(Then::Stop), b"ab");
    world.revoke(0);
    world.assign(0);
    world.push_all(0);
    world.complete(0, done(1));
    world.commit(0);
    assert_eq!(world.parts[0].store.settled_to, None);
    world.complete(0, effects(1));
    world.commit(0);
    assert!(world.parts[0].store.effects.is_empty());
}

#[test]
fn g6_a_ticket_acts_once() {
    let mut world = World::with_log(limits(Then::Stop), b"ab");
    let stale = world.tries[0].ticket;
    world.answer(0, 10, done(1));
    world.answer(0, 20, done(1));
    world.revoke(0);
    world.assign(0);
    assert_eq!(
        world.engine.records(stale).len(),
        0,
        "a stale ticket lends nothing"
    );
    world.engine.complete(stale, done(1));
    world.turn();
    world.commit(0);
    assert_eq!(world.parts[0].store.settled_to, None);
}

#[test]
fn g6_a_fenced_partition_is_dropped() {
    let mut world = World::with_log(limits(Then::Stop), b"aab");
    let id = world.parts[0].id.expect("assigned");
    world.answer(0, 10, effects(1));
    let change = world.pending(0)[0].0;
    world.begin(0, &world.pending(0));
    world.end(0, &End::Fenced);
    assert_eq!(
        world.engine.push(id, Rec::new(90, b'z', 10), 0),
        Pushed::NotAssigned
    );
    assert_eq!(world.engine.figures(id), None);
    assert_eq!(world.engine.settled(id), None);
    assert_eq!(world.engine.records(change).len(), 0);
    assert_eq!(
        world.engine.in_flight(),
        1,
        "a try that is out keeps its slot"
    );
    world.tick(1_000);
    assert_eq!(world.started.len(), 2, "nothing starts any more");
    world.heal();
}

#[test]
fn g6_a_held_partition_starts_nothing() {
    let mut world = World::new(limits(Then::Stop), &[b"aab", b"a"]);
    world.hold(0, true);
    world.push_all(0);
    world.push_all(1);
    assert!(world.running(0).is_empty());
    assert_eq!(world.running(1), [10], "the other partition goes on");
    world.hold(0, false);
    assert_eq!(world.running(0), [10, 30]);
}

#[test]
fn g7_nothing_but_done_passes() {
    let after = Duration::ZERO;
    let rests = [
        Rest::Nothing,
        Rest::Retry { after },
        Rest::Reject,
        Rest::Unattributed,
        Rest::Untried,
        Rest::Target { after },
    ];
    for rest in rests {
        for then in [Then::Stop, Then::Park, Then::DeadLetter] {
            let mut world = World::with_log(limits(then), b"a");
            world.answer(0, 10, Answer { rest, ..done(0) });
            assert_ne!(world.stage(0, 10), Stage::Passed);
            world.begin(0, &[]);
            world.end(0, &End::Durable);
            assert!(!world.parts[0].store.covers(10), "{rest:?} {then:?}");
        }
    }
}

#[test]
fn g7_no_change_settles_anything_before_the_store_has_it() {
    for then in [Then::Stop, Then::Park, Then::DeadLetter] {
        let mut world = World::with_log(limits(then), b"ab");
        world.answer(0, 10, reject());
        world.answer(0, 20, effects(1));
        assert_eq!(world.pending(0).len(), 2);
        world.begin(0, &world.pending(0));
        world.end(0, &End::NotWritten);
        world.begin(0, &[]);
        world.end(0, &End::Durable);
        assert_eq!(
            (
                &world.parts[0].store.resume,
                world.parts[0].store.settled_to
            ),
            (&Resume::Beginning, None),
            "{then:?}"
        );
        world.crash();
        world.push_all(0);
        assert_eq!(world.running(0), [10, 20], "{then:?}: both run again");
    }
}

#[test]
fn g8_a_partition_starts_nothing_at_its_bound_of_unflushed_records() {
    let mut limits = limits(Then::Stop);
    (limits.unflushed_max, limits.run_max) = (3, 2);
    let mut world = World::new(limits, &[b"aaaabbbb", b"a"]);
    world.hold(0, true);
    world.push_all(0);
    world.push_all(1);
    world.hold(0, false);
    assert_eq!(
        world
            .started
            .iter()
            .filter(|one| one.0 == 0)
            .map(|one| one.1.len())
            .sum::<usize>(),
        3,
        "a run is shortened to fit"
    );
    while let Some(position) = world.running(0).first() {
        world.answer(0, *position, done(2));
    }
    assert_eq!(world.parts[0].model.repeats(), 3);
    world.answer(1, 10, done(1));
    world.commit(1);
    assert!(
        world.running(0).is_empty(),
        "another partition's commit is none of its own"
    );
    world.begin(0, &[]);
    world.end(0, &End::NotWritten);
    assert!(world.running(0).is_empty());
    world.commit(0);
    assert_eq!(world.running(0).len(), 2);
    world.heal();
}

#[test]
fn g8_answers_with_effects_count_until_they_are_durable() {
    let mut limits = limits(Then::Stop);
    limits.unflushed_max = 2;
    let mut world = World::with_log(limits, b"abcd");
    world.answer(0, 10, effects(1));
    world.answer(0, 20, effects(1));
    assert!(
        world.running(0).is_empty(),
        "a crash now would run both again"
    );
    world.commit(0);
    assert_eq!(world.running(0), [30, 40]);
}

#[test]
fn g8_after_a_clean_stop_nothing_runs_again() {
    let mut world = World::with_log(limits(Then::Stop), b"aabbcc");
    world.answer(0, 10, done(1));
    world.answer(0, 30, effects(1));
    world.drain(0);
    assert!(!world.parts[0].drained);
    for position in [20, 50] {
        world.answer(0, position, done(1));
    }
    assert_eq!(
        world.started.len(),
        4,
        "a draining partition starts nothing"
    );
    assert!(!world.parts[0].drained, "effects are not durable");
    world.commit(0);
    assert!(world.parts[0].drained);
    let done_before = world.started.clone();
    world.crash();
    world.push_all(0);
    for again in &world.started[done_before.len()..] {
        assert!(!done_before.contains(again), "{again:?} ran twice");
    }
    assert_eq!(world.running(0), [40, 60]);
}

#[test]
fn g8_committed_effects_never_repeat() {
    let mut world = World::with_log(limits(Then::Stop), b"ab");
    world.answer(0, 10, effects(1));
    let with = world.pending(0);
    assert_eq!(
        world.lane(0, b'a').persist.as_ref().map(|out| out.1),
        Some(Change::Effects)
    );
    world.begin(0, &with);
    world.end(0, &End::Durable);
    world.crash();
    world.push_all(0);
    assert_eq!(world.running(0), [20]);
    world.heal();
    assert_eq!(world.parts[0].store.effects.get(&10), Some(&1));
}

#[test]
fn g8_a_commit_that_is_not_written_leaves_its_changes_out() {
    let mut world = World::with_log(limits(Then::Stop), b"a");
    world.answer(0, 10, effects(1));
    let id = world.parts[0].id.expect("assigned");
    let with = world.pending(0);
    for _ in 0..3 {
        world.begin(0, &with);
        world.end(0, &End::NotWritten);
        assert_eq!(
            world.engine.records(with[0].0).len(),
            1,
            "it is offered again"
        );
    }
    let _ = world.engine.begin_commit(id, &[with[0].0]).settled_to;
    world.engine.end_commit(id, CommitEnd::Durable);
    assert_eq!(world.engine.settled(id), Some(Resume::After(10)));
}
