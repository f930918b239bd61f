//! `replay`: records run again, apart; what is live stays as it is.

use crate::world::{Ended, World, pretty};
use lanekeeper::{source::local::log::Log, sqlite::Access};
use rustix::process::Signal;
use serde_json::Value;

/// Records of two keys, `a` in partition 0 and `d` in 1, all done by a live run.
fn done(values: &[&str]) -> World {
    let world = World::new();
    let line = |value: &&str| {
        ["a", "d"]
            .map(|key| format!("{{\"k\":\"{key}\",\"v\":\"{value}\"}}\n"))
            .concat()
    };
    world.put_in_two(&values.iter().map(line).collect::<String>());
    world.write("mended", "");
    let run = world.lanekeeper(&["run", "--until-idle"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    std::fs::remove_file(world.path("mended")).expect("removed");
    world.write("seen", "");
    world
}

fn replay(world: &World, args: &[&str]) -> Ended {
    world.lanekeeper(&[&["replay"][..], args].concat())
}

fn all(world: &World) -> Vec<String> {
    world.rows(|_, _| false)
}

fn total(world: &World) -> String {
    world.lanekeeper(&["value", "get", "totals", "all"]).stdout
}

#[test]
fn a_dry_run_counts_and_calls_nothing() {
    let world = done(&["x", "add", "y"]);
    let before = all(&world);
    let args = ["--from", "1970-01-01T00:00:00Z", "--dry-run"];
    let text = replay(&world, &args);
    assert_eq!(text.code, Some(0), "{}", text.stderr);
    for part in [
        "6 records would run, in order per key\n",
        "  orders/orders/0  3        1 of 2",
        "  orders/orders/1  3        1 of 2",
        "  KEY  RECORDS\n  a    3\n  d    3\n",
    ] {
        assert!(text.stdout.contains(part), "{}", text.stdout);
    }
    let json = replay(
        &world,
        &["--from", "2", "--key", "d", "--dry-run", "--json"],
    );
    insta::assert_snapshot!(pretty(json.json()));
    let none = replay(&world, &["--from", "checkpoint", "--dry-run"]);
    assert!(none.stdout.contains("nothing would run"), "{}", none.stdout);
    assert_eq!(none.code, Some(0));
    assert!(world.seen().is_empty());
    assert_eq!(all(&world), before);
}

#[test]
fn a_range_a_key_and_a_time_name_what_runs() {
    let world = done(&["1", "2", "3", "4", "5"]);
    let ran = |args: &[&str]| {
        world.write("seen", "");
        let ended = replay(&world, args);
        assert_eq!(ended.code, Some(0), "{args:?}: {}", ended.stderr);
        let mut seen = world.seen();
        seen.sort_unstable();
        seen
    };
    let in_first = ["--partition", "orders/0"];
    assert_eq!(
        ran(&["--from", "2", "--to", "4", in_first[0], in_first[1]]),
        [2, 3, 4]
    );
    assert_eq!(ran(&["--from", "4", "--key", "d"]), [4, 5]);
    assert_eq!(
        ran(&["--from", "1", "--to", "checkpoint", "--key", "a"]),
        [1, 2, 3, 4, 5]
    );
    assert!(ran(&["--from", "checkpoint"]).is_empty());
    let later = moment_after(&world);
    world.put_in_two("{\"k\":\"a\",\"v\":6}\n{\"k\":\"b\",\"v\":7}\n");
    assert_eq!(ran(&["--from", &later]), [6, 7]);
    assert_eq!(ran(&["--from", &later, "--key", "b"]), [7]);
    assert_eq!(ran(&["--from", "checkpoint"]), [6, 7]);
    assert_eq!(
        ran(&["--from", "3", "--to", &later, in_first[0], in_first[1]]),
        [3, 4, 5]
    );
    // All that was live is where it was: what was put since is still to be done.
    world.write("seen", "");
    assert_eq!(world.lanekeeper(&["run", "--until-idle"]).code, Some(0));
    let mut seen = world.seen();
    seen.sort_unstable();
    assert_eq!(seen, [6, 7]);
}

/// A moment behind all that was put.
fn moment_after(world: &World) -> String {
    std::thread::sleep(std::time::Duration::from_millis(5));
    let status = world.lanekeeper(&["status", "--json"]).json();
    std::thread::sleep(std::time::Duration::from_millis(5));
    status["at"].as_str().expect("a time").to_owned()
}

#[test]
fn with_effects_suppressed_nothing_live_changes_by_a_byte() {
    let world = done(&["add", "reject", "fine"]);
    // A parked lane and a stopped one, live.
    world.put_in_two("{\"k\":\"b\",\"v\":\"reject\"}\n{\"k\":\"b\",\"v\":1}\n");
    let run = world.lanekeeper(&["run", "--until-idle", "--set", "failure.then=park"]);
    assert_eq!(run.code, Some(3), "{}", run.stderr);
    world.put_in_two("{\"k\":\"c\",\"v\":\"reject\"}\n{\"k\":\"c\",\"v\":1}\n");
    assert_eq!(world.lanekeeper(&["run", "--until-idle"]).code, Some(3));
    let before = all(&world);
    assert!(
        before.iter().any(|row| row.starts_with("store_chain")),
        "{before:?}"
    );

    world.write("seen", "");
    // Whatever becomes of failed records live, here they stop their lane.
    let ended = replay(
        &world,
        &[
            "--from",
            "1970-01-01T00:00:00Z",
            "--effects",
            "suppress",
            "--report",
            "-",
            "--set",
            "failure.then=park",
            "--history",
            "h",
        ],
    );
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    let report = ended.json();
    assert_eq!(report["stopped_lanes"].as_array().map(Vec::len), Some(4));
    assert_eq!(report["parked_lanes"], Value::Array(Vec::new()));
    let told = "stopped: orders/orders/0, key c, at 6, 1 try: no such account";
    assert!(ended.stderr.contains(told), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("in this replay only"),
        "{}",
        ended.stderr
    );
    // Nothing behind a head that failed: 1 and 2 of `a` and `d`, 4 of `b`, 6 of `c`.
    let mut seen = world.seen();
    seen.sort_unstable();
    assert_eq!(seen, [1, 1, 2, 2, 4, 6]);
    assert_eq!(all(&world), before);
    let audit = world.lanekeeper(&["audit", "h"]);
    assert_eq!(audit.code, Some(0), "{}{}", audit.stdout, audit.stderr);
    assert!(world.read("h").contains("\"generation\":0"), "the ids stay");
}

#[test]
fn again_applies_effects_once_under_ids_of_its_own() {
    let world = done(&["fine"]);
    world.put_in_two(
        "{\"k\":\"a\",\"v\":\"add\"}\n{\"k\":\"a\",\"v\":\"add\"}\n{\"k\":\"a\",\"v\":\"add\"}\n",
    );
    assert_eq!(world.lanekeeper(&["run", "--until-idle"]).code, Some(0));
    let but_values = || world.rows(|table, _| table == "store_values");
    let before = (but_values(), all(&world));
    assert_eq!(total(&world), "15\n");
    let mut generations = Vec::new();
    for (history, sum) in [("h1", "25\n"), ("h2", "35\n")] {
        let args = [
            "--from",
            "3",
            "--key",
            "a",
            "--effects",
            "again",
            "--history",
            history,
        ];
        let ended = replay(&world, &args);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert_eq!(total(&world), sum);
        assert_eq!(but_values(), before.0, "and nothing of the replay is left");
        let audit = world.lanekeeper(&["audit", history]);
        assert_eq!(audit.code, Some(0), "{}{}", audit.stdout, audit.stderr);
        let history = world.read(history);
        let line = history
            .lines()
            .find(|line| line.contains("\"started\""))
            .expect("one");
        let line: Value = serde_json::from_str(line).expect("JSON");
        generations.push(line["generation"].as_u64().expect("number"));
    }
    assert_ne!(all(&world), before.1);
    // Milliseconds since 1970: no rewind ever counts that far.
    assert!(generations[0] > 1_700_000_000_000 && generations[1] > generations[0]);
}

#[test]
fn g8_a_killed_replay_goes_on_and_applies_nothing_twice() {
    let world = World::new();
    world.put("{\"k\":\"a\",\"v\":\"add\"}\n{\"k\":\"a\",\"v\":\"add\"}\n{\"k\":\"a\",\"v\":\"wait\"}\n{\"k\":\"a\",\"v\":\"add\"}\n");
    world.write("go", "");
    assert_eq!(world.lanekeeper(&["run", "--until-idle"]).code, Some(0));
    std::fs::remove_file(world.path("go")).expect("removed");
    world.write("seen", "");
    let args = [
        "replay",
        "--from",
        "1",
        "--to",
        "checkpoint",
        "--effects",
        "again",
        "--history",
        "h",
    ];
    let killed = world.start(&args);
    world.until("it waits", || world.seen().len() == 3);
    assert_eq!(total(&world), "25\n");
    killed.signal(Signal::KILL);
    assert_eq!(killed.exit_code(), None);

    // What it applied is known by its own word only: another replay would apply it twice.
    let other = replay(&world, &["--from", "2", "--effects", "again"]);
    assert_eq!(other.code, Some(2), "{}", other.stderr);
    assert!(
        other
            .stderr
            .contains("`replay --from 1 --to checkpoint --effects again`"),
        "{}",
        other.stderr
    );
    // What comes meanwhile is not of its range, wherever the checkpoint is now.
    world.put("{\"k\":\"a\",\"v\":\"add\"}\n");
    world.write("go", "");
    assert_eq!(world.lanekeeper(&["run", "--until-idle"]).code, Some(0));
    assert_eq!(total(&world), "30\n");
    let again = world.lanekeeper(&args);
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert!(again.stderr.contains("going on with"), "{}", again.stderr);
    assert_eq!(world.seen(), [1, 2, 3, 5, 3, 4]);
    assert_eq!(total(&world), "35\n");
    let history = world.read("h");
    let ids: std::collections::BTreeSet<String> = history
        .lines()
        .filter(|line| line.contains("\"generation\""))
        .map(|line| {
            let line: Value = serde_json::from_str(line).expect("JSON");
            line["generation"].to_string()
        })
        .collect();
    assert_eq!(ids.len(), 1, "the ids stay: {ids:?}");
    let audit = world.lanekeeper(&["audit", "h"]);
    assert_eq!(audit.code, Some(0), "{}{}", audit.stdout, audit.stderr);
    assert!(!all(&world).iter().any(|row| row.contains("shop+replay")));
}

#[test]
fn an_unfinished_replay_is_forgotten_when_asked() {
    let world = World::new();
    world.put("{\"k\":\"a\",\"v\":\"add\"}\n{\"k\":\"a\",\"v\":\"wait\"}\n");
    world.write("go", "");
    assert_eq!(world.lanekeeper(&["run", "--until-idle"]).code, Some(0));
    std::fs::remove_file(world.path("go")).expect("removed");
    let running = world.start(&["replay", "--from", "1", "--effects", "again"]);
    world.until("it waits", || world.seen().len() == 4);
    for args in [&["--abandon"][..], &["--from", "1", "--alongside"]] {
        let refused = replay(&world, args);
        assert_eq!(refused.code, Some(2), "{}", refused.stderr);
        assert!(
            refused.stderr.contains("another replay is under way"),
            "{}",
            refused.stderr
        );
    }
    // Its lock is the app's: no worker runs meanwhile.
    let run = world.lanekeeper(&["run", "--until-idle"]);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    running.signal(Signal::TERM);
    world.write("go", "");
    assert_eq!(
        running.exit_code(),
        Some(130),
        "{}",
        world.read("running.log")
    );
    let log = world.read("running.log");
    assert!(log.contains("the same command goes on"), "{log}");
    let abandoned = replay(&world, &["--abandon"]);
    assert_eq!(abandoned.code, Some(0), "{}", abandoned.stderr);
    assert!(
        abandoned.stderr.contains("forgotten: `replay --from 1"),
        "{}",
        abandoned.stderr
    );
    assert_eq!(total(&world), "10\n", "what it applied stays");
    assert!(!all(&world).iter().any(|row| row.contains("shop+replay")));
    let anew = replay(&world, &["--from", "1", "--effects", "again"]);
    assert_eq!(anew.code, Some(0), "{}", anew.stderr);
    assert_eq!(total(&world), "15\n");
}

#[test]
fn effects_without_a_choice_end_it_and_none_is_applied() {
    let world = done(&["1", "2"]);
    let without = replay(&world, &["--from", "1970-01-01T00:00:00Z"]);
    assert_eq!(
        without.code,
        Some(0),
        "no effects, no choice: {}",
        without.stderr
    );
    world.put_in_two("{\"k\":\"a\",\"v\":\"add\"}\n{\"k\":\"a\",\"v\":4}\n");
    assert_eq!(world.lanekeeper(&["run", "--until-idle"]).code, Some(0));
    world.write("seen", "");
    let before = all(&world);
    let refused = replay(&world, &["--from", "2", "--key", "a"]);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    let told = "answered record `orders/orders/0/3/0` with effects";
    assert!(refused.stderr.contains(told), "{}", refused.stderr);
    for part in [
        "nothing was applied",
        "`--effects suppress`",
        "`--effects again`",
    ] {
        assert!(refused.stderr.contains(part), "{}", refused.stderr);
    }
    assert_eq!(
        world.seen(),
        [2, 3],
        "it is called once, and nothing behind it"
    );
    assert_eq!(all(&world), before);
}

#[test]
fn beside_a_worker_only_when_asked_for() {
    let world = done(&["1", "add"]);
    world.put_in_two("{\"k\":\"d\",\"v\":\"wait\"}\n{\"k\":\"d\",\"v\":\"add\"}\n");
    let worker = world.start(&["run"]);
    world.until("it waits", || world.seen() == [3]);
    let args = ["--from", "1", "--key", "a", "--effects", "suppress"];
    let refused = replay(&world, &args);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    let named = format!("app `shop` is already run by process {} ", worker.pid());
    assert!(refused.stderr.contains(&named), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("`--alongside`"),
        "{}",
        refused.stderr
    );
    assert_eq!(world.seen(), [3]);
    let dry = replay(&world, &[&args[..4], &["--dry-run"]].concat());
    assert_eq!(dry.code, Some(0), "{}", dry.stderr);

    let beside = replay(&world, &[&args[..], &["--alongside"]].concat());
    assert_eq!(beside.code, Some(0), "{}", beside.stderr);
    assert_eq!(world.seen(), [3, 1, 2]);
    assert_eq!(total(&world), "", "suppressed");
    let beside = replay(
        &world,
        &[
            "--from",
            "2",
            "--key",
            "a",
            "--effects",
            "again",
            "--alongside",
        ],
    );
    assert_eq!(beside.code, Some(0), "{}", beside.stderr);
    assert_eq!(total(&world), "5\n");
    world.write("go", "");
    world.until("the worker goes on", || total(&world) == "10\n");
    worker.signal(Signal::TERM);
    assert_eq!(worker.exit_code(), Some(0), "{}", world.read("running.log"));
    assert_eq!(world.seen(), [3, 1, 2, 2, 4]);
    let status = world.lanekeeper(&["status", "--json"]).json();
    assert_eq!(
        status["partitions"][1]["epoch"], 2,
        "nobody else claimed it"
    );
    assert_eq!(status["partitions"][1]["frontier"], "4");
}

#[test]
fn what_retention_removed_is_named_or_left_out_as_on_gap_says() {
    let world = done(&["1", "2", "3", "4"]);
    let mut log = Log::open(&world.path("lanekeeper.db"), Access::Existing).expect("log");
    let topic = log.topic("orders").expect("readable").expect("there");
    // Both consumers' frontiers are behind all: the first two go.
    for partition in 0..2 {
        log.put_frontiers(("shop", "orders"), &topic, &[(partition, 2)])
            .expect("moved");
        let trimmed = log.trim(&topic, partition, i64::MAX).expect("trimmed");
        assert_eq!((trimmed.records, trimmed.first), (2, 3));
    }
    drop(log);
    let args = ["--from", "2", "--key", "a"];
    let refused = replay(&world, &args);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    let told =
        "`orders/orders/0`: 2 to 2 are asked for and gone: the log `lanekeeper.db` begins at 3";
    assert!(refused.stderr.contains(told), "{}", refused.stderr);
    assert!(refused.stderr.contains("`--from 3`"), "{}", refused.stderr);
    assert!(world.seen().is_empty());
    let earliest = ["--set", "sources.orders.on_gap=earliest"];
    let ended = replay(&world, &[&args[..], &earliest].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains(told), "{}", ended.stderr);
    assert_eq!(world.seen(), [3, 4]);
    // A time is where the log begins: nothing of it was named.
    let time = replay(&world, &["--from", "1970-01-01T00:00:00Z", "--key", "a"]);
    assert_eq!(time.code, Some(0), "{}", time.stderr);
}

#[test]
fn what_names_nothing_is_refused_and_says_what_would() {
    let world = done(&["1", "2", "3"]);
    let cases: [&[&str]; 9] = [
        &["--from", "yesterday"],
        &["--from", "2"],
        &["--from", "9", "--key", "a"],
        &["--from", "3", "--to", "2", "--key", "a"],
        &["--from", "2", "--key", "a", "--partition", "orders/1"],
        &["--from", "2", "--partition", "orders/7"],
        &["--from", "2", "--source", "other"],
        &["--from", "history:2020-01-01T00:00:00Z", "--key", "a"],
        &["--from", "checkpoint", "--json"],
    ];
    let mut text = String::new();
    for case in cases {
        let ended = replay(&world, case);
        assert_eq!(ended.code, Some(2), "{case:?}: {}", ended.stderr);
        text.push_str(&format!(
            "$ lanekeeper replay {}\n{}\n",
            case.join(" "),
            ended.stderr
        ));
    }
    insta::assert_snapshot!(text);
    assert!(world.seen().is_empty());
}

#[test]
fn without_effects_records_have_the_ids_that_they_have_live() {
    let world = done(&["1", "2"]);
    let rewind = [
        "checkpoint",
        "rewind",
        "--partition",
        "orders/0",
        "--to",
        "1",
    ];
    let rewound = world.lanekeeper(&rewind);
    assert_eq!(rewound.code, Some(0), "{}", rewound.stderr);
    assert_eq!(world.lanekeeper(&["recover"]).code, Some(0));
    for (key, generation) in [("a", 1), ("d", 0)] {
        let args = [
            "--from",
            "1",
            "--key",
            key,
            "--effects",
            "suppress",
            "--history",
            key,
        ];
        let ended = replay(&world, &args);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let history = world.read(key);
        let started = history.lines().filter(|line| line.contains("\"started\""));
        let generations: Vec<Value> = started
            .map(|line| {
                let line: Value = serde_json::from_str(line).expect("JSON");
                line["generation"].clone()
            })
            .collect();
        assert_eq!(generations, [generation, generation], "{key}");
    }
}
