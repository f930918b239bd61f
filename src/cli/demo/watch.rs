//! The demo's view of what goes on: it reads the history as it grows.

use crate::{
    history::{Kind, Line},
    position::Position,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{BufRead, BufReader, Seek, SeekFrom},
    path::{Path, PathBuf},
};

/// What the history says so far.
#[derive(Default)]
pub(super) struct View {
    /// Positions by partition and what they are in.
    pub(super) records: BTreeMap<(String, String), Standing>,
    /// Workers that opened.
    pub(super) workers: BTreeSet<String>,
    /// Parks and releases so far, to aim kills at.
    pub(super) parks: u64,
    pub(super) releases: u64,
}

/// What a record is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    Waiting,
    InFlight,
    /// Its try ended well and gave its slot back; its effect is not durable yet.
    Answered,
    Failed,
    Parked,
    Done,
    Skipped,
    /// A checkpoint says that it is behind us, and no line of its own does: the worker was killed
    /// between the commit and the line. It was passed, or a lane in the store holds it.
    Settled,
}

impl View {
    /// How many records are in this.
    pub(super) fn count(&self, standing: Standing) -> usize {
        self.records.values().filter(|s| **s == standing).count()
    }

    fn line(&mut self, line: &Line<'_>) {
        if line.event == Kind::Opened && self.workers.insert(line.worker.to_string()) {
            // Whatever ran in the worker before it, or was to run again, died with it.
            for standing in self.records.values_mut() {
                if matches!(
                    standing,
                    Standing::InFlight | Standing::Answered | Standing::Failed
                ) {
                    *standing = Standing::Waiting;
                }
            }
        }
        if line.event == Kind::Committed {
            self.settle(line);
        }
        let standing = standing(line);
        self.parks += u64::from(line.event == Kind::Parked);
        self.releases += u64::from(line.event == Kind::Decided);
        if let (Some(standing), Some(partition), Some(position)) =
            (standing, &line.partition, &line.position)
        {
            let key = (partition.to_string(), position.to_string());
            let over = matches!(
                self.records.get(&key),
                Some(Standing::Done | Standing::Skipped)
            );
            if !over {
                self.records.insert(key, standing);
            }
        }
    }
    /// What waits although a commit says that it is settled.
    fn settle(&mut self, line: &Line<'_>) {
        let (Some(partition), Some(to)) = (&line.partition, &line.settled_to) else {
            return;
        };
        let open = line.open.as_deref().unwrap_or_default();
        for ((of, position), standing) in &mut self.records {
            if *standing == Standing::Waiting
                && of == partition
                && let Ok(position) = position.parse::<Position>()
                && position <= *to
                && !open.contains(&position)
            {
                *standing = Standing::Settled;
            }
        }
    }
}

/// What a line puts its record in.
fn standing(line: &Line<'_>) -> Option<Standing> {
    let of = [
        (Kind::Fetched, Standing::Waiting),
        (Kind::Started, Standing::InFlight),
        (Kind::Ended, Standing::Failed),
        (Kind::Parked, Standing::Parked),
        (Kind::Appended, Standing::Parked),
        (Kind::Done, Standing::Done),
        (Kind::Skipped, Standing::Skipped),
    ];
    if line.event == Kind::Ended && line.outcome.as_deref() == Some("done") {
        return Some(Standing::Answered);
    }
    of.into_iter()
        .find(|(kind, _)| *kind == line.event)
        .map(|(_, standing)| standing)
}

/// Reads what was added to the history since the last look.
pub(super) struct Tail {
    path: PathBuf,
    at: u64,
    pub(super) view: View,
}

impl Tail {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            at: 0,
            view: View::default(),
        }
    }

    /// Whether anything new was read.
    pub(super) fn look(&mut self) -> std::io::Result<bool> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        file.seek(SeekFrom::Start(self.at))?;
        let mut reader = BufReader::new(file);
        let (mut text, before) = (String::new(), self.at);
        while reader.read_line(&mut text)? > 0 {
            if !text.ends_with('\n') {
                break;
            }
            self.at += text.len() as u64;
            // A killed worker may leave half a line; the audit judges the whole file at the end.
            if let Ok(line) = serde_json::from_str::<Line<'_>>(&text) {
                self.view.line(&line);
            }
            text.clear();
        }
        Ok(self.at > before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answered_try_is_not_in_flight() {
        let line = |event: &str, outcome: &str| {
            format!(
                r#"{{"t":1,"seq":1,"worker":"a","partition":"p","position":"7","event":"{event}"{outcome}}}"#
            )
        };
        let mut view = View::default();
        let mut stands = |text: String| {
            let line: Line<'_> = serde_json::from_str(&text).expect("a line");
            view.line(&line);
            view.records.values().next().copied()
        };
        let ended = |outcome| line("ended", &format!(r#","outcome":"{outcome}""#));
        assert_eq!(stands(line("started", "")), Some(Standing::InFlight));
        assert_eq!(stands(ended("retry")), Some(Standing::Failed));
        assert_eq!(stands(line("started", "")), Some(Standing::InFlight));
        assert_eq!(stands(ended("done")), Some(Standing::Answered));
        assert_eq!(stands(line("done", "")), Some(Standing::Done));
    }

    #[test]
    fn what_a_killed_worker_committed_without_a_word_is_settled() {
        let mut view = View::default();
        let mut line = |worker: &str, rest: &str| {
            let text = format!(r#"{{"t":1,"seq":1,"worker":"{worker}","partition":"p",{rest}}}"#);
            view.line(&serde_json::from_str(&text).expect("a line"));
            view.records.values().copied().collect::<Vec<_>>()
        };
        line("a", r#""event":"opened""#);
        for position in ["7", "8", "9"] {
            line(
                "a",
                &format!(r#""position":"{position}","event":"fetched""#),
            );
        }
        line("a", r#""position":"7","event":"started""#);
        line("a", r#""position":"7","event":"ended","outcome":"done""#);
        let killed = line("b", r#""event":"opened""#);
        assert_eq!(killed, [Standing::Waiting; 3]);
        let claimed = line("b", r#""event":"committed","settled_to":"8","open":["8"]"#);
        let expected = [Standing::Settled, Standing::Waiting, Standing::Waiting];
        assert_eq!(claimed, expected);
        // One that a chain holds runs yet.
        let drained = line("b", r#""position":"7","event":"started""#);
        assert_eq!(drained[0], Standing::InFlight);
    }
}
