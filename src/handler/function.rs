//! Closures as handlers, one record at a time.

use super::{Answer, Done, Failure, Handler};
use crate::record::{Record, Run};
use std::{future::Future, sync::Arc};

struct Each<S, F> {
    state: Arc<S>,
    f: F,
}

/// A handler from an async closure that takes one record.
///
/// ```
/// use lanekeeper::{Done, each};
/// let handler = each(async |record: lanekeeper::Record| {
///     std::str::from_utf8(record.value().unwrap_or_default())?;
///     Ok(Done)
/// });
/// # fn accept(_: impl lanekeeper::Handler) {}
/// # accept(handler);
/// ```
pub fn each<F, Fut>(f: F) -> impl Handler
where
    F: Fn(Record) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Done, Failure>> + Send + 'static,
{
    each_with((), move |_: Arc<()>, record| f(record))
}

/// A handler from an async closure that takes shared state and one record.
pub fn each_with<S, F, Fut>(state: S, f: F) -> impl Handler
where
    S: Send + Sync + 'static,
    F: Fn(Arc<S>, Record) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Done, Failure>> + Send + 'static,
{
    Each {
        state: Arc::new(state),
        f,
    }
}

impl<S, F, Fut> Handler for Each<S, F>
where
    S: Send + Sync + 'static,
    F: Fn(Arc<S>, Record) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Done, Failure>> + Send + 'static,
{
    async fn handle(&self, run: Run) -> Answer {
        let mut answer = Answer::default();
        for record in run.into_records() {
            match (self.f)(Arc::clone(&self.state), record).await {
                Ok(Done { effects }) => {
                    answer
                        .effects
                        .extend(effects.into_iter().map(|e| (answer.done, e)));
                    answer.done += 1;
                }
                Err(failure) => {
                    answer.failure = Some(failure);
                    break;
                }
            }
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Effect, Position,
        handler::{FailureKind, Rust, Target as _},
        record::{Assignment, BatchBuilder, LaneOrder, NoKey, OrderBy, PartitionName},
    };
    use std::sync::Mutex;

    fn run(values: &[&str]) -> Run {
        let mut batch = BatchBuilder::new(Arc::new(Assignment {
            name: PartitionName::new("src", "t/0"),
            epoch: 1,
            generation: 0,
        }));
        let order = LaneOrder {
            by: OrderBy::Key,
            no_key: NoKey::Partition,
        };
        for (position, value) in (1..).zip(values) {
            let position = Position::Offset(position);
            (batch.push(
                order,
                position,
                Some(b"k"),
                Some(value.as_bytes()),
                [],
                None,
            ))
            .expect("a lane");
        }
        Run::new(batch.finish(None).iter(), 1).expect("records")
    }

    #[tokio::test]
    async fn a_closure_gets_a_runs_records_in_order_up_to_the_first_failure() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let handler = each_with(
            Arc::clone(&seen),
            async |seen: Arc<Arc<Mutex<_>>>, record: Record| {
                let text = std::str::from_utf8(record.value().unwrap_or_default())?.to_owned();
                seen.lock().expect("unpoisoned").push(text.clone());
                let by = text.parse()?;
                Ok(Done::with(vec![Effect::add("t", &text, by)]))
            },
        );
        let answer = Arc::new(Rust(handler))
            .try_run(run(&["1", "2", "x", "4"]))
            .await;
        assert_eq!(*seen.lock().expect("unpoisoned"), ["1", "2", "x"]);
        assert_eq!(answer.done, 2);
        assert_eq!(
            answer.effects,
            [(0, Effect::add("t", "1", 1)), (1, Effect::add("t", "2", 2))]
        );
        let failure = answer.failure.expect("`x` is no number");
        assert_eq!(failure.kind, FailureKind::Retry);
        assert_eq!(failure.error, "invalid digit found in string");
    }

    #[tokio::test]
    async fn a_refused_connection_blames_the_target_wherever_it_is_in_the_causes() {
        #[derive(Debug, thiserror::Error)]
        #[error("the database is away")]
        struct Away(#[source] std::io::Error);

        let handler = each(async |record: Record| {
            let refused = match record.position().offset() {
                Some(1) => std::io::ErrorKind::ConnectionRefused,
                Some(_) | None => std::io::ErrorKind::ConnectionReset,
            };
            Err(Away(refused.into()))?;
            Ok(Done)
        });
        let handler = Arc::new(Rust(handler));
        let both = run(&["", ""]);
        for (record, expected) in
            (both.records().iter()).zip([FailureKind::Target, FailureKind::Retry])
        {
            let one = Run::new(std::iter::once(record), 1).expect("a record");
            let failure = Arc::clone(&handler)
                .try_run(one)
                .await
                .failure
                .expect("away");
            assert_eq!(failure.kind, expected);
            assert!(
                failure
                    .error
                    .starts_with("the database is away: connection re"),
                "{}",
                failure.error
            );
        }
    }
}
