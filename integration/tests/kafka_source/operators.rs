//! What operators decide while members work.

use crate::bench::{Bench, echo, stop};
use lanekeeper_integration::kafka::Kafka;
use lanekeeper_integration::scene::eventually;

pub(crate) fn stopped_lanes(bench: &Bench) -> Vec<serde_json::Value> {
    let list = bench.scene.run(&["lanes", "list", "--json"]).unwrap();
    let lanes = list.json().unwrap()["lanes"].take();
    lanes.as_array().unwrap().clone()
}

#[test]
fn g3_a_stopped_lane_stays_stopped_with_the_next_member_and_is_retried_there() {
    let mut bench = Bench::new(2, "\"--closed\", \"a3\"");
    bench.request(100, 10, 0);
    let first = bench.member("first");
    // Nine accounts go on; the tenth stands at its first record.
    bench.wait_for(90);
    eventually("the stop", || Ok(stopped_lanes(&bench).len() == 1)).unwrap();
    stop(first);
    let second = bench.member("second");
    bench.request(10, 10, 0);
    bench.wait_for(99);
    assert_eq!(
        stopped_lanes(&bench).len(),
        1,
        "a hand-over decides nothing"
    );
    let failed = bench
        .ledger("ledger.jsonl")
        .iter()
        .filter(|line| line["event"] == "failed")
        .count();
    assert_eq!(failed, 1);
    bench.scene.write("mended", "").unwrap();
    let retry = ["lanes", "retry", "--key", "a3", "--why", "mended", "--wait"];
    let retried = bench.scene.run(&retry).unwrap();
    assert_eq!(retried.code, Some(0), "{retried:#?}");
    bench.wait_for(110);
    bench.wait_for_the_group();
    assert!(stopped_lanes(&bench).is_empty());
    stop(second);
    assert_eq!(bench.check(), 0);
    bench.audit(&["first", "second"]);
}

#[test]
fn a_member_goes_on_by_itself_from_where_an_operator_rewinds_it_to() {
    let bench = Bench::of_echoes(1);
    let values: Vec<String> = (0..10).map(|number| format!("value {number}")).collect();
    bench.write_values(&values.iter().map(String::as_str).collect::<Vec<_>>());
    let mut member = bench.member("history.jsonl");
    bench.wait_for_the_group();
    assert_eq!(bench.values(), values);
    let partition = format!("{}/0", bench.topic);
    let rewind = [
        "checkpoint",
        "rewind",
        "--partition",
        &partition,
        "--to",
        "6",
        "--why",
        "again",
    ];
    let rewound = bench.scene.run(&rewind).unwrap();
    assert_eq!(rewound.code, Some(0), "{rewound:#?}");
    let wanted: Vec<String> = [&values[..], &values[6..]].concat();
    let again = eventually("the records again", || {
        assert!(member.is_running()?, "{}", member.errors()?);
        Ok(bench.values().len() >= wanted.len())
    });
    assert!(again.is_ok(), "{again:?} {:?}", member.errors());
    assert_eq!(bench.values(), wanted);
    bench.write_values(&["later"]);
    eventually(
        "what came later",
        || Ok(bench.values().len() > wanted.len()),
    )
    .unwrap();
    bench.wait_for_the_group();
    stop(member);
    bench.audit(&["history.jsonl"]);
}

#[test]
fn g10_a_member_that_fetched_no_more_for_want_of_memory_reads_on_after_a_rewind() {
    let bench = Bench::with(Kafka::start().unwrap(), 1, &[], &echo(1));
    // Far more than fits, so that librdkafka is told to pause.
    let pad = "x".repeat(2_000);
    let values: Vec<String> = (0..3_000).map(|number| format!("{number} {pad}")).collect();
    bench.write_values(&values.iter().map(String::as_str).collect::<Vec<_>>());
    let args = ["run", "--set", "memory=\"1MiB\""];
    let member = bench.scene.start(&args).unwrap();
    eventually("work", || Ok(bench.values().len() > 200)).unwrap();
    let partition = format!("{}/0", bench.topic);
    let back = ["--partition", &partition, "--to", "100", "--why", "again"];
    let rewind = [&["checkpoint", "rewind"], &back[..]].concat();
    let rewound = bench.scene.run(&rewind).unwrap();
    assert_eq!(rewound.code, Some(0), "{rewound:#?}");
    bench.wait_for_the_group();
    stop(member);
    // From the rewind on each record once more, to the end, in order.
    let number = |value: &String| value.split(' ').next().unwrap().parse::<usize>().unwrap();
    let seen: Vec<usize> = bench.values().iter().map(number).collect();
    let again = seen.iter().rposition(|number| *number == 100).unwrap();
    assert_eq!(seen[again..], (100..3_000).collect::<Vec<_>>());
    assert!(again > 200, "it was at work when it was rewound");
}
