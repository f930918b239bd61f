//! Proof of ownership: an acknowledged commit or a consistent read. No try starts that could still
//! run when another worker may have taken over.

use super::{Processor, StoreFact, owned::Owned};
use crate::{
    history::Event,
    record::Record,
    source::Order,
    store::{LaneState, Ownership, StoreError, WorkerId},
};
use futures_util::FutureExt;
use partitions::{Engine, PartitionId};
use std::{sync::Arc, time::Duration};

/// Wait before a proof that failed is asked for again.
const PROVE_AGAIN: Duration = Duration::from_millis(500);

impl Processor {
    /// The partition is not ours any more: nothing of it starts or is written. `found`: the worker and
    /// epoch that the store names.
    pub(super) fn fenced(
        &mut self,
        id: PartitionId,
        why: &str,
        found: Option<(Option<WorkerId>, u64)>,
    ) {
        let Some(owned) = self.partitions.remove(&id) else {
            return;
        };
        // A claim names its worker; what raises the epoch and leaves ours named is an operator's act.
        let acted = found.is_some_and(|(worker, epoch)| {
            worker == Some(self.worker) && epoch > owned.fence.epoch
        });
        let acted = acted.then(|| {
            format!(
                "{}: an operator rewound its checkpoint, or imported one, while this worker owned it; what was not durable is void (`lanekeeper checkpoint show` says who did it and why)",
                owned.assignment.name
            )
        });
        let why = acted.as_deref().unwrap_or(why);
        self.counters.of(owned.source).fenced += 1;
        let name = owned.assignment.name.clone();
        tracing::error!(source = %name.source, partition = %name.partition, "{why}");
        self.notes.partition(&owned, Event::Refused { why });
        self.notes
            .partition(&owned, Event::Revoked { clean: false });
        self.names.remove(&name);
        self.engine.revoke(id);
        let source = Arc::clone(&name.source);
        self.sources
            .tell(&source, Order::Fenced(name, why.to_owned()));
    }

    /// Reads a partition's checkpoint item: proof that it is still ours.
    pub(super) fn prove(&mut self, id: PartitionId) {
        let Some(owned) = self.partitions.get_mut(&id) else {
            return;
        };
        if std::mem::replace(&mut owned.reading, true) {
            return;
        }
        owned.idle_look = !is_busy(&self.engine, id, owned);
        let (store, name, asked) = (
            Arc::clone(&self.store),
            owned.assignment.name.clone(),
            self.now,
        );
        self.calls.push(
            async move {
                StoreFact::Proof {
                    id,
                    asked,
                    found: store.ownership(&name).await,
                }
            }
            .boxed(),
        );
    }

    pub(super) fn proof(
        &mut self,
        id: PartitionId,
        asked: Duration,
        found: Result<Option<Ownership>, StoreError>,
    ) {
        let Some(owned) = self.partitions.get_mut(&id) else {
            return;
        };
        owned.reading = false;
        owned.looked_at = asked;
        let fence = owned.fence;
        match found {
            Ok(Some(o)) if o.worker == Some(fence.worker) && o.epoch == fence.epoch => {
                // After idling it is read anew: a look while nothing is to be done proves nothing.
                if !owned.idle_look {
                    owned.proven_at = owned.proven_at.max(asked);
                }
                self.check_proofs();
            }
            Ok(found) => {
                let (worker, epoch) = found.map_or((None, 0), |o| (o.worker, o.epoch));
                let partition = owned.assignment.name.clone();
                let error = StoreError::Fenced {
                    partition,
                    worker,
                    epoch,
                };
                self.fenced(id, &error.to_string(), Some((worker, epoch)));
            }
            Err(error) => {
                tracing::warn!(source = %owned.assignment.name.source, partition = %owned.assignment.name.partition, %error, "ownership is not proven");
                // What is due before, as holding it, is not put off.
                self.proofs_due = self.proofs_due.min(self.now + PROVE_AGAIN);
            }
        }
    }

    /// Holds partitions whose ownership is not proven for as long as a try may take, and asks for
    /// proof in time where there is work.
    pub(super) fn check_proofs(&mut self) {
        let trust = self.settings.drain.saturating_sub(self.settings.timeout);
        // Nothing hangs on it while there is no work, but that an operator's rewind is noticed.
        let idle = self.store.looks_every().max(trust / 2);
        let mut next = self.now + trust / 2;
        let mut ask = Vec::new();
        for (&id, owned) in &mut self.partitions {
            let quiet = owned.quiet_until.is_some_and(|until| until > self.now);
            let stale = self.now + self.settings.timeout > owned.proven_at + self.settings.drain;
            let held = stale || quiet || owned.placing;
            if owned.held != held {
                owned.held = held;
                self.engine.hold(id, held);
            }
            if let Some(until) = owned.quiet_until.filter(|_| quiet) {
                next = next.min(until);
            }
            let due = if is_busy(&self.engine, id, owned) {
                owned.proven_at + trust / 2
            } else {
                owned.proven_at.max(owned.looked_at) + idle
            };
            if self.now >= due {
                ask.push(id);
            } else {
                next = next.min(due);
            }
            if !stale {
                next = next.min(owned.proven_at + trust + Duration::from_nanos(1));
            }
        }
        self.proofs_due = next;
        for id in ask {
            self.prove(id);
        }
    }
}

/// Whether anything of the partition may start, or is to be done in its chains.
fn is_busy(engine: &Engine<Record>, id: PartitionId, owned: &Owned) -> bool {
    engine.figures(id).is_some_and(|f| f.buffered > 0) || { owned.lanes.values() }
        .any(|item| item.state == LaneState::Draining || item.decision.is_some())
}
