//! What a recovery works on: partitions, as far as their logs hold records now.

use super::{
    RunError,
    logs::{self, PartitionLog},
};
use crate::{
    config::{Config, SourceConfig},
    record::PartitionName,
    source::Extent,
};
use std::{collections::BTreeMap, sync::Arc};

/// Which partitions; all, where neither is said.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Selection {
    /// Those of this source.
    pub source: Option<String>,
    /// The one of this name, such as `orders/3`.
    pub partition: Option<String>,
}

/// A source, and what of it is worked on.
pub(super) type Chosen<'c> = (&'c SourceConfig, Extent);

/// A source, and the logs of those of its partitions that are meant.
pub(crate) type Logs<'c> = (&'c SourceConfig, Vec<Box<dyn PartitionLog>>);

impl Selection {
    /// The sources that are meant.
    pub(crate) fn sources<'c>(
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
    pub(super) fn choose<'c>(&self, config: &'c Config) -> Result<Vec<Chosen<'c>>, RunError> {
        let mut chosen = Vec::new();
        for (source, logs) in self.logs(config)? {
            let mut ends = BTreeMap::new();
            for log in logs {
                ends.insert(Arc::clone(&log.name().partition), log.held()?.next);
            }
            chosen.push((source, Extent::Before(ends)));
        }
        Ok(chosen)
    }

    /// The logs of the partitions that are meant, by source.
    pub(crate) fn logs<'c>(&self, config: &'c Config) -> Result<Vec<Logs<'c>>, RunError> {
        let mut chosen = Vec::new();
        let mut others = Vec::new();
        for source in self.sources(config)? {
            let mut meant = logs::of_source(config, source)?;
            if let Some(wanted) = &self.partition {
                let is_wanted = |name: &PartitionName| name.is_meant_by(wanted);
                let names = meant.iter().map(|log| log.name());
                let unwanted = names.filter(|name| !is_wanted(name));
                others.extend(unwanted.map(|name| name.partition.to_string()));
                meant.retain(|log| is_wanted(log.name()));
            }
            if self.partition.is_none() || !meant.is_empty() {
                chosen.push((source, meant));
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

/// Where each partition's part ends: the position that comes behind it.
pub(super) fn ends(chosen: &[Chosen<'_>]) -> BTreeMap<PartitionName, u64> {
    let mut all = BTreeMap::new();
    for (source, extent) in chosen {
        if let Extent::Before(ends) = extent {
            let named = ends
                .iter()
                .map(|(partition, end)| (PartitionName::new(&source.name, partition), *end));
            all.extend(named);
        }
    }
    all
}
