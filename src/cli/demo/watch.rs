//! The demo's view of what goes on: it reads the history as it grows.

use crate::history::{Kind, Line};
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
    Failed,
    Parked,
    Done,
    Skipped,
}

impl View {
    /// How many records are in this.
    pub(super) fn count(&self, standing: Standing) -> usize {
        self.records.values().filter(|s| **s == standing).count()
    }

    fn line(&mut self, line: &Line<'_>) {
        if line.event == Kind::Opened && self.workers.insert(line.worker.to_string()) {
            // Whatever ran in the worker before it died with it.
            for standing in self
                .records
                .values_mut()
                .filter(|s| **s == Standing::InFlight)
            {
                *standing = Standing::Waiting;
            }
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
    // A try that ended with done counts once its effects are durable.
    let answered = line.event == Kind::Ended && line.outcome.as_deref() == Some("done");
    of.into_iter()
        .find(|(kind, _)| *kind == line.event && !answered)
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
