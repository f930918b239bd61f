//! What the tests share: a topic, a scene whose members read it, and records.

use lanekeeper_integration::{
    kafka::Kafka,
    scene::{Ended, PATIENCE, Running, Scene, eventually},
};
use rdkafka::{
    ClientConfig,
    message::OwnedHeaders,
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

pub(crate) const CAP: u32 = 4;

const CONFIG: &str = r#"
app = "TOPIC"
cap = 4
drain = "4s"

[sources.orders]
type = "kafka"
bootstrap_servers = "SERVERS"
topics = ["TOPIC"]

[sources.orders.properties]
"session.timeout.ms" = 6000
"heartbeat.interval.ms" = 500

[failure]
attempts = 3
backoff_min = "1ms"
backoff_max = "5ms"
timeout = "3s"

[store]
flush_interval = "50ms"

[handler]
HANDLER
"#;

/// A topic and those who read it.
pub(crate) struct Bench {
    pub(crate) kafka: Kafka,
    pub(crate) topic: String,
    pub(crate) scene: Scene,
    accounts: BTreeMap<String, u64>,
}

/// Requests that keep coming.
pub(crate) struct Trickle {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<BTreeMap<String, u64>>>,
}

impl Drop for Trickle {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// One record to be written.
#[derive(Default)]
pub(crate) struct Written<'a> {
    pub(crate) partition: Option<i32>,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: &'a [(&'a str, Option<&'a [u8]>)],
    pub(crate) timestamp: Option<i64>,
}

impl Bench {
    /// A topic with so many partitions, and members whose workers are `worker.py` with these arguments.
    pub(crate) fn new(partitions: u32, worker: &str) -> Self {
        let worker = if worker.is_empty() {
            "WORKER".to_owned()
        } else {
            format!("WORKER, {worker}")
        };
        Self::with(Kafka::start().unwrap(), partitions, &[], &worker)
    }

    /// The same with workers that write down what they were handed.
    pub(crate) fn of_echoes(partitions: u32) -> Self {
        Self::with(Kafka::start().unwrap(), partitions, &[], &echo(0))
    }

    pub(crate) fn with(
        kafka: Kafka,
        partitions: u32,
        configs: &[(&str, &str)],
        command: &str,
    ) -> Self {
        let topic = Kafka::topic_name();
        kafka.create_topic(&topic, partitions, configs).unwrap();
        Self::without_topic(kafka, topic, command)
    }

    pub(crate) fn without_topic(kafka: Kafka, topic: String, command: &str) -> Self {
        let handler = format!("type = \"exec\"\ncommand = [{command}]");
        Self::with_handler(kafka, topic, &handler)
    }

    /// The same with what stands in the table `[handler]`.
    pub(crate) fn with_handler(kafka: Kafka, topic: String, handler: &str) -> Self {
        let config = CONFIG
            .replace("TOPIC", &topic)
            .replace("SERVERS", kafka.bootstrap())
            .replace("HANDLER", handler);
        Self {
            scene: Scene::new(&config).unwrap(),
            kafka,
            topic,
            accounts: BTreeMap::new(),
        }
    }

    pub(crate) fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", self.kafka.bootstrap())
            .set("message.max.bytes", "20000000")
            .set("enable.idempotence", "true");
        config
    }

    pub(crate) fn producer(&self) -> BaseProducer {
        self.config().create().unwrap()
    }

    /// Writes requests of `worker.py`: so many, of so many accounts in turn, with padding.
    pub(crate) fn request(&mut self, records: u64, accounts: u64, pad: usize) {
        let producer = self.producer();
        let path = self.scene.path("requests.jsonl");
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .unwrap();
        let pad = "x".repeat(pad);
        for number in 0..records {
            let account = format!("a{}", number % accounts);
            let n = self.accounts.entry(account.clone()).or_insert(0);
            *n += 1;
            let line = format!("{{\"account\":\"{account}\",\"n\":{n},\"pad\":\"{pad}\"}}");
            writeln!(file, "{line}").unwrap();
            let written = Written {
                key: Some(account.as_bytes()),
                value: Some(line.as_bytes()),
                ..Written::default()
            };
            send(&producer, &self.topic, &written);
        }
        flush(&producer);
    }

    /// Writes requests one by one, until it is ended.
    pub(crate) fn trickle(&self) -> Trickle {
        let stop = Arc::new(AtomicBool::new(false));
        let (producer, topic) = (self.producer(), self.topic.clone());
        let path = self.scene.path("requests.jsonl");
        let told = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut file = File::create(path).unwrap();
            let mut accounts: BTreeMap<String, u64> = BTreeMap::new();
            for number in 0_u64.. {
                if told.load(Ordering::Relaxed) {
                    break;
                }
                let account = format!("a{}", number % 40);
                let n = accounts.entry(account.clone()).or_insert(0);
                *n += 1;
                let line = format!("{{\"account\":\"{account}\",\"n\":{n}}}");
                writeln!(file, "{line}").unwrap();
                let written = Written {
                    key: Some(account.as_bytes()),
                    value: Some(line.as_bytes()),
                    ..Written::default()
                };
                send(&producer, &topic, &written);
                thread::sleep(Duration::from_millis(10));
            }
            flush(&producer);
            accounts
        });
        Trickle {
            stop,
            thread: Some(thread),
        }
    }

    pub(crate) fn end(&mut self, trickle: &mut Trickle) {
        trickle.stop.store(true, Ordering::Relaxed);
        self.accounts = trickle.thread.take().unwrap().join().unwrap();
    }

    pub(crate) fn requested(&self) -> u64 {
        self.accounts.values().sum()
    }

    /// Writes records as they are.
    pub(crate) fn write(&self, records: &[Written<'_>]) {
        let producer = self.producer();
        for record in records {
            send(&producer, &self.topic, record);
        }
        flush(&producer);
    }

    /// Writes values without key into partition 0.
    pub(crate) fn write_values(&self, values: &[&str]) {
        let records: Vec<_> = { values.iter() }
            .map(|value| Written {
                partition: Some(0),
                value: Some(value.as_bytes()),
                ..Written::default()
            })
            .collect();
        self.write(&records);
    }

    /// Writes a value without key into a partition, as a batch of its own.
    pub(crate) fn write_value_to(&self, partition: i32, value: &str) {
        self.write(&[Written {
            partition: Some(partition),
            value: Some(value.as_bytes()),
            ..Written::default()
        }]);
    }

    /// Starts a member with its own history.
    pub(crate) fn member(&self, history: &str) -> Running {
        self.scene.start(&["run", "--history", history]).unwrap()
    }

    /// Waits until the workers have done so many records, each counted once.
    pub(crate) fn wait_for(&self, wanted: u64) {
        eventually(&format!("{wanted} records"), || Ok(self.done() >= wanted)).unwrap();
    }

    /// Records that are done, each counted once.
    pub(crate) fn done(&self) -> u64 {
        let lines = self.ledger("ledger.jsonl");
        let done = lines.iter().filter(|line| line["event"] == "done");
        let done: BTreeSet<String> = done.map(|line| line["id"].to_string()).collect();
        done.len() as u64
    }

    /// The whole lines of a ledger that somebody may be writing.
    pub(crate) fn ledger(&self, name: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.scene.path(name)).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Waits until the group has committed the end of every partition's log.
    pub(crate) fn wait_for_the_group(&self) {
        let ends = self.kafka.extents(&self.topic).unwrap();
        let ends: Vec<_> = ends
            .into_iter()
            .map(|(_, next)| (next > 0).then_some(next))
            .collect();
        let committed = || self.kafka.committed(&self.topic, &self.topic);
        let waited = eventually("the group's offsets", || {
            let committed = committed()?;
            Ok(ends
                .iter()
                .zip(&committed)
                .all(|(end, known)| end.is_none() || end == known))
        });
        assert!(waited.is_ok(), "{ends:?} {:?}", committed());
    }

    /// Nothing lost, each account in order, never two workers on one: the repeats.
    pub(crate) fn check(&self) -> u64 {
        let checked = self
            .scene
            .check_members("requests.jsonl", "ledger.jsonl", CAP);
        let figures = checked.unwrap();
        println!("{figures}");
        assert_eq!(figures["requests"].as_u64(), Some(self.requested()));
        figures["repeats"].as_u64().unwrap()
    }

    /// The histories hold every guarantee.
    pub(crate) fn audit(&self, histories: &[&str]) {
        let audit = self.scene.run(&[&["audit"], histories].concat()).unwrap();
        assert_eq!(audit.code, Some(0), "{audit:#?}");
    }

    /// Runs it to its idle end.
    pub(crate) fn run_to_the_end(&self, sets: &[&str]) -> Ended {
        let args: Vec<&str> = ["run", "--until-idle"]
            .into_iter()
            .chain(sets.iter().flat_map(|set| ["--set", set]))
            .collect();
        self.scene.run(&args).unwrap()
    }

    /// Values that `echo.py` was handed, in order.
    pub(crate) fn values(&self) -> Vec<String> {
        let lines = self.ledger("ledger.jsonl");
        let value = |line: &Value| line["value"].as_str().map(str::to_owned);
        lines.iter().filter_map(value).collect()
    }
}

