//! What the tests share: requests, and the words of table, ledger and command line on what became of them.

use lanekeeper_integration::{
    scene::{Ended, Running, Scene, eventually},
    tables::Tables,
};
use rusqlite::Connection;
use serde_json::{Value, json};
use std::{collections::BTreeMap, fmt::Write as _, fs, time::Duration};

/// The account that workers with `--closed hot` reject.
pub(crate) const CLOSED: &str = "hot";

/// Records of each account so far.
#[derive(Default)]
pub(crate) struct Requests {
    pub(crate) accounts: BTreeMap<String, u64>,
    text: String,
}

impl Requests {
    /// One more for an account, of about so many bytes.
    pub(crate) fn add(&mut self, account: &str, bytes: usize) {
        let n = self.accounts.entry(account.to_owned()).or_insert(0);
        *n += 1;
        let line = json!({"account": account, "n": n, "pad": "x".repeat(bytes)});
        let _infallible = writeln!(self.text, "{line}");
    }

    /// Appends what came since the last time to the log, and to `requests.jsonl`.
    pub(crate) fn put(&mut self, scene: &Scene, partitions: &str) {
        let part = std::mem::take(&mut self.text);
        scene.write("part.jsonl", &part).unwrap();
        let all = fs::read_to_string(scene.path("requests.jsonl")).unwrap_or_default();
        scene.write("requests.jsonl", &(all + &part)).unwrap();
        let put = ["put", "--topic", "orders", "--key", "account"];
        let rest = ["--partitions", partitions, "part.jsonl"];
        succeeds(scene, &[&put[..], &rest[..]].concat());
    }
}

pub(crate) fn succeeds(scene: &Scene, args: &[&str]) -> Ended {
    let ended = scene.run(args).unwrap();
    assert_eq!(ended.code, Some(0), "{args:?}: {ended:#?}");
    ended
}

/// A value table: key and number.
pub(crate) fn values(scene: &Scene, table: &str) -> BTreeMap<String, u64> {
    let list = succeeds(scene, &["value", "list", table]);
    let rows = list.output.lines().map(|line| {
        let (key, value) = line.split_once('\t').unwrap();
        (key.to_owned(), value.parse().unwrap())
    });
    rows.collect()
}

/// What `worker.py --dynamodb` left in the user's table: the requests of each account, in the order in
/// which they were applied.
pub(crate) fn applied(tables: &Tables, table: &str) -> BTreeMap<String, Vec<u64>> {
    let number = |value: &Value| value["N"].as_str().unwrap().parse().unwrap();
    let items = tables.items(table, "applied").unwrap();
    let accounts = items.iter().map(|item| {
        let requests = item["requests"]["L"].as_array().unwrap();
        let account = item["sk"]["S"].as_str().unwrap().to_owned();
        (account, requests.iter().map(number).collect())
    });
    accounts.collect()
}

/// Each account's requests, in order: what the user's table has to say at the end.
pub(crate) fn in_order(accounts: &BTreeMap<String, u64>) -> BTreeMap<String, Vec<u64>> {
    let each = accounts
        .iter()
        .map(|(name, count)| (name.clone(), (1..=*count).collect()));
    each.collect()
}

/// The lanes that are not live.
pub(crate) fn lanes(scene: &Scene) -> Vec<Value> {
    let mut list = succeeds(scene, &["lanes", "list", "--json"])
        .json()
        .unwrap();
    array(list["lanes"].take())
}

pub(crate) fn array(value: Value) -> Vec<Value> {
    let told = value.to_string();
    serde_json::from_value(value).unwrap_or_else(|_| unreachable!("no array: {told}"))
}

/// `n` of each record in the one chain that there is, in its order.
pub(crate) fn chain(scene: &Scene) -> Vec<u64> {
    let show = ["lanes", "show", "--all", "--records", "100000", "--json"];
    let mut shown = succeeds(scene, &show).json().unwrap();
    let n = |record: Value| {
        let request: Value = serde_json::from_str(record["value"].as_str().unwrap()).unwrap();
        request["n"].as_u64().unwrap()
    };
    let records = array(shown["lanes"][0]["records"].take());
    records.into_iter().map(n).collect()
}

/// Events of one run in the ledger.
pub(crate) fn of_run(scene: &Scene, run: u32) -> Vec<Value> {
    let mut ledger = scene.lines("ledger.jsonl").unwrap_or_default();
    ledger.retain(|line| line["run"] == run);
    ledger
}

/// Freezes a worker at a moment when it is not in the middle of a write into the log's file, in which
/// `also` holds.
pub(crate) fn freeze(scene: &Scene, worker: &mut Running, mut also: impl FnMut() -> bool) {
    let file = Connection::open(scene.path("lanekeeper.db")).unwrap();
    file.busy_timeout(Duration::ZERO).unwrap();
    eventually("the moment to freeze", || {
        worker.signal("STOP")?;
        let state = format!("/proc/{}/stat", worker.id());
        eventually("the stop", || {
            Ok(fs::read_to_string(&state)?.contains(") T "))
        })?;
        let is_free = file.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_ok();
        if is_free && also() {
            return Ok(true);
        }
        worker.signal("CONT")?;
        Ok(false)
    })
    .unwrap();
}
