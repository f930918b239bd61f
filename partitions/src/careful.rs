//! Careful mode: what kills its worker must not do so for ever.
//!
//! A worker that died again and again may have been killed by one of its records. Until that is ruled
//! out, each record is announced in a durable commit before it starts, by itself, and its answer takes
//! the announcement back. What is found announced at the next claim is a **suspect**: it starts only
//! while nothing else is in flight, announced as alone, so that a worker that dies then names it. Once
//! answered it is named no longer, and until that is durable nothing starts: else the next death would
//! be charged to it.

use crate::lane::Front;
use crate::ticket::Kind;
use crate::window::{ANNOUNCED, NIL};
use crate::{Action, Change, Engine, Item, LaneId, PartitionId};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};

/// Of a partition whose worker died more than once.
pub(crate) struct Careful<P> {
    /// Behind it nothing was there yet when the worker died; `None`: that is not known.
    through: Option<P>,
    /// Found announced and not answered since, with the attempts that they used up.
    suspects: BTreeMap<P, u32>,
    /// Announced and not answered, or about to be; `true`: alone.
    announced: BTreeMap<P, bool>,
}

impl<P: Ord> Careful<P> {
    pub(crate) fn applies(&self, position: &P) -> bool {
        self.through
            .as_ref()
            .is_none_or(|through| position <= through)
    }

    pub(crate) fn attempts_of(&self, position: &P) -> Option<u32> {
        self.suspects.get(position).copied()
    }

    /// What a commit names as announced, and whether as alone, in no order.
    pub(crate) fn announced(&self) -> impl Iterator<Item = (&P, bool)> {
        let suspects = self.suspects.keys();
        let waiting = suspects.filter(|position| !self.announced.contains_key(*position));
        let announced = self
            .announced
            .iter()
            .map(|(position, alone)| (position, *alone));
        waiting.map(|position| (position, false)).chain(announced)
    }

    /// Attempts that suspects used up, ascending.
    pub(crate) fn attempts(&self) -> impl Iterator<Item = (&P, u32)> {
        let used = self.suspects.iter().filter(|(_, attempts)| **attempts > 0);
        used.map(|(position, attempts)| (position, *attempts))
    }
}

/// Lanes of all careful partitions on their way to a start.
#[derive(Default)]
pub(crate) struct Caution {
    /// Whose next record is to be announced.
    waiting: VecDeque<LaneId>,
    /// Whose next record is a suspect.
    suspects: VecDeque<LaneId>,
    alone: Option<Alone>,
}

impl Caution {
    pub(crate) fn is_busy(&self) -> bool {
        self.alone.is_some() || !self.waiting.is_empty() || !self.suspects.is_empty()
    }
}

/// The one suspect whose turn it is: nothing else starts.
struct Alone {
    lane: LaneId,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Other tries are out.
    Clearing,
    /// Nothing is out, and its announcement is not durable.
    Announcing,
    /// It may start.
    Announced,
    /// Its try is out.
    Trying,
    /// It is answered, or has to wait, and this partition's store still names it.
    Retracting(PartitionId),
}

/// Whether a suspect has a say in what starts.
enum Solo {
    No,
    /// Nothing starts.
    Waits,
    /// This lane, of this partition.
    Starts(u32, u32),
}

impl<R: Item> Engine<R> {
    /// From now on records of the partition up to `through` (`None`: all) are announced before they
    /// start, and run one at a time in their lane; `suspects` (with the attempts that they used up,
    /// which count in place of those that [`Engine::push`] tells) run alone, and one with no attempt
    /// left fails for good without a try. Call it right after [`Engine::assign`].
    pub fn be_careful(
        &mut self,
        partition: PartitionId,
        through: Option<R::Position>,
        suspects: &mut dyn Iterator<Item = (R::Position, u32)>,
    ) {
        if let Some(slot) = self.slot(partition) {
            self.partitions[slot as usize].careful = Some(Box::new(Careful {
                through,
                suspects: suspects.collect(),
                announced: BTreeMap::new(),
            }));
        }
    }

    /// Careful mode is over: the worker runs long enough.
    pub fn relax(&mut self, partition: PartitionId) {
        if let Some(slot) = self.slot(partition) {
            self.partitions[slot as usize].careful = None;
        }
    }

    /// Whether the lane's next record may start as things stand; if not, it is seen to that it will.
    #[cold]
    pub(crate) fn may_start_carefully(&mut self, slot: u32, at: u32, first: u32) -> bool {
        let entry = &self.entries[first];
        let part = &mut self.partitions[slot as usize];
        let Some(careful) = &mut part.careful else {
            return true;
        };
        if entry.is(ANNOUNCED) || !careful.applies(entry.position()) {
            return true;
        }
        let suspect = careful.attempts_of(entry.position());
        if suspect.is_some() && entry.attempts >= self.limits.failure.attempts_max {
            careful.suspects.remove(entry.position());
            self.lanes[at].front = Front::Idle;
            self.fail(at);
            return false;
        }
        part.waiting += 1;
        self.lanes[at].front = Front::Cautious;
        let id = self.lanes.id(at);
        match suspect {
            Some(_) => self.caution.suspects.push_back(id),
            None => self.caution.waiting.push_back(id),
        }
        false
    }

    /// Announces what may be announced; whether there is anything new to do.
    pub(crate) fn announce_next(&mut self) -> bool {
        if self.caution.alone.is_none()
            && let Some(lane) = self.caution.suspects.pop_front()
        {
            let stage = Stage::Clearing;
            self.caution.alone = Some(Alone { lane, stage });
            return true;
        }
        while let Some(&id) = self.caution.waiting.front() {
            // As many as may run, and as many that are next: their commit overlaps with those.
            let most = self.limits.cap.saturating_mul(2) as usize;
            let careful = self
                .partitions
                .iter()
                .filter_map(|part| part.careful.as_ref());
            if careful.map(|one| one.announced.len()).sum::<usize>() >= most {
                return false;
            }
            self.caution.waiting.pop_front();
            if let Some(at) = self.cautious(id) {
                self.announce(at, false);
                return true;
            }
        }
        false
    }

