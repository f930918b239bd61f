//! An operator's rewind and import: fenced by the epoch, whole, remembered.

use super::{
    Bench, DONE, Owner, change, fresh, item, lane, note, park, partition, record, settled, worker,
};
use lanekeeper::{
    Position,
    checkpoint::Checkpoint,
    record::PartitionName,
    store::{
        AsRead, CommitError, DecideError, HistoryEvent, LaneChange, LaneItem, LaneState, Ownership,
        Rewind, RewindError, RewindNote, RewindVerb, Store, StoreError, Verb,
    },
};
use partitions::Resume;
use std::sync::Arc;
use uuid::Uuid;

/// Back to before this offset, in the second generation.
fn back_to(offset: u64) -> Rewind {
    Rewind {
        checkpoint: Checkpoint {
            resume: Resume::At(Position::Offset(offset)),
            ..Checkpoint::default()
        },
        generation: 1,
        lanes: Vec::new(),
        content: Uuid::from_u64_pair(11, fresh()).into_bytes(),
        note: RewindNote {
            verb: RewindVerb::Rewind,
            to: offset.to_string(),
            by: "ann".to_owned(),
            why: Some("bad deploy".to_owned()),
            at: 0,
        },
    }
}

async fn item_of(store: &Arc<dyn Store>, p: &PartitionName) -> Ownership {
    store.ownership(p).await.expect("read").expect("an item")
}

pub(super) async fn a_rewind_fences_the_owner_and_leaves_it_named(bench: &dyn Bench) {
    let store = bench.open("billing");
    let p = partition("a/0");
    let mut owner = Owner::of(&store, &p).await;
    let stopped = item("a", LaneState::Stopped, 3, None);
    owner.change(9, change("a", None, Some(stopped))).await;
    assert_eq!(
        store.decide(&p, &lane("a"), 1, &note(Verb::Retry)).await,
        Ok(2)
    );
    let before = item_of(&store, &p).await;
    let rewind = back_to(4);
    let after = bench.open("billing");
    let after = after.rewind(&p, AsRead::of(Some(&before)), &rewind).await;
    let after = after.expect("rewound");
    assert_eq!(
        (after.worker, after.epoch, after.generation, after.commit),
        (Some(owner.fence.worker), 2, 1, 0)
    );
    assert_eq!(after.checkpoint, Some(rewind.checkpoint));
    assert_eq!(item_of(&store, &p).await, after);

    let late = owner.next(12);
    assert!(matches!(
        owner.commit(&late).await,
        Err(CommitError::Fenced {
            found: (_, 2, 0),
            ..
        })
    ));
    let mut append = owner.next(13);
    append.lanes = vec![LaneChange {
        append: vec![record(&p, "b", 13)],
        ..change("b", None, Some(item("b", LaneState::Parked, 13, Some(13))))
    }];
    assert!(matches!(
        owner.commit(&append).await,
        Err(CommitError::Fenced { .. })
    ));
    let fenced = StoreError::Fenced {
        partition: p.clone(),
        worker: Some(owner.fence.worker),
        epoch: 2,
    };
    assert_eq!(store.release(&p, owner.fence).await, Err(fenced.clone()));
    let take = store.take(&p, owner.fence, &lane("a"), 2).await;
    assert_eq!(take, Err(DecideError::Store(fenced)));
    assert_eq!(
        item_of(&store, &p).await,
        after,
        "nothing of that was written"
    );

    let claimed = store.claim(&p, worker()).await.expect("claim");
    assert_eq!(
        claimed.unclean,
        Some(owner.fence.worker),
        "it did not release"
    );
    assert_eq!(
        (claimed.ownership.epoch, claimed.ownership.generation),
        (3, 1)
    );
    assert_eq!(claimed.ownership.checkpoint, after.checkpoint);
}

pub(super) async fn of_two_rewinds_one_is_written(bench: &dyn Bench) {
    let store = bench.open("billing");
    let p = partition("a/0");
    let mut owner = Owner::of(&store, &p).await;
    let commit = owner.next(9);
    assert_eq!(owner.commit(&commit).await, Ok(DONE));
    assert_eq!(store.release(&p, owner.fence).await, Ok(()));
    let read = AsRead::of(Some(&item_of(&store, &p).await));
    let (first, second) = (back_to(4), back_to(6));
    let won = store.rewind(&p, read, &first).await.expect("the first");
    assert_eq!(won.worker, None, "a clean release stays one");
    let lost = RewindError::Moved {
        partition: p.clone(),
        read,
        found: AsRead {
            epoch: 2,
            commit: 0,
        },
    };
    assert_eq!(store.rewind(&p, read, &second).await, Err(lost));
    // An answer that was lost: the same content again is the same act.
    assert_eq!(store.rewind(&p, read, &first).await, Ok(won.clone()));
    assert_eq!(item_of(&store, &p).await, won);
    let acts = store.history(&p).await.expect("history");
    let acts = { acts.iter() }.filter(|line| matches!(line.what, HistoryEvent::Rewound { .. }));
    assert_eq!(acts.count(), 1);
}

