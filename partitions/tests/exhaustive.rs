//! Every interleaving of the small world: up to four records, two keys, a cap of two, one failure,
//! one revoke, and each way a commit can end. All of the reference's checks run after each step.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test says what it played, and fails loudly"
)]

#[path = "support/support.rs"]
mod support;

use partitions::{Answer, Change, Decision, Stops, Then};
use support::{End, Mode, World, done, effects, limits, reject};

/// Walks all sequences of choices: each run repeats the last one up to the choice that it varies.
#[derive(Default)]
struct Choices {
    path: Vec<(usize, usize)>,
    at: usize,
}

impl Choices {
    fn choose(&mut self, bound: usize) -> usize {
        if self.at == self.path.len() {
            self.path.push((0, bound));
        }
        let (chosen, expected) = self.path[self.at];
        assert_eq!(
            expected, bound,
            "the same choices must lead to the same world"
        );
        self.at += 1;
        chosen
    }

    /// Goes to the next sequence; `false` after the last one.
    fn advance(&mut self) -> bool {
        self.at = 0;
        while let Some((chosen, bound)) = self.path.pop() {
            if chosen + 1 < bound {
                self.path.push((chosen + 1, bound));
                return true;
            }
        }
        false
    }
}

#[derive(Clone, Copy, Debug)]
struct Small {
    log: &'static [u8],
    then: Then,
    stops: Stops,
    effects: bool,
    /// The log is handed over at once, so that it takes no part in the interleaving.
    handed_over: bool,
    failures: u32,
    revokes: u32,
    commits: u32,
    decisions: u32,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Move {
    Push,
    Complete(usize, bool),
    Begin,
    End(u8),
    Revoke,
    Assign,
    Load(u8),
    Publish(u8),
    Decide(u8, Decision),
}

struct Left {
    failures: u32,
    revokes: u32,
    commits: u32,
    not_written: u32,
    decisions: u32,
}

fn moves(world: &World, left: &Left) -> Vec<Move> {
    let part = &world.parts[0];
    let mut moves = Vec::new();
    if part.id.is_none() {
        moves.push(Move::Assign);
    } else if part.cursor < part.model.rows.len() {
        moves.push(Move::Push);
    }
    for (at, one) in world.tries.iter().enumerate() {
        moves.push(Move::Complete(at, true));
        if left.failures > 0 && !one.ghost {
            moves.push(Move::Complete(at, false));
        }
    }
    if part.id.is_none() {
        return moves;
    }
    let refusable = part.commit.as_ref().is_some_and(|commit| {
        let mut tickets = commit.tickets.iter();
        tickets.any(|(_, key)| effects_out(world, *key))
    });
    if refusable && left.failures > 0 {
        moves.push(Move::End(3));
    }
    let unwritten = part
        .model
        .rows
        .iter()
        .any(|row| row.stage == support::Stage::Passed && !row.durable);
    if part.commit.is_some() {
        moves.push(Move::End(0));
        if left.not_written > 0 {
            moves.push(Move::End(1));
        }
        if left.revokes > 0 {
            moves.push(Move::End(2));
        }
    } else if left.commits > 0 && (unwritten || !world.pending(0).is_empty()) {
        moves.push(Move::Begin);
    }
    if left.revokes > 0 && !world.started.is_empty() {
        moves.push(Move::Revoke);
    }
    for (key, lane) in &part.model.lanes {
        if lane.loading.is_some() {
            moves.push(Move::Load(*key));
        }
        if lane.publishing.is_some() {
            moves.push(Move::Publish(*key));
        }
        let stands =
            !lane.shut() && lane.persist.is_none() && lane.owes.is_empty() && !lane.verdict;
        if left.decisions > 0 && stands {
            match lane.mode {
                Mode::Stopped => moves.push(Move::Decide(*key, Decision::Retry)),
                Mode::Parked => moves.push(Move::Decide(*key, Decision::Release)),
                Mode::Live | Mode::Releasing | Mode::Draining => {}
            }
        }
    }
    moves
}

fn effects_out(world: &World, key: u8) -> bool {
    matches!(world.lane(0, key).persist, Some((_, Change::Effects, _)))
}

fn act(world: &mut World, left: &mut Left, small: Small, chosen: Move) {
    match chosen {
        Move::Push => assert!(world.push(0).is_some()),
        Move::Complete(at, true) => {
            let answer: Answer = if small.effects { effects(1) } else { done(1) };
            world.complete(at, answer);
        }
        Move::Complete(at, false) => {
            left.failures -= 1;
            world.complete(at, reject());
        }
        Move::Begin => {
            left.commits -= 1;
            world.begin(0, &world.pending(0));
        }
        Move::End(0) => world.end(0, &End::Durable),
        Move::End(1) => {
            left.not_written -= 1;
            world.end(0, &End::NotWritten);
        }
        Move::End(3) => {
            left.failures -= 1;
            let commit = world.parts[0]
                .commit
                .as_ref()
                .expect("a commit that is out");
            let keys = commit.tickets.iter().map(|(_, key)| *key);
            let key = keys
                .into_iter()
                .find(|key| effects_out(world, *key))
                .expect("effects");
            let (_, _, lent) = world.lane(0, key).persist.clone().expect("effects");
            world.end(0, &End::Refused(lent));
        }
        Move::End(_) => {
            left.revokes -= 1;
            world.end(0, &End::Fenced);
        }
        Move::Revoke => {
            left.revokes -= 1;
            world.revoke(0);
        }
        Move::Assign => {
            world.assign(0);
            if small.handed_over {
                world.push_all(0);
            }
        }
        Move::Load(key) => world.load(0, key, 4),
        Move::Publish(key) => world.published(0, key, partitions::Published::Done),
        Move::Decide(key, decision) => {
            left.decisions -= 1;
            assert!(world.decide(0, key, decision));
        }
    }
}

/// Plays one history to where nothing can move any more, then heals it.
fn history(small: Small, choices: &mut Choices, seen: &mut [u64; 4]) {
    let mut limits = limits(small.then);
    (
        limits.cap,
        limits.failure.attempts_max,
        limits.failure.stops,
    ) = (2, 1, small.stops);
    let mut world = World::new(limits, &[small.log]);
    if small.handed_over {
        world.push_all(0);
    }
    let mut left = Left {
        failures: small.failures,
        revokes: small.revokes,
        commits: small.commits,
        not_written: 1,
        decisions: small.decisions,
    };
    let mut path = Vec::new();
    loop {
        let moves = moves(&world, &left);
        if moves.is_empty() {
            break;
        }
        let chosen = moves[choices.choose(moves.len())];
        path.push(chosen);
        let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            act(&mut world, &mut left, small, chosen)
        }));
        if let Err(panic) = played {
            println!("{small:?}: {path:?}");
            std::panic::resume_unwind(panic);
        }
    }
    seen[0] += u64::from(left.failures < small.failures);
    seen[1] += u64::from(path.contains(&Move::Revoke));
    seen[2] += u64::from(path.contains(&Move::End(2)));
    seen[3] += u64::from(path.contains(&Move::End(3)));
    let healed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.heal()));
    if let Err(panic) = healed {
        println!("{small:?}: {path:?}, then healed");
        std::panic::resume_unwind(panic);
    }
}

