//! The log that all workers read, and who is to read which partition of it.

use super::plan::{Entry, Plan};
use lanekeeper::{Position, record::PartitionName};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};

/// What the group tells a member.
pub(super) enum Told {
    Assigned {
        partition: usize,
        holder_is_dead: bool,
    },
    Revoked {
        partition: usize,
        lost: bool,
        done: oneshot::Sender<()>,
    },
}

/// The log and the group of its readers.
pub(super) struct Log {
    partitions: Vec<Partition>,
    /// Members of the group by incarnation.
    members: BTreeMap<u64, mpsc::UnboundedSender<Told>>,
}

struct Partition {
    name: PartitionName,
    entries: Vec<Entry>,
    /// Positions (from 1) that were compacted away.
    compacted: BTreeSet<u64>,
    owner: Option<u64>,
}

/// What a reader finds.
pub(super) enum Next {
    /// A record, and its key and size.
    Record(u64, String, usize),
    /// Nothing will come up to here.
    PassedOver(u64),
    /// Nothing yet.
    End,
}

impl Log {
    pub(super) fn new(plan: &Plan) -> Self {
        let partitions = plan.logs.iter().enumerate().map(|(n, entries)| Partition {
            name: PartitionName::new("log", &format!("topic/{n}")),
            entries: entries.clone(),
            compacted: BTreeSet::new(),
            owner: None,
        });
        Self {
            partitions: partitions.collect(),
            members: BTreeMap::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.partitions.len()
    }

    pub(super) fn name(&self, partition: usize) -> &PartitionName {
        &self.partitions[partition].name
    }

    pub(super) fn number(&self, name: &PartitionName) -> usize {
        let found = self.partitions.iter().position(|p| p.name == *name);
        found.expect("a partition of this log")
    }

    /// Records by position.
    pub(super) fn entries(&self, partition: usize) -> impl Iterator<Item = (u64, &Entry)> {
        (1..).zip(&self.partitions[partition].entries)
    }

    pub(super) fn entry(&self, partition: usize, position: u64) -> &Entry {
        &self.partitions[partition].entries[position as usize - 1]
    }

    pub(super) fn is_compacted(&self, partition: usize, position: u64) -> bool {
        self.partitions[partition].compacted.contains(&position)
    }

    /// Takes a record away.
    pub(super) fn compact(&mut self, partition: usize, position: u64) {
        self.partitions[partition].compacted.insert(position);
    }

    /// How many places of a partition are written by now.
    pub(super) fn end(&self, partition: usize, now: Duration) -> u64 {
        let entries = &self.partitions[partition].entries;
        entries.partition_point(|entry| entry.at <= now) as u64
    }

    /// What stands behind `after`.
    pub(super) fn next(&self, partition: usize, after: u64, now: Duration) -> Next {
        let end = self.end(partition, now);
        let mut over = None;
        for position in after + 1..=end {
            let entry = self.entry(partition, position);
            match &entry.key {
                Some(key) if !self.is_compacted(partition, position) => {
                    // Gaps before a record are told by the record itself.
                    return Next::Record(position, key.clone(), entry.bytes);
                }
                _ => over = Some(position),
            }
        }
        over.map_or(Next::End, Next::PassedOver)
    }

    pub(super) fn joins(&mut self, member: u64, mailbox: mpsc::UnboundedSender<Told>) {
        self.members.insert(member, mailbox);
    }

    pub(super) fn is_member(&self, member: u64) -> bool {
        self.members.contains_key(&member)
    }

    /// Partitions of a member that is a member no more.
    pub(super) fn leaves(&mut self, member: u64) -> Vec<usize> {
        self.members.remove(&member);
        let mut left = Vec::new();
        for (n, partition) in self.partitions.iter_mut().enumerate() {
            if partition.owner == Some(member) {
                partition.owner = None;
                left.push(n);
            }
        }
        left
    }

    pub(super) fn owner(&self, partition: usize) -> Option<u64> {
        self.partitions[partition].owner
    }

    pub(super) fn assign(&mut self, partition: usize, member: u64, holder_is_dead: bool) {
        if let Some(mailbox) = self.members.get(&member) {
            self.partitions[partition].owner = Some(member);
            // A member that is dying does not hear it: its end takes the partition away again.
            let _ = mailbox.send(Told::Assigned {
                partition,
                holder_is_dead,
            });
        }
    }

    /// Its owner is its owner no more, and does not know.
    pub(super) fn disown(&mut self, partition: usize) {
        self.partitions[partition].owner = None;
    }

    /// Takes a partition from its owner; the answer comes when it has let go.
    pub(super) fn revoke(&mut self, partition: usize, lost: bool) -> Option<oneshot::Receiver<()>> {
        let owner = self.partitions[partition].owner.take()?;
        self.tell_revoked(owner, partition, lost)
    }

    pub(super) fn tell_revoked(
        &self,
        member: u64,
        partition: usize,
        lost: bool,
    ) -> Option<oneshot::Receiver<()>> {
        let (done, receiver) = oneshot::channel();
        let told = Told::Revoked {
            partition,
            lost,
            done,
        };
        self.members.get(&member)?.send(told).ok()?;
        Some(receiver)
    }
}

pub(super) fn offset(position: &Position) -> u64 {
    position.offset().expect("an offset")
}
