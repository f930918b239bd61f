//! One checker of recorded histories against the guarantees G1 to G8, used by tests, the simulation,
//! runs against real servers and `lanekeeper audit`.
//!
//! A history is the processor's own word: it shows what lanekeeper believed and did. What the target
//! saw is compared elsewhere.
//!
//! Lines of one worker come in their order (`seq`); workers may come in any order, one after the
//! other or mixed. Each ownership of a partition (a `claimed` and what follows under its epoch) is
//! checked by itself against what its claim found, then joined to the next one by epoch. Clocks are
//! compared between workers only where a call may overlap with a later owner's: workers of one
//! machine share their clock. Every line costs O(log n); memory is what is open: records that no
//! commit covers, lanes that are not empty, chains, each ownership's last state, and the lanes that
//! start within `drain` + `timeout` + `settle` of a claim.
//!
//! | guarantee | what proves it broken |
//! |---|---|
//! | G1 order | a `started` before an earlier `fetched` record of its lane is `done`, `dead_lettered`, `skipped`, `parked` or `appended`; while another ticket of the lane has no `ended`, or is `quarantined`; of a record that was neither `fetched` nor is in its lane's chain; out of a chain before its release (`decided`, or found so) or out of chain order; an `appended` or `parked` out of lane order; a first start of a lane while a call of a former owner may run (until its `ended`, at most `timeout` + `settle` after its start; a call that died with its worker ends with it where `settle` is 0) |
//! | G2 cap | tickets `started` and not `ended`, or in quarantine, exceed `cap` of `opened` |
//! | G3 stop | a `started` at or behind a `stopped` head of the lane (of the partition, where `stops` says so), or of a record that ended with `reject` or used up its attempts, before a `decided`; an attempt above `attempts`; a `skipped` or `dead_lettered` that nobody decided; a stopped lane that the next owner who starts or writes anything does not find (`held`) |
//! | G4 isolation | a `retry`, `stopped`, `parked`, `skipped` or `dead_lettered` while a call of the lane still counts against the cap. That other lanes go on is shown by the counts, not proved |
//! | G5 checkpoint | a `committed` covers a record that is not settled by the lines before it or right behind it, or that never came; it leaves out what was settled when the last commit was told; it goes back, within an ownership or to the next one's `restored`; reading begins elsewhere (`from`) without a `gap` |
//! | G6 fencing | a `started` or `committed` after `revoked` or a refusal as fenced; a commit told after a later claim, which that claim did not find; a start later than `drain` - `timeout` after a later claim; a clean release or claim with a call out; two workers under one epoch |
//! | G7 no loss | a `done` without an `ended` as done; `acked` beyond the last `committed`; `already_done` of what neither checkpoint nor chain has; a chain that is `released` with records left, is not found by the next owner, or is passed by; an open record that is covered and was never handed over nor `gone` (with G5) |
//! | G8 repeats | a `started` of what is settled; effects of one record in two commits, or without a success; more records in flight or passed since the last commit than `unflushed_max`; after a clean release anything again |
//!
//! A history that lacks its `opened`, misses a `seq` or does not say what its claims found cannot be
//! judged, and says so; so does an empty one.

mod commits;
mod handover;
mod lane;
mod order;
mod outcome;
mod ownership;
mod verdict;
mod worker;

pub use verdict::{Counts, Guarantee, Place, VIOLATIONS_KEPT, Verdict, Violation};

use crate::{
    history::{Kind, Line, ReadError, read_lines},
    position::Position,
    store::Verb,
};
use handover::{Carried, Handover};
use ownership::{Ownership, Span};
use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::BufReader,
    path::Path,
};
use verdict::{Here, Tally};
use worker::{Try, Worker, ticket};

/// Takes histories in, gives a verdict.
#[derive(Debug, Default)]
pub struct Audit {
    workers: Vec<Worker>,
    worker_numbers: HashMap<String, u32>,
    partitions: Vec<BTreeMap<u64, Ownership>>,
    /// By source, then by partition.
    partition_numbers: HashMap<String, HashMap<String, usize>>,
    tally: Tally,
    lane: Vec<u8>,
}

