//! Lane items: park, decide, take, restart.

use super::{Bench, DONE, Owner, change, item, lane, note, park, partition, record, worker};
use lanekeeper::{
    Position,
    record::{Assignment, LaneKey},
    store::{CommitError, DecideError, HistoryEvent, LaneChange, LaneItem, LaneState, Verb},
};
use std::sync::Arc;

pub(super) async fn a_park_is_one_with_its_checkpoint(bench: &dyn Bench) {
    let store = bench.open("billing");
    let mut owner = Owner::of(&store, &partition("a/0")).await;
    let parked = park(&mut owner, "a", 3..=5).await;
    assert_eq!(owner.frontier().await, Some(5));
    assert_eq!(
        store.lanes(&owner.partition).await,
        Ok(vec![parked.clone()])
    );
    assert_eq!(owner.chain(&lane("a")).await, [3, 4, 5]);
    let assignment = Arc::new(Assignment {
        generation: 4,
        ..Assignment::clone(&owner.assignment())
    });
    let records = store.chain(&assignment, &lane("a"), None, 1, 0).await;
    let first = &records.expect("chain")[0];
    let written = record(&owner.partition, "a", 3);
    assert_eq!(first.id(), "orders/a/0/3/4", "of the reader's assignment");
    assert_eq!(
        (first.key(), first.value()),
        (written.key(), written.value())
    );
    assert_eq!(first.timestamp(), written.timestamp());
    assert!(first.headers().eq(written.headers()));
    // Appends move the tail and not `rev`, so that an operator's view of the lane still holds.
    let more = LaneItem {
        tail: Some(Position::Offset(7)),
        count: 4,
        ..parked.clone()
    };
    let append = LaneChange {
        append: vec![record(&owner.partition, "a", 7)],
        ..change("a", Some(&parked), Some(more.clone()))
    };
    owner.change(7, append).await;
    assert_eq!(owner.chain(&lane("a")).await, [3, 4, 5, 7]);
    assert_eq!(owner.lane(&lane("a")).await, Some(more));
    let release = note(Verb::Release);
    let decided = store
        .decide(&owner.partition, &lane("a"), parked.rev, &release)
        .await;
    assert_eq!(decided, Ok(2));
}

pub(super) async fn a_decision_wins_over_an_older_view(bench: &dyn Bench) {
    let store = bench.open("billing");
    let mut owner = Owner::of(&store, &partition("a/0")).await;
    let parked = park(&mut owner, "a", 3..=4).await;
    let decided = store
        .decide(&owner.partition, &lane("a"), 1, &note(Verb::Skip))
        .await;
    assert_eq!(decided, Ok(2));
    let put = LaneItem {
        last_error: "newer".to_owned(),
        ..parked.clone()
    };
    let mut commit = owner.next(9);
    commit.lanes = vec![change("a", Some(&parked), Some(put))];
    let moved = Err(CommitError::LaneMoved(vec![0]));
    assert_eq!(owner.commit(&commit).await, moved);
    assert_eq!(owner.frontier().await, Some(4));
    let standing = owner.lane(&lane("a")).await.expect("stands");
    assert_eq!(standing.decision, Some(note(Verb::Skip)));
    assert_eq!(standing.last_error, parked.last_error);
    // With the item read again the commit goes, under the same number.
    commit.content = [8; 16];
    commit.lanes = vec![change("a", Some(&standing), None)];
    assert_eq!(owner.commit(&commit).await, Ok(DONE));
    assert_eq!(owner.lane(&lane("a")).await, None);
    let late = store
        .decide(&owner.partition, &lane("a"), 2, &note(Verb::Release))
        .await;
    assert_eq!(
        late,
        Err(DecideError::NoSuchLane {
            lane: lane("a"),
            partition: owner.partition.clone()
        })
    );
}

