//! A stream in memory, recovered by a function whose handler is scripted.

use super::*;
use crate::{
    handler::{Answer, Failure, Handler, Rust},
    history::Nowhere,
    kpl,
    processor::{Clock, Settings},
    record::{LaneOrder, NoKey, Run},
    source::{
        OnGap,
        kinesis::{
            Begin,
            fake::{Fake, number, row, shared},
        },
    },
    store::{DecisionNote, MarkStore as _, Store as _, Verb},
};
use partitions::{FailureRules, Stops, Then};
use place::{Known, known, latest_marks};
use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};
use tokio::time::Instant;

mod ends;
mod tries;

/// Rejects what it is told to, and keeps the books: the values of the records that it was called with.
#[derive(Clone, Default)]
struct Scripted(Arc<Mutex<Books>>);

type Books = (BTreeSet<String>, Vec<String>, Option<(String, Duration)>);

impl Scripted {
    fn calls(&self) -> Vec<String> {
        let mut books = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut books.1)
    }

    /// Fails the next try of this one, which is to be tried again after that time.
    fn fails_once(&self, value: &str, after: Duration) {
        let mut books = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        books.2 = Some((value.to_owned(), after));
    }

    fn rejects(&self, values: &[&str]) {
        let mut books = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        books.0 = values.iter().map(|value| (*value).to_owned()).collect();
    }
}

