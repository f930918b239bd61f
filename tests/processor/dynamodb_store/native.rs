//! Native effects, on a table of the user's.

use super::owner;
use crate::conformance::{DynamodbBench, Owner, effects_of};
use lanekeeper::{
    Effect,
    store::{CommitError, RecordEffects},
};
use serde_json::{Value, json};

async fn commit(owner: &mut Owner, effects: Vec<RecordEffects>) -> Result<(), CommitError> {
    let mut commit = owner.next(1);
    commit.effects = effects;
    owner.commit(&commit).await.map(|_| ())
}

fn refused(outcome: Result<(), CommitError>) -> Vec<(usize, String)> {
    match outcome {
        Err(CommitError::EffectsRefused(refused)) => refused,
        other => panic!("{other:?}"),
    }
}

fn add(table: &str, id: &str, by: i64) -> Effect {
    Effect::Dynamodb(json!({"Update": {
        "TableName": table,
        "Key": {"pk": {"S": id}, "sk": {"S": "balance"}},
        "UpdateExpression": "SET #b = if_not_exists(#b, :zero) + :by",
        "ExpressionAttributeNames": {"#b": "balance"},
        "ExpressionAttributeValues": {":zero": {"N": "0"}, ":by": {"N": by.to_string()}},
    }}))
}

fn put(table: &str, id: &str, condition: Option<&str>) -> Effect {
    let mut body = json!({
        "TableName": table,
        "Item": {"pk": {"S": id}, "sk": {"S": "order"}, "state": {"S": "new"}},
    });
    if let Some(condition) = condition {
        body["ConditionExpression"] = condition.into();
    }
    Effect::Dynamodb(json!({"Put": body}))
}

#[tokio::test]
async fn native_writes_are_one_with_their_checkpoint() {
    let bench = DynamodbBench::new().await;
    let table = bench.user_table().await;
    let mut owner = owner(&bench).await;
    let effects = vec![
        effects_of(
            "a",
            1,
            vec![add(&table, "ann", 5), put(&table, "o-1", None)],
        ),
        effects_of(
            "b",
            2,
            vec![add(&table, "bob", 7), Effect::add("t", "k", 1)],
        ),
    ];
    commit(&mut owner, effects).await.expect("in");
    assert_eq!(
        bench.user_item(&table, "ann", "balance").await["balance"],
        json!({"N": "5"})
    );
    assert_eq!(
        bench.user_item(&table, "o-1", "order").await["state"],
        json!({"S": "new"})
    );
    assert_eq!(owner.store.value("t", "k").await, Ok(Some(1.into())));

    // A condition of one record's: nothing of the commit is in.
    let effects = vec![
        effects_of("a", 3, vec![add(&table, "ann", 5)]),
        effects_of(
            "b",
            4,
            vec![put(&table, "o-1", Some("attribute_not_exists(pk)"))],
        ),
        effects_of("b", 5, vec![add(&table, "bob", 1)]),
    ];
    let refusal = refused(commit(&mut owner, effects).await);
    assert_eq!(refusal.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [1]);
    assert!(refusal[0].1.contains("orders/a/0/4"), "{refusal:?}");
    assert_eq!(
        bench.user_item(&table, "ann", "balance").await["balance"],
        json!({"N": "5"})
    );
}

#[tokio::test]
async fn what_is_malformed_or_lanekeepers_own_is_refused_by_name() {
    let bench = DynamodbBench::new().await;
    let table = bench.user_table().await;
    let mut owner = owner(&bench).await;
    let own = "lanekeeper-conformance";
    let cases: [(Value, &str); 8] = [
        (
            json!({"Put": {"TableName": own, "Item": {"pk": {"S": "x"}}}}),
            "lanekeeper's own",
        ),
        (
            json!({"Delete": {"TableName": format!("arn:aws:dynamodb:us-east-1:1:table/{own}"), "Key": {"pk": {"S": "x"}}}}),
            "lanekeeper's own",
        ),
        (
            json!({"Put": {"TableName": table, "Item": {"pk": {"X": "x"}}}}),
            "unknown type `X`",
        ),
        (
            json!({"Put": {"TableName": table, "Item": {"pk": "x"}}}),
            "`Item.pk`",
        ),
        (
            json!({"Update": {"TableName": table, "Key": {"pk": {"S": "x"}}}}),
            "`UpdateExpression` is missing",
        ),
        (
            json!({"Put": {"TableName": table, "Items": {}}}),
            "unknown field `Items`",
        ),
        (
            json!({"Put": {"TableName": "lanekeeper-no-such-table", "Item": {"pk": {"S": "x"}}}}),
            "a table that it names is missing",
        ),
        // Only the table reads expressions.
        (
            json!({"Update": {"TableName": table, "Key": {"pk": {"S": "x"}, "sk": {"S": "y"}}, "UpdateExpression": "GROW #x BY 1"}}),
            "orders/a/0/2",
        ),
    ];
    for (effect, expected) in cases {
        let effects = vec![
            effects_of("a", 1, vec![Effect::add("t", "k", 1)]),
            effects_of("b", 2, vec![Effect::Dynamodb(effect.clone())]),
        ];
        let refusal = refused(commit(&mut owner, effects).await);
        assert_eq!(refusal.len(), 1, "{effect}: {refusal:?}");
        assert!(
            refusal[0].0 == 1 && refusal[0].1.contains(expected),
            "{effect}: {refusal:?}"
        );
    }
    assert_eq!(owner.store.value("t", "k").await, Ok(None));
}

#[tokio::test]
async fn two_records_that_write_one_item_are_asked_to_go_apart() {
    let bench = DynamodbBench::new().await;
    let table = bench.user_table().await;
    let mut owner = owner(&bench).await;
    // Told by their keys, nothing is sent; of two `Put`s the table tells.
    for (one, other) in [
        (add(&table, "ann", 1), add(&table, "ann", 2)),
        (put(&table, "o-1", None), put(&table, "o-1", None)),
    ] {
        let effects = |n: usize| {
            let all = [(1, &one), (2, &other), (3, &one)];
            { all.iter().take(n) }
                .map(|(n, e)| effects_of(&format!("k{n}"), *n, vec![(*e).clone()]))
                .collect::<Vec<_>>()
        };
        let outcome = commit(&mut owner, effects(3)).await;
        assert_eq!(outcome, Err(CommitError::Apart(vec![1, 2])));
        commit(&mut owner, effects(1)).await.expect("alone");
    }
    let balance = bench.user_item(&table, "ann", "balance").await;
    assert_eq!(balance["balance"], json!({"N": "1"}));
    // Different items go together.
    let effects = vec![
        effects_of("a", 1, vec![put(&table, "o-2", None)]),
        effects_of("b", 2, vec![put(&table, "o-3", None)]),
    ];
    commit(&mut owner, effects).await.expect("together");
}

#[tokio::test]
async fn a_record_of_more_effects_than_a_transaction_takes_is_refused() {
    let bench = DynamodbBench::new().await;
    let mut owner = owner(&bench).await;
    let put = |n: usize| Effect::put("t", &format!("k{n}"), 1);
    let many = |n: usize| vec![effects_of("a", 1, (0..n).map(put).collect())];
    commit(&mut owner, many(90)).await.expect("in");
    let outcome = commit(&mut owner, many(91)).await;
    assert!(
        matches!(outcome, Err(CommitError::TooLarge { .. })),
        "{outcome:?}"
    );
}
