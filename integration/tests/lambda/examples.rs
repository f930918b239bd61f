//! The examples in Rust, as functions: what docs/kinesis-lambda.md lets a newcomer see.

use crate::world::{World, named, stream};
use lanekeeper_integration::{
    kinesis::Kinesis,
    lambda::{Journal, Mapping, Outcome, Queue, Stream},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs};

/// The order that is refused.
const WRONG: &str = r#"{"order": 3, "amount": -30}"#;

fn totals<'a>(of: impl IntoIterator<Item = (&'a str, i64)>) -> BTreeMap<String, i64> {
    let totals = of.into_iter();
    totals.map(|(key, sum)| (key.to_owned(), sum)).collect()
}

/// What stands between these two on the page.
fn on_the_page(before: &str, behind: &str) -> String {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/kinesis-lambda.md");
    let page = fs::read_to_string(page).unwrap();
    let [_, rest] = &page.split(before).collect::<Vec<_>>()[..] else {
        unreachable!("`{before}` is there once");
    };
    rest.split_once(behind).unwrap().0.to_owned()
}

/// The orders of the page.
const ORDERS: [(&str, &str); 4] = [
    ("customer-17", r#"{"order": 1, "amount": 10}"#),
    ("customer-18", r#"{"order": 2, "amount": 20}"#),
    ("customer-17", WRONG),
    ("customer-17", r#"{"order": 4, "amount": 40}"#),
];

/// The function of the page, asked about by the operator's configuration of the page: but for its stream,
/// which is ours, and its table, which is a new one.
fn page(stream: &Stream) -> World {
    let own = "[store]\ntype = \"dynamodb\"\ntable = \"lanekeeper\"\n";
    let arn = "arn:aws:kinesis:eu-central-1:123456789012:stream/orders";
    let operator = on_the_page("```toml\n", "```");
    assert!(
        operator.contains(own) && operator.contains(arn),
        "{operator}"
    );
    let operator = operator
        .replace(own, "[store]\n")
        .replace(arn, &stream.arn());
    World::kinesis_asked(stream, &[("app", "\"billing\""), ("cap", "20")], &operator)
}

#[test]
fn the_function_behind_a_stream_stops_one_customer_until_somebody_decides() {
    let stream = stream(&ORDERS);
    let world = page(&stream);
    let function = world.example("lambda_kinesis");
    let running = Mapping::kinesis(&function, &stream)
        .reports_failures()
        .start()
        .unwrap();
    let over = |least: usize| {
        let told = running.until("deliveries", |journal| journal.verdicts().len() >= least);
        told.unwrap();
    };
    over(2);
    let journal = running.journal();
    for delivery in &journal.deliveries[..2] {
        assert_eq!(named(delivery), [WRONG], "it alone holds the shard");
    }
    let [lane] = &world.lanes()[..] else {
        unreachable!("one lane stands");
    };
    assert!(
        lane["error"].as_str().unwrap().contains("negative amount"),
        "{lane:#}"
    );
    assert_eq!(
        world.values("totals"),
        totals([("customer-17", 10), ("customer-18", 20)]),
        "order 4 waits behind order 3"
    );

    world.lanekeeper(&[
        "lanes",
        "skip",
        "--key",
        "customer-17",
        "--why",
        "a typing error",
    ]);
    running.until_idle().unwrap();
    running.stop().unwrap();
    assert!(world.lanes().is_empty(), "live again");
    assert_eq!(
        world.values("totals"),
        totals([("customer-17", 50), ("customer-18", 20)]),
        "each of them once"
    );
}

#[test]
fn a_customer_that_is_parked_is_out_of_the_way_until_what_waits_is_released() {
    let stream = stream(&ORDERS);
    let world = page(&stream);
    let function = world.example("lambda_kinesis");
    let running = Mapping::kinesis(&function, &stream)
        .reports_failures()
        .start()
        .unwrap();
    let stands = |journal: &Journal| !journal.verdicts().is_empty();
    running.until("a delivery", stands).unwrap();
    let decide = |what: &str, why: &str| {
        world.lanekeeper(&["lanes", what, "--key", "customer-17", "--why", why]);
    };
    decide("park", "waits for the customer's word");
    running.until_idle().unwrap();
    stream
        .put("customer-17", r#"{"order": 5, "amount": 50}"#)
        .unwrap();
    running.until_idle().unwrap();
    let [lane] = &world.lanes()[..] else {
        unreachable!("one lane is parked");
    };
    assert_eq!(
        (&lane["state"], &lane["count"]),
        (&"parked".into(), &3.into())
    );
    let before = totals([("customer-17", 10), ("customer-18", 20)]);
    assert_eq!(world.values("totals"), before, "all later ones wait, too");

    let request = on_the_page("--payload '", "'");
    let invoke = || {
        let Outcome::Answered(answer) = function.invoke(&request).unwrap().outcome else {
            unreachable!("`{request}` is understood");
        };
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        answer["lanekeeper"]["release"].clone()
    };
    let standing = |records: u64| {
        json!({"lanes": 1, "done": 0, "standing": [{
            "source": "orders", "partition": "*", "key": "customer-17",
            "state": "parked", "records": records,
        }]})
    };
    assert_eq!(invoke(), standing(3), "order 3 is refused again");
    decide("skip", "withdrawn");
    assert_eq!(invoke(), standing(2), "it acts on the skip");
    assert_eq!(invoke(), json!({"lanes": 1, "done": 2, "standing": []}));
    running.until_idle().unwrap();
    running.stop().unwrap();
    assert!(world.lanes().is_empty(), "live again");
    let after = totals([("customer-17", 100), ("customer-18", 20)]);
    assert_eq!(world.values("totals"), after, "each of them once");
}

#[test]
fn what_the_function_leaves_open_runs_by_its_own_handler_from_an_operators_machine() {
    let kinesis = Kinesis::start().unwrap();
    let stream = kinesis.create_stream(1).unwrap();
    let put = |key: &str, order: &str| kinesis.put(&stream, key, order).unwrap();
    for (key, order) in ORDERS {
        put(key, order);
    }
    let world = page(&stream);
    let mapping = Mapping::kinesis(&world.example("lambda_kinesis"), &stream).reports_failures();
    mapping.deliveries_max(1).run().unwrap();
    // The mapping is disabled, and records go on to come.
    put("customer-18", r#"{"order": 5, "amount": 5}"#);
    let run = |args: &[&str]| world.example_on("lambda_kinesis", &kinesis, args);

    let two = run(&[
        "recover",
        "--set",
        "handler.type=http",
        "--set",
        "handler.url=http://127.0.0.1:9",
    ]);
    assert_eq!(two.code, Some(2), "{two:#?}");
    assert!(two.errors.contains("remove `handler.type`"), "{two:#?}");
    let checked = run(&["check"]);
    assert!(
        checked.output.contains("this program's own, in Rust"),
        "{checked:#?}"
    );

    let stands = run(&["recover"]);
    assert_eq!(stands.code, Some(3), "{stands:#?}");
    let sums = |of_17: i64| totals([("customer-17", of_17), ("customer-18", 25)]);
    assert_eq!(
        world.values("totals"),
        sums(10),
        "order 5 counts, order 3 stands"
    );
    let skipped = run(&[
        "lanes",
        "skip",
        "--key",
        "customer-17",
        "--why",
        "a typing error",
    ]);
    assert_eq!(skipped.code, Some(0), "{skipped:#?}");
    let recovered = run(&["recover"]);
    assert_eq!(recovered.code, Some(0), "{recovered:#?}");
    assert_eq!(
        world.values("totals"),
        sums(50),
        "order 4, each of them once"
    );

    let replay = [
        "replay",
        "--from",
        "1970-01-01T00:00:00Z",
        "--key",
        "customer-18",
    ];
    let replayed = run(&[&replay[..], &["--effects", "again"]].concat());
    assert_eq!(replayed.code, Some(0), "{replayed:#?}");
    let twice = totals([("customer-17", 50), ("customer-18", 50)]);
    assert_eq!(world.values("totals"), twice, "by the same handler");
}

#[test]
fn the_function_behind_a_fifo_queue_stops_one_account_and_serves_the_others() {
    let queue = Queue::fifo("orders");
    for (account, text) in [
        ("ann", "1"),
        ("bob", "2"),
        ("ann", "nonsense"),
        ("ann", "4"),
        ("bob", "8"),
    ] {
        queue.send_to(account, text);
    }
    let world = World::sqs(&queue, &[]);
    let function = world.example("lambda_sqs_fifo");
    let mapping = Mapping::sqs(&function, &queue).reports_failures();
    let journal = mapping.deliveries_max(1).run().unwrap();
    assert_eq!(named(&journal.deliveries[0]), ["nonsense", "4"]);
    assert_eq!(world.values("totals"), totals([("ann", 1), ("bob", 10)]));
    let [lane] = &world.lanes()[..] else {
        unreachable!("one lane stands");
    };
    assert!(
        lane["error"].as_str().unwrap().contains("no payment"),
        "{lane:#}"
    );
}
