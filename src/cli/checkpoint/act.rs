//! Writes a rewind or an import: computed from what stands, conditional on that it still does.

use super::{
    document::{CheckpointView, ResumeView, lane_name},
    export::chain,
    log::ReadLog,
    rewind::How,
    view::{owner_of, settled},
};
use crate::{
    checkpoint::{
        Checkpoint,
        rewind::{self, Plan, RewindError, Standing, Target},
    },
    cli::{
        exit::CommandError,
        lanes::who,
        output::{self, shown},
        view::{key_text, records},
    },
    config::duration_text,
    position::Position,
    record::{LaneKey, PartitionName},
    store::{
        self, AsRead, LaneChange, LaneItem, LaneState, Ownership, Rewind, RewindNote, RewindVerb,
        Store,
    },
};
use partitions::Resume;
use serde::Serialize;
use std::{fmt::Write as _, time::Duration};
use uuid::Uuid;

/// How often it is computed anew while an owner commits in between.
const TRIES: u32 = 200;
const AGAIN: Duration = Duration::from_millis(5);

/// What an operator does to one partition.
pub(super) struct Act<'a> {
    pub(super) store: &'a dyn Store,
    pub(super) name: PartitionName,
    pub(super) log: Option<ReadLog>,
    pub(super) verb: RewindVerb,
    /// As it was said.
    pub(super) to: String,
    pub(super) how: &'a How,
}

/// What is wanted.
pub(super) struct Goal {
    pub(super) target: Target,
    /// The new generation is at least this.
    pub(super) generation: u64,
    /// Lanes that are to be stopped, unless they are held here already.
    pub(super) stopped: Vec<LaneItem>,
    /// What is not settled may become so.
    pub(super) forward: bool,
}

/// What stands, and what would become of it.
struct Draft {
    found: Option<Ownership>,
    plan: Plan,
    generation: u64,
    lanes: Vec<LaneChange>,
    restored: Vec<LaneKey>,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Document {
    format: u32,
    source: String,
    partition: String,
    verb: RewindVerb,
    /// `true`: nothing was written.
    dry_run: bool,
    epoch: u64,
    generation: u64,
    former_generation: Option<u64>,
    checkpoint: CheckpointView,
    /// From where on settled records run again; `null`: none does.
    again: Option<ResumeView>,
    /// How many; `null`: positions do not tell.
    records: Option<u64>,
    reopened: Vec<Lane>,
    kept: Vec<Lane>,
    dropped: Vec<Lane>,
    restored: Vec<Lane>,
    /// The worker that is fenced by this, if one runs.
    fenced: Option<String>,
}

#[derive(Serialize)]
struct Lane {
    lane: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
}

impl Act<'_> {
    /// Does it, or says what it would do.
    pub(super) async fn run(&self, goal: &Goal) -> Result<(), CommandError> {
        let content = Uuid::new_v4().into_bytes();
        for _ in 0..TRIES {
            let Some(draft) = self.draft(goal).await? else {
                output::note(&format!("{}: it stands there already", self.name));
                return Ok(());
            };
            if self.how.dry_run {
                if let Some(log) = &self.log {
                    log.holds(&draft.plan.checkpoint)?;
                }
                return self.tell(&draft).await;
            }
            if let Some(log) = &self.log {
                log.hold(&draft.plan.checkpoint)?;
            }
            let rewind = Rewind {
                checkpoint: draft.plan.checkpoint.clone(),
                generation: draft.generation,
                lanes: draft.lanes.clone(),
                content,
                note: RewindNote {
                    verb: self.verb,
                    to: self.to.clone(),
                    by: who(),
                    why: self.how.why.clone(),
                    at: output::now(),
                },
            };
            let read = AsRead::of(draft.found.as_ref());
            match self.store.rewind(&self.name, read, &rewind).await {
                Ok(_) => {
                    // The owner may have registered its frontier until it was fenced.
                    if let Some(log) = &self.log {
                        log.hold(&draft.plan.checkpoint)?;
                    }
                    return self.tell(&draft).await;
                }
                Err(store::RewindError::Moved { .. } | store::RewindError::LaneMoved { .. }) => {
                    tokio::time::sleep(AGAIN).await;
                }
                Err(store::RewindError::Store(error)) => return Err(error.into()),
                Err(error @ store::RewindError::TooLarge { .. }) => {
                    return Err(CommandError::Usage(error.to_string()));
                }
            }
        }
        Err(CommandError::OutOfReach(format!(
            "{}: its owner commits so often that the {} was computed {TRIES} times from what had moved on: try again, or stop the owner first",
            self.name,
            self.verb.name()
        )))
    }

