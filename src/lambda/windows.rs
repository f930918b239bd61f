//! Tumbling windows: the state that a mapping keeps of a shard from one invocation to the next, and gives to
//! the last one of a window.
//!
//! Lanes run side by side, and a window has one state. So handlers do not touch it: what they have done is
//! folded into it afterwards, in the order of positions, up to the first record that is unfinished. There the
//! mapping goes on, whose place and whose state are of one answer: what is before the place is in the state,
//! once, and nothing that is behind it.

use super::{Answer, Delivery, Entry, Function, delivery::Window};
use crate::{handler::Failure, position::Position};
use futures_util::future::BoxFuture;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use std::{collections::BTreeSet, future::Future, marker::PhantomData, sync::Arc, time::Duration};

/// Most bytes of a state as JSON: a mapping ends the window of one that is larger than 1 MB, which is this at
/// most. Nobody says whether it is 1,000,000: between the two a mapping may end the window early.
pub const STATE_BYTES_MAX: usize = 1_048_576;

/// What a window comes to, record by record.
pub trait Aggregate: Send + Sync + 'static {
    /// As JSON it goes to the mapping with each answer and comes back with the next event: at most
    /// [`STATE_BYTES_MAX`] bytes.
    type State: Default + Serialize + DeserializeOwned + Send + Sync;

    /// Takes a record in. Called for the records of a window in the order of their positions, for each once
    /// as far as the state is concerned that the mapping ends up with: an answer that was lost is given
    /// again, from the same state and the same records. So it must do nothing but change the state.
    ///
    /// What was parked, dead-lettered or skipped is taken in as well: the mapping does not bring it again.
    fn fold(&self, state: &mut Self::State, record: Entry<'_>);

    /// The window is over. An error fails the invocation, and the mapping invokes it again until it
    /// succeeds: this must bear being called twice for one window. Has until the deadline, without
    /// `lambda.margin`.
    fn finish(
        &self,
        window: &Window,
        state: Self::State,
    ) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// An [`Aggregate`], as a function takes it.
pub trait WindowState: Send + Sync {
    /// The state with these records taken in.
    ///
    /// # Errors
    /// When the state that came cannot be read, or the new one not be written.
    fn fold(
        &self,
        state: Option<&RawValue>,
        records: &mut dyn Iterator<Item = Entry<'_>>,
    ) -> Result<Box<RawValue>, String>;

    /// The window is over, with this state.
    fn finish<'a>(
        &'a self,
        window: &'a Window,
        state: &'a RawValue,
    ) -> BoxFuture<'a, Result<(), Failure>>;
}

/// An [`Aggregate`] in Rust.
pub struct Aggregated<A>(pub A);

impl<A: Aggregate> Aggregated<A> {
    /// A window begins with `{}`.
    fn read(state: Option<&RawValue>) -> Result<A::State, String> {
        let text = state.map(|state| state.get().trim()).unwrap_or_default();
        if matches!(text, "" | "null" | "{}") {
            return Ok(A::State::default());
        }
        serde_json::from_str(text).map_err(|error| {
            format!("the window's state is not of the type that the function has for it: {error}")
        })
    }
}

impl<A: Aggregate> WindowState for Aggregated<A> {
    fn fold(
        &self,
        state: Option<&RawValue>,
        records: &mut dyn Iterator<Item = Entry<'_>>,
    ) -> Result<Box<RawValue>, String> {
        let mut state = Self::read(state)?;
        for record in records {
            self.0.fold(&mut state, record);
        }
        serde_json::value::to_raw_value(&state)
            .map_err(|error| format!("the window's state cannot be written as JSON: {error}"))
    }

    fn finish<'a>(
        &'a self,
        window: &'a Window,
        state: &'a RawValue,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let state = Self::read(Some(state)).map_err(Failure::retry)?;
            self.0.finish(window, state).await
        })
    }
}

struct Closures<S, F, E> {
    fold: F,
    finish: E,
    state: PhantomData<fn() -> S>,
}

