//! The records of a partition in position order, and the frontier that follows from them.
//!
//! Settled records leave at once. What they leave behind is one position on the open record before
//! them (`settled_after`), so the frontier needs no arithmetic on positions, and five million
//! records that are done behind a stuck one cost nothing.

use crate::{Item, Resume};
use alloc::{boxed::Box, vec::Vec};
use core::ops::{Index, IndexMut};

/// No entry, no lane, no ticket.
pub(crate) const NIL: u32 = u32::MAX;

/// Runs alone: it was in a run of which some record failed and nobody knows which.
pub(crate) const SINGLE: u8 = 1;
/// The commit that is out settles it.
pub(crate) const COMMITTING: u8 = 1 << 1;
/// The commit that is out forgets its attempts.
pub(crate) const FORGIVEN: u8 = 1 << 2;
/// It owns its bytes.
pub(crate) const DETACHED: u8 = 1 << 3;
/// It comes from a chain: it is in no window.
pub(crate) const CHAIN: u8 = 1 << 4;
/// A change settles it though its record never came.
pub(crate) const NAMED: u8 = 1 << 5;
/// It is durably announced, and may start.
pub(crate) const ANNOUNCED: u8 = 1 << 6;

pub(crate) enum Body<R: Item> {
    Record(R),
    /// A restored open position whose record did not come (yet); `None`: a free entry. Two variants
    /// would not fit around a record of 16 bytes, and cost each entry eight more.
    Absent(Option<Box<R::Position>>),
}

impl<R: Item> Body<R> {
    #[inline]
    fn position(&self) -> &R::Position {
        match self {
            Self::Record(record) => record.position(),
            Self::Absent(Some(position)) => position,
            Self::Absent(None) => unreachable!("a free entry is in no list"),
        }
    }
}

/// What its neighbours in the order look at stands together, and so does what its lane looks at.
#[repr(C)]
pub(crate) struct Entry<R: Item> {
    pub(crate) body: Body<R>,
    pub(crate) lane_next: u32,
    pub(crate) attempts: u32,
    pub(crate) lane: u32,
    pub(crate) flags: u8,
    pub(crate) prev: u32,
    pub(crate) next: u32,
    /// Last of what is settled from this record on, without a gap: its own position, until it is. It
    /// orders open records as their positions do, those of chains before all others.
    pub(crate) settled_after: Option<R::Position>,
}

impl<R: Item> Entry<R> {
    /// A free entry that never was a record.
    fn unused() -> Self {
        Self {
            body: Body::Absent(None),
            settled_after: None,
            prev: NIL,
            next: NIL,
            lane: NIL,
            lane_next: NIL,
            attempts: 0,
            flags: 0,
        }
    }

    #[inline]
    pub(crate) fn position(&self) -> &R::Position {
        self.body.position()
    }

    #[inline]
    pub(crate) fn record(&self) -> Option<&R> {
        match &self.body {
            Body::Record(record) => Some(record),
            Body::Absent(_) => None,
        }
    }

    pub(crate) fn weight(&self) -> u64 {
        self.record().map_or(0, |record| u64::from(record.weight()))
    }

    #[inline]
    pub(crate) fn is(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// All entries of all partitions, with a free list through `next`.
pub(crate) struct Entries<R: Item> {
    slots: Vec<Entry<R>>,
    free: u32,
}

impl<R: Item> Entries<R> {
    pub(crate) fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: NIL,
        }
    }

    /// A new entry, in no list.
    #[inline(always)]
    pub(crate) fn insert(&mut self, body: Body<R>) -> (u32, &mut Entry<R>) {
        if self.free == NIL {
            self.grow();
        }
        let at = self.free;
        let entry = &mut self.slots[at as usize];
        entry.body = body;
        self.free = core::mem::replace(&mut entry.next, NIL);
        (at, entry)
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self) {
        // Doubling would let the reserve cost as much as the records.
        if self.slots.len() == self.slots.capacity() {
            self.slots.reserve_exact(self.slots.len() / 8 + 64);
        }
        self.free = index(self.slots.len());
        self.slots.push(Entry::unused());
    }

    /// Frees the entry, which is again as an unused one is.
    #[inline(always)]
    pub(crate) fn remove(&mut self, at: u32) {
        let entry = &mut self.slots[at as usize];
        debug_assert!(
            !matches!(entry.body, Body::Absent(None)),
            "an entry is freed once"
        );
        entry.body = Body::Absent(None);
        entry.settled_after = None;
        entry.prev = NIL;
        entry.lane = NIL;
        entry.lane_next = NIL;
        entry.attempts = 0;
        entry.flags = 0;
        entry.next = self.free;
        self.free = at;
    }
}

impl<R: Item> Index<u32> for Entries<R> {
    type Output = Entry<R>;
    #[inline]
    fn index(&self, at: u32) -> &Entry<R> {
        &self.slots[at as usize]
    }
}

impl<R: Item> IndexMut<u32> for Entries<R> {
    #[inline]
    fn index_mut(&mut self, at: u32) -> &mut Entry<R> {
        &mut self.slots[at as usize]
    }
}

