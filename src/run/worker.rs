//! One worker: everything that the processor is driven with, and what must live as long as it does.

use super::{
    MachineClock, RunError, RunOptions, open_store,
    pages::Pages,
    recover::{self, Chosen},
};
use crate::{
    config::{Config, DeadLetterConfig, Retention, SourceConfig, SourceKind, StartAt, StoreKind},
    handler::{DeadLetter, Target},
    history::{History, HistoryFile, Nowhere},
    processor::{Outcome, Parts, Processor, Report, Settings, Stop},
    record::PartitionName,
    source::{
        Extent, Source,
        local::{self, LocalSource, dead_letter::LocalDeadLetter, lock::Lock, log::LogError},
    },
    sqlite::{self, Access},
    store::{Store, WorkerId},
};
use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::sync::mpsc;
use uuid::Uuid;

/// How often the lock file is told which children there are.
const CHILDREN_EVERY: Duration = Duration::from_millis(200);

/// A worker that owns its locks and nothing else yet.
pub(crate) struct Worker {
    processor: Processor,
    target: Arc<dyn Target>,
    locks: Vec<Arc<Lock>>,
    history: Option<Arc<HistoryFile>>,
    ends: BTreeMap<PartitionName, u64>,
    /// Those of logs and store.
    files: BTreeSet<PathBuf>,
    pub(super) pages: Pages,
}

impl Worker {
    /// Takes the locks, then opens store, history and sources.
    pub(crate) fn open(
        config: &Config,
        target: Arc<dyn Target>,
        options: &RunOptions,
    ) -> Result<Self, RunError> {
        config.validate()?;
        let worker = WorkerId(Uuid::new_v4());
        let chosen = match &options.recover {
            None => { &config.sources }
                .iter()
                .map(|source| (source, Extent::Everything))
                .collect(),
            Some(selection) => {
                #[cfg(feature = "kafka")]
                for source in selection.sources(config)? {
                    super::kafka::unattended(
                        config,
                        source,
                        None,
                        "they do what a recovery does, and go on",
                    )?;
                }
                selection.choose(config)?
            }
        };
        let ends = recover::ends(&chosen);
        let (sources, locks) = sources(config, chosen, options, worker)?;
        let shared = locks.iter().map(|lock| lock.share());
        target.share(shared.collect::<Result<_, _>>()?);
        let store = open_store(config, Access::Create)?;
        let mut settings = config.settings();
        settings.until_idle = options.until_idle || options.recover.is_some();
        #[cfg(feature = "kafka")]
        {
            settings.memory = super::kafka::memory_left(config, settings.memory);
        }
        let built = Self::build(
            Build {
                worker,
                settings,
                store,
                dead_letter: dead_letter(config)?,
                sources,
                locks,
            },
            target,
            options.history.as_deref(),
        )?;
        let (pages, processor) = Pages::open(config, options, built.processor)?;
        Ok(Self {
            processor,
            ends,
            files: files(config),
            pages,
            ..built
        })
    }

    /// Puts the processor together.
    pub(super) fn build(
        parts: Build,
        target: Arc<dyn Target>,
        history: Option<&Path>,
    ) -> Result<Self, RunError> {
        let history = match history {
            None => None,
            Some(path) => {
                let opened = HistoryFile::open(path, parts.worker);
                Some(Arc::new(opened.map_err(|error| RunError::History {
                    path: path.to_owned(),
                    error,
                })?))
            }
        };
        let processor = Processor::new(Parts {
            worker: parts.worker,
            settings: parts.settings,
            store: parts.store,
            target: Arc::clone(&target),
            history: match &history {
                Some(file) => Arc::clone(file) as Arc<dyn History>,
                None => Arc::new(Nowhere),
            },
            dead_letter: parts.dead_letter,
            sources: parts.sources,
            clock: Arc::new(MachineClock),
        });
        Ok(Self {
            processor,
            target,
            locks: parts.locks,
            history,
            ends: BTreeMap::new(),
            files: BTreeSet::new(),
            pages: Pages::default(),
        })
    }

    /// Of a recovery: the partitions that it works on, each with the position before which it ends.
    #[cfg_attr(
        not(feature = "cli"),
        expect(dead_code, reason = "only the command line tells of them")
    )]
    pub(crate) fn ends(&self) -> &BTreeMap<PartitionName, u64> {
        &self.ends
    }

    /// Runs until it is idle (where asked for), stopped, or a source or the store ends it.
    pub(crate) async fn drive(self, stops: mpsc::UnboundedReceiver<Stop>) -> (Report, Outcome) {
        let Self {
            processor,
            target,
            locks,
            history,
            ends: _,
            files,
            pages: _shown_to_the_end,
        } = self;
        let name_children = async {
            loop {
                tokio::time::sleep(CHILDREN_EVERY).await;
                let children = target.children();
                for lock in &locks {
                    if let Err(error) = lock.set_children(&children) {
                        tracing::warn!("{error}");
                    }
                }
            }
        };
        let end = tokio::select! { biased;
            end = processor.drive(stops) => end,
            never = name_children => never,
        };
        if let Some(lost) = history.map(|file| file.lost()).filter(|lost| *lost > 0) {
            tracing::error!("{lost} lines of the history were not written: it proves nothing");
        }
        if matches!(end.1, Outcome::Idle | Outcome::Drained) {
            let tidy_up = move || files.iter().for_each(|path| sqlite::tidy_up(path));
            // The locks are held until then; whether it was done changes nothing.
            let _ = tokio::task::spawn_blocking(tidy_up).await;
        }
        end
    }
}

