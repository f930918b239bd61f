//! Records that failed in another process, or may be under way there still.

use crate::support::limits;
use core::time::Duration;
use partitions::{
    Action, Answer, Assignment, Engine, Item, PartitionId, Pushed, Rest, Resume, Then, Time,
};

struct Request(u64, Vec<u8>);

impl Item for Request {
    type Position = u64;

    fn position(&self) -> &u64 {
        &self.0
    }

    fn key(&self) -> &[u8] {
        &self.1
    }

    fn weight(&self) -> u32 {
        1
    }
}

const MINUTE: Duration = Duration::from_secs(60);

/// An engine whose target fails every try, and a first record that waits for half an hour.
fn engine() -> (Engine<Request>, PartitionId) {
    let mut limits = limits(Then::Stop);
    (limits.cap, limits.failure.backoff_max) = (32, 60 * MINUTE);
    let mut engine = Engine::new(limits);
    let partition = engine.assign(Assignment {
        identity: 1,
        resume: Resume::Beginning,
        settled_to: None,
        open: &mut core::iter::empty(),
        held: &mut core::iter::empty(),
    });
    engine.advance(Time::default());
    let first = Request(1, b"rests".to_vec());
    assert_eq!(
        engine.push_after(partition, first, 0, 30 * MINUTE),
        Pushed::Accepted
    );
    for position in 2..=32 {
        let request = Request(position, position.to_le_bytes().to_vec());
        assert_eq!(engine.push(partition, request, 0), Pushed::Accepted);
    }
    (engine, partition)
}

/// The records that start now; the target fails each.
fn started(engine: &mut Engine<Request>) -> Vec<u64> {
    let mut started = Vec::new();
    while let Some(action) = engine.poll() {
        if let Action::Start { ticket, .. } = action {
            started.extend(engine.records(ticket).map(|request| request.0));
            let answer = Answer {
                done: 0,
                with_effects: false,
                rest: Rest::Target { after: 60 * MINUTE },
                quarantine: Duration::ZERO,
            };
            engine.complete(ticket, answer);
        }
    }
    started
}

#[test]
fn g1_a_probe_takes_nothing_early_that_another_process_may_be_at() {
    let (mut engine, partition) = engine();
    assert!(!started(&mut engine).contains(&1));
    assert!(engine.sick_since().is_some());
    let waits: Vec<(u64, Time)> = { engine.waits(partition) }
        .map(|(position, until)| (*position, until))
        .collect();
    assert!(waits.contains(&(1, Time(30 * MINUTE))), "{waits:?}");
    let mut probed = Vec::new();
    for minute in 1..30_u32 {
        engine.advance(Time(minute * MINUTE));
        probed.extend(started(&mut engine));
    }
    assert!(!probed.is_empty(), "a sick target is probed");
    assert!(!probed.contains(&1), "{probed:?}");
    for minute in 30..60_u32 {
        engine.advance(Time(minute * MINUTE));
        probed.extend(started(&mut engine));
    }
    assert!(probed.contains(&1), "then it is as any other: {probed:?}");
}
