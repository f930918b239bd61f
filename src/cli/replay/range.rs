//! From what an operator names to positions: which part of each partition runs again.

use super::super::{
    exit::CommandError,
    output::{self, shown},
    when::{When, stood_at},
};
use crate::{
    checkpoint::Checkpoint,
    config::{Config, OnGap, SourceConfig},
    position::Position,
    run::{Held, PartitionLog, RunError, Selection, Span},
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
    log: &'a dyn PartitionLog,
    held: Held,
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
    for (source, mut logs) in asked.selection.logs(config)? {
        if let Some(key) = asked.key {
            logs.retain(|log| log.may_hold(key.as_bytes()));
            if logs.is_empty() && asked.selection.partition.is_some() {
                return Err(elsewhere(config, asked, key)?);
            }
        }
        for log in &logs {
            partitions += 1;
            let place = Place {
                log: &**log,
                held: log.held()?,
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

/// The key's records are in another partition than the one that was named.
fn elsewhere(config: &Config, asked: &Asked<'_>, key: &str) -> Result<CommandError, RunError> {
    let all = Selection {
        partition: None,
        ..asked.selection.clone()
    };
    let all = all.logs(config)?;
    let mut logs = all.iter().flat_map(|(_, logs)| logs);
    let holder = logs.find(|log| log.may_hold(key.as_bytes()));
    let there = holder.map_or_else(String::new, |log| log.name().partition.to_string());
    let named = asked.selection.partition.as_deref().unwrap_or_default();
    Ok(CommandError::Usage(format!(
        "records of key `{}` are in partition `{there}`, not in `{}`: leave `--partition` out",
        shown(key),
        shown(named)
    )))
}

async fn span(
    place: &Place<'_>,
    store: Option<&dyn Store>,
    asked: &Asked<'_>,
) -> Result<Option<Span>, CommandError> {
    let (origin, held) = (place.log.origin(), &place.held);
    let Some(end) = held.next.checked_sub(1).filter(|last| *last >= origin) else {
        return Ok(None);
    };
    let first = match asked.from {
        When::Position(position) => offset(place, position)?.max(origin),
        When::Time(time) => place.log.at_time(time.as_millisecond())?,
        When::Checkpoint | When::History(_) => unsettled(place, store, asked.from).await?,
    };
    let before = match asked.to {
        None => held.next,
        Some(When::Position(position)) => offset(place, position)? + 1,
        Some(When::Time(time)) => place.log.at_time(time.as_millisecond())?,
        Some(when @ (When::Checkpoint | When::History(_))) => unsettled(place, store, when).await?,
    };
    if let (When::Position(_), Some(When::Position(last))) = (asked.from, asked.to)
        && first >= before
    {
        return Err(CommandError::Usage(format!(
            "`--from {first}` is behind `--to {last}`: the range is empty"
        )));
    }
    let Some(last) = before.checked_sub(1) else {
        return Ok(None);
    };
    let Some(first) = retained(place, first, last)? else {
        return Ok(None);
    };
    let owner = match store {
        None => None,
        Some(store) => store.ownership(place.log.name()).await?,
    };
    Ok(Some(Span {
        name: place.log.name().clone(),
        first,
        last: last.min(end),
        generation: owner.map_or(0, |owner| owner.generation),
    })
    .filter(|span| span.first <= span.last))
}

/// Where to begin, when retention may have removed what was asked for; `None`: nowhere.
fn retained(place: &Place<'_>, first: u64, last: u64) -> Result<Option<u64>, CommandError> {
    let kept = place.held.first;
    if first >= kept || first > last {
        return Ok(Some(first));
    }
    let what = format!(
        "`{}`: {first} to {} are asked for and gone: {} begins at {kept}",
        place.log.name(),
        last.min(kept - 1),
        place.log.describe(),
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

fn offset(place: &Place<'_>, position: &Position) -> Result<u64, CommandError> {
    let (origin, name) = (place.log.origin(), place.log.name());
    let end = place.held.next.saturating_sub(1);
    match position.offset() {
        Some(offset) if offset <= end => Ok(offset),
        Some(offset) => Err(CommandError::Usage(format!(
            "there is no position {offset} in `{name}`: it ends at {end}"
        ))),
        None => Err(CommandError::Usage(format!(
            "`{position}` is no position of {}: those of `{name}` are {origin} to {end}",
            place.log.describe()
        ))),
    }
}

/// The first position that is not in the settled prefix, now or as it was.
async fn unsettled(
    place: &Place<'_>,
    store: Option<&dyn Store>,
    when: &When,
) -> Result<u64, CommandError> {
    let (name, origin) = (place.log.name(), place.log.origin());
    let Some(store) = store else {
        return Ok(origin);
    };
    let Some(owner) = store.ownership(name).await? else {
        return Ok(origin);
    };
    let When::History(time) = when else {
        return match &owner.checkpoint {
            None => Ok(origin),
            Some(checkpoint) => behind(place, checkpoint),
        };
    };
    let history = store.history(name).await?;
    match stood_at(&history, *time) {
        Some((_, checkpoint)) => behind(place, checkpoint),
        None => Err(CommandError::Usage(format!(
            "no checkpoint of `{name}` was kept until {time}: `lanekeeper checkpoint show` lists those that were"
        ))),
    }
}

fn behind(place: &Place<'_>, checkpoint: &Checkpoint) -> Result<u64, CommandError> {
    let name = place.log.name();
    if let (Some(there), Some(here)) = (&checkpoint.incarnation, place.log.identity()?)
        && *there != here
    {
        return Err(CommandError::Usage(format!(
            "the checkpoint of `{name}` is of log `{there}`, and its topic is log `{here}`, made anew since: say `--from` and `--to` by time or position"
        )));
    }
    let next = match &checkpoint.resume {
        Resume::Beginning => Some(place.log.origin()),
        Resume::At(first) => first.offset(),
        Resume::After(last) => last.offset().map(|last| last.saturating_add(1)),
    };
    next.ok_or_else(|| {
        CommandError::Usage(format!(
            "the checkpoint of `{name}` is at no position of {}",
            place.log.describe()
        ))
    })
}
