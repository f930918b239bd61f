//! `checkpoint list` and `show`: what people and machines see of checkpoints.

use super::{
    Place,
    document::{CheckpointView, Ranges, ResumeView},
    past::{Past, past, past_text},
};
use crate::{
    checkpoint::Checkpoint,
    cli::{
        ends::source_ends,
        exit::CommandError,
        output::{self, ago, moment, shown, table},
        status::is_alive,
        view::{LaneView, lane_text},
    },
    config::Config,
    record::PartitionName,
    store::{HistoryItem, LaneItem, LaneState, Ownership, Store, WorkerItem},
};
use partitions::Resume;
use serde::Serialize;
use std::fmt::Write as _;

/// Most runs of open positions, and most records with attempts, that people are shown.
const SHOWN_MAX: usize = 40;

/// Who owns a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Owner {
    /// Nobody: the last one ended cleanly.
    Released,
    /// A worker that runs.
    Live,
    /// A worker is named, and its process is not there any more.
    Gone,
}

/// What `list --json` prints.
#[derive(Serialize)]
struct List {
    format: u32,
    partitions: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    source: String,
    partition: String,
    /// `null`: nothing was committed yet.
    resume: Option<ResumeView>,
    frontier: Option<String>,
    settled_to: Option<String>,
    open: usize,
    epoch: u64,
    generation: u64,
    owner: Owner,
    worker: Option<String>,
    age_ms: i64,
}

/// What `show --json` prints.
#[derive(Serialize)]
struct Show {
    format: u32,
    source: String,
    partition: String,
    epoch: u64,
    generation: u64,
    commit: u64,
    owner: Owner,
    worker: Option<String>,
    unclean_claims: u32,
    at: String,
    age_ms: i64,
    checkpoint: Option<CheckpointView>,
    /// First and last position of an embedded log.
    log: Option<(String, String)>,
    lanes: Vec<LaneView>,
    history: Vec<Past>,
}

pub(super) async fn list(store: &dyn Store, place: &Place, json: bool) -> Result<(), CommandError> {
    let (now, workers) = (output::now(), store.workers().await?);
    let mut rows = Vec::new();
    for name in place.find(store).await? {
        if let Some(ownership) = store.ownership(&name).await? {
            rows.push(row(&name, &ownership, &workers, now));
        }
    }
    if json {
        return output::json(&List {
            format: 1,
            partitions: rows,
        });
    }
    if rows.is_empty() {
        output::note(&format!(
            "{} holds no partition yet: nothing was processed",
            store.describe()
        ));
        return Ok(());
    }
    let headings = [
        "PARTITION",
        "SETTLED",
        "UP TO",
        "OPEN",
        "EPOCH",
        "GENERATION",
        "OWNER",
        "AS OF",
    ];
    let cells: Vec<_> = rows.iter().map(Row::cells).collect();
    output::raw(table(&headings, &cells).as_bytes())
}

fn row(name: &PartitionName, ownership: &Ownership, workers: &[WorkerItem], now: i64) -> Row {
    let checkpoint = ownership.checkpoint.as_ref();
    Row {
        source: name.source.to_string(),
        partition: name.partition.to_string(),
        resume: checkpoint.map(|c| (&c.resume).into()),
        frontier: { checkpoint.and_then(Checkpoint::frontier) }.map(ToString::to_string),
        settled_to: checkpoint
            .and_then(|c| c.settled_to.as_ref())
            .map(ToString::to_string),
        open: checkpoint.map_or(0, |c| c.open.positions().len()),
        epoch: ownership.epoch,
        generation: ownership.generation,
        owner: owner(ownership, workers, now),
        worker: ownership.worker.map(|worker| worker.to_string()),
        age_ms: now.saturating_sub(ownership.updated_at).max(0),
    }
}

