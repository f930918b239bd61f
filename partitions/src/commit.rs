//! Commits: what one writes of a partition, and what its end means.

use crate::careful::Careful;
use crate::lane::Lanes;
use crate::partition::{Commit, Partition};
use crate::ticket::Kind;
use crate::window::{CHAIN, COMMITTING, Entries, Entry, FORGIVEN, NIL};
use crate::{Change, CommitEnd, Engine, Item, LaneId, PartitionId, Resume, Ticket, zoo::Bug};
use alloc::vec::Vec;

/// What a commit writes of a partition, computed as if the commit's tickets were settled.
pub struct Snapshot<'e, R: Item> {
    /// The settled prefix.
    pub resume: Resume<R::Position>,
    /// Highest settled position.
    pub settled_to: Option<R::Position>,
    /// First entry behind the settled prefix.
    head: u32,
    part: &'e Partition<R::Position>,
    entries: &'e Entries<R>,
    lanes: &'e Lanes<R::Position>,
}

/// How far a chain has run.
#[derive(Clone, Copy, Debug)]
pub struct Drained<'e, P> {
    /// Whose chain.
    pub lane: LaneId,
    /// Everything of the chain up to here is passed.
    pub through: &'e P,
    /// The chain's next record; `None`: it has none but those that this commit appends.
    pub head: Option<&'e P>,
    /// Records passed since the last durable commit.
    pub records: u64,
    /// Bytes passed since the last durable commit.
    pub bytes: u64,
}

impl<'e, R: Item> Snapshot<'e, R> {
    /// The open positions up to `settled_to`, ascending, restored ones included.
    pub fn open(&self) -> impl Iterator<Item = &'e R::Position> + '_ {
        let entries = self.entries;
        let mut at = self.head;
        core::iter::from_fn(move || {
            while at != NIL {
                let entry: &'e Entry<R> = &entries[at];
                at = entry.next;
                if self
                    .settled_to
                    .as_ref()
                    .is_none_or(|to| entry.position() > to)
                {
                    return None;
                }
                if !entry.is(COMMITTING) {
                    return Some(entry.position());
                }
            }
            None
        })
    }

