//! What every command says of itself.

use crate::world::{World, read_some};
use std::process::Stdio;

const COMMANDS: &[&[&str]] = &[
    &[],
    &["demo"],
    &["run"],
    &["recover"],
    &["replay"],
    &["lambda"],
    &["put"],
    &["check"],
    &["status"],
    &["lanes"],
    &["lanes", "list"],
    &["lanes", "show"],
    &["lanes", "retry"],
    &["lanes", "skip"],
    &["lanes", "park"],
    &["lanes", "dead-letter"],
    &["lanes", "release"],
    &["checkpoint"],
    &["checkpoint", "list"],
    &["checkpoint", "show"],
    &["checkpoint", "export"],
    &["checkpoint", "rewind"],
    &["checkpoint", "import"],
    &["value"],
    &["value", "get"],
    &["value", "list"],
    &["store"],
    &["lint"],
    &["audit"],
    &["init"],
    &["completions"],
];

#[test]
fn help_teaches_with_examples() {
    let world = World::empty();
    let mut all = String::new();
    for command in COMMANDS {
        let mut args = command.to_vec();
        args.push("--help");
        let ended = world.lanekeeper(&args);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        all.push_str(&format!(
            "$ lanekeeper {}\n{}\n",
            args.join(" "),
            ended.stdout
        ));
        let example = ended.stdout.contains("xample") || command.is_empty();
        assert!(example, "no example: {}", ended.stdout);
    }
    insta::assert_snapshot!(all);
}

#[test]
fn every_command_is_in_the_table_above() {
    let ended = World::empty().lanekeeper(&["--help"]);
    let listed = ended
        .stdout
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  "))
        .filter(|line| !line.starts_with(' '))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|command| *command != "help");
    let mut count = 0;
    for command in listed {
        count += 1;
        assert!(
            COMMANDS.iter().any(|known| known.first() == Some(&command)),
            "`{command}` has no help test"
        );
    }
    assert!(count > 8, "{}", ended.stdout);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let world = World::empty();
    let mut child = world
        .command(&["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("spawn");
    read_some(&mut child, 1);
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("wait");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stderr, b"");
}

#[test]
fn init_writes_what_check_accepts_and_overwrites_nothing() {
    let world = World::empty();
    assert_eq!(world.lanekeeper(&["init"]).code, Some(0));
    let check = world.lanekeeper(&["check", "--set", "handler.command=[\"sh\"]"]);
    assert_eq!(check.code, Some(0), "{}{}", check.stdout, check.stderr);
    let again = world.lanekeeper(&["init"]);
    assert_eq!(again.code, Some(2));
    assert!(again.stderr.contains("was not touched"), "{}", again.stderr);
    let shown = world.lanekeeper(&["init", "-"]);
    assert_eq!(shown.stdout, world.read("lanekeeper.toml"));
}
