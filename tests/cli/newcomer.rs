//! What a newcomer does and is told: signals, mistakes, what is left behind.

use crate::world::World;
use rustix::process::Signal;
use std::fs;

const LINES: &str = "{\"k\":\"a\",\"v\":1}\n{\"k\":\"b\",\"v\":2}\n";

#[test]
fn a_hang_up_drains_unless_it_is_ignored() {
    let world = World::new();
    world.put(LINES);
    // Whoever runs the tests may ignore the signal, and then so does what they start.
    let reset = "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])";
    let mut command = std::process::Command::new("python3");
    let binary = world.command(&["run"]);
    command.args(["-c", reset]).arg(binary.get_program());
    command.args(binary.get_args());
    let run = world.start_as(command);
    world.until("all is seen", || world.seen().len() == 2);
    run.signal(Signal::HUP);
    assert_eq!(run.exit_code(), Some(0), "{}", world.read("running.log"));
    let log = world.read("running.log");
    assert!(log.contains("drained"), "{log}");

    let world = World::new();
    world.put(LINES);
    let mut command = std::process::Command::new("nohup");
    let binary = world.command(&["run"]);
    command.arg(binary.get_program()).args(binary.get_args());
    let run = world.start_as(command);
    world.until("all is seen", || world.seen().len() == 2);
    run.signal(Signal::HUP);
    world.put(LINES);
    world.until("it goes on", || world.seen().len() == 4);
    run.signal(Signal::TERM);
    assert_eq!(run.exit_code(), Some(0), "{}", world.read("running.log"));
}

#[test]
fn after_a_clean_end_the_file_alone_is_whole() {
    let world = World::new();
    world.put(LINES);
    assert_eq!(world.lanekeeper(&["run", "--until-idle"]).code, Some(0));
    let wal = fs::metadata(world.path("lanekeeper.db-wal"));
    assert_eq!(wal.map_or(0, |file| file.len()), 0);
    let copy = World::new();
    let file = fs::read(world.path("lanekeeper.db")).expect("the file");
    copy.write("lanekeeper.db", file);
    let status = copy.lanekeeper(&["status", "--json"]).json();
    assert_eq!(status["partitions"][0]["frontier"], "2", "{status}");
}

#[test]
fn another_program_s_log_gets_no_lock_file_beside_it() {
    let world = World::new();
    let file = rusqlite::Connection::open(world.path("theirs.db")).expect("open");
    file.execute_batch("PRAGMA application_id = 7; CREATE TABLE theirs (x);")
        .expect("execute");
    drop(file);
    let log = "sources.orders.path=\"theirs.db\"";
    let args = ["run", "--set", log, "--set", "store.path=\"lanekeeper.db\""];
    let ended = world.lanekeeper(&args);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("the log cannot be opened: `")
            && ended.stderr.contains("another program's database"),
        "{}",
        ended.stderr
    );
    let left: Vec<String> = fs::read_dir(world.path("."))
        .expect("the folder")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .filter(|name| name.contains("lock") || name.starts_with("theirs.db-"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn one_history_given_twice_is_no_violation() {
    let world = World::new();
    world.put(LINES);
    let run = world.lanekeeper(&["run", "--until-idle", "--history", "h.jsonl"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let once = world.lanekeeper(&["audit", "h.jsonl"]);
    assert_eq!(once.code, Some(0), "{}", once.stdout);
    assert!(
        once.stdout.contains("1 worker, 1 partition, 1 claim, "),
        "{}",
        once.stdout
    );
    let twice = world.lanekeeper(&["audit", "h.jsonl", "./h.jsonl"]);
    assert_eq!(twice.code, Some(2), "{}", twice.stdout);
    assert!(
        twice.stderr.contains("`./h.jsonl` is given twice"),
        "{}",
        twice.stderr
    );
}

#[test]
fn who_decides_is_known_without_a_name() {
    let world = World::new();
    world.put("{\"k\":\"a\",\"v\":\"reject\"}\n");
    let run = world.lanekeeper(&["run", "--until-idle"]);
    assert_eq!(run.code, Some(3), "{}", run.stderr);
    assert!(
        run.stderr
            .contains("`lanekeeper lanes retry|skip|park` decides"),
        "{}",
        run.stderr
    );
    let mut skip = world.command(&["lanes", "skip", "--key", "a"]);
    skip.env_remove("USER").env_remove("LOGNAME");
    assert_eq!(world.end(skip).code, Some(0));
    let lanes = world.lanekeeper(&["lanes", "list", "--json"]).json();
    let by = lanes["lanes"][0]["decision"]["by"]
        .as_str()
        .expect("a name");
    let uid = format!("uid-{}@", rustix::process::getuid().as_raw());
    assert!(by.starts_with(&uid), "{by}");
}

#[test]
fn check_knows_what_would_end_a_run() {
    let check = |world: &World, more: &[&str], code: i32, said: &str| {
        let args = [&["check"][..], more].concat();
        let ended = world.lanekeeper(&args);
        assert_eq!(ended.code, Some(code), "{}{}", ended.stdout, ended.stderr);
        assert!(ended.stdout.contains(said), "`{said}`: {}", ended.stdout);
    };
    // An empty file is as good as none.
    let world = World::new();
    world.write("lanekeeper.db", "");
    check(&world, &[], 0, "`lanekeeper.db` is empty");
    assert_eq!(world.lanekeeper(&["run", "--until-idle"]).code, Some(0));

    let world = World::new();
    fs::create_dir(world.path("folder")).expect("a folder");
    let folder = ["--set", "store.path=\"folder\""];
    check(&world, &folder, 4, "it is a directory: name a file in it");
    let run = world.lanekeeper(&[&["run"][..], &folder].concat());
    assert_eq!(run.code, Some(4), "{}", run.stderr);

    let world = World::new();
    world.put(LINES);
    fs::create_dir(world.path("lanekeeper.db.shop.lock")).expect("a folder");
    check(&world, &[], 4, "WRONG  lock: cannot open the lock file");
    assert_eq!(world.lanekeeper(&["run"]).code, Some(4));
}

#[test]
fn check_knows_a_log_that_is_not_the_checkpoint_s() {
    let world = World::new();
    let store = ["--set", "store.path=\"store.db\""];
    let run = [&["run", "--until-idle"][..], &store].concat();
    world.put(LINES);
    assert_eq!(world.lanekeeper(&run).code, Some(0));
    for file in ["lanekeeper.db", "lanekeeper.db-wal", "lanekeeper.db-shm"] {
        let _ = fs::remove_file(world.path(file));
    }
    world.put(LINES);
    let check = [&["check"][..], &store].concat();
    let ended = world.lanekeeper(&check);
    assert_eq!(ended.code, Some(4), "{}", ended.stdout);
    let why = "made anew since; `on_gap` is `refuse`";
    assert!(ended.stdout.contains(why), "{}", ended.stdout);
    let refused = world.lanekeeper(&run);
    assert_eq!(refused.code, Some(4), "{}", refused.stderr);
    assert!(refused.stderr.contains(why), "{}", refused.stderr);

    let latest = ["--set", "sources.orders.on_gap=latest"];
    let ended = world.lanekeeper(&[&check[..], &latest].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.stdout);
    assert!(
        ended.stdout.contains("going on at position 3"),
        "{}",
        ended.stdout
    );
}
