//! Going back: while nobody runs, and while somebody does.

use crate::world::{Ended, World, pretty};
use lanekeeper::{source::local::log::Log, sqlite::Access};
use serde_json::Value;

/// So many records of one key, each adding 5.
fn additions(count: usize) -> String {
    "{\"k\":\"a\",\"v\":\"add\"}\n".repeat(count)
}

/// Ten records are done.
fn done() -> World {
    let world = World::new();
    world.put(&additions(10));
    assert_eq!(idle(&world, "done.jsonl").code, Some(0));
    assert_eq!(world.seen(), (1..=10).collect::<Vec<_>>());
    world
}

fn idle(world: &World, history: &str) -> Ended {
    world.lanekeeper(&["run", "--until-idle", "--history", history])
}

fn rewind(world: &World, args: &[&str]) -> Ended {
    let args = [&["checkpoint", "rewind"], args].concat();
    world.lanekeeper(&args)
}

fn show(world: &World) -> Value {
    world.lanekeeper(&["checkpoint", "show", "--json"]).json()
}

fn total(world: &World) -> String {
    let value = world.lanekeeper(&["value", "get", "totals", "all"]);
    value.stdout.trim().to_owned()
}

/// How far the log need keep nothing for the app.
fn registered(world: &World) -> Option<u64> {
    let path = world.path("lanekeeper.db");
    let log = Log::open(&path, Access::Read).expect("a log");
    let topic = log.topic("orders").expect("readable").expect("there");
    { log.frontier(("shop", "orders"), &topic, 0) }.expect("readable")
}

/// Positions and generations of the tries in a history.
fn started(world: &World, history: &str) -> Vec<(u64, u64)> {
    let text = world.read(history);
    { text.lines() }
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
        .filter(|event| event["event"] == "started")
        .map(|event| {
            let position = event["position"].as_str().expect("a position");
            let generation = event["generation"].as_u64().expect("a generation");
            (position.parse().expect("a number"), generation)
        })
        .collect()
}

/// All histories, in the order of the runs, hold G1 to G8.
fn audited(world: &World, histories: &[&str]) {
    let audit = world.lanekeeper(&[&["audit"], histories].concat());
    assert_eq!(audit.code, Some(0), "{}{}", audit.stdout, audit.stderr);
}

