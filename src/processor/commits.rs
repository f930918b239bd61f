//! Commits: when one is due, what it carries, and what its end means.

use super::{
    Processor, StoreFact,
    changes::{self, Moved},
    owned::{OutCommit, Owned},
};
use crate::{
    checkpoint::{Checkpoint, OpenSet},
    history::Event,
    position::Position,
    record::LaneKey,
    source::Order,
    store::{
        CHECKPOINT_BYTES_MAX, Commit, CommitError, Committed, ContentId, Failed, LaneChange,
        LaneItem, attempt_bytes, checkpoint_bytes,
    },
};
use futures_util::FutureExt;
use partitions::{CommitEnd, PartitionId, Ticket};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};
use uuid::Uuid;

/// Past checkpoints are kept this often.
const KEEP_EVERY: Duration = Duration::from_secs(300);
/// A worker that ran this long is not what kills itself at once: unclean claims count anew.
const SETTLED_IN_AFTER: Duration = Duration::from_secs(600);
/// Encoded open set and attempts at which a partition takes in nothing more; the store's bound is
/// [`CHECKPOINT_BYTES_MAX`].
const CHECKPOINT_BYTES_HIGH: u64 = 200 * 1024;
/// Open positions at which it does the same, however few bytes they take; half of what a restart
/// would read back.
const OPEN_HIGH: u64 = OpenSet::POSITIONS_MAX / 2;
/// Write units of one commit beyond which the flush interval stretches in proportion, and how far: a
/// checkpoint cannot cost more than about 300 of them, effects and chains can.
const WRITE_UNITS_HIGH: f64 = 64.0;
const STRETCH_MAX: f64 = 16.0;
/// First wait before a commit is sent again; doubled up to the flush interval's length or a second.
const AGAIN_MIN: Duration = Duration::from_millis(20);
const AGAIN_MAX: Duration = Duration::from_secs(2);

impl Processor {
    /// Whether a partition's changes should go out now.
    fn due(&self, id: PartitionId, owned: &Owned) -> bool {
        let early = self.now < owned.not_before;
        if owned.out.is_some() || owned.reading_lanes || owned.taking > 0 || early {
            return false;
        }
        let Some(figures) = self.engine.figures(id) else {
            return false;
        };
        let changed = owned.dirty || figures.unflushed > 0;
        let leaving = owned
            .leaving
            .as_ref()
            .is_some_and(|l| l.drained || l.deadline <= self.now);
        owned.shut()
            || self.engine.is_retracting(id)
            || (changed
                && (leaving
                    || owned.placing
                    // Nothing else will come of waiting.
                    || (self.settings.until_idle && self.engine.is_idle())
                    || self.now >= owned.flush_at(self.settings.flush_interval)
                    || figures.unflushed * 2 >= self.settings.unflushed_max))
    }

    /// Sends what is due.
    pub(super) fn commits_due(&mut self) {
        let together = self.store.shares_commits();
        if together && self.commit_calls > 0 {
            return;
        }
        let mut batch = Vec::new();
        let ids: Vec<PartitionId> = self.partitions.keys().copied().collect();
        for id in ids {
            let Some(owned) = self.partitions.get_mut(&id) else {
                continue;
            };
            if let Some(out) = &mut owned.out {
                if out.again_at.is_some_and(|at| at <= self.now) {
                    out.again_at = None;
                    out.calls += 1;
                    out.sent_at = self.now;
                    batch.push((id, Arc::clone(&out.commit)));
                }
            } else if self
                .partitions
                .get(&id)
                .is_some_and(|owned| self.due(id, owned))
                && let Some(commit) = self.begin(id)
            {
                batch.push((id, commit));
            }
        }
        if together && !batch.is_empty() {
            self.send(batch);
        } else {
            for one in batch {
                self.send(vec![one]);
            }
        }
    }

