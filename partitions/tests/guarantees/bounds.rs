//! G9 bounded memory, G10 progress.

use crate::support::{Mode, ROOM, Rec, World, done, limits, reject, retry};
use partitions::{Action, Assignment, Engine, Pushed, Resume, Then};

fn paused(world: &World) -> bool {
    world.parts[0].paused
}

#[test]
fn g9_a_partition_is_paused_at_its_share_and_resumed_below_three_quarters() {
    let mut limits = limits(Then::Stop);
    limits.partition_bytes_max = 40;
    let mut world = World::new(limits, &[b"abcdef", b"a"]);
    for _ in 0..3 {
        assert_eq!(world.push(0), Some(Pushed::Accepted));
        assert!(!paused(&world));
    }
    assert_eq!(world.push(0), Some(Pushed::Accepted));
    assert!(paused(&world), "40 of 40 bytes");
    assert!(
        !world.parts[1].paused,
        "no partition takes another one's share"
    );
    world.answer(0, 10, done(1));
    assert!(paused(&world), "30 bytes are not below three quarters");
    world.answer(0, 30, done(1));
    assert!(
        !paused(&world),
        "settled records are given back, durable or not"
    );
}

#[test]
fn g9_a_partition_is_paused_at_its_count_of_records() {
    let mut limits = limits(Then::Stop);
    limits.records_max = 2;
    let mut world = World::new(limits, &[b"abc"]);
    world.push(0);
    assert!(!paused(&world));
    world.push(0);
    assert!(paused(&world));
    world.answer(0, 20, done(1));
    assert!(!paused(&world));
}

#[test]
fn what_waits_for_a_slot_alone_is_runnable() {
    let mut limits = limits(Then::Stop);
    limits.cap = 1;
    let mut world = World::new(limits, &[b"ab"]);
    let runnable = |world: &World| {
        let id = world.parts[0].id.expect("assigned");
        world.engine.figures(id).expect("figures").runnable
    };
    world.push(0);
    assert!(!runnable(&world), "its only record runs");
    world.push(0);
    assert!(runnable(&world), "the other one needs its slot");
    let id = world.parts[0].id.expect("assigned");
    world.engine.hold(id, true);
    assert!(!runnable(&world), "it is held");
    world.engine.hold(id, false);
    world.answer(0, 10, done(1));
    assert!(!runnable(&world), "it has the slot");
}

#[test]
fn g9_one_oversized_record_is_taken_alone() {
    let mut limits = limits(Then::Stop);
    limits.partition_bytes_max = 100;
    let mut world = World::new(limits, &[b"ab"]);
    world.parts[0].model.rows[0].weight = 5_000;
    assert_eq!(world.push(0), Some(Pushed::Accepted));
    assert!(paused(&world));
    assert_eq!(world.running(0), [10]);
    world.answer(0, 10, done(1));
    assert!(!paused(&world));
}

#[test]
fn g9_intake_is_held_by_name() {
    let mut world = World::new(limits(Then::Stop), &[b"ab"]);
    world.hold_intake(0, true);
    assert!(paused(&world));
    world.push(0);
    assert_eq!(world.running(0), [10], "what has come is worked on");
    world.answer(0, 10, done(1));
    assert!(paused(&world));
    world.hold_intake(0, false);
    assert!(!paused(&world));
}

#[test]
fn g9_a_starved_partition_is_paused_once_it_gives_no_memory_back() {
    let mut world = World::new(limits(Then::Stop), &[b"abaa"]);
    world.push(0);
    world.push(0);
    world.starve(0, true);
    assert!(!paused(&world), "what runs may give memory back");
    world.answer(0, 10, reject());
    world.commit(0);
    world.answer(0, 20, done(1));
    assert!(!paused(&world), "so may a commit");
    world.commit(0);
    assert!(paused(&world), "what is left is held");
    assert!(world.engine.is_idle());
    world.starve(0, false);
    assert!(!paused(&world));
    world.push(0);
    world.starve(0, true);
    assert!(paused(&world), "it rests already");
}

#[test]
fn g9_a_starved_partition_whose_lanes_wait_is_paused_and_not_idle() {
    let mut limits = limits(Then::Stop);
    limits.failure.attempts_max = 2;
    let mut world = World::new(limits, &[b"ab"]);
    world.push(0);
    world.answer(0, 10, retry());
    world.starve(0, true);
    assert!(paused(&world));
    assert!(!world.engine.is_idle(), "its time comes");
    world.tick(100);
    world.answer(0, 10, done(1));
    world.commit(0);
    assert!(paused(&world), "until the shell says that there is room");
    world.starve(0, false);
    assert!(!paused(&world));
}

