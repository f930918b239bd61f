//! The JSON form of a fact: flat, one object a line, absent fields left out.

use super::{Event, FORMAT, Fact, Opened};
use crate::{
    checkpoint::Checkpoint,
    position::Position,
    record::{LaneKey, LaneKind},
    store::{LaneState, Verb},
};
use base64::{Engine as _, display::Base64Display, prelude::BASE64_STANDARD};
use partitions::Resume;
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, time::Duration};

/// Declares the struct: all fields but `t`, `seq`, `worker` and `event` are optional and left out
/// when absent.
macro_rules! line {
    (
        about { $($(#[$about_attribute:meta])* $about:ident: $about_type:ty,)* }
        event { $($(#[$attribute:meta])* $name:ident: $type:ty,)* }
    ) => {
        /// One line. Made from a [`Fact`] it borrows; read back it owns. Which of its fields are
        /// there follows from its event, and they mean what [`Event`] says of them.
        #[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
        pub struct Line<'a> {
            /// Nanoseconds of the machine's monotonic clock.
            pub t: u64,
            /// Counts the lines of a worker from 1.
            pub seq: u64,
            /// Which incarnation.
            pub worker: Cow<'a, str>,
            $(
                $(#[$about_attribute])*
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub $about: Option<$about_type>,
            )*
            /// What happened.
            pub event: Kind,
            $(
                $(#[$attribute])*
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub $name: Option<$type>,
            )*
        }

        impl<'a> Line<'a> {
            fn bare(t: u64, seq: u64, worker: &'a str, event: Kind) -> Self {
                let worker = Cow::Borrowed(worker);
                Self { t, seq, worker, event, $($about: None,)* $($name: None),* }
            }
        }
    };
}

line! {
    about {
        /// Ownership number.
        epoch: u64,
        /// Generation.
        generation: u64,
        /// The `NAME` of `[sources.NAME]`.
        source: Cow<'a, str>,
        /// The partition within it.
        partition: Cow<'a, str>,
        /// The lane's key where it is text.
        key: Cow<'a, str>,
        /// The lane's key where it is not.
        key_base64: Base64<'a>,
        /// What kind of lane it is where it has no key.
        lane: LaneKind,
        /// The record's, or that of a lane's head.
        position: Position,
        /// From 1.
        attempt: u32,
        /// Numbers the tries of a worker.
        ticket: u64,
    }
    event {
        /// Of the history; on the first line.
        format: u32,
        /// On the first line.
        settings: Cow<'a, Opened>,
        /// Used up so far.
        attempts: u32,
        /// `done`, `retry`, `reject`, `target`, `unattributed`, `untried`, `timeout` or `panic`.
        outcome: Cow<'a, str>,
        /// What went wrong.
        error: Cow<'a, str>,
        /// Of a decision.
        verb: Verb,
        /// Of a lane that a claim found.
        state: LaneState,
        /// Last position of a chain.
        tail: Position,
        /// Records in a chain.
        count: u64,
        /// A decision that was taken already.
        decision: Verb,
        /// Of a commit.
        number: u64,
        /// Its answer had been lost before.
        repeated: bool,
        /// The last record of the settled prefix; absent before the first.
        frontier: Position,
        /// Where the settled prefix ends: `"beginning"`, `{"at": …}` or `{"after": …}`.
        #[serde(with = "resume")]
        resume: Resume<Position>,
        /// Highest settled position.
        settled_to: Position,
        /// Open positions up to `settled_to`, ascending.
        open: Cow<'a, [Position]>,
        /// Where reading begins, as `resume`.
        #[serde(with = "resume")]
        from: Resume<Position>,
        /// Why it does not begin at the checkpoint.
        gap: Cow<'a, str>,
        /// Inclusive.
        through: Position,
        /// Of an effect.
        table: Cow<'a, str>,
        /// Of an effect: the key within its table.
        table_key: Cow<'a, str>,
        /// Of a refusal.
        why: Cow<'a, str>,
        /// Of a claim, a revocation.
        clean: bool,
        /// How long slot and lane stay shut.
        millis: u64,
        /// Nothing else was in flight.
        alone: bool,
    }
}

/// What happened: the name of an [`Event`].
#[expect(missing_docs, reason = "as in `Event`")]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Opened,
    Fetched,
    PassedOver,
    Started,
    Ended,
    Retry,
    Done,
    AlreadyDone,
    Stopped,
    Parked,
    Appended,
    DeadLettered,
    Skipped,
    Released,
    Gone,
    Decided,
    Committed,
    Effect,
    Acked,
    Refused,
    Claimed,
    Restored,
    Held,
    Suspected,
    Revoked,
    Quarantined,
    Paused,
    Resumed,
}

/// Bytes that are written in base64.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Base64<'a>(pub Cow<'a, [u8]>);

impl Serialize for Base64<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Base64Display::new(&self.0, &BASE64_STANDARD))
    }
}

impl<'de> Deserialize<'de> for Base64<'_> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        BASE64_STANDARD
            .decode(text.as_bytes())
            .map(|bytes| Self(Cow::Owned(bytes)))
            .map_err(serde::de::Error::custom)
    }
}

impl<'a> Line<'a> {
    /// The line of a fact.
    pub fn of(fact: &Fact<'a>, seq: u64, worker: &'a str) -> Self {
        let nanos = u64::try_from(fact.at.as_nanos()).unwrap_or(u64::MAX);
        let mut line = Self::bare(nanos, seq, worker, Kind::Opened);
        if let Some(subject) = fact.subject {
            line.epoch = Some(subject.epoch);
            line.generation = Some(subject.generation);
            line.source = Some(Cow::Borrowed(&subject.partition.source));
            line.partition = Some(Cow::Borrowed(&subject.partition.partition));
            if let Some((lane, position)) = subject.record {
                line.set_lane(lane);
                line.position = Some(position.clone());
            }
        }
        line.event = line.fill(fact.event);
        line
    }

    fn set_lane(&mut self, lane: &'a [u8]) {
        if lane.is_empty() {
            return;
        }
        match LaneKey::split(lane) {
            Ok(key) => match std::str::from_utf8(key) {
                Ok(text) => self.key = Some(Cow::Borrowed(text)),
                Err(_) => self.key_base64 = Some(Base64(Cow::Borrowed(key))),
            },
            Err(kind) => self.lane = Some(kind),
        }
    }

    /// Sets the event's own fields.
    #[expect(
        clippy::too_many_lines,
        reason = "one total match, a few lines an event"
    )]
    fn fill(&mut self, event: Event<'a>) -> Kind {
        match event {
            Event::Opened(settings) => {
                self.format = Some(FORMAT);
                self.settings = Some(Cow::Borrowed(settings));
                Kind::Opened
            }
            Event::PassedOver { through } => {
                self.through = Some(through.clone());
                Kind::PassedOver
            }
            Event::Started { ticket, attempt } => self.tried(Kind::Started, ticket, attempt),
            Event::Ended {
                ticket,
                attempt,
                outcome,
                error,
            } => {
                self.outcome = Some(Cow::Borrowed(outcome));
                self.error = error.map(Cow::Borrowed);
                self.tried(Kind::Ended, ticket, attempt)
            }
            Event::Quarantined { ticket, millis } => {
                self.ticket = Some(ticket);
                self.millis = Some(millis);
                Kind::Quarantined
            }
            Event::Retry { attempts } => {
                self.attempts = Some(attempts);
                Kind::Retry
            }
            Event::Stopped { error, attempts } => self.failed(Kind::Stopped, error, attempts),
            Event::Parked { error, attempts } => self.failed(Kind::Parked, error, attempts),
            Event::Decided { verb } => {
                self.verb = Some(verb);
                Kind::Decided
            }
            Event::Committed {
                number,
                checkpoint,
                repeated,
            } => {
                self.number = Some(number);
                self.repeated = repeated.then_some(true);
                self.covers(checkpoint);
                Kind::Committed
            }
            Event::Effect { table, key } => {
                self.table = Some(Cow::Borrowed(table));
                self.table_key = Some(Cow::Borrowed(key));
                Kind::Effect
            }
            Event::Acked { frontier } => {
                self.frontier = Some(frontier.clone());
                Kind::Acked
            }
            Event::Refused { why } => {
                self.why = Some(Cow::Borrowed(why));
                Kind::Refused
            }
            Event::Claimed { clean } => {
                self.clean = Some(clean);
                Kind::Claimed
            }
            Event::Restored {
                checkpoint,
                from,
                gap,
            } => {
                if let Some(checkpoint) = checkpoint {
                    self.covers(checkpoint);
                }
                self.from = Some(from.clone());
                self.gap = gap.map(Cow::Borrowed);
                Kind::Restored
            }
            Event::Held {
                state,
                tail,
                count,
                decision,
            } => {
                self.state = Some(state);
                self.tail = tail.cloned();
                self.count = Some(count);
                self.decision = decision;
                Kind::Held
            }
            Event::Suspected { alone, attempts } => {
                self.alone = Some(alone);
                self.attempts = Some(attempts);
                Kind::Suspected
            }
            Event::Revoked { clean } => {
                self.clean = Some(clean);
                Kind::Revoked
            }
            Event::Fetched => Kind::Fetched,
            Event::Done => Kind::Done,
            Event::AlreadyDone => Kind::AlreadyDone,
            Event::Appended => Kind::Appended,
            Event::DeadLettered => Kind::DeadLettered,
            Event::Skipped => Kind::Skipped,
            Event::Released => Kind::Released,
            Event::Gone => Kind::Gone,
            Event::Paused => Kind::Paused,
            Event::Resumed => Kind::Resumed,
        }
    }

    fn tried(&mut self, kind: Kind, ticket: u64, attempt: u32) -> Kind {
        self.ticket = Some(ticket);
        self.attempt = Some(attempt);
        kind
    }

    fn failed(&mut self, kind: Kind, error: &'a str, attempts: u32) -> Kind {
        self.error = Some(Cow::Borrowed(error));
        self.attempts = Some(attempts);
        kind
    }

    fn covers(&mut self, checkpoint: &'a Checkpoint) {
        self.frontier = checkpoint.frontier().cloned();
        self.resume = Some(checkpoint.resume.clone());
        self.settled_to = checkpoint.settled_to.clone();
        self.open = Some(Cow::Borrowed(checkpoint.open.positions()));
    }

    /// When it happened, since the clock's origin.
    pub fn at(&self) -> Duration {
        Duration::from_nanos(self.t)
    }

    /// The lane's bytes (tag and key), put into `into`; `false`: the line names no lane.
    pub fn lane_into(&self, into: &mut Vec<u8>) -> bool {
        into.clear();
        match (&self.key, &self.key_base64, self.lane, &self.position) {
            (Some(key), _, _, _) => LaneKey::write_key(key.as_bytes(), into),
            (None, Some(key), _, _) => LaneKey::write_key(&key.0, into),
            (None, None, Some(LaneKind::Partition), _) => {
                into.extend_from_slice(LaneKey::of_partition().bytes());
            }
            (None, None, Some(LaneKind::NoKey), _) => {
                into.extend_from_slice(LaneKey::without_key().bytes());
            }
            (None, None, Some(LaneKind::Each), Some(position)) => {
                into.extend_from_slice(LaneKey::of_record(position).bytes());
            }
            (None, None, _, _) => return false,
        }
        true
    }

    /// The same line with texts of its own.
    pub fn into_owned(self) -> Line<'static> {
        fn text(text: Cow<'_, str>) -> Cow<'static, str> {
            Cow::Owned(text.into_owned())
        }
        Line {
            worker: text(self.worker),
            settings: self.settings.map(|s| Cow::Owned(s.into_owned())),
            source: self.source.map(text),
            partition: self.partition.map(text),
            key: self.key.map(text),
            key_base64: self
                .key_base64
                .map(|k| Base64(Cow::Owned(k.0.into_owned()))),
            outcome: self.outcome.map(text),
            error: self.error.map(text),
            open: self.open.map(|o| Cow::Owned(o.into_owned())),
            table: self.table.map(text),
            table_key: self.table_key.map(text),
            why: self.why.map(text),
            gap: self.gap.map(text),
            from: self.from,
            t: self.t,
            seq: self.seq,
            event: self.event,
            format: self.format,
            epoch: self.epoch,
            generation: self.generation,
            lane: self.lane,
            position: self.position,
            ticket: self.ticket,
            attempt: self.attempt,
            attempts: self.attempts,
            verb: self.verb,
            state: self.state,
            tail: self.tail,
            count: self.count,
            decision: self.decision,
            number: self.number,
            repeated: self.repeated,
            frontier: self.frontier,
            resume: self.resume,
            settled_to: self.settled_to,
            through: self.through,
            clean: self.clean,
            millis: self.millis,
            alone: self.alone,
        }
    }
}

/// [`Resume`] has no serde of its own: the engine knows no formats.
mod resume {
    use super::{Position, Resume};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Form<P> {
        Beginning,
        At(P),
        After(P),
    }

    pub(super) fn serialize<S: Serializer>(
        resume: &Option<Resume<Position>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        resume
            .as_ref()
            .map(|resume| match resume {
                Resume::Beginning => Form::Beginning,
                Resume::At(position) => Form::At(position),
                Resume::After(position) => Form::After(position),
            })
            .serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Resume<Position>>, D::Error> {
        Ok(
            Option::<Form<Position>>::deserialize(deserializer)?.map(|form| match form {
                Form::Beginning => Resume::Beginning,
                Form::At(position) => Resume::At(position),
                Form::After(position) => Resume::After(position),
            }),
        )
    }
}
