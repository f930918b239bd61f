//! Effects on the value table.

use super::{Bench, DONE, Owner, change, effects_of, item, lane, partition, repeated};
use lanekeeper::{
    Condition, Effect,
    effect::VALUE_BYTES_MAX,
    store::{Commit, CommitError, LaneState, RecordEffects},
};
use serde_json::{Value, json};

async fn commit(owner: &mut Owner, effects: Vec<RecordEffects>) -> Result<(), CommitError> {
    let mut commit = owner.next(1);
    commit.effects = effects;
    owner
        .commit(&commit)
        .await
        .map(|done| assert_eq!(done, DONE))
}

/// Commits one record's effects; gives why they are refused.
async fn apply(owner: &mut Owner, effects: Vec<Effect>) -> Result<(), String> {
    match commit(owner, vec![effects_of("a", 1, effects)]).await {
        Ok(()) => Ok(()),
        Err(CommitError::EffectsRefused(mut refused)) if refused.len() == 1 => {
            let (index, why) = refused.remove(0);
            assert_eq!(index, 0);
            assert!(why.contains("orders/a/0/1"), "names the record: {why}");
            Err(why)
        }
        Err(error) => panic!("{error:?}"),
    }
}

pub(super) async fn values_follow_their_conditions(bench: &dyn Bench) {
    let store = bench.open("billing");
    let mut owner = Owner::of(&store, &partition("a/0")).await;
    let exists = Condition::Exists;
    let equals = |value: Value| Condition::Equals(value);
    let cases = [
        (None, exists(true), false),
        (None, exists(false), true),
        (None, equals(Value::Null), false),
        (None, Condition::AtLeast(i64::MIN), false),
        (Some(json!(null)), exists(true), true),
        (Some(json!(null)), exists(false), false),
        (Some(json!(null)), equals(json!(null)), true),
        (
            Some(json!({"a": [1, "x"], "b": 2})),
            equals(json!({"b": 2, "a": [1, "x"]})),
            true,
        ),
        (
            Some(json!({"a": [1, "x"]})),
            equals(json!({"a": ["x", 1]})),
            false,
        ),
        (Some(json!("5")), equals(json!(5)), false),
        (Some(json!(5)), Condition::AtLeast(5), true),
        (Some(json!(5)), Condition::AtLeast(6), false),
        (Some(json!(-3)), Condition::AtLeast(-3), true),
        (Some(json!(5.5)), Condition::AtLeast(1), false),
        (Some(json!("5")), Condition::AtLeast(1), false),
    ];
    for (before, condition, holds) in cases {
        let add = before.is_none() || before.as_ref().is_some_and(Value::is_i64);
        let mut effects = vec![
            (Effect::put("t", "k", "new"), Some(json!("new"))),
            (Effect::delete("t", "k"), None),
        ];
        if add {
            let sum = before.as_ref().and_then(Value::as_i64).unwrap_or(0) + 2;
            effects.push((Effect::add("t", "k", 2), Some(json!(sum))));
        }
        for (effect, after) in effects {
            let first = match &before {
                None => Effect::delete("t", "k"),
                Some(value) => Effect::put("t", "k", value.clone()),
            };
            apply(&mut owner, vec![first]).await.expect("set up");
            let effect = effect.only_if(condition.clone());
            let applied = apply(&mut owner, vec![effect.clone()]).await;
            assert_eq!(applied.is_ok(), holds, "{before:?} {effect:?} {applied:?}");
            let expected = if holds { after } else { before.clone() };
            assert_eq!(store.value("t", "k").await, Ok(expected), "{effect:?}");
            if let Err(why) = applied {
                assert!(why.contains("`t`/`k`"), "names the value: {why}");
            }
        }
    }
}

pub(super) async fn sums_add_up_and_never_wrap(bench: &dyn Bench) {
    let store = bench.open("billing");
    let mut owner = Owner::of(&store, &partition("a/0")).await;
    for (by, sum) in [
        (5, 5),
        (-7, -2),
        (0, -2),
        (i64::MAX, i64::MAX - 2),
        (2, i64::MAX),
    ] {
        apply(&mut owner, vec![Effect::add("t", "n", by)])
            .await
            .expect("adds");
        assert_eq!(store.value("t", "n").await, Ok(Some(json!(sum))));
    }
    let why = apply(&mut owner, vec![Effect::add("t", "n", 1)])
        .await
        .expect_err("overflow");
    assert!(why.contains("overflow"), "{why}");
    assert_eq!(store.value("t", "n").await, Ok(Some(json!(i64::MAX))));
    for value in [
        json!("7"),
        json!(1.5),
        json!(null),
        json!([1]),
        json!(u64::MAX),
    ] {
        apply(&mut owner, vec![Effect::put("t", "x", value.clone())])
            .await
            .expect("put");
        let why = apply(&mut owner, vec![Effect::add("t", "x", 1)])
            .await
            .expect_err("no number");
        assert!(why.contains("integer"), "{why}");
        assert_eq!(store.value("t", "x").await, Ok(Some(value)));
    }
}

