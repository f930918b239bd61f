//! Whatever a handler gives as effects: all of them are taken, as they stand, or it is said whose is
//! malformed, and only what lies before that is taken.
#![no_main]

use lanekeeper::{
    Answer,
    effect::{Effect, parse},
};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

fuzz_target!(|input: &[u8]| {
    let Some((records, text)) = input.split_first() else {
        return;
    };
    let records = 1 + usize::from(records % 4);
    let Ok(list) = serde_json::from_slice::<Value>(text) else {
        return;
    };
    let given = list.as_array().map_or(0, Vec::len);
    match Answer::from_json(records, records, None, Some(list.clone())) {
        Ok(Answer { failure, .. }) => harmless(failure.map_or_else(String::new, |f| f.error)),
        Err(error) => harmless(error),
    }
    let alone = each_alone(&list, records);
    match parse(list, records) {
        Ok(effects) => {
            assert!(alone.is_empty(), "{alone:?} are malformed");
            assert_eq!(effects.len(), given);
            sound(&effects, records, records);
        }
        Err(error) => {
            assert!(error.before.len() <= given);
            // Whose cannot be told comes first, else the first record's.
            assert_eq!(Some(error.record), alone.iter().min().copied());
            sound(&error.before, records, error.record.unwrap_or(0));
        }
    }
});

/// Whose effects are malformed, each item of the list read by itself.
fn each_alone(list: &Value, records: usize) -> Vec<Option<usize>> {
    let only = (records == 1).then_some(0);
    let Value::Array(items) = list else {
        return vec![only];
    };
    let alone = |item: &Value| parse(json!([item]), records).err().map(|e| e.record);
    items.iter().filter_map(alone).collect()
}

/// What is shown to people steers no terminal, fakes no lines and floods no log.
fn harmless(shown: String) {
    assert!(shown.len() <= 32 * 1024, "{} bytes", shown.len());
    assert!(!shown.contains(char::is_control), "{shown:?}");
}

/// In order, of the records before `below`, and the same when they are written and read again.
fn sound(effects: &[(usize, Effect)], records: usize, below: usize) {
    assert!(below <= records);
    assert!(effects.iter().all(|(of, _)| *of < below));
    assert!(effects.is_sorted_by_key(|(of, _)| *of));
    let written: Vec<Value> = effects
        .iter()
        .map(|(of, effect)| {
            assert_eq!(effect.check(), Ok(()));
            let mut written = serde_json::to_value(effect).expect("any effect can be written");
            written["record"] = json!(of);
            written
        })
        .collect();
    let read = parse(Value::Array(written), records);
    assert_eq!(read.as_deref(), Ok(effects));
}
