//! SIGKILL at random moments, on the embedded log; checked by a script that knows only the requests and
//! what the workers wrote.
//!
//! `LANEKEEPER_TEST_SEED`, `_REQUESTS` and `_KILLS` replay a run or make it longer.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails loudly, its helpers too"
)]

use lanekeeper_integration::scene::{Ended, PATIENCE, Scene, eventually};
use std::{
    collections::BTreeMap,
    env,
    fmt::Write as _,
    thread::sleep,
    time::{Duration, SystemTime},
};

const CAP: u32 = 6;
const RUN: u64 = 8;
const PARTITIONS: u64 = 8;
const UNFLUSHED: u64 = 100;

/// Splitmix64: the same draws for the same seed, everywhere.
struct Draws(u64);

impl Draws {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound.max(1)
    }
}

fn setting(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().unwrap_or(default))
}

struct Chaos {
    scene: Scene,
    draws: Draws,
    /// Records of each account.
    accounts: BTreeMap<String, u64>,
    kills: u64,
}

impl Chaos {
    fn new(worker_args: &str, requests: u64, kills: u64) -> Self {
        let clock = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let seed = setting("LANEKEEPER_TEST_SEED", u64::from(clock.subsec_nanos()));
        eprintln!("replay the draws with LANEKEEPER_TEST_SEED={seed}");
        let scene = Scene::new(&config(worker_args)).unwrap();
        let mut draws = Draws(seed);
        let mut accounts = BTreeMap::new();
        let mut lines = String::new();
        for _ in 0..requests {
            // Few busy accounts, many quiet ones.
            let account = format!("a{}", draws.below(200) * draws.below(200) / 200);
            let n = accounts.entry(account.clone()).or_insert(0);
            *n += 1;
            let _infallible = writeln!(lines, "{{\"account\":\"{account}\",\"n\":{n}}}");
        }
        scene.write("requests.jsonl", &lines).unwrap();
        Self {
            scene,
            draws,
            accounts,
            kills,
        }
    }

    /// Starts and kills; half of the kills after some progress, half wherever it stands then.
    fn kill_again_and_again(&mut self) {
        let step = self.accounts.values().sum::<u64>() * 250 / (self.kills + 1);
        for kill in 1..=self.kills {
            let mut run = self
                .scene
                .start(&["run", "--history", "history.jsonl"])
                .unwrap();
            if kill % 2 == 0 {
                let wanted = self.scene.size("ledger.jsonl") + 1 + self.draws.below(step);
                let progress = eventually("progress", || {
                    Ok(self.scene.size("ledger.jsonl") >= wanted || !run.is_running()?)
                });
                assert!(progress.is_ok(), "{progress:?}\n{:?}", run.errors());
            }
            sleep(Duration::from_millis(self.draws.below(120)));
            let killed = run.signal("KILL");
            assert!(
                killed.is_ok(),
                "kill {kill}: {killed:?}\n{:?}",
                run.errors()
            );
        }
    }

    fn end_in_order(&self) {
        let args = ["run", "--until-idle", "--history", "history.jsonl"];
        let requests: u64 = self.accounts.values().sum();
        let limit = PATIENCE + Duration::from_millis(5 * requests);
        let ended = self.scene.start(&args).unwrap().wait_for(limit).unwrap();
        assert_eq!(ended.code, Some(0), "{ended:#?}");
        let audit = self.scene.start(&["audit", "history.jsonl"]).unwrap();
        let audit = audit.wait_for(limit).unwrap();
        assert_eq!(audit.code, Some(0), "{audit:#?}");
    }

    /// The workers' own word: nothing lost, each account in order, repeats within G8.
    fn check_ledger(&self) {
        let checked = self.scene.check("requests.jsonl", "ledger.jsonl", CAP);
        let figures = checked.unwrap();
        eprintln!("{figures}");
        let count = |name: &str| figures[name].as_u64().unwrap_or(u64::MAX);
        assert_eq!(count("requests"), self.accounts.values().sum::<u64>());
        assert!(
            count("runs") > 2,
            "the kills came before any work: {figures}"
        );
        let per_kill = PARTITIONS * UNFLUSHED + u64::from(CAP) * RUN;
        let allowed = self.kills * per_kill + count("deaths") * RUN;
        assert!(
            count("repeats") <= allowed,
            "more than {allowed}: {figures}"
        );
    }

