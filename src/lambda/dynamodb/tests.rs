use super::{super::sample::*, *};
use crate::lambda::{Answer, Batches, EventKind, Handed};
use crate::{
    record::{Assignment, LaneOrder, NoKey, OrderBy},
    source::{Budget, Start},
};
use serde_json::{Value, json};
use std::sync::Arc;

const FIRST: &str = "700000000000888747038";

/// Keys and payloads of each entry.
fn keys(delivery: &crate::lambda::Delivery) -> Vec<String> {
    let entries = delivery.partitions[0].entries();
    let text =
        |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
    entries.map(|entry| text(entry.key())).collect()
}

#[test]
fn an_item_s_key_is_the_same_whatever_the_order_of_its_attributes() {
    let record = |number: &str, keys: &str| {
        let text = dynamodb_record(number, "k", "t").to_string();
        text.replace(r#"{"id":{"S":"k"}}"#, keys)
    };
    let one = record("1", r#"{"SK": {"N":"7"}, "PK":{"S":"ä\"b"}}"#);
    let other = record("2", r#"{"PK":{"S":"\u00e4\u0022b"},"SK":{"N":"7"}}"#);
    let delivery = delivery(&format!(r#"{{"Records":[{one},{other}]}}"#));
    let expected = r#"{"PK":{"S":"ä\"b"},"SK":{"N":"7"}}"#;
    assert_eq!(keys(&delivery), [expected, expected]);
}

#[test]
fn keys_of_other_types_or_values_are_others() {
    let of = |keys: Value| {
        let mut record = dynamodb_record(FIRST, "k", "t");
        record["dynamodb"]["Keys"] = keys;
        self::keys(&delivery(&records(&[record]))).remove(0)
    };
    let all = [
        of(json!({"a": {"S": "1"}})),
        of(json!({"a": {"N": "1"}})),
        of(json!({"a": {"B": "1"}})),
        of(json!({"b": {"S": "1"}})),
        of(json!({"a": {"S": "1"}, "b": {"S": "1"}})),
        of(json!({"a": {"S": "1\"},\"b\":{\"S\":\"1"}})),
    ];
    for (n, one) in all.iter().enumerate() {
        assert!(!all[..n].contains(one), "{one}");
    }
}

#[test]
fn the_payload_is_the_record_as_it_came() {
    // Neither the order of its members nor its white space is touched.
    let record = format!(
        r#"{{"eventSource":"aws:dynamodb", "eventID":"c9fb", "eventSourceARN":"{TABLE_STREAM}",
            "dynamodb":{{"SequenceNumber":"7","Keys":{{"id":{{"S":"k"}}}},"NewImage":{{"n":{{"N":"1.0"}}}}}}}}"#
    );
    for records in [
        record.clone(),
        format!("{record} , {}", record.replace("\"7\"", "\"8\"")),
    ] {
        let delivery = delivery(&format!(r#"{{"Records":[ {records} ]}}"#));
        let first = delivery.partitions[0].entries().next().expect("one");
        assert_eq!(first.value(), Some(record.as_bytes()));
    }
}

#[test]
fn an_event_is_of_its_table_and_says_no_shard() {
    let payload = records(&[dynamodb_record(FIRST, "k", "t")]);
    let delivery = delivery(&payload);
    assert_eq!(delivery.kind, EventKind::DynamodbStreams);
    assert_eq!(delivery.source_arn(), Some(TABLE_STREAM));
    assert_eq!(**delivery.partitions[0].name(), *"orders");
    let entry = delivery.partitions[0].entries().next().expect("one");
    assert_eq!(entry.timestamp(), Some(1_664_559_083_250));
    assert_eq!(entry.position().number(), Some(FIRST));
    assert_eq!(entry.id(), Some(FIRST));
}

/// A number is a record's own within its shard alone, so that another shard may have it too.
#[test]
fn one_number_of_two_items_is_two_positions_and_of_one_item_one() {
    let position = |key: &str, text: &str| {
        let delivery = delivery(&records(&[dynamodb_record(FIRST, key, text)]));
        let entry = delivery.partitions[0]
            .entries()
            .next()
            .map(|e| e.position().clone());
        entry.expect("one")
    };
    assert_ne!(position("a", "t"), position("b", "t"));
    assert_eq!(position("a", "t"), position("a", "another image"));
}

#[test]
fn numbers_are_compared_as_numbers_and_named_as_they_were_written() {
    let numbers = ["00010", "9", "100"];
    let all = numbers.map(|number| dynamodb_record(number, "k", number));
    let delivery = delivery(&records(&all));
    let entries = delivery.partitions[0].entries();
    let ids: Vec<&str> = entries.filter_map(|entry| entry.id()).collect();
    assert_eq!(ids, ["9", "00010", "100"]);
    let failures = delivery.failures(|_, position| position.number() != Some("9"));
    let Answer::Body(body) = failures.answer(true) else {
        panic!("no body");
    };
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(
        body,
        json!({"batchItemFailures": [{"itemIdentifier": "00010"}]})
    );
}

#[test]
fn records_are_of_the_lanes_of_their_items() {
    let all = ["a", "b", "a"].iter().zip(["1", "2", "3"]);
    let all: Vec<Value> = all
        .map(|(key, number)| dynamodb_record(number, key, "t"))
        .collect();
    let delivery = Arc::new(delivery(&records(&all)));
    let start = Start {
        assignment: Arc::new(Assignment {
            name: delivery.partitions[0].full_name(&"orders".into()),
            epoch: 0,
            generation: 0,
        }),
        checkpoint: None,
        budget: Arc::new(Budget::new(1 << 20)),
    };
    let order = LaneOrder {
        by: OrderBy::Key,
        no_key: NoKey::Refuse,
    };
    let Handed::Records(records) = Batches::new(delivery, 0).next(&start, order, |_| true) else {
        panic!("no records");
    };
    let lanes: Vec<&[u8]> = records.iter().map(crate::Record::lane).collect();
    assert_eq!(lanes[0], lanes[2]);
    assert_ne!(lanes[0], lanes[1]);
    assert!(
        records[0].id().starts_with("orders/orders/1:"),
        "{}",
        records[0].id()
    );
}

#[test]
fn a_stream_is_known_by_its_arn() {
    assert_eq!(table_of(TABLE_STREAM), Some("orders"));
    let china = "arn:aws-cn:dynamodb:cn-north-1:1:table/a.b-c_d/stream/2020-11-10T20:21:56.370";
    assert_eq!(table_of(china), Some("a.b-c_d"));
    for arn in [
        "",
        "arn:aws:dynamodb:eu-west-1:1:table/orders",
        "arn:aws:dynamodb:eu-west-1:1:table/orders/stream/",
        "arn:aws:dynamodb:eu-west-1:1:table//stream/2020",
        "arn:aws:dynamodb:eu-west-1:1:table/a/b/stream/2020",
        "arn:aws:kinesis:eu-west-1:1:table/orders/stream/2020",
        "arn:aws:kinesis:eu-west-1:1:stream/orders",
    ] {
        assert_eq!(table_of(arn), None, "{arn}");
    }
}
