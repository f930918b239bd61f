//! A function, what its handler says, and what its mapping would be told.

use base64::{Engine, engine::general_purpose::STANDARD};
use lanekeeper::{
    Position,
    effect::{Add, Effect},
    handler::{Answer as Said, DeadLetter, Done, Failure, Handler, Rust},
    history::Nowhere,
    lambda::{Answer, Event, Figures, Function, InvocationError, Invoked, WindowState, decode},
    processor::{Clock, Settings},
    record::{LaneKey, LaneOrder, NoKey, OrderBy, PartitionName, Run},
    store::{DecisionNote, LaneItem, MarkStore, Store, Verb, memory::Memory},
};
use partitions::{FailureRules, Stops, Then};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::Instant;

pub(super) const ARN: &str = "arn:aws:kinesis:eu-west-1:123456789012:stream/orders";
pub(super) const SHARD: &str = "shardId-000000000006";

/// What the handler says of a record at one try.
#[derive(Clone, Debug)]
pub(super) enum Say {
    Done,
    /// Not within this invocation.
    Later,
    Reject,
    Target,
    /// Done after so long.
    After(Duration),
    /// It does not end.
    Hang,
    /// Done, with one added to a value of its name.
    Effect,
}

#[derive(Default)]
struct Script {
    /// By the record's value; what is not there is done.
    says: BTreeMap<String, VecDeque<Say>>,
    always: BTreeMap<String, Say>,
    calls: Vec<String>,
    ids: Vec<String>,
}

#[derive(Clone, Default)]
struct Scripted(Arc<Mutex<Script>>);

impl Handler for Scripted {
    async fn handle(&self, run: Run) -> Said {
        let Some(record) = run.records().first().cloned() else {
            return Said::all(0);
        };
        let value = String::from_utf8_lossy(record.value().unwrap_or_default()).into_owned();
        let say = {
            let mut script = self.0.lock().expect("sound");
            script.calls.push(value.clone());
            script.ids.push(record.id());
            let next = script.says.get_mut(&value).and_then(VecDeque::pop_front);
            next.or_else(|| script.always.get(&value).cloned())
        };
        match say.unwrap_or(Say::Done) {
            Say::Done => Said::all(1),
            Say::Later => Said::failed(Failure::retry_after("later", Duration::from_secs(3_600))),
            Say::Reject => Said::failed(Failure::reject("never")),
            Say::Target => Said::failed(Failure::target("away")),
            Say::After(time) => {
                tokio::time::sleep(time).await;
                Said::all(1)
            }
            Say::Hang => std::future::pending().await,
            Say::Effect => {
                let add = Effect::Add(Add {
                    table: "sums".to_owned(),
                    key: value,
                    by: 1,
                    condition: None,
                });
                let Done { effects } = Done::with(vec![add]);
                Said {
                    effects: effects.into_iter().map(|effect| (0, effect)).collect(),
                    ..Said::all(1)
                }
            }
        }
    }
}

struct Since(Instant);

impl Clock for Since {
    fn now(&self) -> Duration {
        Duration::from_secs(1_000) + self.0.elapsed()
    }

    fn wall_millis(&self) -> i64 {
        1_700_000_000_000 + i64::try_from(self.0.elapsed().as_millis()).expect("short")
    }
}

/// A function and all that is around it.
pub(super) struct World {
    pub(super) store: Memory,
    pub(super) settings: Settings,
    pub(super) reports_failures: bool,
    pub(super) factor: u32,
    pub(super) dead_letter: Option<Arc<dyn DeadLetter>>,
    pub(super) aggregate: Option<Arc<dyn WindowState>>,
    script: Scripted,
    since: Instant,
}

impl World {
    pub(super) fn new() -> Self {
        let since = Instant::now();
        let clock = Since(since);
        Self {
            store: Memory::new("app").with_clock(move || clock.wall_millis()),
            settings: settings(),
            reports_failures: true,
            factor: 1,
            dead_letter: None,
            aggregate: None,
            script: Scripted::default(),
            since,
        }
    }

    pub(super) fn then(mut self, then: Then) -> Self {
        self.settings.failure.then = then;
        self
    }

    /// What is said of a record, one try after the other; it is done from then on.
    pub(super) fn says(&self, value: &str, says: &[Say]) {
        let mut script = self.script.0.lock().expect("sound");
        script
            .says
            .insert(value.to_owned(), says.iter().cloned().collect());
    }

