//! As large as an event can be, and larger than the store takes.

use crate::{
    target::Say,
    world::{World, named},
};
use lanekeeper_integration::lambda::{Mapping, Put, Stream, Verdict};
use std::time::Duration;

/// Bytes of an event, base64 and JSON: 6 MB (K6).
const EVENT_BYTES: usize = 6 * 1024 * 1024;

/// Bytes of a record that fill so many bytes of an event as base64.
fn text(mark: &str, bytes: usize) -> String {
    let filler = "x".repeat(bytes / 4 * 3 - mark.len());
    format!("{mark}{filler}")
}

#[test]
fn k6_events_of_six_megabytes_are_run_like_others() {
    // One record that fills an event, and as many small ones as another takes.
    let stream = Stream::new("orders", 1);
    let large = text("large", EVENT_BYTES - 2048);
    let small: Vec<String> = (0..60).map(|n| text(&format!("{n}-"), 100_000)).collect();
    stream.put("a", &large).unwrap();
    let puts = small.iter().zip(0..);
    let puts = puts.map(|(text, n)| Put::new(&format!("k{}", n % 6), text.as_str()));
    stream.put_all(puts).unwrap();
    let world = World::kinesis(&stream, &[]);
    let journal = Mapping::kinesis(&world.function(), &stream)
        .reports_failures()
        .run()
        .unwrap();
    let largest = { journal.deliveries.iter() }
        .map(|delivery| delivery.event.to_string().len())
        .max();
    assert!(largest > Some(EVENT_BYTES - 150_000), "{largest:?}");
    assert!(journal.verdicts().iter().all(|v| **v == Verdict::Success));
    assert_eq!(world.target.calls().len(), 61);
    assert_eq!(world.target.texts_of("a"), [large.as_str()]);
    for lane in 0..6 {
        let expected: Vec<&str> = { small.iter().skip(lane).step_by(6) }
            .map(String::as_str)
            .collect();
        assert_eq!(world.target.texts_of(&format!("k{lane}")), expected);
    }
}

/// What a transaction of the table does not take stays in the stream: its lane stops, and says why.
#[test]
fn g7_a_record_that_is_too_large_to_be_parked_stops_its_lane_by_name() {
    let stream = Stream::new("orders", 1);
    let large = text("large", 4_600_000);
    for (key, text) in [("a", large.as_str()), ("b", "b1"), ("a", "a2")] {
        stream.put(key, text).unwrap();
    }
    let world = World::kinesis(&stream, &[("failure.then", "\"park\"")]);
    world.target.always(&large, Say::Status(400));
    let function = world.function();
    let mapping = Mapping::kinesis(&function, &stream).reports_failures();
    let journal = mapping.deliveries_max(2).run().unwrap();
    for delivery in &journal.deliveries {
        assert!(named(delivery)[0].starts_with("large"));
    }
    let lanes = world.lanes();
    let told = lanes[0].to_string();
    assert_eq!(lanes[0]["state"], "stopped");
    assert!(told.contains("cannot be parked"), "{told}");
    assert_eq!(world.target.texts_of("b"), ["b1"]);
    assert_eq!(world.target.count(&large), 1);
    // Mended, it runs from the stream, and what waited behind it follows.
    world.target.always(&large, Say::Done);
    world.retry_all();
    Mapping::kinesis(&function.timeout(Duration::from_secs(10)), &stream)
        .reports_failures()
        .run()
        .unwrap();
    assert_eq!(world.target.texts_of("a"), [large.as_str(), &large, "a2"]);
    assert!(world.lanes().is_empty());
}
