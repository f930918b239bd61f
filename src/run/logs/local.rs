//! Partitions of an embedded log.

use super::{Entry, Held, PartitionLog};
use crate::{
    record::PartitionName,
    run::RunError,
    source::local::{
        log::{Log, Topic},
        put::partition_of,
    },
};
use std::{path::Path, rc::Rc};

/// Records read at a time.
const READ_MAX: usize = 10_000;

/// An embedded log starts to count at 1.
const ORIGIN: u64 = 1;

struct LocalLog {
    log: Rc<Log>,
    topic: Rc<Topic>,
    number: u32,
    name: PartitionName,
}

pub(super) fn logs(
    source: &str,
    path: &Path,
    topic: &str,
) -> Result<Vec<Box<dyn PartitionLog>>, RunError> {
    let Some(log) = Log::look(path)? else {
        return Ok(Vec::new());
    };
    let Some(topic) = log.topic(topic)? else {
        return Ok(Vec::new());
    };
    let (log, topic) = (Rc::new(log), Rc::new(topic));
    let one = |number| {
        Box::new(LocalLog {
            name: PartitionName::new(source, &topic.partition_name(number)),
            log: Rc::clone(&log),
            topic: Rc::clone(&topic),
            number,
        }) as _
    };
    Ok((0..topic.partitions()).map(one).collect())
}

impl PartitionLog for LocalLog {
    fn name(&self) -> &PartitionName {
        &self.name
    }

    fn describe(&self) -> String {
        format!("the log `{}`", self.log.path().display())
    }

    fn origin(&self) -> u64 {
        ORIGIN
    }

    fn may_hold(&self, key: &[u8]) -> bool {
        partition_of(Some(key), self.topic.partitions()) == self.number
    }

    fn held(&self) -> Result<Held, RunError> {
        let bounds = self.log.bounds(&self.topic, self.number)?;
        Ok(Held {
            first: bounds.first,
            next: bounds.last + 1,
            trimmed_at: bounds.trimmed_at,
        })
    }

    fn identity(&self) -> Result<Option<String>, RunError> {
        Ok(Some(self.topic.id.to_string()))
    }

    fn at_time(&self, millis: i64) -> Result<u64, RunError> {
        let log = &self.log;
        Ok(log.position_at(&self.topic, self.number, millis)?)
    }

    fn keep(&self, app: &str, position: u64) -> Result<(), RunError> {
        let mut log = Log::open(self.log.path(), crate::sqlite::Access::Existing)?;
        let (reader, frontier) = ((app, &*self.name.source), position.saturating_sub(1));
        let registered = log.frontier(reader, &self.topic, self.number)?;
        if registered.is_none_or(|registered| registered > frontier) {
            log.put_frontiers(reader, &self.topic, &[(self.number, frontier)])?;
        }
        Ok(())
    }

    fn told(&self, _: Option<&str>) -> Result<Option<(u64, String)>, RunError> {
        Ok(None)
    }

    fn read(
        &self,
        (first, last): (u64, u64),
        each: &mut dyn FnMut(Entry<'_>),
    ) -> Result<(), RunError> {
        let (log, mut next) = (&self.log, first);
        loop {
            let from = next;
            log.read(&self.topic, self.number, (from, last), READ_MAX, |record| {
                next = record.position + 1;
                each(Entry {
                    position: record.position,
                    key: record.key,
                    timestamp: Some(record.timestamp),
                });
                true
            })?;
            if next == from || next > last {
                return Ok(());
            }
        }
    }
}
