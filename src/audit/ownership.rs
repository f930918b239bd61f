//! One ownership of a partition: everything between a claim and the next, told by one worker. It is
//! checked by itself, from what its claim found; how it joins the ownerships before and after it is
//! checked at the end (`handover`).

use super::{
    lane::{Lane, Mode},
    verdict::{Guarantee, Here, Mark},
    worker::{Rules, Try},
};
use crate::{
    checkpoint::Checkpoint,
    position::Position,
    store::{LaneState, Verb},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

/// The lane of a record that has not come.
pub(super) const NO_LANE: usize = usize::MAX;

/// A record that is not durably settled, as far as this ownership's commits tell.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) lane: usize,
    pub(super) state: State,
    /// The last line of its life.
    pub(super) mark: Mark,
    /// It was started under this ownership.
    pub(super) tried: bool,
    /// Commits that were durable when an effect of it was told.
    pub(super) effects: Option<u64>,
    /// The last commit covers it.
    pub(super) covered: bool,
}

impl Record {
    pub(super) fn new(lane: usize, state: State, mark: Mark) -> Self {
        Self {
            lane,
            state,
            mark,
            tried: false,
            effects: None,
            covered: false,
        }
    }
}

/// How far a record is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// Open in what the claim found, and not handed over.
    Absent,
    /// As before, and it will not come.
    Gone,
    /// It may start when its turn comes.
    Waiting,
    /// It is being tried.
    Running { ticket: u64 },
    /// Its try succeeded; it has not passed yet.
    Answered,
    /// It failed for good.
    Failed,
    /// Done, skipped or dead-lettered.
    Passed,
    /// Parked, or behind a parked head in the chain.
    Chained,
}

impl State {
    pub(super) fn is_settled(self) -> bool {
        matches!(self, Self::Gone | Self::Passed | Self::Chained)
    }
}

/// When a lane's call ran; `end`: `None` while nobody told.
#[derive(Clone, Debug)]
pub(super) struct Span {
    pub(super) lane: Arc<[u8]>,
    pub(super) started: Mark,
    pub(super) end: Option<u64>,
}

/// How an ownership ended, as its worker tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Over {
    /// A write was refused, since another owner has the partition.
    Fenced,
    /// It was released with nothing out.
    Clean,
    /// It was lost, or given up with something out.
    Lost,
}

/// One ownership.
#[derive(Debug)]
pub(super) struct Ownership {
    /// For messages: partition and epoch.
    pub(super) name: String,
    pub(super) worker: u32,
    pub(super) generation: u64,
    pub(super) rules: Rules,
    pub(super) clean: bool,
    pub(super) claimed: Mark,
    /// What the claim found; `None` until it is told.
    pub(super) found: Option<Checkpoint>,
    /// Reading does not begin where what was found ends.
    pub(super) gap: bool,
    /// What the last commit covers, or what was found.
    pub(super) durable: Checkpoint,
    pub(super) durable_at: Mark,
    pub(super) number: u64,
    pub(super) commits: u64,
    /// Highest position that was handed over or passed over.
    pub(super) high: Option<Position>,
    pub(super) records: BTreeMap<Position, Record>,
    /// Records that the last commit covers.
    pub(super) covered: Vec<Position>,
    /// Suspects whose attempts are used up by their workers' deaths.
    pub(super) condemned: BTreeSet<Position>,
    /// Records were handed over or tried since the last commit was told.
    pub(super) busy_since: bool,
    /// Settled records that were not covered by a commit when they settled, with the commits so far.
    pub(super) settled: VecDeque<(u64, Position)>,
    pub(super) lanes: Vec<Lane>,
    free: Vec<usize>,
    by_key: HashMap<Arc<[u8]>, usize>,
    /// Heads of stopped lanes.
    pub(super) stops: BTreeSet<Position>,
    /// Records passed and not covered; those out of chains since the last commit.
    pub(super) unflushed: u64,
    pub(super) chain_unflushed: u64,
    /// Records in flight.
    pub(super) running: u64,
    pub(super) over: Option<(Over, Mark)>,
    /// The last write that was refused.
    pub(super) refused: u64,
    pub(super) last_start: Option<Mark>,
    /// First starts of lanes while a former owner's calls may still run.
    pub(super) early: HashMap<Arc<[u8]>, Mark>,
    /// Calls that ended since the last commit but one, with the commits at their end: only these can
    /// overlap with another ownership.
    pub(super) late: VecDeque<(u64, Span)>,
    /// Lines after the claim's own: the lanes it found are all told.
    pub(super) works: bool,
    /// It took an operator's decision.
    decides: bool,
}

