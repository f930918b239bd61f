//! `recover`: what is open is run in place, up to where the log ended, and what stands is left.

use crate::world::{World, pretty};
use rustix::process::Signal;
use serde_json::Value;

/// A parked lane `p` of two records, a stopped lane `s` of two, and a worker that was killed with
/// records of `a` behind one that waits.
fn broken() -> World {
    let world = World::new();
    world.put("{\"k\":\"p\",\"v\":\"reject\"}\n{\"k\":\"p\",\"v\":\"fine\"}\n");
    let parked = world.lanekeeper(&["run", "--until-idle", "--set", "failure.then=park"]);
    assert_eq!(parked.code, Some(3), "{}", parked.stderr);
    world.put("{\"k\":\"s\",\"v\":\"reject\"}\n{\"k\":\"s\",\"v\":\"fine\"}\n");
    world.put("{\"k\":\"a\",\"v\":1}\n{\"k\":\"a\",\"v\":\"wait\"}\n{\"k\":\"a\",\"v\":3}\n");
    let worker = world.start(&["run"]);
    world.until("it waits", || world.seen().contains(&6));
    world.until("the lane stops", || {
        let status = world.lanekeeper(&["status", "--json"]).json();
        status["partitions"][0]["stopped"] == 1
    });
    worker.signal(Signal::KILL);
    assert_eq!(worker.exit_code(), None);
    world.write("seen", "");
    world
}

fn lanes(world: &World) -> Value {
    world.lanekeeper(&["lanes", "list", "--json"]).json()
}

#[test]
fn after_a_kill_what_is_open_is_done_and_what_stands_still_stands() {
    let world = broken();
    let before = lanes(&world);
    world.write("mended", "");
    let recovered = world.lanekeeper(&["recover", "--json", "--report", "report"]);
    assert_eq!(recovered.code, Some(3), "{}", recovered.stderr);
    let seen = world.seen();
    assert_eq!(
        seen.iter().filter(|n| **n >= 6).collect::<Vec<_>>(),
        [&6, &7]
    );
    // The one that was passed may not have been durable yet.
    assert!(seen.iter().all(|n| *n >= 5), "{seen:?}");
    assert_eq!(lanes(&world), before);
    let mut document = recovered.json();
    let durable = &mut document["partitions"][0]["before"];
    assert!(
        [3, 4, 5].map(Value::from).contains(&durable["not_settled"]),
        "{durable}"
    );
    durable["not_settled"] = "(3 to 5)".into();
    insta::assert_snapshot!(pretty(document));
    let report: Value = serde_json::from_str(&world.read("report")).expect("report");
    assert_eq!((&report["parked"], &report["held"]), (&2.into(), &2.into()));

    // Decisions that nobody acted on yet are pending work.
    for key in ["p", "s"] {
        let decided = world.lanekeeper(&["lanes", "retry", "--key", key]);
        assert_eq!(decided.code, Some(0), "{}", decided.stderr);
    }
    let recovered = world.lanekeeper(&["recover", "--json"]);
    assert_eq!(recovered.code, Some(0), "{}", recovered.stderr);
    let document = recovered.json();
    let partition = &document["partitions"][0];
    assert_eq!(partition["before"]["decisions"], 2);
    assert_eq!(partition["after"]["decisions"], 0);
    assert_eq!(partition["after"]["frontier"], "7");
    let seen = world.seen();
    for lane in [[1, 2], [3, 4]] {
        let of_lane = seen.iter().filter(|n| lane.contains(n));
        assert_eq!(of_lane.collect::<Vec<_>>(), lane.iter().collect::<Vec<_>>());
    }
    let status = world.lanekeeper(&["status", "--json"]).json();
    assert_eq!(status["partitions"][0]["worker"], Value::Null, "released");
    let workers = status["workers"].as_array().expect("workers");
    assert!(workers.iter().all(|w| w["running"] == false), "{workers:?}");
}

