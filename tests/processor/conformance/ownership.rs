//! Claim, fence, release.

use super::{
    Bench, DONE, Owner, Spoil, change, item, lane, loses_answers, note, park, partition, worker,
};
use lanekeeper::store::{CommitError, DecideError, Fence, LaneState, StoreError, Verb};
use std::{collections::BTreeMap, sync::Arc};

pub(super) async fn a_first_claim_makes_the_item(bench: &dyn Bench) {
    let store = bench.open("billing");
    let p = partition("a/0");
    assert_eq!(store.ownership(&p).await, Ok(None));
    let worker = worker();
    let claimed = store.claim(&p, worker).await.expect("claim");
    assert_eq!(claimed.unclean, None);
    assert_eq!(claimed.lanes, []);
    let ownership = claimed.ownership;
    assert_eq!(
        (ownership.worker, ownership.epoch, ownership.generation),
        (Some(worker), 1, 0)
    );
    assert_eq!((ownership.commit, ownership.unclean_claims), (0, 0));
    assert_eq!(ownership.checkpoint, None);
    assert_eq!(store.ownership(&p).await, Ok(Some(ownership)));
    // Another app, source or partition is another item.
    assert_eq!(bench.open("other").ownership(&p).await, Ok(None));
    assert_eq!(store.ownership(&partition("a/1")).await, Ok(None));
}

pub(super) async fn a_claim_after_a_release_is_clean(bench: &dyn Bench) {
    let store = bench.open("billing");
    let p = partition("a/0");
    let mut first = Owner::of(&store, &p).await;
    let commit = first.next(5);
    assert_eq!(first.commit(&commit).await, Ok(DONE));
    assert_eq!(store.release(&p, first.fence).await, Ok(()));
    let between = store.ownership(&p).await.expect("read").expect("an item");
    assert_eq!((between.worker, between.epoch), (None, 1));
    let claimed = store.claim(&p, worker()).await.expect("claim");
    assert_eq!(claimed.unclean, None);
    assert_eq!((claimed.ownership.epoch, claimed.ownership.commit), (2, 0));
    assert_eq!(claimed.ownership.unclean_claims, 0);
    assert_eq!(claimed.ownership.checkpoint, Some(commit.checkpoint));
}

pub(super) async fn claims_that_find_a_worker_are_unclean_and_counted(bench: &dyn Bench) {
    let store = bench.open("billing");
    let p = partition("a/0");
    let mut before = None;
    for n in 0..4 {
        let worker = worker();
        let claimed = store.claim(&p, worker).await.expect("claim");
        assert_eq!(claimed.unclean, before, "claim {n}");
        assert_eq!(claimed.ownership.unclean_claims, n);
        assert_eq!(claimed.ownership.epoch, u64::from(n) + 1);
        before = Some(worker);
    }
    let named = before.expect("claimed");
    let again = store.claim(&p, named).await.expect("claim");
    assert_eq!(again.unclean, Some(named), "its tries may still run");
    assert_eq!(again.ownership.unclean_claims, 3, "nobody died");
    let fence = Fence {
        worker: named,
        epoch: 5,
    };
    assert_eq!(store.release(&p, fence).await, Ok(()));
    let claimed = store.claim(&p, worker()).await.expect("claim");
    assert_eq!(claimed.ownership.unclean_claims, 0, "released cleanly");
}

pub(super) async fn the_former_owner_is_fenced(bench: &dyn Bench) {
    let store = bench.open("billing");
    let p = partition("a/0");
    let mut former = Owner::of(&store, &p).await;
    let stopped = item("a", LaneState::Stopped, 3, None);
    former.change(2, change("a", None, Some(stopped))).await;
    let owner = Owner::of(&bench.open("billing"), &p).await;
    let before = store.ownership(&p).await.expect("read");
    let late = former.next(9);
    let Err(CommitError::Fenced {
        partition,
        fence,
        number,
        found,
    }) = former.commit(&late).await
    else {
        panic!("the former owner committed");
    };
    assert_eq!((partition, fence, number), (p.clone(), former.fence, 2));
    assert_eq!(found, (Some(owner.fence.worker), 2, 0));
    let fenced = StoreError::Fenced {
        partition: p.clone(),
        worker: Some(owner.fence.worker),
        epoch: 2,
    };
    assert_eq!(store.release(&p, former.fence).await, Err(fenced.clone()));
    let rev = store.decide(&p, &lane("a"), 1, &note(Verb::Retry)).await;
    let taken = store
        .take(&p, former.fence, &lane("a"), rev.expect("decided"))
        .await;
    assert_eq!(taken, Err(DecideError::Store(fenced)));
    // The right worker in a former epoch, and the right epoch of another worker, are no owners.
    for fence in [
        Fence {
            worker: owner.fence.worker,
            epoch: 1,
        },
        Fence {
            worker: worker(),
            epoch: 2,
        },
    ] {
        let mut commit = former.next(9);
        commit.fence = fence;
        assert!(matches!(
            former.commit(&commit).await,
            Err(CommitError::Fenced { .. })
        ));
    }
    assert_eq!(store.ownership(&p).await.expect("read"), before);
}

