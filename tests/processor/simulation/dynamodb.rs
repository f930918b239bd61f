//! What the store in DynamoDB does otherwise than the one in SQLite: each commit is a call of its own,
//! within bounds, sent again for a while, and paid for; a native effect's item is written once a
//! transaction; a claim is several requests.

use super::{
    log::Log,
    plan::Temper,
    store::{Canary, Seat, usurps},
    target::Place,
    world::{lock, now},
};
use fastrand::Rng;
use lanekeeper::{
    Effect,
    store::{
        Commit, CommitBounds, CommitError, Committed, Store, TooLarge,
        memory::{Contents, Memory},
    },
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    slice,
    sync::Arc,
    time::Duration,
};

/// As the store has them.
pub(super) const BEATS_EVERY: Duration = Duration::from_secs(60);
pub(super) const LOOKS_EVERY: Duration = Duration::from_secs(600);
const BOUNDS: CommitBounds = CommitBounds {
    items: 90,
    bytes: 3 * 1024 * 1024,
    record_bytes: 192 * 1024,
};
/// Items of a transaction beyond those bounds.
const BEYOND: usize = 10;
/// Waits between two requests of a call.
const WAIT_MIN: Duration = Duration::from_millis(20);
const WAIT_MAX: Duration = Duration::from_secs(1);
/// Write units from which on a commit stretches the flush interval.
const UNITS_HIGH: f64 = 64.0;
/// Values that handlers of many records write.
const SHARED: u64 = 3;
/// Tables of such values: in the value table, and as native effects write them.
const VALUES: &str = "shared";
const NATIVES: &str = "native";

/// How the store of a history acts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) bounds: CommitBounds,
    /// Items of a transaction.
    items_max: usize,
    /// How long a call goes on sending a request.
    patience: Duration,
    /// Write units for each that it would be.
    price: f64,
}

impl Rules {
    /// In every other history.
    pub(super) fn draw(seed: u64, tight: bool) -> Option<Self> {
        let mut rng = Rng::with_seed(seed ^ 0xd74a_11db);
        if rng.bool() {
            return None;
        }
        let patience = *rng.choice(&[0, 200, 2_000, 10_000])?;
        let price = if rng.bool() { 1.0 } else { rng.f64() * 60.0 };
        let tight_bounds = CommitBounds {
            items: rng.usize(4..=8),
            bytes: 8 * 1024,
            record_bytes: rng.usize(100..3_000),
        };
        let bounds = if tight { tight_bounds } else { BOUNDS };
        Some(Self {
            items_max: bounds.items + if tight { BEYOND / 2 } else { BEYOND },
            bounds,
            patience: Duration::from_millis(patience),
            price,
        })
    }

    /// More effects than any transaction takes.
    pub(super) fn too_many(self) -> impl Iterator<Item = Effect> {
        (0..=self.bounds.items).map(|n| Effect::add("many", &n.to_string(), 1))
    }

    /// What the store says without asking the table.
    fn refused(self, commit: &Commit, twice: bool) -> Option<CommitError> {
        let mut seen: BTreeMap<Native<'_>, usize> = BTreeMap::new();
        let mut apart = BTreeSet::new();
        for (index, record) in commit.effects.iter().enumerate() {
            let items = items_of(&record.effects);
            if items > self.bounds.items {
                let what = TooLarge::Effects(index);
                let (bytes, max) = (items as u64, self.bounds.items as u64);
                return Some(CommitError::TooLarge { what, bytes, max });
            }
            for native in record.effects.iter().filter_map(native) {
                if *seen.entry(native).or_insert(index) != index {
                    apart.insert(index);
                }
            }
        }
        if !apart.is_empty() && !twice {
            return Some(CommitError::Apart(apart.into_iter().collect()));
        }
        let items = items(commit);
        (items > self.items_max).then(|| {
            CommitError::Damaged(format!(
                "{items} items, a transaction takes {}",
                self.items_max
            ))
        })
    }

