use super::*;
use crate::{
    Position,
    record::{Assignment, BatchBuilder, LaneOrder, NoKey, OrderBy, PartitionName},
};
use serde_json::{Value, json};
use std::sync::Arc;

type Headers<'a> = &'a [(&'a str, &'a [u8])];

/// Key, value, headers.
type Parts<'a> = (Option<&'a [u8]>, Option<&'a [u8]>, Headers<'a>);

fn run(records: &[Parts<'_>], timestamp: Option<i64>) -> Run {
    let mut batch = BatchBuilder::new(Arc::new(Assignment {
        name: PartitionName::new("orders", "t/0"),
        epoch: 1,
        generation: 4,
    }));
    let order = LaneOrder {
        by: OrderBy::Key,
        no_key: NoKey::Partition,
    };
    for (index, (key, value, headers)) in records.iter().enumerate() {
        let position = Position::Offset(7 + index as u64);
        (batch.push(
            order,
            position,
            *key,
            *value,
            headers.iter().copied(),
            timestamp,
        ))
        .expect("a lane");
    }
    Run::new(batch.finish(None).iter(), 3).expect("records")
}

async fn built(run: &Run, batch: bool, secret: Option<&Secret>) -> (HeaderMap, Bytes) {
    let target = Uri::from_static("http://127.0.0.1/hook");
    let request = build(run, &target, batch, secret, 1_700_000_000).expect("a request");
    let (head, body) = request.into_parts();
    assert_eq!((head.method, head.uri), (Method::POST, target));
    let body = http_body_util::BodyExt::collect(body).await.expect("whole");
    (head.headers, body.to_bytes())
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().expect("text"))
}

#[tokio::test]
async fn one_record_is_an_event_in_binary_mode() {
    let own: Headers<'_> = &[("trace", b"a\"b"), ("raw", &[0xff])];
    let run = run(
        &[(Some("zoë 1%".as_bytes()), Some(b"{\"n\": 1}"), own)],
        Some(1_700_000_000_123),
    );
    let (headers, body) = built(&run, false, None).await;
    assert_eq!(body, &b"{\"n\": 1}"[..]);
    for (name, value) in [
        ("ce-specversion", "1.0"),
        ("ce-type", "lanekeeper.record"),
        ("ce-source", "orders/t/0"),
        ("ce-id", "orders/t/0/7/4"),
        ("ce-time", "2023-11-14T22:13:20.123Z"),
        ("ce-partitionkey", "zo%C3%AB%201%25"),
        ("ce-position", "7"),
        ("ce-attempt", "3"),
        ("ce-generation", "4"),
        ("content-type", "application/json"),
        ("webhook-id", "orders/t/0/7/4"),
        (
            "ce-headers",
            "[[%22trace%22,%22a\\%22b%22],[%22raw%22,{%22base64%22:%22/w==%22}]]",
        ),
    ] {
        assert_eq!(header(&headers, name), Some(value), "{name}");
    }
    for absent in ["ce-keybase64", "webhook-signature", "webhook-timestamp"] {
        assert_eq!(header(&headers, absent), None, "{absent}");
    }
}

#[tokio::test]
async fn the_payload_says_what_it_is_unless_the_record_does() {
    let own: Headers<'_> = &[("Content-Type", b"application/avro")];
    let structured: Headers<'_> = &[("content-type", b"application/cloudevents+json")];
    let broken: Headers<'_> = &[("content-type", b"a\r\nx-injected: 1")];
    for (value, headers, expected) in [
        (Some(&b"[1]"[..]), &[][..], Some("application/json")),
        (Some(b"hello"), &[], Some("text/plain; charset=utf-8")),
        (Some(b""), &[], Some("text/plain; charset=utf-8")),
        (Some(&[0xff]), &[], Some("application/octet-stream")),
        (Some(b"[1]"), own, Some("application/avro")),
        (Some(b"[1]"), structured, Some("application/json")),
        (Some(b"[1]"), broken, Some("application/json")),
        (None, own, None),
    ] {
        let run = run(&[(None, value, headers)], None);
        let (sent, body) = built(&run, false, None).await;
        assert_eq!(header(&sent, "content-type"), expected);
        assert_eq!(body, value.unwrap_or_default());
        for absent in ["ce-partitionkey", "ce-keybase64", "ce-time", "x-injected"] {
            assert_eq!(header(&sent, absent), None, "{absent}");
        }
    }
}