impl Row {
    fn cells(&self) -> Vec<String> {
        let none = || "-".to_owned();
        vec![
            format!("{}/{}", self.source, self.partition),
            match &self.resume {
                None | Some(ResumeView::Beginning) => none(),
                Some(ResumeView::At(position)) => format!("before {position}"),
                Some(ResumeView::After(position)) => position.to_string(),
            },
            self.settled_to.clone().unwrap_or_else(none),
            self.open.to_string(),
            self.epoch.to_string(),
            self.generation.to_string(),
            owner_text(self.owner, self.worker.as_deref()),
            format!("{} ago", ago(self.age_ms, 0)),
        ]
    }
}

/// Whether the worker that is named can be expected to act.
fn owner(ownership: &Ownership, workers: &[WorkerItem], now: i64) -> Owner {
    let Some(worker) = ownership.worker else {
        return Owner::Released;
    };
    let item = workers.iter().find(|item| item.worker == worker.0);
    if item.is_some_and(|item| is_alive(item, now)) {
        Owner::Live
    } else {
        Owner::Gone
    }
}

/// The worker that owns a partition and runs, for people.
pub(super) async fn owner_of(
    store: &dyn Store,
    ownership: &Ownership,
) -> Result<Option<String>, CommandError> {
    let (now, workers) = (output::now(), store.workers().await?);
    let named =
        { workers.iter() }.find(|item| ownership.worker.is_some_and(|w| w.0 == item.worker));
    Ok(named
        .filter(|item| is_alive(item, now))
        .map(|item| format!("process {} on `{}`", item.pid, shown(&item.host))))
}

fn owner_text(owner: Owner, worker: Option<&str>) -> String {
    let worker: String = worker.unwrap_or_default().chars().take(8).collect();
    match owner {
        Owner::Released => "released".to_owned(),
        Owner::Live => format!("live {worker}"),
        Owner::Gone => format!("gone {worker}"),
    }
}

pub(super) async fn show(
    config: &Config,
    store: &dyn Store,
    place: &Place,
    json: bool,
) -> Result<(), CommandError> {
    let name = place.find_one(store).await?;
    let Some(ownership) = store.ownership(&name).await? else {
        return Err(CommandError::Usage(format!(
            "{name} has no checkpoint in {}",
            store.describe()
        )));
    };
    let seen = Seen {
        lanes: store.lanes(&name).await?,
        history: store.history(&name).await?,
        owner: owner(&ownership, &store.workers().await?, output::now()),
        log: log_of(config, &name)?,
        name,
        ownership,
    };
    if json {
        output::json(&seen.document(output::now()))
    } else {
        output::raw(seen.text(output::now()).as_bytes())
    }
}

/// First and last position of a partition's log.
fn log_of(config: &Config, name: &PartitionName) -> Result<Option<(u64, u64)>, CommandError> {
    let source = { config.sources.iter() }.find(|source| *source.name == *name.source);
    let Some(source) = source else {
        return Ok(None);
    };
    let ends = source_ends(config, source, Some(name))?;
    let end = ends.iter().find(|(of, _)| of == name);
    Ok(end.map(|(_, end)| (end.first, end.last())))
}

/// All that there is to show.
struct Seen {
    name: PartitionName,
    ownership: Ownership,
    owner: Owner,
    lanes: Vec<LaneItem>,
    history: Vec<HistoryItem>,
    log: Option<(u64, u64)>,
}

impl Seen {
    fn document(&self, now: i64) -> Show {
        Show {
            format: 1,
            source: self.name.source.to_string(),
            partition: self.name.partition.to_string(),
            epoch: self.ownership.epoch,
            generation: self.ownership.generation,
            commit: self.ownership.commit,
            owner: self.owner,
            worker: self.ownership.worker.map(|worker| worker.to_string()),
            unclean_claims: self.ownership.unclean_claims,
            at: moment(self.ownership.updated_at),
            age_ms: now.saturating_sub(self.ownership.updated_at).max(0),
            checkpoint: self.ownership.checkpoint.as_ref().map(Into::into),
            log: self
                .log
                .map(|(first, last)| (first.to_string(), last.to_string())),
            lanes: { self.lanes.iter() }
                .map(|item| LaneView::new(&self.name, item))
                .collect(),
            history: self.history.iter().map(past).collect(),
        }
    }

