//! The acceptance of every front end, behind a stream: the answer names 5.

use crate::{
    target::Say,
    world::{World, named, stream},
};
use lanekeeper_integration::lambda::{Journal, Mapping, Outcome, Verdict};
use serde_json::{Value, json};
use std::{collections::BTreeSet, time::Duration};

fn over(journal: &Journal) -> usize {
    journal.verdicts().len()
}

#[test]
fn g3_record_5_fails_for_good_and_the_answer_names_it_until_an_operator_decides() {
    let texts: Vec<String> = (1..=10).map(|n| n.to_string()).collect();
    let keys: Vec<String> = (1..=10).map(|n| format!("a{}", n % 3)).collect();
    let records: Vec<(&str, &str)> = { keys.iter().zip(&texts) }
        .map(|(key, text)| (key.as_str(), text.as_str()))
        .collect();
    let stream = stream(&records);
    let world = World::kinesis(&stream, &[("order.by", "\"partition\""), ("cap", "3")]);
    world.target.always("5", Say::Status(400));
    let function = world.function().freezes();
    let running = Mapping::kinesis(&function, &stream)
        .reports_failures()
        .start()
        .unwrap();
    running
        .until("three deliveries", |journal| over(journal) >= 3)
        .unwrap();
    assert_eq!(world.target.texts(), texts[..5], "6 to 10 never start");
    let [lane] = &world.lanes()[..] else {
        unreachable!("one lane stands");
    };
    assert!(lane["error"].as_str().unwrap().contains("400"), "{lane:#}");

    // Mended, a delivery alone begins nothing, also not in a new instance.
    world.target.always("5", Say::Done);
    for environment in function.environments() {
        environment.kill();
    }
    let before = over(&running.journal());
    running
        .until("three more", |journal| over(journal) >= before + 3)
        .unwrap();
    assert_eq!(
        world.target.texts(),
        texts[..5],
        "a delivery is no decision"
    );

    world.lanekeeper(&["lanes", "retry", "--all", "--why", "mended"]);
    running.until_idle().unwrap();
    let journal = running.stop().unwrap();
    assert_eq!(world.target.texts(), [&texts[..5], &texts[4..]].concat());
    let answered = { journal.deliveries.iter() }
        .filter(|d| !matches!(d.end.as_ref().unwrap().verdict, Verdict::Failure));
    let (last, before): (Vec<_>, Vec<_>) = answered.partition(|d| named(d).is_empty());
    assert_eq!(last.len(), 1);
    assert!(before.iter().all(|delivery| named(delivery) == ["5"]));
    assert!(world.lanes().is_empty(), "live again");
}

#[test]
fn g1_a_parked_lane_takes_arrivals_and_is_released_in_order() {
    let stream = stream(&[("a", "a1"), ("b", "b1"), ("a", "a2")]);
    let world = World::kinesis(&stream, &[("failure.then", "\"park\"")]);
    world.target.always("a1", Say::Status(400));
    let running = { Mapping::kinesis(&world.function(), &stream) }
        .reports_failures()
        .start()
        .unwrap();
    running.until_idle().unwrap();
    stream.put("a", "a3").unwrap();
    stream.put("b", "b2").unwrap();
    running.until_idle().unwrap();
    assert_eq!(world.target.texts_of("a"), ["a1"]);
    assert_eq!(world.target.texts_of("b"), ["b1", "b2"], "the others go on");
    assert_eq!(world.lanes()[0]["count"], 3);

    world.target.always("a1", Say::Effect);
    world.lanekeeper(&["lanes", "release", "--all", "--why", "mended"]);
    stream.put("a", "a4").unwrap();
    running.until_idle().unwrap();
    running.stop().unwrap();
    assert_eq!(world.target.texts_of("a"), ["a1", "a1", "a2", "a3", "a4"]);
    assert!(world.lanes().is_empty(), "live again");
    world.assert_applied_once(["a1"]);
}

