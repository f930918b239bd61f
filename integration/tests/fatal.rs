//! A record that kills its worker every time: it is found, tried alone, charged and stopped, and
//! everything else is done.

#![expect(clippy::unwrap_used, reason = "a test fails loudly, its helpers too")]

use lanekeeper_integration::scene::{Ended, Scene};
use std::fmt::Write as _;

const CONFIG: &str = r#"
app = "fatal"
cap = 4

[sources.orders]
type = "local"
topic = "orders"

[failure]
attempts = 3
backoff_min = "1ms"
backoff_max = "10ms"

[store]
flush_interval = "50ms"

[handler]
type = "exec"
command = ["python3", "-c", '''
import json, os, signal, sys, time
for line in sys.stdin:
    record = json.loads(line)
    n = json.loads(record["value"])["n"]
    if n == DEADLY:
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
    with open("ledger.txt", "a") as ledger:
        ledger.write(f"{n}\n")
    print(json.dumps({"id": record["id"], "status": "done"}), flush=True)
''']
"#;

/// A worker is started again whenever it was killed, until a run ends by itself: that run, and how many
/// were killed. Request `deadly` of 200 over 20 accounts kills.
fn until_it_ends(deadly: u32) -> (Scene, Ended, u32) {
    let scene = Scene::new(&CONFIG.replace("DEADLY", &deadly.to_string())).unwrap();
    let mut lines = String::new();
    for n in 0..200 {
        let _infallible = writeln!(lines, "{{\"account\":\"a{}\",\"n\":{n}}}", n % 20);
    }
    scene.write("requests.jsonl", &lines).unwrap();
    let put = "put --topic orders --key account requests.jsonl";
    let put: Vec<&str> = put.split(' ').collect();
    assert_eq!(scene.run(&put).unwrap().code, Some(0));
    let run = "run --until-idle --history history.jsonl --report -";
    let run: Vec<&str> = run.split(' ').collect();
    let mut deaths = 0;
    loop {
        let ended = scene.run(&run).unwrap();
        if ended.code.is_some() {
            let audit = scene.run(&["audit", "history.jsonl"]).unwrap();
            assert_eq!(audit.code, Some(0), "{audit:#?}");
            return (scene, ended, deaths);
        }
        deaths += 1;
        assert!(deaths < 12, "it kills its worker for ever: {ended:#?}");
    }
}

#[test]
fn g10_a_record_that_kills_its_worker_every_time_is_stopped_by_name() {
    let (scene, last, deaths) = until_it_ends(40);
    assert_eq!(last.code, Some(3), "a lane is stopped: {last:#?}");
    // Twice before anybody is suspected, once among suspects at most, then an attempt a death.
    assert!((4..=7).contains(&deaths), "{deaths} deaths");
    let report: serde_json::Value = serde_json::from_str(&last.output).unwrap();
    assert_eq!(report["stopped_lanes"].as_array().unwrap().len(), 1);
    let stopped = &report["stopped_lanes"][0];
    assert_eq!(stopped["key"], "a0", "{report:#}");
    assert_eq!(stopped["attempts"], 3, "{report:#}");
    let error = stopped["error"].as_str().unwrap();
    assert!(error.contains("its worker died"), "{error}");
    let ledger = std::fs::read_to_string(scene.path("ledger.txt")).unwrap();
    let done: std::collections::BTreeSet<u64> =
        ledger.lines().map(|line| line.parse().unwrap()).collect();
    let held = |n: &u64| n.is_multiple_of(20) && *n >= 40;
    let expected: Vec<u64> = (0..200).filter(|n| !held(n)).collect();
    assert_eq!(done.into_iter().collect::<Vec<_>>(), expected);
    // An operator skips it, and the rest of its lane runs.
    let skip = ["lanes", "skip", "--key", "a0", "--why", "it kills workers"];
    assert_eq!(scene.run(&skip).unwrap().code, Some(0));
    let ended = scene.run(&["run", "--until-idle"]).unwrap();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
}

/// Suspects of other partitions run alone just before it, and are answered: its deaths are not theirs.
#[test]
fn g10_only_the_record_that_kills_is_charged_where_it_is_the_log_s_last() {
    let (_scene, last, _deaths) = until_it_ends(199);
    let report: serde_json::Value = serde_json::from_str(&last.output).unwrap();
    let stopped = report["stopped_lanes"].as_array().unwrap();
    let keys: Vec<_> = stopped.iter().map(|lane| &lane["key"]).collect();
    assert_eq!(keys, ["a19"], "{report:#}");
}
