//! The Kafka that tests talk to: one that the user names, or brokers of our own.

mod admin;
mod cluster;
mod detached;
mod iam;
mod node;
mod offsets;
mod package;
mod probe;
mod records;
mod security;
mod setup;

pub use detached::{down, up};
pub use iam::{ACCESS_KEY, REGION, SECRET_KEY, SESSION};
pub use security::{Listener, PASSWORD, Secure, USER};
pub use setup::{Controllers, Setup};

use crate::server::variable;
use admin::Admin;
use cluster::Cluster;
use package::Package;
use probe::Probe;
use rustix::process::Signal;
use std::{
    ffi::OsString,
    io::{self, Write as _},
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
    thread,
};

/// Names the bootstrap servers that tests use.
pub const BOOTSTRAP: &str = "LANEKEEPER_TEST_KAFKA";

/// What stands behind them, set by `cargo integration test` for the tests that it runs.
const NAME: &str = "LANEKEEPER_TEST_KAFKA_NAME";

/// Why `cargo integration test` could not start one: its tests need not find out each by itself.
const REFUSED: &str = "LANEKEEPER_TEST_KAFKA_REFUSED";

/// The one broker of this process.
static OWN: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());

/// Fetches Kafka into the cache, unless it is there, and says where.
///
/// # Errors
/// When something is missing or there is no network; the message says what to do.
pub fn fetch() -> io::Result<PathBuf> {
    Ok(Package::find_or_fetch()?.into_folder())
}

/// A Kafka for tests. Dropped, it kills its brokers, if it was the last to use what this process has
/// started.
pub struct Kafka {
    bootstrap: String,
    name: String,
    admin: Admin,
    cluster: Option<Arc<Cluster>>,
}

impl Kafka {
    /// What `LANEKEEPER_TEST_KAFKA` names; else what `cargo integration up` has started; else one broker
    /// for this process, which all its tests share: none may end it, each makes topics of its own.
    ///
    /// # Errors
    /// When the named one does not answer, or ours cannot be fetched or started; the message says what
    /// to do.
    pub fn start() -> io::Result<Self> {
        if let Some(error) = variable(REFUSED) {
            return Err(io::Error::other(error));
        }
        if let Some(bootstrap) = variable(BOOTSTRAP) {
            return Self::named(bootstrap);
        }
        if let Some(bootstrap) = detached::bootstrap()? {
            return Self::at(bootstrap, ours(), None);
        }
        let mut own = OWN.lock().unwrap_or_else(PoisonError::into_inner);
        let cluster = match own.upgrade() {
            Some(cluster) => cluster,
            None => Arc::new(Cluster::start(package_once()?, &Setup::shared())?),
        };
        *own = Arc::downgrade(&cluster);
        Self::of(cluster)
    }

    /// Brokers of a test's own, which it may end, kill and freeze.
    ///
    /// # Errors
    /// When they cannot be fetched or started; the message says what to do.
    pub fn own(setup: &Setup) -> io::Result<Self> {
        if let Some(error) = variable(REFUSED) {
            return Err(io::Error::other(error));
        }
        Self::of(Arc::new(Cluster::start(package_once()?, setup)?))
    }

    /// So many brokers of a test's own, each a controller too.
    ///
    /// # Errors
    /// As [`Kafka::own`].
    pub fn cluster(brokers: usize) -> io::Result<Self> {
        Self::own(&Setup::default().with_brokers(brokers))
    }

    /// A broker of a test's own with TLS and SASL.
    ///
    /// # Errors
    /// As [`Kafka::own`].
    pub fn secure() -> io::Result<Secure> {
        Secure::start()
    }

    fn named(bootstrap: String) -> io::Result<Self> {
        Probe::new(&bootstrap)?.brokers().map_err(|e| {
            io::Error::other(format!(
                "the Kafka that `{BOOTSTRAP}` names does not answer at `{bootstrap}`: {e}; start it, or \
                 unset the variable for one of our own"
            ))
        })?;
        let name = variable(NAME).unwrap_or_else(|| format!("the Kafka at {bootstrap}"));
        Self::at(bootstrap, name, None)
    }

    fn of(cluster: Arc<Cluster>) -> io::Result<Self> {
        Self::at(cluster.bootstrap(setup::PLAINTEXT), ours(), Some(cluster))
    }

    fn at(bootstrap: String, name: String, cluster: Option<Arc<Cluster>>) -> io::Result<Self> {
        Ok(Self {
            admin: Admin::new(&bootstrap)?,
            bootstrap,
            name,
            cluster,
        })
    }

    /// A name that no other test's topic or group has: tests share one Kafka.
    pub fn topic_name() -> String {
        format!("lanekeeper-test-{:016x}", fastrand::u64(..))
    }

    /// `host:port,…`, without security.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// The same at another listener; empty where there is no such one.
    fn bootstrap_at(&self, listener: &str) -> String {
        let cluster = self.cluster.as_ref();
        cluster.map_or_else(String::new, |cluster| cluster.bootstrap(listener))
    }

    /// What it is, for figures.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The number of brokers, where this process has started them.
    pub fn brokers(&self) -> Option<usize> {
        self.cluster.as_ref().map(|cluster| cluster.brokers())
    }

    /// Makes a topic with so many partitions, replicated to at most three brokers, and these of Kafka's
    /// topic configurations; waits until all partitions have leaders.
    ///
    /// # Errors
    /// When Kafka refuses or does not answer.
    pub fn create_topic(
        &self,
        topic: &str,
        partitions: u32,
        configs: &[(&str, &str)],
    ) -> io::Result<()> {
        self.admin.create(topic, partitions, configs)
    }

