//! `run`: how it ends, what it reports, who may run.

use crate::world::{World, pretty};
use rustix::process::Signal;
use serde_json::Value;

/// Ten records of one key; the one of this position carries this word.
fn ten(position: usize, word: &str) -> String {
    let value = |n| if n == position { word } else { "fine" };
    let line = |n| format!("{{\"k\":\"a\",\"v\":\"{}\"}}\n", value(n));
    (1..=10).map(line).collect()
}

#[test]
fn idle_is_0_and_the_report_counts() {
    let world = World::new();
    world.put(&ten(3, "add"));
    let ended = world.lanekeeper(&[
        "run",
        "--until-idle",
        "--report",
        "-",
        "--history",
        "h.jsonl",
    ]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    insta::assert_snapshot!(pretty(ended.json()));
    assert_eq!(world.seen(), (1..=10).collect::<Vec<_>>());

    let again = world.lanekeeper(&["run", "--until-idle", "--report", "report.json"]);
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert_eq!(again.stdout, "");
    let report: Value = serde_json::from_str(&world.read("report.json")).expect("report");
    assert_eq!(report["done"], 0);
    assert_eq!(
        world.seen().len(),
        10,
        "after a clean stop nothing runs again"
    );

    let value = world.lanekeeper(&["value", "get", "totals", "all"]);
    assert_eq!(value.stdout, "5\n");
    assert_eq!(
        world.lanekeeper(&["value", "list", "totals"]).stdout,
        "all\t5\n"
    );
    let json = world
        .lanekeeper(&["value", "list", "totals", "--json"])
        .json();
    assert_eq!(json["value"], 5);
    assert_eq!(
        world.lanekeeper(&["value", "get", "totals", "none"]).code,
        Some(2)
    );
}

#[test]
fn histories_are_audited() {
    let world = World::new();
    world.put(&ten(3, "retry"));
    let run = world.lanekeeper(&["run", "--until-idle", "--history", "h.jsonl"]);
    assert_eq!(run.code, Some(3), "{}", run.stderr);
    let audit = world.lanekeeper(&["audit", "h.jsonl"]);
    assert_eq!(audit.code, Some(0), "{}{}", audit.stdout, audit.stderr);
    assert!(
        audit.stdout.ends_with("G1 to G8 hold\n"),
        "{}",
        audit.stdout
    );
    let json = world.lanekeeper(&["audit", "--json", "h.jsonl"]).json();
    assert_eq!(
        (&json["passes"], &json["counts"]["starts"]),
        (&true.into(), &4.into())
    );

    // A record of a lane that starts while the one before it runs.
    let lines: Vec<String> = world.read("h.jsonl").lines().map(str::to_owned).collect();
    let without_end: Vec<&String> = lines.iter().filter(|l| !l.contains("\"ended\"")).collect();
    let mut broken = String::new();
    for (seq, line) in without_end.iter().enumerate() {
        let mut line: Value = serde_json::from_str(line).expect("line");
        line["seq"] = (seq as u64 + 1).into();
        broken.push_str(&format!("{line}\n"));
    }
    world.write("broken.jsonl", broken);
    let audit = world.lanekeeper(&["audit", "broken.jsonl"]);
    assert_eq!(audit.code, Some(1), "{}{}", audit.stdout, audit.stderr);
    assert!(audit.stdout.contains("G1 order"), "{}", audit.stdout);

    world.write("none.jsonl", "");
    assert_eq!(world.lanekeeper(&["audit", "none.jsonl"]).code, Some(2));
    assert_eq!(world.lanekeeper(&["audit", "missing.jsonl"]).code, Some(2));
}

#[test]
fn a_signal_drains() {
    let world = World::new();
    world.put(&ten(1, "fine"));
    let run = world.start(&["run"]);
    world.until("all is seen", || world.seen().len() == 10);
    run.signal(Signal::TERM);
    assert_eq!(run.exit_code(), Some(0), "{}", world.read("running.log"));
    assert!(
        world.read("running.log").contains("drained"),
        "{}",
        world.read("running.log")
    );
}

#[test]
fn a_signal_before_idle_is_130() {
    let world = World::new();
    world.put(&ten(3, "hang"));
    let run = world.start(&["run", "--until-idle"]);
    world.until("it hangs", || world.seen().len() == 3);
    run.signal(Signal::INT);
    assert_eq!(run.exit_code(), Some(130), "{}", world.read("running.log"));
    // The try ended by its timeout, within the drain.
    let status = world.lanekeeper(&["status", "--json"]).json();
    assert_eq!(status["partitions"][0]["frontier"], "2");
    assert_eq!(status["partitions"][0]["worker"], Value::Null, "released");
}

#[test]
fn a_second_signal_quits_at_once_and_loses_nothing() {
    let world = World::new();
    world.put(&ten(3, "hang"));
    let began = std::time::Instant::now();
    let run = world.start(&["run"]);
    world.until("it hangs", || world.seen().len() == 3);
    // Told twice at once, as by `timeout`, it is one signal still.
    run.signal(Signal::TERM);
    run.signal(Signal::TERM);
    world.until("it drains", || {
        world.read("running.log").contains("draining")
    });
    std::thread::sleep(std::time::Duration::from_millis(400));
    assert!(!world.read("running.log").contains("quitting"));
    run.signal(Signal::TERM);
    assert_eq!(run.exit_code(), Some(130), "{}", world.read("running.log"));
    assert!(began.elapsed().as_secs() < 4, "before the try's timeout");
    world.write("mended", "");
    let again = world.lanekeeper(&["run", "--until-idle"]);
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    let seen = world.seen();
    assert_eq!(&seen[..3], [1, 2, 3]);
    assert_eq!(seen[seen.len() - 8..], (3..=10).collect::<Vec<_>>());
}

#[test]
fn a_second_run_is_refused_by_name_and_a_frozen_one_is_taken_over() {
    let world = World::new();
    world.put(&ten(3, "hang"));
    let first = world.start(&["run"]);
    world.until("it hangs", || world.seen().len() == 3);
    let second = world.lanekeeper(&["run", "--until-idle"]);
    assert_eq!(second.code, Some(2), "{}", second.stderr);
    let named = format!("app `shop` is already run by process {} ", first.pid());
    assert!(second.stderr.contains(&named), "{}", second.stderr);
    let check = world.lanekeeper(&["check"]);
    assert_eq!(check.code, Some(0), "{}", check.stdout);
    assert!(check.stdout.contains("a second `run`"), "{}", check.stdout);
    let refused = world.lanekeeper(&["run", "--take-over"]);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("is not frozen"),
        "{}",
        refused.stderr
    );

    first.signal(Signal::STOP);
    world.write("mended", "");
    let taken = world.lanekeeper(&["run", "--until-idle", "--take-over"]);
    assert_eq!(taken.code, Some(0), "{}", taken.stderr);
    assert_eq!(*world.seen().last().expect("seen"), 10);
    first.signal(Signal::CONT);
    assert_eq!(first.exit_code(), Some(4), "{}", world.read("running.log"));
    assert_eq!(world.seen().iter().filter(|n| **n > 3).count(), 7);
}