pub(super) type Sources = Vec<(Arc<str>, Box<dyn Source>)>;

/// What a worker is built of.
pub(super) struct Build {
    pub(super) worker: WorkerId,
    pub(super) settings: Settings,
    pub(super) store: Arc<dyn Store>,
    pub(super) dead_letter: Option<Arc<dyn DeadLetter>>,
    pub(super) sources: Sources,
    /// They name the handler's children.
    pub(super) locks: Vec<Arc<Lock>>,
}

/// The files that this worker writes.
fn files(config: &Config) -> BTreeSet<PathBuf> {
    let logs = config
        .sources
        .iter()
        .filter_map(|source| match &source.kind {
            SourceKind::Local { path, .. } => Some(path),
            SourceKind::Kafka { .. }
            | SourceKind::Kinesis { .. }
            | SourceKind::DynamodbStreams { .. }
            | SourceKind::Sqs { .. } => None,
        });
    let store = match &config.store.kind {
        StoreKind::Local { path } => Some(path),
        StoreKind::Dynamodb { .. } => None,
    };
    logs.chain(store).cloned().collect()
}

/// The sources, and one lock for each embedded log's file.
fn sources(
    config: &Config,
    chosen: Vec<Chosen<'_>>,
    options: &RunOptions,
    worker: WorkerId,
) -> Result<(Sources, Vec<Arc<Lock>>), RunError> {
    let mut locks: BTreeMap<PathBuf, Arc<Lock>> = BTreeMap::new();
    let mut sources: Sources = Vec::new();
    for (source, extent) in chosen {
        let SourceKind::Local {
            path,
            topic,
            retention,
        } = &source.kind
        else {
            sources.push((source.name.as_str().into(), remote(config, source, extent)?));
            continue;
        };
        let settings = local::Settings {
            extent,
            ..settings(config, source, path, topic, *retention)
        };
        let lock = match locks.entry(one_name(path)) {
            Entry::Occupied(held) => Arc::clone(held.get()),
            Entry::Vacant(free) => {
                // Else a lock file would stay beside another program's file. A frozen holder may
                // keep its own file locked: that is the take-over's to say.
                if !options.take_over {
                    sqlite::recognised(path).map_err(LogError::File)?;
                }
                let lock = if options.take_over {
                    Lock::take_over(path, &config.app, worker.0)?
                } else {
                    Lock::acquire(path, &config.app, worker.0)?
                };
                Arc::clone(free.insert(Arc::new(lock)))
            }
        };
        sources.push((
            source.name.as_str().into(),
            Box::new(LocalSource::new(settings, lock)),
        ));
    }
    Ok((sources, locks.into_values().collect()))
}

/// A source that is not an embedded log.
pub(super) fn remote(
    config: &Config,
    source: &SourceConfig,
    extent: Extent,
) -> Result<Box<dyn Source>, RunError> {
    #[cfg(feature = "kafka")]
    if let Some(settings) = super::kafka::settings(config, source)? {
        let settings = crate::source::kafka::Settings { extent, ..settings };
        return Ok(Box::new(crate::source::kafka::KafkaSource::new(settings)));
    }
    #[cfg(not(feature = "kafka"))]
    let _ = (config, extent);
    #[cfg(feature = "kinesis")]
    if let SourceKind::Kinesis { .. } = &source.kind {
        return Err(super::delivered_by_a_mapping(source));
    }
    Err(RunError::NotBuilt {
        what: "sources",
        feature: source.type_name(),
    })
}

/// The same for all ways to write a path, whether its file exists yet or not.
pub(super) fn one_name(path: &Path) -> PathBuf {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let whole = path.canonicalize().or_else(|error| {
        let name = path.file_name().ok_or(error)?;
        folder.canonicalize().map(|folder| folder.join(name))
    });
    whole.unwrap_or_else(|_| path.to_owned())
}

/// What a local source of a configuration is opened with; `None`: it is of another type.
#[cfg(feature = "cli")]
pub(crate) fn local_settings(config: &Config, source: &SourceConfig) -> Option<local::Settings> {
    let SourceKind::Local {
        path,
        topic,
        retention,
    } = &source.kind
    else {
        return None;
    };
    Some(settings(config, source, path, topic, *retention))
}

