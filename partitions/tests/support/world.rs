//! The world around one engine: a log, a store, handlers and a clock. Each operation is one turn of
//! the driving contract, and each turn is checked against the reference.

use super::{
    lane::{Lane, Mode, Owed, Row, Stage},
    part::{Part, WEIGHT},
    record::{Rec, key_of},
    reference::Model,
    store::{Item, Stored},
};
use partitions::{
    Action, Answer, Assignment, Decision, Engine, LaneId, Limits, PartitionId, Pushed, Rest,
    Resume, Ticket, Time,
};
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

pub fn done(count: u32) -> Answer {
    Answer {
        done: count,
        with_effects: false,
        rest: Rest::Nothing,
        quarantine: Duration::ZERO,
    }
}

pub fn effects(count: u32) -> Answer {
    Answer {
        with_effects: true,
        ..done(count)
    }
}

pub fn reject() -> Answer {
    Answer {
        rest: Rest::Reject,
        ..done(0)
    }
}

pub fn retry() -> Answer {
    Answer {
        rest: Rest::Retry {
            after: Duration::ZERO,
        },
        ..done(0)
    }
}

/// How a commit ends; `Refused` names records whose own effects the store refuses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    Durable,
    NotWritten,
    Fenced,
    Refused(Vec<u64>),
}

#[derive(Clone, Debug)]
pub struct Try {
    pub ticket: Ticket,
    pub part: usize,
    pub key: u8,
    pub rows: Vec<u64>,
    /// Its assignment is over.
    pub ghost: bool,
    /// Answered, but may still run until then.
    pub until: Option<(u64, Rest)>,
}

pub struct Commit {
    pub tickets: Vec<(Ticket, u8)>,
    pub after: Stored,
    pub passed: Vec<u64>,
    pub drained: Vec<(LaneId, u64, u64)>,
}

pub struct World {
    pub engine: Engine<Rec>,
    pub limits: Limits,
    pub now: u64,
    pub parts: Vec<Part>,
    pub tries: Vec<Try>,
    /// Partition and positions of each run, in the order in which they started.
    pub started: Vec<(usize, Vec<u64>)>,
    pub actions: Vec<Action>,
    /// The last ended tries: whether the target was to blame, and whose lane it was.
    pub ends: VecDeque<(bool, usize, u8)>,
    pub trace: bool,
    /// What happened how often: what a test never meets it does not prove.
    pub happened: BTreeMap<&'static str, u64>,
    make: Make,
}

/// Makes the engine of each incarnation.
pub type Make = fn(Limits) -> Engine<Rec>;

impl World {
    /// One log a partition, each byte the key of one record; positions are 10, 20, 30…
    pub fn new(limits: Limits, logs: &[&[u8]]) -> Self {
        Self::traced(limits, logs, Engine::new, false)
    }

    pub fn traced(limits: Limits, logs: &[&[u8]], make: Make, trace: bool) -> Self {
        let mut world = Self {
            engine: make(limits.clone()),
            limits,
            make,
            now: 0,
            parts: logs.iter().map(|log| Part::new(log)).collect(),
            tries: Vec::new(),
            started: Vec::new(),
            actions: Vec::new(),
            ends: VecDeque::new(),
            trace,
            happened: BTreeMap::new(),
        };
        for part in 0..logs.len() {
            world.assign(part);
        }
        world
    }

    /// The world of most tests: one partition whose log is already handed over.
    pub fn with_log(limits: Limits, log: &[u8]) -> Self {
        let mut world = Self::new(limits, &[log]);
        world.push_all(0);
        world
    }

    pub fn time(&self) -> Time {
        Time(Duration::from_millis(self.now))
    }

    pub fn count(&mut self, what: &'static str) {
        *self.happened.entry(what).or_default() += 1;
    }