/// A slab's index. Slabs stay far below `NIL`: four billion records do not fit in memory.
pub(crate) fn index(at: usize) -> u32 {
    debug_assert!(at < NIL as usize, "a slab outgrew its index");
    at as u32
}

/// Where a pushed position belongs.
pub(crate) enum Place {
    Settled,
    Duplicate,
    NotInOrder,
    /// A restored open position: its entry.
    Restored(u32),
    New,
}

/// One partition's order list.
pub(crate) struct Window<P> {
    pub(crate) head: u32,
    tail: u32,
    /// First restored entry whose record may still come. What is linked before it came or is gone.
    expected: u32,
    pub(crate) resume: Resume<P>,
    pub(crate) settled_to: Option<P>,
    /// Highest position handed over or passed over, unless an entry's is higher.
    seen: Option<P>,
    /// Restored entries that the source passed by, ascending.
    pub(crate) gone: Vec<u32>,
    /// There are more of them than was told.
    pub(crate) gone_news: bool,
}

impl<P: Ord + Clone> Window<P> {
    pub(crate) fn new(resume: Resume<P>, settled_to: Option<P>) -> Self {
        Self {
            head: NIL,
            tail: NIL,
            expected: NIL,
            resume,
            settled_to,
            seen: None,
            gone: Vec::new(),
            gone_news: false,
        }
    }

    /// Takes up the open positions of a checkpoint; call once, on a new window.
    pub(crate) fn restore<R: Item<Position = P>>(
        &mut self,
        entries: &mut Entries<R>,
        open: &mut dyn Iterator<Item = P>,
    ) {
        for position in open {
            if self.covers(&position) || self.settled_to.as_ref().is_none_or(|to| *to < position) {
                continue;
            }
            let body = Body::Absent(Some(Box::new(position.clone())));
            self.append(entries, body, position, NIL);
        }
        self.expected = self.head;
        let Some(to) = self.settled_to.clone() else {
            return;
        };
        if self.tail == NIL {
            if !self.covers(&to) {
                self.resume = Resume::After(to);
            }
        } else if *entries[self.tail].position() < to {
            entries[self.tail].settled_after = Some(to);
        }
    }

    /// Whether the settled prefix holds this position.
    #[inline]
    fn covers(&self, position: &P) -> bool {
        match &self.resume {
            Resume::Beginning => false,
            Resume::At(at) => position < at,
            Resume::After(after) => position <= after,
        }
    }

    /// Puts a new entry behind all others.
    #[inline(always)]
    pub(crate) fn append<R: Item<Position = P>>(
        &mut self,
        entries: &mut Entries<R>,
        body: Body<R>,
        position: P,
        lane: u32,
    ) -> u32 {
        let (at, entry) = entries.insert(body);
        let before = core::mem::replace(&mut self.tail, at);
        entry.settled_after = Some(position);
        entry.prev = before;
        entry.lane = lane;
        if before == NIL {
            self.head = at;
        } else {
            entries[before].next = at;
        }
        at
    }

    /// The last entry that came or is gone.
    #[inline]
    fn last_come<R: Item<Position = P>>(&self, entries: &Entries<R>) -> u32 {
        if self.expected == NIL {
            self.tail
        } else {
            entries[self.expected].prev
        }
    }

    /// Whether the source was at or behind this position in this assignment.
    #[inline]
    pub(crate) fn passed_by<R: Item<Position = P>>(&self, entries: &Entries<R>, at: &P) -> bool {
        let last = self.last_come(entries);
        self.seen.as_ref().is_some_and(|seen| seen >= at)
            || last != NIL && entries[last].position() >= at
    }

    /// Whether nothing at or before this position can still come.
    pub(crate) fn reached<R: Item<Position = P>>(&self, entries: &Entries<R>, at: &P) -> bool {
        (self.expected == NIL || entries[self.expected].position() > at)
            && (self.covers(at)
                || self.settled_to.as_ref().is_some_and(|to| to >= at)
                || self.passed_by(entries, at))
    }

    /// Where a pushed position belongs; what it passes by is gone.
    #[inline(always)]
    pub(crate) fn place<R: Item<Position = P>>(
        &mut self,
        entries: &mut Entries<R>,
        position: &P,
    ) -> Place {
        // The main path: nothing restored is still to come, and behind the last entry all is settled
        // that came or was passed over. So one comparison says that the position is behind it all.
        if self.expected == NIL
            && self.tail != NIL
            && entries[self.tail].settled_after.as_ref() < Some(position)
        {
            Place::New
        } else {
            self.search(entries, position)
        }
    }

    #[inline(never)]
    fn search<R: Item<Position = P>>(&mut self, entries: &mut Entries<R>, position: &P) -> Place {
        if self.passed_by(entries, position) {
            return match self.find(entries, position) {
                Some(at) if entries[at].record().is_some() => Place::Duplicate,
                Some(_) | None => Place::NotInOrder,
            };
        }
        self.pass_by(entries, position);
        if self.expected != NIL && entries[self.expected].position() == position {
            let at = self.expected;
            self.expected = entries[at].next;
            return Place::Restored(at);
        }
        if self.covers(position) || self.settled_to.as_ref().is_some_and(|to| position <= to) {
            self.settled_through(entries, position.clone());
            return Place::Settled;
        }
        Place::New
    }

