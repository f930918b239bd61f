//! What requests cost, as the service counts it: one unit a kilobyte written, twice that in a
//! transaction.

use super::owner;
use crate::conformance::{DynamodbBench, Owner, effects_of};
use lanekeeper::{
    Effect, Position,
    checkpoint::OpenSet,
    store::{Commit, Committed, Store},
};
use std::sync::Arc;

async fn units(owner: &Owner, commit: &Commit) -> f64 {
    let outcome = owner.store.commit(std::slice::from_ref(commit)).await;
    match outcome.as_slice() {
        [Ok(Committed { write_units, .. })] => *write_units,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_commit_of_a_checkpoint_is_one_write_of_one_unit() {
    let bench = DynamodbBench::new().await;
    let mut owner = owner(&bench).await;
    let before = owner.store.consumed();
    for round in 1..=5_u64 {
        let mut commit = owner.next(round * 1_000);
        // As after a round with 256 tries out over a thousand records.
        commit.checkpoint.settled_to = Some(Position::Offset(round * 1_000 + 900));
        commit.checkpoint.open = (1..=128)
            .map(|n| Position::Offset(round * 1_000 + n * 7))
            .collect::<OpenSet>();
        let consumed = units(&owner, &commit).await;
        assert!(consumed <= 1.0, "round {round}: {consumed} units");
    }
    let after = owner.store.consumed();
    assert_eq!(after.requests - before.requests, 5, "one request each");
    assert_eq!(after.write_units - before.write_units, 5.0);
    assert_eq!(after.read_units, before.read_units);
}

#[tokio::test]
async fn effects_on_one_value_are_one_item() {
    let bench = DynamodbBench::new().await;
    let mut owner = owner(&bench).await;
    let mut commit = owner.next(1);
    let add = |n: u64| effects_of(&format!("k{n}"), n, vec![Effect::add("totals", "all", 1)]);
    commit.effects = (1..=500).map(add).collect();
    let consumed = units(&owner, &commit).await;
    // Checkpoint and value, each twice its kilobyte.
    assert_eq!(consumed, 4.0);
    let store: &Arc<dyn Store> = &owner.store;
    assert_eq!(store.value("totals", "all").await, Ok(Some(500.into())));
}
