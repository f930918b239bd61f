//! The mapping of a stream: batches, retries, halving, ages, and what becomes of what it gives up.

use crate::stubs::{answering, outlasting, throwing, throwing_at};
use lanekeeper_integration::lambda::{
    Function, Journal, Mapping, OnFailure, Outcome, Put, Stream, Verdict, Why,
};
use serde_json::{Value, json};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

fn stream(count: usize) -> Stream {
    let stream = Stream::new("orders", 1);
    for number in 1..=count {
        stream.put("key", &number.to_string()).unwrap();
    }
    stream
}

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    keys.sort_unstable();
    keys
}

#[test]
fn the_event_is_as_recorded() {
    let stream = stream(1);
    let journal = Mapping::kinesis(&answering("null"), &stream).run().unwrap();
    let event: Value = serde_json::from_str(&journal.deliveries[0].event).unwrap();
    let record = &event["Records"][0];
    let number = &journal.deliveries[0].items[0].id;
    assert_eq!(keys(&event), ["Records"]);
    let expected = json!({
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": "key",
            "sequenceNumber": number,
            "data": "MQ==",
            "approximateArrivalTimestamp": record["kinesis"]["approximateArrivalTimestamp"],
        },
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": format!("shardId-000000000000:{number}"),
        "eventName": "aws:kinesis:record",
        "invokeIdentityArn": "arn:aws:iam::000000000000:role/lanekeeper-test",
        "awsRegion": "us-east-1",
        "eventSourceARN": "arn:aws:kinesis:us-east-1:000000000000:stream/orders",
    });
    assert_eq!(*record, expected);
    let arrival = &record["kinesis"]["approximateArrivalTimestamp"];
    assert!(
        arrival.is_f64() && arrival.as_f64() > Some(1.7e9),
        "{arrival}"
    );
}

#[test]
fn k13_a_record_without_a_key_has_none_in_the_event() {
    let stream = Stream::new("orders", 2);
    stream
        .put_record(Put::without_key("a").into_shard(1))
        .unwrap();
    let journal = Mapping::kinesis(&answering("null"), &stream).run().unwrap();
    assert!(!journal.deliveries[0].event.contains("partitionKey"));
    assert_eq!(journal.deliveries[0].source, "shardId-000000000001");
}

#[test]
fn k6_a_batch_is_of_its_size() {
    let mapping = Mapping::kinesis(&answering("null"), &stream(7)).batch_size(3);
    let sizes: Vec<usize> = mapping
        .run()
        .unwrap()
        .batches()
        .iter()
        .map(Vec::len)
        .collect();
    assert_eq!(sizes, [3, 3, 1]);
}

#[test]
fn k6_a_batch_holds_six_megabytes() {
    let stream = Stream::new("orders", 1);
    for _ in 0..6 {
        stream
            .put_record(Put::new("key", vec![b'x'; 1 << 20]))
            .unwrap();
    }
    let journal = Mapping::kinesis(&answering("null"), &stream).run().unwrap();
    let sizes: Vec<usize> = journal.batches().iter().map(Vec::len).collect();
    assert_eq!(sizes, [4, 2], "of 1 MiB each, which base64 makes 4 / 3");
    let largest = journal.deliveries.iter().map(|d| d.event.len()).max();
    assert!(largest <= Some(6 << 20), "{largest:?}");
}

#[test]
fn k7_a_record_that_no_event_can_hold_is_given_up() {
    let stream = Stream::new("orders", 1);
    for bytes in [1, 5 << 20, 1] {
        stream
            .put_record(Put::new("key", vec![b'x'; bytes]))
            .unwrap();
    }
    let mapping = Mapping::kinesis(&answering("null"), &stream).on_failure(OnFailure::Queue);
    let journal = mapping.run().unwrap();
    assert_eq!(journal.batches(), [["x"], ["x"]]);
    let [record] = &journal.destinations[..] else {
        unreachable!("{:?}", journal.destinations);
    };
    assert_eq!(
        record["requestContext"]["condition"],
        "MaximumPayloadSizeExceeded"
    );
    assert_eq!(record["responseContext"], Value::Null);
}

#[test]
fn k6_a_window_gathers_from_the_end_of_the_last_invocation_on() {
    let stream = stream(1);
    let window = Duration::from_secs(20);
    let mapping = Mapping::kinesis(&answering("null"), &stream)
        .window(window)
        .batch_size(3);
    let before = stream.clock().now();
    let running = mapping.start().unwrap();
    running.until_idle().unwrap();
    let began = running.journal().deliveries[0].began;
    assert!(began >= before + window, "it was not full");
    let more = ["2", "3", "4"].map(|text| Put::new("key", text));
    stream.put_all(more).unwrap();
    running.until_idle().unwrap();
    let journal = running.stop().unwrap();
    assert_eq!(journal.batches(), [&["1"][..], &["2", "3", "4"]]);
}

