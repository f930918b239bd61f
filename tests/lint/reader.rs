//! What is no template, or more than one should be, is refused by place; nothing panics.

use crate::{GOOD, broken, edited, good, report};
use lanekeeper::lint::{BYTES_MAX, Deployed, lint};
use std::fmt::Write as _;

fn refused(text: &str) -> String {
    match lint(text, &Deployed::default()) {
        Ok(report) => panic!("{report:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn what_cannot_be_read_says_where() {
    for (text, told) in [
        ("", "there is nothing in it"),
        (
            "a: [b\n",
            "line 2, column 1: it is neither YAML nor JSON: while parsing a flow sequence",
        ),
        ("{\"a\": 1,, }", "it is neither YAML nor JSON"),
        ("just words", "there is no map `Resources`"),
        ("Resources: [a]", "there is no map `Resources`"),
        (
            "Resources: {}\n---\nResources: {}\n",
            "line 2, column 1: a second document begins",
        ),
        (
            "Resources: {A: 1, A: 2}",
            "line 1, column 19: `A` is there twice, first in line 1",
        ),
        (
            "? [a]\n: b\n",
            "line 1, column 3: the name of an entry is a list or a map",
        ),
        ("Resources: &a [*a]", "an alias of what is not there"),
        ("Resources: *a", "neither YAML nor JSON"),
    ] {
        let error = refused(text);
        assert!(error.contains(told), "{text:?}: {error}");
    }
}

#[test]
fn what_is_too_large_or_too_deep_is_refused() {
    let large = format!("Resources: {{}}\n#{}", "x".repeat(BYTES_MAX));
    assert!(refused(&large).contains("at most 4194304 are read"));
    let deep = format!("Resources: {}{}", "[".repeat(120), "]".repeat(120));
    assert!(refused(&deep).contains("nested more than 100 deep"));
    let block: String = (0..2_000)
        .map(|n| format!("{}a:\n", " ".repeat(n)))
        .collect();
    assert!(refused(&block).contains("nested more than 100 deep"));
    // Ten lines that stand for 10¹⁰ values.
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for n in 1..10 {
        let before = vec![format!("*a{}", n - 1); 10].join(", ");
        writeln!(bomb, "a{n}: &a{n} [{before}]").expect("write");
    }
    bomb.push_str("Resources: {}\n");
    assert!(refused(&bomb).contains("more than 300000 values"));
    // Each as deep as may be, and the next one within the one before.
    let mut chain = format!("a0: &a0 {}{}\n", "[".repeat(60), "]".repeat(60));
    for n in 1..40 {
        let (open, close) = ("[".repeat(60), "]".repeat(60));
        writeln!(chain, "a{n}: &a{n} {open}*a{}{close}", n - 1).expect("write");
    }
    assert!(refused(&chain).contains("nested more than 100 deep"));
    let many: String = (0..1_001)
        .map(|n| format!("  R{n}: {{Type: X}}\n"))
        .collect();
    assert!(refused(&format!("Resources:\n{many}")).contains("it has 1001 resources"));
    let flat: String = (0..200_000).map(|_| "-\n").collect();
    assert!(refused(&flat).contains("no map `Resources`"));
}

#[test]
fn what_names_itself_ends() {
    let edits = [
        (
            "Resources:\n",
            "Mappings: {A: {b: {c: !FindInMap [A, b, c]}}}\nResources:\n",
        ),
        ("BatchSize: 100", "BatchSize: !FindInMap [A, b, c]"),
    ];
    let itself = report(&edited(good("kinesis"), &edits));
    assert_eq!((broken(&itself).len(), itself.open.len()), (0, 1));
    // Each condition names the next, far more of them than a stack holds.
    let mut chain = String::from("Conditions:\n");
    for n in 0..20_000 {
        writeln!(chain, "  C{n}: !Not [!Condition C{}]", n + 1).expect("write");
    }
    chain.push_str("Resources:\n");
    let edits = [
        ("Resources:\n", chain.as_str()),
        ("BatchSize: 100", "BatchSize: !If [C0, 1, 2]"),
    ];
    assert_eq!(broken(&report(&edited(good("kinesis"), &edits))), [""; 0]);
}

#[test]
fn aliases_and_merged_maps_are_read() {
    let edits = [
        (
            "Resources:\n",
            "Common: &common\n  StartingPosition: LATEST\n  MaximumRetryAttempts: 3\nResources:\n",
        ),
        (
            "            StartingPosition: TRIM_HORIZON\n            BatchSize: 100\n",
            "            <<: *common\n",
        ),
    ];
    let report = report(&edited(good("kinesis"), &edits));
    // What is written beside it wins.
    assert_eq!(broken(&report), ["start-latest"]);
    let place = &report.findings[0].place;
    assert_eq!((place.mark.line, place.mark.column), (3, 21));
    assert_eq!(place.resource, "Billing");
}

#[test]
fn places_are_those_of_an_editor() {
    let report = report(&edited(
        good("kinesis"),
        &[("BatchSize: 100", "BatchSize: 0")],
    ));
    let mark = report.findings[0].place.mark;
    assert_eq!((mark.line, mark.column), (36, 24));
    let json = edited(good("queue"), &[("\"BatchSize\": 50", "\"BatchSize\": 0")]);
    let mark = self::report(&json).findings[0].place.mark;
    assert_eq!((mark.line, mark.column), (33, 22));
    // Behind what JSON writes as two escapes, on one line.
    let line: String = json.lines().map(str::trim).collect();
    let place = self::report(&line).findings[0].place.clone();
    let at = line.find("\"BatchSize\": ").expect("there") + "\"BatchSize\": ".len();
    assert_eq!((place.mark.line, place.mark.column), (1, at + 1));
    let windows = self::report(&json.replace('\n', "\r\n")).findings[0]
        .place
        .mark;
    assert_eq!(windows, mark);
}

#[test]
fn nothing_that_is_written_panics() {
    let mut seed = 7_u64;
    let mut draw = |below: usize| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).expect("small") % below.max(1)
    };
    let pieces = [
        "!",
        "!Ref ",
        "!If [",
        "!Sub ${",
        "&a ",
        "*a",
        "<<: ",
        "{",
        "}",
        "[",
        "]",
        ": ",
        "- ",
        "? ",
        "|",
        ">",
        "\t",
        "\"",
        "'",
        "#",
        "\\ud83d",
        "%",
        "---\n",
        "...\n",
        "\u{feff}",
        "\u{0}",
        "é",
        "\n",
        "  ",
        "~",
        "Fn::If",
        "Ref",
        "!GetAtt A",
        "-1",
        "99999999999999999999",
    ];
    let mut read = 0;
    for round in 0..6_000 {
        let mut text: Vec<char> = good(GOOD[round % GOOD.len()]).chars().collect();
        for _ in 0..=draw(4) {
            let at = draw(text.len());
            let upto = (at + draw(12)).min(text.len());
            let piece: Vec<char> = match draw(3) {
                0 => Vec::new(),
                1 => pieces[draw(pieces.len())].chars().collect(),
                _ => {
                    let from = draw(text.len());
                    let to = (from + draw(200)).min(text.len());
                    text[from..to].to_vec()
                }
            };
            text.splice(at..upto, piece);
        }
        let text: String = text.into_iter().collect();
        read += usize::from(lint(&text, &Deployed::default()).is_ok());
    }
    assert!(read > 600, "only {read} were read: are they all broken?");
}
