//! The configuration: what a user decides, where each value came from, and what is wrong with it.
//!
//! A file, the environment (`LANEKEEPER__FAILURE__ATTEMPTS`) and `--set failure.attempts=3` are laid
//! over each other and read as one table; a Rust program may as well fill in the fields.

use crate::{
    processor::{CUT_AT, Settings},
    record::{LaneOrder, NoKey, OrderBy},
};
use partitions::FailureRules;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

mod check;
mod kafka;
mod layers;
mod origin;
mod quantity;
mod read;
mod secret;
mod source;
mod tables;
mod template;
mod tree;

#[cfg(test)]
mod tests;

pub use crate::source::{OnGap, StartAt};
pub(crate) use kafka::{dead_letter_link, source_link};
pub use layers::Layers;
pub use origin::{ConfigError, ConfigErrors, Origin};
pub use partitions::{Stops, Then};
pub use quantity::{duration_text, size_text};
pub use secret::{Property, Secret, SecretError, SecretRef};
pub use source::{GroupProtocol, Retention, SourceConfig, SourceKind};
pub use template::{KEYS, TEMPLATE};

/// The embedded log's and the local store's file, where none is named.
pub const LOCAL_FILE: &str = "lanekeeper.db";

/// All settings. Defaults are the safe choices; fields are checked by [`Config::validate`].
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// `app`: names what is remembered in the store and in consumer groups. Required. Another name
    /// begins from nothing, so never change it in production. 1 to 64 of `A-Z a-z 0-9 . _ -`.
    pub app: String,
    /// `cap`: most handler calls in flight, over all sources. Required. Set it to what the target
    /// bears; service: per process.
    pub cap: u32,
    /// `memory`: budget for buffered records, in bytes; each partition has its share. Default 256 MiB.
    /// More lets slow lanes hold back their partition later; it is really used up when lanes stop.
    pub memory: u64,
    /// `drain`: how long a stopping worker waits for what is in flight; it must exceed
    /// `failure.timeout`. Default 30 s. A partition is handed over later by as much.
    pub drain: Duration,
    /// `[sources.NAME]`: where records come from, at least one. All share cap and handler.
    pub sources: Vec<SourceConfig>,
    /// `[order]`: `by = "key"` (default): each key is a lane; `"partition"`: each partition is one,
    /// which is strict and slow. `no_key`: records without key are one lane of their partition
    /// (`"partition"`, default), a lane each (`"each"`: no order among them), or an error (`"refuse"`).
    pub order: LaneOrder,
    /// `[failure]`.
    pub failure: FailureConfig,
    /// `[store]`.
    pub store: StoreConfig,
    /// `[handler]`.
    pub handler: HandlerConfig,
    /// `[lambda]`.
    pub lambda: LambdaConfig,
    /// `metrics.listen`: address of `/metrics`, `/healthz` and `/readyz`. Default: none. It is not
    /// protected: keep it on a private network.
    pub metrics: Option<SocketAddr>,
    origins: origin::Origins,
}

/// `[failure]`: what counts as failed, and what follows.
#[derive(Clone, PartialEq, Debug)]
pub struct FailureConfig {
    /// `attempts`: tries of a record before it has failed for good, the first included. Default 5.
    /// Its lane waits meanwhile, up to the sum of the backoffs.
    pub attempts: u32,
    /// `backoff_min`: bound of the first wait, doubled with each attempt (full jitter). Default 200 ms.
    pub backoff_min: Duration,
    /// `backoff_max`: bound of every wait, a target's own Retry-After included. Default 30 s.
    pub backoff_max: Duration,
    /// `timeout`: how long one try may take. Default 20 s. Set it above the slowest sound try; a lane
    /// whose target hangs is late by as much.
    pub timeout: Duration,
    /// `settle`: how long after a try of unknown end the remote may still run it; slot and lane wait.
    /// Default `None`, written `"auto"`: nothing for `exec` and Rust, `timeout` for `http`. Set it when the
    /// remote's own limit is known.
    pub settle: Option<Duration>,
    /// `then`: `stop` (default) holds the lane until an operator decides, `park` moves the lane's records
    /// into the store and lets the partition's checkpoint move on, `dead-letter` publishes the record
    /// elsewhere and lets later ones of its lane overtake it.
    pub then: Then,
    /// `stops`: how far a stop reaches: `lane` (default) or `partition`.
    pub stops: Stops,
    /// `dead_letter`: where failed records are published; required by `then = "dead-letter"` and by
    /// `lanes dead-letter`. Default: nowhere.
    pub dead_letter: Option<DeadLetterConfig>,
    /// `park_max`: most records of one parked lane in the store; behind them its partition is held
    /// back. Default 100,000.
    pub park_max: u64,
}

