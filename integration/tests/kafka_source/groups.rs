//! Members of a group come, go and die.

use crate::bench::{Bench, CAP, stop};
use lanekeeper_integration::scene::{Running, eventually};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

/// Partitions that a member owns by its history.
pub(crate) fn owned(bench: &Bench, history: &str) -> BTreeSet<String> {
    let mut owned = BTreeSet::new();
    for line in bench.ledger(history) {
        let partition = line["partition"].as_str().unwrap_or_default().to_owned();
        match line["event"].as_str() {
            Some("claimed") => {
                owned.insert(partition);
            }
            Some("revoked") => {
                owned.remove(&partition);
            }
            Some(_) | None => {}
        }
    }
    owned
}

pub(crate) fn waits_to_own(bench: &Bench, history: &str, partitions: usize) {
    let what = format!("{history} to own {partitions} partitions");
    eventually(&what, || Ok(owned(bench, history).len() == partitions)).unwrap();
}

pub(crate) fn unclean_claims(bench: &Bench, history: &str) -> usize {
    let lines = bench.ledger(history);
    let is_unclean = |line: &&Value| line["event"] == "claimed" && line["clean"] == false;
    lines.iter().filter(is_unclean).count()
}

#[test]
fn g1_g8_members_that_come_and_go_in_order_lose_and_repeat_nothing() {
    let mut bench = Bench::new(8, "\"--millis\", \"3\"");
    bench.request(800, 40, 0);
    let first = bench.member("first");
    bench.wait_for(100);
    let second = bench.member("second");
    waits_to_own(&bench, "second", 4);
    bench.request(1_200, 40, 0);
    let third = bench.member("third");
    bench.wait_for(600);
    stop(first);
    bench.wait_for(900);
    let fourth = bench.member("fourth");
    bench.wait_for(1_200);
    stop(third);
    stop(second);
    bench.wait_for(2_000);
    bench.wait_for_the_group();
    stop(fourth);
    assert_eq!(bench.check(), 0, "all stops were clean");
    let histories = ["first", "second", "third", "fourth"];
    bench.audit(&histories);
    for history in histories {
        assert_eq!(unclean_claims(&bench, history), 0, "{history}");
    }
}

#[test]
fn g8_g9_members_that_are_held_back_while_they_come_and_go_hand_nothing_over_twice() {
    let mut bench = Bench::new(8, "\"--millis\", \"3\"");
    // Four megabytes, of which a member may hold one.
    bench.request(2_000, 40, 2_000);
    let member = |bench: &Bench, history: &str| {
        let args = ["run", "--history", history, "--set", "memory=1MiB"];
        bench.scene.start(&args).unwrap()
    };
    let first = member(&bench, "first");
    bench.wait_for(100);
    let second = member(&bench, "second");
    waits_to_own(&bench, "second", 4);
    let third = member(&bench, "third");
    bench.wait_for(500);
    stop(first);
    bench.wait_for(800);
    let fourth = member(&bench, "fourth");
    bench.wait_for(1_200);
    stop(third);
    bench.wait_for(2_000);
    bench.wait_for_the_group();
    stop(second);
    stop(fourth);
    assert_eq!(bench.check(), 0, "all stops were clean");
    let histories = ["first", "second", "third", "fourth"];
    bench.audit(&histories);
    for history in histories {
        let (mut held, mut most) = (BTreeMap::new(), 0);
        for line in bench.ledger(history) {
            let partition = line["partition"].as_str().unwrap_or_default().to_owned();
            let of_it: &mut u64 = held.entry(partition).or_default();
            match line["event"].as_str() {
                Some("fetched") => *of_it += 1,
                Some("done") => *of_it -= 1,
                // What it has not done it lets go.
                Some("revoked") => *of_it = 0,
                Some(_) | None => {}
            }
            most = most.max(held.values().sum());
        }
        // All of the log was there to be fetched from the beginning.
        assert!(most < (1 << 20) / 2_000, "{history} held {most} records");
    }
}

/// Freezes a member while it does not write to the store: within a write it would hold the file for all others.
fn freeze(bench: &Bench, member: &mut Running) {
    let store = bench.scene.path("lanekeeper.db");
    let write = "import sqlite3, sys; sqlite3.connect(sys.argv[1], 0.5).execute('BEGIN IMMEDIATE')";
    eventually("a moment between two writes", || {
        member.signal("STOP")?;
        let mut python = Command::new("python3");
        let tried = python.args(["-c", write]).arg(&store).output()?;
        if !tried.status.success() {
            member.signal("CONT")?;
        }
        Ok(tried.status.success())
    })
    .unwrap();
}

