//! Marks, records that are done one by one, lanes that outlive their release, leases.

use super::{
    Bench, DONE, change, effects_of, item, lane, note, partition, record, repeated, uncounted,
    worker,
};
use crate::conformance::fresh;
use lanekeeper::{
    Position,
    checkpoint::{Checkpoint, OpenSet},
    effect::{Effect, Put},
    record::PartitionName,
    store::{
        Commit, CommitError, Committed, DecideError, DecisionNote, Fence, LaneChange, LaneItem,
        LaneState, Lease, Mark, MarkStore, Tried, Verb,
    },
};
use std::sync::Arc;
use uuid::Uuid;

/// An invocation with a batch, which numbers its commits.
pub(super) struct Invocation {
    store: Arc<dyn MarkStore>,
    pub(super) partition: PartitionName,
    mark: Mark,
    number: u64,
}

impl Invocation {
    pub(super) fn of(store: &Arc<dyn MarkStore>, name: &str, batch: (u64, u64)) -> Self {
        let ends = (Position::Offset(batch.0), Position::Offset(batch.1));
        Self {
            store: Arc::clone(store),
            partition: partition("a/0"),
            mark: Mark {
                expires: 4_000_000_000_000,
                ..Mark::begun(name, ends, 1_700_000_000_000)
            },
            number: 0,
        }
    }

    pub(super) fn next(&mut self, done: &[u64]) -> Commit {
        self.number += 1;
        self.mark.done = offsets(done);
        Commit {
            partition: self.partition.clone(),
            fence: Fence {
                worker: worker(),
                epoch: 77,
            },
            number: self.number,
            content: Uuid::from_u64_pair(9, fresh()).into_bytes(),
            checkpoint: Checkpoint::default(),
            lanes: Vec::new(),
            effects: Vec::new(),
            keep: false,
            settled_in: false,
            mark: Some(self.mark.clone()),
            failed: Vec::new(),
            lanes_at: None,
        }
    }

    pub(super) async fn commit(&self, commit: &Commit) -> Result<Committed, CommitError> {
        let mut outcomes = self.store.commit(std::slice::from_ref(commit)).await;
        assert_eq!(outcomes.len(), 1, "one outcome a commit");
        outcomes.remove(0).map(uncounted)
    }

    async fn change(&mut self, done: &[u64], change: LaneChange) {
        let mut commit = self.next(done);
        commit.lanes = vec![change];
        assert_eq!(self.commit(&commit).await, Ok(DONE), "{commit:?}");
    }

    async fn found(&self) -> Option<Mark> {
        let (first, last) = (&self.mark.first, &self.mark.last);
        let marks = self.store.marks(&self.partition, first, last).await;
        let marks = marks.expect("marks");
        { marks.into_iter() }.find(|mark| mark.invocation == self.mark.invocation)
    }
}

fn offsets(all: &[u64]) -> OpenSet {
    all.iter().map(|&n| Position::Offset(n)).collect()
}

pub(super) async fn a_mark_reads_back_whole_and_needs_no_claim(bench: &dyn Bench) {
    let store = bench.open_marks("billing");
    let mut one = Invocation::of(&store, "one", (3, 9));
    assert_eq!(one.found().await, None);
    one.mark.generation = 4;
    one.mark.deadline = 1_700_000_060_000;
    one.mark.tried = vec![Tried {
        position: Position::Offset(5),
        rev: 7,
        attempts: 2,
        error: "no: `ü`\n".to_owned(),
        not_before: 1_700_000_001_000,
    }];
    one.mark.announced = vec![(Position::Offset(6), true), (Position::Offset(7), false)];
    one.mark.ended = true;
    one.mark.lanes = vec![1, 7, u32::MAX];
    let commit = one.next(&[3, 4, 8]);
    assert_eq!(one.commit(&commit).await, Ok(DONE));
    assert_eq!(one.found().await, Some(one.mark.clone()));
    assert_eq!(store.ownership(&one.partition).await, Ok(None));
    // What is not so any more is not kept.
    one.mark.tried.clear();
    one.mark.announced.clear();
    one.mark.ended = false;
    let commit = one.next(&[3]);
    assert_eq!(one.commit(&commit).await, Ok(DONE));
    assert_eq!(one.found().await, Some(one.mark.clone()));
    store.unmark(&one.partition, &one.mark).await.expect("gone");
    assert_eq!(one.found().await, None);
    store.unmark(&one.partition, &one.mark).await.expect("is");
}

