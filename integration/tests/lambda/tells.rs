//! What a function tells of itself: metrics on standard output, and the trace that all of it is of.

use crate::{
    target::Say,
    world::{World, stream},
};
use lanekeeper_integration::lambda::{Function, Mapping};
use serde_json::Value;

/// The lines of metrics that its environments have printed, in order.
fn metrics(function: &Function) -> Vec<Value> {
    let words = function
        .environments()
        .into_iter()
        .map(|e| e.words().unwrap());
    let words: String = words.collect();
    let lines = words.lines().filter(|line| line.contains("\"_aws\""));
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn each_invocation_prints_a_line_of_metrics_and_an_alarm_ends_with_what_it_was_about() {
    let stream = stream(&[("A", "A1"), ("B", "B1"), ("A", "A2"), ("A", "A3")]);
    let world = World::kinesis(&stream, &[]);
    world.target.always("A2", Say::Status(400));
    let function = world.function();
    let mapping = Mapping::kinesis(&function, &stream).reports_failures();
    mapping.deliveries_max(2).run().unwrap();
    world.target.always("A2", Say::Done);
    world.retry_all();
    let mapping = Mapping::kinesis(&function, &stream).reports_failures();
    mapping.run().unwrap();
    let lines = metrics(&function);
    let of = |name: &str| -> Vec<u64> {
        let values = lines.iter().map(|line| line[name].as_u64().unwrap());
        values.collect()
    };
    assert_eq!(of("RecordsDone"), [2, 0, 2]);
    assert_eq!(of("RecordsUnfinished"), [2, 2, 0]);
    assert_eq!(of("RecordsNotStarted"), [1, 2, 0]);
    assert_eq!(of("RecordsAlreadyDone"), [0, 0, 2]);
    assert_eq!(of("LanesStopped"), [1, 1, 0]);
    assert_eq!(of("OldestStoppedLaneAge")[2], 0);
    for line in &lines {
        assert_eq!(
            (&line["app"], &line["source"]),
            (&"orders".into(), &"orders".into())
        );
        assert_eq!(
            line["_aws"]["CloudWatchMetrics"][0]["Namespace"],
            "lanekeeper"
        );
        assert_eq!(line["failed"], false);
    }
}

#[test]
fn an_invocation_that_fails_tells_that_nothing_began_and_says_nothing_of_lanes() {
    let stream = stream(&[("A", "A1")]);
    // No try fits into an invocation.
    let world = World::kinesis(&stream, &[("failure.timeout", "\"20s\"")]);
    let function = world.function();
    let mapping = Mapping::kinesis(&function, &stream).reports_failures();
    mapping.deliveries_max(1).run().unwrap();
    let [line] = &metrics(&function)[..] else {
        unreachable!("one line");
    };
    assert_eq!(line["RecordsNotStarted"], 1);
    assert_eq!(line["failed"], true);
    assert!(line.get("LanesStopped").is_none(), "{line}");
}

#[test]
fn metrics_are_switched_off_by_configuration() {
    let stream = stream(&[("A", "A1")]);
    let world = World::kinesis(&stream, &[("lambda.metrics", "false")]);
    let function = world.function();
    Mapping::kinesis(&function, &stream)
        .reports_failures()
        .run()
        .unwrap();
    assert_eq!(world.target.texts(), ["A1"]);
    assert_eq!(metrics(&function), Vec::<Value>::new());
}

/// Nothing may be delivered any more: the alarm of a parked lane ends with its release all the same.
#[test]
fn a_release_prints_a_line_of_metrics_for_its_source() {
    let stream = stream(&[("A", "A1"), ("A", "A2")]);
    let world = World::kinesis(&stream, &[("failure.then", "\"park\"")]);
    world.target.always("A1", Say::Status(400));
    let function = world.function();
    let mapping = Mapping::kinesis(&function, &stream).reports_failures();
    mapping.run().unwrap();
    world.target.always("A1", Say::Done);
    let release = serde_json::json!({"lanekeeper": {"release": {}}});
    function.invoke(&release.to_string()).unwrap();
    let lines = metrics(&function);
    let of = |name: &str| -> Vec<u64> {
        let values = lines.iter().map(|line| line[name].as_u64().unwrap());
        values.collect()
    };
    assert_eq!(of("RecordsParked"), [2, 0]);
    assert_eq!(of("LanesParked"), [1, 0]);
    assert_eq!(of("RecordsDone"), [0, 2]);
}

/// What the handler does, what is logged and what is counted can be found by the invocation's trace.
#[test]
fn the_trace_of_an_invocation_goes_on_in_the_handler_the_log_and_the_metrics() {
    let stream = stream(&[("A", "A1"), ("B", "B1"), ("A", "A2")]);
    let world = World::kinesis(&stream, &[]);
    world.target.always("A2", Say::Status(400));
    let function = world.function();
    let mapping = Mapping::kinesis(&function, &stream).reports_failures();
    mapping.deliveries_max(2).run().unwrap();
    let calls = world.target.calls();
    let trace = calls[0].trace.as_str();
    assert!(trace.starts_with("Root=1-"), "{trace}");
    assert!(calls.iter().all(|call| call.trace == trace), "{calls:#?}");
    let lines = metrics(&function);
    let traces: Vec<&str> = lines
        .iter()
        .map(|line| line["trace_id"].as_str().unwrap())
        .collect();
    assert_eq!(traces.len(), 2);
    assert_eq!(traces[0], trace);
    assert_ne!(traces[1], trace, "each invocation has its own");
    let words = function.environments()[0].words().unwrap();
    let request = lines[0]["request_id"].as_str().unwrap();
    let stopped = words
        .lines()
        .find(|line| line.contains("stopped") && !line.contains("_aws"));
    let stopped = stopped.unwrap_or_else(|| unreachable!("a lane has stopped: {words}"));
    assert!(
        stopped.contains(trace) && stopped.contains(request),
        "{stopped}"
    );
}
