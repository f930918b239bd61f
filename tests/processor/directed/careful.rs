//! G10 where a record kills its worker again and again.

use super::{
    deeds::{Act, End},
    world::{Seat, World, millis, secs, settings},
};
use lanekeeper::{Position, store::LaneState};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Record 3 never ends: its worker is killed while it runs.
fn deadly() -> Arc<World> {
    World::new(|tried| match tried.position {
        3 => Act::ends(End::Never),
        _ => Act::done().takes(millis(50)),
    })
}

#[tokio::test(start_paused = true)]
async fn g10_a_record_that_kills_its_worker_is_suspected_tried_alone_and_stopped() {
    let world = deadly();
    world.append([(1, "a"), (2, "b"), (3, "c"), (4, "d"), (5, "c"), (6, "a")]);
    let mut deaths = 0;
    let last = loop {
        let worker = world.start(Seat::new(deaths + 1, settings()));
        let before = world.calls_of(3).len();
        let stands = |w: &World| w.item("c").is_some();
        world
            .until("a call or a stop", |w| {
                stands(w) || w.calls_of(3).len() > before
            })
            .await;
        if stands(&world) {
            break worker;
        }
        // Others that may start beside it do, and end.
        world.sleep(millis(200)).await;
        worker.crash().await;
        deaths += 1;
        assert!(deaths < 20, "for ever");
    };
    // Two deaths before anybody is careful, one among all that is announced, three alone.
    assert_eq!(deaths, 6);
    let item = world.item("c").expect("a stopped lane");
    assert_eq!((item.state, item.attempts), (LaneState::Stopped, 3));
    assert!(item.last_error.contains("its worker died"), "{item:?}");
    world
        .until("the others", |w| w.settled(6) && w.settled(4))
        .await;
    assert!(!world.settled(3) && !world.settled(5));
    // While it was tried alone nothing else was.
    for tried in &world.calls_of(3)[3..] {
        let own = |t: &&super::deeds::Tried| t.worker == tried.worker && t.position != 3;
        let calls = world.calls();
        let beside = calls
            .iter()
            .filter(own)
            .filter(|t| t.at >= tried.at)
            .count();
        assert_eq!(beside, 0, "beside {tried:?}");
        let commits = world.commits();
        let announced = commits.iter().rfind(|(at, _)| *at <= tried.at);
        let announced = &announced.expect("a commit").1.checkpoint.announced;
        assert!(
            announced.contains(&(Position::Offset(3), true)),
            "{announced:?}"
        );
    }
    last.drain().await;
    assert!(
        world.holds().suspects >= 4,
        "found at each claim since the third"
    );
}

/// It was fenced while it tried a suspect alone, and is the owner once more: whatever became of that try, it
/// killed nobody.
#[tokio::test(start_paused = true)]
async fn g10_a_worker_that_has_its_partition_again_charges_its_suspect_with_no_death() {
    let world = deadly();
    world.append([(1, "a"), (2, "b"), (3, "c"), (4, "d")]);
    // Three deaths, and six times the same worker, which the store still names.
    let again = 6;
    for claim in 1..=3 + again {
        let worker = world.start(Seat {
            holder_is_dead: claim <= 4,
            ..Seat::new(claim.min(4), settings())
        });
        let before = world.calls_of(3).len();
        world
            .until("a call", |w| w.calls_of(3).len() > before)
            .await;
        world.sleep(millis(200)).await;
        worker.crash().await;
    }
    let announced = world.checkpoint().expect("one").announced;
    let alone = (Position::Offset(3), true);
    assert!(announced.contains(&alone), "{announced:?}");
    assert!(world.item("c").is_none(), "{:?}", world.item("c"));
    // The next one charges it with this one's death alone.
    let worker = world.start(Seat::new(5, settings()));
    let before = world.calls_of(3).len();
    world
        .until("a call", |w| w.calls_of(3).len() > before)
        .await;
    worker.crash().await;
    let attempts = world.checkpoint().expect("one").attempts;
    assert_eq!(attempts, [(Position::Offset(3), 1)]);
    // The audit takes no history in which a worker begins twice.
}

#[tokio::test(start_paused = true)]
async fn g10_ten_minutes_without_a_death_end_the_caution() {
    let world = World::new(|_| Act::done().takes(millis(50)));
    world.append([(1, "a")]);
    for number in 1..=2 {
        let worker = world.start(Seat::new(number, settings()));
        world
            .until("a claim", |w| w.owner() == Some(worker.id))
            .await;
        world.sleep(millis(500)).await;
        worker.crash().await;
    }
    let worker = world.start(Seat::new(3, settings()));
    let announces = |world: &World| {
        let commits = world.commits();
        let announced = commits.iter().map(|(_, c)| c.checkpoint.announced.len());
        announced.sum::<usize>()
    };
    world.append([(2, "b")]);
    world.until("record 2", |w| w.settled(2)).await;
    let careful = announces(&world);
    assert!(careful > 0, "two unclean claims in a row");
    world.sleep(secs(601)).await;
    world.append([(3, "a")]);
    world.until("record 3", |w| w.settled(3)).await;
    world.sleep(secs(5)).await;
    let before = announces(&world);
    world.append([(4, "a"), (5, "b")]);
    world.until("all passed", |w| w.frontier() == Some(5)).await;
    assert_eq!(announces(&world), before, "it runs long enough");
    worker.drain().await;
    world.holds();
}

/// Two suspects: the second one starts once the store no longer names the first one as alone, and
/// that is written at once.
#[tokio::test(start_paused = true)]
async fn g10_an_answered_suspect_is_taken_back_before_the_next_one_starts() {
    let mended = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&mended);
    let world = World::new(move |_| {
        if seen.load(Ordering::Relaxed) {
            Act::done().takes(millis(10))
        } else {
            Act::ends(End::Never)
        }
    });
    world.append([(1, "a"), (2, "b")]);
    for number in 1..=3 {
        let worker = world.start(Seat::new(number, settings()));
        let calls = 2 * number as usize;
        world
            .until("both out", move |w| w.calls().len() == calls)
            .await;
        worker.crash().await;
    }
    mended.store(true, Ordering::Relaxed);
    let mut settings = settings();
    settings.flush_interval = secs(60);
    let worker = world.start(Seat::new(4, settings));
    world.until("both", |w| w.calls().len() == 8).await;
    let calls = world.calls();
    let (first, second) = (&calls[6], &calls[7]);
    let between = second.at - first.at;
    assert!(between < secs(5), "it waits for no interval: {between:?}");
    let commits = world.commits();
    let named = commits.iter().rfind(|(at, _)| *at <= second.at);
    let named = &named.expect("a commit").1.checkpoint.announced;
    let alone: Vec<_> = named.iter().filter(|(_, alone)| *alone).collect();
    assert_eq!(alone, [&(Position::Offset(second.position), true)]);
    worker.drain().await;
    world.holds();
}
