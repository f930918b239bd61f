//! From what an operator names to positions: which part of each partition runs again.

use super::super::{
    exit::{CommandError, log_error},
    output::{self, shown},
    when::{When, stood_at},
};
use crate::{
    checkpoint::Checkpoint,
    config::{Config, OnGap, SourceConfig, SourceKind},
    record::PartitionName,
    run::{Selection, Span},
    source::local::{
        log::{Bounds, Log, LogError, Topic},
        put::partition_of,
    },
    store::Store,
};
use partitions::Resume;

/// What was asked for.
pub(super) struct Asked<'a> {
    pub(super) from: &'a When,
    pub(super) to: Option<&'a When>,
    pub(super) selection: Selection,
    pub(super) key: Option<&'a str>,
}

/// One partition that is looked at.
struct Place<'a> {
    name: PartitionName,
    number: u32,
    log: &'a Log,
    topic: &'a Topic,
    bounds: Bounds,
    source: &'a SourceConfig,
}

/// The parts that are meant; those without a record are left out. `store`: `None` where there is none
/// yet.
pub(super) async fn resolve(
    config: &Config,
    store: Option<&dyn Store>,
    asked: &Asked<'_>,
) -> Result<Vec<Span>, CommandError> {
    let mut spans = Vec::new();
    let mut partitions = 0;
    for (source, _) in asked.selection.choose(config)? {
        let SourceKind::Local { path, topic, .. } = &source.kind else {
            continue;
        };
        let Some(log) = Log::look(path).map_err(failed)? else {
            continue;
        };
        let Some(topic) = log.topic(topic).map_err(failed)? else {
            continue;
        };
        for number in numbers(&topic, asked)? {
            partitions += 1;
            let place = Place {
                name: PartitionName::new(&source.name, &topic.partition_name(number)),
                bounds: log.bounds(&topic, number).map_err(failed)?,
                log: &log,
                topic: &topic,
                number,
                source,
            };
            spans.extend(span(&place, store, asked).await?);
        }
    }
    let names_one = |when: &When| matches!(when, When::Position(_));
    if partitions > 1 && (names_one(asked.from) || asked.to.is_some_and(names_one)) {
        return Err(CommandError::Usage(format!(
            "a position is a place in one partition, and {partitions} are meant: say which by `--partition` or `--key`"
        )));
    }
    Ok(spans)
}

fn failed(error: LogError) -> CommandError {
    let message = error.to_string();
    log_error(&error, message)
}

/// The partitions of a topic that are meant; a key has one.
fn numbers(topic: &Topic, asked: &Asked<'_>) -> Result<Vec<u32>, CommandError> {
    let all = 0..topic.partitions();
    let of_key = asked
        .key
        .map(|key| (key, partition_of(Some(key.as_bytes()), topic.partitions())));
    let wanted = asked.selection.partition.as_deref();
    let named = |n: &u32| wanted.is_none_or(|wanted| topic.partition_name(*n) == wanted);
    let Some((key, of_key)) = of_key else {
        return Ok(all.filter(named).collect());
    };
    if named(&of_key) {
        return Ok(vec![of_key]);
    }
    Err(CommandError::Usage(format!(
        "records of key `{}` are in partition `{}`, not in `{}`: leave `--partition` out",
        shown(key),
        topic.partition_name(of_key),
        shown(wanted.unwrap_or_default())
    )))
}

async fn span(
    place: &Place<'_>,
    store: Option<&dyn Store>,
    asked: &Asked<'_>,
) -> Result<Option<Span>, CommandError> {
    let bounds = &place.bounds;
    if bounds.last == 0 {
        return Ok(None);
    }
    let first = match asked.from {
        When::Position(position) => offset(place, position)?.max(1),
        When::Time(time) => position_at(place, time.as_millisecond())?,
        When::Checkpoint | When::History(_) => frontier(place, store, asked.from).await? + 1,
    };
    let last = match asked.to {
        None => bounds.last,
        Some(When::Position(position)) => offset(place, position)?,
        Some(When::Time(time)) => position_at(place, time.as_millisecond())?.saturating_sub(1),
        Some(when @ (When::Checkpoint | When::History(_))) => frontier(place, store, when).await?,
    };
    let both = matches!(
        (asked.from, asked.to),
        (When::Position(_), Some(When::Position(_)))
    );
    if both && first > last {
        return Err(CommandError::Usage(format!(
            "`--from {first}` is behind `--to {last}`: the range is empty"
        )));
    }
    let Some(first) = retained(place, first, last)? else {
        return Ok(None);
    };
    let owner = match store {
        None => None,
        Some(store) => store.ownership(&place.name).await?,
    };
    Ok(Some(Span {
        name: place.name.clone(),
        number: place.number,
        first,
        last: last.min(bounds.last),
        generation: owner.map_or(0, |owner| owner.generation),
    })
    .filter(|span| span.first <= span.last))
}

