//! What is found, what could not be known, and what somebody has said not to tell.

use super::{
    rule::{Level, Rule},
    section::{Place, Property},
    value::World,
};
use std::collections::{BTreeMap, BTreeSet};

/// A rule that a template breaks.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The rule.
    pub rule: &'static Rule,
    /// Where.
    pub place: Place,
    /// What stands there.
    pub found: String,
    /// What is asked for instead.
    pub asked: String,
    /// The conditions under which it is so; empty: always.
    pub when: String,
}

/// A value on which a rule hangs, and which nothing here says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Open {
    /// Where.
    pub place: Place,
    /// What is not known, as it is written.
    pub what: String,
    /// Names of the rules that could not be checked; empty: all of them.
    pub rules: BTreeSet<&'static str>,
}

/// A finding that the template itself says to leave out.
#[derive(Clone, Debug)]
pub struct Ignored {
    /// What would have been told.
    pub finding: Finding,
    /// Why it is not.
    pub reason: String,
}

/// What a look at one template has brought.
#[derive(Clone, Default, Debug)]
pub struct Report {
    /// Broken rules, in the order of the template.
    pub findings: Vec<Finding>,
    /// What has to be checked by hand.
    pub open: Vec<Open>,
    /// What was left out, and why.
    pub ignored: Vec<Ignored>,
    /// Mappings that were looked at.
    pub mappings: usize,
}

impl Report {
    /// Findings of a level.
    pub fn count(&self, level: Level) -> usize {
        let of = |finding: &&Finding| finding.rule.level == level;
        self.findings.iter().filter(of).count()
    }
}

/// Collects while a world is looked at.
#[derive(Default)]
pub(super) struct Collected {
    /// By rule, place and what stands there, the worlds in which it is so.
    found: BTreeMap<Key, BTreeSet<usize>>,
    rules: BTreeMap<&'static str, &'static Rule>,
    open: BTreeMap<(Place, String), BTreeSet<&'static str>>,
    world: usize,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    place: Place,
    rule: &'static str,
    found: String,
    asked: String,
}

impl Collected {
    /// What follows is of this world.
    pub(super) fn enter(&mut self, world: usize) {
        self.world = world;
    }

    /// A broken rule.
    pub(super) fn found(
        &mut self,
        rule: &'static Rule,
        place: &Place,
        found: impl Into<String>,
        asked: impl Into<String>,
    ) {
        let key = Key {
            place: place.clone(),
            rule: rule.id,
            found: short(found.into()),
            asked: short(asked.into()),
        };
        self.rules.insert(rule.id, rule);
        self.found.entry(key).or_default().insert(self.world);
    }

    /// A property whose value is not known.
    pub(super) fn open(&mut self, rule: &'static Rule, property: &Property<'_>) {
        self.open_at(
            rule,
            &property.place,
            &format!("`{}`", property.found.shown()),
        );
    }

    /// Something else that is not known.
    pub(super) fn open_at(&mut self, rule: &'static Rule, place: &Place, what: &str) {
        let key = (place.clone(), short(what.to_owned()));
        self.open.entry(key).or_default().insert(rule.id);
    }

    /// Something that is not known, on which more than one rule hangs.
    pub(super) fn unknown(&mut self, place: &Place, what: &str) {
        let key = (place.clone(), short(what.to_owned()));
        self.open.entry(key).or_default();
    }

    /// All of it, with the conditions under which it is so.
    pub(super) fn finish(self, worlds: &[World<'_>]) -> Report {
        let findings = self.found.into_iter().filter_map(|(key, of)| {
            Some(Finding {
                rule: self.rules.get(key.rule)?,
                when: when(worlds, &of),
                place: key.place,
                found: key.found,
                asked: key.asked,
            })
        });
        let open = self
            .open
            .into_iter()
            .map(|((place, what), rules)| Open { place, what, rules });
        Report {
            findings: findings.collect(),
            open: open.collect(),
            ..Report::default()
        }
    }
}

/// Most characters of what a template holds that are told.
const TOLD_MAX: usize = 400;

/// What a template holds can be of any length.
fn short(mut text: String) -> String {
    if let Some((at, _)) = text.char_indices().nth(TOLD_MAX) {
        text.truncate(at);
        text.push('…');
    }
    text
}

/// The conditions that come out alike in these worlds, and not in all.
fn when(worlds: &[World<'_>], of: &BTreeSet<usize>) -> String {
    let Some(first) = of.first().and_then(|index| worlds.get(*index)) else {
        return String::new();
    };
    let alike = |name: &str, truth: bool, world: &World<'_>| world.truths.get(name) == Some(&truth);
    let said: Vec<String> = { first.truths.iter() }
        .filter(|(name, truth)| {
            let mut those = of.iter().filter_map(|index| worlds.get(*index));
            those.all(|world| alike(name, **truth, world))
                && !worlds.iter().all(|world| alike(name, **truth, world))
        })
        .map(|(name, truth)| format!("`{name}` is {truth}"))
        .collect();
    said.join(" and ")
}
