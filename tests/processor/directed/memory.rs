//! G9: a source is paused in time, and goes on.

use super::{
    deeds::{Act, Deed},
    world::{Seat, World, millis, settings},
};
use lanekeeper::processor::Settings;

#[tokio::test(start_paused = true)]
async fn g9_orders_to_pause_and_resume_reach_the_source() {
    const BYTES: usize = 1_000;
    let world = World::new(|_| Act::done().takes(millis(100)));
    world.log.send_modify(|log| {
        log.rows = (1..=200).map(|n| (n, "a".to_owned(), BYTES)).collect();
    });
    let worker = world.start(Seat::new(
        1,
        Settings {
            memory: 40 * BYTES as u64,
            ..settings()
        },
    ));
    world
        .until("all passed", |w| w.frontier() == Some(200))
        .await;
    // Records in memory, at most: handed over and not ended.
    let (mut buffered, mut most, mut orders) = (0, 0, Vec::new());
    for (_, deed) in world.deeds() {
        if let Deed::Handed(n) = deed {
            buffered += n;
            assert_ne!(orders.last(), Some(&"pause"), "it pauses at once");
        } else if let Deed::Ended { .. } = deed {
            buffered -= 1;
        } else if let Deed::Paused = deed {
            orders.push("pause");
        } else if let Deed::Resumed = deed {
            orders.push("resume");
            assert!(buffered <= 30, "resumed with {buffered} in memory");
        }
        most = most.max(buffered);
    }
    assert!(most <= 60, "{most} in memory, 40 fit");
    assert!(orders.len() >= 4, "{orders:?}");
    for pair in orders.chunks(2) {
        assert_eq!(pair, ["pause", "resume"], "{orders:?}");
    }
    assert_eq!(world.called(), (1..=200).collect::<Vec<_>>());
    worker.drain().await;
    world.holds();
}
