//! What a consumer group has committed, as checkpoints: a team that comes from another consumer goes on
//! where that one was.

use super::Place;
use crate::{
    checkpoint::Checkpoint,
    cli::{
        exit::CommandError,
        output::{self, shown},
        view::counted,
    },
    config::{Config, SourceConfig, SourceKind},
    position::Position,
    record::PartitionName,
    run::{PartitionLog, RunError, Selection, kafka::unattended},
    source::kafka::offset_map::{OffsetMap, OffsetMapError, read},
};
use partitions::Resume;

/// What is to be taken over.
pub(super) struct Asked<'a> {
    /// `None`: the source's own.
    pub(super) group: Option<&'a str>,
    pub(super) place: &'a Place,
    /// Also what stands beside the offsets.
    pub(super) with_maps: bool,
    /// Nothing will be written.
    pub(super) is_dry: bool,
}

/// What was found of one partition.
pub(super) struct Taken {
    pub(super) name: PartitionName,
    pub(super) checkpoint: Checkpoint,
    /// For people, and for the history.
    pub(super) to: String,
}

impl Asked<'_> {
    /// Asks the group for its offsets.
    ///
    /// # Errors
    /// When members of the group are at work, an offset does not fit its log, or nothing is there.
    pub(super) fn look(&self, config: &Config) -> Result<Vec<Taken>, CommandError> {
        let selection = Selection {
            source: self.place.source.clone(),
            partition: self.place.partition.clone(),
        };
        let mut taken = Vec::new();
        for (source, logs) in selection.logs(config)? {
            let SourceKind::Kafka { group_id, .. } = &source.kind else {
                continue;
            };
            let group = self.group.unwrap_or(group_id);
            if !self.is_dry {
                self.is_stopped(config, source)?;
            }
            for log in logs {
                match log.told(Some(group))? {
                    None => output::note(&format!(
                        "{}: group `{}` has committed nothing: left out",
                        log.name(),
                        shown(group)
                    )),
                    Some((offset, metadata)) => {
                        taken.push(self.take(source, &*log, group, (offset, &metadata))?);
                    }
                }
            }
        }
        if taken.is_empty() {
            return Err(CommandError::Usage(format!(
                "no offset{} to import: the configuration's Kafka sources have none that {} has committed",
                self.place.text(),
                self.group.map_or_else(
                    || "their group".to_owned(),
                    |group| format!("group `{}`", shown(group))
                )
            )));
        }
        Ok(taken)
    }

    /// Whoever is at work goes on committing.
    fn is_stopped(&self, config: &Config, source: &SourceConfig) -> Result<(), RunError> {
        unattended(
            config,
            source,
            self.group,
            "`--dry-run` shows what would be imported now",
        )
    }

    fn take(
        &self,
        source: &SourceConfig,
        log: &dyn PartitionLog,
        group: &str,
        (offset, metadata): (u64, &str),
    ) -> Result<Taken, CommandError> {
        let (name, held) = (log.name(), log.held()?);
        let mut map = self.map(name, (offset, metadata))?;
        let mut from = offset;
        let what = format!(
            "{name}: group `{}` goes on at offset {offset}, and {} begins at {} and ends before {}",
            shown(group),
            log.describe(),
            held.first,
            held.next
        );
        if offset > held.next {
            return Err(CommandError::Usage(format!(
                "{what}: is it another topic of the name, or is a transaction open? Where records are meant to be left out, say by `start` where to begin"
            )));
        }
        if offset < held.first {
            let gone_on = source.on_gap.go_on(held.first, held.next, &what);
            let (position, gap) =
                gone_on.map_err(|error| CommandError::Usage(error.to_string()))?;
            output::note(&gap);
            from = position;
            map.done_to = map.done_to.filter(|done| *done >= from);
            let is_kept = |open: &u64| *open >= from && map.done_to.is_some();
            map.open.retain(is_kept);
        }
        let above = map.done_to.map_or(0, |done| {
            (done + 1).saturating_sub(from) - map.open.len() as u64
        });
        let to = match above {
            0 => format!("offset {from} of group {group}"),
            above => format!(
                "offset {from} of group {group}, {} above it done",
                counted(above, "record")
            ),
        };
        let settled_to = map.done_to.or(from.checked_sub(1));
        Ok(Taken {
            name: name.clone(),
            checkpoint: Checkpoint {
                resume: Resume::At(Position::Offset(from)),
                settled_to: settled_to.map(Position::Offset),
                open: map.open.into_iter().map(Position::Offset).collect(),
                incarnation: log.identity()?,
                ..Checkpoint::default()
            },
            to,
        })
    }

    fn map(
        &self,
        name: &PartitionName,
        (offset, metadata): (u64, &str),
    ) -> Result<OffsetMap, CommandError> {
        if !self.with_maps {
            return Ok(OffsetMap::default());
        }
        match read(offset, metadata) {
            Ok(map) => Ok(map),
            Err(error @ OffsetMapError::Foreign(_)) => {
                output::note(&format!(
                    "{name}: beside offset {offset} stand {error}: `{}`; the offset is taken alone",
                    shown(&metadata.chars().take(40).collect::<String>())
                ));
                Ok(OffsetMap::default())
            }
            Err(error @ OffsetMapError::Damaged(_)) => Err(CommandError::Usage(format!(
                "{name}: beside offset {offset} stands {error}; `--without-maps` takes the offset alone, so that what was done above it runs again"
            ))),
        }
    }
}
