//! Documents that a change must not leave behind.

use crate::{
    code, demand_none,
    tree::{SourceFile, file, files},
};
use lanekeeper::config;
use std::{
    collections::BTreeSet,
    path::{Component, Path, PathBuf},
};

fn documents() -> Vec<SourceFile> {
    let files = files().unwrap_or_default();
    files
        .into_iter()
        .filter(|f| f.path.ends_with(".md"))
        .collect()
}

/// The targets of a document's inline links, outside of code blocks.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    let mut in_code = false;
    for (number, line) in text.lines().enumerate() {
        in_code ^= line.trim_start().starts_with("```");
        if in_code {
            continue;
        }
        for (at, _) in line.match_indices("](") {
            let target = line[at + 2..].split(')').next().unwrap_or_default();
            links.push((number + 1, target.to_owned()));
        }
    }
    links
}

/// As forges make anchors of headings.
fn anchors(text: &str) -> Vec<String> {
    text.lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            line.trim_start_matches('#')
                .trim()
                .to_lowercase()
                .chars()
                .filter(|c| c.is_alphanumeric() || *c == ' ' || *c == '-' || *c == '_')
                .map(|c| if c == ' ' { '-' } else { c })
                .collect()
        })
        .collect()
}

fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        if part == Component::ParentDir {
            normal.pop();
        } else if part != Component::CurDir {
            normal.push(part);
        }
    }
    normal
}

#[test]
fn links_lead_somewhere() {
    let documents = documents();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut broken = Vec::new();
    let mut seen = 0;
    for document in &documents {
        for (line, link) in links(&document.text) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            seen += 1;
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let here = Path::new(&document.path);
            let target = match path {
                "" => here.to_path_buf(),
                path => normal(&here.parent().unwrap_or(here).join(path)),
            };
            let anchor_found = anchor.is_empty()
                || documents
                    .iter()
                    .filter(|d| Path::new(&d.path) == target)
                    .any(|d| anchors(&d.text).iter().any(|a| a == anchor));
            if !root.join(&target).exists() || !anchor_found {
                broken.push(format!("{}:{line}: `{link}`", document.path));
            }
        }
    }
    assert!(seen > 20, "only {seen} links found: is the search broken?");
    demand_none("links to nothing", &broken);
}

#[test]
fn every_key_of_the_configuration_is_documented_once() {
    let text = file("docs/configuration.md").unwrap().text;
    let documented: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    let mut wrong = Vec::new();
    for key in config::KEYS {
        let times = documented.iter().filter(|d| **d == key).count();
        if times != 1 {
            wrong.push(format!("`{key}` has {times} rows"));
        }
    }
    let unknown = documented.iter().filter(|d| !config::KEYS.contains(d));
    wrong.extend(unknown.map(|key| format!("`{key}` is no key")));
    demand_none("docs/configuration.md", &wrong);
}

#[test]
fn metrics_that_documents_name_are_there() {
    let there = file("docs/metrics.md").unwrap().text;
    let is_part = |c: char| c.is_ascii_lowercase() || c == '_';
    let mut seen = 0;
    let mut wrong = Vec::new();
    for document in documents() {
        for (at, _) in document.text.match_indices("`lanekeeper_") {
            let name = &document.text[at + 1..];
            let (name, rest) = name.split_at(name.find(|c| !is_part(c)).unwrap_or(name.len()));
            // A path of Rust is none.
            if rest.starts_with("::") {
                continue;
            }
            seen += 1;
            if !there.contains(&format!("| `{name}` |")) {
                wrong.push(format!("{}: `{name}`", document.path));
            }
        }
    }
    assert!(seen > 40, "only {seen} names: is the search broken?");
    demand_none("docs/metrics.md does not know", &wrong);
}

/// `g7` of `fn g7_a_panic_is_no_success()`, where it is a test.
fn guarantees_tested(file: &SourceFile) -> BTreeSet<u32> {
    let mut tested = BTreeSet::new();
    let mut is_test = false;
    for line in file.text.lines().map(str::trim) {
        if let Some(attribute) = line.strip_prefix("#[") {
            is_test |= attribute
                .trim_end_matches(']')
                .split(['(', ':'])
                .any(|p| p == "test");
        } else if let Some(name) = code::function_name(line) {
            let number = name.strip_prefix('g').and_then(|rest| rest.split_once('_'));
            if let Some(number) = number.and_then(|(n, _)| n.parse().ok()).filter(|_| is_test) {
                tested.insert(number);
            }
            is_test = false;
        }
    }
    tested
}

#[test]
fn every_guarantee_has_a_line_and_a_test() {
    let readme = file("README.md").unwrap().text;
    let files = files().unwrap();
    let in_engine: BTreeSet<u32> = files
        .iter()
        .filter(|f| f.path.starts_with("partitions/"))
        .flat_map(guarantees_tested)
        .collect();
    let mut wrong = Vec::new();
    for number in 1..=10 {
        let line = format!("- **G{number} ");
        if readme.lines().filter(|l| l.starts_with(&line)).count() != 1 {
            wrong.push(format!("README.md: one line `{line}…`"));
        }
        if !in_engine.contains(&number) {
            wrong.push(format!("partitions/: no test is named `g{number}_…`"));
        }
    }
    demand_none("guarantees", &wrong);
}

#[test]
fn guarantees_are_found_by_their_tests() {
    let file = SourceFile {
        path: "x.rs".to_owned(),
        text: "#[test]\nfn g1_a() {}\nfn g2_helper() {}\n#[tokio::test(start_paused = true)]\n\
               async fn g10_b() {}\n#[test]\n#[should_panic]\nfn g3_c() {}\n#[cfg(x)]\nfn g4_d() {}\n"
            .to_owned(),
    };
    assert_eq!(guarantees_tested(&file), BTreeSet::from([1, 3, 10]));
}

#[test]
fn the_example_of_a_function_is_the_one_that_compiles() {
    let text = file("examples/lambda_kinesis.rs").unwrap().text;
    let (_, code) = text.split_once("\n\n").unwrap();
    assert!(code.starts_with("use ") && code.lines().count() > 20);
    let document = file("docs/lambda.md").unwrap().text;
    assert!(document.contains(&format!("```rust\n{code}```\n")));
}
