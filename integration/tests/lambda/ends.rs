//! Ends: killed in each stage of an environment's life, cut off by the timeout, an answer that is lost.

use crate::{
    instances::many,
    oracle::{Rules, audit},
    target::Say,
    world::World,
};
use lanekeeper_integration::{
    lambda::{Function, Mapping, Outcome, Stage, Stream},
    scene::eventually,
};
use std::{thread::sleep, time::Duration};

struct Scenario {
    world: World,
    stream: Stream,
    function: Function,
    records: Vec<(String, String)>,
}

/// Three lanes whose calls take their time, in one batch.
fn scenario() -> Scenario {
    let records = many(3, 8);
    let stream = Stream::new("orders", 1);
    crate::instances::put(&stream, &records);
    let world = World::kinesis(&stream, &[]);
    world
        .target
        .otherwise(Say::EffectAfter(Duration::from_millis(60)));
    let function = world.function().timeout(Duration::from_secs(4));
    Scenario {
        world,
        stream,
        function,
        records,
    }
}

impl Scenario {
    /// At most what was in flight, and what passed since the last mark, ran again after each end.
    fn audit(&self, ends: usize) {
        let rules = Rules {
            // Of each lane one in flight, and those of a flush's interval.
            repeats_max: ends * 3 * 3,
            is_doubled: false,
        };
        let repeats = audit(&self.world.target.calls(), &self.records, rules);
        println!("{ends} ends, {repeats} repeats");
        self.world
            .assert_applied_once(self.records.iter().map(|(_, text)| text.as_str()));
    }
}

#[test]
fn g8_killed_while_it_starts_nothing_is_lost() {
    let scenario = scenario();
    let mapping = Mapping::kinesis(&scenario.function, &scenario.stream).reports_failures();
    scenario.function.kill_next_starts(2);
    let running = mapping.start().unwrap();
    running.until_idle().unwrap();
    running.stop().unwrap();
    assert!(scenario.function.environments().len() > 2);
    scenario.audit(0);
}

#[test]
fn g8_killed_while_it_works_little_runs_again_and_no_effect_does() {
    let scenario = scenario();
    let mapping = Mapping::kinesis(&scenario.function, &scenario.stream).reports_failures();
    let running = mapping.start().unwrap();
    for calls in [1, 7, 14] {
        eventually("calls", || Ok(scenario.world.target.calls().len() >= calls)).unwrap();
        scenario.function.when(Stage::Busy).unwrap().kill();
    }
    running.until_idle().unwrap();
    let journal = running.stop().unwrap();
    assert!(journal.deliveries.len() > 3);
    scenario.audit(3);
}

#[test]
fn g8_killed_while_it_is_idle_or_frozen_the_next_one_goes_on() {
    let mut scenario = scenario();
    scenario.function = scenario.function.freezes();
    let mapping = Mapping::kinesis(&scenario.function, &scenario.stream).reports_failures();
    let running = mapping.batch_size(6).start().unwrap();
    running
        .until("a delivery", |j| !j.verdicts().is_empty())
        .unwrap();
    running.until_idle().unwrap();
    scenario.function.when(Stage::Idle).unwrap().kill();
    let more = [("k0".to_owned(), "k0-more".to_owned())];
    crate::instances::put(&scenario.stream, &more);
    scenario.records.extend(more);
    running.until_idle().unwrap();
    running.stop().unwrap();
    assert_eq!(scenario.function.environments().len(), 2);
    scenario.audit(0);
}

#[test]
fn g8_at_the_functions_timeout_what_is_marked_does_not_run_again() {
    let scenario = scenario();
    let mapping = Mapping::kinesis(&scenario.function, &scenario.stream).reports_failures();
    let running = mapping.start().unwrap();
    eventually("calls", || Ok(scenario.world.target.calls().len() >= 9)).unwrap();
    // It does nothing until its timeout, at which it is killed.
    scenario
        .function
        .when(Stage::Busy)
        .unwrap()
        .freeze()
        .unwrap();
    running.until_idle().unwrap();
    let journal = running.stop().unwrap();
    let first = journal.deliveries[0].end.as_ref().unwrap();
    let Outcome::Failed { kind, .. } = &first.outcome else {
        unreachable!("{first:#?}");
    };
    assert_eq!(kind, "Sandbox.Timedout");
    scenario.audit(1);
}

#[test]
fn g8_where_answers_are_lost_nothing_runs_again() {
    let scenario = scenario();
    scenario.function.lose_next(3);
    let mapping = Mapping::kinesis(&scenario.function, &scenario.stream).reports_failures();
    let journal = mapping.batch_size(10).run().unwrap();
    assert_eq!(journal.deliveries.len(), 6, "{:?}", journal.verdicts());
    scenario.audit(0);
}

#[test]
fn k15_throttled_nothing_is_lost() {
    let scenario = scenario();
    let mapping = Mapping::kinesis(&scenario.function, &scenario.stream).reports_failures();
    let running = mapping.batch_size(8).start().unwrap();
    for _ in 0..4 {
        scenario.function.throttle_next(2);
        sleep(Duration::from_millis(50));
    }
    running.until_idle().unwrap();
    let journal = running.stop().unwrap();
    assert!(
        journal
            .deliveries
            .iter()
            .any(lanekeeper_integration::lambda::Delivery::is_throttled)
    );
    scenario.audit(0);
}
