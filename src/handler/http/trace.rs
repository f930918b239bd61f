//! What ties a request to a trace: the W3C context that came with the record, and Amazon's of the record or of
//! the function's invocation. Only what is well-formed goes on: a receiver would have to throw the rest away.

use crate::{handler::trace_id, record::Record};
use std::collections::HashSet;

/// The header that a message of SQS brings its X-Ray trace in.
const OF_RECORD: &str = "AWSTraceHeader";

/// Bytes of a `traceparent` of version 00.
const PARENT_BYTES: usize = 55;

/// Most members of a `tracestate`.
const MEMBERS_MAX: usize = 32;

/// Most bytes of a member's key, and of its value.
const MEMBER_BYTES_MAX: usize = 256;

/// Most bytes of what else is passed on.
const BYTES_MAX: usize = 1024;

/// W3C `traceparent` and `tracestate` of a record; the latter says nothing alone.
pub(super) fn context(record: &Record) -> (Option<&str>, Option<String>) {
    let parent = header(record, "traceparent").filter(|text| is_parent(text));
    let state = parent.and_then(|_| state(record));
    (parent, state)
}

/// The members of all of a record's `tracestate`, in order; one that is none makes the whole none.
fn state(record: &Record) -> Option<String> {
    let mut keys = HashSet::new();
    let mut state = String::new();
    let named = record.headers().filter(|(name, _)| is(name, "tracestate"));
    for (_, value) in named {
        for member in str::from_utf8(value).ok()?.split(',') {
            let member = member.trim_matches([' ', '\t']);
            if member.is_empty() {
                continue;
            }
            let (key, value) = member.split_once('=')?;
            if !is_key(key) || !is_value(value) || !keys.insert(key) {
                return None;
            }
            if !state.is_empty() {
                state.push(',');
            }
            state.push_str(member);
        }
    }
    let is_sound = (1..=MEMBERS_MAX).contains(&keys.len()) && state.len() <= BYTES_MAX;
    is_sound.then_some(state)
}

fn is_key(text: &str) -> bool {
    let is_first = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let mut bytes = text.bytes();
    bytes.next().is_some_and(is_first)
        && text.len() <= MEMBER_BYTES_MAX
        && bytes.all(|byte| is_first(byte) || b"_-*/@".contains(&byte))
}

fn is_value(text: &str) -> bool {
    let mut bytes = text.bytes();
    (1..=MEMBER_BYTES_MAX).contains(&text.len())
        && bytes.all(|byte| matches!(byte, b' '..=b'~') && byte != b'=')
}

/// X-Ray's trace of a record that is alone in its request: its own goes on where it has one. `None`: there is
/// neither one of the record nor of the invocation.
pub(super) fn amazon(record: Option<&Record>) -> Option<String> {
    let own = record.and_then(|record| header(record, OF_RECORD));
    let own = own.filter(|text| text.split(';').any(is_root));
    own.map(str::to_owned)
        .or_else(|| trace_id().map(|trace| trace.to_string()))
}

fn header<'a>(record: &'a Record, wanted: &str) -> Option<&'a str> {
    let mut headers = record.headers();
    let (_, value) = headers.find(|(name, _)| is(name, wanted))?;
    let text = str::from_utf8(value).ok()?;
    let is_visible = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    (is_visible && !text.is_empty() && text.len() <= BYTES_MAX).then_some(text)
}

fn is(name: &str, wanted: &str) -> bool {
    name.eq_ignore_ascii_case(wanted)
}

/// `Root=1-{8 hex digits}-{24 hex digits}`, without which X-Ray does not know the trace.
fn is_root(part: &str) -> bool {
    let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let id = part.trim().strip_prefix("Root=1-");
    let parts = id.and_then(|id| id.split_once('-'));
    parts.is_some_and(|(time, id)| (time.len(), id.len()) == (8, 24) && is_hex(time) && is_hex(id))
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

    #[test]
    fn a_root_is_x_ray_s_or_none() {
        for sound in [
            "Root=1-5759e988-bd862e3fe1be46a994272793",
            " Root=1-5759E988-BD862E3FE1BE46A994272793 ",
        ] {
            assert!(is_root(sound), "{sound}");
        }
        for broken in [
            "",
            "Root=1-own",
            "Self=1-5759e988-bd862e3fe1be46a994272793",
            "Root=2-5759e988-bd862e3fe1be46a994272793",
            "Root=1-5759e988-bd862e3fe1be46a99427279",
            "Root=1-5759e98-8bd862e3fe1be46a994272793",
            "Root=1-5759e988-bd862e3fe1be46a99427279x",
        ] {
            assert!(!is_root(broken), "{broken}");
        }
    }

    #[test]
    fn a_member_has_a_key_and_a_value() {
        let long = "x".repeat(MEMBER_BYTES_MAX);
        for sound in ["a", "0tenant@system", "a_b-c*d/e", &long] {
            assert!(is_key(sound), "{sound}");
        }
        for broken in ["", "A", "_a", "a b", "ä", &format!("{long}x")] {
            assert!(!is_key(broken), "{broken}");
        }
        for sound in ["1", "a b", "t:61;s:1", &long] {
            assert!(is_value(sound), "{sound}");
        }
        for broken in ["", "a=b", "\u{7f}", "a\tb", "ä", &format!("{long}x")] {
            assert!(!is_value(broken), "{broken}");
        }
    }
}
