//! Good histories by the thousand: a naive worker over one partition, with failures, effects, stops,
//! parks, releases, crashes and clean ends, that does everything one step at a time.

use super::script::{Script, at, settings};
use crate::{
    checkpoint::Checkpoint,
    history::{Event, Opened},
    store::{LaneState, Verb},
};
use partitions::Resume;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Chance from a seed (splitmix64).
pub(super) struct Chance(pub(super) u64);

impl Chance {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    pub(super) fn pick<'t, T>(&mut self, of: &'t [T]) -> Option<&'t T> {
        of.get(self.below(of.len()))
    }
}

const KEYS: [&str; 4] = ["a", "b", "c", "d"];
const RECORDS: u64 = 40;

/// What the store has.
#[derive(Clone, Default)]
struct Durable {
    settled: BTreeSet<u64>,
    stopped: BTreeMap<&'static str, u64>,
    /// Chain, and whether it was released.
    parked: BTreeMap<&'static str, (VecDeque<u64>, bool)>,
}

/// What becomes durable with the next commit.
#[derive(Clone, Copy)]
enum Change {
    Effect,
    Stop,
    Park,
    Append,
    Skip,
    Live,
}

/// What the worker has in memory.
#[derive(Default)]
struct Memory {
    /// Fetched up to here.
    read: u64,
    waiting: BTreeMap<&'static str, VecDeque<u64>>,
    running: Vec<(&'static str, u64)>,
    /// Until when a lane is shut, and that a slot is taken until then.
    shut: BTreeMap<&'static str, u128>,
    passed: BTreeSet<u64>,
    changes: Vec<(Change, &'static str, u64)>,
    unflushed: u64,
}

struct Naive {
    chance: Chance,
    script: Script,
    settings: Opened,
    log: Vec<&'static str>,
    store: Durable,
    memory: Memory,
    epoch: u64,
}

/// A good history of this seed.
pub(super) fn generate(seed: u64) -> Script {
    let mut chance = Chance(seed);
    let mut settings = settings();
    settings.then = (*chance.pick(&["stop", "park"]).expect("some")).to_owned();
    settings.attempts = 100;
    let log = (0..=RECORDS).map(|_| KEYS[chance.below(4)]).collect();
    let mut naive = Naive {
        chance,
        script: Script::nobody(),
        settings,
        log,
        store: Durable::default(),
        memory: Memory::default(),
        epoch: 0,
    };
    naive.takes_up(true);
    for _ in 0..260 {
        naive.step();
    }
    naive.commit(true);
    naive.script
}

impl Naive {
    fn step(&mut self) {
        match self.chance.below(100) {
            0..=19 => self.fetch(),
            20..=49 => self.start(),
            50..=79 => self.end(),
            80..=91 => self.commit(true),
            92..=96 => self.decide(),
            97 | 98 => self.crash(),
            _ => self.hand_on(),
        }
    }

    fn takes_up(&mut self, clean: bool) {
        self.epoch += 1;
        self.script.worker(&self.settings);
        let found = (self.epoch > 1).then(|| self.checkpoint());
        self.script.claim(self.epoch, clean, found.as_ref());
        for (key, head) in &self.store.stopped {
            self.script.held(key, *head, LaneState::Stopped, None);
        }
        for (key, (chain, released)) in &mut self.store.parked {
            // A decision that was taken and not finished is taken again.
            *released = false;
            let (head, tail) = (chain[0], chain[chain.len() - 1]);
            let chain = Some((tail, chain.len() as u64));
            self.script.held(key, head, LaneState::Parked, chain);
        }
        self.memory = Memory::default();
        self.memory.read = self.prefix();
    }

    fn prefix(&self) -> u64 {
        (1..).take_while(|n| self.store.settled.contains(n)).count() as u64
    }

    fn checkpoint(&self) -> Checkpoint {
        let prefix = self.prefix();
        let last = self.store.settled.last().copied();
        let open = (prefix + 1..=last.unwrap_or(0))
            .filter(|n| !self.store.settled.contains(n))
            .map(at)
            .collect();
        Checkpoint {
            resume: match prefix {
                0 => Resume::Beginning,
                n => Resume::After(at(n)),
            },
            settled_to: last.map(at),
            open,
            ..Checkpoint::default()
        }
    }

    fn fetch(&mut self) {
        for _ in 0..self.chance.below(4) {
            if self.memory.read == RECORDS {
                return;
            }
            self.memory.read += 1;
            let n = self.memory.read;
            let key = self.log[n as usize];
            if self.store.settled.contains(&n) {
                self.script.say(Some((key, n)), Event::AlreadyDone);
            } else {
                self.script.fetch(&[(key, n)]);
                self.memory.waiting.entry(key).or_default().push_back(n);
            }
        }
    }

    fn changing(&self, key: &str) -> bool {
        self.memory.changes.iter().any(|(_, k, _)| *k == key)
    }

    /// The record of a lane that may start now.
    fn ready(&self, key: &'static str) -> Option<u64> {
        let now = self.script.now.as_millis();
        let shut = self
            .memory
            .shut
            .get(key)
            .is_some_and(|until| *until > now + 1);
        let running = self.memory.running.iter().any(|(k, _)| *k == key);
        if shut || running || self.changing(key) || self.store.stopped.contains_key(key) {
            return None;
        }
        match self.store.parked.get(key) {
            Some((chain, true)) => chain.front().copied(),
            Some((_, false)) => None,
            None => self.memory.waiting.get(key)?.front().copied(),
        }
    }

    fn start(&mut self) {
        let now = self.script.now.as_millis();
        let shut = self.memory.shut.values().filter(|t| **t > now + 1).count();
        let in_flight = self.memory.running.len();
        if in_flight + shut >= self.settings.cap as usize
            || self.memory.unflushed + in_flight as u64 >= self.settings.unflushed_max
        {
            return;
        }
        let ready: Vec<(&'static str, u64)> = KEYS
            .iter()
            .filter_map(|key| Some((*key, self.ready(key)?)))
            .collect();
        if let Some(&(key, n)) = self.chance.pick(&ready) {
            self.script.start(key, n);
            self.memory.running.push((key, n));
        }
    }

    fn end(&mut self) {
        if self.memory.running.is_empty() {
            return;
        }
        let at = self.chance.below(self.memory.running.len());
        let (key, n) = self.memory.running.swap_remove(at);
        match self.chance.below(10) {
            0..=4 => {
                self.script.end(key, n, "done");
                self.script.done(key, n);
                self.passes(key, n);
                self.memory.unflushed += 1;
            }
            5 | 6 => {
                self.script.end(key, n, "done");
                self.memory.changes.push((Change::Effect, key, n));
            }
            7 => self.script.end(key, n, "retry"),
            8 => {
                self.script.end(key, n, "timeout");
                self.script.quarantine(key, n, 20);
                let until = self.script.now.as_millis() + 20;
                self.memory.shut.insert(key, until);
            }
            _ => {
                self.script.end(key, n, "reject");
                let stop = self.settings.then == "stop" && !self.store.parked.contains_key(key);
                let change = if stop { Change::Stop } else { Change::Park };
                self.memory.changes.push((change, key, n));
            }
        }
    }

    fn passes(&mut self, key: &'static str, n: u64) {
        if let Some((chain, _)) = self.store.parked.get_mut(key) {
            // Durable with the next commit only; nothing in here crashes in between unnoticed, since
            // a crash commits or forgets as a whole.
            chain.pop_front();
        } else {
            self.memory.waiting.entry(key).or_default().pop_front();
            self.memory.passed.insert(n);
        }
        if self
            .store
            .parked
            .get(key)
            .is_some_and(|(chain, _)| chain.is_empty())
        {
            self.memory.changes.push((Change::Live, key, n));
        }
    }

    /// What waits to be durable is; `told`: the worker lives to tell.
    fn commit(&mut self, told: bool) {
        for (key, (_, released)) in &self.store.parked {
            let idle = !self.memory.changes.iter().any(|(_, k, _)| k == key);
            let running = self.memory.running.iter().any(|(k, _)| k == key);
            if idle && !running && !released {
                let waiting = self.memory.waiting.entry(key).or_default();
                let joins = waiting.iter().map(|n| (Change::Append, *key, *n));
                self.memory.changes.extend(joins);
            }
        }
        let changes = std::mem::take(&mut self.memory.changes);
        self.store.settled.append(&mut self.memory.passed);
        for (change, _, n) in &changes {
            if !matches!(change, Change::Stop | Change::Live) {
                self.store.settled.insert(*n);
            }
        }
        self.memory.unflushed = 0;
        if told {
            let checkpoint = self.checkpoint();
            self.script.commit(&checkpoint);
        }
        let mut live = Vec::new();
        for (change, key, n) in changes {
            self.lands(change, key, n, told);
            if let Some((chain, _)) = self.store.parked.get(key)
                && chain.is_empty()
                && !matches!(change, Change::Live)
            {
                live.push((Change::Live, key, n));
            }
        }
        self.memory.changes.extend(live);
        self.memory.passed.clear();
        let frontier = self.prefix();
        if told && frontier > 0 && self.chance.below(2) == 0 {
            let frontier = at(frontier);
            self.script.say(
                None,
                Event::Acked {
                    frontier: &frontier,
                },
            );
        }
    }

    fn lands(&mut self, change: Change, key: &'static str, n: u64, told: bool) {
        let mut leaves = || {
            let waiting = self.memory.waiting.entry(key).or_default();
            waiting.retain(|w| *w != n);
        };
        let chained = self.store.parked.get_mut(key);
        match (change, chained) {
            (Change::Effect, Some((chain, _))) | (Change::Skip, Some((chain, _))) => {
                chain.pop_front();
            }
            (Change::Effect, None) => leaves(),
            (Change::Skip, None) => {
                leaves();
                self.store.stopped.remove(key);
            }
            (Change::Stop, _) => {
                self.store.stopped.insert(key, n);
            }
            (Change::Park, Some((_, released))) => *released = false,
            (Change::Park, None) => {
                leaves();
                self.store.stopped.remove(key);
                self.store.parked.insert(key, ([n].into(), false));
            }
            (Change::Append, Some((chain, _))) => {
                chain.push_back(n);
                leaves();
            }
            (Change::Append, None) => {}
            (Change::Live, _) => {
                self.store.parked.remove(key);
            }
        }
        if told {
            self.tell(change, key, n);
        }
    }

    fn tell(&mut self, change: Change, key: &str, n: u64) {
        match change {
            Change::Effect => {
                self.script.done(key, n);
                let (table, item) = ("accounts", "7");
                let effect = Event::Effect { table, key: item };
                self.script.say(Some((key, n)), effect);
            }
            Change::Stop => self.script.stopped(key, n),
            Change::Park => self.script.parked(key, n),
            Change::Append => self.script.say(Some((key, n)), Event::Appended),
            Change::Skip => self.script.say(Some((key, n)), Event::Skipped),
            Change::Live => self.script.say(Some((key, n)), Event::Released),
        }
    }

    fn decide(&mut self) {
        let stopped: Vec<(&'static str, u64)> =
            self.store.stopped.iter().map(|(k, n)| (*k, *n)).collect();
        let parked: Vec<&'static str> = self
            .store
            .parked
            .iter()
            .filter(|(_, (_, released))| !released)
            .map(|(k, _)| *k)
            .collect();
        if let Some(&(key, head)) = self.chance.pick(&stopped) {
            let came = self
                .memory
                .waiting
                .get(key)
                .is_some_and(|w| w.front() == Some(&head));
            if !came || self.changing(key) {
                return;
            }
            match self.chance.below(3) {
                0 => {
                    self.script.decide(key, head, Verb::Retry);
                    self.store.stopped.remove(key);
                }
                1 => {
                    self.script.decide(key, head, Verb::Skip);
                    self.memory.changes.push((Change::Skip, key, head));
                }
                _ => {
                    self.script.decide(key, head, Verb::Park);
                    self.memory.changes.push((Change::Park, key, head));
                }
            }
        } else if let Some(key) = self.chance.pick(&parked)
            && !self.changing(key)
        {
            let head = self.store.parked[key].0[0];
            self.script.decide(key, head, Verb::Release);
            if let Some((_, released)) = self.store.parked.get_mut(key) {
                *released = true;
            }
        }
    }

    /// The worker dies; sometimes its last commit lands and nobody is told.
    fn crash(&mut self) {
        // Chains are popped in place: what passed of them must land.
        let chains_moved = !self.store.parked.is_empty();
        if chains_moved || self.chance.below(2) == 0 {
            self.commit(chains_moved);
        }
        self.store.parked.retain(|_, (chain, _)| !chain.is_empty());
        self.script.wait(500);
        self.takes_up(false);
    }

    /// The worker drains and releases.
    fn hand_on(&mut self) {
        while !self.memory.running.is_empty() {
            self.end();
        }
        self.script.wait(50);
        while !self.memory.changes.is_empty() || !self.memory.passed.is_empty() {
            self.commit(true);
        }
        self.commit(true);
        while !self.memory.changes.is_empty() {
            self.commit(true);
        }
        self.script.revoke(true);
        self.takes_up(true);
    }
}