const ROOT: &str = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[tokio::test]
async fn a_record_s_trace_goes_on_in_its_request() {
    let own: Headers<'_> = &[
        ("Traceparent", PARENT.as_bytes()),
        ("tracestate", b"a=1, b=2"),
        ("Tracestate", b"c=3"),
        ("AWSTraceHeader", ROOT.as_bytes()),
    ];
    let of_message = run(&[(None, Some(b"x"), own)], None);
    let traced = crate::handler::within_trace(Some("Root=1-invoked".into()), async {
        let (of_its_own, _) = built(&of_message, false, None).await;
        let (of_none, _) = built(&run(&[(None, Some(b"x"), &[])], None), false, None).await;
        (of_its_own, of_none)
    });
    let (own, none) = traced.await;
    for (name, value) in [
        ("traceparent", PARENT),
        ("tracestate", "a=1,b=2,c=3"),
        ("ce-traceparent", PARENT),
        ("ce-tracestate", "a=1,b=2,c=3"),
        ("x-amzn-trace-id", ROOT),
    ] {
        assert_eq!(header(&own, name), Some(value), "{name}");
    }
    // Without one of its own it is of the invocation.
    assert_eq!(header(&none, "x-amzn-trace-id"), Some("Root=1-invoked"));
    for absent in ["traceparent", "tracestate", "ce-traceparent"] {
        assert_eq!(header(&none, absent), None, "{absent}");
    }
    let (nowhere, _) = built(&run(&[(None, Some(b"x"), &[])], None), false, None).await;
    assert_eq!(header(&nowhere, "x-amzn-trace-id"), None);
}

#[tokio::test]
async fn what_is_no_trace_is_not_passed_on_as_one() {
    let injected = format!("{PARENT}\r\nx-injected: 1");
    for (parent, amazon) in [
        (&b"00-4bf9"[..], &b"Root=1\r\nx-injected: 1"[..]),
        (injected.as_bytes(), b"\xff"),
        (b"", b""),
    ] {
        let own: Headers<'_> = &[
            ("traceparent", parent),
            ("tracestate", b"a=1"),
            ("AWSTraceHeader", amazon),
        ];
        let (sent, _) = built(&run(&[(None, Some(b"x"), own)], None), false, None).await;
        for absent in [
            "traceparent",
            "tracestate",
            "ce-tracestate",
            "x-amzn-trace-id",
            "x-injected",
        ] {
            assert_eq!(header(&sent, absent), None, "{absent}");
        }
    }
}

/// A header of that name that is X-Ray's of nothing: the invocation's trace goes on.
#[tokio::test]
async fn what_is_no_trace_of_x_ray_does_not_stand_in_for_the_invocation_s() {
    for broken in [&b"Root=1-own"[..], b"Sampled=1", b"nonsense"] {
        let own: Headers<'_> = &[("AWSTraceHeader", broken)];
        let run = run(&[(None, Some(b"x"), own)], None);
        let traced =
            crate::handler::within_trace(Some("Root=1-invoked".into()), built(&run, false, None));
        let (sent, _) = traced.await;
        assert_eq!(header(&sent, "x-amzn-trace-id"), Some("Root=1-invoked"));
    }
}

#[tokio::test]
async fn a_state_with_a_member_that_is_none_is_not_passed_on() {
    let many = (0..33)
        .map(|n| format!("k{n}=v"))
        .collect::<Vec<_>>()
        .join(",");
    for broken in [
        &b"a"[..],
        b"a=1,B=2",
        b"a=1,a=2",
        b"a=1,b",
        b"a=\xff",
        b",",
        many.as_bytes(),
    ] {
        let own: Headers<'_> = &[("traceparent", PARENT.as_bytes()), ("tracestate", broken)];
        let (sent, _) = built(&run(&[(None, Some(b"x"), own)], None), false, None).await;
        assert_eq!(header(&sent, "traceparent"), Some(PARENT));
        assert_eq!(header(&sent, "tracestate"), None, "{broken:?}");
    }
}

