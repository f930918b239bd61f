//! The store in memory under weather: what its faults do, exactly.

use crate::conformance::{DONE, Owner, REPEATED, change, effects_of, item, lane, note, partition};
use lanekeeper::{
    Effect,
    store::{
        CommitBounds, CommitError, DecideError, LaneState, Store, StoreError, Verb,
        memory::{Call, Counters, Fate, Memory, Weather},
    },
};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

/// A handle whose writes meet this weather, one call after the other, then none.
fn under(memory: &Memory, weather: impl IntoIterator<Item = Weather>) -> Arc<dyn Store> {
    let coming = Mutex::new(weather.into_iter().collect::<VecDeque<_>>());
    let faults = move |call: &Call<'_>| {
        let writes = matches!(
            call,
            Call::Claim(..)
                | Call::Commit(_)
                | Call::Release(_)
                | Call::Decide(..)
                | Call::Take(..)
        );
        let next = writes.then(|| coming.lock().expect("lock").pop_front());
        next.flatten().unwrap_or_default()
    };
    Arc::new(memory.clone().with_faults(faults))
}

fn fated(fate: Fate) -> Weather {
    Weather {
        fate,
        ..Weather::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_write_is_not_written_and_may_come_again() {
    let memory = Memory::new("billing");
    let store = under(&memory, [Weather::default(), fated(Fate::Refused)]);
    let mut owner = Owner::of(&store, &partition("a/0")).await;
    let commit = owner.next(3);
    let before = memory.snapshot();
    let outcome = owner.commit(&commit).await;
    assert!(
        matches!(outcome, Err(CommitError::NotWritten(_))),
        "{outcome:?}"
    );
    assert_eq!(memory.snapshot(), before);
    assert_eq!(owner.commit(&commit).await, Ok(DONE));
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_leaves_the_write() {
    let memory = Memory::new("billing");
    let lost = || fated(Fate::AnswerLost);
    let store = under(&memory, [lost()]);
    let (p, worker) = (partition("a/0"), crate::conformance::worker());
    let claimed = store.claim(&p, worker).await;
    assert!(
        matches!(claimed, Err(StoreError::OutOfReach(_))),
        "{claimed:?}"
    );
    assert_eq!(memory.snapshot().ownerships[&p].worker, Some(worker));
    let store = under(&memory, [Weather::default(), lost(), lost()]);
    let mut owner = Owner::of(&store, &p).await;
    let mut commit = owner.next(3);
    commit.lanes = vec![change(
        "a",
        None,
        Some(item("a", LaneState::Stopped, 4, None)),
    )];
    let outcome = owner.commit(&commit).await;
    assert!(
        matches!(outcome, Err(CommitError::Unknown(_))),
        "{outcome:?}"
    );
    let decided = store.decide(&p, &lane("a"), 1, &note(Verb::Skip)).await;
    assert!(matches!(decided, Err(DecideError::Store(_))), "{decided:?}");
    assert_eq!(owner.lane(&lane("a")).await.map(|item| item.rev), Some(2));
    assert_eq!(owner.commit(&commit).await, Ok(REPEATED));
    assert_eq!(memory.counters().repeated, 1);
}

#[tokio::test(start_paused = true)]
async fn a_late_write_lands_when_it_may() {
    let memory = Memory::new("billing");
    let late = || fated(Fate::Late(5 * SECOND));
    let store = under(
        &memory,
        [Weather::default(), late(), Weather::default(), late()],
    );
    let mut owner = Owner::of(&store, &partition("a/0")).await;
    let first = owner.next(3);
    let outcome = owner.commit(&first).await;
    assert!(
        matches!(outcome, Err(CommitError::Unknown(_))),
        "{outcome:?}"
    );
    assert_eq!(owner.frontier().await, None, "it is on its way");
    // Repeated, it arrives first; the late one finds itself repeated.
    assert_eq!(owner.commit(&first).await, Ok(DONE));
    let second = owner.next(4);
    let outcome = owner.commit(&second).await;
    assert!(
        matches!(outcome, Err(CommitError::Unknown(_))),
        "{outcome:?}"
    );
    tokio::time::sleep(6 * SECOND).await;
    assert_eq!(owner.frontier().await, Some(4), "it landed");
    let seen = Counters {
        landed_late: 2,
        repeated: 1,
        ..Counters::default()
    };
    assert_eq!(memory.counters(), seen);
    assert_eq!(owner.commit(&second).await, Ok(REPEATED));
}

#[tokio::test(start_paused = true)]
async fn writes_conflict_only_where_they_overlap() {
    let memory = Memory::new("billing");
    let slow = Weather {
        during: 2 * SECOND,
        ..Weather::default()
    };
    let (p, q) = (partition("a/0"), partition("a/1"));
    let calm: Arc<dyn Store> = Arc::new(memory.clone());
    let mut one = Owner::of(&calm, &p).await;
    let mut two = Owner::of(&calm, &q).await;
    one.store = under(&memory, [slow]);
    let add = |key| vec![effects_of("k", 1, vec![Effect::add("t", key, 1)])];
    let mut first = one.next(1);
    first.effects = add("shared");
    first.lanes = vec![change(
        "a",
        None,
        Some(item("a", LaneState::Stopped, 2, None)),
    )];
    let mut second = two.next(1);
    second.effects = add("shared");
    let mut apart = two.next(1);
    apart.number = 1;
    apart.effects = add("own");
    let outcome = tokio::spawn({
        let first = first.clone();
        async move { one.commit(&first).await }
    });
    tokio::time::sleep(SECOND).await;
    let conflict = two.commit(&second).await;
    assert!(
        matches!(&conflict, Err(CommitError::NotWritten(why)) if why.contains("TransactionConflict")),
        "{conflict:?}"
    );
    let claimed = calm.claim(&p, crate::conformance::worker()).await;
    assert!(
        matches!(claimed, Err(StoreError::OutOfReach(_))),
        "{claimed:?}"
    );
    assert_eq!(two.commit(&apart).await, Ok(DONE), "no item in common");
    assert_eq!(outcome.await.expect("no panic"), Ok(DONE));
    assert_eq!(memory.counters().conflicts, 2);
    second.number = 2;
    assert_eq!(two.commit(&second).await, Ok(DONE), "nothing is under way");
    assert_eq!(calm.value("t", "shared").await, Ok(Some(2.into())));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_frees_its_items() {
    let memory = Memory::new("billing");
    let slow = Weather {
        during: 2 * SECOND,
        ..Weather::default()
    };
    let store = under(&memory, [Weather::default(), slow]);
    let mut owner = Owner::of(&store, &partition("a/0")).await;
    let commit = owner.next(1);
    let dropped = tokio::time::timeout(SECOND, owner.commit(&commit)).await;
    assert!(dropped.is_err(), "it was under way");
    assert_eq!(owner.frontier().await, None);
    assert_eq!(owner.commit(&commit).await, Ok(DONE));
    assert_eq!(memory.counters().conflicts, 0);
}

#[tokio::test(start_paused = true)]
async fn delays_pass_by_the_clock_of_the_test() {
    let memory = Memory::new("billing").with_clock(|| 42);
    let weather = Weather {
        before: SECOND,
        during: 2 * SECOND,
        after: 4 * SECOND,
        fate: Fate::Sound,
    };
    let store = under(&memory, [weather]);
    let start = Instant::now();
    let owner = Owner::of(&store, &partition("a/0")).await;
    assert_eq!(start.elapsed(), 7 * SECOND);
    assert_eq!(
        memory.snapshot().ownerships[&owner.partition].updated_at,
        42
    );
}

#[tokio::test]
async fn what_the_bounds_promise_is_held() {
    let memory = Memory::new("billing").with_bounds(CommitBounds {
        items: 100,
        bytes: 500,
        record_bytes: 100,
    });
    let store: Arc<dyn Store> = Arc::new(memory);
    let mut owner = Owner::of(&store, &partition("a/0")).await;
    let mut commit = owner.next(1);
    let mut wide = item("a", LaneState::Stopped, 2, None);
    wide.record = Some(vec![0; 2000]);
    commit.lanes = vec![change("a", None, Some(wide))];
    let outcome = owner.commit(&commit).await;
    assert!(
        matches!(outcome, Err(CommitError::TooLarge { .. })),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn each_value_is_taken_once_where_that_is_asked_for() {
    let memory = Memory::new("billing").with_items_once();
    let store: Arc<dyn Store> = Arc::new(memory);
    let mut owner = Owner::of(&store, &partition("a/0")).await;
    let mut commit = owner.next(1);
    let add = |key| Effect::add("t", key, 1);
    commit.effects = vec![
        effects_of("a", 1, vec![add("k"), add("k")]),
        effects_of("b", 2, vec![add("other")]),
        effects_of("c", 3, vec![add("other"), add("k")]),
    ];
    let apart = Err(CommitError::Apart(vec![2]));
    assert_eq!(owner.commit(&commit).await, apart);
    commit.effects.pop();
    assert_eq!(owner.commit(&commit).await, Ok(DONE));
}
