//! What a template says to leave out is left out, and never in silence.

use crate::{broken, edited, good, report};

const BISECTED: (&str, &str) = ("OnFunctionError: false", "OnFunctionError: true");

fn with(metadata: &str) -> String {
    let edit = format!("  Billing:\n    Metadata: {{lanekeeper: {metadata}}}\n");
    edited(good("kafka"), &[BISECTED, ("  Billing:\n", &edit)])
}

#[test]
fn a_rule_that_is_ignored_with_a_reason_is_listed_apart() {
    for metadata in [
        "{ignore: [bisect, filter], reason: the handler is fast}",
        "{ignore: bisect, reason: the handler is fast}",
        "{ignore: {bisect: the handler is fast}}",
    ] {
        let report = report(&with(metadata));
        assert_eq!(broken(&report), [""; 0], "{metadata}");
        let [ignored] = &report.ignored[..] else {
            panic!("{metadata}: {:?}", report.ignored);
        };
        assert_eq!(ignored.finding.rule.id, "bisect");
        assert_eq!(ignored.reason, "the handler is fast");
    }
}

#[test]
fn without_a_reason_or_a_name_nothing_is_ignored() {
    for (metadata, found) in [
        ("{ignore: [bisect]}", "`bisect` without a reason"),
        (
            "{ignore: [bisect], reason: ' '}",
            "`bisect` without a reason",
        ),
        ("{ignore: {bisect: }}", "`bisect` without a reason"),
        (
            "{ignore: [bisekt], reason: because}",
            "`bisekt`, which is no rule",
        ),
        ("{ignored: [bisect]}", "no `ignore` in it"),
        (
            "{ignore: [[bisect]], reason: because}",
            "``, which is no rule",
        ),
    ] {
        let report = report(&with(metadata));
        assert_eq!(broken(&report), ["ignore-unsound", "bisect"], "{metadata}");
        assert_eq!(report.findings[0].found, found, "{metadata}");
        assert!(report.ignored.is_empty(), "{metadata}");
    }
}

#[test]
fn another_resource_cannot_ignore_it() {
    let edit = "  Throttled:\n    Metadata: {lanekeeper: {ignore: [bisect], reason: because}}\n";
    let text = edited(good("kafka"), &[BISECTED, ("  Throttled:\n", edit)]);
    let report = report(&text);
    assert_eq!(broken(&report), ["bisect"]);
}
