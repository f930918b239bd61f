//! `docs/lint.md` has every rule as the table has it, and our own templates break none.

use crate::{
    demand_none,
    tree::{file, files},
};
use lanekeeper::lint::{Deployed, Rule, groups, lint};

/// A rule as its row in the document.
fn row(rule: &Rule) -> String {
    let address = rule.fact.address();
    let link = address.strip_prefix("docs/").unwrap_or(&address);
    format!(
        "| `{}` | {} | {}: {}. | {}. | [{}]({link}) |",
        rule.id,
        rule.level.name(),
        rule.title,
        rule.reason,
        rule.mend,
        rule.fact.name(),
    )
}

#[test]
fn every_rule_is_documented_as_it_is() {
    let text = file("docs/lint.md").unwrap().text;
    let mut wanted = Vec::new();
    for (title, rules) in groups() {
        wanted.push(format!("### {title}"));
        wanted.extend(rules.iter().map(|rule| row(rule)));
    }
    let there: Vec<&str> = { text.lines() }
        .filter(|line| line.starts_with("| `") || line.starts_with("### "))
        .collect();
    let wrong: Vec<String> = { wanted.iter() }
        .filter(|line| !there.contains(&line.as_str()))
        .cloned()
        .collect();
    demand_none("lines that docs/lint.md lacks", &wrong);
    assert_eq!(there, wanted, "no other rules, and in the table's order");
}

#[test]
fn our_templates_break_no_rule() {
    let mut wrong = Vec::new();
    let mut mappings = 0;
    for template in files().unwrap() {
        let is_template = template.path.starts_with("deploy/")
            && template.path.ends_with(".yaml")
            && template.text.contains("\nResources:");
        if !is_template {
            continue;
        }
        let report = lint(&template.text, &Deployed::default()).unwrap();
        mappings += report.mappings;
        for finding in &report.findings {
            let (line, rule) = (finding.place.mark.line, finding.rule.id);
            wrong.push(format!(
                "{}:{line}: {rule}: {}",
                template.path, finding.found
            ));
        }
        for open in &report.open {
            // Whoever deploys names a stream and a consumer of it: two parameters, of which nothing is known.
            if open.rules.iter().eq(["source-not-configured"].iter()) {
                continue;
            }
            let line = open.place.mark.line;
            wrong.push(format!(
                "{}:{line}: not known: {}",
                template.path, open.what
            ));
        }
        for ignored in &report.ignored {
            wrong.push(format!(
                "{}: ignores {}",
                template.path, ignored.finding.rule.id
            ));
        }
    }
    demand_none("our own templates", &wrong);
    let templates = files()
        .unwrap()
        .iter()
        .any(|file| file.path.starts_with("deploy/sam/"));
    assert_eq!(mappings > 0, templates, "what is there has mappings");
}
