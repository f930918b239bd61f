//! An owner that is frozen, or cut off, and taken over from: what it still had to say, or had already
//! sent, is refused and leaves nothing in store, chain or effects.

use crate::bench::{
    CLOSED, Requests, applied, chain, freeze, in_order, lanes, of_run, succeeds, values,
};
use lanekeeper_integration::{
    proxy::{Entry, Faults, Kind, Proxy},
    scene::{Ended, Running, Scene, eventually},
    tables::Tables,
};
use rusqlite::Connection;
use serde_json::Value;
use std::{collections::BTreeMap, fs, time::Duration};

const CAP: u32 = 4;
const ACCOUNTS: usize = 20;
const REQUESTS: usize = 1_000;
/// So much, and so little memory, that chain and effects grow together until the end.
const RECORD_BYTES: usize = 4_000;
const PARTITION: &str = "app#frozen#orders/orders/0";
const REFUSED: &str = "1 write refused: another worker owns the partitions";
const RUN: [&str; 3] = ["run", "--history", "history.jsonl"];

const CONFIG: &str = r#"
app = "frozen"
cap = 4
memory = "1MiB"
drain = "3s"

[sources.orders]
type = "local"
topic = "orders"

[failure]
backoff_min = "1ms"
timeout = "2s"
then = "park"

[store]
flush_interval = "20ms"

[handler]
type = "exec"
command = [WORKER, "--millis", "5", "--effects", "--dynamodb", "TABLE", "--closed", "hot"]
"#;

/// One partition with two owners, one after the other.
struct Case {
    tables: Tables,
    scene: Scene,
    store: String,
    target: String,
    accounts: BTreeMap<String, u64>,
}

/// All that an owner can change.
#[derive(PartialEq, Debug)]
struct Seen {
    checkpoint: Value,
    lanes: Vec<Value>,
    chain: Vec<u64>,
    counts: BTreeMap<String, u64>,
    applied: BTreeMap<String, Vec<u64>>,
}

impl Case {
    fn new() -> Self {
        let tables = Tables::start().unwrap();
        let target = tables.user_table().unwrap();
        let (scene, store) = tables.scene(&CONFIG.replace("TABLE", &target)).unwrap();
        let mut requests = Requests::default();
        for i in 0..REQUESTS {
            let account = if i % 5 == 0 {
                CLOSED
            } else {
                &format!("a{}", i % ACCOUNTS)
            };
            requests.add(account, RECORD_BYTES);
        }
        requests.put(&scene, "1");
        Self {
            tables,
            scene,
            store,
            target,
            accounts: requests.accounts,
        }
    }

    /// What stands between the table and one worker.
    fn proxy(&self) -> Proxy {
        let kept = Faults {
            is_journal_kept: true,
            ..Faults::none()
        };
        Proxy::start(self.tables.dynamodb().endpoint(), kept).unwrap()
    }