    /// What a commit costs: a checkpoint alone is an update, all else a transaction.
    fn units(self, commit: &Commit) -> f64 {
        let kilobytes = |bytes: usize| (bytes / 1024 + 1) as f64;
        let checkpoint = kilobytes(commit.checkpoint.open.encode().len() + 300);
        let items = items(commit) - 1;
        let appended = commit.lanes.iter().flat_map(|lane| &lane.append);
        let appended = kilobytes(appended.map(|record| record.bytes()).sum());
        let transaction = if items == 0 {
            0.0
        } else {
            checkpoint + 2.0 * (items as f64 + appended)
        };
        (checkpoint + transaction) * self.price
    }
}

/// A native write: what of, and of which item.
type Native<'e> = (&'e str, &'e str);

fn native(effect: &Effect) -> Option<Native<'_>> {
    let Effect::Dynamodb(write) = effect else {
        return None;
    };
    let (verb, body) = write.as_object()?.iter().next()?;
    let key = if verb == "Put" { "Item" } else { "Key" };
    Some((body["TableName"].as_str()?, body[key]["id"]["S"].as_str()?))
}

/// Items that effects write.
fn items_of<'e>(effects: impl IntoIterator<Item = &'e Effect>) -> usize {
    let (mut values, mut natives) = (BTreeSet::new(), 0);
    for effect in effects {
        if matches!(effect, Effect::Dynamodb(_)) {
            natives += 1;
        } else {
            values.insert(effect.target());
        }
    }
    values.len() + natives
}

/// Items of a commit's transaction: the checkpoint, its copy, lanes, segments, and what effects write.
fn items(commit: &Commit) -> usize {
    let segments = { commit.lanes.iter() }.filter(|lane| !lane.append.is_empty());
    let effects = commit.effects.iter().flat_map(|record| &record.effects);
    1 + usize::from(commit.keep) + commit.lanes.len() + segments.count() + items_of(effects)
}

/// The effect on a shared value that a record's handler answers with, by its place.
pub(super) fn shared(place: Place) -> Option<Effect> {
    let (table, key) = shared_by(place)?;
    if table == VALUES {
        return Some(Effect::add(VALUES, &key, 1));
    }
    Some(Effect::Dynamodb(json!({"Update": {
        "TableName": NATIVES,
        "Key": {"id": {"S": key}},
        "UpdateExpression": "ADD n :by",
        "ExpressionAttributeValues": {":by": {"N": "1"}},
    }})))
}

fn shared_by(place: Place) -> Option<(&'static str, String)> {
    let key = (place.1 / 3 % SHARED).to_string();
    match place.1 % 3 {
        0 => Some((NATIVES, key)),
        1 => Some((VALUES, key)),
        _ => None,
    }
}

/// Native effects as the store in memory plays them. `twice`: of those on one item the last stands.
fn played(commit: &Commit, twice: bool) -> Commit {
    let mut commit = commit.clone();
    let mut written = BTreeSet::new();
    for record in commit.effects.iter_mut().rev() {
        record.effects.retain_mut(|effect| {
            let Some((table, key)) = native(effect) else {
                return true;
            };
            let (table, key) = (table.to_owned(), key.to_owned());
            *effect = Effect::add(&table, &key, 1);
            written.insert((table, key)) || !twice
        });
    }
    commit
}

/// Shared values count what was done: an effect that is there without the others of its record, or
/// that another one overwrote, shows in a sum.
pub(super) fn unequal(log: &Log, contents: &Contents, problems: &mut Vec<String>) {
    let mut sums: BTreeMap<(String, String), i64> = BTreeMap::new();
    let number = |value: &Value| value.as_i64().unwrap_or(0);
    for ((table, id), times) in &contents.values {
        let mut parts = id.rsplitn(3, '/').skip(1);
        if table == "done"
            && let (Some(position), Some(name)) = (parts.next(), parts.next())
            && let Some(partition) = (0..log.len()).find(|p| log.name(*p).to_string() == name)
            && let Ok(position) = position.parse()
            && let temper = log.entry(partition, position).temper
            && matches!(temper, Temper::Effect | Temper::BadEffect)
            && let Some((table, key)) = shared_by((partition, position))
        {
            *sums.entry((table.to_owned(), key)).or_default() += number(times);
        }
    }
    for (place, sum) in sums {
        let found = contents.values.get(&place).map_or(0, number);
        if found != sum && contents.values.keys().any(|(table, _)| table == VALUES) {
            problems.push(format!("{place:?} is {found}, its effects come to {sum}"));
        }
    }
}

