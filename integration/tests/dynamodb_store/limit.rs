//! A table that bears a thousand write units a second, and work that would take many more.

use crate::bench::{CLOSED, Requests, array, chain, lanes, succeeds, values};
use lanekeeper_integration::{
    proxy::{Faults, Kind, Proxy, WriteLimit},
    scene::eventually,
    tables::Tables,
};
use std::{fs, time::Instant};

const CAP: u32 = 6;
/// Each writes a note of 10 KB, 20 units in a transaction.
const NOTES: u64 = 400;
const HELD: u64 = 100;
const RECORD_BYTES: usize = 60_000;
const UNITS_PER_SECOND: u32 = 1_000;
/// What it may use beyond what it used before there was a record: `memory`, a commit on its way in
/// several forms, and what the allocator keeps. All records are 30 MB.
const GROWTH_KIB_MAX: u64 = 16 * 1024;

const CONFIG: &str = r#"
app = "limit"
cap = 6
memory = "2MiB"
drain = "12s"

[sources.orders]
type = "local"
topic = "orders"

[failure]
backoff_min = "1ms"
timeout = "10s"
then = "park"

[store]
flush_interval = "20ms"

[handler]
type = "exec"
command = [WORKER, "--effects", "--each", "--note", "10000", "--closed", "hot"]
"#;

/// The most memory that a process had so far.
fn peak_kib(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|text| text.trim().strip_suffix(" kB"));
    peak.unwrap().parse().unwrap()
}

#[test]
fn g9_a_table_at_its_limit_slows_commits_down_and_loses_nothing() {
    let tables = Tables::start().unwrap();
    let (scene, _) = tables.scene(CONFIG).unwrap();
    let limit = WriteLimit {
        units_per_second: UNITS_PER_SECOND,
        units_max: UNITS_PER_SECOND,
    };
    let faults = Faults {
        write_limit: Some(limit),
        ..Faults::none()
    };
    let proxy = Proxy::start(tables.dynamodb().endpoint(), faults).unwrap();
    // One record makes everything that is made once.
    let mut requests = Requests::default();
    requests.add("first", 0);
    requests.put(&scene, "1");
    let args = ["run", "--history", "history.jsonl"];
    let through = tables.through(&proxy);
    let mut run = scene.start_within(&args, &through).unwrap();
    let settled = || {
        let status = scene.run(&["status", "--json"])?.json()?;
        let partitions = array(status["partitions"].clone());
        Ok(!partitions.is_empty() && partitions.iter().all(|p| p["lag"] == 0))
    };
    eventually("the first record", settled).unwrap();
    let before = peak_kib(run.id());

    let began = Instant::now();
    for n in 0..NOTES {
        requests.add(&format!("a{}", n % 40), RECORD_BYTES);
        if n % (NOTES / HELD) == 0 {
            requests.add(CLOSED, RECORD_BYTES / 4);
        }
    }
    requests.put(&scene, "1");
    eventually("the rest", settled).unwrap();
    let took = began.elapsed();
    let growth = peak_kib(run.id()) - before;
    run.signal("TERM").unwrap();
    let ended = run.wait().unwrap();
    assert_eq!(ended.code, Some(0), "{ended:#?}");

    let lines = scene.lines("history.jsonl").unwrap();
    let commits = lines.iter().filter(|line| line["event"] == "committed");
    let commits = commits.count();
    let counts = proxy.counts();
    println!("{commits} commits in {took:?}, {growth} KiB more, {proxy}");
    assert!(counts.of(Kind::LimitReached) > 0, "{proxy}");
    assert_eq!(counts.of(Kind::Invalid), 0, "{proxy}");
    assert!(growth <= GROWTH_KIB_MAX, "{growth} KiB");
    // At the interval there would be fifty a second.
    let each = took.as_millis() / commits as u128;
    assert!(each >= 60, "{commits} commits in {took:?}");

    let mut accounts = requests.accounts.clone();
    assert_eq!(accounts.remove(CLOSED), Some(HELD));
    assert_eq!(values(&scene, "counts"), accounts);
    let times = values(&scene, "each");
    assert_eq!(times.len() as u64, NOTES + 1);
    assert!(times.values().all(|times| *times == 1));
    assert_eq!(lanes(&scene).len(), 1);
    assert_eq!(chain(&scene), (1..=HELD).collect::<Vec<_>>());
    // What is parked passes in its order.
    scene.write("mended", "").unwrap();
    succeeds(&scene, &["lanes", "release", "--all"]);
    succeeds(&scene, &[&args[..], &["--until-idle"]].concat());
    assert_eq!(values(&scene, "counts"), requests.accounts);
    scene.check("requests.jsonl", "ledger.jsonl", CAP).unwrap();
    succeeds(&scene, &["audit", "history.jsonl"]);
}
