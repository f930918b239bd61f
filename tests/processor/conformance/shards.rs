//! Lanes that the shards of a stream share.

use super::{Bench, DONE, change, effects_of, item, lane, marks::Invocation, note, partition};
use lanekeeper::{
    Position,
    effect::{Add, Effect},
    record::{Assignment, BatchBuilder, LaneOrder, NoKey, OrderBy, PartitionName, Record},
    store::{CommitError, LaneChange, LaneItem, LaneState, MarkStore, RecordEffects, Verb},
};
use std::sync::Arc;

/// A record of a shard.
fn of_shard(partition: &PartitionName, number: u64) -> Record {
    let assignment = Assignment {
        name: partition.clone(),
        epoch: 1,
        generation: 0,
    };
    let mut batch = BatchBuilder::new(Arc::new(assignment));
    let order = LaneOrder {
        by: OrderBy::Key,
        no_key: NoKey::Refuse,
    };
    let value = number.to_string();
    let (key, value) = (Some(&b"a"[..]), Some(value.as_bytes()));
    batch
        .push(order, sequence(number), key, value, [], None)
        .expect("has a key");
    batch.finish(None).remove(0)
}

fn sequence(number: u64) -> Position {
    Position::sequence(&number.to_string(), None).expect("a number")
}

/// An invocation of each.
fn both(
    store: &Arc<dyn MarkStore>,
    parent: &PartitionName,
    child: &PartitionName,
) -> (Invocation, Invocation) {
    let mut one = Invocation::of(store, "one", (3, 3));
    one.partition = parent.clone();
    let mut two = Invocation::of(store, "two", (5, 5));
    two.partition = child.clone();
    (one, two)
}

async fn ids_of_chain(store: &Arc<dyn MarkStore>, at: &PartitionName) -> Vec<String> {
    let at = Arc::new(Assignment {
        name: at.clone(),
        epoch: 0,
        generation: 0,
    });
    let chain = store.chain(&at, &lane("a"), None, 9, u64::MAX).await;
    chain.expect("chain").iter().map(|r| r.id()).collect()
}

pub(super) async fn g1_lanes_that_partitions_share_are_in_one_place(bench: &dyn Bench) {
    let store = bench.open_marks("billing");
    let (parent, child, shared) = (partition("s/1"), partition("s/2"), partition("*"));
    let (mut one, mut two) = both(&store, &parent, &child);
    let parked = LaneItem {
        head: sequence(3),
        tail: Some(sequence(3)),
        tails: vec![("s/1".into(), sequence(3))],
        count: 1,
        ..item("a", LaneState::Parked, 3, Some(3))
    };
    let mut commit = one.next(&[]);
    commit.lanes_at = Some(shared.clone());
    commit.lanes = vec![LaneChange {
        append: vec![of_shard(&parent, 3)],
        ..change("a", None, Some(parked.clone()))
    }];
    assert_eq!(one.commit(&commit).await, Ok(DONE));
    assert_eq!(store.lanes(&parent).await, Ok(Vec::new()));
    assert_eq!(store.lanes(&shared).await, Ok(vec![parked.clone()]));
    let longer = LaneItem {
        tail: Some(sequence(5)),
        tails: vec![("s/1".into(), sequence(3)), ("s/2".into(), sequence(5))],
        count: 2,
        ..parked.clone()
    };
    let mut commit = two.next(&[]);
    commit.lanes_at = Some(shared.clone());
    commit.lanes = vec![LaneChange {
        append: vec![of_shard(&child, 5)],
        ..change("a", Some(&parked), Some(longer.clone()))
    }];
    assert_eq!(two.commit(&commit).await, Ok(DONE));
    assert_eq!(store.lane_items(&shared).await, Ok(vec![longer.clone()]));
    assert_eq!(
        ids_of_chain(&store, &shared).await,
        ["orders/s/1/3/0", "orders/s/2/5/0"]
    );
    let listed = store.partitions().await.expect("listed");
    for name in [&parent, &child, &shared] {
        assert!(listed.contains(name), "{name}: {listed:?}");
    }

    let (a, word) = (lane("a"), note(Verb::Release));
    assert_eq!(store.decide(&shared, &a, 1, &word).await, Ok(2));
    let gone = LaneItem {
        rev: 3,
        ..longer.clone()
    };
    let mut commit = two.next(&[]);
    commit.lanes_at = Some(shared.clone());
    let expected = LaneItem { rev: 2, ..longer };
    commit.lanes = vec![LaneChange {
        passed: Some(sequence(5)),
        ..change(
            "a",
            Some(&expected),
            Some(LaneItem {
                state: LaneState::Live,
                count: 0,
                decision: None,
                ..gone
            }),
        )
    }];
    assert_eq!(two.commit(&commit).await, Ok(DONE));
    let ids = ids_of_chain(&store, &shared).await;
    assert_eq!(ids, Vec::<String>::new());
}

/// A child runs what is its parent's: whoever had done it is known there.
pub(super) async fn g8_effects_are_those_of_a_records_own_partition(bench: &dyn Bench) {
    let store = bench.open_marks("billing");
    let (parent, child) = (partition("s/1"), partition("s/2"));
    let (mut one, mut two) = both(&store, &parent, &child);
    let effects = |of: &PartitionName| RecordEffects {
        partition: Some(of.clone()),
        ..effects_of("a", 3, vec![add_one()])
    };
    let mut commit = two.next(&[]);
    commit.effects = vec![effects(&parent)];
    assert_eq!(two.commit(&commit).await, Ok(DONE));
    let mut again = one.next(&[]);
    again.effects = vec![effects_of("a", 3, vec![add_one()])];
    let refused = Err(CommitError::AlreadyDone(vec![0]));
    assert_eq!(one.commit(&again).await, refused);
    let mut own = two.next(&[]);
    own.effects = vec![effects(&child)];
    assert_eq!(two.commit(&own).await, Ok(DONE), "of another shard");
    assert_eq!(store.value("t", "x").await, Ok(Some(2.into())));
}

fn add_one() -> Effect {
    Effect::Add(Add {
        table: "t".to_owned(),
        key: "x".to_owned(),
        by: 1,
        condition: None,
    })
}