impl Handler for Scripted {
    async fn handle(&self, run: Run) -> Answer {
        let value = run.records()[0].value().unwrap_or_default();
        let value = String::from_utf8_lossy(value).into_owned();
        let mut books = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        books.1.push(value.clone());
        if let Some((_, after)) = books.2.take_if(|(one, _)| *one == value) {
            return Answer::failed(Failure::retry_after("later", after));
        }
        match books.0.contains(&value) {
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

struct World {
    fake: Arc<Fake>,
    store: Memory,
    script: Scripted,
    function: Function,
    stop: mpsc::UnboundedSender<Stop>,
    stops: Option<mpsc::UnboundedReceiver<Stop>>,
}

impl World {
    fn new() -> Self {
        let since = Instant::now();
        let clock = Since(since);
        let store = Memory::new("app").with_clock(move || clock.wall_millis());
        let script = Scripted::default();
        let (stop, stops) = mpsc::unbounded_channel();
        Self {
            fake: Arc::default(),
            function: Function {
                settings: settings(),
                concurrency: 1,
                reports_failures: true,
                parallelization_factor: 1,
                margin: Duration::from_millis(500),
                retention: Duration::from_hours(24),
                store: Arc::new(store.clone()),
                target: Arc::new(Rust(script.clone())),
                dead_letter: None,
                aggregate: None,
                history: Arc::new(Nowhere),
                clock: Arc::new(Since(since)),
            },
            store,
            script,
            stop,
            stops: Some(stops),
        }
    }

    /// With one shard `s` of these records: number, key and value.
    fn with(records: &[(u64, &str, &str)]) -> (Self, Work) {
        let world = Self::new();
        let rows = records.iter().map(|(n, key, value)| row(*n, key, value));
        let shard = world.fake.shard("s", &[], (1, None), rows.collect());
        (world, all_of(shard))
    }

    async fn run(&mut self, work: &Work) -> Went {
        self.try_run(work).await.expect("it runs")
    }

    async fn try_run(&mut self, work: &Work) -> Result<Went, RecoveryError> {
        let stops = self.stops.take().expect("one at a time");
        let mut recovery = Recovery::new(&self.function, shared(&self.fake), "orders", stops);
        let mut went = Went::default();
        let ran = recovery.run(work, &mut went).await;
        self.stops = Some(recovery.into_stops());
        ran.map(|()| went)
    }

    async fn retry(&self) {
        let place = PartitionName::new("orders", "*");
        for item in self.store.lanes(&place).await.expect("lanes") {
            let note = DecisionNote::new(Verb::Retry, "ann".to_owned(), None, 0);
            let decided = self.store.decide(&place, &item.lane, item.rev, &note);
            decided.await.expect("decided");
        }
    }

    async fn known(&self, shard: &Shard) -> Known {
        // Arrivals of these tests are seconds after 1970: hours of their own do not pass.
        let stream = shared(&self.fake);
        let marks = latest_marks(&stream, &self.store, "orders", shard, 20_000).await;
        let at = PartitionName::new("orders", "*");
        let lanes = self.store.lane_items(&at).await.expect("lanes");
        known(shard, &marks.expect("marks"), (&lanes, &at), true)
    }
}

fn settings() -> Settings {
    Settings {
        app: "app".to_owned(),
        cap: 1,
        memory: 64 << 20,
        drain: Duration::from_secs(30),
        order: LaneOrder {
            by: OrderBy::Key,
            no_key: NoKey::Partition,
        },
        failure: FailureRules {
            attempts_max: 3,
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(1),
            then: Then::Stop,
            stops: Stops::Lane,
        },
        timeout: Duration::from_secs(5),
        settle: Some(Duration::ZERO),
        park_max: 1_000,
        cut_at: 1_000,
        flush_interval: Duration::from_secs(1),
        unflushed_max: 10_000,
        records_per_call: 1,
        until_idle: false,
        starts_until: None,
        seed: 7,
    }
}

fn all_of(shard: Shard) -> Work {
    Work {
        shard,
        from: Start {
            begin: Begin::Horizon,
            certain: None,
        },
        until: Until::Now,
        key: None,
        on_gap: OnGap::Refuse,
    }
}

fn at(n: u64) -> Start {
    Start {
        begin: Begin::At(number(n)),
        certain: Some(number(n)),
    }
}

const FIVE: [(u64, &str, &str); 5] = [
    (11, "a", "a1"),
    (12, "b", "b1"),
    (13, "a", "a2"),
    (14, "b", "b2"),
    (15, "a", "a3"),
];

#[tokio::test(start_paused = true)]
async fn what_is_done_does_not_run_again_and_what_stood_is_known_as_open() {
    let (mut world, work) = World::with(&FIVE);
    world.script.rejects(&["a2"]);
    assert_eq!(world.known(&work.shard).await, Known::Nothing);
    let went = world.run(&work).await;
    assert_eq!((went.read, went.known, went.open), (5, 0, 2));
    assert_eq!(world.script.calls(), ["a1", "b1", "a2", "b2"]);
    let open = Known::Open {
        at: number(13),
        certain: Some(number(13)),
    };
    assert_eq!(world.known(&work.shard).await, open);
    // Stopped it stays, until somebody says otherwise.
    let from = at(13);
    let work = Work { from, ..work };
    let went = world.run(&work).await;
    assert_eq!((went.open, world.script.calls()), (2, Vec::<String>::new()));
    world.script.rejects(&[]);
    world.retry().await;
    world.fake.put("s", row(16, "a", "a4"));
    let went = world.run(&work).await;
    assert_eq!((went.open, went.last), (0, Some(number(16))));
    assert_eq!(world.script.calls(), ["a2", "a3", "a4"]);
    let went = world.run(&work).await;
    assert_eq!(went.known, went.read);
    assert_eq!(world.script.calls(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_lane_that_stands_in_a_parent_holds_its_key_in_the_child() {
    let (mut world, parent) = World::with(&FIVE[..3]);
    let rows = vec![row(21, "a", "a3"), row(22, "c", "c1")];
    let child = all_of(world.fake.shard("child", &["s"], (20, None), rows));
    world.script.rejects(&["a1"]);
    world.run(&parent).await;
    let went = world.run(&child).await;
    assert_eq!((went.read, went.open), (2, 1));
    assert_eq!(world.script.calls(), ["a1", "b1", "c1"]);
    world.script.rejects(&[]);
    world.retry().await;
    world.run(&parent).await;
    world.run(&child).await;
    assert_eq!(world.script.calls(), ["a1", "a2", "a3"]);
}

#[tokio::test(start_paused = true)]
async fn s14_a_range_ends_with_its_last_record_and_begins_with_its_first() {
    let (mut world, work) = World::with(&FIVE);
    let work = Work {
        from: at(12),
        until: Until::Through(number(14)),
        ..work
    };
    let went = world.run(&work).await;
    assert_eq!(
        (went.first, went.last),
        (Some(number(12)), Some(number(14)))
    );
    assert_eq!(world.script.calls(), ["b1", "a2", "b2"]);
    let before = Work {
        from: at(11),
        until: Until::Before(number(12)),
        ..work.clone()
    };
    world.run(&before).await;
    assert_eq!(world.script.calls(), ["a1"]);
    let by_time = Work {
        from: Start {
            begin: Begin::Time(14_500),
            certain: None,
        },
        until: Until::Time(15_001),
        ..work
    };
    world.run(&by_time).await;
    assert_eq!(world.script.calls(), ["a3"]);
}

#[tokio::test(start_paused = true)]
async fn what_retention_has_removed_is_a_gap_that_names_both_sides() {
    let (mut world, work) = World::with(&FIVE);
    world.fake.trim(13);
    let work = Work {
        from: at(11),
        until: Until::Through(number(14)),
        ..work
    };
    let gap = |went: &Went| went.gap.clone().expect("a gap");
    let refused = world.run(&work).await;
    assert!(!gap(&refused).went_on && refused.read == 0);
    let text = gap(&refused).to_string();
    assert!(
        text.contains("from 11 on") && text.contains("from 13 on"),
        "{text}"
    );
    assert_eq!(world.script.calls(), Vec::<String>::new());
    let earliest = Work {
        on_gap: OnGap::Earliest,
        ..work.clone()
    };
    let went = world.run(&earliest).await;
    assert!(gap(&went).went_on);
    assert_eq!(world.script.calls(), ["a2", "b2"]);
    world.fake.trim(100);
    let all_gone = world.run(&earliest).await;
    assert_eq!((gap(&all_gone).oldest, all_gone.read), (None, 0));
    // Where nothing is known to have been, nothing is lost.
    let from = Start {
        certain: None,
        ..at(11)
    };
    let went = world.run(&Work { from, ..work }).await;
    assert_eq!(went.gap, None);
}

#[tokio::test(start_paused = true)]
async fn a_place_between_records_is_none_that_is_lost() {
    let (mut world, work) = World::with(&[(11, "a", "a1"), (15, "a", "a2")]);
    let went = world
        .run(&Work {
            from: at(13),
            ..work
        })
        .await;
    assert_eq!(
        (went.gap, world.script.calls()),
        (None, vec!["a2".to_owned()])
    );
}

#[tokio::test(start_paused = true)]
async fn of_one_key_nothing_else_runs() {
    let (mut world, work) = World::with(&FIVE);
    let key = Some(b"b".to_vec());
    let work = Work { key, ..work };
    let went = world.run(&work).await;
    assert_eq!(
        (went.read, world.script.calls()),
        (2, vec!["b1".to_owned(), "b2".to_owned()])
    );
    let mut seen = Vec::new();
    let stream = shared(&world.fake);
    let gap = look(&stream, &work, |entry| seen.push(entry.position().clone()));
    assert_eq!(gap.await.expect("read"), None);
    assert_eq!(seen, [number(12), number(14)]);
}

#[tokio::test(start_paused = true)]
async fn k13_a_stream_without_keys_is_refused_by_name() {
    let (mut world, work) = World::with(&[]);
    let unplaced = Row {
        key: None,
        ..row(11, "", "v")
    };
    world.fake.put("s", unplaced);
    let error = world.try_run(&work).await.expect_err("no order");
    assert!(
        error
            .to_string()
            .contains("RecordDistributionStrategy=AUTO"),
        "{error}"
    );
    assert_eq!(world.script.calls(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn told_to_stop_it_ends_before_the_next_batch() {
    let (mut world, work) = World::with(&FIVE);
    world.stop.send(Stop::Drain).expect("it listens");
    let went = world.run(&work).await;
    assert!(went.is_cut && went.read == 0);
    let went = world.run(&work).await;
    assert!(!went.is_cut && went.read == 5);
}

#[tokio::test(start_paused = true)]
async fn what_was_put_after_the_beginning_is_left() {
    let (mut world, work) = World::with(&FIVE);
    // Another one with each page: it would never come to an end.
    let fake = Arc::clone(&world.fake);
    let feed = tokio::spawn(async move {
        for n in 16.. {
            fake.put("s", row(n, "a", "late"));
            sleep(Duration::from_millis(10)).await;
        }
    });
    let went = world.run(&work).await;
    feed.abort();
    assert!(went.last >= Some(number(15)), "{:?}", went.last);
    assert!(went.last <= Some(number(17)), "{:?}", went.last);
    let calls = world.script.calls();
    assert_eq!(calls[..5], ["a1", "b1", "a2", "b2", "a3"]);
    assert!(calls[5..].iter().all(|value| value == "late"));
}

/// A shard has more marks than anybody wants to read.
#[tokio::test(start_paused = true)]
async fn marks_of_long_ago_are_looked_at_where_there_are_no_later_ones() {
    const HOUR: u64 = 3_600;
    let (mut world, work) = World::with(&[(HOUR, "a", "a1"), (10 * HOUR, "a", "a2")]);
    let first = Work {
        until: Until::Through(number(HOUR)),
        ..work.clone()
    };
    world.run(&first).await;
    let stream = shared(&world.fake);
    let now = 10_i64 * 3_600_000 + 1;
    let of = |marks: Vec<crate::store::Mark>| -> Vec<Position> {
        marks.into_iter().map(|mark| mark.first).collect()
    };
    let marks = latest_marks(&stream, &world.store, "orders", &work.shard, now).await;
    assert_eq!(of(marks.expect("marks")), [number(HOUR)]);
    let second = Work {
        from: at(10 * HOUR),
        ..work.clone()
    };
    world.run(&second).await;
    let stream = shared(&world.fake);
    let marks = latest_marks(&stream, &world.store, "orders", &work.shard, now).await;
    assert_eq!(of(marks.expect("marks")), [number(10 * HOUR)]);
}

#[tokio::test(start_paused = true)]
async fn s11_an_aggregate_is_read_apart_and_what_is_done_of_it_is_known() {
    let (mut world, work) = World::with(&[]);
    let aggregate = Row {
        data: kpl::tests::bytes(kpl::tests::FIVE).to_vec(),
        ..row(20, "alice", "")
    };
    world.fake.put("s", aggregate);
    world.script.rejects(&["r3"]);
    let went = world.run(&work).await;
    assert_eq!((went.read, went.open), (5, 2));
    assert_eq!(world.script.calls(), ["r0", "r1", "r2", "r3"]);
    world.script.rejects(&[]);
    world.retry().await;
    world.run(&work).await;
    assert_eq!(world.script.calls(), ["r3", "r4"]);
    // What a destination names is the aggregate, as a whole; an operator may name a record in it.
    let range = Work {
        from: at(20),
        until: Until::Through(number(20)),
        ..work.clone()
    };
    assert_eq!(world.run(&range).await.read, 5);
    let third = Position::sequence("20", Some(3)).expect("a position");
    let within = Work {
        from: Start {
            begin: Begin::At(third.clone()),
            certain: Some(third.clone()),
        },
        until: Until::Through(third),
        ..work
    };
    let went = world.run(&within).await;
    assert_eq!((went.read, went.gap), (1, None));
}

/// The mapping of a registered consumer counts an aggregate's records within each of its events.
#[tokio::test(start_paused = true)]
async fn g6_behind_enhanced_fan_out_marks_do_not_speak_of_an_aggregates_records() {
    let (mut world, work) = World::with(&[]);
    let aggregate = Row {
        data: kpl::tests::bytes(kpl::tests::FIVE).to_vec(),
        ..row(20, "alice", "")
    };
    world.fake.put("s", aggregate);
    world.run(&work).await;
    world.script.calls();
    let stops = world.stops.take().expect("one at a time");
    let recovery = Recovery::new(&world.function, shared(&world.fake), "orders", stops);
    let mut recovery = recovery.behind_fan_out(true);
    let mut went = Went::default();
    recovery.run(&work, &mut went).await.expect("it runs");
    assert_eq!(world.script.calls(), ["r0", "r1", "r2", "r3", "r4"]);
}
