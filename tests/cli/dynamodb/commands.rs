//! Every command on a table: the same words, the same exit codes.

use super::{emulator, run, server::Server, table, world};
use crate::world::{Ended, World};
use serde_json::Value;
use std::collections::BTreeSet;

/// A world on a table that is there, and the endpoint.
fn ready() -> (World, String) {
    let endpoint = emulator();
    let world = world(&table());
    let ended = run(&world, &endpoint, &["store", "init"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    (world, endpoint)
}

/// Runs it and demands the exit code.
fn demand(world: &World, endpoint: &str, args: &[&str], code: i32) -> Ended {
    let ended = run(world, endpoint, args);
    assert_eq!(
        ended.code,
        Some(code),
        "{args:?}: {}{}",
        ended.stdout,
        ended.stderr
    );
    ended
}

/// How often each position was tried; keys have no order among them.
fn seen(world: &World) -> Vec<u64> {
    let mut seen = world.seen();
    seen.sort_unstable();
    seen
}

#[test]
fn stopped_lanes_are_seen_and_decided() {
    let (world, endpoint) = ready();
    let demand = |args: &[&str], code| demand(&world, &endpoint, args, code);
    world.put(
        "{\"k\":\"a\",\"v\":\"reject\"}\n{\"k\":\"a\",\"v\":2}\n{\"k\":\"b\",\"v\":\"add\"}\n",
    );
    demand(&["run", "--until-idle"], 3);
    assert_eq!(seen(&world), [1, 3]);
    let status = demand(&["status", "--json"], 0).json();
    assert_eq!(status["partitions"][0]["stopped"], 1, "{status}");
    assert!(
        status["store"]
            .as_str()
            .expect("store")
            .starts_with("DynamoDB table `"),
        "{status}"
    );

    demand(&["lanes", "park", "--key", "a"], 0);
    demand(&["run", "--until-idle"], 3);
    let shown = demand(&["lanes", "show", "--key", "a", "--json"], 0).json();
    assert_eq!(shown["lanes"][0]["state"], "parked", "{shown}");
    assert_eq!(
        shown["lanes"][0]["records"].as_array().map(Vec::len),
        Some(2),
        "{shown}"
    );
    world.write("mended", "");
    demand(&["lanes", "release", "--key", "a"], 0);
    demand(&["run", "--until-idle"], 0);
    assert_eq!(seen(&world), [1, 1, 2, 3]);
    let value = demand(&["value", "get", "totals", "all"], 0);
    assert_eq!(value.stdout.trim(), "5");
    demand(&["lanes", "list"], 0);
}

#[test]
fn checkpoints_go_back_and_come_in() {
    let (world, endpoint) = ready();
    let demand = |args: &[&str], code| demand(&world, &endpoint, args, code);
    world.put("{\"k\":\"a\"}\n{\"k\":\"b\"}\n{\"k\":\"c\"}\n");
    demand(&["run", "--until-idle"], 0);
    let list = demand(&["checkpoint", "list", "--json"], 0).json();
    assert_eq!(list["partitions"][0]["frontier"], "3", "{list}");
    let exported = demand(&["checkpoint", "export"], 0);
    world.write("export.json", &exported.stdout);
    let rewind = [
        "checkpoint",
        "rewind",
        "--partition",
        "orders/0",
        "--to",
        "2",
        "--why",
        "a test",
    ];
    demand(&rewind, 0);
    demand(&["recover"], 0);
    assert_eq!(seen(&world), [1, 2, 2, 3, 3]);
    let shown = demand(
        &["checkpoint", "show", "--partition", "orders/0", "--json"],
        0,
    )
    .json();
    let rewound = |event: &Value| event["event"] == "rewound";
    let history = shown["history"]
        .as_array()
        .or_else(|| shown["partitions"][0]["history"].as_array());
    assert!(history.expect("a history").iter().any(rewound), "{shown}");

    demand(&["store", "forget", "shop"], 2);
    demand(&["store", "forget", "shop", "--yes"], 0);
    let scan = super::init::call(
        &endpoint,
        "Scan",
        &serde_json::json!({"TableName": super::init::table_of(&world)}),
    );
    assert_eq!(scan["Count"], 0, "{scan}");
    demand(&["checkpoint", "import", "export.json"], 0);
    demand(&["run", "--until-idle"], 0);
    assert_eq!(world.seen().len(), 5, "nothing runs again");
}

#[test]
fn what_was_consumed_is_told() {
    let (world, endpoint) = ready();
    world.put("{\"k\":\"a\",\"v\":\"add\"}\n");
    let run = demand(
        &world,
        &endpoint,
        &["run", "--until-idle", "--report", "-"],
        0,
    );
    let store = run.json()["store"].clone();
    assert!(store["requests"].as_u64() > Some(4), "{store}");
    for units in ["read_units", "write_units"] {
        assert!(store[units].as_f64() > Some(1.0), "{store}");
    }
    assert!(
        run.stderr.contains("the store was asked for "),
        "{}",
        run.stderr
    );

    // Another machine's worker, and one of an older version.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = i64::try_from(now.expect("a time").as_millis()).expect("a time");
    let mut item = serde_json::json!({
        "worker": "00000000-0000-4000-8000-000000000001", "pid": 7, "host": "elsewhere",
        "started": now - 7_200_000, "beat": now, "in_flight": 0, "waiting": 0, "buffered": 0,
        "paused": [], "sick_since": null, "fenced": 0, "behind": [],
        "consumed": {"requests": 9, "read_units": 4.0, "write_units": 30.0},
    });
    put_worker(&world, &endpoint, &item);
    item["worker"] = "00000000-0000-4000-8000-000000000002".into();
    item.as_object_mut().expect("an object").remove("consumed");
    put_worker(&world, &endpoint, &item);
    let status = demand(&world, &endpoint, &["status", "--json"], 0).json();
    assert_eq!(
        status["workers"][0]["consumed"]["write_units"], 30.0,
        "{status}"
    );
    assert_eq!(status["workers"][1]["consumed"], Value::Null, "{status}");
    let text = demand(&world, &endpoint, &["status"], 0).stdout;
    let said =
        "00000000 asked the store for 9 requests, 4.0 read and 30.0 write units (2 and 15 an hour)";
    assert_eq!(text.matches(said).count(), 1, "{text}");
}

fn put_worker(world: &World, endpoint: &str, item: &Value) {
    let sk = format!("worker#{}", item["worker"].as_str().expect("a worker"));
    let put = super::init::call(
        endpoint,
        "PutItem",
        &serde_json::json!({"TableName": super::init::table_of(world), "Item": {
            "pk": {"S": "app#shop"}, "sk": {"S": sk}, "item": {"S": item.to_string()},
        }}),
    );
    assert!(put.get("__type").is_none(), "{put}");
}

#[test]
fn a_replay_is_apart_and_its_effects_are_not() {
    let (world, endpoint) = ready();
    let demand = |args: &[&str], code| demand(&world, &endpoint, args, code);
    world.put("{\"k\":\"a\",\"v\":\"add\"}\n{\"k\":\"b\"}\n");
    // Nothing ran yet: the log says what there is.
    demand(
        &[
            "replay",
            "--from",
            "1",
            "--partition",
            "orders/0",
            "--dry-run",
        ],
        0,
    );
    demand(&["run", "--until-idle"], 0);
    let replay = [
        "replay",
        "--from",
        "1",
        "--partition",
        "orders/0",
        "--effects",
    ];
    demand(&[&replay[..], &["suppress"]].concat(), 0);
    let total = || demand(&["value", "get", "totals", "all"], 0).stdout;
    assert_eq!(total().trim(), "5");
    demand(&[&replay[..], &["again"]].concat(), 0);
    assert_eq!(total().trim(), "10");
    assert_eq!(world.seen().len(), 6);
    demand(&["replay", "--abandon"], 0);
    let scan = super::init::call(
        &endpoint,
        "Scan",
        &serde_json::json!({"TableName": super::init::table_of(&world)}),
    );
    let of_replays = scan["Items"].as_array().expect("items").iter();
    let of_replays =
        of_replays.filter(|item| item["pk"]["S"].as_str().expect("pk").contains("+replay"));
    assert_eq!(of_replays.count(), 0, "{scan}");
}

#[test]
fn a_demo_asks_for_what_its_policy_allows_and_leaves_nothing() {
    let endpoint = emulator();
    let server = Server::between(&endpoint);
    let name = table();
    let world = world(&name);
    demand(&world, &endpoint, &["store", "init"], 0);
    let args = [
        "demo",
        "--store",
        "dynamodb",
        "--table",
        &name,
        "--seed",
        "1",
        "--requests",
        "40",
        "--speed",
        "100",
    ];
    let ended = demand(&world, &server.endpoint, &args, 0);
    assert!(ended.stdout.contains("verdict: right"), "{}", ended.stdout);
    let scan = super::init::call(&endpoint, "Scan", &serde_json::json!({"TableName": name}));
    assert_eq!(scan["Count"], 0, "{scan}");

    let policy = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/iam/worker.json");
    let policy: Value =
        serde_json::from_str(&std::fs::read_to_string(policy).expect("a policy")).expect("JSON");
    let allowed = policy["Statement"][0]["Action"]
        .as_array()
        .expect("actions")
        .iter();
    let allowed: BTreeSet<String> = allowed
        .map(|a| a.as_str().expect("a name").to_owned())
        .collect();
    assert_eq!(
        server.actions(),
        allowed,
        "what was sent, and what deploy/iam/worker.json allows"
    );
}