impl Audit {
    /// Nothing taken in yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in one line. Lines of one worker must come in their order.
    pub fn add(&mut self, line: &Line<'_>) {
        self.tally.verdict.counts.lines += 1;
        let number = self.worker(&line.worker);
        let mut here = Here {
            line,
            worker: number,
            tally: &mut self.tally,
        };
        let worker = &mut self.workers[number as usize];
        if !worker.takes(&mut here) || line.event == Kind::Opened {
            return;
        }
        let (Some(source), Some(partition), Some(epoch)) =
            (&line.source, &line.partition, line.epoch)
        else {
            return here.error("it names no partition");
        };
        let at = number_of(&mut self.partition_numbers, source, partition);
        if at == self.partitions.len() {
            self.partitions.push(BTreeMap::new());
        }
        let epochs = &mut self.partitions[at];
        if line.event == Kind::Claimed {
            claimed(&mut here, epochs, epoch, worker);
            return;
        }
        match epochs.get_mut(&epoch) {
            Some(ownership) if ownership.worker == number => {
                let mut told = Told {
                    here,
                    worker,
                    ownership,
                    partition: at,
                    epoch,
                };
                told.line(&mut self.lane);
            }
            Some(ownership) => {
                let what = format!("{} is told of by two workers", ownership.name);
                let claimed = ownership.claimed;
                here.broken(Guarantee::G6, what, &[claimed]);
            }
            None => here.error(&format!(
                "epoch {epoch} of {source}/{partition} was not claimed by a line before"
            )),
        }
    }

    /// Takes in a file of lines.
    ///
    /// # Errors
    /// When it cannot be read or is no history. The verdict is then an error too.
    pub fn add_file(&mut self, path: impl AsRef<Path>) -> Result<(), ReadError> {
        let path = path.as_ref();
        let name = path.display().to_string();
        let result = File::open(path)
            .map_err(|error| ReadError::Io {
                name: name.clone(),
                error,
            })
            .and_then(|file| {
                for line in read_lines(BufReader::new(file), &name) {
                    self.add(&line?);
                }
                Ok(())
            });
        if let Err(error) = &result {
            self.tally.error(error.to_string());
        }
        result
    }

    /// The verdict over all that was taken in.
    pub fn finish(mut self) -> Verdict {
        let mut out = self.calls_out();
        for (at, epochs) in self.partitions.iter().enumerate() {
            let mut calls: Vec<Carried> = Vec::new();
            let mut before: Option<(&u64, &Ownership)> = None;
            // With whether nobody was since then.
            let mut acted: Option<(&Ownership, bool)> = None;
            for (epoch, after) in epochs {
                for (what, record) in after.unconfirmed() {
                    let at = after.durable_at;
                    self.tally
                        .broken(Guarantee::G5, what, at, None, &[record.mark]);
                }
                if let Some((earlier, before)) = before {
                    let next = earlier + 1 == *epoch;
                    acted = acted.map(|(acted, known)| (acted, known && next));
                    let handover = Handover {
                        before,
                        after,
                        next,
                        acted: acted.unwrap_or((before, next)),
                    };
                    handover.check(&mut self.tally, &calls);
                }
                calls.retain(|call| call.limit() > after.claimed.t);
                let lived = self.workers[after.worker as usize].last_t;
                let ended = after.late.iter().map(|(_, span)| span.clone());
                let spans = ended.chain(out.remove(&(at, *epoch)).unwrap_or_default());
                calls.extend(spans.map(|span| Carried {
                    span,
                    rules: after.rules,
                    lived,
                }));
                // An owner that died before it could tell what it found changed nothing: what the
                // next one finds is still what the one before it left.
                before = match before {
                    Some((_, left)) if after.found.is_none() => Some((epoch, left)),
                    Some(_) | None => Some((epoch, after)),
                };
                if after.acts() {
                    acted = Some((after, true));
                } else if after.found.is_some() {
                    acted = acted.map(|(acted, _)| (acted, false));
                }
            }
        }
        let counts = &mut self.tally.verdict.counts;
        counts.workers = self.workers.len() as u64;
        counts.partitions = self.partitions.len() as u64;
        if counts.starts == 0 {
            self.tally
                .error("no record was ever started: an empty history proves nothing".to_owned());
        }
        self.tally.verdict
    }

    fn worker(&mut self, name: &str) -> u32 {
        if let Some(&number) = self.worker_numbers.get(name) {
            return number;
        }
        let number = u32::try_from(self.workers.len()).unwrap_or(u32::MAX);
        self.workers.push(Worker::new());
        self.tally.workers.push(name.to_owned());
        self.worker_numbers.insert(name.to_owned(), number);
        number
    }

