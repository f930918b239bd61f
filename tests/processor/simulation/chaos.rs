//! The course of a history: workers come, faults befall them, then all is healed and must come to
//! rest.

use super::{
    counters::Counters,
    dynamodb, operators,
    plan::Plan,
    rewinds,
    store::Canary,
    verdict,
    world::{Incarnation, Shared, begin_time, now},
};
use fastrand::Rng;
use futures_util::FutureExt;
use lanekeeper::{
    processor::{Outcome, Report, Stop},
    source::SourceError,
};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::{sync::oneshot, task::JoinError};

/// Once healed, everything must have come to rest by then; and once every owner has looked whether an
/// operator went back.
const REST_WITHIN: Duration = Duration::from_secs(240);
/// A step of the world.
const STEP: Duration = Duration::from_millis(50);

/// How a history ended.
pub(super) struct Ended {
    pub(super) problems: Vec<String>,
    pub(super) counters: Counters,
    pub(super) transcript: String,
}

/// Plays a seed.
pub(super) fn play(seed: u64, canary: Option<Canary>, keep: bool) -> Ended {
    play_plan(Plan::draw(seed), canary, keep)
}

pub(super) fn play_plan(plan: Plan, canary: Option<Canary>, keep: bool) -> Ended {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        begin_time();
        let shared = Arc::new(Shared::new(plan, canary, keep));
        let mut world = World::new(Arc::clone(&shared));
        world.chaos().await;
        world.heal();
        let rested = world.rest().await;
        if rested {
            world.drain().await;
        }
        verdict::judge(&shared, rested)
    })
}

/// A partition that has no owner, or is about to have none.
struct Orphan {
    partition: usize,
    due: Duration,
    holder_is_dead: bool,
    /// Its owner is still letting go.
    leaving: Option<(u64, oneshot::Receiver<()>)>,
}

/// Whether a worker ended since an operator went back in a partition of its own.
fn is_rewound(end: &Result<Option<(Report, Outcome)>, JoinError>) -> bool {
    matches!(end, Ok(Some((_, Outcome::Source(SourceError::Refused { what }))))
        if what.contains("an operator rewound"))
}

/// Whether it ended since the store names an owner that does not know of it.
fn is_fenced_late(
    shared: &Shared,
    end: &Result<Option<(Report, Outcome)>, JoinError>,
    claimed: &BTreeSet<(String, u64)>,
) -> bool {
    let Ok(Some((_, Outcome::Source(SourceError::Refused { what })))) = end else {
        return false;
    };
    shared.store.tamper(|contents| {
        let mut owned = contents.ownerships.iter().filter(|(name, o)| {
            o.worker.is_some() && !claimed.contains(&(name.to_string(), o.epoch))
        });
        // As its proof of ownership or its last commit finds.
        owned.any(|(name, _)| {
            let found = ["the store names", "fenced: commit"];
            found
                .iter()
                .any(|by| what.starts_with(&format!("{name}: {by}")))
        })
    })
}

struct World {
    shared: Arc<Shared>,
    workers: Vec<Incarnation>,
    /// When workers that ended are replaced.
    replace: Vec<Duration>,
    orphans: Vec<Orphan>,
    /// Members to be told that partitions are lost, once they are awake.
    tell_lost: Vec<(Duration, u64, usize)>,
    /// Of each partition, members that live and had it since it was last released: tries of theirs may
    /// run.
    holders: Vec<BTreeSet<u64>>,
    numbers: u64,
    rewinds: Rng,
}

impl World {
    fn new(shared: Arc<Shared>) -> Self {
        let partitions = shared.plan.logs.len();
        let orphan = |partition| Orphan {
            partition,
            due: Duration::ZERO,
            holder_is_dead: false,
            leaving: None,
        };
        Self {
            replace: vec![Duration::ZERO; shared.plan.slots],
            orphans: (0..partitions).map(orphan).collect(),
            workers: Vec::new(),
            tell_lost: Vec::new(),
            holders: vec![BTreeSet::new(); partitions],
            numbers: 0,
            rewinds: Rng::with_seed(shared.plan.seed ^ 0x4e3),
            shared,
        }
    }

