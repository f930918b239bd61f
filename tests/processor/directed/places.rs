//! G7: where a partition begins, what the store cannot take, and how long a late claim waits.

use super::{
    deeds::{Act, Deed},
    world::{Seat, World, refused, secs, settings, time_if},
};
use lanekeeper::{
    Position,
    handler::Failure,
    store::{
        LaneState,
        memory::{Call, Weather},
    },
};
use partitions::{Resume, Then};

/// Three records before the start, from which on the source reads.
fn starts_latest(world: &World) {
    world.append([(1, "a"), (2, "b"), (3, "a")]);
    world.log.send_modify(|log| log.starts_latest = true);
}

#[tokio::test(start_paused = true)]
async fn g7_what_came_after_a_start_at_the_latest_survives_a_crash_before_any_commit_of_it() {
    let world = World::new(|tried| Act::done().takes(secs(if tried.nth == 1 { 600 } else { 0 })));
    starts_latest(&world);
    let worker = world.start(Seat::new(1, settings()));
    // There is time to start something before the place is written.
    worker.weather(|call| Weather {
        during: time_if(matches!(call, Call::Commit(_)), secs(2)),
        ..Weather::default()
    });
    world.until("the claim", |w| w.owner().is_some()).await;
    world.append([(4, "a")]);
    world.until("a call", |w| !w.calls().is_empty()).await;
    let place = Resume::After(Position::Offset(3));
    let known = world.checkpoint().map(|checkpoint| checkpoint.resume);
    assert_eq!(known, Some(place), "it is durable before anything starts");
    worker.crash().await;
    world.append([(5, "b")]);
    let worker = world.start(Seat::new(2, settings()));
    world.until("a repeat", |w| w.calls_of(4).len() == 2).await;
    world
        .until("what came later", |w| w.calls_of(5).len() == 1)
        .await;
    assert_eq!(world.called().iter().filter(|n| **n < 4).count(), 0);
    worker.crash().await;
    world.holds();
}

#[tokio::test(start_paused = true)]
async fn g7_nothing_starts_while_the_place_of_a_start_at_the_latest_is_not_durable() {
    let world = World::new(|_| Act::done());
    starts_latest(&world);
    let worker = world.start(Seat::new(1, settings()));
    worker.weather(|call| {
        if matches!(call, Call::Commit(_)) {
            refused()
        } else {
            Weather::default()
        }
    });
    world.until("the claim", |w| w.owner().is_some()).await;
    world.append([(4, "a")]);
    world.sleep(secs(60)).await;
    assert!(!world.commits().is_empty(), "it tries to");
    assert!(world.called().is_empty(), "{:?}", world.called());
    worker.weather(|_| Weather::default());
    world.until("the record", |w| w.frontier() == Some(4)).await;
    assert_eq!(world.called(), [4]);
    worker.drain().await;
    world.holds();
}

#[tokio::test(start_paused = true)]
async fn g10_a_record_that_the_store_cannot_take_stops_its_lane_by_name() {
    // More than the store in memory takes of one lane in a commit.
    const BYTES: usize = 17 << 20;
    let world = World::new(|tried| match tried.position {
        1 => Act::fails(Failure::reject("no such account")),
        _ => Act::done(),
    });
    world.log.send_modify(|log| {
        log.rows.push((1, "a".to_owned(), BYTES));
    });
    world.append([(2, "a"), (3, "b")]);
    let mut rules = settings();
    rules.failure.then = Then::Park;
    let worker = world.start(Seat::new(1, rules));
    world.until("the stop", |w| w.item("a").is_some()).await;
    world.until("the other lane", |w| w.settled(3)).await;
    let item = world.item("a").expect("stopped");
    assert_eq!(
        (item.state, &item.head, &item.record),
        (LaneState::Stopped, &Position::Offset(1), &None),
        "it stays in its log, and there is no room for a copy"
    );
    assert!(item.first_error.contains("no such account"), "{item:?}");
    let why = &item.last_error;
    let said = "cannot be parked: a lane's change takes 17";
    assert!(
        why.starts_with(said) && why.contains("the store takes"),
        "{why}"
    );
    world.sleep(secs(60)).await;
    assert_eq!(world.called(), [1, 3], "nothing behind it starts");
    let (report, _) = worker.drain().await;
    let lanes = (report.stopped_lanes.len(), report.parked_lanes.len());
    assert_eq!(lanes, (1, 0));
    world.holds();
}

#[tokio::test(start_paused = true)]
async fn g1_an_unclean_claim_that_is_answered_late_waits_from_its_answer_on() {
    let world = World::new(|tried| Act::done().takes(secs(if tried.nth == 1 { 600 } else { 0 })));
    world.append([(1, "a")]);
    let former = world.start(Seat::new(1, settings()));
    world.until("a call", |w| !w.calls().is_empty()).await;
    former.crash().await;
    let (rules, late) = (settings(), secs(30));
    let wait = rules.drain;
    let worker = world.start(Seat {
        holder_is_dead: false,
        ..Seat::new(2, rules)
    });
    worker.weather(move |call| Weather {
        after: time_if(matches!(call, Call::Claim(..)), late),
        ..Weather::default()
    });
    world.until("a repeat", |w| w.calls().len() == 2).await;
    let asked = world.select(|at, deed| matches!(deed, Deed::Asked("claim")).then_some(at));
    let [_, asked] = asked[..] else {
        panic!("two claims: {asked:?}");
    };
    let again = world.calls()[1].at;
    assert!(
        again >= asked + late + wait,
        "asked at {asked:?}, answered {late:?} later, and started at {again:?}"
    );
    assert!(again <= asked + late + wait + secs(2), "{again:?}");
    worker.drain().await;
    world.holds();
}
