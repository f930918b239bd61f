//! The store of one invocation: behind a mapping nobody claims a partition, and what the processor takes
//! for its checkpoint is put together out of marks, and goes into the invocation's own.
//!
//! The processor drives it as any other store. A claim begins the mark and reads those of batches that
//! overlap: what they call done is settled, and failed tries add up. A commit says what of the batch is
//! settled now. Lane items are shared with other invocations ([`super::merge`]).

mod verbs;

use super::{
    applied::Applied,
    figures::{Figures, Standstill},
    holder::Invocation,
    merge::Merged,
    standing::{Batch, Standing},
};
use crate::{
    position::Position,
    record::{Assignment, LaneKey, PartitionName, Record},
    store::{Claimed, Commit, CommitError, Committed, LaneChange, MarkStore, StoreError, TooLarge},
};
use futures_util::future::try_join3;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tokio::sync::Mutex;

/// How often a commit is put together anew, since other invocations changed its lanes.
const ROUNDS: u32 = 8;
/// How long a claim that fails is repeated, in milliseconds: what is missing in the store does not come by
/// waiting, and the mapping delivers the batch again.
const PATIENCE: i64 = 5_000;
/// Milliseconds since 1970, of the processor's clock.
type Wall = Arc<dyn Fn() -> i64 + Send + Sync>;

/// The store of one invocation.
pub(super) struct Marked {
    inner: Arc<dyn MarkStore>,
    invocation: Invocation,
    wall: Wall,
    parts: BTreeMap<PartitionName, Mutex<Standing>>,
    /// Records out of chains whose effects are durable.
    applied: Arc<Applied>,
    /// When lanes were read, by their place, in milliseconds since 1970.
    read_at: Mutex<BTreeMap<PartitionName, i64>>,
    /// Since when claims fail, in milliseconds since 1970.
    failing_since: Mutex<Option<i64>>,
}

impl Marked {
    pub(super) fn new(
        inner: Arc<dyn MarkStore>,
        invocation: Invocation,
        wall: Wall,
        batches: Vec<Batch>,
    ) -> Self {
        let bounds = inner.bounds();
        let parts = { batches.into_iter() }.map(|batch| {
            let name = batch.partition.clone();
            (name, Mutex::new(Standing::new(batch, &invocation, bounds)))
        });
        Self {
            parts: parts.collect(),
            applied: Arc::default(),
            read_at: Mutex::default(),
            failing_since: Mutex::new(None),
            inner,
            invocation,
            wall,
        }
    }

    fn part(&self, partition: &PartitionName) -> Result<&Mutex<Standing>, StoreError> {
        self.parts.get(partition).ok_or_else(|| {
            StoreError::Damaged(format!("{partition}: no record of it was delivered"))
        })
    }

    async fn lanes_at(&self, partition: &PartitionName) -> Result<PartitionName, StoreError> {
        let standing = self.part(partition)?.lock().await;
        Ok(standing.lanes_at().clone())
    }

    /// Records of a batch that nobody's durable mark calls done, ascending; all of them before the claim.
    pub(super) async fn unfinished(&self, partition: &PartitionName) -> Vec<Position> {
        match self.parts.get(partition) {
            Some(part) => part.lock().await.unfinished(),
            None => Vec::new(),
        }
    }

    /// How many records of the batch others had done, or have in a chain.
    #[cfg(all(feature = "cli", feature = "kinesis"))]
    pub(super) async fn known(&self, partition: &PartitionName) -> u64 {
        match self.parts.get(partition) {
            Some(part) => part.lock().await.already_done(),
            None => 0,
        }
    }

    /// Whether it is known of any partition what is done.
    pub(super) async fn is_any_claimed(&self) -> bool {
        for part in self.parts.values() {
            if part.lock().await.is_claimed() {
                return true;
            }
        }
        false
    }

    pub(super) async fn note_read(&self, standing: &Standing) {
        let mut read_at = self.read_at.lock().await;
        read_at.insert(standing.lanes_at().clone(), (self.wall)());
    }

