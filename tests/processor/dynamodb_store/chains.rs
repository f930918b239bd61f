//! Segments, parts, and what is left of chains that ended.

use super::{owner, successor};
use crate::conformance::{
    Bench, DynamodbBench, Owner, change, fresh, item, lane, note, offset, park, partition, record,
    worker,
};
use lanekeeper::{
    Position,
    record::{Assignment, BatchBuilder, LaneOrder, NoKey, OrderBy, Record},
    store::{AsRead, LaneChange, LaneItem, LaneState, Rewind, RewindNote, RewindVerb, Verb},
};
use std::sync::Arc;
use uuid::Uuid;

fn large(of: &Owner, offset: u64, bytes: usize) -> Record {
    let assignment = Assignment {
        name: of.partition.clone(),
        epoch: 1,
        generation: 0,
    };
    let order = LaneOrder {
        by: OrderBy::Key,
        no_key: NoKey::Partition,
    };
    let value: Vec<u8> = (0..bytes).map(|n| (n % 251) as u8).collect();
    let mut batch = BatchBuilder::new(Arc::new(assignment));
    batch
        .push(
            order,
            Position::Offset(offset),
            Some(b"a"),
            Some(&value),
            std::iter::empty::<(&str, &[u8])>(),
            None,
        )
        .expect("has a key");
    batch.finish(None).remove(0)
}

fn parked(head: u64, tail: u64) -> LaneItem {
    item("a", LaneState::Parked, head, Some(tail))
}

#[tokio::test]
async fn a_large_record_is_kept_in_parts_and_reads_back() {
    let bench = DynamodbBench::new().await;
    let mut owner = owner(&bench).await;
    let sizes = [10, 400_000, 299_000, 2_500_000];
    let records: Vec<Record> = (3..).zip(sizes).map(|(n, b)| large(&owner, n, b)).collect();
    let first = LaneChange {
        append: records[..1].to_vec(),
        ..change("a", None, Some(parked(3, 3)))
    };
    owner.change(3, first).await;
    for n in 1..4 {
        let append = LaneChange {
            append: records[n..=n].to_vec(),
            ..change(
                "a",
                Some(&parked(3, 2 + n as u64)),
                Some(parked(3, 3 + n as u64)),
            )
        };
        owner.change(3 + n as u64, append).await;
    }
    let read = owner
        .store
        .chain(&owner.assignment(), &lane("a"), None, 9, u64::MAX)
        .await
        .expect("chain");
    for (record, size) in read.iter().zip(sizes) {
        let value = record.value().expect("a value");
        assert_eq!(value.len(), size);
        assert!(value.iter().enumerate().all(|(n, b)| *b == (n % 251) as u8));
    }
    assert_eq!(read.iter().map(offset).collect::<Vec<_>>(), [3, 4, 5, 6]);
    // With the chain its parts go, too.
    owner
        .change(9, change("a", Some(&parked(3, 6)), None))
        .await;
    assert_eq!(
        bench
            .under_chain("billing", &owner.partition, &lane("a"))
            .await,
        0
    );
}

#[tokio::test]
async fn what_passed_is_deleted_and_an_ended_chain_leaves_nothing() {
    let bench = DynamodbBench::new().await;
    let mut owner = owner(&bench).await;
    let stands = park(&mut owner, "a", 1..=1_000).await;
    let left = async |owner: &Owner| {
        bench
            .under_chain("billing", &owner.partition, &lane("a"))
            .await
    };
    assert_eq!(left(&owner).await, 5, "segments of 200");
    assert_eq!(owner.chain(&lane("a")).await.len(), 1_000);
    let moved = LaneItem {
        head: Position::Offset(500),
        ..stands.clone()
    };
    let drained = LaneChange {
        passed: Some(Position::Offset(499)),
        ..change("a", Some(&stands), Some(moved.clone()))
    };
    owner.change(1_000, drained).await;
    assert_eq!(left(&owner).await, 3, "two have passed as a whole");
    // A successor knows of no segment, and the chain ends all the same.
    let mut next = successor(&bench, &owner).await;
    assert_eq!(next.chain(&lane("a")).await.first(), Some(&500));
    next.change(1_000, change("a", Some(&moved), None)).await;
    assert_eq!(left(&next).await, 0);
    assert_eq!(bench.lane_items("billing", &next.partition).await, 0);
}

#[tokio::test]
async fn a_claim_sweeps_what_a_dead_owner_left_of_an_ended_chain() {
    let bench = DynamodbBench::new().await;
    let mut owner = owner(&bench).await;
    let stands = park(&mut owner, "a", 1..=300).await;
    owner.change(300, change("a", Some(&stands), None)).await;
    // As if it had died before it swept: item and segments are there again.
    park(&mut owner, "a", 301..=301).await;
    bench
        .leave_ended(
            "billing",
            &owner.partition,
            &lane("a"),
            owner.fence.epoch,
            owner.number,
        )
        .await;
    assert_eq!(owner.lane(&lane("a")).await, None, "to nobody it is a lane");
    assert_eq!(owner.chain(&lane("a")).await, [0u64; 0]);
    let mut next = successor(&bench, &owner).await;
    assert_eq!(bench.lane_items("billing", &next.partition).await, 0);
    assert_eq!(
        bench
            .under_chain("billing", &next.partition, &lane("a"))
            .await,
        0
    );
    // The lane's next life is its own.
    park(&mut next, "a", 400..=402).await;
    assert_eq!(next.chain(&lane("a")).await, [400, 401, 402]);
}

