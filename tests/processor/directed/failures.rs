//! G7: what is not success, and what becomes of it.

use super::{
    deeds::{Act, Deed, End},
    world::{Seat, World, refused, secs, settings},
};
use lanekeeper::{
    Position,
    handler::Failure,
    processor::Settings,
    store::{
        LaneState,
        memory::{Call, Weather},
    },
};
use partitions::Then;

/// A first call that does not succeed, however it ends: the record is open until a second one does.
async fn failed(ends: fn() -> End, wanted: &str) {
    let world = World::new(move |tried| match (tried.position, tried.nth) {
        (1, 1) => Act::ends(ends()),
        (1, _) => Act::done().takes(secs(3)),
        _ => Act::done(),
    });
    world.append([(1, "a"), (2, "a"), (3, "b")]);
    let worker = world.start(Seat::new(1, settings()));
    world
        .until("a second try", |w| w.calls_of(1).len() == 2)
        .await;
    world.sleep(secs(2)).await;
    assert_eq!((world.settled(1), world.settled(3)), (false, true));
    let attempts = world.checkpoint().expect("committed").attempts;
    assert_eq!(attempts, [(Position::Offset(1), 1)], "it used up one");
    assert_eq!((world.acked(), world.calls_of(2).len()), (Vec::new(), 0));
    world.until("all passed", |w| w.frontier() == Some(3)).await;
    worker.drain().await;
    world.holds();
    never_success(ends, wanted).await;
}

/// A record that always ends so fails for good, by name.
async fn never_success(ends: fn() -> End, wanted: &str) {
    let world = World::new(move |_| Act::ends(ends()));
    world.append([(1, "a")]);
    let worker = world.start(Seat::new(1, settings()));
    world.until("the stop", |w| w.item("a").is_some()).await;
    let item = world.item("a").expect("it stands");
    assert_eq!((item.state, item.attempts), (LaneState::Stopped, 3));
    assert!(item.last_error.contains(wanted), "{}", item.last_error);
    let (report, _) = worker.drain().await;
    assert_eq!((report.done, world.acked()), (0, Vec::new()));
    world.holds();
}

#[tokio::test(start_paused = true)]
async fn g7_a_panic_is_never_success() {
    failed(|| End::Panics, "scripted").await;
}

#[tokio::test(start_paused = true)]
async fn g7_a_timeout_is_never_success() {
    failed(|| End::Never, "no answer within 4s").await;
}

#[tokio::test(start_paused = true)]
async fn g7_a_dropped_future_is_never_success() {
    let world = World::new(|_| Act::done().takes(secs(2)));
    world.append([(1, "a"), (2, "a")]);
    let worker = world.start(Seat::new(1, settings()));
    world.until("a call", |w| !w.calls().is_empty()).await;
    world.sleep(secs(1)).await;
    worker.crash().await;
    let ended = world.select(|_, deed| matches!(deed, Deed::Ended { .. }).then_some(()));
    assert_eq!(ended.len(), 1, "the future went with its worker");
    assert!(!world.settled(1) && world.acked().is_empty());
    let worker = world.start(Seat::new(2, settings()));
    world.until("all passed", |w| w.frontier() == Some(2)).await;
    assert_eq!(world.called(), [1, 1, 2]);
    let calls = world.calls_of(1);
    assert_eq!(calls[0].id, calls[1].id, "it is the same record");
    worker.drain().await;
    world.holds();
}

fn dead_letters() -> Settings {
    let mut rules = Settings {
        flush_interval: secs(5),
        ..settings()
    };
    rules.failure.then = Then::DeadLetter;
    rules
}

#[tokio::test(start_paused = true)]
async fn g7_a_verdict_is_durable_before_its_publication_and_outlives_a_crash() {
    let world = World::new(|tried| match (tried.position, tried.worker) {
        (1, 1) => Act::fails(Failure::reject("no")),
        _ => Act::done(),
    });
    world.append([(1, "a"), (2, "a")]);
    world.publishes_within(secs(3));
    let worker = world.start(Seat::new(1, dead_letters()));
    let published = |w: &World| {
        w.select(|_, deed| {
            let Deed::Published {
                id,
                error,
                attempts,
                verdict,
            } = deed
            else {
                return None;
            };
            Some((id.clone(), error.clone(), *attempts, *verdict))
        })
    };
    world.until("publishing", |w| published(w).len() == 1).await;
    world.sleep(secs(1)).await;
    worker.crash().await;
    assert!(world.item("a").is_some() && !world.settled(1));
    let worker = world.start(Seat::new(2, dead_letters()));
    // It was found durable: its publication waits for no commit.
    worker.weather(|call| {
        if matches!(call, Call::Commit(_)) {
            refused()
        } else {
            Weather::default()
        }
    });
    world
        .until("publishing again", |w| published(w).len() == 2)
        .await;
    let again = world.now();
    worker.weather(|_| Weather::default());
    world.sleep(secs(2)).await;
    assert_eq!(world.called(), [1], "it is not run again, its lane waits");
    world.until("all passed", |w| w.frontier() == Some(2)).await;
    assert!(world.calls_of(2)[0].at >= again + secs(2));
    assert_eq!((world.called(), world.item("a")), (vec![1, 2], None));
    let id = world.calls_of(1)[0].id.clone();
    let letter = (id, "no".to_owned(), 1, true);
    assert_eq!(published(&world), [letter.clone(), letter]);
    let (report, _) = worker.drain().await;
    assert_eq!((report.dead_lettered, report.done), (1, 1));
    let counts = world.holds();
    assert_eq!(
        (counts.decided, counts.dead_lettered),
        (0, 1),
        "by the rule"
    );
}

#[tokio::test(start_paused = true)]
async fn g7_a_verdict_stays_durable_while_its_publication_takes_longer_than_a_flush_interval() {
    let world = World::new(|tried| match (tried.position, tried.worker) {
        (1, 1) => Act::fails(Failure::reject("no")),
        _ => Act::done(),
    });
    world.append([(1, "a"), (2, "a")]);
    world.publishes_within(secs(3));
    let mut rules = settings();
    rules.failure.then = Then::DeadLetter;
    let worker = world.start(Seat::new(1, rules.clone()));
    world.sleep(secs(2)).await;
    let decision = world.item("a").expect("it stands").decision;
    assert!(
        decision.is_some(),
        "the letter is on its way, and the verdict durable"
    );
    worker.crash().await;
    world.start(Seat::new(2, rules));
    world.sleep(secs(60)).await;
    assert_eq!((world.item("a"), world.frontier()), (None, Some(2)));
}