    /// The lane, where it still waits for its announcement.
    fn cautious(&self, id: LaneId) -> Option<u32> {
        let at = self.lanes.find_id(id)?;
        (self.lanes[at].front == Front::Cautious).then_some(at)
    }

    fn announce(&mut self, at: u32, alone: bool) {
        let first = self.front_of(at);
        let part = &mut self.partitions[self.lanes[at].partition as usize];
        part.waiting -= 1;
        self.lanes[at].front = Front::Idle;
        // Nothing of a partition that is given up will start; and the worker may run long enough now.
        if part.draining {
            return;
        }
        let Some(careful) = &mut part.careful else {
            return self.go_on(at);
        };
        let position = self.entries[first].position().clone();
        careful.announced.insert(position, alone);
        self.want(at, Change::Announce);
    }

    /// The announcement of the lane's next record is durable.
    pub(crate) fn announced(&mut self, at: u32, first: u32) {
        self.entries[first].flags |= ANNOUNCED;
        self.lanes[at].front = Front::Idle;
        let id = self.lanes.id(at);
        match &mut self.caution.alone {
            Some(alone) if alone.lane == id => {
                alone.stage = Stage::Announced;
                self.lanes[at].front = Front::Cautious;
                self.part_of(at).waiting += 1;
            }
            Some(_) | None => self.make_ready(at),
        }
        self.add_chore(at);
    }

    /// The record will not start though it was announced, or its try was answered.
    #[cold]
    pub(crate) fn unannounce(&mut self, at: u32, first: u32, answered: bool) {
        let id = self.lanes.id(at);
        let slot = self.lanes[at].partition;
        let partition = self.partitions[slot as usize].id(slot);
        if let Some(alone) = &mut self.caution.alone
            && alone.lane == id
            && matches!(alone.stage, Stage::Announced | Stage::Trying)
        {
            alone.stage = Stage::Retracting(partition);
        }
        let entry = &mut self.entries[first];
        entry.flags &= !ANNOUNCED;
        let part = &mut self.partitions[slot as usize];
        let Some(careful) = &mut part.careful else {
            return;
        };
        careful.announced.remove(entry.position());
        if answered {
            careful.suspects.remove(entry.position());
        }
    }

    /// Whether a commit of the partition is due though it may carry no change: the store names a record
    /// as alone that is so no longer, and nothing starts until that is durable.
    pub fn is_retracting(&self, partition: PartitionId) -> bool {
        let alone = self.caution.alone.as_ref();
        alone.is_some_and(|alone| alone.stage == Stage::Retracting(partition))
    }

    /// The store names nothing of the partition as alone, or the partition is gone.
    pub(crate) fn retracted(&mut self, partition: PartitionId) {
        if self.is_retracting(partition) {
            self.caution.alone = None;
        }
    }

    /// Whether what shuts the lane is nothing but the announcement of its next record.
    pub(crate) fn is_announcing(&self, at: u32) -> bool {
        let lane = &self.lanes[at];
        let wanted = lane.aside.as_ref().and_then(|aside| aside.wanted);
        wanted == Some(Change::Announce)
            || lane.persist != NIL
                && self.tickets.get(lane.persist).kind == Kind::Persist(Change::Announce)
    }

    /// A suspect's lane that is forgotten keeps nobody from starting.
    pub(crate) fn forget_suspect(&mut self, at: u32) {
        let id = self.lanes.id(at);
        if self
            .caution
            .alone
            .as_ref()
            .is_some_and(|alone| alone.lane == id)
        {
            self.caution.alone = None;
        }
    }

    /// What a suspect lets start; `Err`: whatever else is next.
    pub(crate) fn start_alone(&mut self) -> Result<Option<Action>, ()> {
        match self.solo() {
            Solo::No => Err(()),
            Solo::Waits => Ok(None),
            Solo::Starts(slot, at) => {
                self.part_of(at).waiting -= 1;
                self.lanes[at].front = Front::Idle;
                let start = self.start(slot, at);
                if let Some(alone) = &mut self.caution.alone
                    && start.is_some()
                {
                    alone.stage = Stage::Trying;
                }
                Ok(start)
            }
        }
    }

    fn solo(&mut self) -> Solo {
        let Some(&Alone { lane, stage }) = self.caution.alone.as_ref() else {
            return Solo::No;
        };
        let at = match stage {
            Stage::Announcing | Stage::Trying | Stage::Retracting(_) => return Solo::Waits,
            Stage::Clearing | Stage::Announced => self.cautious(lane),
        };
        let Some(at) = at else {
            self.caution.alone = None;
            return Solo::No;
        };
        let slot = self.lanes[at].partition;
        if !self.partitions[slot as usize].may_start(&self.limits) {
            // It cannot have its turn now, and keeps nobody else from theirs.
            if stage == Stage::Clearing {
                return Solo::No;
            }
            self.unannounce(at, self.front_of(at), false);
            self.caution.suspects.push_back(lane);
            return Solo::Waits;
        }
        if self.in_flight > 0 {
            return Solo::Waits;
        }
        if stage == Stage::Announced {
            return Solo::Starts(slot, at);
        }
        self.announce(at, true);
        match &mut self.caution.alone {
            Some(alone) if self.lanes[at].front == Front::Shut => {
                alone.stage = Stage::Announcing;
                Solo::Waits
            }
            Some(_) | None => {
                self.caution.alone = None;
                Solo::No
            }
        }
    }
}
