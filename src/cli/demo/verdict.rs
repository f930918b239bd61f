//! The demo's verdict, computed from the store and the history alone.

use super::{
    Files,
    plan::{Plan, Request},
    setup::Places,
    worker::ACCOUNTS,
};
use crate::{
    audit::Audit,
    cli::{exit::CommandError, output},
    history::{Kind, Line},
    store::{Store, Verb},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    fs::File,
    io::BufReader,
    path::Path,
    time::Duration,
};

/// Accounts are read in pages.
const PAGE: usize = 1_000;

/// What was found, beside what should be.
#[derive(Debug)]
pub(super) struct Verdict {
    /// What each check says; the demo is right when all hold.
    pub(super) checks: Vec<Check>,
    pub(super) tries: usize,
    /// Requests that ran again although an earlier try of theirs had been answered with done.
    pub(super) repeats: usize,
    pub(super) workers: usize,
    pub(super) makespan: Duration,
    pub(super) bound: Duration,
}

/// One check.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) holds: bool,
    pub(super) text: String,
}

/// What the history says of the run.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// Positions of applied requests by account, in the order of their effects.
    pub(super) applied: BTreeMap<String, Vec<u64>>,
    pub(super) skipped: BTreeSet<u64>,
    /// Requests that a killed worker answered, or was told to skip, and whose commit has no line:
    /// it was killed between the two. Accounts and lanes tell what became of them.
    pub(super) unsaid: BTreeSet<u64>,
    pub(super) tries: Vec<Span>,
    pub(super) repeats: usize,
    pub(super) workers: usize,
}

/// One try.
#[derive(Clone, Debug)]
pub(super) struct Span {
    pub(super) account: String,
    /// Nanoseconds of the machine's clock.
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) outcome: String,
}

impl Facts {
    /// `positions` are unique over the demo's one topic only with their partition, so requests are
    /// told apart by both; `id_of` gives the request's number.
    pub(super) fn read(lines: &[Line<'_>], id_of: impl Fn(&str, u64) -> Option<u64>) -> Self {
        let mut facts = Self::default();
        let mut out: BTreeMap<(String, u64), Vec<Span>> = BTreeMap::new();
        let mut answered = BTreeSet::new();
        let (mut ended_by, mut said) = (BTreeMap::new(), BTreeSet::new());
        let mut last_of: BTreeMap<String, u64> = BTreeMap::new();
        let mut worker_names = BTreeSet::new();
        for line in lines {
            if worker_names.insert(line.worker.to_string()) {
                // The one before it died with what it ran.
                facts.cut_off(&mut out, &last_of);
            }
            last_of.insert(line.worker.to_string(), line.t);
            let (Some(partition), Some(position)) = (
                &line.partition,
                line.position.as_ref().and_then(crate::Position::offset),
            ) else {
                continue;
            };
            let Some(id) = id_of(partition, position) else {
                continue;
            };
            let account = line.key.as_deref().unwrap_or_default().to_owned();
            let of = (line.worker.to_string(), line.ticket.unwrap_or(0));
            if line.event == Kind::Started {
                facts.repeats += usize::from(answered.contains(&id));
                let (start, end) = (line.t, line.t);
                let outcome = String::new();
                out.entry(of).or_default().push(Span {
                    account,
                    start,
                    end,
                    outcome,
                });
            } else if line.event == Kind::Ended {
                let outcome = line.outcome.as_deref().unwrap_or_default().to_owned();
                if outcome == "done" {
                    answered.insert(id);
                    ended_by.insert(id, line.worker.to_string());
                }
                for mut span in out.remove(&of).unwrap_or_default() {
                    span.end = line.t;
                    span.outcome.clone_from(&outcome);
                    facts.tries.push(span);
                }
            } else if line.event == Kind::Effect {
                facts.applied.entry(account).or_default().push(id);
                said.insert(id);
            } else if line.event == Kind::Skipped {
                facts.skipped.insert(id);
                said.insert(id);
            } else if line.event == Kind::Decided && line.verb == Some(Verb::Skip) {
                ended_by.insert(id, line.worker.to_string());
            }
        }
        let last = lines.last().map(|line| line.worker.as_ref());
        ended_by.retain(|id, worker| !said.contains(id) && Some(worker.as_str()) != last);
        facts.unsaid = ended_by.into_keys().collect();
        facts.cut_off(&mut out, &last_of);
        facts.workers = worker_names.len();
        facts
    }

    fn cut_off(
        &mut self,
        out: &mut BTreeMap<(String, u64), Vec<Span>>,
        last_of: &BTreeMap<String, u64>,
    ) {
        for ((worker, _), spans) in std::mem::take(out) {
            for mut span in spans {
                span.end = last_of
                    .get(&worker)
                    .copied()
                    .unwrap_or(span.start)
                    .max(span.start);
                span.outcome = "killed".to_owned();
                self.tries.push(span);
            }
        }
    }

    /// Most tries at once, by sweeping over starts and ends.
    pub(super) fn peak(&self) -> usize {
        let mut edges: Vec<(u64, i32)> = self
            .tries
            .iter()
            .flat_map(|t| [(t.start, 1), (t.end, -1)])
            .collect();
        edges.sort_unstable();
        let (mut now, mut peak) = (0, 0);
        for (_, step) in edges {
            now += step;
            peak = peak.max(now);
        }
        usize::try_from(peak).unwrap_or(0)
    }

    /// No schedule can be shorter: all work over the cap, or the longest lane.
    fn bound(&self, cap: u32) -> Duration {
        let mut lanes: BTreeMap<&str, u64> = BTreeMap::new();
        for span in &self.tries {
            *lanes.entry(&span.account).or_default() += span.end - span.start;
        }
        let work: u64 = lanes.values().sum();
        let longest = lanes.values().copied().max().unwrap_or(0);
        Duration::from_nanos((work / u64::from(cap.max(1))).max(longest))
    }

    fn makespan(&self) -> Duration {
        let start = self.tries.iter().map(|t| t.start).min().unwrap_or(0);
        let end = self.tries.iter().map(|t| t.end).max().unwrap_or(0);
        Duration::from_nanos(end - start)
    }
}

impl Verdict {
    pub(super) fn new(
        plan: &Plan,
        cap: u32,
        facts: &Facts,
        balances: &BTreeMap<String, i64>,
    ) -> Self {
        let valid = plan.requests.iter().filter(|r| plan.is_valid(r)).count();
        let invalid = ids(plan, |r| !plan.is_valid(r));
        let wanted: BTreeMap<String, i64> = plan
            .balances()
            .into_iter()
            .map(|(a, n)| (a.to_owned(), n))
            .collect();
        let total: i64 = balances.values().sum();
        let applied: usize = facts.applied.values().map(Vec::len).sum();
        let unsaid = facts.unsaid.difference(&invalid).count();
        let skipped: BTreeSet<u64> = { facts.unsaid.intersection(&invalid) }
            .chain(&facts.skipped)
            .copied()
            .collect();
        let peak = facts.peak();
        let checks = vec![
            check(
                *balances == wanted,
                format!(
                    "accounts hold {total}, {valid} requests are valid; each account holds its own number"
                ),
            ),
            check(
                skipped == invalid,
                format!(
                    "{} requests were skipped, {} are invalid; they are the same",
                    skipped.len(),
                    invalid.len()
                ),
            ),
            check(
                applied + unsaid == valid
                    && facts
                        .applied
                        .values()
                        .all(|ids| ids.is_sorted_by(|a, b| a < b)),
                format!(
                    "{applied} effects, none twice, in order in each of {} accounts{}",
                    facts.applied.len(),
                    match unsaid {
                        0 => String::new(),
                        n =>
                            format!("; {n} more whose worker was killed before it wrote them down"),
                    }
                ),
            ),
            check(
                peak == cap as usize,
                format!(
                    "at most {peak} tries in flight at once, the cap is {cap}: never above it, and reached"
                ),
            ),
        ];
        Self {
            checks,
            tries: facts.tries.len(),
            repeats: facts.repeats,
            workers: facts.workers,
            makespan: facts.makespan(),
            bound: facts.bound(cap),
        }
    }

