//! Whole invocations in one process, with marks in memory: what an event costs from its bytes to the
//! answer, and how near handlers that wait come to what their times allow.

use super::{kinesis, show, times};
use lanekeeper::{
    Failure,
    handler::{Done, Rust, each},
    history::Nowhere,
    lambda::{Answer, Event, Function, decode},
    processor::Settings,
    record::{LaneOrder, NoKey, OrderBy, Record},
    run::MachineClock,
    store::memory::Memory,
};
use partitions::{FailureRules, Stops, Then};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::runtime::{Builder, Runtime};

/// Of the case whose handler waits.
const CAP: u32 = 50;

/// No-op handlers, and one that waits for 10 ms.
pub(super) fn all(rounds: usize) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    for count in [100, 1000, 10_000] {
        let payload = kinesis(count, 100);
        println!("an invocation with {count} records of 100 bytes, no-op handler");
        let handled = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&handled);
        let handler = each(move |_: Record| {
            counted.fetch_add(1, Ordering::Relaxed);
            async { Ok::<_, Failure>(Done) }
        });
        let target = Arc::new(Rust(handler));
        let took = times(rounds, || {
            let function = function(256, target.clone());
            invoke(&runtime, &function, &payload)
        });
        assert_eq!(handled.load(Ordering::Relaxed), (count * rounds) as u64);
        show("event to answer", count, &took);
    }
    waits(&runtime, rounds.min(20));
}

/// The bound is the longer one of what the cap and what the busiest key allow, by the handler's own times.
fn waits(runtime: &Runtime, rounds: usize) {
    let payload = kinesis(1000, 100);
    let mut ratios: Vec<f64> = (0..rounds)
        .map(|_| {
            let spent: Arc<Mutex<HashMap<Vec<u8>, Duration>>> = Arc::default();
            let kept = Arc::clone(&spent);
            let handler = each(move |record: Record| {
                let kept = Arc::clone(&kept);
                async move {
                    let began = Instant::now();
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    *{ kept.lock().unwrap() }
                        .entry(record.lane().to_vec())
                        .or_default() += began.elapsed();
                    Ok::<_, Failure>(Done)
                }
            });
            let function = function(CAP, Arc::new(Rust(handler)));
            let began = Instant::now();
            invoke(runtime, &function, &payload);
            let makespan = began.elapsed();
            let spent = spent.lock().unwrap();
            let all: Duration = spent.values().sum();
            let busiest = spent.values().max().copied().unwrap_or_default();
            (all / CAP).max(busiest).as_secs_f64() / makespan.as_secs_f64()
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    println!(
        "an invocation with 1000 records of 500 keys, handler of 10 ms, cap {CAP}\n  \
         bound / time             {:.3} ({:.3} to {:.3}), {rounds} rounds",
        ratios[ratios.len() / 2],
        ratios[0],
        ratios[ratios.len() - 1],
    );
}

fn invoke(runtime: &Runtime, function: &Function, payload: &[u8]) -> Vec<u8> {
    let Event::Delivery(delivery) = decode(payload).unwrap() else {
        panic!("a request");
    };
    let left = Duration::from_secs(60);
    let source = "orders".into();
    let invoked = function.invoke(&source, Arc::new(delivery), left);
    match runtime.block_on(invoked).unwrap().answer {
        Answer::Body(body) => body,
        Answer::Fail(why) => panic!("{why}"),
    }
}

fn function(cap: u32, target: Arc<dyn lanekeeper::handler::Target>) -> Function {
    Function {
        settings: Settings {
            app: "bench".to_owned(),
            cap,
            memory: 64 << 20,
            drain: Duration::from_secs(30),
            order: LaneOrder {
                by: OrderBy::Key,
                no_key: NoKey::Partition,
            },
            failure: FailureRules {
                attempts_max: 5,
                backoff_min: Duration::from_millis(100),
                backoff_max: Duration::from_secs(60),
                then: Then::Stop,
                stops: Stops::Lane,
            },
            timeout: Duration::from_secs(5),
            settle: None,
            park_max: 100_000,
            cut_at: 1_000,
            flush_interval: Duration::from_millis(500),
            unflushed_max: 10_000,
            records_per_call: 1,
            until_idle: true,
            starts_until: None,
            seed: 7,
        },
        concurrency: 1,
        reports_failures: true,
        parallelization_factor: 1,
        margin: Duration::from_millis(500),
        retention: Duration::from_secs(24 * 60 * 60),
        store: Arc::new(Memory::new("bench")),
        target,
        dead_letter: None,
        aggregate: None,
        history: Arc::new(Nowhere),
        clock: Arc::new(MachineClock),
    }
}
