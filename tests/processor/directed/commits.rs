//! G5: when a commit goes out, and what may start before it is durable.

use super::{
    deeds::{Act, Deed, End},
    world::{Seat, World, millis, refused, secs, settings, time_if},
};
use lanekeeper::{
    effect::Effect,
    handler::Failure,
    processor::Settings,
    store::{
        CommitBounds, LaneState, Verb,
        memory::{Call, Memory, Weather},
    },
};
use partitions::Then;
use std::time::Duration;

/// So rare that no commit of a test goes out for that alone.
fn rarely() -> Settings {
    Settings {
        flush_interval: secs(600),
        ..settings()
    }
}

/// The store takes so long for each commit.
fn slow(time: Duration) -> impl Fn(&Call<'_>) -> Weather {
    move |call| Weather {
        during: time_if(matches!(call, Call::Commit(_)), time),
        ..Weather::default()
    }
}

#[tokio::test(start_paused = true)]
async fn g5_a_commit_goes_out_at_the_flush_interval() {
    let world = World::new(|_| Act::done());
    world.append([(1, "a")]);
    let worker = world.start(Seat::new(
        1,
        Settings {
            flush_interval: secs(5),
            ..settings()
        },
    ));
    world.until("the first", |w| w.settled(1)).await;
    world.append([(2, "a")]);
    world.until("the second", |w| w.settled(2)).await;
    world.sleep(secs(30)).await;
    let at: Vec<u64> = world.commits().iter().map(|(at, _)| at.as_secs()).collect();
    assert_eq!(at, [5, 10], "one each interval, none where nothing changed");
    assert_eq!(world.acked(), [1, 2]);
    worker.drain().await;
    world.holds();
}

#[tokio::test(start_paused = true)]
async fn commits_that_cost_much_go_out_less_often() {
    for (units, expected) in [(64.0, [5, 10]), (128.0, [5, 15]), (1e6, [5, 85])] {
        let world = World::over(Memory::new("directed").with_write_units(units), |_| {
            Act::done()
        });
        world.append([(1, "a")]);
        let rules = Settings {
            flush_interval: secs(5),
            ..settings()
        };
        let worker = world.start(Seat::new(1, rules));
        world.until("the first", |w| w.settled(1)).await;
        world.append([(2, "a")]);
        world.until("the second", |w| w.settled(2)).await;
        let at: Vec<u64> = world.commits().iter().map(|(at, _)| at.as_secs()).collect();
        assert_eq!(at, expected, "{units} write units each");
        worker.drain().await;
        world.holds();
    }
}

#[tokio::test(start_paused = true)]
async fn g6_effects_that_the_store_takes_only_apart_go_one_commit_after_the_other() {
    let memory = Memory::new("directed").with_items_once();
    let world = World::over(memory, |_| {
        Act::ends(End::Done(vec![Effect::add("t", "shared", 1)])).takes(millis(10))
    });
    world.append([(1, "a"), (2, "b"), (3, "c"), (4, "d"), (5, "a")]);
    let worker = world.start(Seat::new(1, rarely()));
    world.until("all", |w| w.frontier() == Some(5)).await;
    let value = world.memory.snapshot().values;
    assert_eq!(value[&("t".to_owned(), "shared".to_owned())], 5);
    let commits = world.commits();
    let together = commits.iter().map(|(_, commit)| commit.effects.len()).max();
    assert!(together > Some(1), "tried together first: {commits:?}");
    assert_eq!(world.called().len(), 5, "nothing runs again");
    worker.drain().await;
    world.holds();
}

#[tokio::test(start_paused = true)]
async fn g5_no_commit_moves_more_chains_than_it_may_hold() {
    const LANES: u64 = 12;
    let bounds = CommitBounds {
        items: 4,
        bytes: 1 << 20,
        record_bytes: 1 << 16,
    };
    let memory = Memory::new("directed").with_bounds(bounds);
    let world = World::over(memory, |tried| match (tried.position, tried.nth) {
        (1..=LANES, 1) => Act::fails(Failure::reject("not yet")),
        _ => Act::done(),
    });
    let keys: Vec<String> = (0..LANES).map(|n| format!("k{n}")).collect();
    world.append((1..=LANES * 5).map(|n| (n, keys[(n % LANES) as usize].as_str())));
    let mut rules = settings();
    rules.failure.then = Then::Park;
    let worker = world.start(Seat::new(1, rules));
    let whole = |w: &World, key: &String| w.item(key).is_some_and(|item| item.count == 5);
    world
        .until("all chains", |w| keys.iter().all(|key| whole(w, key)))
        .await;
    for key in &keys {
        let item = world.item(key).expect("it is parked");
        world.decide(&item, Verb::Release).await.expect("decided");
    }
    world
        .until("their end", |w| {
            keys.iter().all(|key| w.item(key).is_none())
        })
        .await;
    let most = world.commits().iter().map(|(_, c)| c.lanes.len()).max();
    assert!(most <= Some(bounds.items), "{most:?} lanes in a commit");
    assert_eq!(world.calls().len() as u64, LANES * 6, "nothing runs again");
    worker.drain().await;
    world.holds();
}

