//! Whatever a function is invoked with: refused, or read in order, with all of it in the records that are
//! made of it, and an answer that names nothing else.
#![no_main]

use base64::{Engine as _, engine::general_purpose::STANDARD};
use lanekeeper::{
    Position,
    lambda::{Answer, Batches, Delivery, Event, EventKind, Handed, decode},
    record::{Assignment, LaneOrder, NoKey, OrderBy},
    source::{Budget, Start},
};
use libfuzzer_sys::{
    arbitrary::{self, Arbitrary, Unstructured},
    fuzz_target,
};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// An event with the fields of one: few random bytes are.
#[derive(Arbitrary, Debug)]
struct Sent {
    kind: u8,
    records: Vec<SentRecord>,
    window: bool,
}

#[derive(Arbitrary, Debug)]
struct SentRecord {
    number: u16,
    /// For numbers that are longer than others.
    digits: u8,
    key: Option<String>,
    data: Vec<u8>,
    is_elsewhere: bool,
    is_malformed: bool,
    header: Option<(String, i8)>,
}

fuzz_target!(|input: &[u8]| {
    let Some((how, rest)) = input.split_first() else {
        return;
    };
    if how & 1 == 0 {
        read(rest, how >> 1);
    } else if let Ok(sent) = Sent::arbitrary(&mut Unstructured::new(rest)) {
        read(sent.payload().to_string().as_bytes(), how >> 1);
    }
});

fn read(payload: &[u8], unfinished: u8) {
    let Ok(Event::Delivery(delivery)) = decode(payload) else {
        return;
    };
    assert_eq!(delivery.partitions.is_empty(), delivery.entries() == 0);
    for partition in &delivery.partitions {
        assert!(!partition.is_empty());
        let positions: Vec<_> = partition.entries().map(|e| e.position()).collect();
        assert!(positions.is_sorted_by(|a, b| a < b), "it does not ascend");
    }
    let is_unfinished = |position: &Position| {
        let last = position.to_string().bytes().last().unwrap_or_default();
        last & unfinished & 7 != 0
    };
    answered(&delivery, &is_unfinished);
    let delivery = Arc::new(delivery);
    for index in 0..delivery.partitions.len() {
        taken(&delivery, index);
    }
}

/// The answer names what is unfinished, and what came.
fn answered(delivery: &Delivery, is_unfinished: &dyn Fn(&Position) -> bool) {
    let failures = delivery.failures(|_, position| is_unfinished(position));
    let unfinished = failures.unfinished();
    let Answer::Body(body) = failures.answer(true) else {
        panic!("no body");
    };
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    let items = body["batchItemFailures"].as_array().expect("a list");
    assert_eq!(items.is_empty(), unfinished == 0);
    let entries = || delivery.partitions.iter().flat_map(|p| p.entries());
    for item in items {
        let id = &item["itemIdentifier"];
        let is_known = match delivery.kind {
            EventKind::Kinesis => entries().any(|e| e.position().number() == id.as_str()),
            EventKind::DynamodbStreams | EventKind::Sqs | EventKind::SqsFifo => {
                entries().any(|e| e.id() == id.as_str())
            }
            EventKind::Kafka => entries().any(|e| e.position().offset() == id["offset"].as_u64()),
        };
        assert!(is_known, "{id} did not come");
    }
    match delivery.kind {
        EventKind::Kinesis | EventKind::DynamodbStreams => assert!(items.len() <= 1),
        EventKind::Sqs | EventKind::Kafka => assert_eq!(items.len(), unfinished),
        EventKind::SqsFifo => assert!(items.len() >= unfinished),
    }
    if unfinished > 0 {
        assert!(matches!(failures.answer(false), Answer::Fail(_)));
    }
}

/// Every entry becomes one record.
fn taken(delivery: &Arc<Delivery>, index: usize) {
    let partition = &delivery.partitions[index];
    let start = Start {
        assignment: Arc::new(Assignment {
            name: partition.full_name(&"orders".into()),
            epoch: 0,
            generation: 0,
        }),
        checkpoint: None,
        budget: Arc::new(Budget::new(1 << 30)),
    };
    let order = LaneOrder {
        by: OrderBy::Key,
        no_key: NoKey::Partition,
    };
    let mut entries = partition.entries();
    let mut batches = Batches::new(Arc::clone(delivery), index);
    while let Handed::Records(records) = batches.next(&start, order, |_| true) {
        for record in records {
            let entry = entries.next().expect("no more than came");
            assert_eq!(record.position(), entry.position());
            assert_eq!(record.key(), entry.key());
            assert_eq!(record.value(), entry.value());
            assert_eq!(record.timestamp(), entry.timestamp());
            assert!(record.headers().eq(entry.headers()));
        }
    }
    assert!(entries.next().is_none(), "an entry is gone");
}

