//! What the store relies on, asked of the emulator itself: another version of it may know less.

use crate::client::Table;
use serde_json::{Value, json};

fn update(table: &Table, sk: &str, condition: &str) -> Value {
    let mut update = table.key(sk);
    update["UpdateExpression"] = "SET n = :new".into();
    update["ConditionExpression"] = condition.into();
    update["ExpressionAttributeValues"] = json!({":new": {"N": "2"}, ":old": {"N": "1"}});
    update["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD".into();
    update
}

async fn with_one_item() -> Table {
    let table = Table::new().await;
    let item = json!({"pk": {"S": "a"}, "sk": {"S": "1"}, "n": {"N": "7"}});
    let put = json!({"TableName": table.name, "Item": item});
    table.direct.done("PutItem", &put).await;
    table
}

#[tokio::test]
async fn a_condition_that_fails_shows_the_item() {
    let table = with_one_item().await;
    let error = "ConditionalCheckFailedException";
    let failing = update(&table, "1", "n = :old");
    let answer = table.direct.refused("UpdateItem", &failing, error).await;
    assert_eq!(answer["Item"]["n"]["N"], "7");
    // Where there is none, there is none to show.
    let absent = update(&table, "2", "n = :old");
    let answer = table.direct.refused("UpdateItem", &absent, error).await;
    assert!(answer["Item"].is_null(), "{answer}");
    assert!(!table.has("2").await);
    table.delete().await;
}

#[tokio::test]
async fn a_transaction_that_fails_says_why_and_writes_nothing() {
    let table = with_one_item().await;
    let transaction = json!({"TransactItems": [
        {"Put": table.put("2", 10)},
        {"Update": update(&table, "1", "n = :old")},
    ]});
    let (operation, error) = ("TransactWriteItems", "TransactionCanceledException");
    let answer = table.direct.refused(operation, &transaction, error).await;
    let reasons = &answer["CancellationReasons"];
    assert_eq!(reasons[0]["Code"], "None");
    assert_eq!(reasons[1]["Code"], "ConditionalCheckFailed");
    assert_eq!(reasons[1]["Item"]["n"]["N"], "7");
    assert!(!table.has("2").await);

    let twice = table.transaction(&["3", "3"]);
    let error = "ValidationException";
    table.direct.refused(operation, &twice, error).await;
    table.delete().await;
}

#[tokio::test]
async fn a_token_makes_a_transaction_happen_once() {
    let table = with_one_item().await;
    let mut add = table.key("1");
    add["UpdateExpression"] = "ADD n :one".into();
    add["ExpressionAttributeValues"] = json!({":one": {"N": "1"}});
    let mut transaction = json!({"TransactItems": [{"Update": add}]});
    transaction["ClientRequestToken"] = table.name.as_str().into();
    table.direct.done("TransactWriteItems", &transaction).await;
    table.direct.done("TransactWriteItems", &transaction).await;
    let got = table.direct.done("GetItem", &table.key("1")).await;
    assert_eq!(got["Item"]["n"]["N"], "8");

    let mut other = table.transaction(&["2"]);
    other["ClientRequestToken"] = table.name.as_str().into();
    let error = "IdempotentParameterMismatchException";
    table
        .direct
        .refused("TransactWriteItems", &other, error)
        .await;
    table.delete().await;
}

#[tokio::test]
async fn a_query_by_prefix_is_consistent_and_comes_in_pages() {
    let table = Table::new().await;
    for sk in ["lane#1", "lane#2", "lane#3", "other#1"] {
        table.direct.done("PutItem", &table.put(sk, 10)).await;
    }
    let mut query = json!({
        "TableName": table.name,
        "KeyConditionExpression": "pk = :pk AND begins_with(sk, :prefix)",
        "ExpressionAttributeValues": {":pk": {"S": "a"}, ":prefix": {"S": "lane#"}},
        "ConsistentRead": true,
        "Limit": 2,
    });
    let page = table.direct.done("Query", &query).await;
    assert_eq!(page["Items"].as_array().map(Vec::len), Some(2));
    query["ExclusiveStartKey"] = page["LastEvaluatedKey"].clone();
    let page = table.direct.done("Query", &query).await;
    assert_eq!(page["Items"][0]["sk"]["S"], "lane#3");
    assert_eq!(page["Items"].as_array().map(Vec::len), Some(1));
    table.delete().await;
}

async fn units(table: &Table, operation: &str, mut body: Value) -> Value {
    body["ReturnConsumedCapacity"] = "TOTAL".into();
    table.direct.done(operation, &body).await["ConsumedCapacity"].clone()
}

#[tokio::test]
async fn writes_say_what_they_cost() {
    let table = Table::new().await;
    // Names and key take a few bytes as well.
    for (bytes, wanted) in [(10, 1.0), (1_000, 1.0), (1_024, 2.0), (10 * 1_024, 11.0)] {
        let consumed = units(&table, "PutItem", table.put("1", bytes)).await;
        assert_eq!(consumed["CapacityUnits"], wanted, "{bytes} bytes");
        assert_eq!(consumed["TableName"], table.name);
    }
    // An update costs the larger of the item before and after.
    let mut update = table.key("1");
    update["UpdateExpression"] = "SET v = :v".into();
    update["ExpressionAttributeValues"] = json!({":v": {"S": "small"}});
    let consumed = units(&table, "UpdateItem", update).await;
    assert_eq!(consumed["CapacityUnits"], 11.0);

    let mut transaction = table.transaction(&["2", "3"]);
    transaction["TransactItems"][0] = json!({"Put": table.put("2", 1_500)});
    let consumed = units(&table, "TransactWriteItems", transaction).await;
    assert_eq!(consumed[0]["CapacityUnits"], 2.0 * (2.0 + 1.0));

    // A condition costs as much as a write.
    let mut check = table.key("9");
    check["ConditionExpression"] = "attribute_not_exists(pk)".into();
    let checks = json!({"TransactItems": [{"ConditionCheck": check}]});
    let consumed = units(&table, "TransactWriteItems", checks).await;
    assert_eq!(consumed[0]["CapacityUnits"], 2.0);

    // Known to be wrong: one unit for whatever a query reads.
    let query = json!({
        "TableName": table.name,
        "KeyConditionExpression": "pk = :pk",
        "ExpressionAttributeValues": {":pk": {"S": "a"}},
        "ConsistentRead": true,
    });
    table.direct.done("PutItem", &table.put("4", 20_000)).await;
    let consumed = units(&table, "Query", query).await;
    assert_eq!(consumed["CapacityUnits"], 1.0, "right at last: {consumed}");
    table.delete().await;
}

#[tokio::test]
async fn a_table_keeps_its_settings() {
    let table = Table::new().await;
    let name = json!({"TableName": table.name});
    let described = table.direct.done("DescribeTable", &name).await;
    assert_eq!(described["Table"]["TableStatus"], "ACTIVE");
    let billing = &described["Table"]["BillingModeSummary"]["BillingMode"];
    assert_eq!(billing, "PAY_PER_REQUEST");

    let mut ttl = name.clone();
    ttl["TimeToLiveSpecification"] = json!({"AttributeName": "expires_at", "Enabled": true});
    table.direct.done("UpdateTimeToLive", &ttl).await;
    let described = table.direct.done("DescribeTimeToLive", &name).await;
    let described = &described["TimeToLiveDescription"];
    assert_eq!(described["TimeToLiveStatus"], "ENABLED");
    assert_eq!(described["AttributeName"], "expires_at");

    let mut recovery = name.clone();
    recovery["PointInTimeRecoverySpecification"] = json!({"PointInTimeRecoveryEnabled": true});
    table
        .direct
        .done("UpdateContinuousBackups", &recovery)
        .await;
    let described = table.direct.done("DescribeContinuousBackups", &name).await;
    let described = &described["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"];
    assert_eq!(described["PointInTimeRecoveryStatus"], "ENABLED");
    table.delete().await;
}

#[tokio::test]
async fn a_protected_table_is_not_deleted() {
    let table = Table::new().await;
    let mut schema = table.schema();
    let name = format!("{}-protected", table.name);
    schema["TableName"] = name.as_str().into();
    schema["DeletionProtectionEnabled"] = true.into();
    table.direct.done("CreateTable", &schema).await;
    let mut protected = json!({"TableName": name});
    let described = table.direct.done("DescribeTable", &protected).await;
    assert_eq!(described["Table"]["DeletionProtectionEnabled"], true);
    let error = "ValidationException";
    table.direct.refused("DeleteTable", &protected, error).await;
    protected["DeletionProtectionEnabled"] = false.into();
    table.direct.done("UpdateTable", &protected).await;
    let name = json!({"TableName": name});
    table.direct.done("DeleteTable", &name).await;
    table.delete().await;
}
