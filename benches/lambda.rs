//! How fast an invocation's payload becomes records, beside `aws_lambda_events`, whose structs own every
//! text and whose payloads are decoded by `base64`; and what a whole invocation costs:
//! `cargo bench --no-default-features --features lambda --bench lambda -- [ROUNDS]`, 200 by default: the
//! median round of each case, and the fastest.
#![expect(clippy::print_stdout, reason = "figures are what this program is for")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a benchmark that fails may say so loudly"
)]

#[path = "lambda/invocation.rs"]
mod invocation;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use lanekeeper::{
    lambda::{Batches, Delivery, Event, Handed, decode},
    record::{Assignment, LaneOrder, NoKey, OrderBy},
    source::{Budget, Start},
};
use serde_json::{Value, json};
use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

const ORDER: LaneOrder = LaneOrder {
    by: OrderBy::Key,
    no_key: NoKey::Partition,
};

fn main() {
    let rounds: usize = std::env::args().find_map(|a| a.parse().ok()).unwrap_or(200);
    for (count, bytes) in [(100, 100), (1000, 100), (1000, 1000), (10_000, 100)] {
        let payload = kinesis(count, bytes);
        println!(
            "Kinesis, {count} records of {bytes} bytes, {} bytes of JSON",
            payload.len()
        );
        compare(&payload, count, rounds);
        let theirs = || -> aws_lambda_events::event::kinesis::KinesisEvent {
            serde_json::from_slice(&payload).unwrap()
        };
        assert_eq!(theirs().records.len(), count);
        show("aws_lambda_events", count, &times(rounds, theirs));
    }
    for (name, payload) in [
        ("SQS, 1000 messages of 100 bytes of JSON", sqs(1000)),
        (
            "Kafka, 1000 records of 100 bytes in 4 partitions",
            kafka(1000),
        ),
    ] {
        println!("{name}, {} bytes of JSON", payload.len());
        compare(&payload, 1000, rounds);
    }
    invocation::all(rounds);
}

/// Payload to delivery, to records, and the answer when one in a hundred is unfinished.
fn compare(payload: &[u8], count: usize, rounds: usize) {
    assert_eq!(delivery(payload).entries(), count);
    show("decode", count, &times(rounds, || delivery(payload)));
    assert_eq!(records(payload), count);
    show(
        "decode, and make records",
        count,
        &times(rounds, || records(payload)),
    );
    let delivered = delivery(payload);
    let answer = || {
        let mut n = 0;
        let unfinished = |_: &_, _: &_| {
            n += 1;
            n % 100 == 0
        };
        delivered.failures(unfinished).answer(true)
    };
    show("answer", count, &times(rounds, answer));
}

fn delivery(payload: &[u8]) -> Delivery {
    match decode(payload).unwrap() {
        Event::Delivery(delivery) => delivery,
        Event::Request(_) => panic!("a request"),
    }
}

fn records(payload: &[u8]) -> usize {
    let delivery = Arc::new(delivery(payload));
    let mut count = 0;
    for (index, partition) in delivery.partitions.iter().enumerate() {
        let start = Start {
            assignment: Arc::new(Assignment {
                name: partition.full_name(&"orders".into()),
                epoch: 0,
                generation: 0,
            }),
            checkpoint: None,
            budget: Arc::new(Budget::new(64 << 20)),
        };
        let mut batches = Batches::new(Arc::clone(&delivery), index);
        let mut kept = Vec::new();
        while let Handed::Records(records) = batches.next(&start, ORDER, |_| true) {
            count += records.len();
            kept.push(records);
        }
    }
    count
}

/// Times of the rounds, ascending.
fn times<T>(rounds: usize, mut run: impl FnMut() -> T) -> Vec<Duration> {
    let one = || {
        let began = Instant::now();
        let made = black_box(run());
        let took = began.elapsed();
        drop(made);
        took
    };
    let mut times: Vec<_> = std::iter::repeat_with(one).take(rounds).collect();
    times.sort_unstable();
    times
}

fn show(what: &str, count: usize, times: &[Duration]) {
    let rate = |took: Duration| count as f64 / took.as_secs_f64() / 1e6;
    let (median, fastest) = (times[times.len() / 2], times[0]);
    println!(
        "  {what:26} {median:>9.1?}  {:.2} M records/s ({:.2})",
        rate(median),
        rate(fastest)
    );
}

fn filler(n: usize, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|i| (i * 31 + n * 7) as u8).collect()
}

fn event(records: &[Value]) -> Vec<u8> {
    json!({ "Records": records }).to_string().into_bytes()
}

fn kinesis(count: usize, bytes: usize) -> Vec<u8> {
    let record = |n: usize| {
        let number = format!("4959033827149025660855969253836157109592{n:016}");
        json!({
            "kinesis": {
                "kinesisSchemaVersion": "1.0",
                "partitionKey": format!("account-{}", n % 500),
                "sequenceNumber": number,
                "data": STANDARD.encode(filler(n, bytes)),
                "approximateArrivalTimestamp": 1545084650.987 + n as f64,
            },
            "eventSource": "aws:kinesis",
            "eventVersion": "1.0",
            "eventID": format!("shardId-000000000006:{number}"),
            "eventName": "aws:kinesis:record",
            "invokeIdentityArn": "arn:aws:iam::123456789012:role/lambda-role",
            "awsRegion": "us-east-2",
            "eventSourceARN": "arn:aws:kinesis:us-east-2:123456789012:stream/lambda-stream",
        })
    };
    event(&(0..count).map(record).collect::<Vec<_>>())
}

fn sqs(count: usize) -> Vec<u8> {
    let record = |n: usize| {
        json!({
            "messageId": format!("059f36b4-87a3-44ab-83d2-{n:012x}"),
            "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a".repeat(8),
            "body": format!("{{\"id\":{n},\"note\":\"{}\"}}", "x".repeat(80)),
            "attributes": {
                "ApproximateReceiveCount": "1",
                "SentTimestamp": "1545082649183",
                "SenderId": "AIDAIENQZJOLO23YVJ4VO",
                "ApproximateFirstReceiveTimestamp": "1545082649185",
            },
            "messageAttributes": {},
            "md5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3",
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:us-east-2:123456789012:orders",
            "awsRegion": "us-east-2",
        })
    };
    event(&(0..count).map(record).collect::<Vec<_>>())
}

fn kafka(count: usize) -> Vec<u8> {
    let record = |partition: usize| {
        move |n: usize| {
            json!({
                "topic": "orders",
                "partition": partition,
                "offset": n,
                "timestamp": 1545084650987_i64,
                "timestampType": "CREATE_TIME",
                "key": STANDARD.encode(format!("account-{}", n % 500)),
                "value": STANDARD.encode(filler(n, 100)),
                "headers": [],
            })
        }
    };
    let partitions = (0..4).map(|partition| {
        let records: Value = (0..count / 4).map(record(partition)).collect();
        (format!("orders-{partition}"), records)
    });
    json!({
        "eventSource": "aws:kafka",
        "eventSourceArn": "arn:aws:kafka:us-east-2:123456789012:cluster/orders/751d2973",
        "bootstrapServers": "b-2.orders:9092,b-1.orders:9092",
        "records": partitions.collect::<serde_json::Map<_, _>>(),
    })
    .to_string()
    .into_bytes()
}
