//! Where reading begins: the checkpoint's word against what the log holds.

use super::{
    super::{
        OnGap, Settings, StartAt,
        log::{Bounds, Log, Topic},
    },
    refused, unreadable,
};
use crate::{
    checkpoint::Checkpoint,
    position::Position,
    source::{
        SourceError,
        cursor::{Cursor, start_of},
    },
};
use partitions::Resume;

/// The first position of an embedded log.
const FIRST: u64 = 1;

/// Where a reader stands.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Placed {
    pub(super) cursor: Cursor,
    pub(super) from: Resume<Position>,
    /// What of it is lost to us.
    pub(super) gap: Option<String>,
    /// What retention need not keep for us.
    pub(super) frontier: u64,
    /// End of the log.
    pub(super) last: u64,
}

/// What retention must keep before the place is known: a checkpoint may have been moved back, or
/// lost, since the frontier was last registered.
pub(super) fn frontier_of(checkpoint: Option<&Checkpoint>) -> u64 {
    checkpoint
        .and_then(|checkpoint| start_of(checkpoint, FIRST))
        .map_or(0, |start| start.saturating_sub(1))
}

/// What a run with this checkpoint would be told, where it does not simply go on: why it would not
/// start, or what it would go on without.
#[cfg(feature = "cli")]
pub(crate) fn foreseen(
    log: &Log,
    topic: &Topic,
    partition: u32,
    settings: &Settings,
    checkpoint: Option<&Checkpoint>,
) -> Result<Option<String>, SourceError> {
    place(log, topic, partition, settings, checkpoint).map(|placed| placed.gap)
}

/// Places a reader.
pub(super) fn place(
    log: &Log,
    topic: &Topic,
    partition: u32,
    settings: &Settings,
    checkpoint: Option<&Checkpoint>,
) -> Result<Placed, SourceError> {
    let bounds = log.bounds(topic, partition).map_err(unreadable)?;
    let name = format!("{}/{}", settings.name, topic.partition_name(partition));
    let Some(checkpoint) = checkpoint else {
        if let Some(first) = settings.extent.first(&topic.partition_name(partition)) {
            return Ok(at(first, &bounds, None));
        }
        let position = match settings.start {
            StartAt::Earliest => bounds.first,
            StartAt::Latest => bounds.last + 1,
            StartAt::Time(at) => log.position_at(topic, partition, at).map_err(unreadable)?,
            StartAt::Refuse => {
                return Err(refused(format!(
                    "`{name}` has no checkpoint, and `start` is `refuse`: set it to `earliest`, `latest` or a time, or import a checkpoint"
                )));
            }
        };
        return Ok(at(position, &bounds, None));
    };
    let Some(mut cursor) = Cursor::behind(checkpoint, FIRST) else {
        let what = format!(
            "the checkpoint of `{name}` is at {}, which is no position of an embedded log",
            described(checkpoint)
        );
        return go_on(settings, bounds.first, &bounds, &what);
    };
    if let Some(what) = mismatch(log, topic, &name, &bounds, checkpoint) {
        return go_on(settings, bounds.first, &bounds, &what);
    }
    if cursor.next() >= bounds.first {
        return Ok(Placed {
            from: checkpoint.resume.clone(),
            frontier: frontier_of(Some(checkpoint)),
            gap: None,
            last: bounds.last,
            cursor,
        });
    }
    let removed = bounds
        .trimmed_at
        .and_then(|at| jiff::Timestamp::from_millisecond(at).ok())
        .map_or_else(
            || "they were not removed by retention".to_owned(),
            |at| format!("retention last removed records at {at:.0}"),
        );
    let (lost, first) = (cursor.next(), bounds.first);
    let what = format!(
        "`{name}` has to go on at position {lost}, and the log `{}` begins at {first}: what was open of {lost} to {} is gone ({removed})",
        log.path().display(),
        first - 1,
    );
    let mut placed = go_on(settings, first, &bounds, &what)?;
    if settings.on_gap == OnGap::Earliest {
        // What the checkpoint settles behind the gap stays settled.
        cursor.pass(first - 1);
        placed.cursor = cursor;
    }
    Ok(placed)
}

fn at(position: u64, bounds: &Bounds, gap: Option<String>) -> Placed {
    Placed {
        cursor: Cursor::from(position),
        from: Resume::At(Position::Offset(position)),
        gap,
        frontier: position.saturating_sub(1),
        last: bounds.last,
    }
}

/// As `on_gap` says.
fn go_on(
    settings: &Settings,
    earliest: u64,
    bounds: &Bounds,
    what: &str,
) -> Result<Placed, SourceError> {
    let (position, gap) = settings.on_gap.go_on(earliest, bounds.last + 1, what)?;
    Ok(at(position, bounds, Some(gap)))
}

/// What says that the checkpoint is not of this log as it stands.
fn mismatch(
    log: &Log,
    topic: &Topic,
    name: &str,
    bounds: &Bounds,
    checkpoint: &Checkpoint,
) -> Option<String> {
    let (path, here) = (log.path().display(), topic.id.to_string());
    if let Some(there) = checkpoint.incarnation.as_ref().filter(|id| **id != here) {
        return Some(format!(
            "the checkpoint of `{name}` (at {}) is of log `{there}`, and topic `{}` in `{path}` is log `{here}`, made anew since",
            described(checkpoint),
            topic.name,
        ));
    }
    let highest = frontier_of(Some(checkpoint)).max(
        checkpoint
            .settled_to
            .as_ref()
            .and_then(Position::offset)
            .unwrap_or(0),
    );
    (highest > bounds.last).then(|| {
        format!(
            "the checkpoint of `{name}` is at position {highest}, and the log `{path}` ends at {}: it looks like an older copy",
            bounds.last
        )
    })
}

fn described(checkpoint: &Checkpoint) -> String {
    match (&checkpoint.resume, &checkpoint.settled_to) {
        (_, Some(position)) | (Resume::After(position) | Resume::At(position), None) => {
            format!("position {position}")
        }
        (Resume::Beginning, None) => "its beginning".to_owned(),
    }
}
