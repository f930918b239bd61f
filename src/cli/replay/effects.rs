//! What becomes of the effects that a handler answers with while records run again.

use crate::{
    handler::{Answer, Failure, FailureKind, Target},
    processor::Stop,
    record::{Record, Run},
};
use clap::ValueEnum;
use futures_util::future::BoxFuture;
use std::{
    os::fd::OwnedFd,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::sync::mpsc::UnboundedSender;

/// `--effects`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Effects {
    /// Drop them; their conditions are not looked at either
    Suppress,
    /// Apply them to the values of the app once more, under new record ids
    Again,
}

/// A handler whose effects never reach the store: they are dropped, or the first one ends the replay.
pub(super) struct Without {
    inner: Arc<dyn Target>,
    /// Where an effect ends the replay.
    ends: Option<UnboundedSender<Stop>>,
    /// The record whose answer had the first effects.
    refused: Arc<OnceLock<String>>,
}

impl Without {
    pub(super) fn new(
        inner: Arc<dyn Target>,
        ends: Option<UnboundedSender<Stop>>,
        refused: Arc<OnceLock<String>>,
    ) -> Self {
        Self {
            inner,
            ends,
            refused,
        }
    }
}

impl Target for Without {
    fn try_run(self: Arc<Self>, run: Run) -> BoxFuture<'static, Answer> {
        Box::pin(async move {
            let mut answer = Arc::clone(&self.inner).try_run(run.clone()).await;
            let Some((record, _)) = answer.effects.first() else {
                return answer;
            };
            let id = { run.records() }
                .get(*record)
                .map_or_else(|| run.id().to_owned(), Record::id);
            let Some(stop) = &self.ends else {
                answer.effects.clear();
                return answer;
            };
            // Told before the answer is looked at, so that nothing starts in between; an answer of the
            // first poll would be.
            let _ = self.refused.set(id);
            let _ = stop.send(Stop::Drain);
            tokio::task::yield_now().await;
            Answer::failed(Failure {
                error: "the replay ends before the first effect".to_owned(),
                kind: FailureKind::Untried,
                after: Duration::ZERO,
                unknown_end: None,
            })
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