    /// `None`: an import of what stands here already, as of one that broke off and is repeated.
    async fn draft(&self, goal: &Goal) -> Result<Option<Draft>, CommandError> {
        let found = self.store.ownership(&self.name).await?;
        let mut items = self.store.lanes(&self.name).await?;
        items.retain(|item| item.state != LaneState::Live);
        let standing = self.standing(&items, found.as_ref(), &goal.target).await?;
        let known = { found.as_ref() }.and_then(|found| found.checkpoint.as_ref());
        let forward = goal.forward || known.is_none();
        if self.verb == RewindVerb::Rewind && known.is_none() {
            return Err(CommandError::Usage(format!(
                "{}: nothing was committed yet, so that there is nothing to go back from",
                self.name
            )));
        }
        let now = known.cloned().unwrap_or_default();
        let chains = self.how.chains();
        let plan = match rewind::plan(&now, &standing, &goal.target, chains, forward) {
            Err(RewindError::NothingSettled) if self.verb == RewindVerb::Import => return Ok(None),
            plan => plan.map_err(|error| self.refused(&error))?,
        };
        let former = { found.as_ref() }.map(|found| found.generation);
        // Of a store that is new to the group, a checkpoint older than what the group has told runs records
        // again as a rewind does.
        let is_older = match &self.log {
            Some(log) if known.is_none() => log.is_ahead_of(&plan.checkpoint)?,
            Some(_) | None => false,
        };
        let generation = match former {
            Some(former) if known.is_some() => goal.generation.max(former).saturating_add(1),
            Some(former) => goal.generation.max(former),
            None => goal.generation,
        };
        let generation = generation + u64::from(is_older);
        let epoch = { found.as_ref() }.map_or(1, |found| found.epoch + 1);
        let (lanes, restored) = changes(&items, &plan, goal, epoch);
        Ok(Some(Draft {
            found,
            plan,
            generation,
            lanes,
            restored,
        }))
    }

    /// The lanes with the positions of their chains.
    async fn standing(
        &self,
        items: &[LaneItem],
        found: Option<&Ownership>,
        target: &Target,
    ) -> Result<Vec<Standing>, CommandError> {
        let mut standing = Vec::new();
        for item in items {
            let positions = match (found, &item.tail, target) {
                (_, None, _) | (None, _, _) => Vec::new(),
                // Its ends say enough.
                (_, Some(tail), Target::Position(to)) if tail < to => {
                    vec![item.head.clone(), tail.clone()]
                }
                (Some(found), Some(_), _) => chain(self.store, &self.name, found, item).await?,
            };
            standing.push(Standing {
                lane: item.lane.clone(),
                head: item.head.clone(),
                chain: positions,
            });
        }
        Ok(standing)
    }

    fn refused(&self, error: &RewindError) -> CommandError {
        let what = format!(
            "{}: {} to {}: {error}",
            self.name,
            self.verb.name(),
            shown(&self.to)
        );
        CommandError::Usage(match error {
            RewindError::Chains(lanes) => {
                let keys: Vec<_> = lanes.iter().take(5).map(key_text).collect();
                let more = if lanes.len() > keys.len() {
                    ", …"
                } else {
                    ""
                };
                format!(
                    "{what}: {}{more}; say `--chains keep` (what lies before them runs, they stay parked) or `--chains drop` (their records run again, from the log)",
                    keys.join(", ")
                )
            }
            RewindError::ChainBefore { .. } => {
                format!("{what}; say `--chains keep`, or go back to before its head")
            }
            RewindError::Forward(_) if self.verb == RewindVerb::Import => format!(
                "{what}: none of that would ever run here; say `--skip-unsettled` if that is meant"
            ),
            RewindError::NothingSettled
            | RewindError::Forward(_)
            | RewindError::Kind(_)
            | RewindError::OtherLog { .. }
            | RewindError::OpenBefore(_) => what,
        })
    }

    async fn tell(&self, draft: &Draft) -> Result<(), CommandError> {
        let fenced = match &draft.found {
            Some(found) => owner_of(self.store, found).await?,
            None => None,
        };
        if self.how.json {
            return output::json(&self.document(draft, fenced));
        }
        output::raw(self.text(draft).as_bytes())?;
        if let Some(worker) = fenced {
            let (is, ends, goes) = if self.how.dry_run {
                ("would be", "would end", "would go")
            } else {
                ("is", "ends", "goes")
            };
            let is_given_out = self.log.as_ref().is_none_or(|log| log.is_given_out);
            let then = if !is_given_out {
                format!("{ends} with exit code 4; start `lanekeeper run` again then")
            } else {
                // Whose partitions a group gives out. The store does not say whether it is a member.
                format!(
                    "{goes} on from there by itself, once it notices (with its next commit of the partition; without work there it looks every {}, or each half of what `drain` exceeds `timeout` by where that is longer; a restart is quicker) and has waited for its own tries; a recovery {ends} with exit code 4, and wants to be started again",
                    duration_text(self.store.looks_every())
                )
            };
            output::note(&format!(
                "{worker} owns {}: it {is} fenced and {then}",
                self.name
            ));
        }
        Ok(())
    }

