use super::*;
use crate::lambda::sample::{
    self, dynamodb_record, error, fifo_message, kafka, kinesis_record, records, sqs_message,
};
use serde_json::{Value, json};

const ID: &str = "059f36b4-87a3-44ab-83d2-661975830a7d";

fn without(mut record: Value, path: &[&str]) -> Value {
    let (field, parents) = path.split_last().expect("a field");
    let parent = parents
        .iter()
        .fold(&mut record, |value, name| &mut value[*name]);
    parent
        .as_object_mut()
        .expect("fields")
        .remove(*field)
        .expect("it was there");
    record
}

fn with(mut record: Value, path: &[&str], value: Value) -> Value {
    *path
        .iter()
        .fold(&mut record, |value, name| &mut value[*name]) = value;
    record
}

#[test]
fn kinds_are_told_apart_by_source_and_arn() {
    for (payload, kind) in [
        (
            records(&[kinesis_record("1", "a", b"x")]),
            EventKind::Kinesis,
        ),
        (
            records(&[dynamodb_record("1", "a", "x")]),
            EventKind::DynamodbStreams,
        ),
        (records(&[sqs_message(ID, "x")]), EventKind::Sqs),
        (records(&[fifo_message("a", "g", 1)]), EventKind::SqsFifo),
        (kafka(&[("t-0", &[(1, "a")])]), EventKind::Kafka),
    ] {
        assert_eq!(sample::delivery(&payload).kind, kind);
    }
}

