//! A fault proxy between a client and DynamoDB: what a network and AWS do that no emulator does.
//!
//! It stands on 127.0.0.1, forwards requests over plain HTTP, and drops, delays or refuses some of them
//! as [`Faults`] say, drawn from a seed. Whatever they say, it keeps limits of DynamoDB that emulators do
//! not keep: requests that overlap on an item within a transaction conflict, and transactions and items
//! may be only so large. What it did is counted.
//!
//! A request that its client has given up is still forwarded, after its delays: so it is in a network.

mod answer;
mod bucket;
mod faults;
mod ledger;
mod limits;
mod ongoing;
mod request;
mod serve;
mod size;
mod upstream;

pub use faults::{Fault, Faults, Rule, WriteLimit};
pub use ledger::{Counts, Entry, Kind};

use bucket::Buckets;
use faults::{Draws, SEED};
use ledger::Ledger;
use ongoing::Ongoing;
use std::{
    fmt,
    io::{self, Write as _},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};
use tokio::{
    net::TcpListener,
    runtime::{self, Runtime},
    sync::watch,
};
use upstream::Upstream;

/// What hyper's bodies are made of.
type Bytes = hyper::body::Bytes;

/// A running proxy, with threads of its own. Dropped, it ends, with all requests in it.
pub struct Proxy {
    endpoint: String,
    state: Arc<State>,
    /// Taken when it ends.
    runtime: Option<Runtime>,
}

struct State {
    upstream: Upstream,
    draws: Mutex<Draws>,
    ledger: Mutex<Ledger>,
    buckets: Mutex<Buckets>,
    ongoing: Arc<Ongoing>,
    /// The network, until when.
    frozen: watch::Sender<Option<Instant>>,
    /// The table's writes, until when.
    held: watch::Sender<Option<Instant>>,
}

impl Proxy {
    /// Starts one before this endpoint.
    ///
    /// # Errors
    /// When the endpoint is not `http://HOST:PORT`, or no port or thread is to be had.
    pub fn start(upstream: &str, faults: Faults) -> io::Result<Self> {
        let state = Arc::new(State {
            upstream: Upstream::new(upstream)?,
            draws: Mutex::new(Draws::new(faults)),
            ledger: Mutex::default(),
            buckets: Mutex::default(),
            ongoing: Arc::default(),
            frozen: watch::Sender::new(None),
            held: watch::Sender::new(None),
        });
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("fault-proxy")
            .enable_all()
            .build()?;
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let entered = runtime.enter();
        let listener = TcpListener::from_std(listener)?;
        drop(entered);
        runtime.spawn(serve::serve(listener, Arc::clone(&state)));
        Ok(Self {
            endpoint,
            state,
            runtime: Some(runtime),
        })
    }

    /// Where it listens.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Other faults from now on. Requests that are under way keep theirs; buckets are full again.
    pub fn set_faults(&self, faults: Faults) {
        *self.state.draws() = Draws::new(faults);
        *self.state.buckets() = Buckets::default();
    }

    /// Holds all requests and answers until [`Proxy::thaw`], but no longer than this: a partition of the
    /// network.
    pub fn freeze(&self, limit: Duration) {
        self.state.frozen.send_replace(Some(Instant::now() + limit));
    }

    /// Keeps writes in progress at the table until [`Proxy::thaw`], but no longer than this: what
    /// overlaps with them meanwhile conflicts.
    pub fn hold_writes(&self, limit: Duration) {
        self.state.held.send_replace(Some(Instant::now() + limit));
    }

    /// Lets go what [`Proxy::freeze`] and [`Proxy::hold_writes`] hold.
    pub fn thaw(&self) {
        self.state.frozen.send_replace(None);
        self.state.held.send_replace(None);
    }

    /// What has happened so far.
    pub fn counts(&self) -> Counts {
        self.state.ledger().counts.clone()
    }

    /// The requests so far, while [`Faults::is_journal_kept`] was set.
    pub fn journal(&self) -> Vec<Entry> {
        self.state.ledger().journal.clone()
    }
}

impl State {
    fn draws(&self) -> MutexGuard<'_, Draws> {
        self.draws.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn buckets(&self) -> MutexGuard<'_, Buckets> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if thread::panicking() {
            let _gone = writeln!(io::stderr(), "{self}");
        }
        if let Some(runtime) = self.runtime.take() {
            // It may be dropped in a test that is itself asynchronous, where waiting is forbidden.
            runtime.shutdown_background();
        }
    }
}

/// Where its draws began and what it did: printed when a test fails.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seed = self.state.draws().faults.seed;
        let counts = self.counts();
        write!(
            f,
            "fault proxy: {counts:?}; replay the draws with {SEED}={seed}"
        )
    }
}
