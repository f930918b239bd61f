//! One invocation: assign, push the batch, run to the end, answer. The same processor as everywhere.

use super::{
    Answer, Delivered, Delivery, EventError, EventKind, Window,
    applied::{Decided, Unapplied},
    batch::BatchSource,
    figures::{Begun, Figures},
    holder::Invocation,
    marks::Marked,
    standing::Batch,
    windows::{Open, WindowState},
};
use crate::{
    handler::{DeadLetter, Target, trace_id},
    history::History,
    position::Position,
    processor::{Clock, Outcome, Parts, Processor, Report, Settings, Stop, Vitals, Watch},
    record::{LaneKey, LaneOrder, NoKey, NoKeyError, OrderBy, PartitionName},
    source::Source,
    store::{MarkStore, WorkerId},
};
use partitions::Stops;
use std::{sync::Arc, time::Duration};
use tokio::sync::mpsc;
use uuid::Uuid;

/// How long marks are kept beyond the time that their source keeps a record.
pub(crate) const MARKS_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a drain may take beyond a try, where the invocation has the time.
const DRAIN_BEYOND: Duration = Duration::from_secs(30);

/// What all invocations of a function have in common.
pub struct Function {
    /// What the configuration says; the cap is still the whole function's.
    pub settings: Settings,
    /// Invocations of it that may run at once: each has its part of the cap.
    pub concurrency: u32,
    /// The mapping looks for what an answer names.
    pub reports_failures: bool,
    /// Batches of one shard that its mapping may have out at once.
    pub parallelization_factor: u32,
    /// Nothing starts that could end later than this before the deadline.
    pub margin: Duration,
    /// How long its source may deliver a record again.
    pub retention: Duration,
    /// Where marks and lanes are.
    pub store: Arc<dyn MarkStore>,
    /// Where records go.
    pub target: Arc<dyn Target>,
    /// Where records go that failed for good; required where `failure.then` is `dead-letter`.
    pub dead_letter: Option<Arc<dyn DeadLetter>>,
    /// What a tumbling window comes to; `None`: its state stays as it comes.
    pub aggregate: Option<Arc<dyn WindowState>>,
    /// Where facts go.
    pub history: Arc<dyn History>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// Why an invocation fails before anything of it starts.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvocationError {
    /// There is not even the time for one try.
    #[error(
        "the invocation has {left:?} left, and one try may take {timeout:?} (`failure.timeout`), its target may go on for {settle:?} after that (`failure.settle`), and {margin:?} (`lambda.margin`) are kept for the answer: nothing can start; give the function more time, or these less"
    )]
    TooShort {
        /// Until the deadline.
        left: Duration,
        /// One try.
        timeout: Duration,
        /// How long its target may still run it when nobody waits any more.
        settle: Duration,
        /// Behind both.
        margin: Duration,
    },
    /// A part of the cap would be none.
    #[error(
        "`cap` is {cap} and `lambda.concurrency` is {concurrency}: each invocation at once needs one at least"
    )]
    NoCap {
        /// Of the function.
        cap: u32,
        /// Invocations at once.
        concurrency: u32,
    },
    /// What was delivered cannot be kept in the order that is configured.
    #[error(transparent)]
    Event(#[from] EventError),
    /// Records without key are refused.
    #[error("partition `{partition}`: {error}")]
    NoKey {
        /// Where.
        partition: String,
        /// Which one.
        error: NoKeyError,
    },
}

/// How an invocation went.
#[derive(Debug)]
pub struct Invoked {
    /// What the mapping is told.
    pub answer: Answer,
    /// What was done; of nothing where nothing began.
    pub report: Option<Report>,
    /// What it came to.
    pub figures: Figures,
}

