//! What is out: tries, changes on their way into the store, publications.

use crate::id::{Id, next_generation};
use crate::{Change, Rest, Ticket, window::NIL, window::index};
use alloc::vec::Vec;
use core::num::NonZeroU32;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Free,
    /// With the handler.
    Try,
    /// Answered, but the remote may still be running it.
    Quarantined,
    Persist(Change),
    Publish,
    /// A try whose partition was revoked: it holds its slot, and its key in later assignments.
    Ghost,
    /// A ghost that is answered and in quarantine.
    FadingGhost,
}

#[derive(Clone, Copy)]
pub(crate) struct Out {
    pub(crate) generation: NonZeroU32,
    pub(crate) kind: Kind,
    pub(crate) partition: u32,
    /// Free: the next free slot.
    pub(crate) lane: u32,
    /// First lent entry, and how many along the lane. A skipped head that never came is named, but
    /// not lent.
    pub(crate) first: u32,
    pub(crate) len: u32,
    /// Records of the run behind those, and what becomes of the first of them.
    pub(crate) behind: u32,
    pub(crate) rest: Rest,
    /// The commit that is out carries it.
    pub(crate) committing: bool,
}

/// A slab of tickets, with a free list through `lane`.
pub(crate) struct Tickets {
    slots: Vec<Out>,
    free: u32,
}

impl Tickets {
    pub(crate) fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: NIL,
        }
    }

    #[inline]
    pub(crate) fn issue(
        &mut self,
        kind: Kind,
        (partition, lane): (u32, u32),
        (first, len): (u32, u32),
    ) -> Ticket {
        if self.free == NIL {
            self.grow();
        }
        let slot = self.free;
        let out = &mut self.slots[slot as usize];
        self.free = out.lane;
        out.kind = kind;
        out.partition = partition;
        out.lane = lane;
        out.first = first;
        out.len = len;
        out.behind = 0;
        out.rest = Rest::Nothing;
        out.committing = false;
        Ticket(Id::new(slot, out.generation))
    }

    /// A free slot more.
    #[cold]
    #[inline(never)]
    fn grow(&mut self) {
        self.free = index(self.slots.len());
        self.slots.push(Out {
            generation: NonZeroU32::MIN,
            kind: Kind::Free,
            partition: NIL,
            lane: NIL,
            first: NIL,
            len: 0,
            behind: 0,
            rest: Rest::Nothing,
            committing: false,
        });
    }

    /// The ticket's slot, unless it is stale.
    #[inline]
    pub(crate) fn find(&self, ticket: Ticket) -> Option<u32> {
        let slot = ticket.0.slot();
        self.slots
            .get(slot as usize)
            .is_some_and(|out| Id::new(slot, out.generation) == ticket.0 && out.kind != Kind::Free)
            .then_some(slot)
    }

    pub(crate) fn name(&self, slot: u32) -> Ticket {
        Ticket(Id::new(slot, self.get(slot).generation))
    }

    #[inline]
    pub(crate) fn get(&self, slot: u32) -> &Out {
        &self.slots[slot as usize]
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, slot: u32) -> &mut Out {
        &mut self.slots[slot as usize]
    }

    /// Frees the slot; what was out.
    pub(crate) fn end(&mut self, slot: u32) -> Out {
        let ended = *self.get(slot);
        self.free(slot);
        ended
    }

    #[inline]
    pub(crate) fn free(&mut self, slot: u32) {
        let out = &mut self.slots[slot as usize];
        out.kind = Kind::Free;
        out.generation = next_generation(out.generation);
        out.lane = core::mem::replace(&mut self.free, slot);
    }
}
