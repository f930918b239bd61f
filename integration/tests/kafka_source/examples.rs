//! The example workers, behind a member of a group: payments of a few accounts, one of them no payment.

use crate::bench::{Bench, Written, stop};
use lanekeeper_integration::{
    kafka::Kafka,
    scene::{Running, eventually, example},
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs::File,
    process::{Child, Command, Stdio},
};

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples");

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Which partition each account's payments are in.
const ACCOUNTS: [(&str, i32); 4] = [("ann", 0), ("bob", 0), ("cid", 1), ("dan", 1)];

/// Payments of each account, before and behind the one that is none. Each is a power of two, so that a sum
/// says which ones are in it.
const EACH: u32 = 6;

/// The one that is none: so many of `ann` lie before it.
const BAD: u32 = 3;

/// Where that one is in partition 0, in which the accounts take turns.
const BAD_AT: i64 = 2 * BAD as i64;

fn bench(handler: &str) -> Bench {
    let kafka = Kafka::start().unwrap();
    let topic = Kafka::topic_name();
    kafka.create_topic(&topic, 2, &[]).unwrap();
    let handler = format!("{handler}\nrecords_per_call = 16");
    Bench::with_handler(kafka, topic, &handler)
}

/// Writes payments of all accounts in turn, those of `ann` with a bad one among them.
fn pay(bench: &Bench, payments: std::ops::Range<u32>) {
    let mut values = Vec::new();
    for payment in payments {
        for (account, partition) in ACCOUNTS {
            let cents = if (account, payment) == ("ann", BAD) {
                "\"eight\"".to_owned()
            } else {
                (1 << payment).to_string()
            };
            let value = format!("{{\"account\":\"{account}\",\"cents\":{cents}}}");
            values.push((account, partition, value));
        }
    }
    let records: Vec<_> = { values.iter() }
        .map(|(account, partition, value)| Written {
            partition: Some(*partition),
            key: Some(account.as_bytes()),
            value: Some(value.as_bytes()),
            ..Written::default()
        })
        .collect();
    bench.write(&records);
}

/// The sums that the workers' effects have come to.
fn totals(bench: &Bench) -> BTreeMap<String, u32> {
    let list = bench.scene.run(&["value", "list", "totals"]).unwrap();
    let lines = list.output.lines();
    let each = lines.filter_map(|line| line.split_once('\t'));
    each.map(|(account, sum)| (account.to_owned(), sum.parse().unwrap()))
        .collect()
}

/// Waits until `ann` has this sum, and the others all of so many payments.
fn wait_for(bench: &Bench, ann: u32, payments: u32) {
    let wanted: BTreeMap<String, u32> = { ACCOUNTS.iter() }
        .map(|(account, _)| match *account {
            "ann" => ("ann".to_owned(), ann),
            other => (other.to_owned(), (1 << payments) - 1),
        })
        .collect();
    let waited = eventually("the sums", || Ok(totals(bench) == wanted));
    assert!(waited.is_ok(), "{wanted:?} {:?}", totals(bench));
}

/// The one lane that stands.
fn standing(bench: &Bench) -> Value {
    let mut lanes = Vec::new();
    eventually("a lane that stands", || {
        let list = bench.scene.run(&["lanes", "list", "--json"])?;
        lanes = list.json()?["lanes"].as_array().unwrap().clone();
        Ok(!lanes.is_empty())
    })
    .unwrap();
    let [lane] = &lanes[..] else {
        unreachable!("one lane stands: {lanes:?}");
    };
    assert_eq!(lane["key"], "ann");
    assert_eq!(lane["partition"], format!("{}/0", bench.topic));
    assert_eq!(lane["position"], BAD_AT.to_string());
    lane.clone()
}

/// Waits until the group's offsets are these.
fn wait_for_offsets(bench: &Bench, wanted: [i64; 2]) {
    let committed = || bench.kafka.committed(&bench.topic, &bench.topic);
    let waited = eventually("the offsets", || Ok(committed()? == wanted.map(Some)));
    assert!(waited.is_ok(), "{wanted:?} {:?}", committed());
}

