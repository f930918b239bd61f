//! `demo`: what it draws, and where it cannot.

use crate::world::World;

#[test]
fn a_place_that_cannot_be_drawn_to_is_said_before_anything_runs() {
    let world = World::empty();
    let ended = world.lanekeeper(&["demo", "--svg", "no/where.svg"]);
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("cannot write no/where.svg: "),
        "{}",
        ended.stderr
    );
    assert!(!ended.stderr.contains("requests for"), "{}", ended.stderr);
    assert_eq!(ended.stdout, "", "no verdict");
}

#[test]
fn every_try_is_a_bar_and_every_slot_a_row() {
    let world = World::empty();
    let args = ["demo", "--seed", "3", "--requests", "20", "--cap", "2"];
    let args = [&args[..], &["--speed", "300", "--svg", "demo.svg"]].concat();
    let ended = world.lanekeeper(&args);
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    let picture = world.read("demo.svg");
    let (before, _) = ended.stdout.split_once(" tries by ").expect("a count");
    let tries = before.split_whitespace().last().expect("a count");
    let tries: usize = tries.parse().expect("a number");
    assert_eq!(picture.matches("<title>").count(), tries, "{picture}");
    let rows = (1..).take_while(|n| picture.contains(&format!(">slot {n}<")));
    assert_eq!(rows.count(), 2);
    assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n"));
}
