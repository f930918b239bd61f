//! One lane in one partition, and all that can happen to it.

use partitions::{
    Action, Answer, Assignment, Change, CommitEnd, Decision, Engine, FailureRules, Held, Item,
    LaneId, Limits, PartitionId, Published, Rest, Resume, Stops, Then, Ticket, Time,
};
use std::time::Duration;

pub(crate) struct Record(pub(crate) u64);

impl Item for Record {
    type Position = u64;
    fn position(&self) -> &u64 {
        &self.0
    }
    fn key(&self) -> &[u8] {
        b"lane"
    }
    fn weight(&self) -> u32 {
        1
    }
}

pub(crate) const NOT_OFFERED: &str = "not offered";
pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const DONE: Answer = Answer {
    done: 1,
    with_effects: false,
    rest: Rest::Nothing,
    quarantine: Duration::ZERO,
};

pub(crate) const fn answer(rest: Rest) -> Answer {
    Answer {
        done: 0,
        rest,
        ..DONE
    }
}

/// An engine with one partition, and what is out of it.
pub(crate) struct World {
    pub(crate) engine: Engine<Record>,
    pub(crate) partition: PartitionId,
    pub(crate) attempt: Option<Ticket>,
    pub(crate) changes: Vec<(Change, Ticket)>,
    pub(crate) publication: Option<Ticket>,
    pub(crate) load: Option<LaneId>,
    pub(crate) seen: Vec<String>,
}

impl World {
    pub(crate) fn new(then: Then, held: Option<Held<u64>>) -> Self {
        let mut engine = Engine::new(Limits {
            cap: 4,
            run_max: 1,
            failure: FailureRules {
                attempts_max: 2,
                backoff_min: SECOND,
                backoff_max: 60 * SECOND,
                then,
                stops: Stops::Lane,
            },
            records_max: 100,
            partition_bytes_max: 100,
            unflushed_max: 100,
            append_records_max: 10,
            append_bytes_max: 100,
            park_records_max: 100,
            park_bytes_max: 100,
            cut_at: 1,
            seed: 1,
        });
        let settled_to = match held {
            Some(Held::Parked { tail, .. }) => Some(tail),
            Some(Held::Stopped { .. }) | None => None,
        };
        let partition = engine.assign(Assignment {
            identity: 1,
            resume: settled_to.map_or(Resume::Beginning, Resume::After),
            settled_to,
            open: &mut std::iter::empty(),
            held: &mut held.into_iter().map(|held| (&b"lane"[..], held)),
        });
        let mut world = Self {
            engine,
            partition,
            attempt: None,
            changes: Vec::new(),
            publication: None,
            load: None,
            seen: Vec::new(),
        };
        world.poll();
        world
    }

    pub(crate) fn push(&mut self, position: u64) -> String {
        let pushed = self.engine.push(self.partition, Record(position), 0);
        self.poll();
        format!("{pushed:?}")
    }

    pub(crate) fn complete(&mut self, answer: Answer) {
        let ticket = self.attempt.take().expect("a try is out");
        self.engine.complete(ticket, answer);
        self.poll();
    }

    pub(crate) fn commit(&mut self, end: CommitEnd<'_>) {
        let tickets: Vec<Ticket> = self.changes.iter().map(|change| change.1).collect();
        let _ = self.engine.begin_commit(self.partition, &tickets);
        self.engine.end_commit(self.partition, end);
        if matches!(end, CommitEnd::Durable) {
            self.changes.clear();
        }
        self.poll();
    }

    pub(crate) fn durable(&mut self) {
        self.commit(CommitEnd::Durable);
    }

    pub(crate) fn published(&mut self, published: Published) {
        let ticket = self.publication.take().expect("a publication is out");
        self.engine.dead_lettered(ticket, published);
        self.poll();
    }

    pub(crate) fn loaded(&mut self, positions: &[u64]) {
        let lane = self.load.take().expect("a load is out");
        self.engine
            .chain(lane, &mut positions.iter().map(|&at| Record(at)), true);
        self.poll();
    }

    pub(crate) fn decide(&mut self, decision: Decision) -> String {
        let offered = self.engine.decide(self.partition, b"lane", decision);
        self.poll();
        String::from(if offered { "taken" } else { NOT_OFFERED })
    }

    pub(crate) fn later(&mut self) {
        let at = self
            .engine
            .wake_at()
            .map_or(Time(3600 * SECOND), |wake| wake.0);
        self.engine.advance(at);
        self.poll();
    }

    pub(crate) fn poll(&mut self) {
        while let Some(action) = self.engine.poll() {
            let told = match action {
                Action::Start {
                    ticket, attempt, ..
                } => {
                    self.attempt = Some(ticket);
                    format!("Start {} (attempt {attempt})", self.lent(ticket))
                }
                Action::Persist { ticket, change, .. } => {
                    self.changes.push((change, ticket));
                    format!("{change:?} {}", self.lent(ticket))
                }
                Action::Publish { ticket, .. } => {
                    self.publication = Some(ticket);
                    format!("Publish {}", self.lent(ticket))
                }
                Action::LoadChain { lane, .. } => {
                    self.load = Some(lane);
                    String::from("LoadChain")
                }
                Action::Stopped { .. } => String::from("Stopped"),
                Action::Gone(_) => String::from("Gone"),
                Action::Declined { .. } => String::from("Declined"),
                Action::Pause(_) => String::from("Pause"),
                Action::Resume(_) => String::from("Resume"),
                Action::Drained(_) => String::from("Drained"),
            };
            self.seen.push(told.trim_end().to_owned());
        }
    }

    pub(crate) fn lent(&self, ticket: Ticket) -> String {
        let positions: Vec<String> = self
            .engine
            .records(ticket)
            .map(|record| record.0.to_string())
            .collect();
        positions.join("+")
    }

    pub(crate) fn left(&self) -> String {
        let Some(figures) = self.engine.figures(self.partition) else {
            return format!("revoked, {} in flight", self.engine.in_flight());
        };
        let (stopped, parked) = self.engine.standing(self.partition);
        let counts = [
            (figures.buffered, "buffered"),
            (figures.in_flight.into(), "in flight"),
            (figures.waiting.into(), "waiting"),
            (stopped.into(), "stopped"),
            (parked.into(), "parked"),
            (figures.unflushed, "unflushed"),
        ];
        let named: Vec<String> = counts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, name)| format!("{count} {name}"))
            .collect();
        if named.is_empty() {
            String::from("nothing")
        } else {
            named.join(", ")
        }
    }
}
