//! One deck of faults on three members, a table, and a cluster: every guarantee holds.
//!
//! `LANEKEEPER_TEST_SEED` replays the draws; `cargo integration chaos` goes on for as long as it is told.
#![expect(clippy::print_stdout, reason = "its figures are what it is for")]

use lanekeeper_integration::{
    chaos::{self, Options, Store},
    proxy::{Faults, Kind},
};

#[test]
fn g1_g7_g8_members_brokers_and_network_fail_and_no_effect_is_lost_repeated_or_overtaken() {
    let seed = Faults::drawn().unwrap().seed;
    println!("replay the draws with LANEKEEPER_TEST_SEED={seed}");
    let report = chaos::run(&Options {
        seed,
        store: Store::Dynamodb,
        brokers: 1,
        time: None,
    })
    .unwrap();
    println!("{report}");
    assert_eq!(report.kills, 20);
    assert_eq!(report.freezes, 5);
    assert!(report.rebalances >= 20, "{report}");
    assert!(report.broker_restarts >= 2, "{report}");
    assert!(report.cut_offs >= 1, "{report}");
    for fault in [
        Kind::ResponseDropped,
        Kind::ResponseDelayed,
        Kind::Throttled,
    ] {
        let times = report.faults.get(&fault).copied().unwrap_or_default();
        assert!(times > 0, "{fault:?} never happened: {:?}", report.faults);
    }
}
