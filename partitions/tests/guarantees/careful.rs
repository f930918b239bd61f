//! G10 progress where a record kills its worker: it is announced, suspected, tried alone and found.
//! The world of the other tests has no careful partitions, so these drive the engine themselves.

use crate::support::{Rec, done, effects, limits, reject, retry};
use partitions::{
    Action, Answer, Assignment, Change, CommitEnd, Decision, Engine, Held, Limits, PartitionId,
    Pushed, Resume, Then, Ticket, Time,
};
use std::{collections::BTreeMap, time::Duration};

/// A partition whose workers died, with what is out of it.
struct Bench {
    engine: Engine<Rec>,
    id: PartitionId,
    /// Positions of the tries that are out, each a run of one unless it names more.
    tries: Vec<(Ticket, Vec<u64>)>,
    changes: Vec<(Ticket, PartitionId, Change)>,
    loads: Vec<partitions::LaneId>,
    now: Duration,
}

fn assign(engine: &mut Engine<Rec>, identity: u64, held: Vec<(&[u8], Held<u64>)>) -> PartitionId {
    let mut open = core::iter::empty();
    let mut held = held.into_iter();
    engine.assign(Assignment {
        identity,
        resume: Resume::Beginning,
        settled_to: None,
        open: &mut open,
        held: &mut held,
    })
}

impl Bench {
    fn of(engine: Engine<Rec>, id: PartitionId) -> Self {
        Self {
            engine,
            id,
            tries: Vec::new(),
            changes: Vec::new(),
            loads: Vec::new(),
            now: Duration::ZERO,
        }
    }

    fn new(limits: Limits, through: u64, suspects: &[(u64, u32)], log: &[u8]) -> Self {
        let mut engine = Engine::new(limits);
        let id = assign(&mut engine, 1, Vec::new());
        engine.be_careful(id, Some(through), &mut suspects.iter().copied());
        let mut bench = Self::of(engine, id);
        bench.push(id, log);
        bench
    }

    fn push(&mut self, id: PartitionId, log: &[u8]) {
        for (at, key) in (1..).zip(log) {
            let pushed = self.engine.push(id, Rec::new(at * 10, *key, 10), 0);
            assert_eq!(pushed, Pushed::Accepted);
        }
        self.poll();
    }

    fn poll(&mut self) {
        self.engine.advance(Time(self.now));
        while let Some(action) = self.engine.poll() {
            match action {
                Action::Start { ticket, .. } => {
                    let records = self.engine.records(ticket);
                    self.tries
                        .push((ticket, records.map(|r| r.position).collect()));
                }
                Action::Persist {
                    ticket,
                    partition,
                    change,
                    ..
                } => self.changes.push((ticket, partition, change)),
                Action::LoadChain { lane, .. } => self.loads.push(lane),
                Action::Publish { .. }
                | Action::Stopped { .. }
                | Action::Declined { .. }
                | Action::Gone(_)
                | Action::Pause(_)
                | Action::Resume(_)
                | Action::Drained(_) => {}
            }
        }
    }

    fn running(&self) -> Vec<u64> {
        self.tries
            .iter()
            .flat_map(|(_, records)| records.clone())
            .collect()
    }

    fn answer(&mut self, position: u64, answer: Answer) {
        let at = self.tries.iter().position(|(_, of)| of[0] == position);
        assert!(at.is_some(), "a try of {position} is out");
        let (ticket, _) = self.tries.remove(at.unwrap_or_default());
        self.engine.complete(ticket, answer);
        self.poll();
    }

    /// A commit with all that waits: what it names as announced, and attempts of suspects.
    fn commit(&mut self) -> (BTreeMap<u64, bool>, Vec<(u64, u32)>) {
        let own = |(_, partition, _): &mut (Ticket, PartitionId, Change)| *partition == self.id;
        let tickets = self.changes.extract_if(.., own).map(|(ticket, ..)| ticket);
        let tickets: Vec<Ticket> = tickets.collect();
        let snapshot = self.engine.begin_commit(self.id, &tickets);
        let announced = snapshot
            .announced()
            .map(|(at, alone)| (*at, alone))
            .collect();
        let suspects = snapshot.suspects().map(|(at, n)| (*at, n)).collect();
        self.engine.end_commit(self.id, CommitEnd::Durable);
        self.poll();
        (announced, suspects)
    }

