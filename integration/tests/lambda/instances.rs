//! Several instances: parts of a shard, halves of a batch, other environments, two at once, zombies.

use crate::{
    oracle::{Rules, at_once_most, audit},
    target::Say,
    world::{LAST_IN_FOUR_SECONDS, World, owned, stream},
};
use lanekeeper_integration::{
    lambda::{Function, Mapping, Reuse, Stage, Stream},
    scene::eventually,
};
use std::time::Duration;

/// So many records of each of so many keys, in turn.
pub(crate) fn many(keys: usize, each: usize) -> Vec<(String, String)> {
    let turns = (0..each).flat_map(|turn| (0..keys).map(move |key| (key, turn)));
    turns
        .map(|(key, turn)| (format!("k{key}"), format!("k{key}-{turn}")))
        .collect()
}

pub(crate) fn put(stream: &Stream, records: &[(String, String)]) {
    for (key, text) in records {
        stream.put(key, text).unwrap();
    }
}

fn stream_of(records: &[(String, String)]) -> Stream {
    let stream = Stream::new("orders", 1);
    put(&stream, records);
    stream
}

#[test]
fn k10_three_parts_of_a_shard_at_once_keep_each_keys_order() {
    let records = many(30, 6);
    let stream = stream_of(&records);
    let settings = [
        ("cap", "12"),
        ("lambda.concurrency", "3"),
        ("lambda.parallelization_factor", "3"),
    ];
    let world = World::kinesis(&stream, &settings);
    world
        .target
        .otherwise(Say::EffectAfter(Duration::from_millis(5)));
    for text in ["k3-2", "k8-0", "k21-5"] {
        world.target.says(text, &[Say::Status(500)]);
    }
    let mapping = Mapping::kinesis(&world.function(), &stream).reports_failures();
    let journal = mapping.batch_size(25).parallelization(3).run().unwrap();
    assert!(journal.concurrency_most > 1, "never two at once");
    audit(&world.target.calls(), &records, Rules::default());
    assert!(at_once_most(&world.target.calls()) <= 12);
    world.assert_applied_once(records.iter().map(|(_, text)| text.as_str()));
}

#[test]
fn k19_halves_of_a_batch_know_what_the_whole_has_done() {
    let records = many(3, 6);
    let stream = stream_of(&records);
    // Its mapping looks at no answer: each failure fails the whole batch, which is halved.
    let world = World::kinesis(
        &stream,
        &[
            ("lambda.reports_failures", "false"),
            ("failure.attempts", "1"),
        ],
    );
    for text in ["k1-1", "k2-4"] {
        world.target.says(text, &[Say::Status(500)]);
    }
    let function = world.function();
    let running = Mapping::kinesis(&function, &stream)
        .bisects()
        .start()
        .unwrap();
    eventually("all of it done, as often as somebody decides", || {
        if !world.lanes().is_empty() {
            world.retry_all();
        }
        let done = world.target.calls().into_iter().filter(|call| call.is_done);
        Ok(done.count() >= records.len())
    })
    .unwrap();
    running.until_idle().unwrap();
    let journal = running.stop().unwrap();
    assert!(
        journal.batches().iter().any(|batch| batch.len() < 18),
        "halved"
    );
    audit(&world.target.calls(), &records, Rules::default());
}

#[test]
fn a_redelivery_to_another_instance_knows_what_the_first_has_done() {
    let records = many(4, 5);
    let stream = stream_of(&records);
    let world = World::kinesis(&stream, &[]);
    world.target.otherwise(Say::Effect);
    for text in ["k0-1", "k2-0", "k3-4"] {
        world.target.says(text, &[LAST_IN_FOUR_SECONDS]);
    }
    let function = world
        .function()
        .timeout(Duration::from_secs(4))
        .reuse(Reuse::Never);
    let journal = Mapping::kinesis(&function, &stream)
        .reports_failures()
        .run()
        .unwrap();
    assert!(journal.deliveries.len() > 1);
    assert_eq!(function.environments().len(), journal.deliveries.len());
    audit(&world.target.calls(), &records, Rules::default());
    world.assert_applied_once(records.iter().map(|(_, text)| text.as_str()));
}

#[test]
fn frozen_between_invocations_it_goes_on_when_it_is_woken() {
    let records = many(3, 2);
    let stream = Stream::new("orders", 1);
    let world = World::kinesis(&stream, &[]);
    let function = world.function().freezes();
    let running = Mapping::kinesis(&function, &stream)
        .reports_failures()
        .start()
        .unwrap();
    for pair in records.chunks(2) {
        put(&stream, pair);
        running.until_idle().unwrap();
        // Longer than its connections to the handler are kept.
        std::thread::sleep(Duration::from_millis(1_700));
    }
    running.stop().unwrap();
    assert_eq!(function.environments().len(), 1, "the same all the time");
    audit(&world.target.calls(), &records, Rules::default());
}

/// Waits until the youngest environment has a call under way.
fn busy(
    function: &Function,
    world: &World,
    calls: usize,
) -> lanekeeper_integration::lambda::Environment {
    let environment = function.when(Stage::Busy).unwrap();
    eventually("a call under way", || {
        Ok(world.target.calls().len() >= calls)
    })
    .unwrap();
    environment
}

#[test]
fn g8_two_instances_with_one_batch_at_once_apply_each_effect_once() {
    let records = many(5, 4);
    let stream = stream_of(&records);
    let world = World::kinesis(&stream, &[]);
    world
        .target
        .otherwise(Say::EffectAfter(Duration::from_millis(15)));
    let function = world.function();
    let mapping = || Mapping::kinesis(&function, &stream).reports_failures();
    let (one, other) = (mapping().start().unwrap(), mapping().start().unwrap());
    for running in [one, other] {
        running.until_idle().unwrap();
        running.stop().unwrap();
    }
    let rules = Rules {
        repeats_max: records.len(),
        is_doubled: true,
    };
    audit(&world.target.calls(), &records, rules);
    world.assert_applied_once(records.iter().map(|(_, text)| text.as_str()));
    assert!(world.values("sums").values().all(|sum| *sum == 4));
}

/// A frozen instance is woken when another has done its batch: what it says then changes nothing.
#[test]
fn s13_a_zombie_changes_nothing() {
    let records = [("k", "1"), ("k", "2"), ("k", "3"), ("j", "4")];
    let stream = stream(&records);
    let world = World::kinesis(&stream, &[]);
    world.target.otherwise(Say::Effect);
    world
        .target
        .says("1", &[Say::EffectAfter(Duration::from_millis(600))]);
    let function = world.function().timeout(Duration::from_secs(30));
    let zombie = Mapping::kinesis(&function, &stream)
        .reports_failures()
        .start()
        .unwrap();
    let environment = busy(&function, &world, 1);
    environment.freeze().unwrap();
    let other = Mapping::kinesis(&function, &stream)
        .reports_failures()
        .start()
        .unwrap();
    other.until_idle().unwrap();
    let journal = other.stop().unwrap();
    assert_eq!(journal.verdicts().len(), 1, "{:#?}", journal.deliveries);
    let before = world.values("applied");
    assert_eq!(before.len(), 4);
    environment.thaw().unwrap();
    zombie.until_idle().unwrap();
    zombie.stop().unwrap();
    world.assert_applied_once(["1", "2", "3", "4"]);
    let rules = Rules {
        // Each once, and what timed out while it was frozen as often as attempts are left.
        repeats_max: 4 + 2,
        is_doubled: true,
    };
    audit(&world.target.calls(), &owned(&records), rules);
    assert!(world.lanes().is_empty());
}
