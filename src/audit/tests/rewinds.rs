//! What an operator's rewind allows: a raised generation goes back on purpose, and nothing else does.

use super::script::{Script, check, cover, five, scripted, takes_over};
use crate::{
    audit::Guarantee::{self, G1, G5, G7, G8},
    history::Event,
    store::{LaneState, Verb},
};

/// All five are done and durable; then the next owner, of this generation, begins at 3 again.
fn back_to_three(generation: u64) -> Script {
    scripted(|s| {
        five(s);
        for (key, n) in [("a", 1), ("b", 2), ("a", 3), ("b", 4), ("c", 5)] {
            s.run(key, n);
        }
        s.commit(&cover(5, 5, &[]));
        s.revoke(true);
        s.generation = generation;
        takes_over(s, true, &cover(2, 2, &[]));
        s.fetch(&[("a", 3), ("b", 4), ("c", 5)]);
        for (key, n) in [("a", 3), ("b", 4), ("c", 5)] {
            s.run(key, n);
        }
        s.commit(&cover(5, 5, &[]));
    })
}

#[test]
fn g5_a_checkpoint_goes_back_with_the_generation_only() {
    check(&[], &back_to_three(1));
    let broken = broken_by(&back_to_three(0));
    assert!(broken.contains(&G5), "{broken:?}");
}

#[test]
fn g8_effects_apply_again_with_the_generation_only() {
    // An effect is durable, and the next owner finds its record open.
    let applied = |generation| {
        scripted(|s| {
            five(s);
            s.start("a", 1);
            s.end("a", 1, "done");
            s.commit(&cover(1, 1, &[]));
            s.done("a", 1);
            let (table, key) = ("accounts", "7");
            s.say(Some(("a", 1)), Event::Effect { table, key });
            s.generation = generation;
            takes_over(s, false, &cover(0, 0, &[]));
        })
    };
    check(&[], &applied(1));
    check(&[G5, G8], &applied(0));
}

fn broken_by(script: &Script) -> Vec<Guarantee> {
    let verdict = script.audit();
    verdict.violations.iter().map(|v| v.guarantee).collect()
}

/// 4 and 5 are parked, and their chain is kept when 1 to 3 of their lane run again; 2 fails for good.
/// `then` says what joins the chain.
fn before_a_chain(then: impl FnOnce(&mut Script)) -> Script {
    scripted(|s| {
        s.fetch(&[("a", 1), ("a", 2), ("a", 3), ("a", 4), ("a", 5)]);
        for n in 1..=3 {
            s.run("a", n);
        }
        s.reject("a", 4);
        s.commit(&cover(4, 4, &[]));
        s.parked("a", 4);
        s.commit(&cover(5, 5, &[]));
        s.say(Some(("a", 5)), Event::Appended);
        s.revoke(true);
        s.generation = 1;
        takes_over(s, true, &cover(0, 0, &[]));
        s.held("a", 4, LaneState::Parked, Some((5, 2)));
        s.forget_attempts(2);
        s.fetch(&[("a", 1), ("a", 2), ("a", 3)]);
        s.run("a", 1);
        s.reject("a", 2);
        s.commit(&cover(3, 3, &[]));
        s.parked("a", 2);
        then(s);
    })
}

#[test]
fn g1_what_lies_between_joins_a_kept_chain_behind_what_failed() {
    check(
        &[],
        &before_a_chain(|s| s.say(Some(("a", 3)), Event::Appended)),
    );
    // It waits in the chain for a decision, and is settled there.
    check(&[G1, G5], &before_a_chain(|s| _ = s.start("a", 3)));
}

#[test]
fn g1_what_joined_the_front_of_a_kept_chain_runs_before_the_rest_of_it() {
    let released = |order: [u64; 4]| {
        before_a_chain(|s| {
            s.say(Some(("a", 3)), Event::Appended);
            s.decide("a", 2, Verb::Release);
            (2..=5).for_each(|n| s.forget_attempts(n));
            order.iter().for_each(|n| s.run("a", *n));
        })
    };
    check(&[], &released([2, 3, 4, 5]));
    let broken = broken_by(&released([2, 4, 3, 5]));
    assert!(broken.contains(&G1), "{broken:?}");
}

/// 4 and 5 are in a chain that was released, and it is kept when 1 to 3 of their lane run again.
fn before_a_released_chain(then: impl FnOnce(&mut Script)) -> Script {
    scripted(|s| {
        s.fetch(&[("a", 1), ("a", 2), ("a", 3), ("a", 4), ("a", 5)]);
        for n in 1..=3 {
            s.run("a", n);
        }
        s.reject("a", 4);
        s.commit(&cover(4, 4, &[]));
        s.parked("a", 4);
        s.commit(&cover(5, 5, &[]));
        s.say(Some(("a", 5)), Event::Appended);
        s.decide("a", 4, Verb::Release);
        s.revoke(true);
        s.generation = 1;
        takes_over(s, true, &cover(0, 0, &[]));
        s.held("a", 4, LaneState::Draining, Some((5, 2)));
        (1..=5).for_each(|n| s.forget_attempts(n));
        s.fetch(&[("a", 1), ("a", 2), ("a", 3)]);
        s.say(Some(("a", 4)), Event::AlreadyDone);
        s.say(Some(("a", 5)), Event::AlreadyDone);
        then(s);
    })
}

#[test]
fn g1_what_lies_before_a_released_chain_runs_before_it() {
    let runs = |order: [u64; 5]| {
        before_a_released_chain(|s| {
            order.iter().for_each(|n| s.run("a", *n));
            s.commit(&cover(5, 5, &[]));
            s.say(Some(("a", 5)), Event::Released);
        })
    };
    check(&[], &runs([1, 2, 3, 4, 5]));
    check(&[G1], &runs([2, 1, 3, 4, 5]));
    check(&[G1], &runs([1, 2, 4, 3, 5]));
}

#[test]
fn g7_a_kept_chain_may_have_run_before_the_source_is_there() {
    let met = |n| {
        scripted(|s| {
            s.generation = 1;
            s.claim(2, true, Some(&cover(0, 0, &[])));
            s.held("a", 4, LaneState::Draining, Some((5, 2)));
            s.fetch(&[("b", 1), ("b", 2), ("b", 3)]);
            s.say(Some(("a", 4)), Event::AlreadyDone);
            s.run("a", 4);
            s.run("a", 5);
            s.commit(&cover(0, 4, &[1, 2, 3]));
            s.say(Some(("a", 5)), Event::Released);
            s.say(Some(("a", n)), Event::AlreadyDone);
        })
    };
    check(&[], &met(5));
    check(&[G7], &met(6));
}
