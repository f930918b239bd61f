//! What must hold of the calls of a scenario, whatever happened in it.

use crate::target::Call;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What is asked of the books beside order.
#[derive(Clone, Copy, Default)]
pub(crate) struct Rules {
    /// Calls that may come after a record's first success: what was in flight or not flushed at a kill,
    /// or ran in two instances at once.
    pub(crate) repeats_max: usize,
    /// Two instances had one shard: a record may run in both at once.
    pub(crate) is_doubled: bool,
}

/// Holds the books against what was put: key and text of each record, in order. Gives how many calls were
/// repeats.
///
/// Of each key: records begin for the first time in order, none before the one before it was done, no two
/// calls at once; each was done; few after that.
pub(crate) fn audit(calls: &[Call], put: &[(String, String)], rules: Rules) -> usize {
    let mut lanes: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (key, text) in put {
        lanes.entry(key).or_default().push(text);
    }
    let known: BTreeSet<&str> = put.iter().map(|(_, text)| text.as_str()).collect();
    let strange = calls
        .iter()
        .find(|call| !known.contains(call.text.as_str()));
    assert!(strange.is_none(), "nobody put {strange:?}");
    let mut ids = HashMap::new();
    for call in calls {
        let id = ids.entry(&call.text).or_insert(&call.id);
        assert_eq!(*id, &call.id, "a record has one id, whatever delivers it");
    }
    let mut repeats = 0;
    for (key, texts) in &lanes {
        let own: Vec<&Call> = calls.iter().filter(|call| call.key == *key).collect();
        audit_order(key, texts, &own);
        if !rules.is_doubled {
            audit_alone(&own);
        }
        repeats += count_repeats(&own);
    }
    assert!(
        repeats <= rules.repeats_max,
        "{repeats} calls came after a success, of {} at most",
        rules.repeats_max
    );
    repeats
}

fn audit_order(key: &str, texts: &[&str], calls: &[&Call]) {
    let mut before = None;
    for text in texts {
        let first = calls.iter().find(|call| call.text == *text);
        let Some(first) = first else {
            unreachable!("`{text}` of `{key}` was never called");
        };
        let done = calls.iter().filter(|c| c.text == *text && c.is_done);
        let done = done.filter_map(|call| call.ended).min();
        let Some(done) = done else {
            unreachable!("`{text}` of `{key}` was never done");
        };
        assert!(
            before.is_none_or(|before| first.began >= before),
            "`{text}` of `{key}` began before what is before it was done"
        );
        before = Some(done);
    }
}

/// No two calls of one key at once.
fn audit_alone(calls: &[&Call]) {
    for pair in calls.windows(2) {
        let [one, other] = pair else { continue };
        assert!(
            one.ended.is_some_and(|ended| ended <= other.began),
            "two calls of one key at once: {one:?} and {other:?}"
        );
    }
}

/// Calls that began after their record was done.
fn count_repeats(calls: &[&Call]) -> usize {
    let mut done = HashMap::new();
    let mut repeats = 0;
    for call in calls {
        let text = call.text.as_str();
        if done.get(text).is_some_and(|ended| *ended <= call.began) {
            repeats += 1;
        }
        if let (true, Some(ended)) = (call.is_done, call.ended) {
            let first = done.entry(text).or_insert(ended);
            *first = ended.min(*first);
        }
    }
    repeats
}

/// The most calls that were under way at a time.
pub(crate) fn at_once_most(calls: &[Call]) -> usize {
    let at = |call: &Call| {
        let is_out = |other: &&Call| {
            other.began <= call.began && other.ended.is_none_or(|ended| ended > call.began)
        };
        calls.iter().filter(is_out).count()
    };
    calls.iter().map(at).max().unwrap_or(0)
}