pub(super) async fn of_two_decisions_one_is_written(bench: &dyn Bench) {
    let store = bench.open("billing");
    let mut owner = Owner::of(&store, &partition("a/0")).await;
    park(&mut owner, "a", 3..=4).await;
    let mut tasks = Vec::new();
    for n in 0..6 {
        let (store, p) = (bench.open("billing"), owner.partition.clone());
        tasks.push(tokio::spawn(async move {
            let mut note = note(Verb::Release);
            note.by = format!("operator {n}");
            let decided = store.decide(&p, &lane("a"), 1, &note).await;
            (note, decided)
        }));
    }
    let mut winners = Vec::new();
    for task in tasks {
        match task.await.expect("no panic") {
            (note, Ok(rev)) => {
                assert_eq!(rev, 2);
                winners.push(note);
            }
            (_, Err(DecideError::State { partition, item })) => {
                assert_eq!(partition, owner.partition);
                assert!(item.decision.is_some(), "the loser is told who won");
            }
            (_, Err(error)) => panic!("{error}"),
        }
    }
    assert_eq!(winners.len(), 1);
    let standing = owner.lane(&lane("a")).await.expect("stands");
    assert_eq!(standing.decision, winners.pop());
    assert_eq!(
        store.history(&owner.partition).await.map(|h| h.len()),
        Ok(1)
    );
}

