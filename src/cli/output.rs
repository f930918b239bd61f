//! The one place that writes to the terminal: data to stdout, everything else to stderr.

use super::exit::CommandError;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::{
    fmt::Write as _,
    io::{self, IsTerminal, Write},
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Most characters of an error, a key or a reason that people are shown.
pub(crate) const TEXT_MAX: usize = 200;

/// Writes text as it stands, with a line end.
pub(crate) fn data(text: &str) -> Result<(), CommandError> {
    raw(text.as_bytes())?;
    raw(b"\n")
}

/// Writes bytes as they are.
pub(crate) fn raw(bytes: &[u8]) -> Result<(), CommandError> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(bytes)
        .and_then(|()| stdout.flush())
        .map_err(CommandError::Output)
}

/// Writes one JSON document as one line.
pub(crate) fn json(document: &impl Serialize) -> Result<(), CommandError> {
    let text = serde_json::to_string(document)
        .map_err(|error| CommandError::Internal(format!("cannot write JSON: {error}")))?;
    data(&text)
}

/// Says something to the person in front of it.
pub(crate) fn note(text: &str) {
    // Nobody is left to be told when stderr is closed.
    let _ = to_stderr(format!("{text}\n").as_bytes());
}

/// The line that changes in place, where there is one.
static LINE: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Writes to stderr, above the line that changes.
pub(crate) fn to_stderr(bytes: &[u8]) -> io::Result<()> {
    let write = || io::stderr().lock().write_all(bytes);
    match &*LINE.lock().unwrap_or_else(PoisonError::into_inner) {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// Says how far it is: in place on a terminal, else as a line of its own.
pub(crate) fn progress(text: &str) {
    if !is_watched() {
        note(text);
        return;
    }
    let mut line = LINE.lock().unwrap_or_else(PoisonError::into_inner);
    let bar = line.get_or_insert_with(|| {
        let bar = ProgressBar::no_length();
        match ProgressStyle::with_template("{spinner} {msg}") {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        }
    });
    bar.set_message(text.to_owned());
    bar.tick();
}

/// The line that changes goes.
pub(crate) fn end_progress() {
    let line = LINE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(bar) = line {
        bar.finish_and_clear();
    }
}

/// Says why a command failed: each line by itself.
pub(crate) fn failure(text: &str) {
    for line in text.lines() {
        note(&format!("error: {line}"));
    }
}

/// Whether a person watches stderr.
pub(crate) fn is_watched() -> bool {
    io::stderr().is_terminal()
}

/// Text from outside, safe for a terminal: control and direction characters escaped, cut where it
/// is long.
pub(crate) fn shown(text: &str) -> String {
    let mut out = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == TEXT_MAX {
            out.push('…');
            break;
        }
        match c {
            c if c.is_control() || is_direction(c) => {
                let _ = write!(out, "{}", c.escape_default());
            }
            c => out.push(c),
        }
    }
    out
}

/// Characters that would reorder or hide what follows them.
fn is_direction(c: char) -> bool {
    matches!(
        c,
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
    )
}

/// Columns under their headings, each as wide as its longest cell, indented by two.
pub(crate) fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = headings.iter().map(|h| h.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    let headings: Vec<String> = headings.iter().map(|h| (*h).to_owned()).collect();
    for row in std::iter::once(&headings).chain(rows) {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        let _ = writeln!(out, "  {}", cells.join("  ").trim_end());
    }
    out
}

/// A moment for people and machines: RFC 3339, UTC.
pub(crate) fn moment(millis: i64) -> String {
    match jiff::Timestamp::from_millisecond(millis) {
        Ok(timestamp) => timestamp.to_string(),
        // Only a clock far outside the calendar leads here.
        Err(_) => format!("{millis} ms"),
    }
}

/// How long ago, roughly: `12s`, `5m`, `3h`, `2d`.
pub(crate) fn ago(now: i64, then: i64) -> String {
    let seconds = Duration::from_millis(u64::try_from(now - then).unwrap_or(0)).as_secs();
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Milliseconds since 1970.
pub(crate) fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_cannot_move_the_cursor() {
        assert_eq!(shown("plain ü"), "plain ü");
        assert_eq!(
            shown("a\x1b[2Jb\r\n\\ \u{202e}x\u{7}"),
            "a\\u{1b}[2Jb\\r\\n\\ \\u{202e}x\\u{7}"
        );
        let long = shown(&"x".repeat(1_000));
        assert_eq!(long.chars().count(), TEXT_MAX + 1);
        assert!(long.ends_with('…'));
    }

    #[test]
    fn ages_are_rough() {
        for (seconds, text) in [(0, "0s"), (119, "119s"), (120, "2m"), (7_200, "2h")] {
            assert_eq!(ago(seconds * 1_000, 0), text);
        }
        assert_eq!(ago(172_800_000, 0), "2d");
        assert_eq!(ago(0, 5_000), "0s", "a clock set back is no panic");
    }
}