impl Ownership {
    pub(super) fn new(here: &Here<'_>, name: String, rules: Rules) -> Self {
        let mark = here.mark();
        Self {
            name,
            worker: here.worker,
            generation: here.line.generation.unwrap_or_default(),
            rules,
            clean: here.line.clean.unwrap_or_default(),
            claimed: mark,
            found: None,
            gap: false,
            durable: Checkpoint::default(),
            durable_at: mark,
            number: 0,
            commits: 0,
            high: None,
            records: BTreeMap::new(),
            covered: Vec::new(),
            condemned: BTreeSet::new(),
            busy_since: false,
            settled: VecDeque::new(),
            lanes: Vec::new(),
            free: Vec::new(),
            by_key: HashMap::new(),
            stops: BTreeSet::new(),
            unflushed: 0,
            chain_unflushed: 0,
            running: 0,
            over: None,
            refused: 0,
            last_start: None,
            early: HashMap::new(),
            late: VecDeque::new(),
            works: false,
            decides: false,
        }
    }

    /// Whether it started or wrote anything: it owned the partition then, and so when it read its lanes.
    pub(super) fn acts(&self) -> bool {
        let released = matches!(self.over, Some((Over::Clean, _)));
        self.commits > 0 || self.last_start.is_some() || self.decides || released
    }

    /// How a record is called in messages.
    pub(super) fn record(&self, position: &Position) -> String {
        format!("record {position} of {}", self.name)
    }

    pub(super) fn lane_of(&mut self, key: &[u8]) -> usize {
        if let Some(&at) = self.by_key.get(key) {
            return at;
        }
        let key: Arc<[u8]> = key.into();
        let lane = Lane::new(Arc::clone(&key));
        let at = match self.free.pop() {
            Some(at) => {
                self.lanes[at] = lane;
                at
            }
            None => {
                self.lanes.push(lane);
                self.lanes.len() - 1
            }
        };
        self.by_key.insert(key, at);
        at
    }

    pub(super) fn lane_named(&self, key: &[u8]) -> Option<&Lane> {
        self.by_key.get(key).map(|&at| &self.lanes[at])
    }

    /// Lanes that something is known of.
    pub(super) fn known_lanes(&self) -> impl Iterator<Item = &Lane> {
        self.by_key.values().map(|&at| &self.lanes[at])
    }

    /// Forgets a lane that nothing is to be remembered of.
    pub(super) fn forget_idle(&mut self, at: usize) {
        let lane = &self.lanes[at];
        if lane.is_idle() && self.by_key.get(&lane.key) == Some(&at) {
            self.by_key.remove(&*lane.key);
            self.free.push(at);
        }
    }

    /// Whether the ownership may still start and write, as its worker knows.
    pub(super) fn still_owns(&self, here: &mut Here<'_>, what: &str) -> bool {
        match self.over {
            None => true,
            Some((over, mark)) => {
                let how = match over {
                    Over::Fenced => "a write of it was refused",
                    Over::Clean => "it was released",
                    Over::Lost => "it was lost",
                };
                let what = format!("{what} under {} after {how}", self.name);
                here.broken(Guarantee::G6, what, &[mark]);
                false
            }
        }
    }

    /// A lane that the claim found not to be live.
    pub(super) fn held(&mut self, here: &mut Here<'_>, lane: usize, head: &Position) {
        let line = here.line;
        let Some(state) = line.state else {
            here.error("it names no state");
            return;
        };
        let lane = &mut self.lanes[lane];
        lane.found = true;
        lane.decided = line.decision;
        lane.tail.clone_from(&line.tail);
        let released = matches!(line.decision, Some(Verb::Release | Verb::Retry));
        match state {
            LaneState::Stopped => {
                lane.mode = Mode::Stopped { head: head.clone() };
                if line.decision != Some(Verb::DeadLetter) {
                    self.stops.insert(head.clone());
                }
            }
            LaneState::Parked | LaneState::Draining => {
                let releasing = released || state == LaneState::Draining;
                let head = head.clone();
                let tail = lane.tail.get_or_insert_with(|| head.clone());
                lane.inherited_ends = Some((head.clone(), tail.clone()));
                lane.inherited_left = line.count.unwrap_or_default();
                lane.mode = Mode::Parked { head, releasing };
            }
            LaneState::Live => {}
        }
    }

