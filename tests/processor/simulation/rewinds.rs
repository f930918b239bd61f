//! An operator who goes back, as `lanekeeper checkpoint rewind` does: reads what stands, computes, and
//! writes if nothing moved meanwhile.

use super::{
    log::offset,
    world::{Shared, now},
};
use fastrand::Rng;
use lanekeeper::{
    Position,
    checkpoint::{
        Checkpoint,
        rewind::{self, Chains, Plan, Standing, Target},
    },
    record::{Assignment, PartitionName},
    store::{
        AsRead, HistoryEvent, LaneChange, LaneItem, LaneState, Ownership, Rewind, RewindError,
        RewindNote, RewindVerb, Store, StoreError, Verb,
    },
};
use std::{collections::BTreeSet, sync::Arc, time::Duration};

/// How often it is computed anew while an owner commits in between.
const TRIES: usize = 20;

/// Goes back in a partition, to wherever.
pub(super) fn rewind(shared: &Arc<Shared>, rng: &mut Rng) {
    let partition = rng.usize(0..shared.plan.logs.len());
    let name = shared.log().name(partition).clone();
    let chains = *rng.choice(&[Chains::Keep, Chains::Drop]).expect("some");
    let mut operator = Operator {
        shared: Arc::clone(shared),
        partition,
        name,
        chains,
        rng: rng.fork(),
    };
    tokio::spawn(async move { operator.goes_back().await });
}

struct Operator {
    shared: Arc<Shared>,
    partition: usize,
    name: PartitionName,
    chains: Chains,
    rng: Rng,
}

/// What is to be written, and what it was computed from.
struct Draft {
    found: Ownership,
    plan: Plan,
    rewind: Rewind,
}

impl Operator {
    async fn goes_back(&mut self) {
        let content = self.rng.u128(..).to_ne_bytes();
        for _ in 0..TRIES {
            let Some(draft) = self.draft(content).await else {
                return;
            };
            self.dawdles().await;
            if self.shared.is_calm() {
                return;
            }
            let read = AsRead::of(Some(&draft.found));
            let store = &self.shared.store;
            match store.rewind(&self.name, read, &draft.rewind).await {
                Ok(after) => {
                    self.is_back(&draft, &after);
                    // As after an answer that was lost.
                    let again = store.rewind(&self.name, read, &draft.rewind).await;
                    if again != Ok(after) {
                        let what = format!("a rewind that is repeated: {again:?}");
                        self.shared.problem(what);
                    }
                    return;
                }
                Err(RewindError::Moved { .. } | RewindError::LaneMoved { .. }) => {
                    self.shared.count(|c| c.rewinds_moved += 1);
                }
                // It met another request on an item: the operator tries again.
                Err(RewindError::Store(StoreError::OutOfReach(_))) => {}
                Err(error @ (RewindError::TooLarge { .. } | RewindError::Store(_))) => {
                    return self.shared.problem(format!("a rewind: {error}"));
                }
            }
        }
    }

    async fn dawdles(&mut self) {
        tokio::time::sleep(Duration::from_millis(self.rng.u64(0..8))).await;
    }

    /// `None`: there is nothing to go back to.
    async fn draft(&mut self, content: [u8; 16]) -> Option<Draft> {
        let shared = Arc::clone(&self.shared);
        let store = &shared.store;
        let found = store.ownership(&self.name).await.ok()??;
        let checkpoint = found.checkpoint.clone()?;
        self.dawdles().await;
        let mut items = store.lanes(&self.name).await.ok()?;
        items.retain(|item| item.state != LaneState::Live);
        let target = self.target(&checkpoint).await;
        let mut standing = Vec::new();
        for item in &items {
            self.dawdles().await;
            standing.push(Standing {
                lane: item.lane.clone(),
                head: item.head.clone(),
                chain: self.chain(&found, item, &target).await?,
            });
        }
        let plan = rewind::plan(&checkpoint, &standing, &target, self.chains, false);
        let Ok(plan) = plan else {
            self.shared.count(|c| c.rewinds_refused += 1);
            return None;
        };
        let goes = |item: &&LaneItem| {
            plan.reopened.contains(&item.lane) || plan.dropped.contains(&item.lane)
        };
        let lanes = items.iter().filter(goes).map(|item| LaneChange {
            lane: item.lane.clone(),
            expected: Some((item.rev, item.tail.clone())),
            item: None,
            append: Vec::new(),
            passed: None,
        });
        let rewind = Rewind {
            checkpoint: plan.checkpoint.clone(),
            generation: found.generation + 1,
            lanes: lanes.collect(),
            content,
            note: RewindNote {
                verb: RewindVerb::Rewind,
                to: format!("{target:?}"),
                by: "operator".to_owned(),
                why: None,
                at: i64::try_from(now().as_millis()).expect("short"),
            },
        };
        Some(Draft {
            found,
            plan,
            rewind,
        })
    }

