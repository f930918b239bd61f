//! Losing a partition while tries of it run: they keep their slots, and their keys, until they end.

use crate::lane::Front;
use crate::partition::Partition;
use crate::ticket::{Kind, Out};
use crate::wait::Due;
use crate::window::{CHAIN, NIL, index};
use crate::{Change, Engine, Item, PartitionId, zoo::Bug};
use alloc::{boxed::Box, vec::Vec};
use core::cmp::Reverse;

/// A try whose partition was revoked.
pub(crate) struct Ghost {
    /// Its ticket's slot.
    ticket: u32,
    identity: u64,
    hash: u32,
    key: Box<[u8]>,
}

impl<R: Item> Engine<R> {
    /// Forgets the partition. Tries that are out keep slot and lane until they are completed.
    pub fn revoke(&mut self, partition: PartitionId) {
        let Some(slot) = self.slot(partition) else {
            return;
        };
        let part = &self.partitions[slot as usize];
        let entries: Vec<u32> = part.window.iter(&self.entries).map(|(at, _)| at).collect();
        // A lane has a record or something set aside.
        let mut lanes: Vec<u32> = entries
            .iter()
            .map(|&at| (at, self.entries[at].lane))
            .filter(|&(at, lane)| lane != NIL && self.lanes[lane].head == at)
            .map(|(_, lane)| lane)
            .collect();
        lanes.extend(part.asides.iter().filter(|&&at| self.lanes[at].head == NIL));
        let identity = part.identity;
        for lane in lanes {
            self.forget_lane(lane, identity);
        }
        for at in entries {
            self.entries.remove(at);
        }
        let generation = self.partitions[slot as usize].generation;
        self.retracted(partition);
        self.partitions[slot as usize] = Partition::unassigned(generation);
        self.ring.retain(|&other| other != slot);
        self.outbox.retain(|action| action.partition() != partition);
    }

    fn forget_lane(&mut self, at: u32, identity: u64) {
        self.forget_suspect(at);
        let lane = &self.lanes[at];
        let (hash, ticket, persist) = (lane.hash, lane.ticket, lane.persist);
        // A published record is in no list any more, unless it is in the chain.
        if persist != NIL {
            let Out { kind, first, .. } = self.tickets.end(persist);
            if kind == Kind::Persist(Change::DeadLettered) && !self.entries[first].is(CHAIN) {
                self.entries.remove(first);
            }
        }
        self.drop_loaded(at);
        if ticket != NIL {
            let kind = self.tickets.get(ticket).kind;
            if matches!(kind, Kind::Try | Kind::Quarantined) {
                let key = self.lanes[at].key(&self.entries).unwrap_or_default().into();
                self.ghosts.push(Ghost {
                    ticket,
                    identity,
                    hash,
                    key,
                });
                self.tickets.get_mut(ticket).kind = Kind::Ghost;
                self.in_flight -= u32::from(self.has(Bug::SlotFreedAtRevoke));
            } else {
                self.tickets.end(ticket);
            }
        }
        if self.lanes[at].front == Front::Quarantined
            && let Some(aside) = &self.lanes[at].aside
        {
            self.tickets.get_mut(ticket).kind = Kind::FadingGhost;
            self.timers.push(Reverse((
                aside.until,
                Due::Ghost(self.tickets.name(ticket)),
            )));
        }
        self.lanes.remove(at);
    }

    /// Whether a try of an earlier assignment may still run a record of this key.
    #[cold]
    pub(crate) fn is_haunted(&self, slot: u32, hash: u32, key: &[u8]) -> bool {
        let identity = self.partitions[slot as usize].identity;
        let forgotten = self.has(Bug::LaneFreedAtRevoke);
        let mut ghosts = self.ghosts.iter().filter(|_| !forgotten);
        ghosts.any(|ghost| ghost.hash == hash && ghost.identity == identity && *ghost.key == *key)
    }

    /// A revoked try can run no more: its slot is free, and so is its key.
    pub(crate) fn end_ghost(&mut self, ticket: u32) {
        self.tickets.end(ticket);
        self.in_flight -= u32::from(!self.has(Bug::SlotFreedAtRevoke));
        let Some(at) = self.ghosts.iter().position(|ghost| ghost.ticket == ticket) else {
            return;
        };
        let Ghost {
            identity,
            hash,
            key,
            ..
        } = self.ghosts.swap_remove(at);
        for slot in 0..index(self.partitions.len()) {
            let part = &self.partitions[slot as usize];
            if !part.assigned || part.identity != identity {
                continue;
            }
            if let Some(lane) = self.lanes.find(&self.entries, (slot, hash), &key)
                && !self.is_haunted(slot, hash, &key)
            {
                self.lanes[lane].haunted = false;
                self.go_on(lane);
            }
        }
    }
}
