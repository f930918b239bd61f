//! Park, append, release and cut.

use crate::support::{End, Mode, Stage, World, done, effects, limits, reject, retry};
use partitions::{Action, Answer, Change, Decision, Limits, Published, Then};

fn park() -> Limits {
    let mut limits = limits(Then::Park);
    limits.failure.attempts_max = 1;
    limits
}

/// A lane `a` whose whole log is in its chain.
fn parked(limits: Limits, log: &[u8]) -> World {
    let mut world = World::with_log(limits, log);
    world.answer(0, 10, reject());
    for _ in 0..log.len() {
        world.commit(0);
    }
    assert_eq!(world.lane(0, b'a').mode, Mode::Parked);
    world
}

fn changes(world: &World, wanted: Change) -> usize {
    let persists = world
        .actions
        .iter()
        .filter(|action| matches!(action, Action::Persist { change, .. } if *change == wanted));
    persists.count()
}

fn chain(world: &World) -> Vec<u64> {
    world.parts[0]
        .model
        .chain(b'a')
        .map(|row| row.position)
        .collect()
}

#[test]
fn g7_a_record_is_parked_only_on_the_stores_answer() {
    let mut world = World::with_log(park(), b"ab");
    world.answer(0, 10, reject());
    world.answer(0, 20, done(1));
    let id = world.parts[0].id.expect("assigned");
    assert_eq!(
        world.engine.settled(id),
        Some(partitions::Resume::Beginning),
        "asking settles nothing"
    );
    world.begin(0, &[]);
    world.end(0, &End::Durable);
    assert!(
        !world.parts[0].store.covers(10),
        "nor does a commit without it"
    );
    world.begin(0, &world.pending(0));
    world.end(0, &End::NotWritten);
    assert!(
        !world.parts[0].store.covers(10),
        "nor one that was not written"
    );
    world.begin(0, &world.pending(0));
    assert_eq!(
        world.engine.settled(id),
        Some(partitions::Resume::Beginning),
        "nor one that is under way"
    );
    world.end(0, &End::Durable);
    assert!(world.parts[0].store.covers(10));
    assert_eq!(
        world.engine.settled(id),
        Some(partitions::Resume::After(20))
    );
}

#[test]
fn g1_arrivals_of_a_parked_lane_join_its_chain_and_never_start() {
    let mut world = parked(park(), b"abaa");
    assert_eq!(chain(&world), [10, 30, 40]);
    world.tick(60_000);
    assert_eq!(world.running(0), [20]);
    assert_eq!(
        world.parts[0]
            .store
            .open
            .iter()
            .copied()
            .collect::<Vec<_>>(),
        [20]
    );
}

#[test]
fn appends_are_coalesced_and_bounded() {
    let mut limits = park();
    limits.append_records_max = 3;
    let mut world = World::new(limits, &[b"aaaaaaaaa"]);
    world.push(0);
    world.answer(0, 10, reject());
    world.commit(0);
    world.push(0);
    world.push_all(0);
    assert_eq!(changes(&world, Change::Append), 1, "one at a time");
    for _ in 0..8 {
        world.commit(0);
    }
    let appends = changes(&world, Change::Append);
    assert_eq!(appends, 4, "20 alone, then the seven that waited by threes");
    assert_eq!(chain(&world).len(), 9);
}

#[test]
fn an_append_is_bounded_by_bytes_and_one_larger_record_goes_alone() {
    let mut limits = park();
    limits.append_bytes_max = 25;
    let mut world = World::new(limits, &[b"aaaaa"]);
    world.parts[0].model.rows[3].weight = 1_000;
    world.push_all(0);
    world.answer(0, 10, reject());
    world.commit(0);
    let mut lent = Vec::new();
    while let Some((_, Change::Append, rows)) = world.lane(0, b'a').persist.clone() {
        lent.push(rows);
        world.commit(0);
    }
    assert_eq!(lent, [vec![20, 30], vec![40], vec![50]]);
}

