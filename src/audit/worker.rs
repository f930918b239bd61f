//! One worker: its lines are whole, and its calls within the cap (G2).

use super::verdict::{Guarantee, Here, Mark};
use crate::history::{FORMAT, Line, Opened};
use std::{collections::HashMap, sync::Arc};

/// The settings of a worker as the checks need them; times in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) cap: u64,
    pub(super) unflushed_max: u64,
    pub(super) attempts: u32,
    pub(super) then_stop: bool,
    pub(super) then_dead_letter: bool,
    /// A stopped lane stops its partition.
    pub(super) stops_partition: bool,
    pub(super) timeout: u64,
    pub(super) settle: u64,
    pub(super) drain: u64,
}

impl Rules {
    fn of(opened: &Opened) -> Self {
        let nanos = |millis: u64| millis.saturating_mul(1_000_000);
        Self {
            cap: opened.cap.into(),
            unflushed_max: opened.unflushed_max,
            attempts: opened.attempts,
            then_stop: opened.then == "stop",
            then_dead_letter: opened.then == "dead-letter",
            stops_partition: opened.stops == "partition",
            timeout: nanos(opened.timeout_ms),
            settle: nanos(opened.settle_ms),
            drain: nanos(opened.drain_ms),
        }
    }
}

/// A handler call that was started.
#[derive(Clone, Debug)]
pub(super) struct Try {
    /// Which partition, by number.
    pub(super) partition: usize,
    pub(super) epoch: u64,
    pub(super) lane: Arc<[u8]>,
    pub(super) started: Mark,
}

/// What is known of a worker.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) rules: Option<Rules>,
    seq: u64,
    /// Time of its last line: so long it lived at least.
    pub(super) last_t: u64,
    /// Calls without an answer, by ticket.
    pub(super) out: HashMap<u64, Try>,
    /// The call whose answers are being told, record by record.
    ended: Option<(u64, Try)>,
    /// Calls whose end is unknown: until when they count, and since which line.
    shut: Vec<(u64, Mark)>,
}

impl Worker {
    pub(super) fn new() -> Self {
        Self {
            rules: None,
            seq: 0,
            last_t: 0,
            out: HashMap::new(),
            ended: None,
            shut: Vec::new(),
        }
    }

    /// Takes a line in; `false`: it cannot be judged.
    pub(super) fn takes(&mut self, here: &mut Here<'_>) -> bool {
        let line = here.line;
        let expected = self.seq + 1;
        self.seq = line.seq;
        self.last_t = self.last_t.max(line.t);
        if line.seq != expected {
            here.error(&format!(
                "lines are missing: seq {expected} was expected; a history with holes proves nothing"
            ));
        }
        let opened = line.settings.as_deref();
        if let Some(settings) = opened {
            if self.rules.is_some() {
                here.error("a worker opens once");
            }
            if line.format != Some(FORMAT) {
                here.error(&format!(
                    "format {} was written by another version, this one reads format {FORMAT}",
                    line.format.unwrap_or_default()
                ));
            }
            self.rules = Some(Rules::of(settings));
        } else if self.rules.is_none() && line.seq == expected {
            here.error("its history does not begin with `opened`: the settings are not known");
        }
        self.rules.is_some()
    }

    /// A record is handed to the handler: a new call, or one more record of the last one's run.
    pub(super) fn started(&mut self, here: &mut Here<'_>, ticket: u64, call: Try) {
        if self.out.contains_key(&ticket) {
            return;
        }
        let now = here.line.t;
        self.shut.retain(|(until, _)| *until > now);
        self.out.insert(ticket, call);
        let in_flight = (self.out.len() + self.shut.len()) as u64;
        let counts = here.counts();
        counts.calls += 1;
        counts.peak_in_flight = counts.peak_in_flight.max(in_flight);
        let cap = self.rules.map_or(0, |rules| rules.cap);
        if in_flight > cap {
            let mut others: Vec<Mark> = self.out.values().map(|call| call.started).collect();
            others.extend(self.shut.iter().map(|(_, mark)| *mark));
            others.sort_by_key(|mark| mark.seq);
            others.retain(|mark| mark.seq < here.line.seq);
            let what = format!("{in_flight} calls in flight, the cap is {cap}");
            here.broken(Guarantee::G2, what, &others);
        }
    }

    /// The answer for one record; the call's first answer frees the slot. Gives the call then.
    pub(super) fn ended(&mut self, here: &mut Here<'_>, ticket: u64) -> Option<Try> {
        if self.ended.as_ref().is_some_and(|(last, _)| *last == ticket) {
            return None;
        }
        let Some(call) = self.out.remove(&ticket) else {
            here.error(&format!("ticket {ticket} ended and was not out"));
            return None;
        };
        self.ended = Some((ticket, call.clone()));
        Some(call)
    }

    /// The end of the call is not known: it counts until `until`. Gives the call.
    pub(super) fn quarantined(
        &mut self,
        here: &mut Here<'_>,
        ticket: u64,
        until: u64,
    ) -> Option<Try> {
        let known = self
            .ended
            .as_ref()
            .filter(|(last, _)| *last == ticket)
            .map(|(_, call)| call.clone())
            .or_else(|| self.out.remove(&ticket));
        if known.is_none() {
            here.error(&format!("ticket {ticket} is in quarantine and was not out"));
        }
        self.shut.push((until, here.mark()));
        known
    }
}

/// The ticket of a line that must have one.
pub(super) fn ticket(here: &mut Here<'_>) -> Option<u64> {
    let line: &Line<'_> = here.line;
    if line.ticket.is_none() {
        here.error("it names no ticket");
    }
    line.ticket
}
