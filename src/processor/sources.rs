//! The sources of this process and the orders to them.

use crate::source::{Order, Ports, Source, SourceError};
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use std::{collections::BTreeMap, sync::Arc};
use tokio::sync::mpsc;

/// Batches between the sources and the loop.
const EVENTS_WAITING_MAX: usize = 64;

struct Link {
    orders: mpsc::UnboundedSender<Order>,
    /// Partitions that it announced, once it has announced all.
    announced: Option<usize>,
}

/// How a source ended.
pub(super) type SourceEnd = (Arc<str>, Result<(), SourceError>);

pub(super) struct Sources {
    links: BTreeMap<Arc<str>, Link>,
    serving: FuturesUnordered<BoxFuture<'static, SourceEnd>>,
    /// Keeps the channel open: a source may end while the loop still waits on it.
    _events: mpsc::Sender<crate::source::Event>,
}

impl Sources {
    /// Starts the sources when they are first polled.
    pub(super) fn new(
        sources: Vec<(Arc<str>, Box<dyn Source>)>,
    ) -> (Self, mpsc::Receiver<crate::source::Event>) {
        let (events, receiver) = mpsc::channel(EVENTS_WAITING_MAX);
        let mut links = BTreeMap::new();
        let serving = FuturesUnordered::new();
        for (name, source) in sources {
            let (orders, orders_receiver) = mpsc::unbounded_channel();
            let ports = Ports {
                events: events.clone(),
                orders: orders_receiver,
            };
            let serve = source.serve(ports);
            let named = Arc::clone(&name);
            serving.push(async move { (named, serve.await) }.boxed());
            links.insert(
                name,
                Link {
                    orders,
                    announced: None,
                },
            );
        }
        (
            Self {
                links,
                serving,
                _events: events,
            },
            receiver,
        )
    }

    pub(super) fn tell(&self, source: &str, order: Order) {
        if let Some(link) = self.links.get(source) {
            // A source that went away is noticed by its end.
            let _ = link.orders.send(order);
        }
    }

    pub(super) fn stop_all(&self) {
        for link in self.links.values() {
            let _ = link.orders.send(Order::Stop);
        }
    }

    pub(super) fn announced(&mut self, source: &str, partitions: usize) {
        if let Some(link) = self.links.get_mut(source) {
            link.announced = Some(partitions);
        }
    }

    /// How many partitions all sources announced; `None` while one has not.
    pub(super) fn partitions(&self) -> Option<usize> {
        self.links.values().map(|link| link.announced).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.serving.is_empty()
    }

    /// A source that has ended by now.
    pub(super) fn ended(&mut self) -> Option<SourceEnd> {
        self.serving.next().now_or_never().flatten()
    }

    /// Waits for a source to end.
    pub(super) async fn next(&mut self) -> Option<SourceEnd> {
        self.serving.next().await
    }
}
