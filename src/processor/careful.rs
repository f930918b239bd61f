//! Careful mode: a worker that died again and again may have been killed by one of its records.

use super::{Processor, owned::Owned};
use crate::{checkpoint::Checkpoint, history::Event, position::Position, record::Record};
use partitions::PartitionId;
use std::collections::BTreeMap;

/// From so many unclean claims in a row on records are announced before they start. The first may be
/// any crash; a record that kills its worker does so again.
pub const CAREFUL_FROM: u32 = 2;

/// Suspects that a death was charged to, and their attempts.
pub(super) type Charged = BTreeMap<Position, u32>;

impl Processor {
    /// Has records announced before they start, up to the log's end as of now, where the owners before
    /// this one died one after the other. Gives those that a death is charged to. `regained`: this worker
    /// was the last owner, and has not died of what it had announced.
    pub(super) fn be_careful(
        &mut self,
        id: PartitionId,
        owned: &Owned,
        known: &Checkpoint,
        last: Option<Position>,
        regained: bool,
    ) -> Charged {
        if owned.unclean_claims < CAREFUL_FROM {
            return Charged::new();
        }
        let attempts: BTreeMap<_, _> = known.attempts.iter().cloned().collect();
        let mut suspects = BTreeMap::new();
        let mut charged = Charged::new();
        for (position, alone) in &known.announced {
            let alone = *alone && !regained;
            let used = attempts.get(position).copied().unwrap_or(0);
            let used = used.saturating_add(u32::from(alone));
            suspects.insert(position.clone(), used);
            // Of one whose attempts are used up the last may have been charged by an owner that died
            // before it could say so.
            if alone || used >= self.settings.failure.attempts_max {
                charged.insert(position.clone(), used);
            }
            let event = Event::Suspected {
                alone,
                attempts: used,
            };
            self.notes.head(owned, &[], position, event);
        }
        tracing::warn!(
            source = %owned.assignment.name.source, partition = %owned.assignment.name.partition,
            unclean_claims = owned.unclean_claims,
            through = last.as_ref().map(tracing::field::display),
            suspects = %listed(&suspects),
            "its owners died one after the other: each record is announced before it starts, and suspects run alone, until the log's end as of now is reached or for ten minutes",
        );
        self.engine.be_careful(id, last, &mut suspects.into_iter());
        charged
    }

    /// What a record that may fail without a try is to be blamed for.
    pub(super) fn note_charged(owned: &mut Owned, record: &Record) {
        if let Some(attempts) = owned.charged.remove(record.position())
            && let Some(lane) = crate::record::LaneKey::from_bytes(record.lane())
        {
            let error = "its worker died while it alone was in flight";
            let errors = owned.errors.entry(lane).or_default();
            errors.note(record.position(), error, attempts);
        }
    }
}

/// Positions for a message, cut.
fn listed(suspects: &BTreeMap<Position, u32>) -> String {
    const MOST: usize = 20;
    if suspects.is_empty() {
        return "none".to_owned();
    }
    let shown: Vec<String> = suspects
        .keys()
        .take(MOST)
        .map(Position::to_string)
        .collect();
    match suspects.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
