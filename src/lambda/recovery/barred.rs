//! Shards whose children wait: a key goes on in a child of its shard, and what its parent holds of it comes
//! before.

use super::Went;
use crate::{
    processor::Settings,
    record::OrderBy,
    source::{OnGap, kinesis::Shard},
};
use partitions::Stops;
use std::{collections::BTreeMap, sync::Arc};

/// Why the children of a shard wait.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Why {
    /// Something of it is open, and what comes behind it waits.
    Stands,
    /// Something of it is gone, and nothing behind that may run.
    Lost,
}

/// Those that wait, and for what.
pub(crate) struct Barred {
    shards: BTreeMap<Arc<str>, Why>,
    /// Whatever is open holds all that comes behind it, of whatever key.
    stands_as_one: bool,
    on_gap: OnGap,
}

impl Barred {
    /// Nothing waits yet. With [`OnGap::Latest`] the shard alone is left out, and its children go on.
    pub(super) fn new(settings: &Settings, on_gap: OnGap) -> Self {
        Self {
            shards: BTreeMap::new(),
            stands_as_one: settings.order.by == OrderBy::Partition
                || settings.failure.stops == Stops::Partition,
            on_gap,
        }
    }

    /// The parent that a shard waits for, and why; its own children wait then, too.
    pub(crate) fn parent_of(&mut self, shard: &Shard) -> Option<(Arc<str>, Why)> {
        let barred = { shard.parents.iter() }
            .filter_map(|parent| Some((Arc::clone(parent), *self.shards.get(parent)?)));
        let (parent, why) = barred.max_by_key(|(_, why)| *why)?;
        self.shards.insert(Arc::clone(&shard.id), why);
        Some((parent, why))
    }

    /// What became of a shard.
    pub(crate) fn note(&mut self, shard: &Arc<str>, went: &Went) {
        let is_lost = went.gap.as_ref().is_some_and(|gap| !gap.went_on);
        let stands = went.adrift > 0 || (went.open > 0 && self.stands_as_one);
        let why = match (is_lost && self.on_gap != OnGap::Latest, stands) {
            (true, _) => Why::Lost,
            (false, true) => Why::Stands,
            (false, false) => return,
        };
        let known = self.shards.entry(Arc::clone(shard)).or_insert(why);
        *known = why.max(*known);
    }
}