impl Seat {
    /// Each commit is a call of its own.
    pub(super) async fn commit_each(
        &self,
        rules: Rules,
        commits: &[Commit],
    ) -> Vec<Result<Committed, CommitError>> {
        let mut results = Vec::new();
        for commit in commits {
            let result = self.commit_one(rules, commit).await;
            self.pays(&result);
            results.push(result);
        }
        if results.len() != 1 {
            self.shared.problem("commits share a call".to_owned());
        }
        results
    }

    fn pays(&self, result: &Result<Committed, CommitError>) {
        if let Ok(committed) = result {
            let mut consumed = lock(&self.consumed);
            consumed.requests += 1;
            consumed.write_units += committed.write_units;
            let stretched = committed.write_units > UNITS_HIGH;
            self.shared.count(|c| c.stretched += u64::from(stretched));
        }
    }

    async fn commit_one(&self, rules: Rules, commit: &Commit) -> Result<Committed, CommitError> {
        let twice = self.has(Canary::ItemTwice);
        if let Some(refused) = rules.refused(commit, twice) {
            if matches!(refused, CommitError::Damaged(_)) {
                self.shared.problem(refused.to_string());
            }
            return Err(refused);
        }
        let played = played(commit, twice);
        let result = self.sends(rules, &played).await;
        match result {
            Ok(committed) if committed.repeated => Ok(committed),
            Ok(committed) => Ok(Committed {
                write_units: rules.units(commit),
                ..committed
            }),
            // The values are read once the transaction is refused, and may be others by then.
            Err(CommitError::EffectsRefused(_)) if self.may_change() => {
                let why = "values changed meanwhile".to_owned();
                Err(CommitError::NotWritten(why))
            }
            Err(CommitError::Unknown(why)) => {
                if self.has(Canary::LandsLate) {
                    self.lands_late(played);
                }
                Err(CommitError::Unknown(why))
            }
            Err(error) => Err(error),
        }
    }

    fn may_change(&self) -> bool {
        !self.shared.is_calm() && self.shared.chance(0.05)
    }

    /// Sends it until it is answered, for a while.
    async fn sends(&self, rules: Rules, commit: &Commit) -> Result<Committed, CommitError> {
        let (deadline, mut wait) = (now() + rules.patience, WAIT_MIN);
        let (mut unknown, mut again) = (false, false);
        loop {
            let result = self.inner.commit(slice::from_ref(commit)).await.remove(0);
            let why = match result {
                Err(CommitError::NotWritten(why)) => why,
                Err(CommitError::Unknown(why)) => {
                    unknown = true;
                    why
                }
                result => {
                    self.shared
                        .count(|c| c.sent_again += u64::from(again && result.is_ok()));
                    return result;
                }
            };
            again = true;
            let most = wait.as_millis() as u64;
            let pause = Duration::from_millis(self.shared.below(most));
            if now() + pause >= deadline {
                // One of the requests may be in, whatever the last one was told.
                return Err(if unknown {
                    CommitError::Unknown(why)
                } else {
                    CommitError::NotWritten(why)
                });
            }
            tokio::time::sleep(pause).await;
            wait = (wait * 2).min(WAIT_MAX);
        }
    }

    /// The bug: it is taken once a successor has claimed.
    fn lands_late(&self, mut commit: Commit) {
        let shared = Arc::clone(&self.shared);
        let by = Duration::from_millis(shared.below(3_000));
        tokio::spawn(async move {
            tokio::time::sleep(by).await;
            usurps(&shared, &mut commit);
            let store: &Memory = &shared.store;
            let _ = store.commit(slice::from_ref(&commit)).await;
        });
    }
}