    fn document(&self, draft: &Draft, fenced: Option<String>) -> Document {
        let plan = &draft.plan;
        let lanes = |keys: &[LaneKey]| keys.iter().map(Lane::of).collect();
        Document {
            format: 1,
            source: self.name.source.to_string(),
            partition: self.name.partition.to_string(),
            verb: self.verb,
            dry_run: self.how.dry_run,
            epoch: { draft.found.as_ref() }.map_or(1, |found| found.epoch + 1),
            generation: draft.generation,
            former_generation: { draft.found.as_ref() }.map(|found| found.generation),
            checkpoint: (&plan.checkpoint).into(),
            again: plan.again.as_ref().map(Into::into),
            records: plan.records,
            reopened: lanes(&plan.reopened),
            kept: lanes(&plan.kept),
            dropped: lanes(&plan.dropped),
            restored: lanes(&draft.restored),
            fenced,
        }
    }

    fn text(&self, draft: &Draft) -> String {
        let (plan, mut out) = (&draft.plan, String::new());
        let would = if self.how.dry_run { "would be " } else { "" };
        let _ = writeln!(
            out,
            "{would}{} of {} to {}: settled is {}; generation {}",
            self.verb.name(),
            self.name,
            shown(&self.to),
            settled(&plan.checkpoint),
            draft.generation
        );
        let mut line = |what: String| {
            let _ = writeln!(out, "  {what}");
        };
        line(again(&plan.checkpoint, plan));
        for (lanes, what) in [
            (&plan.reopened, "stopped lane, not held any more"),
            (
                &plan.dropped,
                "parked lane, its chain dropped: its records run again from the log",
            ),
            (
                &plan.kept,
                "parked lane, kept: what lies before its chain runs first",
            ),
            (&draft.restored, "lane, stopped as it was exported"),
        ] {
            for lane in lanes {
                line(format!("{}: {what}", key_text(lane)));
            }
        }
        out
    }
}

/// What runs again, for people.
fn again(checkpoint: &Checkpoint, plan: &Plan) -> String {
    let from = match &plan.again {
        None => return "nothing that is settled here runs again".to_owned(),
        Some(Resume::Beginning) => "from the beginning on".to_owned(),
        Some(Resume::At(position)) => format!("from {position} on"),
        Some(Resume::After(position)) => format!("after {position}"),
    };
    let count = match plan.records {
        Some(count) => format!("{} that had been settled", records(count)),
        None => "what had been settled".to_owned(),
    };
    let open = checkpoint.open.positions().len();
    let open = if open > 0 {
        format!("; {open} more are open before that")
    } else {
        String::new()
    };
    format!("runs again: {count}, {from}, with new record ids{open}")
}

impl Lane {
    fn of(lane: &LaneKey) -> Self {
        let (lane, key, key_base64) = lane_name(lane);
        Self {
            lane,
            key,
            key_base64,
        }
    }
}

/// Lane items that go and come, and the lanes of those that come.
fn changes(
    items: &[LaneItem],
    plan: &Plan,
    goal: &Goal,
    epoch: u64,
) -> (Vec<LaneChange>, Vec<LaneKey>) {
    let mut changes: Vec<LaneChange> = { items.iter() }
        .filter(|item| plan.reopened.contains(&item.lane) || plan.dropped.contains(&item.lane))
        .map(|item| LaneChange {
            lane: item.lane.clone(),
            expected: Some((item.rev, item.tail.clone())),
            item: None,
            append: Vec::new(),
            passed: None,
        })
        .collect();
    let mut restored = Vec::new();
    for item in &goal.stopped {
        let is_open = |position: &Position| !plan.checkpoint.settles(position);
        let goes = changes.iter().position(|change| change.lane == item.lane);
        let stands = items.iter().any(|other| other.lane == item.lane);
        if !is_open(&item.head) || (stands && goes.is_none()) {
            continue;
        }
        restored.push(item.lane.clone());
        let item = LaneItem {
            // Unique over the lane's lives: no other writer of this epoch makes items.
            rev: (epoch & 0x7f_ffff) << 40,
            ..item.clone()
        };
        match goes.and_then(|at| changes.get_mut(at)) {
            Some(change) => change.item = Some(item),
            None => changes.push(LaneChange {
                lane: item.lane.clone(),
                expected: None,
                item: Some(item),
                append: Vec::new(),
                passed: None,
            }),
        }
    }
    (changes, restored)
}
