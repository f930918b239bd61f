//! A log and a processor that is played.

use super::super::{
    Extent, LocalSource, OnGap, Settings, StartAt,
    lock::Lock,
    log::{Log, NewRecord, Topic},
};
use crate::{
    checkpoint::Checkpoint,
    position::Position,
    record::{Assignment, LaneOrder, NoKey, OrderBy, PartitionName, Record},
    source::{Budget, Event, Order, Ports, Source, SourceError, Start},
    sqlite::Access,
};
use partitions::Resume;
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::{sync::mpsc as channel, task::JoinHandle, time::timeout};
use uuid::Uuid;

pub(super) const LONG: Duration = Duration::from_secs(30);

/// Long enough for a reader that should be still to do something.
pub(super) const A_WHILE: Duration = Duration::from_millis(150);

/// A log of one topic `orders`, with partitions.
pub(super) struct World {
    pub(super) folder: TempDir,
    pub(super) partitions: u32,
}

impl World {
    pub(super) fn new(partitions: u32) -> Self {
        let world = Self {
            folder: tempfile::tempdir().expect("a folder"),
            partitions,
        };
        world.append(&[]);
        world
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join("a.db")
    }

    pub(super) fn log(&self) -> Log {
        Log::open(&self.path(), Access::Create).expect("the log")
    }

    pub(super) fn append(&self, records: &[(u32, Option<&str>, &[u8])]) -> Topic {
        let records = records.iter().map(|&(partition, key, value)| NewRecord {
            partition,
            key: key.map(str::as_bytes),
            value,
        });
        let appended = self
            .log()
            .append("orders", Some(self.partitions), |_| records.collect());
        appended.expect("appended")
    }

    /// So many records of 100 bytes each in a partition.
    pub(super) fn fill(&self, partition: u32, count: usize) -> Topic {
        self.append(&vec![(partition, Some("k"), &[b'x'; 100][..]); count])
    }

    pub(super) fn settings(&self) -> Settings {
        Settings {
            name: "s".to_owned(),
            app: "billing".to_owned(),
            path: self.path(),
            topic: "orders".to_owned(),
            order: LaneOrder {
                by: OrderBy::Key,
                no_key: NoKey::Partition,
            },
            start: StartAt::Earliest,
            on_gap: OnGap::Refuse,
            retention: None,
            extent: Extent::Everything,
        }
    }

    pub(super) fn serve(&self, settings: Settings) -> Host {
        let lock = Lock::acquire(&self.path(), &settings.app, Uuid::new_v4()).expect("free");
        let (sender, events) = channel::channel(64);
        let (orders, receiver) = channel::unbounded_channel();
        let source = Box::new(LocalSource::new(settings, Arc::new(lock)));
        let ports = Ports {
            events: sender,
            orders: receiver,
        };
        Host {
            events,
            orders,
            serving: tokio::spawn(source.serve(ports)),
            share: 1 << 20,
            checkpoints: BTreeMap::new(),
            budgets: BTreeMap::new(),
            positioned: BTreeMap::new(),
            behind: BTreeMap::new(),
            starved: BTreeMap::new(),
            paused: Vec::new(),
        }
    }
}

/// Plays the processor.
pub(super) struct Host {
    pub(super) events: channel::Receiver<Event>,
    pub(super) orders: channel::UnboundedSender<Order>,
    pub(super) serving: JoinHandle<Result<(), SourceError>>,
    /// Budget of each partition that is claimed from now on.
    pub(super) share: u64,
    /// What claims find.
    pub(super) checkpoints: BTreeMap<String, Checkpoint>,
    pub(super) budgets: BTreeMap<String, Arc<Budget>>,
    pub(super) positioned: BTreeMap<String, (Resume<Position>, Option<String>)>,
    pub(super) behind: BTreeMap<String, u64>,
    /// What found no room last.
    pub(super) starved: BTreeMap<String, u64>,
    /// Partitions that obeyed an order to pause, in turn.
    pub(super) paused: Vec<String>,
}

pub(super) fn name(partition: u32) -> PartitionName {
    PartitionName::new("s", &format!("orders/{partition}"))
}