    /// What is said of a record at every try; `Say::Done` for what the target can do again.
    pub(super) fn always(&self, value: &str, say: Say) {
        let mut script = self.script.0.lock().expect("sound");
        script.always.insert(value.to_owned(), say);
    }

    /// Values of the records that were tried since the last call of this, in order.
    pub(super) fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.script.0.lock().expect("sound").calls)
    }

    pub(super) fn ids(&self) -> Vec<String> {
        std::mem::take(&mut self.script.0.lock().expect("sound").ids)
    }

    pub(super) fn function(&self) -> Function {
        self.function_over(Arc::new(self.store.clone()))
    }

    pub(super) fn function_over(&self, store: Arc<dyn MarkStore>) -> Function {
        Function {
            settings: self.settings.clone(),
            concurrency: 1,
            reports_failures: self.reports_failures,
            parallelization_factor: self.factor,
            margin: Duration::from_millis(500),
            retention: Duration::from_secs(24 * 60 * 60),
            store,
            target: Arc::new(Rust(self.script.clone())),
            dead_letter: self.dead_letter.clone(),
            aggregate: self.aggregate.clone(),
            history: Arc::new(Nowhere),
            clock: Arc::new(Since(self.since)),
        }
    }

    pub(super) async fn try_invoke(
        &self,
        function: &Function,
        event: &Value,
        seconds: u64,
    ) -> Result<Answer, InvocationError> {
        let invoked = self.try_invoked(function, event, seconds).await?;
        Ok(invoked.answer)
    }

    async fn try_invoked(
        &self,
        function: &Function,
        event: &Value,
        seconds: u64,
    ) -> Result<Invoked, InvocationError> {
        let payload = event.to_string();
        let Ok(Event::Delivery(delivery)) = decode(payload.as_bytes()) else {
            panic!("no delivery: {payload}");
        };
        let left = Duration::from_secs(seconds);
        let source = "orders".into();
        function.invoke(&source, Arc::new(delivery), left).await
    }

    /// Invokes it with a minute to go; gives what it came to.
    pub(super) async fn figures(&self, event: &Value) -> Figures {
        self.figures_of(&self.function(), event).await
    }

    pub(super) async fn figures_of(&self, function: &Function, event: &Value) -> Figures {
        let invoked = self.try_invoked(function, event, 60).await;
        invoked.expect("it starts").figures
    }

    /// Invokes it with a minute to go; gives what the answer names.
    pub(super) async fn invoke(&self, event: &Value) -> Vec<Value> {
        let answer = self.try_invoke(&self.function(), event, 60).await;
        named(&answer.expect("it starts"))
    }

    pub(super) fn partition(&self) -> PartitionName {
        PartitionName::new("orders", SHARD)
    }

    /// Where lanes are: those of keys are in one place for all shards.
    pub(super) fn lanes_at(&self) -> PartitionName {
        match self.settings.order.by {
            OrderBy::Key => PartitionName::new("orders", "*"),
            OrderBy::Partition => self.partition(),
        }
    }

    pub(super) async fn lane(&self, key: &str) -> Option<LaneItem> {
        let lane = LaneKey::of_key(key.as_bytes());
        let lanes = self.store.lanes(&self.lanes_at()).await.expect("lanes");
        lanes.into_iter().find(|item| item.lane == lane)
    }

    /// An operator's word.
    pub(super) async fn decide(&self, verb: Verb) {
        let partition = self.lanes_at();
        let lanes = self.store.lanes(&partition).await.expect("lanes");
        let item = lanes.first().expect("a lane stands");
        let note = DecisionNote {
            verb,
            by: "ann".to_owned(),
            why: None,
            at: Since(self.since).wall_millis(),
            taken: false,
            lease: None,
            tried: None,
        };
        let decided = self.store.decide(&partition, &item.lane, item.rev, &note);
        decided.await.expect("decided");
    }

    /// Values that effects have added to.
    pub(super) async fn sums(&self) -> BTreeMap<String, Value> {
        let values = self.store.values("sums", None, 1_000).await;
        values.expect("values").into_iter().collect()
    }
}