    /// Another check, of what the audit found.
    pub(super) fn audited(&mut self, holds: bool, text: String) {
        self.checks.push(check(holds, text));
    }

    pub(super) fn is_right(&self) -> bool {
        self.checks.iter().all(|c| c.holds)
    }
}

fn ids(plan: &Plan, want: impl Fn(&Request) -> bool) -> BTreeSet<u64> {
    plan.requests
        .iter()
        .filter(|r| want(r))
        .map(|r| u64::from(r.id))
        .collect()
}

fn check(holds: bool, text: String) -> Check {
    Check { holds, text }
}

/// Reads history and accounts, and judges.
pub(super) async fn judge(
    cap: u32,
    svg: Option<&Path>,
    plan: &Plan,
    files: &Files,
    places: &Places,
    store: &dyn Store,
) -> Result<Verdict, CommandError> {
    output::end_progress();
    let file = File::open(&files.history).map_err(|e| CommandError::Internal(e.to_string()))?;
    let name = files.history.display().to_string();
    let lines = crate::history::read_lines(BufReader::new(file), &name)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| CommandError::Internal(error.to_string()))?;
    let id_of = |partition: &str, position| {
        places
            .get(&(partition.to_owned(), position))
            .map(|id| u64::from(*id))
    };
    let facts = Facts::read(&lines, id_of);
    if let Some(path) = svg {
        std::fs::write(path, super::svg::draw(plan, cap, &facts)).map_err(|error| {
            CommandError::OutOfReach(format!("cannot write {}: {error}", path.display()))
        })?;
    }
    let mut balances = BTreeMap::new();
    let mut after = None;
    loop {
        let page = store.values(ACCOUNTS, after.as_deref(), PAGE).await?;
        let Some((last, _)) = page.last() else { break };
        after = Some(last.clone());
        balances.extend(
            page.into_iter()
                .map(|(key, value)| (key, value.as_i64().unwrap_or(i64::MIN))),
        );
    }
    let mut verdict = Verdict::new(plan, cap, &facts, &balances);
    let mut audit = Audit::new();
    for line in &lines {
        audit.add(line);
    }
    let audited = audit.finish();
    verdict.audited(audited.passes(), format!("audit of the history: {audited}"));
    Ok(verdict)
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for check in &self.checks {
            writeln!(
                f,
                "  {}  {}",
                if check.holds { "ok   " } else { "WRONG" },
                check.text
            )?;
        }
        let seconds = |d: Duration| d.as_secs_f64();
        writeln!(
            f,
            "         {} tries by {} worker{}; {} answered before a crash and run again, their effects once",
            self.tries,
            self.workers,
            if self.workers == 1 { "" } else { "s" },
            self.repeats,
        )?;
        write!(
            f,
            "         makespan {:.2} s; no schedule of these tries could take less than {:.2} s ({:.2} of it)",
            seconds(self.makespan),
            seconds(self.bound),
            seconds(self.makespan) / seconds(self.bound).max(f64::EPSILON),
        )
    }
}
