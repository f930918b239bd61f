use crate::lambda::{
    EventError, EventKind,
    sample::{base64, delivery, entries, error, kafka},
};
use serde_json::{Value, json};

/// As the service's guide has it, with signed bytes in a header.
const EVENT: &str = r#"{"eventSource":"aws:kafka","eventSourceArn":"arn:aws:kafka:us-east-1:123456789012:cluster/vpc-2priv-2pub/751d2973-a626-431c-9d4e-d7975eb44dd7-2","bootstrapServers":"b-2.demo:9092,b-1.demo:9092","records":{"mytopic-0":[{"topic":"mytopic","partition":0,"offset":15,"timestamp":1545084650987,"timestampType":"CREATE_TIME","key":"YWJj","value":"SGVsbG8sIHRoaXMgaXMgYSB0ZXN0Lg==","headers":[{"headerKey":[104,101,97,100,-1,-128]}]}]}}"#;

fn changed(change: impl FnOnce(&mut Value)) -> String {
    let mut event: Value =
        serde_json::from_str(&kafka(&[("orders-1-0", &[(5, "a"), (7, "b")])])).expect("an event");
    change(&mut event);
    event.to_string()
}

#[test]
fn a_partition_s_records_have_place_key_payload_headers_and_time() {
    let delivery = delivery(EVENT);
    assert_eq!(delivery.kind, EventKind::Kafka);
    assert!(
        delivery
            .arn
            .as_deref()
            .is_some_and(|arn| arn.contains("vpc-2priv"))
    );
    assert_eq!(
        delivery.bootstrap_servers.as_deref(),
        Some("b-2.demo:9092,b-1.demo:9092")
    );
    assert_eq!(&**delivery.partitions[0].name(), "mytopic/0");
    assert_eq!(entries(&delivery), ["15 abc Hello, this is a test."]);
    let entry = delivery.partitions[0].entries().next().expect("one");
    assert_eq!(entry.timestamp(), Some(1_545_084_650_987));
    let headers: Vec<_> = entry.headers().collect();
    assert_eq!(headers, [("headerKey", &b"head\xff\x80"[..])]);
}

#[test]
fn several_partitions_come_in_one_event_and_topics_have_hyphens() {
    let event = kafka(&[
        ("orders-1-0", &[(5, "a"), (7, "b")]),
        ("orders-1-12", &[(1, "a")]),
        ("orders-1-3", &[]),
    ]);
    let delivery = delivery(&event);
    let names: Vec<_> = delivery
        .partitions
        .iter()
        .map(|p| (&**p.name(), p.len()))
        .collect();
    assert_eq!(names, [("orders-1/0", 2), ("orders-1/12", 1)]);
    assert_eq!(delivery.entries(), 3);
}

#[test]
fn keys_payloads_and_headers_may_be_missing_or_null() {
    let event = changed(|event| {
        let records = &mut event["records"]["orders-1-0"];
        records[0]["key"] = json!(null);
        records[0]["value"] = json!(null);
        records[0]["headers"] = json!(null);
        records[0]["timestamp"] = json!(-1);
        for field in ["key", "value", "headers", "timestamp", "timestampType"] {
            records[1].as_object_mut().expect("fields").remove(field);
        }
        records[1]["valueSchemaMetadata"] = json!({"dataFormat": "AVRO", "schemaId": "1"});
    });
    let delivery = delivery(&event);
    assert_eq!(entries(&delivery), ["5 - -", "7 - -"]);
    assert!(
        delivery.partitions[0]
            .entries()
            .all(|entry| entry.timestamp().is_none())
    );
}

#[test]
fn headers_keep_their_order_and_may_be_null_or_unsigned() {
    let event = changed(|event| {
        let headers = json!([{"b": [255]}, {"a": null}, {"b": []}]);
        event["records"]["orders-1-0"][0]["headers"] = headers;
    });
    let delivery = delivery(&event);
    let entry = delivery.partitions[0].entries().next().expect("one");
    let headers: Vec<_> = entry.headers().collect();
    assert_eq!(headers, [("b", &b"\xff"[..]), ("a", b""), ("b", b"")]);
}

#[test]
fn a_cluster_of_one_s_own_has_no_arn() {
    let event = changed(|event| {
        event["eventSource"] = json!("SelfManagedKafka");
        event
            .as_object_mut()
            .expect("fields")
            .remove("eventSourceArn");
    });
    let delivery = delivery(&event);
    assert_eq!(
        (delivery.kind, delivery.arn.as_deref()),
        (EventKind::Kafka, None)
    );
    assert!(delivery.bootstrap_servers.is_some());
}

#[test]
fn offsets_are_put_in_order_and_none_comes_twice() {
    let event = kafka(&[("t-0", &[(10, "a"), (9, "b")])]);
    assert_eq!(entries(&delivery(&event)), ["9 b value 9", "10 a value 10"]);
    let event = kafka(&[("t-0", &[(10, "a"), (9, "b"), (10, "c")])]);
    assert_eq!(
        error(&event),
        EventError::Twice {
            partition: "t-0".to_owned(),
            id: "10".to_owned(),
        }
    );
    let twice = EVENT.replacen(
        "\"mytopic-0\":[",
        "\"mytopic-0\":[{\"offset\":3}],\"mytopic-0\":[",
        1,
    );
    assert!(matches!(error(&twice), EventError::Twice { .. }));
}

#[test]
fn a_record_in_another_partition_s_list_is_refused() {
    for (field, value) in [("topic", json!("orders-2")), ("partition", json!(1))] {
        let event = changed(|event| event["records"]["orders-1-0"][1][field] = value);
        let error = error(&event);
        assert!(
            matches!(error, EventError::Mixed { .. }),
            "{field}: {error}"
        );
    }
    // Without these fields the list's name says it.
    let event = changed(|event| {
        for field in ["topic", "partition"] {
            event["records"]["orders-1-0"][0]
                .as_object_mut()
                .expect("fields")
                .remove(field);
        }
    });
    assert_eq!(entries(&delivery(&event)).len(), 2);
}

#[test]
fn a_record_without_place_or_sound_parts_is_refused() {
    let refused = |field: &str, value: Value| {
        let event = changed(|event| event["records"]["orders-1-0"][1][field] = value);
        error(&event).to_string()
    };
    assert!(refused("offset", json!(null)).contains("record 1 (`orders-1-0`) has no `offset`"));
    assert!(refused("offset", json!(-7)).contains("`-7`, expected 0 or more"));
    for field in ["key", "value"] {
        let text = base64(b"abcd");
        let cut = refused(field, json!(text[..text.len() - 1]));
        assert!(cut.contains("not base64"), "{cut}");
    }
    assert!(refused("headers", json!([{"h": [256]}])).contains("`256`, expected bytes"));
    for name in ["orders", "-0", "orders-x"] {
        let event = kafka(&[("t-0", &[(10, "a")])]).replace("\"t-0\"", &format!("\"{name}\""));
        assert!(
            matches!(error(&event), EventError::Malformed { .. }),
            "{name}"
        );
    }
}
