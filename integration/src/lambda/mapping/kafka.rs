//! The mapping of topics of Kafka (facts A1, A2, A6 to A8), with one poller.

use super::{
    OnFailure, Running,
    destination::GivenUp,
    drive::{Job, Next, Plan},
    retry::Tries,
};
use crate::lambda::{
    answer::{Ruling, rule},
    event::{self, REQUEST_BYTES_MAX, timestamp},
    function::{Function, Outcome},
    journal::{Item, Journal, Verdict, Why},
    topics::{TopicRecord, Topics},
};
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, VecDeque},
    io,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// What a mapping waits for a full batch unless it is told otherwise (A1).
const WINDOW: Duration = Duration::from_millis(500);

/// What unlimited retries come to where there is a destination (A6).
const RETRIES_WITH_DESTINATION: u32 = 10;

const BOOTSTRAP: &str =
    "b-2.test.kafka.us-east-1.amazonaws.com:9092,b-1.test.kafka.us-east-1.amazonaws.com:9092";

/// A mapping from topics that is being set up.
pub struct KafkaMapping {
    function: Function,
    topics: Topics,
    settings: Settings,
    deliveries_max: Option<usize>,
}

struct Settings {
    batch_size: usize,
    window: Duration,
    bisects: bool,
    retries: Option<u32>,
    record_age: Option<Duration>,
    reports_failures: bool,
    on_failure: OnFailure,
}

impl KafkaMapping {
    pub(super) fn new(function: Function, topics: Topics) -> Self {
        let settings = Settings {
            batch_size: 100,
            window: WINDOW,
            bisects: false,
            retries: None,
            record_age: None,
            reports_failures: false,
            on_failure: OnFailure::default(),
        };
        Self {
            function,
            topics,
            settings,
            deliveries_max: None,
        }
    }

    /// `BatchSize`, 1 to 10,000: 100 without this.
    pub fn batch_size(mut self, records: usize) -> Self {
        self.settings.batch_size = records;
        self
    }

    /// `MaximumBatchingWindowInSeconds`: 500 ms without this.
    pub fn window(mut self, window: Duration) -> Self {
        self.settings.window = window;
        self
    }

    /// `BisectBatchOnFunctionError`.
    pub fn bisects(mut self) -> Self {
        self.settings.bisects = true;
        self
    }

    /// `MaximumRetryAttempts`: without end without this, 10 with a destination.
    pub fn retries(mut self, retries: u32) -> Self {
        self.settings.retries = Some(retries);
        self
    }

    /// `MaximumRecordAgeInSeconds`: without end without this.
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

    /// Holds still after so many deliveries.
    pub fn deliveries_max(mut self, deliveries: usize) -> Self {
        self.deliveries_max = Some(deliveries);
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// When Lambda would refuse a setting.
    pub fn start(mut self) -> io::Result<Running> {
        if !(1..=10_000).contains(&self.settings.batch_size) {
            return Err(io::Error::other(
                "InvalidParameterValueException: `BatchSize` is not in its range",
            ));
        }
        if self.settings.on_failure.is_some() {
            let retries = self
                .settings
                .retries
                .get_or_insert(RETRIES_WITH_DESTINATION);
            *retries = (*retries).min(10_000);
        }
        let clock = self.topics.clock().clone();
        let plan = KafkaPlan {
            topics: self.topics,
            settings: self.settings,
            function_arn: self.function.arn(),
            positions: BTreeMap::new(),
            queue: VecDeque::new(),
            flying: None,
            window_from: clock.now(),
        };
        Ok(Running::start(
            Box::new(plan),
            &self.function,
            &clock,
            self.deliveries_max,
        ))
    }

    /// Starts it, waits until there is nothing to do, and gives what it has done.
    ///
    /// # Errors
    /// As [`KafkaMapping::start`] and [`Running::until_idle`].
    pub fn run(self) -> io::Result<Journal> {
        let running = self.start()?;
        running.until_idle()?;
        running.stop()
    }
}

struct KafkaPlan {
    topics: Topics,
    settings: Settings,
    function_arn: String,
    /// Of each partition, the place of the first record that it has not looked at.
    positions: BTreeMap<(String, u32), usize>,
    queue: VecDeque<Batch>,
    flying: Option<Batch>,
    window_from: SystemTime,
}

#[derive(Clone)]
struct Batch {
    records: Vec<Read>,
    tries: Tries,
    last: Option<Outcome>,
}

/// A record with the place that it was read from.
#[derive(Clone)]
struct Read {
    topic: String,
    partition: u32,
    record: Arc<TopicRecord>,
}

impl Read {
    /// As events name it.
    fn partition(&self) -> String {
        format!("{}-{}", self.topic, self.partition)
    }
}

impl KafkaPlan {
    /// The next new batch, if it may go out; else when its window ends, if there is one (an error).
    fn gather(&mut self, now: SystemTime) -> Result<Option<Batch>, SystemTime> {
        let (records, positions) = self.read();
        if records.is_empty() {
            return Ok(None);
        }
        let window_to = self.window_from + self.settings.window;
        let is_full = records.len() == self.settings.batch_size;
        if !is_full && window_to > now {
            return Err(window_to);
        }
        self.positions = positions;
        Ok(Some(Batch {
            records,
            tries: Tries::none(now),
            last: None,
        }))
    }