fn all(small: Small) -> (u64, [u64; 4]) {
    let (mut choices, mut histories, mut seen) = (Choices::default(), 0, [0; 4]);
    loop {
        history(small, &mut choices, &mut seen);
        histories += 1;
        if !choices.advance() {
            return (histories, seen);
        }
    }
}

/// Two keys, one failure, one revoke (or a fenced commit), a cap of two.
const SMALL: Small = Small {
    log: b"aab",
    then: Then::Stop,
    stops: Stops::Lane,
    effects: false,
    handed_over: false,
    failures: 1,
    revokes: 1,
    commits: 1,
    decisions: 0,
};

/// Plays the whole world. The number of histories is compared, so that the enumeration cannot
/// shrink unseen: what changes the engine's behaviour on purpose may change it.
fn check(name: &str, small: Small, at_least: u64) {
    let (histories, seen) = all(small);
    println!("{name}: {histories} histories; failed, revoked, fenced, refused in {seen:?}");
    assert!(
        histories >= at_least,
        "{name} has only {histories} histories"
    );
    let expected = [
        small.failures > 0,
        small.revokes > 0,
        small.revokes > 0,
        small.effects,
    ];
    for (at, wanted) in expected.into_iter().enumerate() {
        assert!(
            !wanted || seen[at] > 0,
            "{name}: what is expected at {at} never happened: {seen:?}"
        );
    }
}

#[test]
fn four_records_and_a_stop() {
    let small = Small {
        log: b"abab",
        handed_over: true,
        ..SMALL
    };
    check("stop", small, 60_000);
}

#[test]
fn three_records_pushed_one_by_one() {
    check(
        "pushed one by one",
        Small {
            log: b"aab",
            ..SMALL
        },
        200_000,
    );
}

#[test]
fn four_records_and_a_stop_of_the_partition() {
    let small = Small {
        log: b"abab",
        handed_over: true,
        stops: Stops::Partition,
        ..SMALL
    };
    check("stop of the partition", small, 55_000);
}

#[test]
fn four_records_and_a_stop_that_is_reopened() {
    let small = Small {
        log: b"aaab",
        handed_over: true,
        revokes: 0,
        commits: 3,
        decisions: 1,
        ..SMALL
    };
    check("reopened", small, 5_000);
}

#[test]
fn three_records_and_a_park() {
    let small = Small {
        log: b"aab",
        handed_over: true,
        then: Then::Park,
        commits: 2,
        ..SMALL
    };
    check("park", small, 35_000);
}

#[test]
fn three_records_parked_and_released() {
    let small = Small {
        log: b"aab",
        handed_over: true,
        then: Then::Park,
        commits: 4,
        decisions: 1,
        revokes: 0,
        ..SMALL
    };
    check("released", small, 14_000);
}

#[test]
fn three_records_and_a_dead_letter() {
    let small = Small {
        log: b"aab",
        handed_over: true,
        then: Then::DeadLetter,
        commits: 2,
        ..SMALL
    };
    check("dead letter", small, 50_000);
}

#[test]
fn three_records_with_effects() {
    let small = Small {
        log: b"aab",
        handed_over: true,
        effects: true,
        commits: 2,
        ..SMALL
    };
    check("effects", small, 8_000);
}
