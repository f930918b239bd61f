//! The mapping of a queue (facts S1 to S9, F14 to F20).

use super::{
    Running,
    drive::{Job, Next, Plan},
};
use crate::lambda::{
    answer::{Ruling, rule_by_id},
    event,
    function::{Function, Outcome},
    journal::{Item, Journal, Loss, Verdict, Why},
    queue::{Message, MessageQueue, Received, is_fifo},
};
use std::{
    collections::HashMap,
    io,
    time::{Duration, SystemTime},
};

/// With how many batches at a time a mapping of a standard queue begins (S10). It stays with that here.
const CONCURRENCY: usize = 5;

/// When a batch that was throttled is tried again. What Lambda does is not known.
const THROTTLE_WAIT: Duration = Duration::from_secs(1);

/// A mapping from a queue that is being set up.
pub struct QueueMapping {
    function: Function,
    queue: Box<dyn MessageQueue>,
    batch_size: usize,
    window: Duration,
    concurrency: Option<usize>,
    reports_failures: bool,
    deliveries_max: Option<usize>,
}

impl QueueMapping {
    pub(super) fn new(function: Function, queue: Box<dyn MessageQueue>) -> Self {
        Self {
            function,
            queue,
            batch_size: 10,
            window: Duration::ZERO,
            concurrency: None,
            reports_failures: false,
            deliveries_max: None,
        }
    }

    /// `BatchSize`, 1 to 10,000, of a FIFO queue to 10: 10 without this.
    pub fn batch_size(mut self, messages: usize) -> Self {
        self.batch_size = messages;
        self
    }

    /// `MaximumBatchingWindowInSeconds`, up to 300 s: none without this, and none on a FIFO queue.
    pub fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// `MaximumConcurrency`, 2 to 1,000.
    pub fn concurrency(mut self, invocations: usize) -> Self {
        self.concurrency = Some(invocations);
        self
    }

    /// `FunctionResponseTypes` names `ReportBatchItemFailures`. Without this, an answer says nothing.
    pub fn reports_failures(mut self) -> Self {
        self.reports_failures = true;
        self
    }

    /// Holds still after so many deliveries.
    pub fn deliveries_max(mut self, deliveries: usize) -> Self {
        self.deliveries_max = Some(deliveries);
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// When Lambda would refuse a setting.
    pub fn start(self) -> io::Result<Running> {
        self.validate()?;
        let is_fifo = is_fifo(&self.queue.arn());
        // Of a FIFO queue, as many as groups have something to be received (F15).
        let without = if is_fifo { usize::MAX } else { CONCURRENCY };
        let clock = self.queue.clock().clone();
        let plan = QueuePlan {
            arn: self.queue.arn(),
            queue: self.queue,
            batch_size: self.batch_size,
            window: self.window,
            concurrency: self.concurrency.unwrap_or(without),
            reports_failures: self.reports_failures,
            gathered: Vec::new(),
            window_from: None,
            throttled: Vec::new(),
            flying: HashMap::new(),
            tickets: 0,
        };
        Ok(Running::start(
            Box::new(plan),
            &self.function,
            &clock,
            self.deliveries_max,
        ))
    }

    /// Starts it, waits until there is nothing to do, and gives what it has done.
    ///
    /// # Errors
    /// As [`QueueMapping::start`] and [`Running::until_idle`].
    pub fn run(self) -> io::Result<Journal> {
        let running = self.start()?;
        running.until_idle()?;
        running.stop()
    }

    fn validate(&self) -> io::Result<()> {
        let (visibility, timeout) = (self.queue.visibility(), self.function.timeout_of_one());
        let is_fifo = is_fifo(&self.queue.arn());
        let told = if !(1..=10_000).contains(&self.batch_size) || self.window.as_secs() > 300 {
            "`BatchSize` or `MaximumBatchingWindowInSeconds` is not in its range".to_owned()
        } else if is_fifo && (self.batch_size > 10 || !self.window.is_zero()) {
            "a FIFO queue has batches of up to 10 and no batching window".to_owned()
        } else if self.batch_size > 10 && self.window.is_zero() {
            "Maximum batch window in seconds must be greater than 0 if maximum batch size is greater \
             than 10"
                .to_owned()
        } else if self
            .concurrency
            .is_some_and(|most| !(2..=1000).contains(&most))
        {
            "`MaximumConcurrency` is not in its range: it cannot be 1".to_owned()
        } else if timeout > visibility {
            format!(
                "Queue visibility timeout: {} seconds is less than Function timeout: {} seconds",
                visibility.as_secs(),
                timeout.as_secs()
            )
        } else {
            return Ok(());
        };
        Err(io::Error::other(format!(
            "InvalidParameterValueException: {told}"
        )))
    }
}

struct QueuePlan {
    arn: String,
    queue: Box<dyn MessageQueue>,
    batch_size: usize,
    window: Duration,
    concurrency: usize,
    reports_failures: bool,
    /// Received, and not yet sent out.
    gathered: Vec<Message>,
    /// When the first of them was received.
    window_from: Option<SystemTime>,
    throttled: Vec<Throttled>,
    flying: HashMap<usize, Vec<Message>>,
    tickets: usize,
}

/// A batch that was not invoked.
struct Throttled {
    messages: Vec<Message>,
    not_before: SystemTime,
}

impl QueuePlan {
    /// A batch that was throttled and may be tried again. One whose messages others may receive by now is
    /// let go: each has one receive more, and never ran (S9).
    fn again(&mut self, now: SystemTime) -> Option<Vec<Message>> {
        let is_out = |batch: &Throttled| batch.messages.iter().all(|m| m.hidden_until > now);
        self.throttled.retain(is_out);
        let due = self
            .throttled
            .iter()
            .position(|batch| batch.not_before <= now)?;
        Some(self.throttled.remove(due).messages)
    }

