//! G1, G2 and G4: who may start, and when.

use super::{
    deeds::{Act, Deed, End},
    world::{Seat, World, millis, secs, settings, time_if},
};
use lanekeeper::{
    handler::Failure,
    processor::Settings,
    store::memory::{Call, Weather},
};
use std::time::Duration;

/// How long after its claim was acknowledged a second worker starts anything.
async fn waits(clean: bool, holder_is_dead: bool, settle: Duration) -> Duration {
    let settings = Settings {
        settle: Some(settle),
        ..settings()
    };
    let world = World::new(move |tried| match tried.worker {
        1 if !clean => Act::ends(End::Never),
        _ => Act::done(),
    });
    world.append([(1, "a"), (2, "b")]);
    let first = world.start(Seat::new(1, settings.clone()));
    world.until("a call", |w| !w.calls().is_empty()).await;
    if clean {
        first.drain().await;
        world.append([(3, "a")]);
    } else {
        first.crash().await;
    }
    let answer = millis(500);
    let asked = world.now();
    let second = world.start(Seat {
        holder_is_dead,
        ..Seat::new(2, settings)
    });
    second.weather(move |call| Weather {
        after: time_if(matches!(call, Call::Claim(..)), answer),
        ..Weather::default()
    });
    let of_second = |w: &World| w.calls().into_iter().find(|tried| tried.worker == 2);
    world.until("a start", |w| of_second(w).is_some()).await;
    let waited = of_second(&world).expect("it started").at - (asked + answer);
    world
        .until("all passed", |w| w.frontier() >= Some(2 + u64::from(clean)))
        .await;
    second.drain().await;
    world.holds();
    waited
}

fn about(waited: Duration, wanted: Duration) -> bool {
    (wanted..wanted + millis(100)).contains(&waited)
}

#[tokio::test(start_paused = true)]
async fn g1_an_unclean_claim_starts_nothing_before_drain_and_settle() {
    let waited = waits(false, false, secs(3)).await;
    assert!(about(waited, secs(10 + 3)), "{waited:?}");
    let waited = waits(false, false, Duration::ZERO).await;
    assert!(about(waited, secs(10)), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn g1_after_a_dead_holder_nothing_starts_before_timeout_and_settle() {
    let waited = waits(false, true, secs(3)).await;
    assert!(about(waited, secs(4 + 3)), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn g1_handlers_that_die_with_a_dead_holder_are_not_waited_for() {
    let waited = waits(false, true, Duration::ZERO).await;
    assert!(about(waited, Duration::ZERO), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn g1_a_clean_claim_starts_at_once() {
    for holder_is_dead in [false, true] {
        let waited = waits(true, holder_is_dead, secs(3)).await;
        assert!(about(waited, Duration::ZERO), "{waited:?}");
    }
}

/// Lane `a` has a try of unknown end, by our timeout or by the handler's word; `b` and `c` have work.
async fn quarantine(by_timeout: bool) {
    let world = World::new(move |tried| match (tried.position, tried.nth) {
        (1, 1) if by_timeout => Act::ends(End::Never),
        (1, 1) => Act::fails(Failure::retry("504").unknown_end(secs(3))).takes(secs(4)),
        (1 | 2, _) => Act::done(),
        _ => Act::done().takes(millis(500)),
    });
    world.append([(1, "a"), (2, "a")]);
    world.append((3..63).map(|n| (n, if n % 2 == 0 { "b" } else { "c" })));
    let worker = world.start(Seat::new(
        1,
        Settings {
            cap: 2,
            settle: Some(secs(3)),
            ..settings()
        },
    ));
    world
        .until("all passed", |w| w.frontier() == Some(62))
        .await;
    let (began, again) = (world.calls_of(1)[0].at, world.calls_of(1)[1].at);
    let shut = began + secs(4 + 3);
    assert!(
        again >= shut,
        "tried again at {again:?}, shut until {shut:?}"
    );
    assert!(world.calls_of(2)[0].at >= again, "the lane kept its order");
    let meanwhile = world.peak(began + secs(4) + millis(1), shut, false);
    assert_eq!(meanwhile, 1, "the slot stays shut as well");
    let others = |at: Duration| (began + secs(4)..shut).contains(&at);
    let others = world.calls().iter().filter(|t| others(t.at)).count();
    assert!(others >= 5, "the other lanes go on: {others} starts");
    assert_eq!(world.peak(again + secs(1), again + secs(5), false), 2);
    worker.drain().await;
    world.holds();
}

#[tokio::test(start_paused = true)]
async fn g1_lane_and_slot_of_a_timed_out_try_stay_shut_for_settle() {
    quarantine(true).await;
}

#[tokio::test(start_paused = true)]
async fn g1_lane_and_slot_of_a_try_of_unknown_end_stay_shut_as_long_as_it_says() {
    quarantine(false).await;
}

#[tokio::test(start_paused = true)]
async fn g2_in_flight_never_exceeds_the_cap_with_quarantined_tries_counted() {
    for cap in [1, 3] {
        let world = World::new(|tried| match (tried.position % 5, tried.nth) {
            (0, 1) => Act::ends(End::Never),
            (1, 1) => Act::fails(Failure::retry("504").unknown_end(secs(1))),
            _ => Act::done().takes(millis(300)),
        });
        let keys = ["a", "b", "c", "d", "e", "f", "g"];
        world.append((1..=49).map(|n| (n, keys[n as usize % keys.len()])));
        let worker = world.start(Seat::new(
            1,
            Settings {
                cap,
                settle: Some(secs(2)),
                ..settings()
            },
        ));
        world
            .until("all passed", |w| w.frontier() == Some(49))
            .await;
        let (report, _) = worker.drain().await;
        let peak = world.peak(Duration::ZERO, world.now(), true);
        assert_eq!(peak, cap as usize, "the cap is reached and kept");
        assert_eq!(report.in_flight_peak, cap);
        world.holds();
    }
}

#[tokio::test(start_paused = true)]
async fn g4_a_lane_in_backoff_holds_no_slot() {
    let world = World::new(|tried| match (tried.position, tried.nth) {
        (1, 1) => Act::fails(Failure::retry_after("later", secs(20))),
        (2, _) => Act::fails(Failure::reject("never")),
        (n, _) if n > 3 => Act::done().takes(secs(1)),
        _ => Act::done(),
    });
    // Of three lanes one waits, one stands stopped and one has work; there is one slot.
    world.append([(1, "a"), (2, "b"), (3, "b")]);
    world.append((4..=13).map(|n| (n, "c")));
    let worker = world.start(Seat::new(
        1,
        Settings {
            cap: 1,
            ..settings()
        },
    ));
    world.until("the end of `c`", |w| w.settled(13)).await;
    assert_eq!(world.calls_of(1).len(), 1, "`a` still waits");
    assert!(world.now() < secs(13), "`c` had the slot all the time");
    world.until("the end of `a`", |w| w.settled(1)).await;
    let calls = world.calls_of(1);
    assert!(calls[1].at - calls[0].at >= secs(20), "{calls:?}");
    assert!(world.calls_of(3).is_empty(), "`b` is stopped");
    let ended = world.select(|_, deed| matches!(deed, Deed::Ended { .. }).then_some(()));
    assert_eq!(ended.len(), world.calls().len());
    worker.drain().await;
    world.holds();
}
