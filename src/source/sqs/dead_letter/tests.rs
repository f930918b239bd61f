use super::{
    letter::{Attribute, Letter},
    *,
};
use crate::{
    position::Position,
    record::{Assignment, BatchBuilder, LaneOrder, NoKey, OrderBy, PartitionName},
};
use aws_sdk_sqs::config::{BehaviorVersion, Credentials};
use serde_json::Value;
use std::collections::BTreeMap;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

struct Of<'a> {
    by: OrderBy,
    no_key: NoKey,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: &'a [(&'a str, &'a [u8])],
}

const SIMPLE: Of<'_> = Of {
    by: OrderBy::Key,
    no_key: NoKey::Partition,
    key: Some(b"ann"),
    value: Some(b"{\"n\": 1}"),
    headers: &[],
};

fn record(of: &Of<'_>) -> Record {
    let mut batch = BatchBuilder::new(Arc::new(Assignment {
        name: PartitionName::new("orders", "shardId-000000000006"),
        epoch: 1,
        generation: 2,
    }));
    let order = LaneOrder {
        by: of.by,
        no_key: of.no_key,
    };
    let headers = of.headers.iter().copied();
    let position = Position::Offset(9);
    batch
        .push(order, position, of.key, of.value, headers, Some(5))
        .expect("a key");
    batch.finish(None).pop().expect("one")
}

fn letter(of: &Of<'_>) -> Letter {
    Letter::of("billing", &record(of), ("no such account", 5))
}

fn attributes(letter: &Letter) -> BTreeMap<&'static str, Attribute> {
    letter.attributes.iter().cloned().collect()
}

fn text(text: &str) -> Attribute {
    Attribute::Text(text.to_owned())
}

#[test]
fn a_letter_is_the_payload_and_says_what_became_of_it() {
    let letter = letter(&SIMPLE);
    assert_eq!(letter.body, "{\"n\": 1}");
    let expected = [
        ("lanekeeper.attempts", text("5")),
        ("lanekeeper.error", text("no such account")),
        ("lanekeeper.id", text("orders/shardId-000000000006/9/2")),
        ("lanekeeper.key", text("ann")),
        ("lanekeeper.partition", text("shardId-000000000006")),
        ("lanekeeper.position", text("9")),
        ("lanekeeper.source", text("orders")),
        ("lanekeeper.timestamp", text("5")),
    ];
    assert_eq!(attributes(&letter), BTreeMap::from(expected));
    assert_eq!(letter.group, "ann");
}

#[test]
fn a_payload_that_sqs_does_not_take_for_text_is_told_from_one_that_it_does() {
    type Body<'a> = (Option<&'a [u8]>, &'a str, Option<&'a str>);
    let bodies: [Body<'_>; 7] = [
        (Some(b"text"), "text", None),
        (Some(b"/w=="), "/w==", None),
        (Some(b"\xff"), "/w==", Some("base64")),
        (Some(b"\x00"), "AA==", Some("base64")),
        (Some("\u{fffe}".as_bytes()), "77++", Some("base64")),
        (Some(b""), "-", Some("empty")),
        (None, "-", Some("none")),
    ];
    for (value, body, how) in bodies {
        let letter = letter(&Of { value, ..SIMPLE });
        assert_eq!(letter.body, body, "{value:?}");
        let said = attributes(&letter).remove("lanekeeper.body");
        assert_eq!(said, how.map(text), "{value:?}");
    }
}

#[test]
fn ten_attributes_are_the_most_and_the_record_s_own_headers_are_one_of_them() {
    let headers: Vec<(String, Vec<u8>)> = (0..20)
        .map(|n| (format!("h\u{ffff}{n}"), vec![0xff, n]))
        .collect();
    let headers: Vec<(&str, &[u8])> = { headers.iter() }
        .map(|(name, value)| (name.as_str(), value.as_slice()))
        .collect();
    let letter = letter(&Of {
        value: Some(b"\xff"),
        headers: &headers,
        ..SIMPLE
    });
    assert_eq!(letter.attributes.len(), 10);
    let Some(Attribute::Text(json)) = attributes(&letter).remove("lanekeeper.headers") else {
        panic!("no headers: {letter:?}");
    };
    assert!(!json.contains('\u{ffff}'), "SQS takes no such character");
    let read: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(read[3][0], "h\u{ffff}3");
    assert_eq!(read[3][1]["base64"], "/wM=");
    let letter = self::letter(&Of {
        headers: &[("a", b"1"), ("b", b"2"), ("a", b"3")],
        ..SIMPLE
    });
    let json = r#"[["a","1"],["b","2"],["a","3"]]"#;
    assert_eq!(attributes(&letter)["lanekeeper.headers"], text(json));
}

