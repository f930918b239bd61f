//! What other invocations have done or decided meanwhile, before a record leaves this one: what is done is
//! answered without a call, and a letter goes only where this invocation's verdict stands.

use super::{
    figures::{Begun, UnderWay},
    marks::Marked,
};
use crate::{
    handler::{Answer, DeadLetter, FailureKind, PublishError, Target, within_trace},
    position::Position,
    record::{PartitionName, Record, Run},
};
use futures_util::future::BoxFuture;
use std::{
    collections::BTreeSet,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// Records whose effects are durable.
#[derive(Default)]
pub(super) struct Applied(Mutex<BTreeSet<(PartitionName, Position)>>);

impl Applied {
    pub(super) fn extend(&self, partition: &PartitionName, positions: Vec<Position>) {
        let names = positions.into_iter().map(|at| (partition.clone(), at));
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.extend(names);
    }

    /// How many records from the first on are applied, and how many behind these are not.
    fn of(&self, records: &[Record]) -> (usize, usize) {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_empty() {
            return (0, records.len());
        }
        let is_known = |record: &Record| {
            let name = record.assignment().name.clone();
            known.contains(&(name, record.position().clone()))
        };
        let applied = records.iter().take_while(|record| is_known(record)).count();
        let rest = records.iter().skip(applied);
        (applied, rest.take_while(|record| !is_known(record)).count())
    }
}

/// A target that gets no record which is applied.
pub(super) struct Unapplied {
    pub(super) target: Arc<dyn Target>,
    pub(super) applied: Arc<Applied>,
    /// Which records were tried.
    pub(super) begun: Arc<Begun>,
    /// The trace of the invocation.
    pub(super) trace: Option<Arc<str>>,
}

impl Unapplied {
    /// One try, of which it is known afterwards whether it began.
    fn tried(&self, run: Run) -> BoxFuture<'static, Answer> {
        let (target, begun) = (Arc::clone(&self.target), Arc::clone(&self.begun));
        let trace = self.trace.clone();
        Box::pin(async move {
            let under_way = UnderWay::new(begun, run.clone());
            let answer = within_trace(trace, target.try_run(run)).await;
            let failure = answer.failure.as_ref();
            let has_failed = failure.is_some_and(|failure| failure.kind != FailureKind::Untried);
            under_way.ended(answer.done, has_failed);
            answer
        })
    }
}

impl Target for Unapplied {
    fn try_run(self: Arc<Self>, run: Run) -> BoxFuture<'static, Answer> {
        let records = run.records();
        match self.applied.of(records) {
            (0, n) if n == records.len() => self.tried(run),
            // What is behind those that are done, or before the next one that is, counts as not tried.
            (0, n) => match Run::new(records.iter().take(n), run.attempt()) {
                Some(run) => self.tried(run),
                None => Box::pin(async { Answer::all(0) }),
            },
            (applied, _) => Box::pin(async move { Answer::all(applied) }),
        }
    }

    fn settle(&self, timeout: Duration) -> Duration {
        self.target.settle(timeout)
    }

    fn children(&self) -> Vec<u32> {
        self.target.children()
    }

    fn share(&self, descriptors: Vec<OwnedFd>) {
        self.target.share(descriptors);
    }
}

/// A dead-letter target that gets a record only once its verdict is durable.
pub(super) struct Decided {
    pub(super) target: Arc<dyn DeadLetter>,
    pub(super) marked: Arc<Marked>,
}

impl DeadLetter for Decided {
    fn publish(
        &self,
        record: Record,
        error: String,
        attempts: u32,
    ) -> BoxFuture<'static, Result<(), PublishError>> {
        let (target, marked) = (Arc::clone(&self.target), Arc::clone(&self.marked));
        Box::pin(async move {
            if marked.may_publish(&record).await {
                return target.publish(record, error, attempts).await;
            }
            Err(PublishError {
                target: true,
                error: "another invocation has stopped or parked its lane: no letter is sent, and it stays unfinished".to_owned(),
            })
        })
    }
}
