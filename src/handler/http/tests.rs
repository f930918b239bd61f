use super::*;
use crate::{
    Position,
    effect::Effect,
    handler::FailureKind,
    record::{Assignment, BatchBuilder, LaneOrder, NoKey, OrderBy, PartitionName},
};
use std::sync::Mutex;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
    time::sleep,
};

fn run(records: u64) -> Run {
    let mut batch = BatchBuilder::new(Arc::new(Assignment {
        name: PartitionName::new("src", "t/0"),
        epoch: 1,
        generation: 0,
    }));
    let order = LaneOrder {
        by: OrderBy::Key,
        no_key: NoKey::Partition,
    };
    for position in 1..=records {
        let position = Position::Offset(position);
        (batch.push(order, position, Some(b"k"), Some(b"{}"), [], None)).expect("a lane");
    }
    Run::new(batch.finish(None).iter(), 1).expect("records")
}

/// Answers each request with these bytes and then closes the connection where they are empty or do
/// not say how long they are. Keeps what it was sent.
#[derive(Clone)]
struct Server {
    url: String,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    connections: usize,
    requests: Vec<String>,
}

impl Server {
    async fn start(reply: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let server = Self {
            url: format!(
                "http://{}/hook?token=1",
                listener.local_addr().expect("bound")
            ),
            seen: Arc::default(),
        };
        let (kept, reply) = (server.clone(), reply.to_owned());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                kept.seen.lock().expect("unpoisoned").connections += 1;
                tokio::spawn(kept.clone().serve(stream, reply.clone()));
            }
        });
        server
    }

    async fn serve(self, mut stream: impl AsyncRead + AsyncWrite + Unpin, reply: String) {
        while let Some(request) = read_request(&mut stream).await {
            self.seen.lock().expect("unpoisoned").requests.push(request);
            if stream.write_all(reply.as_bytes()).await.is_err() || !reply.contains("ength:") {
                break;
            }
        }
        let _ = stream.shutdown().await;
    }

    fn requests(&self) -> Vec<String> {
        self.seen.lock().expect("unpoisoned").requests.clone()
    }

    fn connections(&self) -> usize {
        self.seen.lock().expect("unpoisoned").connections
    }
}

/// `None` at the connection's end.
async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut request = Vec::new();
    loop {
        if stream.read_buf(&mut request).await.ok()? == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&request).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= length.map_or(0, |text| text.parse().expect("a number")) {
            return Some(text);
        }
    }
}

fn settings(url: &str) -> HttpSettings {
    HttpSettings {
        url: url.to_owned(),
        secret: None,
        records_per_call: 1,
        timeout: Duration::from_secs(20),
        settle: None,
        cap: 4,
    }
}

fn http(url: &str) -> Arc<Http> {
    Arc::new(Http::new(settings(url)).expect("an endpoint"))
}

fn reply(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n{body}")
}

async fn call(http: &Arc<Http>, records: u64) -> Answer {
    Arc::clone(http).try_run(run(records)).await
}

async fn failure(reply: &str) -> Failure {
    let server = Server::start(reply).await;
    let answer = call(&http(&server.url), 1).await;
    assert_eq!(answer.done, 0);
    assert_eq!(server.requests().len(), 1, "never sent again");
    answer.failure.expect("a failure")
}

#[tokio::test]
async fn a_call_is_a_signed_post_on_a_kept_connection() {
    let server = Server::start(&reply("200 OK", "", "thanks")).await;
    let http = Arc::new(
        Http::new(HttpSettings {
            secret: Some(Secret::new("a secret").expect("a secret")),
            ..settings(&server.url)
        })
        .expect("an endpoint"),
    );
    for _ in 0..3 {
        let answer = call(&http, 1).await;
        assert_eq!((answer.done, answer.failure.is_none()), (1, true));
    }
    assert_eq!(server.connections(), 1);
    let requests = server.requests();
    assert_eq!(requests.len(), 3);
    assert!(
        requests[0].starts_with("POST /hook?token=1 HTTP/1.1\r\n"),
        "{}",
        requests[0]
    );
    for part in [
        "\r\nhost: 127.0.0.1:",
        "\r\nwebhook-id: src/t/0/1/0\r\n",
        "\r\nwebhook-signature: v1,",
    ] {
        assert!(requests[0].contains(part), "{part:?} in {}", requests[0]);
    }
    assert!(requests[0].ends_with("\r\n\r\n{}"), "{}", requests[0]);
}

