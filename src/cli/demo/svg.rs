//! The demo as a picture: a row for each slot, a bar for each try, coloured by how it ended; below them
//! how many accounts wait for their next try, which takes no slot.

use super::{
    plan::Plan,
    verdict::{Facts, Span},
};
use std::{collections::BTreeMap, fmt::Write as _};

/// Outcomes as the history words them, what they are called here, and their colours.
const OUTCOMES: [(&str, &str, &str); 5] = [
    ("done", "done", "#3a923a"),
    ("retry", "raised", "#e69f25"),
    ("timeout", "timed out", "#c23b3b"),
    ("killed", "killed with its worker", "#333333"),
    ("", "other", "#8a8a8a"),
];
const WIDTH_MIN: f64 = 1_600.0;
/// Of a very long run: what is wider is hard to open anywhere.
const WIDTH_MAX: f64 = 60_000.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 96.0;
const ROW: f64 = 34.0;
const BAR: f64 = 26.0;
/// Bars of at least this width carry their name across.
const ACROSS_MIN: f64 = 20.0;
/// Bars of at least this width carry it upwards; narrower ones have none.
const UPWARDS_MIN: f64 = 9.0;
/// Of the strip below the slots.
const STRIP: f64 = 60.0;
/// Between two times of the axis.
const STEP_MIN: f64 = 80.0;

/// The picture. Times are those of the run, not of the experiment before `--speed`.
pub(super) fn draw(plan: &Plan, cap: u32, facts: &Facts) -> String {
    let rows = slots(&facts.tries);
    let count = rows
        .iter()
        .map(|(row, _)| row + 1)
        .max()
        .unwrap_or(1)
        .max(cap as usize);
    let start = facts.tries.iter().map(|t| t.start).min().unwrap_or(0);
    let end = facts
        .tries
        .iter()
        .map(|t| t.end)
        .max()
        .unwrap_or(start + 1)
        .max(start + 1);
    let width = width_for(&facts.tries, end - start);
    let scale = (width - LEFT - RIGHT) / (end - start) as f64;
    let x = |t: u64| LEFT + (t - start) as f64 * scale;
    let strip = TOP + count as f64 * ROW + 10.0;
    let height = strip + STRIP + 50.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height}\" viewBox=\"0 0 {width:.0} {height}\" font-family=\"sans-serif\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"28\" font-size=\"20\">{} requests, {} accounts, cap {cap}: one row a slot, one bar a try, named after its account</text>\n",
        plan.requests.len(),
        plan.accounts.len(),
    );
    legend(&mut out);
    axis(&mut out, width, (end - start) as f64 / 1e9, height - 40.0);
    for slot in 0..count {
        let y = TOP + slot as f64 * ROW + BAR * 0.7;
        let _ = writeln!(
            out,
            "<text x=\"12\" y=\"{y:.1}\" font-size=\"14\">slot {}</text>",
            slot + 1
        );
    }
    let names = short_names(&facts.tries);
    for (row, span) in &rows {
        let (left, y) = (x(span.start), TOP + *row as f64 * ROW);
        let width = (x(span.end) - left).max(1.0);
        let (_, called, colour) = outcome(&span.outcome);
        let _ = writeln!(
            out,
            "<rect x=\"{left:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{BAR}\" rx=\"2\" fill=\"{colour}\"><title>{}, {called}, {} ms</title></rect>",
            span.account,
            (span.end - span.start) / 1_000_000,
        );
        let name = names.get(span.account.as_str()).map_or("", String::as_str);
        label(&mut out, name, left + width / 2.0, y, width);
    }
    waiting(&mut out, &facts.tries, strip, x);
    out.push_str("</svg>\n");
    out
}

/// How many accounts wait for their next try, as steps from the left to the right.
fn waiting(out: &mut String, tries: &[Span], top: f64, x: impl Fn(u64) -> f64) {
    let mut of: BTreeMap<&str, Vec<&Span>> = BTreeMap::new();
    for span in tries {
        of.entry(span.account.as_str()).or_default().push(span);
    }
    let mut steps: BTreeMap<u64, i64> = BTreeMap::new();
    for spans in of.values_mut() {
        spans.sort_by_key(|span| span.start);
        let pairs = spans.windows(2).filter_map(|pair| match pair {
            [one, next] if one.outcome != "done" && one.end < next.start => {
                Some((one.end, next.start))
            }
            _ => None,
        });
        for (from, to) in pairs {
            *steps.entry(from).or_default() += 1;
            *steps.entry(to).or_default() -= 1;
        }
    }
    let counts = steps.iter().scan(0, |count, (at, step)| {
        *count += step;
        Some((*at, *count))
    });
    let counts: Vec<(u64, i64)> = counts.collect();
    let most = counts.iter().map(|(_, count)| *count).max().unwrap_or(0);
    let bottom = top + STRIP;
    let y = |count: i64| bottom - STRIP * count as f64 / most.max(1) as f64;
    let _ = writeln!(
        out,
        "<text x=\"12\" y=\"{:.1}\" font-size=\"14\">waiting</text><text x=\"12\" y=\"{:.1}\" font-size=\"12\">(most: {most})</text>",
        top + 20.0,
        top + 38.0
    );
    for pair in counts.windows(2) {
        let [(from, count), (to, _)] = pair else {
            continue;
        };
        if *count > 0 {
            let (left, high) = (x(*from), y(*count));
            let _ = writeln!(
                out,
                "<rect x=\"{left:.1}\" y=\"{high:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"#b9cfe4\"/>",
                x(*to) - left,
                bottom - high
            );
        }
    }
}

