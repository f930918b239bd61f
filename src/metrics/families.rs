//! The metrics: names, meaning and values. `docs/metrics.md` has the same names, and a test holds both
//! equal.

use crate::processor::{Counts, Latencies, PartitionVitals, TryOutcome, Vitals, Watch};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};
use std::{collections::BTreeMap, fmt, sync::Arc};

/// Reads what the loop shows at each scrape.
pub(super) struct Families(pub(super) Arc<Watch>);

impl fmt::Debug for Families {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Families")
    }
}

/// What is measured and whether it only grows.
struct Family {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
}

const fn counter(name: &'static str, help: &'static str) -> Family {
    Family {
        name,
        help,
        kind: MetricType::Counter,
    }
}

const fn gauge(name: &'static str, help: &'static str) -> Family {
    Family {
        name,
        help,
        kind: MetricType::Gauge,
    }
}

/// Names and values of labels. Never a key or anything of a payload.
type Labels<'v> = Vec<(&'static str, &'v str)>;

/// A family's values: integers stay exact.
enum Value {
    Whole(u64),
    Real(f64),
}

/// Writes families one after the other.
struct Page<'e>(DescriptorEncoder<'e>);

impl Page<'_> {
    fn add<'v>(
        &mut self,
        family: &Family,
        values: impl IntoIterator<Item = (Labels<'v>, Value)>,
    ) -> fmt::Result {
        let Family { name, help, kind } = *family;
        let mut encoder = self.0.encode_descriptor(name, help, None, kind)?;
        for (labels, value) in values {
            let labels = labels.as_slice();
            let encoder = encoder.encode_family(&labels)?;
            match (kind, value) {
                (MetricType::Counter, Value::Whole(n)) => ConstCounter::new(n).encode(encoder)?,
                (MetricType::Counter, Value::Real(x)) => ConstCounter::new(x).encode(encoder)?,
                (_, Value::Whole(n)) => ConstGauge::new(n).encode(encoder)?,
                (_, Value::Real(x)) => ConstGauge::new(x).encode(encoder)?,
            }
        }
        Ok(())
    }

    fn add_one(&mut self, family: &Family, value: Value) -> fmt::Result {
        self.add(family, [(Labels::new(), value)])
    }

    fn add_latencies(&mut self, name: &str, help: &str, latencies: &Latencies) -> fmt::Result {
        let kind = MetricType::Histogram;
        let mut encoder = self.0.encode_descriptor(name, help, None, kind)?;
        let bounds = Latencies::BOUNDS.into_iter().chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(latencies.within).collect();
        let count = latencies.within.iter().sum();
        encoder.encode_histogram::<NoLabelSet>(latencies.sum, count, &buckets, None)
    }
}

impl Collector for Families {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let vitals = self.0.vitals();
        let mut page = Page(encoder);
        worker(&mut page, &self.0, &vitals)?;
        records(&mut page, &vitals)?;
        let sums = sums(&vitals);
        lanes(&mut page, &sums, self.0.wall_millis())?;
        intake(&mut page, &sums)?;
        partitions(&mut page, &vitals, self.0.wall_millis())?;
        store(&mut page, &vitals)
    }
}

fn worker(page: &mut Page<'_>, watch: &Watch, vitals: &Vitals) -> fmt::Result {
    let version = vec![("version", env!("CARGO_PKG_VERSION"))];
    page.add(
        &gauge(
            "lanekeeper_build_info",
            "Always 1; its label is what matters.",
        ),
        [(version, Value::Whole(1))],
    )?;
    page.add_one(
        &gauge(
            "lanekeeper_loop_silence_seconds",
            "Time since the loop last turned.",
        ),
        Value::Real(watch.silent_for().as_secs_f64()),
    )?;
    page.add_one(
        &gauge("lanekeeper_cap", "Most handler calls in flight."),
        Value::Whole(vitals.cap.into()),
    )?;
    page.add_one(
        &gauge(
            "lanekeeper_in_flight",
            "Handler calls in flight, those of unknown end included.",
        ),
        Value::Whole(vitals.in_flight.into()),
    )?;
    let sick = { vitals.sick_since }.map(|since| watch.now().saturating_sub(since));
    page.add_one(
        &gauge(
            "lanekeeper_target_sick_seconds",
            "Time since when the target fails all tries; 0: it does not.",
        ),
        Value::Real(sick.unwrap_or_default().as_secs_f64()),
    )
}

/// Reads one number of many.
type Of<T> = fn(&T) -> u64;

const OUTCOMES: [(&str, Of<Counts>); 6] = [
    ("done", |counts| counts.done),
    ("dead_lettered", |counts| counts.dead_lettered),
    ("skipped", |counts| counts.skipped),
    ("stopped", |counts| counts.stopped),
    ("parked", |counts| counts.parked),
    ("chained", |counts| counts.chained),
];

