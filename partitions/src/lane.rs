//! Lanes: one slab over all partitions. What only failed, held or parked lanes need is set aside.

use crate::id::{Id, next_generation};
use crate::window::{Entries, NIL, index};
use crate::{Change, Decision, Item, LaneId, Time, keys::Keys};
use alloc::{boxed::Box, vec::Vec};
use core::num::NonZeroU32;
use core::ops::{Index, IndexMut};

/// What the lane's next step waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Front {
    /// Nothing: there is none, or it may not be taken.
    Idle,
    /// Its turn.
    Ready,
    /// Its turn to be announced or to run alone, see `careful`.
    Cautious,
    /// The handler.
    Trying,
    /// The end of a try that may still be running.
    Quarantined,
    /// The end of a backoff.
    Waiting,
    /// What lies between it and its chain to come: it failed for good, and has its place only then.
    Displaced,
    /// The store to be asked again for a place in front of its chain: it failed for good.
    Failed,
    /// A change to be durable.
    Shut,
    /// The dead-letter target.
    Publishing,
    /// The end of a publication's backoff.
    Republishing,
}

/// What the store holds of the lane (or will once the change is durable that shuts it).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    /// Nothing.
    Live,
    /// A head that failed for good, or is to be published.
    Stopped,
    /// A chain that stands.
    Parked,
    /// A chain that runs and takes arrivals.
    Releasing,
    /// A chain that runs and ends at its cut.
    Draining,
}

/// What is looked at for each record stands first, and so most often in one cache line.
#[repr(C)]
pub(crate) struct Lane<P> {
    pub(crate) aside: Option<Box<Aside<P>>>,
    pub(crate) partition: u32,
    /// Its open records outside of the chain, in order.
    pub(crate) head: u32,
    /// Of a free slot: the next one.
    pub(crate) tail: u32,
    pub(crate) front: Front,
    pub(crate) standing: Standing,
    /// An earlier assignment's try of this key may still run.
    pub(crate) haunted: bool,
    /// The try or publication that is out.
    pub(crate) ticket: u32,
    pub(crate) hash: u32,
    pub(crate) generation: NonZeroU32,
    /// The change that is out: at most one.
    pub(crate) persist: u32,
}

/// What a lane needs only off the main path. While it has this, the lane is kept without records.
pub(crate) struct Aside<P> {
    pub(crate) key: Box<[u8]>,
    /// End of the wait or quarantine.
    pub(crate) until: Time,
    /// It waits for what another process may still be at, or has said: no probe takes it earlier.
    pub(crate) rests: bool,
    /// Failures in a row by the target's fault.
    pub(crate) target_failures: u8,
    /// Failures of the head's publication by its own fault.
    pub(crate) publish_failures: u32,
    /// What the front waits to offer while another change is out.
    pub(crate) wanted: Option<Change>,
    /// Failed tries of a stopped head by other processes, since the decision to try it again.
    pub(crate) tried_since: u32,
    /// A decision that is taken and not yet acted on.
    pub(crate) decided: Option<Decision>,
    /// Stopped: the head. Records before it run.
    pub(crate) head_at: Option<P>,
    /// The head is to be published; that is durable.
    pub(crate) verdict: bool,
    /// Its head holds back the partition.
    pub(crate) bars: bool,
    /// It is queued to be looked at.
    pub(crate) chore: bool,
    pub(crate) chain: Option<Chain<P>>,
    /// First and last position of a restored chain, until the source is past them: handed over
    /// again, they are in the chain or went through it.
    pub(crate) chained: Option<(P, P)>,
}

/// A lane's chain in the store, and what is loaded of it.
pub(crate) struct Chain<P> {
    /// Its first record when it became a chain here: the lane's records before it run before it.
    pub(crate) from: P,
    /// In the store, passed ones included until that is durable.
    pub(crate) count: u64,
    pub(crate) bytes: u64,
    /// Loaded and not passed: a list through `lane_next`.
    pub(crate) first: u32,
    pub(crate) last: u32,
    pub(crate) loaded: u64,
    pub(crate) loaded_to: Option<P>,
    /// The first that is not loaded, where that is known: it joined when all before it were.
    pub(crate) next: Option<P>,
    pub(crate) load: Load,
    /// Passed and not durably so.
    pub(crate) passed: Progress,
    /// The part of it that the commit carries that is out.
    pub(crate) carried: Progress,
    pub(crate) through: Option<P>,
    /// The cut is out: arrivals wait.
    pub(crate) cutting: bool,
    /// The store refused an arrival: nothing more can join.
    pub(crate) refused: bool,
}

