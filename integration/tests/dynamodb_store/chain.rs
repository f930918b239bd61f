//! A lane whose chain grows to thousands of records, and drains, while its worker is killed again and
//! again.

use crate::bench::{CLOSED, Requests, chain, lanes, succeeds, values};
use fastrand::Rng;
use lanekeeper_integration::{
    proxy::{Fault, Faults, Kind, Proxy, Rule},
    scene::{Running, Scene, eventually},
    tables::Tables,
};
use serde_json::Value;
use std::{thread::sleep, time::Duration};

const CAP: u32 = 3;
const HELD: u64 = 5_000;
/// With little memory, the chain grows by some hundred records at a time.
const RECORD_BYTES: usize = 1_500;
const KILLS_OF_PARKS: u32 = 7;
const KILLS_OF_DRAINS: u32 = 5;
const PARTITION: &str = "app#chain#orders/orders/0";
const RUN: [&str; 3] = ["run", "--history", "history.jsonl"];

const CONFIG: &str = r#"
app = "chain"
cap = 3
memory = "1MiB"
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
command = [WORKER, "--effects", "--each", "--closed", "hot"]
records_per_call = 40
"#;

struct Case {
    tables: Tables,
    scene: Scene,
    store: String,
    proxy: Proxy,
    random: Rng,
    requests: Requests,
}

impl Case {
    fn new() -> Self {
        let tables = Tables::start().unwrap();
        let (scene, store) = tables.scene(CONFIG).unwrap();
        let faults = Faults::drawn().unwrap();
        println!("replay the draws with LANEKEEPER_TEST_SEED={}", faults.seed);
        let random = Rng::with_seed(faults.seed);
        let (short, long) = (Duration::from_millis(20), Duration::from_millis(200));
        let faults = faults
            .rule(Rule::sometimes(Fault::DelayRequest(long), 300).on(["TransactWriteItems"]))
            .rule(Rule::sometimes(Fault::DelayResponse(short), 300))
            .rule(Rule::sometimes(Fault::DropResponse, 50).on_writes());
        let proxy = Proxy::start(tables.dynamodb().endpoint(), faults).unwrap();
        let mut requests = Requests::default();
        for n in 0..HELD {
            requests.add(CLOSED, RECORD_BYTES);
            if n % 50 == 0 {
                requests.add(&format!("a{}", n % 7), 0);
            }
        }
        requests.put(&scene, "1");
        Self {
            tables,
            scene,
            store,
            proxy,
            random,
            requests,
        }
    }

    fn start(&self) -> Running {
        let through = self.tables.through(&self.proxy);
        self.scene.start_within(&RUN, &through).unwrap()
    }

    /// Records in the chain; 0: it is none yet, or none any more.
    fn held(&self) -> u64 {
        let lanes = lanes(&self.scene);
        lanes
            .first()
            .map_or(0, |lane| lane["count"].as_u64().unwrap())
    }

    /// Kills it somewhere in the next commits.
    fn kill_within_commits(&mut self) {
        let commits = |proxy: &Proxy| proxy.counts().requests_for("TransactWriteItems");
        let wanted = commits(&self.proxy) + self.random.u64(1..4);
        let mut run = self.start();
        eventually("commits", || Ok(commits(&self.proxy) >= wanted)).unwrap();
        sleep(Duration::from_millis(self.random.u64(..100)));
        let killed = run.signal("KILL");
        assert!(killed.is_ok(), "{killed:?}\n{:?}", run.errors());
    }

    /// Lets it go on for some records, then ends it by this signal.
    fn end_within_records(&mut self, signal: &str) {
        let wanted = self.scene.size("ledger.jsonl") + self.random.u64(1..80_000);
        let mut run = self.start();
        eventually("records", || {
            assert!(run.is_running()?, "{}", run.errors()?);
            Ok(self.scene.size("ledger.jsonl") >= wanted)
        })
        .unwrap();
        sleep(Duration::from_millis(self.random.u64(..100)));
        run.signal(signal).unwrap();
        let ended = run.wait().unwrap();
        assert!(signal == "KILL" || ended.code == Some(0), "{ended:#?}");
    }

    /// Items of the lane and of its chain.
    fn items(&self) -> Vec<Value> {
        let items = self.tables.items(&self.store, PARTITION).unwrap();
        let lane = items
            .iter()
            .find_map(|item| item["sk"]["S"].as_str()?.strip_prefix("lane#k"));
        let Some(hash) = lane else {
            return Vec::new();
        };
        let chain = format!("{PARTITION}#k{hash}");
        self.tables.items(&self.store, &chain).unwrap()
    }
}

#[test]
fn g7_a_chain_of_thousands_is_whole_and_in_order_while_its_worker_is_killed() {
    let mut case = Case::new();
    for kill in 0..KILLS_OF_PARKS {
        case.kill_within_commits();
        let held = case.held();
        println!("kill {kill}: {held} are in the chain");
        assert!(held < HELD, "it was over before kill {kill}");
    }
    let parked = case.scene.run(&[&RUN[..], &["--until-idle"]].concat());
    let parked = parked.unwrap();
    assert_eq!(parked.code, Some(3), "{parked:#?}");
    assert_eq!(case.held(), HELD);
    assert_eq!(chain(&case.scene), (1..=HELD).collect::<Vec<_>>());
    let segments = case.items();
    assert!(!segments.is_empty());

    case.scene.write("mended", "").unwrap();
    succeeds(&case.scene, &["lanes", "release", "--all"]);
    for kill in 0..KILLS_OF_DRAINS {
        case.end_within_records("KILL");
        let held = case.held();
        println!("kill {kill}: {held} are left in the chain");
        assert!(held > 0, "it was over before kill {kill}");
        if kill == 1 {
            // Arrivals join behind what is held.
            (0..200).for_each(|_| case.requests.add(CLOSED, RECORD_BYTES));
            case.requests.put(&case.scene, "1");
        }
        // After two deaths in a row each record would be announced before it starts.
        case.end_within_records("TERM");
    }
    let pk = segments[0]["pk"]["S"].as_str().unwrap();
    succeeds(&case.scene, &[&RUN[..], &["--until-idle"]].concat());

    let accounts = &case.requests.accounts;
    assert_eq!(&values(&case.scene, "counts"), accounts);
    let each = values(&case.scene, "each");
    let count = accounts.values().sum::<u64>();
    assert_eq!(each.len() as u64, count);
    assert!(each.values().all(|times| *times == 1));
    let figures = case.scene.check("requests.jsonl", "ledger.jsonl", CAP);
    let figures = figures.unwrap();
    println!("{figures}, {}", case.proxy);
    assert_eq!(figures["requests"], count);
    succeeds(&case.scene, &["audit", "history.jsonl"]);
    assert!(lanes(&case.scene).is_empty());
    let left = case.tables.items(&case.store, pk).unwrap();
    assert!(
        left.is_empty(),
        "{} items of the chain stay behind",
        left.len()
    );
    assert!(case.proxy.counts().of(Kind::ResponseDropped) > 0);
    assert_eq!(case.proxy.counts().of(Kind::Invalid), 0, "{}", case.proxy);
}
