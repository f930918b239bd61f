//! Bad configurations, files and targets: exit code and message of each.

use crate::world::World;
use std::fmt::Write as _;

/// Arguments, environment, expected code.
type Case = (
    &'static str,
    &'static [&'static str],
    &'static [(&'static str, &'static str)],
    i32,
);

const CASES: [Case; 18] = [
    ("no such command", &["reprocess"], &[], 2),
    ("no such option", &["run", "--untilidle"], &[], 2),
    ("no such file", &["status", "-c", "no.toml"], &[], 2),
    (
        "unknown key",
        &["status", "--set", "failure.timout=1s"],
        &[],
        2,
    ),
    (
        "unknown variable",
        &["status"],
        &[("LANEKEEPER__FAILURE__TIMOUT", "1s")],
        2,
    ),
    ("cap 0", &["run", "--set", "cap=0"], &[], 2),
    (
        "duration without unit",
        &["run"],
        &[("LANEKEEPER__DRAIN", "30")],
        2,
    ),
    ("contradiction", &["run", "--set", "drain=1s"], &[], 2),
    (
        // An address that is kept for documents: no machine has it.
        "address of nobody here",
        &["run", "--set", "metrics.listen=192.0.2.1:9464"],
        &[],
        2,
    ),
    ("log filter", &["status"], &[("LANEKEEPER_LOG", "x=y=z")], 2),
    ("no store yet", &["status"], &[], 4),
    (
        "no directory",
        &["run", "--set", "store.path=no/where.db"],
        &[],
        4,
    ),
    (
        "command not found",
        &["run", "--set", "handler.command=[\"no-such-program\"]"],
        &[],
        4,
    ),
    (
        "script not executable",
        &["run", "--set", "handler.command=[\"./worker.sh\"]"],
        &[],
        4,
    ),
    (
        "nobody listens",
        &[
            "run",
            "--set",
            "handler={ type = \"http\", url = \"http://127.0.0.1:1/\" }",
        ],
        &[],
        4,
    ),
    (
        "secret not there",
        &[
            "run",
            "--set",
            "handler={ type = \"http\", url = \"http://127.0.0.1:1/\", secret = { env = \"LANEKEEPER_TEST_UNSET\" } }",
        ],
        &[],
        2,
    ),
    ("no handler", &["run", "--set", "handler={}"], &[], 2),
    (
        "report not writable",
        &["run", "--report", "no/where.json"],
        &[],
        2,
    ),
];

#[test]
fn each_has_its_code_and_says_what_to_do() {
    let mut text = String::new();
    for (name, args, environment, code) in CASES {
        let world = World::new();
        let mut command = world.command(args);
        command.envs(environment.iter().copied());
        let ended = world.end(command);
        assert_eq!(ended.code, Some(code), "{name}: {}", ended.stderr);
        assert_eq!(ended.stdout, "", "{name}");
        assert!(
            !world.path("seen").exists(),
            "{name}: the handler was called"
        );
        let _ = writeln!(text, "## {name}: exit {code}\n{}", ended.stderr);
    }
    insta::assert_snapshot!(text);
}

#[cfg(not(feature = "dynamodb"))]
#[test]
fn a_build_without_dynamodb_says_so() {
    let world = World::new();
    for args in [
        &["run", "--set", "store.type=dynamodb"][..],
        &["store", "init", "--set", "store.type=dynamodb"],
        &["demo", "--store", "dynamodb"],
    ] {
        let ended = world.lanekeeper(args);
        assert_eq!(ended.code, Some(2), "{args:?}: {}", ended.stderr);
        let said = "this build has no `dynamodb`";
        assert!(ended.stderr.contains(said), "{args:?}: {}", ended.stderr);
        assert!(
            !world.path("seen").exists(),
            "{args:?}: the handler was called"
        );
    }
}

#[test]
fn check_names_all_at_once() {
    let world = World::new();
    world.write(
        "lanekeeper.db",
        b"neither ours nor a database, but rather long for a line of text",
    );
    let args = ["check", "--set", "handler.command=[\"no-such-program\"]"];
    let ended = world.lanekeeper(&args);
    // What is wrong with the configuration outranks what is out of reach.
    assert_eq!(ended.code, Some(2), "{}", ended.stdout);
    insta::assert_snapshot!(ended.stdout);
    let json = world.lanekeeper(&["check", "--json", "--set", "cap=0"]);
    assert_eq!(json.code, Some(2));
    let document = json.json();
    assert_eq!(document["ok"], false);
    assert_eq!(document["findings"][0]["state"], "wrong");
}

#[test]
fn another_program_s_file_and_a_newer_one_are_left_alone() {
    for (pragma, part) in [
        (
            "PRAGMA application_id = 7; CREATE TABLE theirs (x);",
            "another program's database",
        ),
        (
            "PRAGMA application_id = 1282296688; PRAGMA user_version = 99; CREATE TABLE t (x);",
            "layout version 99",
        ),
    ] {
        let world = World::new();
        let path = world.path("lanekeeper.db");
        let file = rusqlite::Connection::open(&path).expect("open");
        file.execute_batch(pragma).expect("execute");
        drop(file);
        let before = std::fs::read(&path).expect("read");
        for args in [
            &["status"][..],
            &["run", "--until-idle"],
            &["put", "--topic", "orders", "worker.sh"],
            &["store", "init"],
        ] {
            let ended = world.lanekeeper(args);
            assert_eq!(ended.code, Some(2), "{args:?}: {}", ended.stderr);
            assert!(ended.stderr.contains(part), "{args:?}: {}", ended.stderr);
        }
        assert_eq!(std::fs::read(&path).expect("read"), before);
    }
}

#[test]
fn check_creates_nothing() {
    let world = World::new();
    world.put("{\"k\":\"a\"}\n");
    let tables = || {
        let log = rusqlite::Connection::open(world.path("lanekeeper.db")).expect("the file");
        let count = "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'store%'";
        log.query_row(count, [], |row| row.get::<_, i64>(0))
            .expect("counted")
    };
    assert_eq!(tables(), 0);
    assert_eq!(world.lanekeeper(&["check"]).code, Some(0));
    assert_eq!(tables(), 0);
}