    /// Calls without an end, by ownership.
    fn calls_out(&self) -> HashMap<(usize, u64), Vec<Span>> {
        let mut out: HashMap<_, Vec<Span>> = HashMap::new();
        for call in self.workers.iter().flat_map(|worker| worker.out.values()) {
            out.entry((call.partition, call.epoch))
                .or_default()
                .push(Span {
                    lane: call.lane.clone(),
                    started: call.started,
                    end: None,
                });
        }
        out
    }
}

fn number_of(
    numbers: &mut HashMap<String, HashMap<String, usize>>,
    source: &str,
    partition: &str,
) -> usize {
    if let Some(&number) = numbers.get(source).and_then(|of| of.get(partition)) {
        return number;
    }
    let number = numbers.values().map(HashMap::len).sum();
    let of = numbers.entry(source.to_owned()).or_default();
    of.insert(partition.to_owned(), number);
    number
}

fn claimed(
    here: &mut Here<'_>,
    epochs: &mut BTreeMap<u64, Ownership>,
    epoch: u64,
    worker: &Worker,
) {
    let line = here.line;
    let source = line.source.as_deref().unwrap_or_default();
    let partition = line.partition.as_deref().unwrap_or_default();
    let name = format!("{source}/{partition} epoch {epoch}");
    let counts = here.counts();
    counts.claims += 1;
    counts.unclean_claims += u64::from(line.clean == Some(false));
    if let Some(other) = epochs.get(&epoch) {
        let what = format!("{name} is claimed a second time");
        let claimed = other.claimed;
        here.broken(Guarantee::G6, what, &[claimed]);
    } else if let Some(rules) = worker.rules {
        let ownership = Ownership::new(here, name, rules);
        epochs.insert(epoch, ownership);
    }
}

/// One line of an ownership.
struct Told<'t> {
    here: Here<'t>,
    worker: &'t mut Worker,
    ownership: &'t mut Ownership,
    partition: usize,
    epoch: u64,
}

