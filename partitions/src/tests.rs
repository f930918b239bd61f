//! The main paths, quickly; the guarantees have tests of their own.

use crate::*;
use alloc::{vec, vec::Vec};
use core::time::Duration;

#[derive(Clone, PartialEq, Debug)]
struct Record {
    at: u64,
    key: &'static str,
}

impl Item for Record {
    type Position = u64;
    fn position(&self) -> &u64 {
        &self.at
    }
    fn key(&self) -> &[u8] {
        self.key.as_bytes()
    }
    fn weight(&self) -> u32 {
        1
    }
}

fn limits(then: Then) -> Limits {
    Limits {
        cap: 4,
        run_max: 1,
        failure: FailureRules {
            attempts_max: 2,
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(10),
            then,
            stops: Stops::Lane,
        },
        records_max: 100,
        partition_bytes_max: 1000,
        unflushed_max: 100,
        append_records_max: 10,
        append_bytes_max: 100,
        park_records_max: 1000,
        park_bytes_max: 1000,
        cut_at: 5,
        seed: 7,
    }
}

fn assigned(limits: Limits) -> (Engine<Record>, PartitionId) {
    let mut engine = Engine::new(limits);
    let partition = engine.assign(Assignment {
        identity: 1,
        resume: Resume::Beginning,
        settled_to: None,
        open: &mut core::iter::empty(),
        held: &mut core::iter::empty(),
    });
    (engine, partition)
}

fn push(engine: &mut Engine<Record>, partition: PartitionId, at: u64, key: &'static str) {
    assert_eq!(
        engine.push(partition, Record { at, key }, 0),
        Pushed::Accepted
    );
}

fn starts(engine: &mut Engine<Record>) -> Vec<(u64, Ticket)> {
    let mut started = Vec::new();
    while let Some(action) = engine.poll() {
        let Action::Start { ticket, .. } = action else {
            panic!("{action:?}");
        };
        let first = engine.records(ticket).next().map(|record| record.at);
        started.push((first.unwrap(), ticket));
    }
    started
}

fn persist(engine: &mut Engine<Record>, wanted: Change) -> Ticket {
    match engine.poll() {
        Some(Action::Persist { ticket, change, .. }) if change == wanted => ticket,
        other => panic!("{other:?} instead of {wanted:?}"),
    }
}

fn commit(engine: &mut Engine<Record>, partition: PartitionId, with: &[Ticket]) -> Vec<u64> {
    let open = engine
        .begin_commit(partition, with)
        .open()
        .copied()
        .collect();
    engine.end_commit(partition, CommitEnd::Durable);
    open
}

const DONE: Answer = Answer {
    done: u32::MAX,
    with_effects: false,
    rest: Rest::Nothing,
    quarantine: Duration::ZERO,
};
const REJECT: Answer = Answer {
    done: 0,
    rest: Rest::Reject,
    ..DONE
};
const RETRY: Answer = Answer {
    done: 0,
    rest: Rest::Retry {
        after: Duration::ZERO,
    },
    ..DONE
};

#[test]
fn a_lane_runs_in_order_and_the_frontier_follows() {
    let (mut engine, p) = assigned(limits(Then::Stop));
    for (at, key) in [(1, "a"), (2, "b"), (3, "a"), (4, "c")] {
        push(&mut engine, p, at, key);
    }
    let out = starts(&mut engine);
    assert_eq!(out.iter().map(|o| o.0).collect::<Vec<_>>(), [1, 2, 4]);
    engine.complete(out[1].1, DONE);
    engine.complete(out[2].1, DONE);
    assert_eq!(engine.settled(p), Some(Resume::Beginning));
    {
        let snapshot = engine.begin_commit(p, &[]);
        assert_eq!(snapshot.settled_to, Some(4));
        assert_eq!(snapshot.open().copied().collect::<Vec<_>>(), [1, 3]);
    }
    engine.end_commit(p, CommitEnd::Durable);
    engine.complete(out[0].1, DONE);
    assert_eq!(engine.settled(p), Some(Resume::After(2)));
    let out = starts(&mut engine);
    assert_eq!(out[0].0, 3);
    engine.complete(out[0].1, DONE);
    assert_eq!(engine.settled(p), Some(Resume::After(4)));
    assert!(engine.is_idle());
    assert_eq!(engine.figures(p).unwrap().unflushed, 2);
}

