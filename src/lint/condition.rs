//! The worlds of a template: all ways in which its conditions can come out together.
//!
//! What conditions compare is not known before deployment, so that each comparison may be true or false;
//! but a parameter has one value at a time. A world in which `!Equals [!Ref Stage, prod]` is true knows what
//! the parameter is.

use super::{node::Node, template::Template, value::World};
use std::collections::{BTreeMap, BTreeSet};

/// Most comparisons that are looked at both ways: 256 worlds.
const ATOMS_MAX: usize = 8;
/// Most resources that are looked at, over all worlds: large templates have fewer of them.
const LOOKS_MAX: usize = 16_384;
/// How far conditions may name each other.
const DEPTH_MAX: usize = 100;

/// All worlds, and the conditions that were looked at one way only, since there are too many.
pub(super) struct Worlds<'t> {
    pub(super) all: Vec<World<'t>>,
    pub(super) one_way: Vec<String>,
}

/// What of a template is looked at.
pub(super) struct Relevant {
    /// The conditions that decide about any of it.
    pub(super) conditions: BTreeSet<String>,
    /// How many resources there are.
    pub(super) resources: usize,
}

/// A comparison that may come out either way.
struct Atom<'t> {
    /// As it is written.
    written: String,
    /// The parameter and the text that it is compared with.
    parameter: Option<(&'t str, &'t str)>,
}

pub(super) fn worlds<'t>(template: &'t Template, relevant: &'t Relevant) -> Worlds<'t> {
    let mut atoms = Vec::new();
    for name in &relevant.conditions {
        if let Some(node) = template.named("Conditions", name) {
            collect(template, node, &mut atoms, &mut BTreeSet::new(), 0);
        }
    }
    let mut most = atoms.len().min(ATOMS_MAX);
    while most > 0 && relevant.resources << most > LOOKS_MAX {
        most -= 1;
    }
    let beyond: Vec<Atom<'_>> = atoms.split_off(most);
    let one_way = beyond.iter().map(|atom| atom.written.clone()).collect();
    let all: Vec<_> = (0..1_u32 << atoms.len())
        .filter_map(|bits| world(template, &relevant.conditions, &atoms, &beyond, bits))
        .collect();
    Worlds { all, one_way }
}

/// The comparisons of a condition and of those that it names.
fn collect<'t>(
    template: &'t Template,
    node: &'t Node,
    atoms: &mut Vec<Atom<'t>>,
    named: &mut BTreeSet<&'t str>,
    depth: usize,
) {
    let Some((name, argument)) = node.call().filter(|_| depth < DEPTH_MAX) else {
        return;
    };
    match name {
        "Fn::And" | "Fn::Or" | "Fn::Not" => {
            for item in argument.items() {
                collect(template, item, atoms, named, depth + 1);
            }
        }
        "Condition" => {
            if let Some(name) = argument.text()
                && named.insert(name)
                && let Some(node) = template.named("Conditions", name)
            {
                collect(template, node, atoms, named, depth + 1);
            }
        }
        _ => {
            let written = node.written();
            if constant(argument).is_none() && !atoms.iter().any(|atom| atom.written == written) {
                atoms.push(Atom {
                    written,
                    parameter: compared(template, argument),
                });
            }
        }
    }
}

/// What a comparison of two texts comes to.
fn constant(argument: &Node) -> Option<bool> {
    match argument.items() {
        [a, b] => Some(a.text()? == b.text()?),
        _ => None,
    }
}

/// `!Equals [!Ref P, text]`, either way round.
fn compared<'t>(template: &Template, argument: &'t Node) -> Option<(&'t str, &'t str)> {
    let [a, b] = argument.items() else {
        return None;
    };
    let of = |reference: &'t Node, text: &'t Node| {
        let ("Ref", name) = reference.call()? else {
            return None;
        };
        let name = name.text()?;
        template.named("Parameters", name)?;
        Some((name, text.text()?))
    };
    of(a, b).or_else(|| of(b, a))
}

