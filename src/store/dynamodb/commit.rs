//! Commits: one conditional update where only the checkpoint moves, else one transaction.

use super::{
    DynamodbStore,
    attributes::{self, number},
    call::{Code, Reason, Trouble},
    chains::ChainName,
    effects::Effects,
    expression::Expression,
    history, kept, lanes, marks,
    ownership::fenced,
    schema::{Item, Writer},
    segments,
};
use crate::store::{
    Commit, CommitError, Committed, HistoryEvent, HistoryItem, StoreError, TooLarge,
    rules::{self, Admission},
};
use aws_sdk_dynamodb::types::TransactWriteItem;

/// Most items of a transaction (the API reference of `TransactWriteItems`).
pub(super) const ITEMS_MAX: usize = 100;
/// Most bytes of one lane's change, or of one record's effects, in a transaction that may take 4 MB
/// and holds a checkpoint and its copy for the history besides.
pub(super) const BYTES_MAX: u64 = 3 * 1024 * 1024;
/// Most bytes of a lane item; DynamoDB's bound of an item is 400 KB.
const LANE_ITEM_BYTES: u64 = 380 * 1024;

/// What an item of the transaction was written for.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Part {
    /// [`Commit::lanes`] at this index.
    Lane(usize),
    History,
    /// A value.
    Value,
    /// A native effect of [`Commit::effects`] at this index.
    Native(usize),
    /// What says that the record of [`Commit::effects`] at this index is done.
    Done(usize),
}

/// A commit as requests.
struct Plan {
    /// Of the checkpoint, or of a mark: its number says whether the commit is in.
    first: Expression,
    /// Behind that one.
    writes: Vec<(Part, TransactWriteItem)>,
    /// Written first: nobody sees them before the transaction names them.
    parts: Vec<Item>,
    segments: Vec<(ChainName, Vec<Item>)>,
}

impl DynamodbStore {
    pub(super) async fn commit_one(&self, commit: &Commit) -> Result<Committed, CommitError> {
        check_size(commit)?;
        let effects = match Effects::of(self, commit) {
            Ok(effects) => effects,
            // Whatever the values are, some effect cannot hold.
            Err(refused) => return Err(self.refused_at_once(commit, refused).await),
        };
        let mut plan = self.plan(commit).await?;
        effects.write(self, &mut plan.writes)?;
        self.write_done(commit, &mut plan.writes)?;
        if plan.writes.len() >= ITEMS_MAX {
            return Err(too_many(commit, plan.writes.len() + 1));
        }
        if commit.mark.is_some() {
            let registered = self.register(&commit.partition).await;
            registered.map_err(not_written)?;
            if !commit.lanes.is_empty() {
                let registered = self.register(commit.lanes_at()).await;
                registered.map_err(not_written)?;
            }
        }
        for table in effects.tables() {
            self.register_table(table).await.map_err(not_written)?;
        }
        let mut units = self
            .write_parts(&plan.parts)
            .await
            .map_err(|error| CommitError::NotWritten(self.told(&error)))?;
        let outcome = match self.send(commit, &plan).await {
            Ok(consumed) => {
                units += consumed;
                Ok(Committed {
                    repeated: false,
                    write_units: units,
                })
            }
            Err(trouble) => self.outcome(commit, &plan, &effects, trouble).await,
        };
        if outcome.is_ok() {
            self.tidy(commit, &plan).await;
        }
        outcome
    }