    fn text(&self, now: i64) -> String {
        let (ownership, mut out) = (&self.ownership, String::new());
        let worker = ownership.worker.map(|worker| worker.to_string());
        let _ = writeln!(out, "{}", self.name);
        let mut line = |what: &str, value: &str| {
            let _ = writeln!(out, "  {what:<11} {value}");
        };
        line("owner", &owner_text(self.owner, worker.as_deref()));
        line("epoch", &ownership.epoch.to_string());
        line("generation", &ownership.generation.to_string());
        if ownership.unclean_claims > 0 {
            line(
                "",
                &format!(
                    "{} claims in a row found a worker that had not released",
                    ownership.unclean_claims
                ),
            );
        }
        let age = ago(now, ownership.updated_at);
        line(
            "as of",
            &format!("{} ({age} ago)", moment(ownership.updated_at)),
        );
        if let Some((first, last)) = self.log {
            line(
                "log",
                &if first > last {
                    "empty".to_owned()
                } else {
                    format!("{first} to {last}")
                },
            );
        }
        match &ownership.checkpoint {
            None => line("settled", "nothing was committed yet"),
            Some(checkpoint) => checkpoint_lines(checkpoint, line),
        }
        let lanes: Vec<_> = { self.lanes.iter() }
            .filter(|item| item.state != LaneState::Live)
            .collect();
        if !lanes.is_empty() {
            let _ = writeln!(out, "\nlanes ({})", lanes.len());
            for item in lanes {
                out.push_str(&lane_text(&self.name, item, now));
            }
        }
        self.history_text(&mut out);
        out
    }

    fn history_text(&self, out: &mut String) {
        if self.history.is_empty() {
            out.push_str("\nno history yet: checkpoints are kept each 5 minutes, for 7 days\n");
            return;
        }
        let _ = writeln!(out, "\nhistory, oldest first (`--to history:TIME`)");
        for item in &self.history {
            let _ = writeln!(out, "  {}  {}", moment(item.at), past_text(item));
        }
    }
}

fn checkpoint_lines(checkpoint: &Checkpoint, mut line: impl FnMut(&str, &str)) {
    line("settled", &settled(checkpoint));
    let open = checkpoint.open.positions();
    if !open.is_empty() {
        let ranges = Ranges::of(open).text(SHOWN_MAX);
        line("open", &format!("{}: {ranges}", open.len()));
    }
    let attempts: Vec<_> = { checkpoint.attempts.iter().take(SHOWN_MAX) }
        .map(|(position, attempts)| format!("{position}: {attempts}"))
        .collect();
    if !attempts.is_empty() {
        let more = checkpoint.attempts.len() - attempts.len();
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        line("attempts", &format!("{}{more}", attempts.join(", ")));
    }
    if !checkpoint.announced.is_empty() {
        let announced = { checkpoint.announced.iter() }
            .map(|(position, alone)| format!("{position}{}", if *alone { " alone" } else { "" }));
        line("announced", &announced.collect::<Vec<_>>().join(", "));
    }
    if let Some(incarnation) = &checkpoint.incarnation {
        line("log id", &shown(incarnation));
    }
    if checkpoint.ended {
        line("ended", "no record will ever come any more");
    }
}

/// What is settled, for people.
pub(super) fn settled(checkpoint: &Checkpoint) -> String {
    let prefix = match &checkpoint.resume {
        Resume::Beginning => "nothing from the beginning on".to_owned(),
        Resume::At(position) => format!("all before {position}"),
        Resume::After(position) => format!("all to {position}"),
    };
    match &checkpoint.settled_to {
        // It is within the prefix, as after an import of where a group goes on.
        Some(position) if matches!(&checkpoint.resume, Resume::At(next) if position < next) => {
            prefix
        }
        Some(position) if checkpoint.frontier() != Some(position) => {
            format!("{prefix}, and to {position} what is not open")
        }
        Some(_) | None => prefix,
    }
}
