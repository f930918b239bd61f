//! How a run goes on: a line that changes on a terminal, else a line every few seconds.

use super::session::Shows;
use crate::{
    cli::{output, status::Seen, view::records},
    config::Config,
    handler::{Answer, Target},
    record::Run,
    run::open_store,
    sqlite::Access,
};
use futures_util::future::BoxFuture;
use std::{
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;

/// How often a person is told.
const ON_TERMINAL: Duration = Duration::from_millis(500);
/// How often a log is told.
const ON_LINES: Duration = Duration::from_secs(5);

/// A handler whose calls are counted.
pub(super) struct Counted {
    inner: Arc<dyn Target>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    in_flight: AtomicU64,
    done: AtomicU64,
    failed: AtomicU64,
}

/// Counts a call out for as long as it lives.
struct Out(Arc<Counts>);

impl Drop for Out {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Counted {
    pub(super) fn new(inner: Arc<dyn Target>) -> Self {
        Self {
            inner,
            counts: Arc::default(),
        }
    }

    pub(super) fn in_flight(&self) -> u64 {
        self.counts.in_flight.load(Ordering::Relaxed)
    }
}

impl Target for Counted {
    fn try_run(self: Arc<Self>, run: Run) -> BoxFuture<'static, Answer> {
        let counts = Arc::clone(&self.counts);
        counts.in_flight.fetch_add(1, Ordering::Relaxed);
        let out = Out(Arc::clone(&counts));
        let call = Arc::clone(&self.inner).try_run(run);
        Box::pin(async move {
            let _out = out;
            let answer = call.await;
            counts.done.fetch_add(answer.done as u64, Ordering::Relaxed);
            let failed = u64::from(answer.failure.is_some());
            counts.failed.fetch_add(failed, Ordering::Relaxed);
            answer
        })
    }

    fn settle(&self, timeout: Duration) -> Duration {
        self.inner.settle(timeout)
    }

    fn children(&self) -> Vec<u32> {
        self.inner.children()
    }

    fn share(&self, descriptors: Vec<OwnedFd>) {
        self.inner.share(descriptors);
    }
}

/// Tells until it is ended.
pub(super) struct Progress(JoinHandle<()>);

impl Progress {
    pub(super) fn start(config: &Config, counted: Arc<Counted>, shows: Shows) -> Self {
        Self(tokio::spawn(tell(config.clone(), counted, shows)))
    }

    pub(super) fn end(self) {
        self.0.abort();
        output::end_progress();
    }
}

async fn tell(config: Config, counted: Arc<Counted>, shows: Shows) {
    // Without it the line is shorter: the run itself says what is wrong with the store. One whose every
    // read is paid for is asked by `status`, when somebody wants to know.
    let store = match shows {
        Shows::Standing => open_store(&config, Access::Read)
            .ok()
            .filter(|store| store.shares_commits()),
        Shows::Calls => None,
    };
    let pause = if output::is_watched() {
        ON_TERMINAL
    } else {
        ON_LINES
    };
    let began = Instant::now();
    let mut told = String::new();
    loop {
        tokio::time::sleep(pause).await;
        let mut line = calls(&counted.counts);
        if let Some(store) = store.as_deref()
            && let Ok(seen) = Seen::read(&config, store).await
        {
            line.push_str(&standing(&seen));
        }
        let done = counted.counts.done.load(Ordering::Relaxed) as f64;
        let rate = done / began.elapsed().as_secs_f64().max(0.001);
        // In a log the same line again tells nothing.
        if output::is_watched() || line != told {
            output::progress(&format!("{line}, {rate:.0}/s"));
            told = line;
        }
    }
}

fn calls(counts: &Counts) -> String {
    let mut line = format!(
        "{} done, {} in flight",
        counts.done.load(Ordering::Relaxed),
        counts.in_flight.load(Ordering::Relaxed)
    );
    let failed = counts.failed.load(Ordering::Relaxed);
    if failed > 0 {
        let tries = if failed == 1 { "try" } else { "tries" };
        line.push_str(&format!(", {failed} failed {tries}"));
    }
    line
}

fn standing(seen: &Seen) -> String {
    let mut line = String::new();
    for (count, state) in [(seen.count(true), "stopped"), (seen.count(false), "parked")] {
        if count > 0 {
            let lanes = if count == 1 { "lane" } else { "lanes" };
            line.push_str(&format!(", {count} {state} {lanes}"));
        }
    }
    line.push_str(&format!(", {} not settled", records(seen.lag())));
    if seen.sick_since(output::now()).is_some() {
        line.push_str(", target sick");
    }
    line
}
