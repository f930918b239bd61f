//! `recover` and `replay` of a stream, with the real binary on an emulator of Kinesis, beside the function
//! that its mapping delivers to.

use crate::{
    aggregate::{FIVE, aggregate},
    instances::many,
    oracle::{Rules, audit},
    target::Say,
    world::World,
};
use lanekeeper_integration::{
    kinesis::Kinesis,
    lambda::{Journal, Mapping, OnFailure, Stream},
    scene::{Ended, eventually},
};
use serde_json::{Value, json};
use std::time::Duration;

/// A stream of one shard with these records: keys and texts.
fn stream(kinesis: &Kinesis, records: &[(&str, &str)]) -> Stream {
    let stream = kinesis.create_stream(1).unwrap();
    put(kinesis, &stream, records);
    stream
}

fn put(kinesis: &Kinesis, stream: &Stream, records: &[(&str, &str)]) {
    for (key, text) in records {
        kinesis.put(stream, key, text).unwrap();
    }
}

const SIX: [(&str, &str); 6] = [
    ("a", "a1"),
    ("b", "b1"),
    ("a", "a2"),
    ("b", "b2"),
    ("a", "a3"),
    ("c", "c1"),
];

/// Delivers so many batches, and is gone.
fn deliver(world: &World, stream: &Stream, deliveries: usize) -> Journal {
    let mapping = Mapping::kinesis(&world.function(), stream).reports_failures();
    mapping.deliveries_max(deliveries).run().unwrap()
}

fn recovered(ended: &Ended) -> Vec<Value> {
    let document = ended.json().unwrap();
    document["partitions"].as_array().unwrap().clone()
}

/// The texts of the calls since.
fn since(world: &World, calls: usize) -> Vec<String> {
    world.target.texts().split_off(calls)
}

fn of_a(texts: Vec<String>) -> Vec<String> {
    { texts.into_iter() }
        .filter(|text| text.starts_with('a'))
        .collect()
}

#[test]
fn a_stopped_shard_is_recovered_after_the_fix() {
    let kinesis = Kinesis::start().unwrap();
    let stream = stream(&kinesis, &SIX);
    let world = World::kinesis(&stream, &[]);
    world.target.otherwise(Say::Effect);
    world.target.always("a2", Say::Status(400));
    deliver(&world, &stream, 2);
    // The mapping is disabled, records go on to come, and nothing was mended yet.
    put(&kinesis, &stream, &[("a", "a4"), ("b", "b3")]);
    let calls = world.target.calls().len();
    let stands = world.on(&kinesis, &["recover", "--json"]);
    assert_eq!(stands.code, Some(3), "{stands:#?}");
    assert_eq!(since(&world, calls), ["b3"]);
    let [shard] = &recovered(&stands)[..] else {
        unreachable!("{stands:#?}");
    };
    assert_eq!(
        (&shard["settled"], &shard["open"]),
        (&json!(1), &json!(3)),
        "{shard:#}"
    );
    assert!(
        stands.errors.contains("lanekeeper lanes retry"),
        "{}",
        stands.errors
    );

    world.target.always("a2", Say::Effect);
    world.retry_all();
    let calls = world.target.calls().len();
    let recovered_it = world.on(&kinesis, &["recover", "--json", "--report", "report.json"]);
    assert_eq!(recovered_it.code, Some(0), "{recovered_it:#?}");
    assert_eq!(since(&world, calls), ["a2", "a3", "a4"]);
    let [shard] = &recovered(&recovered_it)[..] else {
        unreachable!("{recovered_it:#?}");
    };
    assert_eq!(
        (&shard["settled"], &shard["open"]),
        (&json!(3), &json!(0)),
        "{shard:#}"
    );
    assert!(world.lanes().is_empty());

    // Once more there is nothing to do, and the mapping finds all of it done.
    let again = world.on(&kinesis, &["recover"]);
    assert_eq!(again.code, Some(0), "{again:#?}");
    let journal = deliver(&world, &stream, 1);
    assert_eq!(
        journal.deliveries[0].answer(),
        json!({"batchItemFailures": []})
    );
    assert_eq!(since(&world, calls), ["a2", "a3", "a4"]);
    let all = { SIX.iter() }.map(|(_, text)| *text);
    world.assert_applied_once(all.chain(["a4", "b3"]));
}

