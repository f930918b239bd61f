//! One partition that is read: records that came and wait for memory, in their order.

use super::fetch::{Kind, Message};
use crate::{
    position::Position,
    record::{LaneOrder, NoKeyError, Record},
    source::{
        Start,
        cursor::Cursor,
        filling::{Filling, Incoming, Refused},
    },
};
use std::{
    borrow::Cow,
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Records and bytes that may wait for memory before librdkafka is told to fetch no more of the
/// partition. It throws away then what it has fetched ahead, so that less would cost more.
const WAITING_MAX: usize = 2048;
const WAITING_BYTES_MIN: usize = 64 << 10;
const WAITING_BYTES_MAX: usize = 1 << 20;

/// How long nothing may come of a log that has more, before it is said. Behind an end a transaction may be
/// open, as long as brokers let it (`transaction.max.timeout.ms`, a quarter of an hour).
const QUIET_MAX: Duration = Duration::from_secs(30);
const QUIET_BEHIND_THE_END_MAX: Duration = Duration::from_mins(20);

/// The first wait before what could not be decoded is fetched again.
pub(super) const DECODE_AGAIN_MIN: Duration = Duration::from_secs(1);

/// So many offsets that are settled are not read through: the partition is fetched from behind them.
const SKIPPED_MAX: u64 = 50_000;

/// A partition of ours.
pub(super) struct Reading {
    pub(super) start: Start,
    /// What is still to be handed over.
    pub(super) cursor: Cursor,
    part: Part,
    /// The part is read to its end.
    pub(super) is_through: bool,
    waiting: VecDeque<Message>,
    waiting_bytes: usize,
    /// The processor wants no more for now.
    pub(super) held: bool,
    /// librdkafka fetches no more for now.
    pub(super) paused: bool,
    /// What was last taken was no record. librdkafka then takes the offset behind it for read, whatever it
    /// was: once it has paused, as it does at every rebalance, it goes on one record too late.
    ///
    /// Committed transactions that come one by one cause no doubt: an end is the last stable offset, at which
    /// the next one's first record stands. Aborted ones and lone markers directly behind an end cost a look at
    /// the cluster. Whether librdkafka paused since the end would tell it apart, and it does so by itself,
    /// within its own threads: to infer that from what we ask of it would rest on how it is built, and a
    /// mistake would lose a record.
    is_doubtful: bool,
    /// Weight of the next record, which did not fit the last permit.
    need: Option<u64>,
    /// What was said to find no room since the last batch.
    pub(super) wanted: Option<u64>,
    /// What was last said to be behind, and when.
    pub(super) told: Option<(u64, Instant)>,
    /// What was asked for is not there: it is being looked at.
    pub(super) looked_for: Option<String>,
    /// When it is looked at again.
    pub(super) look_at: Option<Instant>,
    /// How often it was looked at, and nothing had been handed over in between.
    pub(super) looks: u32,
    /// What comes next could not be decoded: how long to wait before it is fetched again.
    pub(super) stands: Option<Duration>,
    /// That it cannot be read was said, or that it can.
    pub(super) told_unreadable: bool,
    quiet: Quiet,
}

/// Since when nothing comes although the log has more.
#[derive(Default)]
struct Quiet {
    /// The next offset then, and when that was.
    since: Option<(u64, Instant)>,
    /// The last that came was the end: what is behind it may be of a transaction that is still open.
    behind_the_end: bool,
    /// That it lasts was said.
    said: bool,
}

impl Quiet {
    fn ends(&mut self) {
        (self.since, self.said) = (None, false);
    }

    /// Whether it has lasted too long; told once.
    fn lasts(&mut self, next: u64, now: Instant) -> bool {
        let (before, since) = *self.since.get_or_insert((next, now));
        if before != next {
            (self.since, self.said) = (Some((next, now)), false);
            return false;
        }
        let max = if self.behind_the_end {
            QUIET_BEHIND_THE_END_MAX
        } else {
            QUIET_MAX
        };
        let lasts = now.saturating_duration_since(since) >= max;
        lasts && !std::mem::replace(&mut self.said, lasts)
    }
}

/// What of a partition is read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Part {
    /// Reading ends before this offset; `None`: nowhere.
    pub(super) before: Option<u64>,
    /// Only records of this key; `None`: all.
    pub(super) key: Option<Vec<u8>>,
}

/// What is handed over next.
pub(super) enum Handed {
    Records(Vec<Record>),
    /// The end of the log is reached. Nothing up to and with this offset comes but what was handed over.
    End(Option<u64>),
    /// The same of the end of the part that is read.
    Through(Option<u64>),
    /// Nothing up to and with this offset is of the key that is read.
    Passed(u64),
    /// There is no room for the next record, which wants so many bytes.
    Starved(u64),
    /// What comes next is settled, for long: it is to be fetched from where the cursor stands.
    FarBehind,
    /// What was asked for is not there.
    OutOfRange(String),
    /// The batch of what comes next cannot be decoded: the client's words.
    Undecodable(String),
    Error(String),
    NoKey(NoKeyError),
    /// Nothing waits.
    Nothing,
}

