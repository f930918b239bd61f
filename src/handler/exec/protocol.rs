//! What goes over a worker's pipes: a line of JSON in, a line of JSON out.
//!
//! **In**, for one record:
//! `{"id", "source", "partition", "position", "key", "value", "headers", "timestamp", "attempt", "generation"}`.
//! - `id` is the same at every try: an idempotency key.
//! - `position` is a string, since numbers of that length lose digits in many readers.
//! - `key` and `value` are text as it came, never parsed; what is not UTF-8 comes as `key_base64` and
//!   `value_base64`. A record without key or without value has neither form.
//! - `headers` are pairs `[name, text]`, or `[name, {"base64": …}]`.
//! - `timestamp` is in milliseconds since 1970, absent where the source has none.
//! - `attempt` counts from 1.
//! - `trace_id`, in a function: the X-Ray trace of its invocation, absent where there is none.
//!
//! With `records_per_call` above 1 every line is an array of such objects, also when it holds one:
//! consecutive records of one lane, to be applied in order up to the first failure.
//!
//! **Out**: `{"id", "status", "error"?, "after_ms"?, "blame"?, "done"?, "effects"?}`, on one line, with
//! the `id` of the call's first record, and nothing else.
//! - `status`: `done`, `retry` (try again later) or `reject` (no try will ever succeed); the latter two
//!   with a text in `error`.
//! - `after_ms`: of a `retry`, not before that.
//! - `blame`: of a `retry`, `"target"` when something that the worker depends on is at fault, not the
//!   record: it uses up no attempt.
//! - `done`, of an array: with `retry` and `reject` the index of the record that failed, from 0: all
//!   before it are done; left out, it is the first. With `done` how many are done, at least one: what
//!   follows comes again; left out, all are.
//! - `effects`: written together with the checkpoint. In an array each names its record by
//!   `"record": k`, which must be done.

use crate::{
    handler::{AFTER_MAX, Answer, ERROR_CHARS_MAX, Failure, excerpt, trace_id},
    position::Position,
    record::{Record, Run},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, time::Duration};

/// Most characters of a line that an error message shows.
const SHOWN_CHARS: usize = 200;

#[derive(Serialize)]
struct Call<'a> {
    id: String,
    source: &'a str,
    partition: &'a str,
    position: &'a Position,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    headers: Vec<(&'a str, HeaderValue<'a>)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<i64>,
    attempt: u32,
    generation: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum HeaderValue<'a> {
    Text(&'a str),
    Binary { base64: String },
}

impl<'a> Call<'a> {
    fn new(record: &'a Record, attempt: u32, trace_id: Option<&'a str>) -> Self {
        let assignment = record.assignment();
        let (key, key_base64) = text_or_base64(record.key());
        let (value, value_base64) = text_or_base64(record.value());
        Self {
            id: record.id(),
            source: &assignment.name.source,
            partition: &assignment.name.partition,
            position: record.position(),
            key,
            key_base64,
            value,
            value_base64,
            headers: record
                .headers()
                .map(|(name, value)| (name, header_value(value)))
                .collect(),
            timestamp: record.timestamp(),
            attempt,
            generation: assignment.generation,
            trace_id,
        }
    }
}

fn text_or_base64(bytes: Option<&[u8]>) -> (Option<&str>, Option<String>) {
    match bytes.map(|bytes| (str::from_utf8(bytes), bytes)) {
        None => (None, None),
        Some((Ok(text), _)) => (Some(text), None),
        Some((Err(_), bytes)) => (None, Some(STANDARD.encode(bytes))),
    }
}

fn header_value(bytes: &[u8]) -> HeaderValue<'_> {
    match str::from_utf8(bytes) {
        Ok(text) => HeaderValue::Text(text),
        Err(_) => HeaderValue::Binary {
            base64: STANDARD.encode(bytes),
        },
    }
}

