//! Somebody's own invocation: `{"lanekeeper": {"release": {…}}}` releases parked lanes and drains them,
//! also where nothing is delivered.

use super::{Delivery, EventKind, Figures, Function, InvocationError, Invoked};
use crate::{
    record::{LaneKey, PartitionName},
    store::{DecideError, DecisionNote, LaneItem, LaneState, StoreError, Verb},
};
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};

/// What an invocation may ask for.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    release: Release,
}

/// Which lanes are released; without more all that are parked.
#[derive(Deserialize, Clone, Debug, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Release {
    /// Of this source.
    pub(super) source: Option<String>,
    /// Of this partition: a shard, a queue, a topic's partition.
    partition: Option<String>,
    /// Of this key.
    key: Option<String>,
    /// What for, as the history keeps it.
    why: Option<String>,
    /// Who says so.
    by: Option<String>,
}

/// What became of it.
#[derive(Serialize, Debug)]
pub(super) struct Released {
    /// Lanes that were to be released, those that others have decided on too.
    lanes: usize,
    /// Records that were done.
    done: u64,
    /// Lanes that stand still: they failed again, or the time was not enough.
    standing: Vec<Left>,
}

#[derive(Serialize, Debug)]
struct Left {
    source: String,
    partition: String,
    key: String,
    state: &'static str,
    records: u64,
    /// Its head failed, and is not tried again before.
    #[serde(skip_serializing_if = "Option::is_none")]
    waits_until: Option<String>,
}

impl Left {
    fn new(partition: &PartitionName, item: &LaneItem, now: i64) -> Self {
        let decision = item.decision.as_ref();
        let tried = decision.and_then(|decision| decision.tried.as_ref());
        let rests = tried.map(|tried| tried.not_before).filter(|at| *at > now);
        let until = rests.and_then(|at| jiff::Timestamp::from_millisecond(at).ok());
        Self {
            source: partition.source.to_string(),
            partition: partition.partition.to_string(),
            key: item.lane.to_string(),
            state: if decision.is_some() {
                "draining"
            } else {
                "parked"
            },
            records: item.count,
            waits_until: until.map(|until| until.to_string()),
        }
    }
}

/// Why nothing was released.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReleaseError {
    #[error(
        "the invocation asks for `{found}`: {why}; expected {{\"lanekeeper\": {{\"release\": {{\"source\", \"partition\", \"key\", \"why\", \"by\"}}}}}}, each of them optional"
    )]
    Unreadable { found: String, why: String },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Invocation(#[from] InvocationError),
}

impl Request {
    pub(super) fn read(text: &str) -> Result<Release, ReleaseError> {
        let read: Result<Self, _> = serde_json::from_str(text);
        match read {
            Ok(request) => Ok(request.release),
            Err(error) => Err(ReleaseError::Unreadable {
                found: text.chars().take(200).collect(),
                why: error.to_string(),
            }),
        }
    }
}

impl Release {
    fn takes(&self, partition: &PartitionName, item: &LaneItem) -> bool {
        let is = |wanted: &Option<String>, found: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == found)
        };
        let key = self.key.as_ref().map(|key| LaneKey::of_key(key.as_bytes()));
        // Lanes that shards share are of each that has had records in their chains.
        let mut tails = item.tails.iter();
        let has_records = |of: &str| tails.any(|(name, _)| **name == *of);
        is(&self.source, &partition.source)
            && (is(&self.partition, &partition.partition)
                || self.partition.as_deref().is_some_and(has_records))
            && key.is_none_or(|key| item.lane == key)
            && item.state == LaneState::Parked
    }
}

impl Function {
    /// Releases lanes and drains them, one partition after the other. What came of each goes to `figures`, with its
    /// source, also where a later one fails.
    pub(super) async fn release(
        &self,
        wanted: &Release,
        left: Duration,
        figures: &mut Vec<(Arc<str>, Figures)>,
    ) -> Result<Released, ReleaseError> {
        let began = self.clock.now();
        let mut released = Released {
            lanes: 0,
            done: 0,
            standing: Vec::new(),
        };
        for partition in self.store.partitions().await? {
            let lanes = self.store.lanes(&partition).await?;
            let chosen: Vec<&LaneItem> = { lanes.iter() }
                .filter(|item| wanted.takes(&partition, item))
                .collect();
            if chosen.is_empty() {
                continue;
            }
            released.lanes += chosen.len();
            for item in chosen {
                self.say_release(&partition, item, wanted).await?;
            }
            let left = left.saturating_sub(self.clock.now().saturating_sub(began));
            let invoked = self.drain(&partition, left).await?;
            released.done += invoked.report.map_or(0, |report| report.done);
            let source = Arc::clone(&partition.source);
            figures.push((source, invoked.figures));
            self.note_left(&partition, wanted, &mut released).await?;
        }
        Ok(released)
    }

    async fn say_release(
        &self,
        partition: &PartitionName,
        item: &LaneItem,
        wanted: &Release,
    ) -> Result<(), StoreError> {
        if item.decision.is_some() {
            return Ok(());
        }
        let by = wanted.by.clone();
        let note = DecisionNote::new(
            Verb::Release,
            by.unwrap_or_else(|| "an invocation".to_owned()),
            wanted.why.clone(),
            self.clock.wall_millis(),
        );
        match self
            .store
            .decide(partition, &item.lane, item.rev, &note)
            .await
        {
            Ok(_) => Ok(()),
            // Somebody else was quicker: what stands there now is what counts.
            Err(DecideError::NoSuchLane { .. } | DecideError::State { .. }) => Ok(()),
            Err(DecideError::Store(error)) => Err(error),
        }
    }

    /// Runs what is decided on a partition, with nothing delivered.
    async fn drain(
        &self,
        partition: &PartitionName,
        left: Duration,
    ) -> Result<Invoked, InvocationError> {
        let nothing = Delivery::of_nothing(EventKind::Kinesis, &partition.partition);
        let source = Arc::clone(&partition.source);
        self.invoke(&source, Arc::new(nothing), left).await
    }

    async fn note_left(
        &self,
        partition: &PartitionName,
        wanted: &Release,
        released: &mut Released,
    ) -> Result<(), StoreError> {
        let lanes = self.store.lanes(partition).await?;
        let standing = lanes.iter().filter(|item| wanted.takes(partition, item));
        let now = self.clock.wall_millis();
        let left = standing.map(|item| Left::new(partition, item, now));
        released.standing.extend(left);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
