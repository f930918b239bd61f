//! The effects of a commit: what they are written as, and which of them a failure is about.

use super::{
    DynamodbStore,
    commit::{BYTES_MAX, ITEMS_MAX, Part, unbuilt},
    native::{self, Native},
    schema::Item,
    values::{self, Draft, Write},
};
use crate::{
    effect::{Effect, target::table_name},
    record::LaneKey,
    store::{Commit, CommitError, RecordEffects, StoreError, rules},
};
use aws_sdk_dynamodb::types::TransactWriteItem;
use futures_util::future::try_join_all;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Most items that one record may write: the rest of the transaction is for the checkpoint, its copy
/// for the history, and lanes.
const RECORD_ITEMS_MAX: usize = ITEMS_MAX - 10;

type Place<'c> = (&'c str, &'c str);

/// All effects of a commit, ready to be written.
pub(super) struct Effects<'c> {
    drafts: BTreeMap<Place<'c>, Draft>,
    natives: Vec<(usize, Native)>,
}

/// Why nothing is sent.
pub(super) enum AtOnce {
    /// Some effect on the value table cannot hold, whatever is there.
    Contradiction,
    /// Native effects are malformed: indices of [`Commit::effects`], the first of each lane, and why.
    Refused(Vec<(usize, String)>),
    /// Native effects on one item: indices of [`Commit::effects`] that need another commit.
    Apart(Vec<usize>),
    /// The effects of this record, and their bytes.
    TooLarge(usize, u64),
}

impl<'c> Effects<'c> {
    /// Without a write: to judge effects that contradict themselves.
    pub(super) fn unwritten(_commit: &'c Commit) -> Self {
        Self {
            drafts: BTreeMap::new(),
            natives: Vec::new(),
        }
    }

    pub(super) fn of(store: &DynamodbStore, commit: &'c Commit) -> Result<Self, AtOnce> {
        let mut natives: Vec<(usize, Native)> = Vec::new();
        let (mut refused, mut apart) = (Vec::new(), BTreeSet::new());
        for (index, record) in commit.effects.iter().enumerate() {
            let size = size(record);
            if size.1 > BYTES_MAX || size.0 > RECORD_ITEMS_MAX {
                return Err(AtOnce::TooLarge(index, size.1.max(1)));
            }
            for effect in &record.effects {
                let native = match effect {
                    Effect::Dynamodb(_) => native::read(effect, &store.table),
                    Effect::Sqlite(_) => Err(
                        "this store is in DynamoDB: use `put`, `add`, `delete` or `dynamodb`, or a local store"
                            .to_owned(),
                    ),
                    Effect::Put(_) | Effect::Add(_) | Effect::Delete(_) => continue,
                };
                match native {
                    Err(why) => refused.push((index, named(commit, record, &told(effect, &why)))),
                    Ok(native) => {
                        match natives.iter().find(|(_, n)| n.target.is(&native.target) == Some(true)) {
                            Some((of, _)) if *of == index => refused.push((
                                index,
                                named(commit, record, &told(effect, "two of this record's effects write one item, which a transaction takes once")),
                            )),
                            Some(_) => {
                                apart.insert(index);
                            }
                            None => {}
                        }
                        natives.push((index, native));
                    }
                }
            }
        }
        if !refused.is_empty() {
            return Err(AtOnce::Refused(first_of_each_lane(commit, refused)));
        }
        if !apart.is_empty() {
            return Err(AtOnce::Apart(apart.into_iter().collect()));
        }
        Ok(Self {
            drafts: drafts(commit).ok_or(AtOnce::Contradiction)?,
            natives,
        })
    }

