//! All faults at once: who repeats with a token until there is an answer has written exactly once.

use crate::client::{Client, Table};
use lanekeeper_integration::proxy::{Fault, Faults, Kind, Proxy, Rule};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

const WRITERS: usize = 4;
const WRITES: usize = 25;
const ATTEMPTS_MAX: u32 = 1_000;

/// Shorter than some requests take: their clients ask again before they have ended.
const PATIENCE: Duration = Duration::from_millis(30);

const MUST_HAPPEN: [Kind; 9] = [
    Kind::RequestDropped,
    Kind::ResponseDropped,
    Kind::RequestDelayed,
    Kind::ResponseDelayed,
    Kind::InternalError,
    Kind::InternalErrorAfterwards,
    Kind::Unavailable,
    Kind::Throttled,
    Kind::Conflict,
];

fn faults() -> Faults {
    let delay = Duration::from_millis(40);
    let mut faults = Faults::drawn().unwrap();
    faults.write_time_max = Duration::from_millis(5);
    for fault in [
        Fault::DelayRequest(delay),
        Fault::DelayResponse(delay),
        Fault::DropRequest,
        Fault::DropResponse,
        Fault::InternalError,
        Fault::InternalErrorAfterwards,
        Fault::Unavailable,
        Fault::Throttle,
        Fault::ThrottleProvisioned,
    ] {
        faults = faults.rule(Rule::sometimes(fault, 50));
    }
    faults
}

/// Counts on one item and puts another one, in one transaction.
fn transaction(table: &Table, writer: usize, write: usize) -> Value {
    let mut add = table.key("counter");
    add["UpdateExpression"] = "ADD n :one".into();
    add["ExpressionAttributeValues"] = json!({":one": {"N": "1"}});
    let name = format!("{writer}-{write}");
    json!({
        "TransactItems": [{"Update": add}, {"Put": table.put(&name, 10)}],
        "ClientRequestToken": format!("{:016x}-{name}", fastrand::u64(..)),
    })
}

async fn write(client: &Client, transaction: &Value) {
    for attempt in 1..=ATTEMPTS_MAX {
        let asked = client.ask("TransactWriteItems", transaction);
        // More each time, or a busy machine would never be fast enough.
        let patience = PATIENCE + attempt * PATIENCE / 10;
        if let Ok(Some(answer)) = timeout(patience, asked).await {
            match (answer.status, answer.error()) {
                (200, _) => return,
                (500 | 503, _)
                | (400, "TransactionCanceledException" | "TransactionInProgressException") => {}
                _ => panic!("{answer:?}"),
            }
        }
        sleep(Duration::from_millis(fastrand::u64(..10))).await;
    }
    panic!("no success in {ATTEMPTS_MAX} attempts");
}

#[tokio::test]
async fn what_is_repeated_until_it_is_answered_is_written_once() {
    let table = Table::new().await;
    let proxy = Proxy::start(table.dynamodb.endpoint(), faults()).unwrap();
    let client = Client::new(proxy.endpoint());
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let transactions = (0..WRITES).map(|i| transaction(&table, writer, i));
        let (client, transactions) = (client.clone(), transactions.collect::<Vec<_>>());
        writers.spawn(async move {
            for transaction in &transactions {
                write(&client, transaction).await;
            }
        });
    }
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
    let counter = table.direct.done("GetItem", &table.key("counter")).await;
    let written = (WRITERS * WRITES).to_string();
    assert_eq!(counter["Item"]["n"]["N"], written.as_str());
    assert!(table.has("3-24").await);
    let counts = proxy.counts();
    let missing: Vec<_> = MUST_HAPPEN
        .into_iter()
        .filter(|&kind| counts.of(kind) == 0)
        .collect();
    assert!(missing.is_empty(), "never seen: {missing:?}");
    assert_eq!(counts.of(Kind::Invalid) + counts.of(Kind::Unanswered), 0);
    table.delete().await;
}
