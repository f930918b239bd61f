//! G1: hand-made histories that keep the order, and that break it.

use super::script::{Script, check, cover, five, parked, scripted, set};
use crate::{audit::Guarantee::G1, history::Event, store::Verb};

#[test]
fn g1_order_kept() {
    check(
        &[],
        &scripted(|s| {
            five(s);
            s.start("a", 1);
            s.start("b", 2);
            s.end("b", 2, "done");
            s.done("b", 2);
            s.start("b", 4);
            s.end("a", 1, "retry");
            s.end("b", 4, "done");
            s.done("b", 4);
            s.run("a", 1);
            s.run("a", 3);
            s.run("c", 5);
            s.commit(&cover(5, 5, &[]));
        }),
    );
}

#[test]
fn g1_runs_are_in_order() {
    check(
        &[],
        &scripted(|s| {
            five(s);
            s.start_run("a", &[1, 3]);
            s.end("a", 1, "done");
            s.done("a", 1);
            s.end("a", 3, "retry");
            s.run("a", 3);
        }),
    );
}

#[test]
fn g1_later_record_first() {
    check(
        &[G1],
        &scripted(|s| {
            five(s);
            s.run("a", 3);
        }),
    );
    // Answered is not passed: with effects it passes with the commit.
    check(
        &[G1],
        &scripted(|s| {
            five(s);
            s.start("a", 1);
            s.end("a", 1, "done");
            s.start("a", 3);
        }),
    );
}

#[test]
fn g1_two_tries_of_a_lane() {
    check(
        &[G1],
        &scripted(|s| {
            five(s);
            s.start("a", 1);
            s.start("a", 1);
        }),
    );
    let quarantined = |wait| {
        scripted(|s| {
            five(s);
            s.start("a", 1);
            s.end("a", 1, "timeout");
            s.quarantine("a", 1, 50);
            s.wait(wait);
            s.start("a", 1);
        })
    };
    check(&[G1], &quarantined(20));
    check(&[], &quarantined(50));
}

#[test]
fn g1_not_handed_over() {
    check(
        &[G1],
        &scripted(|s| {
            five(s);
            s.start("a", 7);
        }),
    );
}

#[test]
fn g1_chain_runs_in_order_once_released() {
    check(
        &[],
        &scripted(|s| {
            parked(s);
            s.run("b", 2);
            s.decide("a", 1, Verb::Release);
            s.run("a", 1);
            s.run("a", 3);
            s.run("a", 6);
            s.commit(&cover(3, 6, &[4, 5]));
            s.say(Some(("a", 6)), Event::Released);
            s.fetch(&[("a", 7)]);
            s.run("a", 7);
        }),
    );
    let broken: [fn(&mut Script); 4] = [
        |s| _ = s.start("a", 1),
        |s| {
            s.decide("a", 1, Verb::Release);
            s.start("a", 3);
        },
        |s| {
            s.fetch(&[("a", 7)]);
            s.decide("a", 1, Verb::Release);
            s.run("a", 7);
        },
        |s| {
            s.fetch(&[("a", 7), ("a", 8)]);
            s.say(Some(("a", 8)), Event::Appended);
        },
    ];
    for body in broken {
        let script = scripted(|s| {
            parked(s);
            body(s);
        });
        check(&[G1], &script);
    }
}

#[test]
fn g1_former_owners_call_still_runs() {
    let overlap = |settle_ms, wait, alive| {
        let settings = set(|o| o.settle_ms = settle_ms);
        let mut s = Script::with(&settings);
        five(&mut s);
        s.start("a", 1);
        s.wait(wait);
        let second = s.worker(&settings);
        s.claim(2, false, None);
        five(&mut s);
        s.run("a", 1);
        if alive {
            s.turn_to(0, 1);
            s.start("b", 2);
            s.turn_to(second, 2);
        }
        s
    };
    // Its process is dead, for all that is known: a local call died with it.
    check(&[], &overlap(0, 10, false));
    // It goes on telling.
    check(&[G1], &overlap(0, 10, true));
    // The target goes on without it.
    check(&[G1], &overlap(50, 100, false));
    check(&[], &overlap(50, 150, false));
}
