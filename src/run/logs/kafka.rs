//! Partitions of Kafka topics.

use super::{Entry, Held, PartitionLog};
use crate::{
    config::{Config, SourceConfig},
    record::PartitionName,
    run::{RunError, kafka::settings},
    source::kafka::{
        Settings,
        cluster::{Cluster, ClusterError},
    },
};
use std::rc::Rc;

struct KafkaLog {
    cluster: Rc<Cluster>,
    settings: Rc<Settings>,
    topic: Rc<str>,
    number: i32,
    name: PartitionName,
}

pub(super) fn logs(
    config: &Config,
    source: &SourceConfig,
) -> Result<Vec<Box<dyn PartitionLog>>, RunError> {
    let Some(settings) = settings(config, source)? else {
        return Ok(Vec::new());
    };
    let of = |error| told(&source.name, error);
    let cluster = Rc::new(Cluster::open(&settings).map_err(of)?);
    let settings = Rc::new(settings);
    let mut logs: Vec<Box<dyn PartitionLog>> = Vec::new();
    for (topic, partitions) in cluster.topics(&settings.topics).map_err(of)? {
        let topic: Rc<str> = topic.into();
        for number in 0..i32::try_from(partitions).unwrap_or(i32::MAX) {
            logs.push(Box::new(KafkaLog {
                cluster: Rc::clone(&cluster),
                settings: Rc::clone(&settings),
                name: PartitionName::new(&source.name, &format!("{topic}/{number}")),
                topic: Rc::clone(&topic),
                number,
            }));
        }
    }
    Ok(logs)
}

fn told(source: &str, error: ClusterError) -> RunError {
    RunError::Kafka {
        of: format!("source `{source}`"),
        error,
    }
}

impl KafkaLog {
    fn told_of<T>(&self, answer: Result<T, ClusterError>) -> Result<T, RunError> {
        answer.map_err(|error| told(&self.name.source, error))
    }
}

impl PartitionLog for KafkaLog {
    fn name(&self) -> &PartitionName {
        &self.name
    }

    fn describe(&self) -> String {
        format!("partition {} of topic `{}`", self.number, self.topic)
    }

    fn origin(&self) -> u64 {
        0
    }

    /// Which partition it is in was its producer's to say.
    fn may_hold(&self, _: &[u8]) -> bool {
        true
    }

    fn held(&self) -> Result<Held, RunError> {
        let bounds = self.told_of(self.cluster.bounds(&self.topic, self.number))?;
        Ok(Held {
            first: bounds.first,
            next: bounds.next,
            trimmed_at: None,
        })
    }

    fn identity(&self) -> Result<Option<String>, RunError> {
        let mut ids = self.told_of(self.cluster.topic_ids(&[&self.topic]))?;
        Ok(ids.remove(&*self.topic))
    }

    fn at_time(&self, millis: i64) -> Result<u64, RunError> {
        let place = (self.topic.to_string(), self.number);
        let found = self.cluster.at_time(std::slice::from_ref(&place), millis);
        match self.told_of(found)?.remove(&place) {
            Some(position) => Ok(position),
            None => Ok(self.held()?.next),
        }
    }

    /// A topic's retention is its own.
    fn keep(&self, _: &str, _: u64) -> Result<(), RunError> {
        Ok(())
    }

    fn told(&self, group: Option<&str>) -> Result<Option<(u64, String)>, RunError> {
        let place = (self.topic.to_string(), self.number);
        let one = std::slice::from_ref(&place);
        let found = match group.filter(|group| *group != self.settings.group_id) {
            None => self.cluster.committed_with_metadata(one),
            Some(group) => {
                let settings = Settings {
                    group_id: group.to_owned(),
                    ..Settings::clone(&self.settings)
                };
                let cluster = self.told_of(Cluster::open(&settings))?;
                cluster.committed_with_metadata(one)
            }
        };
        Ok(self.told_of(found)?.remove(&place))
    }

    fn read(&self, range: (u64, u64), each: &mut dyn FnMut(Entry<'_>)) -> Result<(), RunError> {
        let lent = self
            .cluster
            .scan(&self.topic, self.number, range, |record| {
                each(Entry {
                    position: record.offset,
                    key: record.key,
                    timestamp: record.timestamp,
                });
            });
        self.told_of(lent)
    }
}
