//! What an audit finds.

use crate::history::Line;
use std::fmt;

/// A guarantee that histories can prove broken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Guarantee {
    /// Order.
    G1,
    /// Cap.
    G2,
    /// Stop at the first failure.
    G3,
    /// Isolation: a lane that waits holds no slot.
    G4,
    /// Exact checkpoint.
    G5,
    /// Fencing.
    G6,
    /// No loss.
    G7,
    /// Bounded repeats.
    G8,
}

impl Guarantee {
    /// What it promises.
    pub fn title(self) -> &'static str {
        match self {
            Self::G1 => "order",
            Self::G2 => "cap",
            Self::G3 => "stop at first failure",
            Self::G4 => "isolation",
            Self::G5 => "exact checkpoint",
            Self::G6 => "fencing",
            Self::G7 => "no loss",
            Self::G8 => "bounded repeats",
        }
    }
}

impl fmt::Display for Guarantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// A line's place: find it by `worker` and `seq`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// Whose.
    pub worker: String,
    /// Its number.
    pub seq: u64,
    /// Nanoseconds of the machine's monotonic clock.
    pub t: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker {} seq {}", self.worker, self.seq)
    }
}

/// A guarantee that was broken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Which one.
    pub guarantee: Guarantee,
    /// What happened, with record and partition.
    pub what: String,
    /// The line that shows it.
    pub at: Place,
    /// That line as it was written; empty where a hand-over between workers shows it.
    pub line: String,
    /// Lines before it that it contradicts.
    pub earlier: Vec<Place>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (guarantee, title) = (self.guarantee, self.guarantee.title());
        write!(f, "{guarantee} {title}: {}\n  at {}", self.what, self.at)?;
        if !self.line.is_empty() {
            write!(f, ": {}", self.line)?;
        }
        for place in &self.earlier {
            write!(f, "\n  after {place}")?;
        }
        Ok(())
    }
}

/// How much of everything the histories hold: a run that never saw a fault proves nothing about it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[expect(missing_docs, reason = "named after the events")]
pub struct Counts {
    pub lines: u64,
    pub workers: u64,
    pub partitions: u64,
    pub claims: u64,
    pub unclean_claims: u64,
    /// Records found announced by a worker that died.
    pub suspects: u64,
    pub revoked: u64,
    /// Claims that did not begin at the checkpoint, with the source's reason.
    pub gaps: u64,
    pub fetched: u64,
    /// Records started, each try.
    pub starts: u64,
    /// Handler calls.
    pub calls: u64,
    /// Starts with an attempt above the first.
    pub retries: u64,
    /// Starts of a record of a chain.
    pub chain_starts: u64,
    pub done: u64,
    pub already_done: u64,
    pub stopped: u64,
    pub parked: u64,
    pub appended: u64,
    pub dead_lettered: u64,
    pub skipped: u64,
    pub released: u64,
    pub gone: u64,
    pub decided: u64,
    pub commits: u64,
    /// Commits whose first answer was lost.
    pub repeated_commits: u64,
    pub effects: u64,
    pub acked: u64,
    pub refused: u64,
    pub quarantined: u64,
    pub paused: u64,
    /// Records that a lost owner had started or passed without a durable commit: they run again.
    pub repeats: u64,
    /// Most handler calls in flight of one worker, quarantined ones included.
    pub peak_in_flight: u64,
}

impl Counts {
    /// Names and figures, in the order of their declaration.
    pub fn all(&self) -> [(&'static str, u64); 32] {
        [
            ("lines", self.lines),
            ("workers", self.workers),
            ("partitions", self.partitions),
            ("claims", self.claims),
            ("unclean claims", self.unclean_claims),
            ("suspects", self.suspects),
            ("revoked", self.revoked),
            ("gaps", self.gaps),
            ("fetched", self.fetched),
            ("starts", self.starts),
            ("calls", self.calls),
            ("retries", self.retries),
            ("chain starts", self.chain_starts),
            ("done", self.done),
            ("already done", self.already_done),
            ("stopped", self.stopped),
            ("parked", self.parked),
            ("appended", self.appended),
            ("dead-lettered", self.dead_lettered),
            ("skipped", self.skipped),
            ("released", self.released),
            ("gone", self.gone),
            ("decided", self.decided),
            ("commits", self.commits),
            ("repeated commits", self.repeated_commits),
            ("effects", self.effects),
            ("acked", self.acked),
            ("refused", self.refused),
            ("quarantined", self.quarantined),
            ("paused", self.paused),
            ("repeats", self.repeats),
            ("peak in flight", self.peak_in_flight),
        ]
    }
}

/// The result of an audit.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Verdict {
    /// At most [`VIOLATIONS_KEPT`] of them.
    pub violations: Vec<Violation>,
    /// Violations beyond those.
    pub more: u64,
    /// Why the histories cannot be judged: not whole, not of this format, empty.
    pub errors: Vec<String>,
    /// What they hold.
    pub counts: Counts,
}

