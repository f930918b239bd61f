//! G6: only the owner writes, and it knows that it is the owner before it starts anything.

use super::{
    deeds::{Act, Deed, End},
    world::{Seat, World, millis, name, refused, secs, settings, time_if, worker_id},
};
use lanekeeper::{
    effect::Effect,
    handler::Failure,
    processor::{Outcome, Settings},
    source::SourceError,
    store::{
        Store,
        memory::{Call, Weather},
    },
};
use std::{sync::Arc, time::Duration};

#[tokio::test(start_paused = true)]
async fn g6_a_stale_owner_is_fenced_at_its_next_commit() {
    let world = World::new(|tried| {
        let key = format!("{}", tried.position);
        let ours = Effect::add("done", &key, 1);
        let whose = Effect::put("by", &key, tried.worker);
        let takes = if tried.worker == 1 { 2 } else { 0 };
        Act::ends(End::Done(vec![ours, whose])).takes(secs(takes))
    });
    world.append([(1, "a"), (2, "a")]);
    let stale = world.start(Seat::new(1, settings()));
    world.until("a call", |w| !w.calls().is_empty()).await;
    world.sleep(secs(1)).await;
    // The first worker is alive, and its call goes on.
    let fresh = world.start(Seat {
        holder_is_dead: false,
        ..Seat::new(2, settings())
    });
    let (report, outcome) = stale.ended().await;
    assert_eq!((report.fenced, report.done), (1, 0));
    let Outcome::Source(SourceError::Refused { what }) = outcome else {
        panic!("it ended otherwise: {outcome:?}");
    };
    assert!(
        what.contains(&worker_id(2).to_string()),
        "it names the owner: {what}"
    );
    assert!(
        world.memory.snapshot().values.is_empty(),
        "its effects are void"
    );
    assert_eq!((world.called(), world.frontier()), (vec![1], None));
    assert_eq!(world.owner(), Some(fresh.id));
    world.until("all passed", |w| w.frontier() == Some(2)).await;
    let values = world.memory.snapshot().values;
    let value = |table: &str, key: &str| values[&(table.to_owned(), key.to_owned())].clone();
    assert_eq!((value("done", "1"), value("by", "1")), (1.into(), 2.into()));
    assert_eq!((value("done", "2"), value("by", "2")), (1.into(), 2.into()));
    fresh.drain().await;
    world.holds();
}

/// Record 2 comes, or is due, after a time in which nothing proved the ownership.
async fn idles(idle: impl AsyncFn(&Arc<World>), taken: bool) {
    let world = World::new(|tried| match (tried.position, tried.nth) {
        (2, 1) => Act::fails(Failure::retry_after("later", secs(2))),
        _ => Act::done(),
    });
    world.append([(1, "a"), (2, "b")]);
    world.hide_from(Some(2));
    let worker = world.start(Seat::new(1, settings()));
    world.until("record 1", |w| w.frontier() == Some(1)).await;
    let answer = millis(100);
    worker.weather(move |call| Weather {
        during: time_if(matches!(call, Call::Ownership(_)), answer),
        ..Weather::default()
    });
    idle(&world).await;
    if taken {
        let claim = world.memory.claim(&name(), worker_id(2)).await;
        assert_eq!(claim.expect("claimed").unclean, Some(worker.id));
    }
    let (before, calls) = (world.deeds().len(), world.calls().len());
    world.hide_from(None);
    if taken {
        let (report, outcome) = worker.ended().await;
        assert_eq!(world.calls().len(), calls, "it is another's");
        assert!(matches!(outcome, Outcome::Source(_)), "{outcome:?}");
        assert_eq!((report.fenced, world.owner()), (1, Some(worker_id(2))));
    } else {
        world.until("a call", |w| w.calls().len() > calls).await;
        let since = world.deeds().split_off(before);
        let read = since
            .iter()
            .find(|(_, deed)| matches!(deed, Deed::Asked("ownership")));
        let (read, _) = read.expect("it was read");
        let called = world.calls()[calls].at;
        assert!(called >= *read + answer, "{since:#?}");
        world.until("all passed", |w| w.frontier() == Some(2)).await;
        worker.drain().await;
    }
    world.holds();
}

#[tokio::test(start_paused = true)]
async fn g6_ownership_is_read_before_the_first_start_after_idling() {
    for taken in [false, true] {
        idles(async |w: &Arc<World>| w.sleep(secs(600)).await, taken).await;
    }
}

#[tokio::test(start_paused = true)]
async fn g6_ownership_is_read_before_the_first_start_after_the_machine_slept() {
    for taken in [false, true] {
        idles(async |w: &Arc<World>| w.jump(secs(3_600)), taken).await;
    }
}

#[tokio::test(start_paused = true)]
async fn g6_ownership_is_read_before_a_try_that_fell_due_while_the_machine_slept() {
    for taken in [false, true] {
        let waits = async |w: &Arc<World>| {
            w.hide_from(None);
            w.until("a failure", |w| w.calls_of(2).len() == 1).await;
            w.until("its commit", |w| !attempts(w).is_empty()).await;
            w.jump(Duration::from_secs(3_600));
        };
        idles(waits, taken).await;
    }
}

fn attempts(world: &World) -> Vec<u32> {
    let attempts = world.checkpoint().map(|c| c.attempts).unwrap_or_default();
    attempts.into_iter().map(|(_, n)| n).collect()
}

#[tokio::test(start_paused = true)]
async fn g6_nothing_starts_beyond_the_last_proof_while_the_store_refuses_another() {
    let world = World::new(|_| Act::done().takes(millis(20)));
    world.append((1..=500).map(|n| (n, "a")));
    // Proofs that fail are asked for again each half second, which is not a part of this.
    let timeout = millis(4_200);
    let worker = world.start(Seat::new(
        1,
        Settings {
            timeout,
            ..settings()
        },
    ));
    worker.weather(|call| {
        if matches!(call, Call::Commit(_) | Call::Ownership(_)) {
            refused()
        } else {
            Weather::default()
        }
    });
    world.sleep(secs(9)).await;
    let last = world.calls().last().map(|call| call.at);
    let trust = settings().drain - timeout;
    let near = last.is_some_and(|at| at <= trust && at + millis(100) > trust);
    assert!(near, "the last start is at {last:?}, proven is {trust:?}");
    worker.weather(|_| Weather::default());
    world
        .until("all passed", |w| w.frontier() == Some(500))
        .await;
    worker.drain().await;
    world.holds();
}
