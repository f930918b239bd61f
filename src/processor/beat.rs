//! What the worker says of itself: its first history line, its item in the store, its end.

use super::{Outcome, Processor, Report, StoreFact};
use crate::{
    history::{Event, FORMAT, Opened},
    store::WorkerItem,
};
use futures_util::FutureExt;
use partitions::{Stops, Then};
use std::{sync::Arc, time::Duration};

impl Processor {
    pub(super) fn open(&mut self) {
        self.advance();
        let settings = &self.settings;
        let opened = Opened {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            worker: self.worker.to_string(),
            app: settings.app.clone(),
            cap: settings.cap,
            unflushed_max: settings.unflushed_max,
            records_per_call: settings.records_per_call,
            attempts: settings.failure.attempts_max,
            then: match settings.failure.then {
                Then::Stop => "stop",
                Then::Park => "park",
                Then::DeadLetter => "dead-letter",
            }
            .to_owned(),
            stops: match settings.failure.stops {
                Stops::Lane => "lane",
                Stops::Partition => "partition",
            }
            .to_owned(),
            timeout_ms: millis(settings.timeout),
            settle_ms: millis(self.settle),
            drain_ms: millis(settings.drain),
        };
        self.notes.worker(Event::Opened(&opened));
    }

    /// Writes the worker item, now and then.
    pub(super) fn beat(&mut self) {
        if self.now < self.beat_at || self.beating {
            return;
        }
        self.beat_at = self.now + self.store.beats_every();
        self.beating = true;
        let item = self.item();
        let store = Arc::clone(&self.store);
        self.calls
            .push(async move { StoreFact::Beat(store.beat(&item).await) }.boxed());
    }

    fn item(&self) -> WorkerItem {
        let wall = self.clock.wall_millis();
        let millis_ago = |at: Duration| {
            i64::try_from(self.now.saturating_sub(at).as_millis()).unwrap_or(i64::MAX)
        };
        let mut item = WorkerItem {
            worker: self.worker.0,
            pid: std::process::id(),
            host: host(),
            started: self.started_wall,
            beat: wall,
            in_flight: self.engine.in_flight(),
            waiting: 0,
            buffered: 0,
            paused: Vec::new(),
            sick_since: self
                .engine
                .sick_since()
                .map(|since| wall - millis_ago(since.0)),
            fenced: self.counters.sum(|counts| counts.fenced),
            behind: Vec::new(),
            consumed: self.store.consumed().counted(),
        };
        let waiting = { self.newcomers() }.map(|(name, why)| format!("{name}: {why}"));
        item.paused.extend(waiting);
        for (&id, owned) in &self.partitions {
            let name = owned.assignment.name.to_string();
            if let Some(figures) = self.engine.figures(id) {
                item.waiting += figures.waiting;
                item.buffered += figures.buffered;
                if figures.paused {
                    let (stopped, parked) = self.engine.standing(id);
                    let held = stopped + parked;
                    item.paused
                        .push(format!("{name} ({held} stopped or parked lanes)"));
                }
            }
            item.behind.push((name, owned.behind.unwrap_or(0)));
        }
        item
    }

    /// The last words; the store may not hear them.
    pub(super) async fn close(self, mut end: (Report, Outcome)) -> (Report, Outcome) {
        if !matches!(end.1, Outcome::Abandoned(_)) {
            let leave = self.store.leave(self.worker);
            if !matches!(
                tokio::time::timeout(Duration::from_secs(2), leave).await,
                Ok(Ok(()))
            ) {
                tracing::warn!("the worker item is left in the store");
            }
        }
        end.0.store = self.store.consumed().counted();
        end
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .or_else(|_| std::env::var("HOSTNAME"))
        .unwrap_or_else(|_| "unknown".to_owned())
}