    async fn chaos(&mut self) {
        while now() < self.shared.plan.chaos {
            self.step();
            self.faults();
            tokio::time::sleep(STEP).await;
        }
    }

    /// What goes on with or without faults.
    fn step(&mut self) {
        self.bury();
        self.thaw();
        let due = self.replace.iter().filter(|at| **at <= now()).count();
        self.replace.retain(|at| *at > now());
        for _ in 0..due {
            self.numbers += 1;
            let worker = Incarnation::start(&self.shared, self.numbers);
            self.workers.push(worker);
        }
        let told = self.tell_lost.extract_if(.., |(at, _, _)| *at <= now());
        for (_, member, partition) in told.collect::<Vec<_>>() {
            let log = self.shared.log();
            // Meanwhile it may have become its own again.
            if log.owner(partition) != Some(member) {
                let _ = log.tell_revoked(member, partition, true);
            }
        }
        self.assign_orphans();
    }

    /// Workers that ended leave the group.
    fn bury(&mut self) {
        let ended = self.workers.extract_if(.., |w| w.end.is_finished());
        for worker in ended.collect::<Vec<_>>() {
            self.replace.push(now() + self.soon(1_000));
            self.ended(worker.end.now_or_never());
            self.is_dead(worker.number);
            let left = self.shared.log().leaves(worker.number);
            self.orphaned(left, false);
        }
    }

    fn ended(&self, end: Option<Result<Option<(Report, Outcome)>, JoinError>>) {
        match end {
            Some(end) if is_rewound(&end) => self.shared.count(|c| c.ended_by_rewinds += 1),
            Some(Ok(_)) => {}
            end => self.shared.problem(format!("a worker ended as {end:?}")),
        }
    }

    fn is_dead(&mut self, member: u64) {
        for holders in &mut self.holders {
            holders.remove(&member);
        }
    }

    /// Whether nobody has it and lives: what the lock of an embedded log proves.
    fn holders_are_dead(&mut self, partition: usize) -> bool {
        let name = self.shared.log().name(partition).clone();
        let released = self.shared.store.tamper(|contents| {
            let found = contents.ownerships.get(&name);
            found.is_none_or(|found| found.worker.is_none())
        });
        if released {
            self.holders[partition].clear();
        }
        self.holders[partition].is_empty()
    }

    fn soon(&self, most: u64) -> Duration {
        Duration::from_millis(self.shared.below(most))
    }

    /// Partitions of a member that is gone wait for the group to notice.
    fn orphaned(&mut self, partitions: Vec<usize>, dead: bool) {
        for partition in partitions {
            let due = now() + self.soon(if dead { 50 } else { 1_500 });
            self.orphans.push(Orphan {
                partition,
                due,
                holder_is_dead: dead,
                leaving: None,
            });
        }
    }

    fn thaw(&mut self) {
        let calm = self.shared.is_calm();
        let mut lost = Vec::new();
        for worker in &mut self.workers {
            let Some(until) = worker.frozen_until else {
                continue;
            };
            if until <= now() || calm {
                worker.frozen_until = None;
                worker.control.freeze(false);
                if worker.expired {
                    lost.push(worker.number);
                }
            }
        }
        // It hears later that its partitions went to others; new ones it gets at once.
        for member in lost {
            for partition in 0..self.shared.plan.logs.len() {
                let at = now() + self.soon(800);
                if self.shared.log().owner(partition) != Some(member) {
                    self.tell_lost.push((at, member, partition));
                }
            }
        }
    }

