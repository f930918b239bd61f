//! Where reading begins, and what happens when the log does not hold what the checkpoint asks for.

use super::*;

fn checkpoint(resume: u64, settled_to: u64, open: &[u64]) -> Checkpoint {
    Checkpoint {
        resume: Resume::After(Position::Offset(resume)),
        settled_to: (settled_to > 0).then_some(Position::Offset(settled_to)),
        open: open.iter().map(|&n| Position::Offset(n)).collect(),
        ..Checkpoint::default()
    }
}

/// Positions that are read until the source says that it is at the end; where it was placed.
async fn read(
    world: &World,
    settings: Settings,
    found: Option<Checkpoint>,
) -> (Vec<u64>, Resume<Position>, Option<String>) {
    let mut host = world.serve(settings);
    host.checkpoints
        .extend(found.map(|c| ("orders/0".to_owned(), c)));
    let mut records = Vec::new();
    while host.behind.get("orders/0") != Some(&0) {
        records.extend(host.event().await.0);
    }
    let (from, gap) = host.positioned.remove("orders/0").expect("placed");
    assert_eq!(host.end().await, Ok(()));
    (offsets(&records, 0), from, gap)
}

async fn refused(world: &World, settings: Settings, found: Option<Checkpoint>) -> String {
    let mut host = world.serve(settings);
    host.checkpoints
        .extend(found.map(|c| ("orders/0".to_owned(), c)));
    host.refusal().await
}

fn at(position: u64) -> Resume<Position> {
    Resume::At(Position::Offset(position))
}

fn up_to(first: u64, last: u64) -> Vec<u64> {
    (first..=last).collect()
}

/// 100 records of which the first 40 were removed.
fn trimmed() -> World {
    let world = World::new(1);
    let topic = world.fill(0, 40);
    let mut log = world.log();
    log.trim(&topic, 0, i64::MAX).expect("trimmed");
    world.fill(0, 60);
    world
}

#[tokio::test]
async fn without_checkpoint_start_decides() {
    let world = trimmed();
    let settings = |start| Settings {
        start,
        ..world.settings()
    };
    let earliest = read(&world, settings(StartAt::Earliest), None).await;
    assert_eq!(earliest, (up_to(41, 100), at(41), None));
    let latest = read(&world, settings(StartAt::Latest), None).await;
    assert_eq!(latest, (Vec::new(), at(101), None));
    let long_ago = read(&world, settings(StartAt::Time(0)), None).await;
    assert_eq!(long_ago, (up_to(41, 100), at(41), None));
    let in_future = read(&world, settings(StartAt::Time(i64::MAX)), None).await;
    assert_eq!(in_future, (Vec::new(), at(101), None));
    let why = refused(&world, settings(StartAt::Refuse), None).await;
    assert!(
        why.contains("`s/orders/0` has no checkpoint, and `start` is `refuse`"),
        "{why}"
    );
    // With a checkpoint `start` says nothing.
    let found = Some(checkpoint(90, 0, &[]));
    let after = read(&world, settings(StartAt::Refuse), found).await;
    assert_eq!(
        after,
        (up_to(91, 100), Resume::After(Position::Offset(90)), None)
    );
}

#[tokio::test]
async fn a_checkpoint_older_than_the_log_is_a_gap() {
    let world = trimmed();
    let found = || Some(checkpoint(4, 50, &[5, 30, 45]));
    let settings = |on_gap| Settings {
        on_gap,
        ..world.settings()
    };
    let why = refused(&world, settings(OnGap::Refuse), found()).await;
    for part in [
        "`s/orders/0` has to go on at position 5",
        "begins at 41",
        "open of 5 to 40 is gone",
        "retention last removed records at 20",
        "`on_gap` is `refuse`",
    ] {
        assert!(why.contains(part), "{part}: {why}");
    }
    let (records, from, gap) = read(&world, settings(OnGap::Earliest), found()).await;
    let expected: Vec<u64> = [45].into_iter().chain(51..=100).collect();
    assert_eq!(
        (records, from),
        (expected, at(41)),
        "what is settled stays settled"
    );
    let gap = gap.expect("said");
    assert!(
        gap.contains("5 to 40") && gap.ends_with("going on at position 41"),
        "{gap}"
    );
    let (records, from, gap) = read(&world, settings(OnGap::Latest), found()).await;
    assert_eq!((records, from), (Vec::new(), at(101)));
    assert!(gap.expect("said").ends_with("going on at position 101"));
}

#[tokio::test]
async fn what_is_gone_and_settled_is_no_gap() {
    let world = trimmed();
    let found = checkpoint(4, 50, &[45]);
    let (records, from, gap) = read(&world, world.settings(), Some(found)).await;
    let expected: Vec<u64> = [45].into_iter().chain(51..=100).collect();
    assert_eq!(
        (records, from, gap),
        (expected, Resume::After(Position::Offset(4)), None)
    );
    let exact = Some(checkpoint(40, 0, &[]));
    let (records, _, gap) = read(&world, world.settings(), exact).await;
    assert_eq!((records, gap), (up_to(41, 100), None));
}