    /// Reads lanes once more that are known to stand since longer than `fresh`, in milliseconds: who has released
    /// them meanwhile may have been another. What cannot be read stays as it is known.
    pub(super) async fn look_at_standing(&self, fresh: i64) {
        for part in self.parts.values() {
            let mut standing = part.lock().await;
            if !standing.is_claimed() || standing.standstill() == Standstill::default() {
                continue;
            }
            let known = self.read_at.lock().await;
            let read_at = known.get(standing.lanes_at()).copied();
            drop(known);
            if read_at.is_some_and(|at| (self.wall)().saturating_sub(at) < fresh) {
                continue;
            }
            if let Ok(items) = self.inner.lane_items(standing.lanes_at()).await {
                standing.read(items);
                self.note_read(&standing).await;
            }
        }
    }

    /// What is known of records that others have settled, and of lanes that stand.
    pub(super) async fn figures(&self, figures: &mut Figures) {
        let (mut seen, mut lanes) = (BTreeSet::new(), Standstill::default());
        for part in self.parts.values() {
            let standing = part.lock().await;
            if !standing.is_claimed() {
                return;
            }
            figures.already_done += standing.already_done();
            if seen.insert(standing.lanes_at().clone()) {
                lanes.add_all(standing.standstill());
            }
        }
        figures.lanes = Some(lanes);
    }

    /// Records of the batch that the processor does not get, once they are known.
    pub(super) async fn withheld(&self, partition: &PartitionName) -> BTreeSet<Position> {
        match self.parts.get(partition) {
            Some(part) => part.lock().await.withheld(),
            None => BTreeSet::new(),
        }
    }

    /// Nothing of the partition will come up to here but what is in the batch, as far as its lanes ask.
    pub(super) async fn passed_over(&self, partition: &PartitionName) -> Option<Position> {
        let part = self.parts.get(partition)?;
        Some(part.lock().await.passed_over().clone())
    }

    /// A claim, until patience ends.
    async fn claim_in_time(&self, partition: &PartitionName) -> Result<Claimed, StoreError> {
        let claimed = self.begin(partition).await;
        let mut failing_since = self.failing_since.lock().await;
        match claimed {
            Err(StoreError::OutOfReach(why)) => {
                let now = (self.wall)();
                let since = *failing_since.get_or_insert(now);
                if now.saturating_sub(since) < PATIENCE {
                    return Err(StoreError::OutOfReach(why));
                }
                Err(StoreError::Damaged(format!(
                    "nothing of the batch has started, since what is done of it is not known: {why}"
                )))
            }
            claimed => {
                *failing_since = None;
                claimed
            }
        }
    }

    async fn begin(&self, partition: &PartitionName) -> Result<Claimed, StoreError> {
        let mut standing = self.part(partition)?.lock().await;
        let first = standing.first_commit(&self.invocation);
        let (from, to) = standing.ends();
        let began = async {
            match &first {
                Some(first) => self.write_first(first).await,
                None => Ok(()),
            }
        };
        let marks = async {
            match standing.may_have_marks() {
                true => self.inner.marks(partition, &from, &to).await,
                false => Ok(Vec::new()),
            }
        };
        let items = self.inner.lane_items(standing.lanes_at());
        let ((), marks, items) = try_join3(began, marks, items).await?;
        self.note_read(&standing).await;
        let claimed = standing.claimed(&self.invocation, &marks, items, (self.wall)());
        if first.is_some()
            && let Some(mark) = standing.without_heads()
            && let Some(whole) = standing.first_commit(&self.invocation)
        {
            // Where a store keeps a mark may hang on both of its ends, and there is to be one of an invocation.
            self.inner.unmark(partition, &mark).await?;
            self.write_first(&whole).await?;
        }
        Ok(claimed)
    }

    async fn write_first(&self, commit: &Commit) -> Result<(), StoreError> {
        let one = self.inner.commit(std::slice::from_ref(commit)).await;
        match one.into_iter().next() {
            Some(Ok(_)) => Ok(()),
            Some(Err(CommitError::Damaged(why))) => Err(StoreError::Damaged(why)),
            Some(Err(error)) => Err(StoreError::OutOfReach(error.to_string())),
            None => Err(StoreError::OutOfReach("no answer".to_owned())),
        }
    }

