//! The target, and what it saw: the oracle beside the audit. It knows nothing of lanes or commits,
//! only of keys, records and calls.

use super::{
    dynamodb,
    log::offset,
    passed::Passed,
    plan::{FOR_EVER, Temper},
    world::{Control, Shared, now},
};
use futures_util::{FutureExt, future::BoxFuture};
use lanekeeper::{
    Condition, Effect, Record, Run,
    handler::{Answer, DeadLetter, Failure, PublishError, Target},
};
use std::{collections::BTreeMap, os::fd::OwnedFd, sync::Arc, time::Duration};

/// A record's place.
pub(super) type Place = (usize, u64);

/// What became of records and calls, as the target tells.
#[derive(Default)]
pub(super) struct Seen {
    /// Tries of each record that failed as its temper demands.
    failed: BTreeMap<Place, u8>,
    pub(super) passed: Passed,
    /// Calls that run, or may run on, by key: by which incarnation, until when at most.
    running: BTreeMap<String, Vec<(u64, u64, Duration)>>,
    /// The call's key by its number.
    calls: u64,
    /// The whole target is out until then.
    pub(super) out_until: Duration,
    /// Nothing is broken any more.
    pub(super) mended: bool,
    pub(super) calls_done: u64,
    /// No call runs later than this, and no claim was told later, as far as is known.
    pub(super) busy_until: Duration,
}

/// The target as one incarnation calls it.
pub(super) struct Client {
    pub(super) shared: Arc<Shared>,
    pub(super) incarnation: u64,
    /// The process that it is called from.
    pub(super) control: Arc<Control>,
}

/// A call; dropped before its answer, it may run on.
struct Calling {
    shared: Arc<Shared>,
    key: String,
    number: u64,
    limit: Duration,
    answered: Option<Duration>,
}

impl Drop for Calling {
    fn drop(&mut self) {
        let settle = self.shared.plan.settings.settle.unwrap_or_default();
        // Without an answer the remote goes on for as long as it may. A frozen worker reads an answer
        // late, and the remote has not waited for that.
        let until = self.limit.min(now() + self.answered.unwrap_or(settle));
        let mut seen = self.shared.seen();
        seen.busy_until = seen.busy_until.max(until);
        if let Some(running) = seen.running.get_mut(&self.key) {
            for call in running.iter_mut().filter(|call| call.0 == self.number) {
                call.2 = until;
            }
            running.retain(|call| call.2 > now());
        }
    }
}

impl Client {
    fn place(&self, record: &Record) -> Place {
        let name = &record.assignment().name;
        (self.shared.log().number(name), offset(record.position()))
    }

    fn begin(&self, run: &Run) -> Calling {
        let settings = &self.shared.plan.settings;
        let limit = now() + settings.timeout + settings.settle.unwrap_or_default();
        let key = String::from_utf8_lossy(run.first().key().unwrap_or_default()).into_owned();
        let mut problems = Vec::new();
        let mut seen = self.shared.seen();
        seen.calls += 1;
        seen.busy_until = seen.busy_until.max(limit);
        let number = seen.calls;
        for of in seen.running.values_mut() {
            of.retain(|call| call.2 > now());
        }
        // With order by partition there is one lane, but any two calls of one key overlap there too.
        if seen
            .running
            .get(&key)
            .is_some_and(|calls| !calls.is_empty())
        {
            problems.push(format!("two calls of key {key} at once, with {}", run.id()));
        }
        let mine = |call: &&(u64, u64, Duration)| call.1 == self.incarnation;
        let running = seen.running.values().flatten().filter(mine).count();
        if running >= settings.cap as usize {
            problems.push(format!("{} calls at once, with {}", running + 1, run.id()));
        }
        let call = (number, self.incarnation, limit);
        seen.running.entry(key.clone()).or_default().push(call);
        drop(seen);
        problems.extend(self.in_order(run));
        for problem in problems {
            self.shared.problem(problem);
        }
        Calling {
            shared: Arc::clone(&self.shared),
            key,
            number,
            limit,
            answered: None,
        }
    }

    /// Every earlier record of each record's key was done, published, skipped or is gone.
    fn in_order(&self, run: &Run) -> Vec<String> {
        let mut problems = Vec::new();
        let own: Vec<Place> = run.records().iter().map(|r| self.place(r)).collect();
        let (log, mut seen) = (self.shared.log(), self.shared.seen());
        for (record, place) in run.records().iter().zip(&own) {
            let key = String::from_utf8_lossy(record.key().unwrap_or_default()).into_owned();
            if log.entry(place.0, place.1).key.as_deref() != Some(&key) {
                problems.push(format!("record {} has the key {key}", record.id()));
            }
            let generation = record.assignment().generation;
            let records = || {
                let of = log.entries(place.0);
                of.filter(|(_, e)| e.key.as_deref() == Some(&key))
                    .map(|(n, _)| n)
                    .collect()
            };
            let is_gone = |n| log.is_compacted(place.0, n);
            let first = seen
                .passed
                .first_due(*place, generation, &key, records, is_gone);
            if let Some(first) = first.filter(|first| !own.contains(&(place.0, *first))) {
                problems.push(format!("{} called before {first} of its key", record.id()));
            }
            if seen.passed.is_kept(*place, generation) {
                problems.push(format!(
                    "{} called, and the rewind left it settled",
                    record.id()
                ));
            }
        }
        problems
    }

