//! Each fault is seen, is counted, and leaves the table as it claims.

use crate::client::{Client, Table};
use lanekeeper_integration::{
    proxy::{Fault, Faults, Kind, Proxy, Rule, WriteLimit},
    scene::eventually,
};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn before(table: &Table, faults: Faults) -> (Proxy, Client) {
    let proxy = Proxy::start(table.dynamodb.endpoint(), faults).unwrap();
    let client = Client::new(proxy.endpoint());
    (proxy, client)
}

fn always(fault: Fault) -> Faults {
    Faults::none().rule(Rule::always(fault).on_writes())
}

#[tokio::test]
async fn without_faults_everything_passes() {
    let table = Table::new().await;
    let (proxy, client) = before(&table, Faults::none());
    client.done("PutItem", &table.put("1", 1_500)).await;
    client.done("PutItem", &table.put("2", 10)).await;
    let transaction = table.transaction(&["3", "4"]);
    client.done("TransactWriteItems", &transaction).await;
    let got = client.done("GetItem", &table.key("1")).await;
    assert_eq!(got["Item"]["v"]["S"].as_str().map(str::len), Some(1_500));
    let counts = proxy.counts();
    assert!(counts.faults.is_empty(), "{counts:?}");
    assert_eq!(counts.requests_for("PutItem"), 2);
    assert_eq!(counts.forwarded, 4);
    assert_eq!(counts.write_units, 2 + 1 + 2 * 2);
    let needed = ["GetItem", "PutItem"];
    assert!(counts.permissions.iter().eq(needed), "{counts:?}");
    table.delete().await;
}

#[tokio::test]
async fn a_dropped_response_leaves_the_item() {
    let table = Table::new().await;
    let (proxy, client) = before(&table, always(Fault::DropResponse));
    let answer = client.ask("PutItem", &table.put("1", 10)).await;
    assert!(answer.is_none(), "{answer:?}");
    assert!(table.has("1").await);
    assert_eq!(proxy.counts().of(Kind::ResponseDropped), 1);
    table.delete().await;
}

#[tokio::test]
async fn a_dropped_request_leaves_nothing() {
    let table = Table::new().await;
    let (proxy, client) = before(&table, always(Fault::DropRequest));
    let answer = client.ask("PutItem", &table.put("1", 10)).await;
    assert!(answer.is_none(), "{answer:?}");
    assert!(!table.has("1").await);
    assert_eq!(proxy.counts().of(Kind::RequestDropped), 1);
    assert_eq!(proxy.counts().forwarded, 0);
    // Only writes were to be dropped.
    client.done("GetItem", &table.key("1")).await;
    table.delete().await;
}

#[tokio::test]
async fn errors_of_the_server_say_nothing_of_the_item() {
    let table = Table::new().await;
    for (fault, status, kind, is_there) in [
        (Fault::InternalError, 500, Kind::InternalError, false),
        (Fault::Unavailable, 503, Kind::Unavailable, false),
        (
            Fault::InternalErrorAfterwards,
            500,
            Kind::InternalErrorAfterwards,
            true,
        ),
    ] {
        let (proxy, client) = before(&table, always(fault));
        let answer = client.ask("PutItem", &table.put("1", 10)).await.unwrap();
        assert_eq!(answer.status, status, "{fault:?}");
        assert_eq!(table.has("1").await, is_there, "{fault:?}");
        assert_eq!(proxy.counts().of(kind), 1);
    }
    table.delete().await;
}