fn lane_of_three(p: &mut Owner) -> Commit {
    let mut commit = p.next(5);
    commit.effects = vec![
        effects_of("a", 1, vec![Effect::put("t", "first", 1)]),
        effects_of(
            "a",
            2,
            vec![Effect::add("t", "absent", 1).only_if(Condition::Exists(true))],
        ),
        effects_of(
            "a",
            3,
            vec![Effect::add("t", "absent", 1).only_if(Condition::Exists(true))],
        ),
        effects_of("b", 4, vec![Effect::put("t", "other lane", 1)]),
    ];
    commit.lanes = vec![change(
        "c",
        None,
        Some(item("c", LaneState::Stopped, 5, None)),
    )];
    commit.keep = true;
    commit
}

pub(super) async fn a_refused_effect_inside_a_lane_writes_nothing(bench: &dyn Bench) {
    let store = bench.open("billing");
    let mut owner = Owner::of(&store, &partition("a/0")).await;
    let mut commit = lane_of_three(&mut owner);
    let outcome = owner.commit(&commit).await;
    let Err(CommitError::EffectsRefused(refused)) = &outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(
        refused.len(),
        1,
        "of a lane the first one only: {refused:?}"
    );
    assert_eq!(refused[0].0, 1);
    assert!(refused[0].1.contains("`t`/`absent`"), "{refused:?}");
    assert_eq!(store.values("t", None, 9).await, Ok(Vec::new()));
    assert_eq!(owner.frontier().await, None);
    assert_eq!(owner.lane(&lane("c")).await, None);
    assert_eq!(store.history(&owner.partition).await, Ok(Vec::new()));
    // The prefix of the lane and the other lanes go with the same number and another content.
    commit.content = [5; 16];
    commit.effects.drain(1..3);
    assert_eq!(owner.commit(&commit).await, Ok(DONE));
    let keys: Vec<String> = store
        .values("t", None, 9)
        .await
        .expect("read")
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    assert_eq!(keys, ["first", "other lane"]);
}

pub(super) async fn several_lanes_are_refused_at_once(bench: &dyn Bench) {
    let store = bench.open("billing");
    let mut owner = Owner::of(&store, &partition("a/0")).await;
    let no = || Effect::delete("t", "absent").only_if(Condition::Exists(true));
    let yes = |key: &str| Effect::put("t", key, 1);
    let outcome = commit(
        &mut owner,
        vec![
            effects_of("a", 1, vec![yes("1")]),
            effects_of("b", 2, vec![no()]),
            effects_of("a", 3, vec![no()]),
            effects_of("c", 4, vec![yes("4")]),
            effects_of("b", 5, vec![no()]),
            effects_of("d", 6, vec![no()]),
            effects_of("a", 7, vec![yes("7")]),
        ],
    )
    .await;
    let Err(CommitError::EffectsRefused(refused)) = &outcome else {
        panic!("{outcome:?}");
    };
    let indices: Vec<usize> = refused.iter().map(|(index, _)| *index).collect();
    assert_eq!(indices, [1, 2, 5]);
    assert_eq!(store.values("t", None, 9).await, Ok(Vec::new()));
}

pub(super) async fn a_records_effects_are_all_or_none(bench: &dyn Bench) {
    let store = bench.open("billing");
    let mut owner = Owner::of(&store, &partition("a/0")).await;
    let refused = Effect::delete("t", "absent").only_if(Condition::Exists(true));
    // The first record's put is undone before the other lane is looked at.
    let outcome = commit(
        &mut owner,
        vec![
            effects_of("a", 1, vec![Effect::put("t", "k", 1), refused]),
            effects_of(
                "b",
                2,
                vec![Effect::put("t", "k", 2).only_if(Condition::Exists(false))],
            ),
        ],
    )
    .await;
    let Err(CommitError::EffectsRefused(refused)) = &outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!(refused[0].0, 0);
    assert_eq!(store.value("t", "k").await, Ok(None));
}

