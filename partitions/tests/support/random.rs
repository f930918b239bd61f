//! Random histories from one seed: bounds, logs, faults and their weights are all drawn from it.

use super::{
    lane::{Mode, Stage},
    record::{Rec, limits},
    rng::Rng,
    world::{End, Make, World, effects},
};
use partitions::{Action, Answer, Change, Decision, Limits, Published, Rest, Stops, Then};
use std::{collections::BTreeMap, time::Duration};

/// What one history is made of.
pub struct Case {
    pub seed: u64,
    pub steps: u32,
    pub trace: bool,
    pub make: Make,
    /// Narrows the drawn bounds to where a test looks.
    pub shape: fn(&mut Limits),
}

/// How often something happened, over all histories: what stays at zero was not tested.
pub type Seen = BTreeMap<&'static str, u64>;

const OPERATIONS: [&str; 22] = [
    "push",
    "complete",
    "begin",
    "end",
    "tick",
    "publish",
    "load",
    "decide",
    "push gap",
    "pass over",
    "duplicate",
    "hold",
    "hold intake",
    "set cap",
    "drain",
    "revoke",
    "crash",
    "settle gone",
    "batch",
    "long tick",
    "outage",
    "starve",
];

/// How likely answers are to be what, in percent.
struct Mood {
    fail: u64,
    rests: Vec<Rest>,
    effects: u64,
    refused: u64,
    quarantine: u64,
    commit_fails: u64,
    fenced: u64,
}

pub fn play(case: &Case, seen: &mut Seen) {
    let mut rng = Rng::new(case.seed);
    let mut limits = draw_limits(&mut rng);
    (case.shape)(&mut limits);
    let logs: Vec<Vec<u8>> = (0..1 + rng.index(2)).map(|_| draw_log(&mut rng)).collect();
    let logs: Vec<&[u8]> = logs.iter().map(Vec::as_slice).collect();
    let mood = draw_mood(&mut rng);
    // Swarm: each history leaves out some kinds of operation, so that the others meet more often.
    let weights: Vec<u64> = (0..OPERATIONS.len())
        .map(|at| draw_weight(&mut rng, at))
        .collect();
    let mut world = World::traced(limits, &logs, case.make, case.trace);
    world.log(|| format!("limits {:?} logs {logs:?}", world.limits));
    for _ in 0..case.steps {
        let operation = draw_operation(&mut rng, &weights);
        if step(&mut world, &mut rng, &mood, operation) {
            *seen.entry(operation).or_default() += 1;
        }
    }
    let mut calm = world;
    calm.heal();
    let happened = std::mem::take(&mut calm.happened);
    for (name, count) in tally(&calm).into_iter().chain(happened) {
        *seen.entry(name).or_default() += count;
    }
}

fn draw_limits(rng: &mut Rng) -> Limits {
    let mut drawn = limits(rng.pick(&[Then::Stop, Then::Park, Then::DeadLetter]));
    drawn.cap = rng.pick(&[1, 2, 3, 8]);
    drawn.run_max = rng.pick(&[1, 2, 4, 4]);
    drawn.failure.attempts_max = rng.pick(&[1, 2, 3]);
    drawn.failure.stops = rng.pick(&[Stops::Lane, Stops::Lane, Stops::Partition]);
    drawn.records_max = rng.pick(&[4, 1_000]);
    drawn.partition_bytes_max = rng.pick(&[60, 1_000_000]);
    drawn.unflushed_max = rng.pick(&[2, 5, 1_000]);
    drawn.append_records_max = rng.pick(&[2, 4]);
    drawn.append_bytes_max = rng.pick(&[10, 25, 1_000]);
    drawn.park_records_max = rng.pick(&[3, 1_000]);
    drawn.cut_at = rng.pick(&[0, 1, 3]);
    drawn.seed = rng.next();
    drawn
}