#[test]
fn g10_an_intake_that_is_let_go_resumes_unless_the_share_was_reached() {
    let mut limits = limits(Then::Stop);
    limits.partition_bytes_max = 40;
    let mut world = World::new(limits, &[b"abcdef"]);
    for _ in 0..3 {
        world.push(0);
    }
    world.hold_intake(0, true);
    world.hold_intake(0, false);
    assert!(
        !paused(&world),
        "three quarters are used, and never were all"
    );
    world.push(0);
    world.hold_intake(0, true);
    world.answer(0, 10, done(1));
    world.hold_intake(0, false);
    assert!(
        paused(&world),
        "it was full, and is not below three quarters"
    );
}

#[test]
fn g9_the_share_follows_its_setting() {
    let mut world = World::with_log(limits(Then::Stop), b"ab");
    assert!(!paused(&world));
    world.limits.partition_bytes_max = 10;
    world.engine.set_partition_bytes_max(10);
    world.turn();
    assert!(paused(&world));
}

#[test]
fn g9_a_stopped_lane_pauses_its_own_partition_only() {
    let mut limits = limits(Then::Stop);
    limits.records_max = 3;
    let mut world = World::new(limits, &[b"aaaa", b"aaaa"]);
    world.push(0);
    world.answer(0, 10, reject());
    world.commit(0);
    world.push(0);
    world.push(0);
    assert!(paused(&world), "its held records fill the share");
    world.push(1);
    assert!(!world.parts[1].paused);
    assert_eq!(world.running(1), [10]);
}

#[test]
fn g9_a_record_that_stays_long_owns_its_bytes() {
    let mut limits = limits(Then::Stop);
    limits.failure.attempts_max = 2;
    let mut world = World::with_log(limits, b"ab");
    world.answer(0, 10, retry());
    world.tick(100);
    world.answer(0, 10, retry());
    world.commit(0);
    assert_eq!(
        detached(&world),
        [1, 0],
        "once for the stuck one, never for the one that runs"
    );
}

/// How often each open record has come to own its bytes.
fn detached(world: &World) -> Vec<u8> {
    let id = world.parts[0].id;
    let open = id.into_iter().flat_map(|id| world.engine.open(id));
    open.map(|record| record.detached).collect()
}

#[test]
fn g9_a_record_that_found_no_memory_of_its_own_looks_again_once_the_source_finds_none() {
    let mut world = World::with_log(limits(Then::Stop), b"aaab");
    ROOM.set(0);
    world.answer(0, 10, reject());
    world.commit(0);
    assert_eq!(detached(&world), [0, 0, 0, 0]);
    world.starve(0, true);
    assert_eq!(detached(&world), [0, 0, 0, 0], "there is still none");
    world.starve(0, false);
    ROOM.set(2);
    world.starve(0, true);
    assert_eq!(detached(&world), [1, 1, 0, 0], "as far as it goes");
    ROOM.set(2);
    assert!(!paused(&world), "the last one runs");
    world.answer(0, 40, done(1));
    world.commit(0);
    assert!(paused(&world));
    assert_eq!(
        detached(&world),
        [1, 1, 1],
        "before its partition is paused"
    );
    assert_eq!(ROOM.replace(u32::MAX), 1, "and each once");
}

#[test]
fn g9_a_record_that_waits_looks_again_for_memory_of_its_own() {
    let mut world = World::with_log(limits(Then::Stop), b"aab");
    ROOM.set(0);
    world.answer(0, 10, retry());
    ROOM.set(u32::MAX);
    world.starve(0, true);
    assert_eq!(
        detached(&world),
        [1, 0, 0],
        "alone: what is behind it runs soon"
    );
}

fn assigned(engine: &mut Engine<Rec>) -> partitions::PartitionId {
    engine.assign(Assignment {
        identity: 1,
        resume: Resume::Beginning,
        settled_to: None,
        open: &mut std::iter::empty(),
        held: &mut std::iter::empty(),
    })
}

