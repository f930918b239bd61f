//! `lanekeeper lint`: what it exits with, and where things are written.

use crate::world::World;
use serde_json::Value;

const GOOD: &str = include_str!("../lint/good/kinesis.yaml");

fn world() -> World {
    let world = World::empty();
    world.write("good.yaml", GOOD);
    world.write("bad.yaml", GOOD.replace("TRIM_HORIZON", "LATEST"));
    world.write("no.yaml", "Resources: [");
    world
}

#[test]
fn nothing_found_is_0_something_5_and_no_template_2() {
    let world = world();
    let good = world.lanekeeper(&["lint", "good.yaml"]);
    assert_eq!(good.code, Some(0), "{}", good.stderr);
    assert_eq!(
        good.stdout,
        "0 errors, 0 warnings, 0 not known, 0 ignored, in 1 mapping of 1 template\n"
    );
    let bad = world.lanekeeper(&["lint", "good.yaml", "bad.yaml"]);
    assert_eq!(bad.code, Some(5), "{}", bad.stderr);
    assert!(
        bad.stdout.starts_with("bad.yaml:35:31: Billing: "),
        "{}",
        bad.stdout
    );
    assert!(
        bad.stdout.ends_with("in 2 mappings of 2 templates\n"),
        "{}",
        bad.stdout
    );
    // What can be read is told all the same.
    let no = world.lanekeeper(&["lint", "no.yaml", "bad.yaml", "nowhere.yaml"]);
    assert_eq!(no.code, Some(2));
    assert!(no.stdout.starts_with("bad.yaml:35:31: "), "{}", no.stdout);
    let lines: Vec<&str> = no.stderr.lines().collect();
    assert!(
        lines[0].starts_with("error: `no.yaml`: line 2, column 1: "),
        "{lines:?}"
    );
    assert!(
        lines[1].starts_with("error: `nowhere.yaml` cannot be read: "),
        "{lines:?}"
    );
    assert_eq!(world.lanekeeper(&["lint", "."]).code, Some(2));
    assert_eq!(world.lanekeeper(&["lint"]).code, Some(2));
    world.write("bytes.yaml", [0xff, 0xfe, 0x00]);
    let bytes = world.lanekeeper(&["lint", "bytes.yaml"]);
    assert!(
        bytes.stderr.contains("`bytes.yaml` is not UTF-8"),
        "{}",
        bytes.stderr
    );
    world.write("large.yaml", vec![b'#'; 5 << 20]);
    let large = world.lanekeeper(&["lint", "large.yaml"]);
    assert!(
        large.stderr.contains("more than 4194304 bytes"),
        "{}",
        large.stderr
    );
}

#[test]
fn machines_are_told_in_their_formats() {
    let world = world();
    for args in [
        &["lint", "--json", "bad.yaml"][..],
        &["lint", "--format", "json", "bad.yaml"],
    ] {
        let ended = world.lanekeeper(args);
        assert_eq!(ended.code, Some(5));
        let document: Value = serde_json::from_str(&ended.stdout).expect("JSON");
        assert_eq!(
            (&document["format"], &document["errors"]),
            (&1.into(), &1.into())
        );
        let finding = &document["templates"][0]["findings"][0];
        assert_eq!(finding["rule"], "start-latest");
        assert_eq!(
            (&finding["line"], &finding["column"]),
            (&35.into(), &31.into())
        );
    }
    let sarif = world.with_input(&["lint", "--format", "sarif", "-"], GOOD.as_bytes());
    assert_eq!(sarif.code, Some(0), "{}", sarif.stderr);
    let document: Value = serde_json::from_str(&sarif.stdout).expect("JSON");
    assert_eq!(document["version"], "2.1.0");
    assert_eq!(document["runs"][0]["results"], serde_json::json!([]));
}

#[test]
fn rules_are_listed_and_explained() {
    let world = World::empty();
    let all = world.lanekeeper(&["lint", "--rules"]);
    assert_eq!(all.code, Some(0), "{}", all.stderr);
    let one = world.lanekeeper(&["lint", "--rules=bisect"]);
    assert!(
        one.stdout.starts_with("bisect (warning)\n"),
        "{}",
        one.stdout
    );
    assert!(all.stdout.contains(&one.stdout));
    let document = world.lanekeeper(&["lint", "--rules", "--json"]);
    let document: Value = serde_json::from_str(&document.stdout).expect("JSON");
    let count = document["rules"].as_array().map(Vec::len);
    assert_eq!(count, Some(lanekeeper::lint::rules().count()));
    let none = world.lanekeeper(&["lint", "--rules=bisekt"]);
    assert_eq!(none.code, Some(2));
    assert!(
        none.stderr.contains("`bisekt` is no rule"),
        "{}",
        none.stderr
    );
}

/// What this process is configured with is nothing of the function's.
#[test]
fn settings_are_those_of_the_template_and_of_the_file_that_is_given() {
    let world = world();
    world.write("lanekeeper.toml", "lambda = { margin = \"55s\" }\n");
    let mut command = world.command(&["lint", "good.yaml"]);
    command.env("LANEKEEPER__LAMBDA__CONCURRENCY", "7");
    assert_eq!(world.end(command).code, Some(0));
    let given = world.lanekeeper(&["lint", "-c", "lanekeeper.toml", "good.yaml"]);
    assert_eq!(given.code, Some(5), "{}", given.stderr);
    assert!(
        given.stdout.contains("error: timeout-short"),
        "{}",
        given.stdout
    );
    let set = world.lanekeeper(&["lint", "--set", "lambda.concurrency=7", "good.yaml"]);
    assert!(
        set.stdout.contains("reserved-concurrency-differs"),
        "{}",
        set.stdout
    );
    let missing = world.lanekeeper(&["lint", "-c", "nowhere.toml", "good.yaml"]);
    assert_eq!(missing.code, Some(2));
    assert!(
        missing.stderr.contains("`nowhere.toml` cannot be read"),
        "{}",
        missing.stderr
    );
}
