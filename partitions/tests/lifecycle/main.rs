//! What each state of a lane makes of each fact, as one table.
//!
//! The lane under test has record 1 (and 2 behind it). A line says the fact, what it returned, the
//! actions that followed with the records that they lend, and the figures then. Facts that a state
//! cannot meet (an answer without a try) and decisions that it does not offer are left out.

#![expect(clippy::expect_used, reason = "a test fails loudly")]

use partitions::{Answer, Change, CommitEnd, Decision, Held, Published, Rest, Then};
use std::fmt::Write as _;

mod world;

use world::*;

/// A state's name, and how to bring a new world into it.
type State = (&'static str, fn() -> World);

const STATES: [State; 18] = [
    ("no lane", || World::new(Then::Stop, None)),
    ("running", || running(Then::Stop)),
    ("quarantined", || {
        let mut world = running(Then::Stop);
        world.complete(Answer {
            quarantine: SECOND,
            ..answer(Rest::Retry { after: SECOND })
        });
        world
    }),
    ("waiting", || {
        let mut world = running(Then::Stop);
        world.complete(answer(Rest::Retry { after: SECOND }));
        world
    }),
    ("effects out", || {
        let mut world = running(Then::Stop);
        world.complete(Answer {
            with_effects: true,
            ..DONE
        });
        world
    }),
    ("stopping", || failed(Then::Stop)),
    ("stopped", || {
        let mut world = failed(Then::Stop);
        world.durable();
        world
    }),
    ("stopped, head not come", || {
        World::new(
            Then::Stop,
            Some(Held::Stopped {
                head: 1,
                verdict: false,
            }),
        )
    }),
    ("stopped, skip out", || {
        let mut world = failed(Then::Stop);
        world.durable();
        world.decide(Decision::Skip);
        world
    }),
    ("parking", || failed(Then::Park)),
    ("parked", || {
        let mut world = failed(Then::Park);
        world.durable();
        world.durable();
        world
    }),
    ("releasing", || {
        let mut world = chained(4, false);
        world.loaded(&[1, 2, 3, 4]);
        world
    }),
    ("cut out", || {
        let mut world = chained(1, false);
        world.loaded(&[1]);
        world
    }),
    ("draining", || {
        let mut world = chained(1, true);
        world.loaded(&[1]);
        world
    }),
    ("live out", || {
        let mut world = chained(1, true);
        world.loaded(&[1]);
        world.complete(DONE);
        world
    }),
    ("verdict out", || failed(Then::DeadLetter)),
    ("publishing", || {
        let mut world = failed(Then::DeadLetter);
        world.durable();
        world
    }),
    ("published, not durable", || {
        let mut world = failed(Then::DeadLetter);
        world.durable();
        world.published(Published::Done);
        world
    }),
];

fn running(then: Then) -> World {
    let mut world = World::new(then, None);
    world.push(1);
    world.push(2);
    world
}

fn failed(then: Then) -> World {
    let mut world = running(then);
    world.complete(answer(Rest::Reject));
    world
}

fn chained(count: u64, cut: bool) -> World {
    let chain = Held::Parked {
        head: 1,
        tail: count,
        count,
        bytes: count,
        releasing: true,
        cut,
    };
    World::new(Then::Stop, Some(chain))
}

/// A fact's name, whether a world can meet it, and what it does; it may say what was returned.
type Fact = (&'static str, fn(&World) -> bool, fn(&mut World) -> String);

fn quiet(act: impl FnOnce()) -> String {
    act();
    String::new()
}

const FACTS: [Fact; 23] = [
    ("push 9", |_| true, |world| world.push(9)),
    ("done", has_try, |world| quiet(|| world.complete(DONE))),
    ("done, effects", has_try, |world| {
        quiet(|| {
            world.complete(Answer {
                with_effects: true,
                ..DONE
            })
        })
    }),
    ("retry", has_try, |world| {
        quiet(|| world.complete(answer(Rest::Retry { after: SECOND })))
    }),
    ("retry, unknown end", has_try, |world| {
        let rest = answer(Rest::Retry { after: SECOND });
        quiet(|| {
            world.complete(Answer {
                quarantine: SECOND,
                ..rest
            })
        })
    }),
    ("reject", has_try, |world| {
        quiet(|| world.complete(answer(Rest::Reject)))
    }),
    ("untried", has_try, |world| {
        quiet(|| world.complete(answer(Rest::Untried)))
    }),
    ("target", has_try, |world| {
        quiet(|| world.complete(answer(Rest::Target { after: SECOND })))
    }),
    ("published", has_publication, |world| {
        quiet(|| world.published(Published::Done))
    }),
    ("publication failed", has_publication, |world| {
        quiet(|| world.published(Published::Failed))
    }),
    ("dlq to blame", has_publication, |world| {
        quiet(|| world.published(Published::Target))
    }),
    (
        "later",
        |world| world.engine.wake_at().is_some(),
        |world| quiet(|| world.later()),
    ),
    ("durable", has_change, |world| quiet(|| world.durable())),
    ("not written", has_change, |world| {
        quiet(|| world.commit(CommitEnd::NotWritten))
    }),
    (
        "refused",
        |world| {
            world
                .changes
                .iter()
                .any(|change| change.0 == Change::Effects)
        },
        |world| {
            let ticket = world.changes[0].1;
            quiet(|| world.commit(CommitEnd::Refused(&[(ticket, 0)])))
        },
    ),
    (
        "decide retry",
        |_| true,
        |world| world.decide(Decision::Retry),
    ),
    (
        "decide skip",
        |_| true,
        |world| world.decide(Decision::Skip),
    ),
    (
        "decide park",
        |_| true,
        |world| world.decide(Decision::Park),
    ),
    (
        "decide dead-letter",
        |_| true,
        |world| world.decide(Decision::DeadLetter),
    ),
    (
        "decide release",
        |_| true,
        |world| world.decide(Decision::Release),
    ),
    (
        "passed over 9",
        |_| true,
        |world| {
            world.engine.passed_over(world.partition, 9);
            quiet(|| world.poll())
        },
    ),
    (
        "drain",
        |_| true,
        |world| {
            world.engine.drain(world.partition);
            quiet(|| world.poll())
        },
    ),
    (
        "revoke",
        |_| true,
        |world| {
            world.engine.revoke(world.partition);
            quiet(|| world.poll())
        },
    ),
];

fn has_try(world: &World) -> bool {
    world.attempt.is_some()
}

fn has_publication(world: &World) -> bool {
    world.publication.is_some()
}

fn has_change(world: &World) -> bool {
    !world.changes.is_empty()
}

#[test]
fn fenced_is_as_revoked_in_each_state() {
    for (state, enter) in STATES {
        let (mut fenced, mut revoked) = (enter(), enter());
        fenced.seen.clear();
        fenced.commit(CommitEnd::Fenced);
        revoked.engine.revoke(revoked.partition);
        assert_eq!(fenced.left(), revoked.left(), "{state}");
        assert!(fenced.seen.is_empty(), "{state}: {:?}", fenced.seen);
    }
}

#[test]
fn what_each_state_makes_of_each_fact() {
    let mut table = String::new();
    for (state, enter) in STATES {
        let _ = writeln!(table, "{state}: {}", enter().left());
        for (fact, meets, act) in FACTS {
            let mut world = enter();
            if !meets(&world) {
                continue;
            }
            world.seen.clear();
            let handed = act(&mut world);
            if handed == NOT_OFFERED {
                assert!(
                    world.seen.is_empty(),
                    "{state}: {fact} is not offered, but acted on"
                );
                continue;
            }
            let out = if world.seen.is_empty() {
                "-".into()
            } else {
                world.seen.join(", ")
            };
            let _ = writeln!(
                table,
                "  {fact:<19} {handed:<14} {out:<34} {}",
                world.left()
            );
        }
        table.push('\n');
    }
    insta::assert_snapshot!(table);
}
