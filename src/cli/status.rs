//! `lanekeeper status`: where everything stands, from what the store holds.

use super::{
    Common, block_on,
    cost::consumed_text,
    ends::{LogEnd, source_ends},
    exit::CommandError,
    output::{self, ago, moment, shown, table},
    view::{LaneView, all_lanes, counted, lane_text, records},
};
use crate::{
    config::Config,
    processor::CAREFUL_FROM,
    record::PartitionName,
    run::open_store,
    sqlite::Access,
    store::{LaneItem, LaneState, Ownership, Store, WorkerItem},
};
use clap::Args;
use partitions::Resume;
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    time::Duration,
};

mod mapping;
mod workers;

pub(crate) use workers::is_alive;
use workers::{WorkerView, short, worker_row, worker_view};

#[derive(Args)]
#[command(
    after_help = "Examples:\n  lanekeeper status\n  lanekeeper status --json | jq '.lanes[] | .key, .error'"
)]
pub(crate) struct StatusArguments {
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// The document.
#[derive(Serialize)]
struct Status {
    format: u32,
    app: String,
    store: String,
    at: String,
    workers: Vec<WorkerView>,
    /// The earliest of the running workers.
    target_sick_since: Option<String>,
    partitions: Vec<PartitionView>,
    lanes: Vec<LaneView>,
}

#[derive(Serialize)]
struct PartitionView {
    source: String,
    partition: String,
    worker: Option<String>,
    epoch: u64,
    generation: u64,
    /// `null`: nothing is settled yet.
    frontier: Option<String>,
    /// Behind an event source mapping: why there is no frontier.
    #[serde(skip_serializing_if = "Option::is_none")]
    frontier_unknown: Option<String>,
    settled_to: Option<String>,
    /// Positions up to `settled_to` that are not settled.
    open: usize,
    /// Records after the frontier that are not settled; `null`: not known.
    lag: Option<u64>,
    stopped: usize,
    parked: usize,
    /// Owners in a row that died without a word, since the last clean end or ten quiet minutes.
    unclean_claims: u32,
    /// Of the checkpoint; `null`: there is none.
    age_ms: Option<i64>,
}

pub(crate) fn run(common: &Common, arguments: &StatusArguments) -> Result<(), CommandError> {
    let config = common.config()?;
    let store = open_store(&config, Access::Read)?;
    block_on(async {
        let seen = Seen::read(&config, &*store).await?;
        let now = output::now();
        if arguments.json {
            output::json(&seen.document(now))
        } else {
            output::raw(seen.text(now).as_bytes())
        }
    })
}

/// What the store and the logs hold.
pub(crate) struct Seen {
    app: String,
    store: String,
    workers: Vec<WorkerItem>,
    partitions: Vec<Partition>,
}

struct Partition {
    name: PartitionName,
    owner: Option<Ownership>,
    lanes: Vec<LaneItem>,
    end: Option<LogEnd>,
    /// Records that were not handed over, as its worker says.
    behind: Option<u64>,
    /// Behind an event source mapping: why nobody knows its frontier.
    unknown: Option<String>,
}

/// Where a partition stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Standing {
    /// `None`: nothing is settled yet.
    pub(crate) frontier: Option<String>,
    /// The position that the next record gets; 0 where it is not known.
    pub(crate) next: u64,
    pub(crate) not_settled: u64,
    pub(crate) stopped: usize,
    pub(crate) parked: usize,
    /// Lanes with a decision that nobody has acted on to its end.
    pub(crate) decisions: usize,
}

impl Seen {
    pub(crate) async fn read(config: &Config, store: &dyn Store) -> Result<Self, CommandError> {
        let workers = store.workers().await?;
        let mut ends: BTreeMap<PartitionName, LogEnd> = BTreeMap::new();
        for source in &config.sources {
            ends.extend(source_ends(config, source, None)?);
        }
        let lanes: BTreeMap<_, _> = all_lanes(store).await?.into_iter().collect();
        // Also partitions that nobody claimed yet: what they hold waits.
        let names: BTreeSet<PartitionName> = lanes.keys().chain(ends.keys()).cloned().collect();
        let mut partitions = Vec::new();
        for name in names {
            let owner = store.ownership(&name).await?;
            let text = name.to_string();
            let behind = { &workers }
                .iter()
                .filter(|item| {
                    owner
                        .as_ref()
                        .is_some_and(|o| o.worker.is_some_and(|w| w.0 == item.worker))
                })
                .find_map(|item| item.behind.iter().find(|(partition, _)| *partition == text))
                .map(|(_, records)| *records);
            let is_known = owner.is_some() || !lanes.contains_key(&name);
            partitions.push(Partition {
                unknown: mapping::unknown_frontier(config, &name.source, is_known),
                owner,
                lanes: lanes.get(&name).cloned().unwrap_or_default(),
                end: ends.get(&name).copied(),
                behind,
                name,
            });
        }
        Ok(Self {
            app: config.app.clone(),
            store: store.describe(),
            workers,
            partitions,
        })
    }

