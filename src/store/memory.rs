//! A store in memory, for tests, the simulation and what need not outlive its process (a replay
//! without effects): it passes the same conformance suite as the real ones, and can be made to fail as
//! they do.

use super::{
    Claimed, Commit, CommitBounds, CommitError, Committed, DecideError, DecisionNote, Fence,
    HistoryItem, LaneItem, Ownership, RewindError, Store, StoreError, WorkerId, WorkerItem,
};
use crate::{
    position::Position,
    record::{Assignment, LaneKey, PartitionName, Record},
};
use futures_util::future::BoxFuture;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

mod contents;
mod effects;
mod faults;
mod marks;
mod rewind;

pub use contents::{Contents, Row};
pub use faults::{Call, Counters, Fate, Faults, Weather};
pub use marks::{MarkPlace, StoredMark};

use faults::{Flights, Item};

/// Milliseconds since 1970.
type Wall = Arc<dyn Fn() -> i64 + Send + Sync>;

/// A store in memory. A clone is another handle to the same one, as are the results of the `with_…`
/// functions: each worker of a simulation may have its own weather.
#[derive(Clone)]
pub struct Memory {
    world: Arc<World>,
    app: Arc<str>,
    faults: Option<Arc<dyn Faults>>,
    wall: Wall,
    bounds: CommitBounds,
    shares_commits: bool,
    items_once: bool,
    claims_in_steps: bool,
    /// A request of this handle arrives after its sender has given up on it.
    is_late: bool,
    write_units: f64,
}

#[derive(Default)]
struct World {
    apps: Mutex<BTreeMap<Arc<str>, Contents>>,
    flights: Flights,
    counters: Mutex<Counters>,
}

