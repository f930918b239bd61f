//! Commits: one transaction for all of a call, a savepoint for each, so that one fsync carries many
//! partitions and each commit is wholly in or out.

use super::{
    LANE_BYTES_MAX,
    effects::{self, Applied},
    history, lanes, marks, now_millis, ownership,
};
use crate::{
    sqlite::{DatabaseError, Fault},
    store::{
        Commit, CommitError, Committed, HistoryEvent, HistoryItem, Ownership,
        rules::{self, Admission, Found},
    },
};
use rusqlite::{Connection, Savepoint};

/// Whose checkpoints are written, and whose values.
#[derive(Clone, Copy)]
pub(super) struct Names<'a> {
    pub(super) app: &'a str,
    pub(super) values: &'a str,
}

type Outcome = Result<Committed, CommitError>;

/// Why a call's transaction did not come to its end.
enum Broken {
    /// Before its COMMIT: nothing of it is in the file.
    Before(Fault),
    /// In its COMMIT.
    Committing(Fault),
    /// An effect of the commit at this index ended it; the others are to be done without.
    Spoiled(usize, CommitError),
}

impl From<Fault> for Broken {
    fn from(fault: Fault) -> Self {
        Self::Before(fault)
    }
}

impl From<rusqlite::Error> for Broken {
    fn from(error: rusqlite::Error) -> Self {
        Self::Before(error.into())
    }
}

/// Why one commit is not written, where the others may be.
enum Left {
    Out(CommitError),
    Fault(Fault),
    Spoiled(CommitError),
}

impl From<CommitError> for Left {
    fn from(error: CommitError) -> Self {
        Self::Out(error)
    }
}