#[test]
fn k6_what_came_during_an_invocation_waits_for_a_window_of_its_own() {
    let stream = stream(4);
    let function = outlasting(stream.clock(), MINUTE, 1);
    let window = Duration::from_secs(20);
    let mapping = Mapping::kinesis(&function, &stream);
    let journal = mapping.window(window).batch_size(3).run().unwrap();
    assert_eq!(journal.batches(), [&["1", "2", "3"][..], &["4"]]);
    let end = journal.deliveries[0].end.as_ref().unwrap().at;
    assert!(journal.deliveries[1].began >= end + window);
}

#[test]
fn k16_so_many_retries_follow_the_first_try() {
    for (retries, invocations) in [(0, 1), (1, 2), (2, 3)] {
        let mapping = Mapping::kinesis(&throwing(), &stream(1)).retries(retries);
        let journal = mapping.on_failure(OnFailure::Queue).run().unwrap();
        assert_eq!(journal.deliveries.len(), invocations);
        let context = &journal.destinations[0]["requestContext"];
        assert_eq!(context["approximateInvokeCount"], invocations);
    }
}

#[test]
fn k16_what_was_given_up_does_not_keep_what_follows() {
    let journal = Mapping::kinesis(&throwing_at(&["2"]), &stream(3)).batch_size(1);
    let journal = journal.retries(1).run().unwrap();
    assert_eq!(journal.batches(), [["1"], ["2"], ["2"], ["3"]]);
    assert_eq!(journal.lost(Why::RetryAttemptsExhausted), ["2"]);
}

#[test]
fn k14_without_limits_a_batch_blocks_its_shard_until_the_stream_forgets_it() {
    let stream = stream(1);
    stream.keep_for(10 * MINUTE);
    let mapping = Mapping::kinesis(&throwing_at(&["1"]), &stream).batch_size(1);
    let running = mapping.start().unwrap();
    stream.put("key", "2").unwrap();
    running.until_idle().unwrap();
    let journal = running.stop().unwrap();
    let tries = journal.deliveries_of("1").len();
    assert!(tries > 10, "{tries}");
    assert_eq!(journal.lost(Why::Retention)[0], "1");
    assert!(journal.destinations.is_empty());
}

#[test]
fn what_was_done_and_not_heard_of_comes_again() {
    let function = answering("null");
    function.lose_next(1);
    let journal = Mapping::kinesis(&function, &stream(2)).run().unwrap();
    assert_eq!(journal.batches(), [["1", "2"]; 2]);
    assert_eq!(journal.verdicts(), [&Verdict::Failure, &Verdict::Success]);
}

#[test]
fn k18_a_batch_that_always_fails_is_invoked_eight_times_in_a_minute() {
    let mapping = Mapping::kinesis(&throwing(), &stream(1)).record_age(MINUTE);
    let journal = mapping.on_failure(OnFailure::Queue).run().unwrap();
    assert_eq!(journal.deliveries.len(), 8);
    let [record] = &journal.destinations[..] else {
        unreachable!("{:?}", journal.destinations);
    };
    let context = &record["requestContext"];
    assert_eq!(context["condition"], "RecordAgeExceeded");
    assert_eq!(context["approximateInvokeCount"], 8);
}

#[test]
fn k15_a_throttle_uses_up_no_retry() {
    let function = throwing();
    function.throttle_next(3);
    let mapping = Mapping::kinesis(&function, &stream(1)).retries(1);
    let journal = mapping.on_failure(OnFailure::Queue).run().unwrap();
    let (throttled, failed) = (&Verdict::Throttled, &Verdict::Failure);
    assert_eq!(
        journal.verdicts(),
        [throttled, throttled, throttled, failed, failed]
    );
    assert_eq!(journal.deliveries_of("1").len(), 2);
    let context = &journal.destinations[0]["requestContext"];
    assert_eq!(context["approximateInvokeCount"], 2);
}

#[test]
fn k15_a_throttle_does_not_stop_the_age() {
    let function = answering("null");
    function.throttle_next(1000);
    let mapping = Mapping::kinesis(&function, &stream(1)).record_age(MINUTE);
    let journal = mapping.on_failure(OnFailure::Queue).run().unwrap();
    assert!(journal.verdicts().iter().all(|v| **v == Verdict::Throttled));
    let context = &journal.destinations[0]["requestContext"];
    assert_eq!(context["condition"], "RecordAgeExceeded");
    assert_eq!(
        context["approximateInvokeCount"], 1,
        "although there was none"
    );
}

#[test]
fn k19_a_failed_batch_is_halved_down_to_the_record_that_fails() {
    let mapping = Mapping::kinesis(&throwing_at(&["3"]), &stream(4))
        .bisects()
        .retries(1);
    let journal = mapping.on_failure(OnFailure::Queue).run().unwrap();
    let expected = [
        &["1", "2", "3", "4"][..],
        &["1", "2"],
        &["3", "4"],
        &["3"],
        &["3"],
        &["4"],
    ];
    assert_eq!(journal.batches(), expected, "splitting uses up no retry");
    assert_eq!(journal.destinations.len(), 1);
    assert_eq!(journal.destinations[0]["KinesisBatchInfo"]["batchSize"], 1);
}