#[test]
fn a_failed_record_waits_without_a_slot_then_stops_its_lane() {
    let (mut engine, p) = assigned(limits(Then::Stop));
    push(&mut engine, p, 1, "a");
    push(&mut engine, p, 2, "a");
    let out = starts(&mut engine);
    engine.complete(out[0].1, RETRY);
    assert_eq!(engine.in_flight(), 0);
    assert!(starts(&mut engine).is_empty());
    let (at, wake) = engine.wake_at().unwrap();
    assert_eq!(wake, Wake::Backoff);
    engine.advance(at);
    let out = starts(&mut engine);
    engine.complete(out[0].1, RETRY);
    let stop = persist(&mut engine, Change::Stop);
    assert_eq!(
        engine
            .records(stop)
            .map(|record| record.at)
            .collect::<Vec<_>>(),
        [1]
    );
    assert_eq!(commit(&mut engine, p, &[stop]), [0; 0]);
    assert!(matches!(engine.poll(), Some(Action::Stopped { .. })));
    assert_eq!(engine.poll(), None);
    assert!(engine.is_idle());
    assert_eq!(engine.settled(p), Some(Resume::Beginning));
    assert!(!engine.decide(p, b"a", Decision::Release));
    assert!(engine.decide(p, b"a", Decision::Skip));
    let skip = persist(&mut engine, Change::Skip);
    assert_eq!(commit(&mut engine, p, &[skip]), [0; 0]);
    assert_eq!(engine.settled(p), Some(Resume::After(1)));
    assert_eq!(starts(&mut engine)[0].0, 2);
}

#[test]
fn a_parked_lane_takes_arrivals_and_runs_when_released() {
    let (mut engine, p) = assigned(limits(Then::Park));
    for at in 1..=3 {
        push(&mut engine, p, at, "a");
    }
    let out = starts(&mut engine);
    engine.complete(out[0].1, REJECT);
    let park = persist(&mut engine, Change::Park);
    assert_eq!(commit(&mut engine, p, &[park]), [0; 0]);
    push(&mut engine, p, 4, "a");
    let append = persist(&mut engine, Change::Append);
    assert_eq!(
        engine
            .records(append)
            .map(|record| record.at)
            .collect::<Vec<_>>(),
        [2, 3, 4]
    );
    commit(&mut engine, p, &[append]);
    assert_eq!(engine.settled(p), Some(Resume::After(4)));
    assert_eq!(engine.poll(), None);
    assert!(engine.is_idle());
    assert!(engine.decide(p, b"a", Decision::Release));
    let Some(Action::LoadChain { lane, .. }) = engine.poll() else {
        panic!()
    };
    let cut = persist(&mut engine, Change::Cut);
    push(&mut engine, p, 5, "a");
    engine.chain(lane, &mut (1..=4).map(|at| Record { at, key: "a" }), true);
    let out = starts(&mut engine);
    assert_eq!(out[0].0, 1);
    engine.complete(out[0].1, DONE);
    let snapshot = engine.begin_commit(p, &[cut]);
    let drained: Vec<_> = snapshot.drained().collect();
    assert_eq!(
        (*drained[0].through, drained[0].head, drained[0].records),
        (1, Some(&2), 1)
    );
    engine.end_commit(p, CommitEnd::Durable);
    for at in 2..=4 {
        let out = starts(&mut engine);
        assert_eq!(out[0].0, at);
        engine.complete(out[0].1, DONE);
    }
    let live = persist(&mut engine, Change::Live);
    assert_eq!(
        engine
            .begin_commit(p, &[live])
            .drained()
            .map(|d| d.records)
            .sum::<u64>(),
        3
    );
    engine.end_commit(p, CommitEnd::Durable);
    assert_eq!(starts(&mut engine)[0].0, 5);
}

