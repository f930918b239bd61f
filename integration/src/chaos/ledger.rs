//! What the workers wrote, read as it grows.

use crate::scene::Scene;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::PathBuf,
};

/// The workers' ledger so far. A run is a member, by its process id.
pub(super) struct Ledger {
    path: PathBuf,
    read_to: u64,
    /// Of each account and `n`, who did it, in the order of time.
    done: BTreeMap<(String, u64), Vec<u32>>,
    /// Tries of each run.
    started: BTreeMap<u32, u64>,
}

impl Ledger {
    pub(super) fn new(scene: &Scene) -> Self {
        Self {
            path: scene.path("ledger.jsonl"),
            read_to: 0,
            done: BTreeMap::new(),
            started: BTreeMap::new(),
        }
    }

    /// Reads what came since the last time.
    pub(super) fn read(&mut self) -> io::Result<()> {
        let Ok(mut file) = File::open(&self.path) else {
            // Nobody has begun.
            return Ok(());
        };
        file.seek(SeekFrom::Start(self.read_to))?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let Some(end) = text.rfind('\n') else {
            return Ok(());
        };
        self.read_to += end as u64 + 1;
        for line in text[..end].lines() {
            self.add(&serde_json::from_str(line)?);
        }
        Ok(())
    }

    fn add(&mut self, line: &Value) {
        let number = |name: &str| line[name].as_u64().unwrap_or_default();
        let run = u32::try_from(number("run")).unwrap_or_default();
        match line["event"].as_str() {
            Some("started") => *self.started.entry(run).or_default() += 1,
            Some("done") => {
                let account = line["account"].as_str().unwrap_or_default().to_owned();
                self.done
                    .entry((account, number("n")))
                    .or_default()
                    .push(run);
            }
            // Failed: it is tried again.
            Some(_) | None => {}
        }
    }

    /// Records that are done, however often.
    pub(super) fn done(&self) -> usize {
        self.done.len()
    }

    pub(super) fn started_by(&self, run: u32) -> u64 {
        self.started.get(&run).copied().unwrap_or_default()
    }

    /// How many records that a run had done were done again by a later one.
    pub(super) fn repeats(&self) -> BTreeMap<u32, u64> {
        let mut repeats = BTreeMap::new();
        for runs in self.done.values() {
            // Within a run, what was done in vain is done again before anything is durable.
            let mut runs = runs.clone();
            runs.dedup();
            for run in &runs[..runs.len() - 1] {
                *repeats.entry(*run).or_default() += 1;
            }
        }
        repeats
    }
}
