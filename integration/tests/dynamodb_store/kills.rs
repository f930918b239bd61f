//! SIGKILL at random moments, with effects on items of the user's: each happens once, and in order.

use crate::bench::{Requests, applied, in_order, succeeds, values};
use fastrand::Rng;
use lanekeeper_integration::{
    proxy::{Fault, Faults, Kind, Proxy, Rule},
    scene::{Running, Scene, eventually},
    tables::Tables,
};
use std::{thread::sleep, time::Duration};

const CAP: u32 = 6;
const KILLS: u64 = 30;
const REQUESTS: usize = 1_500;
const RUN: [&str; 3] = ["run", "--history", "history.jsonl"];

const CONFIG: &str = r#"
app = "kills"
cap = 6
drain = "6s"

[sources.orders]
type = "local"
topic = "orders"

[failure]
attempts = 20
backoff_min = "1ms"
backoff_max = "10ms"
timeout = "5s"

[store]
flush_interval = "50ms"

[handler]
type = "exec"
command = [WORKER, "--fails", "10", "--dies", "2", "--effects", "--dynamodb", "TABLE"]
"#;

/// Answers are lost, and what is on its way may arrive when its sender is dead and replaced.
fn bad_weather(faults: Faults) -> Faults {
    let (short, long) = (Duration::from_millis(40), Duration::from_millis(600));
    let commits = ["TransactWriteItems"];
    faults
        .rule(Rule::sometimes(Fault::DelayRequest(long), 100).on(commits))
        .rule(Rule::sometimes(Fault::DelayResponse(short), 300))
        .rule(Rule::sometimes(Fault::DropResponse, 150).on_writes())
}

/// Kills after some progress, or wherever it stands then.
fn kill(scene: &Scene, mut run: Running, random: &mut Rng, wait_for_progress: bool) {
    if wait_for_progress {
        let wanted = scene.size("ledger.jsonl") + random.u64(1..8_000);
        eventually("progress", || {
            assert!(run.is_running()?, "{}", run.errors()?);
            Ok(scene.size("ledger.jsonl") >= wanted)
        })
        .unwrap();
    }
    sleep(Duration::from_millis(random.u64(..150)));
    let killed = run.signal("KILL");
    assert!(killed.is_ok(), "{killed:?}\n{:?}", run.errors());
}

#[test]
fn g8_killed_at_random_moments_each_effect_on_a_users_item_happens_once() {
    let tables = Tables::start().unwrap();
    let target = tables.user_table().unwrap();
    let (scene, _) = tables.scene(&CONFIG.replace("TABLE", &target)).unwrap();
    let faults = Faults::drawn().unwrap();
    println!("replay the draws with LANEKEEPER_TEST_SEED={}", faults.seed);
    let mut random = Rng::with_seed(faults.seed);
    let proxy = Proxy::start(tables.dynamodb().endpoint(), bad_weather(faults)).unwrap();
    let mut requests = Requests::default();
    for _ in 0..REQUESTS {
        // Few busy accounts, many quiet ones.
        let account = random.u64(..60) * random.u64(..60) / 60;
        requests.add(&format!("a{account}"), 0);
    }
    requests.put(&scene, "4");
    let through = tables.through(&proxy);
    for number in 1..=KILLS {
        let environment = if number % 3 == 0 { &through[..] } else { &[] };
        let run = scene.start_within(&RUN, environment).unwrap();
        kill(&scene, run, &mut random, number % 6 != 0);
    }
    succeeds(&scene, &[&RUN[..], &["--until-idle"]].concat());

    let accounts = &requests.accounts;
    assert_eq!(applied(&tables, &target), in_order(accounts));
    assert_eq!(&values(&scene, "counts"), accounts);
    let figures = scene.check("requests.jsonl", "ledger.jsonl", CAP).unwrap();
    println!("{figures}, {proxy}");
    assert_eq!(figures["requests"], REQUESTS);
    let runs = figures["runs"].as_u64();
    assert!(runs > Some(20), "the kills came before any work: {figures}");
    succeeds(&scene, &["audit", "history.jsonl"]);
    let counts = proxy.counts();
    for kind in [
        Kind::RequestDelayed,
        Kind::ResponseDelayed,
        Kind::ResponseDropped,
    ] {
        assert!(counts.of(kind) > 0, "{kind:?} never happened: {proxy}");
    }
    assert_eq!(counts.of(Kind::Invalid), 0, "{proxy}");
}