pub(super) async fn later_effects_see_earlier_ones(bench: &dyn Bench) {
    let store = bench.open("billing");
    let mut owner = Owner::of(&store, &partition("a/0")).await;
    let take = |by: i64| Effect::add("t", "stock", -by).only_if(Condition::AtLeast(by));
    let effects = vec![
        effects_of("a", 1, vec![Effect::put("t", "stock", 5)]),
        effects_of("b", 2, vec![take(3), Effect::add("t", "sold", 3)]),
        effects_of("c", 3, vec![take(2), Effect::add("t", "sold", 2)]),
    ];
    commit(&mut owner, effects).await.expect("in");
    assert_eq!(store.value("t", "stock").await, Ok(Some(json!(0))));
    assert_eq!(store.value("t", "sold").await, Ok(Some(json!(5))));
    let outcome = commit(&mut owner, vec![effects_of("d", 4, vec![take(1)])]).await;
    assert!(matches!(outcome, Err(CommitError::EffectsRefused(_))));
}

pub(super) async fn what_no_store_takes_is_refused(bench: &dyn Bench) {
    let store = bench.open("billing");
    let mut owner = Owner::of(&store, &partition("a/0")).await;
    let long = "x".repeat(VALUE_BYTES_MAX - 2);
    apply(&mut owner, vec![Effect::put("t", "k", long.clone())])
        .await
        .expect("just fits");
    assert_eq!(store.value("t", "k").await, Ok(Some(long.clone().into())));
    let cases = [
        (
            Effect::put("t", "k", long + "x"),
            "262145 bytes, 262144 are allowed",
        ),
        (Effect::put("", "k", 1), "its table is empty"),
        (Effect::add("t", "", 1), "its key is empty"),
        (
            Effect::delete("t", &"k".repeat(1025)),
            "1025 bytes, 1024 are allowed",
        ),
        (
            Effect::put(&"t".repeat(513), "k", 1),
            "513 bytes, 512 are allowed",
        ),
    ];
    for (effect, expected) in cases {
        let why = apply(&mut owner, vec![effect]).await.expect_err("refused");
        assert!(why.contains(expected), "{why}");
    }
}

pub(super) async fn a_repeated_commit_adds_once(bench: &dyn Bench) {
    let store = bench.open("billing");
    let mut owner = Owner::of(&store, &partition("a/0")).await;
    let mut commit = owner.next(2);
    commit.effects = vec![
        effects_of("a", 1, vec![Effect::add("t", "n", 1)]),
        effects_of("b", 2, vec![Effect::add("t", "n", 1)]),
    ];
    assert_eq!(owner.commit(&commit).await, Ok(DONE));
    assert_eq!(owner.commit(&commit).await, Ok(repeated()));
    assert_eq!(store.value("t", "n").await, Ok(Some(json!(2))));
    let next = Owner::of(&store, &owner.partition).await;
    assert!(matches!(
        next.commit(&commit).await,
        Err(CommitError::Fenced { .. })
    ));
    assert_eq!(store.value("t", "n").await, Ok(Some(json!(2))));
}

pub(super) async fn values_are_read_in_pages(bench: &dyn Bench) {
    let store = bench.open("billing");
    let mut owner = Owner::of(&store, &partition("a/0")).await;
    let keys = ["", "a", "b", "ba", "é", "🙂"];
    let mut effects: Vec<Effect> = keys
        .iter()
        .skip(1)
        .map(|k| Effect::put("t", k, *k))
        .collect();
    effects.push(Effect::put("u", "a", "another table"));
    apply(&mut owner, effects).await.expect("in");
    for max in [1, 2, 5, 100] {
        let (mut seen, mut after) = (vec![String::new()], None::<String>);
        loop {
            let page = store
                .values("t", after.as_deref(), max)
                .await
                .expect("page");
            assert!(page.len() <= max);
            for (key, value) in &page {
                assert_eq!(*value, json!(key));
            }
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            seen.extend(page.into_iter().map(|(key, _)| key));
        }
        assert_eq!(seen, keys, "by {max}");
    }
    assert_eq!(store.values("none", None, 9).await, Ok(Vec::new()));
    assert_eq!(store.value("t", "none").await, Ok(None));
    let other = bench.open("other").values("t", None, 9).await;
    assert_eq!(other, Ok(Vec::new()), "another app's values");
}