/// `failure.dead_letter`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DeadLetterConfig {
    /// `type = "local"`: a topic of an embedded log.
    Local {
        /// `path`: its file. Default: that of the store.
        path: PathBuf,
        /// `topic`: not one that is read by this app.
        topic: String,
    },
    /// `type = "kafka"`.
    Kafka {
        /// `topic`: not one that is read by this app.
        topic: String,
        /// `bootstrap_servers`. Default `None`: the cluster of the first Kafka source, reached as that
        /// source reaches it.
        bootstrap_servers: Option<String>,
        /// `properties`: to librdkafka, as those of a source. Without `bootstrap_servers` they are laid
        /// over the source's properties of the connection (`security.…`, `ssl.…`, `sasl.…`, …).
        properties: BTreeMap<String, Property>,
        /// `allow_plaintext`, as a source's. Default: the source's without `bootstrap_servers`, else
        /// `false`.
        allow_plaintext: Option<bool>,
    },
    /// `type = "sqs"`.
    Sqs {
        /// `queue_url`: not a queue that is read by this app.
        queue_url: String,
    },
}

/// `[store]`: where checkpoints, lanes and values are durable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoreConfig {
    /// `type`.
    pub kind: StoreKind,
    /// `flush_interval`: a commit goes out at least this often while something changed. Default 1 s.
    /// Shorter repeats less after a crash and writes more.
    pub flush_interval: Duration,
    /// `unflushed_max`: most records per partition in flight or passed since its last durable commit:
    /// what a crash may repeat. Default 10,000; a commit goes out at half of it.
    pub unflushed_max: u64,
}

/// `store.type`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StoreKind {
    /// `type = "local"`: an SQLite file, for workers of one machine.
    Local {
        /// `path`. Default: that of the first local source, else `lanekeeper.db`.
        path: PathBuf,
    },
    /// `type = "dynamodb"`: a table, for workers anywhere.
    Dynamodb {
        /// `table`. Default `lanekeeper`.
        table: String,
    },
}

/// `[handler]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HandlerConfig {
    /// `type`: required, except with a Rust handler.
    pub kind: Option<HandlerKind>,
    /// `records_per_call`: most consecutive records of one lane in one call. Default 1. More is faster for
    /// long lanes; a call that fails without saying where is repeated record by record.
    pub records_per_call: u32,
}

/// `handler.type`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HandlerKind {
    /// `type = "exec"`: child processes that speak JSON lines.
    Exec {
        /// `command`: program and arguments, without a shell; run in the directory of the file.
        command: Vec<String>,
        /// Where the command runs: the directory of the configuration file.
        directory: PathBuf,
    },
    /// `type = "http"`: POST requests.
    Http {
        /// `url`: `http` or `https`, without user or password.
        url: String,
        /// `secret`: requests are signed with it. Default: they are not.
        secret: Option<SecretRef>,
    },
}

/// `[lambda]`: how the function is deployed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LambdaConfig {
    /// `concurrency`: the function's reserved concurrency. Default 1. The cap is divided by it.
    pub concurrency: u32,
    /// `reports_failures`: the event source mapping has `ReportBatchItemFailures`. Default `false`: a
    /// batch with a failure then fails as a whole.
    pub reports_failures: bool,
    /// `margin`: nothing starts that could end later than this before the invocation's deadline.
    /// Default 500 ms.
    pub margin: Duration,
    /// `parallelization_factor`: of the mapping of a Kinesis stream. Default `None`: not known, so that an
    /// aggregate of records with several partition keys is refused, as with a factor above 1, and so is
    /// `order.by = "partition"` of a stream.
    pub parallelization_factor: Option<u32>,
    /// `retention`: how long a source of the function keeps a record, and may deliver it again. What is
    /// done is remembered a day longer. Default 7 days.
    pub retention: Duration,
    /// `metrics`: each invocation prints a line on standard output of which CloudWatch makes metrics. Default
    /// `true`.
    pub metrics: bool,
}

impl Default for FailureConfig {
    fn default() -> Self {
        Self {
            attempts: 5,
            backoff_min: Duration::from_millis(200),
            backoff_max: Duration::from_secs(30),
            timeout: Duration::from_secs(20),
            settle: None,
            then: Then::Stop,
            stops: Stops::Lane,
            dead_letter: None,
            park_max: 100_000,
        }
    }
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            kind: StoreKind::Local {
                path: LOCAL_FILE.into(),
            },
            flush_interval: Duration::from_secs(1),
            unflushed_max: 10_000,
        }
    }
}

impl Default for HandlerConfig {
    fn default() -> Self {
        Self {
            kind: None,
            records_per_call: 1,
        }
    }
}

