//! A run as an HTTP request: CloudEvents 1.0, one event in binary mode, several as a batch.

use super::{signature::Secret, trace};
use crate::record::{Record, Run};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http_body_util::Full;
use hyper::{
    Method, Request, Uri,
    body::Bytes,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, InvalidHeaderValue, USER_AGENT},
};
use serde::Serialize;
use serde_json::value::RawValue;
use std::fmt::Write as _;

const EVENT_TYPE: &str = "lanekeeper.record";
const AGENT: &str = concat!("lanekeeper/", env!("CARGO_PKG_VERSION"));

/// The request for a run: a batch where `batch`, else one event. `seconds` since 1970 go into the
/// signature.
pub(super) fn build(
    run: &Run,
    target: &Uri,
    batch: bool,
    secret: Option<&Secret>,
    seconds: u64,
) -> Result<Request<Full<Bytes>>, String> {
    let told =
        |error: &dyn std::fmt::Display| format!("no request can be made of the record: {error}");
    let mut request = Request::new(Full::default());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = target.clone();
    let headers = request.headers_mut();
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    let events: Vec<Event<'_>> = if batch {
        events(run).collect()
    } else {
        vec![Event::new(run.first(), run.attempt())]
    };
    let body = if batch {
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/cloudevents-batch+json"),
        );
        serde_json::to_vec(&events).map_err(|e| told(&e))?
    } else {
        for event in &events {
            event.put(headers).map_err(|e| told(&e))?;
        }
        run.first().value().unwrap_or_default().to_vec()
    };
    let alone = (run.records().len() == 1).then(|| run.first());
    if let Some(Ok(trace)) = trace::amazon(alone).map(HeaderValue::try_from) {
        headers.insert("x-amzn-trace-id", trace);
    }
    // A batch has a trace of each of its events.
    if let ([event], Some(_)) = (events.as_slice(), alone) {
        let state = event.tracestate.as_deref();
        let state = state.map(|state| ("tracestate", state));
        let parent = event.traceparent.map(|parent| ("traceparent", parent));
        for (name, value) in parent.into_iter().chain(state) {
            let value = HeaderValue::try_from(value).map_err(|e| told(&e))?;
            headers.insert(name, value);
        }
    }
    // The same at every try, so that the target can tell a repetition.
    let id = match run.records().len() {
        1 => escaped(run.id()),
        n => format!("{}+{n}", escaped(run.id())),
    };
    if let Some(secret) = secret {
        let signature = secret.sign(&id, seconds, &body);
        let signature = HeaderValue::try_from(signature).map_err(|e| told(&e))?;
        headers.insert("webhook-timestamp", HeaderValue::from(seconds));
        headers.insert("webhook-signature", signature);
    }
    headers.insert(
        "webhook-id",
        HeaderValue::try_from(id).map_err(|e| told(&e))?,
    );
    *request.body_mut() = Full::from(body);
    Ok(request)
}

fn events(run: &Run) -> impl Iterator<Item = Event<'_>> {
    // Only a lane's head can have been tried before, so all others are at their first attempt.
    (run.records().iter().enumerate())
        .map(|(i, record)| Event::new(record, if i == 0 { run.attempt() } else { 1 }))
}