    /// Gives a topic more partitions, `partitions` in all.
    ///
    /// # Errors
    /// As [`Kafka::create_topic`].
    pub fn grow_topic(&self, topic: &str, partitions: u32) -> io::Result<()> {
        self.admin.grow(topic, partitions)
    }

    /// Sets these configurations of a topic, and all others back to what the cluster has.
    ///
    /// # Errors
    /// As [`Kafka::create_topic`].
    pub fn alter_topic(&self, topic: &str, configs: &[(&str, &str)]) -> io::Result<()> {
        self.admin.alter(topic, configs)
    }

    /// Deletes a topic; waits until it is gone.
    ///
    /// # Errors
    /// As [`Kafka::create_topic`].
    pub fn delete_topic(&self, topic: &str) -> io::Result<()> {
        self.admin.delete(topic)
    }

    /// Deletes the records of a partition before an offset.
    ///
    /// # Errors
    /// As [`Kafka::create_topic`].
    pub fn delete_records(&self, topic: &str, partition: i32, before: i64) -> io::Result<()> {
        self.admin.delete_records(topic, partition, before)
    }

    /// Asks a broker, counted from 0, to end: it hands its partitions over first. Waits for its end.
    ///
    /// # Errors
    /// When it does not run or does not end, and where it is not a test's own.
    pub fn stop_broker(&self, index: usize) -> io::Result<()> {
        self.own_cluster()?.stop_broker(index)
    }

    /// Kills a broker, frozen or not.
    ///
    /// # Errors
    /// When there is no such one, and where it is not a test's own.
    pub fn kill_broker(&self, index: usize) -> io::Result<()> {
        self.own_cluster()?.kill_broker(index)
    }

    /// Starts a broker again that was stopped or killed, at the same address and with its data; waits
    /// until it takes part. Enough controllers must run: start several with [`Kafka::start_brokers`].
    ///
    /// # Errors
    /// When it runs or cannot be started, and where it is not a test's own.
    pub fn start_broker(&self, index: usize) -> io::Result<()> {
        self.start_brokers(&[index])
    }

    /// Starts several together.
    ///
    /// # Errors
    /// As [`Kafka::start_broker`].
    pub fn start_brokers(&self, indices: &[usize]) -> io::Result<()> {
        self.own_cluster()?.start_brokers(indices)
    }

    /// Stops a broker in the middle of whatever it does; its connections stay open.
    ///
    /// # Errors
    /// When it does not run, and where it is not a test's own.
    pub fn freeze_broker(&self, index: usize) -> io::Result<()> {
        self.own_cluster()?.signal_broker(index, Signal::STOP)
    }

    /// Lets a frozen broker go on.
    ///
    /// # Errors
    /// As [`Kafka::freeze_broker`].
    pub fn thaw_broker(&self, index: usize) -> io::Result<()> {
        self.own_cluster()?.signal_broker(index, Signal::CONT)
    }

    /// The process of a broker.
    ///
    /// # Errors
    /// As [`Kafka::freeze_broker`].
    pub fn broker_process(&self, index: usize) -> io::Result<u32> {
        self.own_cluster()?.broker_process(index)
    }

    fn own_cluster(&self) -> io::Result<&Cluster> {
        let shared = OWN.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        let is_shared = |own: &Arc<Cluster>| {
            let shared = shared.as_ref();
            shared.is_some_and(|shared| Arc::ptr_eq(shared, own))
        };
        match &self.cluster {
            Some(own) if !is_shared(own) => Ok(own),
            Some(_) | None => Err(io::Error::other(
                "other tests use this broker: ask for one of your own with `Kafka::own`",
            )),
        }
    }

    /// Where its brokers write, if this process has started them.
    pub fn logs(&self) -> Vec<PathBuf> {
        self.cluster
            .as_ref()
            .map(|cluster| cluster.logs())
            .unwrap_or_default()
    }

    /// Keeps the folder of brokers that this process has started, so that their logs can be read.
    pub fn keep_logs(&self) {
        if let Some(cluster) = &self.cluster {
            cluster.keep_folder();
        }
    }

    /// The environment with which [`Kafka::start`] in a child process gives this one.
    pub fn for_tests(&self) -> Vec<(&'static str, String)> {
        vec![
            (BOOTSTRAP, self.bootstrap.clone()),
            (NAME, self.name.clone()),
        ]
    }

    /// The environment with which [`Kafka::start`] in a child process fails at once with this error.
    pub fn refused(error: &io::Error) -> Vec<(&'static str, String)> {
        vec![(REFUSED, error.to_string())]
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        if thread::panicking() {
            self.keep_logs();
            for log in self.logs() {
                let (name, log) = (&self.name, log.display());
                let _gone = writeln!(io::stderr(), "a log of {name} is {log}");
            }
        }
    }
}

/// The JVM that brokers run on.
pub(crate) fn java() -> OsString {
    package::program("java")
}

fn ours() -> String {
    format!("Apache Kafka {}", package::version())
}

/// Refused once, refused always: without a network, tests would try one after the other.
fn package_once() -> io::Result<Package> {
    static REFUSAL: OnceLock<String> = OnceLock::new();
    if let Some(refusal) = REFUSAL.get() {
        return Err(io::Error::other(refusal.as_str()));
    }
    Package::find_or_fetch().inspect_err(|error| REFUSAL.set(error.to_string()).unwrap_or_default())
}
