//! The mapping of a FIFO queue (F2, F6, F12, F15 to F20). What the queue does by itself stands beside its
//! model.

use crate::stubs::{meeting, outlasting, records, reporting, text};
use lanekeeper_integration::lambda::{
    Function, Journal, Mapping, MessageQueue as _, Outcome, Queue, Verdict, Why,
};
use serde_json::{Value, json};
fn queue(messages: &[(&str, &str)]) -> Queue {
    let queue = Queue::fifo("orders");
    for (group, body) in messages {
        queue.send_to(group, body);
    }
    queue
}

fn receives(journal: &Journal, delivery: usize) -> Vec<u32> {
    let items = journal.deliveries[delivery].items.iter();
    items.map(|item| item.receives).collect()
}

/// Golden scenario 5: four messages of a group, of which 2 and 3 fail once and 4 always; two receives.
#[test]
fn f19_a_message_burns_its_receives_while_others_fail() {
    let dead_letters = Queue::fifo("dead");
    let queue = queue(&[]).redrives_to(&dead_letters, 2);
    let ids = ["1", "2", "3", "4"].map(|body| queue.send_to("1", body));
    let function = reporting(|text, times| match text {
        "2" | "3" => times == 1,
        "4" => true,
        _ => false,
    });
    let journal = Mapping::sqs(&function, &queue)
        .reports_failures()
        .run()
        .unwrap();
    assert_eq!(
        journal.batches(),
        [&["1", "2", "3", "4"][..], &["2", "3", "4"]]
    );
    assert_eq!(receives(&journal, 0), [1; 4]);
    assert_eq!(receives(&journal, 1), [2; 3]);
    let again = |ids: &[String]| Verdict::Partial(ids.to_vec());
    assert_eq!(journal.verdicts(), [&again(&ids[1..]), &again(&ids[3..])]);
    assert_eq!(dead_letters.ids(), ids[3..], "with the same id");
    assert_eq!(journal.lost(Why::Redrive), ["4"]);
    assert!(queue.bodies().is_empty() && journal.refused_deletes.is_empty());
}

#[test]
fn f20_a_good_message_behind_a_failed_one_reaches_the_dead_letters() {
    let dead_letters = Queue::fifo("dead");
    let queue = queue(&[("g", "bad"), ("g", "good")]).redrives_to(&dead_letters, 2);
    // As F18 asks: the failed one and all that was not processed.
    let function = Function::stub(|event| {
        let failed = records(event)
            .into_iter()
            .map(|(id, _)| json!({"itemIdentifier": id}));
        Outcome::json(&json!({"batchItemFailures": failed.collect::<Vec<_>>()}))
    });
    let journal = Mapping::sqs(&function, &queue)
        .reports_failures()
        .run()
        .unwrap();
    assert_eq!(dead_letters.bodies(), ["bad", "good"]);
    assert_eq!(journal.batches(), [["bad", "good"]; 2]);
}

#[test]
fn f18_what_is_not_reported_is_deleted_and_its_order_is_lost() {
    let queue = queue(&[("g", "1"), ("g", "2"), ("g", "3")]);
    let function = reporting(|text, times| text == "1" && times == 1);
    let journal = Mapping::sqs(&function, &queue)
        .reports_failures()
        .run()
        .unwrap();
    assert_eq!(journal.batches(), [&["1", "2", "3"][..], &["1"]]);
}

#[test]
fn f17_nothing_younger_of_a_group_comes_before_what_failed() {
    let queue = queue(&[("g", "1"), ("g", "2"), ("g", "3"), ("h", "4")]);
    let function = reporting(|text, times| text == "1" && times < 3);
    let mapping = Mapping::sqs(&function, &queue)
        .reports_failures()
        .batch_size(1);
    let journal = mapping.run().unwrap();
    let of_group: Vec<&str> = { journal.batches().concat() }
        .into_iter()
        .filter(|text| *text != "4")
        .collect();
    assert_eq!(of_group, ["1", "1", "1", "2", "3"]);
    assert_eq!(journal.deliveries_of("4").len(), 1);
}