    fn send(&mut self, batch: Vec<(PartitionId, Arc<Commit>)>) {
        self.commit_calls += 1;
        let store = Arc::clone(&self.store);
        self.calls.push(
            async move {
                let commits: Vec<Commit> = batch.iter().map(|(_, c)| Commit::clone(c)).collect();
                let results = store.commit(&commits).await;
                let ids = batch.into_iter().map(|(id, commit)| (id, commit.content));
                StoreFact::Committed(ids.zip(results).collect())
            }
            .boxed(),
        );
    }

    /// Builds the next commit of a partition.
    fn begin(&mut self, id: PartitionId) -> Option<Arc<Commit>> {
        let owned = self.partitions.get_mut(&id)?;
        let (chosen, beside) = changes::choose(&self.engine, owned, self.store.bounds());
        let tickets: Vec<Ticket> = chosen.iter().map(|w| w.ticket).collect();
        let chosen_within = (&tickets[..], beside.chains);
        let is_passed_on = self.settings.starts_until.is_some();
        let (mut checkpoint, moved) =
            snapshot(&mut self.engine, id, chosen_within, (owned, is_passed_on));
        let clear: Vec<LaneKey> = owned.clear.drain(..beside.clear).collect();
        let draft = changes::draft(
            &self.engine,
            owned,
            &chosen,
            &moved,
            (&clear, &beside),
            self.clock.wall_millis(),
            self.store.bounds().record_bytes,
        );
        let whole = checkpoint_bytes(&checkpoint);
        let open = checkpoint.open.positions().len() as u64;
        let is_wide = whole >= CHECKPOINT_BYTES_HIGH || open >= OPEN_HIGH;
        self.engine.hold_intake(id, is_wide);
        if whole > CHECKPOINT_BYTES_MAX {
            forget_attempts(&mut checkpoint, whole - CHECKPOINT_BYTES_MAX);
        }
        let settled_in =
            owned.unclean_claims > 0 && self.now >= owned.claimed_at + SETTLED_IN_AFTER;
        let commit = Arc::new(Commit {
            partition: owned.assignment.name.clone(),
            fence: owned.fence,
            number: owned.number + 1,
            content: self.content_id(),
            checkpoint,
            lanes: draft.lanes,
            effects: draft.effects,
            keep: self.now >= owned_kept(&self.partitions, id) + KEEP_EVERY,
            settled_in,
            mark: None,
            failed: self.failed(id),
            lanes_at: None,
        });
        let owned = self.partitions.get_mut(&id)?;
        owned.waiting.retain(|w| !tickets.contains(&w.ticket));
        owned.dirty = false;
        owned.dropped = clear;
        owned.flushed_at = self.now;
        owned.out = Some(OutCommit {
            commit: Arc::clone(&commit),
            tickets: chosen,
            effects_of: draft.effects_of,
            calls: 1,
            again_at: None,
            sent_at: self.now,
            begun_at: self.now,
        });
        Some(commit)
    }

    /// What is to be known of records that failed, when this process is gone.
    fn failed(&self, id: PartitionId) -> Vec<(Position, Failed)> {
        if self.settings.starts_until.is_none() {
            return Vec::new();
        }
        let mut failed: BTreeMap<Position, Failed> = BTreeMap::new();
        let errors = self.partitions.get(&id).map(|owned| owned.errors.values());
        for errors in errors.into_iter().flatten() {
            if let Some(of) = &errors.of {
                failed.entry(of.clone()).or_default().error = errors.last.clone();
            }
        }
        let (now, wall) = (self.now, self.clock.wall_millis());
        let at = |time: Duration| {
            let left = time.saturating_sub(now).as_millis();
            wall.saturating_add(i64::try_from(left).unwrap_or(i64::MAX))
        };
        for (position, until) in self.engine.waits(id) {
            failed.entry(position.clone()).or_default().not_before = at(until.0);
        }
        failed.into_iter().collect()
    }

    fn content_id(&mut self) -> ContentId {
        self.contents = self.contents.wrapping_add(1);
        Uuid::from_u64_pair(
            self.worker.0.as_u64_pair().0 ^ self.settings.seed,
            self.contents,
        )
        .into_bytes()
    }