    /// The owner acts on an operator's decision.
    pub(super) fn decided(&mut self, here: &mut Here<'_>, lane: usize) {
        let Some(verb) = here.line.verb else {
            here.error("it names no verb");
            return;
        };
        self.decides = true;
        let lane = &mut self.lanes[lane];
        lane.decided = Some(verb);
        match (&mut lane.mode, verb) {
            (Mode::Parked { releasing, .. }, Verb::Release | Verb::Retry) => *releasing = true,
            (Mode::Stopped { head }, Verb::Retry) => {
                self.stops.remove(head);
                if let Some(record) = self.records.get_mut(head)
                    && record.state == State::Failed
                {
                    record.state = State::Waiting;
                }
                lane.mode = Mode::Live;
            }
            // The decision is durable: what stands behind the lane in its partition goes on.
            (Mode::Stopped { head }, _) => _ = self.stops.remove(head),
            (Mode::Live | Mode::Parked { .. }, _) => {}
        }
    }

    /// A write was refused.
    pub(super) fn was_refused(&mut self, here: &Here<'_>) {
        self.refused = here.line.seq;
        let fenced = here
            .line
            .why
            .as_deref()
            .is_some_and(|why| why.contains("fenced") || why.contains("as its owner"));
        if here.line.position.is_none() && fenced {
            self.over.get_or_insert((Over::Fenced, here.mark()));
        }
    }

    /// The worker gives the partition up, or lost it.
    pub(super) fn revoked(&mut self, here: &mut Here<'_>) {
        let clean = here.line.clean.unwrap_or_default();
        if clean && self.still_owns(here, "released") {
            self.confirm(here);
            self.released_clean(here);
        }
        let over = if clean { Over::Clean } else { Over::Lost };
        // A fence comes before the loss that it means.
        if !matches!(self.over, Some((Over::Fenced, _))) {
            self.over = Some((over, here.mark()));
        }
    }

    /// A clean release leaves nothing that would run again, and nothing that still runs.
    fn released_clean(&self, here: &mut Here<'_>) {
        let now = here.line.t;
        for lane in self.known_lanes() {
            let shut = lane.shut_until.0 > now;
            if let Some(since) = lane
                .running
                .map(|(_, seq)| seq)
                .or_else(|| shut.then_some(lane.shut_until.1))
            {
                let what = format!("{} was released as clean while a try may run", self.name);
                let since = self.mark_of(since);
                here.broken(Guarantee::G6, what, &[since]);
            }
        }
        if self.chain_unflushed > 0 {
            let what = format!(
                "{} records out of chains of {} passed after the last commit before a clean release",
                self.chain_unflushed, self.name
            );
            here.broken(Guarantee::G8, what, &[self.durable_at]);
        }
        for (position, record) in &self.records {
            if record.state == State::Passed && !record.covered {
                let what = format!(
                    "{} passed and no commit covers it at a clean release",
                    self.record(position)
                );
                here.broken(Guarantee::G8, what, &[record.mark]);
            }
        }
    }

    pub(super) fn mark_of(&self, seq: u64) -> Mark {
        Mark {
            seq,
            ..self.claimed
        }
    }

    /// A call got its answer, or its end will not be known before `until`.
    pub(super) fn call_ended(&mut self, here: &Here<'_>, call: &Try, until: Option<u64>) {
        let at = self.lane_of(&call.lane);
        let lane = &mut self.lanes[at];
        lane.running = None;
        if let Some(until) = until {
            lane.shut_until = (until, here.line.seq);
            // The verdict falls when the try can no longer run.
            if let Some(first) = lane.waiting.front() {
                self.stops.remove(first);
            }
        }
        let span = Span {
            lane: Arc::clone(&call.lane),
            started: call.started,
            end: Some(until.unwrap_or(here.line.t)),
        };
        self.late.push_back((self.commits, span));
    }
}
