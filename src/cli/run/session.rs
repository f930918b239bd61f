//! What every command that drives a worker does around it: a runtime, a handler whose calls are
//! counted, signals, progress.

use super::progress::{Counted, Progress};
use crate::{
    cli::{exit::CommandError, output},
    config::{Config, duration_text},
    handler::Target,
    processor::{Outcome, Report, Stop},
    program::Program,
    run::{RunError, Signals, Worker, reach, target},
};
use std::{future::Future, sync::Arc, time::Duration};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// How long threads of the runtime may take to end: what they do is durable or void by then.
const SHUTDOWN: Duration = Duration::from_secs(1);

/// Runs a future that drives a worker, on as many threads as the machine has.
pub(crate) fn within<T>(
    future: impl Future<Output = Result<T, CommandError>>,
) -> Result<T, CommandError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CommandError::Internal(format!("cannot start a runtime: {error}")))?;
    let end = runtime.block_on(future);
    runtime.shutdown_timeout(SHUTDOWN);
    end
}

/// What is told while it goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shows {
    /// Calls, and where the app stands in its store.
    Standing,
    /// Calls alone: the store says nothing of this work.
    Calls,
}

/// A handler that is ready, and the signals that end its worker.
pub(crate) struct Session {
    signals: Signals,
    counted: Arc<Counted>,
    stop: UnboundedSender<Stop>,
    stops: UnboundedReceiver<Stop>,
}

impl Session {
    /// The program's own handler or else the configuration's, in what `wrap` puts around it; that may also
    /// end the worker.
    pub(crate) async fn new(
        program: Option<&Program>,
        config: &Config,
        wrap: impl FnOnce(Arc<dyn Target>, UnboundedSender<Stop>) -> Arc<dyn Target>,
    ) -> Result<Self, CommandError> {
        let target = match program {
            Some(program) => program.target(config).await,
            None => target(config).await,
        };
        let target = target.map_err(RunError::Handler)?;
        // What a handler takes to start may be ended as any program is: nothing is under way yet.
        let signals = Signals::new().map_err(RunError::Signals)?;
        reach(config).await?;
        let (stop, stops) = unbounded_channel();
        let counted = Arc::new(Counted::new(wrap(target, stop.clone())));
        Ok(Self {
            signals,
            counted,
            stop,
            stops,
        })
    }

    pub(crate) fn target(&self) -> Arc<dyn Target> {
        Arc::clone(&self.counted) as _
    }

    /// Drives a worker to its end; a signal drains it, a second one quits.
    pub(crate) async fn drive(
        self,
        config: &Config,
        worker: Worker,
        shows: Shows,
    ) -> (Report, Outcome) {
        self.pass(config, shows, |stops| worker.drive(stops)).await
    }

    /// Drives whatever hears of stops to its end, with signals passed on.
    pub(crate) async fn pass<T, W: Future<Output = T>>(
        self,
        config: &Config,
        shows: Shows,
        work: impl FnOnce(UnboundedReceiver<Stop>) -> W,
    ) -> T {
        let Self {
            mut signals,
            counted,
            stop,
            stops,
        } = self;
        let progress = Progress::start(config, Arc::clone(&counted), shows);
        let drain = config.drain;
        let pass_on = async {
            signals.next().await;
            output::note(&format!(
                "draining: nothing new starts, {} in flight, waiting for {} at most; a second signal \
                 quits at once",
                counted.in_flight(),
                duration_text(drain)
            ));
            let _ = stop.send(Stop::Drain);
            signals.next().await;
            output::note("quitting: what was in flight runs again at the next start");
            let _ = stop.send(Stop::Quit);
            std::future::pending().await
        };
        let end = tokio::select! { biased;
            end = work(stops) => end,
            never = pass_on => never,
        };
        progress.end();
        end
    }
}