    fn document(&self, now: i64) -> Status {
        Status {
            format: 1,
            app: self.app.clone(),
            store: self.store.clone(),
            at: moment(now),
            workers: { &self.workers }
                .iter()
                .map(|item| worker_view(item, now))
                .collect(),
            target_sick_since: self.sick_since(now).map(moment),
            partitions: { &self.partitions }.iter().map(|p| p.view(now)).collect(),
            lanes: { &self.partitions }
                .iter()
                .flat_map(|p| p.lanes.iter().map(|lane| LaneView::new(&p.name, lane)))
                .collect(),
        }
    }

    /// Since when a running worker's target is sick.
    pub(crate) fn sick_since(&self, now: i64) -> Option<i64> {
        let alive = self.workers.iter().filter(|item| is_alive(item, now));
        alive.filter_map(|item| item.sick_since).min()
    }

    /// Lanes that are stopped, or that have a chain.
    pub(crate) fn count(&self, stopped: bool) -> usize {
        self.partitions.iter().map(|p| p.count(stopped)).sum()
    }

    /// Where each partition stands, by name.
    pub(crate) fn standings(&self) -> BTreeMap<PartitionName, Standing> {
        let of = |p: &Partition| Standing {
            frontier: { &p.owner }.as_ref().and_then(|owner| {
                owner
                    .checkpoint
                    .as_ref()?
                    .frontier()
                    .map(ToString::to_string)
            }),
            next: p.end.map_or(0, |end| end.next),
            not_settled: p.lag().unwrap_or(0),
            stopped: p.count(true),
            parked: p.count(false),
            decisions: p.lanes.iter().filter(|l| l.decision.is_some()).count(),
        };
        { &self.partitions }
            .iter()
            .map(|p| (p.name.clone(), of(p)))
            .collect()
    }

    /// Records that are not settled, as far as is known.
    pub(crate) fn lag(&self) -> u64 {
        self.partitions.iter().filter_map(Partition::lag).sum()
    }

    fn text(&self, now: i64) -> String {
        let mut out = format!("{}, {}\n", self.store, moment(now));
        self.workers_text(&mut out, now);
        self.partitions_text(&mut out, now);
        let lanes: usize = self.partitions.iter().map(|p| p.lanes.len()).sum();
        if lanes == 0 {
            out.push_str("\nno lane is stopped or parked\n");
        } else {
            let _ = writeln!(out, "\nlanes ({lanes})");
            for partition in &self.partitions {
                for lane in &partition.lanes {
                    out.push_str(&lane_text(&partition.name, lane, now));
                }
            }
        }
        out
    }

    fn workers_text(&self, out: &mut String, now: i64) {
        if self.workers.is_empty() {
            out.push_str("\nno worker is running\n");
            return;
        }
        if let Some(since) = self.sick_since(now) {
            let _ = writeln!(
                out,
                "\ntarget sick since {} ({} ago): one try at a time until one succeeds",
                moment(since),
                ago(now, since)
            );
        }
        out.push_str("\nworkers\n");
        let rows: Vec<Vec<String>> = { &self.workers }
            .iter()
            .map(|item| worker_row(item, now))
            .collect();
        let headings = [
            "WORKER",
            "PID",
            "HOST",
            "UP",
            "IN FLIGHT",
            "WAITING",
            "BUFFERED",
            "AS OF",
            "",
        ];
        out.push_str(&table(&headings, &rows));
        for item in &self.workers {
            if let Some(consumed) = &item.consumed {
                let since = item.beat.saturating_sub(item.started);
                let since = Duration::from_millis(u64::try_from(since).unwrap_or(0));
                let consumed = consumed_text(consumed, since);
                let _ = writeln!(out, "  {} asked the store for {consumed}", short(item));
            }
            for paused in &item.paused {
                let _ = writeln!(
                    out,
                    "  {} takes in nothing from {}",
                    short(item),
                    shown(paused)
                );
            }
        }
    }

    /// Why frontiers are not known, once for each source.
    fn unknown_text(&self, out: &mut String) {
        let whys = { &self.partitions }
            .iter()
            .filter_map(|p| Some((&*p.name.source, p.unknown.as_deref()?)));
        for (source, why) in whys.collect::<BTreeSet<_>>() {
            let _ = writeln!(out, "  {source}: frontier unknown: {why}");
        }
    }

