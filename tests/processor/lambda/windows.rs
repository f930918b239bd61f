//! Tumbling windows: what state a mapping is answered, whatever fails, is lost or comes again.

use super::world::{Say, World, failure, kinesis, kinesis_record, named, sequence};
use lanekeeper::{
    Failure,
    lambda::{Aggregated, Answer, Entry, Window, aggregate},
};
use partitions::Then;
use serde_json::{Value, json};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

/// Values of the records that were taken in, in order; what came to the end of windows.
type Log = Vec<String>;
type Ends = Arc<Mutex<Vec<(Value, bool)>>>;

/// One try of a record that is to wait fits into an invocation.
fn patient() -> World {
    let mut world = World::new();
    world.settings.failure.backoff_max = Duration::from_secs(3_600);
    world
}

/// A world whose windows keep a list of the records' values, and note their ends.
fn world() -> (World, Ends) {
    let ends = Ends::default();
    let noted = Arc::clone(&ends);
    let mut world = patient();
    world.aggregate = Some(Arc::new(Aggregated(aggregate(
        |log: &mut Log, record: Entry<'_>| {
            let value = record.value().unwrap_or_default();
            log.push(String::from_utf8_lossy(value).into_owned());
        },
        move |window: Window, log: Log| {
            let noted = Arc::clone(&noted);
            async move {
                noted
                    .lock()
                    .expect("sound")
                    .push((json!(log), window.is_terminated_early));
                match log.first().map(String::as_str) {
                    Some("unfit") => Err(Failure::retry("no")),
                    Some("slow") => std::future::pending().await,
                    Some(_) | None => Ok(()),
                }
            }
        },
    ))));
    (world, ends)
}

/// An event of a window, with this state.
fn windowed(mut event: Value, state: &Value, is_final: bool) -> Value {
    event["window"] = json!({"start": "2026-11-30T17:00:00Z", "end": "2026-11-30T17:05:00Z"});
    event["state"] = state.clone();
    event["shardId"] = json!(super::world::SHARD);
    event["eventSourceARN"] = json!(super::world::ARN);
    event["isFinalInvokeForWindow"] = json!(is_final);
    event["isWindowTerminatedEarly"] = json!(false);
    event
}

fn state(answer: &Answer) -> Value {
    let Answer::Body(body) = answer else {
        panic!("it fails: {}", failure(answer));
    };
    let body: Value = serde_json::from_slice(body).expect("JSON");
    body["state"].clone()
}

async fn invoke(world: &World, event: &Value) -> Answer {
    let answer = world.try_invoke(&world.function(), event, 60).await;
    answer.expect("it starts")
}

const BATCH: [(u64, &str, &str); 5] = [
    (1, "a", "a1"),
    (2, "b", "b1"),
    (3, "a", "a2"),
    (4, "b", "b2"),
    (5, "c", "c1"),
];

/// What is before the place from which the mapping goes on is in the state, once, and nothing behind it,
/// although other lanes are done there.
#[tokio::test(start_paused = true)]
async fn k30_the_state_is_as_of_the_record_that_is_named() {
    let (world, _) = world();
    world.says("a2", &[Say::Later]);
    let answer = invoke(&world, &windowed(kinesis(&BATCH), &json!({}), false)).await;
    assert_eq!(named(&answer), [sequence(3)]);
    assert_eq!(state(&answer), json!(["a1", "b1"]));
    assert_eq!(world.calls().len(), 5, "b2 and c1 are done");
    // What comes again is in the state once, though marks keep it from running.
    tokio::time::advance(Duration::from_secs(3_600)).await;
    let again = windowed(kinesis(&BATCH[2..]), &state(&answer), false);
    let answer = invoke(&world, &again).await;
    assert_eq!(named(&answer), Vec::<Value>::new());
    assert_eq!(state(&answer), json!(["a1", "b1", "a2", "b2", "c1"]));
    assert_eq!(world.calls(), ["a2"]);
}

