//! Whatever a child prints: an answer or a refusal. It counts as done only if it says so, in full, of
//! the records that were sent.
#![no_main]

use lanekeeper::{Answer, handler::exec::protocol::decode};
use libfuzzer_sys::{
    arbitrary::{self, Arbitrary, Unstructured},
    fuzz_target,
};
use serde_json::{Map, Value, json};

const ID: &str = "orders/t/0/7/2";
/// What an operator is shown of a bad line or a failure, with room for what stands around it.
const SHOWN_BYTES_MAX: usize = 32 * 1024;

/// A line that is JSON with the fields of an answer: few random bytes are.
#[derive(Arbitrary, Debug)]
struct Said {
    is_of_this_call: bool,
    status: u8,
    done: Option<u8>,
    error: Option<String>,
    after_ms: Option<u64>,
    blames_the_target: bool,
    /// Of each effect its record, and whether it is sound.
    effects: Option<Vec<(Option<u8>, bool)>>,
    unknown: Option<String>,
}

fuzz_target!(|input: &[u8]| {
    let Some((records, rest)) = input.split_first() else {
        return;
    };
    let is_raw = records & 0x80 == 0;
    let records = 1 + usize::from(records % 4);
    if is_raw {
        read(rest, records);
    } else if let Ok(said) = Said::arbitrary(&mut Unstructured::new(rest)) {
        read(said.line().to_string().as_bytes(), records);
    }
});

impl Said {
    fn line(&self) -> Value {
        let mut line = Map::new();
        let mut add = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                line.insert(name.to_owned(), value);
            }
        };
        let statuses = ["done", "retry", "reject", "Done"];
        add(
            "id",
            Some(json!(if self.is_of_this_call { ID } else { "" })),
        );
        add(
            "status",
            Some(json!(statuses[usize::from(self.status % 4)])),
        );
        add("done", self.done.map(|done| json!(done % 8)));
        add("error", self.error.as_ref().map(|error| json!(error)));
        add("after_ms", self.after_ms.map(|after| json!(after)));
        add("blame", self.blames_the_target.then(|| json!("target")));
        let effects = self.effects.as_ref().map(|all| {
            let effect = |(record, is_sound): &(Option<u8>, bool)| {
                let by = if *is_sound { json!(1) } else { json!("1") };
                let mut effect = json!({"add": {"table": "t", "key": "k", "by": by}});
                if let Some(record) = record {
                    effect["record"] = json!(record % 8);
                }
                effect
            };
            all.iter().map(effect).collect()
        });
        add("effects", effects);
        if let Some(unknown) = &self.unknown {
            add(unknown, Some(json!(null)));
        }
        Value::Object(line)
    }
}

fn read(line: &[u8], records: usize) {
    match decode(line, ID, records) {
        Ok(answer) => sound(&answer, line, records),
        Err(refusal) => harmless(&refusal.to_string()),
    }
}

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
