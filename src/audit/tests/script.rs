//! Writes histories by hand.

use crate::{
    audit::{Audit, Guarantee, Verdict},
    checkpoint::{Checkpoint, OpenSet},
    history::{Collected, Event, FORMAT, Fact, History as _, Line, Opened, Subject},
    position::Position,
    record::{LaneKey, PartitionName},
    store::{LaneState, Verb, WorkerId},
};
use partitions::Resume;
use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};
use uuid::Uuid;

pub(super) fn at(n: u64) -> Position {
    Position::Offset(n)
}

/// Everything up to `last` is settled, and what is beyond it up to `to` and not in `open`.
pub(super) fn cover(last: u64, to: u64, open: &[u64]) -> Checkpoint {
    Checkpoint {
        resume: match last {
            0 => Resume::Beginning,
            n => Resume::After(at(n)),
        },
        settled_to: (to > 0).then(|| at(to)),
        open: open.iter().map(|n| at(*n)).collect::<OpenSet>(),
        ..Checkpoint::default()
    }
}

pub(super) fn settings() -> Opened {
    Opened {
        format: FORMAT,
        version: "test".to_owned(),
        worker: String::new(),
        app: "test".to_owned(),
        cap: 3,
        unflushed_max: 6,
        records_per_call: 2,
        attempts: 3,
        then: "stop".to_owned(),
        stops: "lane".to_owned(),
        timeout_ms: 100,
        settle_ms: 0,
        drain_ms: 200,
    }
}

/// A history in the making. Time moves on by a millisecond a line.
pub(super) struct Script {
    workers: Vec<Collected>,
    partition: PartitionName,
    worker: usize,
    pub(super) epoch: u64,
    pub(super) generation: u64,
    pub(super) now: Duration,
    tickets: u64,
    /// Ticket and attempt of each record's last start.
    tries: HashMap<u64, (u64, u32)>,
    commits: HashMap<u64, u64>,
}

impl Script {
    /// One worker that owns a fresh partition.
    pub(super) fn new() -> Self {
        Self::with(&settings())
    }

    pub(super) fn with(settings: &Opened) -> Self {
        let mut script = Self::nobody();
        script.worker(settings);
        script.claim(1, true, None);
        script
    }

    pub(super) fn nobody() -> Self {
        Self {
            workers: Vec::new(),
            partition: PartitionName::new("orders", "orders/0"),
            worker: 0,
            epoch: 1,
            generation: 0,
            now: Duration::ZERO,
            tickets: 0,
            tries: HashMap::new(),
            commits: HashMap::new(),
        }
    }

    /// Another worker, which the next lines are of.
    pub(super) fn worker(&mut self, settings: &Opened) -> usize {
        self.worker = self.workers.len();
        let id = WorkerId(Uuid::from_u128(self.worker as u128 + 1));
        self.workers.push(Collected::new(id));
        self.workers[self.worker].note(Fact {
            at: self.now,
            subject: None,
            event: Event::Opened(settings),
        });
        self.worker
    }

    /// The next lines are of this worker, under this epoch.
    pub(super) fn turn_to(&mut self, worker: usize, epoch: u64) {
        (self.worker, self.epoch) = (worker, epoch);
    }

    pub(super) fn wait(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
    }

    pub(super) fn say(&mut self, record: Option<(&str, u64)>, event: Event<'_>) {
        self.now += Duration::from_millis(1);
        let record = record.map(|(key, n)| (LaneKey::of_key(key.as_bytes()), at(n)));
        self.workers[self.worker].note(Fact {
            at: self.now,
            subject: Some(Subject {
                partition: &self.partition,
                epoch: self.epoch,
                generation: self.generation,
                record: record.as_ref().map(|(lane, n)| (lane.bytes(), n)),
            }),
            event,
        });
    }

    pub(super) fn claim(&mut self, epoch: u64, clean: bool, found: Option<&Checkpoint>) {
        self.epoch = epoch;
        self.say(None, Event::Claimed { clean });
        let from = found.map_or(&Resume::Beginning, |found| &found.resume);
        let gap = None;
        let checkpoint = found;
        self.say(
            None,
            Event::Restored {
                checkpoint,
                from,
                gap,
            },
        );
    }

    /// `chain`: its last position and how many records it has.
    pub(super) fn held(
        &mut self,
        key: &str,
        head: u64,
        state: LaneState,
        chain: Option<(u64, u64)>,
    ) {
        let tail = chain.map(|(tail, _)| at(tail));
        let count = chain.map_or(0, |(_, count)| count);
        let event = Event::Held {
            state,
            tail: tail.as_ref(),
            count,
            decision: None,
        };
        self.say(Some((key, head)), event);
    }

    pub(super) fn fetch(&mut self, records: &[(&str, u64)]) {
        for &record in records {
            self.say(Some(record), Event::Fetched);
        }
    }

