//! A run's report for people. For machines it is a document of its own (`--report`).

use super::{cost::consumed_text, output::shown, view::counted};
use crate::{
    processor::{Report, ReportedLane},
    record::OrderBy,
};
use std::time::Duration;

/// Most lanes that are named.
const LANES_MAX: usize = 10;

/// What follows from lanes that stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Advice {
    /// They stand until somebody decides; what can be decided depends on the order.
    Lanes(OrderBy),
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
        "{}; {}, {}, at most {} in flight; {seconds:.1} s, {:.1} records/s",
        parts.join(", "),
        counted(report.tries, "try"),
        counted(report.retries, "retry"),
        counted(report.in_flight_peak.into(), "call"),
        report.records_per_second,
    )];
    if let Some(consumed) = &report.store {
        let within = Duration::from_millis(report.elapsed_ms);
        lines.push(format!(
            "the store was asked for {}",
            consumed_text(consumed, within)
        ));
    }
    if report.fenced > 0 {
        lines.push(format!(
            "{} refused: another worker owns the partitions",
            counted(report.fenced, "write")
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
        let more = counted((count - LANES_MAX) as u64, "more lane");
        lines.push(format!("and {more}"));
    }
    if count > 0 {
        let order = match advice {
            Advice::Lanes(order) => order,
            Advice::Replay => {
                lines.push("they stopped in this replay only: mend what is wrong, and replay them from there by `--key` and `--from`".to_owned());
                return lines;
            }
        };
        let verbs = match (report.stopped_lanes.is_empty(), order) {
            (true, _) => "release|skip",
            (false, OrderBy::Partition) => "retry|skip",
            (false, OrderBy::Key) if report.parked_lanes.is_empty() => "retry|skip|park",
            (false, OrderBy::Key) => "retry|skip|park|release",
        };
        lines.push(format!(
            "`lanekeeper lanes list` shows them, `lanekeeper lanes {verbs}` decides"
        ));
    }
    lines
}

fn lane(state: &str, lane: &ReportedLane) -> String {
    format!(
        "{state}: {}/{}, key {}, at {}, {}: {}",
        lane.source,
        lane.partition,
        shown(&lane.key),
        lane.position,
        counted(lane.attempts.into(), "try"),
        shown(&lane.error)
    )
}
