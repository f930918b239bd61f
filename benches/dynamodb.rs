//! The DynamoDB store in front of a service in this process that takes 5 ms for each request: the loop,
//! the store and the SDK are real.
//!
//! `cargo bench --features dynamodb --bench dynamodb -- [effects|commits]`: figures per case, medians
//! over rounds.

#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a benchmark prints and may fail loudly"
)]

mod burst;

use aws_sdk_dynamodb::{
    Client, Config,
    config::{BehaviorVersion, Credentials, Region},
};
use burst::{PARTITIONS, rounds, settings};
use lanekeeper::{
    Done, Effect, Handler, Record, Run,
    handler::Answer,
    store::{Store, dynamodb::DynamodbStore},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const LATENCY: Duration = Duration::from_millis(5);

/// Answers every request after [`LATENCY`]: nothing is there, every write is taken.
struct Service {
    endpoint: String,
    writes: Arc<AtomicU64>,
}

impl Service {
    /// On a thread and runtime of its own, for as long as the process runs.
    fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let writes = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&writes);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("runtime");
            runtime.block_on(async move {
                listener.set_nonblocking(true).expect("nonblocking");
                let listener = TcpListener::from_std(listener).expect("listener");
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, Arc::clone(&counted)));
                }
            });
        });
        Self { endpoint, writes }
    }

    fn store(&self) -> Arc<dyn Store> {
        let config = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(&self.endpoint)
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .credentials_provider(Credentials::new("bench", "bench", None, None, "bench"))
            .region(Region::new("us-east-1"))
            .build();
        let client = Client::from_conf(config);
        Arc::new(DynamodbStore::with_client("lanekeeper", "bench", client))
    }
}

async fn serve(mut stream: TcpStream, writes: Arc<AtomicU64>) {
    stream.set_nodelay(true).expect("nodelay");
    let mut buffer: Vec<u8> = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                return;
            }
        };
        let head = String::from_utf8_lossy(&buffer[..end]).to_lowercase();
        let field = |name: &str| {
            head.lines()
                .find_map(|line| line.strip_prefix(name).map(str::trim))
        };
        let length = field("content-length:").and_then(|n| n.parse().ok());
        let target = field("x-amz-target:").unwrap_or_default().to_owned();
        let length: usize = length.unwrap_or(0);
        while buffer.len() < end + length {
            if stream.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                return;
            }
        }
        buffer.drain(..end + length);
        if target.ends_with("updateitem") || target.ends_with("transactwriteitems") {
            writes.fetch_add(1, Ordering::Relaxed);
        }
        tokio::time::sleep(LATENCY).await;
        let body = if target.ends_with("query") {
            r#"{"Items":[],"Count":0,"ScannedCount":0}"#
        } else {
            "{}"
        };
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Adds 1 to its key's value.
struct Adds;

impl Handler for Adds {
    async fn handle(&self, run: Run) -> Answer {
        let mut answer = Answer::all(run.records().len());
        for (n, record) in run.records().iter().enumerate() {
            let key = String::from_utf8_lossy(record.key().unwrap_or_default()).into_owned();
            answer.effects.push((n, Effect::add("totals", &key, 1)));
        }
        answer
    }
}

fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    let wants = |name: &str| wanted.is_empty() || wanted.iter().any(|w| name.contains(w.as_str()));
    let service = Service::start();
    if wants("effects") {
        let n = 100_000;
        rounds(
            "effects: thousand records/s with one `add` each, 8 partitions, 10,000 keys, cap 256, 5 ms a request",
            || {
                let before = service.writes.load(Ordering::Relaxed);
                let (_, seconds) =
                    burst::run(service.store(), settings(256, 1), Adds, n, |n| n % 10_000);
                let writes = service.writes.load(Ordering::Relaxed) - before;
                println!("  {writes} writes for {n} records");
                n as f64 / seconds / 1e3
            },
        );
    }
    if wants("commits") {
        // Each partition finishes a thousand records a second: one round of commits a second.
        let (seconds, each) = (5, 1_000);
        let n = seconds * each * u64::from(PARTITIONS);
        rounds(
            "commits: writes for each partition and second, 1,000 records/s in each of 8 partitions",
            || {
                let before = service.writes.load(Ordering::Relaxed);
                // Little's law: 80 tries of 10 ms at a time are 8,000 a second.
                let handler = lanekeeper::each(async |_: Record| {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    Ok(Done)
                });
                let (_, took) =
                    burst::run(service.store(), settings(80, 1), handler, n, |n| n % 10_000);
                let writes = service.writes.load(Ordering::Relaxed) - before;
                writes as f64 / f64::from(PARTITIONS) / took
            },
        );
    }
}
