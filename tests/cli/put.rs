//! `put`: what goes in, and what a bad line leaves behind.

use crate::world::World;
use rustix::process::{Pid, Signal, kill_process};
use std::{fmt::Write as _, io::Write as _, process::Stdio};

const PUT: [&str; 5] = ["put", "--topic", "orders", "--key", "k"];

fn lag(world: &World) -> u64 {
    let status = world.lanekeeper(&["status", "--json"]).json();
    let partitions = status["partitions"].as_array().expect("partitions");
    partitions
        .iter()
        .map(|p| p["lag"].as_u64().expect("lag"))
        .sum()
}

#[test]
fn bad_lines_are_named_and_nothing_is_lost() {
    let too_long = format!("{{\"k\":\"a\",\"v\":\"{}\"}}\n", "x".repeat(16 << 20));
    let cases: [(&str, String, &[&str]); 8] = [
        (
            "malformed",
            "{\"k\":\"a\"}\n{\"k\":\n{\"k\":\"b\"}\n".to_owned(),
            &[],
        ),
        ("key missing", "{\"k\":\"a\"}\n{\"x\":1}\n".to_owned(), &[]),
        ("key of another type", "{\"k\":[1]}\n".to_owned(), &[]),
        ("empty line", "{\"k\":\"a\"}\n\n".to_owned(), &[]),
        ("too large", format!("{{\"k\":\"a\"}}\n{too_long}"), &[]),
        (
            "not so many lines",
            "{\"k\":\"a\"}\n".to_owned(),
            &["--from-line", "5"],
        ),
        (
            "too many partitions",
            "{\"k\":\"a\"}\n".to_owned(),
            &["--partitions", "100000"],
        ),
        (
            "left out",
            "{\"k\":\"a\"}\nnope\u{1b}[2J\n{\"k\":7.10}\n".to_owned(),
            &["--bad-lines", "skip"],
        ),
    ];
    let mut text = String::new();
    for (name, input, more) in cases {
        let world = World::new();
        let args: Vec<&str> = PUT.iter().chain(more).copied().collect();
        let ended = world.with_input(&args, input.as_bytes());
        assert_eq!(ended.stdout, "", "{name}");
        let left = lag(&world);
        let code = ended.code.expect("code");
        let _ = writeln!(
            text,
            "## {name}: exit {code}, {left} records in\n{}",
            ended.stderr
        );
    }
    insta::assert_snapshot!(text);
}

#[test]
fn lines_are_counted_from_1() {
    let world = World::new();
    let args: Vec<&str> = PUT.iter().copied().chain(["--from-line", "0"]).collect();
    let ended = world.with_input(&args, b"{\"k\":\"a\"}\n");
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("0 is not in 1.."), "{}", ended.stderr);
    assert!(!world.path("lanekeeper.db").exists(), "nothing went in");
}

#[test]
fn the_number_of_partitions_is_fixed() {
    let world = World::new();
    world.put("{\"k\":\"a\"}\n");
    let args: Vec<&str> = PUT.iter().copied().chain(["--partitions", "3"]).collect();
    let ended = world.with_input(&args, b"{\"k\":\"a\"}\n");
    assert_eq!(ended.code, Some(2));
    assert!(
        ended
            .stderr
            .contains("has 1 partitions, and 3 were asked for"),
        "{}",
        ended.stderr
    );
    assert_eq!(lag(&world), 1);
}

#[test]
fn a_signal_ends_a_silent_pipe_and_keeps_what_came() {
    let world = World::new();
    let mut put = world
        .command(&PUT)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("spawn");
    let mut input = put.stdin.take().expect("stdin");
    input.write_all(b"{\"k\":\"a\"}\n").expect("write");
    world.until("the line is in", || {
        world.path("lanekeeper.db").exists() && lag(&world) == 1
    });
    let pid = i32::try_from(put.id()).ok().and_then(Pid::from_raw);
    kill_process(pid.expect("pid"), Signal::INT).expect("signal");
    let output = put.wait_with_output().expect("wait");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("go on with `--from-line 2`"), "{stderr}");
    drop(input);
    assert_eq!(lag(&world), 1);
}

#[test]
fn without_a_configuration_the_default_file_is_used() {
    let world = World::empty();
    let ended = world.with_input(&["put", "--topic", "t", "--json"], b"one\n\ntwo");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let document = ended.json();
    assert_eq!(document["records"], 3);
    assert_eq!(document["through_line"], 3);
    assert_eq!(document["partitions"], 8);
    assert!(world.path("lanekeeper.db").exists());
}

#[test]
fn a_topic_that_nobody_reads_is_a_mistake() {
    let world = World::new();
    let ended = world.with_input(&["put", "--topic", "order"], b"x\n");
    assert_eq!(ended.code, Some(2));
    assert!(
        ended.stderr.contains("there is `orders`"),
        "{}",
        ended.stderr
    );
    assert!(!world.path("lanekeeper.db").exists());
}
