//! `checkpoint export`: all that it takes to go on elsewhere from here.

use super::{
    Place,
    document::{Document, Exported, ExportedLane, FORMAT, Ranges, lane_name},
};
use crate::{
    cli::{exit::CommandError, output},
    config::Config,
    position::Position,
    record::{Assignment, PartitionName},
    store::{LaneItem, Ownership, Store},
};
use std::{
    fs::OpenOptions,
    io::{ErrorKind, Write},
    path::Path,
    sync::Arc,
};

/// Records and bytes of a chain read at a time.
const PAGE: usize = 10_000;
const PAGE_BYTES: u64 = 16 << 20;

pub(super) async fn run(
    config: &Config,
    store: &dyn Store,
    place: &Place,
    file: &Path,
) -> Result<(), CommandError> {
    let mut partitions = Vec::new();
    for name in place.find(store).await? {
        if let Some(exported) = partition(store, &name).await? {
            partitions.push(exported);
        }
    }
    if partitions.is_empty() {
        return Err(CommandError::Usage(format!(
            "{} holds no partition yet: there is nothing to export",
            store.describe()
        )));
    }
    let count = partitions.len();
    let document = Document {
        format: FORMAT,
        app: config.app.clone(),
        at: output::moment(output::now()),
        partitions,
    };
    if file == Path::new("-") {
        return output::json(&document);
    }
    write(&document, file)?;
    let what = if count == 1 {
        "1 partition".to_owned()
    } else {
        format!("{count} partitions")
    };
    output::note(&format!("wrote {what} to `{}`", file.display()));
    Ok(())
}

fn write(document: &Document, file: &Path) -> Result<(), CommandError> {
    let mut text = serde_json::to_vec(document)
        .map_err(|error| CommandError::Internal(format!("cannot write JSON: {error}")))?;
    text.push(b'\n');
    let written = { OpenOptions::new().write(true).create_new(true).open(file) }
        .and_then(|mut file| file.write_all(&text).and_then(|()| file.sync_all()));
    written.map_err(|error| {
        CommandError::Usage(if error.kind() == ErrorKind::AlreadyExists {
            format!(
                "`{}` is there already and was not touched: name another file, or `-` for standard output",
                file.display()
            )
        } else {
            format!("`{}` cannot be written: {error}", file.display())
        })
    })
}

/// What stands of a partition. Read twice until nothing moved meanwhile, so that checkpoint and lanes
/// belong together.
async fn partition(
    store: &dyn Store,
    name: &PartitionName,
) -> Result<Option<Exported>, CommandError> {
    loop {
        let Some(before) = store.ownership(name).await? else {
            return Ok(None);
        };
        let mut lanes = Vec::new();
        for item in store.lanes(name).await? {
            let chain = chain(store, name, &before, &item).await?;
            lanes.push(lane(&item, &chain));
        }
        let after = store.ownership(name).await?;
        let same = |o: &Ownership| (o.epoch, o.commit, o.content);
        if after.as_ref().map(same) == Some(same(&before)) {
            return Ok(Some(Exported {
                source: name.source.to_string(),
                partition: name.partition.to_string(),
                epoch: before.epoch,
                generation: before.generation,
                checkpoint: before.checkpoint.as_ref().map(Into::into),
                lanes,
            }));
        }
    }
}

/// Positions of the records in a lane's chain.
pub(super) async fn chain(
    store: &dyn Store,
    name: &PartitionName,
    owner: &Ownership,
    item: &LaneItem,
) -> Result<Vec<Position>, CommandError> {
    let assignment = Arc::new(Assignment {
        name: name.clone(),
        epoch: owner.epoch,
        generation: owner.generation,
    });
    let mut positions: Vec<Position> = Vec::new();
    if item.count == 0 {
        return Ok(positions);
    }
    loop {
        let after = positions.last();
        let page = store.chain(&assignment, &item.lane, after, PAGE, PAGE_BYTES);
        let page = page.await?;
        if page.is_empty() {
            return Ok(positions);
        }
        positions.extend(page.iter().map(|record| record.position().clone()));
    }
}

fn lane(item: &LaneItem, chain: &[Position]) -> ExportedLane {
    let (lane, key, key_base64) = lane_name(&item.lane);
    ExportedLane {
        lane,
        key,
        key_base64,
        state: item.state,
        position: item.head.clone(),
        attempts: item.attempts,
        error: item.last_error.clone(),
        first_error: item.first_error.clone(),
        since: output::moment(item.since),
        chain: Ranges::of(chain),
    }
}