    fn partitions_text(&self, out: &mut String, now: i64) {
        if self.partitions.is_empty() {
            out.push_str("\nno partition yet: nothing was put, and nothing was processed\n");
            return;
        }
        out.push_str("\npartitions\n");
        let rows: Vec<Vec<String>> = { &self.partitions }.iter().map(|p| p.row(now)).collect();
        let headings = [
            "PARTITION",
            "FRONTIER",
            "LAG",
            "OPEN",
            "STOPPED",
            "PARKED",
            "EPOCH",
            "OWNER",
            "AS OF",
        ];
        out.push_str(&table(&headings, &rows));
        // Where lanes are that all partitions of a source share, there are no records.
        let real = self.partitions.iter().filter(|p| *p.name.partition != *"*");
        let unknown = real.filter(|p| p.lag().is_none()).count();
        let _ = write!(out, "  {} not settled", records(self.lag()));
        if unknown > 0 {
            let unknown = counted(unknown as u64, "partition");
            let _ = write!(out, ", and in {unknown} nobody knows how many");
        }
        out.push('\n');
        self.unknown_text(out);
        for partition in &self.partitions {
            partition.caution_text(out);
        }
    }
}

impl Partition {
    fn open(&self) -> usize {
        let checkpoint = self
            .owner
            .as_ref()
            .and_then(|owner| owner.checkpoint.as_ref());
        checkpoint.map_or(0, |checkpoint| checkpoint.open.positions().len())
    }

    fn lag(&self) -> Option<u64> {
        let checkpoint = self
            .owner
            .as_ref()
            .and_then(|owner| owner.checkpoint.as_ref());
        let open = self.open() as u64;
        if let Some(end) = &self.end {
            // The position behind everything that is settled without a hole.
            let prefix = checkpoint.and_then(|c| match &c.resume {
                Resume::Beginning => None,
                Resume::At(first) => first.offset(),
                Resume::After(last) => last.offset()?.checked_add(1),
            });
            let above = checkpoint.and_then(|c| c.settled_to.as_ref()?.offset()?.checked_add(1));
            let from = prefix.max(above).unwrap_or(0).max(end.first);
            return Some(open + end.next.saturating_sub(from));
        }
        // What is buffered behind the highest settled record is missing here: a lower bound.
        self.behind.map(|behind| behind + open)
    }

    fn count(&self, stopped: bool) -> usize {
        let is_stopped = |item: &&LaneItem| (item.state == LaneState::Stopped) == stopped;
        self.lanes.iter().filter(is_stopped).count()
    }

    /// Why it is slow, where its owners died one after the other.
    fn caution_text(&self, out: &mut String) {
        let Some(owner) = self
            .owner
            .as_ref()
            .filter(|o| o.unclean_claims >= CAREFUL_FROM)
        else {
            return;
        };
        let announced = owner.checkpoint.iter().flat_map(|c| &c.announced);
        let positions: Vec<String> = announced.map(|(p, _)| p.to_string()).take(8).collect();
        let _ = writeln!(
            out,
            "  {}: {} owners in a row died without a word, perhaps by one of its records: each is announced before it starts, for ten minutes at most (announced now: {})",
            self.name,
            owner.unclean_claims,
            if positions.is_empty() {
                "none".to_owned()
            } else {
                positions.join(", ")
            },
        );
    }

    fn view(&self, now: i64) -> PartitionView {
        let owner = self.owner.as_ref();
        let checkpoint = owner.and_then(|owner| owner.checkpoint.as_ref());
        PartitionView {
            source: self.name.source.to_string(),
            partition: self.name.partition.to_string(),
            worker: owner
                .and_then(|owner| owner.worker)
                .map(|worker| worker.to_string()),
            epoch: owner.map_or(0, |owner| owner.epoch),
            generation: owner.map_or(0, |owner| owner.generation),
            frontier: checkpoint
                .and_then(|c| c.frontier())
                .map(ToString::to_string),
            frontier_unknown: self.unknown.clone(),
            settled_to: checkpoint
                .and_then(|c| c.settled_to.as_ref())
                .map(ToString::to_string),
            open: self.open(),
            lag: self.lag(),
            stopped: self.count(true),
            parked: self.count(false),
            unclean_claims: owner.map_or(0, |owner| owner.unclean_claims),
            age_ms: owner.map(|owner| now.saturating_sub(owner.updated_at).max(0)),
        }
    }

    fn row(&self, now: i64) -> Vec<String> {
        let none = || "-".to_owned();
        let view = self.view(now);
        vec![
            self.name.to_string(),
            match (view.frontier, &self.unknown) {
                (Some(frontier), _) => frontier,
                (None, Some(_)) => "unknown".to_owned(),
                (None, None) => none(),
            },
            view.lag.map_or_else(none, |lag| lag.to_string()),
            view.open.to_string(),
            view.stopped.to_string(),
            view.parked.to_string(),
            view.epoch.to_string(),
            view.worker
                .map_or_else(none, |worker| worker.chars().take(8).collect()),
            { &self.owner }
                .as_ref()
                .map_or_else(none, |owner| format!("{} ago", ago(now, owner.updated_at))),
        ]
    }
}
