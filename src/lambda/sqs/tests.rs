use super::identity;
use crate::lambda::{
    EventError, EventKind,
    sample::{base64, delivery, entries, error, fifo_message, records, sqs_message},
};
use serde_json::json;

/// As the service sent it, from a FIFO queue.
const EVENT: &str = r#"{"Records":[{"messageId":"11d6ee51-4cc7-4302-9e22-7cd8afdaadf5","receiptHandle":"AQEBBX8nesZEXmkhsmZeyIE8iQAMig7qw...","body":"{\"a\": \"\u00e9\"}","attributes":{"ApproximateReceiveCount":"1","SentTimestamp":"1573251510774","SequenceNumber":"18849496460467696128","MessageGroupId":"1","SenderId":"AIDAIO23YVJENQZJOL4VO","MessageDeduplicationId":"1","ApproximateFirstReceiveTimestamp":"1573251510774"},"messageAttributes":{"k":{"stringValue":"v","stringListValues":[],"binaryListValues":[],"dataType":"String"}},"md5OfBody":"e4e68fb7bd0e697a0ae8f1bb342846b3","eventSource":"aws:sqs","eventSourceARN":"arn:aws:sqs:us-east-2:123456789012:fifo.fifo","awsRegion":"us-east-2"}]}"#;

const IDS: [&str; 2] = [
    "059f36b4-87a3-44ab-83d2-661975830a7d",
    "2e1424d4-f796-459a-8184-9c92662be6da",
];

#[test]
fn a_fifo_message_has_its_number_group_and_attributes() {
    let delivery = delivery(EVENT);
    assert_eq!(delivery.kind, EventKind::SqsFifo);
    let queue = &delivery.partitions[0];
    assert_eq!(&**queue.name(), "fifo.fifo");
    assert_eq!(
        entries(&delivery),
        ["18849496460467696128 1 {\"a\": \"é\"}"]
    );
    let entry = queue.entries().next().expect("one");
    assert_eq!(entry.timestamp(), Some(1_573_251_510_774));
    assert_eq!(entry.receives(), Some(1));
    assert_eq!(entry.headers().collect::<Vec<_>>(), [("k", &b"v"[..])]);
    assert_eq!(entry.id(), Some("11d6ee51-4cc7-4302-9e22-7cd8afdaadf5"));
}

#[test]
fn a_message_s_trace_is_a_header_behind_its_attributes() {
    let event = EVENT.replace(
        r#""SenderId""#,
        r#""AWSTraceHeader":"Root=1-5759e988;Sampled=1","SenderId""#,
    );
    let delivery = delivery(&event);
    let entry = delivery.partitions[0].entries().next().expect("one");
    let headers: Vec<_> = entry.headers().collect();
    let trace = ("AWSTraceHeader", &b"Root=1-5759e988;Sampled=1"[..]);
    assert_eq!(headers, [("k", &b"v"[..]), trace]);
}

#[test]
fn groups_are_in_the_order_of_the_queue_s_numbers() {
    let event = records(&[
        fifo_message("a", "g1", 3),
        fifo_message("b", "g1", 10),
        fifo_message("c", "g2", 7),
    ]);
    let delivery = delivery(&event);
    let ids: Vec<_> = delivery.partitions[0]
        .entries()
        .map(|entry| entry.id())
        .collect();
    assert_eq!(ids, [Some("a"), Some("c"), Some("b")]);
}

#[test]
fn a_standard_queue_s_message_is_its_id_and_has_no_key() {
    let mut grouped = sqs_message(IDS[0], "one");
    // Fair queues are standard queues with groups.
    grouped["attributes"]["MessageGroupId"] = json!("tenant");
    let delivery = delivery(&records(&[grouped, sqs_message(IDS[1], "")]));
    assert_eq!(delivery.kind, EventKind::Sqs);
    assert!(!delivery.kind.is_ordered());
    assert_eq!(
        entries(&delivery),
        [
            format!("{} - one", 0x059f36b4_87a3_44ab_83d2_661975830a7d_u128),
            format!("{} - ", 0x2e1424d4_f796_459a_8184_9c92662be6da_u128),
        ]
    );
    let receives: Vec<_> = delivery.partitions[0]
        .entries()
        .map(|e| e.receives())
        .collect();
    assert_eq!(receives, [Some(3), Some(3)]);
}

#[test]
fn an_id_that_is_no_uuid_is_the_beginning_of_its_digest() {
    // SHA-256 of "abc", from FIPS 180-2.
    let digest = 0xba7816bf_8f01cfea_414140de_5dae2223_u128;
    let position = identity("abc").expect("a position");
    assert_eq!(position.to_string(), digest.to_string());
    // Small ones read back as the same too.
    for id in ["00000000-0000-0000-0000-000000000011", IDS[0]] {
        let position = identity(id).expect("a position");
        assert_eq!(position.to_string().parse(), Ok(position));
    }
}

#[test]
fn attributes_of_all_kinds_are_headers() {
    let mut message = sqs_message(IDS[0], "x");
    message["messageAttributes"] = json!({
        "z": {"stringValue": "1", "dataType": "Number"},
        "a": {"binaryValue": base64(b"\xff\x00"), "stringValue": null, "dataType": "Binary"},
        "": {"dataType": "String"},
    });
    message["md5OfMessageAttributes"] = json!("e4e68fb7bd0e697a0ae8f1bb342846b3");
    let event = records(&[message]);
    let delivery = delivery(&event);
    let entry = delivery.partitions[0].entries().next().expect("one");
    let mut headers: Vec<_> = entry.headers().collect();
    headers.sort_unstable();
    assert_eq!(headers, [("", &b""[..]), ("a", b"\xff\x00"), ("z", b"1")]);
}

#[test]
fn what_the_service_leaves_out_is_not_missed() {
    let mut message = sqs_message(IDS[0], "x");
    for field in [
        "messageAttributes",
        "md5OfMessageAttributes",
        "attributes",
        "md5OfBody",
    ] {
        message.as_object_mut().expect("fields").remove(field);
    }
    let delivery = delivery(&records(&[message]));
    let entry = delivery.partitions[0].entries().next().expect("one");
    assert_eq!((entry.timestamp(), entry.receives()), (None, None));
}

#[test]
fn what_two_messages_share_is_refused() {
    let twice = |id: &str, partition: &str| EventError::Twice {
        partition: partition.to_owned(),
        id: id.to_owned(),
    };
    let upper = IDS[1].to_uppercase();
    let standard = records(&[
        sqs_message(IDS[1], "x"),
        sqs_message(IDS[0], "y"),
        sqs_message(&upper, "z"),
    ]);
    assert_eq!(error(&standard), twice(IDS[1], "orders"));
    let id = records(&[fifo_message("a", "g", 1), fifo_message("a", "g", 2)]);
    assert_eq!(error(&id), twice("a", "orders.fifo"));
    let number = records(&[fifo_message("a", "g", 1), fifo_message("b", "h", 1)]);
    assert_eq!(error(&number), twice("a", "orders.fifo"));
}