    /// Restored entries before this position can no longer come.
    fn pass_by<R: Item<Position = P>>(&mut self, entries: &Entries<R>, position: &P) {
        while self.expected != NIL && entries[self.expected].position() < position {
            self.lose_expected(entries);
        }
    }

    fn lose_expected<R: Item<Position = P>>(&mut self, entries: &Entries<R>) {
        self.gone.push(self.expected);
        self.gone_news = true;
        self.expected = entries[self.expected].next;
    }

    pub(crate) fn take_news_of_gone(&mut self) -> bool {
        core::mem::take(&mut self.gone_news)
    }

    /// Nothing up to and with `through` will come any more.
    pub(crate) fn passed_over<R: Item<Position = P>>(
        &mut self,
        entries: &mut Entries<R>,
        through: P,
    ) {
        if self.passed_by(entries, &through) {
            return;
        }
        self.pass_by(entries, &through);
        if self.expected != NIL && *entries[self.expected].position() == through {
            self.lose_expected(entries);
        }
        self.settled_through(entries, through);
    }

    /// What was not linked up to `through` counts as settled.
    pub(crate) fn settled_through<R: Item<Position = P>>(
        &mut self,
        entries: &mut Entries<R>,
        through: P,
    ) {
        self.seen = Some(through.clone());
        let last = self.last_come(entries);
        if last == NIL {
            if !self.covers(&through) {
                self.resume = Resume::After(through.clone());
            }
        } else {
            let entry = &mut entries[last];
            if *entry.position() < through
                && entry
                    .settled_after
                    .as_ref()
                    .is_none_or(|after| *after < through)
            {
                entry.settled_after = Some(through.clone());
            }
        }
        if self.settled_to.as_ref().is_none_or(|to| *to < through) {
            self.settled_to = Some(through);
        }
    }

    /// A position that no entry has is settled.
    pub(crate) fn settle_missing<R: Item<Position = P>>(
        &mut self,
        entries: &mut Entries<R>,
        position: P,
    ) {
        let before = self.before(entries, &position);
        if before != NIL {
            let after = &mut entries[before].settled_after;
            *after = after.take().max(Some(position.clone()));
        } else if !self.covers(&position) {
            self.resume = Resume::After(position.clone());
        }
        if self.settled_to.as_ref().is_none_or(|to| *to < position) {
            self.settled_to = Some(position);
        }
    }

    /// The last entry that came is settled: `seen` has to know it from now on.
    #[inline(never)]
    fn see<R: Item<Position = P>>(&mut self, entries: &Entries<R>, at: u32) {
        let position = entries[at].position();
        if self.seen.as_ref().is_none_or(|seen| seen < position) {
            self.seen = Some(position.clone());
        }
    }

    /// Takes an entry out as settled. It stays allocated, in no list.
    #[inline(always)]
    pub(crate) fn settle<R: Item<Position = P>>(&mut self, entries: &mut Entries<R>, at: u32) {
        let entry = &mut entries[at];
        let (prev, next) = (entry.prev, entry.next);
        if self.expected == at {
            self.expected = next;
        } else if self.expected == next {
            self.see(entries, at);
        }
        let entry = &mut entries[at];
        let through = match entry.settled_after.take() {
            Some(after) => after,
            None => entry.position().clone(),
        };
        // What is settled behind it raised this already.
        if self.settled_to.as_ref().is_none_or(|to| *to < through) {
            self.settled_to = Some(through.clone());
        }
        if prev == NIL {
            self.resume = Resume::After(through);
            self.head = next;
        } else {
            let before = &mut entries[prev];
            before.settled_after = Some(through);
            before.next = next;
        }
        if next == NIL {
            self.tail = prev;
        } else {
            entries[next].prev = prev;
        }
    }

    /// The entry at this position, from the end: what is asked for came lately.
    pub(crate) fn find<R: Item<Position = P>>(
        &self,
        entries: &Entries<R>,
        position: &P,
    ) -> Option<u32> {
        let at = self.before(entries, position);
        (at != NIL && entries[at].position() == position).then_some(at)
    }

    /// The last entry at or before this position.
    fn before<R: Item<Position = P>>(&self, entries: &Entries<R>, position: &P) -> u32 {
        let mut at = self.tail;
        while at != NIL && entries[at].position() > position {
            at = entries[at].prev;
        }
        at
    }

    /// The entries, in order.
    pub(crate) fn iter<'e, R: Item<Position = P>>(
        &self,
        entries: &'e Entries<R>,
    ) -> impl Iterator<Item = (u32, &'e Entry<R>)> + use<'e, P, R> {
        let mut at = self.head;
        core::iter::from_fn(move || {
            let here = at;
            (here != NIL).then(|| {
                at = entries[here].next;
                (here, &entries[here])
            })
        })
    }
}
