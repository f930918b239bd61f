//! G3: a lane stays stopped until somebody decides, and a decision is acted on once.

use super::{
    deeds::{Act, Deed, End},
    world::{Seat, World, millis, refused, secs, settings, time_if},
};
use lanekeeper::{
    Position,
    effect::{Condition, Effect},
    handler::Failure,
    processor::{Report, Settings},
    record::{LaneKey, OrderBy},
    store::{
        DecideError, LaneState, Verb,
        memory::{Call, Weather},
    },
};
use partitions::Then;
use std::sync::Arc;

fn with(then: Then) -> Settings {
    let mut rules = settings();
    rules.failure.then = then;
    rules
}

#[tokio::test(start_paused = true)]
async fn g3_a_stopped_lane_stays_stopped_over_restarts() {
    let world = World::new(|tried| match (tried.position, tried.worker) {
        (1, 1) => Act::fails(Failure::reject("no")),
        _ => Act::done(),
    });
    world.append([(1, "a"), (2, "a"), (3, "b"), (4, "a"), (5, "b")]);
    let worker = world.start(Seat::new(1, settings()));
    world
        .until("the stop", |w| w.item("a").is_some() && w.settled(5))
        .await;
    worker.drain().await;
    let worker = world.start(Seat::new(2, settings()));
    world.append([(6, "a"), (7, "b")]);
    world.until("the other lane", |w| w.settled(7)).await;
    world.sleep(secs(60)).await;
    worker.crash().await;
    let worker = world.start(Seat::new(3, settings()));
    world.sleep(secs(60)).await;
    let (report, _) = worker.drain().await;
    assert_eq!(world.called(), [1, 3, 5, 7]);
    let item = world.item("a").expect("it stands");
    assert_eq!(
        (item.state, item.head),
        (LaneState::Stopped, Position::Offset(1))
    );
    assert_eq!((item.attempts, item.last_error.as_str()), (1, "no"));
    let open: Vec<u64> = (1..=7).filter(|n| !world.settled(*n)).collect();
    assert_eq!(open, [1, 2, 4, 6], "done above the stopped head is kept");
    assert_eq!((world.frontier(), world.acked()), (None, Vec::new()));
    let named: Vec<_> = report
        .stopped_lanes
        .iter()
        .map(|l| (&l.position, l.error.as_str()))
        .collect();
    assert_eq!(named, [(&Position::Offset(1), "no")]);
    assert_eq!(report.held, 3);
    world.holds();
}

#[tokio::test(start_paused = true)]
async fn g3_by_partition_nothing_behind_a_failed_record_starts_until_a_decision() {
    let world = World::new(|tried| match (tried.position, tried.worker) {
        (5, 1) => Act::fails(Failure::reject("no")),
        _ => Act::done(),
    });
    let mut rules = settings();
    rules.order.by = OrderBy::Partition;
    let keys = ["a", "b", "c"];
    world.append((1..=10).map(|n| (n, keys[n as usize % keys.len()])));
    let worker = world.start(Seat::new(1, rules.clone()));
    world
        .until("the frontier", |w| w.frontier() == Some(4))
        .await;
    world.sleep(secs(10)).await;
    worker.crash().await;
    let worker = world.start(Seat::new(2, rules));
    world.sleep(secs(60)).await;
    assert_eq!(world.called(), [1, 2, 3, 4, 5]);
    assert_eq!((world.frontier(), world.acked()), (Some(4), vec![4]));
    let item = world
        .item_of(LaneKey::of_partition())
        .expect("it names the head");
    assert_eq!(item.head, Position::Offset(5));
    world.decide(&item, Verb::Retry).await.expect("decided");
    world
        .until("all passed", |w| w.frontier() == Some(10))
        .await;
    assert_eq!(world.called(), [1, 2, 3, 4, 5, 5, 6, 7, 8, 9, 10]);
    worker.drain().await;
    world.holds();
}