    /// Value tables that are written.
    pub(super) fn tables(&self) -> BTreeSet<&'c str> {
        self.drafts.keys().map(|(table, _)| *table).collect()
    }

    /// Adds the writes to a transaction.
    pub(super) fn write(
        &self,
        store: &DynamodbStore,
        writes: &mut Vec<(Part, TransactWriteItem)>,
    ) -> Result<(), CommitError> {
        for ((table, key), draft) in &self.drafts {
            let key = values::key(&store.values, table, key);
            let (write, expression) = draft.write(&key);
            let write = match write {
                Write::Put(item) => expression.put(&store.table, item),
                Write::Delete => expression.delete(&store.table, key),
                Write::Update => expression.update(&store.table, key),
            };
            writes.push((Part::Value, write.map_err(unbuilt)?));
        }
        for (index, native) in &self.natives {
            writes.push((Part::Native(*index), native.write.clone()));
        }
        Ok(())
    }

    /// The table calls the transaction as such invalid. Of what is in it only native effects can be
    /// to blame: one of them is malformed in a way that only the table sees, or two are one item.
    pub(super) fn invalid(&self, commit: &Commit, told: String) -> CommitError {
        let records: BTreeSet<usize> = self.natives.iter().map(|(index, _)| *index).collect();
        let mut records = records.into_iter();
        match (records.next(), records.next()) {
            (None, _) => CommitError::Damaged(told),
            (Some(only), None) => match commit.effects.get(only) {
                Some(record) => {
                    CommitError::EffectsRefused(vec![(only, named(commit, record, &told))])
                }
                None => CommitError::Damaged(told),
            },
            (Some(_), Some(second)) => {
                CommitError::Apart(std::iter::once(second).chain(records).collect())
            }
        }
    }

    pub(super) fn has_natives(&self) -> bool {
        !self.natives.is_empty()
    }

    /// The user's table that a denial is about, if it is about one that native effects write.
    pub(super) fn of_denied(&self, store: &DynamodbStore, message: &str) -> Option<String> {
        let table = table_denied(message)?;
        let is_written = self.natives.iter().any(|(_, n)| n.target.table() == table);
        (is_written && table != table_name(&store.table)).then(|| table.to_owned())
    }

    /// All that write to a table which may not be written.
    pub(super) fn forbidden(
        &self,
        commit: &Commit,
        table: &str,
        code: &str,
        message: &str,
    ) -> CommitError {
        let why =
            format!("effect `dynamodb`: {code}: {message}: give the role rights on `{table}`");
        let of_table = self
            .natives
            .iter()
            .filter(|(_, n)| n.target.table() == table);
        let refused = of_table.filter_map(|(index, _)| {
            let record = commit.effects.get(*index)?;
            Some((*index, named(commit, record, &why)))
        });
        CommitError::EffectsRefused(first_of_each_lane(commit, refused.collect()))
    }

    /// Which records are refused: the values are read and the effects played on them, in order.
    /// `natives`: records whose native effects' conditions do not hold.
    pub(super) async fn judge(
        &self,
        store: &DynamodbStore,
        commit: &Commit,
        natives: Vec<(usize, String)>,
    ) -> CommitError {
        let values = match read_all(store, commit).await {
            Ok(values) => values,
            Err(error) => return super::commit::not_written(error),
        };
        let refused = played(commit, values, &natives);
        if refused.is_empty() {
            return CommitError::NotWritten(format!(
                "{}: values of commit {} of {} changed meanwhile",
                store.place(),
                commit.number,
                commit.partition
            ));
        }
        CommitError::EffectsRefused(refused)
    }
}

fn drafts(commit: &Commit) -> Option<BTreeMap<Place<'_>, Draft>> {
    let mut drafts: BTreeMap<Place<'_>, Draft> = BTreeMap::new();
    for effect in commit.effects.iter().flat_map(|record| &record.effects) {
        if is_native(effect) {
            continue;
        }
        let draft = drafts.entry(effect.target()).or_insert_with(Draft::new);
        draft.add(effect).ok()?;
    }
    Some(drafts)
}

fn is_native(effect: &Effect) -> bool {
    matches!(effect, Effect::Dynamodb(_) | Effect::Sqlite(_))
}

/// Items and bytes of a record's effects.
fn size(record: &RecordEffects) -> (usize, u64) {
    let bytes = record.effects.iter().map(|effect| {
        128 + match effect {
            Effect::Put(e) => rules::encoded(&e.value).len() as u64,
            Effect::Dynamodb(body) => body.to_string().len() as u64,
            Effect::Add(_) | Effect::Delete(_) | Effect::Sqlite(_) => 0,
        }
    });
    let mut items = BTreeSet::new();
    let mut natives = 0;
    for effect in &record.effects {
        if is_native(effect) {
            natives += 1;
        } else {
            items.insert(effect.target());
        }
    }
    (items.len() + natives, bytes.sum())
}