#[tokio::test]
async fn delays_outlive_their_client() {
    let table = Table::new().await;
    let max = Duration::from_millis(300);
    let faults = Faults::seeded(1)
        .rule(Rule::always(Fault::DelayRequest(max)))
        .rule(Rule::always(Fault::DelayResponse(max)));
    let (proxy, client) = before(&table, faults);
    let began = Instant::now();
    for _ in 0..4 {
        client.done("GetItem", &table.key("1")).await;
    }
    assert!(began.elapsed() > Duration::from_millis(50));
    assert_eq!(proxy.counts().of(Kind::RequestDelayed), 4);
    assert_eq!(proxy.counts().of(Kind::ResponseDelayed), 4);

    // A client that has given up does not call back what is on its way.
    proxy.freeze(Duration::from_secs(60));
    let put = table.put("late", 10);
    let given_up = tokio::time::timeout(Duration::from_millis(200), client.ask("PutItem", &put));
    assert!(given_up.await.is_err());
    assert!(!table.has("late").await);
    proxy.thaw();
    let has = async {
        while !table.has("late").await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let landed = tokio::time::timeout(Duration::from_secs(30), has).await;
    assert!(landed.is_ok(), "{proxy}");
    table.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_of_the_network_holds_and_ends() {
    let table = Table::new().await;
    let (proxy, client) = before(&table, Faults::none());
    let limit = Duration::from_millis(300);
    let began = Instant::now();
    proxy.freeze(limit);
    client.done("PutItem", &table.put("1", 10)).await;
    assert!(began.elapsed() >= limit, "{:?}", began.elapsed());
    assert_eq!(proxy.counts().of(Kind::Frozen), 1);

    proxy.freeze(Duration::from_secs(60));
    let (put, held) = (table.put("2", 10), client.clone());
    let held = tokio::spawn(async move { held.done("PutItem", &put).await });
    eventually(
        "a held request",
        || Ok(proxy.counts().of(Kind::Frozen) == 2),
    )
    .unwrap();
    assert!(!table.has("2").await);
    proxy.thaw();
    held.await.unwrap();
    assert!(table.has("2").await);
    table.delete().await;
}

#[tokio::test]
async fn throttles_have_the_shape_of_what_they_refuse() {
    let table = Table::new().await;
    for (fault, exception, code) in [
        (Fault::Throttle, "ThrottlingException", "ThrottlingError"),
        (
            Fault::ThrottleProvisioned,
            "ProvisionedThroughputExceededException",
            "ProvisionedThroughputExceeded",
        ),
    ] {
        let (proxy, client) = before(&table, always(fault));
        let put = table.put("1", 10);
        client.refused("PutItem", &put, exception).await;
        let transaction = table.transaction(&["1", "2", "3"]);
        let (operation, cancelled) = ("TransactWriteItems", "TransactionCanceledException");
        let answer = client.refused(operation, &transaction, cancelled).await;
        let reasons = answer["CancellationReasons"].as_array().unwrap();
        assert_eq!(reasons.len(), 3);
        let hit: Vec<&Value> = reasons.iter().filter(|r| r["Code"] != "None").collect();
        assert_eq!(hit.len(), 1);
        assert_eq!(hit[0]["Code"], code);
        assert_eq!(proxy.counts().of(Kind::Throttled), 2);
        assert_eq!(proxy.counts().write_units, 0);
        assert!(!table.has("1").await);
    }
    table.delete().await;
}

#[tokio::test]
async fn a_table_bears_so_many_write_units() {
    let table = Table::new().await;
    let limit = WriteLimit {
        units_per_second: 1,
        units_max: 10,
    };
    let faults = Faults {
        write_limit: Some(limit),
        ..Faults::none()
    };
    let (proxy, client) = before(&table, faults);
    // Four units each: two started KiB, in a transaction.
    let put = json!({"TransactItems": [{"Put": table.put("1", 1_500)}]});
    let began = Instant::now();
    let mut done = 0;
    for _ in 0..10 {
        let answer = client.ask("TransactWriteItems", &put).await.unwrap();
        done += u64::from(answer.status == 200);
    }
    let flowed = began.elapsed().as_secs() + 1;
    assert!(done >= 2 && 4 * done <= 10 + flowed, "{done} in {flowed} s");
    let counts = proxy.counts();
    assert_eq!(counts.of(Kind::LimitReached), 10 - done);
    assert_eq!(counts.write_units, 4 * done);
    // Reads are not limited.
    client.done("GetItem", &table.key("1")).await;
    table.delete().await;
}

#[tokio::test]
async fn what_is_not_allowed_is_named() {
    let table = Table::new().await;
    let (proxy, client) = before(&table, Faults::none().deny("ConditionCheckItem"));
    client.done("PutItem", &table.put("1", 10)).await;
    let mut check = table.key("1");
    check["ConditionExpression"] = "attribute_exists(pk)".into();
    let transaction = json!({"TransactItems": [{"ConditionCheck": check}]});
    let denied = ("TransactWriteItems", "AccessDeniedException");
    let answer = client.refused(denied.0, &transaction, denied.1).await;
    let message = answer["Message"].as_str().unwrap();
    assert!(message.contains("dynamodb:ConditionCheckItem"), "{message}");
    assert!(message.contains(&table.name), "{message}");
    assert_eq!(proxy.counts().of(Kind::Denied), 1);
    table.delete().await;
}

#[tokio::test]
async fn the_journal_has_every_request() {
    let table = Table::new().await;
    let faults = Faults {
        is_journal_kept: true,
        ..always(Fault::DropResponse)
    };
    let (proxy, client) = before(&table, faults);
    let put = table.put("1", 10);
    client.ask("PutItem", &put).await;
    client.done("GetItem", &table.key("1")).await;
    let journal = proxy.journal();
    assert_eq!(journal.len(), 2);
    assert_eq!(journal[0].body, put);
    assert_eq!(journal[0].faults, [Kind::ResponseDropped]);
    assert_eq!(journal[0].status, Some(200));
    assert_eq!(journal[1].operation, "GetItem");
    assert!(journal[1].faults.is_empty());
    table.delete().await;
}

#[tokio::test]
async fn faults_can_be_changed_while_it_runs() {
    let table = Table::new().await;
    let (proxy, client) = before(&table, always(Fault::DropRequest));
    let put = table.put("1", 10);
    assert!(client.ask("PutItem", &put).await.is_none());
    proxy.set_faults(Faults::none());
    client.done("PutItem", &put).await;
    assert_eq!(proxy.counts().of(Kind::RequestDropped), 1);
    table.delete().await;
}

#[test]
fn it_stands_before_plain_http_only() {
    let refused = Proxy::start("https://dynamodb.eu-west-1.amazonaws.com", Faults::none());
    let error = refused.err().unwrap().to_string();
    assert!(error.contains("eu-west-1"), "{error}");
}

#[tokio::test]
async fn what_does_not_answer_is_counted() {
    let proxy = Proxy::start("http://127.0.0.1:1", Faults::none()).unwrap();
    let client = Client::new(proxy.endpoint());
    let answer = client.ask("ListTables", &json!({})).await;
    assert!(answer.is_none());
    assert_eq!(proxy.counts().of(Kind::Unanswered), 1);
}
