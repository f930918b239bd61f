//! What effects make of the values in memory.

use super::Contents;
use crate::{
    effect::Effect,
    record::LaneKey,
    store::{Commit, CommitError, rules},
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

type Overlay = BTreeMap<(String, String), Option<Value>>;

impl Contents {
    /// What the values become.
    pub(super) fn apply_effects(&self, commit: &Commit) -> Result<Overlay, CommitError> {
        let mut values = Overlay::new();
        let mut stopped: BTreeSet<&LaneKey> = BTreeSet::new();
        let mut refused = Vec::new();
        for (index, record) in commit.effects.iter().enumerate() {
            if stopped.contains(&record.lane) {
                continue;
            }
            let mut own = Overlay::new();
            match self.apply_record(&record.effects, &values, &mut own)? {
                Ok(()) => values.append(&mut own),
                Err(why) => {
                    stopped.insert(&record.lane);
                    let id = format!("{}/{}", commit.partition_of(record), record.position);
                    refused.push((index, format!("record `{id}`: {why}")));
                }
            }
        }
        if refused.is_empty() {
            Ok(values)
        } else {
            Err(CommitError::EffectsRefused(refused))
        }
    }

    /// The inner error: why an effect is refused.
    fn apply_record(
        &self,
        effects: &[Effect],
        before: &Overlay,
        own: &mut Overlay,
    ) -> Result<Result<(), String>, CommitError> {
        for effect in effects {
            let (table, key) = effect.target();
            let place = (table.to_owned(), key.to_owned());
            let stored;
            let current = match own.get(&place).or_else(|| before.get(&place)) {
                Some(value) => value.as_ref(),
                None => {
                    stored = self.value(table, key).map_err(CommitError::Damaged)?;
                    stored.as_ref()
                }
            };
            match rules::next_value(effect, current) {
                Ok(next) => own.insert(place, next),
                Err(why) => return Ok(Err(why)),
            };
        }
        Ok(Ok(()))
    }
}

/// Refuses effects of several records on one value.
pub(super) fn each_once(commit: &Commit) -> Result<(), CommitError> {
    let mut seen: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut apart = BTreeSet::new();
    for (index, record) in commit.effects.iter().enumerate() {
        for effect in &record.effects {
            if *seen.entry(effect.target()).or_insert(index) != index {
                apart.insert(index);
            }
        }
    }
    if apart.is_empty() {
        Ok(())
    } else {
        Err(CommitError::Apart(apart.into_iter().collect()))
    }
}