/// The world in which these comparisons are true, if there is one.
fn world<'t>(
    template: &'t Template,
    conditions: &'t BTreeSet<String>,
    atoms: &[Atom<'t>],
    beyond: &[Atom<'t>],
    bits: u32,
) -> Option<World<'t>> {
    let mut is: BTreeMap<&str, &str> = BTreeMap::new();
    let mut is_not: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut compared: BTreeMap<&str, bool> = BTreeMap::new();
    for (index, atom) in atoms.iter().enumerate() {
        let truth = bits >> index & 1 == 1;
        compared.insert(&atom.written, truth);
        let Some((name, text)) = atom.parameter else {
            continue;
        };
        if !truth {
            is_not.entry(name).or_default().insert(text);
        } else if is.insert(name, text).is_some_and(|other| other != text) {
            return None;
        }
    }
    let mut parameters = BTreeMap::new();
    for (name, text) in &is {
        if is_not.get(name).is_some_and(|not| not.contains(text)) {
            return None;
        }
        if let Some(allowed) = allowed(template, name)
            && !allowed.contains(text)
        {
            return None;
        }
        parameters.insert(*name, Some((*text).to_owned()));
    }
    for (name, not) in &is_not {
        if is.contains_key(name) {
            continue;
        }
        let left = allowed(template, name)
            .map(|allowed| allowed.difference(not).copied().collect::<Vec<_>>());
        match left.as_deref() {
            Some([]) => return None,
            Some([one]) => {
                parameters.insert(*name, Some((*one).to_owned()));
                continue;
            }
            Some(_) | None => {}
        }
        if default(template, name).is_some_and(|default| not.contains(default)) {
            parameters.insert(*name, None);
        }
    }
    for atom in beyond {
        let by_default =
            { atom.parameter }.is_some_and(|(name, text)| default(template, name) == Some(text));
        compared.insert(&atom.written, by_default);
    }
    let mut evaluation = Evaluation {
        template,
        atoms: &compared,
        known: BTreeMap::new(),
        depth: 0,
    };
    for name in conditions {
        evaluation.named(name);
    }
    let truths = evaluation.known;
    Some(World {
        template,
        truths,
        parameters,
    })
}

fn allowed<'t>(template: &'t Template, parameter: &str) -> Option<BTreeSet<&'t str>> {
    let values = template
        .named("Parameters", parameter)?
        .get("AllowedValues")?;
    Some(values.items().iter().filter_map(Node::text).collect())
}

fn default<'t>(template: &'t Template, parameter: &str) -> Option<&'t str> {
    let default = template.named("Parameters", parameter)?.get("Default")?;
    Some(default.text().unwrap_or(""))
}

/// Finds out how the conditions come out.
struct Evaluation<'a, 't> {
    template: &'t Template,
    atoms: &'a BTreeMap<&'a str, bool>,
    /// Conditions that have been found out; one that is being found out counts as false, so that those that
    /// name each other in a circle end.
    known: BTreeMap<&'t str, bool>,
    depth: usize,
}

impl<'t> Evaluation<'_, 't> {
    fn of(&mut self, node: &'t Node) -> bool {
        let Some((name, argument)) = node.call().filter(|_| self.depth < DEPTH_MAX) else {
            return false;
        };
        self.depth += 1;
        let truth = match name {
            "Fn::And" => argument.items().iter().all(|item| self.of(item)),
            "Fn::Or" => argument.items().iter().any(|item| self.of(item)),
            "Fn::Not" => !{ argument.items().first() }.is_some_and(|item| self.of(item)),
            "Condition" => argument.text().is_some_and(|name| self.named(name)),
            _ => constant(argument)
                .or_else(|| self.atoms.get(node.written().as_str()).copied())
                .unwrap_or(false),
        };
        self.depth -= 1;
        truth
    }

    fn named(&mut self, name: &'t str) -> bool {
        if let Some(truth) = self.known.get(name) {
            return *truth;
        }
        let Some(node) = self.template.named("Conditions", name) else {
            return false;
        };
        self.known.insert(name, false);
        let truth = self.of(node);
        self.known.insert(name, truth);
        truth
    }
}