    async fn plan(&self, commit: &Commit) -> Result<Plan, CommitError> {
        let now = super::now_millis();
        let mut plan = Plan {
            first: match &commit.mark {
                None => checkpoint_write(commit, now),
                Some(mark) => marks::write(commit, mark),
            },
            writes: Vec::new(),
            parts: Vec::new(),
            segments: Vec::new(),
        };
        let writer = Writer::new(commit.fence.epoch, commit.number);
        let mut moved = Vec::new();
        for (index, change) in commit.lanes.iter().enumerate() {
            if !lanes::ascends(change) {
                moved.push(index);
                continue;
            }
            let chain = (commit.lanes_at().clone(), change.lane.clone());
            let expression = lanes::write(change, &writer, commit.mark.as_ref());
            let key = self.lane_key(&chain.0, &chain.1);
            let write = if lanes::is_deleted(change) {
                expression.delete(&self.table, key)
            } else {
                expression.update(&self.table, key)
            };
            let part = Part::Lane(index);
            plan.writes.push((part.clone(), write.map_err(unbuilt)?));
            if change.append.is_empty() {
                continue;
            }
            let (mut written, mut parts) =
                segments::segments(&self.chain_pk(&chain), &change.append, &writer);
            if joins_in_front(change) {
                let (mut anew, old) = self
                    .trimmed(&chain, change, &writer)
                    .await
                    .map_err(not_written)?;
                written.append(&mut anew);
                for key in old {
                    let write = Expression::default().delete(&self.table, key);
                    plan.writes.push((part.clone(), write.map_err(unbuilt)?));
                }
            }
            for segment in &written {
                let write = Expression::default().put(&self.table, segment.clone());
                plan.writes.push((part.clone(), write.map_err(unbuilt)?));
            }
            plan.parts.append(&mut parts);
            plan.segments.push((chain, written));
        }
        if !moved.is_empty() {
            return Err(CommitError::LaneMoved(moved));
        }
        if commit.keep {
            let found = self.generation_of(commit).await?;
            let line = HistoryItem {
                at: now,
                what: HistoryEvent::Checkpoint {
                    epoch: commit.fence.epoch,
                    generation: found,
                    checkpoint: commit.checkpoint.clone(),
                },
            };
            let item = history::item(&self.app, &commit.partition, &line);
            let write = Expression::default().put(&self.table, item);
            plan.writes.push((Part::History, write.map_err(unbuilt)?));
        }
        Ok(plan)
    }

    /// The generation that a kept checkpoint is of: it stands in the checkpoint item only.
    async fn generation_of(&self, commit: &Commit) -> Result<u64, CommitError> {
        match self.read_ownership(&commit.partition).await {
            Ok(found) => Ok(found.map_or(0, |found| found.generation)),
            Err(error) => Err(not_written(error)),
        }
    }

    async fn send(&self, commit: &Commit, plan: &Plan) -> Result<f64, Trouble> {
        let key = match &commit.mark {
            None => self.checkpoint_key(&commit.partition),
            Some(mark) => self.mark_key(&commit.partition, mark),
        };
        self.retrying(|| async {
            if plan.writes.is_empty() {
                return self.update(key.clone(), &plan.first).await;
            }
            let mut items = vec![plan.first.update(&self.table, key.clone())?];
            items.extend(plan.writes.iter().map(|(_, write)| write.clone()));
            self.transact(items).await
        })
        .await
    }

    /// What a failure says of the commit. The checkpoint is looked at first: where it says that this
    /// very content is in, it is, whatever the other items say by now.
    async fn outcome(
        &self,
        commit: &Commit,
        plan: &Plan,
        effects: &Effects<'_>,
        trouble: Trouble,
    ) -> Result<Committed, CommitError> {
        let told = self.told(&trouble);
        match trouble {
            Trouble::Condition(there) => self.admitted(commit, there.as_ref()),
            Trouble::Canceled(reasons) => {
                match reasons.first() {
                    Some(first) if first.code == Code::Condition => {
                        return self.admitted(commit, first.item.as_ref());
                    }
                    // It may be in by an earlier request, and then no other condition holds.
                    Some(first) if first.code == Code::NotNow => {
                        return Err(CommitError::NotWritten(told));
                    }
                    Some(_) | None => {}
                }
                let failed = plan.writes.iter().zip(reasons.iter().skip(1));
                let failed: Vec<(&Part, &Reason)> = failed
                    .map(|((part, _), reason)| (part, reason))
                    .filter(|(_, reason)| matches!(reason.code, Code::Condition | Code::Refused))
                    .collect();
                if failed.is_empty() {
                    return Err(CommitError::NotWritten(told));
                }
                Err(self.canceled(commit, effects, &failed).await)
            }
            Trouble::NotNow(_) => Err(CommitError::NotWritten(told)),
            Trouble::Unknown(_) => Err(CommitError::Unknown(told)),
            Trouble::Refused { ref code, .. } if code == "ValidationException" => {
                Err(effects.invalid(commit, told))
            }
            Trouble::Refused {
                ref code,
                ref message,
            } => Err(self.not_allowed(commit, effects, code, message, told).await),
        }
    }