/// A record as an event. Names of attributes are lower-case letters and digits.
#[derive(Serialize)]
struct Event<'a> {
    specversion: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    source: String,
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    datacontenttype: Option<String>,
    /// The key, where it is text (the partitioning extension of CloudEvents).
    #[serde(skip_serializing_if = "Option::is_none")]
    partitionkey: Option<&'a str>,
    /// The key, where it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    keybase64: Option<String>,
    position: String,
    attempt: u32,
    generation: String,
    /// The trace that the record came with (the distributed tracing extension of CloudEvents).
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tracestate: Option<String>,
    /// The record's own headers as JSON: `[[name, text | {"base64"}], …]`; attributes are scalars.
    #[serde(skip_serializing_if = "Option::is_none")]
    headers: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Data<'a>>,
    /// In place of `data`, where that cannot be text.
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Data<'a> {
    Json(&'a RawValue),
    Text(&'a str),
}

impl<'a> Event<'a> {
    fn new(record: &'a Record, attempt: u32) -> Self {
        let assignment = record.assignment();
        let key = record.key().map(|key| (str::from_utf8(key).ok(), key));
        let datacontenttype = content_type(record);
        let data = data(record, datacontenttype.as_deref());
        let (traceparent, tracestate) = trace::context(record);
        Self {
            specversion: "1.0",
            kind: EVENT_TYPE,
            source: escaped(&assignment.name.to_string()),
            id: record.id(),
            time: record
                .timestamp()
                .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
                .map(|time| time.to_string()),
            datacontenttype,
            partitionkey: key.and_then(|(text, _)| text),
            keybase64: key.and_then(|(text, bytes)| match text {
                Some(_) => None,
                None => Some(STANDARD.encode(bytes)),
            }),
            position: record.position().to_string(),
            attempt,
            // A string, since CloudEvents' integers have 32 bits.
            generation: assignment.generation.to_string(),
            traceparent,
            tracestate,
            headers: headers_as_json(record),
            data_base64: match data {
                Some(_) => None,
                None => record.value().map(|value| STANDARD.encode(value)),
            },
            data,
        }
    }

    /// Puts all but the data into a request.
    fn put(&self, headers: &mut HeaderMap) -> Result<(), InvalidHeaderValue> {
        for (name, value) in self.attributes() {
            let value = HeaderValue::try_from(escaped(&value))?;
            headers.insert(HeaderName::from_static(name), value);
        }
        if let Some(kind) = &self.datacontenttype {
            headers.insert(CONTENT_TYPE, HeaderValue::try_from(kind.as_str())?);
        }
        Ok(())
    }

    /// As HTTP headers; content type and data are not among them.
    fn attributes(&self) -> Vec<(&'static str, String)> {
        let optional = [
            ("ce-time", self.time.clone()),
            ("ce-partitionkey", self.partitionkey.map(str::to_owned)),
            ("ce-keybase64", self.keybase64.clone()),
            ("ce-headers", self.headers.clone()),
            ("ce-traceparent", self.traceparent.map(str::to_owned)),
            ("ce-tracestate", self.tracestate.clone()),
        ];
        let mut all = vec![
            ("ce-specversion", self.specversion.to_owned()),
            ("ce-type", self.kind.to_owned()),
            ("ce-source", self.source.clone()),
            ("ce-id", self.id.clone()),
            ("ce-position", self.position.clone()),
            ("ce-attempt", self.attempt.to_string()),
            ("ce-generation", self.generation.clone()),
        ];
        all.extend(
            (optional.into_iter()).filter_map(|(name, value)| value.map(|value| (name, value))),
        );
        all
    }
}

/// The record's own `content-type` says what it is; else the payload does.
fn content_type(record: &Record) -> Option<String> {
    let value = record.value()?;
    let named = record
        .headers()
        .find(|(name, _)| name.eq_ignore_ascii_case("content-type"))
        .and_then(|(_, value)| HeaderValue::from_bytes(value).ok())
        .and_then(|value| value.to_str().map(str::to_owned).ok())
        // In binary mode that type would say that the body is an event.
        .filter(|kind| !kind.is_empty() && !kind.starts_with("application/cloudevents"));
    Some(named.unwrap_or_else(|| {
        let kind = if serde_json::from_slice::<&RawValue>(value).is_ok() {
            "application/json"
        } else if str::from_utf8(value).is_ok() {
            "text/plain; charset=utf-8"
        } else {
            "application/octet-stream"
        };
        kind.to_owned()
    }))
}

/// What stands in a batch as it is: JSON where the type says so, text where it does not.
fn data<'a>(record: &'a Record, kind: Option<&str>) -> Option<Data<'a>> {
    let value = record.value()?;
    if is_json(kind?) {
        serde_json::from_slice(value).ok().map(Data::Json)
    } else {
        str::from_utf8(value).ok().map(Data::Text)
    }
}

/// Whether a content type is a kind of JSON.
pub(super) fn is_json(kind: &str) -> bool {
    let essence = kind.split(';').next().unwrap_or_default().trim();
    let essence = essence.to_ascii_lowercase();
    matches!(essence.as_str(), "application/json" | "text/json") || essence.ends_with("+json")
}

fn headers_as_json(record: &Record) -> Option<String> {
    let headers: Vec<serde_json::Value> = record
        .headers()
        .map(|(name, value)| match str::from_utf8(value) {
            Ok(text) => serde_json::json!([name, text]),
            Err(_) => serde_json::json!([name, { "base64": STANDARD.encode(value) }]),
        })
        .collect();
    (!headers.is_empty()).then(|| serde_json::Value::Array(headers).to_string())
}

/// What is no visible ASCII, `"` and `%` percent-encoded, as the HTTP binding of CloudEvents asks for.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'"' | b'%' | 0..=b' ' | 0x7f.. => {
                // Writing to a string does not fail.
                let _ = write!(out, "%{byte:02X}");
            }
            _ => out.push(char::from(byte)),
        }
    }
    out
}

#[cfg(test)]
mod tests;
