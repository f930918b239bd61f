//! G8: what a stop leaves behind.

use super::{
    deeds::{Act, Deed, End},
    world::{Seat, World, millis, secs, settings, time_if},
};
use lanekeeper::{
    effect::Effect,
    handler::Failure,
    processor::{Outcome, Settings, Stop},
    store::{
        LaneState, Verb,
        memory::{Call, Weather},
    },
};
use partitions::Then;

#[tokio::test(start_paused = true)]
async fn g8_after_a_clean_stop_nothing_runs_again() {
    let world = World::new(|tried| {
        let effects = vec![Effect::add("done", &tried.id, 1)];
        let effects = if tried.position % 2 == 0 {
            effects
        } else {
            Vec::new()
        };
        Act::ends(End::Done(effects)).takes(millis(700))
    });
    let keys = ["a", "b", "c"];
    world.append((1..=30).map(|n| (n, keys[n as usize % keys.len()])));
    let mut worker = world.start(Seat::new(1, settings()));
    // Stops in the middle of things.
    for number in 2..=4 {
        let before = world.calls().len();
        world
            .until("a few", |w| w.calls().len() >= before + 5)
            .await;
        world.sleep(millis(300)).await;
        let (report, outcome) = worker.drain().await;
        assert!(matches!(outcome, Outcome::Drained), "{outcome:?}");
        assert_eq!(world.owner(), None, "released");
        assert_eq!(report.done, report.tries, "what was out was waited for");
        let calls = world.called();
        assert!(calls.iter().all(|n| world.settled(*n)), "{calls:?}");
        worker = world.start(Seat::new(number, settings()));
    }
    world
        .until("all passed", |w| w.frontier() == Some(30))
        .await;
    let mut called = world.called();
    called.sort_unstable();
    assert_eq!(called, (1..=30).collect::<Vec<_>>(), "each once");
    let values = world.memory.snapshot().values;
    assert_eq!(values.len(), 15);
    assert!(values.values().all(|value| *value == 1));
    worker.drain().await;
    world.holds();
}

#[tokio::test(start_paused = true)]
async fn g8_a_drain_beyond_its_deadline_leaves_the_worker_named_and_says_what_was_out() {
    let world = World::new(|tried| match (tried.position, tried.nth) {
        (1, 1) => Act::fails(Failure::retry("504").unknown_end(secs(100))).takes(secs(1)),
        _ => Act::done(),
    });
    world.append([(1, "a"), (2, "b")]);
    let rules = Settings {
        settle: Some(secs(3)),
        ..settings()
    };
    let worker = world.start(Seat::new(1, rules.clone()));
    let id = worker.id;
    world.until("record 2", |w| w.settled(2)).await;
    worker.stop.send(Stop::Drain).expect("it runs");
    world.sleep(secs(9)).await;
    assert!(worker.is_running(), "it waits until the deadline");
    let asked = world.now() - secs(9);
    let (_, outcome) = worker.ended().await;
    let took = world.now() - asked;
    assert!((secs(10)..secs(15)).contains(&took), "{took:?}");
    let Outcome::Abandoned(out) = outcome else {
        panic!("it ended otherwise: {outcome:?}");
    };
    assert_eq!(out, [world.calls_of(1)[0].id.clone()]);
    assert_eq!(world.owner(), Some(id), "the next owner waits");
    let claimed = world.now();
    let worker = world.start(Seat {
        holder_is_dead: false,
        ..Seat::new(2, rules)
    });
    world.until("all passed", |w| w.frontier() == Some(2)).await;
    assert!(world.calls_of(1)[1].at >= claimed + secs(10 + 3));
    worker.drain().await;
    world.holds();
}

#[tokio::test(start_paused = true)]
async fn g8_nothing_is_released_while_a_failed_attempt_is_not_durable() {
    let world = World::new(|tried| match tried.position {
        1 => Act::fails(Failure::reject("no")),
        _ => Act::fails(Failure::retry_after("not yet", secs(20))).takes(millis(2_200)),
    });
    let mut rules = Settings {
        flush_interval: secs(2),
        ..settings()
    };
    rules.failure.attempts_max = 2;
    world.append([(1, "a"), (2, "b")]);
    let worker = world.start(Seat::new(1, rules.clone()));
    // While lanes are being read no commit is built; the attempt of record 2 falls into that time.
    worker.weather(|call| Weather {
        during: time_if(matches!(call, Call::Lanes(_)), millis(500)),
        ..Weather::default()
    });
    let reading = |w: &World| {
        let asked = w.select(|_, deed| matches!(deed, Deed::Asked("lanes")).then_some(()));
        !asked.is_empty()
    };
    world.until("the lanes are being read", reading).await;
    let ended = |w: &World| {
        let ended =
            w.select(|_, deed| matches!(deed, Deed::Ended { position: 2, .. }).then_some(()));
        !ended.is_empty()
    };
    world.until("record 2 failed", ended).await;
    let commits = world.commits().len();
    let (_, outcome) = worker.drain().await;
    assert!(matches!(outcome, Outcome::Drained), "{outcome:?}");
    assert_eq!(world.owner(), None);
    assert_eq!(world.commits().len(), commits + 1, "the attempt went first");
    let attempts = world.checkpoint().expect("committed").attempts;
    let of = |n: u64| attempts.iter().find(|(p, _)| p.offset() == Some(n));
    assert_eq!(of(2).map(|(_, n)| *n), Some(1), "{attempts:?}");
    let worker = world.start(Seat::new(2, rules));
    world.until("the stop", |w| w.item("b").is_some()).await;
    assert_eq!(world.calls_of(2).len(), 2, "one more try, only");
    let item = world.item("b").expect("it stands");
    assert_eq!((item.state, item.attempts), (LaneState::Stopped, 2));
    worker.drain().await;
    world.holds();
}

#[tokio::test(start_paused = true)]
async fn g10_the_head_of_a_released_chain_is_not_reported_as_failed() {
    let world = World::new(|tried| match (tried.position, tried.nth) {
        (1, 1) => Act::fails(Failure::reject("no")),
        _ => Act::done().takes(secs(2)),
    });
    world.append((1..=4).map(|n| (n, "a")));
    let mut rules = settings();
    rules.failure.then = Then::Park;
    let worker = world.start(Seat::new(1, rules));
    let parked = |w: &World| w.item("a").is_some_and(|item| item.count == 4);
    world.until("the park", parked).await;
    let item = world.item("a").expect("parked");
    world.decide(&item, Verb::Release).await.expect("offered");
    world
        .until("the release", |w| w.calls_of(1).len() == 2)
        .await;
    let (report, _) = worker.drain().await;
    let item = world.item("a").expect("it drains");
    assert_eq!((item.state, item.count), (LaneState::Draining, 3));
    assert_eq!((report.done, report.parked, report.held), (1, 0, 3));
    assert!(report.parked_lanes.is_empty(), "{:?}", report.parked_lanes);
    world.holds();
}