pub(super) async fn a_commit_meanwhile_refuses_a_rewind(bench: &dyn Bench) {
    let store = bench.open("billing");
    let p = partition("a/0");
    let mut owner = Owner::of(&store, &p).await;
    let read = AsRead::of(Some(&item_of(&store, &p).await));
    let commit = owner.next(9);
    assert_eq!(owner.commit(&commit).await, Ok(DONE));
    let moved = store.rewind(&p, read, &back_to(4)).await;
    assert!(matches!(moved, Err(RewindError::Moved { .. })), "{moved:?}");
    let next = owner.next(10);
    assert_eq!(owner.commit(&next).await, Ok(DONE), "nobody is fenced");
}

pub(super) async fn a_rewind_takes_lanes_along_or_nothing(bench: &dyn Bench) {
    let store = bench.open("billing");
    let p = partition("a/0");
    let mut owner = Owner::of(&store, &p).await;
    let stopped = item("a", LaneState::Stopped, 5, None);
    owner
        .change(4, change("a", None, Some(stopped.clone())))
        .await;
    let dropped = park(&mut owner, "b", 6..=7).await;
    let kept = park(&mut owner, "c", 8..=9).await;
    let before = item_of(&store, &p).await;
    let read = AsRead::of(Some(&before));
    let restored = item("d", LaneState::Stopped, 4, None);
    let mut rewind = back_to(4);
    rewind.lanes = vec![
        change("a", Some(&stopped), None),
        change("b", Some(&dropped), None),
        change("d", None, Some(restored.clone())),
    ];
    // A decision came in between.
    assert_eq!(
        store.decide(&p, &lane("a"), 1, &note(Verb::Skip)).await,
        Ok(2)
    );
    let moved = RewindError::LaneMoved {
        partition: p.clone(),
        lanes: vec![0],
    };
    assert_eq!(store.rewind(&p, read, &rewind).await, Err(moved));
    assert_eq!(item_of(&store, &p).await, before, "wholly or not at all");
    assert_eq!(owner.chain(&lane("b")).await, [6, 7]);
    assert_eq!(owner.lane(&lane("d")).await, None);

    let decided = LaneItem { rev: 2, ..stopped };
    rewind.lanes[0] = change("a", Some(&decided), None);
    store.rewind(&p, read, &rewind).await.expect("rewound");
    assert_eq!(store.lanes(&p).await, Ok(vec![kept, restored]));
    assert_eq!(owner.chain(&lane("b")).await, Vec::<u64>::new());
    assert_eq!(owner.chain(&lane("c")).await, [8, 9]);
}

pub(super) async fn history_keeps_what_stood_and_the_act(bench: &dyn Bench) {
    let store = bench.open("billing");
    let p = partition("a/0");
    let mut owner = Owner::of(&store, &p).await;
    let commit = owner.next(9);
    assert_eq!(owner.commit(&commit).await, Ok(DONE));
    let before = item_of(&store, &p).await;
    let mut rewind = back_to(4);
    rewind.note.at = before.updated_at + 60_000;
    let after = store.rewind(&p, AsRead::of(Some(&before)), &rewind).await;
    after.expect("rewound");
    let history = store.history(&p).await.expect("history");
    let [stood, act] = &history[..] else {
        panic!("{history:?}");
    };
    assert_eq!(
        (stood.at, &stood.what),
        (
            rewind.note.at - 1,
            &HistoryEvent::Checkpoint {
                epoch: 1,
                generation: 0,
                checkpoint: commit.checkpoint,
            }
        )
    );
    assert_eq!(
        (act.at, &act.what),
        (
            rewind.note.at,
            &HistoryEvent::Rewound {
                epoch: 2,
                generation: 1,
                checkpoint: rewind.checkpoint,
                note: rewind.note,
            }
        )
    );
}

pub(super) async fn an_import_makes_a_partition(bench: &dyn Bench) {
    let store = bench.open("billing");
    let p = partition("a/0");
    let mut import = back_to(1);
    import.checkpoint = settled(9);
    import.generation = 3;
    import.note.verb = RewindVerb::Import;
    let made = store
        .rewind(&p, AsRead::of(None), &import)
        .await
        .expect("made");
    assert_eq!((made.worker, made.epoch, made.generation), (None, 1, 3));
    assert_eq!(store.partitions().await, Ok(vec![p.clone()]));
    let claimed = store.claim(&p, worker()).await.expect("claim");
    assert_eq!(claimed.unclean, None);
    assert_eq!(claimed.ownership.checkpoint, Some(settled(9)));
    assert_eq!(
        (claimed.ownership.epoch, claimed.ownership.generation),
        (2, 3)
    );
    let again = store.rewind(&p, AsRead::of(None), &back_to(2)).await;
    assert!(matches!(again, Err(RewindError::Moved { .. })), "{again:?}");
}

pub(super) async fn a_checkpoint_beyond_the_bound_is_not_imported(bench: &dyn Bench) {
    let store = bench.open("billing");
    let p = partition("a/0");
    let mut import = back_to(1);
    // Every second position is open, so that each takes bytes of its own.
    import.checkpoint.open = (1..200_000).map(|n| Position::Offset(2 * n)).collect();
    let refused = store.rewind(&p, AsRead::of(None), &import).await;
    assert!(
        matches!(refused, Err(RewindError::TooLarge { bytes, .. }) if bytes > 300 * 1024),
        "{refused:?}"
    );
    assert_eq!(store.ownership(&p).await, Ok(None));
}