/// As wide as it takes for nearly all bars to carry their names, however long the run was.
fn width_for(tries: &[Span], nanos: u64) -> f64 {
    let mut times: Vec<u64> = tries
        .iter()
        .map(|t| t.end.saturating_sub(t.start))
        .collect();
    times.sort_unstable();
    // Of a few that ended at once nothing is demanded.
    let short = times.get(times.len() / 20).copied().unwrap_or(nanos).max(1);
    let bars = UPWARDS_MIN * nanos as f64 / short as f64;
    (LEFT + bars + RIGHT).clamp(WIDTH_MIN, WIDTH_MAX)
}

/// A bar's name, around its middle.
fn label(out: &mut String, name: &str, x: f64, y: f64, width: f64) {
    const STYLE: &str = "font-size=\"10\" fill=\"white\" text-anchor=\"middle\"";
    let _ = if width >= ACROSS_MIN {
        let y = y + BAR * 0.64;
        writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" {STYLE}>{name}</text>")
    } else if width >= UPWARDS_MIN {
        let (x, y) = (x + 3.5, y + BAR / 2.0);
        writeln!(
            out,
            "<text transform=\"translate({x:.1} {y:.1}) rotate(-90)\" {STYLE}>{name}</text>"
        )
    } else {
        Ok(())
    };
}

fn outcome(of: &str) -> (&'static str, &'static str, &'static str) {
    let known = OUTCOMES.into_iter().find(|(name, ..)| *name == of);
    known.unwrap_or(OUTCOMES[OUTCOMES.len() - 1])
}

fn legend(out: &mut String) {
    let mut x = LEFT;
    for (_, called, colour) in OUTCOMES {
        let _ = writeln!(
            out,
            "<rect x=\"{x}\" y=\"44\" width=\"16\" height=\"16\" fill=\"{colour}\"/><text x=\"{}\" y=\"57\" font-size=\"14\">{called}</text>",
            x + 22.0
        );
        x += 60.0 + called.len() as f64 * 8.0;
    }
}

fn axis(out: &mut String, width: f64, seconds: f64, y: f64) {
    let step = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0];
    let step = step
        .into_iter()
        .find(|s| seconds / s <= (width - LEFT - RIGHT) / STEP_MIN)
        .unwrap_or(600.0);
    let mut at = 0.0;
    while at <= seconds {
        let x = LEFT + at / seconds.max(f64::EPSILON) * (width - LEFT - RIGHT);
        let _ = writeln!(
            out,
            "<line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{y:.1}\" stroke=\"#dddddd\"/><text x=\"{x:.1}\" y=\"{:.1}\" font-size=\"13\" text-anchor=\"middle\">{at:.1} s</text>",
            y + 20.0
        );
        at += step;
    }
}

/// Each try in the lowest slot that is free when it starts.
fn slots(tries: &[Span]) -> Vec<(usize, &Span)> {
    let mut tries: Vec<&Span> = tries.iter().collect();
    tries.sort_by_key(|t| (t.start, t.end));
    let mut free_at: Vec<u64> = Vec::new();
    let place = |span: &'_ Span, free_at: &mut Vec<u64>| {
        let row = free_at
            .iter()
            .position(|at| *at <= span.start)
            .unwrap_or(free_at.len());
        if row == free_at.len() {
            free_at.push(span.end);
        } else {
            free_at[row] = span.end;
        }
        row
    };
    tries
        .into_iter()
        .map(|span| (place(span, &mut free_at), span))
        .collect()
}