    fn assign_orphans(&mut self) {
        let awake: Vec<u64> = self
            .workers
            .iter()
            .filter(|w| w.frozen_until.is_none() && !w.end.is_finished() && !w.expired)
            .map(|w| w.number)
            .collect();
        let mut waiting = Vec::new();
        for mut orphan in std::mem::take(&mut self.orphans) {
            let let_go = match &mut orphan.leaving {
                None => orphan.due <= now(),
                Some((_, done)) => {
                    orphan.due <= now()
                        || !matches!(done.try_recv(), Err(oneshot::error::TryRecvError::Empty))
                }
            };
            let (partition, dead) = (orphan.partition, orphan.holder_is_dead);
            match self.shared.pick(&awake) {
                Some(member) if let_go => {
                    let late = orphan.leaving.take_if(|(_, done)| {
                        matches!(done.try_recv(), Err(oneshot::error::TryRecvError::Empty))
                    });
                    match late {
                        Some((former, done)) if former == member => {
                            orphan.leaving = Some((former, done));
                            waiting.push(orphan);
                            continue;
                        }
                        // It did not let go in time.
                        Some((former, _)) => self.tell_lost.push((now(), former, partition)),
                        None => {}
                    }
                    let dead = self.holders_are_dead(partition) && dead;
                    self.holders[partition].insert(member);
                    self.shared.log().assign(partition, member, dead);
                }
                _ => waiting.push(orphan),
            }
        }
        self.orphans = waiting;
    }

    fn faults(&mut self) {
        let faults = self.shared.plan.faults;
        let often = |rate: f64| self.shared.chance(rate * STEP.as_secs_f64());
        let (kill, freeze, restart) = (
            often(faults.kill),
            often(faults.freeze),
            often(faults.restart),
        );
        let (rebalance, outage) = (often(faults.rebalance), often(faults.outage));
        let (compact, decide) = (often(faults.compact), often(faults.decide));
        if kill {
            self.kill();
        }
        if freeze {
            self.freeze();
        }
        if restart {
            let awake: Vec<usize> = (0..self.workers.len()).collect();
            if let Some(at) = self.shared.pick(&awake) {
                let _ = self.workers[at].stop.send(Stop::Drain);
                self.shared.count(|c| c.drains += 1);
            }
        }
        if rebalance {
            self.rebalance();
        }
        if outage {
            self.shared.seen().out_until = now() + self.soon(3_000);
            self.shared.count(|c| c.outages += 1);
        }
        if compact {
            self.compact();
        }
        if decide {
            operators::decide(&self.shared, false);
        }
        if faults.rewind > 0.0 && self.rewinds.f64() < faults.rewind * STEP.as_secs_f64() {
            rewinds::rewind(&self.shared, &mut self.rewinds);
        }
        self.expire();
    }

    fn kill(&mut self) {
        let all: Vec<usize> = (0..self.workers.len()).collect();
        if let Some(at) = self.shared.pick(&all) {
            let worker = self.workers.swap_remove(at);
            worker.control.kill();
            self.is_dead(worker.number);
            let left = self.shared.log().leaves(worker.number);
            let dead = self.shared.plan.local;
            self.orphaned(left, dead);
            self.replace.push(now() + self.soon(1_500));
            self.shared.count(|c| c.kills += 1);
        }
    }

    fn freeze(&mut self) {
        let awake: Vec<usize> = (0..self.workers.len())
            .filter(|at| self.workers[*at].frozen_until.is_none())
            .collect();
        if let Some(at) = self.shared.pick(&awake) {
            let most = self.shared.plan.settings.drain.as_millis() as u64 * 3;
            let until = now() + self.soon(most);
            self.workers[at].frozen_until = Some(until);
            self.workers[at].expired = false;
            self.workers[at].control.freeze(true);
            self.shared.count(|c| c.freezes += 1);
        }
    }

    /// The group takes partitions from members that it has not heard of.
    fn expire(&mut self) {
        for at in 0..self.workers.len() {
            let worker = &self.workers[at];
            if worker.frozen_until.is_some() && !worker.expired && self.shared.chance(0.05) {
                self.workers[at].expired = true;
                let number = self.workers[at].number;
                for partition in 0..self.shared.plan.logs.len() {
                    if self.shared.log().owner(partition) == Some(number) {
                        let mut log = self.shared.log();
                        // Nobody tells it: it is told when it wakes.
                        log.disown(partition);
                        drop(log);
                        self.orphaned(vec![partition], false);
                    }
                }
            } else if worker.frozen_until.is_none() && worker.expired && self.shared.chance(0.1) {
                // It has joined again.
                self.workers[at].expired = false;
            }
        }
    }

