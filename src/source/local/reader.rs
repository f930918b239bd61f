//! The reader's thread: round-robin over its partitions, never waiting for one while others can be
//! read.

use super::{
    Extent, OnGap, Settings,
    lock::Lock,
    log::{Log, LogError, Topic},
};
use crate::{
    position::Position,
    record::PartitionName,
    source::{Event, Order, SourceError, Start},
    sqlite::{Access, Fault},
};
use partition::{Read, Reading};
use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, TryRecvError},
    },
    time::{Duration, Instant},
};
use tokio::sync::{
    mpsc::{Sender, error::TrySendError},
    oneshot,
};

mod partition;
mod place;
#[cfg(feature = "cli")]
pub(crate) use place::foreseen;
mod upkeep;

/// Waits while there is nothing to do, doubled from the first to the last.
const NAP_MIN: Duration = Duration::from_millis(1);
const NAP_MAX: Duration = Duration::from_millis(25);

/// The longest wait for memory or for the processor to take a batch.
const NAP_BLOCKED: Duration = Duration::from_millis(2);

/// How often a count of records behind is told while it only changes.
const TELL_BEHIND: Duration = Duration::from_millis(100);

/// Reads until it is told to stop, or nobody listens any more.
pub(super) fn run(
    settings: Settings,
    lock: Arc<Lock>,
    events: Sender<Event>,
    inbox: Receiver<Order>,
) -> Result<(), SourceError> {
    let mut log = Log::open(&settings.path, Access::Create).map_err(unreadable)?;
    let Some(topic) = wait_for_topic(&log, &settings, &events, &inbox)? else {
        return Ok(());
    };
    let (partitions, pending) = upkeep::announce(&mut log, &topic, &settings, &lock)?;
    // From here on nobody's write may keep the reader waiting for long: such work is repeated.
    log.set_patience(Duration::from_millis(50))
        .map_err(unreadable)?;
    let names = partitions
        .iter()
        .enumerate()
        .map(|(n, p)| (Arc::clone(&p.name.partition), n));
    let mut reader = Reader {
        names: names.collect(),
        upkeep: upkeep::Upkeep::new(),
        partitions,
        cursor: 0,
        pending,
        looked_at: Instant::now(),
        data_version: None,
        nap: NAP_MIN,
        settings,
        lock,
        events,
        log,
        topic,
    };
    let end = reader.serve(&inbox);
    reader.register_at_end();
    end
}

/// A partition and what became of it.
struct Slot {
    name: PartitionName,
    stage: Stage,
}

enum Stage {
    /// Announced; the claim is not answered yet.
    Claiming(oneshot::Receiver<Option<Start>>),
    Reading(Box<Reading>),
    /// Not ours to read.
    Left,
}

struct Reader {
    settings: Settings,
    lock: Arc<Lock>,
    events: Sender<Event>,
    log: Log,
    topic: Topic,
    partitions: Vec<Slot>,
    names: HashMap<Arc<str>, usize>,
    /// Whose turn it is.
    cursor: usize,
    /// What the channel had no room for.
    pending: VecDeque<Event>,
    /// When the ends of the partitions were last looked for, and at which version of the file.
    looked_at: Instant,
    data_version: Option<i64>,
    nap: Duration,
    upkeep: upkeep::Upkeep,
}

/// What a round did.
#[derive(PartialEq, Eq)]
enum Round {
    Worked,
    /// There is more, and no memory or room for it.
    Blocked,
    Idle,
}

