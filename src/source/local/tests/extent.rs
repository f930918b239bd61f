//! Parts of a topic: some partitions, up to a position, of one key.

use super::*;
use std::collections::BTreeMap;

#[tokio::test]
async fn what_is_behind_the_end_and_other_partitions_are_left() {
    let world = World::new(3);
    world.fill(0, 4);
    let topic = world.fill(2, 7);
    let ends = BTreeMap::from([("orders/2".into(), 6)]);
    let mut host = world.serve(Settings {
        extent: Extent::Before(ends),
        ..world.settings()
    });
    assert_eq!(offsets(&host.take(5).await, 2), [1, 2, 3, 4, 5]);
    world.fill(2, 3);
    world.fill(0, 3);
    assert!(host.rest().await.is_empty());
    assert_eq!(host.behind, BTreeMap::from([("orders/2".to_owned(), 0)]));
    assert_eq!(host.positioned.keys().collect::<Vec<_>>(), ["orders/2"]);
    assert_eq!(host.end().await, Ok(()));
    let readers = world.log().consumers(&topic.name).expect("readers");
    let partitions: Vec<_> = readers.iter().map(|r| r.partition).collect();
    assert_eq!(partitions, [2], "the others have no reader yet");
}

#[tokio::test]
async fn apart_one_key_of_a_range_is_read_and_nobody_is_registered() {
    let world = World::new(2);
    let keys = ["a", "b", "a", "b", "b", "a", "a", "b", "b"];
    let records: Vec<_> = keys.iter().map(|k| (1, Some(*k), &b"v"[..])).collect();
    let topic = world.append(&records);
    let mut host = world.serve(Settings {
        extent: Extent::Apart {
            ranges: BTreeMap::from([("orders/1".into(), (2, 6))]),
            key: Some(b"a".to_vec()),
        },
        // Nothing of it is removed meanwhile either.
        retention: Some(Duration::from_millis(1)),
        ..world.settings()
    });
    assert_eq!(offsets(&host.take(2).await, 1), [3, 6]);
    assert!(host.rest().await.is_empty());
    let from = Resume::At(Position::Offset(2));
    assert_eq!(host.positioned["orders/1"], (from, None));
    assert_eq!(host.behind["orders/1"], 0);
    host.order(Order::Committed(name(1), Position::Offset(6)));
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert_eq!(host.end().await, Ok(()));
    assert_eq!(world.log().consumers(&topic.name), Ok(Vec::new()));
    assert_eq!(world.log().bounds(&topic, 1).expect("bounds").first, 1);
}

#[tokio::test]
async fn apart_where_nothing_of_the_key_is_left_is_passed_over() {
    let world = World::new(1);
    world.fill(0, 1_100);
    world.append(&[(0, Some("a"), &b"v"[..])]);
    let mut host = world.serve(Settings {
        extent: Extent::Apart {
            ranges: BTreeMap::from([("orders/0".into(), (1, 1_100))]),
            key: Some(b"a".to_vec()),
        },
        ..world.settings()
    });
    // A record would be an event that is not expected.
    while host.behind.get("orders/0") != Some(&0) {
        let event = host.next().await.expect("it goes on");
        host.note(event);
    }
    assert_eq!(host.end().await, Ok(()));
}