/// The mapping has the old state and brings the old batch: the answer is the same again.
#[tokio::test(start_paused = true)]
async fn an_answer_that_was_lost_is_given_again_with_the_same_state() {
    let (world, _) = world();
    let event = windowed(kinesis(&BATCH), &json!(["before"]), false);
    let first = invoke(&world, &event).await;
    assert_eq!(world.calls().len(), 5);
    let again = invoke(&world, &event).await;
    assert_eq!(world.calls(), Vec::<String>::new());
    assert_eq!(first, again);
    assert_eq!(
        state(&again),
        json!(["before", "a1", "b1", "a2", "b2", "c1"])
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_parked_is_in_the_state_since_the_mapping_does_not_bring_it_again() {
    let (world, _) = world();
    let world = world.then(Then::Park);
    world.always("a1", Say::Reject);
    let answer = invoke(&world, &windowed(kinesis(&BATCH), &json!({}), false)).await;
    assert_eq!(named(&answer), Vec::<Value>::new());
    assert_eq!(state(&answer), json!(["a1", "b1", "a2", "b2", "c1"]));
}

#[tokio::test(start_paused = true)]
async fn without_an_aggregate_the_state_stays_byte_for_byte_and_failures_are_named() {
    let world = patient();
    world.says("a2", &[Say::Later]);
    let event = windowed(kinesis(&BATCH), &json!({}), false).to_string();
    let event = event.replace("\"state\":{}", "\"state\": {\"b\": 1.50, \"a\" :\"ä\"}");
    let payload: &serde_json::value::RawValue = serde_json::from_str(&event).expect("JSON");
    let Ok(lanekeeper::lambda::Event::Delivery(delivery)) =
        lanekeeper::lambda::decode(payload.get().as_bytes())
    else {
        panic!("no delivery");
    };
    let left = Duration::from_secs(60);
    let function = world.function();
    let invoked = function
        .invoke(&"orders".into(), Arc::new(delivery), left)
        .await;
    let Answer::Body(body) = invoked.expect("it starts").answer else {
        panic!("no body");
    };
    let expected = format!(
        r#"{{"state":{{"b": 1.50, "a" :"ä"}},"batchItemFailures":[{{"itemIdentifier":"{}"}}]}}"#,
        sequence(3)
    );
    assert_eq!(String::from_utf8_lossy(&body), expected);
}

#[tokio::test(start_paused = true)]
async fn k31_the_last_invocation_may_bring_nothing_and_ends_the_window() {
    let (world, ends) = world();
    let mut last = windowed(kinesis(&[]), &json!(["a1"]), true);
    last["isWindowTerminatedEarly"] = json!(true);
    let answer = invoke(&world, &last).await;
    assert_eq!((named(&answer), state(&answer)), (vec![], json!(["a1"])));
    assert_eq!(*ends.lock().expect("sound"), [(json!(["a1"]), true)]);
    // One in which nothing came.
    let answer = invoke(&world, &windowed(kinesis(&[]), &json!({}), true)).await;
    assert_eq!(state(&answer), json!([]));
}

#[tokio::test(start_paused = true)]
async fn the_last_invocation_with_records_takes_them_in_before_the_end_or_fails() {
    let (world, ends) = world();
    world.says("a2", &[Say::Later]);
    let last = windowed(kinesis(&BATCH), &json!(["before"]), true);
    let why = failure(&invoke(&world, &last).await);
    assert!(
        why.contains("1 of the 5 records") && why.contains("comes again"),
        "{why}"
    );
    assert!(ends.lock().expect("sound").is_empty());
    tokio::time::advance(Duration::from_secs(3_600)).await;
    let answer = invoke(&world, &last).await;
    let all = json!(["before", "a1", "b1", "a2", "b2", "c1"]);
    assert_eq!(state(&answer), all);
    assert_eq!(*ends.lock().expect("sound"), [(all, false)]);
}

#[tokio::test(start_paused = true)]
async fn without_an_aggregate_the_last_invocation_names_its_failures_as_well() {
    let world = patient();
    world.says("a2", &[Say::Later]);
    let last = windowed(kinesis(&BATCH), &json!({"as": "it came"}), true);
    let answer = invoke(&world, &last).await;
    assert_eq!(named(&answer), [sequence(3)]);
    assert_eq!(state(&answer), json!({"as": "it came"}));
}

/// No page of AWS says that the list is there where nothing came.
#[tokio::test(start_paused = true)]
async fn the_last_invocation_may_have_no_list_at_all() {
    let (world, ends) = world();
    for records in [None, Some(Value::Null)] {
        let mut last = windowed(json!({}), &json!(["a1"]), true);
        if let Some(records) = records {
            last["Records"] = records;
        }
        assert_eq!(state(&invoke(&world, &last).await), json!(["a1"]));
    }
    assert_eq!(ends.lock().expect("sound").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_end_that_fails_or_takes_too_long_fails_the_invocation() {
    let (world, ends) = world();
    let end = |first: &str| windowed(kinesis(&[]), &json!([first]), true);
    let why = failure(&invoke(&world, &end("unfit")).await);
    assert!(
        why.contains("the window's end failed") && why.ends_with("no"),
        "{why}"
    );
    let why = failure(&invoke(&world, &end("slow")).await);
    assert!(why.contains("59.5s"), "{why}");
    assert_eq!(ends.lock().expect("sound").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_state_that_a_mapping_does_not_keep_is_refused_by_name() {
    let (world, _) = world();
    let with = |bytes: usize| {
        let long = "x".repeat(bytes - r#"["","a1"]"#.len());
        windowed(kinesis(&[(1, "a", "a1")]), &json!([long]), false)
    };
    let answer = invoke(&world, &with(1_048_576)).await;
    assert_eq!(state(&answer)[1], "a1");
    let why = failure(&invoke(&world, &with(1_048_577)).await);
    for part in [
        "1048577 bytes",
        "the shard stands",
        "TumblingWindowInSeconds",
    ] {
        assert!(why.contains(part), "{why}");
    }
    let event = windowed(kinesis(&[(1, "a", "a1")]), &json!({"other": 1}), false);
    let why = failure(&invoke(&world, &event).await);
    assert!(why.contains("not of the type"), "{why}");
}

/// All of an aggregate comes again where one of its records is unfinished.
#[tokio::test(start_paused = true)]
async fn an_aggregate_is_taken_in_as_a_whole_or_not_at_all() {
    let (world, _) = world();
    world.says("b", &[Say::Later]);
    let aggregated = |key: &str| {
        let inner = [("a", "a"), ("b", "b")];
        let (mut table, mut records) = (Vec::new(), Vec::new());
        for (n, (of, value)) in inner.iter().enumerate() {
            table.extend([&[0x0a, 1][..], of.as_bytes()].concat());
            let record = [
                &[0x08, u8::try_from(n).expect("few"), 0x1a, 1][..],
                value.as_bytes(),
            ];
            let record = record.concat();
            records.extend(
                [
                    &[0x1a, u8::try_from(record.len()).expect("short")][..],
                    &record,
                ]
                .concat(),
            );
        }
        let body = [table, records].concat();
        use md5::{Digest as _, Md5};
        let data = [&[0xf3, 0x89, 0x9a, 0xc2][..], &body, &Md5::digest(&body)].concat();
        kinesis_record(&sequence(2), key, &data)
    };
    let mut event = kinesis(&[(1, "z", "first")]);
    event["Records"]
        .as_array_mut()
        .expect("a list")
        .push(aggregated("a"));
    let answer = invoke(&world, &windowed(event, &json!({}), false)).await;
    assert_eq!(named(&answer), [sequence(2)]);
    assert_eq!(state(&answer), json!(["first"]));
    tokio::time::advance(Duration::from_secs(3_600)).await;
    let again = json!({"Records": [aggregated("a")]});
    let answer = invoke(&world, &windowed(again, &state(&answer), false)).await;
    assert_eq!(state(&answer), json!(["first", "a", "b"]));
}

/// A mapping that does not look for failures takes any answer for success.
#[tokio::test(start_paused = true)]
async fn where_failures_are_not_reported_the_invocation_fails_and_the_state_stays() {
    let (mut world, _) = world();
    world.reports_failures = false;
    world.says("a2", &[Say::Later]);
    let event = windowed(kinesis(&BATCH), &json!({}), false);
    let why = failure(&invoke(&world, &event).await);
    assert!(why.contains("reports_failures"), "{why}");
    tokio::time::advance(Duration::from_secs(3_600)).await;
    let answer = invoke(&world, &event).await;
    assert_eq!(state(&answer), json!(["a1", "b1", "a2", "b2", "c1"]));
}
