//! One thing wrong in a good history, and the audit must see it.

use super::{
    generated::{Chance, generate},
    script::at,
};
use crate::{
    audit::{
        Audit,
        Guarantee::{self, G1, G2, G3, G5, G6, G7, G8},
        Verdict,
    },
    history::{Kind, Line},
};
use std::collections::BTreeMap;

fn audit(lines: &Lines) -> Verdict {
    let mut audit = Audit::new();
    for line in lines {
        audit.add(line);
    }
    audit.finish()
}

type Lines = Vec<Line<'static>>;
/// Breaks a history; `None`: this one offers no place for it.
type Mutate = fn(&mut Lines, &mut Chance) -> Option<()>;

/// Places of lines that satisfy something.
fn places(lines: &Lines, wanted: impl Fn(usize, &Line<'_>) -> bool) -> Vec<usize> {
    let all = lines.iter().enumerate();
    all.filter(|(n, line)| wanted(*n, line))
        .map(|(n, _)| n)
        .collect()
}

fn same_record(a: &Line<'_>, b: &Line<'_>) -> bool {
    a.epoch == b.epoch && a.position == b.position
}

/// Whether a later line of the same ownership is of this kind.
fn later(lines: &Lines, from: usize, wanted: impl Fn(&Line<'_>) -> bool) -> Option<usize> {
    (from + 1..lines.len()).find(|&n| lines[n].epoch == lines[from].epoch && wanted(&lines[n]))
}

/// `seq` without holes: it is not the holes that are to be found.
fn renumber(lines: &mut Lines) {
    let mut seqs: BTreeMap<String, u64> = BTreeMap::new();
    for line in lines {
        let seq = seqs.entry(line.worker.to_string()).or_default();
        *seq += 1;
        line.seq = *seq;
    }
}

/// A record passes without a word: what comes after it in its lane started too early.
fn drop_done(lines: &mut Lines, chance: &mut Chance) -> Option<()> {
    let found = places(lines, |n, line| {
        let next = |l: &Line<'_>| {
            l.event == Kind::Started && l.key == line.key && l.position > line.position
        };
        line.event == Kind::Done && later(lines, n, next).is_some()
    });
    lines.remove(*chance.pick(&found)?);
    Some(())
}

fn swap_starts_of_a_lane(lines: &mut Lines, chance: &mut Chance) -> Option<()> {
    let found = places(lines, |n, line| {
        let next = |l: &Line<'_>| {
            l.event == Kind::Started && l.key == line.key && l.position != line.position
        };
        line.event == Kind::Started && later(lines, n, next).is_some()
    });
    let first = *chance.pick(&found)?;
    let (key, position) = (lines[first].key.clone(), lines[first].position.clone());
    let second = later(lines, first, |l| {
        l.event == Kind::Started && l.key == key && l.position != position
    })?;
    lines[first].position = std::mem::replace(&mut lines[second].position, position);
    Some(())
}

fn smaller_cap(lines: &mut Lines, _: &mut Chance) -> Option<()> {
    let peak = audit(lines).counts.peak_in_flight;
    for line in lines.iter_mut() {
        if let Some(settings) = &mut line.settings {
            settings.to_mut().cap = u32::try_from(peak).ok()? - 1;
        }
    }
    (peak > 1).then_some(())
}

fn longer_quarantine(lines: &mut Lines, chance: &mut Chance) -> Option<()> {
    let found = places(lines, |n, line| {
        let again = |l: &Line<'_>| l.event == Kind::Started && l.key == line.key;
        line.event == Kind::Quarantined && later(lines, n, again).is_some()
    });
    lines[*chance.pick(&found)?].millis = Some(1_000_000);
    Some(())
}

fn drop_a_failed_end(lines: &mut Lines, chance: &mut Chance) -> Option<()> {
    let found = places(lines, |n, line| {
        let again = |l: &Line<'_>| l.event == Kind::Started && same_record(l, line);
        line.event == Kind::Ended
            && line.outcome.as_deref() == Some("retry")
            && later(lines, n, again).is_some()
    });
    lines.remove(*chance.pick(&found)?);
    Some(())
}

/// An operator's word is taken away.
fn drop_decision(lines: &mut Lines, chance: &mut Chance) -> Option<()> {
    let found = places(lines, |n, line| {
        let acts =
            |l: &Line<'_>| l.key == line.key && matches!(l.event, Kind::Started | Kind::Skipped);
        let verb = line.verb.is_some_and(|v| v != crate::store::Verb::Park);
        line.event == Kind::Decided && verb && later(lines, n, acts).is_some()
    });
    lines.remove(*chance.pick(&found)?);
    Some(())
}

