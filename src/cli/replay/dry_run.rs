//! What a replay would run, counted from the log; nothing is called.

use super::super::{
    exit::CommandError,
    output::{self, moment, shown, table},
    view::{KeyView, records},
};
use crate::{
    config::Config,
    record::{LaneKey, PartitionName},
    run::{PartitionLog, RunError, Selection, Span},
};
use serde::Serialize;
use std::collections::HashMap;

/// Most keys that people are shown.
const SHOWN_MAX: usize = 20;

/// Most keys of the document.
const KEYS_MAX: usize = 10_000;

/// The document.
#[derive(Serialize)]
struct Document {
    format: u32,
    records: u64,
    partitions: Vec<PartitionView>,
    /// By number of records, most first.
    keys: Vec<KeyCount>,
    /// Keys that are left out.
    more_keys: usize,
}

#[derive(Serialize)]
pub(super) struct PartitionView {
    source: String,
    partition: String,
    records: u64,
    first: EndView,
    last: EndView,
}

/// A record at an end of what would run.
#[derive(Clone, Serialize)]
struct EndView {
    position: String,
    /// When it was put; `null`: the log does not say.
    at: Option<String>,
}

/// Of a part that holds a record: how many, and its ends with their times in milliseconds since 1970.
pub(super) struct Found {
    pub(super) records: u64,
    pub(super) first: (String, Option<i64>),
    pub(super) last: (String, Option<i64>),
}

impl PartitionView {
    pub(super) fn new(name: &PartitionName, found: Found) -> Self {
        let end = |(position, timestamp): (String, Option<i64>)| EndView {
            position,
            at: timestamp.map(moment),
        };
        Self {
            source: name.source.to_string(),
            partition: name.partition.to_string(),
            records: found.records,
            first: end(found.first),
            last: end(found.last),
        }
    }
}

impl EndView {
    fn text(&self) -> String {
        match &self.at {
            Some(at) => format!("{} of {at}", self.position),
            None => self.position.clone(),
        }
    }
}

#[derive(Serialize)]
struct KeyCount {
    #[serde(flatten)]
    key: KeyView,
    records: u64,
}

/// Records by key.
pub(super) type Counts = HashMap<Option<Vec<u8>>, u64>;

pub(super) fn count_key(keys: &mut Counts, key: Option<&[u8]>) {
    match keys.get_mut(&key.map(<[u8]>::to_vec)) {
        Some(count) => *count += 1,
        None => drop(keys.insert(key.map(<[u8]>::to_vec), 1)),
    }
}

pub(super) fn run(
    config: &Config,
    selection: &Selection,
    spans: &[Span],
    key: Option<&[u8]>,
    json: bool,
) -> Result<(), CommandError> {
    let mut keys = Counts::new();
    let mut partitions = Vec::new();
    for (_, logs) in selection.logs(config)? {
        for log in logs {
            for span in spans.iter().filter(|span| span.name == *log.name()) {
                partitions.extend(count(&*log, span, key, &mut keys)?);
            }
        }
    }
    show(partitions, keys, json)
}

/// Tells what was counted.
pub(super) fn show(
    partitions: Vec<PartitionView>,
    keys: Counts,
    json: bool,
) -> Result<(), CommandError> {
    let mut keys: Vec<(LaneKey, u64)> = keys
        .into_iter()
        .map(|(key, count)| {
            let lane = key.map_or_else(LaneKey::without_key, |key| LaneKey::of_key(&key));
            (lane, count)
        })
        .collect();
    keys.sort_by(|(a, n), (b, m)| m.cmp(n).then_with(|| a.bytes().cmp(b.bytes())));
    let total = partitions.iter().map(|p| p.records).sum();
    if json {
        let shown = keys.iter().take(KEYS_MAX).map(|(lane, records)| KeyCount {
            key: KeyView::new(lane),
            records: *records,
        });
        return output::json(&Document {
            format: 1,
            records: total,
            partitions,
            keys: shown.collect(),
            more_keys: keys.len().saturating_sub(KEYS_MAX),
        });
    }
    output::raw(text(total, &partitions, &keys).as_bytes())
}

fn count(
    log: &dyn PartitionLog,
    span: &Span,
    key: Option<&[u8]>,
    keys: &mut Counts,
) -> Result<Option<PartitionView>, RunError> {
    let (mut found, mut ends) = (0, None);
    log.read((span.first, span.last), &mut |record| {
        if key.is_some_and(|key| record.key != Some(key)) {
            return;
        }
        found += 1;
        count_key(keys, record.key);
        let end = (record.position, record.timestamp);
        let (_, last) = ends.get_or_insert((end, end));
        *last = end;
    })?;
    let end = |(position, timestamp): (u64, Option<i64>)| (position.to_string(), timestamp);
    Ok(ends.map(|(first, last)| {
        let found = Found {
            records: found,
            first: end(first),
            last: end(last),
        };
        PartitionView::new(&span.name, found)
    }))
}

fn text(total: u64, partitions: &[PartitionView], keys: &[(LaneKey, u64)]) -> String {
    if total == 0 {
        return "nothing would run: no record lies in that range\n".to_owned();
    }
    let mut text = format!("{} would run, in order per key\n\n", records(total));
    let row = |p: &PartitionView| {
        vec![
            format!("{}/{}", p.source, p.partition),
            p.records.to_string(),
            p.first.text(),
            p.last.text(),
        ]
    };
    let rows: Vec<_> = partitions.iter().map(row).collect();
    text.push_str(&table(&["PARTITION", "RECORDS", "FIRST", "LAST"], &rows));
    text.push('\n');
    let row =
        |(lane, records): &(LaneKey, u64)| vec![shown(&lane.to_string()), records.to_string()];
    let rows: Vec<_> = keys.iter().take(SHOWN_MAX).map(row).collect();
    text.push_str(&table(&["KEY", "RECORDS"], &rows));
    if keys.len() > SHOWN_MAX {
        text.push_str(&format!("  and {} more keys\n", keys.len() - SHOWN_MAX));
    }
    text
}
