//! G2 to G4: the cap, the stop at the first failure, slots of waiting lanes.

use super::script::{Script, check, cover, five, scripted, set, takes_over};
use crate::{
    audit::Guarantee::{G1, G2, G3, G4},
    history::Event,
    store::{LaneState, Verb},
};

#[test]
fn g2_cap() {
    let calls = |n: u64| {
        scripted(|s| {
            for lane in 1..=n {
                s.fetch(&[(&lane.to_string(), lane)]);
                s.start(&lane.to_string(), lane);
            }
        })
    };
    check(&[], &calls(3));
    check(&[G2], &calls(4));
    assert_eq!(calls(4).audit().counts.peak_in_flight, 4);
}

#[test]
fn g2_quarantine_holds_its_slot() {
    let quarantined = |wait| {
        scripted(|s| {
            five(s);
            s.fetch(&[("d", 6), ("e", 7)]);
            s.start("a", 1);
            s.start("b", 2);
            s.end("a", 1, "timeout");
            s.quarantine("a", 1, 100);
            s.start("c", 5);
            s.wait(wait);
            s.start("d", 6);
        })
    };
    check(&[G2], &quarantined(50));
    check(&[], &quarantined(100));
}

#[test]
fn g3_stopped_lane_waits_for_a_decision() {
    let stopped = |decision: Option<Verb>| {
        scripted(|s| {
            five(s);
            s.reject("a", 1);
            s.commit(&cover(0, 0, &[]));
            s.stopped("a", 1);
            s.run("b", 2);
            s.forget_attempts(1);
            if let Some(verb) = decision {
                s.decide("a", 1, verb);
            }
            s.run("a", 1);
            s.run("a", 3);
        })
    };
    check(&[G3], &stopped(None));
    check(&[], &stopped(Some(Verb::Retry)));
}

#[test]
fn g3_nothing_starts_between_failure_and_stop() {
    check(
        &[G3],
        &scripted(|s| {
            five(s);
            s.reject("a", 1);
            s.start("a", 1);
        }),
    );
    check(
        &[G3],
        &scripted(|s| {
            five(s);
            for _ in 0..4 {
                s.start("a", 1);
                s.end("a", 1, "timeout");
            }
        }),
    );
    // The later record: also out of order.
    check(
        &[G1],
        &scripted(|s| {
            five(s);
            s.reject("a", 1);
            s.start("a", 3);
        }),
    );
}

#[test]
fn g3_a_stopped_partition() {
    let partition = |stops: &str, n: u64| {
        let mut s = Script::with(&set(|o| o.stops = stops.to_owned()));
        five(&mut s);
        s.reject("b", 2);
        let key = if n == 1 { "a" } else { "c" };
        s.run(key, n);
        s
    };
    check(&[], &partition("lane", 5));
    check(&[], &partition("partition", 1));
    check(&[G3], &partition("partition", 5));
}

#[test]
fn g3_passed_by_nobodys_decision() {
    let skipped = |decided: bool| {
        scripted(|s| {
            five(s);
            s.reject("a", 1);
            s.commit(&cover(0, 0, &[]));
            s.stopped("a", 1);
            if decided {
                s.decide("a", 1, Verb::Skip);
            }
            s.say(Some(("a", 1)), Event::Skipped);
            s.run("a", 3);
        })
    };
    check(&[], &skipped(true));
    check(&[G3], &skipped(false));
    let published = |then: &str| {
        let mut s = Script::with(&set(|o| o.then = then.to_owned()));
        five(&mut s);
        s.reject("a", 1);
        s.say(Some(("a", 1)), Event::DeadLettered);
        s.run("a", 3);
        s
    };
    check(&[], &published("dead-letter"));
    check(&[G3], &published("park"));
}

#[test]
fn g3_a_restart_is_no_decision() {
    let restarted = |found: bool, decided: bool| {
        scripted(|s| {
            five(s);
            s.reject("a", 1);
            s.commit(&cover(0, 0, &[]));
            s.stopped("a", 1);
            takes_over(s, false, &cover(0, 0, &[]));
            if found {
                s.held("a", 1, LaneState::Stopped, None);
            }
            five(s);
            if decided {
                s.decide("a", 1, Verb::Retry);
            }
            s.forget_attempts(1);
            s.run("a", 1);
        })
    };
    check(&[], &restarted(true, true));
    check(&[G3], &restarted(true, false));
    check(&[G3], &restarted(false, false));
}

#[test]
fn g4_a_waiting_lane_holds_no_slot() {
    let waits = |ended: bool| {
        scripted(|s| {
            five(s);
            s.start("a", 1);
            if ended {
                s.end("a", 1, "retry");
            }
            s.say(Some(("a", 1)), Event::Retry { attempts: 1 });
            s.run("b", 2);
        })
    };
    check(&[], &waits(true));
    check(&[G4], &waits(false));
}

#[test]
fn g3_a_failure_behind_a_refused_effect_was_none() {
    let failed = |refused: bool| {
        let mut s = Script::with(&set(|o| o.stops = "partition".to_owned()));
        five(&mut s);
        s.start_run("a", &[1, 3]);
        s.end("a", 1, "done");
        s.end("a", 3, "reject");
        if refused {
            let why = "account unknown";
            s.say(Some(("a", 1)), Event::Refused { why });
            s.commit(&cover(0, 0, &[]));
            s.stopped("a", 1);
            s.decide("a", 1, Verb::Skip);
            s.say(Some(("a", 1)), Event::Skipped);
        } else {
            s.done("a", 1);
        }
        s.run("c", 5);
        s
    };
    check(&[], &failed(true));
    check(&[G3], &failed(false));
}

/// `a1` stops its lane. The next owner does not find that, and is fenced once it has done what `then`
/// says.
fn overtaken(then: impl FnOnce(&mut Script)) -> Script {
    scripted(|s| {
        five(s);
        s.reject("a", 1);
        s.commit(&cover(0, 0, &[]));
        s.stopped("a", 1);
        s.forget_attempts(1);
        s.revoke(false);
        takes_over(s, false, &cover(0, 0, &[]));
        // A later owner's.
        s.held("c", 5, LaneState::Stopped, None);
        five(s);
        then(s);
        let why = "orders/0: the store names worker 3 in epoch 3 as its owner";
        s.say(None, Event::Refused { why });
        s.revoke(false);
    })
}

/// The owner after that; it finds the lane of `a1` stopped, or does not.
fn after_overtaken(found: bool) -> Script {
    let mut s = overtaken(|_| {});
    s.wait(1_000);
    s.worker(&set(|_| {}));
    s.claim(3, false, Some(&cover(0, 0, &[])));
    if found {
        s.held("a", 1, LaneState::Stopped, None);
    }
    five(&mut s);
    s.run("b", 2);
    s
}

#[test]
fn g3_an_owner_that_was_overtaken_before_it_looked_at_lanes_did_nothing_wrong_if_it_did_nothing() {
    check(&[], &overtaken(|_| {}));
    check(&[G3], &overtaken(|s| s.run("b", 2)));
    check(&[G3], &overtaken(|s| s.commit(&cover(0, 0, &[]))));
    check(&[], &after_overtaken(true));
    check(&[G3], &after_overtaken(false));
}
