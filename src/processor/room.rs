//! How much a commit may hold: what goes beside its changes, and where a run's effects are cut.

use super::owned::Owned;
use crate::{effect::Effect, store::CommitBounds};
use std::collections::{BTreeMap, HashSet};

/// What goes into a commit beside its chosen changes, each an item of its own.
pub(super) struct Beside {
    /// How many of the lanes whose items somebody deleted.
    pub(super) missing: usize,
    /// How many of the decisions that do not fit.
    pub(super) clear: usize,
    /// How many heads of chains that ran on.
    pub(super) chains: usize,
}

impl Beside {
    /// As far as the commit has room; and some in any case, lest changes that never end keep them out.
    pub(super) fn new(owned: &Owned, items: usize, bounds: CommitBounds) -> Self {
        let least = (bounds.items / 16).max(1);
        let mut room = bounds.items.saturating_sub(items).max(least);
        let missing = owned.missing.len().min(room);
        room -= missing;
        let clear = owned.clear.len().min(room);
        room -= clear;
        Self {
            missing,
            clear,
            chains: room,
        }
    }
}

/// The first record of a run whose effects, with those before it, are more than a commit may hold: a
/// run's effects go into one commit.
pub(super) fn first_beyond(effects: &[(usize, Effect)], bounds: CommitBounds) -> Option<usize> {
    let (mut values, mut natives, mut bytes) = (HashSet::new(), 0, 0);
    let mut records: BTreeMap<usize, Vec<&Effect>> = BTreeMap::new();
    for (of, effect) in effects {
        records.entry(*of).or_default().push(effect);
    }
    for (n, (of, own)) in records.into_iter().enumerate() {
        for effect in own {
            bytes += weight(effect);
            if let Some(item) = item_of(effect) {
                values.insert(item);
            } else {
                natives += 1;
            }
        }
        if n > 0 && (values.len() + natives > bounds.items || bytes > bounds.bytes) {
            return Some(of);
        }
    }
    None
}

/// Items that effects write and that none before them writes.
pub(super) fn new_items(touched: &HashSet<(&str, &str)>, effects: &[(usize, Effect)]) -> usize {
    let items = effects.iter().map(|(_, effect)| item_of(effect));
    let natives = items.clone().filter(Option::is_none).count();
    let new: HashSet<_> = items
        .flatten()
        .filter(|item| !touched.contains(item))
        .collect();
    natives + new.len()
}

/// The value that an effect writes; of a native one only the store knows.
pub(super) fn item_of(effect: &Effect) -> Option<(&str, &str)> {
    match effect {
        Effect::Put(_) | Effect::Add(_) | Effect::Delete(_) => Some(effect.target()),
        Effect::Dynamodb(_) | Effect::Sqlite(_) => None,
    }
}

pub(super) fn weight(effect: &Effect) -> u64 {
    let size = |value: &serde_json::Value| value.to_string().len() as u64;
    64 + match effect {
        Effect::Put(e) => size(&e.value) + (e.table.len() + e.key.len()) as u64,
        Effect::Add(e) => (e.table.len() + e.key.len()) as u64,
        Effect::Delete(e) => (e.table.len() + e.key.len()) as u64,
        Effect::Dynamodb(value) => size(value),
        Effect::Sqlite(e) => e.sql.len() as u64 + e.params.iter().map(size).sum::<u64>(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_cut_where_its_effects_are_more_than_a_commit_holds() {
        let bounds = |items, bytes| CommitBounds {
            items,
            bytes,
            record_bytes: 1,
        };
        let add = |of, key: &str| (of, Effect::add("t", key, 1));
        let effects = [add(0, "a"), add(1, "a"), add(2, "b"), add(3, "c")];
        let of = |items, bytes| first_beyond(&effects, bounds(items, bytes));
        assert_eq!(
            [of(3, 1_000), of(2, 1_000), of(1, 1_000)],
            [None, Some(3), Some(2)]
        );
        assert_eq!(of(3, 150), Some(2), "by their bytes");
        // What one record writes is the store's to refuse.
        let alone = [add(1, "a"), add(1, "b"), add(1, "c")];
        assert_eq!(first_beyond(&alone, bounds(1, 1_000)), None);
    }
}