/// Record 1 of lane `a` failed for good with 2 and 3 behind it; then this is decided while the owner
/// runs, or while nobody does. Gives the positions that ran after the decision.
async fn decided(then: Then, verb: Verb, running: bool) -> (Arc<World>, Report, Vec<u64>) {
    let world = World::new(|tried| match (tried.position, tried.nth) {
        (1, 1) => Act::fails(Failure::reject("no")),
        _ => Act::done(),
    });
    world.append([(1, "a"), (2, "a"), (3, "a"), (4, "b")]);
    let worker = world.start(Seat::new(1, with(then)));
    let behind = if then == Then::Park { 3 } else { 0 };
    let stands = |w: &World| w.item("a").is_some_and(|item| item.count == behind);
    world
        .until("the failure", |w| stands(w) && w.settled(4))
        .await;
    world.sleep(secs(2)).await;
    let before = world.calls().len();
    assert_eq!(before, 2, "{:?}", world.called());
    let item = world.item("a").expect("it stands");
    let worker = if running {
        world.decide(&item, verb).await.expect("decided");
        worker
    } else {
        worker.drain().await;
        world.decide(&item, verb).await.expect("decided");
        world.sleep(secs(30)).await;
        assert_eq!(world.calls().len(), before, "nobody runs");
        world.start(Seat::new(2, with(then)))
    };
    world.sleep(secs(10)).await;
    assert!(
        world.item("a").is_none_or(|item| item.decision.is_none()),
        "what was decided is done"
    );
    let (report, _) = worker.drain().await;
    world.holds();
    let after = world.called().split_off(before);
    (world, report, after)
}

/// As [`decided`], but the owner took the decision and crashed before it could write what follows.
async fn taken(then: Then, verb: Verb) -> (Arc<World>, Vec<u64>) {
    let world = World::new(|tried| match (tried.position, tried.nth) {
        (1, 1) => Act::fails(Failure::reject("no")),
        _ => Act::done(),
    });
    world.append([(1, "a"), (2, "a"), (3, "b")]);
    let worker = world.start(Seat::new(1, with(then)));
    let behind = if then == Then::Park { 2 } else { 0 };
    let stands = |w: &World| w.item("a").is_some_and(|item| item.count == behind);
    world
        .until("the failure", |w| stands(w) && w.settled(3))
        .await;
    worker.weather(|call| {
        if matches!(call, Call::Commit(_)) {
            refused()
        } else {
            Weather::default()
        }
    });
    let item = world.item("a").expect("it stands");
    world.decide(&item, verb).await.expect("decided");
    let is_taken = |w: &World| {
        let decision = w.item("a").and_then(|item| item.decision);
        decision.is_some_and(|decision| decision.taken)
    };
    world.until("it is taken", is_taken).await;
    world.sleep(millis(500)).await;
    assert!(is_taken(&world), "nothing came of it");
    worker.crash().await;
    let before = world.calls().len();
    // A chain runs as soon as its release is taken; a stopped lane waits for a commit.
    let ran: &[u64] = match verb {
        Verb::Release => &[1, 3, 1, 2],
        Verb::Retry | Verb::Skip | Verb::Park | Verb::DeadLetter => &[1, 3],
    };
    assert_eq!(world.called(), ran);
    // The next owner looks at no lane again for long.
    let worker = world.start(Seat::new(
        2,
        Settings {
            flush_interval: secs(600),
            ..with(then)
        },
    ));
    world.sleep(secs(10)).await;
    let after = world.called().split_off(before);
    worker.drain().await;
    world.holds();
    (world, after)
}

