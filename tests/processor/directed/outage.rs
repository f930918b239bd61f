//! G10: once faults end, everything goes on.

use super::{
    deeds::{Act, End},
    world::{Seat, World, millis, refused, secs, settings},
};
use lanekeeper::{
    effect::Effect,
    handler::Failure,
    store::memory::{Call, Fate, Weather},
};
use partitions::Then;

fn lost(call: &Call<'_>) -> Weather {
    Weather {
        // What the caller hears of a store that it cannot reach, and what became of it, differ.
        fate: if matches!(call, Call::Commit(_)) {
            Fate::AnswerLost
        } else {
            Fate::Refused
        },
        ..Weather::default()
    }
}

#[tokio::test(start_paused = true)]
async fn g10_a_store_out_of_reach_for_a_minute_holds_nothing_up_for_good() {
    for sky in [|_: &Call<'_>| refused(), lost] {
        let world = World::new(|tried| match (tried.position % 7, tried.nth) {
            (0, 1) => Act::fails(Failure::retry("try again")),
            (1, _) => Act::ends(End::Done(vec![Effect::add("done", &tried.id, 1)])),
            (2, 1) => Act::fails(Failure::reject("no")),
            _ => Act::done().takes(millis(200)),
        });
        let mut rules = settings();
        rules.failure.then = Then::DeadLetter;
        let keys = ["a", "b", "c", "d", "e"];
        world.append((1..=100).map(|n| (n, keys[n as usize % keys.len()])));
        let worker = world.start(Seat::new(1, rules));
        world.until("a while", |w| w.calls().len() >= 20).await;
        worker.weather(sky);
        world.sleep(secs(60)).await;
        assert!(world.frontier() < Some(100), "nothing passes meanwhile");
        assert!(worker.is_running(), "it waits");
        world.append((101..=150).map(|n| (n, keys[n as usize % keys.len()])));
        worker.weather(|_| Weather::default());
        let back = world.now();
        world
            .until("all passed", |w| w.frontier() == Some(150))
            .await;
        let took = world.now() - back;
        assert!(took < secs(60), "{took:?} after it is back");
        let values = world.memory.snapshot().values;
        assert_eq!(values.len(), (1..=150).filter(|n| n % 7 == 1).count());
        assert!(
            values.values().all(|value| *value == 1),
            "each once: {values:?}"
        );
        let (report, _) = worker.drain().await;
        assert_eq!(
            report.dead_lettered,
            (1..=150).filter(|n| n % 7 == 2).count() as u64
        );
        world.holds();
    }
}

#[tokio::test(start_paused = true)]
async fn g10_a_claim_is_repeated_until_the_store_is_back() {
    let world = World::new(|_| Act::done());
    world.append([(1, "a"), (2, "b")]);
    let worker = world.start(Seat::new(1, settings()));
    worker.weather(|_| refused());
    world.sleep(secs(60)).await;
    assert!(worker.is_running() && world.called().is_empty());
    worker.weather(|_| Weather::default());
    let back = world.now();
    world.until("all passed", |w| w.frontier() == Some(2)).await;
    assert!(world.now() - back < secs(10));
    worker.drain().await;
    assert_eq!(world.owner(), None);
    world.holds();
}