#[test]
fn k26_of_a_batch_the_aged_record_alone_is_given_up() {
    let stream = Stream::new("orders", 1);
    stream
        .put_record(Put::new("key", "old").aged(2 * MINUTE))
        .unwrap();
    for number in 1..=5 {
        stream.put("key", &number.to_string()).unwrap();
    }
    let mapping = Mapping::kinesis(&answering("null"), &stream).record_age(MINUTE);
    let journal = mapping.on_failure(OnFailure::Queue).run().unwrap();
    assert_eq!(journal.batches(), [["1", "2", "3", "4", "5"]]);
    let [record] = &journal.destinations[..] else {
        unreachable!("{:?}", journal.destinations);
    };
    assert_eq!(record["requestContext"]["condition"], "RecordAgeExceeded");
    assert_eq!(record["KinesisBatchInfo"]["batchSize"], 1);
}

fn given_up(on_failure: OnFailure) -> Journal {
    let stream = Stream::new("orders", 1);
    let number = |number| Put::new("key", "a").numbered(number);
    stream.put_record(number("9")).unwrap();
    stream.put_record(number("10")).unwrap();
    let mapping = Mapping::kinesis(&throwing(), &stream).retries(1);
    mapping.on_failure(on_failure).run().unwrap()
}

#[test]
fn k27_the_record_at_the_destination_is_as_recorded() {
    let journal = given_up(OnFailure::Queue);
    let mut record = journal.destinations[0].clone();
    for time in [
        record["timestamp"].take(),
        record["KinesisBatchInfo"]["approximateArrivalOfFirstRecord"].take(),
        record["KinesisBatchInfo"]["approximateArrivalOfLastRecord"].take(),
    ] {
        let time = time.as_str().unwrap();
        assert!(time.len() == 24 && time.ends_with('Z'), "{time}");
    }
    let id = record["requestContext"]["requestId"].take();
    assert_eq!(id.as_str().unwrap().len(), 36);
    let expected = json!({
        "requestContext": {
            "requestId": null,
            "functionArn": "arn:aws:lambda:us-east-1:000000000000:function:lanekeeper-test",
            "condition": "RetryAttemptsExhausted",
            "approximateInvokeCount": 2,
        },
        "responseContext": {
            "statusCode": 200,
            "executedVersion": "$LATEST",
            "functionError": "Unhandled",
        },
        "version": "1.0",
        "timestamp": null,
        "KinesisBatchInfo": {
            "shardId": "shardId-000000000000",
            "startSequenceNumber": "9",
            "endSequenceNumber": "10",
            "approximateArrivalOfFirstRecord": null,
            "approximateArrivalOfLastRecord": null,
            "batchSize": 2,
            "streamArn": "arn:aws:kinesis:us-east-1:000000000000:stream/orders",
        },
    });
    assert_eq!(record, expected);
}

#[test]
fn k27_of_what_has_aged_there_is_no_response_context_at_all() {
    let stream = Stream::new("orders", 1);
    stream
        .put_record(Put::new("key", "old").aged(2 * MINUTE))
        .unwrap();
    let mapping = Mapping::kinesis(&answering("null"), &stream).record_age(MINUTE);
    let journal = mapping.on_failure(OnFailure::Queue).run().unwrap();
    assert!(journal.deliveries.is_empty());
    let record = &journal.destinations[0];
    let expected = ["KinesisBatchInfo", "requestContext", "timestamp", "version"];
    assert_eq!(keys(record), expected);
    assert_eq!(record["requestContext"]["approximateInvokeCount"], 1);
}

#[test]
fn k28_a_bucket_gets_the_event_and_a_queue_does_not() {
    let journal = given_up(OnFailure::Bucket);
    let payload = journal.destinations[0]["payload"].as_str().unwrap();
    assert_eq!(payload, &*journal.deliveries[0].event);
    assert!(given_up(OnFailure::Queue).destinations[0]["payload"].is_null());
}

#[test]
fn k29_what_cannot_be_told_is_lost() {
    for nowhere in [OnFailure::Unreachable, OnFailure::Nothing] {
        let journal = given_up(nowhere);
        assert!(journal.destinations.is_empty());
        assert_eq!(journal.lost(Why::RetryAttemptsExhausted), ["a", "a"]);
    }
}

#[test]
fn a_stub_that_panics_ends_the_mapping() {
    let function = Function::stub(|_| unreachable!("as asked for"));
    let error = Mapping::kinesis(&function, &stream(1)).run().err().unwrap();
    assert!(error.to_string().contains("has panicked"), "{error}");
}

#[test]
fn settings_that_lambda_refuses_are_refused() {
    let (function, stream) = (Function::stub(|_| Outcome::text("null")), stream(1));
    let mapping = || Mapping::kinesis(&function, &stream);
    for refused in [
        mapping().batch_size(0),
        mapping().batch_size(10_001),
        mapping().window(5 * MINUTE + Duration::from_secs(1)),
        mapping().parallelization(11),
        mapping().retries(10_001),
        mapping().record_age(Duration::from_secs(59)),
    ] {
        let error = refused.start().err().unwrap().to_string();
        assert!(
            error.starts_with("InvalidParameterValueException"),
            "{error}"
        );
    }
}