/// A panic of one test's thread does not spoil the store for what looks at it afterwards.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Memory {
    /// An empty store, without faults.
    pub fn new(app: &str) -> Self {
        let since = || SystemTime::now().duration_since(UNIX_EPOCH);
        let wall = move || since().map_or(0, |t| i64::try_from(t.as_millis()).unwrap_or(i64::MAX));
        Self {
            world: Arc::default(),
            app: app.into(),
            faults: None,
            wall: Arc::new(wall),
            bounds: CommitBounds {
                items: 10_000,
                bytes: 8 * 1024 * 1024,
                record_bytes: 300 * 1024,
            },
            shares_commits: false,
            items_once: false,
            claims_in_steps: false,
            is_late: false,
            write_units: 0.0,
        }
    }

    /// The same store for another app.
    #[must_use]
    pub fn with_app(mut self, app: &str) -> Self {
        self.app = app.into();
        self
    }

    /// The same store, with these faults for the calls of this handle.
    #[must_use]
    pub fn with_faults(mut self, faults: impl Faults + 'static) -> Self {
        self.faults = Some(Arc::new(faults));
        self
    }

    /// The same store, with a clock (milliseconds since 1970).
    #[must_use]
    pub fn with_clock(mut self, wall: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        self.wall = Arc::new(wall);
        self
    }

    /// The same store, with other bounds of a commit.
    #[must_use]
    pub fn with_bounds(mut self, bounds: CommitBounds) -> Self {
        self.bounds = bounds;
        self
    }

    /// The same store; whether it wants commits of many partitions in one call.
    #[must_use]
    pub fn with_shared_commits(mut self, shares: bool) -> Self {
        self.shares_commits = shares;
        self
    }

    /// The same store, which takes each value once a commit, as DynamoDB takes the items of native
    /// effects: what writes it again is asked to go in another ([`CommitError::Apart`]).
    #[must_use]
    pub fn with_items_once(mut self) -> Self {
        self.items_once = true;
        self
    }

    /// The same store, whose claims are several requests, as DynamoDB's are: the item is read, then
    /// written if it is as it was read, then the lanes are read.
    #[must_use]
    pub fn with_claims_in_steps(mut self) -> Self {
        self.claims_in_steps = true;
        self
    }

    /// The same store, whose commits cost so many write units each.
    #[must_use]
    pub fn with_write_units(mut self, units: f64) -> Self {
        self.write_units = units;
        self
    }

    /// Everything of this app as it stands.
    pub fn snapshot(&self) -> Contents {
        self.within(|contents| contents.clone())
    }

    /// Changes this app's contents behind the store's back.
    pub fn tamper<T>(&self, with: impl FnOnce(&mut Contents) -> T) -> T {
        self.within(with)
    }

    /// What happened so far, over all handles.
    pub fn counters(&self) -> Counters {
        *lock(&self.world.counters)
    }

    fn within<T>(&self, with: impl FnOnce(&mut Contents) -> T) -> T {
        let mut apps = lock(&self.world.apps);
        with(apps.entry(Arc::clone(&self.app)).or_default())
    }

    fn count(&self, count: impl FnOnce(&mut Counters)) {
        count(&mut lock(&self.world.counters));
    }

    fn weather(&self, call: &Call<'_>) -> Weather {
        self.faults
            .as_ref()
            .map_or_else(Weather::default, |faults| faults.weather(call))
    }

    /// A call that only looks.
    fn look<'a, T: Send + 'a>(
        &'a self,
        call: Call<'_>,
        look: impl FnOnce(&mut Contents) -> Result<T, StoreError> + Send + 'a,
    ) -> BoxFuture<'a, Result<T, StoreError>> {
        let weather = self.weather(&call);
        Box::pin(async move {
            pause(weather.before + weather.during).await;
            match weather.fate {
                Fate::Sound => {}
                Fate::Refused => return Err(StoreError::OutOfReach(REFUSED.to_owned())),
                Fate::AnswerLost | Fate::Late(_) => {
                    pause(weather.after).await;
                    return Err(StoreError::OutOfReach(LOST.to_owned()));
                }
            }
            let found = self.within(look);
            pause(weather.after).await;
            found
        })
    }

    /// A call that writes. `lost` makes an error of what is not known to be written.
    async fn write<T: Send>(
        &self,
        weather: Weather,
        (transaction, items): (bool, Vec<Item>),
        write: impl FnOnce(&Self) -> T + Send + 'static,
        lost: impl Fn(Lost) -> T + Send,
    ) -> T {
        pause(weather.before).await;
        match weather.fate {
            Fate::Sound | Fate::AnswerLost => {}
            Fate::Refused => return lost(Lost::Before(REFUSED)),
            Fate::Late(by) => {
                let mut late = self.clone();
                late.is_late = true;
                tokio::spawn(async move {
                    pause(by).await;
                    if late
                        .arrive(weather, (transaction, items), write)
                        .await
                        .is_some()
                    {
                        late.count(|c| c.landed_late += 1);
                    }
                });
                return lost(Lost::Unknown(LOST));
            }
        }
        let Some(written) = self.arrive(weather, (transaction, items), write).await else {
            return lost(Lost::Before(CONFLICT));
        };
        pause(weather.after).await;
        if weather.fate == Fate::AnswerLost {
            return lost(Lost::Unknown(LOST));
        }
        written
    }

    /// The request is at the store. `None`: it overlaps with another.
    async fn arrive<T>(
        &self,
        weather: Weather,
        (transaction, items): (bool, Vec<Item>),
        write: impl FnOnce(&Self) -> T,
    ) -> Option<T> {
        let Some(_flight) = self.world.flights.begin(transaction, items) else {
            self.count(|c| c.conflicts += 1);
            return None;
        };
        pause(weather.during).await;
        Some(write(self))
    }

    fn commit_now(&self, commit: &Commit) -> Result<Committed, CommitError> {
        let (bounds, now) = (self.bounds, (self.wall)());
        let outcome = self.within(|contents| {
            if self.items_once {
                effects::each_once(commit)?;
            }
            contents.commit(commit, bounds, now)
        });
        let outcome = outcome.map(|committed| Committed {
            write_units: self.write_units,
            ..committed
        });
        self.count(|c| match &outcome {
            Ok(committed) if committed.repeated => c.repeated += 1,
            Err(CommitError::Fenced { found, .. }) => {
                c.fenced += 1;
                let succeeded = found.1 > commit.fence.epoch;
                c.late_behind_a_successor += u64::from(self.is_late && succeeded);
            }
            Err(CommitError::OtherContent { .. }) => c.other_content += 1,
            Err(CommitError::LaneMoved(_)) => c.lane_moved += 1,
            Err(CommitError::EffectsRefused(_)) => c.effects_refused += 1,
            Ok(_)
            | Err(
                CommitError::TooLarge { .. }
                | CommitError::Apart(_)
                | CommitError::AlreadyDone(_)
                | CommitError::NotWritten(_)
                | CommitError::Unknown(_)
                | CommitError::Damaged(_),
            ) => {}
        });
        outcome
    }
}

const REFUSED: &str = "store in memory: refused for now";
const LOST: &str = "store in memory: no answer";
const CONFLICT: &str =
    "store in memory: another write is under way on an item (TransactionConflict)";

enum Lost {
    /// It is not written.
    Before(&'static str),
    /// It may be, now or later.
    Unknown(&'static str),
}

impl From<Lost> for StoreError {
    fn from(lost: Lost) -> Self {
        let (Lost::Before(why) | Lost::Unknown(why)) = lost;
        Self::OutOfReach(why.to_owned())
    }
}

impl From<Lost> for RewindError {
    fn from(lost: Lost) -> Self {
        Self::Store(lost.into())
    }
}

impl From<Lost> for DecideError {
    fn from(lost: Lost) -> Self {
        Self::Store(lost.into())
    }
}

async fn pause(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

/// What a commit locks.
fn items(commits: &[Commit]) -> Vec<Item> {
    let mut items = Vec::new();
    for commit in commits {
        items.push(match &commit.mark {
            None => Item::Checkpoint(commit.partition.clone()),
            Some(mark) => Item::Mark(marks::place(&commit.partition, mark)),
        });
        for change in &commit.lanes {
            items.push(Item::Lane(commit.partition.clone(), change.lane.clone()));
        }
        for effect in commit.effects.iter().flat_map(|record| &record.effects) {
            let (table, key) = effect.target();
            items.push(Item::Value(table.to_owned(), key.to_owned()));
        }
    }
    items
}

mod verbs;
