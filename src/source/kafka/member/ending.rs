//! The end: the group's offsets are written, what is assigned is given back, and the group is left.

use super::Member;
use crate::source::{
    SourceError,
    kafka::{
        Settings,
        client::{Note, Place},
    },
};
use rdkafka::{consumer::Consumer, error::RDKafkaErrorCode};
use std::time::{Duration, Instant};

/// How long the last offsets may take to be written.
const LAST_WORD_MAX: Duration = Duration::from_secs(2);

/// How long after a refusal they are told again.
const LAST_WORD_AGAIN: Duration = Duration::from_millis(50);

/// Why the group has this member no more, for good.
pub(super) fn ended_by_the_group(settings: &Settings, code: RDKafkaErrorCode) -> SourceError {
    let (source, group) = (&settings.name, &settings.group_id);
    let instance = settings.properties.get("group.instance.id");
    // The classic protocol ends the member that was there, the new one the member that comes.
    let of_two = [
        RDKafkaErrorCode::FencedInstanceId,
        RDKafkaErrorCode::UnreleasedInstanceId,
    ];
    let what = match instance {
        Some(instance) if of_two.contains(&code) => format!(
            "source `{source}`: group `{group}` has another member with the `group_instance_id` `{instance}` ({code}): each worker needs one of its own, such as the name of its container; or wait until that member has ended"
        ),
        Some(_) | None => {
            format!("source `{source}`: Kafka ended this member of group `{group}`: {code}")
        }
    };
    SourceError::OutOfReach { what }
}

impl Member {
    /// Leaves the group, so that the others need not wait for our session to end.
    pub(super) fn leave(mut self) {
        // What the processor was told of as durable last may still be in the channel.
        while let Ok(order) = self.orders.try_recv() {
            self.obey(order);
        }
        self.last_word();
        self.consumer.context().close();
        let assigned: Vec<Place> = { self.slots.iter() }
            .filter(|slot| slot.assigned)
            .map(|slot| slot.place.clone())
            .collect();
        // One that was noted and not looked at yet waits for its answer as well.
        let notes = self.consumer.context().take();
        let revoked = notes.iter().any(|n| matches!(n, Note::Revoked { .. }));
        if !assigned.is_empty() || self.revoking || revoked {
            self.unassign(&assigned);
        }
        // The group is left, and waited for, when the client is dropped.
    }

    /// Tells the group the last offsets, and again while it takes none: between two generations, as while
    /// another member leaves. Lag tools would show a lag that there is not, but nothing is lost without it.
    fn last_word(&mut self) {
        let by = Instant::now() + LAST_WORD_MAX;
        // What is refused is not mirrored, so that it is told once more.
        while self.mirror_now() {
            let told = loop {
                let left = by.saturating_duration_since(Instant::now());
                match self.commits.told(left) {
                    Some(told) if told.number == self.commit => break told,
                    Some(of_an_earlier_one) => self.confirmed(&of_an_earlier_one),
                    None => return,
                }
            };
            self.confirmed(&told);
            // The others may have what it had: it must not tell of that any more.
            if !told.between || self.consumer.assignment_lost() {
                return;
            }
            // What the group gives is to be answered before it takes offsets again.
            drop(self.consumer.poll(LAST_WORD_AGAIN));
        }
    }
}
