//! Each planted bug must be caught by the random histories, or a green run proves nothing.

#![expect(clippy::print_stdout, reason = "says which check caught what")]

#[path = "support/support.rs"]
mod support;

use partitions::{Bug, Engine, Limits};
use std::panic::{AssertUnwindSafe, catch_unwind};
use support::{Case, Rec, play};

fn planted(limits: Limits, bug: Bug) -> Engine<Rec> {
    let mut engine = Engine::new(limits);
    engine.plant(bug);
    engine
}

/// The bug, and the guarantee whose check must be what catches it.
type Planted = (Bug, fn(Limits) -> Engine<Rec>, &'static str);

const ZOO: [Planted; 13] = [
    (
        Bug::ParkedPasses,
        |limits| planted(limits, Bug::ParkedPasses),
        "G3 stop",
    ),
    (
        Bug::ParkedOnEmission,
        |limits| planted(limits, Bug::ParkedOnEmission),
        "G5 checkpoint",
    ),
    (
        Bug::SlotFreedAtRevoke,
        |limits| planted(limits, Bug::SlotFreedAtRevoke),
        "G2 cap",
    ),
    (
        Bug::LaneFreedAtRevoke,
        |limits| planted(limits, Bug::LaneFreedAtRevoke),
        "G1 order",
    ),
    (
        Bug::EffectsBehindRefusedKept,
        |limits| planted(limits, Bug::EffectsBehindRefusedKept),
        "effects prefix",
    ),
    (
        Bug::EffectsForgotten,
        |limits| planted(limits, Bug::EffectsForgotten),
        "G1 order",
    ),
    (
        Bug::QuarantineIgnored,
        |limits| planted(limits, Bug::QuarantineIgnored),
        "G2 cap",
    ),
    (
        Bug::CheckpointPastFailed,
        |limits| planted(limits, Bug::CheckpointPastFailed),
        "G5 checkpoint",
    ),
    (
        Bug::FailedSkipped,
        |limits| planted(limits, Bug::FailedSkipped),
        "G3 stop",
    ),
    (
        Bug::FailedOvertaken,
        |limits| planted(limits, Bug::FailedOvertaken),
        "G3 stop",
    ),
    (
        Bug::BarrierIgnored,
        |limits| planted(limits, Bug::BarrierIgnored),
        "G3 stop",
    ),
    (
        Bug::WaitingKeepsSlot,
        |limits| planted(limits, Bug::WaitingKeepsSlot),
        "G2 cap",
    ),
    (
        Bug::UnflushedIgnored,
        |limits| planted(limits, Bug::UnflushedIgnored),
        "G8 repeats",
    ),
];

/// How many histories may pass before a bug is caught.
const SEEDS_MAX: u64 = 2_000;

/// The first seed whose history fails, and what it says; with `by`, the first that says so.
fn caught(make: fn(Limits) -> Engine<Rec>, by: &str) -> Option<(u64, String)> {
    let failed = |seed| {
        let case = Case {
            seed,
            steps: 60,
            trace: false,
            make,
            shape: |_| {},
        };
        let played = catch_unwind(AssertUnwindSafe(|| play(&case, &mut Default::default())));
        let panic = played.err()?;
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Some((seed, text.unwrap_or_default()))
    };
    (0..SEEDS_MAX)
        .filter_map(failed)
        .find(|(_, text)| text.contains(by))
}

#[test]
fn each_planted_bug_is_caught_by_the_check_of_its_guarantee() {
    std::panic::set_hook(Box::new(|_| {}));
    let caught_by = |(bug, make, by): &Planted| (*bug, *by, caught(*make, ""), caught(*make, by));
    let all: Vec<_> = ZOO.iter().map(caught_by).collect();
    let healthy = caught(Engine::new, "");
    drop(std::panic::take_hook());
    assert_eq!(healthy, None, "without a bug nothing is caught");
    for (bug, by, first, own) in &all {
        println!("{bug:?}: {by}: {own:?}; first by {first:?}");
    }
    for (bug, by, first, own) in all {
        assert!(
            own.is_some(),
            "{bug:?} passes {SEEDS_MAX} histories of {by}; caught by {first:?}"
        );
    }
}