fn draw_log(rng: &mut Rng) -> Vec<u8> {
    let (lanes, records) = (rng.pick(&[1, 2, 4]), 4 + rng.index(13));
    (0..records)
        .map(|_| b'a' + u8::try_from(rng.below(lanes)).unwrap_or(0))
        .collect()
}

fn draw_mood(rng: &mut Rng) -> Mood {
    let after = Duration::from_millis(rng.pick(&[0, 30, 900]));
    let mut rests = vec![
        Rest::Reject,
        Rest::Retry { after },
        Rest::Unattributed,
        Rest::Untried,
        Rest::Nothing,
        Rest::Target { after },
    ];
    while rests.len() > 1 && rng.chance(40) {
        rests.swap_remove(rng.index(rests.len()));
    }
    Mood {
        fail: rng.pick(&[10, 30, 70]),
        rests,
        effects: rng.pick(&[0, 30, 100, 100]),
        refused: rng.pick(&[0, 50, 80]),
        quarantine: rng.pick(&[0, 50]),
        commit_fails: rng.pick(&[0, 30]),
        fenced: rng.pick(&[0, 5]),
    }
}

fn draw_weight(rng: &mut Rng, operation: usize) -> u64 {
    match operation {
        0 => rng.pick(&[2, 8]),
        1 => 8,
        2 | 3 => rng.pick(&[2, 4, 8]),
        4 => rng.pick(&[1, 4]),
        5 | 6 => rng.pick(&[2, 8]),
        7 => rng.pick(&[0, 6, 12]),
        8 | 9 => rng.pick(&[0, 0, 2]),
        18 => rng.pick(&[0, 2, 6]),
        20 => rng.pick(&[0, 0, 0, 0, 0, 0, 0, 1]),
        _ => rng.pick(&[0, 0, 0, 1]),
    }
}

fn draw_operation(rng: &mut Rng, weights: &[u64]) -> &'static str {
    let mut left = rng.below(weights.iter().sum());
    for (at, weight) in weights.iter().enumerate() {
        if left < *weight {
            return OPERATIONS[at];
        }
        left -= weight;
    }
    OPERATIONS[0]
}

/// One operation, where the world offers it.
fn step(world: &mut World, rng: &mut Rng, mood: &Mood, operation: &'static str) -> bool {
    let part = rng.index(world.parts.len());
    let state = &world.parts[part];
    let open = state.id.is_some() && !state.draining && !state.halted;
    let takes = open && !state.paused;
    match operation {
        "complete" => return complete(world, rng, mood),
        "tick" => world.tick(1 + rng.below(30)),
        "long tick" => world.tick(2_000),
        "outage" => outage(world),
        "set cap" => world.set_cap(rng.pick(&[1, 2, 5])),
        "crash" => world.crash(),
        "revoke" if state.id.is_some() => {
            if !rng.chance(50) {
                leave(world, part);
            } else {
                world.revoke(part);
            }
        }
        _ if state.id.is_none() => world.assign(part),
        "push" if takes => return world.push(part).is_some(),
        "push gap" if takes => return world.push_after(part, 1 + rng.index(2)).is_some(),
        // A source may have handed over more before it heard of the pause.
        "batch" if open => return world.push_batch(part, 1 + rng.index(5)),
        "pass over" if takes => world.pass_over(part, 1 + rng.index(3)),
        "duplicate" if open => return world.push_again(part, rng),
        "begin" if state.commit.is_none() => begin(world, rng, part),
        "end" if state.commit.is_some() => end(world, rng, mood, part),
        "publish" => return publish(world, rng, part),
        "load" => return load(world, rng, part),
        "decide" if open => return decide(world, rng, part),
        "hold" => world.hold(part, rng.chance(50)),
        "hold intake" => world.hold_intake(part, rng.chance(50)),
        "starve" => world.starve(part, rng.chance(50)),
        "drain" if open => world.drain(part),
        "settle gone" if state.model.rows.iter().any(|row| row.stage == Stage::Gone) => {
            if rng.chance(50) {
                world.recover(part);
            }
            world.settle_gone(part)
        }
        _ => return false,
    }
    true
}

