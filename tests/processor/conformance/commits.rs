//! Commits: their condition, their repeats, their wholeness.

use super::{
    Bench, DONE, Owner, change, effects_of, item, lane, partition, repeated, settled, uncounted,
    worker,
};
use lanekeeper::{
    Effect, Position,
    checkpoint::Checkpoint,
    store::{CommitError, LaneState, TooLarge},
};
use partitions::Resume;

pub(super) async fn a_checkpoint_reads_back_whole(bench: &dyn Bench) {
    let store = bench.open("billing");
    let mut owner = Owner::of(&store, &partition("a/0")).await;
    let at = Position::Offset;
    let sequence = |digits: &str, sub| Position::sequence(digits, sub).expect("sound");
    let long = "49590338271490256608559692538361571095921575989136588898";
    let all = [
        Checkpoint::default(),
        Checkpoint {
            resume: Resume::At(at(0)),
            ..Checkpoint::default()
        },
        Checkpoint {
            resume: Resume::After(at(u64::MAX >> 1)),
            settled_to: Some(at(u64::MAX >> 1)),
            ended: true,
            incarnation: Some("log `ü`".to_owned()),
            ..Checkpoint::default()
        },
        Checkpoint {
            resume: Resume::After(at(4)),
            settled_to: Some(at(1_000_000)),
            open: [at(5), at(9), at(999_999)].into_iter().collect(),
            attempts: vec![(at(5), 3), (at(9), u32::MAX)],
            announced: vec![(at(9), true), (at(999_999), false)],
            ..Checkpoint::default()
        },
        Checkpoint {
            resume: Resume::After(sequence("7", None)),
            settled_to: Some(sequence(long, Some(3))),
            open: [sequence("8", Some(0)), sequence(long, None)]
                .into_iter()
                .collect(),
            attempts: vec![(sequence("8", Some(0)), 1)],
            announced: vec![(sequence(long, None), false)],
            ..Checkpoint::default()
        },
    ];
    for checkpoint in all {
        let mut commit = owner.next(0);
        commit.checkpoint = checkpoint.clone();
        assert_eq!(owner.commit(&commit).await, Ok(DONE));
        let found = store.ownership(&owner.partition).await;
        let found = found.expect("read").expect("an item");
        assert_eq!(found.checkpoint, Some(checkpoint.clone()));
        assert_eq!(
            (found.commit, found.content),
            (commit.number, commit.content)
        );
        let again = bench.open("billing");
        let claimed = again.claim(&owner.partition, owner.fence.worker).await;
        let ownership = claimed.expect("claim").ownership;
        assert_eq!(ownership.checkpoint, Some(checkpoint));
        owner.fence.epoch = ownership.epoch;
    }
}

pub(super) async fn numbers_only_go_up(bench: &dyn Bench) {
    let store = bench.open("billing");
    let mut owner = Owner::of(&store, &partition("a/0")).await;
    for (number, frontier) in [(1, 1), (2, 2), (7, 3)] {
        let mut commit = owner.next(frontier);
        commit.number = number;
        assert_eq!(owner.commit(&commit).await, Ok(DONE));
    }
    for number in [1, 2, 3, 6] {
        let mut commit = owner.next(99);
        commit.number = number;
        assert!(matches!(
            owner.commit(&commit).await,
            Err(CommitError::Fenced { found: (Some(worker), 1, 7), .. }) if worker == owner.fence.worker
        ));
    }
    assert_eq!(owner.frontier().await, Some(3));
    // A new epoch counts from 1 again.
    let mut next = Owner::of(&store, &owner.partition).await;
    let commit = next.next(4);
    assert_eq!(commit.number, 1);
    assert_eq!(next.commit(&commit).await, Ok(DONE));
}