impl Sent {
    fn payload(&self) -> Value {
        if self.kind % 5 == 3 {
            return self.kafka();
        }
        let records = self.records.iter().enumerate();
        let records: Vec<Value> = records
            .map(|(n, record)| match self.kind % 5 {
                0 => record.kinesis(),
                4 => record.dynamodb(),
                1 => record.sqs(n, "orders"),
                _ => record.sqs(n, "orders.fifo"),
            })
            .collect();
        let mut payload = json!({ "Records": records });
        if self.window {
            payload["window"] = json!({"start": "", "end": ""});
            payload["eventSourceARN"] = json!("arn:aws:kinesis:r:1:stream/s");
            payload["state"] = json!({"n": 1});
        }
        payload
    }

    fn kafka(&self) -> Value {
        let mut partitions = Map::new();
        for record in &self.records {
            let name = if record.is_elsewhere {
                "a-b-1"
            } else {
                "a-b-0"
            };
            let list = partitions.entry(name).or_insert_with(|| json!([]));
            list.as_array_mut().expect("a list").push(record.kafka());
        }
        json!({"eventSource": "aws:kafka", "eventSourceArn": "arn", "records": partitions})
    }
}

impl SentRecord {
    fn number(&self) -> String {
        format!(
            "{}{:05}",
            "9".repeat(usize::from(self.digits % 130)),
            self.number
        )
    }

    fn data(&self) -> String {
        let mut text = STANDARD.encode(&self.data);
        if self.is_malformed {
            text.push('=');
        }
        text
    }

    fn kinesis(&self) -> Value {
        let shard = if self.is_elsewhere {
            "shard-1"
        } else {
            "shard-0"
        };
        json!({
            "eventSource": "aws:kinesis",
            "eventSourceARN": "arn:aws:kinesis:r:1:stream/s",
            "eventID": format!("{shard}:{}", self.number()),
            "kinesis": {
                "partitionKey": self.key,
                "sequenceNumber": self.number(),
                "data": self.data(),
                "approximateArrivalTimestamp": f64::from(self.number) * 1e5,
            },
        })
    }

    fn dynamodb(&self) -> Value {
        let mut keys = Map::new();
        keys.insert("id".to_owned(), json!({"S": self.key}));
        if let Some((name, byte)) = &self.header {
            keys.insert(name.clone(), json!({"N": byte.to_string()}));
        }
        let number = if self.is_malformed {
            format!("0{}", self.number())
        } else {
            self.number()
        };
        json!({
            "eventSource": "aws:dynamodb",
            "eventSourceARN": "arn:aws:dynamodb:r:1:table/t/stream/2020",
            "dynamodb": {
                "Keys": keys,
                "SequenceNumber": number,
                "ApproximateCreationDateTime": f64::from(self.number) * 1e5,
                "NewImage": {"data": {"B": self.data()}},
            },
        })
    }

    fn sqs(&self, n: usize, queue: &str) -> Value {
        let mut attributes = Map::new();
        if let Some((name, byte)) = &self.header {
            let value = STANDARD.encode([*byte as u8]);
            attributes.insert(name.clone(), json!({"binaryValue": value}));
        }
        json!({
            "eventSource": "aws:sqs",
            "eventSourceARN": format!("arn:aws:sqs:r:1:{queue}"),
            "messageId": if self.is_malformed { String::new() } else { format!("m{n}") },
            "body": String::from_utf8_lossy(&self.data),
            "attributes": {
                "SequenceNumber": self.number(),
                "MessageGroupId": self.key,
                "SentTimestamp": self.number.to_string(),
            },
            "messageAttributes": attributes,
        })
    }

    fn kafka(&self) -> Value {
        let headers = self.header.iter();
        let headers: Vec<Value> = headers.map(|(name, byte)| json!({name: [byte]})).collect();
        json!({
            "offset": self.number,
            "timestamp": i64::from(self.number) - 1,
            "key": self.key.as_ref().map(|key| STANDARD.encode(key)),
            "value": (!self.data.is_empty()).then(|| self.data()),
            "headers": headers,
        })
    }
}