#[tokio::test(start_paused = true)]
async fn g5_a_commit_goes_out_at_half_of_unflushed_max() {
    let world = World::new(|_| Act::done());
    let worker = world.start(Seat::new(
        1,
        Settings {
            unflushed_max: 10,
            ..rarely()
        },
    ));
    world.append((1..=4).map(|n| (n, "a")));
    world.sleep(secs(60)).await;
    assert_eq!(world.called(), [1, 2, 3, 4]);
    assert!(world.commits().is_empty(), "less than half is not enough");
    world.append([(5, "a")]);
    world.sleep(millis(100)).await;
    assert_eq!((world.commits().len(), world.frontier()), (1, Some(5)));
    worker.drain().await;
    world.holds();
}

#[tokio::test(start_paused = true)]
async fn g5_a_commit_goes_out_at_once_while_a_lane_waits_for_effects() {
    let world = World::new(|tried| match tried.position {
        1 => Act::ends(End::Done(vec![Effect::add("done", "1", 1)])),
        _ => Act::done(),
    });
    world.append([(1, "a"), (2, "a"), (3, "b")]);
    let worker = world.start(Seat::new(1, rarely()));
    worker.weather(slow(millis(300)));
    world.sleep(millis(200)).await;
    assert_eq!(world.commits().len(), 1, "it went out at once");
    assert_eq!(
        world.called(),
        [1, 3],
        "record 2 waits for effects before it"
    );
    world.sleep(millis(200)).await;
    assert_eq!(world.called(), [1, 3, 2]);
    assert!(world.calls_of(2)[0].at >= world.commits()[0].0 + millis(300));
    let value = world.memory.snapshot().values;
    assert_eq!(value[&("done".to_owned(), "1".to_owned())], 1);
    worker.drain().await;
    world.holds();
}

#[tokio::test(start_paused = true)]
async fn g5_a_commit_goes_out_at_once_while_a_lane_stops_or_parks() {
    for (then, state) in [
        (Then::Stop, LaneState::Stopped),
        (Then::Park, LaneState::Parked),
    ] {
        let world = World::new(|tried| match tried.position {
            1 => Act::fails(Failure::reject("never")),
            _ => Act::done(),
        });
        world.append([(1, "a"), (2, "a"), (3, "b")]);
        let mut rules = rarely();
        rules.failure.then = then;
        let worker = world.start(Seat::new(1, rules));
        world.sleep(millis(100)).await;
        let item = world.item("a").expect("its lane item is durable");
        assert_eq!((item.state, item.last_error.as_str()), (state, "never"));
        if then == Then::Park {
            assert_eq!((item.count, world.frontier()), (2, Some(3)));
        } else {
            assert!(world.settled(3) && !world.settled(1) && !world.settled(2));
        }
        assert_eq!(world.called(), [1, 3]);
        worker.drain().await;
        world.holds();
    }
}

#[tokio::test(start_paused = true)]
async fn g8_nothing_starts_beyond_unflushed_max_while_commits_are_out_of_reach() {
    let world = World::new(|_| Act::done().takes(millis(10)));
    let keys = ["a", "b", "c", "d", "e"];
    world.append((1..=200).map(|n| (n, keys[n as usize % keys.len()])));
    let worker = world.start(Seat::new(
        1,
        Settings {
            unflushed_max: 10,
            ..settings()
        },
    ));
    worker.weather(|call| {
        if matches!(call, Call::Commit(_)) {
            refused()
        } else {
            Weather::default()
        }
    });
    world.sleep(secs(60)).await;
    assert_eq!(world.calls().len(), 10, "as many as may run again");
    assert_eq!((world.frontier(), world.acked()), (None, Vec::new()));
    worker.weather(|_| Weather::default());
    world
        .until("all passed", |w| w.frontier() == Some(200))
        .await;
    assert_eq!(world.calls().len(), 200, "nothing ran twice");
    worker.drain().await;
    world.holds();
}