    /// Starts the first owner and waits until its chain and its effects grow.
    fn start(&self, environment: &[(&'static str, String)]) -> Running {
        let worker = self.scene.start_within(&RUN, environment).unwrap();
        eventually("a chain", || {
            let lanes = lanes(&self.scene);
            Ok(lanes
                .first()
                .is_some_and(|lane| lane["count"].as_u64() > Some(20)))
        })
        .unwrap();
        worker
    }

    fn seen(&self) -> Seen {
        let checkpoint = self.checkpoint();
        let lanes = lanes(&self.scene);
        let chain = chain(&self.scene);
        Seen {
            checkpoint,
            lanes,
            chain,
            counts: values(&self.scene, "counts"),
            applied: applied(&self.tables, &self.target),
        }
    }

    /// The item itself, as the table has it.
    fn checkpoint(&self) -> Value {
        let items = self.tables.items(&self.store, PARTITION).unwrap();
        let item = items
            .into_iter()
            .find(|item| item["sk"]["S"] == "checkpoint");
        item.unwrap()
    }

    fn epoch(&self) -> String {
        self.checkpoint()["epoch"]["N"].as_str().unwrap().to_owned()
    }

    /// The other owner's end: everything is applied but what is parked, once, and in order.
    fn assert_all_but_the_closed(&self, successor: &Ended) -> Seen {
        assert_eq!(successor.code, Some(3), "{successor:#?}");
        let seen = self.seen();
        let mut open = self.accounts.clone();
        let closed = open.remove(CLOSED).unwrap();
        assert_eq!(seen.counts, open);
        assert_eq!(seen.applied, in_order(&open));
        assert_eq!(seen.lanes.len(), 1, "{:#?}", seen.lanes);
        assert_eq!(seen.lanes[0]["count"], closed, "{:#?}", seen.lanes);
        assert_eq!(seen.chain, (1..=closed).collect::<Vec<_>>());
        seen
    }

    /// The first owner wakes up, hears that it is none, and changes nothing.
    fn wake(&self, mut frozen: Running, seen: &Seen) {
        let frozen_id = frozen.id();
        let before = of_run(&self.scene, frozen_id);
        frozen.signal("CONT").unwrap();
        let woken = frozen.wait().unwrap();
        assert_eq!(woken.code, Some(4), "it was replaced: {woken:#?}");
        // By the first that it hears of: the log's lock, or the table.
        let told = ["is not this process's any more: it is held by", REFUSED];
        assert!(
            told.iter().any(|told| woken.errors.contains(told)),
            "{woken:#?}"
        );
        assert_eq!(
            of_run(&self.scene, frozen_id),
            before,
            "it started something"
        );
        assert_eq!(&self.seen(), seen, "it changed something");
    }

    /// What the chain holds runs, in order, and nothing is left.
    fn release(&self) {
        self.scene.write("mended", "").unwrap();
        succeeds(
            &self.scene,
            &["lanes", "release", "--all", "--why", "mended"],
        );
        succeeds(&self.scene, &[&RUN[..], &["--until-idle"]].concat());
        assert_eq!(values(&self.scene, "counts"), self.accounts);
        assert_eq!(
            applied(&self.tables, &self.target),
            in_order(&self.accounts)
        );
        let figures = self
            .scene
            .check("requests.jsonl", "ledger.jsonl", CAP)
            .unwrap();
        assert_eq!(figures["requests"], REQUESTS);
        assert_eq!(figures["runs"], 3);
        succeeds(&self.scene, &["audit", "history.jsonl"]);
    }
}

#[test]
fn g6_a_frozen_owner_is_taken_over_and_changes_nothing_when_it_wakes_up() {
    let case = Case::new();
    let mut frozen = case.start(&[]);
    let id = frozen.id();
    freeze(&case.scene, &mut frozen, || {
        is_in_flight(&of_run(&case.scene, id))
    });
    let over = [&RUN[..], &["--until-idle", "--take-over"]].concat();
    let successor = case.scene.run(&over).unwrap();
    let seen = case.assert_all_but_the_closed(&successor);
    case.wake(frozen, &seen);
    case.release();
}

/// Whether something was started whose end is not written.
fn is_in_flight(ledger: &[Value]) -> bool {
    let count = |event: &str| ledger.iter().filter(|line| line["event"] == event).count();
    count("started") > count("done") + count("failed")
}

#[test]
fn g6_what_a_frozen_owner_had_sent_is_refused_when_it_arrives_after_a_take_over() {
    let case = Case::new();
    let proxy = case.proxy();
    let mut frozen = case.start(&case.tables.through(&proxy));
    let late = hold_a_commit(&proxy, &case.target);
    freeze(&case.scene, &mut frozen, || true);
    assert_eq!(proxy.journal()[late].status, None);
    assert_eq!(case.epoch(), "1");

    let over = [&RUN[..], &["--until-idle", "--take-over"]].concat();
    let successor = case.scene.start(&over).unwrap();
    eventually("the take-over", || Ok(case.epoch() == "2")).unwrap();
    let claimed = case.checkpoint();
    proxy.thaw();
    assert_refused(&proxy, late);
    for owner in ["worker", "epoch"] {
        assert_eq!(case.checkpoint()[owner], claimed[owner]);
    }

    let successor = successor.wait().unwrap();
    let seen = case.assert_all_but_the_closed(&successor);
    case.wake(frozen, &seen);
    assert_refused(&proxy, late);
    case.release();
}

/// A copy of the log on another machine has another lock: the table alone tells who owns what.
#[test]
fn g6_an_owner_that_is_cut_off_is_told_by_the_table_that_it_is_none_any_more() {
    let case = Case::new();
    let proxy = case.proxy();
    let cut_off = case.start(&case.tables.through(&proxy));
    let late = hold_a_commit(&proxy, &case.target);

    let environment = case.tables.dynamodb().environment();
    let config = fs::read_to_string(case.scene.path("lanekeeper.toml")).unwrap();
    let elsewhere = Scene::within(&config, environment).unwrap();
    let log = Connection::open(case.scene.path("lanekeeper.db")).unwrap();
    let copy = elsewhere.path("lanekeeper.db");
    log.execute("VACUUM INTO ?1", [copy.to_str()]).unwrap();
    let successor = elsewhere.run(&["run", "--until-idle"]).unwrap();
    let seen = case.assert_all_but_the_closed(&successor);

    proxy.thaw();
    let told = cut_off.wait().unwrap();
    assert_eq!(told.code, Some(4), "{told:#?}");
    assert!(told.errors.contains(REFUSED), "{told:#?}");
    assert_refused(&proxy, late);
    assert_eq!(case.seen(), seen, "it changed something");
}

/// What was held, whether it or its repeat came first, and all that came behind it through this proxy,
/// changed nothing.
fn assert_refused(proxy: &Proxy, late: usize) {
    let changes = ["TransactWriteItems", "UpdateItem", "DeleteItem"];
    // Of itself, for `status`, a worker may say what it likes.
    let is_own = |entry: &Entry| entry.body["Key"]["pk"]["S"] == "app#frozen";
    eventually("the late commit", || {
        let journal = proxy.journal();
        let writes = journal[late..]
            .iter()
            .filter(|entry| changes.contains(&entry.operation.as_str()) && !is_own(entry));
        let mut is_told = false;
        for write in writes {
            assert_ne!(write.status, Some(200), "{write:#?}");
            is_told |= write.status.is_some();
        }
        Ok(is_told)
    })
    .unwrap();
}

/// Holds a commit on its way to the table, with effects and what joins the chain, and gives its number in
/// the journal.
fn hold_a_commit(proxy: &Proxy, target: &str) -> usize {
    let mut late = None;
    eventually("a commit to hold", || {
        proxy.freeze(Duration::from_secs(300));
        let before = proxy.counts().of(Kind::Frozen);
        eventually("something held", || {
            Ok(proxy.counts().of(Kind::Frozen) > before)
        })?;
        let journal = proxy.journal();
        late = journal.iter().rposition(|entry| {
            let body = entry.body.to_string();
            let held = entry.status.is_none() && entry.faults == [Kind::Frozen];
            held && body.contains(target) && body.contains("segment#")
        });
        if late.is_none() {
            proxy.thaw();
        }
        Ok(late.is_some())
    })
    .unwrap();
    late.unwrap()
}
