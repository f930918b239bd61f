//! Stopped and parked lanes: seen, decided on, acted on.

use crate::world::{World, pretty};
use rustix::process::Signal;

/// Two records of `good`, then three of `bad` whose first is rejected.
const LINES: &str = r#"{"k":"good","v":1}
{"k":"bad","v":"reject"}
{"k":"bad","v":3}
{"k":"good","v":4}
{"k":"bad","v":5}
"#;

/// What the worker was called with of the lane `bad`.
fn bad(world: &World) -> Vec<u64> {
    let seen = world.seen();
    seen.into_iter().filter(|n| ![1, 4].contains(n)).collect()
}

fn stopped() -> World {
    let world = World::new();
    world.put(LINES);
    let run = world.lanekeeper(&["run", "--until-idle"]);
    assert_eq!(run.code, Some(3), "{}", run.stderr);
    assert!(
        run.stderr
            .contains("stopped: orders/orders/0, key bad, at 2"),
        "{}",
        run.stderr
    );
    assert!(!run.stderr.contains('\u{1b}'), "{}", run.stderr);
    world
}

fn parked() -> World {
    let world = World::new();
    world.put(LINES);
    let run = world.lanekeeper(&["run", "--until-idle", "--set", "failure.then=park"]);
    assert_eq!(run.code, Some(3), "{}", run.stderr);
    world
}

#[test]
fn status_names_a_stopped_lane() {
    let world = stopped();
    insta::assert_snapshot!(
        "status_stopped",
        pretty(world.lanekeeper(&["status", "--json"]).json())
    );
    let text = world.lanekeeper(&["status"]).stdout;
    assert!(
        text.contains("stopped orders/orders/0, key `bad`, at 2 since"),
        "{text}"
    );
    assert!(text.contains("no such account\\u{1b}[2J"), "{text}");
    assert!(text.contains("3 records not settled"), "{text}");
    let list = world.lanekeeper(&["lanes", "list", "--json"]);
    insta::assert_snapshot!("list_stopped", pretty(list.json()));
    let show = world.lanekeeper(&["lanes", "show", "--key", "bad", "--json"]);
    insta::assert_snapshot!("show_stopped", pretty(show.json()));
    let elsewhere = world.lanekeeper(&["lanes", "list", "--source", "other", "--json"]);
    assert_eq!(elsewhere.json()["lanes"].as_array().map(Vec::len), Some(0));
}

#[test]
fn status_names_a_parked_lane() {
    let world = parked();
    insta::assert_snapshot!(
        "status_parked",
        pretty(world.lanekeeper(&["status", "--json"]).json())
    );
    let show = world.lanekeeper(&["lanes", "show", "--all", "--records", "2", "--json"]);
    insta::assert_snapshot!("show_parked", pretty(show.json()));
    let text = world.lanekeeper(&["lanes", "show", "--key", "bad"]).stdout;
    assert!(text.contains("3 records in its chain"), "{text}");
    assert!(text.contains("{\"k\":\"bad\",\"v\":3}"), "{text}");
}

#[test]
fn a_decision_waits_for_a_worker_and_can_be_replaced_until_then() {
    let world = stopped();
    world.write("mended", "");
    let skip = world.lanekeeper(&["lanes", "skip", "--key", "bad"]);
    assert_eq!(skip.code, Some(0), "{}", skip.stderr);
    let retry = ["lanes", "retry", "--key", "bad", "--why", "account created"];
    let decided = world.lanekeeper(&retry);
    assert_eq!(decided.code, Some(0), "{}", decided.stderr);
    assert!(
        decided
            .stderr
            .contains("no worker of app `shop` is running"),
        "{}",
        decided.stderr
    );
    assert_eq!(
        decided.stdout,
        "retry: key `bad` of orders/orders/0 at 2: decided, instead of `skip`\n"
    );
    let again = world.lanekeeper(&["lanes", "retry", "--all"]);
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert!(again.stdout.contains("decided already"), "{}", again.stdout);
    let list = world.lanekeeper(&["lanes", "list", "--json"]);
    insta::assert_snapshot!("list_decided", pretty(list.json()));

    assert_eq!(world.lanekeeper(&["run", "--until-idle"]).code, Some(0));
    assert_eq!(bad(&world), [2, 2, 3, 5]);
    let list = world.lanekeeper(&["lanes", "list"]);
    assert_eq!((list.code, list.stdout.as_str()), (Some(0), ""));
}

#[test]
fn what_a_state_does_not_offer_is_refused() {
    let world = stopped();
    let release = world.lanekeeper(&["lanes", "release", "--key", "bad"]);
    assert_eq!(release.code, Some(2));
    assert!(
        release.stderr.contains(
            "is stopped, which does not offer `release`: it offers `retry`, `skip`, `park`\n"
        ),
        "{}",
        release.stderr
    );
    let none = world.lanekeeper(&["lanes", "release", "--all"]);
    assert_eq!(none.code, Some(2), "{}", none.stderr);
    let letter = world.lanekeeper(&["lanes", "dead-letter", "--key", "bad"]);
    assert_eq!(letter.code, Some(2));
    assert!(
        letter.stderr.contains("`failure.dead_letter` is missing"),
        "{}",
        letter.stderr
    );
    for which in [
        &["--key", "good"][..],
        &["--key-base64", "AAA="],
        &["--no-key"],
        &["--key", "bad", "--partition", "orders/7"],
    ] {
        let args: Vec<&str> = ["lanes", "skip"].iter().chain(which).copied().collect();
        let ended = world.lanekeeper(&args);
        assert_eq!(ended.code, Some(2), "{args:?}");
        assert!(
            ended.stderr.contains("is stopped or parked"),
            "{}",
            ended.stderr
        );
    }
    let base64 = world.lanekeeper(&["lanes", "skip", "--key-base64", "?"]);
    assert_eq!(base64.code, Some(2));
    assert!(base64.stderr.contains("is not base64"), "{}", base64.stderr);
    assert_eq!(world.lanekeeper(&["lanes", "skip"]).code, Some(2));
    assert_eq!(
        world
            .lanekeeper(&["lanes", "skip", "--all", "--no-key"])
            .code,
        Some(2)
    );
}