/// Its group has given its partitions to others without a word to it: by the time it hears of that, nothing of
/// them is its own to commit.
#[test]
fn g6_a_member_that_was_frozen_past_its_session_commits_nothing_of_what_it_has_lost() {
    let mut bench = Bench::new(4, "\"--millis\", \"3\"");
    bench.request(2_000, 40, 0);
    let member = |history| {
        let sets = ["--set", "store.unflushed_max=50"];
        let args = ["run", "--history", history];
        bench.scene.start(&[&args[..], &sets].concat()).unwrap()
    };
    let (mut frozen, stays) = (member("frozen"), member("stays"));
    waits_to_own(&bench, "frozen", 2);
    waits_to_own(&bench, "stays", 2);
    let before = bench.done();
    bench.wait_for(before + 100);
    freeze(&bench, &mut frozen);
    waits_to_own(&bench, "stays", 4);
    let had = owned(&bench, "frozen");
    assert_eq!(had.len(), 2);
    let lines = bench.ledger("frozen").len();
    frozen.signal("CONT").unwrap();
    let since = |partition: &str| {
        let mut since = bench.ledger("frozen").split_off(lines);
        since.retain(|line| line["partition"] == partition);
        since
    };
    let is_lost = |partition: &String| {
        let is_lost = |line: &Value| line["event"] == "revoked" && line["clean"] == false;
        since(partition).iter().any(is_lost)
    };
    eventually("it to hear of that", || Ok(had.iter().all(is_lost))).unwrap();
    bench.wait_for(2_000);
    bench.wait_for_the_group();
    stop(frozen);
    stop(stays);
    for partition in &had {
        let is_either = |line: &&Value| line["event"] == "claimed" || line["event"] == "committed";
        let since = since(partition);
        let first = since.iter().find(is_either);
        assert!(
            first.is_none_or(|line| line["event"] == "claimed"),
            "{partition} was another's: {first:?}"
        );
    }
    let (repeats, bound) = (bench.check(), 2 * 50 + u64::from(CAP));
    assert!(repeats <= bound, "{repeats} repeats, the bound is {bound}");
    bench.audit(&["frozen", "stays"]);
}

/// The offsets that the group knows never go back, and never past what is not done: looked at again and
/// again while members come and go.
#[test]
fn g5_the_groups_offsets_never_go_back_nor_ahead_of_what_is_done() {
    let mut bench = Bench::new(4, "\"--millis\", \"3\"");
    let mut trickle = bench.trickle();
    let mut known = vec![0; 4];
    let mut looks = 0;
    let mut watch = |bench: &Bench, until: &dyn Fn() -> bool| {
        eventually("what is watched for", || {
            let committed = bench.kafka.committed(&bench.topic, &bench.topic)?;
            // Read behind the offsets: it may say more than they do, and never less.
            let done = done(bench);
            for (partition, offset) in committed.into_iter().enumerate() {
                let offset = offset.unwrap_or(0);
                assert!(
                    offset >= known[partition],
                    "{partition}: {known:?}, {offset}"
                );
                let lacks = (0..offset).find(|n| !done.contains(&(partition, *n)));
                assert_eq!(lacks, None, "{partition}: the group knows {offset}");
                known[partition] = offset;
            }
            looks += 1;
            Ok(until())
        })
        .unwrap();
    };
    let first = bench.member("first");
    watch(&bench, &|| bench.done() > 100);
    let second = bench.member("second");
    watch(&bench, &|| owned(&bench, "second").len() == 2);
    let mut third = bench.member("third");
    watch(&bench, &|| !owned(&bench, "third").is_empty());
    stop(first);
    let before = bench.done();
    watch(&bench, &|| bench.done() > before + 100);
    third.signal("KILL").unwrap();
    drop(third);
    watch(&bench, &|| owned(&bench, "second").len() == 4);
    let before = bench.done();
    watch(&bench, &|| bench.done() > before + 100);
    bench.end(&mut trickle);
    let all = bench.requested();
    watch(&bench, &|| bench.done() == all);
    bench.wait_for_the_group();
    println!("{looks} looks at the group's offsets");
    stop(second);
    bench.check();
}