fn published(world: &World) -> Vec<(String, String, u32, bool)> {
    world.select(|_, deed| {
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
}

#[tokio::test(start_paused = true)]
async fn g3_retry_tries_the_stopped_head_again_and_goes_on() {
    for running in [true, false] {
        let (world, _, after) = decided(Then::Stop, Verb::Retry, running).await;
        assert_eq!(after, [1, 2, 3], "running: {running}");
        assert_eq!(world.calls_of(1)[1].attempt, 1, "attempts are forgotten");
        assert_eq!((world.item("a"), world.frontier()), (None, Some(4)));
    }
}

#[tokio::test(start_paused = true)]
async fn g3_skip_passes_the_stopped_head_without_a_try() {
    for running in [true, false] {
        let (world, report, after) = decided(Then::Stop, Verb::Skip, running).await;
        assert_eq!(
            (after, report.skipped),
            (vec![2, 3], 1),
            "running: {running}"
        );
        assert_eq!((world.item("a"), world.frontier()), (None, Some(4)));
    }
}

#[tokio::test(start_paused = true)]
async fn g3_park_moves_the_stopped_lane_into_its_chain() {
    for running in [true, false] {
        let (world, report, after) = decided(Then::Stop, Verb::Park, running).await;
        assert_eq!(after, [0; 0], "running: {running}");
        let item = world.item("a").expect("it stands");
        assert_eq!(
            (item.state, item.head),
            (LaneState::Parked, Position::Offset(1))
        );
        assert_eq!((item.count, item.tail), (3, Some(Position::Offset(3))));
        assert_eq!((world.frontier(), report.held), (Some(4), 2));
    }
}

#[tokio::test(start_paused = true)]
async fn g3_dead_letter_publishes_the_stopped_head_and_goes_on() {
    for running in [true, false] {
        let (world, report, after) = decided(Then::Stop, Verb::DeadLetter, running).await;
        assert_eq!(
            (after, report.dead_lettered),
            (vec![2, 3], 1),
            "running: {running}"
        );
        let head = world.calls_of(1)[0].id.clone();
        assert_eq!(published(&world), [(head, "no".to_owned(), 1, true)]);
        assert_eq!((world.item("a"), world.frontier()), (None, Some(4)));
    }
}

#[tokio::test(start_paused = true)]
async fn g3_release_and_retry_run_a_parked_chain_in_its_order() {
    for (verb, running) in [
        (Verb::Release, true),
        (Verb::Release, false),
        (Verb::Retry, true),
        (Verb::Retry, false),
    ] {
        let (world, _, after) = decided(Then::Park, verb, running).await;
        assert_eq!(after, [1, 2, 3], "{verb:?}, running: {running}");
        assert_eq!(world.item("a"), None);
        let contents = world.memory.snapshot();
        let left: usize = contents.chains.values().map(|chain| chain.len()).sum();
        assert_eq!(left, 0, "nothing is left of the chain");
    }
}

#[tokio::test(start_paused = true)]
async fn g3_skip_and_dead_letter_pass_a_parked_head_and_leave_the_rest_parked() {
    for (verb, running) in [
        (Verb::Skip, true),
        (Verb::Skip, false),
        (Verb::DeadLetter, true),
        (Verb::DeadLetter, false),
    ] {
        let (world, report, after) = decided(Then::Park, verb, running).await;
        assert_eq!(after, [0; 0], "{verb:?}, running: {running}");
        let item = world.item("a").expect("it stands");
        assert_eq!(
            (item.state, item.head),
            (LaneState::Parked, Position::Offset(2))
        );
        assert_eq!(item.count, 2);
        let ids: Vec<_> = published(&world).into_iter().map(|p| p.0).collect();
        if verb == Verb::Skip {
            assert_eq!((report.skipped, ids.len()), (1, 0));
        } else {
            assert_eq!(report.dead_lettered, 1);
            assert_eq!(ids, [world.calls_of(1)[0].id.clone()]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn g3_a_decision_that_a_crashed_owner_took_is_carried_out_by_the_next_one() {
    for (then, verb, ran, stands) in [
        (Then::Stop, Verb::Retry, &[1, 2][..], false),
        (Then::Stop, Verb::Skip, &[2], false),
        (Then::Stop, Verb::Park, &[], true),
        (Then::Stop, Verb::DeadLetter, &[2], false),
        (Then::Park, Verb::Release, &[1, 2], false),
        (Then::Park, Verb::Skip, &[], true),
        (Then::Park, Verb::DeadLetter, &[], true),
    ] {
        let (world, after) = taken(then, verb).await;
        assert_eq!(after, ran, "{then:?}, {verb:?}");
        let item = world.item("a");
        assert_eq!(item.is_some(), stands, "{then:?}, {verb:?}: {item:?}");
        assert!(item.is_none_or(|item| item.decision.is_none()));
        assert_eq!(world.frontier(), Some(3), "{then:?}, {verb:?}");
        let letters: Vec<bool> = published(&world).into_iter().map(|p| p.3).collect();
        let wanted = if verb == Verb::DeadLetter { 1 } else { 0 };
        assert_eq!(letters, vec![true; wanted], "{then:?}, {verb:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn g3_a_decision_on_a_former_stop_is_refused_after_the_lane_stopped_again() {
    let world = World::new(|_| Act::fails(Failure::reject("no")));
    world.append([(1, "a"), (2, "a")]);
    let mut worker = world.start(Seat::new(1, settings()));
    let mut former = Vec::new();
    for number in 2..=5 {
        world.until("a stop", |w| w.item("a").is_some()).await;
        let item = world.item("a").expect("it stands");
        for old in &former {
            let refused = world.decide(old, Verb::Skip).await;
            assert!(
                matches!(refused, Err(DecideError::State { .. })),
                "decided on {old:?}, it stands as {item:?}: {refused:?}"
            );
        }
        let calls = world.calls().len();
        world.decide(&item, Verb::Retry).await.expect("decided");
        former.push(item);
        world.until("a retry", |w| w.calls().len() > calls).await;
        // Another life under the same owner, then one under another.
        if number % 2 == 1 {
            world.until("a stop", |w| w.item("a").is_some()).await;
            worker.drain().await;
            worker = world.start(Seat::new(number, settings()));
        }
    }
    assert_eq!(world.called(), [1; 5], "no old decision skipped the head");
    worker.drain().await;
    world.holds();
}

#[tokio::test(start_paused = true)]
async fn g3_a_decision_that_cannot_be_done_is_cleared_though_its_first_commit_is_refused() {
    let world = World::new(|tried| match tried.position {
        1 => Act::fails(Failure::reject("no")),
        _ => {
            let effect = Effect::add("none", "none", 1).only_if(Condition::Exists(true));
            Act::ends(End::Done(vec![effect]))
        }
    });
    world.append([(1, "a")]);
    let worker = world.start(Seat {
        dead_letters: false,
        ..Seat::new(1, settings())
    });
    // No commit is built while a decision is being taken: the one after it clears the decision and
    // carries the effect that the store refuses.
    worker.weather(|call| Weather {
        before: time_if(matches!(call, Call::Take(..)), millis(500)),
        ..Weather::default()
    });
    world.until("the stop", |w| w.item("a").is_some()).await;
    let item = world.item("a").expect("it stands");
    world
        .decide(&item, Verb::DeadLetter)
        .await
        .expect("decided");
    let taking = |w: &World| {
        let asked = w.select(|_, deed| matches!(deed, Deed::Asked("take")).then_some(()));
        !asked.is_empty()
    };
    world.until("it is being taken", taking).await;
    world.append([(2, "b")]);
    world.until("the refusal", |w| w.item("b").is_some()).await;
    assert_eq!(world.memory.counters().effects_refused, 1);
    let both = world.commits().into_iter().any(|(_, commit)| {
        commit.effects.len() == 1 && commit.lanes.iter().any(|l| l.lane == item.lane)
    });
    assert!(both, "one commit carried both: {:#?}", world.commits());
    world.sleep(secs(10)).await;
    let item = world.item("a").expect("it stands");
    assert_eq!(item.decision, None, "the lane is the operator's again");
    world.decide(&item, Verb::Skip).await.expect("decided");
    world.until("the skip", |w| w.item("a").is_none()).await;
    worker.drain().await;
    world.holds();
}

#[tokio::test(start_paused = true)]
async fn g3_a_decision_that_is_seen_taken_before_its_taking_is_answered_stands() {
    let world = World::new(|tried| match (tried.position, tried.nth) {
        (1, 1) => Act::fails(Failure::reject("no")),
        (1, 2) => Act::done().takes(millis(3_500)),
        _ => Act::done(),
    });
    // More than a release cuts at once: its decision stands until fewer are left.
    let rules = || Settings {
        cut_at: 5,
        ..with(Then::Park)
    };
    let count = 20;
    world.append((1..=count).map(|n| (n, "a")));
    let worker = world.start(Seat::new(1, rules()));
    let is_whole = |w: &World| w.item("a").is_some_and(|item| item.count == count);
    world.until("the chain", is_whole).await;
    worker.weather(|call| Weather {
        after: time_if(matches!(call, Call::Take(..)), millis(1_500)),
        ..Weather::default()
    });
    let item = world.item("a").expect("it stands");
    world.decide(&item, Verb::Release).await.expect("decided");
    world.sleep(millis(3_800)).await;
    assert_eq!(world.called(), [1, 1], "the chain is under way");
    let item = world.item("a").expect("it stands");
    assert_eq!(item.state, LaneState::Parked);
    let taken = item.decision.is_some_and(|decision| decision.taken);
    assert!(taken, "the release is not over");
    worker.crash().await;
    let worker = world.start(Seat::new(2, rules()));
    world.until("the rest", |w| w.item("a").is_none()).await;
    worker.drain().await;
    world.holds();
}