/// What an invocation has to itself.
pub(super) struct Own {
    /// Until its deadline, from now.
    pub(super) left: Duration,
    /// Part of the record ids.
    pub(super) generation: u64,
    /// Ends it before that.
    pub(super) stops: mpsc::UnboundedReceiver<Stop>,
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// How an invocation ended, as it knows it itself.
pub(super) struct Ran {
    /// `None`: its time was over before.
    pub(super) report: Option<Report>,
    pub(super) outcome: Option<Outcome>,
    vitals: Arc<Vitals>,
    marked: Arc<Marked>,
    begun: Arc<Begun>,
}

impl Ran {
    /// The records of each partition that nobody's durable mark calls done.
    async fn unfinished(&self, source: &Arc<str>, delivery: &Delivery) -> Open {
        let mut open = Open::new();
        for delivered in &delivery.partitions {
            let name = delivered.full_name(source);
            let named = self.marked.unfinished(&name).await.into_iter();
            open.extend(named.map(|position| (Arc::clone(delivered.name()), position)));
        }
        open
    }

    /// The same; `None`: it is not known of any what is done of it, and nothing has started.
    #[cfg(all(feature = "cli", feature = "kinesis"))]
    pub(super) async fn open(&self, source: &Arc<str>, delivery: &Delivery) -> Option<Open> {
        let open = self.unfinished(source, delivery).await;
        self.marked.is_any_claimed().await.then_some(open)
    }

    /// Of lanes as of `fresh` ago at most, unless the store takes more than `time` to answer.
    async fn figures(
        &self,
        delivery: &Delivery,
        open: &Open,
        (fresh, time): (Duration, Duration),
    ) -> Figures {
        // A store that does not answer must not keep the mapping from its answer.
        let look = self.marked.look_at_standing(millis(fresh));
        let _ = tokio::time::timeout(time, look).await;
        let mut figures = Figures::of_nothing(delivery);
        figures.unfinished = open.len() as u64;
        figures.not_started = self.begun.not_of(open);
        let counts = self.vitals.counts.iter();
        counts.for_each(|(_, counts)| figures.count(counts));
        self.marked.figures(&mut figures).await;
        figures
    }

    /// How many records of a partition's batch others had done, or have in a chain.
    #[cfg(all(feature = "cli", feature = "kinesis"))]
    pub(super) async fn known(&self, partition: &PartitionName) -> u64 {
        self.marked.known(partition).await
    }
}

impl Function {
    /// Runs what an invocation delivered, of the source of this name, until all of it is settled, or
    /// waits for a decision, or `left` is over, which is counted from now.
    ///
    /// # Errors
    /// When nothing can start.
    pub async fn invoke(
        &self,
        source: &Arc<str>,
        delivery: Arc<Delivery>,
        left: Duration,
    ) -> Result<Invoked, InvocationError> {
        if let Some(window) = &delivery.window
            && delivery.partitions.is_empty()
        {
            return Ok(self.close_window(window, &delivery, left).await);
        }
        let began = self.clock.now();
        let (_nobody_stops_it, stops) = mpsc::unbounded_channel();
        let own = Own {
            left,
            generation: 0,
            stops,
        };
        let ran = self.run(source, &delivery, own).await?;
        let open = ran.unfinished(source, &delivery).await;
        let figures = ran
            .figures(
                &delivery,
                &open,
                (self.settings.flush_interval, self.margin / 4),
            )
            .await;
        let left = left.saturating_sub(self.clock.now().saturating_sub(began));
        let answer = self.answer(&delivery, &ran, (&open, left)).await;
        Ok(Invoked {
            answer,
            report: ran.report,
            figures,
        })
    }