    /// A table is missing, or a permission: the store's own is waited for, a user's is a reason to
    /// refuse the effects that write there.
    async fn not_allowed(
        &self,
        commit: &Commit,
        effects: &Effects<'_>,
        code: &str,
        message: &str,
        told: String,
    ) -> CommitError {
        match code {
            "AccessDeniedException" => match effects.of_denied(self, message) {
                Some(table) => effects.forbidden(commit, &table, code, message),
                None => CommitError::NotWritten(told),
            },
            // The service does not say which table. Where the store's own answers, it is another.
            "ResourceNotFoundException"
                if effects.has_natives()
                    && self.read_ownership(&commit.partition).await.is_ok() =>
            {
                effects.invalid(
                    commit,
                    format!("a table that it names is missing: {code}: {message}"),
                )
            }
            _ => CommitError::NotWritten(told),
        }
    }

    fn admitted(&self, commit: &Commit, there: Option<&Item>) -> Result<Committed, CommitError> {
        let damaged = |error: StoreError| CommitError::Damaged(error.to_string());
        let admission = if commit.mark.is_some() {
            let found = self.found_mark(&commit.partition, there);
            rules::admit_mark(commit, found.map_err(damaged)?)
        } else {
            let found = self.found(&commit.partition, there);
            rules::admit(commit, found.map_err(damaged)?.as_ref())
        };
        match admission? {
            Admission::Repeated => Ok(Committed {
                repeated: true,
                write_units: 0.0,
            }),
            Admission::Write => Err(CommitError::NotWritten(format!(
                "{}: the first item of a commit of {} was refused and is as expected",
                self.place(),
                commit.partition
            ))),
        }
    }

    async fn canceled(
        &self,
        commit: &Commit,
        effects: &Effects<'_>,
        failed: &[(&Part, &Reason)],
    ) -> CommitError {
        let done = failed.iter().filter_map(|(part, _)| match part {
            Part::Done(index) => Some(*index),
            Part::Lane(_) | Part::History | Part::Value | Part::Native(_) => None,
        });
        let done: Vec<usize> = done.collect();
        if !done.is_empty() {
            return CommitError::AlreadyDone(done);
        }
        let mut moved = Vec::new();
        for (part, reason) in failed {
            if let Part::Lane(index) = part {
                let Some(change) = commit.lanes.get(*index) else {
                    continue;
                };
                if let Some(wrong) = kept::damage_of(reason.item.as_ref()) {
                    let what = format!("lane `{}` of {}", change.lane, commit.lanes_at());
                    return CommitError::Damaged(self.damaged(what, &wrong).to_string());
                }
                if reason.code == Code::Refused {
                    return CommitError::Damaged(format!("{}: {}", self.place(), reason.message));
                }
                moved.push(*index);
            }
        }
        moved.dedup();
        if !moved.is_empty() {
            return CommitError::LaneMoved(moved);
        }
        let natives = failed.iter().filter_map(|(part, reason)| match part {
            Part::Native(index) => Some((*index, reason.message.clone())),
            Part::Lane(_) | Part::History | Part::Value | Part::Done(_) => None,
        });
        effects.judge(self, commit, natives.collect()).await
    }