#[test]
fn a_key_is_a_group_where_it_can_be_one_and_else_its_lane_is() {
    let of = |key: Option<&[u8]>, by, no_key| {
        let letter = letter(&Of {
            key,
            by,
            no_key,
            ..SIMPLE
        });
        let key = attributes(&letter).remove("lanekeeper.key");
        (letter.group, key)
    };
    let by_key = |key: &[u8]| of(Some(key), OrderBy::Key, NoKey::Partition);
    let longest = "x".repeat(128);
    assert_eq!(by_key(longest.as_bytes()).0, longest);
    let keys = [
        "x".repeat(129),
        "a b".to_owned(),
        "Ä".to_owned(),
        String::new(),
    ];
    for key in &keys {
        let (group, _) = by_key(key.as_bytes());
        assert!(
            group.len() == 65 && group.starts_with('k'),
            "{key}: {group}"
        );
    }
    assert_eq!(by_key(b"").1, Some(Attribute::Empty));
    assert_eq!(by_key(b"\xff").1, Some(Attribute::Bytes(vec![0xff])));
    assert_eq!(by_key(b"\x01").1, Some(Attribute::Bytes(vec![1])));
    let shard = "orders/shardId-000000000006";
    let (group, key) = of(Some(b"ann"), OrderBy::Partition, NoKey::Partition);
    assert_eq!((group, key), (format!("p/{shard}"), Some(text("ann"))));
    let (group, key) = of(None, OrderBy::Key, NoKey::Partition);
    assert_eq!((group, key), (format!("n/{shard}"), None));
    let (group, _) = of(None, OrderBy::Key, NoKey::Each);
    assert_eq!(group, format!("e/{shard}/9"));
}

/// What is deduplicated is swallowed: F7.
#[test]
fn f7_nothing_else_has_a_letter_s_name() {
    let name = |app: &str, of: &Of<'_>| {
        let letter = Letter::of(app, &record(of), ("another error", 9));
        letter.deduplication
    };
    let first = letter(&SIMPLE).deduplication;
    assert_eq!(first, name("billing", &SIMPLE), "the same record again");
    assert_eq!(first.len(), 64);
    let others = [
        name("shipping", &SIMPLE),
        name(
            "billing",
            &Of {
                value: Some(b"{\"n\": 2}"),
                ..SIMPLE
            },
        ),
        name(
            "billing",
            &Of {
                key: Some(b"ann{"),
                value: Some(b"\"n\": 1}"),
                ..SIMPLE
            },
        ),
        name(
            "billing",
            &Of {
                value: None,
                ..SIMPLE
            },
        ),
        name(
            "billing",
            &Of {
                value: Some(b""),
                ..SIMPLE
            },
        ),
    ];
    assert!(!others.contains(&first), "{others:?}");
}

#[test]
fn the_region_is_the_queue_s() {
    let of =
        |host: &str| region_of(&format!("https://{host}/123456789012/dead")).map(str::to_owned);
    assert_eq!(
        of("sqs.eu-west-1.amazonaws.com"),
        Some("eu-west-1".to_owned())
    );
    assert_eq!(
        of("sqs.cn-north-1.amazonaws.com.cn"),
        Some("cn-north-1".to_owned())
    );
    for other in [
        "localhost:9324",
        "vpce-1.sqs.eu-west-1.vpce.amazonaws.com",
        "sqs.amazonaws.com",
    ] {
        assert_eq!(of(other), None, "{other}");
    }
}