/// The line for a run, with its end: an object, or with `array` an array of objects.
///
/// # Errors
/// When the run cannot be written as JSON; no run is known to do that.
pub fn encode(run: &Run, array: bool) -> Result<Vec<u8>, serde_json::Error> {
    let trace = trace_id();
    let trace = trace.as_deref();
    let weight: usize = run.records().iter().map(Record::bytes).sum();
    let mut line = Vec::with_capacity(weight + run.records().len() * 256);
    if array {
        // Only a lane's head can have been tried before, so all others are at their first attempt.
        let calls: Vec<Call<'_>> = (run.records().iter().enumerate())
            .map(|(i, record)| Call::new(record, if i == 0 { run.attempt() } else { 1 }, trace))
            .collect();
        serde_json::to_writer(&mut line, &calls)?;
    } else {
        serde_json::to_writer(&mut line, &Call::new(run.first(), run.attempt(), trace))?;
    }
    line.push(b'\n');
    Ok(line)
}

/// A line that is no answer to the call.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the worker printed a line that is no answer: {why}: `{line}`")]
pub struct BadLine {
    /// What is wrong with it.
    pub why: String,
    /// Its start, safe to show.
    pub line: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reply<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    status: Status,
    error: Option<String>,
    after_ms: Option<u64>,
    blame: Option<Blame>,
    done: Option<usize>,
    effects: Option<serde_json::Value>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Done,
    Retry,
    Reject,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Blame {
    Target,
}

/// Reads the answer to a run of `records` whose first one has this id. `line` is without its end.
///
/// # Errors
/// When it is anything else: no JSON, a field that is unknown, lacks or has the wrong type, another
/// id, or fields that contradict each other. It never panics, whatever the bytes.
pub fn decode(line: &[u8], id: &str, records: usize) -> Result<Answer, BadLine> {
    // Names of fields in it are the worker's own.
    let bad = |why: String| BadLine {
        why: excerpt(why.as_bytes(), ERROR_CHARS_MAX),
        line: excerpt(line, SHOWN_CHARS),
    };
    let reply: Reply<'_> = serde_json::from_slice(line).map_err(|e| bad(e.to_string()))?;
    if reply.id != id {
        let other = excerpt(reply.id.as_bytes(), SHOWN_CHARS);
        return Err(bad(format!("its id is `{other}`, the call's is `{id}`")));
    }
    let (done, failure) = outcome(&reply, records).map_err(bad)?;
    Answer::from_json(records, done, failure, reply.effects).map_err(bad)
}

fn outcome(reply: &Reply<'_>, records: usize) -> Result<(usize, Option<Failure>), String> {
    if reply.status != Status::Retry && (reply.after_ms.is_some() || reply.blame.is_some()) {
        return Err("`after_ms` and `blame` go with the status `retry` only".to_owned());
    }
    let error = match reply.error.as_deref() {
        None | Some("") => Cow::Borrowed("the worker gave no `error`"),
        Some(text) => Cow::Owned(excerpt(text.as_bytes(), ERROR_CHARS_MAX)),
    };
    let failure = match reply.status {
        Status::Done => {
            if reply.error.is_some() {
                return Err("the status is `done`, yet there is an `error`".to_owned());
            }
            // An empty prefix would be run again at once, for ever.
            let done = reply.done.unwrap_or(records);
            if done == 0 || done > records {
                return Err(format!(
                    "the status is `done` with `done` = {done}, expected 1 to {records}: how many from the first on"
                ));
            }
            return Ok((done, None));
        }
        Status::Reject => Failure::reject(error),
        Status::Retry => Failure {
            after: Duration::from_millis(reply.after_ms.unwrap_or(0)).min(AFTER_MAX),
            ..match reply.blame {
                Some(Blame::Target) => Failure::target(error),
                None => Failure::retry(error),
            }
        },
    };
    let done = reply.done.unwrap_or(0);
    if done >= records {
        return Err(format!(
            "`done` = {done} names the failed record, expected 0 to {}",
            records.saturating_sub(1)
        ));
    }
    Ok((done, Some(failure)))
}

#[cfg(test)]
mod tests;