fn records(page: &mut Page<'_>, vitals: &Vitals) -> fmt::Result {
    let each = || {
        vitals
            .counts
            .iter()
            .map(|(source, counts)| (&**source, counts))
    };
    page.add(
        &counter("lanekeeper_records", "Records by what became of them."),
        each().flat_map(|(source, counts)| {
            OUTCOMES.map(|(outcome, of)| {
                let labels = vec![("source", source), ("outcome", outcome)];
                (labels, Value::Whole(of(counts)))
            })
        }),
    )?;
    page.add(
        &counter(
            "lanekeeper_tries",
            "Tries that ended, by how, counted per record.",
        ),
        each().flat_map(|(source, counts)| {
            TryOutcome::ALL.map(|outcome| {
                let labels = vec![("source", source), ("outcome", outcome.name())];
                (labels, Value::Whole(counts.tries(outcome)))
            })
        }),
    )?;
    let families: [(Family, Of<Counts>); 3] = [
        (
            counter(
                "lanekeeper_retries",
                "Tries that failed and will be or were repeated.",
            ),
            |counts| counts.retries,
        ),
        (
            counter(
                "lanekeeper_rejects",
                "Records rejected by the handler or by an effect's condition.",
            ),
            |counts| counts.rejected,
        ),
        (
            counter(
                "lanekeeper_fenced_writes",
                "Writes refused because another worker owns the partition.",
            ),
            |counts| counts.fenced,
        ),
    ];
    for (family, of) in families {
        page.add(
            &family,
            each().map(|(source, counts)| (vec![("source", source)], Value::Whole(of(counts)))),
        )?;
    }
    Ok(())
}

/// Of all partitions of a source.
#[derive(Default)]
struct Sum {
    owned: u64,
    claiming: u64,
    paused: u64,
    buffered: u64,
    bytes: u64,
    waiting: u64,
    stopped: u64,
    parked: u64,
    draining: u64,
    chained: u64,
    stopped_since: Option<i64>,
}

fn sums(vitals: &Vitals) -> BTreeMap<&str, Sum> {
    let mut sums: BTreeMap<&str, Sum> = BTreeMap::new();
    for (source, _) in &vitals.counts {
        sums.entry(&**source).or_default();
    }
    for name in &vitals.claiming {
        sums.entry(&*name.source).or_default().claiming += 1;
    }
    for partition in &vitals.partitions {
        let sum = sums.entry(&*partition.name.source).or_default();
        sum.owned += 1;
        sum.paused += u64::from(partition.paused);
        sum.buffered += partition.buffered;
        sum.bytes += partition.bytes;
        sum.waiting += u64::from(partition.waiting);
        sum.stopped += partition.stopped;
        sum.parked += partition.parked;
        sum.draining += partition.draining;
        sum.chained += partition.chained;
        let since = sum.stopped_since.into_iter().chain(partition.stopped_since);
        sum.stopped_since = since.min();
    }
    sums
}

/// Adds a family with one value a source.
fn add_sums(
    page: &mut Page<'_>,
    sums: &BTreeMap<&str, Sum>,
    family: &Family,
    of: Of<Sum>,
) -> fmt::Result {
    let values = sums.iter();
    page.add(
        family,
        values.map(|(source, sum)| (vec![("source", *source)], Value::Whole(of(sum)))),
    )
}

fn lanes(page: &mut Page<'_>, sums: &BTreeMap<&str, Sum>, wall: i64) -> fmt::Result {
    page.add(
        &gauge(
            "lanekeeper_lanes",
            "Lanes that are not live, by their state.",
        ),
        sums.iter().flat_map(|(source, sum)| {
            [
                ("stopped", sum.stopped),
                ("parked", sum.parked),
                ("draining", sum.draining),
            ]
            .map(|(state, n)| (vec![("source", *source), ("state", state)], Value::Whole(n)))
        }),
    )?;
    page.add(
        &gauge(
            "lanekeeper_stopped_lane_age_seconds",
            "Time since the longest of the stopped lanes stopped; 0: none is.",
        ),
        sums.iter().map(|(source, sum)| {
            let age = sum.stopped_since.map_or(0.0, |since| age(since, wall));
            (vec![("source", *source)], Value::Real(age))
        }),
    )?;
    add_sums(
        page,
        sums,
        &gauge(
            "lanekeeper_chained_records",
            "Records in the chains of parked lanes.",
        ),
        |sum| sum.chained,
    )?;
    add_sums(
        page,
        sums,
        &gauge(
            "lanekeeper_waiting_lanes",
            "Lanes that wait for their next try.",
        ),
        |sum| sum.waiting,
    )
}

