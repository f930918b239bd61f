//! Requests that overlap on an item, as the emulator never has them.

use crate::client::{Answer, Client, Table};
use lanekeeper_integration::{
    proxy::{Faults, Kind, Proxy},
    scene::eventually,
};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::task::JoinHandle;

const CANCELLED: &str = "TransactionCanceledException";

/// A request that is in progress until the proxy thaws.
struct Ongoing {
    table: Table,
    proxy: Proxy,
    client: Client,
    first: JoinHandle<Option<Answer>>,
}

impl Ongoing {
    async fn new(operation: &'static str, body: impl FnOnce(&Table) -> Value) -> Self {
        let table = Table::new().await;
        let proxy = Proxy::start(table.dynamodb.endpoint(), Faults::none()).unwrap();
        let client = Client::new(proxy.endpoint());
        proxy.hold_writes(Duration::from_secs(60));
        let (asker, body) = (client.clone(), body(&table));
        let first = tokio::spawn(async move { asker.ask(operation, &body).await });
        eventually("a write in progress", || {
            Ok(proxy.counts().of(Kind::Held) == 1)
        })
        .unwrap();
        Self {
            table,
            proxy,
            client,
            first,
        }
    }

    async fn transaction(items: &[&str]) -> Self {
        let with_token = |table: &Table| {
            let mut transaction = table.transaction(items);
            // Remembered for all tables.
            transaction["ClientRequestToken"] = table.name.as_str().into();
            transaction
        };
        Self::new("TransactWriteItems", with_token).await
    }

    /// The first request succeeds, and what was refused meanwhile is not there.
    async fn end(self, conflicts: u64, absent: &[&str]) {
        self.proxy.thaw();
        let first = self.first.await.unwrap().unwrap();
        assert_eq!(first.status, 200, "{first:?}");
        assert_eq!(self.proxy.counts().of(Kind::Conflict), conflicts);
        for sk in absent {
            assert!(!self.table.has(sk).await, "{sk}");
        }
        self.table.delete().await;
    }
}

fn codes(answer: &Value) -> Vec<&str> {
    let reasons = answer["CancellationReasons"].as_array().unwrap();
    reasons.iter().filter_map(|r| r["Code"].as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_transactions_on_an_item_one_is_cancelled() {
    let ongoing = Ongoing::transaction(&["1", "2"]).await;
    let second = ongoing.table.transaction(&["3", "2"]);
    let (client, operation) = (&ongoing.client, "TransactWriteItems");
    let answer = client.refused(operation, &second, CANCELLED).await;
    assert_eq!(codes(&answer), ["None", "TransactionConflict"]);
    let message = &answer["CancellationReasons"][1]["Message"];
    assert_eq!(message, "Transaction is ongoing for the item");
    let whole = answer["Message"].as_str().unwrap();
    assert!(whole.ends_with("[None, TransactionConflict]"), "{whole}");
    ongoing.end(1, &["3"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_check_is_part_of_its_transaction() {
    let ongoing = Ongoing::new("TransactWriteItems", |table| {
        let mut check = table.key("1");
        check["ConditionExpression"] = "attribute_not_exists(pk)".into();
        json!({"TransactItems": [{"ConditionCheck": check}, {"Put": table.put("2", 1)}]})
    })
    .await;
    let second = ongoing.table.transaction(&["1"]);
    let (client, operation) = (&ongoing.client, "TransactWriteItems");
    client.refused(operation, &second, CANCELLED).await;
    ongoing.end(1, &["1"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_of_an_item_in_a_transaction_is_refused() {
    let ongoing = Ongoing::transaction(&["1"]).await;
    let error = "TransactionConflictException";
    let put = ongoing.table.put("1", 20);
    ongoing.client.refused("PutItem", &put, error).await;
    let delete = ongoing.table.key("1");
    ongoing.client.refused("DeleteItem", &delete, error).await;
    // A batch is given back.
    let batch = json!({"RequestItems": {
        (ongoing.table.name.as_str()): [{"PutRequest": {"Item": put["Item"]}}],
    }});
    let answer = ongoing.client.done("BatchWriteItem", &batch).await;
    assert_eq!(answer["UnprocessedItems"], batch["RequestItems"]);
    // A reader sees what was there before.
    let got = ongoing.client.done("GetItem", &delete).await;
    assert!(got["Item"].is_null(), "{got}");
    let read = json!({"TransactItems": [{"Get": delete}]});
    let answer = ongoing
        .client
        .refused("TransactGetItems", &read, CANCELLED)
        .await;
    assert_eq!(codes(&answer), ["TransactionConflict"]);
    ongoing.end(4, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_is_asked_for_again_is_in_progress() {
    let ongoing = Ongoing::transaction(&["1"]).await;
    let mut again = ongoing.table.transaction(&["1"]);
    again["ClientRequestToken"] = ongoing.table.name.as_str().into();
    let error = "TransactionInProgressException";
    ongoing
        .client
        .refused("TransactWriteItems", &again, error)
        .await;
    assert_eq!(ongoing.proxy.counts().of(Kind::InProgress), 1);
    ongoing.end(0, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn single_writes_of_an_item_wait_for_each_other() {
    let ongoing = Ongoing::new("PutItem", |table| table.put("1", 10)).await;
    let (client, put) = (ongoing.client.clone(), ongoing.table.put("1", 20));
    let second = tokio::spawn(async move { client.done("PutItem", &put).await });
    eventually("two writes in progress", || {
        Ok(ongoing.proxy.counts().of(Kind::Held) == 2)
    })
    .unwrap();
    let proxy = &ongoing.proxy;
    proxy.thaw();
    second.await.unwrap();
    ongoing.end(0, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_items_and_later_transactions_do_not_conflict() {
    let ongoing = Ongoing::transaction(&["1"]).await;
    let (client, table) = (ongoing.client.clone(), &ongoing.table);
    ongoing.proxy.thaw();
    client.done("PutItem", &table.put("2", 10)).await;
    eventually("the end of the first", || Ok(ongoing.first.is_finished())).unwrap();
    let again = table.transaction(&["1", "2"]);
    client.done("TransactWriteItems", &again).await;
    ongoing.end(0, &[]).await;
}