    /// Starts records in one call.
    pub(super) fn start_run(&mut self, key: &str, records: &[u64]) -> u64 {
        self.tickets += 1;
        let ticket = self.tickets;
        let attempt = self.tries.get(&records[0]).map_or(1, |(_, n)| n + 1);
        for &n in records {
            self.tries.insert(n, (ticket, attempt));
            self.say(Some((key, n)), Event::Started { ticket, attempt });
        }
        ticket
    }

    pub(super) fn start(&mut self, key: &str, n: u64) -> u64 {
        self.start_run(key, &[n])
    }

    pub(super) fn forget_attempts(&mut self, n: u64) {
        self.tries.remove(&n);
    }

    pub(super) fn end(&mut self, key: &str, n: u64, outcome: &str) {
        let (ticket, attempt) = self.tries[&n];
        let error = (outcome != "done").then_some("no");
        let event = Event::Ended {
            ticket,
            attempt,
            outcome,
            error,
        };
        self.say(Some((key, n)), event);
    }

    pub(super) fn quarantine(&mut self, key: &str, n: u64, millis: u64) {
        let ticket = self.tries[&n].0;
        self.say(Some((key, n)), Event::Quarantined { ticket, millis });
    }

    pub(super) fn done(&mut self, key: &str, n: u64) {
        self.say(Some((key, n)), Event::Done);
    }

    /// Starts, ends and is done.
    pub(super) fn run(&mut self, key: &str, n: u64) {
        self.start(key, n);
        self.end(key, n, "done");
        self.done(key, n);
    }

    /// Fails for good.
    pub(super) fn reject(&mut self, key: &str, n: u64) {
        self.start(key, n);
        self.end(key, n, "reject");
    }

    pub(super) fn commit(&mut self, checkpoint: &Checkpoint) {
        let number = self.commits.entry(self.epoch).or_default();
        *number += 1;
        let event = Event::Committed {
            number: *number,
            checkpoint,
            repeated: false,
        };
        self.say(None, event);
    }

    pub(super) fn stopped(&mut self, key: &str, n: u64) {
        let (error, attempts) = ("no", 1);
        self.say(Some((key, n)), Event::Stopped { error, attempts });
    }

    pub(super) fn parked(&mut self, key: &str, n: u64) {
        let (error, attempts) = ("no", 1);
        self.say(Some((key, n)), Event::Parked { error, attempts });
    }

    pub(super) fn decide(&mut self, key: &str, head: u64, verb: Verb) {
        self.say(Some((key, head)), Event::Decided { verb });
    }

    pub(super) fn revoke(&mut self, clean: bool) {
        self.say(None, Event::Revoked { clean });
    }

    /// The lines, worker by worker.
    pub(super) fn lines(&self) -> Vec<Line<'static>> {
        self.workers.iter().flat_map(Collected::take).collect()
    }

    pub(super) fn audit(&self) -> Verdict {
        audit(&self.lines())
    }
}

/// Through JSON and back, as a file would go.
pub(super) fn audit(lines: &[Line<'_>]) -> Verdict {
    let mut audit = Audit::new();
    for line in lines {
        let text = serde_json::to_string(line).expect("a line");
        audit.add(&serde_json::from_str(&text).expect("the same line"));
    }
    audit.finish()
}

/// The history breaks exactly these guarantees.
#[track_caller]
pub(super) fn check(expected: &[Guarantee], script: &Script) {
    let verdict = script.audit();
    assert!(verdict.errors.is_empty(), "{verdict}");
    let broken: BTreeSet<Guarantee> = verdict.violations.iter().map(|v| v.guarantee).collect();
    assert_eq!(broken, expected.iter().copied().collect(), "{verdict}");
    assert_eq!(verdict.passes(), expected.is_empty());
}

/// A script of this body.
pub(super) fn scripted(body: impl FnOnce(&mut Script)) -> Script {
    let mut script = Script::new();
    body(&mut script);
    script
}

pub(super) fn set(change: impl FnOnce(&mut Opened)) -> Opened {
    let mut settings = settings();
    change(&mut settings);
    settings
}

/// `a1 b2 a3 b4 c5` are handed over.
pub(super) fn five(script: &mut Script) {
    script.fetch(&[("a", 1), ("b", 2), ("a", 3), ("b", 4), ("c", 5)]);
}

/// A second worker claims after everything of the first can have ended.
pub(super) fn takes_over(script: &mut Script, clean: bool, found: &Checkpoint) {
    script.wait(1_000);
    script.worker(&settings());
    script.claim(2, clean, Some(found));
}

/// `a1` fails for good and is parked, `a3` and `a6` join its chain.
pub(super) fn parked(s: &mut Script) {
    five(s);
    s.fetch(&[("a", 6)]);
    s.reject("a", 1);
    s.commit(&cover(1, 1, &[]));
    s.parked("a", 1);
    s.commit(&cover(1, 6, &[2, 4, 5]));
    s.say(Some(("a", 3)), Event::Appended);
    s.say(Some(("a", 6)), Event::Appended);
    s.forget_attempts(1);
}