    pub fn log(&self, what: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>6} {}", self.now, what());
        }
    }

    pub fn tick(&mut self, millis: u64) {
        self.now += millis;
        self.log(|| format!("tick {millis}"));
        self.engine.advance(self.time());
        self.end_quarantines();
        self.turn();
    }

    /// Takes a partition up from what the store has of it.
    pub fn assign(&mut self, part: usize) {
        self.log(|| format!("assign {part} from {:?}", self.parts[part].store));
        let store = self.parts[part].store.clone();
        self.parts[part].restore();
        let held = store.held(u64::from(WEIGHT));
        let id = self.engine.assign(Assignment {
            identity: part as u64,
            resume: store.resume.clone(),
            settled_to: store.settled_to,
            open: &mut store.open.iter().copied(),
            held: &mut held.iter().map(|(key, held)| (&key[..], held.clone())),
        });
        self.parts[part].id = Some(id);
        self.turn();
    }

    /// The partition goes away; its tries run on as ghosts.
    pub fn revoke(&mut self, part: usize) {
        self.log(|| format!("revoke {part}"));
        let id = self.parts[part].id.take().expect("an assigned partition");
        self.engine.revoke(id);
        self.forget(part);
        self.turn();
    }

    pub fn forget(&mut self, part: usize) {
        self.parts[part].id = None;
        self.parts[part].commit = None;
        for one in self.tries.iter_mut().filter(|one| one.part == part) {
            one.ghost = true;
        }
    }

    /// The process dies and another one takes everything up: only the store survives.
    pub fn crash(&mut self) {
        self.log(|| "crash".into());
        self.engine = (self.make)(self.limits.clone());
        self.engine.advance(self.time());
        self.tries.clear();
        self.ends.clear();
        for part in 0..self.parts.len() {
            self.forget(part);
        }
        for part in 0..self.parts.len() {
            self.assign(part);
        }
    }

    /// Hands over the next record of the log, after dropping `gap` records in front of it.
    fn hand_over(&mut self, part: usize, gap: usize) -> Option<Pushed> {
        let id = self.parts[part].id?;
        let rest = self.parts[part]
            .model
            .rows
            .iter()
            .enumerate()
            .skip(self.parts[part].cursor);
        let at = rest
            .filter(|(_, row)| row.stage != Stage::Void && !row.dropped)
            .map(|(at, _)| at)
            .nth(gap)?;
        self.parts[part].skip_to(at);
        let row = self.parts[part].model.rows[at].clone();
        let attempts = self.parts[part]
            .store
            .attempts
            .get(&row.position)
            .copied()
            .unwrap_or(0);
        let record = Rec::new(row.position, row.key, row.weight);
        let pushed = self.engine.push(id, record, attempts);
        self.log(|| {
            format!(
                "push {part}/{} {}: {pushed:?}",
                row.position, row.key as char
            )
        });
        let expected = if row.stage == Stage::Absent {
            Pushed::Accepted
        } else {
            Pushed::AlreadySettled
        };
        assert_eq!(pushed, expected, "push of {part}/{}", row.position);
        if expected == Pushed::Accepted {
            self.parts[part].accept(at, attempts);
        }
        self.parts[part].cursor = at + 1;
        Some(pushed)
    }

    /// Hands over one record, in a turn of its own.
    pub fn push_after(&mut self, part: usize, gap: usize) -> Option<Pushed> {
        let pushed = self.hand_over(part, gap)?;
        self.turn();
        Some(pushed)
    }

    /// Hands over several records in one turn, so that their lanes may run several at once.
    pub fn push_batch(&mut self, part: usize, most: usize) -> bool {
        let any = (0..most)
            .filter(|_| self.hand_over(part, 0).is_some())
            .count()
            > 0;
        self.turn();
        any
    }

    pub fn push(&mut self, part: usize) -> Option<Pushed> {
        self.push_after(part, 0)
    }

    pub fn push_all(&mut self, part: usize) {
        while self.push(part).is_some() {}
    }

    /// The source drops the next `count` records and says so.
    pub fn pass_over(&mut self, part: usize, count: usize) {
        let to = self.parts[part]
            .cursor
            .saturating_add(count)
            .min(self.parts[part].model.rows.len());
        if to == self.parts[part].cursor {
            return;
        }
        let through = self.parts[part].model.rows[to - 1].position;
        self.log(|| format!("passed over {part}/{through}"));
        self.parts[part].skip_to(to);
        self.parts[part].cursor = to;
        self.engine
            .passed_over(self.parts[part].id.expect("assigned"), through);
        self.turn();
    }

    pub fn decide(&mut self, part: usize, key: u8, decision: Decision) -> bool {
        let id = self.parts[part].id.expect("an assigned partition");
        let offered = self.engine.decide(id, &key_of(key), decision);
        self.log(|| format!("decide {part} {} {decision:?}: {offered}", key as char));
        self.decided(part, key, decision, offered);
        self.turn();
        offered
    }

    pub fn drain(&mut self, part: usize) {
        self.log(|| format!("drain {part}"));
        self.parts[part].draining = true;
        self.engine.drain(self.parts[part].id.expect("assigned"));
        self.turn();
    }

    pub fn hold(&mut self, part: usize, held: bool) {
        self.log(|| format!("hold {part} {held}"));
        self.parts[part].held = held;
        self.engine
            .hold(self.parts[part].id.expect("assigned"), held);
        self.turn();
    }

    pub fn hold_intake(&mut self, part: usize, held: bool) {
        self.log(|| format!("hold intake {part} {held}"));
        self.parts[part].intake_held = held;
        self.engine
            .hold_intake(self.parts[part].id.expect("assigned"), held);
        self.turn();
    }

    pub fn starve(&mut self, part: usize, starved: bool) {
        self.log(|| format!("starve {part} {starved}"));
        self.parts[part].starved = starved;
        self.engine
            .starve(self.parts[part].id.expect("assigned"), starved);
        self.turn();
    }

    pub fn set_cap(&mut self, cap: u32) {
        self.log(|| format!("cap {cap}"));
        self.limits.cap = cap;
        self.engine.set_cap(cap);
        self.turn();
    }

    /// The store has copies of stopped heads that are gone.
    pub fn recover(&mut self, part: usize) {
        let id = self.parts[part].id.expect("assigned");
        let lanes = self.parts[part].model.lanes.values();
        let heads: Vec<u64> = lanes
            .filter(|lane| lane.mode == Mode::Stopped)
            .filter_map(|lane| lane.head)
            .collect();
        for head in heads {
            if self.stage(part, head) == Stage::Gone {
                self.count("recovered");
                let row = self.parts[part].model.row(head);
                (row.stage, row.accepted) = (Stage::Queued, true);
                let copy = Rec::new(head, row.key, row.weight);
                assert!(self.engine.recover(id, copy, 0), "gone: {part}/{head}");
            }
        }
        self.turn();
    }

    pub fn settle_gone(&mut self, part: usize) {
        self.log(|| format!("settle gone {part}"));
        self.engine
            .settle_gone(self.parts[part].id.expect("assigned"));
        for row in self.parts[part]
            .model
            .rows
            .iter_mut()
            .filter(|row| row.stage == Stage::Gone)
        {
            row.stage = Stage::Void;
        }
        self.turn();
    }

    /// The first positions of the runs that are out and not answered.
    pub fn running(&self, part: usize) -> Vec<u64> {
        let mine = |one: &&Try| one.part == part && one.until.is_none() && !one.ghost;
        let mut running: Vec<u64> = self
            .tries
            .iter()
            .filter(mine)
            .map(|one| one.rows[0])
            .collect();
        running.sort_unstable();
        running
    }

    pub fn lane(&self, part: usize, key: u8) -> &Lane {
        &self.parts[part].model.lanes[&key]
    }

    pub fn stage(&self, part: usize, position: u64) -> Stage {
        let rows = &self.parts[part].model.rows;
        rows.iter()
            .find(|row| row.position == position)
            .expect("a position of the log")
            .stage
    }
}
