//! What the group gives and takes back.

use super::{Member, topics};
use crate::{
    position::Position,
    record::PartitionName,
    source::{
        Event, SourceError,
        kafka::{
            client::{Note, Place},
            commits::Told,
            looker::{Answer, Question},
            place::{Found, Known, place},
            reading::{Part, Reading},
            slot::{Asked, Slot, Stage},
        },
    },
};
use rdkafka::{Offset, TopicPartitionList, consumer::Consumer};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::oneshot::{self, error::TryRecvError};

/// How long after it was fenced, and after a refusal, the group is asked whether we are a member.
const CONFIRM_AFTER: Duration = Duration::from_secs(1);

/// How long after a revocation the group may have more for us. The new protocol (KIP-848) does not say so
/// when it has nothing.
pub(super) const SETTLED_AFTER: Duration = Duration::from_secs(10);

/// How long a partition that could be read waits for others that came with it. librdkafka asks a broker for
/// all it reads there by one fetch at a time, which waits at the broker once there is nothing more: what
/// is assigned meanwhile would be left out of it, `fetch.wait.max.ms` long.
const TOGETHER: Duration = Duration::from_millis(100);

/// What is said of a partition's retention.
fn retention(slot: &Slot, age: Option<Duration>) -> Event {
    Event::Retention {
        partition: slot.name.clone(),
        age,
    }
}

impl Member {
    /// Does what the group, the cluster and the processor have said.
    pub(super) fn group(&mut self) -> Result<(), SourceError> {
        let context = Arc::clone(self.consumer.context());
        for note in context.take() {
            match note {
                Note::Assigned(places) => self.given(places),
                Note::Revoked { partitions, lost } => self.taken_back(&partitions, lost),
                Note::Failed(said) => self.complain(&format!("the group is not answered: {said}")),
            }
        }
        while let Some(told) = self.commits.told(Duration::ZERO) {
            self.confirmed(&told);
        }
        while let Some(answer) = self.looker.answer()? {
            match answer {
                Answer::TopicIds { asked, mut ids } => {
                    for topic in asked {
                        self.is_still(&topic, ids.get(&topic).map(String::as_str))?;
                        self.announce(&topic, ids.remove(&topic).as_deref());
                    }
                }
                Answer::Retention(topic, age) => {
                    self.retentions.insert(topic.clone(), age);
                    for slot in &mut self.slots {
                        if slot.place.0 == topic && slot.reading().is_some() {
                            self.pending.push_back(retention(slot, age));
                        }
                    }
                }
                Answer::Topics(found) => self.topics_found(found),
                Answer::Place(place, found) => self.found(&place, &found)?,
                Answer::Again { place, bounds, id } => {
                    self.is_still(&place.0, id.as_deref())?;
                    self.found_again(&place, bounds)?;
                }
            }
        }
        self.claims_answered();
        self.looks_due();
        self.topics_due();
        self.confirm();
        // A member of the classic protocol that lost everything hears what it gets, when it is let in again.
        let hears = self.slots.is_empty() && !self.settings.is_of_new_protocol();
        if self.announce_at.is_some_and(|at| at <= Instant::now()) && !hears {
            self.announce_count();
        }
        self.leave_ended();
        self.assign();
        Ok(())
    }

    pub(super) fn given(&mut self, places: Vec<Place>) {
        self.slots.retain(|slot| !places.contains(&slot.place));
        let asked = topics(places.iter());
        let source = &self.settings.name;
        let new = places.into_iter().map(|place| Slot::new(source, place));
        self.slots.extend(new);
        self.announce_count();
        if !asked.is_empty() {
            self.looker.ask(Question::TopicIds(asked));
        }
    }

    /// Says how many partitions there are, when no more are on their way.
    pub(super) fn announce_count(&mut self) {
        self.announce_at = None;
        self.pending.push_back(Event::Announced {
            source: self.settings.name.as_str().into(),
            partitions: self.slots.len(),
        });
    }

    /// Lets the processor claim a topic's partitions.
    fn announce(&mut self, topic: &str, id: Option<&str>) {
        let wait = self.settings.new_partitions_wait && !self.settings.extent.is_apart();
        let siblings = wait.then(|| format!("{topic}/").into());
        for slot in &mut self.slots {
            if slot.place.0 != topic || !matches!(slot.stage, Stage::Naming) {
                continue;
            }
            let (start, claim) = oneshot::channel();
            slot.incarnation = id.map(str::to_owned);
            slot.stage = Stage::Claiming(claim);
            self.pending.push_back(Event::Assigned {
                partition: slot.name.clone(),
                incarnation: slot.incarnation.clone(),
                siblings: siblings.clone(),
                holder_is_dead: false,
                start,
            });
        }
    }

