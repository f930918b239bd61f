//! A replay: records of the log run again, apart from the app's own work. Its checkpoints and lanes
//! are in memory, or, where effects are applied again, in a namespace of their own in the store, so
//! that they and the effects are one transaction.

use super::{
    MachineClock, RunError, Selection,
    stores::replay_store,
    worker::{Build, Sources, Worker, one_name, remote, settings},
};
use crate::{
    config::{Config, SourceKind, StoreKind, Then},
    handler::Target,
    processor::Clock as _,
    record::PartitionName,
    source::{
        Extent,
        local::{
            self, LocalSource,
            lock::{Lock, LockError},
        },
    },
    store::{Ownership, Store, WorkerId, memory::Memory},
};
use std::{
    collections::{BTreeMap, btree_map::Entry},
    path::{Path, PathBuf},
    sync::Arc,
};
use uuid::Uuid;

/// Where replays of an app are. No app has such a name, since `+` is not allowed in one.
pub(crate) fn namespace(app: &str) -> String {
    format!("{app}+replay")
}

/// A part of a partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Span {
    pub(crate) name: PartitionName,
    /// First and last position, both included.
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// Of the live partition.
    pub(crate) generation: u64,
}

/// Which records run again, and what becomes of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Replay {
    pub(crate) spans: Vec<Span>,
    /// Only records of this key.
    pub(crate) key: Option<Vec<u8>>,
    /// The generation of a replay whose effects are applied; `None`: the handler's effects never reach
    /// the store, and records have the ids that they had.
    pub(crate) applied: Option<u64>,
}

/// What a replay holds for as long as it runs.
pub(crate) struct Locks {
    worker: WorkerId,
    /// One replay at a time, and a proof that the one before it is dead. `None` where all is remote: there
    /// the claims in the replays' namespace say it, as they do between workers.
    replay: Option<Arc<Lock>>,
    /// The app's own, so that no worker runs meanwhile; none alongside.
    app: Vec<Arc<Lock>>,
}

impl Locks {
    /// Takes them, for work on the partitions that are selected.
    pub(crate) fn take(
        config: &Config,
        selection: &Selection,
        alongside: bool,
    ) -> Result<Self, RunError> {
        let worker = WorkerId(Uuid::new_v4());
        let mut files: BTreeMap<PathBuf, Arc<Lock>> = BTreeMap::new();
        let meant = selection.sources(config)?;
        for source in meant.into_iter().filter(|_| !alongside) {
            let SourceKind::Local { path, .. } = &source.kind else {
                #[cfg(feature = "kafka")]
                super::kafka::unattended(
                    config,
                    source,
                    None,
                    "or replay beside them with `--alongside`, in no order to what they do",
                )?;
                continue;
            };
            if let Entry::Vacant(free) = files.entry(one_name(path)) {
                let taken = Lock::acquire(path, &config.app, worker.0);
                let lock = taken.map_err(|error| {
                    or_else(error, |error| {
                        format!("{error}; or replay beside it with `--alongside`, in no order to what it does")
                    })
                })?;
                free.insert(Arc::new(lock));
            }
        }
        let replay = match lock_path(config) {
            None => None,
            Some(path) => {
                let taken = Lock::acquire(path, &namespace(&config.app), worker.0);
                let lock = taken.map_err(|error| {
                    or_else(error, |error| {
                        format!("another replay is under way, and there is one at a time: {error}")
                    })
                })?;
                Some(Arc::new(lock))
            }
        };
        Ok(Self {
            worker,
            replay,
            app: files.into_values().collect(),
        })
    }

    /// While it is held no other replay begins, also behind the end of this one's worker.
    pub(crate) fn guard(&self) -> Option<Arc<Lock>> {
        self.replay.clone()
    }
}