#[test]
fn what_is_put_meanwhile_is_left_and_told() {
    let world = World::new();
    world.put("{\"k\":\"a\",\"v\":\"wait\"}\n{\"k\":\"b\",\"v\":2}\n");
    let mut command = world.command(&["recover", "--json"]);
    let file = std::fs::File::create(world.path("out")).expect("file");
    let mut recovering = command.stdout(file).spawn().expect("spawn");
    world.until("it waits", || world.seen().len() == 2);
    world.put("{\"k\":\"b\",\"v\":3}\n{\"k\":\"c\",\"v\":4}\n");
    // Time in which a worker would take up what came.
    std::thread::sleep(std::time::Duration::from_millis(300));
    world.write("go", "");
    assert_eq!(recovering.wait().expect("end").code(), Some(0));
    let mut seen = world.seen();
    seen.sort_unstable();
    assert_eq!(seen, [1, 2]);
    let document: Value = serde_json::from_str(&world.read("out")).expect("document");
    let partition = &document["partitions"][0];
    assert_eq!(
        (&partition["end"], &partition["arrived"]),
        (&"2".into(), &2.into())
    );
    assert_eq!(partition["after"]["not_settled"], 0);
    let status = world.lanekeeper(&["status", "--json"]).json();
    assert_eq!(status["partitions"][0]["frontier"], "2");
    assert_eq!(status["partitions"][0]["lag"], 2);
}

#[test]
fn of_one_partition_the_other_is_left_as_it_is() {
    let world = World::new();
    let lines = |n: u32| {
        let line = |k| format!("{{\"k\":\"{k}\",\"v\":{n}}}\n");
        ["a", "d"].map(line).concat()
    };
    world.put_in_two(&lines(1));
    assert_eq!(world.lanekeeper(&["run", "--until-idle"]).code, Some(0));
    world.put_in_two(&lines(2));
    // What holds for the partition `orders/0`, its checkpoint, history and registration.
    let other = || {
        let of_first = |row: &str| row.contains("Text(\"orders/0\")");
        world.rows(|table, row| {
            let reader = r#"Text("orders"), Text("orders"), Integer(0)"#;
            !(of_first(row) || (table == "log_consumers" && row.contains(reader)))
        })
    };
    let (before, all) = (other(), world.rows(|_, _| false));
    assert!(
        before
            .iter()
            .any(|row| row.starts_with("store_checkpoints")),
        "{before:?}"
    );
    let which = ["--source", "orders", "--partition", "orders/orders/1"];
    let recovered = world.lanekeeper(&[&["recover"], &which[..]].concat());
    assert_eq!(recovered.code, Some(0), "{}", recovered.stderr);
    assert_eq!(other(), before);
    assert_ne!(
        world.rows(|_, _| false),
        all,
        "and the one that was meant moved"
    );
    assert!(
        recovered.stderr.contains("orders/orders/1  1 -> 0"),
        "{}",
        recovered.stderr
    );
    assert!(
        !recovered.stderr.contains("orders/orders/0"),
        "{}",
        recovered.stderr
    );
    assert_eq!(world.seen().len(), 3);
    assert_eq!(world.lanekeeper(&["recover"]).code, Some(0));
    assert_eq!(world.seen().len(), 4);
}

#[test]
fn it_is_refused_while_a_worker_runs_and_where_nothing_is_meant() {
    let world = World::new();
    let nothing = world.lanekeeper(&["recover"]);
    assert_eq!(nothing.code, Some(0), "{}", nothing.stderr);
    assert!(
        nothing.stderr.contains("nothing was put"),
        "{}",
        nothing.stderr
    );
    world.put("{\"k\":\"a\",\"v\":\"wait\"}\n");
    for (args, part) in [
        (
            ["--partition", "orders/3"],
            "there is no partition `orders/3`: there are `orders/0`",
        ),
        (
            ["--source", "other"],
            "there is no source `other`: the configuration has `orders`",
        ),
    ] {
        let refused = world.lanekeeper(&["recover", args[0], args[1]]);
        assert_eq!(refused.code, Some(2), "{}", refused.stderr);
        assert!(refused.stderr.contains(part), "{}", refused.stderr);
    }
    let worker = world.start(&["run"]);
    world.until("it runs", || world.seen().len() == 1);
    let refused = world.lanekeeper(&["recover"]);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    let named = format!("app `shop` is already run by process {} ", worker.pid());
    assert!(refused.stderr.contains(&named), "{}", refused.stderr);
    assert_eq!(world.seen().len(), 1);
}