    /// The chain's next record behind a position, where the chain is longer than the processor knows.
    async fn next_of_chain(
        &self,
        standing: &Standing,
        change: &LaneChange,
    ) -> Result<Option<Position>, CommitError> {
        let Some(after) = standing.grown(change) else {
            return Ok(None);
        };
        let assignment = Arc::new(Assignment {
            name: standing.lanes_at().clone(),
            ..standing.assignment(&self.invocation)
        });
        let found = self
            .inner
            .chain(&assignment, &change.lane, Some(&after), 1, 0);
        let found = found
            .await
            .map_err(|error| CommitError::NotWritten(error.to_string()))?;
        Ok(found.first().map(|record| record.position().clone()))
    }

    /// Finds out which records of a chain another invocation has done while they were parked, as far as
    /// their effects say so: they do not run again.
    async fn look_for_applied(&self, records: &[Record]) -> Result<(), StoreError> {
        let mut places: BTreeMap<(&PartitionName, u64), Vec<Position>> = BTreeMap::new();
        for record in records {
            let assignment = record.assignment();
            let place = places.entry((&assignment.name, assignment.generation));
            place.or_default().push(record.position().clone());
        }
        for ((partition, generation), positions) in places {
            let done = self.inner.done(partition, generation, &positions).await?;
            self.applied.extend(partition, done);
        }
        Ok(())
    }

    /// Whether a record's letter may be sent: its lane stands at it, by this invocation's word.
    pub(super) async fn may_publish(&self, record: &Record) -> bool {
        let Some(lane) = LaneKey::from_bytes(record.lane()) else {
            return false;
        };
        let lease = self.invocation.lease();
        for part in self.parts.values() {
            let standing = part.lock().await;
            if standing.may_publish(&lane, record.position(), &lease) {
                return true;
            }
        }
        false
    }

    /// Records out of chains that are done, as they become known.
    pub(super) fn applied(&self) -> Arc<Applied> {
        Arc::clone(&self.applied)
    }

    /// What of the processor's commit is written, and which of its lanes that is.
    async fn merged(
        &self,
        standing: &mut Standing,
        commit: &Commit,
    ) -> Result<(Vec<LaneChange>, Vec<usize>), CommitError> {
        let (mut lanes, mut of, mut overtaken) = (Vec::new(), Vec::new(), Vec::new());
        let lease = self.invocation.lease();
        for (index, change) in commit.lanes.iter().enumerate() {
            let next = self.next_of_chain(standing, change).await?;
            let sides = standing.sides(
                change,
                |head| commit.checkpoint.settles(head),
                next.as_ref(),
                (&lease, (self.wall)()),
            );
            match sides.merge() {
                Ok(Merged::Write(change)) => {
                    lanes.push(*change);
                    of.push(index);
                }
                Ok(Merged::Nothing) => {}
                Ok(Merged::Hold(change)) => {
                    tracing::warn!(partition = %commit.partition, lane = %change.lane, "its producer sends one key to several shards at once, and its chain goes on behind this record already: the lane stops");
                    overtaken.push(change.lane.clone());
                    lanes.push(*change);
                    of.push(index);
                }
                Err(error) => {
                    tracing::warn!(partition = %commit.partition, "{error}");
                    overtaken.push(change.lane.clone());
                }
            }
        }
        let over = standing.reopened(commit, lanes.len(), (&lease, (self.wall)()));
        lanes.extend(over);
        standing.give_up(overtaken);
        Ok((lanes, of))
    }

