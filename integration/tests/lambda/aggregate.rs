//! Aggregates of the Kinesis Producer Library (G1 to G6).

use crate::{
    target::Say,
    world::{World, named},
};
use lanekeeper_integration::lambda::{Mapping, Outcome, Put, Stream, Verdict};
use md5::{Digest as _, Md5};

/// An aggregate of records: keys and texts, written by hand.
pub(crate) fn aggregate(records: &[(&str, &str)]) -> Vec<u8> {
    let mut keys: Vec<&str> = Vec::new();
    let mut message = Vec::new();
    for (key, _) in records {
        if !keys.contains(key) {
            keys.push(key);
            field(&mut message, 1, key.as_bytes());
        }
    }
    for (key, text) in records {
        let place = keys.iter().position(|known| known == key).unwrap();
        let mut record = vec![1 << 3, u8::try_from(place).unwrap()];
        field(&mut record, 3, text.as_bytes());
        field(&mut message, 3, &record);
    }
    let mut aggregate = vec![0xf3, 0x89, 0x9a, 0xc2];
    aggregate.extend(&message);
    aggregate.extend(Md5::digest(&message));
    aggregate
}

/// A field of bytes, of fewer than 128.
fn field(message: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    message.push(number << 3 | 2);
    message.push(u8::try_from(bytes.len()).unwrap());
    message.extend(bytes);
}

pub(crate) const FIVE: [(&str, &str); 5] = [
    ("k", "s0"),
    ("k", "s1"),
    ("k", "s2"),
    ("k", "s3"),
    ("k", "s4"),
];

#[test]
fn s11_g6_of_an_aggregate_what_is_done_does_not_run_again() {
    let stream = Stream::new("orders", 1);
    stream.put_record(Put::new("k", aggregate(&FIVE))).unwrap();
    let world = World::kinesis(&stream, &[]);
    world.target.always("s3", Say::Status(400));
    let function = world.function();
    let running = Mapping::kinesis(&function, &stream)
        .reports_failures()
        .start()
        .unwrap();
    running
        .until("two deliveries", |j| j.verdicts().len() >= 2)
        .unwrap();
    let delivery = &running.journal().deliveries[0];
    assert_eq!(named(delivery).len(), 1, "the enclosing record");
    assert_eq!(world.target.texts(), ["s0", "s1", "s2", "s3"]);
    world.target.always("s3", Say::Done);
    world.lanekeeper(&["lanes", "retry", "--all", "--why", "mended"]);
    running.until_idle().unwrap();
    running.stop().unwrap();
    assert_eq!(world.target.texts(), ["s0", "s1", "s2", "s3", "s3", "s4"]);
}

#[test]
fn g5_an_aggregate_of_several_keys_behind_a_higher_factor_is_a_named_error() {
    let stream = Stream::new("orders", 1);
    let records = [("k", "s0"), ("other", "s1")];
    stream
        .put_record(Put::new("k", aggregate(&records)))
        .unwrap();
    let mut world = World::kinesis(&stream, &[]);
    world.set("lambda.parallelization_factor", "3");
    let mapping = Mapping::kinesis(&world.function(), &stream).parallelization(3);
    let journal = mapping.reports_failures().deliveries_max(1).run().unwrap();
    assert_eq!(journal.verdicts(), [&Verdict::Failure]);
    let Outcome::Failed { message, .. } = &journal.deliveries[0].end.as_ref().unwrap().outcome
    else {
        unreachable!("{:#?}", journal.deliveries);
    };
    assert!(message.contains("ParallelizationFactor"), "{message}");
    assert!(world.target.calls().is_empty());
    // Declared, they are lanes of their own.
    world.set("lambda.parallelization_factor", "1");
    let mapping = Mapping::kinesis(&world.function(), &stream).reports_failures();
    mapping.run().unwrap();
    let mut texts = world.target.texts();
    texts.sort();
    assert_eq!(texts, ["s0", "s1"]);
}

#[test]
fn g2_what_only_looks_like_an_aggregate_is_a_record() {
    let stream = Stream::new("orders", 1);
    let mut broken = aggregate(&FIVE);
    *broken.last_mut().unwrap() ^= 1;
    stream.put_record(Put::new("k", broken)).unwrap();
    let world = World::kinesis(&stream, &[]);
    Mapping::kinesis(&world.function(), &stream)
        .reports_failures()
        .run()
        .unwrap();
    assert_eq!(world.target.calls().len(), 1);
}
