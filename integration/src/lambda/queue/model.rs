//! A queue in memory, standard or FIFO, by the recorded rules (S5, S18, F1 to F7, F12).

use super::{Message, MessageQueue, Received, is_fifo};
use crate::lambda::{
    clock::Clock,
    event::{ACCOUNT, REGION, millis},
};
use md5::{Digest as _, Md5};
use serde_json::{Map, Value};
use std::{
    collections::HashMap,
    fmt, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};
use uuid::Uuid;

/// What SQS hides a message for unless it is told otherwise.
const VISIBILITY: Duration = Duration::from_secs(30);

/// For how long the same deduplication id is the same message.
const DEDUPLICATION: Duration = Duration::from_secs(300);

/// A queue in memory. A clone is the same queue.
#[derive(Clone)]
pub struct Queue {
    name: Arc<str>,
    clock: Clock,
    state: Arc<Mutex<State>>,
}

struct State {
    visibility: Duration,
    redrive: Option<(Queue, u32)>,
    deduplicates_per_group: bool,
    /// In order of their arrival.
    held: Vec<Held>,
    /// What was sent under which deduplication id, and when.
    seen: HashMap<String, (SystemTime, String)>,
    count: u64,
}

#[derive(Clone)]
struct Held {
    id: String,
    body: String,
    group: Option<String>,
    deduplication: Option<String>,
    number: u64,
    sent: SystemTime,
    first_receive: Option<SystemTime>,
    receives: u32,
    seen_from: SystemTime,
    handle: Option<String>,
}

/// Why a queue did not do what it was asked for, as SQS says it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused(pub String);

impl Queue {
    /// A standard queue on a clock of its own.
    pub fn standard(name: &str) -> Self {
        Self::with_clock(name, Clock::default())
    }

    /// A FIFO queue on a clock of its own; `.fifo` is added to its name.
    pub fn fifo(name: &str) -> Self {
        Self::with_clock(&format!("{name}.fifo"), Clock::default())
    }

    /// A queue on this clock: a FIFO one where its name ends with `.fifo`.
    pub fn with_clock(name: &str, clock: Clock) -> Self {
        Self {
            name: name.into(),
            clock,
            state: Arc::new(Mutex::new(State {
                visibility: VISIBILITY,
                redrive: None,
                deduplicates_per_group: false,
                held: Vec::new(),
                seen: HashMap::new(),
                count: 0,
            })),
        }
    }

    /// Hides a received message for so long: 30 s without this.
    pub fn hides_for(self, visibility: Duration) -> Self {
        self.state().visibility = visibility;
        self
    }

    /// Moves a message to this queue when it has been received so often and would be again
    /// (`maxReceiveCount`).
    pub fn redrives_to(self, dead_letters: &Self, receives_max: u32) -> Self {
        self.state().redrive = Some((dead_letters.clone(), receives_max));
        self
    }

    /// Takes a deduplication id for the same in one group alone (`DeduplicationScope=messageGroup`).
    pub fn deduplicates_per_group(self) -> Self {
        self.state().deduplicates_per_group = true;
        self
    }

    /// Sends a message to a standard queue; gives its id.
    ///
    /// # Errors
    /// When the queue is a FIFO queue.
    pub fn send(&self, body: &str) -> io::Result<String> {
        if is_fifo(&self.name) {
            return Err(io::Error::other(
                "MissingParameter: the request must contain the parameter MessageGroupId",
            ));
        }
        Ok(self.put(None, None, body))
    }

    /// Sends a message of a group; gives its id.
    pub fn send_to(&self, group: &str, body: &str) -> String {
        self.send_once(group, &Uuid::new_v4().to_string(), body)
    }

    /// The same with this deduplication id: one that is known already is not sent again, and its id is
    /// given.
    pub fn send_once(&self, group: &str, deduplication: &str, body: &str) -> String {
        self.put(Some(group), Some(deduplication), body)
    }

    fn put(&self, group: Option<&str>, deduplication: Option<&str>, body: &str) -> String {
        let now = self.clock.now();
        let mut state = self.state();
        let id = Uuid::new_v4().to_string();
        if let Some(deduplication) = deduplication {
            let scope = match group {
                Some(group) if state.deduplicates_per_group => format!("{group}/{deduplication}"),
                Some(_) | None => deduplication.to_owned(),
            };
            match state.seen.get(&scope) {
                Some((sent, known)) if now < *sent + DEDUPLICATION => return known.clone(),
                Some(_) | None => state.seen.insert(scope, (now, id.clone())),
            };
        }
        state.count += 1;
        let number = state.count;
        state.held.push(Held {
            id: id.clone(),
            body: body.to_owned(),
            group: group.map(str::to_owned),
            deduplication: deduplication.map(str::to_owned),
            number,
            sent: now,
            first_receive: None,
            receives: 0,
            seen_from: now,
            handle: None,
        });
        id
    }

    /// The texts of all messages that it holds, hidden or not, in order.
    pub fn bodies(&self) -> Vec<String> {
        let state = self.state();
        state.held.iter().map(|held| held.body.clone()).collect()
    }

    /// The ids of all messages that it holds, hidden or not, in order.
    pub fn ids(&self) -> Vec<String> {
        let state = self.state();
        state.held.iter().map(|held| held.id.clone()).collect()
    }

