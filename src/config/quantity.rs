//! Durations and sizes with units, read and written.

use jiff::{Span, SpanRelativeTo};
use std::time::Duration;

/// No duration of the configuration exceeds this: sums of a few of them cannot overflow.
const DURATION_MAX: Duration = Duration::from_hours(24 * 366);

/// What a duration looks like, for messages.
pub(super) const DURATION_FORM: &str = "a duration with its unit (`ms`, `s`, `m`, `h` or `d`), such as \"200ms\", \"30s\" or \"1m 30s\"";

/// What a size looks like, for messages.
pub(super) const SIZE_FORM: &str =
    "a size with its unit (`B`, `KiB`, `MiB`, `GiB`, `KB`, `MB` or `GB`), such as \"256MiB\"";

/// Reads `30s`, `200ms`, `1h 30m`, `7d`; a day has 24 hours.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let span: Span = text.parse().ok()?;
    let signed = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    let duration = Duration::try_from(signed).ok()?;
    (duration <= DURATION_MAX).then_some(duration)
}

/// Reads `256MiB`, `10 MB`, `512B`; in bytes.
pub(super) fn size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim() {
        "B" => 1,
        "KB" | "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// The shortest exact text of a duration: `1m 30s`, `200ms`, `0s`.
pub fn duration_text(duration: Duration) -> String {
    let mut parts = Vec::new();
    let seconds = duration.as_secs();
    for (count, unit) in [
        (seconds / 86_400, "d"),
        (seconds / 3_600 % 24, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
        (u64::from(duration.subsec_millis()), "ms"),
        (u64::from(duration.subsec_micros() % 1_000), "us"),
    ] {
        if count > 0 {
            parts.push(format!("{count}{unit}"));
        }
    }
    if parts.is_empty() {
        return "0s".to_owned();
    }
    parts.join(" ")
}

/// The shortest exact text of a size: `256MiB`, `1000B`.
pub fn size_text(bytes: u64) -> String {
    for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if bytes > 0 && bytes.trailing_zeros() >= shift {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    format!("{bytes}B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        for (text, millis) in [
            ("30s", 30_000),
            ("200ms", 200),
            ("1m 30s", 90_000),
            ("1m30s", 90_000),
            ("7d", 604_800_000),
            ("0s", 0),
            ("1.5s", 1_500),
        ] {
            assert_eq!(
                duration(text),
                Some(Duration::from_millis(millis)),
                "{text}"
            );
        }
        for text in [
            "",
            "30",
            "-1s",
            "30 parsecs",
            "s",
            "1y",
            "1mo",
            "1s ago",
            "9999999d",
            "1e9s",
        ] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_need_a_unit() {
        for (text, bytes) in [
            ("256MiB", 256 << 20),
            ("1 GiB", 1 << 30),
            ("10MB", 10_000_000),
            ("512B", 512),
        ] {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for text in ["", "256", "MiB", "1.5GiB", "-1B", "1 TiB", "99999999999GiB"] {
            assert_eq!(size(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        for millis in [
            0, 1, 200, 999, 1_000, 30_000, 90_000, 86_400_000, 90_061_001,
        ] {
            let value = Duration::from_millis(millis);
            assert_eq!(duration(&duration_text(value)), Some(value));
        }
        for bytes in [0, 1, 1_000, 1 << 10, 256 << 20, 3 << 30] {
            assert_eq!(size(&size_text(bytes)), Some(bytes));
        }
    }
}
