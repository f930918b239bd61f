//! Partitions that were added to a topic. A key's records may come to them while earlier ones stand in a
//! stopped or parked lane of the partition where the key's records came to before: such a partition waits
//! until those lanes are live again.

use super::{Processor, StoreFact};
use crate::{
    record::PartitionName,
    store::{LaneState, Store, StoreError},
};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::Mutex;

/// How often the lanes are looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// A partition with lanes that stand.
#[derive(Clone)]
pub(super) struct Standing {
    partition: PartitionName,
    lanes: usize,
}

/// A topic: a source, and what the names of the topic's partitions begin with.
type Topic = (Arc<str>, Arc<str>);

/// What the last look at each topic's lanes found. At a first start all partitions of a topic ask at once:
/// those that wait while one looks share the next look.
#[derive(Default)]
pub(super) struct Looks {
    /// How many looks have begun.
    begun: AtomicU64,
    found: Mutex<HashMap<Topic, Found>>,
}

struct Found {
    look: u64,
    standing: Option<Standing>,
}

impl Looks {
    /// Which partition's lanes a partition waits for, that nobody ever claimed; `siblings` is what the names
    /// of those begin with whose keys may have moved to it. What was found before this was asked is no
    /// answer: a lane may have stopped since.
    pub(super) async fn standing(
        &self,
        store: &dyn Store,
        partition: &PartitionName,
        siblings: &Arc<str>,
    ) -> Result<Option<Standing>, StoreError> {
        if store.ownership(partition).await?.is_some() {
            return Ok(None);
        }
        let before = self.begun.load(Ordering::Relaxed);
        // Held while it is looked: the others wait for the answer.
        let mut found = self.found.lock().await;
        let topic = (Arc::clone(&partition.source), Arc::clone(siblings));
        if let Some(found) = found.get(&topic)
            && found.look > before
        {
            return Ok(found.standing.clone());
        }
        let look = self.begun.fetch_add(1, Ordering::Relaxed) + 1;
        let standing = self::look(store, &partition.source, siblings).await?;
        let kept = standing.clone();
        found.insert(topic, Found { look, standing });
        Ok(kept)
    }
}

async fn look(
    store: &dyn Store,
    source: &Arc<str>,
    siblings: &str,
) -> Result<Option<Standing>, StoreError> {
    for partition in store.partitions().await? {
        if partition.source != *source || !partition.partition.starts_with(siblings) {
            continue;
        }
        let lanes = store.lanes(&partition).await?;
        let lanes = { lanes.iter() }.filter(|item| item.state != LaneState::Live);
        let lanes = lanes.count();
        if lanes > 0 {
            return Ok(Some(Standing { partition, lanes }));
        }
    }
    Ok(None)
}

impl Processor {
    /// A partition is not claimed yet.
    pub(super) fn waits(&mut self, partition: PartitionName, standing: &Standing) {
        self.claims_out.remove(&partition);
        let Some(claiming) = self.claiming.get_mut(&partition) else {
            // The source took it back meanwhile.
            if let Some(done) = self.taken_back.remove(&partition) {
                let _ = done.send(());
            }
            return;
        };
        let what = format!(
            "the partition is new, and {} of the lanes of `{}` stand stopped or parked: it waits until they are decided, since their keys' later records may have come to it (`on_new_partitions = \"go\"` lets it begin)",
            standing.lanes, standing.partition
        );
        if claiming.waits.as_ref() != Some(&what) {
            tracing::warn!(source = %partition.source, partition = %partition.partition, "{what}");
            claiming.waits = Some(what);
            // For `status`.
            self.beat_at = self.now;
        }
        self.claim(partition, LOOK_AGAIN);
    }

    /// Partitions that wait, and why.
    pub(super) fn newcomers(&self) -> impl Iterator<Item = (&PartitionName, &str)> {
        let claiming = self.claiming.iter();
        claiming.filter_map(|(name, claiming)| Some((name, claiming.waits.as_deref()?)))
    }
}

impl StoreFact {
    /// What a look at the lanes says; `None`: the partition may be claimed.
    pub(super) fn of_look(
        partition: &PartitionName,
        asked: Duration,
        found: Result<Option<Standing>, StoreError>,
    ) -> Option<Self> {
        let partition = partition.clone();
        match found {
            Ok(None) => None,
            Ok(Some(standing)) => Some(Self::Waits {
                partition,
                standing,
            }),
            Err(error) => Some(Self::Claimed {
                partition,
                asked,
                result: Err(error),
            }),
        }
    }
}
