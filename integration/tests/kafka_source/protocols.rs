//! Both protocols of consumer groups, and members with a name that outlives them.

use crate::{
    bench::{Bench, CAP, stop},
    groups::{owned, unclean_claims, waits_to_own},
};
use lanekeeper_integration::{
    kafka::{Kafka, Setup},
    scene::Running,
};

/// What `Bench` sets is of the classic protocol; with the new one the broker says it.
const NEW_PROTOCOL: [&str; 2] = [
    "sources.orders.group_protocol=consumer",
    "sources.orders.properties={}",
];

/// So long that no member is missed while it restarts.
const CLASSIC: [&str; 1] = ["sources.orders.properties={ \"session.timeout.ms\" = 60000 }"];

/// A broker that misses members of the new protocol within seconds.
fn quick_to_miss() -> Kafka {
    let setup = Setup::default()
        .with("group.consumer.session.timeout.ms", "6000")
        .with("group.consumer.min.session.timeout.ms", "6000")
        .with("group.consumer.heartbeat.interval.ms", "1000")
        .with("group.consumer.min.heartbeat.interval.ms", "1000");
    Kafka::own(&setup).unwrap()
}

fn worker(millis: u32) -> String {
    format!("WORKER, \"--millis\", \"{millis}\"")
}

fn member(bench: &Bench, history: &str, sets: &[&str]) -> Running {
    let sets = sets.iter().flat_map(|set| ["--set", set]);
    let args: Vec<&str> = ["run", "--history", history]
        .into_iter()
        .chain(sets)
        .collect();
    bench.scene.start(&args).unwrap()
}

/// The name comes as a container's would.
fn named_member(bench: &Bench, name: &str, history: &str, sets: &[&str]) -> Running {
    let sets = sets.iter().flat_map(|set| ["--set", set]);
    let args: Vec<&str> = ["run", "--history", history]
        .into_iter()
        .chain(sets)
        .collect();
    let name = (
        "LANEKEEPER__SOURCES__ORDERS__GROUP_INSTANCE_ID",
        name.to_owned(),
    );
    bench.scene.start_within(&args, &[name]).unwrap()
}

fn revocations(bench: &Bench, history: &str) -> usize {
    let lines = bench.ledger(history);
    lines
        .iter()
        .filter(|line| line["event"] == "revoked")
        .count()
}

#[test]
fn g1_g8_members_of_the_new_protocol_share_drain_and_take_over_from_the_dead() {
    let mut bench = Bench::with(quick_to_miss(), 4, &[], &worker(3));
    bench.request(400, 40, 0);
    let bound = ["store.unflushed_max=50"];
    let sets = [&NEW_PROTOCOL[..], &bound].concat();
    let first = member(&bench, "first", &sets);
    bench.wait_for(100);
    let second = member(&bench, "second", &sets);
    waits_to_own(&bench, "second", 2);
    let before = bench.done();
    bench.request(400, 40, 0);
    bench.wait_for(before + 50);
    stop(first);
    assert!(owned(&bench, "first").is_empty());
    waits_to_own(&bench, "second", 4);
    assert_eq!(unclean_claims(&bench, "second"), 0, "the first has drained");
    let mut dies = member(&bench, "dies", &sets);
    waits_to_own(&bench, "dies", 2);
    assert_eq!(unclean_claims(&bench, "dies"), 0, "the second has drained");
    let before = bench.done();
    bench.request(1_000, 40, 0);
    bench.wait_for(before + 50);
    dies.signal("KILL").unwrap();
    waits_to_own(&bench, "second", 4);
    assert_eq!(unclean_claims(&bench, "second"), 2);
    bench.wait_for(1_800);
    bench.wait_for_the_group();
    stop(second);
    let (repeats, bound) = (bench.check(), 2 * 50 + u64::from(CAP));
    assert!(repeats <= bound, "{repeats} repeats, the bound is {bound}");
    bench.audit(&["first", "second", "dies"]);
}

fn a_static_member_comes_back(sets: &[&str]) {
    let mut bench = Bench::with(Kafka::start().unwrap(), 4, &[], &worker(3));
    let gone = named_member(&bench, "worker-0", "gone", sets);
    let stays = named_member(&bench, "worker-1", "stays", sets);
    waits_to_own(&bench, "gone", 2);
    waits_to_own(&bench, "stays", 2);
    let (its_own, of_the_other) = (owned(&bench, "gone"), owned(&bench, "stays"));
    let before = revocations(&bench, "stays");
    bench.request(400, 40, 0);
    bench.wait_for(100);
    stop(gone);
    // Its partitions wait for it: nobody takes them, and nobody is disturbed.
    bench.request(400, 40, 0);
    let back = named_member(&bench, "worker-0", "back", sets);
    waits_to_own(&bench, "back", 2);
    assert_eq!(owned(&bench, "back"), its_own);
    assert_eq!(unclean_claims(&bench, "back"), 0, "it had left in order");
    bench.wait_for(800);
    bench.wait_for_the_group();
    assert_eq!(owned(&bench, "stays"), of_the_other);
    assert_eq!(revocations(&bench, "stays"), before, "no rebalance");
    stop(back);
    stop(stays);
    assert_eq!(bench.check(), 0);
    bench.audit(&["gone", "stays", "back"]);
}

#[test]
fn a_static_member_that_restarts_has_its_partitions_again_without_a_rebalance() {
    a_static_member_comes_back(&CLASSIC);
}

#[test]
fn a_static_member_of_the_new_protocol_that_restarts_does_too() {
    a_static_member_comes_back(&NEW_PROTOCOL);
}

/// The two of them, and which of them the group ends.
fn of_one_name(sets: &[&str], the_first_goes: bool) {
    let mut bench = Bench::with(Kafka::start().unwrap(), 2, &[], &worker(3));
    bench.request(200, 40, 0);
    let first = named_member(&bench, "worker-0", "first", sets);
    waits_to_own(&bench, "first", 2);
    let second = named_member(&bench, "worker-0", "second", sets);
    let (goes, stays) = if the_first_goes {
        (first, second)
    } else {
        (second, first)
    };
    let ended = goes.wait().unwrap();
    assert_eq!(ended.code, Some(4), "{ended:#?}");
    for named in [
        "another member",
        "`group_instance_id` `worker-0`",
        "one of its own",
    ] {
        assert!(ended.errors.contains(named), "{named}: {ended:#?}");
    }
    bench.wait_for(200);
    bench.wait_for_the_group();
    stop(stays);
    bench.check();
    bench.audit(&["first", "second"]);
}

#[test]
fn g10_of_two_members_of_one_name_the_first_is_told_so_and_ends() {
    of_one_name(&CLASSIC, true);
}

#[test]
fn g10_of_two_members_of_one_name_the_new_protocol_refuses_the_second() {
    of_one_name(&NEW_PROTOCOL, false);
}