async fn read_all<'c>(
    store: &DynamodbStore,
    commit: &'c Commit,
) -> Result<BTreeMap<Place<'c>, Option<Value>>, StoreError> {
    let effects = commit.effects.iter().flat_map(|record| &record.effects);
    let places: BTreeSet<Place<'_>> = effects
        .filter(|effect| !is_native(effect))
        .map(Effect::target)
        // What no item can be called is refused by its name.
        .filter(|(table, key)| {
            let sound = |name: &str, max| (1..=max).contains(&name.len());
            sound(table, rules::TABLE_BYTES_MAX) && sound(key, rules::KEY_BYTES_MAX)
        })
        .collect();
    let read = places.into_iter().map(|place| async move {
        let item: Option<Item> = store
            .item(&values::key(&store.values, place.0, place.1))
            .await?;
        let value = item.map(|item| store.value_of(&item)).transpose()?;
        Ok::<_, StoreError>((place, value))
    });
    Ok(try_join_all(read).await?.into_iter().collect())
}

/// Of each lane the first record whose effects are refused.
fn played<'c>(
    commit: &'c Commit,
    mut values: BTreeMap<Place<'c>, Option<Value>>,
    natives: &[(usize, String)],
) -> Vec<(usize, String)> {
    let mut stopped: BTreeSet<&LaneKey> = BTreeSet::new();
    let mut refused = Vec::new();
    for (index, record) in commit.effects.iter().enumerate() {
        if stopped.contains(&record.lane) {
            continue;
        }
        let native = natives.iter().find(|(of, _)| *of == index);
        let mut own = BTreeMap::new();
        let outcome = match native {
            Some((_, why)) => Err(format!("effect `dynamodb`: {why}")),
            None => record
                .effects
                .iter()
                .filter(|effect| !is_native(effect))
                .try_for_each(|effect| {
                    let place = effect.target();
                    let current: Option<&Option<Value>> =
                        own.get(&place).or_else(|| values.get(&place));
                    let current = current.and_then(Option::as_ref);
                    let next = rules::next_value(effect, current)?;
                    own.insert(place, next);
                    Ok(())
                }),
        };
        match outcome {
            Ok(()) => values.append(&mut own),
            Err(why) => {
                stopped.insert(&record.lane);
                refused.push((index, named(commit, record, &why)));
            }
        }
    }
    refused
}

fn first_of_each_lane(commit: &Commit, refused: Vec<(usize, String)>) -> Vec<(usize, String)> {
    let mut seen: BTreeSet<&LaneKey> = BTreeSet::new();
    let is_first = |(index, _): &(usize, String)| {
        let record = commit.effects.get(*index);
        record.is_some_and(|record| seen.insert(&record.lane))
    };
    refused.into_iter().filter(is_first).collect()
}

fn told(effect: &Effect, why: &str) -> String {
    let verb = effect.target().0;
    format!("effect `{verb}`: {why}")
}

fn named(commit: &Commit, record: &RecordEffects, why: &str) -> String {
    format!(
        "record `{}/{}`: {why}",
        commit.partition_of(record),
        record.position
    )
}

/// The table that a denial names: `… on resource: arn:aws:dynamodb:…:table/orders because …`.
fn table_denied(message: &str) -> Option<&str> {
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let named = message.split_once(":table/")?.1;
    named.split(|c| !sound(c)).next().filter(|t| !t.is_empty())
}

#[cfg(test)]
mod tests {
    use super::table_denied;

    #[test]
    fn the_table_of_a_denial_is_read() {
        let said = "User: arn:aws:iam::1:user/u is not authorized to perform: dynamodb:PutItem on resource: arn:aws:dynamodb:us-east-1:1:table/my.orders-1 because no identity-based policy allows it";
        assert_eq!(table_denied(said), Some("my.orders-1"));
        assert_eq!(table_denied("to kms:Decrypt on key/1"), None);
        assert_eq!(table_denied("on arn:aws:dynamodb:us-east-1:1:table/"), None);
    }
}
