//! What was recorded of SQS itself, without a mapping.

use super::*;

const HIDDEN: Duration = Duration::from_secs(30);

fn queue() -> Queue {
    Queue::fifo("orders").hides_for(HIDDEN)
}

fn received(queue: &Queue, messages_max: usize) -> Vec<Message> {
    queue.receive(messages_max).unwrap().messages
}

fn texts(messages: &[Message]) -> Vec<&str> {
    messages
        .iter()
        .map(|message| message.body.as_str())
        .collect()
}

fn fill(queue: &Queue, messages: &[(&str, &str)]) {
    for (group, body) in messages {
        queue.send_to(group, body);
    }
}

#[test]
fn f1_a_receive_takes_what_it_can_of_one_group_and_then_of_others() {
    let queue = queue();
    fill(
        &queue,
        &[("g1", "1"), ("g2", "2"), ("g1", "3"), ("g1", "4")],
    );
    assert_eq!(texts(&received(&queue, 10)), ["1", "3", "4", "2"]);
}

#[test]
fn f2_nothing_of_a_group_comes_while_some_of_it_is_out() {
    let queue = queue();
    fill(&queue, &[("g1", "1"), ("g1", "2")]);
    let first = received(&queue, 1);
    assert_eq!(texts(&first), ["1"]);
    fill(&queue, &[("g1", "3"), ("g2", "4")]);
    assert_eq!(texts(&received(&queue, 10)), ["4"]);
    queue.delete(&first[0]).unwrap().unwrap();
    assert_eq!(texts(&received(&queue, 10)), ["2", "3"]);
}

#[test]
fn f3_a_group_stays_shut_while_one_of_its_messages_is_out() {
    let queue = queue();
    fill(&queue, &[("g1", "1"), ("g1", "2"), ("g1", "3")]);
    let out = received(&queue, 2);
    queue.delete(&out[0]).unwrap().unwrap();
    assert!(received(&queue, 10).is_empty());
    queue.delete(&out[1]).unwrap().unwrap();
    assert_eq!(texts(&received(&queue, 10)), ["3"]);
}

#[test]
fn f4_what_stands_before_the_first_hidden_message_can_be_received() {
    let queue = queue();
    fill(&queue, &[("g1", "1"), ("g1", "2"), ("g1", "3")]);
    let out = received(&queue, 2);
    queue
        .change_visibility(&out[0].handle, Duration::ZERO)
        .unwrap();
    assert_eq!(texts(&received(&queue, 10)), ["1"], "while 2 is still out");
    queue.clock().pass(HIDDEN / 2);
    queue.change_visibility(&out[1].handle, HIDDEN).unwrap();
    queue.clock().pass(HIDDEN / 2);
    assert_eq!(
        texts(&received(&queue, 10)),
        ["1"],
        "2 hides itself and what follows"
    );
}

#[test]
fn f5_after_its_time_a_group_comes_again_in_order() {
    let queue = queue();
    fill(&queue, &[("g1", "1"), ("g1", "2"), ("g1", "3")]);
    assert_eq!(received(&queue, 2).len(), 2);
    assert!(queue.next_seen().unwrap().is_some());
    queue.clock().pass(HIDDEN);
    let again = received(&queue, 10);
    assert_eq!(texts(&again), ["1", "2", "3"]);
    assert_eq!(
        again.iter().map(|m| m.receives).collect::<Vec<_>>(),
        [2, 2, 1]
    );
    assert_eq!(again[0].attributes["ApproximateReceiveCount"], "2");
}

#[test]
fn f6_a_delete_with_an_expired_handle_is_refused() {
    let queue = queue();
    fill(&queue, &[("g1", "1"), ("g1", "2")]);
    let out = received(&queue, 2);
    queue.clock().pass(HIDDEN / 2);
    queue.change_visibility(&out[1].handle, HIDDEN).unwrap();
    queue.clock().pass(HIDDEN / 2);
    let refused = queue.delete(&out[0]).unwrap().unwrap_err();
    assert!(
        refused.0.ends_with("The receipt handle has expired."),
        "{refused}"
    );
    queue.delete(&out[1]).unwrap().expect("it was extended");
    assert_eq!(queue.bodies(), ["1"]);
}

#[test]
fn s18_a_standard_queue_says_nothing_of_an_old_handle() {
    let queue = Queue::standard("orders");
    queue.send("1").unwrap();
    let old = received(&queue, 1);
    queue.clock().pass(HIDDEN);
    let new = received(&queue, 1);
    queue.delete(&old[0]).unwrap().unwrap();
    assert_eq!(queue.bodies(), ["1"]);
    queue.delete(&new[0]).unwrap().unwrap();
    assert!(queue.bodies().is_empty());
    assert!(
        queue.send_to("g", "fair").len() > 1,
        "F13: a group, and no FIFO queue"
    );
}

#[test]
fn f7_an_id_that_is_known_is_not_sent_again_not_even_to_another_group() {
    let queue = queue();
    let id = queue.send_once("g1", "d", "1");
    assert_eq!(queue.send_once("g2", "d", "2"), id);
    queue.delete(&received(&queue, 1)[0]).unwrap().unwrap();
    assert_eq!(
        queue.send_once("g1", "d", "3"),
        id,
        "also after it was deleted"
    );
    assert!(queue.bodies().is_empty());
    queue.clock().pass(DEDUPLICATION);
    assert_ne!(queue.send_once("g1", "d", "4"), id);

    let per_group = Queue::fifo("per-group").deduplicates_per_group();
    per_group.send_once("g1", "d", "1");
    per_group.send_once("g2", "d", "2");
    assert_eq!(per_group.bodies(), ["1", "2"]);
}

#[test]
fn s5_f12_the_receive_that_would_be_one_too_many_moves_a_message_and_its_group_goes_on() {
    let dead_letters = Queue::fifo("dead");
    let queue = queue().redrives_to(&dead_letters, 2);
    let id = queue.send_to("g1", "1");
    for receives in [1, 2] {
        let out = received(&queue, 1);
        assert_eq!(out[0].receives, receives);
        queue.clock().pass(HIDDEN);
    }
    queue.send_to("g1", "2");
    let third = queue.receive(1).unwrap();
    assert_eq!(texts(&third.redriven), ["1"]);
    assert_eq!(texts(&third.messages), ["2"]);
    assert_eq!(dead_letters.ids(), [id]);
}
