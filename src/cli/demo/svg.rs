//! The demo as a picture: a row for each slot, a bar for each try, coloured by how it ended.

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
const WIDTH: f64 = 1_600.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 96.0;
const ROW: f64 = 34.0;
const BAR: f64 = 26.0;
/// Narrower bars carry no text.
const TEXT_MIN: f64 = 16.0;

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
    let scale = (WIDTH - LEFT - RIGHT) / (end - start) as f64;
    let x = |t: u64| LEFT + (t - start) as f64 * scale;
    let height = TOP + count as f64 * ROW + 50.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"28\" font-size=\"20\">{} requests, {} accounts, cap {cap}: one row a slot, one bar a try</text>\n",
        plan.requests.len(),
        plan.accounts.len(),
    );
    legend(&mut out);
    axis(&mut out, (end - start) as f64 / 1e9, height - 40.0);
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
        if width >= TEXT_MIN {
            let (tx, ty) = (left + width / 2.0, y + BAR * 0.68);
            let name = names.get(span.account.as_str()).map_or("", String::as_str);
            let _ = writeln!(
                out,
                "<text x=\"{tx:.1}\" y=\"{ty:.1}\" font-size=\"11\" fill=\"white\" text-anchor=\"middle\">{name}</text>"
            );
        }
    }
    out.push_str("</svg>\n");
    out
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

fn axis(out: &mut String, seconds: f64, y: f64) {
    let step = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0];
    let step = step
        .into_iter()
        .find(|s| seconds / s <= 16.0)
        .unwrap_or(600.0);
    let mut at = 0.0;
    while at <= seconds {
        let x = LEFT + at / seconds.max(f64::EPSILON) * (WIDTH - LEFT - RIGHT);
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

    #[test]
    fn tries_that_overlap_are_in_different_rows() {
        let span = |start, end| Span {
            account: "account-01".to_owned(),
            start,
            end,
            outcome: "done".to_owned(),
        };
        let tries = [span(0, 10), span(5, 8), span(8, 12), span(10, 11)];
        let rows: Vec<usize> = slots(&tries).into_iter().map(|(row, _)| row).collect();
        assert_eq!(rows, [0, 1, 1, 0]);
        let facts = Facts {
            tries: tries.to_vec(),
            ..Facts::default()
        };
        let picture = draw(&Plan::new(1, 10, 2, 1.0), 3, &facts);
        assert_eq!(picture.matches("<title>account-01, done").count(), 4);
        assert!(
            picture.contains("slot 3"),
            "an unused slot of the cap is shown too"
        );
    }
}