impl Reading {
    pub(super) fn new(start: Start, cursor: Cursor, part: Part) -> Self {
        Self {
            start,
            cursor,
            part,
            is_through: false,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            held: false,
            paused: false,
            is_doubtful: false,
            need: None,
            wanted: None,
            told: None,
            looked_for: None,
            look_at: None,
            looks: 0,
            stands: None,
            told_unreadable: false,
            quiet: Quiet::default(),
        }
    }

    pub(super) fn arrived(&mut self, message: Message) {
        self.quiet.ends();
        self.quiet.behind_the_end = matches!(message.kind(), Kind::End);
        self.waiting_bytes += message.bytes();
        self.waiting.push_back(message);
    }

    /// Whether for too long nothing has come that was fetched, of which the log has more, and whether
    /// that is so behind an end. Told once.
    pub(super) fn falls_silent(&mut self, now: Instant) -> Option<bool> {
        let waits = self.held || self.paused || self.is_through || self.looked_for.is_some();
        if waits || !self.waiting.is_empty() {
            self.quiet.ends();
            return None;
        }
        let lasts = self.quiet.lasts(self.cursor.next(), now);
        lasts.then_some(self.quiet.behind_the_end)
    }

    /// Whether what comes next cannot be read, as far as was said of it: once may be the network's fault.
    pub(super) fn is_unreadable(&self) -> bool {
        self.stands.is_some_and(|wait| wait > DECODE_AGAIN_MIN)
            || self.quiet.said && !self.quiet.behind_the_end
    }

    /// Nothing is to come.
    pub(super) fn rests(&mut self) {
        self.quiet.ends();
    }

    /// Forgets what came: it is read again from where the cursor stands.
    pub(super) fn forget(&mut self) {
        self.waiting.clear();
        self.waiting_bytes = 0;
        self.is_doubtful = false;
        self.need = None;
    }

    /// Whether librdkafka should be told to fetch no more; `None`: as it is. `share`: bytes that may wait
    /// here, within bounds.
    pub(super) fn pause_wanted(&self, share: usize) -> Option<bool> {
        let bytes_max = share.clamp(WAITING_BYTES_MIN, WAITING_BYTES_MAX);
        let much = self.waiting.len() > WAITING_MAX || self.waiting_bytes > bytes_max;
        if !self.paused && (self.held || much) {
            Some(true)
        } else if self.paused && !self.held && self.waiting.is_empty() {
            Some(false)
        } else {
            None
        }
    }

    fn pop(&mut self) {
        if let Some(message) = self.waiting.pop_front() {
            self.waiting_bytes -= message.bytes();
        }
    }

    /// What comes next.
    pub(super) fn next(&mut self, order: LaneOrder) -> Handed {
        if self.held || self.is_through || self.looked_for.is_some() {
            return Handed::Nothing;
        }
        if self.is_beyond(self.cursor.next()) {
            return self.through();
        }
        self.skip_settled();
        let Some(first) = self.waiting.front() else {
            return Handed::Nothing;
        };
        let (kind, next) = (first.kind(), first.offset());
        if matches!(kind, Kind::Record | Kind::End) && self.doubts(next) {
            // Read again from where we are, it is believed that nothing lies between.
            self.forget();
            return Handed::OutOfRange(format!("what came next was {next}"));
        }
        match kind {
            Kind::Record if self.is_far_behind(next) => {
                self.forget();
                Handed::FarBehind
            }
            Kind::Record if self.is_beyond(next) => self.through(),
            Kind::Record if self.is_of_another_key(first) => Handed::Passed(self.pass_others()),
            Kind::Record => self.records(order),
            Kind::End => {
                self.pop();
                self.is_doubtful = true;
                // Behind the last record may stand markers of transactions, and what compaction took.
                let next = self.part.before.map_or(next, |before| next.min(before));
                let unseen = self.cursor.next() < next;
                if unseen {
                    self.cursor.pass(next - 1);
                }
                let is_news = unseen || self.cursor.take_gone();
                Handed::End(next.checked_sub(1).filter(|_| is_news))
            }
            Kind::OutOfRange(said) => {
                self.forget();
                Handed::OutOfRange(said)
            }
            Kind::Undecodable(said) => {
                // What came behind it came past it.
                self.forget();
                Handed::Undecodable(said)
            }
            Kind::Error(said) => {
                self.pop();
                self.is_doubtful = true;
                Handed::Error(said)
            }
        }
    }

    /// Whether something may have been left out before this offset.
    fn doubts(&self, position: u64) -> bool {
        self.is_doubtful && position > self.cursor.next()
    }

    fn is_beyond(&self, position: u64) -> bool {
        self.part.before.is_some_and(|before| position >= before)
    }

    fn is_of_another_key(&self, message: &Message) -> bool {
        let key = self.part.key.as_deref();
        key.is_some_and(|key| message.key() != Some(key))
    }