#[test]
fn a_request_is_handed_on_as_it_is() {
    let payload = br#" {"lanekeeper": {"release": {"source": "orders"}}, "trace": 1}"#;
    match decode(payload).expect("a request") {
        Event::Request(request) => {
            assert_eq!(request.get(), r#"{"release": {"source": "orders"}}"#);
        }
        Event::Delivery(delivery) => panic!("{delivery:?}"),
    }
}

type Refused = Vec<(&'static str, String)>;

/// What is no event of ours.
fn foreign_events() -> Refused {
    let topic = || kafka(&[("t-0", &[(1, "a")])]);
    let firehose = json!({"deliveryStreamArn": "arn", "records": [{"data": ""}]});
    let bridge = json!({"detail": {}, "detail-type": "x", "source": "aws.s3"});
    let other = json!({"eventSource": "x", "body": 1});
    let mixed = r#"{"Records": [], "records": {}}"#;
    vec![
        ("not JSON", "{\"Records\": [".to_owned()),
        ("a list", "[]".to_owned()),
        ("no fields", "{}".to_owned()),
        ("another shape", bridge.to_string()),
        ("both lists", mixed.to_owned()),
        ("Firehose", firehose.to_string()),
        ("S3", records(&[json!({"eventSource": "aws:s3", "s3": {}})])),
        (
            "SNS",
            records(&[json!({"EventSource": "aws:sns", "Sns": {}})]),
        ),
        (
            "MQ",
            json!({"eventSource": "aws:mq", "messages": []}).to_string(),
        ),
        ("members of other types", records(&[other])),
        (
            "a topic of nobody",
            topic().replace("aws:kafka", &"x".repeat(200)),
        ),
        ("no records", records(&[])),
        ("no topics", kafka(&[])),
        ("topics without records", kafka(&[("t-0", &[])])),
    ]
}

fn kinesis_events() -> Refused {
    let sound = |n: &str| kinesis_record(n, "a", b"x");
    let first = || sound("1");
    let data = |value| with(first(), &["kinesis", "data"], value);
    let number = ["kinesis", "sequenceNumber"];
    let shard = |n, id| with(sound(n), &["eventID"], json!(id));
    let after_first = |second| records(&[first(), second]);
    vec![
        ("data of another type", records(&[data(json!(5))])),
        (
            "no source",
            after_first(without(sound("2"), &["eventSource"])),
        ),
        ("no ARN", records(&[without(first(), &["eventSourceARN"])])),
        ("mixed sources", after_first(fifo_message("m2", "g", 2))),
        ("mixed shards", after_first(shard("2", "shardId-7:2"))),
        ("no shard", records(&[without(first(), &["eventID"])])),
        ("a shard without end", records(&[shard("1", "shardId-7")])),
        (
            "no Kinesis part",
            after_first(without(sound("2"), &["kinesis"])),
        ),
        ("no sequence number", records(&[without(first(), &number)])),
        (
            "a null one",
            records(&[with(first(), &number, json!(null))]),
        ),
        ("one with a leading zero", records(&[sound("01")])),
        (
            "no data",
            records(&[without(first(), &["kinesis", "data"])]),
        ),
        ("malformed base64", records(&[data(json!("eA="))])),
        ("a number twice", records(&[first(), sound("2"), first()])),
    ]
}

fn dynamodb_events() -> Refused {
    let sound = |n: &str| dynamodb_record(n, "a", "x");
    let first = || sound("1");
    let number = ["dynamodb", "SequenceNumber"];
    let keys = |value| records(&[with(first(), &["dynamodb", "Keys"], value)]);
    let after_first = |second| records(&[first(), second]);
    let no_stream = json!("arn:aws:dynamodb:us-east-2:123456789012:table/orders");
    vec![
        (
            "a table's ARN",
            records(&[with(first(), &["eventSourceARN"], no_stream)]),
        ),
        ("mixed sources", after_first(kinesis_record("2", "a", b"x"))),
        (
            "no part of DynamoDB",
            after_first(without(sound("2"), &["dynamodb"])),
        ),
        ("no sequence number", records(&[without(first(), &number)])),
        ("an empty one", records(&[sound("")])),
        ("one of letters", records(&[sound("1a")])),
        ("one that is too long", records(&[sound(&"1".repeat(130))])),
        (
            "no keys",
            after_first(without(sound("2"), &["dynamodb", "Keys"])),
        ),
        ("empty keys", keys(json!({}))),
        (
            "three keys",
            keys(json!({"a": {"S": "1"}, "b": {"S": "1"}, "c": {"S": "1"}})),
        ),
        ("a key of no type", keys(json!({"a": {}}))),
        (
            "a key of two types",
            keys(json!({"a": {"S": "1", "N": "1"}})),
        ),
        ("a key of another type", keys(json!({"a": {"BOOL": "1"}}))),
        ("a key that is no text", keys(json!({"a": {"N": 1}}))),
        ("a number twice", records(&[first(), sound("2"), first()])),
        (
            "one of two items",
            after_first(dynamodb_record("1", "b", "x")),
        ),
    ]
}

fn sqs_events() -> Refused {
    let fifo = |n| fifo_message(&format!("m{n}"), "g", n);
    let number = ["attributes", "SequenceNumber"];
    let elsewhere = with(fifo(2), &["eventSourceARN"], json!("arn:other"));
    let letters = json!("12\u{1b}[2Jx");
    let group = ["attributes", "MessageGroupId"];
    vec![
        ("mixed ARNs", records(&[fifo(1), elsewhere])),
        (
            "no message id",
            records(&[without(fifo(1), &["messageId"])]),
        ),
        (
            "an empty one",
            records(&[with(fifo(1), &["messageId"], json!(""))]),
        ),
        ("no body", records(&[without(fifo(1), &["body"])])),
        ("no FIFO number", records(&[without(fifo(1), &number)])),
        ("no group", records(&[without(fifo(1), &group)])),
        (
            "a number of letters",
            records(&[with(fifo(1), &number, letters)]),
        ),
        ("an id twice", records(&[fifo(1), fifo(1)])),
    ]
}

/// Every way to be refused, by name, with all that it says.
#[test]
fn what_could_lose_or_misplace_a_record_is_refused_by_name() {
    let mut text = String::new();
    for events in [
        foreign_events(),
        kinesis_events(),
        dynamodb_events(),
        sqs_events(),
    ] {
        for (name, payload) in events {
            text += &format!("{name}\n    {}\n", error(&payload));
        }
    }
    insta::assert_snapshot!(text);
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    let error = decode(b"{\"Records\": \"\xff\"}")
        .expect_err("refused")
        .to_string();
    assert!(error.contains("invalid utf-8"), "{error}");
}

#[test]
fn escapes_in_any_text_are_read() {
    let payload = records(&[kinesis_record("1", "k\u{e9}y \"", b"???>>>")]);
    // As some writers of JSON have them.
    let payload = payload.replace('/', "\\/").replace('\u{e9}', "\\u00e9");
    assert_eq!(
        sample::entries(&sample::delivery(&payload)),
        ["1 k\u{e9}y \" ???>>>"]
    );
}

#[test]
fn a_window_s_words_are_kept() {
    let window = json!({
        "Records": [kinesis_record("1", "a", b"x")],
        "window": {"start": "2020-07-30T17:00:00Z", "end": "2020-07-30T17:05:00Z"},
        "state": {"1": 282},
        "shardId": "shardId-000000000006",
        "eventSourceARN": sample::STREAM,
        "isFinalInvokeForWindow": false,
        "isWindowTerminatedEarly": true,
    });
    let delivery = sample::delivery(&window.to_string());
    assert_eq!(delivery.entries(), 1);
    let kept = delivery.window.expect("a window");
    assert_eq!(
        kept.state.as_deref().map(RawValue::get),
        Some(r#"{"1":282}"#)
    );
    assert!(
        kept.window
            .is_some_and(|window| window.get().contains("17:05:00Z"))
    );
    assert_eq!(kept.shard.as_deref(), Some("shardId-000000000006"));
    assert!(!kept.is_final && kept.is_terminated_early);

    // Its last invocation may bring nothing but the state.
    let last = with(
        with(window, &["Records"], json!([])),
        &["isFinalInvokeForWindow"],
        json!(true),
    );
    let delivery = sample::delivery(&last.to_string());
    assert_eq!(delivery.kind, EventKind::Kinesis);
    assert!(delivery.partitions.is_empty());
    assert!(delivery.window.is_some_and(|window| window.is_final));
    let table = "arn:aws:dynamodb:us-east-2:123456789012:table/orders/stream/2020-07-30";
    let table = with(last, &["eventSourceARN"], json!(table));
    let delivery = sample::delivery(&table.to_string());
    assert_eq!(delivery.kind, EventKind::DynamodbStreams);
    assert!(delivery.partitions.is_empty());
    let plain = sample::delivery(&records(&[kinesis_record("1", "a", b"x")]));
    assert!(plain.window.is_none());
}

#[test]
fn debug_output_shows_no_payload_and_no_key() {
    let delivery = sample::delivery(&records(&[kinesis_record("1", "secret", b"secret")]));
    assert!(!format!("{delivery:?}").contains("secret"));
}

/// Whatever is cut off or changed: an event or an error, never a panic, and no entry without its place
/// in order. `LANEKEEPER_TEST_SEED` replays one.
#[test]
fn random_changes_are_refused_or_read_in_order() {
    let events = [
        records(&[
            kinesis_record("10", "a", b"x"),
            kinesis_record("9", "b", b"y"),
        ]),
        records(&[fifo_message("a", "g", 1), fifo_message("b", "h", 2)]),
        kafka(&[("t-0", &[(1, "a"), (2, "b")]), ("t-1", &[(1, "a")])]),
        records(&[
            dynamodb_record("10", "a", "x"),
            dynamodb_record("9", "b", "y"),
        ]),
    ];
    let one = std::env::var("LANEKEEPER_TEST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    for seed in one.map_or(0..2000, |seed: u64| seed..seed + 1) {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut payload = events[random.usize(..events.len())].clone().into_bytes();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..payload.len());
            match random.u8(..3) {
                0 => payload[at] = random.u8(..),
                1 => payload.truncate(at.max(1)),
                _ => {
                    let from = random.usize(..=at);
                    let copied = payload[from..at].to_vec();
                    payload.splice(at..at, copied);
                }
            }
        }
        let Ok(Event::Delivery(delivery)) = decode(&payload) else {
            continue;
        };
        for partition in &delivery.partitions {
            let positions: Vec<_> = partition.entries().map(|entry| entry.position()).collect();
            assert!(positions.is_sorted_by(|a, b| a < b), "seed {seed}");
            assert!(!positions.is_empty(), "seed {seed}");
        }
    }
}
