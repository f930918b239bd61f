//! One reader of one shard: all keys, or one of the parts into which `ParallelizationFactor` divides them.

use super::{
    super::{destination::GivenUp, retry::Tries},
    Settings,
    windows::Windows,
};
use crate::lambda::{
    answer::{Ruling, rule_by_id},
    event::{self, timestamp},
    function::Outcome,
    journal::{Item, Journal, Verdict, Why},
    stream::{Kind, Shard, StreamRecord, hash_key},
};
use serde_json::json;
use std::{
    collections::VecDeque,
    io,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// Its position, and what it has read and not finished. At most one of its batches is out at a time.
pub(super) struct Batcher {
    /// The place of its shard in the stream.
    pub(super) place: usize,
    /// Which part of the keys is its own, of how many.
    lane: (u32, u32),
    /// The place in the shard of the first record that it has not looked at.
    position: usize,
    /// What goes out before anything new, in order.
    queue: VecDeque<Batch>,
    flying: Option<Batch>,
    /// When the window began: with the end of the last invocation (K6).
    window_from: SystemTime,
    /// Of tumbling windows, where there are some.
    windows: Option<Windows>,
}

#[derive(Clone)]
struct Batch {
    records: Vec<Arc<StreamRecord>>,
    /// Of each record, as the event has it.
    events: Vec<String>,
    tries: Tries,
    last: Option<Outcome>,
    /// It has no records, and ends a tumbling window.
    is_final: bool,
}

pub(super) enum Step {
    Go(Sent),
    Wait(SystemTime),
    Rest,
}

pub(super) struct Sent {
    pub(super) items: Vec<Item>,
    pub(super) attempt: u32,
    pub(super) event: String,
}

impl Batcher {
    pub(super) fn new(
        place: usize,
        lane: (u32, u32),
        tumbling: Option<Duration>,
        now: SystemTime,
    ) -> Self {
        Self {
            place,
            lane,
            position: 0,
            queue: VecDeque::new(),
            flying: None,
            window_from: now,
            windows: tumbling.map(Windows::new),
        }
    }

    /// It has nothing of this shard to do any more.
    pub(super) fn is_drained(&self, shard: &Shard) -> bool {
        let has_window = self.windows.as_ref().is_some_and(Windows::is_open);
        let is_done = self.queue.is_empty() && self.flying.is_none() && !has_window;
        is_done && self.own(shard).next().is_none()
    }

    /// What goes out next.
    pub(super) fn step(
        &mut self,
        shard: &Shard,
        retention: Duration,
        settings: &Settings,
        now: SystemTime,
        journal: &mut Journal,
    ) -> Step {
        if self.flying.is_some() {
            return Step::Rest;
        }
        loop {
            if self.queue.is_empty() {
                match self.gather(shard, settings, now) {
                    Ok(Some(batch)) => self.queue.push_back(batch),
                    Ok(None) => return Step::Rest,
                    Err(window_to) => return Step::Wait(window_to),
                }
            }
            let Some(mut batch) = self.queue.pop_front() else {
                return Step::Rest;
            };
            batch.drop_aged(shard, retention, settings, now, journal);
            if batch.records.is_empty() && !batch.is_final {
                continue;
            }
            if batch.tries.not_before > now {
                let until = batch.tries.not_before;
                self.queue.push_front(batch);
                return Step::Wait(until);
            }
            let sent = Sent {
                items: batch.items(),
                attempt: batch.tries.invocations + 1,
                event: match &self.windows {
                    Some(windows) => {
                        let of = (shard.id.as_str(), settings.stream_arn.as_str());
                        windows.event(&batch.events, of, batch.is_final)
                    }
                    None => event::of_records(&batch.events),
                },
            };
            self.flying = Some(batch);
            return Step::Go(sent);
        }
    }

    /// The next new batch, if it may go out; else when its window ends, if there is one (an error).
    fn gather(
        &mut self,
        shard: &Shard,
        settings: &Settings,
        now: SystemTime,
    ) -> Result<Option<Batch>, SystemTime> {
        let mut found: Vec<usize> = self.own(shard).take(settings.batch_size).collect();
        let Some(first) = found.first().copied() else {
            // What is there belongs to others.
            self.position = shard.records.len();
            return self.closing(shard.is_closed, now);
        };
        let arrival = shard.records[first].arrival;
        let mut is_cut = false;
        if let Some(windows) = &mut self.windows {
            if windows.closes_before(arrival) {
                return Ok(Some(Batch::closing(now)));
            }
            let start = windows.start_of(arrival);
            let is_of = |place: &usize| windows.start_of(shard.records[*place].arrival) == start;
            let same = found.iter().take_while(|place| is_of(place)).count();
            is_cut = same < found.len();
            found.truncate(same);
            windows.open(arrival);
        }
        let event_of = |place: &usize| {
            let record = &shard.records[*place];
            event::of_stream(settings.kind, &settings.stream_arn, &shard.id, record)
        };
        let mut events: Vec<String> = found.iter().map(event_of).collect();
        let fitting = event::fitting(&events);
        let is_full = found.len() == settings.batch_size || fitting < found.len() || is_cut;
        // One in which nothing came begins anew with the first record.
        let began = arrival.max(self.window_from);
        let window_to = began + settings.window;
        if !is_full && !shard.is_closed && window_to > now {
            return Err(window_to);
        }
        events.truncate(fitting);
        let taken = &found[..fitting];
        self.position = taken.last().map_or(self.position, |last| last + 1);
        Ok(Some(Batch {
            records: { taken.iter() }
                .map(|&place| Arc::clone(&shard.records[place]))
                .collect(),
            events,
            tries: Tries::none(now),
            last: None,
            is_final: false,
        }))
    }

    /// The end of a tumbling window in which nothing comes any more; else when that is due (an error).
    fn closing(&self, is_closed: bool, now: SystemTime) -> Result<Option<Batch>, SystemTime> {
        let due = { self.windows.as_ref() }.and_then(|windows| windows.closes_at(is_closed, now));
        match due {
            None => Ok(None),
            Some(at) if at <= now => Ok(Some(Batch::closing(now))),
            Some(at) => Err(at),
        }
    }

    /// The places of its records from its position on.
    fn own<'a>(&self, shard: &'a Shard) -> impl Iterator<Item = usize> + 'a {
        let (lane, of) = self.lane;
        let from = self.position;
        let records = shard.records.iter().enumerate().skip(from);
        records.filter_map(move |(place, record)| {
            let part = match record.key.as_deref() {
                Some(key) if of > 1 => hash_key(key) % u128::from(of),
                Some(_) | None => 0,
            };
            (part == u128::from(lane)).then_some(place)
        })
    }

    /// What becomes of the batch that is out.
    pub(super) fn settle(
        &mut self,
        shard: &Shard,
        settings: &Settings,
        outcome: &Outcome,
        now: SystemTime,
        journal: &mut Journal,
    ) -> io::Result<Verdict> {
        let batch = { self.flying.take() }
            .ok_or_else(|| io::Error::other(format!("{}: an end of what was not out", shard.id)))?;
        self.window_from = now;
        let mut ruling = batch.rule(outcome, settings);
        if let (Some(windows), Outcome::Answered(body)) = (&mut self.windows, outcome) {
            ruling = ruling.map(|ruling| windows.rule(body, ruling, batch.is_final));
        }
        match ruling {
            Some(Ruling::Success) => Ok(Verdict::Success),
            // Before the invocation: no retry is used up (K15).
            None => {
                let mut batch = batch;
                batch.tries.wait(now);
                self.queue.push_front(batch);
                Ok(Verdict::Throttled)
            }
            // The lowest number is where the shard goes on; what was done behind it comes again (K22).
            Some(Ruling::Failed(places)) => {
                let first = places.first().copied().unwrap_or_default();
                let comes_again = { batch.records[first..].iter() }
                    .map(|record| record.sequence.to_string())
                    .collect();
                if first == 0 {
                    self.fail(batch, shard, settings, outcome, now, journal);
                } else {
                    // Its retries are counted anew (K24), with bisecting (K20) and without.
                    self.queue.push_front(batch.behind(first, now));
                }
                Ok(Verdict::Partial(comes_again))
            }
            Some(Ruling::Nonsense) => {
                self.fail(batch, shard, settings, outcome, now, journal);
                Ok(Verdict::Failure)
            }
        }
    }

    /// A batch of which nothing is done: halved (K19), sent again, or given up (K16).
    fn fail(
        &mut self,
        mut batch: Batch,
        shard: &Shard,
        settings: &Settings,
        outcome: &Outcome,
        now: SystemTime,
        journal: &mut Journal,
    ) {
        batch.tries.invocations += 1;
        batch.last = Some(outcome.clone());
        // The end of a window blocks its shard until it succeeds (K31).
        if batch.is_final {
            batch.tries.wait(now);
            self.queue.push_front(batch);
            return;
        }
        if settings.bisects && batch.records.len() > 1 {
            let middle = batch.records.len() / 2;
            self.queue.push_front(batch.behind(middle, now));
            self.queue.push_front(batch.before(middle, now));
            return;
        }
        batch.tries.failures += 1;
        if batch.tries.are_left(settings.retries) {
            batch.tries.wait(now);
            self.queue.push_front(batch);
        } else {
            batch.give_up(Why::RetryAttemptsExhausted, shard, settings, now, journal);
        }
    }
}

