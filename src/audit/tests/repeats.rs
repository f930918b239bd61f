//! G8, and what cannot be judged.

use super::script::{Script, check, cover, five, scripted, takes_over};
use crate::{
    audit::Guarantee::{G5, G8},
    history::Event,
    store::{LaneState, Verb},
};

#[test]
fn g8_what_is_durable_never_runs_again() {
    check(
        &[G8],
        &scripted(|s| {
            five(s);
            s.run("a", 1);
            s.commit(&cover(1, 1, &[]));
            s.start("a", 1);
        }),
    );
    check(
        &[G8],
        &scripted(|s| {
            five(s);
            s.run("a", 1);
            s.start("a", 1);
        }),
    );
    let again = |n: u64| {
        let key = if n == 1 { "a" } else { "b" };
        scripted(|s| {
            five(s);
            s.run("a", 1);
            s.run("b", 2);
            s.commit(&cover(1, 1, &[]));
            takes_over(s, false, &cover(1, 1, &[]));
            s.fetch(&[("b", 2)]);
            s.forget_attempts(n);
            s.run(key, n);
        })
    };
    check(&[G8], &again(1));
    check(&[], &again(2));
    assert_eq!(again(2).audit().counts.repeats, 1);
}

#[test]
fn g8_a_skip_of_a_head_that_never_came_is_durable_with_its_commit() {
    let skipped = |durably: bool| {
        scripted(|s| {
            s.fetch(&[("a", 1), ("s", 2)]);
            s.run("a", 1);
            s.reject("s", 2);
            s.commit(&cover(1, 1, &[]));
            s.stopped("s", 2);
            takes_over(s, false, &cover(1, 1, &[]));
            s.held("s", 2, LaneState::Stopped, None);
            for n in 3..=8 {
                s.fetch(&[(&n.to_string(), n)]);
            }
            s.decide("s", 2, Verb::Skip);
            s.commit(&cover(1, if durably { 2 } else { 1 }, &[]));
            s.say(Some(("s", 2)), Event::Skipped);
            for n in 3..=8 {
                s.run(&n.to_string(), n);
            }
        })
    };
    check(&[], &skipped(true));
    check(&[G8], &skipped(false));
}

#[test]
fn g8_unflushed_is_bounded() {
    let unflushed = |n: u64| {
        scripted(|s| {
            for k in 1..=n {
                s.fetch(&[("a", k)]);
                s.run("a", k);
            }
        })
    };
    check(&[], &unflushed(6));
    check(&[G8], &unflushed(7));
}

#[test]
fn g8_nothing_repeats_after_a_clean_end() {
    let released = |to: u64| {
        scripted(|s| {
            five(s);
            s.run("a", 1);
            s.run("b", 2);
            s.commit(&cover(to, to, &[]));
            s.revoke(true);
        })
    };
    check(&[], &released(2));
    check(&[G8], &released(1));
    check(
        &[G8],
        &scripted(|s| {
            five(s);
            s.run("a", 1);
            takes_over(s, true, &cover(0, 0, &[]));
        }),
    );
}

/// The record's effect is durable with its commit.
fn effect(s: &mut Script, key: &str, n: u64) {
    let (table, item) = ("accounts", "7");
    s.say(Some((key, n)), Event::Effect { table, key: item });
}

#[test]
fn g8_effects_once() {
    let effects = |body: fn(&mut Script)| {
        scripted(|s| {
            five(s);
            s.start("a", 1);
            s.end("a", 1, "done");
            s.commit(&cover(1, 1, &[]));
            s.done("a", 1);
            effect(s, "a", 1);
            body(s);
            s.run("b", 2);
        })
    };
    check(&[], &effects(|_| {}));
    check(&[G8], &effects(|s| effect(s, "b", 2)));
    let again = |s: &mut Script| {
        s.commit(&cover(1, 1, &[]));
        effect(s, "a", 1);
    };
    check(&[G8], &effects(again));
    // The next owner finds it open.
    check(
        &[G5, G8],
        &scripted(|s| {
            five(s);
            s.start("a", 1);
            s.end("a", 1, "done");
            s.commit(&cover(1, 1, &[]));
            s.done("a", 1);
            effect(s, "a", 1);
            takes_over(s, false, &cover(0, 0, &[]));
        }),
    );
}

#[test]
fn a_refused_effect_voids_answers() {
    let voided = |refused: bool| {
        scripted(|s| {
            five(s);
            s.start("a", 1);
            s.end("a", 1, "done");
            if refused {
                let why = "account unknown";
                s.say(Some(("a", 1)), Event::Refused { why });
            }
            s.forget_attempts(1);
            s.start("a", 1);
        })
    };
    check(&[], &voided(true));
    check(&[G8], &voided(false));
}

#[test]
fn what_cannot_be_judged_does_not_pass() {
    let nothing = Script::nobody().audit();
    assert!(!nothing.passes());
    assert!(nothing.to_string().contains("proves nothing"), "{nothing}");
    let lines = scripted(|s| {
        five(s);
        s.run("a", 1);
    })
    .lines();
    for missing in 0..lines.len() - 1 {
        let mut holed = lines.clone();
        holed.remove(missing);
        let verdict = super::script::audit(&holed);
        assert!(!verdict.errors.is_empty(), "without line {missing}");
        assert!(!verdict.passes());
    }
    let mut foreign = lines.clone();
    foreign[0].format = Some(2);
    assert!(!super::script::audit(&foreign).passes());
}

#[test]
fn files_are_read_and_bad_ones_named() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("history.jsonl");
    let mut text = String::new();
    for line in scripted(|s| {
        five(s);
        s.run("a", 1);
    })
    .lines()
    {
        text += &serde_json::to_string(&line).expect("a line");
        text.push('\n');
    }
    std::fs::write(&path, &text).expect("written");
    let mut audit = crate::audit::Audit::new();
    audit.add_file(&path).expect("sound");
    let verdict = audit.finish();
    assert!(verdict.passes(), "{verdict}");
    assert!(verdict.to_string().ends_with("G1 to G8 hold"), "{verdict}");
    for missing in [folder.path().join("none"), folder.path().to_owned()] {
        let mut audit = crate::audit::Audit::new();
        let error = audit.add_file(&missing).expect_err("not a file");
        assert!(error.to_string().contains(&missing.display().to_string()));
        assert!(!audit.finish().passes());
    }
}