    fn changed(&self) -> Vec<Change> {
        self.changes.iter().map(|(.., change)| *change).collect()
    }
}

#[test]
fn g10_nothing_starts_before_its_announcement_is_durable() {
    let mut bench = Bench::new(limits(Then::Stop), 40, &[], b"abca");
    assert_eq!(bench.running(), []);
    assert_eq!(bench.changed(), [Change::Announce; 3]);
    let named = [(10, false), (20, false), (30, false)];
    assert_eq!(
        bench.commit().0,
        BTreeMap::from(named),
        "one commit announces many"
    );
    bench.tries.sort_by_key(|(_, of)| of[0]);
    assert_eq!(bench.running(), [10, 20, 30]);
    bench.answer(10, done(1));
    assert_eq!(
        bench.running(),
        [20, 30],
        "the next of its lane is announced first"
    );
    let (named, _) = bench.commit();
    assert!(
        !named.contains_key(&10),
        "an answer takes the announcement back: {named:?}"
    );
    assert!(named.contains_key(&40));
    assert_eq!(bench.running(), [20, 30, 40]);
}

#[test]
fn g10_each_try_is_announced_anew() {
    let mut bench = Bench::new(limits(Then::Stop), 40, &[], b"a");
    bench.commit();
    bench.answer(10, retry());
    bench.now += Duration::from_secs(1);
    bench.poll();
    assert_eq!(
        (bench.running(), bench.changed()),
        (vec![], vec![Change::Announce])
    );
    bench.commit();
    assert_eq!(bench.running(), [10]);
}

#[test]
fn g10_what_came_behind_the_end_of_the_log_is_not_announced() {
    let mut limits = limits(Then::Stop);
    limits.run_max = 4;
    let mut bench = Bench::new(limits, 20, &[], b"aabbb");
    assert_eq!(
        bench.running(),
        [30, 40, 50],
        "no caution there, and runs of many"
    );
    bench.commit();
    assert_eq!(bench.running(), [30, 40, 50, 10], "a run of one");
}

#[test]
fn g10_no_more_are_announced_than_run_and_are_next() {
    let mut limits = limits(Then::Stop);
    limits.cap = 1;
    let mut bench = Bench::new(limits, 90, &[], b"abcde");
    assert_eq!(bench.changed(), [Change::Announce; 2]);
    bench.commit();
    assert_eq!(bench.running(), [10]);
    assert_eq!(bench.changed(), [], "two are announced and not answered");
    bench.answer(10, done(1));
    assert_eq!(
        (bench.running(), bench.changed()),
        (vec![20], vec![Change::Announce])
    );
    assert_eq!(bench.commit().0, BTreeMap::from([(20, false), (30, false)]));
}

#[test]
fn g10_a_suspect_runs_alone_and_is_announced_as_alone() {
    let mut bench = Bench::new(limits(Then::Stop), 30, &[(20, 0)], b"abcd");
    assert_eq!(
        bench.running(),
        [40],
        "what is behind the end of the log is no concern"
    );
    let (named, _) = bench.commit();
    assert_eq!(
        named,
        BTreeMap::from([(10, false), (20, false), (30, false)]),
        "still a suspect"
    );
    assert_eq!(
        bench.running(),
        [40],
        "the suspect is next: nothing else starts"
    );
    bench.answer(40, done(1));
    assert_eq!(
        bench.changed(),
        [Change::Announce],
        "nothing is out, now it is announced"
    );
    assert_eq!(bench.running(), []);
    assert_eq!(bench.commit().0.get(&20), Some(&true));
    assert_eq!(bench.running(), [20], "alone");
    bench.answer(20, done(1));
    assert_eq!(bench.running(), [], "the store still names it as alone");
    assert!(bench.engine.is_retracting(bench.id));
    assert!(!bench.commit().0.contains_key(&20));
    assert_eq!(
        bench.running(),
        [10, 30],
        "it was not that one: the others go on"
    );
    assert!(!bench.engine.is_retracting(bench.id));
}

