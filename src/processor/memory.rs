//! Memory that is used up: what sources find no room for, and what they are told of it.

use super::Processor;
use crate::{
    history::Event as Noted,
    record::PartitionName,
    source::{Budget, Order},
};
use partitions::PartitionId;
use std::sync::Arc;

/// A partition's share of the memory, and what its source says of it.
pub(super) struct Memory {
    pub(super) budget: Arc<Budget>,
    /// Bytes that the source's next records found no room for.
    pub(super) wants: Option<u64>,
    /// The engine was told that there is no room for them.
    starved: bool,
    /// Orders to pause that the source has not answered: records may be on their way.
    pub(super) pauses_out: u32,
}

impl Memory {
    pub(super) fn new(budget: Arc<Budget>) -> Self {
        Self {
            budget,
            wants: None,
            starved: false,
            pauses_out: 0,
        }
    }
}

impl Processor {
    /// The source's next records find no room.
    pub(super) fn starved(&mut self, partition: &PartitionName, wants: u64) {
        if let Some(owned) = self
            .names
            .get(partition)
            .and_then(|id| self.partitions.get_mut(id))
        {
            owned.memory.wants = Some(wants);
        }
    }

    /// Tells the engine whose records find no room now. What is dropped makes room without a word, so
    /// it is looked at each turn.
    pub(super) fn look_for_room(&mut self) {
        for (&id, owned) in &mut self.partitions {
            let memory = &mut owned.memory;
            let finds_none = |wants| !memory.budget.has_room(wants);
            let starved = memory.wants.is_some_and(finds_none);
            if starved != memory.starved {
                memory.starved = starved;
                self.engine.starve(id, starved);
            }
        }
    }

    pub(super) fn pause(&mut self, id: PartitionId) {
        if let Some(owned) = self.partitions.get_mut(&id) {
            owned.memory.pauses_out += 1;
        }
        self.flow(id, Noted::Paused, Order::Pause);
    }

    pub(super) fn resume(&mut self, id: PartitionId) {
        self.flow(id, Noted::Resumed, Order::Resume);
    }

    fn flow(&mut self, id: PartitionId, event: Noted<'_>, order: fn(PartitionName) -> Order) {
        if let Some(owned) = self.partitions.get(&id) {
            self.notes.partition(owned, event);
            let name = owned.assignment.name.clone();
            self.sources.tell(&name.source.clone(), order(name));
        }
    }

    /// The source obeys an order to pause: what it handed over before has come.
    pub(super) fn paused(&mut self, partition: &PartitionName) {
        if let Some(owned) = self
            .names
            .get(partition)
            .and_then(|id| self.partitions.get_mut(id))
        {
            let out = &mut owned.memory.pauses_out;
            *out = out.saturating_sub(1);
        }
    }
}