pub(super) async fn a_late_write_of_an_older_commit_changes_nothing(bench: &dyn Bench) {
    let store = bench.open("billing");
    let mut owner = Owner::of(&store, &partition("a/0")).await;
    let mut early = owner.next(1);
    early.effects = vec![effects_of("a", 1, vec![Effect::add("t", "k", 1)])];
    early.lanes = vec![change(
        "b",
        None,
        Some(item("b", LaneState::Stopped, 2, None)),
    )];
    early.keep = true;
    let second = owner.next(2);
    assert_eq!(owner.commit(&second).await, Ok(DONE));
    // The request of the first was on its way all the time.
    assert!(matches!(
        owner.commit(&early).await,
        Err(CommitError::Fenced {
            found: (_, 1, 2),
            ..
        })
    ));
    assert_eq!(owner.frontier().await, Some(2));
    assert_eq!(store.value("t", "k").await, Ok(None));
    assert_eq!(owner.lane(&lane("b")).await, None);
    assert_eq!(store.history(&owner.partition).await, Ok(Vec::new()));
}

pub(super) async fn a_lost_answer_is_recognised(bench: &dyn Bench) {
    let store = bench.open("billing");
    let mut owner = Owner::of(&store, &partition("a/0")).await;
    let mut commit = owner.next(1);
    commit.effects = vec![effects_of("a", 1, vec![Effect::add("t", "k", 1)])];
    commit.lanes = vec![change(
        "b",
        None,
        Some(item("b", LaneState::Stopped, 2, None)),
    )];
    commit.keep = true;
    assert_eq!(owner.commit(&commit).await, Ok(DONE));
    // Whatever happened to lane and value since: this commit is in.
    let decision = super::note(lanekeeper::store::Verb::Skip);
    let decided = store
        .decide(&owner.partition, &lane("b"), 1, &decision)
        .await;
    assert_eq!(decided, Ok(2));
    for _ in 0..2 {
        let again = bench
            .open("billing")
            .commit(std::slice::from_ref(&commit))
            .await;
        let again: Vec<_> = again.into_iter().map(|o| o.map(uncounted)).collect();
        assert_eq!(again, [Ok(repeated())]);
    }
    assert_eq!(store.value("t", "k").await, Ok(Some(1.into())));
    assert_eq!(
        store.history(&owner.partition).await.map(|h| h.len()),
        Ok(2)
    );
}

pub(super) async fn another_content_of_the_number_is_told_apart(bench: &dyn Bench) {
    let store = bench.open("billing");
    let mut owner = Owner::of(&store, &partition("a/0")).await;
    let landed = owner.next(1);
    assert_eq!(owner.commit(&landed).await, Ok(DONE));
    // The same number with less in it: the first was split after its outcome was unknown.
    let mut split = landed.clone();
    split.content = [3; 16];
    split.checkpoint = settled(0);
    let other = Err(CommitError::OtherContent {
        number: 1,
        content: landed.content,
    });
    assert_eq!(owner.commit(&split).await, other);
    assert_eq!(owner.frontier().await, Some(1), "the first is in, whole");
    assert_eq!(owner.commit(&landed).await, Ok(repeated()));
    // The content alone does not make it ours.
    let mut strange = landed.clone();
    strange.fence.worker = worker();
    assert!(matches!(
        owner.commit(&strange).await,
        Err(CommitError::Fenced { .. })
    ));
}