    fn claims_answered(&mut self) {
        for slot in &mut self.slots {
            let Stage::Claiming(claim) = &mut slot.stage else {
                continue;
            };
            slot.stage = match claim.try_recv() {
                Ok(Some(start)) => {
                    self.looker.ask(Question::Place(slot.place.clone()));
                    Stage::Placing(start)
                }
                Ok(None) | Err(TryRecvError::Closed) => Stage::Left,
                Err(TryRecvError::Empty) => continue,
            };
        }
    }

    /// The cluster has said where a partition begins and ends.
    fn found(&mut self, at: &Place, found: &Found) -> Result<(), SourceError> {
        let Some(index) = self.slots.iter().position(|slot| slot.place == *at) else {
            return Ok(());
        };
        let slot = &mut self.slots[index];
        if let Stage::Placing(start) = &slot.stage {
            let known = start.checkpoint.as_ref().map(|checkpoint| Known {
                checkpoint,
                is_rewound: start.assignment.generation > 0,
                incarnation: slot.incarnation.as_deref(),
            });
            let placed = place(&self.settings, &slot.name.to_string(), found, known)?;
            // Where to begin was chosen now, else: the group is told of it when it is durable.
            let is_durable = start.checkpoint.is_some() && placed.gap.is_none();
            self.pending.push_back(Event::Positioned {
                partition: slot.name.clone(),
                from: placed.from,
                gap: placed.gap,
                last: placed.last.map(Position::Offset),
            });
            slot.began = Some(placed.cursor.next());
            slot.durable = slot.began.filter(|_| is_durable);
            slot.mirrored = found.committed;
            let extent = &self.settings.extent;
            let part = Part {
                before: extent.before(&slot.name.partition),
                key: extent.key().map(<[u8]>::to_vec),
            };
            let reading = Reading::new(start.clone(), placed.cursor, part);
            slot.stage = Stage::Reading(Box::new(reading));
            match self.retentions.get(&at.0) {
                Some(age) => self.pending.push_back(retention(slot, *age)),
                None => {
                    // Known to be asked for; each of its partitions is told when it is.
                    self.retentions.insert(at.0.clone(), None);
                    self.looker.ask(Question::Retention(at.0.clone()));
                }
            }
        }
        Ok(())
    }

    /// Gives those to librdkafka that are to be read, each with its offset.
    fn assign(&mut self) {
        // Of a group that waits for an answer nothing may be changed but by that answer.
        if self.revoking || !self.is_time_to_assign() {
            return;
        }
        let mut list = TopicPartitionList::new();
        for slot in self.slots.iter_mut().filter(|slot| slot.can_be_assigned()) {
            let place = slot.place.clone();
            let Some(reading) = slot.reading() else {
                continue;
            };
            let next = i64::try_from(reading.cursor.next()).unwrap_or(i64::MAX);
            reading.paused = false;
            let added = list.add_partition_offset(&place.0, place.1, Offset::Offset(next));
            slot.assigned = added.is_ok() && self.queue.forward(&place.0, place.1);
        }
        if list.count() == 0 {
            return;
        }
        // librdkafka keeps a pause of ours beyond the assignment that it was made in.
        if let Err(error) = self.consumer.resume(&list) {
            self.complain(&format!("partitions are not resumed: {error}"));
        }
        if let Err(error) = self.consumer.incremental_assign(&list) {
            self.complain(&format!("partitions are not assigned: {error}"));
            for element in list.elements() {
                let place = (element.topic().to_owned(), element.partition());
                if let Some(slot) = self.at(&place) {
                    slot.assigned = false;
                }
            }
            return;
        }
        // An end of an earlier assignment, which librdkafka may have come to only now, took the queue away.
        for element in list.elements() {
            self.queue.forward(element.topic(), element.partition());
        }
    }

    /// Whether there is something to assign, and all that may soon be is there too or was waited for.
    fn is_time_to_assign(&mut self) -> bool {
        if !self.slots.iter().any(Slot::can_be_assigned) {
            self.assign_by = None;
            return false;
        }
        let now = Instant::now();
        let by = *self.assign_by.get_or_insert(now + TOGETHER);
        let is_time = now >= by || !self.slots.iter().any(Slot::is_on_its_way);
        if is_time {
            self.assign_by = None;
        }
        is_time
    }

    /// Lets librdkafka fetch a partition no more. While the group waits for an answer any change would be
    /// that answer: it is put off until then.
    pub(super) fn detach(&mut self, at: &Place) {
        let revoking = self.revoking;
        let Some(slot) = self.at(at).filter(|slot| slot.assigned) else {
            return;
        };
        slot.detached = revoking;
        slot.assigned = revoking;
        if !revoking {
            self.unassign(std::slice::from_ref(at));
        }
    }