/// So many violations are kept in full.
pub const VIOLATIONS_KEPT: usize = 100;

impl Verdict {
    /// Whether nothing is broken and there was enough to judge.
    pub fn passes(&self) -> bool {
        self.violations.is_empty() && self.errors.is_empty()
    }

    /// Whether this guarantee was found broken.
    pub fn breaks(&self, guarantee: Guarantee) -> bool {
        self.violations.iter().any(|v| v.guarantee == guarantee)
    }
}

/// `1 worker`, of the name of a count; what is named by a participle or has no plural stays.
fn counted(name: &str, n: u64) -> String {
    let one = match name {
        "retries" => "retry",
        "violations" | "repeats" | "gaps" | "lines" | "workers" | "partitions" | "claims"
        | "unclean claims" | "starts" | "chain starts" | "calls" | "commits"
        | "repeated commits" | "effects" => name.trim_end_matches('s'),
        _ => name,
    };
    format!("{n} {}", if n == 1 { one } else { name })
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for error in &self.errors {
            writeln!(f, "cannot judge: {error}")?;
        }
        for violation in &self.violations {
            writeln!(f, "{violation}")?;
        }
        if self.more > 0 {
            writeln!(f, "and {} more violations", self.more)?;
        }
        let figures = self.counts.all().into_iter().filter(|(_, n)| *n > 0);
        let text: Vec<String> = figures.map(|(name, n)| counted(name, n)).collect();
        writeln!(f, "{}", text.join(", "))?;
        let broken = self.violations.len() as u64 + self.more;
        match (self.errors.is_empty(), broken) {
            (true, 0) => f.write_str("G1 to G8 hold"),
            (false, 0) => f.write_str("no verdict"),
            (_, n) => write!(f, "broken: {}", counted("violations", n)),
        }
    }
}

/// A line's place while it is only known by number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mark {
    pub(super) worker: u32,
    pub(super) seq: u64,
    pub(super) t: u64,
}

/// What an audit has found so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) verdict: Verdict,
    /// Names of the workers by number.
    pub(super) workers: Vec<String>,
}

impl Tally {
    pub(super) fn broken(
        &mut self,
        guarantee: Guarantee,
        what: String,
        at: Mark,
        line: Option<&Line<'_>>,
        earlier: &[Mark],
    ) {
        if self.verdict.violations.len() >= VIOLATIONS_KEPT {
            self.verdict.more += 1;
            return;
        }
        let violation = Violation {
            guarantee,
            what,
            at: self.place(at),
            line: line
                .and_then(|line| serde_json::to_string(line).ok())
                .unwrap_or_default(),
            earlier: earlier.iter().map(|mark| self.place(*mark)).collect(),
        };
        self.verdict.violations.push(violation);
    }

    pub(super) fn error(&mut self, what: String) {
        // One broken file may have one in every line.
        if self.verdict.errors.len() < VIOLATIONS_KEPT {
            self.verdict.errors.push(what);
        }
    }

    fn place(&self, mark: Mark) -> Place {
        Place {
            worker: self
                .workers
                .get(mark.worker as usize)
                .cloned()
                .unwrap_or_default(),
            seq: mark.seq,
            t: mark.t,
        }
    }
}

/// The line that is looked at, and where to say what it breaks.
pub(super) struct Here<'h> {
    pub(super) line: &'h Line<'h>,
    pub(super) worker: u32,
    pub(super) tally: &'h mut Tally,
}

impl Here<'_> {
    pub(super) fn mark(&self) -> Mark {
        Mark {
            worker: self.worker,
            seq: self.line.seq,
            t: self.line.t,
        }
    }

    pub(super) fn counts(&mut self) -> &mut Counts {
        &mut self.tally.verdict.counts
    }

    pub(super) fn broken(&mut self, guarantee: Guarantee, what: String, earlier: &[Mark]) {
        let at = self.mark();
        self.tally
            .broken(guarantee, what, at, Some(self.line), earlier);
    }

    /// The line lacks something, or makes no sense where it stands.
    pub(super) fn error(&mut self, what: &str) {
        let (worker, seq) = (&self.line.worker, self.line.seq);
        let event = self.line.event;
        self.tally
            .error(format!("worker {worker} seq {seq} ({event:?}): {what}"));
    }
}
