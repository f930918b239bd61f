//! The rules of going back, case by case and against a naive model.

use super::*;

fn offset(n: u64) -> Position {
    Position::Offset(n)
}

/// A sequence number that sorts as `n` does.
fn sequence(n: u64) -> Position {
    Position::sequence(&format!("4959033827149025660855969253836{n}"), None).expect("sound")
}

fn lane(key: &str) -> LaneKey {
    LaneKey::of_key(key.as_bytes())
}

/// Frontier 2; 3 and 7 are open; settled to 9.
fn checkpoint(at: fn(u64) -> Position) -> Checkpoint {
    Checkpoint {
        resume: Resume::After(at(2)),
        settled_to: Some(at(9)),
        open: [3, 7].map(at).into_iter().collect(),
        attempts: vec![(at(3), 5), (at(7), 1)],
        announced: vec![(at(3), true), (at(7), false)],
        incarnation: Some("log".to_owned()),
        ended: false,
    }
}

fn stopped(key: &str, head: Position) -> Standing {
    Standing {
        lane: lane(key),
        head,
        chain: Vec::new(),
    }
}

fn parked(key: &str, chain: &[u64]) -> Standing {
    Standing {
        lane: lane(key),
        head: offset(chain[0]),
        chain: chain.iter().copied().map(offset).collect(),
    }
}

fn back(standing: &[Standing], target: Position, chains: Chains) -> Result<Plan, RewindError> {
    let at = if target.offset().is_some() {
        offset
    } else {
        sequence
    };
    plan(
        &checkpoint(at),
        standing,
        &Target::Position(target),
        chains,
        false,
    )
}

#[test]
fn what_is_open_before_the_target_stays_open_and_the_rest_settled() {
    let standing = [stopped("a", offset(3)), stopped("b", offset(7))];
    let plan = back(&standing, offset(5), Chains::Refuse).expect("a plan");
    let expected = Checkpoint {
        settled_to: Some(offset(4)),
        open: [offset(3)].into_iter().collect(),
        attempts: vec![(offset(3), 5)],
        announced: vec![(offset(3), true)],
        ..checkpoint(offset)
    };
    assert_eq!(plan.checkpoint, expected);
    assert_eq!(plan.again, Some(Resume::At(offset(5))));
    assert_eq!(plan.records, Some(4), "5, 6, 8 and 9");
    assert_eq!(plan.reopened, [lane("b")]);
}

#[test]
fn within_the_prefix_nothing_is_computed_with_positions() {
    for (at, records) in [
        (offset as fn(u64) -> Position, Some(7)),
        (sequence as fn(u64) -> Position, None),
    ] {
        let plan = back(&[stopped("a", at(3))], at(1), Chains::Refuse).expect("a plan");
        let expected = Checkpoint {
            resume: Resume::At(at(1)),
            incarnation: Some("log".to_owned()),
            ..Checkpoint::default()
        };
        assert_eq!(plan.checkpoint, expected);
        assert_eq!((plan.records, plan.reopened), (records, vec![lane("a")]));
    }
    let plan = back(&[], sequence(3), Chains::Refuse).expect("a plan");
    assert_eq!(plan.checkpoint.resume, Resume::At(sequence(3)));
}

#[test]
fn between_sequence_numbers_no_place_is_made_up() {
    let open = RewindError::OpenBefore(sequence(3));
    assert_eq!(back(&[], sequence(5), Chains::Refuse), Err(open));
}

#[test]
fn what_is_not_back_or_not_of_this_log_is_refused() {
    for target in [10, 11] {
        let refused = back(&[], offset(target), Chains::Refuse);
        assert_eq!(refused, Err(RewindError::NothingSettled));
    }
    let kind = plan(
        &checkpoint(offset),
        &[],
        &Target::Position(sequence(1)),
        Chains::Refuse,
        false,
    );
    assert_eq!(kind, Err(RewindError::Kind(sequence(1))));
    let other = Checkpoint {
        incarnation: Some("other".to_owned()),
        ..checkpoint(offset)
    };
    let refused = to(other, false).expect_err("another log");
    assert!(refused.to_string().contains("`other`"), "{refused}");
}