pub(super) fn offsets(records: &[Record], partition: u32) -> Vec<u64> {
    let of = |record: &&Record| record.assignment().name == name(partition);
    records
        .iter()
        .filter(of)
        .filter_map(|r| r.position().offset())
        .collect()
}

impl Host {
    pub(super) async fn next(&mut self) -> Option<Event> {
        timeout(LONG, self.events.recv())
            .await
            .expect("an event in time")
    }

    /// Answers what needs an answer; the records of the next batch, or `None` at the source's end.
    pub(super) async fn batch(&mut self) -> Option<Vec<Record>> {
        loop {
            let event = self.next().await?;
            if let Event::Records(records) = event {
                assert!(!records.is_empty());
                return Some(records);
            }
            self.note(event);
        }
    }

    /// The next event, answered where it needs an answer: its records, or what it passes over.
    pub(super) async fn event(&mut self) -> (Vec<Record>, Option<u64>) {
        let event = self.next().await.expect("it goes on");
        if let Event::Records(records) = event {
            return (records, None);
        }
        let over = if let Event::PassedOver { through, .. } = &event {
            through.offset()
        } else {
            None
        };
        self.note(event);
        (Vec::new(), over)
    }

    pub(super) fn note(&mut self, event: Event) {
        match event {
            Event::Assigned {
                partition,
                incarnation,
                start,
                ..
            } => {
                assert!(incarnation.is_some());
                let key = partition.partition.to_string();
                let budget = Arc::new(Budget::new(self.share));
                self.budgets.insert(key.clone(), Arc::clone(&budget));
                let assignment = Arc::new(Assignment {
                    name: partition,
                    epoch: 1,
                    generation: 0,
                });
                let checkpoint = self.checkpoints.get(&key).cloned();
                let start = start.send(Some(Start {
                    assignment,
                    checkpoint,
                    budget,
                }));
                assert!(start.is_ok(), "the source waits for it");
            }
            Event::Positioned {
                partition,
                from,
                gap,
                last,
            } => {
                assert!(last.is_some(), "the end of an embedded log is known");
                let key = partition.partition.to_string();
                assert!(self.positioned.insert(key, (from, gap)).is_none());
            }
            Event::Behind { partition, records } => {
                self.behind.insert(partition.partition.to_string(), records);
            }
            Event::Starved { partition, wants } => {
                let key = partition.partition.to_string();
                self.starved.insert(key, wants);
            }
            Event::Paused { partition } => self.paused.push(partition.partition.to_string()),
            Event::Announced { .. } | Event::PassedOver { .. } | Event::Retention { .. } => {}
            Event::Records(_)
            | Event::Unreadable { .. }
            | Event::Revoked { .. }
            | Event::Ended { .. } => {
                panic!("not expected: {event:?}")
            }
        }
    }

    pub(super) async fn take(&mut self, count: usize) -> Vec<Record> {
        let mut all = Vec::new();
        while all.len() < count {
            all.extend(self.batch().await.expect("the source goes on"));
        }
        all
    }

    /// What comes within a short while.
    pub(super) async fn rest(&mut self) -> Vec<Record> {
        let mut all = Vec::new();
        let until = Instant::now() + A_WHILE;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            match timeout(left, self.events.recv()).await {
                Ok(Some(Event::Records(records))) => all.extend(records),
                Ok(Some(event)) => self.note(event),
                Ok(None) | Err(_) => break,
            }
        }
        all
    }

    pub(super) fn order(&self, order: Order) {
        self.orders.send(order).expect("it listens");
    }

    /// How the source ends, when told to or by itself.
    pub(super) async fn end(mut self) -> Result<(), SourceError> {
        let _ = self.orders.send(Order::Stop);
        while self.next().await.is_some() {}
        timeout(LONG, self.serving)
            .await
            .expect("in time")
            .expect("no panic")
    }

    /// Why it refuses to go on.
    pub(super) async fn refusal(mut self) -> String {
        while let Some(event) = self.next().await {
            if !matches!(event, Event::Records(_)) {
                self.note(event);
            }
        }
        match timeout(LONG, self.serving)
            .await
            .expect("in time")
            .expect("no panic")
        {
            Err(SourceError::Refused { what }) => what,
            other => panic!("refused, not {other:?}"),
        }
    }
}
