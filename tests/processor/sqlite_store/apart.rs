//! A store apart: its own checkpoints and lanes, the app's values.

use super::{Home, apply, owner};
use crate::conformance::{DONE, park, partition, settled};
use lanekeeper::{Effect, store::Store};
use serde_json::json;

#[tokio::test]
async fn checkpoints_are_its_own_and_effects_are_the_apps() {
    let home = Home::new();
    let live = home.open();
    let mut living = owner(&live).await;
    apply(&mut living, vec![Effect::add("t", "n", 1)])
        .await
        .expect("live");
    let standing = live.ownership(&living.partition).await.expect("read");

    let apart = home.open().apart("billing+replay", 1_795_000_000_000);
    let mut other = owner(&apart).await;
    apply(&mut other, vec![Effect::add("t", "n", 10)])
        .await
        .expect("again");
    park(&mut other, "a", 2..=3).await;
    let mut kept = other.next(4);
    kept.keep = true;
    assert_eq!(other.commit(&kept).await, Ok(DONE));
    let found = apart.ownership(&partition("a/0")).await.expect("read");
    let found = found.expect("an item");
    assert_eq!((found.generation, found.epoch), (1_795_000_000_000, 1));
    assert_eq!(found.checkpoint, Some(settled(4)));

    // The app has nothing of it but the value.
    assert_eq!(
        live.ownership(&living.partition).await,
        Ok(standing.clone())
    );
    assert_eq!(live.lanes(&living.partition).await, Ok(Vec::new()));
    assert_eq!(live.history(&living.partition).await, Ok(Vec::new()));
    for store in [&live, &apart] {
        assert_eq!(store.value("t", "n").await, Ok(Some(json!(11))));
        let values = store.values("t", None, 9).await.expect("values");
        assert_eq!(values, [("n".to_owned(), json!(11))]);
    }
    // A refused effect is refused by the app's value, and nothing of the commit is written.
    let refused = apply(&mut other, vec![Effect::add("t", "n", i64::MAX)]).await;
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(other.frontier().await, Some(4));

    apart.forget().await.expect("forgotten");
    assert_eq!(apart.ownership(&partition("a/0")).await, Ok(None));
    assert_eq!(apart.partitions().await, Ok(Vec::new()));
    assert_eq!(live.value("t", "n").await, Ok(Some(json!(11))));
    assert_eq!(live.ownership(&living.partition).await, Ok(standing));
}