#[test]
fn g10_an_answered_suspect_is_not_charged_what_the_next_one_does() {
    let mut bench = Bench::new(limits(Then::Stop), 20, &[(10, 0)], b"a");
    let first = bench.id;
    let other = assign(&mut bench.engine, 2, Vec::new());
    bench
        .engine
        .be_careful(other, None, &mut [(10, 0)].into_iter());
    bench.push(other, b"a");
    bench.commit();
    assert_eq!(bench.running(), [10]);
    bench.answer(10, done(1));
    // A commit of the other partition says nothing of this one's.
    bench.id = other;
    bench.commit();
    assert_eq!((bench.running(), bench.changed()), (vec![], vec![]));
    bench.id = first;
    assert_eq!(bench.commit().0, BTreeMap::new());
    bench.id = other;
    assert_eq!(bench.changed(), [Change::Announce]);
    assert_eq!(bench.commit().0.get(&10), Some(&true));
    assert_eq!(bench.running(), [10]);
    // A try that has to be repeated is announced anew, and no longer as the one that ran.
    bench.answer(10, retry());
    assert!(bench.engine.is_retracting(other));
    bench.engine.revoke(other);
    assert!(!bench.engine.is_retracting(other), "nobody waits for it");
}

#[test]
fn g10_a_suspect_that_may_not_start_now_is_not_named_as_alone_meanwhile() {
    let mut bench = Bench::new(limits(Then::Stop), 20, &[(10, 0)], b"ab");
    let other = assign(&mut bench.engine, 2, Vec::new());
    assert_eq!(bench.changed(), [Change::Announce; 2]);
    bench.engine.hold(bench.id, true);
    bench.push(other, b"c");
    assert_eq!(bench.commit().0.get(&10), Some(&true));
    assert_eq!(bench.running(), [], "the store names 10 as alone");
    assert_eq!(bench.commit().0.get(&10), Some(&false));
    assert_eq!(bench.running(), [10], "of the other partition");
    bench.answer(10, done(1));
    bench.engine.hold(bench.id, false);
    bench.poll();
    assert_eq!(bench.commit().0.get(&10), Some(&true));
    assert_eq!(bench.running(), [10], "now it has its turn");
}

#[test]
fn g10_suspects_of_two_partitions_take_turns() {
    let mut bench = Bench::new(limits(Then::Stop), 20, &[(10, 0)], b"a");
    let other = assign(&mut bench.engine, 2, Vec::new());
    bench
        .engine
        .be_careful(other, None, &mut [(10, 0)].into_iter());
    bench.push(other, b"a");
    bench.commit();
    assert_eq!(
        bench.tries.len(),
        1,
        "one suspect at a time in the whole process"
    );
    bench.answer(10, done(1));
    assert_eq!(bench.tries.len(), 0);
    bench.commit();
    bench.id = other;
    bench.commit();
    assert_eq!(bench.tries.len(), 1);
}

#[test]
fn g10_a_lost_suspect_keeps_nobody_from_starting() {
    let mut bench = Bench::new(limits(Then::Stop), 20, &[(10, 0)], b"a");
    let other = assign(&mut bench.engine, 2, Vec::new());
    bench.push(other, b"b");
    bench.commit();
    assert_eq!(
        bench.running().len(),
        1,
        "the suspect waits for the other, or runs alone"
    );
    bench.engine.revoke(bench.id);
    let before = bench.running().len();
    bench.poll();
    assert!(bench.running().len() >= before);
    for at in 0..bench.tries.len() {
        let ticket = bench.tries[at].0;
        bench.engine.complete(ticket, done(1));
    }
    bench.tries.clear();
    bench.poll();
    for (ticket, _) in bench.tries.drain(..) {
        bench.engine.complete(ticket, done(1));
    }
    assert_eq!(
        bench.engine.open(other).count(),
        0,
        "the other partition's record is done"
    );
}

