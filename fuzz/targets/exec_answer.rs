//! Whatever a child prints: an answer or a refusal. It counts as done only if it says so, in full, of
//! the records that were sent.
#![no_main]

use lanekeeper::{Answer, handler::exec::protocol::decode};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const ID: &str = "orders/t/0/7/2";
/// What an operator is shown of a bad line or a failure, with room for what stands around it.
const SHOWN_BYTES_MAX: usize = 32 * 1024;

fuzz_target!(|input: &[u8]| {
    let Some((records, line)) = input.split_first() else {
        return;
    };
    let records = 1 + usize::from(records % 4);
    match decode(line, ID, records) {
        Ok(answer) => sound(&answer, line, records),
        Err(refusal) => harmless(&refusal.to_string()),
    }
});

fn sound(answer: &Answer, line: &[u8], records: usize) {
    // Read a second time, by other means. Twice the same field is no answer, and here the last would
    // count: so what is read here is what the line says.
    let said: Value = serde_json::from_slice(line).expect("an answer is JSON");
    let said = said.as_object().expect("an answer is an object");
    let known = [
        "id", "status", "error", "after_ms", "blame", "done", "effects",
    ];
    assert!(said.keys().all(|field| known.contains(&field.as_str())));
    assert_eq!(said["id"], ID);
    let field = |name: &str| said.get(name).filter(|value| !value.is_null());
    let effects = field("effects").map_or(0, |list| list.as_array().map_or(0, Vec::len));

    assert!(answer.done <= records);
    assert!(answer.effects.iter().all(|(of, _)| *of < answer.done));
    assert!(answer.effects.is_sorted_by_key(|(of, _)| *of));
    match (&answer.failure, said["status"].as_str().expect("a text")) {
        (None, "done") => {
            let done = field("done").map_or(records, |k| k.as_u64().expect("a number") as usize);
            assert_eq!(answer.done, done);
            assert!(done >= 1);
            assert_eq!(answer.effects.len(), effects);
            assert_eq!(field("error"), None);
        }
        (Some(failure), "done" | "retry" | "reject") => {
            harmless(&failure.error);
            assert!(answer.done < records);
            // A `done` is turned into a failure by a malformed effect alone.
            assert!(said["status"] != "done" || answer.effects.len() < effects);
        }
        (failure, status) => panic!("`{status}` was read as {failure:?}"),
    }
}

/// What is shown to people steers no terminal, fakes no lines and floods no log.
fn harmless(shown: &str) {
    assert!(shown.len() <= SHOWN_BYTES_MAX, "{} bytes", shown.len());
    assert!(!shown.contains(char::is_control), "{shown:?}");
}