fn intake(page: &mut Page<'_>, sums: &BTreeMap<&str, Sum>) -> fmt::Result {
    let families: [(Family, Of<Sum>); 5] = [
        (gauge("lanekeeper_partitions", "Partitions owned."), |sum| {
            sum.owned
        }),
        (
            gauge(
                "lanekeeper_claiming_partitions",
                "Partitions that are being claimed.",
            ),
            |sum| sum.claiming,
        ),
        (
            gauge(
                "lanekeeper_paused_partitions",
                "Partitions that take in nothing for now.",
            ),
            |sum| sum.paused,
        ),
        (
            gauge(
                "lanekeeper_buffered_records",
                "Records in memory that are not settled.",
            ),
            |sum| sum.buffered,
        ),
        (
            gauge("lanekeeper_buffered_bytes", "Bytes of records in memory."),
            |sum| sum.bytes,
        ),
    ];
    for (family, of) in families {
        add_sums(page, sums, &family, of)?;
    }
    Ok(())
}

fn partitions(page: &mut Page<'_>, vitals: &Vitals, wall: i64) -> fmt::Result {
    let each = || {
        vitals.partitions.iter().map(|partition| {
            let labels = vec![
                ("source", &*partition.name.source),
                ("partition", &*partition.name.partition),
            ];
            (labels, partition)
        })
    };
    page.add(
        &gauge(
            "lanekeeper_lag_records",
            "Records behind the settled prefix that are not settled.",
        ),
        each()
            .filter(|(_, partition)| partition.behind.is_some())
            .map(|(labels, partition)| (labels, Value::Whole(partition.lag()))),
    )?;
    page.add(
        &gauge(
            "lanekeeper_lag_seconds",
            "Age of the oldest record that is not settled; 0: all are.",
        ),
        each().filter_map(|(labels, partition)| {
            Some((labels, Value::Real(lag_seconds(partition, wall)?)))
        }),
    )?;
    page.add(
        &gauge(
            "lanekeeper_retention_seconds",
            "How long the source keeps a record at least.",
        ),
        each().filter_map(|(labels, partition)| {
            Some((labels, Value::Real(partition.retention?.as_secs_f64())))
        }),
    )?;
    page.add(
        &gauge(
            "lanekeeper_retention_used_ratio",
            "Age of the oldest record that is not settled, as a share of the retention.",
        ),
        each().filter_map(|(labels, partition)| {
            let retention = partition.retention?.as_secs_f64();
            let lag = lag_seconds(partition, wall)?;
            // Of a topic that keeps nothing (`retention.ms=0`) nothing may be late.
            let share = if lag > 0.0 { lag / retention } else { 0.0 };
            Some((labels, Value::Real(share)))
        }),
    )
}

/// `None`: not known, since none of its records is in memory or has a time.
fn lag_seconds(partition: &PartitionVitals, wall: i64) -> Option<f64> {
    match partition.head_at {
        Some(at) => Some(age(at, wall)),
        None => (partition.behind == Some(0) && partition.buffered == 0).then_some(0.0),
    }
}

/// In seconds; clocks that differ make nothing negative.
fn age(since: i64, wall: i64) -> f64 {
    wall.saturating_sub(since).max(0) as f64 / 1_000.0
}

fn store(page: &mut Page<'_>, vitals: &Vitals) -> fmt::Result {
    page.add_latencies(
        "lanekeeper_commit_seconds",
        "Time of a commit, from its first request until it is durable.",
        &vitals.commits,
    )?;
    page.add(
        &counter("lanekeeper_store_errors", "Calls to the store that failed."),
        vitals.store_errors.iter().map(|((call, error), count)| {
            let labels = vec![("call", *call), ("error", *error)];
            (labels, Value::Whole(*count))
        }),
    )?;
    page.add(
        &counter(
            "lanekeeper_store_repeats",
            "Requests that were sent again within a call to the store.",
        ),
        [
            ("not_now", vitals.repeats.not_now),
            ("lost", vitals.repeats.lost),
        ]
        .map(|(why, count)| (vec![("why", why)], Value::Whole(count))),
    )?;
    let consumed = || vitals.consumed.iter();
    page.add(
        &counter(
            "lanekeeper_store_requests",
            "Requests to the store that were answered, where it counts.",
        ),
        consumed().map(|of| (Labels::new(), Value::Whole(of.requests))),
    )?;
    page.add(
        &counter(
            "lanekeeper_store_read_units",
            "Read request units consumed, where the store counts.",
        ),
        consumed().map(|of| (Labels::new(), Value::Real(of.read_units))),
    )?;
    page.add(
        &counter(
            "lanekeeper_store_write_units",
            "Write request units consumed, where the store counts.",
        ),
        consumed().map(|of| (Labels::new(), Value::Real(of.write_units))),
    )
}

#[cfg(test)]
mod tests;
