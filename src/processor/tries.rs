//! Handler calls that are out. A try is polled once where it starts; only a pending one is kept.

use crate::{
    handler::{Answer, Target},
    record::Run,
};
use futures_util::{
    FutureExt, StreamExt,
    future::{AbortHandle, Abortable, Aborted, BoxFuture, CatchUnwind},
    stream::FuturesUnordered,
};
use partitions::{PartitionId, Ticket};
use std::{
    any::Any,
    collections::{HashMap, VecDeque},
    future::Future,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::task::JoinHandle;

/// First polls that take longer on average make a handler CPU-bound: its tries move to the
/// runtime's other threads.
const FIRST_POLL_MAX: Duration = Duration::from_micros(5);
/// While tries are spawned, one in so many is polled here to see whether that still pays.
const PROBE_EVERY: u32 = 64;

/// How a try ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// The handler answered.
    Answered(Answer),
    /// It panicked, with this message.
    Panicked(String),
    /// It overran `timeout`, and its future is dropped.
    TimedOut,
}

/// A try that is out.
#[derive(Debug)]
pub(super) struct Out {
    pub(super) run: Run,
    /// Under which ownership it started.
    pub(super) partition: PartitionId,
    /// The try's number in the history.
    pub(super) number: u64,
}

/// What became of a try where it started.
pub(super) enum Started {
    /// It ended.
    Ended(Ended),
    /// It is out.
    Out(Pending),
}

/// A try that did not end where it started.
pub(super) struct Pending {
    body: Body,
    abort: Abort,
}

/// All tries of this process.
pub(super) struct Tries {
    target: Arc<dyn Target>,
    timeout: Duration,
    pending: FuturesUnordered<Try>,
    out: HashMap<Ticket, (Out, Abort)>,
    /// All tries have the same timeout, so their deadlines are in order of their starts.
    deadlines: VecDeque<(Duration, Ticket)>,
    /// Tries that were told to end since they overran, and when, in that order.
    overran: VecDeque<(Duration, Ticket)>,
    /// Of ended tries that a remote may still run: until when, and the first record's id.
    lingering: Vec<(Duration, String)>,
    numbers: u64,
    spawning: bool,
    since_probe: u32,
}

impl Tries {
    pub(super) fn new(target: Arc<dyn Target>, timeout: Duration) -> Self {
        Self {
            target,
            timeout,
            pending: FuturesUnordered::new(),
            out: HashMap::new(),
            deadlines: VecDeque::new(),
            overran: VecDeque::new(),
            lingering: Vec::new(),
            numbers: 0,
            spawning: false,
            since_probe: 0,
        }
    }

