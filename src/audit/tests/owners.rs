//! G6 and G7: stale owners, and records that get lost.

use super::script::{Script, at, check, cover, five, parked, scripted, settings, takes_over};
use crate::{
    audit::Guarantee::{G6, G7},
    history::Event,
    store::{LaneState, Verb},
};

#[test]
fn g6_nothing_after_the_end() {
    let ends: [fn(&mut Script); 3] = [
        |s| s.revoke(true),
        |s| s.revoke(false),
        |s| {
            let why = "fenced: epoch 2 owns it";
            s.say(None, Event::Refused { why });
        },
    ];
    let later: [fn(&mut Script); 2] = [
        |s| _ = s.start("a", 1),
        |s| s.commit(&cover(0, 5, &[1, 2, 3, 4])),
    ];
    for end in ends {
        for act in later {
            let script = scripted(|s| {
                five(s);
                s.run("c", 5);
                s.commit(&cover(0, 5, &[1, 2, 3, 4]));
                end(s);
                act(s);
            });
            check(&[G6], &script);
        }
    }
}

#[test]
fn g6_a_refused_effect_ends_nothing() {
    check(
        &[],
        &scripted(|s| {
            five(s);
            s.start("a", 1);
            s.end("a", 1, "done");
            let why = "account unknown";
            s.say(Some(("a", 1)), Event::Refused { why });
            s.run("b", 2);
        }),
    );
}

#[test]
fn g6_a_former_owners_write() {
    let late = |found: u64| {
        scripted(|s| {
            five(s);
            s.run("a", 1);
            s.run("b", 2);
            takes_over(s, false, &cover(found, found, &[]));
            s.turn_to(0, 1);
            s.commit(&cover(2, 2, &[]));
            s.turn_to(1, 2);
            s.fetch(&[("a", 3)]);
            s.run("a", 3);
        })
    };
    // Its answer came late, the write did not.
    check(&[], &late(2));
    check(&[G6], &late(1));
}

#[test]
fn g6_a_stale_owner_starts_nothing() {
    let stale = |wait| {
        scripted(|s| {
            five(s);
            s.run("c", 5);
            takes_over(s, false, &cover(0, 0, &[]));
            five(s);
            s.turn_to(0, 1);
            s.wait(wait);
            s.start("a", 1);
        })
    };
    check(&[], &stale(80));
    check(&[G6], &stale(120));
}

#[test]
fn g6_two_owners_of_one_epoch() {
    check(
        &[G6],
        &scripted(|s| {
            five(s);
            s.run("a", 1);
            s.worker(&settings());
            s.claim(1, true, None);
        }),
    );
}

#[test]
fn g6_clean_means_nothing_is_out() {
    check(
        &[G6],
        &scripted(|s| {
            five(s);
            s.start("a", 1);
            s.revoke(true);
        }),
    );
    check(
        &[G6],
        &scripted(|s| {
            five(s);
            s.start("a", 1);
            takes_over(s, true, &cover(0, 0, &[]));
        }),
    );
}

#[test]
fn g7_done_only_by_success() {
    for outcome in ["retry", "timeout", "panic", "untried"] {
        let script = scripted(|s| {
            five(s);
            s.start("a", 1);
            s.end("a", 1, outcome);
            s.done("a", 1);
        });
        check(&[G7], &script);
    }
    check(
        &[G7],
        &scripted(|s| {
            five(s);
            s.run("b", 2);
            s.done("a", 1);
        }),
    );
}

#[test]
fn g7_acknowledged_only_when_durable() {
    let acked = |n: u64| {
        scripted(|s| {
            five(s);
            s.run("a", 1);
            s.commit(&cover(1, 1, &[]));
            s.run("b", 2);
            s.say(None, Event::Acked { frontier: &at(n) });
        })
    };
    check(&[], &acked(1));
    check(&[G7], &acked(2));
}

#[test]
fn g7_already_done_must_be_so() {
    let repeated = |n: u64| {
        scripted(|s| {
            five(s);
            s.run("a", 1);
            s.commit(&cover(1, 1, &[]));
            takes_over(s, false, &cover(1, 1, &[]));
            s.say(Some(("a", n)), Event::AlreadyDone);
            s.fetch(&[("b", 7)]);
            s.run("b", 7);
        })
    };
    check(&[], &repeated(1));
    check(&[G7], &repeated(3));
}

#[test]
fn g7_chains_are_not_lost() {
    let next = |found: bool, runs: &[u64], released: bool| {
        scripted(|s| {
            parked(s);
            s.run("b", 2);
            s.commit(&cover(3, 6, &[4, 5]));
            takes_over(s, false, &cover(3, 6, &[4, 5]));
            if found {
                s.held("a", 1, LaneState::Parked, Some((6, 3)));
            }
            s.fetch(&[("b", 4), ("c", 5)]);
            s.run("c", 5);
            if found {
                s.decide("a", 1, Verb::Release);
            }
            for n in runs {
                s.run("a", *n);
            }
            if released {
                s.say(Some(("a", 6)), Event::Released);
            }
        })
    };
    check(&[], &next(true, &[1, 3, 6], true));
    check(&[], &next(true, &[1, 3], false));
    check(&[G7], &next(false, &[], false));
    check(&[G7], &next(true, &[1, 6], true));
    check(&[G7], &next(true, &[1, 3], true));
    check(
        &[G7],
        &scripted(|s| {
            parked(s);
            s.decide("a", 1, Verb::Release);
            s.run("a", 1);
            s.say(Some(("a", 6)), Event::Released);
        }),
    );
}

#[test]
fn g7_gone_was_open_and_did_not_come() {
    let gone = |n: u64| {
        let mut s = Script::nobody();
        s.worker(&settings());
        s.claim(1, true, Some(&cover(10, 12, &[11])));
        s.fetch(&[("a", 13)]);
        s.say(Some(("", n)), Event::Gone);
        s.run("a", 13);
        s.commit(&cover(10, 13, if n == 11 { &[] } else { &[11] }));
        s
    };
    check(&[], &gone(11));
    check(&[G7], &gone(13));
    check(&[G7], &gone(12));
}
