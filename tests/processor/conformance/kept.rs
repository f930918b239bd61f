//! What is kept for people, what goes, and damage.

use super::{
    Bench, DONE, Owner, Spoil, change, effects_of, item, lane, note, park, partition, uncounted,
    worker,
};
use lanekeeper::{
    Effect, Position,
    store::{CommitError, HISTORY_MILLIS, HistoryEvent, LaneState, StoreError, Verb, WorkerItem},
};

pub(super) async fn history_keeps_what_it_is_told_to(bench: &dyn Bench) {
    let store = bench.open("billing");
    let p = partition("a/0");
    let mut owner = Owner::of(&store, &p).await;
    let stopped = item("a", LaneState::Stopped, 3, None);
    owner.change(2, change("a", None, Some(stopped))).await;
    assert_eq!(store.history(&p).await, Ok(Vec::new()), "not asked for");
    let mut kept = owner.next(4);
    kept.keep = true;
    kept.checkpoint.attempts = vec![(Position::Offset(9), 2)];
    assert_eq!(owner.commit(&kept).await, Ok(DONE));
    let mut decision = note(Verb::Skip);
    let now = store
        .ownership(&p)
        .await
        .expect("read")
        .expect("an item")
        .updated_at;
    decision.at = now + 60_000;
    let decided = store.decide(&p, &lane("a"), 1, &decision).await;
    assert_eq!(decided, Ok(2));
    // A refused one is no act.
    assert!(store.decide(&p, &lane("a"), 1, &decision).await.is_err());
    let history = store.history(&p).await.expect("read");
    assert_eq!(history.len(), 2, "{history:?}");
    assert_eq!(
        history[0].what,
        HistoryEvent::Checkpoint {
            epoch: 1,
            generation: 0,
            checkpoint: kept.checkpoint
        }
    );
    assert_eq!(history[0].at, now);
    assert_eq!(
        history[1].what,
        HistoryEvent::Decided {
            lane: lane("a"),
            head: Position::Offset(3),
            decision: decision.clone()
        }
    );
    assert_eq!(history[1].at, decision.at);
    assert_eq!(store.history(&partition("a/1")).await, Ok(Vec::new()));
}

pub(super) async fn old_history_goes(bench: &dyn Bench) {
    let store = bench.open("billing");
    let p = partition("a/0");
    let mut owner = Owner::of(&store, &p).await;
    let now = store
        .ownership(&p)
        .await
        .expect("read")
        .expect("an item")
        .updated_at;
    for (key, age) in [
        ("a", HISTORY_MILLIS + 60_000),
        ("b", HISTORY_MILLIS - 60_000),
    ] {
        let stopped = item(key, LaneState::Stopped, 3, None);
        owner.change(2, change(key, None, Some(stopped))).await;
        let mut decision = note(Verb::Skip);
        decision.at = now - age;
        assert_eq!(store.decide(&p, &lane(key), 1, &decision).await, Ok(2));
    }
    let mut kept = owner.next(4);
    kept.keep = true;
    assert_eq!(owner.commit(&kept).await, Ok(DONE));
    let history = store.history(&p).await.expect("read");
    assert_eq!(history.len(), 2, "{history:?}");
    assert!(matches!(&history[0].what, HistoryEvent::Decided { lane: of, .. } if *of == lane("b")));
}

pub(super) async fn workers_come_and_go(bench: &dyn Bench) {
    let store = bench.open("billing");
    assert_eq!(store.workers().await, Ok(Vec::new()));
    let mut items: Vec<WorkerItem> = (0..3)
        .map(|n| WorkerItem {
            worker: worker().0,
            pid: n,
            host: "höst".to_owned(),
            started: 5,
            beat: 7,
            in_flight: n,
            waiting: 2,
            buffered: 1 << 40,
            paused: vec!["orders/a/0: memory".to_owned()],
            sick_since: (n == 1).then_some(9),
            fenced: 1,
            behind: vec![("orders/a/0".to_owned(), 12)],
            consumed: None,
        })
        .collect();
    for item in &items {
        assert_eq!(store.beat(item).await, Ok(()));
    }
    assert_eq!(store.workers().await, Ok(items.clone()));
    items[0].beat = 8;
    assert_eq!(store.beat(&items[0]).await, Ok(()));
    let gone = items.remove(1);
    for _ in 0..2 {
        let left = store.leave(lanekeeper::store::WorkerId(gone.worker)).await;
        assert_eq!(left, Ok(()));
    }
    assert_eq!(store.workers().await, Ok(items));
    assert_eq!(bench.open("other").workers().await, Ok(Vec::new()));
}