#[tokio::test]
async fn connections_are_as_many_as_calls_at_once() {
    let server = Server::start(&reply("204 No Content", "", "")).await;
    let http = http(&server.url);
    for _ in 0..10 {
        let calls = (0..4).map(|_| call(&http, 1));
        for answer in futures_util::future::join_all(calls).await {
            assert_eq!(answer.done, 1, "{:?}", answer.failure);
        }
    }
    // A call may find its predecessor's connection not yet given back.
    assert!(server.connections() <= 8, "{}", server.connections());
}

#[tokio::test]
async fn a_json_body_may_name_a_prefix_and_effects() {
    let body =
        r#"{"done": 2, "effects": [{"record": 1, "add": {"table": "t", "key": "k", "by": 5}}]}"#;
    let json = "Content-Type: application/json; charset=utf-8\r\n";
    let server = Server::start(&reply("200 OK", json, body)).await;
    let http = Arc::new(
        Http::new(HttpSettings {
            records_per_call: 3,
            ..settings(&server.url)
        })
        .expect("an endpoint"),
    );
    let answer = call(&http, 3).await;
    assert_eq!((answer.done, answer.failure.is_none()), (2, true));
    assert_eq!(answer.effects, [(1, Effect::add("t", "k", 5))]);

    let failure = failure(&reply("200 OK", json, "{\"done\": 1")).await;
    assert_eq!(failure.kind, FailureKind::Retry);
    assert!(
        failure
            .error
            .contains("HTTP 200 OK, but its body is not the JSON"),
        "{}",
        failure.error
    );
    assert_eq!(failure.unknown_end, None);

    // Whatever it is, it does not claim to be JSON.
    let server = Server::start(&reply("200 OK", "", "{\"done\": 1")).await;
    assert_eq!(call(&self::http(&server.url), 1).await.done, 1);
}

#[tokio::test]
async fn a_run_is_a_batch_and_its_failure_is_nobodys() {
    let server = Server::start(&reply("422 Unprocessable Entity", "", "")).await;
    let answer = call(&http(&server.url), 2).await;
    let failure = answer.failure.expect("a failure");
    assert_eq!(failure.kind, FailureKind::Unattributed);
    let requests = server.requests();
    for part in [
        "\r\ncontent-type: application/cloudevents-batch+json\r\n",
        "\r\nwebhook-id: src/t/0/1/0+2\r\n",
        "src/t/0/2/0",
    ] {
        assert!(requests[0].contains(part), "{part:?} in {}", requests[0]);
    }
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let found = failure(&reply(
        "302 Found",
        "Location: https://new.example/\r\n",
        "",
    ))
    .await;
    assert_eq!(found.kind, FailureKind::Reject);
    for part in [
        "HTTP 302 Found to `https://new.example/`",
        "set `handler.url` to the final address",
    ] {
        assert!(found.error.contains(part), "{}", found.error);
    }
    assert!(!found.error.contains("token"), "{}", found.error);

    let bad = failure(&reply("422 Unprocessable Entity", "", "no\x1b account\n")).await;
    assert_eq!(bad.kind, FailureKind::Reject);
    assert!(
        bad.error
            .ends_with("HTTP 422 Unprocessable Entity: `no\\u{1b} account`"),
        "{}",
        bad.error
    );

    let busy = failure(&reply("503 Service Unavailable", "Retry-After: 7\r\n", "")).await;
    assert_eq!(
        (busy.kind, busy.after),
        (FailureKind::Target, Duration::from_secs(7))
    );
    assert_eq!(busy.unknown_end, None);

    let broken = failure(&reply("500 Internal Server Error", "", "")).await;
    assert_eq!(
        (broken.kind, broken.unknown_end),
        (FailureKind::Retry, None)
    );
}

fn about(unknown_end: Option<Duration>, seconds: u64) -> bool {
    unknown_end.is_some_and(|d| {
        d.as_secs_f64() <= seconds as f64 && d.as_secs_f64() > seconds as f64 - 5.0
    })
}

#[tokio::test]
async fn an_end_that_is_unknown_is_said_to_be() {
    // 20 s until the try's deadline, and 20 s after it.
    let gateway = failure(&reply("504 Gateway Timeout", "", "")).await;
    assert_eq!(gateway.kind, FailureKind::Retry);
    assert!(about(gateway.unknown_end, 40), "{:?}", gateway.unknown_end);

    let lost = failure("").await;
    assert_eq!(lost.kind, FailureKind::Retry);
    assert!(about(lost.unknown_end, 40), "{:?}", lost.unknown_end);

    let part =
        failure("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-length: 9\r\n\r\n{");
    let timeout = timeout(Duration::from_millis(200), part).await;
    assert!(timeout.is_err(), "waited for by whoever set the timeout");
}

