//! A template in the wild style, all that is told of it, in each form.

use crate::report;
use lanekeeper::lint::{Linted, json, rules, sarif, text};
use serde_json::Value;

fn linted() -> Vec<Linted> {
    vec![Linted {
        path: "stacks/wild template.yaml".to_owned(),
        report: report(include_str!("broken.yaml")),
    }]
}

#[test]
fn people_are_told_all_of_it() {
    insta::assert_snapshot!(text(&linted()));
}

#[test]
fn machines_are_told_all_of_it() {
    let document = json(&linted());
    insta::assert_snapshot!(serde_json::to_string_pretty(&document).expect("JSON"));
}

/// The rules stand in it by themselves: only their number is in the snapshot.
#[test]
fn code_hosts_are_told_all_of_it() {
    let mut document = sarif(&linted());
    let all = document["runs"][0]["tool"]["driver"]["rules"].take();
    assert_eq!(all.as_array().map(Vec::len), Some(rules().count()));
    insta::assert_snapshot!(serde_json::to_string_pretty(&document).expect("JSON"));
}

/// What SARIF 2.1.0 requires of these objects (sections 3.13 to 3.49), and what it allows in them.
#[test]
fn it_is_sarif() {
    let document = sarif(&linted());
    assert_eq!(document["version"], "2.1.0");
    let [run] = &document["runs"].as_array().expect("runs")[..] else {
        panic!("one run");
    };
    assert_eq!(run["columnKind"], "unicodeCodePoints");
    let driver = &run["tool"]["driver"];
    assert!(driver["name"].is_string() && driver["semanticVersion"].is_string());
    let rules = driver["rules"].as_array().expect("rules");
    for rule in rules {
        for text in ["shortDescription", "fullDescription", "help"] {
            assert!(rule[text]["text"].is_string(), "{rule}");
        }
        assert!(levels(&rule["defaultConfiguration"]["level"]), "{rule}");
        if let Some(address) = rule.get("helpUri") {
            assert!(
                address.as_str().expect("text").starts_with("https://"),
                "{rule}"
            );
        }
    }
    let results = run["results"].as_array().expect("results");
    assert!(results.len() > 20);
    let mut kinds = [0; 3];
    for result in results {
        let index = usize::try_from(result["ruleIndex"].as_u64().expect("index")).expect("small");
        assert_eq!(rules[index]["id"], result["ruleId"]);
        assert!(result["message"]["text"].is_string() && levels(&result["level"]));
        // 3.27.10: where the kind is not `fail`, the level is `none`.
        match result["kind"].as_str() {
            Some("fail") => assert_ne!(result["level"], "none"),
            Some("open") => assert_eq!(result["level"], "none"),
            _ => panic!("{result}"),
        }
        kinds[usize::from(result["kind"] == "open")] += 1;
        for suppression in result["suppressions"].as_array().into_iter().flatten() {
            assert_eq!(suppression["kind"], "inSource");
            assert!(suppression["justification"].is_string());
            kinds[2] += 1;
        }
        let [location] = &result["locations"].as_array().expect("locations")[..] else {
            panic!("{result}");
        };
        let physical = &location["physicalLocation"];
        assert_eq!(
            physical["artifactLocation"]["uri"],
            "stacks/wild%20template.yaml"
        );
        for place in ["startLine", "startColumn"] {
            assert!(physical["region"][place].as_u64() >= Some(1), "{result}");
        }
    }
    assert!(kinds.iter().all(|count| *count > 0), "{kinds:?}");
}

fn levels(level: &Value) -> bool {
    ["none", "note", "warning", "error"]
        .iter()
        .any(|known| level == known)
}