    /// Nothing of the part comes any more.
    fn through(&mut self) -> Handed {
        self.is_through = true;
        self.forget();
        let last = self.part.before.and_then(|before| before.checked_sub(1));
        let unseen = last.filter(|last| self.cursor.next() <= *last);
        if let Some(last) = unseen {
            self.cursor.pass(last);
        }
        let is_news = unseen.is_some() || self.cursor.take_gone();
        Handed::Through(last.filter(|_| is_news))
    }

    /// Passes records of other keys over; the last one's offset.
    fn pass_others(&mut self) -> u64 {
        let mut passed = 0;
        while let Some(message) = self.waiting.front() {
            let position = message.offset();
            let is_other = matches!(message.kind(), Kind::Record)
                && !self.is_beyond(position)
                && !self.is_far_behind(position)
                && self.is_of_another_key(message);
            if !is_other {
                break;
            }
            self.cursor.pass(position);
            self.is_doubtful = false;
            self.stands = None;
            passed = position;
            self.pop();
            self.skip_settled();
        }
        passed
    }

    /// How many records are still to come, of a log whose next one will be `next`.
    pub(super) fn behind(&self, next: u64) -> u64 {
        let next = self.part.before.map_or(next, |before| next.min(before));
        let last = next.checked_sub(1);
        last.map_or(0, |last| self.cursor.remaining(last))
    }

    /// How many records of the part are still to come, where the log's end is reached.
    pub(super) fn left(&self) -> u64 {
        self.part.before.map_or(0, |before| self.behind(before))
    }

    fn is_far_behind(&self, position: u64) -> bool {
        position.saturating_add(SKIPPED_MAX) < self.cursor.next()
    }

    /// Drops records that the checkpoint settles, unless there are very many. Of positions that it has
    /// open, what lies before a record that came is gone: compaction took it.
    fn skip_settled(&mut self) {
        while let Some(message) = self.waiting.front() {
            let position = message.offset();
            if !matches!(message.kind(), Kind::Record)
                // Before the cursor is asked, which takes for gone what it does not see.
                || self.doubts(position)
                || self.cursor.wants(position)
                || self.is_far_behind(position)
            {
                return;
            }
            self.is_doubtful = false;
            self.pop();
        }
    }

    fn records(&mut self, order: LaneOrder) -> Handed {
        loop {
            let mut filling = match Filling::begin(&self.start, self.need) {
                Ok(filling) => filling,
                Err(wants) => return Handed::Starved(wants),
            };
            filling.expect(self.waiting.len(), self.waiting_bytes);
            match self.fill(&mut filling, order) {
                _ if !filling.is_empty() => {
                    (self.need, self.wanted, self.looks) = (None, None, 0);
                    self.stands = None;
                    return Handed::Records(filling.finish());
                }
                Ok(()) => return Handed::Nothing,
                Err(Refused::NoKey(error)) => return Handed::NoKey(error),
                // Asked for again with a permit for exactly this record; what is smaller than that one was
                // granted is a share that grew meanwhile.
                Err(Refused::Full(wants)) if self.need == Some(wants) => {
                    return Handed::Starved(wants);
                }
                Err(Refused::Full(wants)) => self.need = Some(wants),
            }
        }
    }

    /// Takes records until none waits, something else comes, or the batch is full.
    fn fill(&mut self, filling: &mut Filling, order: LaneOrder) -> Result<(), Refused> {
        loop {
            self.skip_settled();
            let Some(message) = self.waiting.front() else {
                return Ok(());
            };
            let position = message.offset();
            let is_ours = matches!(message.kind(), Kind::Record)
                && !self.is_far_behind(position)
                && !self.is_beyond(position)
                && !self.is_of_another_key(message);
            if !is_ours {
                return Ok(());
            }
            let mut headers: Vec<(Cow<'_, str>, &[u8])> = Vec::new();
            message.headers(&mut headers);
            filling.take(
                order,
                &Incoming {
                    position: Position::Offset(position),
                    key: message.key(),
                    value: message.value(),
                    headers: &headers,
                    timestamp: message.timestamp(),
                },
            )?;
            self.cursor.pass(position);
            self.is_doubtful = false;
            self.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_too_long_sooner_before_an_end_than_behind_one() {
        let now = Instant::now();
        for (behind_the_end, max) in [(false, QUIET_MAX), (true, QUIET_BEHIND_THE_END_MAX)] {
            let mut quiet = Quiet {
                behind_the_end,
                ..Quiet::default()
            };
            assert!(!quiet.lasts(5, now));
            assert!(!quiet.lasts(5, now + max / 2));
            assert!(quiet.lasts(5, now + max));
            assert!(!quiet.lasts(5, now + max * 2), "it was said");
            // It went on without a record: of other keys, or of what is settled.
            assert!(!quiet.lasts(6, now + max));
            assert!(quiet.lasts(6, now + max * 2));
        }
    }
}
