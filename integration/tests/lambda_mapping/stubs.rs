//! Functions that do as they are told.

use lanekeeper_integration::{
    lambda::{Clock, Function, Outcome},
    scene::eventually,
};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

/// A function that answers each event like this, whatever it is.
pub(crate) fn answering(answer: &'static str) -> Function {
    Function::stub(move |_| Outcome::text(answer))
}

/// A function that throws.
pub(crate) fn throwing() -> Function {
    Function::stub(|_| Outcome::error("division by zero"))
}

/// A function that answers once so many of its invocations have begun.
pub(crate) fn meeting(wanted: u32) -> Function {
    let begun = AtomicU32::new(0);
    Function::stub(move |_| {
        begun.fetch_add(1, Ordering::Relaxed);
        eventually("the others", || Ok(begun.load(Ordering::Relaxed) >= wanted)).unwrap();
        Outcome::text("null")
    })
}

/// A function whose first invocation lets this time pass; then it waits until so many have begun.
pub(crate) fn outlasting(clock: &Clock, time: Duration, wanted: u32) -> Function {
    let (clock, begun) = (clock.clone(), AtomicU32::new(0));
    Function::stub(move |_| {
        if begun.fetch_add(1, Ordering::Relaxed) == 0 {
            clock.pass(time);
            eventually("the others", || Ok(begun.load(Ordering::Relaxed) >= wanted)).unwrap();
        }
        Outcome::text("null")
    })
}

/// A function that reports the records of which `fails` says so, by text and by how often it saw them, this
/// time included.
pub(crate) fn reporting(fails: impl Fn(&str, u32) -> bool + Send + Sync + 'static) -> Function {
    let seen: Mutex<HashMap<String, u32>> = Mutex::default();
    Function::stub(move |event| {
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = records(event).into_iter().filter(|(_, text)| {
            let times = seen.entry(text.clone()).or_default();
            *times += 1;
            fails(text, *times)
        });
        let failed: Vec<Value> = failed
            .map(|(id, _)| json!({"itemIdentifier": id}))
            .collect();
        Outcome::json(&json!({"batchItemFailures": failed}))
    })
}

/// A function that throws when the event holds one of these.
pub(crate) fn throwing_at(poison: &'static [&'static str]) -> Function {
    Function::stub(move |event| {
        let texts = records(event).into_iter().map(|(_, text)| text);
        match texts
            .into_iter()
            .find(|text| poison.contains(&text.as_str()))
        {
            Some(text) => Outcome::error(&text),
            None => Outcome::text("null"),
        }
    })
}

/// Identifier and text of each record of an event of Kinesis or SQS.
pub(crate) fn records(event: &Value) -> Vec<(String, String)> {
    let records = event["Records"].as_array().unwrap();
    let records = records
        .iter()
        .map(|record| match record["eventSource"].as_str() {
            Some("aws:kinesis") => {
                let kinesis = &record["kinesis"];
                let data = base64(kinesis["data"].as_str().unwrap());
                (text(&kinesis["sequenceNumber"]), data)
            }
            _ => (text(&record["messageId"]), text(&record["body"])),
        });
    records.collect()
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// By its definition, and by nobody's code.
pub(crate) fn base64(encoded: &str) -> String {
    const DIGITS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = encoded.trim_end_matches('=').chars();
    let bits: Vec<u8> = digits
        .map(|digit| DIGITS.find(digit).unwrap())
        .flat_map(|digit| (0..6).rev().map(move |bit| (digit >> bit & 1) as u8))
        .collect();
    let bytes = bits
        .chunks_exact(8)
        .map(|byte| byte.iter().fold(0, |sum, bit| sum << 1 | bit));
    String::from_utf8(bytes.collect()).unwrap()
}
