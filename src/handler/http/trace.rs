//! What ties a request to a trace: the W3C context that came with the record, and Amazon's of the record or of
//! the function's invocation. Only what is well-formed goes on: a receiver would have to throw the rest away.

use crate::{handler::trace_id, record::Record};

/// The header that a message of SQS brings its X-Ray trace in.
const OF_RECORD: &str = "AWSTraceHeader";

/// Bytes of a `traceparent` of version 00.
const PARENT_BYTES: usize = 55;

/// Most bytes of what else is passed on.
const BYTES_MAX: usize = 1024;

/// W3C `traceparent` and `tracestate` of a record; the latter says nothing alone.
pub(super) fn context(record: &Record) -> (Option<&str>, Option<&str>) {
    let parent = header(record, "traceparent").filter(|text| is_parent(text));
    let state = header(record, "tracestate").filter(|_| parent.is_some());
    (parent, state)
}

/// X-Ray's trace of a record that is alone in its request: its own goes on where it has one. `None`: there is
/// neither one of the record nor of the invocation.
pub(super) fn amazon(record: Option<&Record>) -> Option<String> {
    let own = record.and_then(|record| header(record, OF_RECORD));
    own.map(str::to_owned)
        .or_else(|| trace_id().map(|trace| trace.to_string()))
}

fn header<'a>(record: &'a Record, wanted: &str) -> Option<&'a str> {
    let mut headers = record.headers();
    let (_, value) = headers.find(|(name, _)| name.eq_ignore_ascii_case(wanted))?;
    let text = str::from_utf8(value).ok()?;
    let is_visible = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    (is_visible && !text.is_empty() && text.len() <= BYTES_MAX).then_some(text)
}

/// `{version}-{trace id}-{parent id}-{flags}`, of version 00, or of a later one that begins so.
fn is_parent(text: &str) -> bool {
    let bytes = text.as_bytes();
    let Some((known, more)) = bytes.split_at_checked(PARENT_BYTES) else {
        return false;
    };
    let is_hex = |bytes: &[u8]| {
        let mut bytes = bytes.iter();
        bytes.all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_said = |bytes: &[u8]| is_hex(bytes) && bytes.iter().any(|byte| *byte != b'0');
    let has_dashes = [2, 35, 52].iter().all(|at| known[*at] == b'-');
    let (version, flags) = (&known[..2], &known[53..]);
    let ends = more.is_empty() || (version != b"00" && more[0] == b'-');
    let is_known = is_hex(version) && version != b"ff" && is_hex(flags);
    has_dashes && ends && is_known && is_said(&known[3..35]) && is_said(&known[36..52])
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_is_passed_on_where_it_is_one() {
        let later = PARENT.replacen("00", "01", 1);
        for sound in [PARENT, &later, &format!("{later}-more")] {
            assert!(is_parent(sound), "{sound}");
        }
        for broken in [
            "",
            "00",
            &PARENT[1..],
            &PARENT.to_uppercase(),
            &format!("{PARENT}-more"),
            &format!("{later}more"),
            &PARENT.replacen("00", "ff", 1),
            &PARENT.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &PARENT.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &PARENT.replace('-', "_"),
            &PARENT.replace('4', "ä"),
        ] {
            assert!(!is_parent(broken), "{broken}");
        }
    }
}