    /// Attempts used up by open records (also behind `settled_to`), in no order. Those of restored
    /// positions whose records did not come yet are the shell's to keep.
    pub fn attempts(&self) -> impl Iterator<Item = (&'e R::Position, u32)> + '_ {
        let entries = self.entries;
        self.part
            .tried
            .iter()
            .map(move |&at| &entries[at])
            .filter(|entry| !entry.is(COMMITTING | FORGIVEN))
            .map(|entry| (entry.position(), entry.attempts))
    }

    /// Attempts used up by the next records of chains that run, in no order. A commit need not keep them
    /// where the one who runs the chain goes on with it.
    pub fn chain_attempts(&self) -> impl Iterator<Item = (&'e R::Position, u32)> + '_ {
        self.part.asides.iter().filter_map(|&at| {
            let mut next = self.lanes[at].chain()?.first;
            while next != NIL && self.entries[next].is(COMMITTING) {
                next = self.entries[next].lane_next;
            }
            let entry = (next != NIL).then(|| &self.entries[next])?;
            let has_failed = entry.attempts > 0 && !entry.is(FORGIVEN);
            has_failed.then(|| (entry.position(), entry.attempts))
        })
    }

    /// In careful mode: positions that are announced and not answered, and whether as alone, in no
    /// order.
    pub fn announced(&self) -> impl Iterator<Item = (&'e R::Position, bool)> + '_ {
        let careful = self.part.careful.as_deref();
        careful.into_iter().flat_map(Careful::announced)
    }

    /// In careful mode: attempts used up by suspects, ascending; also of those that are in a chain,
    /// or did not come yet. Where [`Snapshot::attempts`] knows more, it is right.
    pub fn suspects(&self) -> impl Iterator<Item = (&'e R::Position, u32)> + '_ {
        let careful = self.part.careful.as_deref();
        careful.into_iter().flat_map(Careful::attempts)
    }

    /// Chains whose records ran on since the last durable commit. What a change of its own takes out
    /// of a chain ([`Change::Skip`], [`Change::DeadLettered`]) is not repeated here.
    pub fn drained(&self) -> impl Iterator<Item = Drained<'e, R::Position>> + '_ {
        self.part
            .asides
            .iter()
            .filter_map(|&at| self.drained_of(at))
    }

    fn drained_of(&self, at: u32) -> Option<Drained<'e, R::Position>> {
        let chain = self.lanes[at].chain()?;
        let mut drained = chain.carried;
        let mut through = chain.through.as_ref();
        let mut next = chain.first;
        while next != NIL && self.entries[next].is(COMMITTING) {
            let entry = &self.entries[next];
            drained.records += 1;
            drained.bytes += entry.weight();
            through = Some(entry.position());
            next = entry.lane_next;
        }
        let head = if next == NIL {
            chain.next.as_ref()
        } else {
            Some(self.entries[next].position())
        };
        (drained.records > 0).then_some(Drained {
            lane: self.lanes.id(at),
            through: through?,
            head,
            records: drained.records,
            bytes: drained.bytes,
        })
    }
}

impl<R: Item> Engine<R> {
    /// The commit that a partition may have out: what it writes, with these changes settled.
    ///
    /// # Panics
    ///
    /// When the partition is not assigned or has a commit out.
    pub fn begin_commit(&mut self, partition: PartitionId, with: &[Ticket]) -> Snapshot<'_, R> {
        self.begin_commit_within(partition, with, usize::MAX)
    }

    /// As [`Engine::begin_commit`], with at most so many [`Snapshot::drained`] beside those of lanes that
    /// `with` changes: a store may take no more items at once. Chains that ran furthest come first, the
    /// others wait for a later commit, and what they passed counts as unflushed until then.
    ///
    /// # Panics
    ///
    /// When the partition is not assigned or has a commit out.
    pub fn begin_commit_within(
        &mut self,
        partition: PartitionId,
        with: &[Ticket],
        chains_max: usize,
    ) -> Snapshot<'_, R> {
        let slot = self.slot(partition);
        assert!(
            slot.is_some(),
            "a commit of a partition that is not assigned"
        );
        let slot = slot.unwrap_or_default();
        let part = &self.partitions[slot as usize];
        assert!(
            part.commit.is_none(),
            "a partition has one commit out at most"
        );
        let waiting = self.carry(slot, with, chains_max);
        let part = &self.partitions[slot as usize];
        let mut tickets = Vec::with_capacity(with.len());
        let mut settled_to = part.window.settled_to.clone();
        for &ticket in with {
            let Some(at) = self.tickets.find(ticket) else {
                continue;
            };
            let out = self.tickets.get_mut(at);
            let changes = matches!(out.kind, Kind::Persist(_));
            if !changes || out.partition != slot || out.committing {
                debug_assert!(false, "a commit carries each change of its partition once");
                continue;
            }
            out.committing = true;
            tickets.push(at);
            if let Some(last) = self.mark(at, true)
                && settled_to
                    .as_ref()
                    .is_none_or(|to| to < self.entries[last].position())
            {
                settled_to = Some(self.entries[last].position().clone());
            }
        }
        let retracts = self.is_retracting(partition);
        let part = &mut self.partitions[slot as usize];
        part.commit = Some(Commit {
            unflushed: part.unflushed.saturating_sub(waiting),
            tickets,
            retracts,
        });
        self.snapshot(slot, settled_to)
    }

    /// Has the commit carry how far chains have run; gives the records of those that wait.
    fn carry(&mut self, slot: u32, with: &[Ticket], chains_max: usize) -> u64 {
        let part = &self.partitions[slot as usize];
        let mut changed: Vec<u32> = { with.iter() }
            .filter_map(|&ticket| self.tickets.find(ticket))
            .map(|at| self.tickets.get(at).lane)
            .collect();
        changed.sort_unstable();
        let mut others: Vec<(u64, u32)> = Vec::new();
        for &at in &part.asides {
            let Some(chain) = self.lanes[at].chain_mut() else {
                continue;
            };
            if changed.binary_search(&at).is_ok() {
                chain.carried = chain.passed;
            } else if chain.passed.records > 0 {
                others.push((chain.passed.records, at));
            }
        }
        others.sort_unstable_by(|one, other| other.cmp(one));
        let mut waiting = 0;
        for (n, (records, at)) in others.into_iter().enumerate() {
            if n >= chains_max {
                waiting += records;
            } else if let Some(chain) = self.lanes[at].chain_mut() {
                chain.carried = chain.passed;
            }
        }
        waiting
    }

    fn snapshot(&self, slot: u32, settled_to: Option<R::Position>) -> Snapshot<'_, R> {
        let part = &self.partitions[slot as usize];
        let mut last = None;
        let mut head = part.window.head;
        while head != NIL && self.entries[head].is(COMMITTING) {
            last = Some(&self.entries[head]);
            head = self.entries[head].next;
        }
        let resume = match last {
            None => part.window.resume.clone(),
            Some(entry) => Resume::After(
                entry
                    .settled_after
                    .as_ref()
                    .unwrap_or(entry.position())
                    .clone(),
            ),
        };
        let (entries, lanes) = (&self.entries, &self.lanes);
        Snapshot {
            resume,
            settled_to,
            head,
            part,
            entries,
            lanes,
        }
    }

