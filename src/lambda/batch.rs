//! An invocation's batch as a source: all of it is there, and nothing follows.

use super::{Batches, Delivery, Handed, marks::Marked};
use crate::{
    position::Position,
    record::{LaneOrder, PartitionName},
    source::{Event, Order, Ports, Source, SourceError, Start},
};
use futures_util::future::BoxFuture;
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::sync::{mpsc, oneshot};

/// How long to wait before memory is asked for again.
const STARVED_AGAIN: Duration = Duration::from_millis(5);

/// The batch of one invocation.
pub(super) struct BatchSource {
    pub(super) name: Arc<str>,
    pub(super) delivery: Arc<Delivery>,
    pub(super) marked: Arc<Marked>,
    pub(super) order: LaneOrder,
}

/// A partition on its way to the processor.
struct Part {
    name: PartitionName,
    start: Start,
    batches: Batches,
    withheld: BTreeSet<Position>,
    /// The weight that was said to be missing.
    told: Option<u64>,
}

/// What the processor said.
enum Heard {
    Nothing,
    Stop,
}

impl Source for BatchSource {
    fn serve(self: Box<Self>, ports: Ports) -> BoxFuture<'static, Result<(), SourceError>> {
        Box::pin(self.hand_over(ports))
    }
}

impl BatchSource {
    async fn hand_over(self: Box<Self>, mut ports: Ports) -> Result<(), SourceError> {
        let mut paused = BTreeSet::new();
        let Some(mut parts) = self.assigned(&ports.events).await else {
            return Ok(());
        };
        while !parts.is_empty() {
            if let Heard::Stop = heard(&mut ports, &mut paused).await {
                return Ok(());
            }
            let mut moved = false;
            let mut left = Vec::with_capacity(parts.len());
            for mut part in parts {
                if paused.contains(&part.name) {
                    left.push(part);
                    continue;
                }
                match part
                    .batches
                    .next(&part.start, self.order, |p| !part.withheld.contains(p))
                {
                    Handed::Records(records) => {
                        part.told = None;
                        moved = true;
                        if !tell(&ports.events, Event::Records(records)).await {
                            return Ok(());
                        }
                        left.push(part);
                    }
                    Handed::Starved(wants) => {
                        if part.told.replace(wants) != Some(wants) {
                            let partition = part.name.clone();
                            tell(&ports.events, Event::Starved { partition, wants }).await;
                        }
                        left.push(part);
                    }
                    Handed::NoKey(error) => {
                        let what = format!("{}: {error}", part.name);
                        return Err(SourceError::Refused { what });
                    }
                    Handed::Through => {
                        moved = true;
                        self.through(&ports.events, part.name).await;
                    }
                }
            }
            parts = left;
            if !moved && !parts.is_empty() {
                tokio::time::sleep(STARVED_AGAIN).await;
            }
        }
        while let Some(order) = ports.orders.recv().await {
            match order {
                Order::Stop => break,
                Order::Pause(partition) => {
                    tell(&ports.events, Event::Paused { partition }).await;
                }
                Order::Resume(_) | Order::Committed(..) | Order::Fenced(..) => {}
            }
        }
        Ok(())
    }

    /// The partitions, claimed side by side; `None`: the loop ends.
    async fn assigned(&self, events: &mpsc::Sender<Event>) -> Option<Vec<Part>> {
        let partitions = self.delivery.partitions.len();
        let source = Arc::clone(&self.name);
        if !tell(events, Event::Announced { source, partitions }).await {
            return None;
        }
        let mut waiting = Vec::with_capacity(partitions);
        for (index, delivered) in self.delivery.partitions.iter().enumerate() {
            let (start, started) = oneshot::channel();
            let partition = delivered.full_name(&self.name);
            let last = delivered.entries().next_back();
            let last = last.map(|entry| entry.position().clone());
            waiting.push((index, partition.clone(), last, started));
            let assigned = Event::Assigned {
                partition,
                incarnation: None,
                siblings: None,
                holder_is_dead: false,
                start,
            };
            if !tell(events, assigned).await {
                return None;
            }
        }
        let mut parts = Vec::with_capacity(partitions);
        for (index, name, last, started) in waiting {
            let start = started.await.ok()??;
            let from = { start.checkpoint.as_ref() }
                .map_or(partitions::Resume::Beginning, |checkpoint| {
                    checkpoint.resume.clone()
                });
            let positioned = Event::Positioned {
                partition: name.clone(),
                from,
                gap: None,
                last,
            };
            if !tell(events, positioned).await {
                return None;
            }
            parts.push(Part {
                withheld: self.marked.withheld(&name).await,
                name,
                start,
                batches: Batches::new(Arc::clone(&self.delivery), index),
                told: None,
            });
        }
        Some(parts)
    }

    /// All of a partition's records are handed over.
    async fn through(&self, events: &mpsc::Sender<Event>, partition: PartitionName) {
        if let Some(through) = self.marked.passed_over(&partition).await {
            let passed_over = Event::PassedOver {
                partition: partition.clone(),
                through,
            };
            tell(events, passed_over).await;
        }
        let end = Event::Behind {
            partition,
            records: 0,
        };
        tell(events, end).await;
    }
}

/// Whether the processor still listens.
async fn tell(events: &mpsc::Sender<Event>, event: Event) -> bool {
    events.send(event).await.is_ok()
}

/// Obeys what was said meanwhile.
async fn heard(ports: &mut Ports, paused: &mut BTreeSet<PartitionName>) -> Heard {
    loop {
        match ports.orders.try_recv() {
            Ok(Order::Stop) | Err(mpsc::error::TryRecvError::Disconnected) => return Heard::Stop,
            Ok(Order::Pause(partition)) => {
                paused.insert(partition.clone());
                tell(&ports.events, Event::Paused { partition }).await;
            }
            Ok(Order::Resume(partition)) => {
                paused.remove(&partition);
            }
            Ok(Order::Committed(..) | Order::Fenced(..)) => {}
            Err(mpsc::error::TryRecvError::Empty) => return Heard::Nothing,
        }
    }
}
