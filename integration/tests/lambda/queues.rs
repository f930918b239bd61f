//! Queues of SQS (F1 to F20, S3 to S9).

use crate::{
    oracle::at_once_most,
    target::Say,
    world::{LAST_IN_FOUR_SECONDS, World, named},
};
use lanekeeper_integration::lambda::{Clock, Mapping, Queue, Verdict, Why};
use std::time::Duration;

fn fifo(messages: &[(&str, &str)]) -> Queue {
    let queue = Queue::fifo("orders");
    for (group, text) in messages {
        queue.send_to(group, text);
    }
    queue
}

#[test]
fn s5_f19_the_recorded_run_of_four_messages() {
    let dead_letters = Queue::fifo("dead");
    let queue = fifo(&[("g", "1"), ("g", "2"), ("g", "3"), ("g", "4")]);
    let queue = queue.redrives_to(&dead_letters, 2);
    let world = World::sqs(&queue, &[]);
    world.target.says("2", &[LAST_IN_FOUR_SECONDS]);
    world.target.always("4", LAST_IN_FOUR_SECONDS);
    let function = world.function().timeout(Duration::from_secs(4));
    let journal = Mapping::sqs(&function, &queue)
        .reports_failures()
        .run()
        .unwrap();
    assert_eq!(
        journal.batches(),
        [&["1", "2", "3", "4"][..], &["2", "3", "4"]]
    );
    let receives = |place: usize| journal.deliveries[place].items[0].receives;
    assert_eq!((receives(0), receives(1)), (1, 2));
    assert_eq!(named(&journal.deliveries[0]), ["2", "3", "4"]);
    assert_eq!(named(&journal.deliveries[1]), ["4"]);
    assert_eq!(journal.lost(Why::Redrive), ["4"]);
    assert_eq!(dead_letters.bodies(), ["4"]);
    // 3 never started before 2 was done.
    assert_eq!(world.target.texts(), ["1", "2", "2", "3", "4"]);
}

/// With tries within one invocation, what fails once burns no receive of its neighbours.
#[test]
fn f20_a_failure_that_passes_burns_no_receive() {
    let dead_letters = Queue::fifo("dead");
    let queue = fifo(&[("g", "1"), ("g", "2"), ("g", "3")]);
    let queue = queue.redrives_to(&dead_letters, 2);
    let world = World::sqs(&queue, &[]);
    world.target.says("2", &[Say::Status(500)]);
    world.target.says("3", &[Say::Status(500)]);
    let function = world.function();
    let journal = Mapping::sqs(&function, &queue)
        .reports_failures()
        .run()
        .unwrap();
    assert_eq!(journal.batches(), [["1", "2", "3"]]);
    assert_eq!(world.target.texts(), ["1", "2", "2", "3", "3"]);
    assert!(queue.bodies().is_empty() && dead_letters.bodies().is_empty());
}

#[test]
fn s6_f18_of_a_failed_group_the_failure_and_all_behind_it_are_named_and_the_other_is_deleted() {
    let queue = fifo(&[("g1", "g1m1"), ("g1", "g1m2"), ("g2", "g2m1")]);
    let world = World::sqs(&queue, &[]);
    world.target.always("g1m1", Say::Status(400));
    let function = world.function();
    let mapping = Mapping::sqs(&function, &queue).reports_failures();
    let journal = mapping.deliveries_max(2).run().unwrap();
    assert_eq!(named(&journal.deliveries[0]), ["g1m1", "g1m2"]);
    assert_eq!(queue.bodies(), ["g1m1", "g1m2"]);
    // It comes again, and stands until an operator decides.
    assert_eq!(journal.deliveries[1].texts(), ["g1m1", "g1m2"]);
    assert_eq!(world.target.count("g1m1"), 1);
    assert_eq!(world.target.count("g1m2"), 0);
    world.target.always("g1m1", Say::Done);
    world.lanekeeper(&["lanes", "retry", "--all", "--why", "mended"]);
    Mapping::sqs(&function, &queue)
        .reports_failures()
        .run()
        .unwrap();
    assert_eq!(world.target.texts_of("g1"), ["g1m1", "g1m1", "g1m2"]);
    assert_eq!(world.target.texts_of("g2"), ["g2m1"]);
    assert!(queue.bodies().is_empty());
}