/// A claim does not find a lane that nobody decided on.
fn drop_held(lines: &mut Lines, chance: &mut Chance) -> Option<()> {
    let found = places(lines, |n, line| {
        let works = |l: &Line<'_>| l.event == Kind::Fetched;
        let before = line.epoch.map(|epoch| epoch - 1);
        let decided =
            |l: &Line<'_>| l.event == Kind::Decided && l.epoch == before && l.key == line.key;
        line.event == Kind::Held && later(lines, n, works).is_some() && !lines.iter().any(decided)
    });
    lines.remove(*chance.pick(&found)?);
    Some(())
}

fn drop_appended(lines: &mut Lines, chance: &mut Chance) -> Option<()> {
    let found = places(lines, |n, line| {
        let next = |l: &Line<'_>| l.event == Kind::Committed;
        line.event == Kind::Appended && later(lines, n, next).is_some()
    });
    lines.remove(*chance.pick(&found)?);
    Some(())
}

/// A checkpoint beyond what still runs, waits or stands.
fn commit_an_open_record(lines: &mut Lines, chance: &mut Chance) -> Option<()> {
    let found = places(lines, |n, line| {
        let next = |l: &Line<'_>| l.event == Kind::Fetched;
        line.event == Kind::Committed
            && line.open.as_ref().is_some_and(|open| !open.is_empty())
            && later(lines, n, next).is_some()
    });
    let open = lines[*chance.pick(&found)?].open.as_mut()?.to_mut();
    open.remove(chance.below(open.len()));
    Some(())
}

fn commit_what_never_came(lines: &mut Lines, chance: &mut Chance) -> Option<()> {
    let found = places(lines, |_, line| line.event == Kind::Committed);
    lines[*chance.pick(&found)?].settled_to = Some(at(1_000));
    Some(())
}

fn commit_goes_back(lines: &mut Lines, chance: &mut Chance) -> Option<()> {
    let other = |n: usize| {
        later(lines, n, |l| {
            l.event == Kind::Committed && l.frontier != lines[n].frontier
        })
    };
    let third = |n: usize| later(lines, other(n)?, |l| l.event == Kind::Committed);
    let found = places(lines, |n, line| {
        line.event == Kind::Committed && third(n).is_some()
    });
    let first = *chance.pick(&found)?;
    let at = third(first)?;
    let old = lines[first].clone();
    let new = &mut lines[at];
    (new.frontier, new.resume) = (old.frontier, old.resume);
    (new.settled_to, new.open) = (old.settled_to, old.open);
    Some(())
}

fn claim_finds_less(lines: &mut Lines, chance: &mut Chance) -> Option<()> {
    let found = places(lines, |n, line| {
        let works = |l: &Line<'_>| l.event == Kind::Fetched;
        line.event == Kind::Restored && line.frontier.is_some() && later(lines, n, works).is_some()
    });
    let line = &mut lines[*chance.pick(&found)?];
    (line.frontier, line.resume, line.settled_to) = (None, None, None);
    (line.open, line.from) = (None, Some(partitions::Resume::Beginning));
    Some(())
}

fn acknowledge_ahead(lines: &mut Lines, chance: &mut Chance) -> Option<()> {
    let found = places(lines, |_, line| line.event == Kind::Acked);
    let line = &mut lines[*chance.pick(&found)?];
    let next = line.frontier.as_ref()?.offset()? + 1;
    line.frontier = Some(at(next));
    Some(())
}

/// The former owner starts what waits there, long after another's claim.
fn resurrect_an_epoch(lines: &mut Lines, chance: &mut Chance) -> Option<()> {
    let claims = places(lines, |_, line| {
        line.event == Kind::Claimed && line.epoch > Some(1)
    });
    let claim = lines[*chance.pick(&claims)?].clone();
    let old = claim.epoch? - 1;
    let starts = places(lines, |_, line| {
        line.event == Kind::Started && line.epoch == Some(old)
    });
    let last = lines.iter().rposition(|line| line.epoch == Some(old))?;
    let mut line = lines[*chance.pick(&starts)?].clone();
    line.t = claim.t + 10_000_000_000;
    line.ticket = Some(1_000_000);
    lines.insert(last + 1, line);
    Some(())
}

