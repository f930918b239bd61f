//! The mapping of a stream, of Kinesis or of a table of DynamoDB (facts K5 to K29).

mod batcher;
mod windows;

use super::{
    OnFailure, Running,
    drive::{Job, Next, Plan},
};
use crate::lambda::{
    function::{Function, Outcome},
    journal::{Journal, Verdict},
    stream::{Kind, Shard, Stream},
};
use batcher::{Batcher, Step};
use std::{
    io,
    time::{Duration, SystemTime},
};

/// A mapping from a stream that is being set up.
pub struct StreamMapping {
    function: Function,
    stream: Stream,
    settings: Settings,
    deliveries_max: Option<usize>,
}

#[derive(Clone)]
pub(super) struct Settings {
    kind: Kind,
    batch_size: usize,
    window: Duration,
    /// `None`: no tumbling windows.
    tumbling: Option<Duration>,
    parallelization: u32,
    bisects: bool,
    /// `None`: without end.
    retries: Option<u32>,
    /// `None`: without end.
    record_age: Option<Duration>,
    reports_failures: bool,
    on_failure: OnFailure,
    function_arn: String,
    stream_arn: String,
}

impl StreamMapping {
    pub(super) fn new(function: Function, stream: Stream) -> Self {
        let settings = Settings {
            kind: stream.kind(),
            batch_size: 100,
            window: Duration::ZERO,
            tumbling: None,
            parallelization: 1,
            bisects: false,
            retries: None,
            record_age: None,
            reports_failures: false,
            on_failure: OnFailure::default(),
            function_arn: function.arn(),
            stream_arn: stream.arn(),
        };
        Self {
            function,
            stream,
            settings,
            deliveries_max: None,
        }
    }

    /// `BatchSize`, 1 to 10,000: 100 without this.
    pub fn batch_size(mut self, records: usize) -> Self {
        self.settings.batch_size = records;
        self
    }

    /// `MaximumBatchingWindowInSeconds`, up to 300 s: none without this.
    pub fn window(mut self, window: Duration) -> Self {
        self.settings.window = window;
        self
    }

    /// `TumblingWindowInSeconds`, up to 900 s: no tumbling windows without this.
    pub fn tumbling(mut self, window: Duration) -> Self {
        self.settings.tumbling = Some(window);
        self
    }

    /// `ParallelizationFactor`, 1 to 10: 1 without this.
    pub fn parallelization(mut self, factor: u32) -> Self {
        self.settings.parallelization = factor;
        self
    }

    /// `BisectBatchOnFunctionError`.
    pub fn bisects(mut self) -> Self {
        self.settings.bisects = true;
        self
    }

    /// `MaximumRetryAttempts`, up to 10,000: without end without this.
    pub fn retries(mut self, retries: u32) -> Self {
        self.settings.retries = Some(retries);
        self
    }

    /// `MaximumRecordAgeInSeconds`, 60 to 604,800 s: without end without this.
    pub fn record_age(mut self, age: Duration) -> Self {
        self.settings.record_age = Some(age);
        self
    }

    /// `FunctionResponseTypes` names `ReportBatchItemFailures`. Without this, an answer says nothing.
    pub fn reports_failures(mut self) -> Self {
        self.settings.reports_failures = true;
        self
    }

    /// `DestinationConfig.OnFailure`: nothing without this.
    pub fn on_failure(mut self, destination: OnFailure) -> Self {
        self.settings.on_failure = destination;
        self
    }

