use super::*;
use crate::{
    effect::Effect,
    handler::FailureKind,
    record::{Assignment, BatchBuilder, LaneOrder, NoKey, OrderBy, PartitionName},
};
use serde_json::{Value, json};
use std::sync::Arc;

const ID: &str = "orders/t/0/7/2";

fn records() -> Vec<Record> {
    let mut batch = BatchBuilder::new(Arc::new(Assignment {
        name: PartitionName::new("orders", "t/0"),
        epoch: 5,
        generation: 2,
    }));
    let order = LaneOrder {
        by: OrderBy::Key,
        no_key: NoKey::Partition,
    };
    let headers: [(&str, &[u8]); 2] = [("trace", b"abc"), ("raw", &[0xff])];
    let mut push =
        |position: u64, key: Option<&[u8]>, value: Option<&[u8]>, timestamp: Option<i64>| {
            let position = Position::Offset(position);
            let headers = headers[..usize::from(timestamp.is_some()) * 2]
                .iter()
                .copied();
            (batch.push(order, position, key, value, headers, timestamp)).expect("a lane");
        };
    push(
        7,
        Some(b"ann"),
        Some("{\"n\": 1}\n\u{e4}".as_bytes()),
        Some(1_700_000_000_123),
    );
    push(8, Some(&[0xfe]), Some(&[0xff, 0x00]), None);
    push(9, None, None, None);
    batch.finish(None)
}

fn written(records: &[Record], array: bool) -> Value {
    let run = Run::new(records.iter(), 3).expect("records");
    let line = encode(&run, array).expect("encoded");
    let (end, text) = line.split_last().expect("a line");
    assert_eq!(*end, b'\n');
    assert!(!text.contains(&b'\n'), "one line");
    serde_json::from_slice(text).expect("JSON")
}

#[test]
fn a_call_is_written_as_documented() {
    let records = records();
    assert_eq!(
        written(&records[..1], false),
        json!({
            "id": ID, "source": "orders", "partition": "t/0", "position": "7",
            "key": "ann", "value": "{\"n\": 1}\nä",
            "headers": [["trace", "abc"], ["raw", {"base64": "/w=="}]],
            "timestamp": 1_700_000_000_123_i64, "attempt": 3, "generation": 2,
        })
    );
    assert_eq!(
        written(&records[1..2], false),
        json!({
            "id": "orders/t/0/8/2", "source": "orders", "partition": "t/0", "position": "8",
            "key_base64": "/g==", "value_base64": "/wA=",
            "headers": [], "attempt": 3, "generation": 2,
        })
    );
    let bare = written(&records[2..], false);
    for absent in ["key", "key_base64", "value", "value_base64", "timestamp"] {
        assert_eq!(bare.get(absent), None, "{absent}");
    }
}

#[tokio::test]
async fn in_a_function_a_call_has_the_trace_of_the_invocation() {
    let records = records();
    let call = async { written(&records[..1], false) };
    let call = crate::handler::within_trace(Some("Root=1-5759e988".into()), call).await;
    assert_eq!(call["trace_id"], "Root=1-5759e988");
}

#[test]
fn a_run_is_an_array_also_when_it_has_one_record() {
    let records = records();
    let run = written(&records, true);
    let attempts: Vec<&Value> = (0..3).map(|i| &run[i]["attempt"]).collect();
    assert_eq!(attempts, [3, 1, 1]);
    assert_eq!(
        written(&records[..1], true).as_array().map(Vec::len),
        Some(1)
    );
}

fn decoded(reply: &Value, records: usize) -> Answer {
    decode(reply.to_string().as_bytes(), ID, records).expect("an answer")
}

#[test]
fn done_is_all_or_a_prefix() {
    let answer = decoded(&json!({"id": ID, "status": "done"}), 3);
    assert_eq!((answer.done, answer.failure.is_none()), (3, true));
    let answer = decoded(&json!({"id": ID, "status": "done", "done": 2}), 3);
    assert_eq!((answer.done, answer.failure.is_none()), (2, true));
}

#[test]
fn failures_say_what_follows() {
    let reply = json!({"id": ID, "status": "retry", "error": "busy\u{1b}[0m", "after_ms": 1500});
    let failure = decoded(&reply, 1).failure.expect("failed");
    assert_eq!(failure.kind, FailureKind::Retry);
    assert_eq!(failure.after, Duration::from_millis(1500));
    assert_eq!(failure.error, "busy\\u{1b}[0m");

    let reply = json!({"id": ID, "status": "retry", "blame": "target", "done": 2});
    let answer = decoded(&reply, 3);
    assert_eq!(answer.done, 2);
    let failure = answer.failure.expect("failed");
    assert_eq!(failure.kind, FailureKind::Target);
    assert_eq!(failure.error, "the worker gave no `error`");

    let answer = decoded(
        &json!({"id": ID, "status": "reject", "error": "no account"}),
        3,
    );
    assert_eq!(answer.done, 0);
    assert_eq!(answer.failure.expect("failed").kind, FailureKind::Reject);
}