#[tokio::test(start_paused = true)]
async fn g8_a_crash_repeats_no_more_than_what_no_commit_covers() {
    let world = World::new(|_| Act::done().takes(millis(10)));
    world.append((1..=100).map(|n| (n, if n % 2 == 0 { "a" } else { "b" })));
    let rules = Settings {
        unflushed_max: 10,
        ..settings()
    };
    let worker = world.start(Seat::new(1, rules.clone()));
    worker.weather(slow(millis(30)));
    world.until("a while", |w| w.calls().len() >= 50).await;
    worker.crash().await;
    let first: Vec<_> = world.calls();
    let open = (1..=100).filter(|n| !world.settled(*n)).count();
    let worker = world.start(Seat::new(2, rules));
    world
        .until("all passed", |w| w.frontier() == Some(100))
        .await;
    let again: Vec<_> = world.calls().split_off(first.len());
    assert_eq!(again.len(), open, "exactly what the checkpoint has open");
    let repeats = again.iter().filter(|t| t.nth > 1);
    let repeats: Vec<_> = repeats.map(|t| (t.position, &t.id)).collect();
    assert!((1..=10).contains(&repeats.len()), "{repeats:?}");
    for (position, id) in repeats {
        assert_eq!(*id, world.calls_of(position)[0].id, "the same record id");
    }
    worker.drain().await;
    world.holds();
}

/// How often a record was tried by each worker.
fn tries(world: &World, position: u64) -> Vec<usize> {
    let calls = world.calls_of(position);
    let of = |n: u64| calls.iter().filter(|t| t.worker == n).count();
    (1..=3).map(of).collect()
}

#[tokio::test(start_paused = true)]
async fn g5_attempts_survive_a_crash() {
    let world = World::new(|_| Act::fails(Failure::retry_after("no", secs(2))));
    world.append([(1, "a"), (2, "a")]);
    let worker = world.start(Seat::new(1, settings()));
    let twice = |w: &World| {
        let attempts = w.checkpoint().map(|c| c.attempts).unwrap_or_default();
        attempts.iter().any(|(_, n)| *n == 2)
    };
    world.until("two failures are durable", twice).await;
    worker.crash().await;
    let worker = world.start(Seat::new(2, settings()));
    world.until("the stop", |w| w.item("a").is_some()).await;
    world.sleep(secs(60)).await;
    assert_eq!(tries(&world, 1), [2, 1, 0], "one more try, only");
    assert_eq!(world.calls_of(1)[2].attempt, 3);
    assert_eq!(world.item("a").expect("stopped").attempts, 3);
    worker.drain().await;
    world.holds();
}

#[tokio::test(start_paused = true)]
async fn g5_attempts_of_records_that_were_not_handed_over_again_survive_commits() {
    let world = World::new(|tried| match (tried.position, tried.worker) {
        (1, 2) => Act::done(),
        _ => Act::fails(Failure::retry_after("no", secs(2))),
    });
    world.append([(1, "a"), (2, "b")]);
    let worker = world.start(Seat::new(1, settings()));
    let twice = |w: &World| {
        let attempts = w.checkpoint().map(|c| c.attempts).unwrap_or_default();
        attempts.iter().filter(|(_, n)| *n == 2).count() == 2
    };
    world.until("two failures of both", twice).await;
    worker.crash().await;
    // The second worker commits record 1 and never sees record 2.
    world.hide_from(Some(2));
    let worker = world.start(Seat::new(2, settings()));
    world.until("record 1", |w| w.frontier() == Some(1)).await;
    worker.crash().await;
    world.hide_from(None);
    let worker = world.start(Seat::new(3, settings()));
    world.until("the stop", |w| w.item("b").is_some()).await;
    world.sleep(secs(60)).await;
    assert_eq!(tries(&world, 2), [2, 0, 1], "one more try, only");
    worker.drain().await;
    world.holds();
}

#[tokio::test(start_paused = true)]
async fn g7_nothing_is_acknowledged_to_the_source_before_it_is_durable() {
    let world = World::new(|_| Act::done());
    world.append([(1, "a"), (2, "b"), (3, "a")]);
    let worker = world.start(Seat::new(1, settings()));
    worker.weather(slow(secs(2)));
    world.until("a commit", |w| !w.commits().is_empty()).await;
    world.sleep(millis(1_900)).await;
    assert_eq!((world.called().len(), world.acked()), (3, Vec::new()));
    world.until("its end", |w| w.frontier() == Some(3)).await;
    world.sleep(millis(100)).await;
    assert_eq!(world.acked(), [3], "once");
    let handed = world.select(|_, deed| {
        let Deed::Handed(n) = deed else { return None };
        Some(*n)
    });
    assert_eq!(handed.iter().sum::<usize>(), 3);
    worker.drain().await;
    world.holds();
}