pub(super) async fn only_the_owner_releases(bench: &dyn Bench) {
    let store = bench.open("billing");
    let p = partition("a/0");
    let nobody = Fence {
        worker: worker(),
        epoch: 1,
    };
    let absent = StoreError::Fenced {
        partition: p.clone(),
        worker: None,
        epoch: 0,
    };
    assert_eq!(store.release(&p, nobody).await, Err(absent));
    assert_eq!(store.ownership(&p).await, Ok(None), "not made by a release");
    let mut owner = Owner::of(&store, &p).await;
    assert!(matches!(
        store.release(&p, nobody).await,
        Err(StoreError::Fenced { epoch: 1, .. })
    ));
    assert_eq!(store.release(&p, owner.fence).await, Ok(()));
    // Its answer may have been lost.
    assert_eq!(store.release(&p, owner.fence).await, Ok(()));
    let late = owner.next(3);
    assert!(matches!(
        owner.commit(&late).await,
        Err(CommitError::Fenced {
            found: (None, 1, 0),
            ..
        })
    ));
}

pub(super) async fn a_deleted_checkpoint_is_noticed_and_not_made_again(bench: &dyn Bench) {
    let store = bench.open("billing");
    let p = partition("a/0");
    let mut owner = Owner::of(&store, &p).await;
    park(&mut owner, "a", 3..=4).await;
    bench.spoil("billing", Spoil::NoCheckpoint(&p)).await;
    let mut commit = owner.next(9);
    commit.keep = true;
    assert!(matches!(
        owner.commit(&commit).await,
        Err(CommitError::Fenced {
            found: (None, 0, 0),
            ..
        })
    ));
    assert!(matches!(
        store.release(&p, owner.fence).await,
        Err(StoreError::Fenced { epoch: 0, .. })
    ));
    assert_eq!(store.ownership(&p).await, Ok(None));
    assert_eq!(store.history(&p).await, Ok(Vec::new()));
    // What is left of the lanes is still seen by who claims anew.
    let claimed = store.claim(&p, worker()).await.expect("claim");
    assert_eq!((claimed.ownership.epoch, claimed.lanes.len()), (1, 1));
}

pub(super) async fn claims_at_once_leave_one_owner(bench: &dyn Bench) {
    let p = partition("a/0");
    let mut tasks = Vec::new();
    for _ in 0..8 {
        let (store, p) = (bench.open("billing"), p.clone());
        tasks.push(tokio::spawn(async move {
            let worker = worker();
            (worker, store.claim(&p, worker).await.expect("claim"))
        }));
    }
    let mut workers = BTreeMap::new();
    for task in tasks {
        let (worker, claimed) = task.await.expect("no panic");
        assert_eq!(claimed.ownership.worker, Some(worker));
        let epoch = claimed.ownership.epoch;
        assert_eq!(workers.insert(epoch, worker), None, "epoch {epoch} twice");
    }
    if !loses_answers() {
        // Where answers are lost, a claim is made again where another worker's came in between.
        assert!(workers.keys().copied().eq(1..=8), "{workers:?}");
    }
    let store: Arc<_> = bench.open("billing");
    let found = store.ownership(&p).await.expect("read").expect("an item");
    let last = workers.last_key_value().expect("claimed");
    assert_eq!(
        (Some(&found.epoch), found.worker.as_ref()),
        (Some(last.0), Some(last.1))
    );
}

/// A request of the former owner may arrive at any moment of a claim.
pub(super) async fn a_claim_finds_what_was_committed_last(bench: &dyn Bench) {
    let p = partition("a/0");
    let mut former = Owner::of(&bench.open("billing"), &p).await;
    for _ in 0..20 {
        let busy = tokio::spawn(async move {
            let mut last = None;
            let mut commit = former.next(1);
            loop {
                match former.commit(&commit).await {
                    Ok(_) => {
                        last = Some(commit.checkpoint);
                        commit = former.next(former.number + 1);
                    }
                    Err(CommitError::NotWritten(_) | CommitError::Unknown(_)) => {}
                    Err(CommitError::Fenced { .. }) => return last,
                    Err(other) => panic!("{other}"),
                }
                // A store in memory answers at once.
                tokio::task::yield_now().await;
            }
        });
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        let (store, worker) = (bench.open("billing"), worker());
        let claimed = store.claim(&p, worker).await.expect("claim");
        let stands = store.ownership(&p).await.expect("read").expect("an item");
        assert_eq!(claimed.ownership, stands, "what is settled and what stands");
        let last = busy.await.expect("no panic");
        if !loses_answers() {
            assert_eq!(claimed.ownership.checkpoint, last, "acknowledged");
        }
        former = Owner {
            store,
            partition: p.clone(),
            fence: Fence {
                worker,
                epoch: claimed.ownership.epoch,
            },
            number: 0,
        };
    }
}

pub(super) async fn claimed_partitions_are_registered(bench: &dyn Bench) {
    let store = bench.open("billing");
    assert_eq!(store.partitions().await, Ok(Vec::new()));
    for name in ["b/1", "a/10", "a/9", "a/10"] {
        Owner::of(&store, &partition(name)).await;
    }
    let all = ["a/10", "a/9", "b/1"].map(partition).to_vec();
    assert_eq!(store.partitions().await, Ok(all));
    assert_eq!(bench.open("other").partitions().await, Ok(Vec::new()));
}
