//! What the loop shows of itself is what it does.

use super::{
    deeds::{Act, End},
    world::{Seat, World, millis, name, refused, secs, settings},
};
use lanekeeper::{
    handler::Failure,
    processor::{Phase, TryOutcome},
    store::memory::Weather,
};
use partitions::Then;

#[tokio::test(start_paused = true)]
async fn counts_and_lanes_are_those_of_the_report() {
    let world = World::new(|tried| match (tried.position, tried.nth) {
        (1 | 4, _) => Act::fails(Failure::reject("no")),
        (2, 1) => Act::fails(Failure::retry("again")),
        _ => Act::done().takes(millis(50)),
    });
    let mut rules = settings();
    rules.failure.then = Then::Park;
    world.append([(1, "a"), (2, "b"), (3, "a"), (4, "c"), (5, "b"), (6, "a")]);
    let worker = world.start(Seat::new(1, rules));
    assert_eq!(worker.watch.vitals().phase, Phase::Opening);
    let watch = worker.watch.clone();
    world
        .until("all settled", |_| {
            let vitals = watch.vitals();
            vitals
                .partitions
                .iter()
                .any(|p| p.behind == Some(0) && p.buffered == 0)
        })
        .await;
    let vitals = watch.vitals();
    assert_eq!(
        (&vitals.phase, vitals.announced),
        (&Phase::Running, Some(1))
    );
    let (_, counts) = &vitals.counts[0];
    assert_eq!(
        (counts.done, counts.parked, counts.chained, counts.stopped),
        (2, 2, 2, 0)
    );
    let tries = [TryOutcome::Done, TryOutcome::Retry, TryOutcome::Reject];
    assert_eq!(tries.map(|outcome| counts.tries(outcome)), [2, 1, 2]);
    let partition = &vitals.partitions[0];
    assert_eq!(partition.name, name());
    assert_eq!(
        (partition.parked, partition.chained, partition.stopped),
        (2, 4, 0)
    );
    assert_eq!((partition.lag(), partition.head_at), (0, None));
    let commits: u64 = vitals.commits.within.iter().sum();
    assert_eq!(commits, world.commits().len() as u64);

    let (report, _) = worker.drain().await;
    assert_eq!((report.done, report.parked, report.held), (2, 2, 2));
    assert_eq!(watch.vitals().phase, Phase::Ended);
    world.holds();
}

#[tokio::test(start_paused = true)]
async fn a_loop_that_idles_turns_and_one_that_ends_turns_no_more() {
    let world = World::new(|_| Act::done());
    let worker = world.start(Seat::new(1, settings()));
    for _ in 0..50 {
        world.sleep(millis(700)).await;
        assert!(worker.watch.silent_for() <= secs(1));
    }
    let watch = worker.watch.clone();
    worker.crash().await;
    world.sleep(secs(20)).await;
    assert!(watch.silent_for() >= secs(19));
}

#[tokio::test(start_paused = true)]
async fn a_store_out_of_reach_is_shown_at_once_and_as_unproven_when_nothing_starts() {
    let world = World::new(|_| Act::done().takes(millis(200)));
    world.append((1..=400).map(|n| (n, "a")));
    let worker = world.start(Seat::new(1, settings()));
    world.until("a while", |w| w.calls().len() >= 10).await;
    let watch = worker.watch.clone();
    let partition = || watch.vitals().partitions[0].clone();
    assert_eq!(
        (partition().store_fails_since, partition().unproven),
        (None, false)
    );
    worker.weather(|_| refused());
    let lost = world.now();
    world
        .until("it shows", |_| partition().store_fails_since.is_some())
        .await;
    assert!(!partition().unproven, "it was proven a moment ago");
    // `drain` less `timeout` after the last answer.
    world.until("unproven", |_| partition().unproven).await;
    assert!(world.now() - lost <= secs(8), "{:?}", world.now() - lost);
    assert!(partition().store_fails_since >= Some(lost));
    let vitals = watch.vitals();
    let of_commits = { vitals.store_errors.iter() }
        .filter(|((call, error), _)| (*call, *error) == ("commit", "not_written"));
    let errors: u64 = of_commits.map(|(_, count)| count).sum();
    assert!(errors > 0, "{:?}", vitals.store_errors);
    worker.weather(|_| Weather::default());
    world
        .until("it is back", |_| {
            partition().store_fails_since.is_none() && !partition().unproven
        })
        .await;
    world
        .until("all passed", |w| w.frontier() == Some(400))
        .await;
    worker.drain().await;
    world.holds();
}

#[tokio::test(start_paused = true)]
async fn waiting_for_what_is_known_is_not_stalled() {
    // Lanes that stop, that wait, a cap that is used up, a target that is sick, a store that is away.
    let world = World::new(
        |tried| match (tried.position % 5, tried.at.as_secs() / 100) {
            (0, _) => Act::fails(Failure::reject("no")),
            (1, 0) => Act::fails(Failure::retry("later")),
            (_, 1) => Act::fails(Failure::target("down")),
            _ => Act::done().takes(secs(3)),
        },
    );
    let mut rules = settings();
    (rules.cap, rules.failure.attempts_max) = (2, 100);
    let keys = ["a", "b", "c", "d", "e", "f", "g"];
    world.append((1..=300).map(|n| (n, keys[n as usize % keys.len()])));
    let worker = world.start(Seat::new(1, rules));
    let (mut longest, mut was_sick) = (secs(0), false);
    for round in 0..300 {
        world.sleep(secs(1)).await;
        match round {
            200 => worker.weather(|_| refused()),
            260 => worker.weather(|_| Weather::default()),
            _ => {}
        }
        let vitals = worker.watch.vitals();
        was_sick |= vitals.sick_since.is_some();
        for since in vitals.partitions.iter().filter_map(|p| p.stalled_since) {
            longest = longest.max(world.now() - since);
        }
    }
    assert!(was_sick, "the target was down for 100 s");
    assert!(longest <= secs(1), "it seemed stalled for {longest:?}");
    worker.crash().await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_is_shown_while_it_waits() {
    let world = World::new(|tried| match tried.position {
        1 => Act::ends(End::Done(Vec::new())).takes(secs(2)),
        _ => Act::done(),
    });
    world.append([(1, "a")]);
    let worker = world.start(Seat::new(1, settings()));
    world.until("the call", |w| !w.calls().is_empty()).await;
    let watch = worker.watch.clone();
    let end = tokio::spawn(worker.drain());
    world
        .until("the drain", |_| watch.vitals().phase == Phase::Draining)
        .await;
    assert_eq!(watch.vitals().in_flight, 1);
    let (report, _) = end.await.expect("it ends");
    assert_eq!(report.done, 1);
    assert_eq!(watch.vitals().phase, Phase::Ended);
}