#[test]
fn f12_behind_a_dead_letter_its_group_goes_on() {
    let dead_letters = Queue::fifo("dead");
    let queue = queue(&[("g", "1"), ("g", "2")]).redrives_to(&dead_letters, 1);
    let function = reporting(|text, _| text == "1");
    let mapping = Mapping::sqs(&function, &queue)
        .reports_failures()
        .batch_size(1);
    let journal = mapping.run().unwrap();
    assert_eq!(journal.batches(), [["1"], ["2"]]);
    assert_eq!(dead_letters.bodies(), ["1"]);
}

/// Golden scenario 6, as the mapping sees it.
#[test]
fn f16_a_batch_holds_several_groups_and_one_goes_on_without_the_other() {
    let queue = queue(&[("g1", "g1m1"), ("g2", "g2m1"), ("g1", "g1m2")]);
    let function = reporting(|text, times| text.starts_with("g1") && times == 1);
    let journal = Mapping::sqs(&function, &queue)
        .reports_failures()
        .run()
        .unwrap();
    let expected = [&["g1m1", "g1m2", "g2m1"][..], &["g1m1", "g1m2"]];
    assert_eq!(journal.batches(), expected);
}

/// Golden scenario 7, where it is the mapping's.
#[test]
fn f15_as_many_run_at_once_as_groups_up_to_the_maximum() {
    let six = || {
        let queue = queue(&[]);
        for number in 0..30 {
            queue.send_to(&format!("g{}", number % 6), &number.to_string());
        }
        queue
    };
    let most = |journal: std::io::Result<Journal>| journal.unwrap().concurrency_most;
    let mapping = |at_once, queue: &Queue| Mapping::sqs(&meeting(at_once), queue).batch_size(1);
    assert_eq!(most(mapping(6, &six()).concurrency(10).run()), 6);
    assert_eq!(most(mapping(2, &six()).concurrency(2).run()), 2);
    let one = queue(&[("g", "1"), ("g", "2"), ("g", "3"), ("g", "4"), ("g", "5")]);
    assert_eq!(most(mapping(1, &one).run()), 1);
}

/// Golden scenario 8, as the mapping sees it.
#[test]
fn f6_what_takes_longer_than_its_visibility_timeout_cannot_be_deleted() {
    let queue = Queue::fifo("orders");
    let id = queue.send_to("g", "1");
    let function = outlasting(queue.clock(), queue.visibility(), 1);
    // One at a time, so that the first is over before another can delete the message.
    let journal = Mapping::sqs(&function.reserved(1), &queue).run().unwrap();
    let [(refused, why)] = &journal.refused_deletes[..] else {
        unreachable!("{:?}", journal.refused_deletes);
    };
    assert_eq!(*refused, id);
    assert!(why.contains("The receipt handle has expired"), "{why}");
    assert_eq!(journal.deliveries_of("1").len(), 2);
    assert!(queue.bodies().is_empty());
}

#[test]
fn the_event_has_what_a_group_is_known_by() {
    let queue = queue(&[]);
    queue.send_once("g", "d", "1");
    let journal = Mapping::sqs(&meeting(1), &queue).run().unwrap();
    let event: Value = serde_json::from_str(&journal.deliveries[0].event).unwrap();
    let record = &event["Records"][0];
    let arn = "arn:aws:sqs:us-east-1:000000000000:orders.fifo";
    assert_eq!(record["eventSourceARN"], arn);
    let attributes = &record["attributes"];
    assert_eq!(attributes["MessageGroupId"], "g");
    assert_eq!(attributes["MessageDeduplicationId"], "d");
    let number = text(&attributes["SequenceNumber"]);
    assert_eq!(number.len(), 20, "{number}");
}
