//! Where reading begins: the checkpoint's word against what the cluster holds.

use super::{
    super::{
        SourceError, StartAt,
        cursor::{Cursor, start_of},
    },
    Settings,
    cluster::Bounds,
    refused,
};
use crate::{checkpoint::Checkpoint, position::Position};
use partitions::Resume;

/// The first offset of a partition.
const FIRST: u64 = 0;

/// What the cluster says of a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Found {
    pub(super) bounds: Bounds,
    /// The group's offset.
    pub(super) committed: Option<u64>,
    /// The first record of `start`'s time; `None`: none is so young, or no time was asked for.
    pub(super) at_time: Option<u64>,
}

/// Where a reader stands.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Placed {
    pub(super) cursor: Cursor,
    pub(super) from: Resume<Position>,
    /// What of it is lost to us.
    pub(super) gap: Option<String>,
    /// The log's last position now; `None`: it is empty.
    pub(super) last: Option<u64>,
}

/// A checkpoint as a claim found it.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) checkpoint: &'a Checkpoint,
    /// An operator moved it back: the group's offset is ahead of it with good reason.
    pub(super) is_rewound: bool,
    /// The topic's identity, where the cluster knows it.
    pub(super) incarnation: Option<&'a str>,
}

/// Places a reader of the partition `name` (`{source}/{topic}/{n}`).
pub(super) fn place(
    settings: &Settings,
    name: &str,
    found: &Found,
    known: Option<Known<'_>>,
) -> Result<Placed, SourceError> {
    let Some(known) = known else {
        return begin(settings, name, found);
    };
    let (checkpoint, bounds) = (known.checkpoint, &found.bounds);
    let go_on = |what: &str| {
        let (position, gap) = settings.on_gap.go_on(bounds.first, bounds.next, what)?;
        Ok(at(position, found, Some(gap)))
    };
    let Some((mut cursor, start)) =
        Cursor::behind(checkpoint, FIRST).zip(start_of(checkpoint, FIRST))
    else {
        return go_on(&format!(
            "the checkpoint of `{name}` is of another kind of log: its positions are no offsets"
        ));
    };
    if let Some(what) = mismatch(name, found, known, start) {
        return go_on(&what);
    }
    if let Some(committed) = found.committed.filter(|committed| *committed > start)
        && !settings.store_is_shared
        && !known.is_rewound
    {
        return Err(refused(format!(
            "the checkpoint of `{name}` goes on at offset {start}, and group `{}` has committed {committed}: another worker of the group keeps its checkpoints elsewhere; workers of a group need one store (`[store] type = \"dynamodb\"`), or a `group_id` and an `app` of their own",
            settings.group_id
        )));
    }
    let lost = cursor.next();
    if lost >= bounds.first {
        return Ok(Placed {
            from: checkpoint.resume.clone(),
            gap: None,
            last: bounds.next.checked_sub(1),
            cursor,
        });
    }
    let mut placed = go_on(&format!(
        "`{name}` has to go on at offset {lost}, and its log begins at {}: what was open of {lost} to {} was removed by retention or by an operator",
        bounds.first,
        bounds.first - 1,
    ))?;
    if settings.on_gap == super::OnGap::Earliest {
        // What the checkpoint settles behind the gap stays settled.
        cursor.pass(bounds.first - 1);
        placed.cursor = cursor;
    }
    Ok(placed)
}

/// Without a checkpoint: at the beginning of the range that is read, else as `start` says.
fn begin(settings: &Settings, name: &str, found: &Found) -> Result<Placed, SourceError> {
    let partition = { name.strip_prefix(&settings.name) }.and_then(|rest| rest.strip_prefix('/'));
    if let Some(first) = partition.and_then(|partition| settings.extent.first(partition)) {
        if first >= found.bounds.first {
            return Ok(at(first, found, None));
        }
        let what = format!(
            "`{name}` is to be read from offset {first} on, and its log begins at {}: what lies between was removed by retention or by an operator",
            found.bounds.first
        );
        let bounds = &found.bounds;
        let (position, gap) = settings.on_gap.go_on(bounds.first, bounds.next, &what)?;
        return Ok(at(position, found, Some(gap)));
    }
    let position = match (settings.start, found.committed) {
        (Some(StartAt::Earliest), _) | (None, None) => found.bounds.first,
        (Some(StartAt::Latest), _) => found.bounds.next,
        (Some(StartAt::Time(_)), _) => found.at_time.unwrap_or(found.bounds.next),
        (Some(StartAt::Refuse), _) => {
            return Err(refused(format!(
                "`{name}` has no checkpoint, and `start` is `refuse`: set it to `earliest`, `latest` or a time, or import a checkpoint"
            )));
        }
        (None, Some(committed)) => {
            return Err(refused(format!(
                "`{name}` has no checkpoint, and group `{}` has committed offset {committed}: is the store the one that it worked with before (`app`, `[store]`)? Else say where to begin, by `start = \"earliest\"`, `\"latest\"` or a time, or take over what the group knows: `lanekeeper checkpoint import --from-group`",
                settings.group_id
            )));
        }
    };
    Ok(at(position, found, None))
}

fn at(position: u64, found: &Found, gap: Option<String>) -> Placed {
    Placed {
        cursor: Cursor::from(position),
        from: Resume::At(Position::Offset(position)),
        gap,
        last: found.bounds.next.checked_sub(1),
    }
}