#[tokio::test]
async fn a_checkpoint_ahead_of_the_log_is_a_gap() {
    let world = trimmed();
    let settings = |on_gap| Settings {
        on_gap,
        ..world.settings()
    };
    for found in [checkpoint(101, 0, &[]), checkpoint(50, 101, &[])] {
        let why = refused(&world, settings(OnGap::Refuse), Some(found.clone())).await;
        let parts = [
            "`s/orders/0` is at position 101",
            "ends at 100",
            "an older copy",
        ];
        assert!(parts.iter().all(|part| why.contains(part)), "{why}");
        let earliest = read(&world, settings(OnGap::Earliest), Some(found.clone())).await;
        assert_eq!((earliest.0, earliest.1), (up_to(41, 100), at(41)));
        assert!(earliest.2.is_some());
        let latest = read(&world, settings(OnGap::Latest), Some(found)).await;
        assert_eq!((latest.0, latest.1), (Vec::new(), at(101)));
    }
    // At the very end it is not ahead.
    let (records, _, gap) = read(&world, world.settings(), Some(checkpoint(100, 0, &[]))).await;
    assert_eq!((records, gap), (Vec::new(), None));
}

#[tokio::test]
async fn a_checkpoint_of_another_log_is_a_gap() {
    let world = trimmed();
    let mut found = checkpoint(60, 0, &[]);
    let here = world
        .log()
        .topic("orders")
        .expect("readable")
        .expect("there")
        .id;
    found.incarnation = Some(here.to_string());
    let same = read(&world, world.settings(), Some(found.clone())).await;
    assert_eq!((same.0, same.2), (up_to(61, 100), None));
    let there = Uuid::new_v4();
    found.incarnation = Some(there.to_string());
    let why = refused(&world, world.settings(), Some(found.clone())).await;
    let parts = [
        there.to_string(),
        here.to_string(),
        "position 60".to_owned(),
    ];
    assert!(parts.iter().all(|part| why.contains(part)), "{why}");
    let settings = Settings {
        on_gap: OnGap::Earliest,
        ..world.settings()
    };
    let earliest = read(&world, settings, Some(found)).await;
    assert_eq!((earliest.0, earliest.1), (up_to(41, 100), at(41)));
    let foreign = Checkpoint {
        resume: Resume::After(Position::sequence("4959", None).expect("sound")),
        ..Checkpoint::default()
    };
    let why = refused(&world, world.settings(), Some(foreign)).await;
    assert!(
        why.contains("at position 4959, which is no position of an embedded log"),
        "{why}"
    );
}

#[tokio::test]
async fn rows_that_somebody_removed_are_a_gap() {
    let world = World::new(1);
    world.fill(0, 100);
    let other = rusqlite::Connection::open(world.path()).expect("open");
    let sql = "DELETE FROM log_records WHERE id & 0xFFFFFFFFFF IN (31, 32, 33, 100)";
    assert_eq!(other.execute(sql, []), Ok(4));
    let settings = |on_gap| Settings {
        on_gap,
        ..world.settings()
    };
    let mut host = world.serve(settings(OnGap::Refuse));
    assert_eq!(offsets(&host.take(30).await, 0), up_to(1, 30));
    let why = host.refusal().await;
    assert!(
        why.contains("holds positions 1 to 100, and 31 to 33 of them are gone"),
        "{why}"
    );
    for (on_gap, expected, passed) in [
        (
            OnGap::Earliest,
            [up_to(1, 30), up_to(34, 99)].concat(),
            vec![33, 100],
        ),
        (OnGap::Latest, up_to(1, 30), vec![100]),
    ] {
        let mut host = world.serve(settings(on_gap));
        let (mut seen, mut over) = (Vec::new(), Vec::new());
        while host.behind.get("orders/0") != Some(&0) {
            let (records, passed) = host.event().await;
            seen.extend(offsets(&records, 0));
            over.extend(passed);
        }
        assert_eq!((seen, over), (expected, passed));
        assert_eq!(host.end().await, Ok(()));
    }
}

#[tokio::test]
async fn a_damaged_row_ends_the_source_by_name() {
    let world = World::new(1);
    world.fill(0, 10);
    let other = rusqlite::Connection::open(world.path()).expect("open");
    let sql = "UPDATE log_records SET value = CAST('y' AS BLOB) WHERE id & 0xFFFFFFFFFF = 7";
    assert_eq!(other.execute(sql, []), Ok(1));
    let why = refused(&world, world.settings(), None).await;
    assert!(
        why.contains("position 7 of `orders/0`") && why.contains("a.db"),
        "{why}"
    );
}
