//! Batches of records in the log that cannot be decoded: their partition stands, and says why.

use crate::bench::{Bench, echo, page, stop};
use lanekeeper_integration::{
    kafka::{Kafka, Setup},
    scene::eventually,
};
use std::{collections::BTreeSet, fs, path::PathBuf};

/// Where the format's number stands in a batch, from its beginning.
const MAGIC_AT: usize = 16;

const PARTITIONS: i32 = 3;

/// Five values in each partition, each in a batch of its own.
fn write(bench: &Bench) {
    for number in 0..5 {
        for partition in 0..PARTITIONS {
            bench.write_value_to(partition, &format!("value {partition}.{number}"));
        }
    }
}

/// The bytes of a partition's log, and where the batch begins in it that has this value.
fn batch_of(bench: &Bench, partition: i32, value: &str) -> (PathBuf, Vec<u8>, usize, usize) {
    let logs = bench.kafka.logs();
    let folder = logs[0].parent().unwrap().join("data");
    let path = folder
        .join(format!("{}-{partition}", bench.topic))
        .join("00000000000000000000.log");
    let bytes = fs::read(&path).unwrap();
    let mut begin = 0;
    loop {
        let length = &bytes[begin + 8..begin + 12];
        let length = i32::from_be_bytes(length.try_into().unwrap());
        let end = begin + 12 + usize::try_from(length).unwrap();
        let batch = &bytes[begin..end];
        let found = { batch.windows(value.len()) }.position(|part| part == value.as_bytes());
        if let Some(found) = found {
            return (path, bytes, begin, begin + found);
        }
        begin = end;
    }
}

/// Makes a batch of each of two partitions one that cannot be decoded.
fn damage_two(bench: &Bench) {
    bench.kafka.stop_broker(0).unwrap();
    // A byte of a value, of which the checksum tells.
    let (path, mut bytes, _, value) = batch_of(bench, 0, "value 0.2");
    bytes[value] ^= 0x20;
    fs::write(path, bytes).unwrap();
    // A format that does not exist.
    let (path, mut bytes, batch, _) = batch_of(bench, 1, "value 1.3");
    bytes[batch + MAGIC_AT] = 9;
    fs::write(path, bytes).unwrap();
    bench.kafka.start_broker(0).unwrap();
}

fn values(numbers: &[&str]) -> BTreeSet<String> {
    numbers
        .iter()
        .map(|number| format!("value {number}"))
        .collect()
}

#[test]
fn g7_a_batch_that_cannot_be_decoded_is_not_left_out_and_its_partition_stands_alone() {
    let kafka = Kafka::own(&Setup::default()).unwrap();
    let bench = Bench::with(kafka, PARTITIONS.unsigned_abs(), &[], &echo(0));
    write(&bench);
    damage_two(&bench);
    let sets = [
        "sources.orders.on_gap=earliest",
        "metrics.listen=\"127.0.0.1:0\"",
    ];
    let args: Vec<&str> = ["run"]
        .into_iter()
        .chain(sets.iter().flat_map(|set| ["--set", set]))
        .collect();
    let member = bench.scene.start(&args).unwrap();
    let stands = |partition: i32, offset: u64| {
        format!(
            "`orders/{}/{partition}` stands before a batch of records, at offset {offset}",
            bench.topic
        )
    };
    eventually("both to stand", || {
        let errors = member.errors()?;
        Ok(errors.contains(&stands(0, 2)) && errors.contains(&stands(1, 3)))
    })
    .unwrap();
    let seen = || bench.values().into_iter().collect::<BTreeSet<_>>();
    let before = [
        "0.0", "0.1", "1.0", "1.1", "1.2", "2.0", "2.1", "2.2", "2.3", "2.4",
    ];
    eventually("what can be read", || Ok(seen() == values(&before))).unwrap();
    // It is said, and nothing that a restart would mend.
    let named = |page: &str, partition: i32| {
        page.contains(&format!("orders/{}/{partition} stands", bench.topic))
    };
    eventually("both to be named", || {
        let said = page(&member.errors()?, "/healthz")?;
        assert!(said.starts_with("HTTP/1.0 200"), "{said}");
        assert!(!named(&said, 2), "{said}");
        Ok(named(&said, 0) && named(&said, 1))
    })
    .unwrap();
    // Fetched again a few times by then: neither is anything left out nor is it said again.
    bench.write_value_to(2, "value 2.5");
    eventually("another partition to go on", || {
        Ok(bench.values().len() == 11)
    })
    .unwrap();

    // An operator gives the batches up.
    bench.kafka.delete_records(&bench.topic, 0, 3).unwrap();
    bench.kafka.delete_records(&bench.topic, 1, 4).unwrap();
    let after = [&before[..], &["2.5", "0.3", "0.4", "1.4"]].concat();
    eventually("what comes behind", || Ok(seen() == values(&after))).unwrap();
    bench.wait_for_the_group();
    eventually("nothing to be said any more", || {
        let said = page(&member.errors()?, "/healthz")?;
        Ok(![0, 1, 2].iter().any(|n| named(&said, *n)))
    })
    .unwrap();
    let ended = stop(member);
    for (partition, offset, said) in [(0, 2, "CRC"), (1, 3, "MagicByte 9")] {
        let lines: Vec<&str> = { ended.errors.lines() }
            .filter(|line| line.contains(&stands(partition, offset)))
            .collect();
        assert_eq!(lines.len(), 1, "{ended:#?}");
        assert!(lines[0].contains(said), "{lines:?}");
    }
    assert_eq!(ended.errors.matches("gap: ").count(), 2, "{ended:#?}");
    assert_eq!(bench.values().len(), after.len(), "{ended:#?}");
}

#[test]
fn g7_records_that_librdkafka_cannot_read_and_says_nothing_of_are_told_of_and_not_left_out() {
    let kafka = Kafka::own(&Setup::default()).unwrap();
    let bench = Bench::with(kafka, PARTITIONS.unsigned_abs(), &[], &echo(0));
    write(&bench);
    bench.kafka.stop_broker(0).unwrap();
    // A value that is longer than its batch: a checksum would tell, unless none is looked at.
    let (path, mut bytes, _, value) = batch_of(&bench, 0, "value 0.2");
    bytes[value - 1] = 0x7e;
    fs::write(path, bytes).unwrap();
    bench.kafka.start_broker(0).unwrap();

    let earliest = "sources.orders.on_gap=earliest";
    let crcs = "sources.orders.properties.\"check.crcs\"=false";
    let args = ["run", "--set", earliest, "--set", crcs];
    let member = bench.scene.start(&args).unwrap();
    let told = format!(
        "nothing comes of `orders/{}/0` from offset 2 on",
        bench.topic
    );
    eventually("it to be told", || Ok(member.errors()?.contains(&told))).unwrap();
    // Two of the first partition, and all of the others.
    assert_eq!(bench.values().len(), 12);
    bench.write_value_to(1, "value 1.5");
    eventually("another partition to go on", || {
        Ok(bench.values().len() == 13)
    })
    .unwrap();
    bench.kafka.delete_records(&bench.topic, 0, 3).unwrap();
    eventually("what comes behind", || Ok(bench.values().len() == 15)).unwrap();
    bench.wait_for_the_group();
    let ended = stop(member);
    assert_eq!(ended.errors.matches(&told).count(), 1, "{ended:#?}");
    assert!(!bench.values().contains(&"value 0.2".to_owned()));
}
