//! One stuck record, and a crash: what was done above it is not done again.

use crate::bench::{Bench, Written, flush, send};
use lanekeeper_integration::{
    kafka::Kafka,
    scene::{PATIENCE, eventually},
};
use std::collections::BTreeMap;

const RECORDS: usize = 200_000;
const KEYS: usize = 2_000;
/// Records of a call.
const RUN: usize = 64;
const CALLS: usize = 4;
const UNFLUSHED: usize = 2_000;
const PARTITIONS: usize = 2;

/// Who did each offset of each partition: of each run, how often.
fn did(bench: &Bench) -> Vec<(u64, Vec<u64>)> {
    let lines = bench.ledger("ledger.jsonl");
    let did = lines.iter().map(|line| {
        let offsets = line["did"].as_array().unwrap();
        let offsets = offsets.iter().map(|offset| offset.as_u64().unwrap());
        (line["run"].as_u64().unwrap(), offsets.collect())
    });
    did.collect()
}

#[test]
fn g8_killed_at_half_of_200_000_records_with_one_stuck_few_run_again() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts/runs.py");
    let command = format!("\"python3\", \"{script}\", \"ledger.jsonl\"");
    let kafka = Kafka::start().unwrap();
    let bench = Bench::with(kafka, u32::try_from(PARTITIONS).unwrap(), &[], &command);
    let producer = bench.producer();
    for number in 0..RECORDS {
        let key = format!("k{}", number / PARTITIONS % KEYS);
        // The first record of one lane; its later ones wait behind it.
        let value = if number == 0 { "stuck" } else { "value" };
        let written = Written {
            partition: Some(i32::try_from(number % PARTITIONS).unwrap()),
            key: Some(key.as_bytes()),
            value: Some(value.as_bytes()),
            ..Written::default()
        };
        send(&producer, &bench.topic, &written);
    }
    flush(&producer);
    let sets = [
        format!("handler.records_per_call={RUN}"),
        format!("store.unflushed_max={UNFLUSHED}"),
    ];
    let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
    let args = [&["run", "--until-idle"], &sets[..]].concat();

    let mut killed = bench.scene.start(&args).unwrap();
    let id = u64::from(killed.id());
    let count = || {
        did(&bench)
            .iter()
            .map(|(_, offsets)| offsets.len())
            .sum::<usize>()
    };
    eventually("half of the records", || Ok(count() >= RECORDS / 2)).unwrap();
    killed.signal("KILL").unwrap();
    drop(killed);
    let ended = bench
        .scene
        .start(&args)
        .unwrap()
        .wait_for(PATIENCE)
        .unwrap();
    assert_eq!(ended.code, Some(3), "one lane stands: {ended:#?}");

    let held = RECORDS / PARTITIONS / KEYS;
    let mut times: BTreeMap<(u64, bool), usize> = BTreeMap::new();
    let (mut first, mut second) = (0, 0);
    for (run, offsets) in did(&bench) {
        let is_first = run == id;
        *(if is_first { &mut first } else { &mut second }) += offsets.len();
        for offset in offsets {
            // An offset is in each of the partitions.
            *times.entry((offset, is_first)).or_default() += 1;
        }
    }
    let all = RECORDS - held;
    let repeats = first + second - all;
    let bound = CALLS * RUN + UNFLUSHED * PARTITIONS;
    println!(
        "{first} records done, SIGKILL, {second} more: {repeats} of {RECORDS} ran again, the bound is {bound}"
    );
    assert!(first >= RECORDS / 2 && second >= all - first);
    assert!(repeats <= bound, "{repeats} > {bound}");
    // Each run has done a record once at most: of the two partitions, an offset twice.
    assert!(times.values().all(|times| *times <= PARTITIONS));
    let each_done = (0..(RECORDS / PARTITIONS) as u64).filter(|offset| {
        let of = |is_first| times.get(&(*offset, is_first)).copied().unwrap_or_default();
        of(true) + of(false) >= PARTITIONS
    });
    assert_eq!(each_done.count(), RECORDS / PARTITIONS - held);
}
