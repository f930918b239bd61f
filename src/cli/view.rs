//! Lanes and records as people and machines see them: what `status` and `lanes` share.

use super::output::{ago, moment, shown};
use crate::{
    record::{LaneKey, PartitionName, Record},
    store::{DecisionNote, LaneItem, LaneState, Store, StoreError},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;

/// A stopped or parked lane.
#[derive(Serialize)]
pub(crate) struct LaneView {
    source: String,
    partition: String,
    #[serde(flatten)]
    key: KeyView,
    state: LaneState,
    /// Of its head: the record that failed for good.
    position: String,
    /// Attempts that the head used up.
    attempts: u32,
    error: String,
    first_error: String,
    since: String,
    /// Of a chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    tail: Option<String>,
    /// Records in the store's chain, and their bytes.
    count: u64,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<DecisionView>,
}

/// A lane's key; exactly one of the two, or neither where there is none.
#[derive(Serialize)]
pub(crate) struct KeyView {
    /// `key`, `partition`, `no_key` (of a partition) or `record` (one without key).
    lane: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
}

#[derive(Serialize)]
struct DecisionView {
    verb: &'static str,
    by: String,
    why: Option<String>,
    at: String,
    taken: bool,
}

impl LaneView {
    pub(crate) fn new(partition: &PartitionName, item: &LaneItem) -> Self {
        Self {
            source: partition.source.to_string(),
            partition: partition.partition.to_string(),
            key: KeyView::new(&item.lane),
            state: item.state,
            position: item.head.to_string(),
            attempts: item.attempts,
            error: item.last_error.clone(),
            first_error: item.first_error.clone(),
            since: moment(item.since),
            tail: item.tail.as_ref().map(ToString::to_string),
            count: item.count,
            bytes: item.bytes,
            decision: item.decision.as_ref().map(DecisionView::new),
        }
    }
}

impl DecisionView {
    fn new(note: &DecisionNote) -> Self {
        Self {
            verb: note.verb.name(),
            by: note.by.clone(),
            why: note.why.clone(),
            at: moment(note.at),
            taken: note.taken,
        }
    }
}

impl KeyView {
    pub(crate) fn new(lane: &LaneKey) -> Self {
        let (key, key_base64) = match lane.key().map(|key| (key, std::str::from_utf8(key))) {
            None => (None, None),
            Some((_, Ok(text))) => (Some(text.to_owned()), None),
            Some((bytes, Err(_))) => (None, Some(STANDARD.encode(bytes))),
        };
        Self {
            lane: match lane.bytes().first() {
                Some(b'p') => "partition",
                Some(b'n') => "no_key",
                Some(b'e') => "record",
                _ => "key",
            },
            key,
            key_base64,
        }
    }
}

/// A lane's key for people, and so that it can be given back as an argument.
pub(crate) fn key_text(lane: &LaneKey) -> String {
    let view = KeyView::new(lane);
    match (view.key, view.key_base64) {
        (Some(key), _) => format!("key `{}`", shown(&key)),
        (None, Some(base64)) => format!("key-base64 `{base64}`"),
        (None, None) => lane.to_string(),
    }
}

/// A lane for people: where it stands and why, in a few lines.
pub(crate) fn lane_text(partition: &PartitionName, item: &LaneItem, now: i64) -> String {
    let mut out = format!(
        "  {} {partition}, {}, at {} since {} ago, {}",
        state_name(item.state),
        key_text(&item.lane),
        item.head,
        ago(now, item.since),
        counted(item.attempts.into(), "try"),
    );
    if item.count > 0 {
        out.push_str(&format!(", {} in its chain", records(item.count)));
    }
    out.push_str(&format!("\n    {}\n", shown(&item.last_error)));
    if item.first_error != item.last_error && !item.first_error.is_empty() {
        out.push_str(&format!("    first: {}\n", shown(&item.first_error)));
    }
    if let Some(note) = &item.decision {
        let why = { &note.why }
            .as_ref()
            .map_or_else(String::new, |why| format!(", since \"{}\"", shown(why)));
        let state = if note.taken { "taken" } else { "waiting" };
        out.push_str(&format!(
            "    decided: {} by {} {} ago{why} ({state})\n",
            note.verb.name(),
            shown(&note.by),
            ago(now, note.at),
        ));
    }
    out
}

pub(crate) fn records(count: u64) -> String {
    counted(count, "record")
}

/// `1 lane`, `2 lanes`, `2 retries`: for words that end in `y` or take an `s`.
pub(crate) fn counted(count: u64, what: &str) -> String {
    match (count, what.strip_suffix('y')) {
        (1, _) => format!("1 {what}"),
        (_, Some(stem)) => format!("{count} {stem}ies"),
        (_, None) => format!("{count} {what}s"),
    }
}

pub(crate) fn state_name(state: LaneState) -> &'static str {
    match state {
        LaneState::Stopped => "stopped",
        LaneState::Parked => "parked",
        LaneState::Draining => "draining",
        LaneState::Live => "live",
    }
}

/// A record of a lane.
#[derive(Serialize)]
pub(crate) struct RecordView {
    id: String,
    position: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    headers: Vec<(String, HeaderView)>,
    timestamp: Option<i64>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum HeaderView {
    Text(String),
    Bytes { base64: String },
}

impl RecordView {
    pub(crate) fn new(record: &Record) -> Self {
        let (value, value_base64) = match record.value().map(|v| (v, std::str::from_utf8(v))) {
            None => (None, None),
            Some((_, Ok(text))) => (Some(text.to_owned()), None),
            Some((bytes, Err(_))) => (None, Some(STANDARD.encode(bytes))),
        };
        let header = |value: &[u8]| match std::str::from_utf8(value) {
            Ok(text) => HeaderView::Text(text.to_owned()),
            Err(_) => HeaderView::Bytes {
                base64: STANDARD.encode(value),
            },
        };
        Self {
            id: record.id(),
            position: record.position().to_string(),
            value,
            value_base64,
            headers: record
                .headers()
                .map(|(name, value)| (name.to_owned(), header(value)))
                .collect(),
            timestamp: record.timestamp(),
        }
    }

    /// For people, in one line.
    pub(crate) fn text(&self) -> String {
        let value = match (&self.value, &self.value_base64) {
            (Some(text), _) => shown(text),
            (None, Some(base64)) => format!("base64 {}", shown(base64)),
            (None, None) => "(no value)".to_owned(),
        };
        format!("  {}  {value}\n", self.position)
    }
}

/// All partitions with their lanes that are not live, by name.
pub(crate) async fn all_lanes(
    store: &dyn Store,
) -> Result<Vec<(PartitionName, Vec<LaneItem>)>, StoreError> {
    let mut partitions = store.partitions().await?;
    partitions.sort();
    let mut all = Vec::new();
    for partition in partitions {
        let mut lanes = store.lanes(&partition).await?;
        // Behind a mapping an item outlives its lane's release.
        lanes.retain(|item| item.state != LaneState::Live);
        lanes.sort_by(|a, b| a.head.cmp(&b.head));
        all.push((partition, lanes));
    }
    Ok(all)
}