    async fn commit_one(&self, commit: &Commit) -> Result<Committed, CommitError> {
        let part = self.part(&commit.partition);
        let part = part.map_err(|error| CommitError::Damaged(error.to_string()))?;
        let mut standing = part.lock().await;
        let mut effects: Vec<usize> = (0..commit.effects.len()).collect();
        let mut spare = 0;
        for round in 0..ROUNDS {
            let (built, of) = match standing.sent(commit.content) {
                // What became of it is not known: nothing else may be sent before.
                Some((built, of, with)) => {
                    effects = with;
                    (built, of)
                }
                None => {
                    let (lanes, of) = self.merged(&mut standing, commit).await?;
                    let mut built = standing.build(commit, lanes, (&effects, spare));
                    built.content[15] ^= u8::try_from(round).unwrap_or(u8::MAX);
                    (built, of)
                }
            };
            if standing.leaves_nothing(&built, (self.wall)()) {
                if standing.is_written() {
                    let gone = self.inner.unmark(&commit.partition, standing.mark()).await;
                    gone.map_err(|error| CommitError::NotWritten(error.to_string()))?;
                }
                standing.durable(commit, &built);
                return Ok(Committed::default());
            }
            standing.sending(commit.content, &built, (&of, &effects));
            let outcome = self.inner.commit(std::slice::from_ref(&built)).await;
            let outcome = outcome.into_iter().next();
            let outcome =
                outcome.unwrap_or_else(|| Err(CommitError::Unknown("no answer".to_owned())));
            if !matches!(outcome, Err(CommitError::Unknown(_))) {
                standing.answered();
            }
            match outcome {
                Ok(committed) => {
                    standing.durable(commit, &built);
                    return Ok(committed);
                }
                Err(CommitError::LaneMoved(_)) => {
                    let items = self.inner.lane_items(standing.lanes_at()).await;
                    let items = items.map_err(|e| CommitError::NotWritten(e.to_string()))?;
                    standing.read(items);
                }
                // Another invocation has applied them.
                Err(CommitError::AlreadyDone(done)) => {
                    let mut index = 0;
                    effects.retain(|_| {
                        index += 1;
                        !done.contains(&(index - 1))
                    });
                }
                Err(CommitError::TooLarge {
                    what: TooLarge::Checkpoint,
                    bytes,
                    max,
                }) => spare += bytes.saturating_sub(max).max(1),
                Err(error) => return Err(told(error, &of, &effects)),
            }
        }
        let why = "other invocations changed its lanes each time";
        Err(CommitError::NotWritten(why.to_owned()))
    }

    async fn end(&self, partition: &PartitionName) -> Result<(), StoreError> {
        let mut standing = self.part(partition)?.lock().await;
        let lanes_max = (self.inner.bounds().items / 2).max(1);
        let mut conflicts = 0;
        while conflicts < ROUNDS {
            let now = (self.wall)();
            let Some(last) = standing.last_commit(&self.invocation, lanes_max, now) else {
                return Ok(());
            };
            if standing.says_nothing() && last.lanes.is_empty() {
                return match standing.is_written() {
                    true => self.inner.unmark(partition, standing.mark()).await,
                    false => Ok(()),
                };
            }
            let outcome = self.inner.commit(std::slice::from_ref(&last)).await;
            match outcome.into_iter().next() {
                Some(Ok(_)) => standing.ended(&last),
                Some(Err(CommitError::LaneMoved(_))) => {
                    conflicts += 1;
                    let items = self.inner.lane_items(standing.lanes_at()).await?;
                    standing.read(items);
                }
                Some(Err(error)) => return Err(StoreError::OutOfReach(error.to_string())),
                None => return Err(StoreError::OutOfReach("no answer".to_owned())),
            }
        }
        Ok(())
    }
}

/// An error of what was written, as one of what the processor sent.
fn told(error: CommitError, lanes: &[usize], effects: &[usize]) -> CommitError {
    let lane = |index: usize| lanes.get(index).copied().unwrap_or(index);
    let effect = |index: usize| effects.get(index).copied().unwrap_or(index);
    match error {
        CommitError::EffectsRefused(refused) => CommitError::EffectsRefused(
            { refused.into_iter() }
                .map(|(index, why)| (effect(index), why))
                .collect(),
        ),
        CommitError::Apart(apart) => CommitError::Apart(apart.into_iter().map(effect).collect()),
        CommitError::TooLarge { what, bytes, max } => CommitError::TooLarge {
            what: match what {
                TooLarge::Checkpoint => TooLarge::Checkpoint,
                TooLarge::Lane(index) => TooLarge::Lane(lane(index)),
                TooLarge::Effects(index) => TooLarge::Effects(effect(index)),
            },
            bytes,
            max,
        },
        error @ (CommitError::Fenced { .. }
        | CommitError::AlreadyDone(_)
        | CommitError::LaneMoved(_)
        | CommitError::NotWritten(_)
        | CommitError::Unknown(_)
        | CommitError::OtherContent { .. }
        | CommitError::Damaged(_)) => error,
    }
}
