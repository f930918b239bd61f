//! What a reader does beside reading: it is registered with its durable frontiers, sees that its
//! lock is its own, and removes what is old.

use super::{
    super::{
        Settings,
        lock::Lock,
        log::{Log, LogError, Topic, now_millis},
    },
    Reader, Slot, Stage, refused, unreadable,
};
use crate::{
    record::PartitionName,
    source::{Event, SourceError},
};
use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// How often frontiers are registered and the lock is looked at.
const REGISTER: Duration = Duration::from_secs(1);

/// How often old records are looked for.
const TRIM: Duration = Duration::from_secs(10);
const TRIM_FIRST: Duration = Duration::from_secs(1);

/// How long the last registration may wait for other writers.
const PATIENCE_AT_END: Duration = Duration::from_secs(5);

pub(super) struct Upkeep {
    looked_at: Instant,
    /// When a partition is next trimmed, and which.
    trim_at: Instant,
    trim: usize,
    warned: bool,
}

/// Registers this reader where it is new, so that retention keeps what it has not read; gives its
/// partitions, and what offers them to the processor.
pub(super) fn announce(
    log: &mut Log,
    topic: &Topic,
    settings: &Settings,
    lock: &Lock,
) -> Result<(Vec<Slot>, VecDeque<Event>), SourceError> {
    let mut known = BTreeSet::new();
    for consumer in log.consumers(&topic.name).map_err(unreadable)? {
        if consumer.app == settings.app && consumer.source == settings.name {
            known.insert(consumer.partition);
        }
    }
    let new: Vec<(u32, u64)> = (0..topic.partitions())
        .filter(|partition| !known.contains(partition))
        .filter(|partition| {
            settings.extent.has(&topic.partition_name(*partition)) && !settings.extent.is_apart()
        })
        .map(|partition| (partition, 0))
        .collect();
    if !new.is_empty() {
        log.put_frontiers((&settings.app, &settings.name), topic, &new)
            .map_err(unreadable)?;
    }
    let mut slots = Vec::with_capacity(topic.partitions() as usize);
    let mut events = VecDeque::with_capacity(topic.partitions() as usize + 1);
    let mut announced = 0;
    for partition in 0..topic.partitions() {
        let name = PartitionName::new(&settings.name, &topic.partition_name(partition));
        if !settings.extent.has(&name.partition) {
            let stage = Stage::Left;
            slots.push(Slot { name, stage });
            continue;
        }
        announced += 1;
        let (start, answer) = oneshot::channel();
        events.push_back(Event::Assigned {
            partition: name.clone(),
            incarnation: Some(topic.id.to_string()),
            siblings: None,
            holder_is_dead: lock.holder_is_dead(),
            start,
        });
        slots.push(Slot {
            name,
            stage: Stage::Claiming(answer),
        });
    }
    events.push_back(Event::Announced {
        source: Arc::from(settings.name.as_str()),
        partitions: announced,
    });
    Ok((slots, events))
}

impl Upkeep {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            looked_at: now,
            trim_at: now + TRIM_FIRST,
            trim: 0,
            warned: false,
        }
    }
}

/// Sees to it that retention keeps everything behind `frontier` from now on; gives what is
/// registered.
pub(super) fn hold_back(
    log: &mut Log,
    settings: &Settings,
    topic: &Topic,
    partition: u32,
    frontier: u64,
) -> Result<u64, SourceError> {
    let consumer = (settings.app.as_str(), settings.name.as_str());
    match log
        .frontier(consumer, topic, partition)
        .map_err(unreadable)?
    {
        Some(registered) if registered <= frontier => Ok(registered),
        Some(_) | None => {
            let write =
                |log: &mut Log| log.put_frontiers(consumer, topic, &[(partition, frontier)]);
            patiently(log, write).map_err(unreadable)?;
            Ok(frontier)
        }
    }
}