pub(super) async fn marks_are_found_by_what_they_overlap(bench: &dyn Bench) {
    let store = bench.open_marks("billing");
    let at = |digits: &str| Position::sequence(digits, None).expect("sound");
    let ends = [("8", "9"), ("9", "11"), ("12", "100"), ("99", "101")];
    for (first, last) in ends {
        let mut one = Invocation::of(&store, last, (0, 0));
        (one.mark.first, one.mark.last) = (at(first), at(last));
        let commit = one.next(&[]);
        assert_eq!(one.commit(&commit).await, Ok(DONE));
    }
    let mut other = Invocation::of(&store, "other", (0, 0));
    other.partition = partition("a/1");
    (other.mark.first, other.mark.last) = (at("1"), at("1000"));
    let commit = other.next(&[]);
    assert_eq!(other.commit(&commit).await, Ok(DONE));
    for (first, last, expected) in [
        ("10", "10", &["11"][..]),
        ("9", "10", &["11", "9"]),
        ("11", "12", &["100", "11"]),
        ("100", "101", &["100", "101"]),
        ("102", "103", &[]),
        ("1", "1000", &["100", "101", "11", "9"]),
    ] {
        let found = store.marks(&partition("a/0"), &at(first), &at(last)).await;
        let mut found: Vec<String> = { found.expect("marks").into_iter() }
            .map(|mark| mark.invocation)
            .collect();
        found.sort();
        assert_eq!(found, expected, "{first} to {last}");
    }
}

pub(super) async fn marks_of_few_and_of_many_numbers_are_found(bench: &dyn Bench) {
    let store = bench.open_marks("billing");
    let at = |shard: u32, n: u32| {
        let digits = format!("{shard}{n:020}");
        Position::sequence(&digits, Some(3)).expect("sound")
    };
    // Those of one shard, and one that has a head of long ago as well.
    let ends = [
        ("few", at(205, 7), at(205, 9)),
        ("many", at(11, 7), at(205, 9)),
        ("other", at(206, 7), at(206, 9)),
    ];
    for (name, first, last) in ends.clone() {
        let mut one = Invocation::of(&store, name, (0, 0));
        (one.mark.first, one.mark.last) = (first, last);
        let commit = one.next(&[]);
        assert_eq!(one.commit(&commit).await, Ok(DONE));
        assert_eq!(one.found().await, Some(one.mark.clone()));
    }
    for (first, last, expected) in [
        (at(205, 8), at(205, 30), &["few", "many"][..]),
        (at(11, 7), at(11, 7), &["many"]),
        (at(206, 1), at(206, 7), &["other"]),
        (at(205, 10), at(206, 6), &[]),
        (at(1, 1), at(300, 1), &["few", "many", "other"]),
    ] {
        let found = store.marks(&partition("a/0"), &first, &last).await;
        let mut found: Vec<String> = { found.expect("marks").into_iter() }
            .map(|mark| mark.invocation)
            .collect();
        found.sort();
        assert_eq!(found, expected, "{first} to {last}");
    }
    for (name, first, last) in ends {
        let mut one = Invocation::of(&store, name, (0, 0));
        (one.mark.first, one.mark.last) = (first, last);
        store.unmark(&one.partition, &one.mark).await.expect("gone");
        assert_eq!(one.found().await, None, "{name}");
    }
}

pub(super) async fn g6_a_marks_number_decides_whatever_comes_late(bench: &dyn Bench) {
    let store = bench.open_marks("billing");
    let mut one = Invocation::of(&store, "one", (1, 9));
    let first = one.next(&[1]);
    let second = one.next(&[1, 2]);
    assert_eq!(one.commit(&second).await, Ok(DONE));
    // The first one was under way all the while.
    let late = one.commit(&first).await;
    assert!(matches!(late, Err(CommitError::Fenced { .. })), "{late:?}");
    assert_eq!(one.found().await.expect("a mark").done, offsets(&[1, 2]));
    assert_eq!(one.commit(&second).await, Ok(repeated()));
    let mut other = second.clone();
    other.content = [3; 16];
    let taken = one.commit(&other).await;
    let content = second.content;
    assert_eq!(taken, Err(CommitError::OtherContent { number: 2, content }));
    // Another invocation of the same batch has a mark of its own.
    let mut two = Invocation::of(&store, "two", (1, 9));
    let commit = two.next(&[3]);
    assert_eq!(two.commit(&commit).await, Ok(DONE));
    assert_eq!(one.found().await.expect("a mark").done, offsets(&[1, 2]));
    assert_eq!(two.found().await.expect("a mark").done, offsets(&[3]));
}

