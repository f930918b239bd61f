use super::{Extent, OnGap, Settings, StartAt, lock::Lock, log::NewRecord};
use crate::{
    checkpoint::Checkpoint,
    position::Position,
    record::{NoKey, Record},
    source::{Event, Order},
};
use host::{LONG, World, name, offsets};
use partitions::{Item, Resume};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};
use uuid::Uuid;

mod extent;
mod gaps;
mod host;
mod upkeep;

#[tokio::test]
async fn all_records_come_once_and_in_order() {
    let world = World::new(3);
    let counts = [1_500, 0, 700];
    let values: Vec<Vec<u8>> = (0..1_500)
        .map(|n| format!("value {n}").into_bytes())
        .collect();
    for (partition, &count) in (0..).zip(&counts) {
        let records: Vec<_> = values[..count]
            .iter()
            .map(|v| (partition, Some("k"), &v[..]))
            .collect();
        world.append(&records);
    }
    let mut host = world.serve(world.settings());
    let records = host.take(2_200).await;
    for (partition, &count) in (0..).zip(&counts) {
        assert_eq!(
            offsets(&records, partition),
            (1..=count as u64).collect::<Vec<_>>()
        );
    }
    for record in &records {
        let n = usize::try_from(record.position().offset().expect("an offset")).expect("small");
        assert_eq!(record.value(), Some(&values[n - 1][..]));
        assert_eq!(
            (record.key(), record.headers().count()),
            (Some(&b"k"[..]), 0)
        );
        assert!(record.timestamp().is_some());
    }
    assert!(host.rest().await.is_empty());
    assert_eq!(
        host.behind.values().collect::<BTreeSet<_>>(),
        BTreeSet::from([&0])
    );
    assert_eq!(
        host.behind.len(),
        3,
        "each partition says that its end is reached"
    );
    assert_eq!(
        host.positioned["orders/1"],
        (Resume::At(Position::Offset(1)), None)
    );
    assert_eq!(host.end().await, Ok(()));
}

#[tokio::test]
async fn partitions_are_announced_with_the_log_id() {
    let world = World::new(2);
    let topic = world.fill(0, 1);
    let mut host = world.serve(world.settings());
    for partition in 0..2 {
        match host.next().await {
            Some(Event::Assigned {
                partition: found,
                incarnation,
                siblings: None,
                holder_is_dead,
                start,
            }) => {
                assert_eq!(found, name(partition));
                assert_eq!(incarnation, Some(topic.id.to_string()));
                assert!(holder_is_dead);
                // This one is left alone.
                start.send(None).expect("it waits");
            }
            other => panic!("assigned, not {other:?}"),
        }
    }
    match host.next().await {
        Some(Event::Announced { source, partitions }) => {
            assert_eq!((&*source, partitions), ("s", 2))
        }
        other => panic!("announced, not {other:?}"),
    }
    assert!(host.rest().await.is_empty());
    assert!(host.positioned.is_empty());
    assert_eq!(host.end().await, Ok(()));
}

#[tokio::test]
async fn what_is_put_while_reading_comes_too() {
    let world = World::new(2);
    let mut host = world.serve(world.settings());
    let mut seen = 0;
    for round in 1..=20 {
        world.fill(round % 2, 3);
        world.fill(0, 1);
        let records = host.take(4).await;
        seen += records.len();
        // The channel says the end anew each time.
        host.behind.clear();
        while host.behind.get("orders/0") != Some(&0) {
            let event = host.next().await.expect("it goes on");
            host.note(event);
        }
    }
    assert_eq!(seen, 80);
    assert_eq!(host.end().await, Ok(()));
}

#[tokio::test]
async fn a_topic_that_is_not_there_is_waited_for() {
    let world = World::new(1);
    let settings = Settings {
        topic: "later".to_owned(),
        ..world.settings()
    };
    let mut host = world.serve(settings);
    match host.next().await {
        Some(Event::Announced { partitions: 0, .. }) => {}
        other => panic!("nothing is announced, not {other:?}"),
    }
    world
        .log()
        .append("later", Some(1), |_| {
            vec![NewRecord {
                partition: 0,
                key: None,
                value: b"x",
            }]
        })
        .expect("appended");
    assert_eq!(host.take(1).await[0].value(), Some(&b"x"[..]));
    assert_eq!(host.end().await, Ok(()));
    let waiting = world.serve(Settings {
        topic: "never".to_owned(),
        ..world.settings()
    });
    assert_eq!(waiting.end().await, Ok(()), "waiting, it obeys");
}

#[tokio::test]
async fn a_paused_partition_hands_over_nothing_and_holds_up_none() {
    let world = World::new(2);
    world.fill(0, 2_000);
    let mut host = world.serve(world.settings());
    let mut first = host.batch().await.expect("records");
    host.order(Order::Pause(name(0)));
    // What was on its way when the order came still comes, before the answer to it.
    first.extend(host.rest().await);
    let paused_at = first.len();
    assert_eq!(host.paused, ["orders/0"]);
    world.fill(0, 10);
    world.fill(1, 10);
    let others = host.rest().await;
    assert_eq!(
        (offsets(&others, 0), offsets(&others, 1).len()),
        (Vec::new(), 10)
    );
    assert_eq!(host.behind["orders/0"], 2_010 - paused_at as u64);
    host.order(Order::Resume(name(0)));
    first.extend(host.take(2_010 - paused_at).await);
    assert_eq!(offsets(&first, 0), (1..=2_010).collect::<Vec<_>>());
    assert_eq!(host.end().await, Ok(()));
}