/// Its shard is split while it is parked: what the child brings goes on behind it.
#[test]
fn g1_a_lane_that_is_parked_when_its_shard_is_split_keeps_its_order() {
    let stream = stream(&[("a", "a1"), ("b", "b1"), ("a", "a2")]);
    let world = World::kinesis(&stream, &[("failure.then", "\"park\"")]);
    world.target.always("a1", Say::Status(400));
    let function = world.function();
    let running = Mapping::kinesis(&function, &stream)
        .reports_failures()
        .start()
        .unwrap();
    running.until_idle().unwrap();
    stream.split(0).unwrap();
    stream.put("a", "a3").unwrap();
    stream.put("b", "b2").unwrap();
    running.until_idle().unwrap();
    assert_eq!(world.target.texts_of("a"), ["a1"]);
    assert_eq!(world.target.texts_of("b"), ["b1", "b2"], "the others go on");
    assert_eq!(world.lanes()[0]["count"], 3);
    let ids: BTreeSet<String> = { world.target.calls().into_iter() }
        .map(|call| call.id.split('/').nth(1).unwrap().to_owned())
        .collect();
    assert_eq!(ids.len(), 2, "of two shards: {ids:?}");

    world.target.always("a1", Say::Effect);
    let shard = "shardId-000000000000";
    let what = format!(r#"{{"lanekeeper": {{"release": {{"partition": "{shard}"}}}}}}"#);
    let released = function.invoke(&what).unwrap().outcome;
    let expected = json!({ "lanes": 1, "done": 3, "standing": [] });
    assert_eq!(answered(&released), expected);
    stream.put("a", "a4").unwrap();
    running.until_idle().unwrap();
    running.stop().unwrap();
    assert_eq!(world.target.texts_of("a"), ["a1", "a1", "a2", "a3", "a4"]);
    assert!(world.lanes().is_empty(), "live again");
    world.assert_applied_once(["a1"]);
}

/// More heads that no batch brings any more than a transaction takes items.
#[test]
fn g7_heads_that_the_mapping_gave_up_are_run_from_their_copies_however_many() {
    let keys: Vec<String> = (0..120).map(|n| format!("k{n}")).collect();
    let heads: Vec<String> = keys.iter().map(|key| format!("{key}-1")).collect();
    let records: Vec<(&str, &str)> = { keys.iter().zip(&heads) }
        .map(|(key, head)| (key.as_str(), head.as_str()))
        .collect();
    let stream = stream(&records);
    let settings = [("cap", "200"), ("store.flush_interval", "\"2s\"")];
    let world = World::kinesis(&stream, &settings);
    for head in &heads {
        world.target.always(head, Say::Status(400));
    }
    let running = { Mapping::kinesis(&world.function(), &stream) }
        .reports_failures()
        .batch_size(200)
        .retries(0)
        .start()
        .unwrap();
    running.until_idle().unwrap();
    assert_eq!(world.lanes().len(), keys.len());
    // So long that all of them are under way at once, and end in one commit.
    for head in &heads {
        world
            .target
            .always(head, Say::After(Duration::from_millis(1_500)));
    }
    world.lanekeeper(&["lanes", "retry", "--all", "--why", "mended"]);
    for key in &keys {
        stream.put(key, &format!("{key}-2")).unwrap();
    }
    running.until_idle().unwrap();
    running.stop().unwrap();
    assert_eq!(world.lanes().len(), 0, "live again");
    for (key, head) in keys.iter().zip(&heads) {
        let wanted = [head.clone(), head.clone(), format!("{key}-2")];
        assert_eq!(world.target.texts_of(key), wanted);
    }
}

#[test]
fn g1_a_parked_lane_is_released_by_an_invocation_of_ones_own() {
    let stream = stream(&[("a", "a1"), ("b", "b1"), ("a", "a2")]);
    let world = World::kinesis(&stream, &[("failure.then", "\"park\"")]);
    world.target.always("a1", Say::Status(400));
    let function = world.function();
    let mapping = Mapping::kinesis(&function, &stream).reports_failures();
    mapping.run().unwrap();
    assert_eq!(world.target.texts_of("a"), ["a1"]);
    let ask = |what: &str| function.invoke(what).unwrap().outcome;

    // Of another key nothing is parked, and what is misspelt is not taken for all.
    let none = ask(r#"{"lanekeeper": {"release": {"key": "b"}}}"#);
    assert_eq!(answered(&none)["lanes"], 0);
    let Outcome::Failed { kind, message } = ask(r#"{"lanekeeper": {"release": {"keys": "a"}}}"#)
    else {
        unreachable!("it is refused");
    };
    assert_eq!(kind, "lanekeeper.Release");
    assert!(message.contains("unknown field `keys`"), "{message}");
    assert_eq!(world.target.texts_of("a"), ["a1"]);

    // Its head fails again: it stands as before.
    let again = ask(r#"{"lanekeeper": {"release": {"key": "a", "why": "perhaps"}}}"#);
    let left = json!({ "source": "orders", "partition": "*", "key": "a",
        "state": "parked", "records": 2 });
    let expected = json!({ "lanes": 1, "done": 0, "standing": [left] });
    assert_eq!(answered(&again), expected);
    world.target.always("a1", Say::Effect);
    let all = ask(r#"{"lanekeeper": {"release": {"source": "orders"}}}"#);
    let expected = json!({ "lanes": 1, "done": 2, "standing": [] });
    assert_eq!(answered(&all), expected);
    assert_eq!(world.target.texts_of("a"), ["a1", "a1", "a1", "a2"]);
    assert!(world.lanes().is_empty(), "live again");
    world.assert_applied_once(["a1"]);
}

/// What an invocation says that asked for a release.
fn answered(outcome: &Outcome) -> Value {
    let Outcome::Answered(body) = outcome else {
        unreachable!("{outcome:?}");
    };
    let body: Value = serde_json::from_slice(body).unwrap();
    body["lanekeeper"]["release"].clone()
}