pub(super) async fn each_commit_of_a_call_is_in_or_out(bench: &dyn Bench) {
    let store = bench.open("billing");
    let mut owners = Vec::new();
    for n in 0..6 {
        owners.push(Owner::of(&store, &partition(&format!("a/{n}"))).await);
    }
    let mut commits: Vec<_> = owners.iter_mut().map(|owner| owner.next(10)).collect();
    let stopped = item("k", LaneState::Stopped, 11, None);
    for (n, commit) in commits.iter_mut().enumerate() {
        commit.lanes = vec![change("k", None, Some(stopped.clone()))];
        commit.effects = vec![effects_of(
            "k",
            10,
            vec![Effect::put("t", &format!("k{n}"), n)],
        )];
        commit.keep = true;
    }
    commits[1].fence.epoch += 1;
    commits[2].effects[0]
        .effects
        .push(Effect::put("t", "other", 1).only_if(lanekeeper::Condition::Exists(true)));
    commits[3].lanes[0].expected = Some((4, None));
    assert_eq!(owners[4].commit(&commits[4]).await, Ok(DONE));
    let outcomes = store.commit(&commits).await.into_iter();
    let outcomes: Vec<_> = outcomes.map(|o| o.map(uncounted)).collect();
    assert_eq!(outcomes[0], Ok(DONE));
    assert!(matches!(outcomes[1], Err(CommitError::Fenced { .. })));
    assert!(
        matches!(&outcomes[2], Err(CommitError::EffectsRefused(of)) if of.len() == 1 && of[0].0 == 0)
    );
    assert_eq!(outcomes[3], Err(CommitError::LaneMoved(vec![0])));
    assert_eq!(outcomes[4], Ok(repeated()));
    assert_eq!(outcomes[5], Ok(DONE));
    assert_eq!(outcomes.len(), 6);
    for (n, owner) in owners.iter().enumerate() {
        let is_in = !matches!(n, 1..=3);
        assert_eq!(owner.frontier().await, is_in.then_some(10), "{n}");
        assert_eq!(owner.lane(&lane("k")).await.is_some(), is_in, "{n}");
        let value = store.value("t", &format!("k{n}")).await.expect("read");
        assert_eq!(value, is_in.then(|| n.into()), "{n}");
        let history = store.history(&owner.partition).await.expect("read");
        assert_eq!(history.len(), usize::from(is_in), "{n}");
    }
    assert_eq!(store.commit(&[]).await, []);
}

pub(super) async fn a_checkpoint_beyond_the_bound_is_refused(bench: &dyn Bench) {
    let store = bench.open("billing");
    let mut owner = Owner::of(&store, &partition("a/0")).await;
    // Far apart, an offset takes four bytes: three for its distance, one for its run.
    let spread = |count: u64| (1..=count).map(|n| Position::Offset(n * 20_000)).collect();
    let mut commit = owner.next(0);
    commit.checkpoint.resume = Resume::Beginning;
    commit.checkpoint.settled_to = Some(Position::Offset(u64::from(u32::MAX)));
    commit.checkpoint.open = spread(120_000);
    match owner.commit(&commit).await {
        Err(CommitError::TooLarge {
            what: TooLarge::Checkpoint,
            bytes,
            max,
        }) => assert!(bytes > max && max == 300 * 1024, "{bytes} > {max}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(owner.frontier().await, None);
    commit.checkpoint.open = spread(65_536);
    assert_eq!(owner.commit(&commit).await, Ok(DONE));
    let found = store.ownership(&owner.partition).await;
    let checkpoint = found.expect("read").expect("an item").checkpoint;
    assert_eq!(checkpoint, Some(commit.checkpoint));
}

pub(super) async fn settling_in_clears_the_unclean_claims(bench: &dyn Bench) {
    let store = bench.open("billing");
    let p = partition("a/0");
    Owner::of(&store, &p).await;
    let mut owner = Owner::of(&store, &p).await;
    let count = async || {
        let found = store.ownership(&p).await.expect("read");
        found.expect("an item").unclean_claims
    };
    assert_eq!(count().await, 1);
    let commit = owner.next(1);
    assert_eq!(owner.commit(&commit).await, Ok(DONE));
    assert_eq!(count().await, 1, "a commit alone does not");
    let mut commit = owner.next(2);
    commit.settled_in = true;
    assert_eq!(owner.commit(&commit).await, Ok(DONE));
    assert_eq!(count().await, 0);
    let claimed = store.claim(&p, worker()).await.expect("claim");
    assert_eq!(claimed.ownership.unclean_claims, 1);
}