impl Reader {
    fn serve(&mut self, inbox: &Receiver<Order>) -> Result<(), SourceError> {
        loop {
            loop {
                match inbox.try_recv() {
                    Ok(Order::Stop) | Err(TryRecvError::Disconnected) => return Ok(()),
                    Ok(Order::Fenced(_, why)) => return Err(fenced(&why)),
                    Ok(order) => self.obey(order),
                    Err(TryRecvError::Empty) => break,
                }
            }
            let mut round = self.round()?;
            if self.events.is_closed() {
                return Ok(());
            }
            self.look_after()?;
            // A long backlog in one partition must not hide what comes into the others.
            let due = round == Round::Idle || self.looked_at.elapsed() >= NAP_MAX;
            if due && self.refresh()? && round == Round::Idle {
                round = Round::Worked;
            }
            self.tell_behind();
            let nap = match round {
                Round::Worked => {
                    self.nap = NAP_MIN;
                    continue;
                }
                Round::Blocked => self.nap.min(NAP_BLOCKED),
                Round::Idle => self.nap,
            };
            self.nap = (self.nap * 2).min(NAP_MAX);
            match inbox.recv_timeout(nap) {
                Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Ok(Order::Fenced(_, why)) => return Err(fenced(&why)),
                Ok(order) => {
                    self.obey(order);
                    self.nap = NAP_MIN;
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn obey(&mut self, order: Order) {
        let (name, act): (_, fn(&mut Reading, u64)) = match &order {
            Order::Pause(name) => (name, |r, _| r.paused = true),
            Order::Resume(name) => (name, |r, _| (r.paused, r.wanted) = (false, None)),
            Order::Committed(name, _) => (name, |r, frontier| r.frontier = frontier),
            Order::Fenced(..) | Order::Stop => return,
        };
        let frontier = match &order {
            Order::Committed(_, position) => position.offset(),
            Order::Pause(_) | Order::Resume(_) | Order::Fenced(..) | Order::Stop => Some(0),
        };
        let slot = self
            .names
            .get(&name.partition)
            .and_then(|&n| self.partitions.get_mut(n));
        if let (Some(slot), Some(frontier)) = (slot, frontier)
            && slot.name == *name
            && let Stage::Reading(reading) = &mut slot.stage
        {
            act(reading, frontier);
            if let Order::Pause(partition) = order {
                // What the processor does next may depend on it: how far it is, to the record.
                let records = reading.behind();
                reading.told = Some((records, Instant::now()));
                self.pending.push_back(Event::Behind {
                    partition: partition.clone(),
                    records,
                });
                self.pending.push_back(Event::Paused { partition });
            }
        }
    }

    /// A batch of each partition that has one, in turn.
    fn round(&mut self) -> Result<Round, SourceError> {
        let mut round = Round::Idle;
        for _ in 0..self.partitions.len() {
            if !self.send_pending() {
                return Ok(Round::Blocked);
            }
            let n = self.cursor;
            self.cursor = (n + 1) % self.partitions.len();
            match self.turn(n)? {
                Round::Worked => round = Round::Worked,
                Round::Blocked if round == Round::Idle => round = Round::Blocked,
                Round::Blocked | Round::Idle => {}
            }
        }
        if self.send_pending() {
            Ok(round)
        } else {
            Ok(Round::Blocked)
        }
    }

    fn turn(&mut self, n: usize) -> Result<Round, SourceError> {
        let number = u32::try_from(n).unwrap_or(u32::MAX);
        match &mut self.partitions[n].stage {
            Stage::Left => Ok(Round::Idle),
            Stage::Claiming(answer) => match answer.try_recv() {
                Ok(Some(start)) => {
                    self.begin(n, number, start)?;
                    Ok(Round::Worked)
                }
                Err(oneshot::error::TryRecvError::Empty) => Ok(Round::Idle),
                Ok(None) | Err(oneshot::error::TryRecvError::Closed) => {
                    self.partitions[n].stage = Stage::Left;
                    Ok(Round::Idle)
                }
            },
            Stage::Reading(reading) => {
                match reading.read(&self.log, &self.topic, number, &self.settings)? {
                    Read::Records(records) => {
                        if reading.behind() == 0 {
                            // The end is told anew each time that it is reached.
                            reading.told = None;
                        }
                        self.pending.push_back(Event::Records(records));
                        Ok(Round::Worked)
                    }
                    Read::PassedOver { through } => {
                        self.pending.push_back(Event::PassedOver {
                            partition: self.partitions[n].name.clone(),
                            through: Position::Offset(through),
                        });
                        Ok(Round::Worked)
                    }
                    Read::Nothing => Ok(Round::Idle),
                    Read::NoBudget { wants } => {
                        if reading.wanted.replace(wants) != Some(wants) {
                            self.pending.push_back(Event::Starved {
                                partition: self.partitions[n].name.clone(),
                                wants,
                            });
                        }
                        Ok(Round::Blocked)
                    }
                    Read::Hole(from, through) => {
                        self.hole(n, number, from, through)?;
                        Ok(Round::Worked)
                    }
                }
            }
        }
    }

    /// The claim succeeded: stand where the checkpoint says.
    fn begin(&mut self, n: usize, number: u32, start: Start) -> Result<(), SourceError> {
        // A process that was frozen between taking the lock and its claim took the partition back from
        // whoever took the lock over, and would know nothing of that one's tries.
        self.still_ours()?;
        let checkpoint = start.checkpoint.as_ref();
        // What retention keeps for us must be right before we look at what it kept.
        let needed = place::frontier_of(checkpoint);
        let registered = if self.settings.extent.is_apart() {
            needed
        } else {
            upkeep::hold_back(&mut self.log, &self.settings, &self.topic, number, needed)?
        };
        let placed = place::place(&self.log, &self.topic, number, &self.settings, checkpoint)?;
        let slot = &mut self.partitions[n];
        self.pending.push_back(Event::Positioned {
            last: Some(Position::Offset(placed.last)),
            partition: slot.name.clone(),
            from: placed.from,
            gap: placed.gap,
        });
        if self.settings.retention.is_some() {
            self.pending.push_back(Event::Retention {
                partition: slot.name.clone(),
                age: self.settings.retention,
            });
        }
        let end = end(&self.settings.extent, &slot.name, placed.last);
        let mut reading = Reading::new(start, placed.cursor, end);
        (reading.frontier, reading.registered) = (placed.frontier, registered);
        slot.stage = Stage::Reading(Box::new(reading));
        Ok(())
    }

    /// Records that should be there are not: somebody removed rows.
    fn hole(&mut self, n: usize, number: u32, from: u64, through: u64) -> Result<(), SourceError> {
        let slot = &mut self.partitions[n];
        let Stage::Reading(reading) = &mut slot.stage else {
            return Ok(());
        };
        let bounds = self.log.bounds(&self.topic, number).map_err(unreadable)?;
        let what = format!(
            "`{}`: the log `{}` holds positions {} to {}, and {from} to {through} of them are gone",
            slot.name,
            self.settings.path.display(),
            bounds.first,
            bounds.last,
        );
        let through = match self.settings.on_gap {
            OnGap::Refuse => {
                return Err(refused(format!(
                    "{what}; `on_gap` is `refuse`: restore the file from a copy, or set `on_gap` to `earliest` or `latest` to go on without them"
                )));
            }
            OnGap::Earliest => through,
            OnGap::Latest => bounds.last.max(through),
        };
        tracing::warn!("{what}; going on behind position {through}");
        reading.cursor.pass(through);
        self.pending.push_back(Event::PassedOver {
            partition: slot.name.clone(),
            through: Position::Offset(through),
        });
        Ok(())
    }

    /// Whether all is sent. A closed channel takes everything: the loop sees it.
    fn send_pending(&mut self) -> bool {
        while let Some(event) = self.pending.pop_front() {
            match self.events.try_send(event) {
                Ok(()) | Err(TrySendError::Closed(_)) => {}
                Err(TrySendError::Full(event)) => {
                    self.pending.push_front(event);
                    return false;
                }
            }
        }
        true
    }

    /// Looks for records that were appended meanwhile; whether there are any.
    fn refresh(&mut self) -> Result<bool, SourceError> {
        self.looked_at = Instant::now();
        let version = self.log.data_version().map_err(unreadable)?;
        if self.data_version == Some(version) {
            return Ok(false);
        }
        self.data_version = Some(version);
        let mut more = false;
        for (number, slot) in (0..).zip(&mut self.partitions) {
            if let Stage::Reading(reading) = &mut slot.stage {
                let bounds = self.log.bounds(&self.topic, number);
                let last = bounds.map_err(unreadable)?.last;
                let last = end(&self.settings.extent, &slot.name, last);
                more |= last > reading.last && !reading.paused;
                reading.last = last;
            }
        }
        Ok(more)
    }

    /// Says how far the ends are, in the channel behind the records that it is about.
    fn tell_behind(&mut self) {
        if !self.pending.is_empty() {
            return;
        }
        for slot in &mut self.partitions {
            let Stage::Reading(reading) = &mut slot.stage else {
                continue;
            };
            let records = reading.behind();
            let due = match reading.told {
                None => true,
                Some((told, _)) if told == records => false,
                Some((told, at)) => told == 0 || records == 0 || at.elapsed() >= TELL_BEHIND,
            };
            if due {
                reading.told = Some((records, Instant::now()));
                self.pending.push_back(Event::Behind {
                    partition: slot.name.clone(),
                    records,
                });
            }
        }
        self.send_pending();
    }
}

/// Where reading ends in a partition whose log ends at `last`.
fn end(extent: &Extent, name: &PartitionName, last: u64) -> u64 {
    let before = extent.before(&name.partition);
    before.map_or(last, |before| last.min(before.saturating_sub(1)))
}

/// Waits for the topic's first `put`; `None`: told to stop before.
fn wait_for_topic(
    log: &Log,
    settings: &Settings,
    events: &Sender<Event>,
    inbox: &Receiver<Order>,
) -> Result<Option<Topic>, SourceError> {
    let mut nap = NAP_MIN;
    let mut announced = false;
    let mut said = false;
    loop {
        if let Some(topic) = log.topic(&settings.topic).map_err(unreadable)? {
            return Ok(Some(topic));
        }
        if !std::mem::replace(&mut said, true) {
            tracing::warn!(
                source = %settings.name,
                "`{}` has no topic `{}` yet: waiting for its first `put`",
                settings.path.display(),
                settings.topic,
            );
        }
        if !announced {
            // Nothing is on its way: a run that ends when idle does not wait for it.
            let none = Event::Announced {
                source: settings.name.as_str().into(),
                partitions: 0,
            };
            announced = events.try_send(none).is_ok();
        }
        match inbox.recv_timeout(nap) {
            Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => return Ok(None),
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
        }
        if events.is_closed() {
            return Ok(None);
        }
        nap = (nap * 2).min(2 * NAP_MAX);
    }
}

/// An embedded log is never claimed again by itself: who took over is the operator's choice.
fn fenced(why: &str) -> SourceError {
    refused(format!(
        "{why}: start `lanekeeper run` again if this worker is to go on; it begins where the checkpoint stands then"
    ))
}

fn refused(what: String) -> SourceError {
    SourceError::Refused { what }
}

/// What the file says ends the source; whether it may come back depends on what it is.
fn unreadable(error: LogError) -> SourceError {
    let what = error.to_string();
    let LogError::File(error) = error else {
        return SourceError::Refused { what };
    };
    match error.fault {
        Fault::Foreign { .. }
        | Fault::Version { .. }
        | Fault::NotADatabase
        | Fault::Damaged(_)
        | Fault::Sql(_) => SourceError::Refused { what },
        Fault::CannotOpen(_)
        | Fault::Full(_)
        | Fault::Io(_)
        | Fault::Busy(_)
        | Fault::ReadOnly(_)
        | Fault::Stopped => SourceError::OutOfReach { what },
    }
}