    /// Of all partitions in turn, one record after the other, up to a batch; and the positions behind it.
    fn read(&self) -> (Vec<Read>, BTreeMap<(String, u32), usize>) {
        let mut positions = self.positions.clone();
        let mut records = Vec::new();
        let mut bytes = 0;
        self.topics.look(|state| {
            let mut is_more = true;
            while is_more {
                is_more = false;
                for ((topic, partition), log) in state {
                    let at = positions.entry((topic.clone(), *partition)).or_default();
                    let Some(record) = log.get(*at) else { continue };
                    // With its comma; names and brackets are counted once for all.
                    bytes += event::of_kafka(topic, *partition, record).to_string().len() + 1;
                    let is_full = records.len() == self.settings.batch_size;
                    if is_full || (bytes > REQUEST_BYTES_MAX - 4096 && !records.is_empty()) {
                        return;
                    }
                    *at += 1;
                    is_more = true;
                    records.push(Read {
                        topic: topic.clone(),
                        partition: *partition,
                        record: Arc::clone(record),
                    });
                }
            }
        });
        (records, positions)
    }

    fn event(&self, records: &[Read]) -> String {
        let mut by_partition: Map<String, Value> = Map::new();
        for read in records {
            let event = event::of_kafka(&read.topic, read.partition, &read.record);
            let list = by_partition.entry(read.partition()).or_insert(json!([]));
            if let Some(list) = list.as_array_mut() {
                list.push(event);
            }
        }
        let mut event = json!({
            "eventSource": "SelfManagedKafka",
            "bootstrapServers": BOOTSTRAP,
            "records": by_partition,
        });
        if let Some(arn) = self.topics.arn() {
            event["eventSource"] = "aws:kafka".into();
            event["eventSourceArn"] = arn.into();
        }
        event.to_string()
    }

    /// Nothing of it is done: halved, sent again, or given up.
    fn fail(
        &mut self,
        mut batch: Batch,
        outcome: &Outcome,
        now: SystemTime,
        journal: &mut Journal,
    ) {
        batch.tries.invocations += 1;
        batch.last = Some(outcome.clone());
        if self.settings.bisects && batch.records.len() > 1 {
            let upper = batch.records.split_off(batch.records.len() / 2);
            for records in [upper, batch.records] {
                self.queue.push_front(Batch {
                    records,
                    tries: Tries::anew(now),
                    last: None,
                });
            }
            return;
        }
        batch.tries.failures += 1;
        if batch.tries.are_left(self.settings.retries) {
            batch.tries.wait(now);
            self.queue.push_front(batch);
        } else {
            self.give_up(&batch, Why::RetryAttemptsExhausted, now, journal);
        }
    }

    fn give_up(&self, batch: &Batch, why: Why, now: SystemTime, journal: &mut Journal) {
        let event = self.event(&batch.records);
        let mut places: Map<String, Value> = Map::new();
        for read in &batch.records {
            let (offset, at) = (read.record.offset, timestamp(read.record.timestamp));
            let known = places.entry(read.partition()).or_insert_with(
                || json!({"firstRecordOffset": offset, "firstRecordTimestamp": at}),
            );
            known["lastRecordOffset"] = offset.into();
            known["lastRecordTimestamp"] = at.into();
        }
        let info = json!({
            "batchSize": batch.records.len(),
            "eventSourceArn": self.topics.arn(),
            "bootstrapServers": BOOTSTRAP,
            "payloadSize": event.len(),
            "recordsInfo": places,
        });
        let given_up = GivenUp {
            why,
            items: items(&batch.records),
            invocations: batch.tries.invocations,
            last: batch.last.as_ref(),
            function_arn: self.function_arn.clone(),
            info: ("KafkaBatchInfo", info),
            event,
            at: now,
        };
        self.settings.on_failure.take(given_up, journal);
    }

