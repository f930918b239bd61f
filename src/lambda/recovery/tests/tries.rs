//! Batches that are tried more than once, and what is open in between.

use super::*;

/// What is done of such an aggregate is known within one recovery, though no mark says it.
#[tokio::test(start_paused = true)]
async fn g6_another_try_of_a_batch_behind_enhanced_fan_out_brings_what_is_open_alone() {
    let (mut world, work) = World::with(&[]);
    let aggregate = Row {
        data: kpl::tests::bytes(kpl::tests::FIVE).to_vec(),
        ..row(20, "alice", "")
    };
    world.fake.put("s", aggregate);
    let after = Duration::from_hours(1);
    world.script.fails_once("r3", after);
    world.function.settings.failure.backoff_max = after;
    let stops = world.stops.take().expect("one at a time");
    let recovery = Recovery::new(&world.function, shared(&world.fake), "orders", stops);
    let mut went = Went::default();
    let mut recovery = recovery.behind_fan_out(true);
    recovery.run(&work, &mut went).await.expect("it runs");
    assert_eq!(world.script.calls(), ["r0", "r1", "r2", "r3", "r3", "r4"]);
    assert_eq!((went.read, went.open, went.is_cut), (5, 0, false));
}

#[tokio::test(start_paused = true)]
async fn told_to_stop_while_it_waits_it_ends_there() {
    let (mut world, work) = World::with(&FIVE[..1]);
    // Not within the second invocation, but within a third one that began when it is told to stop.
    let after = LEFT - Duration::from_secs(3);
    world.script.fails_once("a1", after);
    world.function.settings.failure.backoff_max = after;
    let began = Instant::now();
    let stop = world.stop.clone();
    let told = tokio::spawn(async move {
        sleep(AGAIN / 2).await;
        stop.send(Stop::Drain).expect("it listens");
    });
    let went = world.run(&work).await;
    told.await.expect("told");
    assert_eq!((went.is_cut, went.open), (true, 1));
    assert_eq!(world.script.calls(), ["a1"]);
    assert!(began.elapsed() < AGAIN, "{:?}", began.elapsed());
}

/// The one that has them may have been killed: then nothing but another try says so.
#[tokio::test(start_paused = true)]
async fn what_is_open_behind_no_lane_that_stands_is_told_apart() {
    let (mut world, work) = World::with(&FIVE[..3]);
    world.script.rejects(&["a1"]);
    world.run(&work).await;
    let rows: Vec<Row> = { FIVE[..3].iter() }
        .map(|(n, key, value)| row(*n, key, value))
        .collect();
    let read = kinesis::Shard::read("s", &rows).expect("sound");
    let delivery = Delivery {
        partitions: vec![read.expect("three records")],
        ..Delivery::new(EventKind::Kinesis, None)
    };
    let open: Open = (11..=13).map(|n| ("s".into(), number(n))).collect();
    let source = "orders".into();
    let adrift = async |function: &Function| {
        let count = adrift::count(function, &source, &delivery, &open).await;
        count.expect("the store answers")
    };
    // Of key a all waits for its head, and nothing says why b1 is open.
    assert_eq!(adrift(&world.function).await, 1);
    world.function.settings.failure.stops = Stops::Partition;
    assert_eq!(adrift(&world.function).await, 0);
}