#[test]
fn k34_a_key_that_stood_while_its_shard_was_split_runs_parents_first() {
    let kinesis = Kinesis::start().unwrap();
    let stream = stream(&kinesis, &SIX);
    let world = World::kinesis(&stream, &[]);
    world.target.always("a1", Say::Status(400));
    deliver(&world, &stream, 1);
    kinesis.split(&stream, 0).unwrap();
    put(&kinesis, &stream, &[("a", "a4"), ("b", "b3"), ("d", "d1")]);
    world.target.always("a1", Say::Done);
    world.retry_all();
    let calls = world.target.calls().len();
    let ended = world.on(&kinesis, &["recover", "--json"]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let ran = since(&world, calls);
    assert_eq!(of_a(ran.clone()), ["a1", "a2", "a3", "a4"]);
    assert_eq!(ran.len(), 6, "{ran:?}");
    let shards = recovered(&ended);
    assert_eq!(shards.len(), 3, "{ended:#?}");
    let ids: Vec<&str> = { shards.iter() }
        .map(|shard| shard["partition"].as_str().unwrap())
        .collect();
    assert_eq!(ids[0], "shardId-000000000000");
    // One shard alone, by its name.
    let one = world.on(&kinesis, &["recover", "--shard", ids[1], "--json"]);
    assert_eq!((one.code, recovered(&one).len()), (Some(0), 1), "{one:#?}");
    let none = world.on(&kinesis, &["recover", "--shard", "shardId-7"]);
    assert_eq!(none.code, Some(2), "{none:#?}");
    assert!(
        none.errors.contains("`shardId-000000000000`"),
        "{}",
        none.errors
    );
}

/// Its mapping tries each batch once, tells of what it has given up, and goes on.
fn given_up(destination: OnFailure) -> (Kinesis, Stream, World, Value) {
    let kinesis = Kinesis::start().unwrap();
    let stream = stream(&kinesis, &SIX);
    let world = World::kinesis(&stream, &[]);
    world.target.always("a2", Say::Status(400));
    let mapping = Mapping::kinesis(&world.function(), &stream).reports_failures();
    let mapping = mapping.retries(0).batch_size(4).on_failure(destination);
    let journal = mapping.run().unwrap();
    let record = journal.destinations[0].clone();
    (kinesis, stream, world, record)
}

#[test]
fn s14_what_a_mapping_has_given_up_is_read_again_and_nothing_else() {
    let (kinesis, stream, world, record) = given_up(OnFailure::Queue);
    put(&kinesis, &stream, &[("a", "a4")]);
    world.target.always("a2", Say::Done);
    world.retry_all();
    let calls = world.target.calls().len();
    let message = json!({"Messages": [{"MessageId": "1", "Body": record.to_string()}]});
    world.write("given-up.json", &message.to_string());
    let ended = world.on(
        &kinesis,
        &["recover", "--from-failure", "given-up.json", "--json"],
    );
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert_eq!(since(&world, calls), ["a2"]);
    let [range] = &recovered(&ended)[..] else {
        unreachable!("{ended:#?}");
    };
    let info = &record["KinesisBatchInfo"];
    let ends = (&range["first"], &range["last"]);
    assert_eq!(
        ends,
        (&info["startSequenceNumber"], &info["endSequenceNumber"])
    );
}

#[test]
fn s14_what_is_in_s3_needs_no_stream() {
    let (kinesis, _stream, world, record) = given_up(OnFailure::Bucket);
    drop(kinesis);
    world.target.always("a2", Say::Done);
    world.retry_all();
    let calls = world.target.calls().len();
    world.write("given-up.json", &record.to_string());
    // It is told of no Kinesis.
    world.lanekeeper(&["recover", "--from-failure", "given-up.json"]);
    // What was done stays done.
    assert_eq!(since(&world, calls), ["a2"]);
}

/// What has aged before it was delivered once has no `responseContext`, and no mark.
#[test]
fn s14_k27_what_has_aged_before_its_first_delivery_is_read_by_its_range() {
    let kinesis = Kinesis::start().unwrap();
    let stream = stream(&kinesis, &SIX);
    let world = World::kinesis(&stream, &[]);
    stream.clock().pass(Duration::from_secs(90));
    let mapping = Mapping::kinesis(&world.function(), &stream).reports_failures();
    let mapping = mapping.record_age(Duration::from_secs(60));
    let journal = mapping.on_failure(OnFailure::Queue).run().unwrap();
    let [record] = &journal.destinations[..] else {
        unreachable!("{:#?}", journal.destinations);
    };
    assert!(record.get("responseContext").is_none(), "{record:#}");
    assert!(world.target.calls().is_empty());
    // It is not what was given up.
    put(&kinesis, &stream, &[("a", "a4")]);
    world.write("given-up.json", &record.to_string());
    let ended = world.on(&kinesis, &["recover", "--from-failure", "given-up.json"]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert_eq!(of_a(since(&world, 0)), ["a1", "a2", "a3"]);
    assert_eq!(world.target.calls().len(), SIX.len());
}

#[test]
fn s14_what_is_gone_is_named_by_its_range() {
    let (kinesis, _stream, world, record) = given_up(OnFailure::Queue);
    let info = &record["KinesisBatchInfo"];
    // A number before the oldest record that the emulator has.
    let first = info["startSequenceNumber"].as_str().unwrap();
    let earlier = format!("1{}", &first[..first.len() - 2]);
    let mut trimmed = record.clone();
    trimmed["KinesisBatchInfo"]["startSequenceNumber"] = json!(earlier);
    let mut shard = record.clone();
    shard["KinesisBatchInfo"]["shardId"] = json!("shardId-000000000007");
    let calls = world.target.calls().len();
    for (lost, said) in [
        (
            trimmed,
            "are asked for and gone: the stream keeps the shard from",
        ),
        (shard, "the stream has no such shard any more"),
    ] {
        world.write("given-up.json", &lost.to_string());
        let ended = world.on(&kinesis, &["recover", "--from-failure", "given-up.json"]);
        assert_eq!(ended.code, Some(4), "{ended:#?}");
        assert!(ended.errors.contains(said), "{}", ended.errors);
    }
    assert_eq!(since(&world, calls), Vec::<String>::new());
}

#[test]
fn a_replay_runs_one_key_again_and_touches_neither_marks_nor_lanes() {
    let kinesis = Kinesis::start().unwrap();
    let stream = stream(&kinesis, &SIX);
    let world = World::kinesis(&stream, &[]);
    world.target.otherwise(Say::Effect);
    world.target.always("c1", Say::Status(400));
    deliver(&world, &stream, 1);
    let lanes = world.lanes();
    let from = ["replay", "--from", "1970-01-01T00:00:00Z"];
    let with = |more: &[&str]| world.on(&kinesis, &[&from[..], more].concat());

    let calls = world.target.calls().len();
    let counted = with(&["--key", "a", "--dry-run", "--json"]);
    assert_eq!(counted.code, Some(0), "{counted:#?}");
    let counted = counted.json().unwrap();
    assert_eq!(
        (&counted["records"], &counted["keys"][0]["key"]),
        (&json!(3), &json!("a"))
    );
    assert_eq!(since(&world, calls), Vec::<String>::new());

    // Nobody has said what becomes of effects.
    let nobody = with(&["--key", "a"]);
    assert_eq!(nobody.code, Some(2), "{nobody:#?}");
    assert!(
        nobody.errors.contains("`--effects suppress` drops them"),
        "{}",
        nobody.errors
    );

    let calls = world.target.calls().len();
    let suppressed = with(&["--key", "a", "--effects", "suppress"]);
    assert_eq!(suppressed.code, Some(0), "{suppressed:#?}");
    assert_eq!(since(&world, calls), ["a1", "a2", "a3"]);
    world.assert_applied_once(["a1", "b1", "a2", "b2", "a3"]);

    let calls = world.target.calls().len();
    let again = with(&["--key", "b", "--effects", "again"]);
    assert_eq!(again.code, Some(0), "{again:#?}");
    assert_eq!(since(&world, calls), ["b1", "b2"]);
    let all = world.target.calls();
    let of_one = all.iter().filter(|call| call.text == "b1");
    let ids: Vec<&str> = of_one.map(|call| call.id.as_str()).collect();
    assert_ne!(ids.first(), ids.last(), "another generation");
    assert_eq!(world.values("applied")["b2"], 2);

    let stopped = with(&["--key", "c", "--effects", "suppress"]);
    assert_eq!(stopped.code, Some(3), "{stopped:#?}");
    assert_eq!(world.lanes(), lanes);
    let nowhere = world.on(
        &kinesis,
        &["replay", "--from", "history:2026-01-01T00:00:00Z"],
    );
    assert_eq!(nowhere.code, Some(2), "{nowhere:#?}");
}

#[test]
fn a_replay_between_two_numbers_of_a_shard_runs_these_and_what_is_between() {
    let kinesis = Kinesis::start().unwrap();
    let stream = kinesis.create_stream(1).unwrap();
    let put = |(key, text): (&str, &str)| kinesis.put(&stream, key, text).unwrap();
    let numbers = SIX.map(put).map(|number| number.as_str().to_owned());
    let world = World::kinesis(&stream, &[]);
    deliver(&world, &stream, 1);
    let calls = world.target.calls().len();
    let shard = ["--shard", "shardId-000000000000"];
    let replay = |args: &[&str]| world.on(&kinesis, &[&["replay"], args, &shard].concat());
    let some = replay(&["--from", &numbers[1], "--to", &numbers[3]]);
    assert_eq!(some.code, Some(0), "{some:#?}");
    let mut texts = since(&world, calls);
    texts.sort_unstable();
    assert_eq!(texts, ["a2", "b1", "b2"]);

    let calls = world.target.calls().len();
    let last = replay(&["--from", &numbers[4], "--to", &numbers[4]]);
    assert_eq!(
        (last.code, since(&world, calls)),
        (Some(0), vec!["a3".to_owned()])
    );
    let backwards = replay(&["--from", &numbers[3], "--to", &numbers[1]]);
    assert_eq!(backwards.code, Some(2), "{backwards:#?}");
    assert!(
        backwards.errors.contains("the range is empty"),
        "{backwards:#?}"
    );

    // Where `recover` would begin: behind what is done there is what came since.
    let calls = world.target.calls().len();
    kinesis.put(&stream, "a", "a4").unwrap();
    let rest = replay(&["--from", "checkpoint", "--key", "a"]);
    assert_eq!(rest.code, Some(0), "{rest:#?}");
    assert_eq!(since(&world, calls).last().map(String::as_str), Some("a4"));
}

#[test]
fn what_is_not_there_is_said_with_what_to_mend() {
    let kinesis = Kinesis::start().unwrap();
    let absent = Stream::new("lanekeeper-test-absent", 1);
    let world = World::kinesis(&absent, &[]);
    let ended = world.on(&kinesis, &["recover"]);
    assert_eq!(ended.code, Some(4), "{ended:#?}");
    for part in [&absent.arn(), "correct the source's `arn`"] {
        assert!(ended.errors.contains(part), "{}", ended.errors);
    }
    world.write("given-up.json", "{}");
    let ended = world.on(&kinesis, &["recover", "--from-failure", "given-up.json"]);
    assert_eq!(ended.code, Some(2), "{ended:#?}");
    assert!(
        ended.errors.contains("`KinesisBatchInfo`"),
        "{}",
        ended.errors
    );
}

#[test]
fn s11_of_an_aggregate_what_is_done_does_not_run_again() {
    let kinesis = Kinesis::start().unwrap();
    let stream = kinesis.create_stream(1).unwrap();
    kinesis.put(&stream, "k", aggregate(&FIVE)).unwrap();
    let world = World::kinesis(&stream, &[]);
    world.target.always("s3", Say::Status(400));
    deliver(&world, &stream, 1);
    world.target.always("s3", Say::Done);
    world.retry_all();
    let calls = world.target.calls().len();
    let ended = world.on(&kinesis, &["recover", "--json"]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert_eq!(since(&world, calls), ["s3", "s4"]);
    assert_eq!(recovered(&ended)[0]["read"], 5);
}

/// Records of several keys, whose calls take their time.
fn busy(kinesis: &Kinesis) -> (Stream, World, Vec<(String, String)>) {
    let records = many(4, 8);
    let stream = kinesis.create_stream(1).unwrap();
    for (key, text) in &records {
        kinesis.put(&stream, key, text).unwrap();
    }
    let world = World::kinesis(&stream, &[]);
    let slow = Say::EffectAfter(Duration::from_millis(60));
    world.target.otherwise(slow);
    (stream, world, records)
}

#[test]
fn g8_beside_its_mapping_each_effect_applies_once() {
    let kinesis = Kinesis::start().unwrap();
    let (stream, world, records) = busy(&kinesis);
    let mapping = Mapping::kinesis(&world.function(), &stream).reports_failures();
    let mapping = mapping.batch_size(10).start().unwrap();
    let beside = world.start_on(&kinesis, &["recover"]);
    let ended = beside.wait().unwrap();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    mapping.until_idle().unwrap();
    mapping.stop().unwrap();
    let rules = Rules {
        repeats_max: records.len(),
        is_doubled: true,
    };
    audit(&world.target.calls(), &records, rules);
    world.assert_applied_once(records.iter().map(|(_, text)| text.as_str()));
}

#[test]
fn g8_killed_in_its_midst_the_next_one_goes_on() {
    let kinesis = Kinesis::start().unwrap();
    let (_stream, world, records) = busy(&kinesis);
    let mut killed = world.start_on(&kinesis, &["recover"]);
    let some = || Ok(world.target.calls().len() >= 12);
    eventually("calls", some).unwrap();
    killed.signal("KILL").unwrap();
    drop(killed);
    let ended = world.on(&kinesis, &["recover"]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let rules = Rules {
        // Of each lane one in flight, and those of a flush's interval.
        repeats_max: 4 * 3,
        is_doubled: false,
    };
    audit(&world.target.calls(), &records, rules);
    world.assert_applied_once(records.iter().map(|(_, text)| text.as_str()));
}

#[test]
fn a_replay_with_effects_that_was_killed_goes_on_under_the_same_ids() {
    let kinesis = Kinesis::start().unwrap();
    let (stream, world, records) = busy(&kinesis);
    let mapping = Mapping::kinesis(&world.function(), &stream).reports_failures();
    mapping.run().unwrap();
    let before = world.target.calls().len();
    let from = "1970-01-01T00:00:00Z";
    let replay = ["replay", "--from", from, "--effects", "again"];
    let mut killed = world.start_on(&kinesis, &replay);
    let some = || Ok(world.target.calls().len() >= before + 12);
    eventually("calls", some).unwrap();
    killed.signal("KILL").unwrap();
    drop(killed);
    let other = [
        "replay",
        "--from",
        from,
        "--key",
        "k1",
        "--effects",
        "again",
    ];
    let refused = world.on(&kinesis, &other);
    assert_eq!(refused.code, Some(2), "{refused:#?}");
    // What comes meanwhile is not of it.
    kinesis.put(&stream, "k0", "late").unwrap();
    let ended = world.on(&kinesis, &replay);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert!(ended.errors.contains("going on with"), "{}", ended.errors);
    let twice = world.values("applied");
    assert!(twice.values().all(|times| *times == 2), "{twice:?}");
    assert_eq!(twice.len(), records.len());
    audit(
        &world.target.calls()[before..],
        &records,
        Rules {
            repeats_max: 12,
            is_doubled: false,
        },
    );
}
