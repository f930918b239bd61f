//! What others are told: how far the log's end is, and how far everything is durable.

use super::{Member, look::DELETE};
use crate::{
    record::PartitionName,
    source::{
        Event,
        kafka::{fetch::high_watermark, slot::Slot},
    },
};
use rdkafka::{Offset, TopicPartitionList};
use std::time::{Duration, Instant};

/// How often the number of records behind is told while it only changes.
const TELL_BEHIND: Duration = Duration::from_millis(250);

/// How often the group is told of the durable frontier.
const MIRROR_EVERY: Duration = Duration::from_secs(1);

/// A partition of which nothing comes.
struct Silent {
    name: PartitionName,
    /// What should come next.
    offset: u64,
    /// Of the log.
    next: u64,
    behind_the_end: bool,
}

impl Member {
    /// Says how far the ends are, in the channel behind the records that it is about. That an end is
    /// reached is said when it is.
    pub(super) fn tell_behind(&mut self) {
        if self.told_at.elapsed() < TELL_BEHIND {
            return;
        }
        self.told_at = Instant::now();
        let mut quiet = Vec::new();
        for slot in &mut self.slots {
            if let Some(event) = unreadable(slot) {
                self.pending.push_back(event);
            }
            let (name, place) = (slot.name.clone(), slot.place.clone());
            let is_fetched = slot.assigned && !self.revoking;
            let Some(reading) = slot.reading() else {
                continue;
            };
            let Some(next) = high_watermark(&self.consumer, &place.0, place.1) else {
                continue;
            };
            let records = reading.behind(next);
            if records == 0 || !is_fetched {
                reading.rests();
            } else if let Some(behind_the_end) = reading.falls_silent(self.told_at) {
                quiet.push(Silent {
                    name: name.clone(),
                    offset: reading.cursor.next(),
                    next,
                    behind_the_end,
                });
            }
            if records == 0 {
                continue;
            }
            if reading.told.is_none_or(|(told, _)| told != records) {
                reading.told = Some((records, self.told_at));
                self.pending.push_back(Event::Behind {
                    partition: name,
                    records,
                });
            }
        }
        self.say_quiet(&quiet);
    }

    /// Says once of each silence that nothing comes although the log has more: librdkafka says nothing where
    /// it cannot read the records within a batch, and asks for it again and again.
    fn say_quiet(&self, quiet: &[Silent]) {
        for Silent {
            name,
            offset,
            next,
            behind_the_end,
        } in quiet
        {
            let why = if *behind_the_end {
                "A transaction may have been open for that long, which the broker's tools find and end (`kafka-transactions find-hanging`, `abort`); else its batch of records there cannot be decoded".to_owned()
            } else {
                format!(
                    "Unless brokers are out of reach, or very much there was aborted, its batch of records there cannot be decoded: read that offset with another client (`kafka-dump-log` on the broker). Let another replica lead the partition, if its log is sound; {DELETE}"
                )
            };
            tracing::warn!(
                source = %name.source, partition = %name.partition,
                "nothing comes of `{name}` from offset {offset} on, although its log goes up to {next}. {why}"
            );
        }
    }

    /// Tells the group how far everything is durable, for tools that show its lag. Nothing hangs on it.
    pub(super) fn mirror(&mut self) {
        if self.mirrored_at.elapsed() >= MIRROR_EVERY && !self.revoking {
            self.mirror_now();
        }
    }

    /// Whether the group was told anything.
    pub(super) fn mirror_now(&mut self) -> bool {
        self.mirrored_at = Instant::now();
        if self.settings.extent.is_apart() {
            return false;
        }
        let mut list = TopicPartitionList::new();
        let fit = |slot: &&mut Slot| slot.durable.is_some() && slot.durable != slot.mirrored;
        for slot in self.slots.iter_mut().filter(fit) {
            let Some(offset) = slot.durable.and_then(|offset| i64::try_from(offset).ok()) else {
                continue;
            };
            slot.mirrored = slot.durable;
            // A topic's name and a partition's number that the group gave us are sound.
            let _ = list.add_partition_offset(&slot.place.0, slot.place.1, Offset::Offset(offset));
        }
        self.tell_group(&list)
    }

    /// Whether there was anything to write. How it ended is told by `commits`, with the number that
    /// `commit` has then.
    pub(super) fn tell_group(&mut self, list: &TopicPartitionList) -> bool {
        if list.count() == 0 {
            return false;
        }
        self.commit += 1;
        if let Err(error) = self.commits.tell(list, self.commit) {
            tracing::debug!(source = %self.settings.name, "the group's offsets are not written: {error}");
        }
        true
    }
}

/// What is new of whether a partition stands before what cannot be read.
fn unreadable(slot: &mut Slot) -> Option<Event> {
    let partition = slot.name.clone();
    let reading = slot.reading()?;
    let stands = reading.is_unreadable();
    (std::mem::replace(&mut reading.told_unreadable, stands) != stands)
        .then_some(Event::Unreadable { partition, stands })
}
