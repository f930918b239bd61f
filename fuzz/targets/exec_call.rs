//! What is written to a child is one line of JSON, and says all there is to say of the records.
#![no_main]

use base64::{Engine as _, engine::general_purpose::STANDARD};
use lanekeeper::{
    Position, Record, Run,
    handler::exec::protocol::encode,
    record::{Assignment, BatchBuilder, LaneOrder, NoKey, OrderBy, PartitionName},
};
use libfuzzer_sys::{
    arbitrary::{self, Arbitrary},
    fuzz_target,
};
use serde_json::Value;
use std::sync::Arc;

#[derive(Arbitrary, Debug)]
struct Given {
    source: String,
    partition: String,
    generation: u64,
    attempt: u32,
    records: Vec<GivenRecord>,
    array: bool,
}

#[derive(Arbitrary, Debug)]
struct GivenRecord {
    offset: u64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Vec<u8>)>,
    timestamp: Option<i64>,
}

fuzz_target!(|given: Given| {
    let records = given.build();
    let Some(run) = Run::new(records.iter(), given.attempt) else {
        return;
    };
    let line = encode(&run, given.array).expect("any run can be written");
    let (end, text) = line.split_last().expect("a line");
    assert_eq!(*end, b'\n');
    assert!(!text.contains(&b'\n'), "more than one line");
    let written: Value = serde_json::from_slice(text).expect("JSON");
    if given.array {
        let calls = written.as_array().expect("an array");
        assert_eq!(calls.len(), given.records.len());
        for (i, call) in calls.iter().enumerate() {
            given.demand(call, i, if i == 0 { given.attempt } else { 1 });
        }
    } else {
        given.demand(&written, 0, given.attempt);
    }
});

impl Given {
    fn build(&self) -> Vec<Record> {
        let mut batch = BatchBuilder::new(Arc::new(Assignment {
            name: PartitionName::new(&self.source, &self.partition),
            epoch: 1,
            generation: self.generation,
        }));
        let order = LaneOrder {
            by: OrderBy::Key,
            no_key: NoKey::Partition,
        };
        for record in &self.records {
            let headers = record
                .headers
                .iter()
                .map(|(n, v)| (n.as_str(), v.as_slice()));
            (batch.push(
                order,
                Position::Offset(record.offset),
                record.key.as_deref(),
                record.value.as_deref(),
                headers,
                record.timestamp,
            ))
            .expect("a record without key has a lane");
        }
        batch.finish(None)
    }

    fn demand(&self, call: &Value, index: usize, attempt: u32) {
        let record = &self.records[index];
        let offset = record.offset.to_string();
        let id = format!(
            "{}/{}/{offset}/{}",
            self.source, self.partition, self.generation
        );
        assert_eq!(call["id"], id);
        assert_eq!(call["source"], self.source);
        assert_eq!(call["partition"], self.partition);
        assert_eq!(call["position"], offset);
        assert_eq!(call["attempt"], attempt);
        assert_eq!(call["generation"], self.generation);
        assert_eq!(
            call.get("timestamp").map(|t| t.as_i64()),
            record.timestamp.map(Some)
        );
        assert_eq!(bytes(call, "key"), record.key);
        assert_eq!(bytes(call, "value"), record.value);
        let headers = call["headers"].as_array().expect("an array");
        assert_eq!(headers.len(), record.headers.len());
        for (written, (name, value)) in headers.iter().zip(&record.headers) {
            assert_eq!(written[0], *name);
            let text = written[1].as_str().map(|text| text.as_bytes().to_vec());
            let read = text.or_else(|| written[1]["base64"].as_str().map(from_base64));
            assert_eq!(read.as_ref(), Some(value));
        }
    }
}

/// A field as text or as base64, never as both.
fn bytes(call: &Value, name: &str) -> Option<Vec<u8>> {
    let text = call
        .get(name)
        .map(|text| text.as_str().expect("a text").into());
    let base64 = call.get(format!("{name}_base64"));
    let base64 = base64.map(|text| from_base64(text.as_str().expect("a text")));
    assert!(text.is_none() || base64.is_none(), "`{name}` comes twice");
    text.or(base64)
}

fn from_base64(text: &str) -> Vec<u8> {
    STANDARD.decode(text).expect("base64")
}