    /// How the record fares now; `None`: it is done.
    fn fares(&self, record: &Record, effects: &mut Vec<Effect>) -> Option<Fares> {
        let place = self.place(record);
        let temper = self.shared.log().entry(place.0, place.1).temper;
        let mut seen = self.shared.seen();
        if seen.out_until > now() {
            return Some(Fares::Fails(Failure::target("connection refused")));
        }
        let mended = seen.mended;
        let mut fails = |times: u8| {
            let failed = seen.failed.entry(place).or_default();
            *failed = failed.saturating_add(1);
            *failed <= times
        };
        match temper {
            Temper::Good => None,
            Temper::Effect | Temper::BadEffect => {
                effects.push(Effect::add("done", &record.id(), 1));
                if self.shared.plan.dynamodb.is_some() {
                    effects.extend(dynamodb::shared(place));
                }
                if temper == Temper::BadEffect && !mended {
                    match self.shared.plan.dynamodb {
                        Some(rules) if place.1.is_multiple_of(4) => {
                            effects.extend(rules.too_many())
                        }
                        Some(_) | None => {
                            let none = Effect::add("none", "none", 1);
                            effects.push(none.only_if(Condition::Exists(true)));
                        }
                    }
                }
                None
            }
            Temper::Retry(n) => fails(n).then(|| Fares::Fails(Failure::retry("try again"))),
            Temper::Panic(n) => fails(n).then_some(Fares::Panics),
            Temper::Silent(n) => fails(n).then_some(Fares::Never),
            Temper::Unknown(n) => fails(n).then(|| {
                let on = self.shared.plan.settings.settle.unwrap_or_default();
                Fares::Fails(Failure::retry("504").unknown_end(on))
            }),
            Temper::Target(n) => fails(n).then(|| Fares::Fails(Failure::target("503"))),
            Temper::Down(until) if now() >= until => None,
            Temper::Down(_) if self.shared.plan.silent && self.shared.chance(0.1) => {
                Some(Fares::Never)
            }
            Temper::Down(_) => Some(Fares::Fails(Failure::target("connection refused"))),
            Temper::Poison => (!mended).then(|| Fares::Fails(Failure::retry("poison"))),
            Temper::Reject => (!mended).then(|| Fares::Fails(Failure::reject("no such account"))),
            Temper::Fatal(FOR_EVER) => (!mended).then_some(Fares::Kills),
            Temper::Fatal(n) => fails(n).then_some(Fares::Kills),
        }
    }

    async fn call(self: Arc<Self>, run: Run) -> Answer {
        let mut calling = self.begin(&run);
        let mut answer = Answer::default();
        for record in run.records() {
            tokio::time::sleep(self.shared.work()).await;
            let mut effects = Vec::new();
            match self.fares(record, &mut effects) {
                None => {
                    let of = answer.done;
                    answer.effects.extend(effects.into_iter().map(|e| (of, e)));
                    answer.done += 1;
                }
                Some(Fares::Panics) => {
                    calling.answered = Some(Duration::ZERO);
                    // No hook: a panic that is meant is not printed.
                    std::panic::resume_unwind(Box::new("simulated"));
                }
                Some(Fares::Never) => std::future::pending().await,
                Some(Fares::Kills) => {
                    self.shared.count(|c| c.fatal_tries += 1);
                    self.control.kill();
                    std::future::pending().await
                }
                Some(Fares::Fails(failure)) => {
                    answer.failure = Some(failure);
                    break;
                }
            }
        }
        let mut seen = self.shared.seen();
        for record in &run.records()[..answer.done] {
            let generation = record.assignment().generation;
            seen.passed.done(self.place(record), generation);
        }
        seen.calls_done += 1;
        drop(seen);
        let runs_on = answer.failure.as_ref().and_then(|f| f.unknown_end);
        calling.answered = Some(runs_on.unwrap_or_default());
        answer
    }
}

enum Fares {
    Fails(Failure),
    Panics,
    Never,
    Kills,
}

impl Target for Client {
    fn try_run(self: Arc<Self>, run: Run) -> BoxFuture<'static, Answer> {
        self.call(run).boxed()
    }

    fn settle(&self, _timeout: Duration) -> Duration {
        Duration::ZERO
    }

    fn children(&self) -> Vec<u32> {
        Vec::new()
    }

    fn share(&self, _descriptors: Vec<OwnedFd>) {}
}

impl DeadLetter for Client {
    fn publish(
        &self,
        record: Record,
        error: String,
        _attempts: u32,
    ) -> BoxFuture<'static, Result<(), PublishError>> {
        let (shared, place) = (Arc::clone(&self.shared), self.place(&record));
        let generation = record.assignment().generation;
        async move {
            tokio::time::sleep(shared.work()).await;
            if error.is_empty() {
                shared.problem(format!("record {place:?} published without an error"));
            }
            if shared.chance(0.1) {
                let target = shared.chance(0.5);
                let error = "queue full".to_owned();
                return Err(PublishError { target, error });
            }
            shared.seen().passed.published(place, generation);
            Ok(())
        }
        .boxed()
    }
}