/// An [`Aggregate`] of two closures: what a record does to the state, and what becomes of the state at the end
/// of the window.
///
/// ```
/// use lanekeeper::lambda::{Entry, Window, aggregate};
/// use std::collections::BTreeMap;
/// let per_key = aggregate(
///     |counts: &mut BTreeMap<String, u64>, record: Entry<'_>| {
///         let key = String::from_utf8_lossy(record.key().unwrap_or_default());
///         *counts.entry(key.into_owned()).or_default() += 1;
///     },
///     async |window: Window, counts: BTreeMap<String, u64>| {
///         println!("{:?}: {counts:?}", window.shard);
///         Ok(())
///     },
/// );
/// # fn accept(_: impl lanekeeper::lambda::Aggregate) {}
/// # accept(per_key);
/// ```
pub fn aggregate<S, F, E, Fut>(fold: F, finish: E) -> impl Aggregate
where
    S: Default + Serialize + DeserializeOwned + Send + Sync + 'static,
    F: Fn(&mut S, Entry<'_>) + Send + Sync + 'static,
    E: Fn(Window, S) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Failure>> + Send + 'static,
{
    Closures {
        fold,
        finish,
        state: PhantomData,
    }
}

impl<S, F, E, Fut> Aggregate for Closures<S, F, E>
where
    S: Default + Serialize + DeserializeOwned + Send + Sync + 'static,
    F: Fn(&mut S, Entry<'_>) + Send + Sync + 'static,
    E: Fn(Window, S) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Failure>> + Send + 'static,
{
    type State = S;

    fn fold(&self, state: &mut S, record: Entry<'_>) {
        (self.fold)(state, record);
    }

    fn finish(
        &self,
        window: &Window,
        state: S,
    ) -> impl Future<Output = Result<(), Failure>> + Send {
        (self.finish)(window.clone(), state)
    }
}

/// Records of a delivery that are not settled, by their partitions' names within their source.
pub(super) type Open = BTreeSet<(Arc<str>, Position)>;

impl Function {
    /// The answer of an invocation that is of a window; `left` is until its deadline.
    pub(super) async fn window_answer(
        &self,
        window: &Window,
        delivery: &Delivery,
        open: &Open,
        left: Duration,
    ) -> Answer {
        let failures =
            delivery.failures(|of, at| open.contains(&(Arc::clone(of.name()), at.clone())));
        // Where nobody waits for the window's end, records come again as they do without one.
        if window.is_final && self.aggregate.is_some() && !failures.is_empty() {
            return Answer::Fail(format!(
                "{} of the {} records that the last invocation of the window brings are unfinished: it fails, so that all of it comes again with its state, and the window ends with all of its records",
                failures.unfinished(),
                delivery.entries(),
            ));
        }
        let state = match self.folded(window, delivery, open) {
            Ok(state) => state,
            Err(why) => return Answer::Fail(why),
        };
        if window.is_final
            && let Some(aggregate) = &self.aggregate
        {
            let time = left.saturating_sub(self.margin);
            let finished = tokio::time::timeout(time, aggregate.finish(window, &state)).await;
            match finished {
                Ok(Ok(())) => {}
                Ok(Err(failure)) => {
                    let why = format!(
                        "the window's end failed, and comes again: {}",
                        failure.error
                    );
                    return Answer::Fail(why);
                }
                Err(_) => {
                    let why = format!(
                        "the window's end took more than the {time:?} that were left of the invocation, and comes again"
                    );
                    return Answer::Fail(why);
                }
            }
        }
        failures.answer_with(self.reports_failures, Some(&state))
    }

    /// The state as of the first record that is unfinished; as it came where nobody folds.
    fn folded(
        &self,
        window: &Window,
        delivery: &Delivery,
        open: &Open,
    ) -> Result<Box<RawValue>, String> {
        let came = window.state.as_deref();
        let Some(aggregate) = &self.aggregate else {
            return match came {
                Some(state) => Ok(state.to_owned()),
                None => RawValue::from_string("{}".to_owned()).map_err(|e| e.to_string()),
            };
        };
        let entries = delivery.partitions.iter().flat_map(|delivered| {
            let is_open =
                |at: &Position| open.contains(&(Arc::clone(delivered.name()), at.clone()));
            let first = { delivered.entries() }.find(|entry| is_open(entry.position()));
            let first = first.map(|entry| entry.position());
            // All of an aggregate comes again, also what is done of it.
            delivered.entries().take_while(move |entry| {
                first.is_none_or(|first| entry.position().number() != first.number())
            })
        });
        let mut entries = entries;
        let state = aggregate.fold(came, &mut entries)?;
        let bytes = state.get().len();
        if bytes > STATE_BYTES_MAX {
            return Err(format!(
                "the window's state has {bytes} bytes, and a mapping keeps at most {STATE_BYTES_MAX} and ends the window of one that is larger: the shard stands, and the same records and state come again; deploy a version that keeps less in the state, and let `TumblingWindowInSeconds` be shorter"
            ));
        }
        Ok(state)
    }
}