    /// Acts on the answers of one call.
    pub(super) fn committed(
        &mut self,
        results: Vec<((PartitionId, ContentId), Result<Committed, CommitError>)>,
    ) {
        self.commit_calls -= 1;
        for ((id, content), result) in results {
            let Some(owned) = self.partitions.get_mut(&id) else {
                continue;
            };
            let Some(out) = owned.out.take_if(|out| out.commit.content == content) else {
                continue;
            };
            match result {
                Ok(committed) => self.durable(id, out, committed),
                Err(CommitError::NotWritten(why) | CommitError::Unknown(why)) => {
                    self.again(id, out, &why)
                }
                Err(CommitError::EffectsRefused(refused)) => self.refused(id, &out, &refused),
                Err(CommitError::Apart(apart)) => self.apart(id, out, &apart),
                // Behind a mapping only, where the marks' adapter has seen to it.
                Err(error @ CommitError::AlreadyDone(_)) => {
                    self.fenced(id, &error.to_string(), None)
                }
                Err(CommitError::LaneMoved(moved)) => self.lane_moved(id, out, &moved),
                Err(error @ CommitError::Fenced { found, .. }) => {
                    self.fenced(id, &error.to_string(), Some((found.0, found.1)));
                }
                Err(error @ (CommitError::OtherContent { .. } | CommitError::Damaged(_))) => {
                    self.fenced(id, &error.to_string(), None);
                }
                Err(CommitError::TooLarge { what, bytes, max }) => {
                    let error = CommitError::TooLarge { what, bytes, max }.to_string();
                    self.too_large(id, out, what, error);
                }
            }
        }
    }

    fn durable(&mut self, id: PartitionId, out: OutCommit, committed: Committed) {
        let Some(owned) = self.partitions.get_mut(&id) else {
            return;
        };
        self.counters
            .commits
            .took(self.now.saturating_sub(out.begun_at));
        let commit = &out.commit;
        owned.stretch = (committed.write_units / WRITE_UNITS_HIGH).clamp(1.0, STRETCH_MAX);
        owned.number = commit.number;
        owned.checkpoint = commit.checkpoint.clone();
        owned.placing = false;
        // The store held our fence at some time after the request was made.
        owned.proven_at = owned.proven_at.max(out.sent_at);
        if owned.held {
            self.proofs_due = self.now;
        }
        if commit.keep {
            owned.kept_at = self.now;
        }
        if commit.settled_in {
            owned.unclean_claims = 0;
            self.engine.relax(id);
        }
        owned.dropped.clear();
        let heads = heads_of(&commit.lanes, &owned.lanes);
        for change in &commit.lanes {
            owned.missing.remove(&change.lane);
            // A verdict of the policy's: it is not to be taken for a decision that is to be acted on.
            if let Some(taken) = change.item.as_ref().and_then(LaneItem::taken) {
                owned.acted.insert(change.lane.clone(), taken.clone());
            }
            match &change.item {
                Some(item) => owned.lanes.insert(change.lane.clone(), item.clone()),
                None => owned.lanes.remove(&change.lane),
            };
        }
        let event = Event::Committed {
            number: commit.number,
            checkpoint: &commit.checkpoint,
            repeated: committed.repeated,
        };
        self.notes.partition(owned, event);
        self.note_durable(id, &out, &heads);
        for waiting in &out.tickets {
            if let Some(owned) = self.partitions.get_mut(&id) {
                owned.effects.remove(&waiting.ticket);
                owned.apart.remove(&waiting.ticket);
            }
        }
        self.engine.end_commit(id, CommitEnd::Durable);
        self.acknowledge(id);
    }

    /// Tells the source, once, how far its log is durably settled.
    fn acknowledge(&mut self, id: PartitionId) {
        let Some(owned) = self.partitions.get_mut(&id) else {
            return;
        };
        let Some(frontier) = owned.frontier().cloned() else {
            return;
        };
        if owned.told.as_ref() == Some(&frontier) {
            return;
        }
        self.notes.partition(
            owned,
            Event::Acked {
                frontier: &frontier,
            },
        );
        owned.told = Some(frontier.clone());
        let name = owned.assignment.name.clone();
        self.sources
            .tell(&name.source.clone(), Order::Committed(name, frontier));
    }

