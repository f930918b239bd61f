//! A member that is held back by slow handlers stays one, and fetches no more than it may hold.

use crate::{
    bench::{Bench, Written, echo, flush, send, stop},
    groups::waits_to_own,
};
use lanekeeper_integration::{kafka::Kafka, scene::eventually};
use std::fs;

/// Records of a size into each of so many partitions.
fn write(bench: &Bench, partitions: i32, records: usize, bytes: usize) {
    let (producer, value) = (bench.producer(), "x".repeat(bytes));
    for number in 0..records {
        let partition = i32::try_from(number).unwrap() % partitions;
        let written = Written {
            partition: Some(partition),
            value: Some(value.as_bytes()),
            ..Written::default()
        };
        send(&producer, &bench.topic, &written);
    }
    flush(&producer);
}

#[test]
fn a_member_that_is_held_back_for_longer_than_it_may_be_silent_stays_in_the_group() {
    let kafka = Kafka::start().unwrap();
    // All in one lane: twenty seconds of work, of which an eighth fits into memory.
    let bench = Bench::with(kafka, 1, &[], &echo(500));
    write(&bench, 1, 40, 200_000);
    let member = bench
        .scene
        .start(&[
            "run",
            "--history",
            "member",
            "--set",
            "memory=1MiB",
            "--set",
            "sources.orders.properties.\"max.poll.interval.ms\"=15000",
        ])
        .unwrap();
    waits_to_own(&bench, "member", 1);
    bench.wait_for_the_group();
    let claims = bench.ledger("member");
    let claims = claims.iter().filter(|line| line["event"] == "claimed");
    assert_eq!(claims.count(), 1);
    let ended = stop(member);
    assert!(!ended.errors.contains("poll interval"), "{ended:#?}");
    assert_eq!(bench.values().len(), 40);
    bench.audit(&["member"]);
}

/// The most of the machine's memory that a process has had, in MiB.
fn peak(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib / 1024
}

#[test]
fn g9_what_librdkafka_fetches_ahead_is_within_the_memory_too() {
    const PARTITIONS: i32 = 8;
    let kafka = Kafka::start().unwrap();
    let bench = Bench::with(kafka, PARTITIONS.unsigned_abs(), &[], &echo(0));
    // What a worker takes by itself, with nothing to read.
    let idle = bench
        .scene
        .start(&["run", "--history", "idle", "--set", "memory=8MiB"])
        .unwrap();
    waits_to_own(&bench, "idle", 8);
    let alone = peak(idle.id());
    stop(idle);
    write(&bench, PARTITIONS, 400, 500_000);
    let member = bench
        .scene
        .start(&["run", "--history", "member", "--set", "memory=8MiB"])
        .unwrap();
    eventually("all records", || Ok(bench.values().len() == 400)).unwrap();
    let most = peak(member.id());
    stop(member);
    println!("{alone} MiB alone, {most} MiB with 200 MB of records passing through 8 MiB");
    assert!(most < alone + 30, "{most} MiB, {alone} alone");
}
