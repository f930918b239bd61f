//! One file, one owner: a second worker is refused, a frozen one is taken over and can do no harm when
//! it wakes up.
#![expect(clippy::unwrap_used, reason = "a test fails loudly, its helpers too")]

use lanekeeper_integration::scene::{Running, Scene, eventually};
use rusqlite::Connection;
use std::{fs, time::Duration};

const CAP: u32 = 4;
const ACCOUNTS: u64 = 20;
const REQUESTS: u64 = 2_000;

const SLOW: &str = r#"
app = "ownership"
cap = 4
drain = "3s"

[sources.orders]
type = "local"
topic = "orders"

[failure]
backoff_min = "1ms"
timeout = "2s"

[store]
flush_interval = "20ms"

[handler]
type = "exec"
command = [WORKER, "--millis", "5"]
"#;

fn scene() -> Scene {
    scene_of(SLOW)
}

fn scene_of(configuration: &str) -> Scene {
    let scene = Scene::new(configuration).unwrap();
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

fn started_by(scene: &Scene, run: u32) -> usize {
    let ledger = scene.lines("ledger.jsonl").unwrap_or_default();
    ledger.iter().filter(|line| line["run"] == run).count()
}

fn run_until_under_way(scene: &Scene) -> Running {
    let worker = scene.start(&["run", "--history", "history.jsonl"]).unwrap();
    eventually("the first records", || {
        Ok(started_by(scene, worker.id()) > 50)
    })
    .unwrap();
    worker
}

/// Freezes the worker at a moment when it is, or is not, in the middle of a write.
fn freeze(scene: &Scene, worker: &mut Running, writing: bool) {
    let file = Connection::open(scene.path("lanekeeper.db")).unwrap();
    file.busy_timeout(Duration::ZERO).unwrap();
    eventually("the moment to freeze", || {
        worker.signal("STOP")?;
        let state = format!("/proc/{}/stat", worker.id());
        eventually("the stop", || {
            Ok(fs::read_to_string(&state)?.contains(") T "))
        })?;
        let is_writing = file.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_err();
        if is_writing != writing {
            worker.signal("CONT")?;
        }
        Ok(is_writing == writing)
    })
    .unwrap();
}

#[test]
fn a_second_run_is_refused_by_name_and_does_nothing() {
    let scene = scene();
    let first = run_until_under_way(&scene);
    let second = scene.start(&["run", "--until-idle"]).unwrap();
    let second_id = second.id();
    let refused = second.wait().unwrap();
    assert_eq!(refused.code, Some(2), "{refused:#?}");
    let holder = first.id().to_string();
    assert!(
        refused.errors.contains(&holder),
        "who holds it? {refused:#?}"
    );
    assert_eq!(started_by(&scene, second_id), 0);
    // Others may look and put while it runs.
    for args in [&["status"][..], &["lanes", "list"][..]] {
        let looked = scene.run(args).unwrap();
        assert_eq!(looked.code, Some(0), "{looked:#?}");
    }
}

#[test]
fn a_frozen_owner_is_taken_over_and_changes_nothing_when_it_wakes_up() {
    let scene = scene();
    let mut frozen = run_until_under_way(&scene);
    freeze(&scene, &mut frozen, false);
    let args = [
        "run",
        "--until-idle",
        "--take-over",
        "--history",
        "history.jsonl",
    ];
    let successor = scene.run(&args).unwrap();
    assert_eq!(successor.code, Some(0), "{successor:#?}");
    let before = started_by(&scene, frozen.id());
    let frozen_id = frozen.id();
    frozen.signal("CONT").unwrap();
    let woken = frozen.wait().unwrap();
    assert_eq!(
        woken.code,
        Some(4),
        "it says that it was replaced: {woken:#?}"
    );
    assert_eq!(
        started_by(&scene, frozen_id),
        before,
        "it started something"
    );
    let figures = scene.check("requests.jsonl", "ledger.jsonl", CAP).unwrap();
    assert_eq!(figures["requests"], REQUESTS);
    assert_eq!(figures["runs"], 2);
    let audit = scene.run(&["audit", "history.jsonl"]).unwrap();
    assert_eq!(audit.code, Some(0), "{audit:#?}");
}

#[test]
fn an_owner_frozen_in_the_middle_of_a_write_is_named_and_left_alone() {
    // A call that was frozen for longer than its timeout would rightly be made again.
    let patient = SLOW
        .replace("\"2s\"", "\"60s\"")
        .replace("\"3s\"", "\"70s\"");
    let scene = scene_of(&patient);
    let mut frozen = run_until_under_way(&scene);
    freeze(&scene, &mut frozen, true);
    let before = started_by(&scene, frozen.id());
    let refused = scene.run(&["run", "--until-idle", "--take-over"]).unwrap();
    assert_eq!(refused.code, Some(2), "{refused:#?}");
    let advice = format!("kill -KILL {}", frozen.id());
    assert!(refused.errors.contains(&advice), "{refused:#?}");
    // Its children were left alone, too: it goes on where it was.
    frozen.signal("CONT").unwrap();
    eventually("its next records", || {
        Ok(started_by(&scene, frozen.id()) > before + 50)
    })
    .unwrap();
    // Dead, it keeps nothing locked.
    frozen.signal("KILL").unwrap();
    let ended = scene.run(&["run", "--until-idle"]).unwrap();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    scene.check("requests.jsonl", "ledger.jsonl", CAP).unwrap();
}