/// Where to begin, when retention may have removed what was asked for; `None`: nowhere.
fn retained(place: &Place<'_>, first: u64, last: u64) -> Result<Option<u64>, CommandError> {
    let kept = place.bounds.first;
    if first >= kept || first > last {
        return Ok(Some(first));
    }
    let what = format!(
        "`{}`: {first} to {} are asked for and gone: the log `{}` begins at {kept}",
        place.name,
        last.min(kept - 1),
        place.log.path().display(),
    );
    match place.source.on_gap {
        OnGap::Refuse => Err(CommandError::Usage(format!(
            "{what}; `on_gap` is `refuse`: begin at `--from {kept}` or later, or set `on_gap` to `earliest`"
        ))),
        OnGap::Earliest => {
            output::note(&format!("{what}; it begins there"));
            Ok(Some(kept))
        }
        OnGap::Latest => {
            output::note(&format!(
                "{what}; `on_gap` is `latest`: the partition is left out"
            ));
            Ok(None)
        }
    }
}

fn offset(place: &Place<'_>, position: &crate::position::Position) -> Result<u64, CommandError> {
    let end = place.bounds.last;
    match position.offset() {
        Some(offset) if offset <= end => Ok(offset),
        Some(offset) => Err(CommandError::Usage(format!(
            "there is no position {offset} in `{}`: it ends at {end}",
            place.name
        ))),
        None => Err(CommandError::Usage(format!(
            "`{position}` is no position of an embedded log: those of `{}` are 1 to {end}",
            place.name
        ))),
    }
}

fn position_at(place: &Place<'_>, at: i64) -> Result<u64, CommandError> {
    let found = place.log.position_at(place.topic, place.number, at);
    found.map_err(failed)
}

/// Position of the last record of the settled prefix, now or as it was; 0 before the first.
async fn frontier(
    place: &Place<'_>,
    store: Option<&dyn Store>,
    when: &When,
) -> Result<u64, CommandError> {
    let Some(store) = store else { return Ok(0) };
    let Some(owner) = store.ownership(&place.name).await? else {
        return Ok(0);
    };
    let When::History(time) = when else {
        return match &owner.checkpoint {
            None => Ok(0),
            Some(checkpoint) => settled(place, checkpoint),
        };
    };
    let history = store.history(&place.name).await?;
    match stood_at(&history, *time) {
        Some((_, checkpoint)) => settled(place, checkpoint),
        None => Err(CommandError::Usage(format!(
            "no checkpoint of `{}` was kept until {time}: `lanekeeper checkpoint show` lists those that were",
            place.name
        ))),
    }
}

fn settled(place: &Place<'_>, checkpoint: &Checkpoint) -> Result<u64, CommandError> {
    let here = place.topic.id.to_string();
    if let Some(there) = { &checkpoint.incarnation }
        .as_ref()
        .filter(|id| **id != here)
    {
        return Err(CommandError::Usage(format!(
            "the checkpoint of `{}` is of log `{there}`, and its topic is log `{here}`, made anew since: say `--from` and `--to` by time or position",
            place.name
        )));
    }
    let frontier = match &checkpoint.resume {
        Resume::Beginning => Some(0),
        Resume::At(first) => first.offset().map(|first| first.saturating_sub(1)),
        Resume::After(last) => last.offset(),
    };
    frontier.ok_or_else(|| {
        CommandError::Usage(format!(
            "the checkpoint of `{}` is at no position of an embedded log",
            place.name
        ))
    })
}
