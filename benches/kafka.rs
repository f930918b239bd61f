//! A topic read to its end by a whole worker with a handler that does nothing, beside rdkafka's bare poll
//! loop, in turns.
//!
//! `cargo integration bench kafka` starts a broker for it. By hand: `LANEKEEPER_TEST_KAFKA=HOST:PORT cargo
//! bench --features kafka,dynamodb --bench kafka -- [RECORDS] [BYTES] [ROUNDS] [WHICH …]`: values of so
//! many bytes, 8 partitions, 1,000 keys; WHICH of `bare`, `sqlite`, `dynamodb` (all by default; the last
//! one only with `LANEKEEPER_BENCH_TABLE`, a table as `lanekeeper store init` makes it). Times are from the
//! first record to the last one.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a benchmark prints and may fail loudly"
)]

use lanekeeper::{
    Done, Failure, Record,
    config::{Config, SourceConfig, SourceKind, StartAt, StoreKind},
    each_with,
    run::{RunOptions, run_until},
    source::OnGap,
};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    producer::{BaseProducer, BaseRecord, Producer},
};
use std::{
    collections::BTreeMap,
    future::pending,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

const PARTITIONS: i32 = 8;
const KEYS: usize = 1_000;

struct Case {
    servers: String,
    topic: String,
    records: u64,
}

/// Records a second, and processor seconds of this process for a million records.
type Figures = (f64, f64);

fn main() {
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    let numbers: Vec<u64> = args.iter().filter_map(|a| a.parse().ok()).collect();
    let named: Vec<&str> = { args.iter().map(String::as_str) }
        .filter(|a| a.parse::<u64>().is_err())
        .collect();
    let number = |n: usize, default| numbers.get(n).copied().unwrap_or(default);
    let (records, bytes, rounds) = (number(0, 1_000_000), number(1, 100), number(2, 5));
    let Ok(servers) = std::env::var("LANEKEEPER_TEST_KAFKA") else {
        panic!("set LANEKEEPER_TEST_KAFKA, or run `cargo integration bench kafka`");
    };
    let topic = format!("bench-{}", fastrand::u64(..));
    let case = Case {
        servers,
        topic,
        records,
    };
    case.produce(usize::try_from(bytes).unwrap());
    let has_table = std::env::var("LANEKEEPER_BENCH_TABLE").is_ok();
    let which: Vec<&str> = ["bare", "sqlite", "dynamodb"]
        .into_iter()
        .filter(|w| named.is_empty() || named.contains(w))
        .filter(|w| *w != "dynamodb" || has_table)
        .collect();
    println!(
        "{records} records of {bytes} bytes, {PARTITIONS} partitions, {KEYS} keys, {rounds} rounds in turns"
    );
    let mut figures: BTreeMap<&str, Vec<Figures>> = BTreeMap::new();
    for round in 0..rounds {
        // In turns, each first in its turn as often as any other.
        for n in 0..which.len() {
            let what = which[(n + usize::try_from(round).unwrap()) % which.len()];
            let found = match what {
                "bare" => case.bare(),
                store => case.worker(store),
            };
            println!(
                "  {what:9} {:10.0}/s  {:.2} s of processor",
                found.0, found.1
            );
            figures.entry(what).or_default().push(found);
        }
    }
    for what in which {
        tell(what, &figures);
    }
}

fn tell(what: &str, figures: &BTreeMap<&str, Vec<Figures>>) {
    let own = &figures[what];
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        (
            values[values.len() / 2],
            values[0],
            values[values.len() - 1],
        )
    };
    let (rate, low, high) = median(own.iter().map(|f| f.0).collect());
    let (cpu, ..) = median(own.iter().map(|f| f.1).collect());
    print!(
        "{what:9} median {rate:.0}/s ({low:.0} to {high:.0}), {cpu:.2} s of processor a million"
    );
    if let Some(bare) = figures.get("bare").filter(|_| what != "bare") {
        let paired = own.iter().zip(bare).map(|(own, bare)| own.0 / bare.0);
        let (ratio, low, high) = median(paired.collect());
        print!("; {ratio:.2} of the bare loop, paired ({low:.2} to {high:.2})");
    }
    println!();
}