#[test]
fn a_full_chain_holds_its_arrivals_in_the_engine() {
    let mut limits = park();
    limits.park_records_max = 3;
    let mut world = parked(limits, b"aaaaaa");
    let kept = world.parts[0].store.open.len()
        + world.parts[0]
            .model
            .queue(b'a')
            .filter(|row| !row.chained)
            .count();
    assert!(kept > 0 && chain(&world).len() < 6, "{:?}", chain(&world));
    assert!(
        world.decide(0, b'a', Decision::Release),
        "release still works"
    );
    world.heal();
}

#[test]
fn g1_a_released_chain_runs_in_order_before_any_arrival() {
    let mut world = parked(park(), b"aaaaaaa");
    world.started.clear();
    assert!(world.decide(0, b'a', Decision::Release));
    world.heal();
    let order: Vec<u64> = world
        .started
        .iter()
        .flat_map(|(_, rows)| rows.clone())
        .collect();
    assert_eq!(order, [10, 20, 30, 40, 50, 60, 70]);
    assert_eq!(
        (changes(&world, Change::Cut), changes(&world, Change::Live)),
        (1, 1)
    );
}

#[test]
fn a_long_release_takes_appends_until_its_cut() {
    let mut limits = park();
    limits.cut_at = 2;
    let mut world = World::new(limits, &[b"aaaaaaaa"]);
    (0..5).for_each(|_| assert!(world.push(0).is_some()));
    world.answer(0, 10, reject());
    for _ in 0..4 {
        world.commit(0);
    }
    assert_eq!(chain(&world).len(), 5);
    world.decide(0, b'a', Decision::Release);
    world.push(0);
    assert_eq!(changes(&world, Change::Cut), 0);
    world.commit(0);
    assert_eq!(
        chain(&world).len(),
        6,
        "an arrival is appended while many remain"
    );
    while changes(&world, Change::Cut) == 0 {
        world.load(0, b'a', 2);
        let next = world.running(0);
        world.answer(0, next[0], done(1));
    }
    assert_eq!(chain(&world).len(), 2, "cut_at");
    world.push(0);
    world.commit(0);
    assert_eq!(world.lane(0, b'a').mode, Mode::Draining);
    world.push_all(0);
    assert_eq!(
        chain(&world).len(),
        2,
        "behind the cut arrivals wait in the engine"
    );
    assert_eq!(world.stage(0, 80), Stage::Queued);
    world.heal();
}

#[test]
fn a_chain_record_that_fails_for_good_parks_again() {
    for (then, cut) in [
        (Then::Park, true),
        (Then::Stop, true),
        (Then::DeadLetter, false),
    ] {
        let mut world = parked(
            Limits {
                cut_at: if cut { 100 } else { 0 },
                ..park()
            },
            b"aaaa",
        );
        world.limits.failure.then = then;
        world.decide(0, b'a', Decision::Release);
        world.commit(0);
        world.load(0, b'a', 4);
        world.answer(0, 10, done(1));
        world.answer(0, 20, reject());
        assert!(world.running(0).is_empty());
        world.commit(0);
        assert_eq!(world.lane(0, b'a').mode, Mode::Parked, "{then:?}");
        assert_eq!(chain(&world), [20, 30, 40]);
        assert!(world.parts[0].store.covers(20), "it stays settled");
        world.heal();
    }
}

#[test]
fn what_waited_behind_a_cut_is_appended_when_the_chain_parks_again() {
    let mut world = World::new(
        Limits {
            cut_at: 100,
            ..park()
        },
        &[b"aaa"],
    );
    world.push(0);
    world.answer(0, 10, reject());
    world.commit(0);
    world.decide(0, b'a', Decision::Release);
    world.commit(0);
    world.push_all(0);
    world.load(0, b'a', 4);
    world.answer(0, 10, reject());
    world.commit(0);
    world.commit(0);
    assert_eq!(chain(&world), [10, 20, 30]);
    world.heal();
}