    /// Holds still after so many deliveries: of a function that fails for ever, more say nothing new.
    pub fn deliveries_max(mut self, deliveries: usize) -> Self {
        self.deliveries_max = Some(deliveries);
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// When Lambda would refuse a setting.
    pub fn start(self) -> io::Result<Running> {
        self.settings.validate()?;
        let plan = StreamPlan {
            stream: self.stream.clone(),
            settings: self.settings,
            batchers: Vec::new(),
            first: 0,
        };
        let clock = self.stream.clock();
        let plan = Box::new(plan);
        Ok(Running::start(
            plan,
            &self.function,
            clock,
            self.deliveries_max,
        ))
    }

    /// Starts it, waits until there is nothing to do, and gives what it has done.
    ///
    /// # Errors
    /// As [`StreamMapping::start`] and [`Running::until_idle`].
    pub fn run(self) -> io::Result<Journal> {
        let running = self.start()?;
        running.until_idle()?;
        running.stop()
    }
}

impl Settings {
    fn validate(&self) -> io::Result<()> {
        let seconds = |time: Duration| time.as_secs();
        let broken = [
            (!(1..=10_000).contains(&self.batch_size), "`BatchSize`"),
            (
                seconds(self.window) > 300,
                "`MaximumBatchingWindowInSeconds`",
            ),
            (
                { self.tumbling }.is_some_and(|window| !(1..=900).contains(&seconds(window))),
                "`TumblingWindowInSeconds`",
            ),
            (
                !(1..=10).contains(&self.parallelization),
                "`ParallelizationFactor`",
            ),
            (
                self.retries.is_some_and(|retries| retries > 10_000),
                "`MaximumRetryAttempts`",
            ),
            (
                { self.record_age }.is_some_and(|age| !(60..=604_800).contains(&seconds(age))),
                "`MaximumRecordAgeInSeconds`",
            ),
        ];
        match broken.into_iter().find(|(is_broken, _)| *is_broken) {
            Some((_, what)) => Err(io::Error::other(format!(
                "InvalidParameterValueException: {what} is not in its range"
            ))),
            None => Ok(()),
        }
    }
}

struct StreamPlan {
    stream: Stream,
    settings: Settings,
    /// Of each shard as many as `ParallelizationFactor` says, in order of their shards. Their places are
    /// the tickets.
    batchers: Vec<Batcher>,
    /// Who is asked first: all have their turn.
    first: usize,
}

impl StreamPlan {
    /// Begins shards whose parents are drained: so the order of a key outlasts a split (K34).
    fn discover(&mut self, shards: &[Shard], now: SystemTime) {
        for (place, shard) in shards.iter().enumerate() {
            let is_known = self.batchers.iter().any(|batcher| batcher.place == place);
            let is_free = shard.parents.iter().all(|parent| {
                // One that is not there any more has nothing left to be read.
                let at = shards.iter().position(|other| other.id == *parent);
                at.is_none_or(|at| self.is_drained(&shards[at], at))
            });
            if is_known || !is_free {
                continue;
            }
            let factor = self.settings.parallelization;
            let tumbling = self.settings.tumbling;
            let lanes = (0..factor).map(|lane| Batcher::new(place, (lane, factor), tumbling, now));
            self.batchers.extend(lanes);
        }
    }

    fn is_drained(&self, shard: &Shard, place: usize) -> bool {
        let mut of_shard = { self.batchers.iter() }
            .filter(|batcher| batcher.place == place)
            .peekable();
        shard.is_closed
            && of_shard.peek().is_some()
            && of_shard.all(|batcher| batcher.is_drained(shard))
    }
}

impl Plan for StreamPlan {
    fn next(&mut self, now: SystemTime, journal: &mut Journal) -> io::Result<Next> {
        self.stream.refresh()?;
        let stream = self.stream.clone();
        stream.look(|shards, retention| {
            self.discover(shards, now);
            let mut wait: Option<SystemTime> = None;
            let count = self.batchers.len();
            for turn in 0..count {
                let ticket = (self.first + turn) % count;
                let batcher = &mut self.batchers[ticket];
                let shard = &shards[batcher.place];
                match batcher.step(shard, retention, &self.settings, now, journal) {
                    Step::Go(sent) => {
                        self.first = ticket + 1;
                        return Ok(Next::Go(Job {
                            ticket,
                            source: shard.id.clone(),
                            items: sent.items,
                            attempt: sent.attempt,
                            event: sent.event,
                        }));
                    }
                    Step::Wait(until) => wait = Some(wait.map_or(until, |wait| wait.min(until))),
                    Step::Rest => {}
                }
            }
            Ok(wait.map_or(Next::Rest, Next::Wait))
        })
    }

    fn settle(
        &mut self,
        ticket: usize,
        outcome: &Outcome,
        now: SystemTime,
        journal: &mut Journal,
    ) -> io::Result<Verdict> {
        let stream = self.stream.clone();
        stream.look(|shards, _| {
            let batcher = &mut self.batchers[ticket];
            let shard = &shards[batcher.place];
            batcher.settle(shard, &self.settings, outcome, now, journal)
        })
    }
}
