//! What the DynamoDB store's requests consume, as the service counts it. `cargo integration cost` tells
//! more, over a longer time.

use lanekeeper_integration::{
    cost::{self, Table},
    emulator::Dynamodb,
};
use std::time::Duration;

#[test]
fn a_round_of_commits_of_8_partitions_is_8_writes() {
    let dynamodb = Dynamodb::start().unwrap();
    let units = cost::round(&Table::new(&dynamodb)).unwrap();
    assert!(units.requests <= 8, "{units:?}");
    // Some of it is a commit, each costs at least one.
    assert!((8.0..=16.0).contains(&units.write), "{units:?}");
}

#[test]
fn a_thousand_records_a_second_cost_a_commit_a_second() {
    let dynamodb = Dynamodb::start().unwrap();
    let time = Duration::from_secs(10);
    let (records, units) = cost::busy(&Table::new(&dynamodb), time).unwrap();
    assert!(records > 9_000, "{records}");
    // A start and an end take a few, whatever is between them.
    let of_million = (units.write - 10.0) * 1e6 / records as f64;
    assert!(
        of_million <= 1_100.0,
        "{of_million} write units a million: {units:?}"
    );
}