fn complete(world: &mut World, rng: &mut Rng, mood: &Mood) -> bool {
    let out: Vec<usize> = (0..world.tries.len())
        .filter(|at| world.tries[*at].until.is_none())
        .collect();
    let Some(at) = (!out.is_empty()).then(|| rng.pick(&out)) else {
        return false;
    };
    let rows = world.tries[at].rows.len();
    let mut answer = effects(u32::try_from(rows).unwrap_or(0));
    answer.with_effects = rng.chance(mood.effects);
    if rng.chance(mood.fail) {
        answer.done = u32::try_from(rng.index(rows)).unwrap_or(0);
        answer.rest = rng.pick(&mood.rests);
        if answer.done > 0 && matches!(answer.rest, Rest::Target { .. }) {
            answer.rest = Rest::Untried;
        }
        let effects = answer.done > 0 && answer.with_effects;
        if !effects && rng.chance(mood.quarantine) {
            answer.quarantine = Duration::from_millis(1 + rng.below(40));
        }
    }
    world.complete(at, answer);
    true
}

/// The target is away for a while: whatever starts fails by its fault.
fn outage(world: &mut World) {
    let away = Answer {
        rest: Rest::Target {
            after: Duration::ZERO,
        },
        ..effects(0)
    };
    for _ in 0..30 {
        match world.tries.iter().position(|one| one.until.is_none()) {
            Some(at) => world.complete(at, away),
            None => world.tick(60),
        }
    }
}

fn begin(world: &mut World, rng: &mut Rng, part: usize) {
    let mut with = world.pending(part);
    // What was published must not be settled while its lane's item still asks to publish it.
    with.retain(|(_, key)| {
        let change = world.lane(part, *key).persist.as_ref().map(|out| out.1);
        change == Some(Change::DeadLettered) || rng.chance(80)
    });
    world.begin(part, &with);
}

fn end(world: &mut World, rng: &mut Rng, mood: &Mood, part: usize) {
    let commit = world.parts[part]
        .commit
        .as_ref()
        .expect("a commit that is out");
    let mut refused = Vec::new();
    for (_, key) in &commit.tickets {
        if let Some((_, Change::Effects, lent)) = &world.lane(part, *key).persist
            && rng.chance(mood.refused)
        {
            refused.push(rng.pick(lent));
        }
    }
    let how = match refused.is_empty() {
        _ if rng.chance(mood.fenced) => End::Fenced,
        _ if rng.chance(mood.commit_fails) => End::NotWritten,
        false => End::Refused(refused),
        true => End::Durable,
    };
    world.end(part, &how);
}

fn publish(world: &mut World, rng: &mut Rng, part: usize) -> bool {
    let lanes = &world.parts[part].model.lanes;
    let out: Vec<u8> = lanes
        .iter()
        .filter(|(_, lane)| lane.publishing.is_some())
        .map(|(key, _)| *key)
        .collect();
    let Some(key) = (!out.is_empty()).then(|| rng.pick(&out)) else {
        return false;
    };
    let parked = world.lane(part, key).mode == Mode::Parked;
    let how = rng.pick(&[Published::Done, Published::Failed, Published::Target]);
    world.published(
        part,
        key,
        if parked && how == Published::Failed {
            Published::Target
        } else {
            how
        },
    );
    true
}

fn load(world: &mut World, rng: &mut Rng, part: usize) -> bool {
    let lanes = &world.parts[part].model.lanes;
    let out: Vec<u8> = lanes
        .iter()
        .filter(|(_, lane)| lane.loading.is_some())
        .map(|(key, _)| *key)
        .collect();
    let Some(key) = (!out.is_empty()).then(|| rng.pick(&out)) else {
        return false;
    };
    world.load(part, key, 1 + rng.index(3));
    true
}