#[test]
fn g10_a_suspect_with_no_attempt_left_fails_without_a_try() {
    for (then, change) in [
        (Then::Stop, Change::Stop),
        (Then::Park, Change::Park),
        (Then::DeadLetter, Change::Verdict),
    ] {
        let mut bench = Bench::new(limits(then), 10, &[(10, 3)], b"ab");
        assert_eq!((bench.running(), bench.changed()), (vec![20], vec![change]));
        let (named, attempts) = bench.commit();
        assert_eq!(
            (named.get(&10), attempts),
            (None, vec![]),
            "it stands for what it is"
        );
    }
}

#[test]
fn g10_deaths_are_counted_until_the_suspect_is_answered() {
    let mut bench = Bench::new(limits(Then::Stop), 10, &[(10, 2)], b"a");
    assert_eq!(bench.commit().1, [(10, 2)]);
    assert_eq!(bench.running(), [10]);
    bench.answer(10, retry());
    assert_eq!(
        bench.changed(),
        [Change::Stop],
        "the third of three attempts"
    );
}

#[test]
fn g10_a_suspect_of_a_chain_keeps_its_deaths() {
    let mut engine = Engine::new(limits(Then::Park));
    let chain = Held::Parked {
        head: 10,
        tail: 20,
        count: 2,
        bytes: 20,
        releasing: true,
        cut: true,
    };
    let held: &[u8] = b"ka";
    let id = assign(&mut engine, 1, vec![(held, chain)]);
    engine.be_careful(id, Some(20), &mut [(10, 3)].into_iter());
    let mut bench = Bench::of(engine, id);
    bench.engine.passed_over(id, 20);
    bench.poll();
    assert_eq!(
        bench.commit().1,
        [(10, 3)],
        "though its record is in no window"
    );
    let lane = bench.loads.pop().expect("the chain is loaded");
    let records = [Rec::new(10, b'a', 10), Rec::new(20, b'a', 10)];
    bench.engine.chain(lane, &mut records.into_iter(), true);
    bench.poll();
    assert_eq!(
        (bench.running(), bench.changed()),
        (vec![], vec![Change::Park])
    );
}

#[test]
fn g10_a_decision_does_not_get_lost_while_the_record_before_the_stopped_head_is_announced() {
    let mut engine = Engine::new(limits(Then::Stop));
    let stopped = Held::Stopped {
        head: 20,
        verdict: false,
    };
    let key: &[u8] = b"ka";
    let id = assign(&mut engine, 1, vec![(key, stopped)]);
    engine.be_careful(id, None, &mut core::iter::empty());
    let mut bench = Bench::of(engine, id);
    bench.push(id, b"aa");
    assert_eq!(bench.changed(), [Change::Announce]);
    assert!(bench.engine.decide(id, key, Decision::Skip));
    bench.commit();
    bench.answer(10, effects(1));
    assert_eq!(bench.changed(), [Change::Effects]);
    bench.commit();
    assert_eq!(bench.changed(), [Change::Skip]);
}

#[test]
fn g10_a_drained_partition_starts_nothing_that_was_announced() {
    let mut bench = Bench::new(limits(Then::Stop), 90, &[(20, 0)], b"abc");
    bench.engine.drain(bench.id);
    bench.commit();
    assert_eq!((bench.running(), bench.changed()), (vec![], vec![]));
    assert!(bench.engine.is_idle());
}

#[test]
fn g10_once_relaxed_everything_runs_as_ever() {
    let mut bench = Bench::new(limits(Then::Stop), 90, &[(20, 0)], b"abca");
    bench.commit();
    bench.engine.relax(bench.id);
    bench.poll();
    while let Some(position) = bench.running().first().copied() {
        bench.answer(position, if position == 30 { reject() } else { done(1) });
        if bench.engine.is_retracting(bench.id) {
            bench.commit();
        }
    }
    assert_eq!(bench.changed(), [Change::Stop]);
    let left: Vec<u64> = bench.engine.open(bench.id).map(|r| r.position).collect();
    assert_eq!(left, [30], "all others are done");
}
