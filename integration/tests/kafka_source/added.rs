//! Partitions that are added while a member works, and when it says that it is ready.

use crate::{
    bench::{Bench, echo, page, stop},
    operators::stopped_lanes,
};
use lanekeeper_integration::{
    kafka::Kafka,
    scene::{Running, eventually},
};

const QUICK: &str = "sources.orders.properties.\"topic.metadata.refresh.interval.ms\"=1000";
const PAGES: &str = "metrics.listen=\"127.0.0.1:0\"";

/// Whether the partition that was added is somebody's.
fn is_claimed(bench: &Bench) -> bool {
    let list = bench.scene.run(&["checkpoint", "list", "--json"]).unwrap();
    list.output.contains(&format!("{}/2", bench.topic))
}

fn is_ready(member: &Running, answer: &str) -> bool {
    let page = page(&member.errors().unwrap(), "/readyz").unwrap();
    let (status, _) = page.split_once("\r\n").unwrap();
    assert_eq!(
        status.ends_with("200 OK"),
        page.contains("\nready"),
        "{page}"
    );
    page.contains(answer)
}

#[test]
fn g1_a_partition_that_is_added_waits_while_a_lane_of_its_topic_stands() {
    let mut bench = Bench::new(2, "\"--closed\", \"a3\"");
    bench.request(100, 10, 0);
    let args = [
        "run",
        "--history",
        "history",
        "--set",
        QUICK,
        "--set",
        PAGES,
    ];
    let member = bench.scene.start(&args).unwrap();
    bench.wait_for(90);
    eventually("the stop", || Ok(stopped_lanes(&bench).len() == 1)).unwrap();
    bench.kafka.grow_topic(&bench.topic, 3).unwrap();
    let added = format!("orders/{}/2", bench.topic);
    let named = || {
        let status = bench.scene.run(&["status"])?;
        Ok(status
            .output
            .contains(&format!("{added}: the partition is new")))
    };
    eventually("the new partition in `status`", named).unwrap();
    // Keys move with the number of partitions, among them perhaps the one that stands.
    bench.request(200, 20, 0);
    std::thread::sleep(std::time::Duration::from_secs(5));
    assert!(is_ready(&member, "ready"), "it waits for a person");
    assert!(!is_claimed(&bench), "it began while a lane stood");
    bench.scene.write("mended", "").unwrap();
    let retry = ["lanes", "retry", "--key", "a3", "--why", "mended", "--wait"];
    let retried = bench.scene.run(&retry).unwrap();
    assert_eq!(retried.code, Some(0), "{retried:#?}");
    bench.wait_for(300);
    bench.wait_for_the_group();
    assert!(is_claimed(&bench));
    stop(member);
    assert_eq!(
        bench.check(),
        0,
        "each account in its order, over both partitions"
    );
    bench.audit(&["history"]);
}

#[test]
fn a_partition_that_is_added_begins_beside_a_lane_that_stands_where_that_is_wanted() {
    let mut bench = Bench::new(2, "\"--closed\", \"a3\"");
    bench.request(100, 10, 0);
    let go = "sources.orders.on_new_partitions=\"go\"";
    let args = ["run", "--history", "history", "--set", QUICK, "--set", go];
    let member = bench.scene.start(&args).unwrap();
    bench.wait_for(90);
    eventually("the stop", || Ok(stopped_lanes(&bench).len() == 1)).unwrap();
    bench.kafka.grow_topic(&bench.topic, 3).unwrap();
    eventually("the new partition", || Ok(is_claimed(&bench))).unwrap();
    assert_eq!(stopped_lanes(&bench).len(), 1, "nobody has decided");
    stop(member);
    bench.audit(&["history"]);
}

#[test]
fn a_member_is_ready_once_all_that_is_assigned_is_claimed_and_not_while_it_drains() {
    let bench = Bench::with(Kafka::start().unwrap(), 2, &[], &echo(1_500));
    let args = ["run", "--set", PAGES];
    let mut member = bench.scene.start(&args).unwrap();
    let says = |answer: &'static str| {
        let told = || Ok(member.errors()?.contains("address=") && is_ready(&member, answer));
        eventually(answer, told).unwrap();
    };
    says("ready\npartitions: 2");
    bench.write_values(&["slow"]);
    eventually("work", || Ok(!bench.values().is_empty())).unwrap();
    member.signal("TERM").unwrap();
    eventually("the drain", || Ok(is_ready(&member, "draining"))).unwrap();
    let ended = member.wait().unwrap();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
}