#[test]
fn effects_belong_to_what_is_done() {
    let add = |record: usize| json!({"record": record, "add": {"table": "t", "key": "k", "by": 1}});
    let reply = json!({
        "id": ID, "status": "reject", "error": "bad", "done": 2, "effects": [add(0), add(1)],
    });
    let answer = decoded(&reply, 3);
    let effect = Effect::add("t", "k", 1);
    assert_eq!(answer.effects, [(0, effect.clone()), (1, effect)]);
    assert_eq!(answer.done, 2);

    let reply = json!({"id": ID, "status": "done", "effects": [{"add": {"table": "t"}}]});
    let failure = decoded(&reply, 1).failure.expect("rejected");
    assert_eq!(failure.kind, FailureKind::Reject);
    assert!(failure.error.contains("missing field"), "{}", failure.error);
}

#[test]
fn whatever_else_is_printed_is_named() {
    let add = json!([{"add": {"table": "t", "key": "k", "by": 1}}]);
    let text = |reply: Value| reply.to_string();
    let cases = [
        ("Loading model...".to_owned(), "expected value"),
        (String::new(), "EOF while parsing"),
        ("{}".to_owned(), "missing field `id`"),
        ("[]".to_owned(), "invalid length 0"),
        (
            text(json!({"id": "x", "status": "done"})),
            "its id is `x`, the call's is `orders/t/0/7/2`",
        ),
        (
            text(json!({"id": ID, "status": "ok"})),
            "unknown variant `ok`",
        ),
        (
            text(json!({"id": ID, "status": "done", "effect": []})),
            "unknown field `effect`",
        ),
        (
            text(json!({"id": ID, "status": "done", "error": "x"})),
            "yet there is an `error`",
        ),
        (
            text(json!({"id": ID, "status": "done", "done": 0})),
            "expected 1 to 2",
        ),
        (
            text(json!({"id": ID, "status": "done", "done": 3})),
            "expected 1 to 2",
        ),
        (
            text(json!({"id": ID, "status": "done", "done": -1})),
            "invalid value",
        ),
        (
            text(json!({"id": ID, "status": "retry", "done": 2})),
            "expected 0 to 1",
        ),
        (
            text(json!({"id": ID, "status": "reject", "after_ms": 2})),
            "status `retry` only",
        ),
        (
            text(json!({"id": ID, "status": "retry", "blame": "me"})),
            "unknown variant `me`",
        ),
        (
            text(json!({"id": ID, "status": "done", "effects": add})),
            "missing field `record`",
        ),
        (
            text(
                json!({"id": ID, "status": "retry", "effects": [{"record": 0, "delete": {"table": "t", "key": "k"}}]}),
            ),
            "record 0, which is not done",
        ),
    ];
    for (line, expected) in cases {
        let error = decode(line.as_bytes(), ID, 2)
            .expect_err("no answer")
            .to_string();
        assert!(error.contains(expected), "`{error}` lacks `{expected}`");
    }
    let long = "\n\u{7}".repeat(1000);
    let error = decode(long.as_bytes(), ID, 1)
        .expect_err("no answer")
        .to_string();
    assert!(error.len() < 2000 && !error.contains('\u{7}'), "{error}");
}

/// Random bytes, and answers damaged at random places: no panic, and no answer counts more records
/// than there are, nor effects of what is not done.
#[test]
fn no_bytes_make_the_parser_panic() {
    let seed = std::env::var("LANEKEEPER_TEST_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| fastrand::u64(..));
    let mut random = fastrand::Rng::with_seed(seed);
    let sound = json!({
        "id": ID, "status": "done", "done": 2, "effects": [
            {"record": 0, "add": {"table": "t", "key": "k", "by": 1}},
            {"record": 1, "put": {"table": "t", "key": "k", "value": {"a": [1.5e3, "\u{1f600}"]}}},
        ],
    })
    .to_string();
    let mut understood = 0;
    for case in 0..20_000 {
        let mut line = sound.clone().into_bytes();
        if case % 4 == 0 {
            line = (0..random.usize(0..64)).map(|_| random.u8(..)).collect();
        }
        for _ in 0..random.usize(0..4) {
            if line.is_empty() {
                break;
            }
            let at = random.usize(0..line.len());
            match random.u8(0..4) {
                0 => line[at] = random.u8(..),
                1 => line.truncate(at),
                2 => line.insert(at, *random.choice(b"{}[]\",:0-e").unwrap_or(&0)),
                _ => drop(line.remove(at)),
            }
        }
        let records = random.usize(1..5);
        if let Ok(answer) = decode(&line, ID, records) {
            understood += 1;
            let told = format!("seed {seed}, case {case}: {}", line.escape_ascii());
            assert!(answer.done <= records, "{told}");
            assert!(answer.done < records || answer.failure.is_none(), "{told}");
            assert!(
                answer.effects.iter().all(|(of, _)| *of < answer.done),
                "{told}"
            );
            assert!(answer.effects.is_sorted_by_key(|(of, _)| *of), "{told}");
        }
    }
    assert!(
        understood > 1_000,
        "seed {seed}: only {understood} of 20,000 were answers"
    );
}

#[test]
fn deep_nesting_is_refused() {
    for open in ["[", "{\"id\":"] {
        let line = open.repeat(100_000);
        decode(line.as_bytes(), ID, 1).expect_err("no answer");
    }
}