#[test]
fn g5_back_to_a_position_what_was_settled_runs_again_once() {
    let world = done();
    assert_eq!(total(&world), "50");
    let before = show(&world);
    let would = rewind(&world, &["--to", "7", "--dry-run"]);
    assert_eq!(would.code, Some(0), "{}", would.stderr);
    assert!(
        would
            .stdout
            .starts_with("would be rewind of orders/orders/0 to 7"),
        "{}",
        would.stdout
    );
    assert!(would.stdout.contains("4 records"), "{}", would.stdout);
    let unchanged = show(&world);
    assert_eq!(before["epoch"], unchanged["epoch"], "nothing is written");
    assert_eq!(before["history"], unchanged["history"]);

    assert_eq!(registered(&world), Some(10));
    let done = rewind(&world, &["--to", "7", "--why", "bad deploy", "--json"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert_eq!(
        registered(&world),
        Some(6),
        "retention keeps what runs again"
    );
    insta::assert_snapshot!("rewind", pretty(done.json()));
    let status = world.lanekeeper(&["status", "--json"]).json();
    assert_eq!(status["partitions"][0]["lag"], 4, "{status:#}");
    let shown = show(&world);
    assert_eq!(
        (&shown["epoch"], &shown["generation"]),
        (&2.into(), &1.into())
    );
    let history = shown["history"].as_array().expect("lines");
    let act = history.last().expect("the act");
    assert_eq!(
        (&act["verb"], &act["why"]),
        (&"rewind".into(), &"bad deploy".into())
    );
    let text = world.lanekeeper(&["checkpoint", "show"]).stdout;
    assert!(text.contains("rewind to 7 by operator@"), "{text}");

    assert_eq!(idle(&world, "again.jsonl").code, Some(0));
    let again: Vec<_> = (7..=10).map(|position| (position, 1)).collect();
    assert_eq!(started(&world, "again.jsonl"), again);
    assert_eq!(
        total(&world),
        "70",
        "effects of the second generation apply"
    );
    audited(&world, &["done.jsonl", "again.jsonl"]);
    assert_eq!(idle(&world, "idle.jsonl").code, Some(0));
    assert_eq!(started(&world, "idle.jsonl"), []);
}

#[test]
fn back_to_a_time_and_to_what_the_history_holds() {
    let world = done();
    let past = show(&world);
    world.put(&additions(3));
    assert_eq!(idle(&world, "more.jsonl").code, Some(0));
    // From then on only the second `put` has lines.
    let at = past["at"].as_str().expect("a time");
    let back = rewind(&world, &["--to", at, "--json"]);
    assert_eq!(back.code, Some(0), "{}", back.stderr);
    assert_eq!(back.json()["again"]["at"], "11");
    assert_eq!(idle(&world, "time.jsonl").code, Some(0));
    assert_eq!(started(&world, "time.jsonl"), [(11, 1), (12, 1), (13, 1)]);

    // What stood before the rewind is in the history, and so is where it went.
    let history = show(&world)["history"].as_array().expect("lines").clone();
    let act = history.iter().find(|line| line["event"] == "rewound");
    let when = act.and_then(|act| act["at"].as_str()).expect("a time");
    let back = rewind(&world, &["--to", &format!("history:{when}"), "--json"]);
    assert_eq!(back.code, Some(0), "{}", back.stderr);
    assert_eq!(back.json()["checkpoint"]["resume"]["at"], "11");
    assert_eq!(idle(&world, "history.jsonl").code, Some(0));
    assert_eq!(
        started(&world, "history.jsonl"),
        [(11, 2), (12, 2), (13, 2)]
    );
    audited(
        &world,
        &["done.jsonl", "more.jsonl", "time.jsonl", "history.jsonl"],
    );
}

#[test]
fn a_replay_begins_where_the_checkpoint_stood_then() {
    let world = done();
    assert_eq!(rewind(&world, &["--to", "8"]).code, Some(0));
    assert_eq!(idle(&world, "again.jsonl").code, Some(0));
    let history = show(&world)["history"].as_array().expect("lines").clone();
    let act = history.iter().find(|line| line["event"] == "rewound");
    let when = act.and_then(|act| act["at"].as_str()).expect("a time");
    world.write("seen", "");
    let from = format!("history:{when}");
    let replay = ["replay", "--from", &from, "--effects", "suppress"];
    let ended = world.lanekeeper(&replay);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(world.seen(), [8, 9, 10]);
}

#[test]
fn g6_a_running_owner_is_fenced_and_says_what_to_do() {
    let world = World::new();
    world.put(&additions(5));
    let run = world.start(&["run", "--history", "first.jsonl"]);
    world.until("all", || total(&world) == "25");
    let back = rewind(&world, &["--to", "3", "--json"]);
    assert_eq!(back.code, Some(0), "{}", back.stderr);
    let fenced = back.json()["fenced"].as_str().map(str::to_owned);
    assert!(fenced.is_some_and(|f| f.starts_with(&format!("process {}", run.pid()))));
    world.put(&additions(1));
    assert_eq!(run.exit_code(), Some(4));
    let log = world.read("running.log");
    assert!(log.contains("an operator rewound its checkpoint"), "{log}");
    assert!(log.contains("start `lanekeeper run` again"), "{log}");

    assert_eq!(idle(&world, "second.jsonl").code, Some(0));
    let again: Vec<_> = (3..=6).map(|position| (position, 1)).collect();
    assert_eq!(started(&world, "second.jsonl"), again);
    assert_eq!(
        total(&world),
        "45",
        "what the fenced owner did of 6 is void"
    );
    audited(&world, &["first.jsonl", "second.jsonl"]);
}

#[test]
fn an_owner_without_work_notices_as_well() {
    let world = done();
    let run = world.start(&["run"]);
    world.until("it owns", || show(&world)["owner"] == "live");
    assert_eq!(rewind(&world, &["--to", "9"]).code, Some(0));
    assert_eq!(run.exit_code(), Some(4));
}

#[test]
fn stopped_lanes_from_there_on_are_tried_again() {
    let world = World::new();
    world.put("{\"k\":\"a\",\"v\":1}\n{\"k\":\"b\",\"v\":\"reject\"}\n{\"k\":\"a\",\"v\":3}\n{\"k\":\"c\",\"v\":\"reject\"}\n{\"k\":\"a\",\"v\":5}\n");
    assert_eq!(idle(&world, "first.jsonl").code, Some(3));
    let back = rewind(&world, &["--to", "3"]);
    assert_eq!(back.code, Some(0), "{}", back.stderr);
    assert!(
        back.stdout
            .contains("key `c`: stopped lane, not held any more"),
        "{}",
        back.stdout
    );
    assert!(!back.stdout.contains("key `b`"), "{}", back.stdout);
    world.write("mended", "");
    assert_eq!(
        idle(&world, "second.jsonl").code,
        Some(3),
        "2 is stopped still"
    );
    let mut again = started(&world, "second.jsonl");
    again.sort_unstable();
    assert_eq!(again, [(3, 1), (4, 1), (5, 1)]);
    audited(&world, &["first.jsonl", "second.jsonl"]);
}

/// Records 2, 4 and 5 are parked, 1 and 3 done; 2 was rejected.
fn parked() -> World {
    let world = World::new();
    world.put("{\"k\":\"a\",\"v\":1}\n{\"k\":\"b\",\"v\":\"reject\"}\n{\"k\":\"a\",\"v\":3}\n{\"k\":\"b\",\"v\":4}\n{\"k\":\"b\",\"v\":5}\n");
    let park = [
        "run",
        "--until-idle",
        "--set",
        "failure.then=park",
        "--history",
        "first.jsonl",
    ];
    assert_eq!(world.lanekeeper(&park).code, Some(3));
    world
}

#[test]
fn chains_are_touched_only_when_that_is_said() {
    let world = parked();
    let refused = rewind(&world, &["--to", "1"]);
    assert_eq!(refused.code, Some(2), "{}", refused.stdout);
    assert!(
        refused.stderr.contains("key `b`; say `--chains keep`"),
        "{}",
        refused.stderr
    );
    let refused = rewind(&world, &["--to", "4", "--chains", "drop"]);
    assert_eq!(refused.code, Some(2), "{}", refused.stdout);
    assert!(
        refused.stderr.contains("would be lost"),
        "{}",
        refused.stderr
    );

    let kept = rewind(&world, &["--to", "1", "--chains", "keep", "--json"]);
    assert_eq!(kept.code, Some(0), "{}", kept.stderr);
    assert_eq!(kept.json()["records"], 2);
    assert_eq!(kept.json()["kept"][0]["key"], "b");
    assert_eq!(idle(&world, "kept.jsonl").code, Some(3));
    assert_eq!(started(&world, "kept.jsonl"), [(1, 1), (3, 1)]);

    let dropped = rewind(&world, &["--to", "1", "--chains", "drop"]);
    assert_eq!(dropped.code, Some(0), "{}", dropped.stderr);
    world.write("mended", "");
    assert_eq!(idle(&world, "dropped.jsonl").code, Some(0));
    let mut again = started(&world, "dropped.jsonl");
    again.sort_unstable();
    assert_eq!(again, (1..=5).map(|n| (n, 2)).collect::<Vec<_>>());
    audited(&world, &["first.jsonl", "kept.jsonl", "dropped.jsonl"]);
}

#[test]
fn g7_what_fails_before_a_kept_chain_joins_its_front() {
    let world = World::new();
    world.put("{\"k\":\"b\",\"v\":\"fragile\"}\n{\"k\":\"b\",\"v\":2}\n{\"k\":\"a\",\"v\":3}\n{\"k\":\"b\",\"v\":\"reject\"}\n{\"k\":\"b\",\"v\":5}\n");
    let park = |history: &str| {
        let args = [
            "run",
            "--until-idle",
            "--set",
            "failure.then=park",
            "--history",
            history,
        ];
        world.lanekeeper(&args).code
    };
    assert_eq!(park("first.jsonl"), Some(3));
    assert_eq!(
        rewind(&world, &["--to", "1", "--chains", "keep"]).code,
        Some(0)
    );
    world.write("broken", "");
    assert_eq!(park("second.jsonl"), Some(3));
    let mut again = started(&world, "second.jsonl");
    again.sort_unstable();
    assert_eq!(again, [(1, 1), (3, 1)], "2 does not overtake 1");
    let lanes = world
        .lanekeeper(&["lanes", "show", "--key", "b", "--json"])
        .json();
    let lane = &lanes["lanes"][0];
    assert_eq!(
        (&lane["position"], &lane["count"], &lane["error"]),
        (&"1".into(), &4.into(), &"broken".into())
    );
    let positions: Vec<_> = { lane["records"].as_array().expect("records").iter() }
        .filter_map(|record| record["position"].as_str())
        .collect();
    assert_eq!(positions, ["1", "2", "4", "5"]);

    world.write("mended", "");
    assert_eq!(
        world.lanekeeper(&["lanes", "release", "--key", "b"]).code,
        Some(0)
    );
    assert_eq!(park("third.jsonl"), Some(0));
    assert_eq!(
        started(&world, "third.jsonl"),
        [(1, 1), (2, 1), (4, 1), (5, 1)]
    );
    audited(&world, &["first.jsonl", "second.jsonl", "third.jsonl"]);
}

#[test]
fn what_is_not_back_is_refused_by_name() {
    let world = done();
    for (to, message) in [
        ("checkpoint", "nothing would run again"),
        ("11", "nothing from there on is settled"),
        ("0", "position 0 is gone: the log"),
        ("2000-01-01T00:00:00Z", "position 1"),
        ("2999-01-01T00:00:00Z", "holds no record of 2999"),
        (
            "history:2000-01-01T00:00:00Z",
            "the history holds no checkpoint of 2000",
        ),
        ("soon", "is no place in a log"),
    ] {
        let ended = rewind(&world, &["--to", to, "--dry-run"]);
        if to.starts_with("2000") {
            assert_eq!(ended.code, Some(0), "{to}: {}", ended.stderr);
            assert!(ended.stdout.contains("all before 1"), "{}", ended.stdout);
            continue;
        }
        assert_eq!(ended.code, Some(2), "{to}: {}", ended.stdout);
        assert!(ended.stderr.contains(message), "{to}: {}", ended.stderr);
    }
    let elsewhere = rewind(&world, &["--to", "3", "--partition", "orders/9"]);
    assert_eq!(elsewhere.code, Some(2));
}
