//! What only the DynamoDB store has to show: segments and parts, what is left of ended chains, native
//! effects, what requests cost.

mod chains;
mod cost;
mod native;

use crate::conformance::{Bench, DynamodbBench, Owner, partition};
use std::sync::Arc;

/// An owner of a fresh app's partition.
async fn owner(bench: &DynamodbBench) -> Owner {
    Owner::of(&Bench::open(bench, "billing"), &partition("a/0")).await
}

/// Another worker's handle to the same app.
async fn successor(bench: &DynamodbBench, of: &Owner) -> Owner {
    let store: Arc<dyn lanekeeper::store::Store> = Bench::open(bench, "billing");
    Owner::of(&store, &of.partition).await
}