    fn run(&self, args: &[&str]) -> Ended {
        self.scene.run(args).unwrap()
    }
}

fn config(worker_args: &str) -> String {
    format!(
        r#"
app = "chaos"
cap = {CAP}
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
unflushed_max = {UNFLUSHED}

[handler]
type = "exec"
command = [WORKER, {worker_args}]
records_per_call = {RUN}
"#
    )
}

#[test]
fn killed_at_random_moments_nothing_is_lost_or_reordered() {
    let requests = setting("LANEKEEPER_TEST_REQUESTS", 12_000);
    let kills = setting("LANEKEEPER_TEST_KILLS", 10);
    let mut chaos = Chaos::new(r#""--fails", "10", "--dies", "2""#, requests, kills);
    let put = [
        "put",
        "--topic",
        "orders",
        "--key",
        "account",
        "requests.jsonl",
    ];
    assert_eq!(chaos.run(&put).code, Some(0));
    chaos.kill_again_and_again();
    chaos.end_in_order();
    chaos.check_ledger();
}

#[test]
fn killed_at_random_moments_effects_happen_exactly_once() {
    let requests = setting("LANEKEEPER_TEST_REQUESTS", 6_000);
    let kills = setting("LANEKEEPER_TEST_KILLS", 8);
    let mut chaos = Chaos::new(r#""--fails", "10", "--effects""#, requests, kills);
    let put = [
        "put",
        "--topic",
        "orders",
        "--key",
        "account",
        "requests.jsonl",
    ];
    assert_eq!(chaos.run(&put).code, Some(0));
    chaos.kill_again_and_again();
    chaos.end_in_order();
    chaos.check_ledger();
    for (account, count) in &chaos.accounts {
        let value = chaos.run(&["value", "get", "counts", account]);
        assert_eq!(
            value.output.trim(),
            count.to_string(),
            "{account}: {value:#?}"
        );
    }
}

#[test]
fn the_checker_sees_what_is_wrong() {
    let scene = Scene::new("").unwrap();
    let line = |event: &str, run: u32, n: u32| {
        format!(
            "{{\"event\":\"{event}\",\"run\":{run},\"worker\":1,\"account\":\"a\",\"n\":{n}}}\n"
        )
    };
    let requests = "{\"account\":\"a\",\"n\":1}\n{\"account\":\"a\",\"n\":2}\n";
    scene.write("requests.jsonl", requests).unwrap();
    let one = line("started", 1, 1) + &line("done", 1, 1);
    let two = line("started", 1, 2) + &line("done", 1, 2);
    let cases = [
        ("in order", format!("{one}{two}"), None),
        (
            "repeated by a later run",
            format!("{one}{two}{}", line("started", 2, 1)),
            None,
        ),
        ("lost", one.clone(), Some("never done")),
        ("reordered", format!("{two}{one}"), Some("is not done")),
        (
            "repeated for nothing",
            format!("{one}{one}{two}"),
            Some("was done"),
        ),
        (
            "overtaken while under way",
            format!("{}{two}{}", line("started", 1, 1), line("done", 1, 1)),
            Some("is not done"),
        ),
        (
            "a dead run goes on",
            format!("{one}{}{two}", line("started", 2, 1)),
            Some("goes on"),
        ),
    ];
    for (what, ledger, wanted) in cases {
        scene.write("ledger.jsonl", &ledger).unwrap();
        let checked = scene.check("requests.jsonl", "ledger.jsonl", CAP);
        match (checked, wanted) {
            (Ok(_), None) => {}
            (Err(error), Some(text)) if error.to_string().contains(text) => {}
            (checked, wanted) => unreachable!("{what}: {checked:?}, expected {wanted:?}"),
        }
    }
}
