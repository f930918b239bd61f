//! The word on a replay that applies effects: it outlives its process, so that one that was killed
//! goes on where it was, under the same record ids, instead of applying effects twice.

use super::super::{
    exit::CommandError,
    output::{self, moment, shown},
    status::is_alive,
};
use crate::{
    config::Config,
    effect::{Condition, Effect, Put},
    position::Position,
    record::{LaneKey, PartitionName},
    run::{Replay, RunError, Span, namespace_store, open_store},
    sqlite::Access,
    store::{Commit, Fence, RecordEffects, WorkerId},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Where the word is: a value of the replays' own namespace.
const TABLE: &str = "replay";
const KEY: &str = "unfinished";

/// A replay that began.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct Unfinished {
    format: u32,
    /// Milliseconds since 1970 at which it began: also the generation of its record ids. A rewind
    /// counts from 1, so they never meet.
    began: i64,
    arguments: Arguments,
    spans: Vec<SpanItem>,
    /// Of streams, whose positions are sequence numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    parts: Vec<PartItem>,
}

/// A part of a shard.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct PartItem {
    pub(super) source: String,
    pub(super) shard: String,
    pub(super) from: Edge,
    /// What is known to be there, at that place or behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) certain: Option<Position>,
    pub(super) until: Edge,
}

/// An end of a part.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Edge {
    /// The oldest record.
    Horizon,
    /// With this position.
    At(Position),
    /// Without it.
    Before(Position),
    /// From then on, or before that: milliseconds since 1970.
    Time(i64),
}

/// What it was told, as it was told.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Arguments {
    pub(super) from: String,
    pub(super) to: Option<String>,
    pub(super) source: Option<String>,
    pub(super) partition: Option<String>,
    pub(super) key: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct SpanItem {
    source: String,
    partition: String,
    first: u64,
    last: u64,
}

impl Unfinished {
    pub(super) fn new(arguments: Arguments, spans: &[Span]) -> Self {
        let item = |span: &Span| SpanItem {
            source: span.name.source.to_string(),
            partition: span.name.partition.to_string(),
            first: span.first,
            last: span.last,
        };
        Self {
            format: 1,
            began: output::now(),
            arguments,
            spans: spans.iter().map(item).collect(),
            parts: Vec::new(),
        }
    }

    /// One of streams.
    #[cfg(feature = "kinesis")]
    pub(super) fn of_parts(arguments: Arguments, parts: Vec<PartItem>) -> Self {
        Self {
            parts,
            ..Self::new(arguments, &[])
        }
    }

    #[cfg(feature = "kinesis")]
    pub(super) fn parts(&self) -> &[PartItem] {
        &self.parts
    }

    /// The generation of its record ids.
    pub(super) fn generation(&self) -> u64 {
        u64::try_from(self.began).unwrap_or(u64::MAX)
    }

    /// The one that was killed, or is under way. With [`Access::Read`] the store need not be there.
    pub(super) async fn read(
        config: &Config,
        access: Access,
    ) -> Result<Option<Self>, CommandError> {
        if access == Access::Read && matches!(open_store(config, access), Err(RunError::NoStore(_)))
        {
            return Ok(None);
        }
        let store = namespace_store(config, access).map_err(CommandError::Run)?;
        let Some(value) = store.value(TABLE, KEY).await? else {
            return Ok(None);
        };
        let unfinished: Self = serde_json::from_value(value).map_err(|error| {
            CommandError::OutOfReach(format!(
                "what is known of an unfinished replay cannot be read ({error}): `lanekeeper replay --abandon` forgets it"
            ))
        })?;
        Ok(Some(unfinished))
    }

    /// Refuses while a replay with effects is under way, as far as its worker's last word says: where no
    /// file is locked nothing else does.
    pub(super) async fn is_alone(config: &Config) -> Result<(), CommandError> {
        let store = namespace_store(config, Access::Create).map_err(CommandError::Run)?;
        let workers = store.workers().await?;
        match workers.iter().find(|item| is_alive(item, output::now())) {
            None => Ok(()),
            Some(item) => Err(CommandError::Usage(format!(
                "another replay is under way, and there is one at a time: that of process {} on `{}` (one that died on another machine counts for two and a half minutes)",
                item.pid,
                shown(&item.host)
            ))),
        }
    }

    /// Writes it down, unless another one is there.
    pub(super) async fn write(&self, config: &Config) -> Result<(), CommandError> {
        let store = namespace_store(config, Access::Create).map_err(CommandError::Run)?;
        let worker = WorkerId(Uuid::new_v4());
        let partition = PartitionName::new(TABLE, KEY);
        let claimed = store.claim(&partition, worker).await?;
        let value = serde_json::to_value(self)
            .map_err(|error| CommandError::Internal(error.to_string()))?;
        let put = Effect::Put(Put {
            table: TABLE.to_owned(),
            key: KEY.to_owned(),
            value,
            condition: Some(Condition::Exists(false)),
        });
        let commit = Commit {
            partition: partition.clone(),
            fence: Fence {
                worker,
                epoch: claimed.ownership.epoch,
            },
            number: 1,
            content: *Uuid::new_v4().as_bytes(),
            checkpoint: crate::checkpoint::Checkpoint::default(),
            lanes: Vec::new(),
            effects: vec![RecordEffects {
                lane: LaneKey::of_key(&[]),
                partition: None,
                position: Position::Offset(1),
                effects: vec![put],
            }],
            keep: false,
            settled_in: false,
            mark: None,
            failed: Vec::new(),
            lanes_at: None,
        };
        for result in store.commit(&[commit]).await {
            result.map_err(|error| CommandError::OutOfReach(error.to_string()))?;
        }
        Ok(())
    }