pub(super) async fn forgetting_one_app_spares_the_other(bench: &dyn Bench) {
    let p = partition("a/0");
    for app in ["billing", "billing2"] {
        let store = bench.open(app);
        let mut owner = Owner::of(&store, &p).await;
        park(&mut owner, "a", 3..=4).await;
        let mut commit = owner.next(5);
        commit.effects = vec![effects_of("b", 5, vec![Effect::put("t", "k", app)])];
        commit.keep = true;
        assert_eq!(owner.commit(&commit).await, Ok(DONE));
        let beat = WorkerItem {
            worker: owner.fence.worker.0,
            pid: 1,
            host: String::new(),
            started: 0,
            beat: 0,
            in_flight: 0,
            waiting: 0,
            buffered: 0,
            paused: Vec::new(),
            sick_since: None,
            fenced: 0,
            behind: Vec::new(),
            consumed: None,
        };
        assert_eq!(store.beat(&beat).await, Ok(()));
    }
    let (gone, spared) = (bench.open("billing"), bench.open("billing2"));
    for _ in 0..2 {
        assert_eq!(gone.forget().await, Ok(()));
    }
    assert_eq!(gone.partitions().await, Ok(Vec::new()));
    assert_eq!(gone.workers().await, Ok(Vec::new()));
    assert_eq!(gone.ownership(&p).await, Ok(None));
    assert_eq!(gone.lanes(&p).await, Ok(Vec::new()));
    assert_eq!(gone.values("t", None, 9).await, Ok(Vec::new()));
    assert_eq!(gone.history(&p).await, Ok(Vec::new()));
    let fresh = Owner::of(&gone, &p).await;
    assert_eq!(fresh.fence.epoch, 1);
    assert_eq!(fresh.chain(&lane("a")).await, [0u64; 0]);
    assert_eq!(spared.partitions().await, Ok(vec![p.clone()]));
    assert_eq!(spared.workers().await.map(|w| w.len()), Ok(1));
    assert_eq!(spared.value("t", "k").await, Ok(Some("billing2".into())));
    assert_eq!(spared.history(&p).await.map(|h| h.len()), Ok(1));
    let owner = Owner::of(&spared, &p).await;
    assert_eq!((owner.fence.epoch, owner.frontier().await), (2, Some(5)));
    assert_eq!(owner.chain(&lane("a")).await, [3, 4]);
}

pub(super) async fn tables_of_any_name_are_forgotten(bench: &dyn Bench) {
    let store = bench.open("billing");
    let mut owner = Owner::of(&store, &partition("a/0")).await;
    let tables = ["t", "~", "~t", "#", "über", "\u{10ffff}t", " "];
    let mut commit = owner.next(1);
    let effects = tables.map(|table| Effect::put(table, "ключ", 1));
    commit.effects = vec![effects_of("b", 1, effects.to_vec())];
    assert_eq!(owner.commit(&commit).await, Ok(DONE));
    for table in tables {
        let found = store.values(table, None, 9).await.map(|all| all.len());
        assert_eq!(found, Ok(1), "{table}");
    }
    assert_eq!(store.forget().await, Ok(()));
    for table in tables {
        assert_eq!(
            store.values(table, None, 9).await,
            Ok(Vec::new()),
            "{table}"
        );
    }
}

fn damaged<T: std::fmt::Debug>(result: Result<T, StoreError>, names: &str) {
    match result {
        Err(StoreError::Damaged(why)) => assert!(why.contains(names), "{names}: {why}"),
        other => panic!("{names}: {other:?}"),
    }
}

pub(super) async fn damage_is_refused_by_name(bench: &dyn Bench) {
    let store = bench.open("billing");
    let p = partition("a/0");
    let mut owner = Owner::of(&store, &p).await;
    let stopped = item("s", LaneState::Stopped, 2, None);
    owner
        .change(2, change("s", None, Some(stopped.clone())))
        .await;
    park(&mut owner, "a", 3..=5).await;
    let mut commit = owner.next(6);
    commit.effects = vec![effects_of("b", 6, vec![Effect::put("accounts", "ann", 1)])];
    commit.keep = true;
    assert_eq!(owner.commit(&commit).await, Ok(DONE));

    bench.spoil("billing", Spoil::History(&p)).await;
    damaged(store.history(&p).await, "a/0");

    bench
        .spoil("billing", Spoil::Chain(&p, &lane("a"), 4))
        .await;
    let (assignment, key) = (owner.assignment(), lane("a"));
    let first = store.chain(&assignment, &key, None, 1, u64::MAX).await;
    assert_eq!(
        first.map(|page| page.len()),
        Ok(1),
        "the sound one before it"
    );
    damaged(store.chain(&assignment, &key, None, 9, u64::MAX).await, "4");

    bench
        .spoil("billing", Spoil::Value("accounts", "ann"))
        .await;
    damaged(store.value("accounts", "ann").await, "ann");
    damaged(store.values("accounts", None, 9).await, "ann");
    let mut commit = owner.next(7);
    commit.effects = vec![effects_of("b", 7, vec![Effect::add("accounts", "ann", 1)])];
    let outcome = owner.commit(&commit).await;
    assert!(
        matches!(&outcome, Err(CommitError::Damaged(why)) if why.contains("ann")),
        "{outcome:?}"
    );

    bench.spoil("billing", Spoil::Lane(&p, &lane("s"))).await;
    damaged(store.lanes(&p).await, "a/0");
    damaged(store.claim(&p, worker()).await, "a/0");
    let mut commit = owner.next(8);
    commit.lanes = vec![change("s", Some(&stopped), None)];
    let outcome = owner.commit(&commit).await;
    assert!(
        matches!(outcome, Err(CommitError::Damaged(_))),
        "{outcome:?}"
    );

    bench.spoil("billing", Spoil::Checkpoint(&p)).await;
    damaged(store.ownership(&p).await, "a/0");
    damaged(store.release(&p, owner.fence).await, "a/0");
    // Another partition's commit in the same call is none the worse for it.
    let mut sound = Owner::of(&store, &partition("a/1")).await;
    let commits = [owner.next(9), sound.next(9)];
    let outcomes = store.commit(&commits).await.into_iter();
    let outcomes: Vec<_> = outcomes.map(|o| o.map(uncounted)).collect();
    assert!(
        matches!(&outcomes[0], Err(CommitError::Damaged(why)) if why.contains("a/0")),
        "{outcomes:?}"
    );
    assert_eq!(outcomes[1], Ok(DONE));
}
