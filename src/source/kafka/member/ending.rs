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
use std::time::Duration;

/// How long the last offsets may take to be written.
const LAST_WORD_MAX: Duration = Duration::from_secs(2);

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
        if self.mirror_now() {
            // Lag tools would show a lag that there is not, but nothing is lost without it.
            while let Some(told) = self.commits.told(LAST_WORD_MAX) {
                if told.number == self.commit {
                    break;
                }
            }
        }
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
}
