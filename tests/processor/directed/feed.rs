//! A source that hands over what the test appends.

use super::{
    deeds::Deed,
    world::{Log, World, name},
};
use futures_util::{FutureExt, future::BoxFuture};
use lanekeeper::{
    Position,
    record::{BatchBuilder, LaneOrder},
    source::{Event, Order, Ports, Source, SourceError, Start},
};
use partitions::Resume;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Records of one batch.
const BATCH_MAX: usize = 4;

/// Reads the log for one worker. It acquires no permits: only an order to pause stops it.
pub(super) struct Feed {
    pub(super) world: Arc<World>,
    pub(super) holder_is_dead: bool,
    pub(super) order: LaneOrder,
}

impl Source for Feed {
    fn serve(self: Box<Self>, mut ports: Ports) -> BoxFuture<'static, Result<(), SourceError>> {
        async move {
            let mut log = self.world.log.subscribe();
            let Some(start) = self.assigned(&ports).await else {
                // The loop ends: it says so to all sources.
                while !matches!(ports.orders.recv().await, None | Some(Order::Stop)) {}
                return Ok(());
            };
            let mut at = self.positioned(&ports, &start).await;
            let mut paused = false;
            loop {
                while let Ok(order) = ports.orders.try_recv() {
                    if let Some(end) = self.ordered(order, &mut paused) {
                        return end;
                    }
                }
                let seen = log.borrow_and_update().clone();
                if !paused && self.hands_over(&ports, &start, &seen, &mut at).await {
                    tokio::task::yield_now().await;
                    continue;
                }
                tokio::select! { biased;
                    order = ports.orders.recv() => {
                        let order = order.unwrap_or(Order::Stop);
                        if let Some(end) = self.ordered(order, &mut paused) {
                            return end;
                        }
                    }
                    changed = log.changed() => changed.expect("the world outlives its sources"),
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

impl Feed {
    async fn assigned(&self, ports: &Ports) -> Option<Start> {
        let announced = Event::Announced {
            source: "log".into(),
            partitions: 1,
        };
        say(ports, announced).await;
        let (start, started) = oneshot::channel();
        let assigned = Event::Assigned {
            partition: name(),
            incarnation: None,
            siblings: None,
            holder_is_dead: self.holder_is_dead,
            start,
        };
        say(ports, assigned).await;
        started.await.ok().flatten()
    }

    /// Says where reading begins; gives the position before it.
    async fn positioned(&self, ports: &Ports, start: &Start) -> u64 {
        let log = self.world.log.borrow().clone();
        let end = log.rows.last().filter(|_| log.starts_latest);
        let fresh = end.map_or(Resume::Beginning, |(n, ..)| {
            Resume::After(Position::Offset(*n))
        });
        let known = start.checkpoint.as_ref().map(|c| c.resume.clone());
        let from = known
            .filter(|resume| *resume != Resume::Beginning)
            .unwrap_or(fresh);
        let offset = |position: &Position| position.offset().expect("an offset");
        let at = match &from {
            Resume::Beginning => 0,
            Resume::At(first) => offset(first) - 1,
            Resume::After(last) => offset(last),
        };
        let positioned = Event::Positioned {
            last: None,
            partition: name(),
            from,
            gap: None,
        };
        say(ports, positioned).await;
        at
    }

    /// How it is to finish, if it is.
    fn ordered(&self, order: Order, paused: &mut bool) -> Option<Result<(), SourceError>> {
        match order {
            Order::Stop => return Some(Ok(())),
            Order::Fenced(_, what) => return Some(Err(SourceError::Refused { what })),
            Order::Pause(_) => {
                *paused = true;
                self.world.does(Deed::Paused);
            }
            Order::Resume(_) => {
                *paused = false;
                self.world.does(Deed::Resumed);
            }
            Order::Committed(_, frontier) => {
                let durable = self.world.frontier();
                let frontier = frontier.offset().expect("an offset");
                self.world.does(Deed::Acked { frontier, durable });
            }
        }
        None
    }

    /// The next batch; whether there was one.
    async fn hands_over(&self, ports: &Ports, start: &Start, log: &Log, at: &mut u64) -> bool {
        let mut batch = BatchBuilder::new(Arc::clone(&start.assignment));
        let shown = |position: u64| log.hidden_from.is_none_or(|from| position < from);
        let rows = log.rows.iter().filter(|(n, ..)| *n > *at && shown(*n));
        let rows: Vec<_> = rows.take(BATCH_MAX).collect();
        let Some((last, ..)) = rows.last() else {
            let records = 0;
            let partition = name();
            say(ports, Event::Behind { partition, records }).await;
            return false;
        };
        *at = *last;
        for (n, key, bytes) in rows {
            let (position, value) = (Position::Offset(*n), vec![b'x'; *bytes]);
            let key = Some(key.as_bytes());
            let pushed = batch.push(self.order, position, key, Some(&value), [], None);
            pushed.expect("a key");
        }
        self.world.does(Deed::Handed(batch.len()));
        say(ports, Event::Records(batch.finish(None))).await;
        true
    }
}