impl Told<'_> {
    fn line(&mut self, buffer: &mut Vec<u8>) {
        let line = self.here.line;
        if line.generation != Some(self.ownership.generation) {
            let what = format!(
                "it is of generation {:?}, its claim of {}",
                line.generation, self.ownership.generation
            );
            return self.here.error(&what);
        }
        let claims = matches!(
            line.event,
            Kind::Claimed | Kind::Restored | Kind::Held | Kind::Suspected
        );
        self.ownership.works |= !claims;
        if !claims && self.ownership.found.is_none() {
            let what = "its claim does not tell what it found (`restored`)";
            self.here.error(what);
        }
        let lane = line
            .lane_into(buffer)
            .then(|| self.ownership.lane_of(buffer));
        match (lane, &line.position) {
            (Some(lane), Some(position)) => self.of_record(lane, position),
            // Its lane is not known yet: the record comes later, or is in a chain.
            (None, Some(position)) if line.event == Kind::Suspected => {
                self.here.counts().suspects += 1;
                if line.attempts >= Some(self.ownership.rules.attempts) {
                    self.ownership.condemned.insert(position.clone());
                }
            }
            (None, Some(position)) if line.event == Kind::Gone => {
                self.here.counts().gone += 1;
                self.ownership.gone(&mut self.here, position);
            }
            _ => self.of_partition(),
        }
    }

    fn of_partition(&mut self) {
        let (here, ownership) = (&mut self.here, &mut *self.ownership);
        let line = here.line;
        match line.event {
            Kind::Restored => ownership.restored(here),
            Kind::PassedOver => match &line.through {
                Some(through) => ownership.reaches(through),
                None => here.error("it does not say how far"),
            },
            Kind::Committed => {
                here.counts().commits += 1;
                here.counts().repeated_commits += u64::from(line.repeated == Some(true));
                ownership.committed(here);
            }
            Kind::Acked => {
                here.counts().acked += 1;
                ownership.acked(here);
            }
            Kind::Refused => {
                here.counts().refused += 1;
                ownership.was_refused(here);
            }
            Kind::Revoked => {
                here.counts().revoked += 1;
                ownership.revoked(here);
            }
            Kind::Paused => here.counts().paused += 1,
            Kind::Suspected => here.error("it names no record"),
            Kind::Resumed | Kind::Claimed | Kind::Opened => {}
            Kind::Fetched
            | Kind::Started
            | Kind::Ended
            | Kind::Retry
            | Kind::Done
            | Kind::AlreadyDone
            | Kind::Stopped
            | Kind::Parked
            | Kind::Appended
            | Kind::DeadLettered
            | Kind::Skipped
            | Kind::Released
            | Kind::Gone
            | Kind::Decided
            | Kind::Effect
            | Kind::Held
            | Kind::Quarantined => here.error("it names no record"),
        }
    }

    #[expect(
        clippy::too_many_lines,
        reason = "one total match, a few lines an event"
    )]
    fn of_record(&mut self, lane: usize, position: &Position) {
        let (here, ownership) = (&mut self.here, &mut *self.ownership);
        match here.line.event {
            Kind::Fetched => {
                here.counts().fetched += 1;
                ownership.fetched(here, lane, position);
            }
            Kind::AlreadyDone => {
                here.counts().already_done += 1;
                ownership.already_done(here, lane, position);
                ownership.forget_idle(lane);
            }
            Kind::Started => self.started(lane, position),
            Kind::Ended => self.ended(lane, position),
            Kind::Quarantined => self.quarantined(),
            Kind::Retry => ownership.waits(here, lane, position),
            Kind::Done => {
                here.counts().done += 1;
                ownership.done(here, lane, position);
            }
            Kind::Stopped => {
                here.counts().stopped += 1;
                ownership.stopped(here, lane, position);
            }
            Kind::Parked => {
                here.counts().parked += 1;
                ownership.parked(here, lane, position);
            }
            Kind::Appended => {
                here.counts().appended += 1;
                ownership.appended(here, lane, position);
            }
            Kind::DeadLettered => {
                here.counts().dead_lettered += 1;
                ownership.decided_away(here, lane, position, Verb::DeadLetter);
            }
            Kind::Skipped => {
                here.counts().skipped += 1;
                ownership.decided_away(here, lane, position, Verb::Skip);
            }
            Kind::Released => {
                here.counts().released += 1;
                ownership.released(here, lane);
            }
            Kind::Gone => {
                here.counts().gone += 1;
                ownership.gone(here, position);
                ownership.forget_idle(lane);
            }
            Kind::Decided => {
                here.counts().decided += 1;
                ownership.decided(here, lane);
                ownership.forget_idle(lane);
            }
            Kind::Effect => {
                here.counts().effects += 1;
                ownership.effect(here, lane, position);
                ownership.forget_idle(lane);
            }
            Kind::Held => ownership.held(here, lane, position),
            Kind::Refused => {
                here.counts().refused += 1;
                ownership.was_refused(here);
                ownership.voids_behind(lane, position);
            }
            Kind::Opened
            | Kind::Claimed
            | Kind::Suspected
            | Kind::Restored
            | Kind::Committed
            | Kind::Acked
            | Kind::Revoked
            | Kind::PassedOver
            | Kind::Paused
            | Kind::Resumed => here.error("it is of a partition, and names a record"),
        }
    }

    fn started(&mut self, lane: usize, position: &Position) {
        let (here, ownership) = (&mut self.here, &mut *self.ownership);
        let Some(ticket) = ticket(here) else { return };
        let counts = here.counts();
        counts.starts += 1;
        let again = here.line.attempt.is_some_and(|attempt| attempt > 1);
        here.counts().retries += u64::from(again);
        let call = Try {
            partition: self.partition,
            epoch: self.epoch,
            lane: ownership.lanes[lane].key.clone(),
            started: here.mark(),
        };
        if let Some(call) = self.worker.out.get(&ticket)
            && (call.partition != self.partition || call.lane != ownership.lanes[lane].key)
        {
            let what = format!("ticket {ticket} holds records of two lanes");
            let first = call.started;
            here.broken(Guarantee::G1, what, &[first]);
        }
        ownership.started(here, lane, position);
        self.worker.started(here, ticket, call);
    }

    fn ended(&mut self, lane: usize, position: &Position) {
        let Some(ticket) = ticket(&mut self.here) else {
            return;
        };
        if let Some(call) = self.worker.ended(&mut self.here, ticket) {
            self.ownership.call_ended(&self.here, &call, None);
        }
        self.ownership.ended(&mut self.here, lane, position);
    }

    fn quarantined(&mut self) {
        self.here.counts().quarantined += 1;
        let Some(ticket) = ticket(&mut self.here) else {
            return;
        };
        let millis = self.here.line.millis.unwrap_or_default();
        let until = self.here.line.t + millis.saturating_mul(1_000_000);
        if let Some(call) = self.worker.quarantined(&mut self.here, ticket, until) {
            self.ownership.call_ended(&self.here, &call, Some(until));
        }
    }
}

#[cfg(test)]
mod tests;