fn decide(bench: &Bench, verb: &str) {
    let args = ["lanes", verb, "--key", "ann", "--why", "a test", "--wait"];
    let decided = bench.scene.run(&args).unwrap();
    assert_eq!(decided.code, Some(0), "{decided:#?}");
}

/// Records of each account that had no bad one started in their order, each once. Of `ann` the audit says so:
/// what shared a run with the bad one may have started twice.
fn started_in_order(bench: &Bench, payments: u32) {
    let lines = bench.ledger("history");
    let started = lines.iter().filter(|line| line["event"] == "started");
    let started: Vec<_> = started.collect();
    for (number, (account, _)) in (0_i64..).zip(ACCOUNTS) {
        let of_account = started.iter().filter(|line| line["key"] == account);
        let found: Vec<i64> = { of_account }
            .map(|line| line["position"].as_str().unwrap().parse().unwrap())
            .collect();
        let wanted = (0..i64::from(payments)).map(|n| 2 * n + number % 2);
        assert!(
            account == "ann" || found == wanted.collect::<Vec<_>>(),
            "{account}: {found:?}"
        );
    }
}

fn sum(payments: std::ops::Range<u32>) -> u32 {
    payments.map(|payment| 1 << payment).sum()
}

#[test]
fn the_exec_worker_of_the_examples_stops_one_account_and_serves_the_others() {
    let bench = bench(&format!(
        "type = \"exec\"\ncommand = [\"python3\", \"{EXAMPLES}/exec_worker.py\"]"
    ));
    let member = bench.member("history");
    pay(&bench, 0..EACH);
    let lane = standing(&bench);
    assert_eq!(
        (&lane["state"], &lane["attempts"]),
        (&"stopped".into(), &1.into())
    );
    assert!(
        lane["error"].as_str().unwrap().contains("not a payment"),
        "{lane}"
    );
    wait_for(&bench, sum(0..BAD), EACH);
    // What comes later of the others runs, too.
    pay(&bench, EACH..2 * EACH);
    wait_for(&bench, sum(0..BAD), 2 * EACH);
    // The group hears of the frontier: it stands before the bad one, though all behind it of `bob` is done.
    let end = i64::from(4 * EACH);
    wait_for_offsets(&bench, [BAD_AT, end]);
    decide(&bench, "skip");
    wait_for(&bench, sum(0..2 * EACH) - sum(BAD..BAD + 1), 2 * EACH);
    wait_for_offsets(&bench, [end, end]);
    stop(member);
    started_in_order(&bench, 2 * EACH);
    bench.audit(&["history"]);
}

/// A program of the examples that ends with the test.
struct Program(Child);

