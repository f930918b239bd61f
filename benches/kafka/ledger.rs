//! What a reader keeps of its records: that each comes once and in its key's order, and the times.
//!
//! A value begins with 16 bytes, little-endian: the number of its key (4), its number among the records of
//! that key, from 0 on (4), and when it was to be sent, in microseconds of the Unix epoch (8).

use super::job::Job;
use std::{
    io::{self, Write as _},
    sync::{
        OnceLock,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// How many bytes of a value the ledger reads.
pub(crate) const VALUE_MIN: usize = 16;

/// What stands at the beginning of a value.
#[derive(Clone, Copy)]
pub(crate) struct Value {
    pub(crate) key: u32,
    /// Among the records of its key.
    pub(crate) number: u32,
    /// Microseconds of the Unix epoch.
    pub(crate) intended: u64,
}

impl Value {
    /// Of a record's value; `None` where it is too short.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let (key, rest) = bytes.split_first_chunk()?;
        let (number, rest) = rest.split_first_chunk()?;
        let (intended, _) = rest.split_first_chunk()?;
        Some(Self {
            key: u32::from_le_bytes(*key),
            number: u32::from_le_bytes(*number),
            intended: u64::from_le_bytes(*intended),
        })
    }
}

/// A call of the handler that has not returned yet.
pub(crate) struct Call {
    key: usize,
    records: u32,
    /// Of its first record.
    value: Value,
    began: Option<Instant>,
}

/// When something was, and what this process had used of the processor until then.
#[derive(Clone, Copy)]
struct Moment {
    at: Instant,
    processor: Duration,
}

impl Moment {
    fn now() -> Self {
        Self {
            at: Instant::now(),
            processor: processor_time(),
        }
    }
}

/// Shared by all calls of a reader.
pub(crate) struct Ledger {
    warm_up: u64,
    total: u64,
    cap: u32,
    is_timed: bool,
    /// Per key, the number of the record that comes next; moved when a call returns, so that two calls of
    /// one key at once are seen as well.
    next: Vec<AtomicU32>,
    /// Per key, nanoseconds in the handler.
    busy: Vec<AtomicU64>,
    calls: AtomicU64,
    done: AtomicU64,
    wrong: AtomicU64,
    /// Of each measured record, in microseconds.
    latencies: Vec<AtomicU32>,
    began: OnceLock<Moment>,
    ended: OnceLock<Moment>,
}

impl Ledger {
    pub(crate) fn new(job: &Job) -> Self {
        let measured = if job.latencies { job.records } else { 0 };
        Self {
            warm_up: job.warm_up,
            total: job.total(),
            cap: job.cap,
            is_timed: !job.delay.is_zero(),
            next: (0..job.keys).map(|_| AtomicU32::new(0)).collect(),
            busy: (0..job.keys).map(|_| AtomicU64::new(0)).collect(),
            calls: AtomicU64::new(0),
            done: AtomicU64::new(0),
            wrong: AtomicU64::new(0),
            latencies: (0..measured).map(|_| AtomicU32::new(0)).collect(),
            began: OnceLock::new(),
            ended: OnceLock::new(),
        }
    }

    /// Begins a call with these values, all of one key. A value that is none, or has a key too high, is
    /// counted as wrong.
    pub(crate) fn begin<'a>(&self, values: impl IntoIterator<Item = &'a [u8]>) -> Call {
        if self.warm_up == 0 {
            self.began.get_or_init(Moment::now);
        }
        let mut first = None;
        let mut records = 0;
        for bytes in values {
            let value = Value::read(bytes);
            let value = value.filter(|value| (value.key as usize) < self.next.len());
            let Some(value) = value else {
                self.wrong.fetch_add(1, Ordering::Relaxed);
                records += 1;
                continue;
            };
            let head = *first.get_or_insert(value);
            let next = self.next[head.key as usize].load(Ordering::Acquire);
            if value.key != head.key || value.number != next + records {
                self.wrong.fetch_add(1, Ordering::Relaxed);
            }
            records += 1;
        }
        let value = first.unwrap_or(Value {
            key: 0,
            number: 0,
            intended: 0,
        });
        Call {
            key: value.key as usize,
            records,
            value,
            began: self.is_timed.then(Instant::now),
        }
    }

    /// A call has returned; whether the last record is done.
    pub(crate) fn end(&self, call: &Call) -> bool {
        let records = u64::from(call.records);
        if let Some(began) = call.began {
            let took = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
            self.busy[call.key].fetch_add(took, Ordering::Relaxed);
            self.calls.fetch_add(1, Ordering::Relaxed);
        }
        self.next[call.key].store(call.value.number + call.records, Ordering::Release);
        let before = self.done.fetch_add(records, Ordering::AcqRel);
        let after = before + records;
        if let Some(slot) = { before.checked_sub(self.warm_up) }
            .and_then(|n| self.latencies.get(usize::try_from(n).ok()?))
        {
            let late = since_epoch().saturating_sub(call.value.intended);
            slot.store(u32::try_from(late).unwrap_or(u32::MAX), Ordering::Relaxed);
        }
        if before < self.warm_up && after >= self.warm_up {
            self.began.get_or_init(Moment::now);
            // Whoever feeds this reader waits for it; if nobody does, nothing is lost.
            let _gone = writeln!(io::stdout(), "warm").and_then(|()| io::stdout().flush());
        }
        let is_last = after >= self.total;
        if is_last {
            self.ended.get_or_init(Moment::now);
        }
        is_last
    }

    /// The line that every harness prints. Durations in seconds, latencies in microseconds, memory in bytes.
    ///
    /// `bound`: no schedule is shorter, given the calls as they were; `single_bound`: given calls of that
    /// length for each record alone.
    pub(crate) fn line(&self) -> Result<String, String> {
        let done = self.done.load(Ordering::Acquire);
        let (Some(began), Some(ended)) = (self.began.get(), self.ended.get()) else {
            return Err(format!("{done} of {} records came", self.total));
        };
        let busy: Vec<u64> = { self.busy.iter() }
            .map(|busy| busy.load(Ordering::Relaxed))
            .collect();
        let handler = seconds(busy.iter().sum());
        let longest = seconds(busy.iter().copied().max().unwrap_or(0));
        let most = { self.next.iter() }
            .map(|next| next.load(Ordering::Acquire))
            .max()
            .unwrap_or(0);
        let mean = handler / (self.calls.load(Ordering::Relaxed).max(1) as f64);
        let cap = f64::from(self.cap);
        let mut latencies: Vec<u32> = { self.latencies.iter() }
            .map(|latency| latency.load(Ordering::Relaxed))
            .collect();
        latencies.sort_unstable();
        Ok(format!(
            "{{\"records\":{},\"wrong\":{},\"seconds\":{:.6},\"processor_seconds\":{:.6},\
             \"process_seconds\":{:.6},\"peak_memory\":{},\"handler_seconds\":{handler:.6},\
             \"bound_seconds\":{:.6},\"single_bound_seconds\":{:.6},\"p50\":{},\"p99\":{}}}",
            done - self.warm_up,
            self.wrong.load(Ordering::Acquire),
            (ended.at - began.at).as_secs_f64(),
            (ended.processor - began.processor).as_secs_f64(),
            processor_time().as_secs_f64(),
            peak_memory()?,
            longest.max(handler / cap),
            mean * f64::from(most).max(self.total as f64 / cap),
            quantile(&latencies, 50),
            quantile(&latencies, 99),
        ))
    }
}

fn seconds(nanos: u64) -> f64 {
    Duration::from_nanos(nanos).as_secs_f64()
}

/// Of sorted values; 0 where there are none.
fn quantile(sorted: &[u32], percent: usize) -> u32 {
    let last = sorted.len().saturating_sub(1);
    sorted.get(last * percent / 100).copied().unwrap_or(0)
}

/// Microseconds of the Unix epoch: producer and reader are two processes of one machine.
pub(crate) fn since_epoch() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_micros()).unwrap_or(u64::MAX)
}

/// User and system time of all threads of this process.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

/// The most that this process had resident, in bytes, as the kernel says.
fn peak_memory() -> Result<u64, String> {
    let status = std::fs::read_to_string("/proc/self/status").map_err(|e| e.to_string())?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.map(|kib| kib << 10)
        .ok_or_else(|| "`/proc/self/status` has no `VmHWM`".to_owned())
}