    pub(super) fn unassign(&mut self, places: &[Place]) {
        let mut list = TopicPartitionList::new();
        for (topic, partition) in places {
            list.add_partition(topic, *partition);
        }
        if let Err(error) = self.consumer.incremental_unassign(&list) {
            self.complain(&format!("partitions are not given up: {error}"));
        }
    }

    /// The group wants partitions back: what runs of them is to end.
    fn taken_back(&mut self, places: &[Place], lost: bool) {
        self.revoking = true;
        for slot in &mut self.slots {
            if !places.contains(&slot.place) || slot.is_leaving() {
                continue;
            }
            slot.stage = if matches!(slot.stage, Stage::Naming) {
                Stage::Ended
            } else {
                let (done, ended) = oneshot::channel();
                self.pending.push_back(Event::Revoked {
                    partition: slot.name.clone(),
                    lost,
                    done,
                });
                Stage::Leaving(ended)
            };
        }
    }

    /// Answers the group once nothing runs any more of what it wants back.
    fn leave_ended(&mut self) {
        if !self.revoking {
            return;
        }
        let lost = self.consumer.assignment_lost();
        for slot in &mut self.slots {
            let Stage::Leaving(ended) = &mut slot.stage else {
                continue;
            };
            match ended.try_recv() {
                Ok(()) | Err(TryRecvError::Closed) => slot.stage = Stage::Ended,
                // The group did not wait: what runs may be another's already.
                Err(TryRecvError::Empty) if lost => {
                    let (done, _) = oneshot::channel();
                    self.pending.push_back(Event::Revoked {
                        partition: slot.name.clone(),
                        lost,
                        done,
                    });
                    slot.stage = Stage::Ended;
                }
                Err(TryRecvError::Empty) => return,
            }
        }
        if !lost {
            self.mirror_now();
        }
        let mut gone: Vec<Place> = Vec::new();
        for slot in &mut self.slots {
            if slot.assigned && (slot.is_leaving() || slot.detached) {
                (slot.assigned, slot.detached) = (false, false);
                gone.push(slot.place.clone());
            }
        }
        self.unassign(&gone);
        let leaving = self.slots.iter().filter(|slot| slot.is_leaving());
        let leaving = leaving.map(|slot| slot.place.clone()).collect();
        self.looker.ask(Question::Forget(leaving));
        self.slots.retain(|slot| !slot.is_leaving());
        self.revoking = false;
        // What the group took it gives out anew, perhaps to us: it says so, though it be nothing.
        self.announce_at = Some(Instant::now() + SETTLED_AFTER);
    }

    /// The store does not take our word for a partition any more.
    pub(super) fn fenced(&mut self, name: &PartitionName) {
        // Only what was taken up is fenced: of an earlier ownership, it says nothing of this one.
        let is_read = |slot: &&mut Slot| matches!(slot.stage, Stage::Reading(_));
        let Some(slot) = self.slot(name).filter(is_read) else {
            return;
        };
        slot.stage = Stage::Fenced { asked: None };
        let place = slot.place.clone();
        self.detach(&place);
    }

    /// Asks the group whether we are a member, by telling it the offset that it knows.
    fn confirm(&mut self) {
        let now = Instant::now();
        let commit = self.commit + 1;
        let mut list = TopicPartitionList::new();
        for slot in &mut self.slots {
            let Stage::Fenced { asked } = &mut slot.stage else {
                continue;
            };
            let due = asked.is_none_or(|asked| now >= asked.at + CONFIRM_AFTER);
            let offset = slot.durable.or(slot.began);
            let offset = offset.and_then(|offset| i64::try_from(offset).ok());
            if let Some(offset) = offset.filter(|_| due) {
                *asked = Some(Asked { at: now, commit });
                // A topic's name and a partition's number that the group gave us are sound.
                let _ =
                    list.add_partition_offset(&slot.place.0, slot.place.1, Offset::Offset(offset));
            }
        }
        self.tell_group(&list);
    }

    /// The group has answered a commit.
    pub(super) fn confirmed(&mut self, told: &Told) {
        for (place, error) in &told.refused {
            tracing::debug!(source = %self.settings.name, "the group's offset of {}/{} is not written: {error}", place.0, place.1);
            if let Some(slot) = self.at(place) {
                slot.mirrored = None;
            }
        }
        let mut again = Vec::new();
        for slot in &mut self.slots {
            // Taken before we asked, an offset says nothing of whether we are a member now.
            if told.taken.contains(&slot.place)
                && matches!(&slot.stage, Stage::Fenced { asked: Some(asked) } if told.number >= asked.commit)
            {
                slot.stage = Stage::Naming;
                again.push(slot.place.clone());
            }
        }
        if !again.is_empty() {
            self.looker.ask(Question::TopicIds(topics(again.iter())));
        }
    }
}
