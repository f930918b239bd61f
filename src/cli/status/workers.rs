//! Workers, as `status` shows them.

use crate::{
    cli::{
        machine::{host, is_running},
        output::{ago, moment, shown},
        view::counted,
    },
    store::{Consumed, WorkerItem},
};
use serde::Serialize;

/// A worker that said nothing for longer is not counted on: it beats at least each minute.
const SILENT_MILLIS: i64 = 150_000;

#[derive(Serialize)]
pub(super) struct WorkerView {
    worker: String,
    pid: u32,
    host: String,
    running: bool,
    started: String,
    /// How old the figures are.
    age_ms: i64,
    in_flight: u32,
    waiting: u32,
    buffered: u64,
    paused: Vec<String>,
    sick_since: Option<String>,
    fenced: u64,
    /// Of its store, since it started; `null`: nothing is counted.
    consumed: Option<Consumed>,
}

/// Whether a worker can be expected to act.
pub(crate) fn is_alive(item: &WorkerItem, now: i64) -> bool {
    let spoke = now.saturating_sub(item.beat) < SILENT_MILLIS;
    spoke && (item.host != host() || is_running(item.pid))
}

pub(super) fn short(item: &WorkerItem) -> String {
    item.worker.to_string().chars().take(8).collect()
}

pub(super) fn worker_view(item: &WorkerItem, now: i64) -> WorkerView {
    WorkerView {
        worker: item.worker.to_string(),
        pid: item.pid,
        host: item.host.clone(),
        running: is_alive(item, now),
        started: moment(item.started),
        age_ms: now.saturating_sub(item.beat).max(0),
        in_flight: item.in_flight,
        waiting: item.waiting,
        buffered: item.buffered,
        paused: item.paused.clone(),
        sick_since: item.sick_since.map(moment),
        fenced: item.fenced,
        consumed: item.consumed,
    }
}

pub(super) fn worker_row(item: &WorkerItem, now: i64) -> Vec<String> {
    let state = match (is_alive(item, now), item.fenced) {
        (false, _) => "gone without a word".to_owned(),
        (true, 0) => String::new(),
        (true, n) => format!(
            "{} refused: another worker owns its partitions",
            counted(n, "write")
        ),
    };
    vec![
        short(item),
        item.pid.to_string(),
        shown(&item.host),
        ago(now, item.started),
        item.in_flight.to_string(),
        item.waiting.to_string(),
        item.buffered.to_string(),
        format!("{} ago", ago(now, item.beat)),
        state,
    ]
}