pub(super) async fn g6_a_mark_and_its_lanes_are_one(bench: &dyn Bench) {
    let store = bench.open_marks("billing");
    let (mut one, mut two) = (
        Invocation::of(&store, "one", (1, 9)),
        Invocation::of(&store, "two", (1, 9)),
    );
    let parked = item("a", LaneState::Parked, 3, Some(4));
    let park = |partition: &PartitionName| LaneChange {
        append: vec![record(partition, "a", 3), record(partition, "a", 4)],
        ..change("a", None, Some(parked.clone()))
    };
    let first = park(&one.partition);
    one.change(&[3, 4], first).await;
    let mut commit = two.next(&[3, 4]);
    commit.lanes = vec![park(&two.partition)];
    assert_eq!(
        two.commit(&commit).await,
        Err(CommitError::LaneMoved(vec![0]))
    );
    assert_eq!(two.found().await, None);
    // Whoever comes next appends to what stands.
    let longer = LaneItem {
        tail: Some(Position::Offset(6)),
        count: 3,
        ..parked.clone()
    };
    let append = LaneChange {
        append: vec![record(&two.partition, "a", 6)],
        ..change("a", Some(&parked), Some(longer.clone()))
    };
    let mut commit = two.next(&[6]);
    commit.lanes = vec![append.clone()];
    assert_eq!(two.commit(&commit).await, Ok(DONE));
    let mut again = one.next(&[3, 4, 6]);
    again.lanes = vec![append];
    assert_eq!(
        one.commit(&again).await,
        Err(CommitError::LaneMoved(vec![0]))
    );
    assert_eq!(store.lanes(&one.partition).await, Ok(vec![longer]));
}

pub(super) async fn g8_effects_of_a_record_apply_once_whoever_commits_them(bench: &dyn Bench) {
    let store = bench.open_marks("billing");
    let (mut one, mut two) = (
        Invocation::of(&store, "one", (1, 9)),
        Invocation::of(&store, "two", (1, 9)),
    );
    let put = |key: &str, value: &str| {
        Effect::Put(Put {
            table: "t".to_owned(),
            key: key.to_owned(),
            value: value.into(),
            condition: None,
        })
    };
    let mut commit = one.next(&[1, 2]);
    commit.effects = vec![
        effects_of("a", 1, vec![put("x", "one")]),
        effects_of("b", 2, vec![put("y", "one")]),
    ];
    assert_eq!(one.commit(&commit).await, Ok(DONE));
    assert_eq!(one.commit(&commit).await, Ok(repeated()));
    let mut commit = two.next(&[1, 2, 3]);
    commit.effects = vec![
        effects_of("a", 1, vec![put("x", "two")]),
        effects_of("c", 3, vec![put("z", "two")]),
    ];
    let refused = two.commit(&commit).await;
    assert_eq!(refused, Err(CommitError::AlreadyDone(vec![0])));
    assert_eq!(two.found().await, None, "nothing was written");
    assert_eq!(store.value("t", "z").await, Ok(None));
    commit.effects.remove(0);
    commit.content = [4; 16];
    assert_eq!(two.commit(&commit).await, Ok(DONE));
    for (key, by) in [("x", "one"), ("y", "one"), ("z", "two")] {
        assert_eq!(store.value("t", key).await, Ok(Some(by.into())), "{key}");
    }
    let asked: Vec<Position> = (1..=4).map(Position::Offset).collect();
    let done = store.done(&one.partition, 0, &asked).await;
    assert_eq!(done, Ok(asked[..3].to_vec()));
    assert_eq!(store.done(&one.partition, 1, &asked).await, Ok(Vec::new()));
}

