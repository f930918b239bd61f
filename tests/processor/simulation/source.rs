//! A member of the group that reads the log.

use super::{
    log::{Next, Told, offset},
    world::{Shared, now},
};
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use lanekeeper::{
    Position,
    record::{BatchBuilder, PartitionName},
    source::{Event, Order, Ports, Source, SourceError, Start},
};
use partitions::Resume;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::mpsc;

/// How often the log is looked at.
const TICK: Duration = Duration::from_millis(40);
/// Most records of one batch.
const BATCH_MAX: usize = 16;

/// Reads for one incarnation.
pub(super) struct Reader {
    pub(super) shared: Arc<Shared>,
    pub(super) member: u64,
    pub(super) mailbox: mpsc::UnboundedReceiver<Told>,
    /// Numbers the assignments; the answer to a claim of an earlier one is of no use.
    pub(super) assignments: u64,
    pub(super) current: BTreeMap<usize, u64>,
}

/// What a record weighs in a batch, at most.
fn weight_max(key: &str, bytes: usize) -> u64 {
    (key.len() + bytes) as u64 + 192
}

/// A partition that is read.
struct Reading {
    start: Start,
    /// Everything up to here was handed over.
    at: u64,
    paused: bool,
    /// What was said to find no room since the last batch.
    wanted: Option<u64>,
}

type Claim = BoxFuture<'static, (usize, u64, Option<Start>)>;

impl Source for Reader {
    fn serve(mut self: Box<Self>, mut ports: Ports) -> BoxFuture<'static, Result<(), SourceError>> {
        async move {
            let mut readings: BTreeMap<usize, Reading> = BTreeMap::new();
            let mut claims: FuturesUnordered<Claim> = FuturesUnordered::new();
            loop {
                tokio::select! { biased;
                    order = ports.orders.recv() => match order {
                        None | Some(Order::Stop) => return Ok(()),
                        Some(Order::Fenced(_, what)) => return Err(SourceError::Refused { what }),
                        Some(order) => {
                            if let Some(answer) = self.ordered(&mut readings, order) {
                                say(&ports, answer).await;
                            }
                        }
                    },
                    Some(told) = self.mailbox.recv() => {
                        self.told(&ports, &mut readings, &mut claims, told).await;
                    }
                    Some((partition, number, start)) = claims.next(), if !claims.is_empty() => {
                        if let Some(start) = start
                            && self.current.get(&partition) == Some(&number)
                            && self.is_ours(partition)
                        {
                            self.begins(&ports, &mut readings, partition, start).await;
                        }
                    }
                    () = tokio::time::sleep(TICK), if !readings.is_empty() => {
                        self.hands_over(&ports, &mut readings).await;
                    }
                }
            }
        }
        .boxed()
    }
}

async fn say(ports: &Ports, event: Event) {
    // A loop that has ended does not listen; this future goes with it.
    let _ = ports.events.send(event).await;
}

impl Reader {
    fn name(&self, partition: usize) -> PartitionName {
        self.shared.log().name(partition).clone()
    }

    /// An embedded log looks whether it still has the lock before it begins.
    fn is_ours(&self, partition: usize) -> bool {
        !self.shared.plan.local || self.shared.log().owner(partition) == Some(self.member)
    }

    /// Obeys; what there is to answer.
    fn ordered(&self, readings: &mut BTreeMap<usize, Reading>, order: Order) -> Option<Event> {
        let (name, paused) = match order {
            Order::Pause(name) => (name, true),
            Order::Resume(name) => (name, false),
            Order::Committed(name, frontier) => {
                let partition = self.shared.log().number(&name);
                // A reading that is over may be of any generation.
                let generation = { readings.get(&partition) }
                    .map_or(0, |reading| reading.start.assignment.generation);
                let frontier = offset(&frontier);
                self.shared.acknowledged(partition, generation, frontier);
                return None;
            }
            Order::Fenced(..) | Order::Stop => return None,
        };
        let partition = self.shared.log().number(&name);
        let reading = readings.get_mut(&partition)?;
        (reading.paused, reading.wanted) = (paused, None);
        paused.then_some(Event::Paused { partition: name })
    }

