//! G5: what commits and claims cover.

use super::script::{Script, at, check, cover, five, scripted, settings, takes_over};
use crate::{
    audit::Guarantee::{G5, G7},
    history::Event,
    store::{LaneState, Verb},
};
use partitions::Resume;

#[test]
fn g5_checkpoints_cover_what_is_settled() {
    let one = |last, to, open: &[u64]| {
        scripted(|s| {
            five(s);
            s.run("b", 2);
            s.start("a", 1);
            s.commit(&cover(last, to, open));
            s.run("b", 4);
        })
    };
    check(&[], &one(0, 2, &[1]));
    // It may lag behind.
    check(&[], &one(0, 0, &[]));
    // Past what runs, past what waits, past what never came, and open what is not.
    check(&[G5], &one(2, 2, &[]));
    check(&[G5], &one(0, 5, &[1, 3, 4]));
    check(&[G5], &one(0, 9, &[1, 3, 4, 5]));
    check(&[G5], &one(0, 5, &[1, 3, 4, 5, 8]));
}

#[test]
fn g5_passed_over_may_be_covered() {
    let passed_over = |told: bool| {
        scripted(|s| {
            s.fetch(&[("a", 1)]);
            s.run("a", 1);
            if told {
                s.say(None, Event::PassedOver { through: &at(9) });
            }
            s.commit(&cover(9, 9, &[]));
        })
    };
    check(&[], &passed_over(true));
    check(&[G5], &passed_over(false));
}

#[test]
fn g5_checkpoints_leave_nothing_out() {
    check(
        &[G5],
        &scripted(|s| {
            five(s);
            s.run("a", 1);
            s.run("b", 2);
            s.commit(&cover(1, 1, &[]));
            s.commit(&cover(1, 1, &[]));
        }),
    );
}

#[test]
fn g5_never_back() {
    check(
        &[G5],
        &scripted(|s| {
            five(s);
            s.run("a", 1);
            s.run("b", 2);
            s.commit(&cover(2, 2, &[]));
            s.commit(&cover(0, 2, &[1]));
        }),
    );
    check(
        &[G5],
        &scripted(|s| {
            five(s);
            s.run("a", 1);
            s.commit(&cover(1, 1, &[]));
            takes_over(s, false, &cover(0, 0, &[]));
            five(s);
            s.run("b", 2);
        }),
    );
}

#[test]
fn g5_reading_begins_at_the_checkpoint() {
    let begins = |from: u64, gap: Option<&str>| {
        let mut s = Script::nobody();
        s.worker(&settings());
        s.say(None, Event::Claimed { clean: true });
        let restored = Event::Restored {
            checkpoint: Some(&cover(10, 12, &[11])),
            from: &Resume::After(at(from)),
            gap,
        };
        s.say(None, restored);
        s.fetch(&[("a", 21)]);
        s.run("a", 21);
        s.commit(&cover(21, 21, &[]));
        s.fetch(&[("a", 22)]);
        s
    };
    check(&[G7], &begins(20, None));
    check(&[], &begins(20, Some("older than retention")));
    // What was open and never came is not settled by reading on.
    check(&[G5], &begins(10, None));
    check(&[G5], &begins(5, None));
}

#[test]
fn g5_parked_is_settled_when_the_store_has_it() {
    check(
        &[G5],
        &scripted(|s| {
            five(s);
            s.reject("a", 1);
            s.commit(&cover(1, 1, &[]));
            s.commit(&cover(1, 1, &[]));
        }),
    );
}

#[test]
fn g5_an_owner_that_died_at_its_claim_changed_nothing() {
    let found_by_the_third = |found: u64| {
        scripted(|s| {
            five(s);
            s.run("a", 1);
            s.run("b", 2);
            s.run("a", 3);
            s.commit(&cover(3, 3, &[]));
            s.wait(1_000);
            s.worker(&settings());
            s.epoch = 2;
            s.say(None, Event::Claimed { clean: false });
            s.wait(1_000);
            s.worker(&settings());
            s.claim(3, false, Some(&cover(found, found, &[])));
        })
    };
    check(&[], &found_by_the_third(3));
    check(&[G5], &found_by_the_third(2));
}

#[test]
fn g5_a_skip_that_nobody_heard_of_may_have_settled_a_head_that_never_came() {
    let skipped = |decided: bool| {
        scripted(|s| {
            five(s);
            s.run("b", 2);
            s.reject("a", 1);
            s.commit(&cover(0, 2, &[1]));
            s.stopped("a", 1);
            takes_over(s, false, &cover(0, 2, &[1]));
            s.held("a", 1, LaneState::Stopped, None);
            if decided {
                s.decide("a", 1, Verb::Skip);
            }
            s.wait(1_000);
            s.worker(&settings());
            s.claim(3, false, Some(&cover(2, 2, &[])));
        })
    };
    check(&[], &skipped(true));
    check(&[G5], &skipped(false));
}