#[tokio::test]
async fn what_passed_stays_so_when_records_join_in_front_of_their_segment() {
    let bench = DynamodbBench::new().await;
    let mut owner = owner(&bench).await;
    let stands = park(&mut owner, "a", 1..=450).await;
    // In the middle of the second segment, and this process never read the first.
    let moved = LaneItem {
        head: Position::Offset(300),
        ..stands.clone()
    };
    let drained = LaneChange {
        passed: Some(Position::Offset(299)),
        ..change("a", Some(&stands), Some(moved.clone()))
    };
    let mut next = successor(&bench, &owner).await;
    next.change(450, drained).await;
    // A rewind that keeps the chain; of what runs again, 100 fails, and 101..=249 were done before.
    let joined = LaneItem {
        head: Position::Offset(100),
        ..moved.clone()
    };
    let p = next.partition.clone();
    let join = LaneChange {
        append: [100, 250, 299].map(|n| record(&p, "a", n)).to_vec(),
        ..change("a", Some(&moved), Some(joined))
    };
    next.change(450, join).await;
    let chain = next.chain(&lane("a")).await;
    let expected: Vec<u64> = [100, 250, 299].into_iter().chain(300..=450).collect();
    assert_eq!(chain, expected, "nothing that had passed is alive again");
    let last = successor(&bench, &next).await;
    assert_eq!(last.chain(&lane("a")).await, expected);
}

#[tokio::test]
async fn a_chain_of_single_records_is_read_whole() {
    let bench = DynamodbBench::new().await;
    let mut owner = owner(&bench).await;
    park(&mut owner, "a", 1..=1).await;
    for n in 2..=40 {
        let append = LaneChange {
            append: vec![record(&owner.partition, "a", n)],
            ..change("a", Some(&parked(1, n - 1)), Some(parked(1, n)))
        };
        owner.change(n, append).await;
    }
    let chain = owner.chain(&lane("a")).await;
    assert!(chain.iter().copied().eq(1..=40), "{chain:?}");
    let page = owner
        .store
        .chain(
            &owner.assignment(),
            &lane("a"),
            Some(&Position::Offset(17)),
            5,
            u64::MAX,
        )
        .await
        .expect("page");
    assert_eq!(
        page.iter().map(offset).collect::<Vec<_>>(),
        [18, 19, 20, 21, 22]
    );
}

#[tokio::test]
async fn a_rewind_of_more_lanes_than_a_transaction_takes_takes_them_all() {
    let bench = DynamodbBench::new().await;
    let mut owner = owner(&bench).await;
    let items: Vec<LaneItem> = (0..230_u64)
        .map(|n| item(&format!("k{n}"), LaneState::Stopped, n + 1, None))
        .collect();
    for part in items.chunks(25) {
        let mut commit = owner.next(300);
        commit.lanes = part
            .iter()
            .map(|item| LaneChange {
                lane: item.lane.clone(),
                expected: None,
                item: Some(item.clone()),
                append: Vec::new(),
                passed: None,
            })
            .collect();
        assert!(owner.commit(&commit).await.is_ok());
    }
    let act = Rewind {
        checkpoint: crate::conformance::settled(0),
        generation: 1,
        lanes: items
            .iter()
            .map(|item| LaneChange {
                lane: item.lane.clone(),
                expected: Some((item.rev, None)),
                item: None,
                append: Vec::new(),
                passed: None,
            })
            .collect(),
        content: Uuid::from_u64_pair(4, fresh()).into_bytes(),
        note: RewindNote {
            verb: RewindVerb::Rewind,
            to: "0".to_owned(),
            by: "ann".to_owned(),
            why: None,
            at: 1_700_000_000_000,
        },
    };
    let read = AsRead {
        epoch: owner.fence.epoch,
        commit: owner.number,
    };
    let after = owner
        .store
        .rewind(&owner.partition, read, &act)
        .await
        .expect("rewound");
    assert_eq!((after.epoch, after.generation), (owner.fence.epoch + 1, 1));
    assert_eq!(owner.store.lanes(&owner.partition).await, Ok(Vec::new()));
    // Said again, it is known to have landed.
    let again = owner.store.rewind(&owner.partition, read, &act).await;
    assert_eq!(again, Ok(after));
}

#[tokio::test]
async fn a_decision_on_a_lane_that_ended_is_told_so() {
    let bench = DynamodbBench::new().await;
    let mut owner = owner(&bench).await;
    let stands = park(&mut owner, "a", 1..=1).await;
    owner.change(2, change("a", Some(&stands), None)).await;
    let store = Bench::open(&bench, "billing");
    let decided = store
        .decide(&owner.partition, &lane("a"), stands.rev, &note(Verb::Skip))
        .await;
    assert!(
        matches!(
            decided,
            Err(lanekeeper::store::DecideError::NoSuchLane { .. })
        ),
        "{decided:?}"
    );
    let claimed = store
        .claim(&partition("a/0"), worker())
        .await
        .expect("claim");
    assert_eq!(claimed.lanes, []);
}