impl Batch {
    /// `None`: it was not invoked.
    fn rule(&self, outcome: &Outcome, settings: &Settings) -> Option<Ruling> {
        match outcome {
            Outcome::Answered(body) if settings.reports_failures => {
                let ids = self.records.iter().map(|record| record.sequence.as_str());
                Some(rule_by_id(body, ids))
            }
            // Whatever it says (K21).
            Outcome::Answered(_) => Some(Ruling::Success),
            Outcome::Failed { .. } => Some(Ruling::Nonsense),
            Outcome::Throttled => None,
        }
    }

    fn items(&self) -> Vec<Item> {
        let items = self.records.iter().map(|record| Item {
            id: record.sequence.to_string(),
            key: record.key.clone(),
            text: String::from_utf8_lossy(&record.data).into_owned(),
            receives: 0,
        });
        items.collect()
    }

    /// What is left of it from there on.
    fn behind(&self, place: usize, now: SystemTime) -> Self {
        self.part(place, self.records.len(), now)
    }

    /// What it has before that place.
    fn before(&self, place: usize, now: SystemTime) -> Self {
        self.part(0, place, now)
    }

    fn part(&self, from: usize, to: usize, now: SystemTime) -> Self {
        Self {
            records: self.records[from..to].to_vec(),
            events: self.events[from..to].to_vec(),
            tries: Tries::anew(now),
            last: None,
            is_final: false,
        }
    }

