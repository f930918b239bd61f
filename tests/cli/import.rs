//! Going on elsewhere from what was exported.

use crate::world::{Ended, World};
use serde_json::Value;

/// Another store for the same log.
const ELSEWHERE: [&str; 2] = ["--set", "store.path=other.db"];

fn import(world: &World, args: &[&str]) -> Ended {
    world.lanekeeper(&[&["checkpoint", "import", "out.json"], args].concat())
}

fn run(world: &World, args: &[&str]) -> Ended {
    world.lanekeeper(&[&["run", "--until-idle"], args].concat())
}

fn shown(world: &World, args: &[&str]) -> Value {
    let args = [&["checkpoint", "show", "--json"], args].concat();
    world.lanekeeper(&args).json()
}

fn export(world: &World) {
    let ended = world.lanekeeper(&["checkpoint", "export", "out.json"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

/// Record 2 is rejected and holds back 4; 1 and 3 are done.
fn held(then: &str) -> World {
    let world = World::new();
    world.put("{\"k\":\"a\",\"v\":1}\n{\"k\":\"b\",\"v\":\"reject\"}\n{\"k\":\"a\",\"v\":3}\n{\"k\":\"b\",\"v\":4}\n");
    let policy = format!("failure.then={then}");
    let ended = run(&world, &["--set", &policy]);
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    world
}

#[test]
fn g7_a_fresh_store_goes_on_where_the_other_one_stood() {
    for then in ["stop", "park"] {
        let world = held(then);
        export(&world);
        let imported = import(&world, &ELSEWHERE);
        assert_eq!(imported.code, Some(0), "{}", imported.stderr);
        assert!(
            imported
                .stdout
                .contains("key `b`: lane, stopped as it was exported"),
            "{}",
            imported.stdout
        );
        let there = shown(&world, &ELSEWHERE);
        assert_eq!(
            there["checkpoint"]["resume"]["at"]
                .as_str()
                .or(there["checkpoint"]["resume"]["after"].as_str()),
            Some(if then == "stop" { "1" } else { "2" })
        );
        assert_eq!(
            (&there["generation"], &there["owner"]),
            (&0.into(), &"released".into())
        );
        let lane = &there["lanes"][0];
        assert_eq!(
            (&lane["state"], &lane["position"]),
            (&"stopped".into(), &"2".into())
        );
        assert_eq!(lane["error"], shown(&world, &[])["lanes"][0]["error"]);
        if then == "stop" {
            assert_eq!(
                there["checkpoint"],
                shown(&world, &[])["checkpoint"],
                "as it was written"
            );
        }

        let before = world.seen();
        let ended = run(&world, &ELSEWHERE);
        assert_eq!(ended.code, Some(3), "{}", ended.stderr);
        assert_eq!(
            world.seen(),
            before,
            "{then}: nothing starts before a decision"
        );
        world.write("mended", "");
        let retry = [&["lanes", "retry", "--key", "b"][..], &ELSEWHERE].concat();
        assert_eq!(world.lanekeeper(&retry).code, Some(0));
        assert_eq!(run(&world, &ELSEWHERE).code, Some(0));
        assert_eq!(world.seen()[before.len()..], [2, 4], "{then}");
    }
}

#[test]
fn an_import_settles_nothing_that_never_ran_unless_that_is_said() {
    let world = World::new();
    world.put(&"{\"k\":\"a\",\"v\":\"add\"}\n".repeat(6));
    assert_eq!(run(&world, &[]).code, Some(0));
    export(&world);
    let same = import(&world, &[]);
    assert_eq!(same.code, Some(0), "{}", same.stdout);
    let said = "it stands there already";
    assert!(same.stderr.contains(said), "{}", same.stderr);
    let back = world.lanekeeper(&["checkpoint", "rewind", "--to", "3"]);
    assert_eq!(back.code, Some(0), "{}", back.stderr);
    let refused = import(&world, &[]);
    assert_eq!(refused.code, Some(2), "{}", refused.stdout);
    assert!(
        refused
            .stderr
            .contains("what lies behind the last settled record, up to 6")
            && refused.stderr.contains("say `--skip-unsettled`"),
        "{}",
        refused.stderr
    );
    // A rewind that was a mistake is undone by what was exported before it.
    let undone = import(
        &world,
        &["--skip-unsettled", "--why", "a mistake", "--json"],
    );
    assert_eq!(undone.code, Some(0), "{}", undone.stderr);
    let (undone, seen) = (undone.json(), world.seen());
    assert_eq!(
        (&undone["epoch"], &undone["generation"]),
        (&3.into(), &2.into())
    );
    assert_eq!(run(&world, &[]).code, Some(0));
    assert_eq!(world.seen(), seen, "nothing runs again");
    let acts = shown(&world, &[])["history"].clone();
    let verbs: Vec<_> = { acts.as_array().expect("lines").iter() }
        .filter_map(|line| line["verb"].as_str())
        .collect();
    assert_eq!(verbs, ["rewind", "import"]);
}

#[test]
fn what_is_no_export_for_here_is_refused_by_name() {
    let world = held("stop");
    export(&world);
    let sound = world.read("out.json");
    for (from, to, message) in [
        (
            "\"format\":1",
            "\"format\":2",
            "has format 2, this version reads format 1",
        ),
        ("\"app\":\"shop\"", "\"app\":\"other\"", "is of app `other`"),
        (
            "\"orders/0\"",
            "\"orders/9\"",
            "there is no partition `orders/9`",
        ),
        (
            "\"source\":\"orders\"",
            "\"source\":\"x\"",
            "has no source `x`",
        ),
        (
            "\"incarnation\":\"",
            "\"incarnation\":\"not-",
            "it is of log `not-",
        ),
        (
            "\"settled_to\":\"3\"",
            "\"settled_to\":\"1\"",
            "is open behind `settled_to`",
        ),
        (
            "[[\"2\",\"2\"]]",
            "[[\"2\",\"1\"]]",
            "positions do not ascend",
        ),
        (
            "\"lane\":\"key\"",
            "\"lane\":\"row\"",
            "a lane of kind `row`",
        ),
        ("\"ended\"", "\"end\"", "is no export of checkpoints"),
        ("{", "", "is no JSON document"),
    ] {
        let spoilt = sound.replacen(from, to, 1);
        assert_ne!(spoilt, sound, "{from} is not in {sound}");
        world.write("out.json", spoilt);
        let ended = import(&world, &ELSEWHERE);
        assert_eq!(ended.code, Some(2), "{message}: {}", ended.stdout);
        assert!(
            ended.stderr.contains(message),
            "{message}: {}",
            ended.stderr
        );
    }
    let none = world.lanekeeper(&["checkpoint", "import", "none.json"]);
    assert_eq!(none.code, Some(2), "{}", none.stderr);
}
