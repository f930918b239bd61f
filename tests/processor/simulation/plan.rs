//! What a seed stands for: settings, records, and which faults come how often. Each history draws its
//! own weights (swarm), since all faults at once hide what one of them alone would show.

use super::dynamodb::Rules;
use fastrand::Rng;
use lanekeeper::{
    processor::{CUT_AT, Settings},
    record::{LaneOrder, NoKey, OrderBy},
};
use partitions::{FailureRules, Stops, Then};
use std::time::Duration;

/// Everything that is drawn before the first step.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) settings: Settings,
    /// Worker processes at a time.
    pub(super) slots: usize,
    /// How many records of which temper and key, partition by partition.
    pub(super) logs: Vec<Vec<Entry>>,
    /// How long a try takes, at most.
    pub(super) work_max: Duration,
    /// Faults go on for so long.
    pub(super) chaos: Duration,
    pub(super) faults: Faults,
    /// Once healed, operators mend what is broken and decide until nothing stands; else what stands
    /// stays.
    pub(super) mended: bool,
    /// One call to the store carries the commits of many partitions.
    pub(super) shares: bool,
    /// A commit holds few items.
    pub(super) tight: bool,
    /// The store acts as the one in DynamoDB; `None`: as the one in SQLite.
    pub(super) dynamodb: Option<Rules>,
    /// The source seeks from open record to open record.
    pub(super) seeks: bool,
    /// A target that is down lets some calls hang instead of refusing them.
    pub(super) silent: bool,
    /// Handlers run in the worker and die with it; a proven death spares the wait.
    pub(super) local: bool,
}

/// Chances of faults, in events a second unless they say otherwise.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    pub(super) kill: f64,
    pub(super) freeze: f64,
    pub(super) restart: f64,
    pub(super) rebalance: f64,
    pub(super) outage: f64,
    pub(super) compact: f64,
    pub(super) decide: f64,
    pub(super) rewind: f64,
    /// Of a call to the store, each.
    pub(super) store_delay: f64,
    pub(super) store_refused: f64,
    pub(super) answer_lost: f64,
    pub(super) late: f64,
}

/// A place of a log.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// `None`: nothing ever comes here.
    pub(super) key: Option<String>,
    pub(super) temper: Temper,
    pub(super) bytes: usize,
    /// When it is appended.
    pub(super) at: Duration,
}

/// How a record fares at the target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Temper {
    /// Done.
    Good,
    /// Done, with an effect.
    Effect,
    /// Done, with an effect whose condition never holds until it is mended.
    BadEffect,
    /// Fails so often, then is done.
    Retry(u8),
    /// As before, by a panic.
    Panic(u8),
    /// As before, without an answer.
    Silent(u8),
    /// As before, with an end that is not known.
    Unknown(u8),
    /// As before, by the target's fault.
    Target(u8),
    /// Fails by the target's fault until then.
    Down(Duration),
    /// Never passes until it is mended.
    Poison,
    /// As before, and says so.
    Reject,
    /// Kills its worker so often, then is done; at [`FOR_EVER`], until it is mended.
    Fatal(u8),
}

/// Of [`Temper::Fatal`].
pub(super) const FOR_EVER: u8 = u8::MAX;

impl Plan {
    pub(super) fn draw(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let chaos = millis(&mut rng, 8_000, 20_000);
        let work_max = millis(&mut rng, 5, 300);
        let mut settings = settings(&mut rng, seed, work_max);
        settings.cut_at = cut_at(&mut Rng::with_seed(seed ^ 0xc07));
        let crowded = settings.order.by == OrderBy::Key && rng.u8(..) < 24;
        let mut logs = logs(&mut rng, chaos, crowded, settings.order.by);
        if Rng::with_seed(seed ^ 0xdead).u8(..) < 50 {
            poison(&mut Rng::with_seed(!seed), &mut logs);
        }
        let mut faults = faults(&mut rng);
        faults.rewind = at_times(seed ^ 0x8ac4, 26, 0.5);
        let local = settings.settle == Some(Duration::ZERO) && rng.bool();
        let mut plan = Self {
            seed,
            local,
            settings,
            slots: rng.usize(2..=3),
            logs,
            work_max,
            chaos,
            faults,
            mended: rng.bool(),
            silent: false,
            seeks: rng.bool(),
            shares: rng.bool(),
            tight: rng.bool(),
            dynamodb: None,
        };
        plan.dynamodb = Rules::draw(seed, plan.tight);
        plan.shares &= plan.dynamodb.is_none();
        plan
    }
}

/// The rate of a fault that is drawn by itself: in so many of 256 histories more than 0.
fn at_times(seed: u64, often: u8, most: f64) -> f64 {
    let mut rng = Rng::with_seed(seed);
    if rng.u8(..) < often {
        (0.1 + rng.f64() * 0.9) * most
    } else {
        0.0
    }
}

fn millis(rng: &mut Rng, from: u64, to: u64) -> Duration {
    Duration::from_millis(rng.u64(from..=to))
}

