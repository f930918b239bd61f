//! What is compared: which records, which work, at which rate.

use super::{Options, programs::Reader};
use std::fmt;

pub(super) const PARTITIONS: u32 = 8;
pub(super) const CAP: u32 = 100;

/// Keys of uniform draws.
const UNIFORM: u32 = 1_000;

/// Keys of zipf(1.0): the most frequent one has a tenth of all records.
const ZIPF: u32 = 10_000;

/// Records that a JVM reads first, so that it has compiled what is measured.
pub(super) const REHEARSAL_MAX: u64 = 100_000;

/// What a case is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Aim {
    /// Records a second, beside the bare loop.
    Throughput,
    /// How near a handler that waits comes to what is possible.
    Handlers,
    /// How long a record takes at a given rate.
    Latency,
}

/// How often each key is drawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Skew {
    Uniform,
    Zipf,
}

impl Skew {
    pub(super) fn keys(self) -> u32 {
        match self {
            Self::Uniform => UNIFORM,
            Self::Zipf => ZIPF,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Zipf => "zipf",
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) aim: Aim,
    /// Of the fastest reader; slower ones read fewer.
    pub(super) records: u64,
    pub(super) bytes: u32,
    pub(super) skew: Skew,
    /// Milliseconds that the handler waits; 0: it does nothing.
    pub(super) delay: u32,
    pub(super) records_per_call: u32,
    /// Records a second; `None`: all are there at the start.
    pub(super) rate: Option<u64>,
    readers: &'static [Reader],
}

const EVERY: &[Reader] = &Reader::ALL;
const WITHOUT_TABLE: &[Reader] = &[
    Reader::Bare,
    Reader::Sqlite,
    Reader::ParallelConsumer,
    Reader::RuststreamRdkafka,
];
const THAT_WAIT: &[Reader] = &[
    Reader::Sqlite,
    Reader::ParallelConsumer,
    Reader::RuststreamRdkafka,
];
/// Others take one record of a key at a time.
const IN_RUNS: &[Reader] = &[Reader::Sqlite];

pub(super) fn all() -> Vec<Case> {
    let mut cases = vec![throughput(100, 1_000_000), throughput(1_024, 300_000)];
    // Three to eleven seconds each, if the cap or the most frequent key is all that holds them back. At the
    // end fewer keys have records left than the cap has slots: the more records, the less that weighs.
    for (delay, uniform, zipf) in [
        (1, 150_000, 15_000),
        (10, 50_000, 5_000),
        (100, 10_000, 1_000),
    ] {
        cases.push(handlers(delay, Skew::Uniform, uniform));
        cases.push(handlers(delay, Skew::Zipf, zipf));
        cases.push(in_runs(handlers(delay, Skew::Zipf, 4 * zipf)));
    }
    cases.push(latency("no-op", 0, Skew::Uniform, 40_000));
    // 70 % of cap / 10 ms, and of one record of the most frequent key each 10 ms.
    cases.push(latency("10ms/uniform", 10, Skew::Uniform, 7_000));
    cases.push(latency("10ms/zipf", 10, Skew::Zipf, 680));
    cases
}

pub(super) fn chosen(options: &Options) -> Vec<Case> {
    let is_named = |case: &Case| options.cases.iter().any(|part| case.name.contains(part));
    let mut cases = all();
    cases.retain(|case| options.cases.is_empty() || is_named(case));
    cases.retain(|case| !case.readers(options).is_empty());
    cases
}

fn throughput(bytes: u32, records: u64) -> Case {
    Case {
        name: format!("throughput/{bytes}"),
        aim: Aim::Throughput,
        records,
        bytes,
        skew: Skew::Uniform,
        delay: 0,
        records_per_call: 1,
        rate: None,
        readers: EVERY,
    }
}

fn handlers(delay: u32, skew: Skew, records: u64) -> Case {
    Case {
        name: format!("handlers/{delay}ms/{}", skew.name()),
        aim: Aim::Handlers,
        records,
        bytes: 100,
        skew,
        delay,
        records_per_call: 1,
        rate: None,
        readers: THAT_WAIT,
    }
}

fn in_runs(case: Case) -> Case {
    Case {
        name: format!("{}/runs-of-16", case.name),
        records_per_call: 16,
        readers: IN_RUNS,
        ..case
    }
}

fn latency(name: &str, delay: u32, skew: Skew, rate: u64) -> Case {
    Case {
        name: format!("latency/{name}"),
        aim: Aim::Latency,
        records: 3 * rate,
        bytes: 100,
        skew,
        delay,
        records_per_call: 1,
        rate: Some(rate),
        readers: if delay == 0 { WITHOUT_TABLE } else { THAT_WAIT },
    }
}

impl Case {
    /// No figures come of it.
    pub(super) fn with_mistake() -> Self {
        throughput(100, 10_000)
    }