    /// The same, and nobody is told yet.
    pub(super) async fn run(
        &self,
        source: &Arc<str>,
        delivery: &Arc<Delivery>,
        own: Own,
    ) -> Result<Ran, InvocationError> {
        let Own {
            left,
            generation,
            stops,
        } = own;
        let settings = self.settings_within(left)?;
        let order = order_of(delivery.kind, settings.order);
        if order.by == OrderBy::Key {
            delivery.refuse_unplaced()?;
        }
        delivery.tell_of_what_is_no_aggregate(source);
        if order.by == OrderBy::Partition || settings.failure.stops == Stops::Partition {
            delivery.refuse_unnamed_shards()?;
        }
        let invocation = Invocation {
            generation,
            ..self.invocation(&settings, left)
        };
        let batches = self.batches(delivery, source, &settings)?;
        let wall = Arc::clone(&self.clock);
        let marked = Arc::new(Marked::new(
            Arc::clone(&self.store),
            invocation.clone(),
            Arc::new(move || wall.wall_millis()),
            batches,
        ));
        let watch = Arc::new(Watch::new(Arc::clone(&self.clock), settings.cap));
        let begun = Arc::new(Begun::default());
        let handed = Box::new(BatchSource {
            name: Arc::clone(source),
            delivery: Arc::clone(delivery),
            marked: Arc::clone(&marked),
            order,
        });
        let processor = self.processor(handed, (&marked, &begun), settings, invocation.worker);
        let driven = processor.watched_by(Arc::clone(&watch)).drive(stops);
        // Whatever holds it up, there is an answer: what is not durable is unfinished.
        let ended = tokio::time::timeout(left.saturating_sub(self.margin / 4), driven).await;
        let (report, outcome) = ended.ok().unzip();
        Ok(Ran {
            report,
            outcome,
            vitals: watch.vitals(),
            marked,
            begun,
        })
    }

    /// What drives a batch.
    fn processor(
        &self,
        source: Box<BatchSource>,
        (marked, begun): (&Arc<Marked>, &Arc<Begun>),
        settings: Settings,
        worker: WorkerId,
    ) -> Processor {
        let letters = self.dead_letter.as_ref().map(|target| {
            let (target, marked) = (Arc::clone(target), Arc::clone(marked));
            Arc::new(Decided { target, marked }) as Arc<dyn DeadLetter>
        });
        Processor::new(Parts {
            worker,
            settings,
            store: Arc::clone(marked) as Arc<dyn crate::store::Store>,
            target: Arc::new(Unapplied {
                target: Arc::clone(&self.target),
                applied: marked.applied(),
                begun: Arc::clone(begun),
                trace: trace_id(),
            }),
            history: Arc::clone(&self.history),
            dead_letter: letters,
            sources: vec![(Arc::clone(&source.name), source as Box<dyn Source>)],
            clock: Arc::clone(&self.clock),
        })
    }

    /// A window's last invocation that brings nothing but its state.
    async fn close_window(&self, window: &Window, delivery: &Delivery, left: Duration) -> Invoked {
        Invoked {
            answer: self
                .window_answer(window, delivery, &Open::new(), left)
                .await,
            report: None,
            figures: Figures::of_nothing(delivery),
        }
    }

    fn settings_within(&self, left: Duration) -> Result<Settings, InvocationError> {
        let (cap, concurrency) = (self.settings.cap, self.concurrency.max(1));
        let timeout = self.settings.timeout;
        if cap < concurrency {
            return Err(InvocationError::NoCap { cap, concurrency });
        }
        let settle = self.settings.settle;
        let settle = settle.unwrap_or_else(|| self.target.settle(timeout));
        // What a try of unknown end does is over before the batch can come again, and counts.
        let needed = timeout + settle + self.margin;
        if left < needed {
            let margin = self.margin;
            return Err(InvocationError::TooShort {
                left,
                timeout,
                settle,
                margin,
            });
        }
        Ok(Settings {
            cap: cap / concurrency,
            until_idle: true,
            // What a kill repeats is bounded by the flush interval and by the batch.
            unflushed_max: u64::MAX,
            // Arrivals always join a chain that stands: another invocation may have it.
            cut_at: 0,
            // What is out ends with its time, and the answer does not wait for more.
            drain: timeout + settle + DRAIN_BEYOND,
            settle: Some(settle),
            starts_until: Some(self.clock.now() + (left - needed)),
            seed: Uuid::new_v4().as_u64_pair().0,
            ..self.settings.clone()
        })
    }