#[test]
fn an_app_is_forgotten_only_when_asked_and_idle() {
    let world = World::new();
    world.put(&ten(1, "fine"));
    assert_eq!(world.lanekeeper(&["run", "--until-idle"]).code, Some(0));
    let asked = world.lanekeeper(&["store", "forget", "shop"]);
    assert_eq!(asked.code, Some(2));
    assert!(asked.stderr.contains("say `--yes`"), "{}", asked.stderr);
    let run = world.start(&["run"]);
    world.until("it runs", || {
        let status = world.lanekeeper(&["status", "--json"]).json();
        status["workers"].as_array().is_some_and(|w| !w.is_empty())
    });
    let running = world.lanekeeper(&["store", "forget", "shop", "--yes"]);
    assert_eq!(running.code, Some(2), "{}", running.stderr);
    assert!(
        running.stderr.contains("stop it first"),
        "{}",
        running.stderr
    );
    run.signal(Signal::TERM);
    assert_eq!(run.exit_code(), Some(0));
    let done = world.lanekeeper(&["store", "forget", "shop", "--yes"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    // The log keeps its records: they run once more.
    assert_eq!(world.lanekeeper(&["run", "--until-idle"]).code, Some(0));
    assert_eq!(world.seen().len(), 20);
}

#[test]
fn a_partition_that_held_records_fill_is_named_and_goes_on_when_decided() {
    let world = World::new();
    let fill = "x".repeat(1_000);
    let mut lines = String::from("{\"k\":\"a\",\"v\":\"reject\"}\n");
    for _ in 0..1_500 {
        lines.push_str(&format!("{{\"k\":\"a\",\"v\":\"{fill}\"}}\n"));
    }
    world.put(&lines);
    let small = ["--set", "memory=1MiB"];
    let idle = world.lanekeeper(&["run", "--until-idle", "--history", "h", small[0], small[1]]);
    assert_eq!(idle.code, Some(3), "{}", idle.stderr);
    assert!(
        idle.stderr
            .contains("stopped: orders/orders/0, key a, at 1"),
        "{}",
        idle.stderr
    );
    let audit = world.lanekeeper(&["audit", "--json", "h"]).json();
    assert_eq!(audit["counts"]["paused"], 1);

    let run = world.start(&["run", small[0], small[1]]);
    world.until("it is paused by name", || {
        let status = world.lanekeeper(&["status", "--json"]).json();
        status["workers"][0]["paused"][0] == "orders/orders/0 (1 stopped or parked lanes)"
    });
    let text = world.lanekeeper(&["status"]).stdout;
    let named = "takes in nothing from orders/orders/0 (1 stopped or parked lanes)";
    assert!(text.contains(named), "{text}");
    assert!(text.contains("1501 records not settled"), "{text}");
    let skip = world.lanekeeper(&["lanes", "skip", "--key", "a", "--why", "test"]);
    assert_eq!(skip.code, Some(0), "{}", skip.stderr);
    world.until("the rest is done", || {
        let status = world.lanekeeper(&["status", "--json"]).json();
        status["partitions"][0]["frontier"] == "1501"
    });
    run.signal(Signal::TERM);
    assert_eq!(run.exit_code(), Some(0), "{}", world.read("running.log"));
    assert_eq!(world.seen(), (1..=1_501).collect::<Vec<_>>());
}