    fn again(&mut self, id: PartitionId, mut out: OutCommit, why: &str) {
        let wait = AGAIN_MIN
            .saturating_mul(1 << out.calls.min(10))
            .min(AGAIN_MAX);
        let Some(owned) = self.partitions.get_mut(&id) else {
            return;
        };
        if out.calls == 1 || out.calls.is_multiple_of(16) {
            tracing::warn!(source = %owned.assignment.name.source, partition = %owned.assignment.name.partition, number = out.commit.number, calls = out.calls, error = why, "commit is repeated");
        }
        out.again_at = Some(self.now + wait);
        owned.out = Some(out);
    }
}

/// Attempts of some records are not remembered, so that the rest fits: those that failed least often
/// begin anew after a crash.
fn forget_attempts(checkpoint: &mut Checkpoint, mut excess: u64) {
    let mut all = std::mem::take(&mut checkpoint.attempts);
    all.sort_by_key(|(_, attempts)| std::cmp::Reverse(*attempts));
    while excess > 0
        && let Some((position, _)) = all.pop()
    {
        excess = excess.saturating_sub(attempt_bytes(&position));
    }
    all.sort();
    checkpoint.attempts = all;
}

/// Heads of lanes before a commit, which may skip one that never came in this process.
pub(super) type Heads = HashMap<LaneKey, Position>;

fn heads_of(changes: &[LaneChange], lanes: &BTreeMap<LaneKey, LaneItem>) -> Heads {
    let items = changes.iter().filter_map(|change| lanes.get(&change.lane));
    items
        .map(|item| (item.lane.clone(), item.head.clone()))
        .collect()
}

fn owned_kept(partitions: &BTreeMap<PartitionId, Owned>, id: PartitionId) -> Duration {
    partitions
        .get(&id)
        .map_or(Duration::ZERO, |owned| owned.kept_at)
}

fn snapshot(
    engine: &mut partitions::Engine<crate::record::Record>,
    id: PartitionId,
    (tickets, chains_max): (&[Ticket], usize),
    (owned, is_passed_on): (&Owned, bool),
) -> (Checkpoint, Vec<Moved>) {
    let snapshot = engine.begin_commit_within(id, tickets, chains_max);
    let moved = snapshot
        .drained()
        .map(|d| Moved {
            lane: d.lane,
            through: d.through.clone(),
            head: d.head.cloned(),
            records: d.records,
            bytes: d.bytes,
        })
        .collect();
    let mut attempts: Vec<_> = snapshot.attempts().map(|(p, n)| (p.clone(), n)).collect();
    // Records that the checkpoint knows and the source has not handed over again keep theirs.
    attempts.extend(owned.attempts.iter().map(|(p, n)| (p.clone(), *n)));
    // Behind a mapping, who runs a chain next is another process.
    if is_passed_on {
        attempts.extend(snapshot.chain_attempts().map(|(p, n)| (p.clone(), n)));
    }
    // So do suspects, also those in a chain.
    attempts.extend(snapshot.suspects().map(|(p, n)| (p.clone(), n)));
    attempts.sort_by(|one, other| (&one.0, other.1).cmp(&(&other.0, one.1)));
    attempts.dedup_by(|one, before| one.0 == before.0);
    let announced = snapshot.announced().map(|(p, alone)| (p.clone(), alone));
    let mut announced: Vec<_> = announced.collect();
    announced.sort();
    let checkpoint = Checkpoint {
        open: snapshot.open().cloned().collect::<OpenSet>(),
        resume: snapshot.resume.clone(),
        settled_to: snapshot.settled_to.clone(),
        attempts,
        announced,
        incarnation: owned.checkpoint.incarnation.clone(),
        ended: owned.checkpoint.ended,
    };
    (checkpoint, moved)
}