    fn invocation(&self, settings: &Settings, left: Duration) -> Invocation {
        let begun = self.clock.wall_millis();
        let settle = settings.settle.unwrap_or_default();
        // What ends with its process is over.
        let quiet = { !settle.is_zero() }.then_some(settings.timeout + settle);
        Invocation {
            worker: WorkerId(Uuid::new_v4()),
            begun,
            deadline: begun.saturating_add(millis(left)),
            generation: 0,
            settle: millis(settle),
            quiet: millis(quiet.unwrap_or_default()),
            expires: begun.saturating_add(millis(self.retention + MARKS_AFTER)),
            attempts_max: settings.failure.attempts_max,
        }
    }

    async fn answer(
        &self,
        delivery: &Delivery,
        ran: &Ran,
        (open, left): (&Open, Duration),
    ) -> Answer {
        let report = ran.report.as_ref();
        if let Some(Outcome::Source(error)) = &ran.outcome {
            return Answer::Fail(error.to_string());
        }
        if let Some(Outcome::Store(what)) = &ran.outcome {
            return Answer::Fail(what.clone());
        }
        if !ran.marked.is_any_claimed().await {
            return Answer::Fail(format!(
                "{} could not be read or written in time: nothing of the batch has started",
                self.store.describe()
            ));
        }
        // A mapping backs off from a function that fails, and not from one that names records.
        if ran.vitals.sick_since.is_some()
            && report.is_none_or(|report| report.done == 0)
            && !open.is_empty()
        {
            return Answer::Fail(format!(
                "the target fails every try, and none of the {} records of the batch is done: all of it is to come again later",
                delivery.entries()
            ));
        }
        if let Some(window) = &delivery.window {
            return self.window_answer(window, delivery, open, left).await;
        }
        let is_open = |delivered: &Delivered, position: &Position| {
            open.contains(&(delivered.name().clone(), position.clone()))
        };
        delivery.failures(is_open).answer(self.reports_failures)
    }
}

/// A standard queue promises no order: each of its messages is a lane.
fn order_of(kind: EventKind, order: LaneOrder) -> LaneOrder {
    if kind.is_ordered() {
        return order;
    }
    LaneOrder {
        by: OrderBy::Key,
        no_key: NoKey::Each,
    }
}

impl Function {
    /// What is delivered of each partition.
    fn batches(
        &self,
        delivery: &Delivery,
        source: &Arc<str>,
        settings: &Settings,
    ) -> Result<Vec<Batch>, InvocationError> {
        let order = order_of(delivery.kind, settings.order);
        let of = |delivered: &Delivered| {
            let partition = delivered.full_name(source);
            let lane = |entry: super::Entry<'_>| -> Result<LaneKey, InvocationError> {
                let lane = order.lane(entry.key(), entry.position());
                lane.map_err(|error| InvocationError::NoKey {
                    partition: partition.to_string(),
                    error,
                })
            };
            let entries = delivered.entries();
            // A key goes on in another shard when its own is split or merged.
            let shares = order.by == OrderBy::Key && !delivered.is_empty();
            Ok(Batch {
                positions: delivered.entries().map(|e| e.position().clone()).collect(),
                lanes: entries.map(lane).collect::<Result<_, _>>()?,
                lanes_at: match delivery.kind {
                    EventKind::Kinesis | EventKind::DynamodbStreams if shares => {
                        PartitionName::of_all(source)
                    }
                    EventKind::Kinesis
                    | EventKind::DynamodbStreams
                    | EventKind::Sqs
                    | EventKind::SqsFifo
                    | EventKind::Kafka => partition.clone(),
                },
                is_queue: matches!(delivery.kind, EventKind::Sqs | EventKind::SqsFifo),
                stops_all: settings.failure.stops == Stops::Partition,
                has_neighbours: match delivery.kind {
                    EventKind::Kinesis => self.parallelization_factor > 1,
                    // All shards are one partition here.
                    EventKind::DynamodbStreams | EventKind::Sqs | EventKind::SqsFifo => true,
                    EventKind::Kafka => false,
                },
                has_stable_positions: delivered.sharing == 0,
                is_first: delivered.entries().all(|entry| entry.receives() == Some(1)),
                partition: partition.clone(),
            })
        };
        delivery.partitions.iter().map(of).collect()
    }
}
