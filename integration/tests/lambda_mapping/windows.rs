//! Tumbling windows: what the function gets, and what becomes of the state that it answers.

use lanekeeper_integration::lambda::{Function, Journal, Mapping, Outcome, Put, Stream, Verdict};
use serde_json::{Value, json};
use std::time::{Duration, UNIX_EPOCH};

const MINUTE: Duration = Duration::from_secs(60);

/// A record that arrived in the middle of the window of a minute that began so many minutes before this one.
fn in_window(stream: &Stream, text: &str, minutes_ago: u32) -> Put {
    let now = stream.clock().now().duration_since(UNIX_EPOCH).unwrap();
    let into = Duration::from_nanos((now.as_nanos() % MINUTE.as_nanos()) as u64);
    let age = into + MINUTE * minutes_ago;
    Put::new("key", text).aged(age.saturating_sub(MINUTE / 2))
}

/// A function whose state is the list of all texts of the window.
fn listing() -> Function {
    answering(|event, list| json!({"state": list, "batchItemFailures": event["none"]}))
}

/// One that answers what is made of the event and of the list.
fn answering(answer: impl Fn(&Value, Vec<String>) -> Value + Send + Sync + 'static) -> Function {
    Function::stub(move |event| {
        let text = |record: &Value| {
            let data = record["kinesis"]["data"].as_str().unwrap().to_owned();
            data.trim_end_matches('=').to_owned()
        };
        let before = event["state"].as_array().cloned().unwrap_or_default();
        let before = before.iter().map(|text| text.as_str().unwrap().to_owned());
        let records = event["Records"].as_array().unwrap().iter().map(text);
        Outcome::json(&answer(event, before.chain(records).collect()))
    })
}

fn events(journal: &Journal) -> Vec<Value> {
    let events = journal.deliveries.iter();
    events
        .map(|delivery| serde_json::from_str(&delivery.event).unwrap())
        .collect()
}

fn of(events: &[Value], name: &str) -> Vec<Value> {
    events.iter().map(|event| event[name].clone()).collect()
}

#[test]
fn k30_a_window_has_its_state_until_its_last_invocation() {
    let stream = Stream::new("orders", 1);
    // In base64: MQ, Mg, Mw.
    let puts = [("1", 9), ("2", 9), ("3", 5)];
    let puts = puts.map(|(text, minutes)| in_window(&stream, text, minutes));
    stream.put_all(puts).unwrap();
    let mapping = Mapping::kinesis(&listing(), &stream)
        .tumbling(MINUTE)
        .batch_size(1);
    let events = events(&mapping.run().unwrap());
    assert_eq!(
        of(&events, "state"),
        [
            json!({}),
            json!(["MQ"]),
            json!(["MQ", "Mg"]),
            json!({}),
            json!(["Mw"])
        ]
    );
    let finals = [false, false, true, false, true].map(Value::from);
    assert_eq!(of(&events, "isFinalInvokeForWindow"), finals);
    let sizes = events
        .iter()
        .map(|event| event["Records"].as_array().unwrap().len());
    assert_eq!(sizes.collect::<Vec<_>>(), [1, 1, 0, 1, 0]);
    for event in &events {
        assert_eq!(event["shardId"], "shardId-000000000000");
        assert_eq!(event["eventSourceARN"], stream.arn());
        assert_eq!(event["isWindowTerminatedEarly"], false);
        let (start, end) = (&event["window"]["start"], &event["window"]["end"]);
        assert!(
            start.as_str().unwrap().ends_with(":00Z") && start != end,
            "{event}"
        );
    }
    assert_eq!(events[0]["window"], events[2]["window"]);
    assert_ne!(events[2]["window"], events[3]["window"]);
}

#[test]
fn k30_an_answer_without_a_state_is_a_failure() {
    for answer in [json!({}), json!(null), json!({"batchItemFailures": []})] {
        let stream = Stream::new("orders", 1);
        stream.put_all([in_window(&stream, "1", 9)]).unwrap();
        let function = Function::stub(move |_| Outcome::json(&answer));
        let mapping = Mapping::kinesis(&function, &stream)
            .tumbling(MINUTE)
            .reports_failures();
        let journal = mapping.deliveries_max(2).run().unwrap();
        assert_eq!(journal.verdicts(), [&Verdict::Failure; 2]);
    }
}