/// A lock that somebody has, with what else can be done about it.
fn or_else(error: LockError, say: impl FnOnce(&LockError) -> String) -> RunError {
    match &error {
        LockError::Held { .. } => RunError::Selection(say(&error)),
        LockError::NotFrozen { .. }
        | LockError::MidWrite { .. }
        | LockError::ChildrenAlive { .. }
        | LockError::App { .. }
        | LockError::Io { .. } => error.into(),
    }
}

/// Whose lock is taken: one file on the machine of store or log, whatever the replay is for.
fn lock_path(config: &Config) -> Option<&Path> {
    match &config.store.kind {
        StoreKind::Local { path } => Some(path),
        StoreKind::Dynamodb { .. } => {
            { &config.sources }
                .iter()
                .find_map(|source| match &source.kind {
                    SourceKind::Local { path, .. } => Some(path.as_path()),
                    SourceKind::Kafka { .. }
                    | SourceKind::Kinesis { .. }
                    | SourceKind::DynamodbStreams { .. }
                    | SourceKind::Sqs { .. } => None,
                })
        }
    }
}

impl Worker {
    /// A worker that runs records again, apart from the app's own. Whatever `failure.then` says, a
    /// record that fails for good stops its lane, within the replay.
    pub(crate) fn replay(
        config: &Config,
        target: Arc<dyn Target>,
        replay: &Replay,
        locks: Locks,
        history: Option<&Path>,
    ) -> Result<Self, RunError> {
        config.validate()?;
        let Locks {
            worker,
            replay: own,
            mut app,
        } = locks;
        let sources = readers(config, replay, own.as_ref())?;
        app.extend(own);
        let shared = app.iter().map(|lock| lock.share());
        target.share(shared.collect::<Result<_, _>>()?);
        let mut settings = config.settings();
        settings.until_idle = true;
        settings.failure.then = Then::Stop;
        #[cfg(feature = "kafka")]
        {
            settings.memory = super::kafka::memory_left(config, settings.memory);
        }
        let build = Build {
            worker,
            settings,
            store: store(config, replay)?,
            dead_letter: None,
            sources,
            locks: app,
        };
        Self::build(build, target, history)
    }
}

fn readers(
    config: &Config,
    replay: &Replay,
    lock: Option<&Arc<Lock>>,
) -> Result<Sources, RunError> {
    let mut readers: Sources = Vec::new();
    for source in &config.sources {
        let own = { &replay.spans }
            .iter()
            .filter(|span| *span.name.source == *source.name);
        let ranges: BTreeMap<_, _> = own
            .map(|span| (Arc::clone(&span.name.partition), (span.first, span.last)))
            .collect();
        if ranges.is_empty() {
            continue;
        }
        let extent = Extent::Apart {
            ranges,
            key: replay.key.clone(),
        };
        let reader = match (&source.kind, lock) {
            (
                SourceKind::Local {
                    path,
                    topic,
                    retention,
                },
                Some(lock),
            ) => {
                let settings = local::Settings {
                    app: namespace(&config.app),
                    extent,
                    ..settings(config, source, path, topic, *retention)
                };
                Box::new(LocalSource::new(settings, Arc::clone(lock)))
            }
            _ => remote(config, source, extent)?,
        };
        readers.push((source.name.as_str().into(), reader));
    }
    Ok(readers)
}

fn store(config: &Config, replay: &Replay) -> Result<Arc<dyn Store>, RunError> {
    if let Some(generation) = replay.applied {
        return replay_store(config, generation);
    }
    let memory = Memory::new(&namespace(&config.app));
    memory.tamper(|contents| {
        for span in &replay.spans {
            let ownership = Ownership {
                worker: None,
                epoch: 0,
                generation: span.generation,
                commit: 0,
                content: [0; 16],
                unclean_claims: 0,
                checkpoint: None,
                updated_at: MachineClock.wall_millis(),
            };
            contents.ownerships.insert(span.name.clone(), ownership);
        }
    });
    Ok(Arc::new(memory))
}