#[test]
fn effects_shut_the_lane_and_a_refused_one_is_a_reject() {
    let (mut engine, p) = assigned(Limits {
        run_max: 3,
        ..limits(Then::Stop)
    });
    for at in 1..=3 {
        push(&mut engine, p, at, "a");
    }
    let out = starts(&mut engine);
    engine.complete(
        out[0].1,
        Answer {
            with_effects: true,
            ..DONE
        },
    );
    assert_eq!(engine.in_flight(), 0);
    let effects = persist(&mut engine, Change::Effects);
    let _ = engine.begin_commit(p, &[effects]);
    engine.end_commit(p, CommitEnd::Refused(&[(effects, 1)]));
    assert_eq!(engine.poll(), None);
    assert_eq!(engine.records(effects).len(), 1);
    assert_eq!(engine.begin_commit(p, &[effects]).resume, Resume::After(1));
    engine.end_commit(p, CommitEnd::Durable);
    let stop = persist(&mut engine, Change::Stop);
    assert_eq!(engine.records(stop).next().unwrap().at, 2);
}

#[test]
fn a_dead_letter_passes_at_its_publication() {
    let (mut engine, p) = assigned(limits(Then::DeadLetter));
    push(&mut engine, p, 1, "a");
    push(&mut engine, p, 2, "a");
    let out = starts(&mut engine);
    engine.complete(out[0].1, REJECT);
    let verdict = persist(&mut engine, Change::Verdict);
    commit(&mut engine, p, &[verdict]);
    let Some(Action::Publish { ticket, .. }) = engine.poll() else {
        panic!()
    };
    engine.dead_lettered(ticket, Published::Done);
    assert_eq!(engine.settled(p), Some(Resume::After(1)));
    let gone = persist(&mut engine, Change::DeadLettered);
    assert_eq!(engine.records(gone).next().unwrap().at, 1);
    assert_eq!(starts(&mut engine)[0].0, 2);
    commit(&mut engine, p, &[gone]);
    assert_eq!(engine.records(gone).len(), 0);
}

#[test]
fn a_revoked_try_keeps_its_slot_and_its_key() {
    let (mut engine, p) = assigned(limits(Then::Stop));
    push(&mut engine, p, 1, "a");
    let old = starts(&mut engine);
    engine.revoke(p);
    assert_eq!(engine.in_flight(), 1);
    let p = engine.assign(Assignment {
        identity: 1,
        resume: Resume::Beginning,
        settled_to: None,
        open: &mut core::iter::empty(),
        held: &mut core::iter::empty(),
    });
    push(&mut engine, p, 1, "a");
    push(&mut engine, p, 2, "b");
    assert_eq!(starts(&mut engine)[0].0, 2);
    engine.complete(old[0].1, DONE);
    assert_eq!(engine.settled(p), Some(Resume::Beginning));
    assert_eq!(starts(&mut engine)[0].0, 1);
}

#[test]
fn restored_open_positions_run_and_those_passed_by_are_gone() {
    let mut engine = Engine::new(limits(Then::Stop));
    let p = engine.assign(Assignment {
        identity: 1,
        resume: Resume::After(2),
        settled_to: Some(9),
        open: &mut vec![3, 5, 7].into_iter(),
        held: &mut core::iter::empty(),
    });
    assert_eq!(
        engine.push(p, Record { at: 2, key: "a" }, 0),
        Pushed::AlreadySettled
    );
    push(&mut engine, p, 3, "a");
    assert_eq!(
        engine.push(p, Record { at: 4, key: "a" }, 0),
        Pushed::AlreadySettled
    );
    push(&mut engine, p, 7, "a");
    assert_eq!(engine.poll(), Some(Action::Gone(p)));
    assert_eq!(engine.gone(p).copied().collect::<Vec<_>>(), [5]);
    for at in [3, 7] {
        let out = starts(&mut engine);
        assert_eq!(out[0].0, at);
        engine.complete(out[0].1, DONE);
    }
    assert_eq!(commit(&mut engine, p, &[]), [5]);
    assert_eq!(engine.settled(p), Some(Resume::After(4)));
    engine.settle_gone(p);
    assert_eq!(engine.settled(p), Some(Resume::After(9)));
    assert_eq!(
        engine.push(p, Record { at: 7, key: "a" }, 0),
        Pushed::NotInOrder
    );
}

