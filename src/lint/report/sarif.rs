//! SARIF 2.1.0, which code hosts and editors read.

use super::{Linted, when};
use crate::lint::{
    finding::{Finding, Open},
    rule::{Rule, rules},
    section::Place,
};
use serde_json::{Value, json};

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// All templates in one run. Findings that are ignored have a suppression; what is not known is of the kind
/// `open`, and no failure.
pub fn sarif(all: &[Linted]) -> Value {
    let mut results = Vec::new();
    for Linted { path, report } in all {
        results.extend(report.findings.iter().map(|finding| result(path, finding)));
        for open in &report.open {
            results.extend(not_known(path, open));
        }
        for ignored in &report.ignored {
            let mut result = result(path, &ignored.finding);
            result["suppressions"] = json!([{"kind": "inSource", "justification": ignored.reason}]);
            results.push(result);
        }
    }
    let rules: Vec<Value> = rules().map(descriptor).collect();
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "lanekeeper lint",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            }},
            // Columns count characters.
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn descriptor(rule: &Rule) -> Value {
    let mut value = json!({
        "id": rule.id,
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": format!("{}: {}.", rule.title, rule.reason)},
        "help": {"text": format!("{}. Mend: {}. ({})", rule.reason, rule.mend, rule.fact.name())},
        "defaultConfiguration": {"level": rule.level.name()},
    });
    let address = rule.fact.address();
    // A page of our own has an address within the repository only.
    if address.starts_with("https://") {
        value["helpUri"] = json!(address);
    }
    value
}

fn result(path: &str, finding: &Finding) -> Value {
    let message = format!(
        "found {}{}, asked {}: {}. Mend: {}",
        finding.found,
        when(finding),
        finding.asked,
        finding.rule.reason,
        finding.rule.mend
    );
    let mut value = of(finding.rule, path, &finding.place, &message);
    value["level"] = json!(finding.rule.level.name());
    value["kind"] = json!("fail");
    value
}

/// One result for each rule that hangs on it; what hangs on all of them is told of none.
fn not_known(path: &str, open: &Open) -> Vec<Value> {
    let message = format!("not known: {}; check by hand", open.what);
    let rules = { open.rules.iter() }.filter_map(|id| crate::lint::rule(id));
    let results = rules.map(|rule| {
        let mut value = of(rule, path, &open.place, &message);
        value["level"] = json!("none");
        value["kind"] = json!("open");
        value
    });
    results.collect()
}

fn of(rule: &Rule, path: &str, place: &Place, message: &str) -> Value {
    let index = rules().position(|other| other.id == rule.id);
    let name = match place.path.as_str() {
        "" => place.resource.clone(),
        inner => format!("{}.{inner}", place.resource),
    };
    json!({
        "ruleId": rule.id,
        "ruleIndex": index,
        "message": {"text": message},
        "locations": [{
            "physicalLocation": {
                "artifactLocation": {"uri": uri(path)},
                "region": {"startLine": place.mark.line, "startColumn": place.mark.column},
            },
            "logicalLocations": [{"fullyQualifiedName": name, "kind": "resource"}],
        }],
    })
}

/// A path as a URI: what is no plain character is escaped.
fn uri(path: &str) -> String {
    let mut out = String::new();
    if path.starts_with('/') {
        out.push_str("file://");
    }
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
