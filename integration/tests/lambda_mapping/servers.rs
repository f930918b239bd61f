//! A mapping from an emulator of Kinesis: what the models do, from what a server has.

use crate::stubs::reporting;
use lanekeeper_integration::{
    kinesis::Kinesis,
    lambda::{Mapping, OnFailure},
};
#[test]
fn k24_from_an_emulator_of_kinesis() {
    let kinesis = Kinesis::start().unwrap();
    let stream = kinesis.create_stream(1).unwrap();
    let put = |text: &str| kinesis.put(&stream, "key", text).unwrap();
    let numbers = ["a", "b", "c"].map(put);
    assert!(numbers.is_sorted(), "{numbers:?}");
    let function = reporting(|text, _| text == "c");
    let mapping = Mapping::kinesis(&function, &stream).reports_failures();
    let mapping = mapping
        .batch_size(3)
        .retries(3)
        .on_failure(OnFailure::Queue);
    let running = mapping.start().unwrap();
    running.until_idle().unwrap();
    put("d");
    running.until_idle().unwrap();
    let journal = running.stop().unwrap();
    let expected = [&["a", "b", "c"][..], &["c"], &["c"], &["c"], &["c"], &["d"]];
    assert_eq!(journal.batches(), expected);
    assert_eq!(
        journal.deliveries[0].ids(),
        numbers.each_ref().map(|number| number.as_str())
    );
    let info = &journal.destinations[0]["KinesisBatchInfo"];
    assert_eq!(info["startSequenceNumber"], numbers[2].as_str());
    assert_eq!(info["streamArn"], stream.arn());
}

#[test]
fn k34_an_emulated_shard_is_drained_before_its_children_begin() {
    let kinesis = Kinesis::start().unwrap();
    let stream = kinesis.create_stream(1).unwrap();
    let put = |number: u32| kinesis.put(&stream, &number.to_string(), &number.to_string());
    (0..20)
        .try_for_each(|number| put(number).map(drop))
        .unwrap();
    kinesis.split(&stream, 0).unwrap();
    (20..40)
        .try_for_each(|number| put(number).map(drop))
        .unwrap();
    let function = reporting(|text, times| text == "19" && times < 3);
    let mapping = Mapping::kinesis(&function, &stream).reports_failures();
    let journal = mapping.run().unwrap();
    let of_parent = |delivery: &&lanekeeper_integration::lambda::Delivery| {
        delivery.source == "shardId-000000000000"
    };
    assert_eq!(journal.deliveries.iter().take_while(of_parent).count(), 3);
    assert_eq!(journal.deliveries.iter().filter(of_parent).count(), 3);
    let later: usize = journal.deliveries[3..].iter().map(|d| d.items.len()).sum();
    assert_eq!(later, 20);
}