#[test]
fn s7_f15_as_many_groups_at_once_as_the_cap_allows() {
    for (cap, at_once) in [("10", 6), ("2", 2), ("1", 1)] {
        let groups = ["g1", "g2", "g3", "g4", "g5", "g6"];
        let queue = fifo(&groups.map(|group| (group, group)));
        let world = World::sqs(&queue, &[("cap", cap)]);
        // Long enough that all that may start does.
        world
            .target
            .otherwise(Say::After(Duration::from_millis(500)));
        let journal = { Mapping::sqs(&world.function(), &queue) }
            .reports_failures()
            .run()
            .unwrap();
        assert_eq!(journal.deliveries.len(), 1, "one batch of six groups");
        assert_eq!(at_once_most(&world.target.calls()), at_once, "cap {cap}");
        assert!(queue.bodies().is_empty());
    }
}

/// The visibility timeout is over before the function is: the delete is refused, the message comes again.
#[test]
fn s8_f6_after_a_refused_delete_an_effect_does_not_happen_again() {
    // Half a minute of the queue is three quarters of a second of the function.
    let queue = Queue::with_clock("orders.fifo", Clock::with_speed(40.0));
    queue.send_to("g", "slow");
    let world = World::sqs(&queue, &[]);
    world
        .target
        .says("slow", &[Say::EffectAfter(Duration::from_millis(1_200))]);
    world.target.always("slow", Say::Effect);
    // While it is at work, nobody else can be: what comes again has to wait.
    let function = world.function().reserved(1);
    let mapping = Mapping::sqs(&function, &queue).reports_failures();
    let running = mapping.start().unwrap();
    running
        .until("a refused delete", |j| !j.refused_deletes.is_empty())
        .unwrap();
    running
        .until("the message is deleted", |_| queue.bodies().is_empty())
        .unwrap();
    let journal = running.stop().unwrap();
    println!(
        "{} deliveries, {} calls",
        journal.deliveries.len(),
        world.target.calls().len()
    );
    assert!(journal.deliveries.len() > 1);
    world.assert_applied_once(["slow"]);
}

/// A standard queue promises no order: each message is its own lane.
#[test]
fn s3_of_a_standard_queue_only_what_failed_comes_again() {
    let queue = Queue::standard("orders");
    for text in ["1", "2", "3"] {
        queue.send(text).unwrap();
    }
    let world = World::sqs(&queue, &[]);
    world.target.says("2", &[LAST_IN_FOUR_SECONDS]);
    let function = world.function().timeout(Duration::from_secs(4));
    let journal = Mapping::sqs(&function, &queue)
        .reports_failures()
        .run()
        .unwrap();
    assert_eq!(journal.batches(), [&["1", "2", "3"][..], &["2"]]);
    assert_eq!(named(&journal.deliveries[0]), ["2"]);
    assert!(queue.bodies().is_empty());
    assert_eq!(world.target.calls().len(), 4);
}

/// Whose mapping ignores partial answers would lose what they name: the invocation fails instead.
#[test]
fn s6_a_mapping_that_ignores_partial_answers_sees_the_invocation_fail() {
    let dead_letters = Queue::fifo("dead");
    let queue = fifo(&[("g", "1"), ("g", "2"), ("h", "3")]).redrives_to(&dead_letters, 3);
    let world = World::sqs(&queue, &[("lambda.reports_failures", "false")]);
    world.target.always("2", Say::Status(400));
    let function = world.function();
    let journal = Mapping::sqs(&function, &queue).run().unwrap();
    assert!(journal.verdicts().iter().all(|v| **v == Verdict::Failure));
    assert!(world.target.texts_of("h").len() == 1 && world.target.count("1") == 1);
    assert!(dead_letters.bodies().contains(&"2".to_owned()));
}
