//! Checkpoints: seen, exported.

use crate::world::{World, pretty};

/// Positions 1 and 4 are of `good`, 2, 3 and 5 of `bad`, whose first is rejected.
const LINES: &str = r#"{"k":"good","v":1}
{"k":"bad","v":"reject"}
{"k":"bad","v":3}
{"k":"good","v":4}
{"k":"bad","v":5}
"#;

/// After a run to the end with this policy.
fn after(then: &str) -> World {
    let world = World::new();
    world.put(LINES);
    let policy = format!("failure.then={then}");
    let run = world.lanekeeper(&["run", "--until-idle", "--set", &policy]);
    assert_eq!(run.code, Some(3), "{}", run.stderr);
    world
}

#[test]
fn list_and_show_say_where_a_partition_stands() {
    let world = after("stop");
    let list = world.lanekeeper(&["checkpoint", "list", "--json"]);
    insta::assert_snapshot!("checkpoint_list", pretty(list.json()));
    let text = world.lanekeeper(&["checkpoint", "list"]).stdout;
    let row: Vec<_> = text
        .lines()
        .nth(1)
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    assert_eq!(
        row[..7],
        ["orders/orders/0", "1", "4", "2", "1", "0", "released"],
        "{text}"
    );

    let show = world.lanekeeper(&["checkpoint", "show", "--partition", "orders/0", "--json"]);
    insta::assert_snapshot!("checkpoint_show", pretty(show.json()));
    let whole = [
        "checkpoint",
        "show",
        "--partition",
        "orders/orders/0",
        "--json",
    ];
    let whole = world.lanekeeper(&whole).json();
    assert_eq!(pretty(whole), pretty(show.json()));
    let text = world.lanekeeper(&["checkpoint", "show"]).stdout;
    for line in [
        "settled     all to 1, and to 4 what is not open",
        "open        2: 2-3",
        "log         1 to 5",
        "lanes (1)",
        "history, oldest first",
        "checkpoint: all before 1, 0 open; epoch 1, generation 0",
    ] {
        assert!(text.contains(line), "no `{line}` in {text}");
    }
}

#[test]
fn an_owner_that_was_killed_is_gone() {
    let world = World::new();
    world.put("{\"k\":\"a\",\"v\":\"hang\"}\n");
    let run = world.start(&["run"]);
    world.until("a call", || world.seen() == [1]);
    let owner = || {
        let list = world.lanekeeper(&["checkpoint", "list", "--json"]).json();
        list["partitions"][0]["owner"].as_str().map(str::to_owned)
    };
    assert_eq!(owner().as_deref(), Some("live"));
    run.signal(rustix::process::Signal::KILL);
    assert_eq!(run.exit_code(), None);
    assert_eq!(owner().as_deref(), Some("gone"));
}

#[test]
fn an_export_holds_checkpoint_lanes_and_chains() {
    let world = after("park");
    let export = world.lanekeeper(&["checkpoint", "export"]);
    insta::assert_snapshot!("checkpoint_export", pretty(export.json()));

    let file = ["checkpoint", "export", "--source", "orders", "out.json"];
    let written = world.lanekeeper(&file);
    assert_eq!(
        (written.code, written.stdout.as_str()),
        (Some(0), ""),
        "{}",
        written.stderr
    );
    let read: serde_json::Value = serde_json::from_str(&world.read("out.json")).expect("JSON");
    assert_eq!(read["partitions"], export.json()["partitions"]);
    let again = world.lanekeeper(&file);
    assert_eq!(again.code, Some(2));
    assert!(again.stderr.contains("was not touched"), "{}", again.stderr);
}

#[test]
fn what_is_not_there_is_named_with_what_is() {
    let world = after("stop");
    for (args, message) in [
        (
            &["checkpoint", "show", "--partition", "orders/7"][..],
            "it holds `orders/orders/0`",
        ),
        (
            &["checkpoint", "list", "--source", "other"],
            "no partition of source `other`",
        ),
        (
            &["checkpoint", "export", "no/such/folder.json"],
            "cannot be written",
        ),
    ] {
        let ended = world.lanekeeper(args);
        assert_eq!(ended.code, Some(2), "{args:?} {}", ended.stdout);
        assert!(ended.stderr.contains(message), "{args:?} {}", ended.stderr);
    }
    let none = World::new();
    let list = none.lanekeeper(&["checkpoint", "list"]);
    assert_eq!(list.code, Some(4), "{}", list.stderr);
}