    async fn told(
        &mut self,
        ports: &Ports,
        readings: &mut BTreeMap<usize, Reading>,
        claims: &mut FuturesUnordered<Claim>,
        told: Told,
    ) {
        match told {
            Told::Assigned {
                partition,
                holder_is_dead,
            } => {
                self.assignments += 1;
                let number = self.assignments;
                self.current.insert(partition, number);
                let (start, started) = tokio::sync::oneshot::channel();
                let assigned = Event::Assigned {
                    partition: self.name(partition),
                    incarnation: None,
                    siblings: None,
                    holder_is_dead,
                    start,
                };
                say(ports, assigned).await;
                claims
                    .push(async move { (partition, number, started.await.ok().flatten()) }.boxed());
            }
            Told::Revoked {
                partition,
                lost,
                done,
            } => {
                readings.remove(&partition);
                self.current.remove(&partition);
                let partition = self.name(partition);
                let revoked = Event::Revoked {
                    partition,
                    lost,
                    done,
                };
                say(ports, revoked).await;
            }
        }
    }

    async fn begins(
        &self,
        ports: &Ports,
        readings: &mut BTreeMap<usize, Reading>,
        partition: usize,
        start: Start,
    ) {
        let from = start
            .checkpoint
            .as_ref()
            .map_or(Resume::Beginning, |checkpoint| checkpoint.resume.clone());
        let at = match &from {
            Resume::Beginning => 0,
            Resume::At(first) => offset(first) - 1,
            Resume::After(last) => offset(last),
        };
        let last = self.shared.log().end(partition, now());
        let positioned = Event::Positioned {
            last: Some(Position::Offset(last)),
            partition: self.name(partition),
            from,
            gap: None,
        };
        say(ports, positioned).await;
        let reading = Reading {
            start,
            at,
            paused: false,
            wanted: None,
        };
        readings.insert(partition, reading);
    }

    async fn hands_over(&self, ports: &Ports, readings: &mut BTreeMap<usize, Reading>) {
        for (&partition, reading) in readings {
            if reading.paused {
                continue;
            }
            for event in self.read(partition, reading) {
                say(ports, event).await;
            }
        }
    }

    /// The next batch, as far as the budget goes.
    fn read(&self, partition: usize, reading: &mut Reading) -> Vec<Event> {
        let (log, order) = (self.shared.log(), self.shared.plan.settings.order);
        let mut batch = BatchBuilder::new(Arc::clone(&reading.start.assignment));
        let (mut at, mut events) = (reading.at, Vec::new());
        // A batch takes no more than a quarter of the share, unless one record does, and less where
        // less is left.
        let budget = &reading.start.budget;
        let most = budget.share() / 4;
        while batch.len() < BATCH_MAX {
            match log.next(partition, at, now()) {
                Next::Record(position, key, bytes) => {
                    if self.skips(reading, position) {
                        at = position;
                        continue;
                    }
                    let weight = batch.weight() + weight_max(&key, bytes);
                    if !batch.is_empty() && (weight > most || !budget.has_room(weight)) {
                        break;
                    }
                    at = position;
                    let value = vec![b'x'; bytes];
                    let (key, value) = (Some(key.as_bytes()), Some(&value[..]));
                    let place = Position::Offset(position);
                    batch
                        .push(order, place, key, value, [], None)
                        .expect("a key");
                }
                Next::PassedOver(through) => {
                    at = through;
                    let (partition, through) = (self.name_in(&log, partition), through);
                    let through = Position::Offset(through);
                    events.push(Event::PassedOver { partition, through });
                    break;
                }
                Next::End => break,
            }
        }
        if !batch.is_empty() {
            let wants = batch.weight();
            let Some(permit) = reading.start.budget.try_acquire(wants) else {
                if reading.wanted.replace(wants) == Some(wants) {
                    return Vec::new();
                }
                let partition = self.name_in(&log, partition);
                return vec![Event::Starved { partition, wants }];
            };
            reading.wanted = None;
            events.insert(0, Event::Records(batch.finish(Some(permit))));
        }
        reading.at = at;
        if !events.is_empty() {
            let records = log.end(partition, now()) - at;
            let partition = self.name_in(&log, partition);
            events.push(Event::Behind { partition, records });
        }
        events
    }

    fn name_in(&self, log: &super::log::Log, partition: usize) -> PartitionName {
        log.name(partition).clone()
    }

    /// A reader that seeks leaves out what is settled.
    fn skips(&self, reading: &Reading, position: u64) -> bool {
        let settled =
            |c: &lanekeeper::checkpoint::Checkpoint| c.settles(&Position::Offset(position));
        self.shared.plan.seeks && reading.start.checkpoint.as_ref().is_some_and(settled)
    }
}