pub(super) async fn a_lane_that_is_live_again_keeps_its_tail(bench: &dyn Bench) {
    let store = bench.open_marks("billing");
    let mut one = Invocation::of(&store, "one", (1, 9));
    let parked = item("a", LaneState::Parked, 3, Some(4));
    let park = LaneChange {
        append: vec![
            record(&one.partition, "a", 3),
            record(&one.partition, "a", 4),
        ],
        ..change("a", None, Some(parked.clone()))
    };
    one.change(&[3, 4], park).await;
    let live = LaneItem {
        state: LaneState::Live,
        count: 0,
        bytes: 0,
        rev: 5,
        ..parked.clone()
    };
    let release = LaneChange {
        passed: live.tail.clone(),
        ..change("a", Some(&parked), Some(live.clone()))
    };
    one.change(&[3, 4], release).await;
    assert_eq!(store.lanes(&one.partition).await, Ok(Vec::new()));
    assert_eq!(
        store.lane_items(&one.partition).await,
        Ok(vec![live.clone()])
    );
    let decided = store
        .decide(&one.partition, &lane("a"), 5, &note(Verb::Retry))
        .await;
    assert!(
        matches!(decided, Err(DecideError::State { .. })),
        "{decided:?}"
    );
    // A later record parks it again: behind what it had.
    let again = LaneItem {
        head: Position::Offset(8),
        tail: Some(Position::Offset(8)),
        count: 1,
        rev: 6,
        ..parked
    };
    let park = LaneChange {
        append: vec![record(&one.partition, "a", 8)],
        ..change("a", Some(&live), Some(again.clone()))
    };
    one.change(&[3, 4, 8], park).await;
    assert_eq!(store.lanes(&one.partition).await, Ok(vec![again]));
    let assignment = Arc::new(lanekeeper::record::Assignment {
        name: one.partition.clone(),
        epoch: 1,
        generation: 0,
    });
    let chain = store
        .chain(&assignment, &lane("a"), None, 10, u64::MAX)
        .await
        .expect("chain");
    let chain: Vec<u64> = chain.iter().map(super::offset).collect();
    assert_eq!(chain, [8]);
}

pub(super) async fn g1_one_invocation_at_a_time_acts_on_a_decision(bench: &dyn Bench) {
    let store = bench.open_marks("billing");
    let mut one = Invocation::of(&store, "one", (1, 9));
    let (name, a) = (one.partition.clone(), lane("a"));
    let lease = |holder: &str, until| Lease {
        holder: holder.to_owned(),
        until,
    };
    let missing = store.lease(&name, &a, 1, &lease("one", 100), 50).await;
    assert!(
        matches!(missing, Err(DecideError::NoSuchLane { .. })),
        "{missing:?}"
    );
    let stopped = item("a", LaneState::Stopped, 3, None);
    one.change(&[], change("a", None, Some(stopped))).await;
    let undecided = store.lease(&name, &a, 1, &lease("one", 100), 50).await;
    assert!(
        matches!(undecided, Err(DecideError::State { .. })),
        "{undecided:?}"
    );
    let decided = store.decide(&name, &a, 1, &note(Verb::Retry)).await;
    assert_eq!(decided, Ok(2));
    let stale = store.lease(&name, &a, 1, &lease("one", 100), 50).await;
    assert!(matches!(stale, Err(DecideError::State { .. })), "{stale:?}");
    let had = store.lease(&name, &a, 2, &lease("one", 100), 50).await;
    let had = had.expect("free");
    let decision = had.decision.clone().expect("stands");
    assert_eq!((had.rev, decision.taken), (3, true));
    assert_eq!(decision.lease, Some(lease("one", 100)));
    assert_eq!(store.lanes(&name).await, Ok(vec![had]));
    // Not while it is held, but by its holder; and not to be replaced.
    let held = store.lease(&name, &a, 3, &lease("two", 300), 99).await;
    assert!(matches!(held, Err(DecideError::State { .. })), "{held:?}");
    let said_at = |at| DecisionNote {
        at,
        ..note(Verb::Skip)
    };
    let other = store.decide(&name, &a, 3, &said_at(99)).await;
    assert!(matches!(other, Err(DecideError::State { .. })), "{other:?}");
    let own = store.lease(&name, &a, 3, &lease("one", 150), 99).await;
    assert_eq!(own.expect("its own").rev, 4);
    let later = store.lease(&name, &a, 4, &lease("two", 300), 150).await;
    assert_eq!(later.expect("run out").rev, 5);
    let first = store.lease(&name, &a, 4, &lease("one", 400), 160).await;
    assert!(matches!(first, Err(DecideError::State { .. })), "{first:?}");
    // Whoever held it is dead: an operator has the word again.
    let early = store.decide(&name, &a, 5, &said_at(299)).await;
    assert!(matches!(early, Err(DecideError::State { .. })), "{early:?}");
    assert_eq!(store.decide(&name, &a, 5, &said_at(300)).await, Ok(6));
}

pub(super) async fn a_mark_beyond_the_bound_is_refused(bench: &dyn Bench) {
    let store = bench.open_marks("billing");
    let mut one = Invocation::of(&store, "one", (1, 9_000));
    one.mark.tried = (1..3_000)
        .map(|n| Tried {
            position: Position::Offset(n),
            rev: 0,
            attempts: 1,
            error: "x".repeat(200),
            not_before: 0,
        })
        .collect();
    let commit = one.next(&[]);
    let refused = one.commit(&commit).await;
    assert!(
        matches!(refused, Err(CommitError::TooLarge { .. })),
        "{refused:?}"
    );
    assert_eq!(one.found().await, None);
}