#[test]
fn k30_failures_are_reported_beside_the_state_that_is_kept() {
    let stream = Stream::new("orders", 1);
    let puts = ["1", "2", "3"].map(|text| in_window(&stream, text, 9));
    stream.put_all(puts).unwrap();
    let function = answering(|event, list| {
        let records = event["Records"].as_array().unwrap();
        if records.len() < 3 {
            return json!({"state": list});
        }
        let id = &records[1]["kinesis"]["sequenceNumber"];
        json!({"state": list[..1], "batchItemFailures": [{"itemIdentifier": id}]})
    });
    let mapping = Mapping::kinesis(&function, &stream)
        .tumbling(MINUTE)
        .reports_failures();
    let journal = mapping.run().unwrap();
    let events = events(&journal);
    assert_eq!(journal.batches()[..2], [&["1", "2", "3"][..], &["2", "3"]]);
    let all = json!(["MQ", "Mg", "Mw"]);
    assert_eq!(of(&events, "state"), [json!({}), json!(["MQ"]), all]);
}

#[test]
fn k31_a_state_that_is_too_large_ends_its_window_early() {
    let stream = Stream::new("orders", 1);
    let puts = ["1", "2"].map(|text| in_window(&stream, text, 9));
    stream.put_all(puts).unwrap();
    let function = answering(|event, list| {
        let is_first = event["state"] == json!({}) && list == ["MQ"];
        let much = if is_first {
            "x".repeat(1_000_000)
        } else {
            "little".to_owned()
        };
        json!({"state": [much]})
    });
    let mapping = Mapping::kinesis(&function, &stream)
        .tumbling(MINUTE)
        .batch_size(1);
    let events = events(&mapping.run().unwrap());
    let finals = [false, true, false, true].map(Value::from);
    assert_eq!(of(&events, "isFinalInvokeForWindow"), finals);
    let early = [false, true, false, false].map(Value::from);
    assert_eq!(of(&events, "isWindowTerminatedEarly"), early);
    assert_eq!(events[2]["state"], json!({}), "what follows begins anew");
}

#[test]
fn k31_a_window_in_which_nothing_comes_is_closed_after_two_minutes() {
    let stream = Stream::new("orders", 1);
    stream.put_all([in_window(&stream, "1", 0)]).unwrap();
    let before = stream.clock().now();
    let mapping = Mapping::kinesis(&listing(), &stream).tumbling(MINUTE);
    let journal = mapping.run().unwrap();
    assert_eq!(journal.deliveries.len(), 2);
    let waited = journal.deliveries[1].began.duration_since(before).unwrap();
    assert!(waited > 2 * MINUTE && waited < 4 * MINUTE, "{waited:?}");
}

#[test]
fn k31_a_last_invocation_that_fails_blocks_its_shard_until_it_succeeds() {
    let stream = Stream::new("orders", 1);
    let puts = [("1", 9), ("2", 5)].map(|(text, minutes)| in_window(&stream, text, minutes));
    stream.put_all(puts).unwrap();
    let failed = std::sync::atomic::AtomicU32::new(0);
    let function = Function::stub(move |event| {
        let count = || failed.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        match event["isFinalInvokeForWindow"] == true && count() < 3 {
            true => Outcome::error("not now"),
            false => Outcome::json(&json!({"state": event["state"]})),
        }
    });
    // Whatever the mapping's retries are.
    let mapping = Mapping::kinesis(&function, &stream)
        .tumbling(MINUTE)
        .retries(0);
    let journal = mapping.run().unwrap();
    let sizes: Vec<usize> = journal.batches().iter().map(Vec::len).collect();
    assert_eq!(sizes, [1, 0, 0, 0, 0, 1, 0]);
}

#[test]
fn k32_the_end_of_a_shard_closes_its_window_and_children_begin_anew() {
    let stream = Stream::new("orders", 1);
    stream.put_all([in_window(&stream, "1", 9)]).unwrap();
    let [child, _] = stream.split(0).unwrap();
    let put = in_window(&stream, "2", 9).into_shard(child);
    stream.put_record(put).unwrap();
    let mapping = Mapping::kinesis(&listing(), &stream).tumbling(MINUTE);
    let journal = mapping.run().unwrap();
    let sources: Vec<&str> = journal
        .deliveries
        .iter()
        .map(|d| d.source.as_str())
        .collect();
    let (parent, child) = ("shardId-000000000000", "shardId-000000000001");
    assert_eq!(sources, [parent, parent, child, child]);
    let states = of(&events(&journal), "state");
    assert_eq!(states, [json!({}), json!(["MQ"]), json!({}), json!(["Mg"])]);
}

#[test]
fn a_window_is_of_fifteen_minutes_at_most() {
    let stream = Stream::new("orders", 1);
    for (seconds, is_taken) in [(0, false), (1, true), (900, true), (901, false)] {
        let window = Duration::from_secs(seconds);
        let mapping = Mapping::kinesis(&listing(), &stream).tumbling(window);
        assert_eq!(mapping.start().is_ok(), is_taken, "{seconds}");
    }
}