    /// The end of a tumbling window.
    fn closing(now: SystemTime) -> Self {
        Self {
            records: Vec::new(),
            events: Vec::new(),
            tries: Tries::none(now),
            last: None,
            is_final: true,
        }
    }

    /// Gives up what is too old, by the stream or by the mapping, and what no event can hold; the others
    /// stay (K26).
    fn drop_aged(
        &mut self,
        shard: &Shard,
        retention: Duration,
        settings: &Settings,
        now: SystemTime,
        journal: &mut Journal,
    ) {
        let why = |record: &StreamRecord, event: &str| {
            let age = now.duration_since(record.arrival).unwrap_or_default();
            if age > retention {
                Some(Why::Retention)
            } else if settings.record_age.is_some_and(|most| age > most) {
                Some(Why::RecordAgeExceeded)
            } else if event::is_too_large(event) {
                Some(Why::MaximumPayloadSizeExceeded)
            } else {
                None
            }
        };
        let reasons: Vec<Option<Why>> = { self.records.iter().zip(&self.events) }
            .map(|(record, event)| why(record, event))
            .collect();
        if reasons.iter().all(Option::is_none) {
            return;
        }
        let mut stays = self.part(0, 0, now);
        (stays.tries, stays.last) = (self.tries.clone(), self.last.clone());
        let mut from = 0;
        for same in reasons.chunk_by(PartialEq::eq) {
            let mut part = self.part(from, from + same.len(), now);
            from += same.len();
            match same[0] {
                Some(why) => {
                    part.tries = self.tries.clone();
                    part.give_up(why, shard, settings, now, journal);
                }
                None => {
                    stays.records.append(&mut part.records);
                    stays.events.append(&mut part.events);
                }
            }
        }
        *self = stays;
    }

    fn give_up(
        self,
        why: Why,
        shard: &Shard,
        settings: &Settings,
        now: SystemTime,
        journal: &mut Journal,
    ) {
        let (Some(first), Some(last)) = (self.records.first(), self.records.last()) else {
            return;
        };
        let info = json!({
            "shardId": shard.id,
            "startSequenceNumber": first.sequence.as_str(),
            "endSequenceNumber": last.sequence.as_str(),
            "approximateArrivalOfFirstRecord": timestamp(first.arrival),
            "approximateArrivalOfLastRecord": timestamp(last.arrival),
            "batchSize": self.records.len(),
            "streamArn": settings.stream_arn,
        });
        let given_up = GivenUp {
            why,
            items: self.items(),
            invocations: self.tries.invocations,
            last: self.last.as_ref(),
            function_arn: settings.function_arn.clone(),
            info: (
                match settings.kind {
                    Kind::Kinesis => "KinesisBatchInfo",
                    Kind::Table => "DDBStreamBatchInfo",
                },
                info,
            ),
            event: event::of_records(&self.events),
            at: now,
        };
        settings.on_failure.take(given_up, journal);
    }
}