fn to(target: Checkpoint, forward: bool) -> Result<Plan, RewindError> {
    let target = Target::Checkpoint(target);
    plan(&checkpoint(offset), &[], &target, Chains::Refuse, forward)
}

#[test]
fn forward_is_refused_with_what_it_would_settle() {
    let ahead = Checkpoint {
        open: [offset(3)].into_iter().collect(),
        settled_to: Some(offset(20)),
        ..checkpoint(offset)
    };
    let forward = Forward {
        open: vec![offset(7)],
        to: Some(Resume::After(offset(20))),
    };
    assert_eq!(to(ahead.clone(), false), Err(RewindError::Forward(forward)));
    let plan = to(ahead, true).expect("it was said");
    assert_eq!(plan.again, None);
    assert_eq!(plan.records, Some(0));
    assert_eq!(plan.checkpoint.attempts, [(offset(3), 5)]);
    assert_eq!(
        to(checkpoint(offset), false),
        Err(RewindError::NothingSettled)
    );
}

#[test]
fn attempts_that_only_the_target_knows_come_along() {
    let target = Checkpoint {
        settled_to: Some(offset(20)),
        open: [3, 7, 15].map(offset).into_iter().collect(),
        attempts: vec![(offset(3), 1), (offset(15), 4)],
        announced: vec![(offset(15), true)],
        ..checkpoint(offset)
    };
    let plan = to(target, true).expect("it was said").checkpoint;
    let attempts = [(offset(3), 5), (offset(7), 1), (offset(15), 4)];
    assert_eq!(plan.attempts, attempts, "3 and 7 are known here");
    assert_eq!(plan.announced.last(), Some(&(offset(15), true)));
}

#[test]
fn chains_are_kept_or_dropped_only_when_that_is_said() {
    let chains = [
        parked("before", &[1, 4]),
        parked("across", &[2, 6]),
        parked("behind", &[8, 9]),
    ];
    let refused = back(&chains, offset(5), Chains::Refuse);
    let concerned = vec![lane("across"), lane("behind")];
    assert_eq!(refused, Err(RewindError::Chains(concerned.clone())));
    let kept = back(&chains, offset(5), Chains::Keep).expect("kept");
    assert_eq!((kept.kept, kept.records), (concerned, Some(1)), "5 alone");
    let lost = RewindError::ChainBefore {
        lane: lane("across"),
        head: offset(2),
    };
    assert_eq!(back(&chains, offset(5), Chains::Drop), Err(lost));
    let dropped = back(&chains[2..], offset(5), Chains::Drop).expect("dropped");
    assert_eq!(dropped.dropped, [lane("behind")]);
    assert_eq!(dropped.records, Some(4));
}

#[test]
fn what_a_rewind_left_to_a_kept_chain_is_not_taken_off_the_next_one() {
    let chain = [parked("behind", &[8, 9])];
    let once = back(&chain, offset(5), Chains::Keep).expect("kept");
    assert_eq!(once.records, Some(2), "5 and 6");
    let to = Target::Position(offset(4));
    let again = plan(&once.checkpoint, &chain, &to, Chains::Keep, false).expect("kept");
    assert_eq!(again.records, Some(1), "4");
}

#[test]
fn a_kept_chain_is_settled_in_a_past_checkpoint_too() {
    let past = Checkpoint {
        settled_to: Some(offset(6)),
        open: [3, 4, 5].map(offset).into_iter().collect(),
        ..checkpoint(offset)
    };
    let target = Target::Checkpoint(past.clone());
    let chain = [parked("a", &[4, 6, 8])];
    let kept = plan(&checkpoint(offset), &chain, &target, Chains::Keep, false);
    let kept = kept.expect("kept");
    assert_eq!(kept.checkpoint.open.positions(), [offset(3), offset(5)]);
    assert_eq!(kept.again, Some(Resume::At(offset(4))));
    assert_eq!(kept.records, Some(2), "5 and 9");
    let dropped = plan(&checkpoint(offset), &chain, &target, Chains::Drop, false);
    assert!(
        matches!(dropped, Err(RewindError::ChainBefore { .. })),
        "6 is settled there, and would not come again: {dropped:?}"
    );
}