    /// Marks (or no longer) what a change of a commit that is out settles; the last such entry of
    /// the window.
    pub(crate) fn mark(&mut self, slot: u32, marked: bool) -> Option<u32> {
        let out = *self.tickets.get(slot);
        let (flag, count) = match out.kind {
            Kind::Persist(Change::Effects | Change::Append) => (COMMITTING, out.len),
            Kind::Persist(Change::Park) if self.is_in_window(out.first) => (COMMITTING, out.len),
            Kind::Persist(Change::Skip) if self.is_in_window(out.first) => (COMMITTING, 1),
            Kind::Persist(Change::Reopen) if out.first != NIL => (FORGIVEN, 1),
            Kind::Persist(Change::Stop) if self.has(Bug::CheckpointPastFailed) => (COMMITTING, 1),
            Kind::Persist(
                Change::Park
                | Change::Skip
                | Change::Reopen
                | Change::Stop
                | Change::Verdict
                | Change::DeadLettered
                | Change::Cut
                | Change::Live
                | Change::Announce,
            )
            | Kind::Free
            | Kind::Try
            | Kind::Quarantined
            | Kind::Publish
            | Kind::Ghost
            | Kind::FadingGhost => return None,
        };
        let mut at = out.first;
        let mut last = None;
        for _ in 0..count {
            let entry = &mut self.entries[at];
            entry.flags = if marked {
                entry.flags | flag
            } else {
                entry.flags & !flag
            };
            last = Some(at);
            at = entry.lane_next;
        }
        last.filter(|&last| flag == COMMITTING && self.is_in_window(last))
    }

    fn is_in_window(&self, at: u32) -> bool {
        at != NIL && !self.entries[at].is(CHAIN)
    }

    /// How the commit that is out ended.
    pub fn end_commit(&mut self, partition: PartitionId, end: CommitEnd<'_>) {
        let Some(slot) = self.slot(partition) else {
            return;
        };
        let Some(commit) = self.partitions[slot as usize].commit.take() else {
            debug_assert!(matches!(end, CommitEnd::Fenced), "no commit is out");
            if matches!(end, CommitEnd::Fenced) {
                self.revoke(partition);
            }
            return;
        };
        for &ticket in &commit.tickets {
            self.tickets.get_mut(ticket).committing = false;
            self.mark(ticket, false);
        }
        let part = &mut self.partitions[slot as usize];
        let mut roomier = Vec::new();
        for &at in &part.asides {
            if let Some(chain) = self.lanes[at].chain_mut() {
                let carried = core::mem::take(&mut chain.carried);
                if matches!(end, CommitEnd::Durable) {
                    chain.shrink(carried);
                    chain.passed.records -= carried.records;
                    chain.passed.bytes -= carried.bytes;
                    if carried.records > 0 {
                        roomier.push(at);
                    }
                }
            }
        }
        match end {
            CommitEnd::Durable => {
                part.unflushed -= commit.unflushed;
                // A full chain may take arrivals again.
                for at in roomier {
                    self.add_chore(at);
                }
                for ticket in commit.tickets {
                    self.durable(ticket);
                }
                if commit.retracts {
                    self.retracted(partition);
                }
            }
            CommitEnd::Refused(refused) => {
                for &(ticket, keep) in refused {
                    if let Some(ticket) = self.tickets.find(ticket) {
                        self.refused(ticket, keep);
                    }
                }
            }
            CommitEnd::NotWritten => {}
            CommitEnd::Fenced => self.revoke(partition),
        }
        if self.slot(partition).is_some() {
            self.join_ring(slot);
        }
    }
}
