//! `recover` and `replay --effects again` under SIGKILL at many moments: what the values say at the end is
//! exact.
#![expect(clippy::unwrap_used, reason = "a test fails loudly, its helpers too")]

use lanekeeper_integration::scene::{Scene, eventually};
use std::{collections::BTreeMap, thread::sleep, time::Duration};

const ACCOUNTS: u64 = 20;
const REQUESTS: u64 = 1_200;
const KILLS: u64 = 6;

const CONFIG: &str = r#"
app = "recovery"
cap = 4
drain = "3s"

[sources.orders]
type = "local"
topic = "orders"

[failure]
backoff_min = "1ms"
backoff_max = "10ms"
timeout = "2s"

[store]
flush_interval = "20ms"

[handler]
type = "exec"
command = [WORKER, "--effects", "--fails", "20", "--millis", "1"]
"#;

fn scene() -> Scene {
    let scene = Scene::new(CONFIG).unwrap();
    let requests: String = (0..REQUESTS)
        .map(|i| {
            let (account, n) = (i % ACCOUNTS, i / ACCOUNTS + 1);
            format!("{{\"account\":\"a{account}\",\"n\":{n}}}\n")
        })
        .collect();
    scene.write("requests.jsonl", &requests).unwrap();
    let put = [
        "put",
        "--topic",
        "orders",
        "--key",
        "account",
        "requests.jsonl",
    ];
    let put = scene.run(&put).unwrap();
    assert_eq!(put.code, Some(0), "{put:#?}");
    scene
}

/// Starts it and kills it under way, again and again; then lets it end.
fn kill_and_finish(scene: &Scene, args: &[&str]) {
    let mut killed = 0;
    for kill in 0..KILLS {
        let wanted = scene.size("ledger.jsonl") + 1_000 + 1_500 * kill;
        let mut running = scene.start(args).unwrap();
        eventually("progress", || {
            Ok(scene.size("ledger.jsonl") > wanted || !running.is_running()?)
        })
        .unwrap();
        sleep(Duration::from_millis(7 * kill));
        if running.signal("KILL").is_ok() {
            killed += 1;
        }
    }
    assert!(killed > 3, "only {killed} of {KILLS} were under way");
    let ended = scene.run(args).unwrap();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
}

fn counts(scene: &Scene) -> BTreeMap<String, u64> {
    let list = scene.run(&["value", "list", "counts"]).unwrap();
    let rows = list.output.lines().map(|line| {
        let (key, count) = line.split_once('\t').unwrap();
        (key.to_owned(), count.parse().unwrap())
    });
    rows.collect()
}

#[test]
fn g8_recovered_and_replayed_under_kills_each_effect_is_applied_once() {
    let scene = scene();
    kill_and_finish(&scene, &["recover", "--history", "recover.jsonl"]);
    let each = REQUESTS / ACCOUNTS;
    let once = counts(&scene);
    assert_eq!(once.len() as u64, ACCOUNTS);
    assert!(once.values().all(|count| *count == each), "{once:?}");
    let checked = scene.check("requests.jsonl", "ledger.jsonl", 4).unwrap();
    assert_eq!(checked["requests"], REQUESTS, "{checked}");

    scene.write("ledger.jsonl", "").unwrap();
    let args = [
        "replay",
        "--from",
        "1970-01-01T00:00:00Z",
        "--effects",
        "again",
        "--history",
        "replay.jsonl",
    ];
    kill_and_finish(&scene, &args);
    let twice = counts(&scene);
    assert!(twice.values().all(|count| *count == 2 * each), "{twice:?}");
    scene.check("requests.jsonl", "ledger.jsonl", 4).unwrap();
    for history in ["recover.jsonl", "replay.jsonl"] {
        let audit = scene.run(&["audit", history]).unwrap();
        assert_eq!(audit.code, Some(0), "{history}: {audit:#?}");
    }
}
