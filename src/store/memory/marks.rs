//! Marks, done records and leases, in memory.

use super::{BoxFuture, Call, Contents, Item, Memory};
use crate::{
    position::Position,
    record::{LaneKey, PartitionName},
    store::{
        Commit, CommitError, Committed, ContentId, DecideError, LaneItem, Lease, Mark, MarkStore,
        RecordEffects, StoreError,
        rules::{self, Admission},
    },
};

/// A mark as it is stored: with the commit that wrote it.
#[derive(Clone, PartialEq, Debug)]
pub struct StoredMark {
    /// What it says.
    pub mark: Mark,
    /// [`Commit::number`].
    pub number: u64,
    /// [`Commit::content`].
    pub content: ContentId,
}

/// A mark's place: its partition, last position and invocation.
pub type MarkPlace = (PartitionName, Position, String);

pub(super) fn place(partition: &PartitionName, mark: &Mark) -> MarkPlace {
    (
        partition.clone(),
        mark.last.clone(),
        mark.invocation.clone(),
    )
}

impl Contents {
    /// Writes a commit with a mark, or nothing of it; the caller has looked at its size.
    pub(super) fn commit_mark(
        &mut self,
        commit: &Commit,
        mark: &Mark,
        now: i64,
    ) -> Result<Committed, CommitError> {
        let place = place(&commit.partition, mark);
        let found = self.marks.get(&place);
        let found = found.map(|found| (found.number, found.content));
        if rules::admit_mark(commit, found)? == Admission::Repeated {
            return Ok(Committed {
                repeated: true,
                ..Committed::default()
            });
        }
        let named = |record: &RecordEffects| {
            let partition = commit.partition_of(record).clone();
            (partition, mark.generation, record.position.clone())
        };
        let effects = commit.effects.iter().enumerate();
        let already: Vec<usize> = effects
            .filter(|(_, record)| self.done.contains(&named(record)))
            .map(|(index, _)| index)
            .collect();
        if !already.is_empty() {
            return Err(CommitError::AlreadyDone(already));
        }
        self.write_beside(commit)?;
        self.registry.insert(commit.partition.clone());
        if !commit.lanes.is_empty() {
            self.registry.insert(commit.lanes_at().clone());
        }
        let done = commit.effects.iter().map(named);
        self.done.extend(done);
        self.marks.retain(|(of, _, _), found| {
            of != &commit.partition || found.mark.expires > now || found.mark.last >= mark.first
        });
        let stored = StoredMark {
            mark: mark.clone(),
            number: commit.number,
            content: commit.content,
        };
        self.marks.insert(place, stored);
        Ok(Committed::default())
    }
}

impl MarkStore for Memory {
    fn marks<'a>(
        &'a self,
        partition: &'a PartitionName,
        first: &'a Position,
        last: &'a Position,
    ) -> BoxFuture<'a, Result<Vec<Mark>, StoreError>> {
        self.look(Call::Marks(partition), move |contents| {
            let of_partition = contents.marks.iter().filter(|(at, _)| at.0 == *partition);
            let marks = of_partition.map(|(_, found)| &found.mark);
            Ok(marks
                .filter(|mark| mark.overlaps(first, last))
                .cloned()
                .collect())
        })
    }

    fn unmark<'a>(
        &'a self,
        partition: &'a PartitionName,
        mark: &'a Mark,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        let weather = self.weather(&Call::Marks(partition));
        let place = place(partition, mark);
        let touched = (false, vec![Item::Mark(place.clone())]);
        let write = move |this: &Self| {
            this.within(|contents| contents.marks.remove(&place));
            Ok(())
        };
        Box::pin(self.write(weather, touched, write, |lost| Err(lost.into())))
    }

    fn done<'a>(
        &'a self,
        partition: &'a PartitionName,
        generation: u64,
        positions: &'a [Position],
    ) -> BoxFuture<'a, Result<Vec<Position>, StoreError>> {
        self.look(Call::Marks(partition), move |contents| {
            let is_done = |position: &&Position| {
                let name = (partition.clone(), generation, (*position).clone());
                contents.done.contains(&name)
            };
            Ok(positions.iter().filter(is_done).cloned().collect())
        })
    }

    fn lane_items<'a>(
        &'a self,
        partition: &'a PartitionName,
    ) -> BoxFuture<'a, Result<Vec<LaneItem>, StoreError>> {
        self.look(Call::Lanes(partition), move |contents| {
            contents.lane_items(partition)
        })
    }

    fn lease<'a>(
        &'a self,
        partition: &'a PartitionName,
        lane: &'a LaneKey,
        rev: u64,
        lease: &'a Lease,
        now: i64,
    ) -> BoxFuture<'a, Result<LaneItem, DecideError>> {
        let weather = self.weather(&Call::Take(partition, lane));
        let (partition, lane, lease) = (partition.clone(), lane.clone(), lease.clone());
        let touched = (false, vec![Item::Lane(partition.clone(), lane.clone())]);
        let write = move |this: &Self| {
            this.within(|contents| {
                let item = contents.standing(&partition, &lane)?;
                let item = rules::leased(&partition, item, rev, &lease, now)?;
                contents.lanes.insert((partition, lane), item.clone());
                Ok(item)
            })
        };
        Box::pin(self.write(weather, touched, write, |lost| Err(lost.into())))
    }
}