impl Default for LambdaConfig {
    fn default() -> Self {
        Self {
            concurrency: 1,
            reports_failures: false,
            margin: Duration::from_millis(500),
            parallelization_factor: None,
            retention: Duration::from_secs(7 * 24 * 60 * 60),
            metrics: true,
        }
    }
}

impl Config {
    /// Defaults, without a source yet.
    pub fn new(app: &str, cap: u32) -> Self {
        Self {
            app: app.to_owned(),
            cap,
            memory: 256 << 20,
            drain: Duration::from_secs(30),
            sources: Vec::new(),
            order: LaneOrder {
                by: OrderBy::Key,
                no_key: NoKey::Partition,
            },
            failure: FailureConfig::default(),
            store: StoreConfig::default(),
            handler: HandlerConfig::default(),
            lambda: LambdaConfig::default(),
            metrics: None,
            origins: origin::Origins::default(),
        }
    }

    /// Adds a source. As in a file, the store is in the first local source's file, unless it is in
    /// another than the default `lanekeeper.db` by then.
    #[must_use]
    pub fn source(mut self, source: SourceConfig) -> Self {
        let is_local = |one: &SourceConfig| matches!(one.kind, SourceKind::Local { .. });
        if let (StoreKind::Local { path: store }, SourceKind::Local { path, .. }) =
            (&mut self.store.kind, &source.kind)
            && store.as_path() == Path::new(LOCAL_FILE)
            && !self.sources.iter().any(is_local)
        {
            store.clone_from(path);
        }
        self.sources.push(source);
        self
    }

    /// Reads a configuration from text. `path` is its name in messages; relative paths in it are
    /// relative to the directory of `path`.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn from_toml(text: &str, path: &Path) -> Result<Self, ConfigErrors> {
        let (table, problems) = tree::parse(text, path);
        tables::config(&table, problems, path.parent().unwrap_or(Path::new("")))
    }

    /// Reads a configuration from its layers.
    ///
    /// # Errors
    /// All that is wrong with it; among it a file that cannot be read.
    pub fn load(layers: &Layers) -> Result<Self, ConfigErrors> {
        let (table, problems, base) = layers.merge()?;
        tables::config(&table, problems, &base)
    }

    /// Reads as much of a configuration as its layers hold: what is not written stands as its default, and
    /// what is wrong is told beside it. What this build has is not asked for.
    ///
    /// # Errors
    /// There is nothing to read.
    #[cfg(feature = "cli")]
    pub(crate) fn draft(layers: &Layers) -> Result<(Self, Vec<ConfigError>), ConfigErrors> {
        let (table, problems, base) = layers.merge()?;
        Ok(tables::draft(&table, problems, &base))
    }

    /// Checks bounds and contradictions of all fields. What [`Config::load`] and
    /// [`Config::from_toml`] give has been checked.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        let problems = check::problems(self);
        if problems.is_empty() {
            Ok(())
        } else {
            Err(ConfigErrors(problems))
        }
    }

    /// Where a key came from, by its full name (`failure.attempts`).
    pub fn origin(&self, key: &str) -> Origin {
        self.origins.of(key)
    }

    /// What the processor is to do: `until_idle` off and a fresh seed.
    pub fn settings(&self) -> Settings {
        let failure = &self.failure;
        Settings {
            app: self.app.clone(),
            cap: self.cap,
            memory: self.memory,
            drain: self.drain,
            order: self.order,
            failure: FailureRules {
                attempts_max: failure.attempts,
                backoff_min: failure.backoff_min,
                backoff_max: failure.backoff_max,
                then: failure.then,
                stops: failure.stops,
            },
            timeout: failure.timeout,
            settle: failure.settle,
            park_max: failure.park_max,
            cut_at: CUT_AT,
            flush_interval: self.store.flush_interval,
            unflushed_max: self.store.unflushed_max,
            records_per_call: self.handler.records_per_call,
            until_idle: false,
            starts_until: None,
            seed: uuid::Uuid::new_v4().as_u64_pair().0,
        }
    }
}

/// Types of sources, stores and handlers that this build has.
pub(crate) const BUILT: [(&str, bool); 10] = [
    ("local", cfg!(feature = "local")),
    ("exec", cfg!(feature = "exec")),
    ("http", cfg!(feature = "http")),
    ("metrics", cfg!(feature = "metrics")),
    // What a mapping delivers needs no client of the source.
    ("kafka", cfg!(any(feature = "kafka", feature = "lambda"))),
    ("dynamodb", cfg!(feature = "dynamodb")),
    ("kinesis", cfg!(feature = "kinesis")),
    ("msk", cfg!(feature = "msk")),
    ("sqs", cfg!(feature = "sqs")),
    ("lambda", cfg!(feature = "lambda")),
];