/// An operator who is told that a lane will be released, skipped or retried is told the truth.
pub(super) async fn of_a_decision_and_a_lanes_end_one_is_written(bench: &dyn Bench) {
    let p = partition("a/0");
    let (store, operator) = (bench.open("billing"), bench.open("billing"));
    let mut owner = Owner::of(&store, &p).await;
    let mut frontier = 0;
    for _ in 0..20 {
        let stands = park(&mut owner, "a", frontier + 1..=frontier + 2).await;
        frontier += 2;
        let mut end = owner.next(frontier);
        end.lanes = vec![change("a", Some(&stands), None)];
        let (key, verdict) = (lane("a"), note(Verb::Release));
        let deciding = operator.decide(&p, &key, stands.rev, &verdict);
        let (decided, ended) = tokio::join!(deciding, owner.commit(&end));
        match (&decided, &ended) {
            (Ok(rev), Err(CommitError::LaneMoved(_))) => {
                let decided = owner.lane(&lane("a")).await.expect("stands");
                assert_eq!(decided.rev, *rev);
                owner.number -= 1;
                owner
                    .change(frontier, change("a", Some(&decided), None))
                    .await;
            }
            (Err(DecideError::NoSuchLane { .. }), Ok(_)) => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(owner.lane(&lane("a")).await, None);
    }
}

pub(super) async fn a_decision_that_nobody_took_is_replaced(bench: &dyn Bench) {
    let store = bench.open("billing");
    let p = partition("a/0");
    let mut owner = Owner::of(&store, &p).await;
    let stopped = item("a", LaneState::Stopped, 3, None);
    owner.change(2, change("a", None, Some(stopped))).await;
    let (key, fence) = (lane("a"), owner.fence);
    assert_eq!(store.decide(&p, &key, 1, &note(Verb::Skip)).await, Ok(2));
    let blind = store.decide(&p, &key, 1, &note(Verb::Retry)).await;
    assert!(
        matches!(&blind, Err(DecideError::State { item, .. }) if item.rev == 2),
        "who has not seen the first one replaces nothing: {blind:?}"
    );
    assert_eq!(store.decide(&p, &key, 2, &note(Verb::Retry)).await, Ok(3));
    let late = store.take(&p, fence, &key, 2).await;
    assert!(
        matches!(late, Err(DecideError::State { .. })),
        "the owner does not act on what it read before: {late:?}"
    );
    let taken = store.take(&p, fence, &key, 3).await.expect("taken");
    let verb = taken.decision.map(|decision| decision.verb);
    assert_eq!((verb, taken.rev), (Some(Verb::Retry), 4));
}

pub(super) async fn each_state_offers_its_verbs(bench: &dyn Bench) {
    use Verb::{DeadLetter, Park, Release, Retry, Skip};
    let store = bench.open("billing");
    let p = partition("a/0");
    let mut owner = Owner::of(&store, &p).await;
    let cases = [
        (LaneState::Stopped, &[Retry, Skip, Park, DeadLetter][..]),
        (LaneState::Parked, &[Retry, Skip, DeadLetter, Release]),
        (LaneState::Draining, &[]),
        (LaneState::Live, &[]),
    ];
    for (state, offered) in cases {
        for verb in [Retry, Skip, Park, DeadLetter, Release] {
            let fresh = item("a", state, 3, Some(4));
            owner
                .change(2, change("a", None, Some(fresh.clone())))
                .await;
            let wrong = store.decide(&p, &lane("a"), 7, &note(verb)).await;
            assert!(
                matches!(&wrong, Err(DecideError::State { item, .. }) if **item == fresh),
                "{wrong:?}"
            );
            let decided = store.decide(&p, &lane("a"), 1, &note(verb)).await;
            assert_eq!(
                decided.is_ok(),
                offered.contains(&verb),
                "{state:?} {verb:?}"
            );
            let standing = LaneItem {
                rev: decided.unwrap_or(1),
                ..fresh
            };
            owner.change(2, change("a", Some(&standing), None)).await;
        }
    }
    let absent = store.decide(&p, &lane("b"), 1, &note(Retry)).await;
    assert!(matches!(absent, Err(DecideError::NoSuchLane { .. })));
}

pub(super) async fn a_decision_is_taken_once_and_by_the_owner(bench: &dyn Bench) {
    let store = bench.open("billing");
    let p = partition("a/0");
    let mut owner = Owner::of(&store, &p).await;
    let stopped = item("a", LaneState::Stopped, 3, None);
    owner
        .change(2, change("a", None, Some(stopped.clone())))
        .await;
    let (key, fence) = (lane("a"), owner.fence);
    // Nothing to take yet.
    let early = store.take(&p, fence, &key, 1).await;
    assert!(matches!(early, Err(DecideError::State { .. })), "{early:?}");
    assert_eq!(store.decide(&p, &key, 1, &note(Verb::Retry)).await, Ok(2));
    let stale = store.take(&p, fence, &key, 1).await;
    assert!(matches!(stale, Err(DecideError::State { .. })), "{stale:?}");
    let taken = store.take(&p, fence, &key, 2).await.expect("taken");
    assert_eq!(taken.rev, 3);
    assert!(taken.decision.as_ref().is_some_and(|d| d.taken));
    assert_eq!(owner.lane(&key).await, Some(taken.clone()));
    // Repeated after a lost answer, it says how things stand.
    for rev in [2, 3] {
        let again = store.take(&p, fence, &key, rev).await;
        assert!(matches!(again, Err(DecideError::State { item, .. }) if *item == taken));
    }
    // A taken one is not replaced.
    let late = store.decide(&p, &key, 3, &note(Verb::Skip)).await;
    assert!(matches!(late, Err(DecideError::State { .. })), "{late:?}");
    // The next owner finds it taken, and its commit clears it.
    let claimed = store.claim(&p, worker()).await.expect("claim");
    assert_eq!(claimed.lanes, std::slice::from_ref(&taken));
    let none = store.take(&p, fence, &lane("b"), 1).await;
    assert!(matches!(none, Err(DecideError::Store(_))), "{none:?}");
}

pub(super) async fn every_state_survives_a_restart(bench: &dyn Bench) {
    let store = bench.open("billing");
    let p = partition("a/0");
    let mut owner = Owner::of(&store, &p).await;
    let mut taken = note(Verb::DeadLetter);
    taken.taken = true;
    let mut items = vec![
        LaneItem {
            record: Some(record(&p, "a", 3).to_stored()),
            ..item("a", LaneState::Stopped, 3, None)
        },
        LaneItem {
            record: None,
            decision: Some(taken),
            rev: 9,
            ..item("b", LaneState::Stopped, 4, None)
        },
        item("c", LaneState::Parked, 5, Some(6)),
        LaneItem {
            decision: Some(note(Verb::Release)),
            attempts: 0,
            first_error: String::new(),
            ..item("d", LaneState::Parked, 7, Some(9))
        },
        LaneItem {
            cut: Some(Position::Offset(12)),
            ..item("e", LaneState::Draining, 11, Some(12))
        },
        LaneItem {
            head: Position::sequence("77", Some(2)).expect("sound"),
            tail: Some(Position::sequence("778", None).expect("sound")),
            ..item("f", LaneState::Parked, 0, Some(1))
        },
    ];
    let live = item("g", LaneState::Live, 20, Some(30));
    let mut commit = owner.next(12);
    let all = items.iter().chain([&live]);
    commit.lanes = all
        .map(|item| LaneChange {
            lane: item.lane.clone(),
            expected: None,
            item: Some(item.clone()),
            append: Vec::new(),
            passed: None,
        })
        .collect();
    commit.lanes.reverse();
    assert_eq!(owner.commit(&commit).await, Ok(DONE));
    let again = bench.open("billing");
    assert_eq!(again.lanes(&p).await, Ok(items.clone()));
    let claimed = again.claim(&p, worker()).await.expect("claim");
    assert_eq!(claimed.lanes, items);
    // A live item is not listed, and still there.
    let mut next = Owner::of(&again, &p).await;
    let mut blind = next.next(13);
    blind.lanes = vec![change("g", None, Some(live.clone()))];
    let moved = Err(CommitError::LaneMoved(vec![0]));
    assert_eq!(next.commit(&blind).await, moved);
    let parked = item("g", LaneState::Parked, 31, Some(31));
    items.push(parked.clone());
    next.number = 0;
    next.change(13, change("g", Some(&live), Some(parked)))
        .await;
    assert_eq!(again.lanes(&p).await, Ok(items));
}

pub(super) async fn lanes_of_all_kinds_are_told_apart(bench: &dyn Bench) {
    let store = bench.open("billing");
    let mut owner = Owner::of(&store, &partition("a/0")).await;
    let mut lanes = vec![
        LaneKey::of_key(b""),
        LaneKey::of_key(b"a"),
        LaneKey::of_key(b"A"),
        LaneKey::of_key(b"a "),
        LaneKey::of_key(b"\xff\x00'\x80"),
        LaneKey::of_key(&[b'x'; 2000]),
        LaneKey::of_partition(),
        LaneKey::without_key(),
        LaneKey::of_record(&Position::Offset(7)),
    ];
    let mut commit = owner.next(1);
    for (head, lane) in (10..).zip(&lanes) {
        let item = LaneItem {
            lane: lane.clone(),
            ..item("", LaneState::Stopped, head, None)
        };
        commit.lanes.push(LaneChange {
            lane: lane.clone(),
            expected: None,
            item: Some(item),
            append: Vec::new(),
            passed: None,
        });
    }
    assert_eq!(owner.commit(&commit).await, Ok(DONE));
    lanes.sort();
    let found = store.lanes(&owner.partition).await.expect("lanes");
    let names: Vec<_> = found.iter().map(|item| item.lane.clone()).collect();
    assert_eq!(names, lanes, "by lane key");
    for change in &commit.lanes {
        assert_eq!(owner.lane(&change.lane).await, change.item);
    }
    let others = [
        partition("a/1"),
        lanekeeper::record::PartitionName::new("x", "a/0"),
    ];
    for other in others {
        assert_eq!(store.lanes(&other).await, Ok(Vec::new()));
    }
}

pub(super) async fn a_moved_lane_refuses_all_of_its_commit(bench: &dyn Bench) {
    let store = bench.open("billing");
    let mut owner = Owner::of(&store, &partition("a/0")).await;
    let a = park(&mut owner, "a", 3..=4).await;
    let b = park(&mut owner, "b", 5..=6).await;
    let stale = |item: &LaneItem, rev, tail| LaneItem {
        rev,
        tail: Some(Position::Offset(tail)),
        ..item.clone()
    };
    let mut commit = owner.next(9);
    commit.keep = true;
    commit.effects = vec![super::effects_of(
        "x",
        9,
        vec![lanekeeper::Effect::put("t", "k", 1)],
    )];
    commit.lanes = vec![
        change("a", Some(&stale(&a, 2, 4)), None),
        change("b", Some(&b), None),
        change("c", Some(&a), Some(item("c", LaneState::Stopped, 9, None))),
        change("d", None, Some(item("d", LaneState::Stopped, 9, None))),
    ];
    let moved = Err(CommitError::LaneMoved(vec![0, 2]));
    assert_eq!(owner.commit(&commit).await, moved);
    commit.lanes = vec![
        change("b", Some(&b), None),
        change("a", Some(&stale(&a, 1, 3)), None),
    ];
    let moved = Err(CommitError::LaneMoved(vec![1]));
    assert_eq!(owner.commit(&commit).await, moved);
    commit.lanes = vec![change("a", None, None)];
    let moved = Err(CommitError::LaneMoved(vec![0]));
    assert_eq!(owner.commit(&commit).await, moved);
    assert_eq!(store.lanes(&owner.partition).await, Ok(vec![a, b]));
    assert_eq!(owner.chain(&lane("a")).await, [3, 4]);
    assert_eq!(owner.chain(&lane("b")).await, [5, 6]);
    assert_eq!(owner.frontier().await, Some(6));
    assert_eq!(store.value("t", "k").await, Ok(None));
    let history = store.history(&owner.partition).await.expect("read");
    assert!(
        !history
            .iter()
            .any(|h| matches!(h.what, HistoryEvent::Checkpoint { .. }))
    );
}