fn settings() -> Settings {
    Settings {
        app: "app".to_owned(),
        cap: 10,
        memory: 64 << 20,
        drain: Duration::from_secs(30),
        order: LaneOrder {
            by: OrderBy::Key,
            no_key: NoKey::Partition,
        },
        failure: FailureRules {
            attempts_max: 3,
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(1),
            then: Then::Stop,
            stops: Stops::Lane,
        },
        timeout: Duration::from_secs(5),
        settle: Some(Duration::ZERO),
        park_max: 1_000,
        cut_at: 1_000,
        flush_interval: Duration::from_secs(1),
        unflushed_max: 10_000,
        records_per_call: 1,
        until_idle: false,
        starts_until: None,
        seed: 7,
    }
}

/// What an answer names.
pub(super) fn named(answer: &Answer) -> Vec<Value> {
    let body = match answer {
        Answer::Body(body) => body,
        Answer::Fail(why) => panic!("the invocation fails: {why}"),
    };
    let body: Value = serde_json::from_slice(body).expect("JSON");
    let failures = body["batchItemFailures"].as_array().expect("a list");
    failures
        .iter()
        .map(|f| f["itemIdentifier"].clone())
        .collect()
}

/// Why an invocation fails.
pub(super) fn failure(answer: &Answer) -> String {
    match answer {
        Answer::Fail(why) => why.clone(),
        Answer::Body(body) => panic!("it answers {}", String::from_utf8_lossy(body)),
    }
}

/// A sequence number as Kinesis has them.
pub(super) fn sequence(n: u64) -> String {
    format!("4959033827149025660855969253836157109592{n:016}")
}

pub(super) fn position(n: u64) -> Position {
    Position::sequence(&sequence(n), None).expect("sound")
}

/// A delivery of one shard: place, key and value of each record.
pub(super) fn kinesis(records: &[(u64, &str, &str)]) -> Value {
    kinesis_of(SHARD, records)
}

/// The same of another shard.
pub(super) fn kinesis_of(shard: &str, records: &[(u64, &str, &str)]) -> Value {
    let records = records.iter().map(|(n, key, value)| {
        let number = sequence(*n);
        let mut record = kinesis_record(&number, key, value.as_bytes());
        record["eventID"] = json!(format!("{shard}:{number}"));
        record
    });
    json!({ "Records": records.collect::<Vec<_>>() })
}

pub(super) fn kinesis_record(number: &str, key: &str, data: &[u8]) -> Value {
    json!({
        "kinesis": {
            "kinesisSchemaVersion": "1.0", "partitionKey": key, "sequenceNumber": number,
            "data": STANDARD.encode(data), "approximateArrivalTimestamp": 1_545_084_650.987,
        },
        "eventSource": "aws:kinesis", "eventVersion": "1.0", "eventID": format!("{SHARD}:{number}"),
        "eventName": "aws:kinesis:record", "invokeIdentityArn": "arn:aws:iam::123456789012:role/r",
        "awsRegion": "eu-west-1", "eventSourceARN": ARN,
    })
}

/// A delivery of a queue: id, group, place, receives and body of each message.
pub(super) fn fifo(messages: &[(&str, &str, u64, u32)]) -> Value {
    let records: Vec<Value> = { messages.iter() }
        .map(|(id, group, n, receives)| {
            json!({
                "messageId": id, "receiptHandle": "r", "body": id, "attributes": {
                    "ApproximateReceiveCount": receives.to_string(), "SentTimestamp": "1545084650987",
                    "SenderId": "s", "ApproximateFirstReceiveTimestamp": "1545084650987",
                    "SequenceNumber": format!("1884949646046769{n:04}"), "MessageGroupId": group,
                    "MessageDeduplicationId": id,
                },
                "messageAttributes": {}, "md5OfBody": "0", "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:orders.fifo",
                "awsRegion": "eu-west-1",
            })
        })
        .collect();
    json!({ "Records": records })
}

/// A delivery of partitions of one topic: partition, offset, key and value of each record.
pub(super) fn kafka(records: &[(u32, u64, &str, &str)]) -> Value {
    let mut partitions: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for (partition, offset, key, value) in records {
        partitions
            .entry(format!("mytopic-{partition}"))
            .or_default()
            .push(json!({
                "topic": "mytopic", "partition": partition, "offset": offset,
                "timestamp": 1_545_084_650_987_i64, "timestampType": "CREATE_TIME",
                "key": STANDARD.encode(key), "value": STANDARD.encode(value), "headers": [],
            }));
    }
    json!({
        "eventSource": "aws:kafka", "eventSourceArn": "arn:aws:kafka:eu-west-1:1:cluster/c/u",
        "bootstrapServers": "b-1:9092", "records": partitions,
    })
}