impl Case {
    fn produce(&self, bytes: usize) {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.servers)
            .set("enable.idempotence", "true")
            .set("linger.ms", "20")
            .set("queue.buffering.max.messages", "2000000");
        let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
        let topic = NewTopic::new(&self.topic, PARTITIONS, TopicReplication::Fixed(1));
        let created = { runtime }
            .build()
            .unwrap()
            .block_on(admin.create_topics(&[topic], &AdminOptions::new()));
        created.unwrap()[0].as_ref().unwrap();
        let producer: BaseProducer = config.create().unwrap();
        let value = vec![b'x'; bytes];
        for n in 0..self.records {
            let key = format!("key-{}", fastrand::usize(..KEYS));
            let mut record = BaseRecord::to(&self.topic).key(&key).payload(&value);
            while let Err((_, again)) = producer.send(record) {
                record = again;
                producer.poll(Duration::from_millis(10));
            }
            if n % 1_000 == 0 {
                producer.poll(Duration::ZERO);
            }
        }
        producer.flush(Duration::from_secs(60)).unwrap();
    }

    /// The settings are those of the worker, where they matter for speed.
    fn bare(&self) -> Figures {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.servers)
            .set("group.id", format!("bare-{}", fastrand::u64(..)))
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .set("fetch.queue.backoff.ms", "10")
            .set("isolation.level", "read_committed")
            .create()
            .unwrap();
        consumer.subscribe(&[&self.topic]).unwrap();
        let (mut seen, mut began) = (0, None);
        while seen < self.records {
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(_)) => {
                    began.get_or_insert_with(|| (Instant::now(), processor_seconds()));
                    seen += 1;
                }
                Some(Err(error)) => panic!("{error}"),
                None => {}
            }
        }
        let (at, cpu) = began.unwrap();
        self.figures(at.elapsed(), processor_seconds() - cpu)
    }

    fn worker(&self, store: &str) -> Figures {
        let folder = tempfile::tempdir().unwrap();
        let config = self.config(store, folder.path());
        let seen = Arc::new(Seen::default());
        let handler = each_with(
            (Arc::clone(&seen), self.records),
            async |state: Arc<(Arc<Seen>, u64)>, _: Record| {
                let (seen, last) = (&state.0, state.1);
                let n = seen.calls.fetch_add(1, Ordering::Relaxed);
                if n == 0 || n + 1 == last {
                    let moment = (Instant::now(), processor_seconds());
                    seen.ends.lock().unwrap().push(moment);
                }
                Ok::<_, Failure>(Done)
            },
        );
        let options = RunOptions {
            until_idle: true,
            ..RunOptions::default()
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let report = runtime.block_on(run_until(&config, handler, options, pending()));
        assert_eq!(report.unwrap().done, self.records);
        let ends = seen.ends.lock().unwrap();
        self.figures(ends[1].0 - ends[0].0, ends[1].1 - ends[0].1)
    }

    fn config(&self, store: &str, folder: &Path) -> Config {
        let app = format!("bench-{}", fastrand::u64(..));
        let mut config = Config::new(&app, 100).source(SourceConfig {
            name: "orders".to_owned(),
            kind: SourceKind::Kafka {
                bootstrap_servers: self.servers.clone(),
                topics: vec![self.topic.clone()],
                group_id: app.clone(),
                group_protocol: None,
                group_instance_id: None,
                properties: BTreeMap::new(),
                allow_plaintext: false,
                new_partitions_wait: true,
            },
            start: Some(StartAt::Earliest),
            on_gap: OnGap::Refuse,
        });
        config.store.kind = if store == "dynamodb" {
            StoreKind::Dynamodb {
                table: std::env::var("LANEKEEPER_BENCH_TABLE").unwrap(),
            }
        } else {
            StoreKind::Local {
                path: folder.join("lanekeeper.db"),
            }
        };
        config
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "records are far fewer than a double can count"
    )]
    fn figures(&self, took: Duration, cpu: f64) -> Figures {
        let records = self.records as f64;
        (records / took.as_secs_f64(), cpu / records * 1e6)
    }
}

#[derive(Default)]
struct Seen {
    calls: AtomicU64,
    /// The first call and the last.
    ends: Mutex<Vec<(Instant, f64)>>,
}

/// Of all threads of this process.
fn processor_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let parts = Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    );
    parts.as_secs_f64()
}
