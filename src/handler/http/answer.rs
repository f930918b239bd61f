//! What an HTTP answer says of a run.

use crate::handler::{AFTER_MAX, Answer, Failure, FailureKind, excerpt};
use hyper::{
    StatusCode,
    header::{HeaderMap, RETRY_AFTER},
};
use serde_json::Value;
use std::time::{Duration, SystemTime};

pub(super) fn classified(status: StatusCode, text: String) -> Failure {
    match status.as_u16() {
        429 | 502 | 503 => Failure::target(text),
        408 | 425 | 500..=599 => Failure::retry(text),
        _ => Failure::reject(text),
    }
}

/// Of a longer run nobody knows which record it was, unless the target is to blame.
pub(super) fn failed(records: usize, failure: Failure) -> Answer {
    let of_a_record = matches!(failure.kind, FailureKind::Retry | FailureKind::Reject);
    let kind = if records > 1 && of_a_record {
        FailureKind::Unattributed
    } else {
        failure.kind
    };
    Answer::failed(Failure { kind, ..failure })
}

/// The body of a 2xx; other fields than ours are the target's own business.
pub(super) fn read_answer(body: &[u8], records: usize) -> Result<Answer, String> {
    if body.trim_ascii().is_empty() {
        return Ok(Answer::all(records));
    }
    read_fields(body, records).map_err(|why| format!("{why}: `{}`", excerpt(body, 200)))
}

fn read_fields(body: &[u8], records: usize) -> Result<Answer, String> {
    let mut value: Value = serde_json::from_slice(body)
        .map_err(|error| format!("its body is not the JSON that it claims to be: {error}"))?;
    let Some(fields) = value.as_object_mut() else {
        return Ok(Answer::all(records));
    };
    let done = match fields.get("done") {
        None | Some(Value::Null) => records,
        Some(done) => done
            .as_u64()
            .and_then(|done| usize::try_from(done).ok())
            // An empty prefix would be run again at once, for ever.
            .filter(|done| (1..=records).contains(done))
            .ok_or_else(|| {
                format!("its `done` is not 1 to {records}: how many from the first on")
            })?,
    };
    let effects = fields
        .remove("effects")
        .filter(|effects| !effects.is_null());
    Answer::from_json(records, done, None, effects)
}

/// Seconds, or an HTTP date.
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Duration {
    let Some(text) = headers.get(RETRY_AFTER).and_then(|text| text.to_str().ok()) else {
        return Duration::ZERO;
    };
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Duration::from_secs(seconds).min(AFTER_MAX);
    }
    httpdate::parse_http_date(text)
        .ok()
        .and_then(|date| date.duration_since(now).ok())
        .map_or(Duration::ZERO, |after| after.min(AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effect::Effect;

    fn read(body: &str, records: usize) -> Result<(usize, Vec<(usize, Effect)>), String> {
        read_answer(body.as_bytes(), records).map(|answer| {
            assert!(answer.failure.is_none());
            (answer.done, answer.effects)
        })
    }

    #[test]
    fn statuses_say_who_is_to_blame() {
        let kind = |status| {
            let status = StatusCode::from_u16(status).expect("a status");
            classified(status, String::new()).kind
        };
        for status in [429, 502, 503] {
            assert_eq!(kind(status), FailureKind::Target, "{status}");
        }
        for status in [408, 425, 500, 501, 504, 599] {
            assert_eq!(kind(status), FailureKind::Retry, "{status}");
        }
        for status in [
            300, 301, 302, 304, 307, 308, 400, 401, 404, 409, 410, 413, 422,
        ] {
            assert_eq!(kind(status), FailureKind::Reject, "{status}");
        }
    }

    #[test]
    fn in_a_longer_run_only_the_target_can_be_blamed() {
        let kind = |records, failure| failed(records, failure).failure.map(|f| f.kind);
        assert_eq!(kind(1, Failure::reject("")), Some(FailureKind::Reject));
        assert_eq!(
            kind(2, Failure::reject("")),
            Some(FailureKind::Unattributed)
        );
        assert_eq!(kind(2, Failure::retry("")), Some(FailureKind::Unattributed));
        assert_eq!(kind(2, Failure::target("")), Some(FailureKind::Target));
    }

    #[test]
    fn bodies_may_say_how_many_and_what_to_write() {
        assert_eq!(read("", 3), Ok((3, vec![])));
        assert_eq!(read(" \n", 3), Ok((3, vec![])));
        assert_eq!(read("{\"ok\": true}", 3), Ok((3, vec![])));
        assert_eq!(read("\"thanks\"", 3), Ok((3, vec![])));
        assert_eq!(read("{\"done\": 2}", 3), Ok((2, vec![])));
        let body = r#"{"effects": [{"record": 1, "add": {"table": "t", "key": "k", "by": 1}}]}"#;
        assert_eq!(read(body, 2), Ok((2, vec![(1, Effect::add("t", "k", 1))])));
    }

    #[test]
    fn bodies_that_cannot_be_meant_are_errors() {
        for (body, expected) in [
            ("{\"done\": 2", "not the JSON that it claims to be"),
            ("{\"done\": 0}", "`done` is not 1 to 3"),
            ("{\"done\": 4}", "`done` is not 1 to 3"),
            ("{\"done\": true}", "`done` is not 1 to 3"),
            ("{\"effects\": [{\"put\": {}}]}", "missing field `record`"),
        ] {
            let error = read(body, 3).expect_err("malformed");
            assert!(error.contains(expected), "`{error}` lacks `{expected}`");
            assert!(error.contains(body), "`{error}` lacks `{body}`");
        }
    }

    #[test]
    fn retry_after_has_two_forms() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").expect("a date");
        let after = |text: &'static str| {
            let text = hyper::header::HeaderValue::from_static(text);
            retry_after(&HeaderMap::from_iter([(RETRY_AFTER, text)]), now)
        };
        assert_eq!(after("120"), Duration::from_secs(120));
        assert_eq!(after("18446744073709551615"), AFTER_MAX);
        assert_eq!(
            after("Sun, 06 Nov 1994 08:50:37 GMT"),
            Duration::from_secs(60)
        );
        assert_eq!(
            after("Sunday, 06-Nov-94 08:50:37 GMT"),
            Duration::from_secs(60)
        );
        assert_eq!(after("Sun, 06 Nov 1994 08:49:00 GMT"), Duration::ZERO);
        for nonsense in ["", "soon", "-5", "1e3", "99999999999999999999999"] {
            assert_eq!(after(nonsense), Duration::ZERO, "{nonsense}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), Duration::ZERO);
    }
}
