use crate::{
    Position, kpl,
    lambda::{
        EventError, EventKind, Unpacked,
        sample::{STREAM, delivery, entries, error, kinesis_record, records},
    },
};
use serde_json::json;

/// As the service sent it, unencrypted.
const EVENT: &str = r#"{"Records":[{"kinesis":{"kinesisSchemaVersion":"1.0","partitionKey":"1","sequenceNumber":"49590338271490256608559692538361571095921575989136588898","data":"SGVsbG8sIHRoaXMgaXMgYSB0ZXN0Lg==","approximateArrivalTimestamp":1545084650.987},"eventSource":"aws:kinesis","eventVersion":"1.0","eventID":"shardId-000000000006:49590338271490256608559692538361571095921575989136588898","eventName":"aws:kinesis:record","invokeIdentityArn":"arn:aws:iam::123456789012:role/lambda-kinesis-role","awsRegion":"us-east-2","eventSourceARN":"arn:aws:kinesis:us-east-2:123456789012:stream/lambda-stream"},{"kinesis":{"kinesisSchemaVersion":"1.0","partitionKey":"1","sequenceNumber":"49590338271490256608559692540925702759324208523137515618","data":"VGhpcyBpcyBvbmx5IGEgdGVzdC4=","approximateArrivalTimestamp":1545084711.166},"eventSource":"aws:kinesis","eventVersion":"1.0","eventID":"shardId-000000000006:49590338271490256608559692540925702759324208523137515618","eventName":"aws:kinesis:record","invokeIdentityArn":"arn:aws:iam::123456789012:role/lambda-kinesis-role","awsRegion":"us-east-2","eventSourceARN":"arn:aws:kinesis:us-east-2:123456789012:stream/lambda-stream"}]}"#;

fn number(n: u64) -> String {
    format!("495903382714902566085596925383615710959215{n:014}")
}

#[test]
fn a_shard_s_records_have_place_key_payload_and_time() {
    let delivery = delivery(EVENT);
    assert_eq!(delivery.kind, EventKind::Kinesis);
    assert_eq!(
        delivery.arn.as_deref(),
        Some("arn:aws:kinesis:us-east-2:123456789012:stream/lambda-stream")
    );
    assert_eq!(delivery.partitions.len(), 1);
    let shard = &delivery.partitions[0];
    assert_eq!(&**shard.name(), "shardId-000000000006");
    assert_eq!(
        entries(&delivery),
        [
            "49590338271490256608559692538361571095921575989136588898 1 Hello, this is a test.",
            "49590338271490256608559692540925702759324208523137515618 1 This is only a test.",
        ]
    );
    let times: Vec<_> = shard.entries().map(|entry| entry.timestamp()).collect();
    assert_eq!(times, [Some(1_545_084_650_987), Some(1_545_084_711_166)]);
    assert!(shard.entries().all(|entry| entry.headers().len() == 0));
    assert!(shard.unpacked.is_empty() && shard.not_unpacked.is_empty() && shard.sharing == 0);
}

#[test]
fn what_the_service_leaves_out_or_adds_is_taken_as_it_comes() {
    let mut absent = kinesis_record(&number(1), "a", b"1");
    absent["kinesis"]
        .as_object_mut()
        .expect("fields")
        .remove("partitionKey");
    absent["kinesis"]
        .as_object_mut()
        .expect("fields")
        .remove("approximateArrivalTimestamp");
    let mut null = kinesis_record(&number(2), "a", b"2");
    null["kinesis"]["partitionKey"] = json!(null);
    null["kinesis"]["approximateArrivalTimestamp"] = json!(1545084650);
    let mut encrypted = kinesis_record(&number(3), "a", b"");
    encrypted["kinesis"]["encryptionType"] = json!("KMS");
    encrypted["later"] = json!([{"a": 1}]);
    let delivery = delivery(&records(&[absent, null, encrypted]));
    let without_number: Vec<String> = entries(&delivery)
        .iter()
        .map(|entry| entry[56..].to_owned())
        .collect();
    assert_eq!(without_number, [" - 1", " - 2", " a "]);
    let times: Vec<_> = delivery.partitions[0]
        .entries()
        .map(|entry| entry.timestamp())
        .collect();
    assert_eq!(
        times,
        [None, Some(1_545_084_650_000), Some(1_545_084_650_987)]
    );
}

#[test]
fn a_consumer_s_arn_is_kept_and_its_stream_s_is_known() {
    let mut record = kinesis_record(&number(1), "a", b"1");
    let consumer = format!("{STREAM}/consumer/billing:1545084650");
    record["eventSourceARN"] = json!(consumer);
    let fan_out = delivery(&records(&[record]));
    assert_eq!(fan_out.arn.as_deref(), Some(&*consumer));
    assert_eq!(fan_out.source_arn(), Some(STREAM));
    let plain = delivery(&records(&[kinesis_record(&number(1), "a", b"1")]));
    assert_eq!(plain.source_arn(), Some(STREAM));
}

#[test]
fn numbers_are_ordered_as_numbers_whatever_the_event_s_order() {
    let event = records(&[
        kinesis_record("100000000000000000000", "a", b"second"),
        kinesis_record("99999999999999999999", "a", b"first"),
    ]);
    assert_eq!(
        entries(&delivery(&event)),
        [
            "99999999999999999999 a first",
            "100000000000000000000 a second"
        ]
    );
}

