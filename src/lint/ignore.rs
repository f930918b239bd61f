//! What a template says to leave out: `Metadata: {lanekeeper: {ignore: [RULE], reason: "…"}}` on the resource
//! that a finding names.

use super::{
    check::own::IGNORE,
    finding::{Finding, Ignored, Report},
    node::{Entry, Node, What},
    rule::rule,
    section::Place,
    template::Template,
};
use std::collections::BTreeMap;

/// What one resource leaves out: rules and why.
#[derive(Default)]
struct Said<'t> {
    reasons: BTreeMap<&'t str, &'t str>,
    unsound: Vec<Finding>,
}

/// The report without what the template leaves out, which is listed apart.
pub(super) fn without(template: &Template, report: Report) -> Report {
    let mut said = BTreeMap::new();
    for entry in template.section("Resources") {
        let metadata = entry
            .value
            .get("Metadata")
            .and_then(|m| m.entry("lanekeeper"));
        if let Some(metadata) = metadata {
            said.insert(entry.key.as_str(), of(&entry.key, metadata));
        }
    }
    let (mut findings, mut ignored) = (Vec::new(), Vec::new());
    for finding in report.findings {
        let said = said.get(finding.place.resource.as_str());
        match said.and_then(|said| said.reasons.get(finding.rule.id)) {
            Some(reason) => ignored.push(Ignored {
                finding,
                reason: (*reason).to_owned(),
            }),
            None => findings.push(finding),
        }
    }
    findings.extend(said.into_values().flat_map(|said| said.unsound));
    findings.sort_by(|a, b| (&a.place, a.rule.id).cmp(&(&b.place, b.rule.id)));
    Report {
        findings,
        ignored,
        ..report
    }
}

fn of<'t>(resource: &str, metadata: &'t Entry) -> Said<'t> {
    let mut said = Said::default();
    let place = |node: &Node, path: &str| Place {
        mark: node.mark,
        resource: resource.to_owned(),
        path: format!("Metadata.lanekeeper.{path}"),
    };
    let mut unsound = |place: Place, found: String, asked: &str| {
        said.unsound.push(Finding {
            rule: &IGNORE,
            place,
            found,
            asked: asked.to_owned(),
            when: String::new(),
        });
    };
    let Some(ignore) = metadata.value.get("ignore") else {
        let found = "no `ignore` in it".to_owned();
        unsound(
            place(&metadata.value, ""),
            found,
            "`ignore: [RULE]` and `reason`",
        );
        return said;
    };
    let reason = metadata
        .value
        .get("reason")
        .and_then(Node::text)
        .unwrap_or("");
    // `[rule, rule]` with one reason for all, `rule`, or `{rule: reason}`.
    let named: Vec<(&Node, &str, &str)> = match &ignore.what {
        What::Map(entries) => { entries.iter() }
            .map(|e| (&e.value, e.key.as_str(), e.value.text().unwrap_or("")))
            .collect(),
        What::List(items) => { items.iter() }
            .map(|item| (item, item.text().unwrap_or(""), reason))
            .collect(),
        What::Scalar(text) => vec![(ignore, text.as_str(), reason)],
        What::Null => Vec::new(),
    };
    for (node, name, reason) in named {
        if rule(name).is_none() {
            let asked = "a name that `lanekeeper lint --rules` lists";
            unsound(
                place(node, "ignore"),
                format!("`{name}`, which is no rule"),
                asked,
            );
        } else if reason.trim().is_empty() {
            let found = format!("`{name}` without a reason");
            unsound(place(node, "ignore"), found, "a `reason`");
        } else {
            said.reasons.insert(name, reason);
        }
    }
    said
}