/// What says that the checkpoint is not of this topic as it stands.
fn mismatch(name: &str, found: &Found, known: Known<'_>, start: u64) -> Option<String> {
    let checkpoint = known.checkpoint;
    if let (Some(there), Some(here)) = (&checkpoint.incarnation, known.incarnation)
        && there != here
    {
        return Some(format!(
            "the checkpoint of `{name}` (it goes on at offset {start}) is of topic id `{there}`, and the topic has id `{here}`: it was deleted and made anew"
        ));
    }
    let settled = checkpoint.settled_to.as_ref().and_then(Position::offset);
    let next = settled.map_or(start, |settled| start.max(settled + 1));
    (next > found.bounds.next).then(|| {
        format!(
            "the checkpoint of `{name}` has settled offsets up to {}, and its log ends before {}: records were lost there, or it is another log",
            next - 1,
            found.bounds.next
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        record::{LaneOrder, NoKey, OrderBy},
        source::{Extent, OnGap},
    };
    use std::collections::BTreeMap;

    fn settings(start: Option<StartAt>, on_gap: OnGap) -> Settings {
        Settings {
            name: "orders".to_owned(),
            bootstrap_servers: "127.0.0.1:9092".to_owned(),
            topics: vec!["orders".to_owned()],
            group_id: "billing".to_owned(),
            properties: BTreeMap::new(),
            order: LaneOrder {
                by: OrderBy::Key,
                no_key: NoKey::Partition,
            },
            start,
            on_gap,
            new_partitions_wait: true,
            store_is_shared: true,
            queue_bytes: 1 << 20,
            extent: Extent::Everything,
        }
    }

    fn found(first: u64, next: u64, committed: Option<u64>) -> Found {
        Found {
            bounds: Bounds { first, next },
            committed,
            at_time: Some(15),
        }
    }

    fn checkpoint(after: u64, settled_to: u64, open: &[u64]) -> Checkpoint {
        Checkpoint {
            resume: Resume::After(Position::Offset(after)),
            settled_to: Some(Position::Offset(settled_to)),
            open: open.iter().map(|&n| Position::Offset(n)).collect(),
            incarnation: Some("old".to_owned()),
            ..Checkpoint::default()
        }
    }

    fn known<'a>(checkpoint: &'a Checkpoint, incarnation: &'a str) -> Known<'a> {
        Known {
            checkpoint,
            is_rewound: false,
            incarnation: Some(incarnation),
        }
    }

    fn words(result: Result<Placed, SourceError>) -> String {
        result.map_or_else(
            |error| error.to_string(),
            |placed| placed.gap.unwrap_or_default(),
        )
    }

    #[test]
    fn without_a_checkpoint_start_decides_and_a_group_with_offsets_is_not_passed_over() {
        let first = |start, committed| {
            let settings = settings(start, OnGap::Refuse);
            place(
                &settings,
                "orders/orders/0",
                &found(10, 20, committed),
                None,
            )
            .map(|placed| placed.cursor.next())
        };
        assert_eq!(first(None, None), Ok(10));
        assert_eq!(first(Some(StartAt::Earliest), Some(12)), Ok(10));
        assert_eq!(first(Some(StartAt::Latest), Some(12)), Ok(20));
        assert_eq!(first(Some(StartAt::Time(5)), None), Ok(15));
        let error = first(None, Some(12)).expect_err("an offset").to_string();
        assert!(error.contains("committed offset 12"), "{error}");
        assert!(first(Some(StartAt::Refuse), None).is_err());
    }

    #[test]
    fn a_checkpoint_within_the_log_is_gone_on_with_from_open_to_open() {
        let settings = settings(None, OnGap::Refuse);
        let checkpoint = checkpoint(11, 18, &[12, 15]);
        let placed = place(
            &settings,
            "orders/orders/0",
            &found(10, 20, Some(12)),
            Some(known(&checkpoint, "old")),
        )
        .expect("placed");
        assert_eq!(placed.from, checkpoint.resume);
        assert_eq!((placed.cursor.next(), placed.last), (12, Some(19)));
        assert_eq!(placed.cursor.remaining(19), 3);
    }

    #[test]
    fn what_the_log_does_not_hold_is_a_gap_by_name() {
        let checkpoint = checkpoint(11, 18, &[12, 15]);
        for (found, incarnation, named) in [
            (found(14, 20, None), "old", "begins at 14"),
            (found(0, 15, None), "old", "ends before 15"),
            (found(10, 20, None), "new", "has id `new`"),
        ] {
            let place = |on_gap| {
                let settings = settings(None, on_gap);
                place(
                    &settings,
                    "o/o/0",
                    &found,
                    Some(known(&checkpoint, incarnation)),
                )
            };
            let refused = place(OnGap::Refuse).expect_err("refused").to_string();
            assert!(refused.contains(named), "{refused}");
            assert!(words(place(OnGap::Latest)).contains(named));
            let latest = place(OnGap::Latest).map(|placed| placed.cursor.next());
            assert_eq!(latest, Ok(found.bounds.next));
        }
        // What is settled behind the gap is not repeated.
        let settings = settings(None, OnGap::Earliest);
        let placed = place(
            &settings,
            "o/o/0",
            &found(14, 20, None),
            Some(known(&checkpoint, "old")),
        );
        assert_eq!(placed.map(|placed| placed.cursor.remaining(19)), Ok(2));
    }

    #[test]
    fn a_store_that_is_not_shared_must_not_be_behind_the_group() {
        let mut settings = settings(None, OnGap::Refuse);
        settings.store_is_shared = false;
        let checkpoint = checkpoint(11, 18, &[12, 15]);
        let mut known = known(&checkpoint, "old");
        let place =
            |known, committed| place(&settings, "o/o/0", &found(10, 20, committed), Some(known));
        assert!(place(known, Some(12)).is_ok());
        let error = place(known, Some(13)).expect_err("ahead").to_string();
        assert!(error.contains("one store"), "{error}");
        known.is_rewound = true;
        assert!(place(known, Some(13)).is_ok());
    }
}