/// Partition and offset of the records that are done, by the workers' own word.
fn done(bench: &Bench) -> BTreeSet<(usize, i64)> {
    let lines = bench.ledger("ledger.jsonl");
    let done = lines.iter().filter(|line| line["event"] == "done");
    done.map(|line| {
        let id = line["id"].as_str().unwrap();
        let mut parts = id.split('/').skip(2);
        let partition = parts.next().unwrap().parse().unwrap();
        (partition, parts.next().unwrap().parse().unwrap())
    })
    .collect()
}

#[test]
fn a_member_that_stops_ends_what_is_in_flight_and_the_others_go_on_at_once() {
    let mut bench = Bench::new(4, "\"--millis\", \"100\"");
    bench.request(200, 40, 0);
    let (gone, stays) = (bench.member("gone"), bench.member("stays"));
    waits_to_own(&bench, "gone", 2);
    waits_to_own(&bench, "stays", 2);
    let before = bench.done();
    bench.wait_for(before + 10);
    let gone_id = gone.id();
    stop(gone);
    assert!(owned(&bench, "gone").is_empty());
    let of_gone = |line: &Value| line["run"] == gone_id;
    let ledger = bench.ledger("ledger.jsonl");
    let count = |event| {
        ledger
            .iter()
            .filter(|line| of_gone(line) && line["event"] == event)
            .count()
    };
    assert!(count("done") > 0);
    assert_eq!(
        count("started"),
        count("done"),
        "what was in flight was ended"
    );
    waits_to_own(&bench, "stays", 4);
    // An unclean claim would wait until whoever was there before has ended for sure.
    assert_eq!(unclean_claims(&bench, "stays"), 0);
    bench.wait_for(200);
    stop(stays);
    assert_eq!(bench.check(), 0);
    bench.audit(&["gone", "stays"]);
}

#[test]
fn g8_what_a_killed_member_had_is_gone_on_with_and_little_is_repeated() {
    let mut bench = Bench::new(4, "\"--millis\", \"3\"");
    bench.request(1_500, 40, 0);
    let sets = ["--set", "store.unflushed_max=50"];
    let member = |history| {
        let args = ["run", "--history", history];
        bench.scene.start(&[&args[..], &sets].concat()).unwrap()
    };
    let (mut dies, stays) = (member("dies"), member("stays"));
    waits_to_own(&bench, "dies", 2);
    waits_to_own(&bench, "stays", 2);
    let before = bench.done();
    bench.wait_for(before + 100);
    dies.signal("KILL").unwrap();
    waits_to_own(&bench, "stays", 4);
    assert_eq!(unclean_claims(&bench, "stays"), 2);
    bench.wait_for(1_500);
    bench.wait_for_the_group();
    stop(stays);
    let (repeats, bound) = (bench.check(), 2 * 50 + u64::from(CAP));
    assert!(repeats <= bound, "{repeats} repeats, the bound is {bound}");
    bench.audit(&["dies", "stays"]);
}

/// Records that come one by one meet every member at the end of the log: what a rebalance does to a
/// reader there must leave none out.
#[test]
fn g7_records_that_come_one_by_one_while_members_come_and_go_are_all_read() {
    let mut bench = Bench::new(4, "");
    let first = bench.member("history-0");
    waits_to_own(&bench, "history-0", 4);
    let mut trickle = bench.trickle();
    let mut histories = vec!["history-0".to_owned()];
    for round in 1..=6 {
        let history = format!("history-{round}");
        let second = bench.member(&history);
        waits_to_own(&bench, &history, 2);
        let before = bench.done();
        bench.wait_for(before + 20);
        stop(second);
        waits_to_own(&bench, "history-0", 4);
        histories.push(history);
    }
    bench.end(&mut trickle);
    let all = bench.requested();
    bench.wait_for(all);
    bench.wait_for_the_group();
    stop(first);
    assert_eq!(bench.check(), 0, "all stops were clean");
    bench.audit(&histories.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn a_member_of_the_new_protocol_shares_with_another() {
    let mut bench = Bench::new(4, "");
    bench.request(400, 40, 0);
    let properties = "sources.orders.properties={ \"group.protocol\" = \"consumer\" }";
    let member = |history| {
        let args = ["run", "--history", history, "--set", properties];
        bench.scene.start(&args).unwrap()
    };
    let first = member("first");
    bench.wait_for(100);
    let second = member("second");
    waits_to_own(&bench, "second", 2);
    stop(first);
    waits_to_own(&bench, "second", 4);
    bench.wait_for(400);
    bench.wait_for_the_group();
    stop(second);
    assert_eq!(bench.check(), 0);
    bench.audit(&["first", "second"]);
}