impl Program {
    /// The endpoint at a port that the system gives, and its address.
    fn endpoint(bench: &Bench) -> (Self, String) {
        let said = bench.scene.path("endpoint");
        let script = format!("{EXAMPLES}/http_worker.py");
        let child = Command::new("python3")
            .args([&script, "127.0.0.1:0"])
            .env("WEBHOOK_SECRET", SECRET)
            .stdin(Stdio::null())
            .stderr(File::create(&said).unwrap())
            .spawn()
            .unwrap();
        let endpoint = Self(child);
        let mut address = String::new();
        eventually("the endpoint's address", || {
            let said = std::fs::read_to_string(&said)?;
            let whole = said.strip_suffix('\n').unwrap_or_default();
            let found = whole.rsplit("listening at ").next();
            found.unwrap_or_default().clone_into(&mut address);
            Ok(!address.is_empty())
        })
        .unwrap();
        (endpoint, address)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself; its status is collected in any case.
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

/// Signs what it sends, as the endpoint demands.
fn member(bench: &Bench, address: &str) -> Running {
    let url = format!("handler.url=\"{address}records\"");
    let args = ["run", "--history", "history", "--set", &url];
    let secret = [("WEBHOOK_SECRET", SECRET.to_owned())];
    bench.scene.start_within(&args, &secret).unwrap()
}

#[test]
fn the_http_worker_of_the_examples_parks_one_account_and_serves_the_others() {
    let mut handler = String::from("type = \"http\"\nurl = \"http://127.0.0.1:1/\"\n");
    handler.push_str("secret = { env = \"WEBHOOK_SECRET\" }");
    let bench = bench(&handler);
    let file = bench.scene.path("lanekeeper.toml");
    let config = std::fs::read_to_string(file).unwrap();
    let config = config.replace("[failure]\n", "[failure]\nthen = \"park\"\n");
    bench.scene.write("lanekeeper.toml", &config).unwrap();
    let (_endpoint, address) = Program::endpoint(&bench);
    let member = member(&bench, &address);
    pay(&bench, 0..EACH);
    let lane = standing(&bench);
    assert_eq!(lane["state"], "parked");
    assert!(
        lane["error"].as_str().unwrap().contains("HTTP 422"),
        "{lane}"
    );
    wait_for(&bench, sum(0..BAD), EACH);
    pay(&bench, EACH..2 * EACH);
    wait_for(&bench, sum(0..BAD), 2 * EACH);
    // What is parked is in the store, and holds nothing back: the group hears of the end.
    let end = i64::from(4 * EACH);
    wait_for_offsets(&bench, [end, end]);
    // Without its head the chain stays parked until it is released.
    decide(&bench, "skip");
    decide(&bench, "release");
    wait_for(&bench, sum(0..2 * EACH) - sum(BAD..BAD + 1), 2 * EACH);
    stop(member);
    started_in_order(&bench, 2 * EACH);
    bench.audit(&["history"]);
}

#[test]
fn the_member_in_rust_of_the_examples_parks_one_account_and_drains() {
    let program = example("kafka").unwrap();
    let bench = bench("");
    let file = bench.scene.path("lanekeeper.toml");
    let config = std::fs::read_to_string(&file).unwrap();
    let (config, _) = config.split_once("[handler]").unwrap();
    let config = config.replace("[failure]\n", "[failure]\nthen = \"park\"\n");
    bench.scene.write("lanekeeper.toml", &config).unwrap();
    let values = ["ann 1", "bob 2", "nonsense", "ann 4", "bob 8"];
    let records: Vec<_> = { values.iter() }
        .map(|value| Written {
            partition: Some(0),
            key: Some(if value.starts_with("bob") {
                b"bob"
            } else {
                b"ann"
            }),
            value: Some(value.as_bytes()),
            ..Written::default()
        })
        .collect();
    bench.write(&records);
    let mut member = { &bench.scene }.start_as(&program, &["run"], &[]).unwrap();
    // The store's file is there once the member is.
    eventually("the sums", || {
        let has_store = bench.scene.size("lanekeeper.db") > 0;
        let wanted = [("ann".to_owned(), 1), ("bob".to_owned(), 10)];
        Ok(has_store && totals(&bench) == BTreeMap::from(wanted))
    })
    .unwrap();
    eventually("the lane", || {
        let list = bench.scene.run(&["lanes", "list"])?;
        Ok(list.output.contains("key `ann`, at 2")
            && list.output.contains("2 records in its chain"))
    })
    .unwrap();
    let committed = || bench.kafka.committed(&bench.topic, &bench.topic);
    eventually("the offset", || Ok(committed()?[0] == Some(5))).unwrap();
    decide(&bench, "skip");
    member.signal("TERM").unwrap();
    let drained = member.wait().unwrap();
    assert_eq!(drained.code, Some(0), "{drained:#?}");

    // What came since runs by the same program's `recover`, with the same handler, behind the chain.
    bench.write(&records[3..]);
    let release = ["lanes", "release", "--key", "ann", "--why", "a test"];
    let decided = bench.scene.run(&release).unwrap();
    assert_eq!(decided.code, Some(0), "{decided:#?}");
    let recovered = bench.scene.start_as(&program, &["recover"], &[]).unwrap();
    let recovered = recovered.wait().unwrap();
    assert_eq!(recovered.code, Some(0), "{recovered:#?}");
    let wanted = [("ann".to_owned(), 9), ("bob".to_owned(), 18)];
    assert_eq!(totals(&bench), BTreeMap::from(wanted));
}
