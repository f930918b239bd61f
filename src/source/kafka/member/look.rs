//! Looks at a partition again, of which what was asked for was not there.

use super::Member;
use crate::{
    position::Position,
    source::{
        Event, SourceError,
        kafka::{client::Place, looker::Question, place::Found, refused},
    },
};
use std::time::{Duration, Instant};

/// How often in a row a partition whose log ends before our place is looked at, before that is believed:
/// a broker that has just taken over may not know its end yet.
const LOOKS_MAX: u32 = 20;

/// Wait between two of these looks.
const LOOK_AFTER: Duration = Duration::from_millis(250);

impl Member {
    /// What was asked for was not there. Unless it is by now, the log does not reach so far back any more,
    /// or ends before.
    pub(super) fn found_again(&mut self, index: usize, found: &Found) -> Result<(), SourceError> {
        let slot = &mut self.slots[index];
        let name = slot.name.clone();
        let Some(reading) = slot.reading() else {
            return Ok(());
        };
        let Some(said) = reading.looked_for.take() else {
            return Ok(());
        };
        let (next, bounds) = (reading.cursor.next(), found.bounds);
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
                self.looker.ask(Question::Place(place));
            }
        }
    }

    /// Looks where a partition begins and ends, and reads it again from where we are.
    pub(super) fn look_again(&mut self, at: &Place) {
        self.detach(at);
        self.looker.ask(Question::Place(at.clone()));
    }
}
