//! What a mapping that reports failures makes of an answer: the recorded truth tables (K23, S6, A7).

use serde_json::Value;
use std::collections::BTreeSet;

/// How a batch fared, by its places.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Ruling {
    /// All is done.
    Success,
    /// These are not done, at least one; the others are.
    Failed(BTreeSet<usize>),
    /// Nothing counts as done: the answer makes no sense.
    Nonsense,
}

/// Rules on an answer; `place` tells which place of the batch an `itemIdentifier` names, if one.
pub(super) fn rule(body: &[u8], place: impl Fn(&Value) -> Option<usize>) -> Ruling {
    // A custom runtime may answer nothing at all (K23).
    if body.is_empty() {
        return Ruling::Success;
    }
    let Ok(answer) = serde_json::from_slice::<Value>(body) else {
        return Ruling::Nonsense;
    };
    let failures = match &answer {
        Value::Null => return Ruling::Success,
        Value::String(text) if text.is_empty() => return Ruling::Success,
        Value::Array(items) if items.is_empty() => return Ruling::Success,
        // An object without the list says nothing of failures, as the empty one.
        Value::Object(fields) => match fields.get("batchItemFailures") {
            None | Some(Value::Null) => return Ruling::Success,
            Some(failures) => failures,
        },
        Value::String(_) | Value::Array(_) | Value::Bool(_) | Value::Number(_) => {
            return Ruling::Nonsense;
        }
    };
    let Some(failures) = failures.as_array() else {
        return Ruling::Nonsense;
    };
    let places: Option<BTreeSet<usize>> = failures
        .iter()
        .map(|failure| place(failure.get("itemIdentifier")?))
        .collect();
    match places {
        None => Ruling::Nonsense,
        Some(places) if places.is_empty() => Ruling::Success,
        Some(places) => Ruling::Failed(places),
    }
}

/// The same for identifiers that are texts: sequence numbers and message ids.
pub(super) fn rule_by_id<'a>(body: &[u8], ids: impl Iterator<Item = &'a str> + Clone) -> Ruling {
    rule(body, |identifier| {
        let identifier = identifier.as_str()?;
        ids.clone().position(|id| id == identifier)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ruled(body: &str) -> Ruling {
        rule_by_id(body.as_bytes(), ["a", "b", "c"].into_iter())
    }

    #[test]
    fn k23_s6_what_says_nothing_is_success() {
        for body in [
            "",
            "\"\"",
            "[]",
            "null",
            "{}",
            r#"{"batchItemFailures":[]}"#,
            r#"{"batchItemFailures":null}"#,
        ] {
            assert_eq!(ruled(body), Ruling::Success, "{body}");
        }
    }

    #[test]
    fn k23_s6_what_names_nothing_of_the_batch_is_no_answer() {
        for item in [
            r#"{"itemIdentifier":""}"#,
            r#"{"itemIdentifier":null}"#,
            r#"{"itemIdentifier":123}"#,
            r#"{"itemIdentifier":"d"}"#,
            r#"{"foo":123}"#,
            r#"{"foo":null}"#,
            r#"{"itemIdentifier":"a"},{"itemIdentifier":"d"}"#,
        ] {
            let body = format!(r#"{{"batchItemFailures":[{item}]}}"#);
            assert_eq!(ruled(&body), Ruling::Nonsense, "{body}");
        }
        for body in ["{", "done", "\"done\"", "7", r#"{"batchItemFailures":"a"}"#] {
            assert_eq!(ruled(body), Ruling::Nonsense, "{body}");
        }
    }

    #[test]
    fn failures_are_places_of_the_batch() {
        let body = r#"{"batchItemFailures":[{"itemIdentifier":"c"},{"itemIdentifier":"b"},
                      {"itemIdentifier":"c"}]}"#;
        assert_eq!(ruled(body), Ruling::Failed(BTreeSet::from([1, 2])));
    }
}
