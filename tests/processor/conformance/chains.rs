//! Chains: append, read, cut, drain.

use super::{Bench, Owner, change, lane, offset, park, partition, record, repeated};
use lanekeeper::{
    Position,
    store::{CommitError, LaneChange, LaneItem, LaneState},
};

pub(super) async fn an_append_repeated_adds_nothing(bench: &dyn Bench) {
    let store = bench.open("billing");
    let mut owner = Owner::of(&store, &partition("a/0")).await;
    let parked = park(&mut owner, "a", 3..=3).await;
    let grown = LaneItem {
        tail: Some(Position::Offset(4)),
        count: 2,
        ..parked.clone()
    };
    let append = LaneChange {
        append: vec![record(&owner.partition, "a", 4)],
        ..change("a", Some(&parked), Some(grown.clone()))
    };
    let commit = owner.change(4, append.clone()).await;
    assert_eq!(owner.commit(&commit).await, Ok(repeated()));
    // Also under another number, the tail says that they are in.
    let mut again = owner.next(4);
    again.lanes = vec![append];
    let moved = Err(CommitError::LaneMoved(vec![0]));
    assert_eq!(owner.commit(&again).await, moved);
    assert_eq!(owner.chain(&lane("a")).await, [3, 4]);
    assert_eq!(owner.lane(&lane("a")).await, Some(grown));
}

pub(super) async fn a_stale_owners_append_is_refused(bench: &dyn Bench) {
    let store = bench.open("billing");
    let mut former = Owner::of(&store, &partition("a/0")).await;
    let parked = park(&mut former, "a", 3..=3).await;
    let mut owner = Owner::of(&store, &former.partition).await;
    let grown = |tail| LaneItem {
        tail: Some(Position::Offset(tail)),
        ..parked.clone()
    };
    let append = |p, n| LaneChange {
        append: vec![record(p, "a", n)],
        ..change("a", Some(&parked), Some(grown(n)))
    };
    let mut late = former.next(4);
    late.lanes = vec![append(&former.partition, 4)];
    assert!(matches!(
        former.commit(&late).await,
        Err(CommitError::Fenced { .. })
    ));
    assert_eq!(owner.chain(&lane("a")).await, [3]);
    let own = append(&owner.partition, 5);
    owner.change(5, own).await;
    // Nor later, whatever the lane looks like then.
    assert!(matches!(
        former.commit(&late).await,
        Err(CommitError::Fenced { .. })
    ));
    assert_eq!(owner.chain(&lane("a")).await, [3, 5]);
}

pub(super) async fn a_cut_and_a_drain_end_in_no_lane(bench: &dyn Bench) {
    let store = bench.open("billing");
    let mut owner = Owner::of(&store, &partition("a/0")).await;
    let parked = park(&mut owner, "a", 3..=6).await;
    park(&mut owner, "b", 7..=8).await;
    let cut = LaneItem {
        state: LaneState::Draining,
        cut: parked.tail.clone(),
        rev: 2,
        ..parked.clone()
    };
    owner
        .change(8, change("a", Some(&parked), Some(cut.clone())))
        .await;
    // Each commit moves the head and drops what passed.
    let moved = LaneItem {
        head: Position::Offset(5),
        count: 2,
        ..cut.clone()
    };
    let drained = LaneChange {
        passed: Some(Position::Offset(4)),
        ..change("a", Some(&cut), Some(moved.clone()))
    };
    owner.change(8, drained).await;
    assert_eq!(owner.chain(&lane("a")).await, [5, 6]);
    let claimed = store.claim(&owner.partition, owner.fence.worker).await;
    let claimed = claimed.expect("claim");
    assert_eq!(claimed.lanes[0], moved, "a restart goes on from here");
    owner.fence.epoch = claimed.ownership.epoch;
    owner.number = 0;
    owner.change(8, change("a", Some(&moved), None)).await;
    assert_eq!(owner.lane(&lane("a")).await, None);
    assert_eq!(owner.chain(&lane("a")).await, [0u64; 0]);
    assert_eq!(owner.chain(&lane("b")).await, [7, 8], "another lane's");
    // The lane may park again, with a chain of its own.
    park(&mut owner, "a", 9..=9).await;
    assert_eq!(owner.chain(&lane("a")).await, [9]);
}

