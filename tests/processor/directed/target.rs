//! A handler and a dead-letter target that do what the test says.

use super::{
    deeds::{Deed, End, Tried},
    world::World,
};
use futures_util::{FutureExt, future::BoxFuture};
use lanekeeper::{
    Record, Run,
    handler::{Answer, DeadLetter, PublishError, Target},
    record::LaneKey,
    store::Verb,
};
use std::{os::fd::OwnedFd, sync::Arc, time::Duration};

/// Serves one worker.
pub(super) struct Client {
    pub(super) world: Arc<World>,
    pub(super) worker: u64,
    pub(super) settle: Duration,
}

/// A call that is out; dropped, it has ended.
struct Out {
    world: Arc<World>,
    position: u64,
    /// How long a remote may go on with it: not known until it is answered.
    runs_on: Duration,
}

impl Drop for Out {
    fn drop(&mut self) {
        let (position, runs_on) = (self.position, self.runs_on);
        self.world.does(Deed::Ended { position, runs_on });
    }
}

fn offset(record: &Record) -> u64 {
    record.position().offset().expect("an offset")
}

impl Client {
    async fn call(self: Arc<Self>, run: Run) -> Answer {
        let position = offset(run.first());
        let tried = Tried {
            at: self.world.now(),
            worker: self.worker,
            position,
            id: run.id().to_owned(),
            attempt: run.attempt(),
            nth: self.world.next_call_of(position),
        };
        self.world.does(Deed::Called(tried.clone()));
        let mut out = Out {
            world: Arc::clone(&self.world),
            position,
            runs_on: self.settle,
        };
        let act = self.world.act(&tried);
        if !act.takes.is_zero() {
            tokio::time::sleep(act.takes).await;
        }
        let n = run.records().len();
        let answer = match act.ends {
            End::Done(effects) => Answer {
                effects: effects.into_iter().map(|effect| (0, effect)).collect(),
                ..Answer::all(n)
            },
            End::Fails(failure) => Answer::failed(failure),
            // No hook: a panic that is meant is not printed.
            End::Panics => std::panic::resume_unwind(Box::new("scripted")),
            End::Never => std::future::pending().await,
        };
        let unknown = answer.failure.as_ref().and_then(|f| f.unknown_end);
        out.runs_on = unknown.unwrap_or_default();
        answer
    }
}

impl Target for Client {
    fn try_run(self: Arc<Self>, run: Run) -> BoxFuture<'static, Answer> {
        self.call(run).boxed()
    }

    fn settle(&self, _timeout: Duration) -> Duration {
        self.settle
    }

    fn children(&self) -> Vec<u32> {
        Vec::new()
    }

    fn share(&self, _descriptors: Vec<OwnedFd>) {}
}

impl DeadLetter for Client {
    fn publish(
        &self,
        record: Record,
        error: String,
        attempts: u32,
    ) -> BoxFuture<'static, Result<(), PublishError>> {
        let lane = LaneKey::from_bytes(record.lane()).expect("a lane");
        let decision = self.world.item_of(lane).and_then(|item| item.decision);
        self.world.does(Deed::Published {
            id: record.id(),
            error,
            attempts,
            verdict: decision.is_some_and(|d| d.taken && d.verb == Verb::DeadLetter),
        });
        let time = self.world.publishing();
        async move {
            tokio::time::sleep(time).await;
            Ok(())
        }
        .boxed()
    }
}
