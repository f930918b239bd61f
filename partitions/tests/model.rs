//! Random histories against the naive reference. `LANEKEEPER_TEST_SEED` replays one history and
//! prints it; `LANEKEEPER_TEST_CASES` sets how many are played.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test says what it played, and fails loudly"
)]

#[path = "support/support.rs"]
mod support;

use partitions::Engine;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use support::{Case, play};

/// What the histories must meet, or they prove nothing about it: faults, and states of lanes.
const MUST_HAPPEN: [&str; 46] = [
    "appends",
    "crash",
    "cuts",
    "dead-lettered",
    "decide",
    "declined",
    "drained",
    "duplicate",
    "effects",
    "fenced",
    "first tries",
    "gone",
    "hold",
    "hold intake",
    "late answers",
    "later tries",
    "lives",
    "loads",
    "long tick",
    "not written",
    "parks",
    "pass over",
    "pauses",
    "probes",
    "publications",
    "publish",
    "push",
    "push gap",
    "quarantines",
    "raced loads",
    "recovered",
    "refused",
    "refused behind others",
    "reopens",
    "resumes",
    "revoke",
    "set cap",
    "settle gone",
    "skips",
    "starve",
    "stopped",
    "stops",
    "tick",
    "unattributed runs",
    "verdicts",
    "batch",
];

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("a number"))
}

fn case(seed: u64, trace: bool) -> Case {
    Case {
        seed,
        steps: 60,
        trace,
        make: Engine::new,
        shape: |_| {},
    }
}

#[test]
fn random_histories_agree_with_the_reference() {
    let mut seen = Default::default();
    if let Some(seed) = variable("LANEKEEPER_TEST_SEED") {
        return play(&case(seed, true), &mut seen);
    }
    let cases = variable("LANEKEEPER_TEST_CASES").unwrap_or(100_000);
    for seed in 0..cases {
        let played = catch_unwind(AssertUnwindSafe(|| play(&case(seed, false), &mut seen)));
        if let Err(panic) = played {
            println!("replay with LANEKEEPER_TEST_SEED={seed}");
            resume_unwind(panic);
        }
    }
    println!("{cases} histories: {seen:?}");
    let missing: Vec<_> = MUST_HAPPEN
        .into_iter()
        .filter(|name| !seen.contains_key(name))
        .collect();
    assert!(
        cases < 100_000 || missing.is_empty(),
        "never happened: {missing:?}"
    );
}

#[test]
fn the_same_seed_plays_the_same_history() {
    let [mut first, mut second] = [support::Seen::new(), support::Seen::new()];
    (0..200).for_each(|seed| play(&case(seed, false), &mut first));
    (0..200).for_each(|seed| play(&case(seed, false), &mut second));
    assert_eq!(first, second);
    assert!(!first.is_empty());
}