#[derive(Clone, Copy, Default)]
pub(crate) struct Progress {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
}

/// Whether a load is out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Load {
    None,
    /// None is, for want of memory: the lane is in its partition's queue for that.
    Wanted,
    Out,
    /// Arrivals joined meanwhile: its end is not the chain's.
    Raced,
    /// The chain was given up meanwhile: what comes is not wanted.
    Void,
}

impl<P> Chain<P> {
    pub(crate) fn new(from: P, count: u64, bytes: u64) -> Self {
        Self {
            from,
            count,
            bytes,
            first: NIL,
            last: NIL,
            loaded: 0,
            loaded_to: None,
            next: None,
            load: Load::None,
            passed: Progress::default(),
            carried: Progress::default(),
            through: None,
            cutting: false,
            refused: false,
        }
    }

    /// Records that have yet to run.
    pub(crate) fn remaining(&self) -> u64 {
        self.count.saturating_sub(self.passed.records)
    }

    pub(crate) fn has_more(&self) -> bool {
        self.remaining() > self.loaded
    }

    /// The last loaded record may not run yet: nobody could say what the chain's head is after it.
    pub(crate) fn ends_in_the_dark(&self) -> bool {
        self.has_more() && self.next.is_none()
    }

    /// Durably out of the chain.
    pub(crate) fn shrink(&mut self, by: Progress) {
        self.count = self.count.saturating_sub(by.records);
        self.bytes = self.bytes.saturating_sub(by.bytes);
    }
}

impl<P> Aside<P> {
    pub(crate) fn new(key: &[u8]) -> Self {
        Self {
            key: key.into(),
            until: Time::default(),
            rests: false,
            target_failures: 0,
            publish_failures: 0,
            wanted: None,
            tried_since: 0,
            decided: None,
            head_at: None,
            verdict: false,
            bars: false,
            chore: false,
            chain: None,
            chained: None,
        }
    }
}

impl<P> Lane<P> {
    /// A free slot that never was a lane.
    fn unused() -> Self {
        Self {
            generation: NonZeroU32::MIN,
            partition: NIL,
            hash: 0,
            head: NIL,
            tail: NIL,
            ticket: NIL,
            persist: NIL,
            front: Front::Idle,
            standing: Standing::Live,
            haunted: false,
            aside: None,
        }
    }

    /// A lane has a record or something set aside: either knows the key.
    #[inline]
    pub(crate) fn key<'e, R: Item<Position = P>>(
        &'e self,
        entries: &'e Entries<R>,
    ) -> Option<&'e [u8]> {
        match &self.aside {
            Some(aside) => Some(&aside.key),
            None if self.head == NIL => None,
            // The last, and not the first: who looks for a lane most likely appends to it.
            None => entries[self.tail].record().map(Item::key),
        }
    }

    #[inline(always)]
    fn is_of<R: Item<Position = P>>(
        &self,
        entries: &Entries<R>,
        (partition, hash): (u32, u32),
        key: &[u8],
    ) -> bool {
        self.hash == hash && self.partition == partition && self.key(entries) == Some(key)
    }

    /// Puts an entry behind the lane's last.
    #[inline]
    pub(crate) fn append<R: Item<Position = P>>(&mut self, entries: &mut Entries<R>, entry: u32) {
        let tail = core::mem::replace(&mut self.tail, entry);
        if self.head == NIL {
            self.head = entry;
        } else {
            entries[tail].lane_next = entry;
        }
    }

    #[inline]
    pub(crate) fn chain(&self) -> Option<&Chain<P>> {
        self.aside.as_ref()?.chain.as_ref()
    }

    pub(crate) fn chain_mut(&mut self) -> Option<&mut Chain<P>> {
        self.aside.as_mut()?.chain.as_mut()
    }

    /// Whether the store has a chain of it.
    pub(crate) fn is_chained(&self) -> bool {
        match self.standing {
            Standing::Live | Standing::Stopped => false,
            Standing::Parked | Standing::Releasing | Standing::Draining => true,
        }
    }
}