#[test]
fn an_entry_of_a_record_and_a_position_of_16_bytes_has_56() {
    use crate::window::Entry;
    use alloc::{string::String, sync::Arc};

    #[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
    #[expect(dead_code, reason = "only its size counts")]
    enum Position {
        Offset(u64),
        Sequence(Arc<String>),
    }
    struct Handle {
        batch: Arc<Vec<(Position, Vec<u8>)>>,
        at: u32,
    }
    impl Item for Handle {
        type Position = Position;
        fn position(&self) -> &Position {
            &self.batch[self.at as usize].0
        }
        fn key(&self) -> &[u8] {
            &self.batch[self.at as usize].1
        }
        fn weight(&self) -> u32 {
            1
        }
    }
    assert_eq!(size_of::<Entry<Handle>>(), 56);
}

#[test]
fn a_chain_within_the_settled_prefix_runs_after_a_restart() {
    let mut engine = Engine::new(limits(Then::Park));
    let chain = Held::Parked {
        head: 2,
        tail: 3,
        count: 2,
        bytes: 2,
        releasing: true,
        cut: true,
    };
    let key = b"a".to_vec();
    let mut held = core::iter::once((key.as_slice(), chain));
    let p = engine.assign(Assignment {
        identity: 1,
        resume: Resume::After(5),
        // All is settled: a shell need not repeat what `resume` says.
        settled_to: None,
        open: &mut core::iter::empty(),
        held: &mut held,
    });
    let Some(Action::LoadChain { lane, .. }) = engine.poll() else {
        panic!("the chain is not asked for");
    };
    let records = [2, 3].map(|at| Record { at, key: "a" });
    engine.chain(lane, &mut records.into_iter(), true);
    let out = starts(&mut engine);
    assert_eq!(out.iter().map(|start| start.0).collect::<Vec<_>>(), [2]);
    assert!(engine.figures(p).is_some());
}

#[test]
fn a_published_head_of_a_chain_is_forgotten_once_with_its_partition() {
    let mut engine = Engine::new(limits(Then::Park));
    let chain = Held::Parked {
        head: 1,
        tail: 1,
        count: 1,
        bytes: 1,
        releasing: false,
        cut: false,
    };
    let mut held = core::iter::once((&b"a"[..], chain));
    let assignment = Assignment {
        identity: 1,
        resume: Resume::After(1),
        settled_to: Some(1),
        open: &mut core::iter::empty(),
        held: &mut held,
    };
    let p = engine.assign(assignment);
    assert!(engine.decide(p, b"a", Decision::DeadLetter));
    let Some(Action::LoadChain { lane, .. }) = engine.poll() else {
        panic!("the chain is not asked for");
    };
    engine.chain(lane, &mut [Record { at: 1, key: "a" }].into_iter(), true);
    let verdict = persist(&mut engine, Change::Verdict);
    commit(&mut engine, p, &[verdict]);
    let Some(Action::Publish { ticket, .. }) = engine.poll() else {
        panic!("the head is not published");
    };
    engine.dead_lettered(ticket, Published::Done);
    let _ = persist(&mut engine, Change::DeadLettered);
    engine.revoke(p);

    let assignment = Assignment {
        identity: 1,
        resume: Resume::After(1),
        settled_to: None,
        open: &mut core::iter::empty(),
        held: &mut core::iter::empty(),
    };
    let p = engine.assign(assignment);
    for at in 2..6 {
        push(&mut engine, p, at, "b");
    }
    let open: Vec<u64> = engine.open(p).map(|record| record.at).collect();
    assert_eq!(open, [2, 3, 4, 5]);
}