    /// A new batch, if it may go out.
    fn gather(
        &mut self,
        now: SystemTime,
        journal: &mut Journal,
    ) -> io::Result<Option<Vec<Message>>> {
        let wanted = self.batch_size - self.gathered.len().min(self.batch_size);
        if wanted > 0 {
            let Received { messages, redriven } = self.queue.receive(wanted)?;
            if !redriven.is_empty() {
                journal.losses.push(Loss {
                    items: items(&redriven),
                    why: Why::Redrive,
                });
            }
            self.gathered.extend(messages);
        }
        if self.gathered.is_empty() {
            return Ok(None);
        }
        let window_from = *self.window_from.get_or_insert(now);
        let events = events(&self.arn, &self.gathered);
        let fitting = event::fitting(&events);
        let is_full = self.gathered.len() >= self.batch_size || fitting < self.gathered.len();
        if !is_full && window_from + self.window > now {
            return Ok(None);
        }
        let rest = self.gathered.split_off(fitting);
        self.window_from = None;
        Ok(Some(std::mem::replace(&mut self.gathered, rest)))
    }

    fn launch(&mut self, messages: Vec<Message>) -> Next {
        self.tickets += 1;
        let job = Job {
            ticket: self.tickets,
            source: self.arn.rsplit(':').next().unwrap_or_default().to_owned(),
            items: items(&messages),
            attempt: messages.iter().map(|m| m.receives).max().unwrap_or(1),
            event: event::of_records(&events(&self.arn, &messages)),
        };
        self.flying.insert(self.tickets, messages);
        Next::Go(job)
    }

    /// Deletes what is done.
    fn delete<'a>(
        &self,
        done: impl Iterator<Item = &'a Message>,
        journal: &mut Journal,
    ) -> io::Result<()> {
        for message in done {
            if let Err(refused) = self.queue.delete(message)? {
                let refused = (message.id.clone(), refused.to_string());
                journal.refused_deletes.push(refused);
            }
        }
        Ok(())
    }
}

impl Plan for QueuePlan {
    fn next(&mut self, now: SystemTime, journal: &mut Journal) -> io::Result<Next> {
        if self.flying.len() >= self.concurrency {
            return Ok(Next::Rest);
        }
        if let Some(messages) = self.again(now) {
            return Ok(self.launch(messages));
        }
        if let Some(messages) = self.gather(now, journal)? {
            return Ok(self.launch(messages));
        }
        let window_to = self.window_from.map(|from| from + self.window);
        let tries = self.throttled.iter().map(|batch| batch.not_before);
        let next = tries.chain(window_to).chain(self.queue.next_seen()?).min();
        Ok(next.map_or(Next::Rest, Next::Wait))
    }

    fn settle(
        &mut self,
        ticket: usize,
        outcome: &Outcome,
        now: SystemTime,
        journal: &mut Journal,
    ) -> io::Result<Verdict> {
        let messages = self.flying.remove(&ticket).unwrap_or_default();
        let ruling = match outcome {
            Outcome::Answered(body) if self.reports_failures => {
                rule_by_id(body, messages.iter().map(|message| message.id.as_str()))
            }
            Outcome::Answered(_) => Ruling::Success,
            Outcome::Failed { .. } => Ruling::Nonsense,
            Outcome::Throttled => {
                self.throttled.push(Throttled {
                    messages,
                    not_before: now + THROTTLE_WAIT,
                });
                return Ok(Verdict::Throttled);
            }
        };
        match ruling {
            Ruling::Success => {
                self.delete(messages.iter(), journal)?;
                Ok(Verdict::Success)
            }
            Ruling::Failed(places) => {
                let is_done = |place: &usize| !places.contains(place);
                let done = (0..messages.len()).filter(is_done);
                self.delete(done.map(|place| &messages[place]), journal)?;
                let again = places.iter().map(|place| messages[*place].id.clone());
                Ok(Verdict::Partial(again.collect()))
            }
            // They come again by themselves once their time is over (S3).
            Ruling::Nonsense => Ok(Verdict::Failure),
        }
    }
}

fn items(messages: &[Message]) -> Vec<Item> {
    let items = messages.iter().map(|message| Item {
        id: message.id.clone(),
        key: message.group.clone(),
        text: message.body.clone(),
        receives: message.receives,
    });
    items.collect()
}

fn events(arn: &str, messages: &[Message]) -> Vec<String> {
    let events = messages.iter().map(|message| event::of_sqs(arn, message));
    events.collect()
}
