//! Reports as people and machines read them.

use super::{
    finding::{Finding, Report},
    rule::{Level, Rule},
};
use serde_json::{Value, json};
use std::fmt::Write as _;

mod sarif;

pub use sarif::sarif;

/// A template that was looked at.
#[derive(Debug)]
pub struct Linted {
    /// Its path, as it was given.
    pub path: String,
    /// What was found.
    pub report: Report,
}

/// As people read it, one paragraph a finding, and a line that counts them last.
pub fn text(all: &[Linted]) -> String {
    let mut out = String::new();
    for Linted { path, report } in all {
        for finding in &report.findings {
            let at = at(path, finding);
            let rule = finding.rule;
            let _ = writeln!(out, "{at}: {}: {}", rule.level.name(), rule.id);
            let when = when(finding);
            let _ = writeln!(out, "  found  {}{when}", shown(&finding.found));
            let _ = writeln!(out, "  asked  {}", shown(&finding.asked));
            let _ = writeln!(out, "  why    {}", rule.reason);
            let fact = rule.fact;
            let _ = writeln!(out, "  fact   {} <{}>", fact.name(), fact.address());
            let _ = writeln!(out, "  mend   {}\n", rule.mend);
        }
        for open in &report.open {
            let names: Vec<&str> = open.rules.iter().copied().collect();
            let of = if names.is_empty() {
                "all rules of the mapping".to_owned()
            } else {
                names.join(", ")
            };
            let _ = writeln!(
                out,
                "{}: not known: {}\n  check by hand: {of}\n",
                spot(path, &open.place),
                shown(&open.what)
            );
        }
        for ignored in &report.ignored {
            let _ = writeln!(
                out,
                "{}: ignored: {}\n  because {}\n",
                at(path, &ignored.finding),
                ignored.finding.rule.id,
                shown(&ignored.reason)
            );
        }
    }
    let _ = write!(out, "{}", summary(all));
    out
}

/// `2 errors, 1 warning, 1 not known, 1 ignored in 3 mappings of 1 template`.
fn summary(all: &[Linted]) -> String {
    let sum = |of: &dyn Fn(&Report) -> usize| all.iter().map(|one| of(&one.report)).sum::<usize>();
    let counted = |count: usize, what: &str| match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    };
    format!(
        "{}, {}, {} not known, {} ignored, in {} of {}",
        counted(sum(&|report| report.count(Level::Error)), "error"),
        counted(sum(&|report| report.count(Level::Warning)), "warning"),
        sum(&|report| report.open.len()),
        sum(&|report| report.ignored.len()),
        counted(sum(&|report| report.mappings), "mapping"),
        counted(all.len(), "template"),
    )
}

fn at(path: &str, finding: &Finding) -> String {
    spot(path, &finding.place)
}

fn spot(path: &str, place: &super::Place) -> String {
    let mark = place.mark;
    let name = match place.path.as_str() {
        "" => place.resource.clone(),
        inner => format!("{}: {inner}", place.resource),
    };
    format!("{path}:{}:{}: {}", mark.line, mark.column, shown(&name))
}

fn when(finding: &Finding) -> String {
    match finding.when.as_str() {
        "" => String::new(),
        when => format!(", when {when}"),
    }
}

/// A template is somebody's: what it holds is shown without what would move a cursor.
fn shown(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            c if c.is_control() => {
                let _ = write!(out, "{}", c.escape_default());
            }
            // What would reorder or hide what follows.
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => {
                let _ = write!(out, "{}", c.escape_default());
            }
            c => out.push(c),
        }
    }
    out
}

/// As one JSON document, `"format": 1`.
pub fn json(all: &[Linted]) -> Value {
    let templates: Vec<Value> = all.iter().map(template).collect();
    let count = |level| {
        let counts = all.iter().map(|one| one.report.count(level));
        counts.sum::<usize>()
    };
    json!({
        "format": 1,
        "errors": count(Level::Error),
        "warnings": count(Level::Warning),
        "templates": templates,
    })
}

fn template(one: &Linted) -> Value {
    let report = &one.report;
    let open = report.open.iter().map(|open| {
        let mut value = place(&open.place);
        value["what"] = json!(open.what);
        value["rules"] = json!(open.rules);
        value
    });
    let ignored = report.ignored.iter().map(|ignored| {
        let mut value = found(&ignored.finding);
        value["reason"] = json!(ignored.reason);
        value
    });
    json!({
        "path": one.path,
        "mappings": report.mappings,
        "findings": report.findings.iter().map(found).collect::<Vec<_>>(),
        "not_known": open.collect::<Vec<_>>(),
        "ignored": ignored.collect::<Vec<_>>(),
    })
}

fn found(finding: &Finding) -> Value {
    let mut value = place(&finding.place);
    value["rule"] = json!(finding.rule.id);
    value["level"] = json!(finding.rule.level.name());
    value["found"] = json!(finding.found);
    value["asked"] = json!(finding.asked);
    value["when"] = match finding.when.as_str() {
        "" => Value::Null,
        when => json!(when),
    };
    value["why"] = json!(finding.rule.reason);
    value["fact"] = fact(finding.rule);
    value["mend"] = json!(finding.rule.mend);
    value
}

fn place(place: &super::Place) -> Value {
    json!({
        "resource": place.resource,
        "property": place.path,
        "line": place.mark.line,
        "column": place.mark.column,
    })
}

fn fact(rule: &Rule) -> Value {
    json!({"source": rule.fact.name(), "url": rule.fact.address()})
}
