//! Shards of a stream in memory, recovered one after the other.

use super::*;
use crate::{
    handler::{Answer, Failure, Handler, Rust},
    lambda::{Function, recovery::Start},
    processor::Clock,
    record::Run,
    source::kinesis::{
        Begin,
        fake::{Fake, number, row, shared},
    },
    store::memory::Memory,
};
use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::Instant;

const CONFIG: &str = "app = \"a\"\ncap = 1\n[sources.s]\ntype = \"kinesis\"\narn = \"arn:aws:kinesis:eu-west-1:1:stream/s\"\n[lambda]\nparallelization_factor = 1\n";

/// The values of the records that were called.
#[derive(Clone, Default)]
struct Books(Arc<Mutex<Vec<String>>>);

impl Handler for Books {
    async fn handle(&self, run: Run) -> Answer {
        let value = run.records()[0].value().unwrap_or_default();
        let value = String::from_utf8_lossy(value).into_owned();
        let is_bad = value.starts_with("bad");
        self.0.lock().expect("sound").push(value);
        match is_bad {
            true => Answer::failed(Failure::reject("never")),
            false => Answer::all(1),
        }
    }
}

struct Since(Instant);

impl Clock for Since {
    fn now(&self) -> Duration {
        Duration::from_secs(1_000) + self.0.elapsed()
    }

    fn wall_millis(&self) -> i64 {
        1_700_000_000_000 + i64::try_from(self.0.elapsed().as_millis()).expect("short")
    }
}

/// What is run of a parent, whose first record is gone, and of two other shards, one of them its child.
async fn run(on_gap: OnGap) -> (Summary, Vec<String>) {
    run_with("", on_gap, "a2", 11).await
}

/// The same with more in the configuration, and with a parent that holds this one, read from there on.
async fn run_with(more: &str, on_gap: OnGap, value: &str, from: u64) -> (Summary, Vec<String>) {
    let text = format!("{CONFIG}{more}");
    let mut config = Config::from_toml(&text, Path::new("lanekeeper.toml")).expect("sound");
    config.sources[0].on_gap = on_gap;
    let fake = Arc::new(Fake::default());
    let shards = [
        fake.shard("parent", &[], (10, Some(20)), vec![row(12, "a", value)]),
        fake.shard("other", &[], (10, None), vec![row(11, "b", "b1")]),
        fake.shard("child", &["parent"], (30, None), vec![row(31, "a", "a3")]),
    ];
    let begins = [Begin::At(number(from)), Begin::Horizon, Begin::Horizon];
    let works = { shards.iter().zip(begins) }.map(|(shard, begin)| {
        Part::Work(Box::new(Work {
            shard: shard.clone(),
            from: Start {
                certain: match &begin {
                    Begin::At(position) => Some(position.clone()),
                    Begin::Horizon | Begin::After(_) | Begin::Time(_) => None,
                },
                begin,
            },
            until: Until::Now,
            key: None,
            on_gap,
        }))
    });
    let parts = vec![Parts {
        works: works.collect(),
        streamed: Streamed {
            config: &config,
            source: &config.sources[0],
            stream: shared(&fake),
            shards: shards.to_vec(),
            others: Vec::new(),
            fans_out: false,
        },
    }];
    let books = Books::default();
    let store = Arc::new(Memory::new("a"));
    let target = Arc::new(Rust(books.clone()));
    let function = lambda::function(&config, store, target).expect("a function");
    let function = Function {
        clock: Arc::new(Since(Instant::now())),
        ..function
    };
    let (_nobody_stops_it, stops) = tokio::sync::mpsc::unbounded_channel();
    let summary = run_all(&function, parts, false, stops).await;
    let ran = std::mem::take(&mut *books.0.lock().expect("sound"));
    (summary, ran)
}

#[tokio::test(start_paused = true)]
async fn what_a_shard_has_lost_holds_its_children_and_nobody_else() {
    let (summary, ran) = run(OnGap::Refuse).await;
    assert_eq!(ran, ["b1"]);
    assert!(summary.lost && summary.failed.is_none());
    let [parent, other, child] = &summary.rows[..] else {
        panic!("three shards");
    };
    let gap = parent.gap.as_deref().expect("a gap");
    assert!(
        gap.contains("from 11 on") && gap.contains("from 12 on"),
        "{gap}"
    );
    assert_eq!((other.read, &other.gap), (1, &None));
    let why = child.left_out.as_deref().expect("left out");
    assert!(why.contains("`parent`"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn where_it_may_go_on_it_does_and_says_what_is_gone() {
    let (summary, ran) = run(OnGap::Earliest).await;
    assert_eq!(ran, ["a2", "b1", "a3"]);
    assert!(!summary.lost && summary.rows[0].gap.is_some());
}

#[tokio::test(start_paused = true)]
async fn where_it_goes_on_behind_the_newest_the_shard_is_left_out_alone() {
    let (summary, ran) = run(OnGap::Latest).await;
    assert_eq!(ran, ["b1", "a3"]);
    assert!(!summary.lost && summary.rows[0].gap.is_some());
}

#[tokio::test(start_paused = true)]
async fn what_stands_in_a_shard_holds_its_children_where_all_behind_it_waits() {
    for more in [
        "[order]\nby = \"partition\"\n",
        "[failure]\nstops = \"partition\"\n",
    ] {
        let (summary, ran) = run_with(more, OnGap::Refuse, "bad", 12).await;
        assert_eq!(ran, ["bad", "b1"], "{more}");
        assert!(summary.is_open && !summary.lost && summary.failed.is_none());
        let why = summary.rows[2].left_out.as_deref().expect("left out");
        assert!(why.contains("`parent`"), "{why}");
    }
    // By keys the child's lane stands as well, and others go on.
    let (summary, ran) = run_with("", OnGap::Refuse, "bad", 12).await;
    assert_eq!(ran, ["bad", "b1"]);
    assert_eq!(
        (summary.rows[2].open, &summary.rows[2].left_out),
        (1, &None)
    );
}
