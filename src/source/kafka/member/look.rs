//! Looks at what is read again: at a partition of which what was asked for was not there, and at topics,
//! whether they are still the ones that were claimed.

use super::{Member, subscription::refresh, topics};
use crate::{
    position::Position,
    source::{
        Event, SourceError,
        kafka::{
            client::Place, cluster::Bounds, looker::Question, reading::DECODE_AGAIN_MIN, refused,
            slot::Stage,
        },
    },
};
use std::time::{Duration, Instant};

/// How often in a row a partition whose log ends before our place is looked at, before that is believed:
/// a broker that has just taken over may not know its end yet.
const LOOKS_MAX: u32 = 20;

/// Wait between two of these looks.
const LOOK_AFTER: Duration = Duration::from_millis(250);

/// The longest wait before what could not be decoded is fetched again, doubled up to it: the answer may have
/// been damaged on its way, and another replica may lead by then.
const DECODE_AGAIN_MAX: Duration = Duration::from_mins(1);

/// The last resort against a batch that nobody can read.
pub(super) const DELETE: &str = "else, once everything before it is settled (the group's offset has come to it, and no lane is stopped or parked before it), delete the records up to and with that batch (`kafka-delete-records`), and `on_gap` decides";

impl Member {
    /// What comes next of a partition cannot be decoded. It is not left out, and nothing behind it is read:
    /// the partition stands until it can be, or is not there any more.
    pub(super) fn stand(&mut self, at: &Place, said: &str) {
        self.detach(at);
        let Some(slot) = self.slots.iter_mut().find(|slot| slot.place == *at) else {
            return;
        };
        let name = slot.name.clone();
        let Some(reading) = slot.reading() else {
            return;
        };
        let wait = reading.stands.map_or(DECODE_AGAIN_MIN, |wait| wait * 2);
        let wait = wait.min(DECODE_AGAIN_MAX);
        let before = reading.stands.replace(wait);
        reading.looked_for = Some(said.to_owned());
        reading.look_at = Some(Instant::now() + wait);
        // Once may be the network's fault.
        if before == Some(DECODE_AGAIN_MIN) {
            tracing::error!(
                source = %name.source, partition = %name.partition,
                "`{name}` stands before a batch of records, at offset {} or later, that cannot be decoded ({said}). Nothing of it is left out; other partitions go on; it is fetched again, at least each {} s. Let another replica lead the partition, if its log is sound; {DELETE}. A codec or a format that is not known wants another producer, or a newer lanekeeper",
                reading.cursor.next(),
                DECODE_AGAIN_MAX.as_secs(),
            );
        }
    }

    /// What was asked for was not there. Unless it is by now, the log does not reach so far back any more,
    /// or ends before.
    pub(super) fn found_again(&mut self, at: &Place, bounds: Bounds) -> Result<(), SourceError> {
        let Some(slot) = self.slots.iter_mut().find(|slot| slot.place == *at) else {
            return Ok(());
        };
        let name = slot.name.clone();
        let Some(reading) = slot.reading() else {
            return Ok(());
        };
        let Some(said) = reading.looked_for.take() else {
            return Ok(());
        };
        let next = reading.cursor.next();
        reading.looks += 1;
        if next < bounds.first {
            let what = format!(
                "`{name}` has to go on at offset {next}, and its log begins at {}: what was to be read before was removed by retention or by an operator",
                bounds.first
            );
            let (position, gap) =
                { self.settings.on_gap }.go_on(bounds.first, bounds.next, &what)?;
            tracing::warn!(source = %name.source, partition = %name.partition, "gap: {gap}");
            reading.cursor.pass(position - 1);
            reading.stands = None;
            self.pending.push_back(Event::PassedOver {
                partition: name,
                through: Position::Offset(position - 1),
            });
        } else if next > bounds.next && reading.looks > LOOKS_MAX {
            return Err(refused(format!(
                "`{name}` has to go on at offset {next}, and its log ends before {}: records were lost there, or the topic was made anew; start again, and `on_gap` decides",
                bounds.next
            )));
        } else if next > bounds.next {
            reading.looked_for = Some(said);
            reading.look_at = Some(Instant::now() + LOOK_AFTER);
        } else {
            reading.looks = 0;
            if reading.stands.is_some() {
                // Said when it began to stand.
                return Ok(());
            }
            if next == bounds.next {
                // librdkafka counts the news of an end as a record, and asks for what lies behind it when
                // it goes on after a rebalance: nothing is amiss.
                tracing::debug!(source = %name.source, partition = %name.partition, "fetched again from the end, offset {next} ({said})");
                return Ok(());
            }
            tracing::info!(source = %name.source, partition = %name.partition, "fetched again from offset {next} ({said}; the log holds {} to {})", bounds.first, bounds.next);
        }
        Ok(())
    }

    pub(super) fn looks_due(&mut self) {
        for slot in &mut self.slots {
            let place = slot.place.clone();
            if let Some(reading) = slot.reading()
                && reading.look_at.is_some_and(|at| at <= Instant::now())
            {
                reading.look_at = None;
                self.looker.ask(Question::Again(place));
            }
        }
    }

    /// Looks where a partition begins and ends, and reads it again from where we are.
    pub(super) fn look_again(&mut self, at: &Place) {
        self.detach(at);
        self.looker.ask(Question::Again(at.clone()));
    }

    /// Asks now and then who the topics are that are read. librdkafka says nothing of a topic that was
    /// deleted and made anew: it reads on where it stood, in the new one.
    pub(super) fn topics_due(&mut self) {
        let now = Instant::now();
        if self.topics_at > now {
            return;
        }
        self.topics_at = now + refresh(&self.settings);
        let read = { self.slots.iter() }.filter(|slot| matches!(slot.stage, Stage::Reading(_)));
        let read = topics(read.map(|slot| &slot.place));
        if !read.is_empty() {
            self.looker.ask(Question::TopicIds(read));
        }
    }

    /// Ends the worker when a topic that it reads is another one by now.
    pub(super) fn is_still(&mut self, topic: &str, id: Option<&str>) -> Result<(), SourceError> {
        let slots = self.slots.iter_mut().filter(|slot| slot.place.0 == topic);
        for slot in slots {
            if let Some(claimed) = slot.differs_from(id) {
                let (name, here) = (&slot.name, id.unwrap_or_default());
                return Err(refused(format!(
                    "`{name}` is read as of topic id `{claimed}`, and the topic has id `{here}` by now: it was deleted and made anew; start again, and `on_gap` decides where the new topic is read from"
                )));
            }
        }
        Ok(())
    }
}