/// The command of workers that write down what they were handed, taking so long for each.
pub(crate) fn echo(millis: u64) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts/echo.py");
    format!("\"python3\", \"{script}\", \"ledger.jsonl\", \"{millis}\"")
}

pub(crate) fn send(producer: &BaseProducer, topic: &str, written: &Written<'_>) {
    let mut headers = OwnedHeaders::new();
    for (name, value) in written.headers {
        let value = *value;
        headers = headers.insert(rdkafka::message::Header { key: name, value });
    }
    loop {
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic);
        record.partition = written.partition;
        record.key = written.key;
        record.payload = written.value;
        record.timestamp = written.timestamp;
        if !written.headers.is_empty() {
            record = record.headers(headers.clone());
        }
        match producer.send(record) {
            Ok(()) => break,
            Err((
                rdkafka::error::KafkaError::MessageProduction(
                    rdkafka::types::RDKafkaErrorCode::QueueFull,
                ),
                _,
            )) => {
                producer.poll(Duration::from_millis(5));
            }
            Err((error, _)) => unreachable!("{error}"),
        }
    }
    producer.poll(Duration::ZERO);
}

pub(crate) fn flush(producer: &BaseProducer) {
    producer.flush(PATIENCE).unwrap();
}

/// Stops a member in order.
pub(crate) fn stop(mut member: Running) -> Ended {
    member.signal("TERM").unwrap();
    let ended = member.wait().unwrap();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    ended
}

/// What a member says on this page: its log names the address.
pub(crate) fn page(errors: &str, path: &str) -> io::Result<String> {
    let address = { errors.split_whitespace() }.find_map(|word| word.strip_prefix("address="));
    let mut page = TcpStream::connect(address.unwrap())?;
    page.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    page.read_to_string(&mut answer)?;
    Ok(answer)
}
