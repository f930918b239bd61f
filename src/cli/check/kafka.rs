//! Brokers, topics, the group, and where a run would begin: as findings.

use super::Findings;
use crate::{
    cli::{
        block_on,
        exit::{CommandError, Exit},
        view::counted,
    },
    config::{Config, SourceConfig, StoreKind},
    record::PartitionName,
    run::{
        RunError,
        kafka::{letters, settings, unmatched},
        open_store,
    },
    source::kafka::{
        self, Settings,
        cluster::{Cluster, ClusterError},
        dead_letter,
    },
    sqlite::Access,
    store::{Store, sqlite::SqliteStore},
};
use std::sync::Arc;

const DEAD_LETTER: &str = "failure.dead_letter";

impl Findings {
    pub(super) fn kafka(
        &mut self,
        what: &str,
        config: &Config,
        source: &SourceConfig,
        store_readable: bool,
    ) {
        let settings = match settings(config, source) {
            Ok(Some(settings)) => settings,
            Ok(None) => return,
            Err(error) => return self.failed(what, error),
        };
        let store = if store_readable { store(config) } else { None };
        if let Err(error) = self.cluster(what, &settings, store.as_deref(), store_readable) {
            let of = format!("source `{}`", source.name);
            self.failed(what, RunError::Kafka { of, error });
        }
    }

    fn cluster(
        &mut self,
        what: &str,
        settings: &Settings,
        store: Option<&dyn Store>,
        store_readable: bool,
    ) -> Result<(), ClusterError> {
        let cluster = Cluster::open(settings)?;
        let topics = cluster.topics(&settings.topics)?;
        for pattern in unmatched(&settings.topics, &topics) {
            let at = &settings.bootstrap_servers;
            self.note(
                what,
                format!("no topic at `{at}` matches `{pattern}`: a run waits for one"),
            );
        }
        for (topic, partitions) in topics {
            let at = format!("topic `{topic}` at `{}`", settings.bootstrap_servers);
            if partitions == 0 {
                self.note(what, format!("{at} is not there: a run waits for it"));
                continue;
            }
            let numbers = 0..i32::try_from(partitions).unwrap_or(i32::MAX);
            let mut held = 0;
            for partition in numbers.clone() {
                let bounds = cluster.bounds(&topic, partition)?;
                held += bounds.next.saturating_sub(bounds.first);
            }
            let partitions = counted(u64::from(partitions), "partition");
            let message = format!("{at}: {} in {partitions}", counted(held, "offset"));
            self.ok(what, message);
            if !store_readable {
                continue;
            }
            for partition in numbers {
                self.begins(what, settings, &cluster, (&topic, partition), store)?;
            }
        }
        self.group(what, settings, &cluster)
    }

    /// Where a run would not simply go on.
    fn begins(
        &mut self,
        what: &str,
        settings: &Settings,
        cluster: &Cluster,
        (topic, partition): (&str, i32),
        store: Option<&dyn Store>,
    ) -> Result<(), ClusterError> {
        let name = PartitionName::new(&settings.name, &format!("{topic}/{partition}"));
        let owned = store.map(|store| block_on(async { Ok(store.ownership(&name).await?) }));
        let owned = match owned.transpose() {
            Ok(owned) => owned.flatten(),
            // What is wrong with the store is said of the store.
            Err(error) => {
                tracing::debug!("{what}: checkpoints could not be read: {error}");
                return Ok(());
            }
        };
        let known = owned
            .as_ref()
            .and_then(|owned| Some((owned.checkpoint.as_ref()?, owned.generation)));
        match kafka::foreseen(cluster, settings, (topic, partition), known)? {
            Ok(None) => {}
            Ok(Some(gap)) => self.note(what, gap),
            Err(error) => self.wrong(what, error.to_string(), Exit::OutOfReach),
        }
        Ok(())
    }

    fn group(
        &mut self,
        what: &str,
        settings: &Settings,
        cluster: &Cluster,
    ) -> Result<(), ClusterError> {
        let id = &settings.group_id;
        let Some(group) = cluster.group(id)? else {
            self.ok(what, format!("group `{id}` has no member now"));
            return Ok(());
        };
        let members = counted(group.members as u64, "member");
        let ours = "cooperative-sticky";
        if group.protocol.is_empty() || group.protocol == ours || settings.is_of_new_protocol() {
            self.note(
                what,
                format!("group `{id}` has {members} now: partitions are shared with them"),
            );
        } else {
            let message = format!(
                "group `{id}` has {members} that share partitions by `{}`, and lanekeeper by `{ours}`: Kafka would refuse it; end them first, or name another `group_id`",
                group.protocol
            );
            self.wrong(what, message, Exit::OutOfReach);
        }
        Ok(())
    }

    /// Whether what fails for good could be published.
    pub(super) fn kafka_dead_letter(&mut self, config: &Config) {
        let settings = match letters(config) {
            Ok(Some(settings)) => settings,
            Ok(None) => return,
            Err(error) => return self.failed(DEAD_LETTER, error),
        };
        let at = format!(
            "topic `{}` at `{}`",
            settings.topic, settings.bootstrap_servers
        );
        match dead_letter::partitions(&settings) {
            Ok(0) => {
                let message = format!(
                    "{at} is not there, and what fails for good would wait for it: create it, or correct `{DEAD_LETTER}.topic`"
                );
                self.wrong(DEAD_LETTER, message, Exit::OutOfReach);
            }
            Ok(partitions) => {
                let partitions = counted(u64::from(partitions), "partition");
                self.ok(DEAD_LETTER, format!("{at}: {partitions}"));
            }
            Err(error) => {
                let of = format!("`{DEAD_LETTER}`");
                self.failed(DEAD_LETTER, RunError::Kafka { of, error });
            }
        }
    }

    fn failed(&mut self, what: &str, error: RunError) {
        let error = CommandError::from(error);
        self.wrong(what, error.to_string(), error.exit());
    }
}

/// The store, where there is one yet.
fn store(config: &Config) -> Option<Arc<dyn Store>> {
    let is_new = match &config.store.kind {
        StoreKind::Local { path } => {
            !path.exists() || SqliteStore::is_missing(path).unwrap_or(true)
        }
        StoreKind::Dynamodb { .. } => false,
    };
    // What is wrong with it is said of the store.
    (!is_new)
        .then(|| open_store(config, Access::Read).ok())
        .flatten()
}
