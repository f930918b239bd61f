//! What a recovery works on: partitions of embedded logs, as far as they hold records now.

use super::RunError;
use crate::{
    config::{Config, SourceConfig, SourceKind},
    record::PartitionName,
    source::local::{Extent, log::Log},
};
use std::collections::BTreeMap;

/// Which partitions; all, where neither is said.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Selection {
    /// Those of this source.
    pub source: Option<String>,
    /// The one of this name, such as `orders/3`.
    pub partition: Option<String>,
}

/// A source, and what of it is worked on.
pub(crate) type Chosen<'c> = (&'c SourceConfig, Extent);

impl Selection {
    /// The sources that are meant.
    pub(super) fn sources<'c>(
        &self,
        config: &'c Config,
    ) -> Result<Vec<&'c SourceConfig>, RunError> {
        let Some(name) = &self.source else {
            return Ok(config.sources.iter().collect());
        };
        let found = config.sources.iter().find(|source| source.name == *name);
        match found {
            Some(source) => Ok(vec![source]),
            None => {
                let names: Vec<_> = config
                    .sources
                    .iter()
                    .map(|s| format!("`{}`", s.name))
                    .collect();
                Err(RunError::Selection(format!(
                    "there is no source `{name}`: the configuration has {}",
                    names.join(", ")
                )))
            }
        }
    }

    /// The partitions that are meant, each up to the log's end as it is now.
    pub(crate) fn choose<'c>(&self, config: &'c Config) -> Result<Vec<Chosen<'c>>, RunError> {
        let mut chosen = Vec::new();
        let mut others = Vec::new();
        for source in self.sources(config)? {
            let mut ends = BTreeMap::new();
            for (number, name, end) in partitions(source)? {
                match &self.partition {
                    Some(wanted) if *wanted != name => others.push(name),
                    Some(_) | None => drop(ends.insert(number, end)),
                }
            }
            if self.partition.is_none() || !ends.is_empty() {
                chosen.push((source, Extent::UpTo(ends)));
            }
        }
        let Some(wanted) = &self.partition else {
            return Ok(chosen);
        };
        match chosen.as_slice() {
            [_] => Ok(chosen),
            [] => Err(RunError::Selection(no_such(wanted, &others))),
            several => {
                let names: Vec<_> = several
                    .iter()
                    .map(|(s, _)| format!("`{}`", s.name))
                    .collect();
                Err(RunError::Selection(format!(
                    "partition `{wanted}` is read by the sources {}: say which by `--source`",
                    names.join(" and ")
                )))
            }
        }
    }
}

fn no_such(wanted: &str, others: &[String]) -> String {
    let (Some(first), Some(last)) = (others.first(), others.last()) else {
        return format!("there is no partition `{wanted}`: nothing was put yet");
    };
    format!("there is no partition `{wanted}`: there are `{first}` to `{last}`")
}

/// Number, name and last position of a source's partitions; none where nothing was ever put.
pub(super) fn partitions(source: &SourceConfig) -> Result<Vec<(u32, String, u64)>, RunError> {
    let SourceKind::Local { path, topic, .. } = &source.kind else {
        return Err(RunError::Selection(format!(
            "source `{}` is of type `{}`: `recover` and `replay` work on embedded logs (`type = \"local\"`), and on nothing else yet; where there is one, name it by `--source`",
            source.name,
            source.type_name()
        )));
    };
    let Some(log) = Log::look(path)? else {
        return Ok(Vec::new());
    };
    let Some(topic) = log.topic(topic)? else {
        return Ok(Vec::new());
    };
    (0..topic.partitions())
        .map(|number| {
            let bounds = log.bounds(&topic, number)?;
            Ok((number, topic.partition_name(number), bounds.last))
        })
        .collect()
}

/// Last positions by name.
pub(super) fn ends(chosen: &[Chosen<'_>]) -> BTreeMap<PartitionName, u64> {
    let mut all = BTreeMap::new();
    for (source, extent) in chosen {
        let SourceKind::Local { topic, .. } = &source.kind else {
            continue;
        };
        if let Extent::UpTo(ends) = extent {
            let named = ends.iter().map(|(number, end)| {
                let name = PartitionName::new(&source.name, &format!("{topic}/{number}"));
                (name, *end)
            });
            all.extend(named);
        }
    }
    all
}