fn settings(rng: &mut Rng, seed: u64, work_max: Duration) -> Settings {
    let timeout = work_max * 4 + millis(rng, 100, 1_500);
    let then = *rng
        .choice(&[Then::Stop, Then::Park, Then::Park, Then::DeadLetter])
        .expect("some");
    let by = if then != Then::Park && rng.u8(..) < 30 {
        OrderBy::Partition
    } else {
        OrderBy::Key
    };
    let backoff_min = millis(rng, 10, 200);
    let remote = rng.bool();
    Settings {
        app: "simulation".to_owned(),
        cap: rng.u32(1..=8),
        memory: if rng.u8(..) < 80 {
            rng.u64(4_000..40_000)
        } else {
            1 << 20
        },
        drain: timeout + millis(rng, 200, 2_000),
        order: LaneOrder {
            by,
            no_key: NoKey::Partition,
        },
        failure: FailureRules {
            attempts_max: rng.u32(1..=4),
            backoff_min,
            backoff_max: backoff_min * rng.u32(2..=20),
            then,
            stops: if rng.u8(..) < 60 {
                Stops::Partition
            } else {
                Stops::Lane
            },
        },
        timeout,
        settle: Some(if remote {
            millis(rng, 50, 800)
        } else {
            Duration::ZERO
        }),
        park_max: if rng.u8(..) < 40 {
            rng.u64(2..10)
        } else {
            100_000
        },
        cut_at: CUT_AT,
        flush_interval: millis(rng, 50, 800),
        unflushed_max: if rng.u8(..) < 60 {
            rng.u64(4..30)
        } else {
            1_000
        },
        records_per_call: if rng.bool() { 1 } else { rng.u32(2..=5) },
        until_idle: false,
        starts_until: None,
        seed,
    }
}

/// As in every run, or so few that chains of this log are longer.
fn cut_at(rng: &mut Rng) -> u64 {
    if rng.u8(..) < 100 {
        *rng.choice(&[0, 1, 2, 5, 20]).expect("some")
    } else {
        CUT_AT
    }
}

/// At least 200 records in at least 3 lanes; `crowded`: one lane has most of them, and its first
/// record never passes.
fn logs(rng: &mut Rng, chaos: Duration, crowded: bool, by: OrderBy) -> Vec<Vec<Entry>> {
    let partitions = match by {
        OrderBy::Key => rng.usize(1..=3),
        OrderBy::Partition => 3,
    };
    let keys = rng.usize(3..=12);
    let trouble = rng.f64() * 0.25;
    let gaps = if rng.bool() { 0.0 } else { 0.1 };
    let large = rng.u8(..) < 40;
    let total = rng.usize(200..=280);
    (0..partitions)
        .map(|partition| {
            let mut entries: Vec<Entry> = (0..total.div_ceil(partitions))
                .map(|n| {
                    let hot = crowded && partition == 0 && (n == 0 || rng.u8(..) < 220);
                    let key = if hot { 0 } else { rng.usize(0..keys) };
                    let gap = !hot && rng.f64() < gaps;
                    Entry {
                        key: (!gap).then(|| format!("{partition}-{key}")),
                        temper: temper(rng, trouble),
                        bytes: if large {
                            rng.usize(0..2_000)
                        } else {
                            rng.usize(0..60)
                        },
                        at: chaos.mul_f64(rng.f64() * 0.8),
                    }
                })
                .collect();
            entries.sort_by_key(|entry| entry.at);
            if crowded && partition == 0 {
                entries[0].key = Some("0-0".to_owned());
                entries[0].temper = Temper::Reject;
            }
            entries
        })
        .collect()
}

fn temper(rng: &mut Rng, trouble: f64) -> Temper {
    if rng.f64() >= trouble {
        return if rng.u8(..) < 80 {
            Temper::Effect
        } else {
            Temper::Good
        };
    }
    let times = rng.u8(1..=3);
    match rng.u8(0..10) {
        0 | 1 => Temper::Retry(times),
        2 => Temper::Panic(times),
        3 => Temper::Silent(times),
        4 => Temper::Unknown(times),
        5 | 6 => Temper::Target(times),
        7 => Temper::Poison,
        8 => Temper::Reject,
        _ => Temper::BadEffect,
    }
}

/// A record or two that kill their worker.
fn poison(rng: &mut Rng, logs: &mut [Vec<Entry>]) {
    for _ in 0..rng.usize(1..=2) {
        let partition = rng.usize(0..logs.len());
        let at = rng.usize(1..logs[partition].len());
        let times = if rng.bool() { rng.u8(1..=5) } else { FOR_EVER };
        logs[partition][at].temper = Temper::Fatal(times);
    }
}

fn faults(rng: &mut Rng) -> Faults {
    let mut may = |most: f64| if rng.bool() { rng.f64() * most } else { 0.0 };
    let mut faults = Faults {
        kill: may(0.4),
        freeze: may(0.4),
        restart: may(0.3),
        rebalance: may(0.6),
        outage: may(0.2),
        compact: may(0.1),
        decide: may(2.0),
        rewind: 0.0,
        store_delay: may(0.6),
        store_refused: may(0.15),
        answer_lost: may(0.15),
        late: may(0.1),
    };
    // One fault at least.
    if faults.kill + faults.freeze + faults.rebalance + faults.answer_lost == 0.0 {
        faults.kill = 0.3;
    }
    faults
}