pub(super) fn settings(
    config: &Config,
    source: &SourceConfig,
    path: &Path,
    topic: &str,
    retention: Retention,
) -> local::Settings {
    local::Settings {
        name: source.name.clone(),
        app: config.app.clone(),
        path: path.to_owned(),
        topic: topic.to_owned(),
        order: config.order,
        start: source.start.unwrap_or(StartAt::Earliest),
        on_gap: source.on_gap,
        retention: match retention {
            Retention::Forever => None,
            Retention::For(age) => Some(age),
        },
        extent: Extent::Everything,
    }
}

fn dead_letter(config: &Config) -> Result<Option<Arc<dyn DeadLetter>>, RunError> {
    #[cfg(feature = "kafka")]
    if let Some(target) = super::kafka::dead_letter(config)? {
        return Ok(Some(Arc::new(target)));
    }
    match &config.failure.dead_letter {
        None => Ok(None),
        Some(DeadLetterConfig::Local { path, topic }) => {
            let target = LocalDeadLetter::new(path.clone(), topic.clone());
            Ok(Some(Arc::new(target.map_err(RunError::DeadLetter)?)))
        }
        Some(DeadLetterConfig::Kafka { .. }) => Err(RunError::NotBuilt {
            what: "failure.dead_letter",
            feature: "kafka",
        }),
        #[cfg(feature = "sqs")]
        Some(DeadLetterConfig::Sqs { queue_url }) => {
            use crate::source::sqs::dead_letter::{Settings, SqsDeadLetter};
            Ok(Some(Arc::new(SqsDeadLetter::new(Settings {
                queue_url: queue_url.clone(),
                app: config.app.clone(),
            }))))
        }
        #[cfg(not(feature = "sqs"))]
        Some(DeadLetterConfig::Sqs { .. }) => Err(RunError::NotBuilt {
            what: "failure.dead_letter",
            feature: "sqs",
        }),
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        Answer, Config, Done, Failure, Handler, Record, Run, RunError, RunOptions, SourceConfig,
        config::StoreKind,
        each,
        run::open_store,
        run_until,
        source::local::put::{BadLines, KeyFrom, Options, put},
        sqlite::Access,
    };
    use std::{future::pending, io::Cursor, ops::ControlFlow, path::Path, time::Duration};

    fn lines(path: &Path, topic: &str, count: usize) {
        let line = |n| format!("{{\"k\":{}}}\n", n % 3);
        let text: String = (0..count).map(line).collect();
        let options = Options {
            path: path.to_owned(),
            topic: topic.to_owned(),
            key: Some(KeyFrom::Field("k".to_owned())),
            no_key: false,
            partitions: Some(2),
            from_line: 1,
            bad_lines: BadLines::Fail,
        };
        put(&options, Cursor::new(text), &mut |_| {
            ControlFlow::Continue(())
        })
        .expect("put");
    }

    fn config(path: &Path) -> Config {
        let mut config = Config::new("test", 2).source(SourceConfig::local("a", path, "a"));
        config.store.kind = StoreKind::Local {
            path: path.to_owned(),
        };
        config.store.flush_interval = Duration::from_millis(20);
        config
    }

    fn until_idle() -> RunOptions {
        RunOptions {
            until_idle: true,
            ..RunOptions::default()
        }
    }

    #[tokio::test]
    async fn two_sources_of_one_file_share_its_lock() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("log.db");
        lines(&path, "a", 10);
        lines(&path, "b", 7);
        let inner = folder.path().join("inner");
        std::fs::create_dir(&inner).expect("folder");
        let spelled_otherwise = inner.join("..").join("log.db");
        let config = config(&path).source(SourceConfig::local("b", spelled_otherwise, "b"));
        let handler = each(async |_: Record| Ok::<_, Failure>(Done));
        let report = run_until(&config, handler, until_idle(), pending()).await;
        let report = report.expect("idle");
        assert_eq!((report.done, report.records), (17, 17));
        let store = open_store(&config, Access::Read).expect("store");
        assert_eq!(store.workers().await.expect("workers"), []);
    }

    #[tokio::test]
    async fn a_program_s_mistakes_are_named_before_anything_is_opened() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("log.db");
        let mut config = config(&path);
        config.cap = 0;
        let handler = each(async |_: Record| Ok::<_, Failure>(Done));
        let error = run_until(&config, handler, until_idle(), pending()).await;
        let error = error.expect_err("cap 0");
        assert!(matches!(error, RunError::Config(_)), "{error}");
        assert!(!path.exists());
    }

    struct NeverAnswers;

    impl Handler for NeverAnswers {
        async fn handle(&self, _: Run) -> Answer {
            pending().await
        }
    }

    #[tokio::test]
    async fn a_handler_that_never_answers_is_drained_by_its_timeout() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("log.db");
        lines(&path, "a", 1);
        let mut config = config(&path);
        config.failure.timeout = Duration::from_millis(300);
        config.drain = Duration::from_secs(5);
        let stop = tokio::time::sleep(Duration::from_millis(200));
        let report = run_until(&config, NeverAnswers, RunOptions::default(), stop).await;
        let report = report.expect("drained");
        assert_eq!((report.done, report.tries), (0, 1));
    }
}