pub(super) async fn a_chain_is_read_in_pages(bench: &dyn Bench) {
    let store = bench.open("billing");
    let mut owner = Owner::of(&store, &partition("a/0")).await;
    let mut parked = park(&mut owner, "a", 1..=450).await;
    park(&mut owner, "b", 451..=451).await;
    let assignment = owner.assignment();
    let key = lane("a");
    for (records_max, bytes_max) in [(1000, u64::MAX), (100, u64::MAX), (1000, 500), (7, 0)] {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = store
                .chain(&assignment, &key, after.as_ref(), records_max, bytes_max)
                .await
                .expect("page");
            let Some(last) = page.last() else { break };
            assert!(page.len() <= records_max);
            let beyond_first: usize = page.iter().skip(1).map(lanekeeper::Record::bytes).sum();
            assert!(
                beyond_first as u64 <= bytes_max,
                "{beyond_first} > {bytes_max}"
            );
            after = Some(last.position().clone());
            seen.extend(page.iter().map(offset));
        }
        assert!(
            seen.iter().copied().eq(1..=450),
            "{records_max} {bytes_max}"
        );
    }
    // What passed goes for good, in the middle of whatever the store keeps together.
    for passed in [1, 199, 200, 201, 449] {
        let moved = LaneItem {
            head: Position::Offset(passed + 1),
            ..parked.clone()
        };
        let drained = LaneChange {
            passed: Some(Position::Offset(passed)),
            ..change("a", Some(&parked), Some(moved.clone()))
        };
        owner.change(451, drained).await;
        parked = moved;
        let left = owner.chain(&key).await;
        assert!(
            left.iter().copied().eq(passed + 1..=450),
            "{passed}: {left:?}"
        );
    }
    assert_eq!(owner.chain(&lane("b")).await, [451]);
    assert_eq!(owner.chain(&lane("c")).await, [0u64; 0]);
}

pub(super) async fn records_join_a_chain_in_order_only(bench: &dyn Bench) {
    let store = bench.open("billing");
    let mut owner = Owner::of(&store, &partition("a/0")).await;
    let parked = park(&mut owner, "a", 3..=5).await;
    for offsets in [&[5][..], &[4], &[7, 6], &[7, 7]] {
        let p = owner.partition.clone();
        let mut commit = owner.next(9);
        commit.lanes = vec![LaneChange {
            append: offsets.iter().map(|n| record(&p, "a", *n)).collect(),
            ..change("a", Some(&parked), Some(parked.clone()))
        }];
        let moved = Err(CommitError::LaneMoved(vec![0]));
        assert_eq!(owner.commit(&commit).await, moved, "{offsets:?}");
    }
    assert_eq!(owner.chain(&lane("a")).await, [3, 4, 5]);
}

pub(super) async fn records_join_in_front_of_a_chain_whole(bench: &dyn Bench) {
    let store = bench.open("billing");
    let mut owner = Owner::of(&store, &partition("a/0")).await;
    let parked = park(&mut owner, "a", 5..=6).await;
    let longer = LaneItem {
        head: Position::Offset(2),
        count: 4,
        ..parked.clone()
    };
    let p = owner.partition.clone();
    let join = |offsets: &[u64]| LaneChange {
        append: offsets.iter().map(|n| record(&p, "a", *n)).collect(),
        ..change("a", Some(&parked), Some(longer.clone()))
    };
    for offsets in [&[2, 5][..], &[4, 2], &[2, 7]] {
        let mut commit = owner.next(9);
        commit.lanes = vec![join(offsets)];
        let moved = Err(CommitError::LaneMoved(vec![0]));
        assert_eq!(owner.commit(&commit).await, moved, "{offsets:?}");
    }
    owner.change(9, join(&[2, 4])).await;
    assert_eq!(owner.chain(&lane("a")).await, [2, 4, 5, 6]);
    assert_eq!(owner.lane(&lane("a")).await, Some(longer));
}
