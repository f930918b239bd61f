//! The thread that polls: it hands over records, answers the group, and mirrors the durable frontier.

use super::{
    Settings,
    client::{self, Context, Place},
    commits::Commits,
    fetch::{Message, Queue},
    looker::Looker,
    properties::no_client,
    reading::Handed,
    refused,
    slot::Slot,
};
use crate::{
    position::Position,
    record::PartitionName,
    source::{Event, Extent, Order, Ports, SourceError},
};
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::{
    collections::{BTreeMap, VecDeque},
    os::raw::c_void,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::mpsc::{
    Sender, UnboundedReceiver,
    error::{TryRecvError, TrySendError},
};

mod ending;
mod group;
mod look;
mod subscription;
mod tell;

/// How long a fetch waits for records when nothing else is to be done.
const WAIT: Duration = Duration::from_millis(5);

/// How long to sleep when the processor has no room for what is to be said.
const NAP: Duration = Duration::from_micros(500);

/// Bytes of one fetch, about: so much may wait for memory beyond its partition's bound.
const FETCH_BYTES: usize = 1 << 20;

/// Events of the client that are served in one turn. A poll does not say whether it served one.
const EVENTS_PER_TURN: usize = 8;

/// Reads until it is told to stop, or nobody listens any more.
pub(super) fn run(settings: Settings, ports: Ports) -> Result<(), SourceError> {
    let mut member = Member::join(settings, ports)?;
    let end = member.serve();
    member.leave();
    end
}

struct Member {
    settings: Settings,
    events: Sender<Event>,
    orders: UnboundedReceiver<Order>,
    looker: Looker,
    slots: Vec<Slot>,
    subscription: subscription::Subscription,
    /// How long topics keep records.
    retentions: BTreeMap<String, Option<Duration>>,
    /// What the channel had no room for.
    pending: VecDeque<Event>,
    /// A revocation waits for our answer: until then nothing is assigned.
    revoking: bool,
    /// When what can be read is assigned, though others may follow soon.
    assign_by: Option<Instant>,
    /// When to say how many partitions there are, if the group says nothing by then.
    announce_at: Option<Instant>,
    /// Number of the last commit to the group's offsets.
    commit: usize,
    /// Average bytes of a record, as of late.
    weight: usize,
    /// Whose turn it is to hand over.
    cursor: usize,
    mirrored_at: Instant,
    told_at: Instant,
    /// When it is asked next whether the topics that are read are still the same.
    topics_at: Instant,
    /// Errors of the client, each said once until another comes.
    complaint: Option<String>,
    queue: Queue,
    commits: Commits,
    consumer: Arc<BaseConsumer<Context>>,
}

impl Member {
    fn join(settings: Settings, ports: Ports) -> Result<Self, SourceError> {
        let no = |error: &dyn std::fmt::Display| {
            refused(format!(
                "source `{}`: Kafka's client does not start: {error}",
                settings.name
            ))
        };
        let context = client::context(&settings);
        let consumer: BaseConsumer<Context> = client::member(&settings)
            .create_with_context(context)
            .map_err(|error| no(&no_client(&error)))?;
        let consumer = Arc::new(consumer);
        let queue = Queue::new(&consumer).ok_or_else(|| no(&"it has no queue"))?;
        let commits = Commits::new(&consumer).ok_or_else(|| no(&"it has no queue"))?;
        let looker = Looker::start(&settings)?;
        let named = settings.extent.named();
        let now = Instant::now();
        let mut member = Self {
            events: ports.events,
            orders: ports.orders,
            looker,
            slots: Vec::new(),
            subscription: subscription::Subscription::new(&settings),
            retentions: BTreeMap::new(),
            pending: VecDeque::new(),
            revoking: false,
            assign_by: None,
            announce_at: None,
            commit: 0,
            weight: 1024,
            cursor: 0,
            mirrored_at: now,
            told_at: now,
            topics_at: now,
            complaint: None,
            queue,
            commits,
            consumer,
            settings,
        };
        match named {
            // Whoever named them has seen to it that no member of the group has them.
            Some(named) => {
                member.given(named.iter().filter_map(|name| place_of(name)).collect());
            }
            None => member.subscribe(),
        }
        Ok(member)
    }

    fn serve(&mut self) -> Result<(), SourceError> {
        let mut wait = Duration::ZERO;
        loop {
            loop {
                match self.orders.try_recv() {
                    Ok(Order::Stop) | Err(TryRecvError::Disconnected) => return Ok(()),
                    Ok(Order::Fenced(name, why)) if self.settings.extent != Extent::Everything => {
                        // It is of no group that could say who is to go on.
                        if let Some(slot) = self.slot(&name) {
                            slot.durable = None;
                        }
                        let whose = if self.settings.extent.is_apart() {
                            "another replay is under way".to_owned()
                        } else {
                            format!(
                                "a worker of group `{}`, another recovery or an operator's rewind is at it",
                                self.settings.group_id
                            )
                        };
                        return Err(refused(format!(
                            "`{name}`: {why}; {whose}, and this one ends"
                        )));
                    }
                    Ok(order) => self.obey(order),
                    Err(TryRecvError::Empty) => break,
                }
            }
            if self.events.is_closed() {
                return Ok(());
            }
            self.look_for_topics();
            self.poll()?;
            self.group()?;
            self.flow();
            // What came is handed over before more is fetched. Else what the processor has no room for adds
            // up here, until librdkafka is paused for it and throws away what it has fetched ahead.
            let mut worked = self.send_pending() && self.hand_over()?;
            if !self.pending.is_empty() {
                self.mirror();
                std::thread::sleep(NAP);
                continue;
            }
            self.fetch(if worked { Duration::ZERO } else { wait });
            worked |= self.hand_over()?;
            self.tell_behind();
            self.mirror();
            wait = if worked { Duration::ZERO } else { WAIT };
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Pause(partition) => {
                if let Some(reading) = self.slot(&partition).and_then(Slot::reading) {
                    reading.held = true;
                    // What the processor does next may depend on it: how far it is.
                    if let Some((records, _)) = reading.told {
                        self.pending.push_back(Event::Behind {
                            partition: partition.clone(),
                            records,
                        });
                    }
                    self.pending.push_back(Event::Paused { partition });
                }
            }
            Order::Resume(partition) => {
                if let Some(reading) = self.slot(&partition).and_then(Slot::reading) {
                    (reading.held, reading.wanted) = (false, None);
                }
            }
            Order::Committed(partition, position) => {
                let offset = position.offset();
                if let Some((slot, offset)) = self.slot(&partition).zip(offset) {
                    slot.durable = Some(offset + 1);
                }
            }
            Order::Fenced(partition, _) => self.fenced(&partition),
            Order::Stop => {}
        }
    }

    fn slot(&mut self, name: &PartitionName) -> Option<&mut Slot> {
        self.slots.iter_mut().find(|slot| slot.name == *name)
    }

    fn at(&mut self, place: &Place) -> Option<&mut Slot> {
        self.slots.iter_mut().find(|slot| slot.place == *place)
    }

    /// Serves the client: rebalances, answers to commits, errors.
    fn poll(&mut self) -> Result<(), SourceError> {
        for _ in 0..EVENTS_PER_TURN {
            match self.consumer.poll(Duration::ZERO) {
                None => {}
                Some(Ok(message)) => {
                    use rdkafka::Message as _;
                    // All partitions are forwarded to the queue before they are assigned. What came here
                    // all the same is read again, or it would be lost.
                    let place = (message.topic().to_owned(), message.partition());
                    drop(message);
                    tracing::warn!(source = %self.settings.name, "{}/{}: a record came by another way: it is fetched again", place.0, place.1);
                    if let Some(reading) = self.at(&place).and_then(Slot::reading) {
                        reading.forget();
                        reading.looked_for = Some("it came by another way".to_owned());
                    }
                    self.look_again(&place);
                }
                Some(Err(error)) => {
                    // The error of the end itself says no more than that it is one.
                    if let Some((code, _)) = self.consumer.client().fatal_error() {
                        return Err(ending::ended_by_the_group(&self.settings, code));
                    }
                    self.complain(&error.to_string());
                }
            }
        }
        Ok(())
    }

    fn complain(&mut self, said: &str) {
        if self.complaint.as_deref() != Some(said) {
            tracing::warn!(source = %self.settings.name, group = %self.settings.group_id, "{said}");
            self.complaint = Some(said.to_owned());
        }
    }

    /// Tells librdkafka which partitions to fetch no more of, or again. What waits for memory, in all of
    /// them, is at most as much as librdkafka's own queue.
    fn flow(&mut self) {
        let queue = usize::try_from(self.settings.queue_bytes).unwrap_or(usize::MAX);
        let share = queue / self.slots.len().max(1);
        for pause in [true, false] {
            let mut list = rdkafka::TopicPartitionList::new();
            for slot in self.slots.iter_mut().filter(|slot| slot.assigned) {
                let place = slot.place.clone();
                if let Some(reading) = slot.reading()
                    && reading.pause_wanted(share) == Some(pause)
                {
                    reading.paused = pause;
                    list.add_partition(&place.0, place.1);
                }
            }
            if list.count() == 0 {
                continue;
            }
            let told = if pause {
                self.consumer.pause(&list)
            } else {
                self.consumer.resume(&list)
            };
            if let Err(error) = told {
                self.complain(&error.to_string());
            }
        }
    }

    /// Sorts what has come to its partitions.
    fn fetch(&mut self, wait: Duration) {
        let max = (FETCH_BYTES / self.weight.max(1)).max(16);
        let (mut records, mut bytes) = (0, 0);
        // A run of records is mostly of one partition, and names are slow to compare.
        let mut known: Vec<((*const c_void, i32), Option<usize>)> = Vec::new();
        for message in self.queue.fetch(max, wait) {
            records += 1;
            bytes += message.bytes();
            let handle = message.handle();
            let found = known.iter().rfind(|(known, _)| *known == handle);
            let index = match found {
                Some((_, index)) => *index,
                None => {
                    let index = find(&self.slots, &message);
                    known.push((handle, index));
                    index
                }
            };
            // Of a partition that is being given up, it is the next owner's.
            let slot = index.map(|index| &mut self.slots[index]);
            if let Some(reading) = slot.filter(|slot| !slot.detached).and_then(Slot::reading) {
                reading.arrived(message);
            }
        }
        if let Some(average) = usize::checked_div(bytes, records) {
            self.weight = average.max(64);
        }
    }

    /// Hands over what there is memory for, a batch of each partition in turn; whether anything was.
    fn hand_over(&mut self) -> Result<bool, SourceError> {
        let mut worked = false;
        let count = self.slots.len();
        let mut rest = count;
        while rest > 0 {
            self.cursor = (self.cursor + 1) % count;
            rest -= 1;
            if self.turn(self.cursor)? {
                worked = true;
                rest = count;
            }
            if !self.send_pending() {
                break;
            }
        }
        Ok(worked)
    }

    fn turn(&mut self, index: usize) -> Result<bool, SourceError> {
        let order = self.settings.order;
        let slot = &mut self.slots[index];
        let (name, place) = (slot.name.clone(), slot.place.clone());
        let Some(reading) = slot.reading() else {
            return Ok(false);
        };
        let handed = reading.next(order);
        let is_through = reading.is_through;
        match handed {
            Handed::Nothing => return Ok(false),
            Handed::Records(records) => self.pending.push_back(Event::Records(records)),
            Handed::Passed(through) => self.pending.push_back(Event::PassedOver {
                partition: name,
                through: Position::Offset(through),
            }),
            Handed::End(passed) | Handed::Through(passed) => {
                // A broker that has just taken over may not know of the rest of the part yet.
                let records = reading.left();
                reading.told = Some((records, Instant::now()));
                if let Some(through) = passed {
                    self.pending.push_back(Event::PassedOver {
                        partition: name.clone(),
                        through: Position::Offset(through),
                    });
                }
                self.pending.push_back(Event::Behind {
                    partition: name,
                    records,
                });
                if is_through {
                    self.detach(&place);
                }
            }
            Handed::Starved(wants) => {
                if reading.wanted.replace(wants) != Some(wants) {
                    self.pending.push_back(Event::Starved {
                        partition: name,
                        wants,
                    });
                }
                return Ok(false);
            }
            Handed::FarBehind => self.detach(&place),
            Handed::OutOfRange(said) => {
                reading.looked_for = Some(said);
                self.look_again(&place);
            }
            Handed::Undecodable(said) => self.stand(&place, &said),
            Handed::Error(said) => self.complain(&format!("{name}: {said}")),
            Handed::NoKey(error) => return Err(refused(format!("`{name}`: {error}"))),
        }
        Ok(true)
    }

    /// Whether all is sent. A closed channel takes everything: the loop sees it.
    fn send_pending(&mut self) -> bool {
        while let Some(event) = self.pending.pop_front() {
            match self.events.try_send(event) {
                Ok(()) | Err(TrySendError::Closed(_)) => {}
                Err(TrySendError::Full(event)) => {
                    self.pending.push_front(event);
                    return false;
                }
            }
        }
        true
    }
}

fn find(slots: &[Slot], message: &Message) -> Option<usize> {
    let (topic, partition) = (message.topic(), message.partition());
    slots
        .iter()
        .position(|slot| slot.place.1 == partition && slot.place.0 == topic)
}

/// The place that a partition's name (`{topic}/{n}`) says.
fn place_of(name: &str) -> Option<Place> {
    let (topic, number) = name.rsplit_once('/')?;
    Some((topic.to_owned(), number.parse().ok()?))
}

/// Topics, each once.
fn topics<'a>(places: impl Iterator<Item = &'a Place>) -> Vec<String> {
    let unique: BTreeMap<&str, ()> = places.map(|(topic, _)| (topic.as_str(), ())).collect();
    unique.into_keys().map(str::to_owned).collect()
}
