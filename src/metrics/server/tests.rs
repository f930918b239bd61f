use super::*;
use crate::{
    processor::{Clock, Phase, Vitals},
    run::MachineClock,
};
use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::atomic::{AtomicU64, Ordering},
};

/// Nothing here takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

fn watch() -> Arc<Watch> {
    let watch = Arc::new(Watch::new(Arc::new(MachineClock), 3));
    watch.show(Vitals {
        phase: Phase::Running,
        announced: Some(0),
        ..Vitals::default()
    });
    watch
}

fn server(watch: &Arc<Watch>) -> Server {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    Server::start(any, Arc::clone(watch)).expect("it listens")
}

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address()).expect("connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
    stream
}

fn ask(server: &Server, method: &str, path: &str) -> String {
    let mut stream = connect(server);
    let request = format!("{method} {path} HTTP/1.1\r\nhost: worker\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answer");
    answer
}

#[test]
fn pages_say_what_the_watch_shows() {
    let watch = watch();
    let server = server(&watch);
    let metrics = ask(&server, "GET", "/metrics");
    assert!(metrics.starts_with("HTTP/1.1 200 "), "{metrics}");
    assert!(
        metrics.contains("content-type: text/plain; version=0.0.4"),
        "{metrics}"
    );
    assert!(
        metrics.contains("\nlanekeeper_loop_silence_seconds "),
        "{metrics}"
    );
    let health = ask(&server, "GET", "/healthz");
    assert!(health.starts_with("HTTP/1.1 200 "), "{health}");
    assert!(health.ends_with("\r\n\r\nok\n"), "{health}");
    assert!(ask(&server, "GET", "/readyz?verbose").contains("\r\n\r\nready\n"));

    watch.show(Vitals {
        phase: Phase::Failing("the log is gone".to_owned()),
        ..Vitals::default()
    });
    for path in ["/healthz", "/readyz"] {
        let answer = ask(&server, "GET", path);
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.contains("the log is gone"), "{answer}");
    }
}

#[test]
fn there_is_nothing_else_and_nothing_can_be_changed() {
    let server = server(&watch());
    assert!(ask(&server, "GET", "/").starts_with("HTTP/1.1 404 "));
    assert!(ask(&server, "GET", "/metrics/").starts_with("HTTP/1.1 404 "));
    let post = ask(&server, "POST", "/metrics");
    assert!(post.starts_with("HTTP/1.1 405 "), "{post}");
    assert!(post.contains("allow: GET, HEAD"), "{post}");
    let head = ask(&server, "HEAD", "/healthz");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(head.contains("content-length: 3\r\n"), "{head}");
    assert!(head.ends_with("\r\n\r\n"), "it has no body: {head}");
    let garbage = {
        let mut stream = connect(&server);
        stream
            .write_all(b"\x16\x03\x01 what\r\n\r\n")
            .expect("request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map(|_| answer)
    };
    assert!(garbage.is_ok_and(|answer| answer.starts_with("HTTP/1.1 400 ")));
}

#[test]
fn clients_that_say_nothing_keep_nobody_out() {
    let server = server(&watch());
    let mut silent: Vec<TcpStream> = (0..3 * CONNECTIONS_MAX).map(|_| connect(&server)).collect();
    assert!(ask(&server, "GET", "/healthz").starts_with("HTTP/1.1 200 "));
    // The first of them made way.
    let mut first = silent.remove(0);
    let mut rest = Vec::new();
    assert!(matches!(first.read_to_end(&mut rest), Ok(0) | Err(_)));
}

/// Goes on when it is told to.
struct Told(AtomicU64);

impl Clock for Told {
    fn now(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::Relaxed))
    }

    fn wall_millis(&self) -> i64 {
        0
    }
}

#[test]
fn a_loop_that_turns_no_more_is_told_of() {
    let clock = Arc::new(Told(AtomicU64::new(100)));
    let watch = Arc::new(Watch::new(Arc::clone(&clock) as Arc<dyn Clock>, 3));
    let server = server(&watch);
    clock.0.store(110, Ordering::Relaxed);
    assert!(ask(&server, "GET", "/healthz").starts_with("HTTP/1.1 200 "));
    clock.0.store(111, Ordering::Relaxed);
    let answer = ask(&server, "GET", "/healthz");
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("has not turned for 11.0 s"), "{answer}");
    let metrics = ask(&server, "GET", "/metrics");
    assert!(
        metrics.contains("\nlanekeeper_loop_silence_seconds 11.0\n"),
        "{metrics}"
    );
}

#[test]
fn an_address_that_is_taken_is_an_error_and_one_that_was_let_go_is_free() {
    let watch = watch();
    let first = server(&watch);
    let address = first.address();
    let error = Server::start(address, Arc::clone(&watch))
        .err()
        .expect("taken");
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    drop(first);
    assert!(Server::start(address, watch).is_ok());
}