#[tokio::test]
async fn the_budget_is_never_exceeded_and_holds_up_none() {
    let world = World::new(2);
    world.fill(0, 400);
    let mut host = world.serve(world.settings());
    host.share = 10_000;
    // Partition 0 fills its share and stands; each record is at least 100 + 1 + 160 bytes.
    let mut held = host.take(1).await;
    held.extend(host.rest().await);
    let weight: u64 = held.iter().map(|r| u64::from(r.weight())).sum();
    assert!(weight <= 10_000 && weight > 5_000, "{weight} bytes are out");
    assert!(held.len() < 40);
    assert!(
        host.starved.remove("orders/0").is_some(),
        "it says that it finds no room"
    );
    // Partition 1 goes on meanwhile.
    world.fill(1, 20);
    assert_eq!(offsets(&host.take(20).await, 1).len(), 20);
    let mut seen = offsets(&held, 0);
    while seen.len() < 400 {
        drop(std::mem::take(&mut held));
        held = host.take(1).await;
        held.extend(host.rest().await);
        let weight: u64 = held.iter().map(|r| u64::from(r.weight())).sum();
        assert!(weight <= 10_000, "{weight} bytes are out");
        seen.extend(offsets(&held, 0));
    }
    assert_eq!(seen, (1..=400).collect::<Vec<_>>());
    assert_eq!(host.end().await, Ok(()));
}

#[tokio::test]
async fn one_oversized_record_travels_alone() {
    let world = World::new(1);
    let (small, large) = ([b's'; 50], vec![b'l'; 200_000]);
    let record = |value| (0, Some("k"), value);
    world.append(&[
        record(&small[..]),
        record(&large),
        record(&small),
        record(&large),
        record(&large),
        record(&small),
    ]);
    let mut host = world.serve(world.settings());
    host.share = 100_000;
    let mut sizes = Vec::new();
    while sizes.len() < 6 {
        let batch = host.batch().await.expect("records");
        if batch.iter().any(|r| r.bytes() > 100_000) {
            assert_eq!(batch.len(), 1);
            assert!(host.rest().await.is_empty(), "nothing comes beside it");
        }
        sizes.extend(batch.iter().map(|r| r.value().map_or(0, <[u8]>::len)));
        if sizes.len() == 1 {
            assert!(
                host.rest().await.is_empty(),
                "it waits until the small one has gone"
            );
        }
        drop(batch);
    }
    assert_eq!(sizes, [50, 200_000, 50, 200_000, 200_000, 50]);
    assert_eq!(host.end().await, Ok(()));
}

#[tokio::test]
async fn batches_are_bounded() {
    let world = World::new(1);
    world.append(&vec![(0, None, &b"x"[..]); 2_000]);
    world.append(&vec![(0, None, &[b'y'; 10_000][..]); 50]);
    let mut host = world.serve(world.settings());
    host.share = 64 << 20;
    let (mut seen, mut most, mut largest) = (0, 0, 0);
    while seen < 2_050 {
        let batch = host.batch().await.expect("records");
        most = most.max(batch.len());
        largest = largest.max(batch.iter().map(Record::bytes).sum::<usize>());
        seen += batch.len();
    }
    assert_eq!(most, 512);
    assert!((50_000..=(64 << 10) + 512).contains(&largest), "{largest}");
    assert_eq!(host.end().await, Ok(()));
}

#[tokio::test]
async fn only_what_is_open_is_read_again() {
    let world = World::new(1);
    world.fill(0, 5_000);
    let mut host = world.serve(world.settings());
    let open = [11, 500, 501, 4_000];
    let checkpoint = Checkpoint {
        resume: Resume::After(Position::Offset(10)),
        settled_to: Some(Position::Offset(4_990)),
        open: open.iter().map(|&n| Position::Offset(n)).collect(),
        ..Checkpoint::default()
    };
    host.checkpoints.insert("orders/0".to_owned(), checkpoint);
    let records = host.take(14).await;
    let expected: Vec<u64> = open.into_iter().chain(4_991..=5_000).collect();
    assert_eq!(offsets(&records, 0), expected);
    assert!(host.rest().await.is_empty());
    assert_eq!(
        host.positioned["orders/0"],
        (Resume::After(Position::Offset(10)), None)
    );
    assert_eq!(host.behind["orders/0"], 0);
    assert_eq!(host.end().await, Ok(()));
}

#[tokio::test]
async fn a_record_without_key_may_be_refused() {
    let world = World::new(1);
    world.append(&[(0, Some("a"), b"1"), (0, Some(""), b"2"), (0, None, b"3")]);
    let mut settings = world.settings();
    settings.order.no_key = NoKey::Refuse;
    let mut host = world.serve(settings);
    assert_eq!(
        offsets(&host.take(2).await, 0),
        [1, 2],
        "what is before it comes"
    );
    let why = host.refusal().await;
    assert!(
        why.contains("`s/orders/0`") && why.contains("position 3 has no key"),
        "{why}"
    );
}

#[tokio::test]
async fn a_source_that_is_dropped_ends_its_thread() {
    let world = World::new(1);
    world.fill(0, 10);
    let mut host = world.serve(world.settings());
    host.take(10).await;
    host.serving.abort();
    while host.next().await.is_some() {}
    // Its lock is free once the thread has gone.
    let until = Instant::now() + LONG;
    while let Err(error) = Lock::acquire(&world.path(), "billing", Uuid::new_v4()) {
        assert!(Instant::now() < until, "{error}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
