//! What DynamoDB refuses must not pass a test, whatever the emulator takes.

use crate::client::{Client, Table};
use lanekeeper_integration::proxy::{Faults, Kind, Proxy};
use serde_json::{Value, json};

const INVALID: &str = "ValidationException";

#[tokio::test]
async fn transactions_and_items_may_be_so_large() {
    let table = Table::new().await;
    let proxy = Proxy::start(table.dynamodb.endpoint(), Faults::none()).unwrap();
    let client = Client::new(proxy.endpoint());
    let of = |items: usize, bytes: usize| -> Value {
        let put = |i: usize| json!({"Put": table.put(&i.to_string(), bytes)});
        json!({"TransactItems": (0..items).map(put).collect::<Vec<_>>()})
    };
    let operation = "TransactWriteItems";
    client.done(operation, &of(100, 10)).await;
    client.done(operation, &of(10, 400_000)).await;
    client.refused(operation, &of(101, 10), INVALID).await;
    client.refused(operation, &of(11, 400_000), INVALID).await;
    let twice = table.transaction(&["x", "y", "x"]);
    client.refused(operation, &twice, INVALID).await;
    client
        .refused("PutItem", &table.put("x", 410_000), INVALID)
        .await;
    let mut update = table.key("x");
    update["UpdateExpression"] = "SET v = :v".into();
    update["ExpressionAttributeValues"] = json!({":v": {"S": "x".repeat(410_000)}});
    client.refused("UpdateItem", &update, INVALID).await;
    assert!(!table.has("x").await);
    let counts = proxy.counts();
    assert_eq!(counts.of(Kind::Invalid), 5);
    assert_eq!(counts.forwarded, 2);
    table.delete().await;
}