#[tokio::test]
async fn half_an_answer_is_none() {
    let half = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"don";
    let failure = failure(half).await;
    assert_eq!(failure.kind, FailureKind::Retry);
    assert!(
        failure.error.contains("its body did not come whole"),
        "{}",
        failure.error
    );
    assert!(failure.unknown_end.is_some());
    for garbage in ["SSH-2.0-OpenSSH\r\n", "HTTP/1.1 abc\r\n\r\n"] {
        let failure = self::failure(garbage).await;
        assert_eq!(failure.kind, FailureKind::Retry);
        assert!(failure.unknown_end.is_some());
    }
}

#[tokio::test]
async fn a_target_that_is_not_there_is_to_blame() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/hook", listener.local_addr().expect("bound"));
    drop(listener);
    let http = http(&url);
    let failure = call(&http, 2).await.failure.expect("nobody is there");
    assert_eq!(failure.kind, FailureKind::Target);
    assert_eq!(failure.unknown_end, None);
    assert!(
        failure.error.contains("onnection refused"),
        "{}",
        failure.error
    );
    let error = http.probe().await.expect_err("nobody is there").to_string();
    for part in [url.as_str(), "onnection refused", "start the target"] {
        assert!(error.contains(part), "{error}");
    }

    let server = Server::start("").await;
    self::http(&server.url)
        .probe()
        .await
        .expect("somebody is there");
    assert_eq!(server.requests(), [""; 0]);
}

#[tokio::test]
async fn an_idle_connection_that_the_server_closed_costs_nothing() {
    let reply = reply("200 OK", "", "");
    let server =
        Server::start(&reply.replace("Content-Length: 0\r\n", "Connection: close\r\n")).await;
    let http = http(&server.url);
    for _ in 0..5 {
        let answer = call(&http, 1).await;
        assert_eq!(answer.done, 1, "{:?}", answer.failure);
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(server.requests().len(), 5);
}

#[tokio::test]
async fn tls_is_spoken_and_strangers_are_not_trusted() {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let key =
        rustls::pki_types::PrivateKeyDer::try_from(own.signing_key.serialize_der()).expect("a key");
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .expect("versions")
    .with_no_client_auth()
    .with_single_cert(vec![own.cert.der().clone()], key)
    .expect("a certificate");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!(
        "https://localhost:{}/",
        listener.local_addr().expect("bound").port()
    );
    let server = Server {
        url: url.clone(),
        seen: Arc::default(),
    };
    let reply = reply("200 OK", "", "");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(stream) = acceptor.accept(stream).await {
                tokio::spawn(server.clone().serve(stream, reply.clone()));
            }
        }
    });
    let with = |roots| {
        let target = parse_url(&url).expect("a URL");
        Arc::new(Http::with_roots(target, settings(&url), roots).expect("an endpoint"))
    };
    let mut roots = RootCertStore::empty();
    roots.add(own.cert.der().clone()).expect("a root");
    let answer = call(&with(roots), 1).await;
    assert_eq!(answer.done, 1, "{:?}", answer.failure);

    let failure = call(&with(RootCertStore::empty()), 1)
        .await
        .failure
        .expect("a stranger");
    assert_eq!(failure.kind, FailureKind::Target);
    assert!(failure.error.contains("UnknownIssuer"), "{}", failure.error);
}

#[tokio::test]
async fn connecting_takes_bounded_time() {
    // Nobody answers the handshake.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let url = format!("https://localhost:{port}/");
    let target = parse_url(&url).expect("a URL");
    let settings = HttpSettings {
        timeout: Duration::from_millis(400),
        ..settings(&url)
    };
    let http = Http::with_roots(target, settings, RootCertStore::empty()).expect("an endpoint");
    let failure = call(&Arc::new(http), 1)
        .await
        .failure
        .expect("no handshake");
    assert_eq!(failure.kind, FailureKind::Target);
    assert!(
        failure.error.contains("no connection within 200ms"),
        "{}",
        failure.error
    );
}

#[test]
fn urls_that_cannot_be_called_are_named() {
    for (url, expected) in [
        ("", "it is no URL"),
        ("localhost:8080/x", "it is no URL"),
        ("/hook", "has no scheme"),
        ("ftp://host/x", "`ftp` is not supported"),
        ("http://", "it is no URL"),
        ("http://:80/", "has no host"),
        ("http://me:secret@host/", "a user name and password"),
    ] {
        let error = Http::new(settings(url))
            .map(drop)
            .expect_err(url)
            .to_string();
        assert!(
            error.contains(expected),
            "{url}: `{error}` lacks `{expected}`"
        );
        assert!(!error.contains("secret@"), "{error}");
    }
}