    fn rebalance(&mut self) {
        let owned: Vec<(usize, u64)> = (0..self.shared.plan.logs.len())
            .filter_map(|p| Some((p, self.shared.log().owner(p)?)))
            .collect();
        if let Some((partition, owner)) = self.shared.pick(&owned) {
            let patience = self.shared.plan.settings.drain.as_millis() as u64 * 2;
            let done = self.shared.log().revoke(partition, false);
            self.orphans.push(Orphan {
                partition,
                due: now() + self.soon(patience),
                holder_is_dead: false,
                // A member that has ended lets go at once.
                leaving: done.map(|done| (owner, done)),
            });
            self.shared.count(|c| c.rebalances += 1);
        }
    }

    fn compact(&mut self) {
        let partition = self.shared.below(self.shared.plan.logs.len() as u64) as usize;
        let end = self.shared.log().end(partition, now());
        let position = 1 + self.shared.below(end);
        if end > 0 {
            self.shared.log().compact(partition, position);
        }
    }

    fn heal(&mut self) {
        self.shared.calm_down();
        let mut seen = self.shared.seen();
        seen.out_until = Duration::ZERO;
        seen.mended = self.shared.plan.mended;
        drop(seen);
        for worker in &mut self.workers {
            if worker.frozen_until.is_none() {
                worker.expired = false;
            }
        }
    }

    /// Goes on without faults until everything has come to rest; `false`: it does not.
    async fn rest(&mut self) -> bool {
        let looks = (self.shared.plan.dynamodb).map_or(Duration::ZERO, |_| dynamodb::LOOKS_EVERY);
        let until = now() + REST_WITHIN + looks;
        let mut rested_at = None;
        while now() < until {
            self.step();
            for worker in &mut self.workers {
                worker.expired = false;
            }
            if self.shared.plan.mended {
                operators::decide(&self.shared, true);
            }
            let settled = self.orphans.is_empty() && verdict::unsettled(&self.shared).is_none();
            let rests = settled && self.workers.len() == self.shared.plan.slots;
            rested_at = rested_at.filter(|_| rests).or(rests.then(now));
            // Long enough for the last claim to be over with whatever it waited for.
            let busy_until = self.shared.seen().busy_until;
            let settings = &self.shared.plan.settings;
            let waited = settings.drain * 2 + settings.settle.unwrap_or_default();
            let calm = |at: Duration| at.max(busy_until) + waited;
            if rested_at.is_some_and(|at| now() >= calm(at)) {
                return true;
            }
            tokio::time::sleep(STEP * 4).await;
        }
        false
    }

    /// Everybody drains: nothing is out, so each partition is released.
    async fn drain(&mut self) {
        // Who claimed and was then told that it is lost owns nothing, whatever the store says: a claim
        // may arrive after the partition went to others.
        let claimed = self.shared.claimed();
        for worker in &self.workers {
            let _ = worker.stop.send(Stop::Drain);
        }
        for worker in self.workers.drain(..) {
            let most = self.shared.plan.settings.drain * 2 + Duration::from_secs(10);
            match tokio::time::timeout(most, worker.end).await {
                Ok(Ok(Some((_, Outcome::Drained)))) => {}
                // An owner of an idle partition may not have looked since an operator went back.
                Ok(end) if is_rewound(&end) => {
                    self.shared.count(|c| c.ended_by_rewinds += 1);
                }
                // Nor since a claim arrived that was sent before it had the partition.
                Ok(end) if is_fenced_late(&self.shared, &end, &claimed) => {}
                Ok(end) => {
                    let end = end.map(|end| end.map(|(_, outcome)| outcome));
                    self.shared.problem(format!("a drain ended as {end:?}"));
                }
                Err(_) => self.shared.problem("a drain does not end".to_owned()),
            }
        }
        // A claim that arrived late has an owner that does not know.
        let unreleased: Vec<String> = self.shared.store.tamper(|contents| {
            let owned = contents.ownerships.iter().filter(|(name, o)| {
                o.worker.is_some() && claimed.contains(&(name.to_string(), o.epoch))
            });
            owned.map(|(name, _)| name.to_string()).collect()
        });
        if !unreleased.is_empty() {
            let what = format!("not released by a drain: {}", unreleased.join(", "));
            self.shared.problem(what);
        }
    }
}
