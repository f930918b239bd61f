//! Registration, retention, and the lock's loss.

use super::*;

fn frontier(world: &World, partition: u32) -> Option<u64> {
    let log = world.log();
    let topic = log.topic("orders").expect("readable").expect("there");
    log.frontier(("billing", "s"), &topic, partition)
        .expect("readable")
}

#[tokio::test]
async fn the_durable_frontier_is_registered() {
    let world = World::new(2);
    world.fill(0, 100);
    let mut host = world.serve(world.settings());
    host.take(100).await;
    assert_eq!(
        (frontier(&world, 0), frontier(&world, 1)),
        (Some(0), Some(0))
    );
    host.order(Order::Committed(name(0), Position::Offset(30)));
    let until = Instant::now() + LONG;
    while frontier(&world, 0) != Some(30) {
        assert!(Instant::now() < until, "registered while it runs");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    host.order(Order::Committed(name(0), Position::Offset(77)));
    assert_eq!(host.end().await, Ok(()));
    assert_eq!(
        (frontier(&world, 0), frontier(&world, 1)),
        (Some(77), Some(0)),
        "at the end too"
    );
}

#[tokio::test]
async fn a_checkpoint_that_was_moved_back_holds_retention_back() {
    let world = World::new(1);
    let topic = world.fill(0, 100);
    let consumer = ("billing", "s");
    world
        .log()
        .put_frontiers(consumer, &topic, &[(0, 90)])
        .expect("registered");
    let mut host = world.serve(world.settings());
    let rewound = Checkpoint {
        resume: Resume::At(Position::Offset(21)),
        ..Checkpoint::default()
    };
    host.checkpoints.insert("orders/0".to_owned(), rewound);
    host.take(80).await;
    assert_eq!(frontier(&world, 0), Some(20));
    let trimmed = world.log().trim(&topic, 0, i64::MAX).expect("trimmed");
    assert_eq!(trimmed.first, 21);
    assert_eq!(host.end().await, Ok(()));
}

#[tokio::test]
async fn retention_removes_what_every_reader_has_behind_it() {
    let world = World::new(2);
    world.fill(0, 100);
    world.fill(1, 100);
    let topic = world.fill(0, 1);
    let slow = ("audit", "s");
    world
        .log()
        .put_frontiers(slow, &topic, &[(0, 25), (1, 200)])
        .expect("registered");
    let settings = Settings {
        retention: Some(Duration::from_millis(1)),
        ..world.settings()
    };
    let mut host = world.serve(settings);
    host.take(201).await;
    host.order(Order::Committed(name(0), Position::Offset(60)));
    host.order(Order::Committed(name(1), Position::Offset(70)));
    let first = |partition| {
        world
            .log()
            .bounds(&topic, partition)
            .expect("readable")
            .first
    };
    let until = Instant::now() + LONG;
    while (first(0), first(1)) != (26, 71) {
        assert!(Instant::now() < until, "{:?}", (first(0), first(1)));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(host.end().await, Ok(()));
    assert_eq!((first(0), first(1)), (26, 71));
}

#[tokio::test]
async fn a_source_whose_lock_is_taken_ends() {
    let world = World::new(1);
    world.fill(0, 10);
    let mut host = world.serve(world.settings());
    host.take(10).await;
    // What a take-over does: another file in the lock's place.
    let lock = world.folder.path().join("a.db.billing.lock");
    std::fs::remove_file(&lock).expect("removed");
    let _theirs = Lock::acquire(&world.path(), "billing", Uuid::new_v4()).expect("free");
    host.order(Order::Committed(name(0), Position::Offset(9)));
    let why = host.refusal().await;
    assert!(
        why.contains("a.db.billing.lock") && why.contains("is not this process's any more"),
        "{why}"
    );
    assert_eq!(
        frontier(&world, 0),
        Some(0),
        "it leaves the registration to its successor"
    );
}

#[tokio::test]
async fn g1_a_claim_that_comes_after_a_take_over_reads_nothing() {
    let world = World::new(1);
    world.fill(0, 10);
    let mut host = world.serve(world.settings());
    let claim = loop {
        let event = host.next().await.expect("it goes on");
        if matches!(event, Event::Assigned { .. }) {
            break event;
        }
        host.note(event);
    };
    let lock = world.folder.path().join("a.db.billing.lock");
    std::fs::remove_file(&lock).expect("removed");
    let _theirs = Lock::acquire(&world.path(), "billing", Uuid::new_v4()).expect("free");
    host.note(claim);
    while let Some(event) = host.next().await {
        assert!(!matches!(event, Event::Positioned { .. }), "{event:?}");
    }
    let why = host.end().await.expect_err("taken over").to_string();
    assert!(why.contains("is not this process's any more"), "{why}");
}