/// A commit of the former owner that its successor did not find.
fn accept_a_stale_commit(lines: &mut Lines, chance: &mut Chance) -> Option<()> {
    let claims = places(lines, |_, line| {
        line.event == Kind::Claimed && line.clean == Some(false)
    });
    let claim = lines[*chance.pick(&claims)?].clone();
    let old = claim.epoch? - 1;
    let found = places(lines, |_, line| {
        line.event == Kind::Restored && line.epoch == claim.epoch
    });
    let beyond = lines[found[0]].settled_to.clone();
    let more = places(lines, |_, line| {
        line.epoch == Some(old) && line.event == Kind::Fetched && line.position > beyond
    });
    let position = lines[*more.first()?].position.clone();
    let last = lines.iter().rposition(|line| line.epoch == Some(old))?;
    let mut line = lines[last].clone();
    line.event = Kind::Committed;
    line.t = claim.t + 1_000_000;
    line.number = Some(1_000);
    (line.key, line.position) = (None, None);
    line.resume = Some(partitions::Resume::After(position.clone()?));
    line.settled_to.clone_from(&position);
    line.open = Some(Vec::new().into());
    lines.insert(last + 1, line);
    Some(())
}

/// A handler's failure is taken for success.
fn fail_what_is_done(lines: &mut Lines, chance: &mut Chance) -> Option<()> {
    let found = places(lines, |n, line| {
        let done = |l: &Line<'_>| l.event == Kind::Done && same_record(l, line);
        line.event == Kind::Ended
            && line.outcome.as_deref() == Some("done")
            && later(lines, n, done).is_some()
    });
    lines[*chance.pick(&found)?].outcome = Some("panic".into());
    Some(())
}

fn run_again_what_is_durable(lines: &mut Lines, chance: &mut Chance) -> Option<()> {
    let commit = |l: &Line<'_>| l.event == Kind::Committed;
    let ends = |n: usize| later(lines, n, commit).and_then(|next| later(lines, next, commit));
    let found = places(lines, |n, line| {
        line.event == Kind::Done && ends(n).is_some()
    });
    let done = *chance.pick(&found)?;
    let to = ends(done)?;
    let started = (0..done)
        .rev()
        .find(|&n| lines[n].event == Kind::Started && same_record(&lines[n], &lines[done]))?;
    let mut line = lines[started].clone();
    line.ticket = Some(1_000_000);
    line.t = lines[to].t;
    lines.insert(to + 1, line);
    Some(())
}

fn repeat_an_effect(lines: &mut Lines, chance: &mut Chance) -> Option<()> {
    let commit = |l: &Line<'_>| l.event == Kind::Committed;
    // A chain's record is not followed beyond its commit.
    let live = |n: usize, line: &Line<'_>| {
        let fetched = |l: &Line<'_>| l.event == Kind::Fetched && same_record(l, line);
        let parked = |l: &Line<'_>| {
            matches!(l.event, Kind::Parked | Kind::Appended | Kind::Held) && l.key == line.key
        };
        lines[..n].iter().any(fetched) && !lines[..n].iter().any(parked)
    };
    let found = places(lines, |n, line| {
        line.event == Kind::Effect && live(n, line) && later(lines, n, commit).is_some()
    });
    let effect = *chance.pick(&found)?;
    let to = later(lines, effect, commit)?;
    let line = lines[effect].clone();
    lines.insert(to + 1, line);
    Some(())
}

fn forget_the_last_commits(lines: &mut Lines, chance: &mut Chance) -> Option<()> {
    let found = places(lines, |n, line| {
        line.event == Kind::Revoked
            && line.clean == Some(true)
            && lines[..n]
                .iter()
                .any(|l| l.epoch == line.epoch && l.event == Kind::Done)
    });
    let epoch = lines[*chance.pick(&found)?].epoch;
    lines
        .retain(|line| line.epoch != epoch || !matches!(line.event, Kind::Committed | Kind::Acked));
    Some(())
}

fn call_it_clean(lines: &mut Lines, chance: &mut Chance) -> Option<()> {
    let tried = |line: &Line<'_>| {
        // A try that is out when its worker dies.
        let epoch = line.epoch.map(|epoch| epoch - 1);
        let of = |l: &&Line<'_>, kind| l.epoch == epoch && l.event == kind;
        let starts = lines.iter().filter(|l| of(l, Kind::Started)).count();
        starts > lines.iter().filter(|l| of(l, Kind::Ended)).count()
    };
    let found = places(lines, |_, line| {
        line.event == Kind::Claimed && line.clean == Some(false) && tried(line)
    });
    lines[*chance.pick(&found)?].clean = Some(true);
    Some(())
}

fn pretend_it_was_done_before(lines: &mut Lines, chance: &mut Chance) -> Option<()> {
    let found = places(lines, |_, line| {
        let tried = |l: &&Line<'_>| l.event == Kind::Started && l.position == line.position;
        line.event == Kind::Fetched && lines.iter().find(tried).is_none()
    });
    lines[*chance.pick(&found)?].event = Kind::AlreadyDone;
    Some(())
}