/// A queue of this name, and where it listens.
async fn queue(name: &str) -> (SqsDeadLetter, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
    let config = aws_sdk_sqs::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .credentials_provider(Credentials::new("a", "s", None, None, "test"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .endpoint_url(endpoint);
    let settings = Settings {
        queue_url: format!("https://sqs.eu-west-1.amazonaws.com/123456789012/{name}"),
        app: "billing".to_owned(),
    };
    let target = SqsDeadLetter::with_client(settings, Client::from_conf(config.build()));
    (target, listener)
}

/// Answers one request; gives its body.
async fn answer(listener: &TcpListener, status: u16, body: &str) -> Value {
    let (mut stream, _) = listener.accept().await.expect("a request");
    let request = read(&mut stream).await;
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.expect("taken");
    request
}

async fn read(stream: &mut TcpStream) -> Value {
    let mut all = Vec::new();
    loop {
        let mut part = vec![0; 4096];
        let n = stream.read(&mut part).await.expect("bytes");
        all.extend_from_slice(&part[..n]);
        let text = String::from_utf8_lossy(&all);
        if let Some((_, body)) = text.split_once("\r\n\r\n")
            && let Ok(body) = serde_json::from_str(body)
        {
            return body;
        }
        assert!(n > 0, "cut short: {text}");
    }
}

const TAKEN: &str = r#"{"MessageId": "m", "MD5OfMessageBody": "0"}"#;

#[tokio::test]
async fn a_fifo_queue_is_told_group_and_deduplication_and_a_standard_one_is_not() {
    for (name, is_fifo) in [("dead.fifo", true), ("dead", false)] {
        let (target, listener) = queue(name).await;
        let published = target.publish(record(&SIMPLE), "no".to_owned(), 3);
        let (published, asked) = tokio::join!(published, answer(&listener, 200, TAKEN));
        assert_eq!(published, Ok(()));
        let url = format!("https://sqs.eu-west-1.amazonaws.com/123456789012/{name}");
        assert_eq!(asked["QueueUrl"], url);
        assert_eq!(asked["MessageBody"], "{\"n\": 1}");
        let attempts = &asked["MessageAttributes"]["lanekeeper.attempts"];
        assert_eq!(
            (&attempts["DataType"], &attempts["StringValue"]),
            (&"String".into(), &"3".into())
        );
        assert_eq!(asked["MessageGroupId"] == "ann", is_fifo, "{asked}");
        assert_eq!(
            asked["MessageDeduplicationId"].is_string(),
            is_fifo,
            "{asked}"
        );
    }
}

#[tokio::test]
async fn what_the_queue_says_is_told_with_what_to_do_and_who_is_to_blame() {
    let cases = [
        (
            r#"{"__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": "none"}"#,
            true,
            "failure.dead_letter.queue_url",
        ),
        (
            r#"{"__type": "com.amazonaws.sqs#AccessDenied", "message": "not you"}"#,
            true,
            "sqs:SendMessage",
        ),
        (
            r#"{"__type": "com.amazonaws.sqs#KmsAccessDenied", "message": "not you"}"#,
            true,
            "kms:GenerateDataKey",
        ),
        (
            r#"{"__type": "com.amazonaws.sqs#Odd", "message": "for reasons"}"#,
            true,
            "Odd: for reasons",
        ),
        (
            r#"{"__type": "com.amazonaws.sqs#InvalidMessageContents", "message": "what"}"#,
            false,
            "MaximumMessageSize",
        ),
        (
            r#"{"__type": "com.amazonaws.sqs#InvalidParameterValue", "message": "must be shorter than 1024 bytes"}"#,
            false,
            "shorter than 1024",
        ),
    ];
    for (said, is_target, told) in cases {
        let (target, listener) = queue("dead.fifo").await;
        let published = target.publish(record(&SIMPLE), "no".to_owned(), 3);
        let (published, _) = tokio::join!(published, answer(&listener, 400, said));
        let error = published.expect_err("refused");
        assert_eq!(error.target, is_target, "{error}");
        assert!(
            error.error.contains(told) && error.error.contains("123456789012/dead.fifo"),
            "{error}"
        );
    }
}

/// S16: nothing is cut short, and nothing is sent that cannot be taken.
#[tokio::test]
async fn s16_a_letter_above_a_mebibyte_is_not_sent() {
    let (target, listener) = queue("dead.fifo").await;
    let bytes = |length: usize| {
        let value = vec![b'x'; length];
        let letter = letter(&Of {
            value: Some(&value),
            ..SIMPLE
        });
        letter.bytes()
    };
    let beside = bytes(1) - 1;
    let longest = vec![b'x'; BYTES_MAX - beside];
    let record = |value: &[u8]| {
        record(&Of {
            value: Some(value),
            ..SIMPLE
        })
    };
    let error = || "no such account".to_owned();
    let published = target.publish(record(&longest), error(), 5);
    let (published, _) = tokio::join!(published, answer(&listener, 200, TAKEN));
    assert_eq!(published, Ok(()));
    let longer = [longest, b"x".to_vec()].concat();
    let refused = target.publish(record(&longer), error(), 5).await;
    let refused = refused.expect_err("too long");
    assert!(!refused.target, "another letter would be taken");
    let (has, most) = ((BYTES_MAX + 1).to_string(), BYTES_MAX.to_string());
    assert!(
        refused.error.contains(&has) && refused.error.contains(&most),
        "{refused}"
    );
}