    /// The number of the next try that starts.
    pub(super) fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Starts a try. What is known of it is given only with one that is out ([`Tries::keep`]): most of
    /// quick handlers end at once, and need none of it.
    pub(super) fn start(&mut self, run: Run) -> Started {
        let future = Arc::clone(&self.target).try_run(run);
        let mut future = AssertUnwindSafe(future).catch_unwind();
        let spawn = self.spawning && !self.probes_next();
        self.since_probe += 1;
        let (body, abort) = if spawn {
            let handle = tokio::spawn(future);
            let abort = Abort::Spawned(handle.abort_handle());
            (Body::Spawned(handle), abort)
        } else {
            self.since_probe = 0;
            match Pin::new(&mut future).poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(end) => return Started::Ended(Ended::from(Ok(end))),
                Poll::Pending => {
                    let (abort, registration) = AbortHandle::new_pair();
                    (
                        Body::Here(Abortable::new(future, registration)),
                        Abort::Here(abort),
                    )
                }
            }
        };
        Started::Out(Pending { body, abort })
    }

    /// Keeps a try that is out until it ends.
    pub(super) fn keep(&mut self, ticket: Ticket, out: Out, pending: Pending, now: Duration) {
        let Pending { body, abort } = pending;
        self.pending.push(Try { ticket, body });
        self.out.insert(ticket, (out, abort));
        self.deadlines.push_back((now + self.timeout, ticket));
    }

    /// Tries go to the runtime's other threads.
    pub(super) fn spawning(&self) -> bool {
        self.spawning
    }

    /// Though tries are spawned, the next one is polled here.
    pub(super) fn probes_next(&self) -> bool {
        self.spawning && self.since_probe + 1 >= PROBE_EVERY
    }

    /// Tells how long so many first polls took that were all done here.
    pub(super) fn took(&mut self, elapsed: Duration, starts: u32) {
        if starts > 0 {
            self.spawning = elapsed / starts > FIRST_POLL_MAX;
        }
    }

    /// A try that has ended by now.
    pub(super) fn ended(&mut self) -> Option<(Ticket, Out, Ended)> {
        let (ticket, end) = self.pending.next().now_or_never().flatten()?;
        self.take(ticket, end)
    }

    /// Waits for a try to end.
    pub(super) async fn next(&mut self) -> Option<(Ticket, Out, Ended)> {
        let (ticket, end) = self.pending.next().await?;
        self.take(ticket, end)
    }

    fn take(&mut self, ticket: Ticket, end: Ended) -> Option<(Ticket, Out, Ended)> {
        let (out, _) = self.out.remove(&ticket)?;
        Some((ticket, out, end))
    }

    /// Drops the futures of tries that overran; each ends when its future is really gone.
    pub(super) fn expire(&mut self, now: Duration) {
        while let Some(&(deadline, ticket)) = self.deadlines.front() {
            match self.out.get(&ticket) {
                Some(_) if deadline > now => return,
                Some((_, abort)) => {
                    abort.abort();
                    self.overran.push_back((now, ticket));
                }
                None => {}
            }
            self.deadlines.pop_front();
        }
    }

    /// Since when the first of the tries that overran has not ended, though it was told to.
    pub(super) fn overrun_since(&mut self) -> Option<Duration> {
        while let Some((since, ticket)) = self.overran.front() {
            if self.out.contains_key(ticket) {
                return Some(*since);
            }
            self.overran.pop_front();
        }
        None
    }

    /// When the next try overruns.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.deadlines.front().map(|(at, _)| *at)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// A try is over here, and the remote may run it until then.
    pub(super) fn linger(&mut self, until: Duration, run: &Run, now: Duration) {
        self.lingering.retain(|(until, _)| *until > now);
        self.lingering.push((until, run.id().to_owned()));
    }

    /// Ids of the first records of the tries that are out, or that a remote may still run.
    pub(super) fn ids(&self, now: Duration) -> Vec<String> {
        let lingering = self.lingering.iter().filter(|(until, _)| *until > now);
        let lingering = lingering.map(|(_, id)| id.as_str());
        let out = self.out.values().map(|(out, _)| out.run.id());
        let mut ids: Vec<String> = out.chain(lingering).map(str::to_owned).collect();
        ids.sort();
        ids
    }
}

type Caught = CatchUnwind<AssertUnwindSafe<BoxFuture<'static, Answer>>>;
type CaughtEnd = Result<Answer, Box<dyn Any + Send>>;

/// Drops a try's future.
enum Abort {
    Here(AbortHandle),
    Spawned(tokio::task::AbortHandle),
}

impl Abort {
    fn abort(&self) {
        match self {
            Self::Here(handle) => handle.abort(),
            Self::Spawned(handle) => handle.abort(),
        }
    }
}

struct Try {
    ticket: Ticket,
    body: Body,
}

enum Body {
    Here(Abortable<Caught>),
    Spawned(JoinHandle<CaughtEnd>),
}

impl Drop for Try {
    fn drop(&mut self) {
        // A processor that is dropped leaves no try behind.
        if let Body::Spawned(handle) = &self.body {
            handle.abort();
        }
    }
}

impl Future for Try {
    type Output = (Ticket, Ended);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let ticket = self.ticket;
        let end = match &mut self.body {
            Body::Here(future) => Pin::new(future).poll(cx).map(Ended::from),
            Body::Spawned(handle) => Pin::new(handle).poll(cx).map(|joined| match joined {
                Ok(end) => Ended::from(Ok(end)),
                Err(error) if error.is_cancelled() => Ended::TimedOut,
                Err(error) => Ended::Panicked(error.to_string()),
            }),
        };
        end.map(|end| (ticket, end))
    }
}