/// `account-07` is `7`, `nobody-1` is `n1`: what fits into a bar.
fn short_names(tries: &[Span]) -> BTreeMap<&str, String> {
    let short = |name: &str| match name.split_once('-') {
        Some(("account", n)) => n.trim_start_matches('0').to_owned(),
        Some((other, n)) => format!("{}{n}", other.get(..1).unwrap_or_default()),
        None => name.to_owned(),
    };
    tries
        .iter()
        .map(|t| (t.account.as_str(), short(&t.account)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(account: &str, start: u64, end: u64, outcome: &str) -> Span {
        Span {
            account: account.to_owned(),
            start,
            end,
            outcome: outcome.to_owned(),
        }
    }

    fn drawn(tries: Vec<Span>) -> String {
        let facts = Facts {
            tries,
            ..Facts::default()
        };
        draw(&Plan::new(1, 10, 2, 1.0), 3, &facts)
    }

    #[test]
    fn tries_that_overlap_are_in_different_rows() {
        let tries = [(0, 10), (5, 8), (8, 12), (10, 11)];
        let tries = tries.map(|(start, end)| span("account-01", start, end, "done"));
        let rows: Vec<usize> = slots(&tries).into_iter().map(|(row, _)| row).collect();
        assert_eq!(rows, [0, 1, 1, 0]);
        let picture = drawn(tries.to_vec());
        assert_eq!(picture.matches("<title>account-01, done").count(), 4);
        assert!(
            picture.contains("slot 3"),
            "an unused slot of the cap is shown too"
        );
        assert!(!picture.contains("slot 4"), "{picture}");
    }

    #[test]
    fn bars_have_the_colours_of_their_outcomes() {
        let outcomes = ["done", "retry", "timeout", "killed", "reject"];
        let tries = (0..)
            .zip(outcomes)
            .map(|(n, of)| span("nobody-1", n * 10, n * 10 + 9, of));
        let picture = drawn(tries.collect());
        demand_well_formed(&picture);
        let bars: Vec<&str> = picture.lines().filter(|l| l.contains("<title>")).collect();
        assert_eq!(bars.len(), outcomes.len());
        for (bar, (_, called, colour)) in bars.iter().zip(OUTCOMES) {
            assert!(bar.contains(&format!("fill=\"{colour}\"")), "{bar}");
            assert!(
                bar.contains(&format!("<title>nobody-1, {called}, ")),
                "{bar}"
            );
        }
        assert_eq!(picture.matches(">n1</text>").count(), outcomes.len());
    }

    #[test]
    fn names_are_there_in_long_runs_too() {
        // An hour of tries of a second each, some of them much longer.
        let second = 1_000_000_000;
        let tries = (0..3_600).map(|n| {
            let longer = if n % 7 == 0 { 5 } else { 1 };
            span("account-07", n * second, (n + longer) * second, "done")
        });
        let picture = drawn(tries.collect());
        demand_well_formed(&picture);
        assert_eq!(picture.matches("<title>").count(), 3_600);
        assert_eq!(picture.matches(">7</text>").count(), 3_600);
    }

    #[test]
    fn accounts_that_wait_are_counted_below_the_slots() {
        let tries = [
            span("account-01", 0, 10, "retry"),
            span("account-02", 0, 20, "timeout"),
            span("account-01", 40, 50, "done"),
            span("account-02", 40, 60, "done"),
            // Nobody waits after this one.
            span("account-01", 70, 80, "done"),
        ];
        let picture = drawn(tries.to_vec());
        demand_well_formed(&picture);
        assert!(picture.contains("(most: 2)"), "{picture}");
        let steps = picture.lines().filter(|l| l.contains("#b9cfe4"));
        assert_eq!(
            steps.count(),
            2,
            "one from 10 to 20, two from 20 to 40: {picture}"
        );
    }

    #[test]
    fn nothing_that_ran_is_a_picture_too() {
        let picture = drawn(Vec::new());
        demand_well_formed(&picture);
        assert!(picture.contains("slot 3"));
    }

    /// Every element ends, in order; attributes are quoted, each once; no character stands for markup.
    fn demand_well_formed(xml: &str) {
        let mut open = Vec::new();
        let mut pieces = xml.split('<');
        assert_eq!(pieces.next(), Some(""), "it begins with an element");
        for piece in pieces {
            let (tag, text) = piece.split_once('>').expect("a tag ends");
            assert!(!text.contains(['&', '>']), "{piece}");
            assert!(!open.is_empty() || tag.starts_with("svg "), "{piece}");
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop(), Some(name), "{piece}");
                continue;
            }
            let (name, mut rest) = tag
                .trim_end_matches('/')
                .split_once(' ')
                .unwrap_or((tag, ""));
            let mut seen = Vec::new();
            while !rest.trim().is_empty() {
                let (attribute, value) = rest.trim().split_once("=\"").expect("an attribute");
                let (value, after) = value.split_once('"').expect("a quoted value");
                assert!(
                    !value.contains('&') && !seen.contains(&attribute),
                    "{piece}"
                );
                seen.push(attribute);
                rest = after;
            }
            if !tag.ends_with('/') {
                open.push(name);
            }
        }
        assert_eq!(open, [""; 0], "all elements end");
    }
}