impl From<Fault> for Left {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<rusqlite::Error> for Left {
    fn from(error: rusqlite::Error) -> Self {
        Self::Fault(error.into())
    }
}

/// Writes what can be written; outcomes in order. `error` puts the file's name to a fault.
pub(super) fn commit(
    connection: &mut Connection,
    names: Names<'_>,
    commits: &[Commit],
    error: &dyn Fn(Fault) -> DatabaseError,
) -> Vec<Outcome> {
    let mut spoiled: Vec<Option<CommitError>> = vec![None; commits.len()];
    loop {
        let mut outcomes: Vec<Option<Outcome>> =
            spoiled.iter().cloned().map(|e| e.map(Err)).collect();
        let lost = match attempt(connection, names, commits, &mut outcomes, error) {
            Ok(()) => return outcomes.into_iter().map(written).collect(),
            Err(Broken::Spoiled(index, why)) => {
                // Each turn spoils one more commit, so that this ends.
                if let Some(slot) = spoiled.get_mut(index) {
                    *slot = Some(why);
                }
                continue;
            }
            Err(Broken::Before(fault)) => lost(error(fault), false),
            Err(Broken::Committing(fault)) => lost(error(fault), true),
        };
        return outcomes
            .into_iter()
            .map(|outcome| standing(outcome).unwrap_or_else(|| Err(lost.clone())))
            .collect();
    }
}

fn written(outcome: Option<Outcome>) -> Outcome {
    outcome.unwrap_or_else(|| Err(CommitError::NotWritten("it was not reached".to_owned())))
}

/// What was found in the file as it stood before the call holds whatever became of the call. A
/// refused effect does not: another commit of the call may have had a part in it.
fn standing(outcome: Option<Outcome>) -> Option<Outcome> {
    outcome.filter(|outcome| match outcome {
        Ok(committed) => committed.repeated,
        Err(
            CommitError::Fenced { .. }
            | CommitError::LaneMoved(_)
            | CommitError::AlreadyDone(_)
            | CommitError::TooLarge { .. }
            | CommitError::OtherContent { .. }
            | CommitError::Damaged(_),
        ) => true,
        Err(
            CommitError::EffectsRefused(_)
            | CommitError::Apart(_)
            | CommitError::NotWritten(_)
            | CommitError::Unknown(_),
        ) => false,
    })
}

/// What a fault means for the commits of the call.
fn lost(error: DatabaseError, committing: bool) -> CommitError {
    let text = error.to_string();
    // Frames of the COMMIT may have reached the disk: the next start would find them.
    let unknown = matches!(error.fault, Fault::Stopped)
        || (committing && matches!(error.fault, Fault::Io(_)));
    if unknown {
        CommitError::Unknown(text)
    } else if error.fault.is_lasting() {
        CommitError::Damaged(text)
    } else {
        CommitError::NotWritten(text)
    }
}

/// What became of a call whose work did not run to its end.
pub(super) fn all_lost(error: DatabaseError, commits: usize) -> Vec<Outcome> {
    vec![Err(lost(error, true)); commits]
}

fn attempt(
    connection: &mut Connection,
    names: Names<'_>,
    commits: &[Commit],
    outcomes: &mut [Option<Outcome>],
    error: &dyn Fn(Fault) -> DatabaseError,
) -> Result<(), Broken> {
    let mut transaction = connection.transaction()?;
    for (index, (commit, outcome)) in commits.iter().zip(outcomes).enumerate() {
        if outcome.is_some() {
            continue;
        }
        let mut savepoint = transaction.savepoint()?;
        *outcome = Some(match one(&mut savepoint, names, commit) {
            Ok(Admission::Write) => {
                savepoint.commit()?;
                Ok(Committed::default())
            }
            Ok(Admission::Repeated) => Ok(Committed {
                repeated: true,
                ..Committed::default()
            }),
            Err(Left::Out(why)) => {
                savepoint.finish()?;
                Err(why)
            }
            Err(Left::Spoiled(why)) => return Err(Broken::Spoiled(index, why)),
            Err(Left::Fault(fault)) if fault.is_lasting() && !savepoint.is_autocommit() => {
                savepoint.finish()?;
                Err(CommitError::Damaged(error(fault).to_string()))
            }
            Err(Left::Fault(fault)) => return Err(fault.into()),
        });
    }
    transaction
        .commit()
        .map_err(|error| Broken::Committing(error.into()))
}

fn one(
    savepoint: &mut Savepoint<'_>,
    Names { app, values }: Names<'_>,
    commit: &Commit,
) -> Result<Admission, Left> {
    let partition = &commit.partition;
    if let Some(mark) = &commit.mark {
        let admission = marks::admit(savepoint, app, commit, mark)??;
        if admission == Admission::Write {
            beside(savepoint, Names { app, values }, commit)?;
            marks::put(savepoint, app, commit, mark)?;
            history::register(savepoint, app, partition, now_millis())?;
            if !commit.lanes.is_empty() {
                history::register(savepoint, app, commit.lanes_at(), now_millis())?;
            }
        }
        return Ok(admission);
    }
    let found = ownership::read(savepoint, app, partition)?;
    let last = found.as_ref().map(|found| Found {
        worker: found.worker,
        epoch: found.epoch,
        commit: found.commit,
        content: found.content,
    });
    let (Admission::Write, Some(found)) = (rules::admit(commit, last.as_ref())?, found) else {
        return Ok(Admission::Repeated);
    };
    beside(savepoint, Names { app, values }, commit)?;
    let ownership = Ownership {
        commit: commit.number,
        content: commit.content,
        unclean_claims: if commit.settled_in {
            0
        } else {
            found.unclean_claims
        },
        checkpoint: Some(commit.checkpoint.clone()),
        updated_at: now_millis(),
        ..found
    };
    ownership::put(savepoint, app, partition, &ownership)?;
    if commit.keep {
        let kept = HistoryItem {
            at: ownership.updated_at,
            what: HistoryEvent::Checkpoint {
                epoch: ownership.epoch,
                generation: ownership.generation,
                checkpoint: commit.checkpoint.clone(),
            },
        };
        history::append(savepoint, app, partition, &kept)?;
    }
    Ok(Admission::Write)
}

/// What a commit writes beside its checkpoint.
fn beside(
    savepoint: &mut Savepoint<'_>,
    Names { app, values }: Names<'_>,
    commit: &Commit,
) -> Result<(), Left> {
    let partition = commit.lanes_at();
    rules::check_size(commit, LANE_BYTES_MAX)?;
    let moved = lanes::moved(savepoint, app, partition, &commit.lanes)?;
    if !moved.is_empty() {
        return Err(CommitError::LaneMoved(moved).into());
    }
    match effects::apply(savepoint, values, commit)? {
        Applied::All => {}
        Applied::Refused(refused) => return Err(CommitError::EffectsRefused(refused).into()),
        Applied::Ended(index, why) => {
            return Err(Left::Spoiled(CommitError::EffectsRefused(vec![(
                index, why,
            )])));
        }
    }
    for change in &commit.lanes {
        lanes::write(savepoint, app, partition, change)?;
    }
    Ok(())
}