fn decide(world: &mut World, rng: &mut Rng, part: usize) -> bool {
    let standing: Vec<u8> = world.parts[part]
        .model
        .lanes
        .iter()
        .filter(|(_, lane)| matches!(lane.mode, Mode::Stopped | Mode::Parked) && !lane.verdict)
        .map(|(key, _)| *key)
        .collect();
    let Some(key) = (!standing.is_empty()).then(|| rng.pick(&standing)) else {
        return false;
    };
    // A head that has not come yet is decided by its own tests.
    let here = |head: u64| matches!(world.stage(part, head), Stage::Queued);
    if !world.head_of(part, key).is_some_and(here) {
        return false;
    }
    let decision = rng.pick(&[
        Decision::Retry,
        Decision::Skip,
        Decision::Park,
        Decision::DeadLetter,
        Decision::Release,
    ]);
    world.decide(part, key, decision)
}

/// A clean end: drained, committed, revoked; nothing may run again after it.
fn leave(world: &mut World, part: usize) {
    if !world.parts[part].draining {
        world.drain(part);
    }
    for _ in 0..200 {
        if let Some(at) = world
            .tries
            .iter()
            .position(|one| one.part == part && one.until.is_none() && !one.ghost)
        {
            world.complete(
                at,
                Answer {
                    done: u32::MAX,
                    with_effects: false,
                    rest: Rest::Nothing,
                    quarantine: Duration::ZERO,
                },
            );
        } else if world.parts[part].commit.is_some() {
            world.end(part, &End::Durable);
        } else if world.parts[part].drained {
            break;
        } else {
            let keys: Vec<u8> = world.parts[part].model.lanes.keys().copied().collect();
            for key in keys
                .into_iter()
                .filter(|key| world.lane(part, *key).publishing.is_some())
                .collect::<Vec<_>>()
            {
                world.published(part, key, Published::Target);
            }
            world.commit(part);
            world.tick(50);
        }
    }
    assert!(
        world.parts[part].drained,
        "G10 progress: partition {part} never drained"
    );
    world.commit(part);
    assert_eq!(
        world.parts[part].model.repeats(),
        0,
        "G8 repeats: after a clean stop of {part}"
    );
    world.revoke(part);
}

impl World {
    /// A position that was handed over and is still open comes a second time.
    fn push_again(&mut self, part: usize, rng: &mut Rng) -> bool {
        let open = self.parts[part].model.rows.iter().filter(|row| {
            row.accepted
                && !row.chained
                && matches!(row.stage, Stage::Queued | Stage::Out | Stage::Answered)
        });
        let open: Vec<Rec> = open
            .map(|row| Rec::new(row.position, row.key, row.weight))
            .collect();
        let Some(record) = (!open.is_empty()).then(|| rng.pick(&open)) else {
            return false;
        };
        let pushed = self
            .engine
            .push(self.parts[part].id.expect("assigned"), record, 0);
        assert_eq!(
            pushed,
            partitions::Pushed::Duplicate,
            "second push of {part}/{}",
            record.position
        );
        self.turn();
        true
    }
}

fn tally(world: &World) -> BTreeMap<&'static str, u64> {
    let mut tally = BTreeMap::new();
    for action in &world.actions {
        let name = match action {
            Action::Start { attempt: 1, .. } => "first tries",
            Action::Start { .. } => "later tries",
            Action::Persist { change, .. } => match change {
                Change::Effects => "effects",
                Change::Stop => "stops",
                Change::Park => "parks",
                Change::Append => "appends",
                Change::Reopen => "reopens",
                Change::Skip => "skips",
                Change::Verdict => "verdicts",
                Change::DeadLettered => "dead-lettered",
                Change::Cut => "cuts",
                Change::Live => "lives",
                Change::Announce => "announcements",
            },
            Action::Publish { .. } => "publications",
            Action::LoadChain { .. } => "loads",
            Action::Stopped { .. } => "stopped",
            Action::Gone(_) => "gone",
            Action::Declined { .. } => "declined",
            Action::Pause(_) => "pauses",
            Action::Resume(_) => "resumes",
            Action::Drained(_) => "drained",
        };
        *tally.entry(name).or_default() += 1;
    }
    tally
}