impl From<Result<CaughtEnd, Aborted>> for Ended {
    fn from(end: Result<CaughtEnd, Aborted>) -> Self {
        match end {
            Ok(Ok(answer)) => Self::Answered(answer),
            Ok(Err(panic)) => {
                let text = panic
                    .downcast_ref::<&str>()
                    .map(|s| (*s).to_owned())
                    .or_else(|| panic.downcast_ref::<String>().cloned())
                    .unwrap_or_else(|| "no message".to_owned());
                Self::Panicked(format!("handler panicked: {text}"))
            }
            Err(_) => Self::TimedOut,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::Config,
        position::Position,
        record::{Assignment, BatchBuilder, PartitionName, Record},
    };
    use partitions::{Action, Engine, Resume};
    use std::sync::{Mutex, mpsc};

    /// Blocks its thread until it is told to go on.
    struct Blocks(Mutex<mpsc::Receiver<()>>);

    impl Target for Blocks {
        fn try_run(self: Arc<Self>, _: Run) -> BoxFuture<'static, Answer> {
            async move {
                let _ = self.0.lock().map(|told| told.recv());
                // Here it is found to be aborted.
                tokio::task::yield_now().await;
                Answer::all(1)
            }
            .boxed()
        }

        fn settle(&self, _: Duration) -> Duration {
            Duration::ZERO
        }

        fn children(&self) -> Vec<u32> {
            Vec::new()
        }

        fn share(&self, _: Vec<std::os::fd::OwnedFd>) {}
    }

    /// What an engine with one record starts.
    fn started() -> (Ticket, PartitionId, Run) {
        let settings = Config::new("tries", 1).settings();
        let mut engine: Engine<Record> = Engine::new(settings.limits());
        let id = engine.assign(partitions::Assignment {
            identity: 1,
            resume: Resume::Beginning,
            settled_to: None,
            open: &mut std::iter::empty(),
            held: &mut std::iter::empty(),
        });
        let assignment = Assignment {
            name: PartitionName::new("log", "t/0"),
            epoch: 1,
            generation: 0,
        };
        let mut batch = BatchBuilder::new(Arc::new(assignment));
        let at = Position::Offset(1);
        batch
            .push(settings.order, at, Some(b"a"), None, [], None)
            .expect("it has a key");
        for record in batch.finish(None) {
            assert_eq!(engine.push(id, record, 0), partitions::Pushed::Accepted);
        }
        let Some(Action::Start { ticket, .. }) = engine.poll() else {
            panic!("it can start");
        };
        let run = Run::new(engine.records(ticket), 1).expect("a record");
        (ticket, id, run)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_try_that_does_not_end_when_told_to_is_known_until_it_does() {
        let (go_on, told) = mpsc::channel();
        let mut tries = Tries::new(Arc::new(Blocks(Mutex::new(told))), Duration::from_secs(1));
        tries.took(Duration::from_secs(1), 1);
        assert!(tries.spawning());
        let (ticket, partition, run) = started();
        let Started::Out(pending) = tries.start(run.clone()) else {
            panic!("it is out");
        };
        let number = tries.number();
        let out = Out {
            run,
            partition,
            number,
        };
        tries.keep(ticket, out, pending, Duration::ZERO);
        tries.expire(Duration::from_millis(999));
        assert_eq!(tries.overrun_since(), None, "it has its time");
        tries.expire(Duration::from_secs(1));
        tries.expire(Duration::from_secs(7));
        assert_eq!(tries.overrun_since(), Some(Duration::from_secs(1)));
        go_on.send(()).expect("it waits");
        let (_, _, end) = tries.next().await.expect("it ends");
        assert!(matches!(end, Ended::TimedOut), "{end:?}");
        assert_eq!(tries.overrun_since(), None);
    }
}