#[test]
fn g9_five_million_done_above_one_stuck_record_cost_nothing() {
    let mut engine: Engine<Rec> = Engine::new(limits(Then::Stop));
    let id = assigned(&mut engine);
    let mut stuck = None;
    for position in 0..5_000_000_u64 {
        let name = if position == 0 { b'a' } else { b'b' };
        assert_eq!(
            engine.push(id, Rec::new(position, name, 10), 0),
            Pushed::Accepted
        );
        while let Some(action) = engine.poll() {
            if let Action::Start { ticket, .. } = action {
                match stuck {
                    None => stuck = Some(ticket),
                    Some(_) => engine.complete(ticket, done(1)),
                }
            }
        }
        if position % 500 == 499 {
            let snapshot = engine.begin_commit(id, &[]);
            assert_eq!(snapshot.resume, Resume::Beginning);
            assert_eq!(snapshot.settled_to, Some(position));
            assert!(
                snapshot.open().eq([&0]),
                "the open set is bounded by what is open"
            );
            engine.end_commit(id, partitions::CommitEnd::Durable);
        }
    }
    let figures = engine.figures(id).expect("figures");
    assert_eq!(
        (figures.buffered, figures.bytes, figures.in_flight),
        (1, 10, 1)
    );
    engine.complete(stuck.expect("the first start"), done(1));
    while engine.poll().is_some() {}
    assert_eq!(engine.settled(id), Some(Resume::After(4_999_999)));
    assert!(engine.is_idle());
}

#[test]
fn g9_a_lane_is_forgotten_when_it_is_empty() {
    let mut world = World::with_log(limits(Then::Stop), b"ab");
    world.answer(0, 20, reject());
    let persist = |action: &Action| match *action {
        Action::Persist { lane, .. } => Some(lane),
        Action::Start { .. }
        | Action::Publish { .. }
        | Action::LoadChain { .. }
        | Action::Stopped { .. }
        | Action::Declined { .. }
        | Action::Gone(_)
        | Action::Pause(_)
        | Action::Resume(_)
        | Action::Drained(_) => None,
    };
    let lane = world.actions.iter().find_map(persist);
    let lane = lane.expect("the stop of b");
    assert!(world.engine.lane_key(lane).is_some());
    world.commit(0);
    world.decide(0, b'b', partitions::Decision::Skip);
    world.commit(0);
    assert_eq!(world.lane(0, b'b').mode, Mode::Live);
    assert_eq!(
        world.engine.lane_key(lane),
        None,
        "an idle key has no state"
    );
}

#[test]
fn g10_once_faults_end_all_passes_or_stands_by_name() {
    let mut world = World::new(limits(Then::Stop), &[b"abcabc", b"aabb"]);
    world.push_all(0);
    world.push_all(1);
    world.answer(0, 10, reject());
    world.answer(0, 20, retry());
    world.answer(1, 10, retry());
    world.revoke(1);
    world.heal();
    assert!(world.engine.is_idle());
}

#[test]
fn g10_the_engine_says_when_it_must_be_asked_again() {
    let mut world = World::with_log(limits(Then::Stop), b"ab");
    assert_eq!(world.engine.wake_at(), None, "nothing waits");
    assert!(!world.engine.is_idle(), "two tries are out");
    world.answer(0, 10, retry());
    world.answer(0, 20, done(1));
    let (at, _) = world
        .engine
        .wake_at()
        .expect("a lane waits, or it has started");
    assert!(at <= partitions::Time(std::time::Duration::from_millis(10)));
    world.tick(10);
    assert_eq!(world.running(0), [10]);
    world.answer(0, 10, done(1));
    assert_eq!(world.engine.wake_at(), None);
    assert!(world.engine.is_idle());
}

#[test]
fn g9_chains_are_loaded_one_by_one_where_memory_is_short() {
    let mut limits = limits(Then::Park);
    limits.failure.attempts_max = 1;
    limits.append_bytes_max = 20;
    let loads = |bytes: u64| {
        let mut world = World::new(limits.clone(), &[b"abcabc"]);
        world.push_all(0);
        for position in [10, 20, 30] {
            world.answer(0, position, reject());
        }
        (0..6).for_each(|_| world.commit(0));
        world.limits.partition_bytes_max = bytes;
        world.engine.set_partition_bytes_max(bytes);
        for key in *b"abc" {
            assert!(world.decide(0, key, partitions::Decision::Release));
        }
        let asked = |world: &World, key| world.lane(0, key).loading.is_some();
        let asked = b"abc".iter().filter(|key| asked(&world, **key)).count();
        world.heal();
        asked
    };
    assert_eq!(loads(10_000), 3);
    assert_eq!(loads(20), 1, "the others wait, and get their turn");
}