#[tokio::test]
async fn each_event_of_a_batch_has_its_own_trace() {
    let own: Headers<'_> = &[
        ("traceparent", PARENT.as_bytes()),
        ("AWSTraceHeader", ROOT.as_bytes()),
    ];
    let run = run(&[(None, Some(b"1"), own), (None, Some(b"2"), &[])], None);
    let traced =
        crate::handler::within_trace(Some("Root=1-invoked".into()), built(&run, true, None));
    let (headers, body) = traced.await;
    let events: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(events[0]["traceparent"], PARENT);
    assert_eq!(events[1].get("traceparent"), None);
    assert_eq!(header(&headers, "traceparent"), None);
    assert_eq!(header(&headers, "x-amzn-trace-id"), Some("Root=1-invoked"));
}

#[tokio::test]
async fn runs_are_batches() {
    let false_json: Headers<'_> = &[("content-type", b"application/json")];
    let run = run(
        &[
            (Some(b"k"), Some(b" {\"n\": 1.50} "), &[]),
            (Some(b"k"), Some(b"hello"), &[]),
            (Some(&[0xff]), Some(&[0xff]), &[]),
            (None, Some(b"{no"), false_json),
            (None, None, &[]),
        ],
        None,
    );
    let secret = Secret::new("a secret").expect("a secret");
    let (headers, body) = built(&run, true, Some(&secret)).await;
    assert_eq!(
        header(&headers, "content-type"),
        Some("application/cloudevents-batch+json")
    );
    assert_eq!(header(&headers, "webhook-id"), Some("orders/t/0/7/4+5"));
    assert_eq!(header(&headers, "webhook-timestamp"), Some("1700000000"));
    let signature = secret.sign("orders/t/0/7/4+5", 1_700_000_000, &body);
    assert_eq!(
        header(&headers, "webhook-signature"),
        Some(signature.as_str())
    );
    // Numbers stay as they are written.
    assert!(body.escape_ascii().to_string().contains("1.50"));

    let event = |position: u32, attempt: u32, more: Value| {
        let mut event = json!({
            "specversion": "1.0", "type": "lanekeeper.record", "source": "orders/t/0",
            "id": format!("orders/t/0/{position}/4"), "position": position.to_string(),
            "attempt": attempt, "generation": "4",
        });
        let fields = event.as_object_mut().expect("an object");
        fields.extend(more.as_object().expect("an object").clone());
        event
    };
    let text = "text/plain; charset=utf-8";
    let expected = json!([
        event(
            7,
            3,
            json!({"partitionkey": "k", "datacontenttype": "application/json", "data": {"n": 1.5}})
        ),
        event(
            8,
            1,
            json!({"partitionkey": "k", "datacontenttype": text, "data": "hello"})
        ),
        event(
            9,
            1,
            json!({"keybase64": "/w==", "datacontenttype": "application/octet-stream", "data_base64": "/w=="})
        ),
        event(
            10,
            1,
            json!({
                "headers": "[[\"content-type\",\"application/json\"]]",
                "datacontenttype": "application/json", "data_base64": "e25v",
            })
        ),
        event(11, 1, json!({})),
    ]);
    assert_eq!(
        serde_json::from_slice::<Value>(&body).expect("JSON"),
        expected
    );
}

#[tokio::test]
async fn a_batch_of_one_keeps_the_records_id() {
    let run = run(&[(Some(b"k"), Some(b"1"), &[])], None);
    let (headers, body) = built(&run, true, None).await;
    assert_eq!(header(&headers, "webhook-id"), Some("orders/t/0/7/4"));
    assert!(body.starts_with(b"[{") && body.ends_with(b"}]"));
}