/// Numbers from a seed: splitmix64.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

const END: u64 = 24;

fn of_set(settled: &BTreeSet<u64>, at: fn(u64) -> Position) -> Checkpoint {
    let prefix = (0..END).take_while(|n| settled.contains(n)).last();
    let last = settled.last().copied();
    let open = (0..last.unwrap_or(0)).filter(|n| !settled.contains(n));
    Checkpoint {
        resume: prefix.map_or(Resume::At(at(0)), |n| Resume::After(at(n))),
        settled_to: last.map(at),
        open: open.map(at).collect(),
        ..Checkpoint::default()
    }
}

fn settled_by(checkpoint: &Checkpoint, at: fn(u64) -> Position) -> BTreeSet<u64> {
    (0..END).filter(|&n| checkpoint.settles(&at(n))).collect()
}

/// One drawn rewind against sets of numbers; whether there was a plan.
fn drawn(seed: u64, at: fn(u64) -> Position) -> bool {
    let mut draw = Numbers(seed);
    let settled: BTreeSet<u64> = (0..END).filter(|_| draw.below(4) > 0).collect();
    let now = of_set(&settled, at);
    // Every third settled position is in a chain, of one of two lanes.
    let mut chains: [BTreeSet<u64>; 2] = Default::default();
    for &n in &settled {
        if draw.below(3) == 0 {
            chains[draw.below(2) as usize].insert(n);
        }
    }
    let standing: Vec<Standing> = { chains.iter().enumerate() }
        .filter_map(|(index, chain)| {
            Some(Standing {
                lane: lane(&index.to_string()),
                head: at(*chain.first()?),
                chain: chain.iter().copied().map(at).collect(),
            })
        })
        .collect();
    let cut = draw.below(END);
    let (target, wanted): (_, BTreeSet<u64>) = if draw.below(2) == 0 {
        let below = settled.iter().copied().filter(|&n| n < cut);
        (Target::Position(at(cut)), below.collect())
    } else {
        let past = settled.iter().copied().filter(|_| draw.below(3) > 0);
        let past: BTreeSet<u64> = past.collect();
        (Target::Checkpoint(of_set(&past, at)), past)
    };
    let chains_to = [Chains::Keep, Chains::Drop][draw.below(2) as usize];
    let Ok(plan) = plan(&now, &standing, &target, chains_to, false) else {
        return false;
    };
    let mut stays: BTreeSet<u64> = BTreeSet::new();
    for (chain, standing) in { chains.iter() }
        .filter(|chain| !chain.is_empty())
        .zip(&standing)
    {
        if !plan.dropped.contains(&standing.lane) {
            stays.extend(chain);
        }
    }
    let found = settled_by(&plan.checkpoint, at);
    // Each position is settled as the target says, or stands in a chain that stays.
    let lost: Vec<_> = { found.difference(&wanted) }
        .filter(|n| !stays.contains(n))
        .collect();
    assert!(lost.is_empty(), "seed {seed}: {lost:?} are lost; {plan:?}");
    let again: Vec<_> = { wanted.difference(&found) }.collect();
    assert!(
        again.is_empty(),
        "seed {seed}: {again:?} run again; {plan:?}"
    );
    let count = { settled.iter() }
        .filter(|n| !found.contains(n) && !stays.contains(n))
        .count() as u64;
    if let Some(records) = plan.records {
        assert_eq!(records, count, "seed {seed}: {plan:?}");
    }
    for n in settled.difference(&wanted) {
        let from = plan.again.as_ref().expect("something runs again");
        assert!(is_from(from, &at(*n)), "seed {seed}: {n} from {from:?}");
    }
    true
}

#[test]
fn g7_no_drawn_rewind_loses_or_repeats_what_it_does_not_say() {
    for at in [offset as fn(u64) -> Position, two_digits] {
        let plans = (0..4_000).filter(|&seed| drawn(seed, at)).count();
        assert!(plans > 1_000, "only {plans} plans");
    }
}

/// As [`sequence`], for numbers up to 99.
fn two_digits(n: u64) -> Position {
    sequence(n + 10)
}
