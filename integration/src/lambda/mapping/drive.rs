//! The loop of a mapping: it hands batches out, takes answers in, and lets time pass.

use super::running::Shared;
use crate::lambda::{
    clock::{Clock, UnderWay},
    function::{Function, Invoked, Outcome},
    journal::{Delivery, End, Item, Journal, Verdict},
};
use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::{Duration, SystemTime},
};

/// How long a mapping with nothing to do sleeps before it looks again at its source.
const REST: Duration = Duration::from_millis(2);

/// How a kind of mapping makes batches and what it makes of answers. It does nothing by itself: no clock,
/// no threads, no function.
pub(super) trait Plan: Send {
    /// What is to be done now.
    fn next(&mut self, now: SystemTime, journal: &mut Journal) -> io::Result<Next>;

    /// Takes the end of a batch that went out.
    fn settle(
        &mut self,
        ticket: usize,
        outcome: &Outcome,
        now: SystemTime,
        journal: &mut Journal,
    ) -> io::Result<Verdict>;
}

pub(super) enum Next {
    /// This batch goes out.
    Go(Job),
    /// Nothing before this time, unless something comes or ends.
    Wait(SystemTime),
    /// Nothing, unless something comes or ends.
    Rest,
}

/// A batch that goes out.
pub(super) struct Job {
    /// By which the plan knows it.
    pub(super) ticket: usize,
    pub(super) source: String,
    pub(super) items: Vec<Item>,
    pub(super) attempt: u32,
    pub(super) event: String,
}

/// An invocation that is over.
struct Over {
    ticket: usize,
    /// Its place in the journal.
    delivery: usize,
    invoked: io::Result<Invoked>,
    /// Until the mapping has seen what became of it, no time may be skipped.
    under_way: UnderWay,
}

pub(super) struct Drive {
    pub(super) plan: Box<dyn Plan>,
    pub(super) function: Function,
    pub(super) clock: Clock,
    /// Then it holds still.
    pub(super) deliveries_max: Option<usize>,
    pub(super) shared: Arc<Shared>,
}

impl Drive {
    /// Until it is told to stop, or cannot go on.
    pub(super) fn run(mut self) {
        let (over, ended) = mpsc::channel();
        let mut flying = 0;
        let result = loop {
            if self.shared.is_stopped() && flying == 0 {
                break Ok(());
            }
            if let Err(error) = self.turn(&mut flying, &over, &ended) {
                break Err(error);
            }
        };
        // What is still under way ends at its timeout; nobody asks for it.
        self.shared.has_ended(result);
    }

    fn turn(
        &mut self,
        flying: &mut usize,
        over: &Sender<Over>,
        ended: &Receiver<Over>,
    ) -> io::Result<()> {
        let next = self.next()?;
        let sleep = match next {
            Next::Go(job) => {
                *flying += 1;
                self.launch(job, *flying, over);
                return Ok(());
            }
            Next::Wait(until) => match self.clock.skip_to(until) {
                None => return Ok(()),
                Some(left) => left,
            },
            Next::Rest => {
                if *flying == 0 {
                    self.shared.rests();
                }
                REST
            }
        };
        match ended.recv_timeout(sleep) {
            Ok(over) => {
                *flying -= 1;
                self.land(over)
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Ok(()),
        }
    }

    fn next(&mut self) -> io::Result<Next> {
        let mut journal = self.shared.journal();
        let held = self.deliveries_max;
        if self.shared.is_stopped() || held.is_some_and(|most| journal.deliveries.len() >= most) {
            return Ok(Next::Rest);
        }
        self.plan.next(self.clock.now(), &mut journal)
    }

    fn launch(&self, job: Job, flying: usize, over: &Sender<Over>) {
        let event: Arc<str> = job.event.into();
        let delivery = {
            let mut journal = self.shared.journal();
            journal.concurrency_most = journal.concurrency_most.max(flying);
            journal.deliveries.push(Delivery {
                source: job.source,
                items: job.items,
                attempt: job.attempt,
                event: Arc::clone(&event),
                began: self.clock.now(),
                end: None,
            });
            journal.deliveries.len() - 1
        };
        let (function, under_way) = (self.function.clone(), self.clock.begin());
        let (ticket, over) = (job.ticket, over.clone());
        thread::spawn(move || {
            // A stub that panics is a test that fails, and not one that waits.
            let invoked = catch_unwind(AssertUnwindSafe(|| function.invoke(&event)));
            let panicked = |_| Err(io::Error::other("the stub has panicked"));
            let invoked = invoked.unwrap_or_else(panicked);
            // Nobody listens where the mapping could not go on.
            let _unheard = over.send(Over {
                ticket,
                delivery,
                invoked,
                under_way,
            });
        });
    }

    fn land(&mut self, over: Over) -> io::Result<()> {
        let Invoked {
            outcome,
            environment,
        } = over.invoked?;
        let now = self.clock.now();
        let mut journal = self.shared.journal();
        let verdict = self.plan.settle(over.ticket, &outcome, now, &mut journal)?;
        drop(over.under_way);
        if let Some(delivery) = journal.deliveries.get_mut(over.delivery) {
            delivery.end = Some(End {
                outcome,
                verdict,
                environment,
                at: now,
            });
        }
        Ok(())
    }
}