#[test]
fn effects_of_chain_records_open_the_lane_when_durable() {
    let mut world = parked(park(), b"aaa");
    world.decide(0, b'a', Decision::Release);
    world.commit(0);
    world.load(0, b'a', 4);
    world.answer(0, 10, effects(1));
    assert!(world.running(0).is_empty());
    world.commit(0);
    assert_eq!(world.running(0), [20]);
    assert_eq!(chain(&world), [20, 30]);
    world.heal();
    assert_eq!(world.parts[0].store.effects.len(), 1);
}

#[test]
fn skip_takes_the_head_of_a_chain_only() {
    let mut world = parked(park(), b"aaa");
    assert!(!world.decide(0, b'a', Decision::Park), "it is parked");
    for left in [&[20, 30][..], &[30], &[]] {
        assert!(world.decide(0, b'a', Decision::Skip));
        world.load(0, b'a', 2);
        world.commit(0);
        assert_eq!(chain(&world), left);
        world.load(0, b'a', 2);
    }
    assert_eq!(world.lane(0, b'a').mode, Mode::Live, "emptied");
    assert!(world.parts[0].store.items.is_empty());
    assert_eq!(world.started.len(), 1);
}

#[test]
fn dead_letter_takes_the_head_of_a_chain_only() {
    let mut world = parked(park(), b"aa");
    for left in [&[20][..], &[]] {
        assert!(world.decide(0, b'a', Decision::DeadLetter));
        world.load(0, b'a', 2);
        world.commit(0);
        world.published(0, b'a', Published::Done);
        world.commit(0);
        assert_eq!(chain(&world), left);
        world.load(0, b'a', 2);
    }
    assert_eq!(world.lane(0, b'a').mode, Mode::Live, "emptied");
    assert_eq!(world.started.len(), 1);
}

#[test]
fn a_parked_lane_holds_nothing_in_the_engine() {
    let world = parked(park(), b"aaaaaa");
    let id = world.parts[0].id.expect("assigned");
    let figures = world.engine.figures(id).expect("figures");
    assert_eq!((figures.buffered, figures.bytes), (0, 0));
    assert_eq!(world.engine.standing(id), (0, 1));
}

#[test]
fn a_full_releasing_chain_takes_arrivals_once_a_commit_made_room() {
    let limits = Limits {
        park_records_max: 3,
        cut_at: 0,
        unflushed_max: 2,
        ..park()
    };
    let mut world = parked(limits, b"aaaaaa");
    assert_eq!(chain(&world), [10, 20, 30]);
    assert!(world.decide(0, b'a', Decision::Release));
    world.load(0, b'a', 3);
    world.answer(0, 10, done(1));
    world.answer(0, 20, done(1));
    let appends = changes(&world, Change::Append);
    world.commit(0);
    assert_eq!(changes(&world, Change::Append), appends + 1);
    world.heal();
}

#[test]
fn arrivals_of_a_releasing_chain_are_appended_while_its_record_waits() {
    let mut world = World::new(
        Limits {
            cut_at: 1,
            ..limits(Then::Park)
        },
        &[b"aaaa"],
    );
    (0..3).for_each(|_| assert!(world.push(0).is_some()));
    world.answer(0, 10, reject());
    world.commit(0);
    world.commit(0);
    assert!(world.decide(0, b'a', Decision::Release));
    world.load(0, b'a', 3);
    world.answer(0, 10, retry());
    world.push(0);
    assert_eq!(
        world.lane(0, b'a').persist.as_ref().map(|out| out.1),
        Some(Change::Append)
    );
    world.heal();
}

#[test]
fn a_chain_is_cut_although_the_record_behind_the_last_passed_one_waits() {
    let limits = Limits {
        cut_at: 1,
        run_max: 2,
        ..limits(Then::Park)
    };
    let mut world = parked(limits, b"aa");
    assert!(world.decide(0, b'a', Decision::Release));
    world.load(0, b'a', 3);
    world.answer(0, 10, Answer { done: 1, ..retry() });
    assert_eq!(changes(&world, Change::Cut), 1);
    world.heal();
}