    /// Hides a message for so long from now on (`ChangeMessageVisibility`); zero shows it.
    ///
    /// # Errors
    /// When nobody holds that message under this handle any more.
    pub fn change_visibility(&self, handle: &str, visibility: Duration) -> Result<(), Refused> {
        let now = self.clock.now();
        let mut state = self.state();
        let held = state
            .held
            .iter_mut()
            .find(|held| held.is_out_as(handle, now));
        let held = held.ok_or_else(|| Refused("ReceiptHandleIsInvalid".to_owned()))?;
        held.seen_from = now + visibility;
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MessageQueue for Queue {
    fn arn(&self) -> String {
        format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{}", self.name)
    }

    fn clock(&self) -> &Clock {
        &self.clock
    }

    fn visibility(&self) -> Duration {
        self.state().visibility
    }

    fn receive(&self, messages_max: usize) -> io::Result<Received> {
        let now = self.clock.now();
        let mut state = self.state();
        let mut received = Received::default();
        loop {
            let places = state.receivable(now, is_fifo(&self.name), messages_max);
            let redriven = state.redrive(&places, now);
            // What comes behind them in their groups can be received instead (F12).
            if redriven.is_empty() {
                for place in places {
                    let hidden_until = now + state.visibility;
                    received
                        .messages
                        .push(state.held[place].give(now, hidden_until));
                }
                return Ok(received);
            }
            received.redriven.extend(redriven);
        }
    }

    fn delete(&self, message: &Message) -> io::Result<Result<(), Refused>> {
        let now = self.clock.now();
        let mut state = self.state();
        let Some(place) = state.held.iter().position(|held| held.id == message.id) else {
            // Deleting twice is no error.
            return Ok(Ok(()));
        };
        if is_fifo(&self.name) && !state.held[place].is_out_as(&message.handle, now) {
            return Ok(Err(Refused(
                "InvalidParameterValue: Value is invalid. Reason: The receipt handle has expired."
                    .to_owned(),
            )));
        }
        // Of a standard queue, an older handle deletes nothing, and nobody says so (S18).
        if state.held[place].handle.as_deref() == Some(message.handle.as_str()) {
            state.held.remove(place);
        }
        Ok(Ok(()))
    }

    fn next_seen(&self) -> io::Result<Option<SystemTime>> {
        let now = self.clock.now();
        let state = self.state();
        let hidden = state.held.iter().map(|held| held.seen_from);
        Ok(hidden.filter(|seen_from| *seen_from > now).min())
    }
}

impl State {
    /// The places of messages that may be received, in the order in which they are.
    fn receivable(&self, now: SystemTime, is_fifo: bool, messages_max: usize) -> Vec<usize> {
        let is_seen = |place: &usize| self.held[*place].seen_from <= now;
        if !is_fifo {
            let all = 0..self.held.len();
            return all.filter(is_seen).take(messages_max).collect();
        }
        // Of a group, what stands before its first hidden message (F2, F4); of groups, one after the other,
        // the one with the oldest message first (F1).
        let mut groups: Vec<(&Option<String>, Vec<usize>)> = Vec::new();
        for (place, held) in self.held.iter().enumerate() {
            match groups.iter_mut().find(|(group, _)| **group == held.group) {
                Some((_, places)) => places.push(place),
                None => groups.push((&held.group, vec![place])),
            }
        }
        let open = groups.into_iter().flat_map(|(_, places)| {
            let seen = places.iter().take_while(|place| is_seen(place)).count();
            places.into_iter().take(seen)
        });
        open.take(messages_max).collect()
    }

    /// Moves those of them that were received too often; the places hold no longer where some were.
    fn redrive(&mut self, places: &[usize], now: SystemTime) -> Vec<Message> {
        let Some((dead_letters, receives_max)) = self.redrive.clone() else {
            return Vec::new();
        };
        let is_over = |place: &&usize| self.held[**place].receives >= receives_max;
        let mut over: Vec<usize> = places.iter().filter(is_over).copied().collect();
        over.sort_unstable();
        let mut moved: Vec<Held> = Vec::new();
        for place in over.into_iter().rev() {
            moved.insert(0, self.held.remove(place));
        }
        let messages = moved.iter().map(|held| held.message("", now)).collect();
        let mut there = dead_letters.state();
        for mut held in moved {
            (held.seen_from, held.handle) = (now, None);
            there.held.push(held);
        }
        messages
    }
}

impl Held {
    /// Hands it out.
    fn give(&mut self, now: SystemTime, hidden_until: SystemTime) -> Message {
        self.receives += 1;
        self.first_receive.get_or_insert(now);
        self.seen_from = hidden_until;
        let handle = Uuid::new_v4().to_string();
        self.handle = Some(handle.clone());
        self.message(&handle, hidden_until)
    }

    /// Somebody holds it under this handle, and nobody else can have got it meanwhile.
    fn is_out_as(&self, handle: &str, now: SystemTime) -> bool {
        self.handle.as_deref() == Some(handle) && self.seen_from > now
    }

    fn message(&self, handle: &str, hidden_until: SystemTime) -> Message {
        let first_receive = self.first_receive.unwrap_or(self.sent);
        let mut attributes = Map::new();
        let mut tell = |name: &str, value: String| {
            attributes.insert(name.to_owned(), Value::String(value));
        };
        tell("ApproximateReceiveCount", self.receives.to_string());
        tell("SentTimestamp", millis(self.sent).to_string());
        tell("SenderId", "AIDAIENQZJOLO23YVJ4VO".to_owned());
        tell(
            "ApproximateFirstReceiveTimestamp",
            millis(first_receive).to_string(),
        );
        if let (Some(group), Some(deduplication)) = (&self.group, &self.deduplication) {
            tell("SequenceNumber", format!("{:020}", self.number));
            tell("MessageGroupId", group.clone());
            tell("MessageDeduplicationId", deduplication.clone());
        }
        let digest = Md5::digest(self.body.as_bytes());
        Message {
            id: self.id.clone(),
            handle: handle.to_owned(),
            body: self.body.clone(),
            md5_of_body: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
            group: self.group.clone(),
            attributes,
            receives: self.receives,
            hidden_until,
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests;
