//! The example workers, driven by the real binary.

use crate::world::{Ended, Running, World};
use serde_json::Value;
use std::{
    env,
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A second try comes after a millisecond, unless the worker asks for more.
const CONFIG: &str = r#"
app = "shop"
cap = 2
drain = "5s"

[sources.orders]
type = "local"
topic = "orders"

[failure]
attempts = 2
backoff_min = "1ms"
timeout = "4s"

[store]
flush_interval = "20ms"
"#;

/// Six payments of `ann`, one of them no payment and two of them behind it; three of `bob`.
const PAYMENTS: &str = r#"{"k":"ann","account":"ann","cents":1}
{"k":"bob","account":"bob","cents":100}
{"k":"ann","account":"ann","cents":2}
{"k":"ann","account":"ann","cents":4}
{"k":"ann","account":"ann","cents":"eight"}
{"k":"bob","account":"bob","cents":200}
{"k":"ann","account":"ann","cents":16}
{"k":"ann","account":"ann","cents":32}
{"k":"bob","account":"bob","cents":400}
"#;

fn world(handler: &str) -> World {
    let world = World::empty();
    world.write("lanekeeper.toml", format!("{CONFIG}\n[handler]\n{handler}"));
    world
}

/// Runs until idle with the python of these tests.
fn run(world: &World, set: &[&str]) -> (Ended, Value) {
    let args = ["run", "--until-idle", "--report", "report.json"];
    let mut command = world.command(&args);
    command.env("PATH", env::var_os("PATH").unwrap_or_default());
    command.env("WEBHOOK_SECRET", SECRET);
    command.args(set.iter().flat_map(|set| ["--set", set]));
    let ended = world.end(command);
    let report = serde_json::from_str(&world.read("report.json"));
    let report = report.unwrap_or_else(|error| panic!("{error}: {}", ended.stderr));
    (ended, report)
}

fn total(world: &World, account: &str) -> String {
    let value = world.lanekeeper(&["value", "get", "totals", account]);
    value.stdout.trim().to_owned()
}

/// What `PAYMENTS` come to, whoever applied them.
fn check(world: &World, ended: &Ended, report: &Value, error: &str) {
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    let lanes = report["stopped_lanes"].as_array().expect("lanes");
    let [lane] = &lanes[..] else {
        panic!("one lane: {report}");
    };
    assert_eq!(
        (&lane["key"], &lane["attempts"]),
        (&"ann".into(), &1.into())
    );
    let told = lane["error"].as_str().expect("text");
    assert!(told.contains(error), "{told}");
    assert_eq!((&report["done"], &report["held"]), (&6.into(), &2.into()));
    let totals = [total(world, "ann"), total(world, "bob")];
    assert_eq!(
        totals,
        ["7", "700"],
        "each once, and nothing behind the bad one"
    );
}

#[test]
fn the_exec_worker_takes_records_and_runs() {
    let handler =
        format!("type = \"exec\"\ncommand = [\"python3\", \"{EXAMPLES}/exec_worker.py\"]\n");
    for records_per_call in ["1", "16"] {
        let world = world(&handler);
        world.put(PAYMENTS);
        let set = format!("handler.records_per_call={records_per_call}");
        let (ended, report) = run(&world, &[&set]);
        check(
            &world,
            &ended,
            &report,
            "must be a string and `cents` an integer",
        );
    }
}

#[test]
fn the_exec_worker_says_when_to_try_again() {
    let handler =
        format!("type = \"exec\"\ncommand = [\"python3\", \"{EXAMPLES}/exec_worker.py\"]\n");
    let world = world(&handler);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a time");
    let due = now.as_millis() + 2_000;
    world.put(&format!(
        "{{\"k\":\"ann\",\"account\":\"ann\",\"cents\":8,\"due_ms\":{due}}}\n{{\"k\":\"ann\",\"account\":\"ann\",\"cents\":1}}\n"
    ));
    let (ended, report) = run(&world, &["handler.records_per_call=16"]);
    // Without the wait the second try, which is the last, would come far too early.
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(report["retries"], 1);
    assert_eq!(total(&world, "ann"), "9");
}

/// The HTTP worker, which knows these secrets, and where it listens.
fn http_worker(world: &World, secrets: &str) -> (Running, String) {
    let mut command = Command::new("python3");
    let script = format!("{EXAMPLES}/http_worker.py");
    command.args([&script, "127.0.0.1:0"]);
    command.env("WEBHOOK_SECRET", secrets);
    let running = world.start_as(command);
    let mut address = String::new();
    world.until("the address", || {
        let said = world.read("running.log");
        let found = said
            .lines()
            .find_map(|line| line.split("listening at ").nth(1));
        found.map(|found| found.clone_into(&mut address)).is_some()
    });
    (running, format!("handler.url={address}records"))
}

const HTTP: &str =
    "type = \"http\"\nurl = \"http://127.0.0.1:1/\"\nsecret = { env = \"WEBHOOK_SECRET\" }\n";

#[test]
fn the_http_worker_takes_events_and_batches_that_are_signed() {
    for records_per_call in ["1", "16"] {
        let world = world(HTTP);
        world.put(PAYMENTS);
        // While a secret is changed both are known.
        let (_worker, url) = http_worker(&world, &format!("another {SECRET}"));
        let set = format!("handler.records_per_call={records_per_call}");
        let (ended, report) = run(&world, &[&url, &set]);
        check(
            &world,
            &ended,
            &report,
            "HTTP 422 Unprocessable Entity: `{\"error\": \"not a payment",
        );
    }
}

#[test]
fn the_http_worker_refuses_who_does_not_know_the_secret() {
    let world = world(HTTP);
    world.put("{\"k\":\"ann\",\"account\":\"ann\",\"cents\":1}\n");
    let (_worker, url) = http_worker(&world, "another");
    let (ended, report) = run(&world, &[&url]);
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    let error = report["stopped_lanes"][0]["error"].as_str().expect("text");
    assert!(error.contains("HTTP 401 Unauthorized"), "{error}");
    assert_eq!(report["done"], 0);
}
