//! As large as an event can be.

use crate::{target::Say, world::World};
use lanekeeper_integration::lambda::{Mapping, Outcome, Put, Stream, Verdict};
use serde_json::Value;

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

/// The largest record that an event can hold is parked in parts, and comes out of the table whole.
#[test]
fn k7_a_record_that_fills_an_event_is_parked_and_released_whole() {
    let stream = Stream::new("orders", 1);
    let large = text("large", EVENT_BYTES - 2048);
    for (key, text) in [("a", large.as_str()), ("b", "b1"), ("a", "a2")] {
        stream.put(key, text).unwrap();
    }
    let world = World::kinesis(&stream, &[("failure.then", "\"park\"")]);
    world.target.always(&large, Say::Status(400));
    let function = world.function();
    let mapping = Mapping::kinesis(&function, &stream).reports_failures();
    let journal = mapping.run().unwrap();
    assert!(journal.verdicts().iter().all(|v| **v == Verdict::Success));
    assert_eq!(world.target.texts_of("b"), ["b1"]);
    let lanes = world.lanes();
    assert_eq!(
        (&lanes[0]["state"], &lanes[0]["count"]),
        (&"parked".into(), &2.into())
    );
    world.target.always(&large, Say::Done);
    let request = r#"{"lanekeeper": {"release": {"key": "a"}}}"#;
    let invoked = function.invoke(request).unwrap();
    let Outcome::Answered(body) = &invoked.outcome else {
        unreachable!("{:?}", invoked.outcome);
    };
    let told: Value = serde_json::from_slice(body).unwrap();
    assert_eq!(told["lanekeeper"]["release"]["done"], 2, "{told}");
    assert_eq!(world.target.texts_of("a"), [large.as_str(), &large, "a2"]);
    assert!(world.lanes().is_empty());
}
