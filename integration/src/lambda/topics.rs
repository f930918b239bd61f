//! Topics of Kafka in memory.

use super::{
    clock::Clock,
    event::{ACCOUNT, REGION},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

/// Records of topics that are read by one mapping. A clone is the same one.
#[derive(Clone, Default)]
pub struct Topics {
    clock: Clock,
    is_self_managed: bool,
    state: Arc<Mutex<State>>,
}

/// Records by topic and partition, in order of their offsets.
type State = BTreeMap<(String, u32), Vec<Arc<TopicRecord>>>;

/// A record of a topic.
#[derive(Clone, Debug)]
pub struct TopicRecord {
    /// Its place in its partition.
    pub offset: u64,
    /// When it was made.
    pub timestamp: SystemTime,
    /// `None`: it has none.
    pub key: Option<Vec<u8>>,
    /// `None`: a tombstone.
    pub value: Option<Vec<u8>>,
    /// Names and values, in order.
    pub headers: Vec<(String, Vec<u8>)>,
}

impl TopicRecord {
    /// One that is made at this time, without headers.
    pub fn new(offset: u64, timestamp: SystemTime, key: &str, value: &str) -> Self {
        Self {
            offset,
            timestamp,
            key: Some(key.as_bytes().to_vec()),
            value: Some(value.as_bytes().to_vec()),
            headers: Vec::new(),
        }
    }
}

impl Topics {
    /// Of a cluster of Amazon MSK.
    pub fn msk() -> Self {
        Self::default()
    }

    /// Of another cluster: its events have no ARN.
    pub fn self_managed() -> Self {
        Self {
            is_self_managed: true,
            ..Self::default()
        }
    }

    /// The time that the mappings on it live by.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Adds a record with the next offset of its partition, from 0, and gives that.
    pub fn put(&self, topic: &str, partition: u32, key: &str, value: &str) -> u64 {
        let next = self.look(|state| {
            let records = state.get(&(topic.to_owned(), partition));
            let last = records.and_then(|records| records.last());
            last.map_or(0, |last| last.offset + 1)
        });
        let record = TopicRecord::new(next, self.clock.now(), key, value);
        self.put_record(topic, partition, record);
        next
    }

    /// Adds a record behind all of its partition: compacted and transactional topics have gaps.
    pub fn put_record(&self, topic: &str, partition: u32, record: TopicRecord) {
        let mut state = self.state();
        let records = state.entry((topic.to_owned(), partition)).or_default();
        records.push(Arc::new(record));
    }

    /// `None`: the cluster is nobody's of AWS.
    pub(super) fn arn(&self) -> Option<String> {
        let id = "00000000-0000-0000-0000-000000000000-1";
        let arn = format!("arn:aws:kafka:{REGION}:{ACCOUNT}:cluster/lanekeeper-test/{id}");
        (!self.is_self_managed).then_some(arn)
    }

    pub(super) fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