    /// Gives up what is too old, or alone too large; the others stay.
    fn drop_aged(&self, batch: &mut Batch, now: SystemTime, journal: &mut Journal) {
        let is_aged = |read: &mut Read| {
            let age = now
                .duration_since(read.record.timestamp)
                .unwrap_or_default();
            self.settings.record_age.is_some_and(|most| age > most)
        };
        let is_large =
            |read: &mut Read| self.event(std::slice::from_ref(read)).len() > REQUEST_BYTES_MAX;
        let mut part = batch.clone();
        part.records = batch.records.extract_if(.., is_aged).collect();
        if !part.records.is_empty() {
            self.give_up(&part, Why::RecordAgeExceeded, now, journal);
        }
        part.records = batch.records.extract_if(.., is_large).collect();
        if !part.records.is_empty() {
            self.give_up(&part, Why::MaximumPayloadSizeExceeded, now, journal);
        }
    }
}

impl Plan for KafkaPlan {
    fn next(&mut self, now: SystemTime, journal: &mut Journal) -> io::Result<Next> {
        if self.flying.is_some() {
            return Ok(Next::Rest);
        }
        loop {
            if self.queue.is_empty() {
                match self.gather(now) {
                    Ok(Some(batch)) => self.queue.push_back(batch),
                    Ok(None) => return Ok(Next::Rest),
                    Err(window_to) => return Ok(Next::Wait(window_to)),
                }
            }
            let Some(mut batch) = self.queue.pop_front() else {
                return Ok(Next::Rest);
            };
            self.drop_aged(&mut batch, now, journal);
            if batch.records.is_empty() {
                continue;
            }
            if batch.tries.not_before > now {
                let until = batch.tries.not_before;
                self.queue.push_front(batch);
                return Ok(Next::Wait(until));
            }
            let job = Job {
                ticket: 0,
                source: "kafka".to_owned(),
                items: items(&batch.records),
                attempt: batch.tries.invocations + 1,
                event: self.event(&batch.records),
            };
            self.flying = Some(batch);
            return Ok(Next::Go(job));
        }
    }

    fn settle(
        &mut self,
        _: usize,
        outcome: &Outcome,
        now: SystemTime,
        journal: &mut Journal,
    ) -> io::Result<Verdict> {
        let Some(mut batch) = self.flying.take() else {
            return Err(io::Error::other("kafka: an end of what was not out"));
        };
        self.window_from = now;
        let ruling = match outcome {
            Outcome::Answered(body) if self.settings.reports_failures => rule(body, |identifier| {
                let (partition, offset) = (&identifier["partition"], &identifier["offset"]);
                batch.records.iter().position(|read| {
                    *partition == read.partition() && *offset == read.record.offset
                })
            }),
            Outcome::Answered(_) => Ruling::Success,
            Outcome::Failed { .. } => Ruling::Nonsense,
            Outcome::Throttled => {
                batch.tries.wait(now);
                self.queue.push_front(batch);
                return Ok(Verdict::Throttled);
            }
        };
        match ruling {
            Ruling::Success => Ok(Verdict::Success),
            // Just those (A7): what was not named behind the first failure is done, whether it ran or not.
            Ruling::Failed(places) => {
                let again = places.into_iter().map(|place| batch.records[place].clone());
                batch.records = again.collect();
                let ids = items(&batch.records).into_iter().map(|item| item.id);
                let verdict = Verdict::Partial(ids.collect());
                self.fail(batch, outcome, now, journal);
                Ok(verdict)
            }
            Ruling::Nonsense => {
                self.fail(batch, outcome, now, journal);
                Ok(Verdict::Failure)
            }
        }
    }
}

fn items(records: &[Read]) -> Vec<Item> {
    let text = |bytes: &Option<Vec<u8>>| {
        let bytes = bytes.as_ref();
        bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    };
    let items = records.iter().map(|read| Item {
        id: format!("{}/{}", read.partition(), read.record.offset),
        key: text(&read.record.key),
        text: text(&read.record.value).unwrap_or_default(),
        receives: 0,
    });
    items.collect()
}