fn bound_repeats_lower(lines: &mut Lines, _: &mut Chance) -> Option<()> {
    let mut any = false;
    for line in lines.iter_mut() {
        if let Some(settings) = &mut line.settings {
            settings.to_mut().unflushed_max = 1;
        }
        any |= line.event == Kind::Started;
    }
    (any && audit(lines).counts.peak_in_flight > 1).then_some(())
}

fn swap_a_chain(lines: &mut Lines, chance: &mut Chance) -> Option<()> {
    let released = places(lines, |_, line| line.event == Kind::Released);
    let end = *chance.pick(&released)?;
    let key = lines[end].key.clone();
    let starts: Vec<usize> = places(lines, |n, line| {
        n < end && line.event == Kind::Started && line.key == key && line.epoch == lines[end].epoch
    });
    let (&last, rest) = starts.split_last()?;
    let &before = rest
        .iter()
        .rev()
        .find(|&&n| lines[n].position != lines[last].position)?;
    let chained = |n: usize| {
        let mut own = lines[..n].iter().filter(|l| l.epoch == lines[n].epoch);
        own.any(|l| matches!(l.event, Kind::Decided) && l.key == key)
    };
    if !chained(before) {
        return None;
    }
    let position = lines[before].position.clone();
    lines[before].position = std::mem::replace(&mut lines[last].position, position);
    Some(())
}

const MUTATIONS: [(&str, Mutate, &[Guarantee]); 22] = [
    ("drop a done", drop_done, &[G1, G7]),
    ("swap two starts", swap_starts_of_a_lane, &[G1]),
    ("start beyond the cap", smaller_cap, &[G2]),
    ("start in quarantine", longer_quarantine, &[G1]),
    ("drop a failed end", drop_a_failed_end, &[G1]),
    ("drop a decision", drop_decision, &[G1, G3]),
    ("drop a held lane", drop_held, &[G1, G3, G7, G8]),
    ("drop an appended", drop_appended, &[G5]),
    ("commit beyond an open record", commit_an_open_record, &[G5]),
    ("commit what never came", commit_what_never_came, &[G5]),
    ("commit goes back", commit_goes_back, &[G5]),
    ("claim finds less", claim_finds_less, &[G5]),
    ("acknowledge ahead", acknowledge_ahead, &[G7]),
    ("resurrect an epoch", resurrect_an_epoch, &[G6]),
    ("accept a stale commit", accept_a_stale_commit, &[G6]),
    ("fail what is done", fail_what_is_done, &[G7]),
    (
        "run again what is durable",
        run_again_what_is_durable,
        &[G8],
    ),
    ("repeat an effect", repeat_an_effect, &[G8]),
    ("forget the last commits", forget_the_last_commits, &[G8]),
    ("call a crash clean", call_it_clean, &[G6]),
    ("pretend it was done", pretend_it_was_done_before, &[G7]),
    ("bound repeats lower", bound_repeats_lower, &[G8]),
];

#[test]
fn generated_histories_pass() {
    let mut counts = BTreeMap::new();
    for seed in 0..500 {
        let verdict = audit(&generate(seed).lines());
        assert!(verdict.passes(), "seed {seed}: {verdict}");
        for (name, n) in verdict.counts.all() {
            *counts.entry(name).or_insert(0) += n;
        }
    }
    let never = [
        "suspects",
        "gaps",
        "dead-lettered",
        "gone",
        "refused",
        "paused",
        "repeated commits",
    ];
    for (name, n) in counts {
        assert_eq!(n == 0, never.contains(&name), "{n} {name}");
    }
}

/// Each mutation in each of many histories that offers a place for it.
#[test]
fn every_mutation_is_found() {
    let chains: (&str, Mutate, &[Guarantee]) = ("swap a chain", swap_a_chain, &[G1, G8]);
    for (name, mutate, guarantees) in MUTATIONS.into_iter().chain([chains]) {
        let mut tried = 0;
        for seed in 0..150 {
            let mut lines = generate(seed).lines();
            let Some(()) = mutate(&mut lines, &mut Chance(seed)) else {
                continue;
            };
            renumber(&mut lines);
            let verdict = audit(&lines);
            let found = guarantees.iter().any(|g| verdict.breaks(*g));
            assert!(found, "{name}, seed {seed}: {verdict}");
            tried += 1;
            if tried == 30 {
                break;
            }
        }
        assert!(
            tried >= 10,
            "{name}: {tried} histories offer a place for it"
        );
    }
}
