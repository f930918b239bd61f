//! Habits that a machine can see: sizes, layers, words, guarantees, documents, licences. Their
//! reasons stand in `CONTRIBUTING.md`.

mod code;
// What they configure is in no smaller build.
#[cfg(all(feature = "dynamodb", feature = "kafka"))]
mod deploy;
mod documents;
mod layers;
mod licences;
#[cfg(feature = "cli")]
mod lint;
mod policies;
// What the functions are configured with is in no smaller build.
#[cfg(all(feature = "dynamodb", feature = "http", feature = "lambda"))]
mod sam;
mod tree;

use std::path::Path;
use tree::{SourceFile, file, files};

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: i64 = 70;

/// All violations at once, each on a line that names file and line.
fn demand_none(rule: &str, violations: &[String]) {
    assert!(violations.is_empty(), "{rule}:\n{}", violations.join("\n"));
}

fn is_code(file: &SourceFile) -> bool {
    [".rs", ".py", ".sh", ".ci/run"]
        .iter()
        .any(|end| file.path.ends_with(end))
}

#[test]
fn files_can_be_read_in_one_sitting() {
    let files = files().unwrap();
    assert!(files.iter().filter(|f| is_code(f)).count() > 10);
    let long: Vec<String> = files
        .iter()
        .filter(|f| is_code(f))
        .map(|f| (f, f.text.lines().count()))
        .filter(|(_, lines)| *lines > FILE_LINES_MAX)
        .map(|(f, lines)| format!("{}: {lines} lines", f.path))
        .collect();
    demand_none("split by noun what has more than 500 lines", &long);
}

#[test]
fn functions_fit_on_a_screen() {
    // Clippy counts them; here stands that it does so everywhere.
    let clippy: toml::Table = file("clippy.toml").unwrap().text.parse().unwrap();
    let threshold = clippy["too-many-lines-threshold"].as_integer();
    assert_eq!(threshold, Some(FUNCTION_LINES_MAX));
    let root: toml::Table = file("Cargo.toml").unwrap().text.parse().unwrap();
    let lints = &root["workspace"]["lints"]["clippy"];
    assert_eq!(lints["too_many_lines"].as_str(), Some("warn"));
    let members = root["workspace"]["members"].as_array().unwrap().iter();
    let apart: Vec<String> = members
        .map(|member| format!("{}/Cargo.toml", member.as_str().unwrap_or_default()))
        .filter(|path| {
            !file(path)
                .unwrap()
                .text
                .contains("[lints]\nworkspace = true")
        })
        .collect();
    demand_none("crates without the workspace's lints", &apart);
}

#[test]
fn files_are_named_after_what_they_hold() {
    let vague: Vec<String> = files()
        .unwrap()
        .into_iter()
        .map(|f| f.path)
        .filter(|path| path.ends_with(".rs"))
        .filter(|path| {
            let name = Path::new(path).file_stem().unwrap_or_default();
            ["mod", "utils", "util", "common", "imp", "helpers", "misc"]
                .iter()
                .any(|v| name == *v)
        })
        .collect();
    demand_none("`foo.rs` + `foo/`, named after their noun", &vague);
}

#[test]
fn nothing_is_left_for_later_or_for_one_machine() {
    // Written in halves, so that this file does not contain them.
    let words = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("HA", "CK"),
    ];
    let paths = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("/far", "m/"),
        concat!("/Us", "ers/"),
        concat!("../sha", "red"),
        concat!(".lib", "rary"),
        concat!("wt", "-repo"),
        concat!("helper", "'s brief"),
    ];
    let mut found = Vec::new();
    for file in files().unwrap() {
        for (number, line) in file.text.lines().enumerate() {
            let word = words.iter().find(|w| code::has_word(line, w));
            if let Some(what) = word.or_else(|| paths.iter().find(|p| line.contains(**p))) {
                found.push(format!("{}:{}: `{what}`", file.path, number + 1));
            }
        }
    }
    demand_none(
        "finish it, or say it in an issue; name no machine's paths",
        &found,
    );
}