    /// A place of the log, or what the history has.
    async fn target(&mut self, checkpoint: &Checkpoint) -> Target {
        let history = self.shared.store.history(&self.name).await;
        let past: Vec<Checkpoint> = { history.unwrap_or_default().into_iter() }
            .filter_map(|item| match item.what {
                HistoryEvent::Checkpoint { checkpoint, .. }
                | HistoryEvent::Rewound { checkpoint, .. } => Some(checkpoint),
                HistoryEvent::Decided { .. } => None,
            })
            .collect();
        if self.rng.u8(..) < 60
            && let Some(past) = self.rng.choice(past)
        {
            return Target::Checkpoint(past);
        }
        let settled = { checkpoint.settled_to.iter() }
            .chain(checkpoint.frontier())
            .max();
        let last = settled.map_or(1, offset);
        Target::Position(Position::Offset(self.rng.u64(1..=last)))
    }

    /// Positions of a lane's chain; its ends where they say enough.
    async fn chain(
        &self,
        found: &Ownership,
        item: &LaneItem,
        target: &Target,
    ) -> Option<Vec<Position>> {
        let Some(tail) = &item.tail else {
            return Some(Vec::new());
        };
        if matches!(target, Target::Position(to) if tail < to) {
            return Some(vec![item.head.clone(), tail.clone()]);
        }
        let assignment = Arc::new(Assignment {
            name: self.name.clone(),
            epoch: found.epoch,
            generation: found.generation,
        });
        let store = &self.shared.store;
        let chain = store.chain(&assignment, &item.lane, None, usize::MAX, u64::MAX);
        let records = chain.await.ok()?;
        Some(records.iter().map(|r| r.position().clone()).collect())
    }

    /// It is in the store: what runs again is to be done again.
    fn is_back(&self, draft: &Draft, after: &Ownership) {
        let (shared, name) = (&self.shared, &self.name);
        let checkpoint = &draft.plan.checkpoint;
        let (kept, skipped) = shared.store.tamper(|contents| {
            let chains = contents.chains.iter().filter(|((of, _), _)| of == name);
            let chained: BTreeSet<&Position> = chains.flat_map(|(_, of)| of.keys()).collect();
            let places = (1..).take(shared.plan.logs[self.partition].len());
            let stays = |n: &u64| {
                let position = Position::Offset(*n);
                checkpoint.settles(&position) && !chained.contains(&position)
            };
            let lanes = contents.lanes.iter().filter(|((of, _), _)| of == name);
            let skip =
                |item: &&LaneItem| item.decision.as_ref().is_some_and(|d| d.verb == Verb::Skip);
            let heads = lanes.map(|(_, item)| item).filter(skip);
            let heads: BTreeSet<u64> = heads.map(|item| offset(&item.head)).collect();
            (places.filter(stays).collect(), heads)
        });
        let passed = &mut shared.seen().passed;
        passed.rewound(self.partition, after.generation, kept, skipped);
        let lives = { after.worker }.is_some_and(|worker| {
            let (_, number) = worker.0.as_u64_pair();
            shared.log().is_member(number)
        });
        shared.count(|c| {
            c.rewinds += 1;
            c.rewinds_of_living += u64::from(lives);
            c.rewinds_of_dead += u64::from(!lives);
            c.rewinds_to_history += u64::from(draft.rewind.note.to.starts_with("Checkpoint"));
            c.chains_kept += draft.plan.kept.len() as u64;
            c.chains_dropped += draft.plan.dropped.len() as u64;
            c.stops_reopened += draft.plan.reopened.len() as u64;
        });
    }
}