    /// Those of the case that were asked for, in the order of the table.
    pub(super) fn readers(&self, options: &Options) -> Vec<Reader> {
        let readers = self.readers.iter().copied();
        readers
            .filter(|reader| options.readers.contains(reader))
            .collect()
    }

    pub(super) fn rounds(&self, options: &Options) -> usize {
        options
            .rounds
            .unwrap_or(match (options.is_quick, self.aim) {
                (true, _) => 2,
                (false, Aim::Throughput) => 5,
                (false, Aim::Handlers | Aim::Latency) => 3,
            })
    }

    /// How many records this reader measures: a slow one fewer, or it would take most of the time.
    pub(super) fn records(&self, reader: Reader, options: &Options) -> u64 {
        let part = match (self.aim, reader) {
            (Aim::Throughput, Reader::ParallelConsumer | Reader::RuststreamRdkafka) => 4,
            (Aim::Handlers, Reader::RuststreamRdkafka) => 3,
            (Aim::Throughput | Aim::Handlers | Aim::Latency, _) => 1,
        };
        let records = self.records / part;
        if options.is_quick {
            records.div_ceil(10)
        } else {
            records
        }
    }

    /// How many come before those: they show that the reader reads.
    pub(super) fn warm_up(&self) -> u64 {
        match self.aim {
            Aim::Throughput | Aim::Handlers => 0,
            Aim::Latency => 1_000,
        }
    }

    /// How many other records a JVM reads before: where handlers wait, less depends on it.
    pub(super) fn rehearsal(&self) -> u64 {
        match self.aim {
            Aim::Throughput => REHEARSAL_MAX,
            Aim::Handlers | Aim::Latency => REHEARSAL_MAX / 2,
        }
    }

    /// Seconds that it takes, roughly.
    pub(super) fn expected(&self, options: &Options) -> u64 {
        let seconds = |reader: Reader| match (self.aim, reader) {
            (Aim::Throughput, Reader::Bare | Reader::Sqlite | Reader::Dynamodb) => 2,
            (Aim::Throughput, Reader::ParallelConsumer) => 9,
            (Aim::Latency, Reader::ParallelConsumer) => 7,
            (Aim::Throughput, Reader::RuststreamRdkafka) => 4,
            (Aim::Handlers, Reader::ParallelConsumer) => 10,
            (Aim::Handlers, Reader::RuststreamRdkafka) => 7,
            (Aim::Handlers, Reader::Bare | Reader::Sqlite | Reader::Dynamodb) => 7,
            (Aim::Latency, Reader::RuststreamRdkafka) => 10,
            (Aim::Latency, Reader::Bare | Reader::Sqlite | Reader::Dynamodb) => 5,
        };
        let round: u64 = { self.readers(options).into_iter() }.map(seconds).sum();
        round * self.rounds(options) as u64 + 3
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name, bytes, delay, ..
        } = self;
        let (skew, keys) = (self.skew.name(), self.skew.keys());
        write!(f, "{name}: values of {bytes} bytes, {keys} keys, {skew}, ")?;
        match delay {
            0 => write!(f, "no-op handler")?,
            delay => write!(f, "handler of {delay} ms")?,
        }
        if self.records_per_call > 1 {
            write!(f, ", up to {} records a call", self.records_per_call)?;
        }
        match self.rate {
            Some(rate) => write!(f, ", {rate} records/s"),
            None => Ok(()),
        }
    }
}