/// For a write that reading cannot go on without.
fn patiently<T>(
    log: &mut Log,
    write: impl FnOnce(&mut Log) -> Result<T, LogError>,
) -> Result<T, LogError> {
    let before = log.set_patience(PATIENCE_AT_END)?;
    let done = write(log);
    log.set_patience(before)?;
    done
}

impl Reader {
    /// What is due now.
    pub(super) fn look_after(&mut self) -> Result<(), SourceError> {
        if self.upkeep.looked_at.elapsed() >= REGISTER {
            self.upkeep.looked_at = Instant::now();
            self.still_ours()?;
            self.register();
        }
        if let Some(age) = self.settings.retention
            && !self.settings.extent.is_apart()
            && Instant::now() >= self.upkeep.trim_at
        {
            self.trim(age);
        }
        Ok(())
    }

    /// Whether nobody has taken the lock over.
    pub(super) fn still_ours(&self) -> Result<(), SourceError> {
        if self.lock.is_ours() {
            Ok(())
        } else {
            Err(refused(taken_over(&self.lock, &self.settings)))
        }
    }

    /// The last word on the frontiers; whoever took over speaks for himself.
    pub(super) fn register_at_end(&mut self) {
        if self.lock.is_ours() && self.log.set_patience(PATIENCE_AT_END).is_ok() {
            self.register();
        }
    }

    /// Writes the frontiers that moved. It only delays retention when that fails.
    fn register(&mut self) {
        if self.settings.extent.is_apart() {
            return;
        }
        let moved: Vec<(u32, u64, u64)> = (0..)
            .zip(&self.partitions)
            .filter_map(|(n, slot)| match &slot.stage {
                Stage::Reading(r) if r.frontier > r.registered => {
                    Some((n, r.registered, r.frontier))
                }
                Stage::Reading(_) | Stage::Claiming(_) | Stage::Left => None,
            })
            .collect();
        if moved.is_empty() {
            return;
        }
        let consumer = (self.settings.app.as_str(), self.settings.name.as_str());
        let done = self.log.move_frontiers(consumer, &self.topic, &moved);
        if let Some(()) = self.upkeep.note(done, "frontiers are registered later") {
            for (n, _, frontier) in moved {
                if let Some(Slot {
                    stage: Stage::Reading(reading),
                    ..
                }) = self.partitions.get_mut(n as usize)
                {
                    reading.registered = frontier;
                }
            }
        }
    }

    /// One step in one partition.
    fn trim(&mut self, age: Duration) {
        let n = self.upkeep.trim;
        let more = match self.partitions.get(n).map(|slot| &slot.stage) {
            Some(Stage::Reading(_)) => {
                let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
                let older_than = now_millis().saturating_sub(age);
                let number = u32::try_from(n).unwrap_or(u32::MAX);
                let done = self.log.trim(&self.topic, number, older_than);
                let trimmed = self.upkeep.note(done, "old records are removed later");
                trimmed.is_some_and(|trimmed| trimmed.more)
            }
            Some(Stage::Claiming(_) | Stage::Left) | None => false,
        };
        if more {
            return;
        }
        self.upkeep.trim += 1;
        if self.upkeep.trim >= self.partitions.len() {
            self.upkeep.trim = 0;
            self.upkeep.trim_at = Instant::now() + TRIM;
        }
    }
}

impl Upkeep {
    /// What was done; a failure is said once and tried again.
    fn note<T>(&mut self, done: Result<T, LogError>, what: &str) -> Option<T> {
        match done {
            Ok(done) => {
                self.warned = false;
                Some(done)
            }
            Err(error) => {
                if !std::mem::replace(&mut self.warned, true) {
                    tracing::warn!("{what}: {error}");
                }
                None
            }
        }
    }
}

fn taken_over(lock: &Lock, settings: &Settings) -> String {
    let by = Lock::named_holder(&settings.path, &settings.app).map_or_else(
        || "nobody that can be told".to_owned(),
        |holder| holder.to_string(),
    );
    format!(
        "`{}` is not this process's any more: it is held by {by}; nothing more is read here",
        lock.path().display()
    )
}