    async fn refused_at_once(
        &self,
        commit: &Commit,
        refused: super::effects::AtOnce,
    ) -> CommitError {
        match refused {
            super::effects::AtOnce::Contradiction => {
                Effects::unwritten(commit)
                    .judge(self, commit, Vec::new())
                    .await
            }
            super::effects::AtOnce::Refused(refused) => CommitError::EffectsRefused(refused),
            super::effects::AtOnce::Apart(apart) => CommitError::Apart(apart),
            super::effects::AtOnce::TooLarge(index, bytes) => CommitError::TooLarge {
                what: TooLarge::Effects(index),
                bytes,
                max: BYTES_MAX,
            },
        }
    }

    /// What the commit made needless goes.
    async fn tidy(&self, commit: &Commit, plan: &Plan) {
        for (chain, segments) in &plan.segments {
            self.know_written(chain, segments);
        }
        let writer = Writer::new(commit.fence.epoch, commit.number);
        for change in &commit.lanes {
            let chain = (commit.lanes_at().clone(), change.lane.clone());
            if change.item.is_none() && !lanes::is_deleted(change) {
                self.sweep(&chain, &writer).await;
            } else if let Some(passed) = &change.passed {
                self.delete_passed(&chain, passed).await;
            }
        }
    }
}

fn checkpoint_write(commit: &Commit, now: i64) -> Expression {
    let mut expression = Expression::default();
    expression.set("commit", number(commit.number));
    expression.set("content", attributes::bytes(commit.content));
    expression.set("updated_at", number(now));
    if commit.settled_in {
        expression.set("unclean_claims", number(0));
    }
    for (name, value) in attributes::checkpoint(&commit.checkpoint) {
        expression.set_or_remove(name, value);
    }
    fenced(&mut expression, commit.fence);
    let next = expression.compare("commit", "<", number(commit.number));
    expression.and(&next);
    expression
}

/// Whether its records may be before the chain that it knows.
fn joins_in_front(change: &crate::store::LaneChange) -> bool {
    let tail = change.expected.as_ref().and_then(|(_, tail)| tail.as_ref());
    let first = change.append.first();
    tail.zip(first)
        .is_some_and(|(tail, first)| first.position() <= tail)
}

fn check_size(commit: &Commit) -> Result<(), CommitError> {
    rules::check_size(commit, u64::MAX)?;
    for (index, change) in commit.lanes.iter().enumerate() {
        let item = change.item.as_ref().map_or(0, |item| {
            let record = item.record.as_ref().map_or(0, Vec::len);
            record + item.lane.bytes().len() * 2 + item.first_error.len() + item.last_error.len()
        }) as u64;
        let appended = segments::transaction_bytes(&change.append);
        let too_large = |bytes, max| CommitError::TooLarge {
            what: TooLarge::Lane(index),
            bytes,
            max,
        };
        if item > LANE_ITEM_BYTES {
            return Err(too_large(item, LANE_ITEM_BYTES));
        }
        if item + appended > BYTES_MAX {
            return Err(too_large(item + appended, BYTES_MAX));
        }
    }
    Ok(())
}

/// More items than a transaction takes: by the change that has most of them.
fn too_many(commit: &Commit, items: usize) -> CommitError {
    let largest = commit.lanes.iter().enumerate();
    let largest = largest.max_by_key(|(_, change)| change.append.len());
    match largest {
        Some((index, change)) if !change.append.is_empty() => CommitError::TooLarge {
            what: TooLarge::Lane(index),
            bytes: segments::transaction_bytes(&change.append),
            max: BYTES_MAX,
        },
        Some(_) | None => CommitError::Damaged(format!(
            "commit {} of {}: {items} items, a transaction takes {ITEMS_MAX}",
            commit.number, commit.partition
        )),
    }
}

pub(super) fn unbuilt(error: aws_sdk_dynamodb::error::BuildError) -> CommitError {
    CommitError::Damaged(format!("a request cannot be built: {error}"))
}

pub(super) fn not_written(error: StoreError) -> CommitError {
    match error {
        StoreError::Damaged(why) => CommitError::Damaged(why),
        error @ (StoreError::OutOfReach(_) | StoreError::Fenced { .. }) => {
            CommitError::NotWritten(error.to_string())
        }
    }
}