#[test]
fn a_running_worker_acts_and_wait_sees_it() {
    let world = World::new();
    world.put(LINES);
    let run = world.start(&["run"]);
    world.until("the lane stops", || {
        let list = world.lanekeeper(&["lanes", "list", "--json"]);
        list.code == Some(0) && list.stdout.contains("stopped")
    });
    let failed = world.lanekeeper(&["lanes", "retry", "--key", "bad", "--wait"]);
    assert_eq!(failed.code, Some(0), "{}", failed.stderr);
    assert!(failed.stdout.contains("now stopped"), "{}", failed.stdout);
    let parked = world.lanekeeper(&["lanes", "park", "--all", "--wait", "--json"]);
    assert_eq!(parked.code, Some(0), "{}", parked.stderr);
    assert_eq!(parked.json()["lanes"][0]["state"], "parked");
    world.write("mended", "");
    let released = world.lanekeeper(&["lanes", "release", "--key", "bad", "--wait"]);
    assert_eq!(released.code, Some(0), "{}", released.stderr);
    assert!(released.stdout.contains("now live"), "{}", released.stdout);
    assert_eq!(released.stderr, "");
    run.signal(Signal::TERM);
    let log = world.read("running.log");
    assert_eq!(run.exit_code(), Some(0), "{log}");
    let parked = log.lines().find(|line| line.contains("lane parked"));
    let said = "attempts=1 error=\"no such account";
    assert!(parked.is_some_and(|line| line.contains(said)), "{log}");
    assert_eq!(bad(&world), [2, 2, 2, 3, 5]);
}

#[test]
fn waiting_without_a_worker_is_said_at_once() {
    let world = stopped();
    let waiting = world.start(&["lanes", "skip", "--key", "bad", "--wait"]);
    world.until("it says so", || {
        world
            .read("running.log")
            .contains("waiting for one; Ctrl-C")
    });
    waiting.signal(Signal::INT);
    assert_eq!(waiting.exit_code(), Some(130));
    assert!(
        world.read("running.log").contains("the decision stands"),
        "{}",
        world.read("running.log")
    );
    assert_eq!(world.lanekeeper(&["run", "--until-idle"]).code, Some(0));
    assert_eq!(bad(&world), [2, 3, 5], "skipped");
}

#[test]
fn nothing_starts_behind_a_stopped_partition_until_it_is_decided() {
    let world = World::new();
    let line = |n: u64| {
        format!(
            "{{\"k\":\"{}\",\"v\":\"{}\"}}\n",
            n % 3,
            if n == 5 { "reject" } else { "fine" }
        )
    };
    world.put(&(1..=10).map(line).collect::<String>());
    let run = ["run", "--until-idle", "--set", "order.by=partition"];
    assert_eq!(world.lanekeeper(&run).code, Some(3));
    assert_eq!(world.seen(), [1, 2, 3, 4, 5]);
    let status = world.lanekeeper(&["status", "--json"]).json();
    assert_eq!(status["partitions"][0]["frontier"], "4");
    assert_eq!(status["lanes"][0]["position"], "5");
    assert_eq!(status["lanes"][0]["lane"], "partition");

    // A restart alone begins nothing.
    assert_eq!(world.lanekeeper(&run).code, Some(3));
    assert_eq!(world.seen(), [1, 2, 3, 4, 5]);

    world.write("mended", "");
    // Its name as `status` shows it means the same.
    let retry = ["lanes", "retry", "--all", "--partition", "orders/orders/0"];
    assert_eq!(world.lanekeeper(&retry).code, Some(0));
    assert_eq!(world.lanekeeper(&run).code, Some(0));
    assert_eq!(world.seen(), [1, 2, 3, 4, 5, 5, 6, 7, 8, 9, 10]);
}

#[test]
fn skip_and_dead_letter_let_the_rest_go_on() {
    let world = stopped();
    assert_eq!(
        world.lanekeeper(&["lanes", "skip", "--key", "bad"]).code,
        Some(0)
    );
    assert_eq!(world.lanekeeper(&["run", "--until-idle"]).code, Some(0));
    assert_eq!(bad(&world), [2, 3, 5]);

    let world = stopped();
    let set = "failure.dead_letter={ type = \"local\", topic = \"dead\" }";
    let letter = ["lanes", "dead-letter", "--key", "bad", "--set", set];
    assert_eq!(world.lanekeeper(&letter).code, Some(0));
    let run = world.lanekeeper(&["run", "--until-idle", "--report", "-", "--set", set]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(run.json()["dead_lettered"], 1);
    assert_eq!(bad(&world), [2, 3, 5]);
}

#[test]
fn a_partition_that_is_one_lane_is_not_parked() {
    let world = stopped();
    let park = ["lanes", "park", "--key", "bad"];
    let refused = world.lanekeeper(&[&park[..], &["--set", "order.by=partition"]].concat());
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("`order.by` is `partition`"),
        "{}",
        refused.stderr
    );
    assert_eq!(world.lanekeeper(&park).code, Some(0));
}
