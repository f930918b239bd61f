//! The end: the group's offsets are written, what is assigned is given back, and the group is left.

use super::Member;
use crate::source::kafka::client::{Note, Place};
use rdkafka::consumer::Consumer;
use std::time::{Duration, Instant};

/// How long the last offsets may take to be written.
const LAST_WORD_MAX: Duration = Duration::from_secs(2);

/// How long leaving the group may take.
const CLOSE_MAX: Duration = Duration::from_secs(5);

impl Member {
    /// Leaves the group, so that the others need not wait for our session to end.
    pub(super) fn leave(mut self) {
        // What the processor was told of as durable last may still be in the channel.
        while let Ok(order) = self.orders.try_recv() {
            self.obey(order);
        }
        if self.mirror_now() {
            let told = Instant::now();
            let mut answered = false;
            while !answered && told.elapsed() < LAST_WORD_MAX {
                drop(self.consumer.poll(Duration::from_millis(20)));
                let notes = self.consumer.context().take();
                answered = notes
                    .iter()
                    .any(|note| matches!(note, Note::Committed { .. }));
            }
        }
        self.consumer.context().close();
        let assigned: Vec<Place> = { self.slots.iter() }
            .filter(|slot| slot.assigned)
            .map(|slot| slot.place.clone())
            .collect();
        if !assigned.is_empty() || self.revoking {
            self.unassign(&assigned);
        }
        if self.consumer.close_queue().is_ok() {
            let told = Instant::now();
            while !self.consumer.closed() && told.elapsed() < CLOSE_MAX {
                drop(self.consumer.poll(Duration::from_millis(20)));
            }
        }
    }
}