/// A slab of lanes, with a free list through `tail`.
pub(crate) struct Lanes<P> {
    slots: Vec<Lane<P>>,
    free: u32,
    keys: Keys,
}

impl<P> Lanes<P> {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            slots: Vec::new(),
            free: NIL,
            keys: Keys::new(seed),
        }
    }

    #[inline]
    pub(crate) fn hash(&self, identity: u64, key: &[u8]) -> u32 {
        self.keys.hash(identity, key)
    }

    /// The lane of a key.
    pub(crate) fn find<R: Item<Position = P>>(
        &self,
        entries: &Entries<R>,
        (partition, hash): (u32, u32),
        key: &[u8],
    ) -> Option<u32> {
        self.keys
            .find(hash, |at| self[at].is_of(entries, (partition, hash), key))
    }

    /// The lane of the key of a record that comes. As [`Self::find`], which is used all over: this
    /// search is one with the code around it.
    #[inline(always)]
    pub(crate) fn find_for_record<R: Item<Position = P>>(
        &self,
        entries: &Entries<R>,
        (partition, hash): (u32, u32),
        record: &R,
    ) -> Option<u32> {
        self.keys.find(hash, |at| {
            self[at].is_of(entries, (partition, hash), record.key())
        })
    }

    /// A lane of a key that has none.
    #[inline]
    pub(crate) fn insert(&mut self, partition: u32, hash: u32) -> u32 {
        if self.free == NIL {
            self.grow();
        }
        let at = self.free;
        let lane = &mut self.slots[at as usize];
        self.free = lane.tail;
        lane.partition = partition;
        lane.hash = hash;
        let slots = &self.slots;
        self.keys.insert(hash, at, |lane| slots[lane as usize].hash);
        at
    }

    /// A free slot more, and room for it in the table of keys.
    #[cold]
    #[inline(never)]
    fn grow(&mut self) {
        self.free = index(self.slots.len());
        self.slots.push(Lane::unused());
    }

    /// Frees the slot, which is again as an unused one is, but for its generation.
    #[inline]
    pub(crate) fn remove(&mut self, at: u32) {
        let lane = &mut self.slots[at as usize];
        debug_assert!(lane.partition != NIL, "a lane is freed once");
        lane.generation = next_generation(lane.generation);
        lane.partition = NIL;
        lane.head = NIL;
        lane.ticket = NIL;
        lane.persist = NIL;
        lane.front = Front::Idle;
        lane.standing = Standing::Live;
        lane.haunted = false;
        lane.aside = None;
        lane.tail = self.free;
        self.free = at;
        self.keys.remove(lane.hash, at);
    }

    pub(crate) fn id(&self, at: u32) -> LaneId {
        LaneId(Id::new(at, self[at].generation))
    }

    pub(crate) fn find_id(&self, id: LaneId) -> Option<u32> {
        let at = id.0.slot();
        self.slots
            .get(at as usize)
            .is_some_and(|lane| Id::new(at, lane.generation) == id.0 && lane.partition != NIL)
            .then_some(at)
    }
}

impl<P: Ord> Lanes<P> {
    /// Puts an entry where its position belongs in the lane.
    pub(crate) fn join<R: Item<Position = P>>(
        &mut self,
        entries: &mut Entries<R>,
        lane: u32,
        entry: u32,
    ) {
        let (mut before, mut next) = (NIL, self[lane].head);
        while next != NIL && entries[next].position() < entries[entry].position() {
            (before, next) = (next, entries[next].lane_next);
        }
        entries[entry].lane = lane;
        if next == NIL {
            return self[lane].append(entries, entry);
        }
        entries[entry].lane_next = next;
        if before == NIL {
            self[lane].head = entry;
        } else {
            entries[before].lane_next = entry;
        }
    }
}

impl<P> Index<u32> for Lanes<P> {
    type Output = Lane<P>;
    #[inline]
    fn index(&self, at: u32) -> &Lane<P> {
        &self.slots[at as usize]
    }
}

impl<P> IndexMut<u32> for Lanes<P> {
    #[inline]
    fn index_mut(&mut self, at: u32) -> &mut Lane<P> {
        &mut self.slots[at as usize]
    }
}
