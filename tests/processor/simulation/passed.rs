//! What became of each record, generation by generation. After a rewind only what its checkpoint
//! settles has passed: all else must be done again, whatever the target saw of it before.

use super::target::Place;
use std::collections::{BTreeMap, BTreeSet};

/// Of all partitions.
#[derive(Default)]
pub(super) struct Passed {
    partitions: BTreeMap<usize, Vec<Generation>>,
}

/// Of one generation of a partition.
#[derive(Default)]
struct Generation {
    /// What the rewind left settled, and in no chain: it runs no more.
    kept: BTreeSet<u64>,
    done: BTreeSet<u64>,
    published: BTreeSet<u64>,
    skipped: BTreeSet<u64>,
    /// By key: records that have not passed, ascending; filled at the key's first call.
    due: BTreeMap<String, BTreeSet<u64>>,
}

impl Generation {
    fn has(&self, position: u64) -> bool {
        let of = [&self.kept, &self.done, &self.published, &self.skipped];
        of.iter().any(|of| of.contains(&position))
    }
}

impl Passed {
    /// The generation that an operator left.
    pub(super) fn generation(&self, partition: usize) -> u64 {
        let rewinds = self.partitions.get(&partition).map_or(0, |of| of.len() - 1);
        rewinds as u64
    }

    fn of(&self, partition: usize, generation: u64) -> Option<&Generation> {
        self.partitions.get(&partition)?.get(generation as usize)
    }

    fn of_mut(&mut self, partition: usize, generation: u64) -> &mut Generation {
        let of = self
            .partitions
            .entry(partition)
            .or_insert_with(|| vec![Generation::default()]);
        let known = of.len();
        of.get_mut(generation as usize)
            .unwrap_or_else(|| panic!("generation {generation} of {partition}, of {known}"))
    }

    pub(super) fn done(&mut self, place: Place, generation: u64) {
        self.of_mut(place.0, generation).done.insert(place.1);
    }

    pub(super) fn published(&mut self, place: Place, generation: u64) {
        self.of_mut(place.0, generation).published.insert(place.1);
    }

    /// An operator's skip is of the generation that stands.
    pub(super) fn skipped(&mut self, place: Place) {
        let generation = self.generation(place.0);
        self.of_mut(place.0, generation).skipped.insert(place.1);
    }

    /// A rewind is in the store: `kept` stay settled, `skipped` stay to be skipped.
    pub(super) fn rewound(
        &mut self,
        partition: usize,
        generation: u64,
        kept: BTreeSet<u64>,
        skipped: BTreeSet<u64>,
    ) {
        self.of_mut(partition, generation - 1);
        let of = self.partitions.entry(partition).or_default();
        assert_eq!(of.len() as u64, generation, "each raises it by one");
        of.push(Generation {
            kept,
            skipped,
            ..Generation::default()
        });
    }

    /// Whether it was done in this generation, or before it and for good.
    pub(super) fn is_done(&self, place: Place, generation: u64) -> bool {
        self.of(place.0, generation)
            .is_some_and(|of| of.done.contains(&place.1) || of.kept.contains(&place.1))
    }

    /// Whether it was published or skipped in this generation.
    pub(super) fn is_excused(&self, place: Place, generation: u64) -> bool {
        self.of(place.0, generation)
            .is_some_and(|of| of.published.contains(&place.1) || of.skipped.contains(&place.1))
    }

    /// Whether the rewind that began this generation left it settled.
    pub(super) fn is_kept(&self, place: Place, generation: u64) -> bool {
        self.of(place.0, generation)
            .is_some_and(|of| of.kept.contains(&place.1))
    }

    /// The last generation in which it was to run.
    pub(super) fn ran_last_in(&self, place: Place) -> u64 {
        let last = self.generation(place.0);
        { (0..=last).rev() }
            .find(|generation| !self.is_kept(place, *generation))
            .unwrap_or(0)
    }

    /// The first record of a key before a place that has not passed in a generation. `records`: those
    /// of the key; `is_gone`: from the log.
    pub(super) fn first_due(
        &mut self,
        place: Place,
        generation: u64,
        key: &str,
        records: impl FnOnce() -> BTreeSet<u64>,
        is_gone: impl Fn(u64) -> bool,
    ) -> Option<u64> {
        let of = self.of_mut(place.0, generation);
        let mut due = of.due.remove(key).unwrap_or_else(records);
        while let Some(&first) = due.first().filter(|first| **first < place.1) {
            if !(of.has(first) || is_gone(first)) {
                break;
            }
            due.pop_first();
        }
        let first = due.first().copied().filter(|first| *first < place.1);
        of.due.insert(key.to_owned(), due);
        first
    }
}