    /// Removes all that is left of a replay; what it applied stays.
    pub(super) async fn forget(config: &Config) -> Result<(), CommandError> {
        let store = namespace_store(config, Access::Existing).map_err(CommandError::Run)?;
        Ok(store.forget().await?)
    }

    /// Whether the same was asked for, in whatever spelling of its partition.
    pub(super) fn is_of(&self, told: &Arguments) -> bool {
        let Arguments {
            from,
            to,
            source,
            partition,
            key,
        } = &self.arguments;
        let of_same_records = (from, to, key) == (&told.from, &told.to, &told.key);
        let of_same_name = (source, partition) == (&told.source, &told.partition);
        of_same_records && (of_same_name || partition.is_some() && self.is_all_of(told))
    }

    /// Whether this means the one partition that it works on.
    fn is_all_of(&self, told: &Arguments) -> bool {
        let Some(said) = &told.partition else {
            return false;
        };
        let spans = self
            .spans
            .iter()
            .map(|span| (&span.source, &span.partition));
        let parts = self.parts.iter().map(|part| (&part.source, &part.shard));
        spans.chain(parts).all(|(source, partition)| {
            let of_source = told.source.as_ref().is_none_or(|name| name == source);
            of_source && PartitionName::new(source, partition).is_meant_by(said)
        })
    }

    pub(super) fn replay(&self) -> Replay {
        let span = |item: &SpanItem| Span {
            name: PartitionName::new(&item.source, &item.partition),
            first: item.first,
            last: item.last,
            generation: 0,
        };
        Replay {
            spans: self.spans.iter().map(span).collect(),
            key: { &self.arguments.key }
                .as_ref()
                .map(|key| key.clone().into_bytes()),
            applied: Some(self.generation()),
        }
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        format!("`{}` of {}", self.arguments.text(), moment(self.began))
    }
}

impl Arguments {
    /// As it is written on a command line.
    fn text(&self) -> String {
        let mut text = format!("replay --from {}", self.from);
        for (name, value) in [
            ("to", &self.to),
            ("source", &self.source),
            ("partition", &self.partition),
            ("key", &self.key),
        ] {
            if let Some(value) = value {
                text.push_str(&format!(" --{name} {}", shown(value)));
            }
        }
        text + " --effects again"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(source: Option<&str>, partition: Option<&str>) -> Arguments {
        Arguments {
            from: "17".to_owned(),
            to: None,
            source: source.map(str::to_owned),
            partition: partition.map(str::to_owned),
            key: None,
        }
    }

    /// One that began with these words, on `orders/3` of the source `in`.
    fn began_by(arguments: Arguments) -> Unfinished {
        let span = Span {
            name: PartitionName::new("in", "orders/3"),
            first: 17,
            last: 20,
            generation: 0,
        };
        Unfinished::new(arguments, &[span])
    }

    #[test]
    fn the_same_partition_in_another_spelling_is_the_same_replay() {
        let spellings = [
            told(None, Some("orders/3")),
            told(None, Some("in/orders/3")),
            told(Some("in"), Some("orders/3")),
            told(Some("in"), Some("in/orders/3")),
        ];
        for first in &spellings {
            for second in &spellings {
                assert!(
                    began_by(first.clone()).is_of(second),
                    "{first:?} {second:?}"
                );
            }
            for other in [
                told(None, Some("orders/4")),
                told(Some("out"), Some("orders/3")),
            ] {
                assert!(
                    !began_by(first.clone()).is_of(&other),
                    "{first:?} {other:?}"
                );
            }
            for whole in [told(None, None), told(Some("in"), None)] {
                assert!(
                    !began_by(first.clone()).is_of(&whole),
                    "{first:?} {whole:?}"
                );
                assert!(!began_by(whole.clone()).is_of(first), "{whole:?} {first:?}");
            }
            let to = Some("19".to_owned());
            let shorter = Arguments {
                to,
                ..first.clone()
            };
            assert!(!began_by(first.clone()).is_of(&shorter), "{first:?}");
        }
    }

    #[test]
    fn without_a_partition_it_is_of_just_those_words() {
        let (all, of_source) = (told(None, None), told(Some("in"), None));
        assert!(began_by(all.clone()).is_of(&all));
        assert!(!began_by(all.clone()).is_of(&of_source));
        assert!(!began_by(of_source).is_of(&all));
    }
}
