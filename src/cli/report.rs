//! A run's report for people. For machines it is a document of its own (`--report`).

use super::output::shown;
use crate::processor::{Report, ReportedLane};

/// Most lanes that are named.
const LANES_MAX: usize = 10;

/// What follows from lanes that stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Advice {
    /// They stand until somebody decides.
    Lanes,
    /// They were a replay's own: nothing of them is left.
    Replay,
}

/// What was done, and which lanes stand.
pub(crate) fn lines(report: &Report, advice: Advice) -> Vec<String> {
    let mut parts = Vec::new();
    for (count, what) in [
        (report.done, "done"),
        (report.dead_lettered, "dead-lettered"),
        (report.skipped, "skipped"),
        (report.parked, "failed for good"),
        (report.held, "held behind them"),
    ] {
        if count > 0 || what == "done" {
            parts.push(format!("{count} {what}"));
        }
    }
    let seconds = report.elapsed_ms as f64 / 1_000.0;
    let mut lines = vec![format!(
        "{}; {} tries, {} retries, at most {} calls in flight; {seconds:.1} s, {:.1} records/s",
        parts.join(", "),
        report.tries,
        report.retries,
        report.in_flight_peak,
        report.records_per_second,
    )];
    if report.fenced > 0 {
        lines.push(format!(
            "{} writes were refused: another worker owns the partitions",
            report.fenced
        ));
    }
    let lanes = (report.stopped_lanes.iter().map(|lane| ("stopped", lane)))
        .chain(report.parked_lanes.iter().map(|lane| ("parked", lane)));
    let count = report.stopped_lanes.len() + report.parked_lanes.len();
    lines.extend(
        lanes
            .take(LANES_MAX)
            .map(|(state, lane)| self::lane(state, lane)),
    );
    if count > LANES_MAX {
        lines.push(format!("and {} more lanes", count - LANES_MAX));
    }
    if count > 0 {
        lines.push(match advice {
            Advice::Lanes => "`lanekeeper lanes list` shows them, `lanekeeper lanes retry|skip|park|release` decides"
                .to_owned(),
            Advice::Replay => "they stopped in this replay only: mend what is wrong, and replay them from there by `--key` and `--from`"
                .to_owned(),
        });
    }
    lines
}

fn lane(state: &str, lane: &ReportedLane) -> String {
    let attempts = if lane.attempts == 1 { "try" } else { "tries" };
    format!(
        "{state}: {}/{}, key {}, at {}, {} {attempts}: {}",
        lane.source,
        lane.partition,
        shown(&lane.key),
        lane.position,
        lane.attempts,
        shown(&lane.error)
    )
}
