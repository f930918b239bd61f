//! Templates that break one rule each, templates in the wild style, and what is no template.

#![expect(
    clippy::panic,
    reason = "a test fails loudly, also in the functions that its cases share"
)]

mod ignored;
mod known;
mod reader;
mod rules;
mod wild;

use lanekeeper::lint::{Deployed, Report, lint};

/// What a template comes to, without a file of settings.
fn report(text: &str) -> Report {
    lint(text, &Deployed::default()).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// The names of broken rules, in the order of the template.
fn broken(report: &Report) -> Vec<&'static str> {
    let findings = report.findings.iter();
    findings.map(|finding| finding.rule.id).collect()
}

/// A good template of `good/`.
fn good(name: &str) -> &'static str {
    match name {
        "kinesis" => include_str!("good/kinesis.yaml"),
        "fifo" => include_str!("good/fifo.yaml"),
        "queue" => include_str!("good/queue.json"),
        "kafka" => include_str!("good/kafka.yaml"),
        "plain" => include_str!("good/plain.yaml"),
        _ => panic!("no template `{name}`"),
    }
}

const GOOD: [&str; 5] = ["kinesis", "fifo", "queue", "kafka", "plain"];

/// A template with something else in it; what is replaced must be there.
fn edited(text: &str, edits: &[(&str, &str)]) -> String {
    edits.iter().fold(text.to_owned(), |text, (from, to)| {
        assert_eq!(text.matches(from).count(), 1, "`{from}` once in\n{text}");
        text.replace(from, to)
    })
}