#[test]
fn records_that_share_a_number_count_within_it() {
    let shared = number(2);
    let event = records(&[
        kinesis_record(&number(1), "a", b"alone"),
        kinesis_record(&shared, "a", b"0"),
        // What the mapping read apart is not read apart again.
        kinesis_record(&shared, "a", &kpl::tests::bytes(kpl::tests::FIVE)),
        kinesis_record(&shared, "b", b"2"),
        kinesis_record(&number(3), "a", b"alone too"),
    ]);
    let delivery = delivery(&event);
    let shard = &delivery.partitions[0];
    let subs: Vec<_> = shard
        .entries()
        .map(|entry| entry.position().sub())
        .collect();
    assert_eq!(subs, [None, Some(0), Some(1), Some(2), None]);
    assert_eq!(shard.sharing, 3);
    assert!(shard.unpacked.is_empty());
}

#[test]
fn one_number_in_two_places_is_refused() {
    for between in [number(1), number(3)] {
        let two = kinesis_record(&number(2), "a", b"x");
        let event = records(&[two.clone(), kinesis_record(&between, "a", b"y"), two]);
        assert_eq!(
            error(&event),
            EventError::Twice {
                partition: "shardId-000000000006".to_owned(),
                id: number(2),
            }
        );
    }
}

#[test]
fn an_aggregate_s_number_is_no_other_record_s() {
    let five = kpl::tests::bytes(kpl::tests::FIVE);
    let aggregate = kinesis_record("20", "alice", &five);
    let other = kinesis_record("21", "alice", b"x");
    let plain = kinesis_record("20", "alice", b"x");
    for event in [
        [&aggregate, &other, &plain],
        [&plain, &other, &aggregate],
        [&aggregate, &other, &aggregate],
    ] {
        let event = records(&event.map(Clone::clone));
        assert!(matches!(error(&event), EventError::Twice { .. }));
    }
}

#[test]
fn an_aggregate_is_read_apart_and_counts_from_0() {
    let five = kpl::tests::bytes(kpl::tests::FIVE);
    let event = records(&[
        kinesis_record("20", "alice", &five),
        kinesis_record("30", "alice", b"plain"),
    ]);
    let delivery = delivery(&event);
    assert_eq!(
        entries(&delivery),
        [
            "20:0 alice r0",
            "20:1 alice r1",
            "20:2 alice r2",
            "20:3 alice r3",
            "20:4 alice r4",
            "30 alice plain"
        ]
    );
    let unpacked = Unpacked {
        position: Position::sequence("20", None).expect("a number"),
        records: 5,
        mixed_key: None,
    };
    assert_eq!(delivery.partitions[0].unpacked, [unpacked]);
    assert_eq!(delivery.refuse_mixed_keys(), Ok(()));
}

#[test]
fn other_keys_within_an_aggregate_are_a_fact_and_an_error_where_they_are_refused() {
    let mixed = kpl::tests::encode(
        &[b"alice", b"bob"],
        &[],
        &[(0, None, b"1"), (1, None, b"2")],
    );
    let delivery = delivery(&records(&[kinesis_record("20", "alice", &mixed)]));
    assert_eq!(entries(&delivery), ["20:0 alice 1", "20:1 bob 2"]);
    assert_eq!(delivery.partitions[0].unpacked[0].mixed_key, Some(1));
    let refused = delivery
        .refuse_mixed_keys()
        .expect_err("refused")
        .to_string();
    assert!(
        refused.starts_with("record 1 of the 2 in the aggregate at 20"),
        "{refused}"
    );
}

#[test]
fn k13_a_record_without_a_partition_key_is_one_that_its_stream_places_by_itself() {
    let sound = kinesis_record(&number(1), "a", b"1");
    assert_eq!(
        delivery(&records(std::slice::from_ref(&sound))).refuse_unplaced(),
        Ok(())
    );
    let five = kpl::tests::bytes(kpl::tests::FIVE);
    let aggregate = kinesis_record(&number(2), "a", &five);
    let plain = kinesis_record(&number(2), "a", b"2");
    for record in [aggregate, plain] {
        let (mut absent, mut null, mut empty) = (record.clone(), record.clone(), record);
        absent["kinesis"]
            .as_object_mut()
            .expect("fields")
            .remove("partitionKey");
        null["kinesis"]["partitionKey"] = json!(null);
        empty["kinesis"]["partitionKey"] = json!("");
        for second in [absent, null, empty] {
            let delivery = delivery(&records(&[sound.clone(), second]));
            let unplaced = EventError::Unplaced {
                partition: delivery.partitions[0].name().to_string(),
                position: Position::sequence(&number(2), None).expect("sound"),
            };
            assert_eq!(delivery.refuse_unplaced(), Err(unplaced));
            assert_eq!(
                delivery.refuse_mixed_keys(),
                Ok(()),
                "its keys differ from none"
            );
        }
    }
}

#[test]
fn what_only_begins_like_an_aggregate_stays_as_it_came() {
    let index = kpl::tests::bytes(kpl::tests::INDEX);
    let event = records(&[
        kinesis_record("20", "a", &index),
        kinesis_record("21", "a", b"\xf3\x89\x9a\xc2"),
    ]);
    let delivery = delivery(&event);
    let shard = &delivery.partitions[0];
    let values: Vec<_> = shard.entries().map(|entry| entry.value()).collect();
    assert_eq!(values, [Some(&index[..]), Some(b"\xf3\x89\x9a\xc2")]);
    let why: Vec<_> = { shard.not_unpacked.iter() }
        .map(|record| format!("{}: {}", record.position, record.why))
        .collect();
    assert_eq!(
        why,
        [
            "20: record 1 of it, counted from 0, has entry 1 of `partition_key_table`, which has 1",
            "21: it has 4 bytes, and an aggregate more than 20",
        ]
    );
}
