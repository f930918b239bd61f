//! A worker as a service: its pages, held against what it did and against its report, and its log.

use crate::world::{Running, World};
use rustix::process::Signal;
use serde_json::Value;
use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

/// A worker with its pages, told to go on until it is stopped.
struct Service<'w> {
    world: &'w World,
    running: Running,
    address: String,
}

impl<'w> Service<'w> {
    fn start(world: &'w World) -> Self {
        let mut command = world.command(&[
            "run",
            "--set",
            "metrics.listen=127.0.0.1:0",
            "--report",
            "report.json",
        ]);
        command
            .env("LANEKEEPER_LOG", "debug")
            .env("LANEKEEPER_LOG_FORMAT", "json");
        let running = world.start_as(command);
        let mut address = None;
        world.until("the address", || {
            let lines = log(world);
            let found = lines
                .iter()
                .find_map(|line| line["fields"]["address"].as_str());
            address = found.map(str::to_owned);
            address.is_some()
        });
        Self {
            world,
            running,
            address: address.expect("it was found"),
        }
    }

    /// Status and body of a page.
    fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).expect("connection");
        let patience = Duration::from_secs(30);
        stream.set_read_timeout(Some(patience)).expect("timeout");
        let request = format!("GET {path} HTTP/1.1\r\nhost: worker\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("head and body");
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        (status.expect("a status"), body.to_owned())
    }

    /// Waits until a page answers so.
    fn until(&self, path: &str, status: u16, says: &str) {
        self.world.until(&format!("{path}: {status} {says}"), || {
            let (found, body) = self.get(path);
            found == status && body.contains(says)
        });
    }

    /// The values of these series, in whole numbers; one that is not there is 0.
    fn values<const N: usize>(&self, series: [&str; N]) -> [u64; N] {
        let (status, page) = self.get("/metrics");
        assert_eq!(status, 200, "{page}");
        series.map(|series| {
            let found = page.lines().find_map(|line| line.strip_prefix(series));
            found.map_or(0, |value| value.trim().parse().expect(series))
        })
    }

    /// Waits until the series have these values.
    fn until_values<const N: usize>(&self, series: [&str; N], expected: [u64; N]) {
        let mut found = [0; N];
        let world = self.world;
        let reached = |found: &[u64; N]| *found == expected;
        world.until(&format!("{series:?} {expected:?}"), || {
            found = self.values(series);
            reached(&found)
        });
    }
}

fn log(world: &World) -> Vec<Value> {
    let text = world.read("running.log");
    // The last line may be half written.
    let lines = text.lines().map(serde_json::from_str);
    lines.filter_map(Result::ok).collect()
}

const RECORDS: [&str; 6] = [
    "lanekeeper_records_total{source=\"orders\",outcome=\"done\"}",
    "lanekeeper_records_total{source=\"orders\",outcome=\"dead_lettered\"}",
    "lanekeeper_records_total{source=\"orders\",outcome=\"skipped\"}",
    "lanekeeper_records_total{source=\"orders\",outcome=\"stopped\"}",
    "lanekeeper_records_total{source=\"orders\",outcome=\"parked\"}",
    "lanekeeper_records_total{source=\"orders\",outcome=\"chained\"}",
];

const STANDING: [&str; 4] = [
    "lanekeeper_lanes{source=\"orders\",state=\"stopped\"}",
    "lanekeeper_lanes{source=\"orders\",state=\"parked\"}",
    "lanekeeper_chained_records{source=\"orders\"}",
    "lanekeeper_lag_records{source=\"orders\",partition=\"orders/0\"}",
];

#[test]
fn pages_tell_what_was_done_and_agree_with_the_report() {
    let world = World::new();
    let service = Service::start(&world);
    // There is no topic yet: nothing is wrong, and nothing can be claimed.
    service.until("/readyz", 503, "a source has not said yet");
    service.until("/healthz", 200, "ok");

    // `ann` has two that are done. `bob` stops at his first, with two behind it; so does `cat`, with one.
    let secret = "payload-of-nobody";
    let line = |key: &str, word: &str| format!("{{\"k\":\"{key}\",\"v\":\"{word} {secret}\"}}\n");
    let lines = [
        ("ann", "fine"),
        ("bob", "retry"),
        ("bob", "fine"),
        ("cat", "reject"),
        ("ann", "fine"),
        ("bob", "fine"),
        ("cat", "fine"),
    ];
    world.put(&lines.map(|(key, word)| line(key, word)).concat());
    service.until("/readyz", 200, "partitions: 1");
    service.until_values(RECORDS, [2, 0, 0, 2, 0, 0]);
    service.until_values(STANDING, [2, 0, 0, 5]);
    service.until("/healthz", 200, "stopped lanes: 2");
    assert_eq!(
        service.values([
            "lanekeeper_tries_total{source=\"orders\",outcome=\"done\"}",
            "lanekeeper_tries_total{source=\"orders\",outcome=\"retry\"}",
            "lanekeeper_tries_total{source=\"orders\",outcome=\"reject\"}",
            "lanekeeper_retries_total{source=\"orders\"}",
            "lanekeeper_rejects_total{source=\"orders\"}",
        ]),
        [2, 2, 1, 1, 1]
    );

    let parked = world.lanekeeper(&["lanes", "park", "--key", "cat", "--wait"]);
    assert_eq!(parked.code, Some(0), "{}", parked.stderr);
    service.until_values(RECORDS, [2, 0, 0, 2, 1, 1]);
    service.until_values(STANDING, [1, 1, 2, 3]);
    let [commits] = service.values(["lanekeeper_commit_seconds_count"]);
    assert!(commits > 0);

    // It drains, is not ready any more, and is alive.
    world.put(&line("dan", "wait"));
    service.until_values(["lanekeeper_in_flight"], [1]);
    service.running.signal(Signal::TERM);
    service.until("/readyz", 503, "draining");
    service.until("/healthz", 200, "draining: 1 in flight");
    let before = service.values(RECORDS);
    world.write("go", "");
    let Service { running, .. } = service;
    assert_eq!(
        running.exit_code(),
        Some(0),
        "{}",
        world.read("running.log")
    );

    let report: Value = serde_json::from_str(&world.read("report.json")).expect("report");
    let of = |field: &str| report[field].as_u64().expect("a number");
    assert_eq!(before, [2, 0, 0, 2, 1, 1]);
    assert_eq!(of("done"), before[0] + 1, "one more was in flight");
    assert_eq!([of("retries"), of("rejected"), of("fenced")], [1, 1, 0]);
    assert_eq!([of("parked"), of("held")], [2, 3]);
    assert_eq!(of("tries"), 6);

    log_tells_ids_and_no_more(&world, secret);
}

/// Which records the log tells of, and that it tells nothing of what they hold.
fn log_tells_ids_and_no_more(world: &World, secret: &str) {
    let lines = log(world);
    let told = |message: &str, record: u64| {
        let id = format!("orders/orders/0/{record}/0");
        let found = lines.iter().filter(|line| {
            let fields = &line["fields"];
            fields["record"] == id.as_str()
                && fields["message"]
                    .as_str()
                    .is_some_and(|m| m.starts_with(message))
        });
        let found: Vec<&Value> = found.collect();
        for line in &found {
            let fields = &line["fields"];
            assert_eq!(
                (&fields["source"], &fields["partition"]),
                (&"orders".into(), &"orders/0".into()),
                "{line}"
            );
            assert!(fields["error"].is_string(), "{line}");
        }
        found.len()
    };
    assert_eq!(told("try failed", 2), 2, "both tries of the retried one");
    assert_eq!(told("try failed", 4), 1);
    assert_eq!(told("lane stopped", 2), 1);
    assert_eq!(told("lane stopped", 4), 1);
    assert_eq!(told("lane parked", 4), 1);

    let text = world.read("running.log");
    assert!(!text.contains(secret), "a payload is in the log");
    // What is told to people at the end names keys: they decide by them.
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with('{')).collect();
    assert!(lines.len() > 10, "{text}");
    for key in ["ann", "bob", "cat", "dan"] {
        let words = { &lines }
            .iter()
            .flat_map(|line| line.split(|c: char| !c.is_alphanumeric()));
        assert!(
            words.filter(|word| *word == key).count() == 0,
            "key {key} is in the log"
        );
    }
}

#[test]
fn an_address_that_is_taken_is_named_and_nothing_is_called() {
    let world = World::new();
    world.put("{\"k\":\"a\"}\n");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("an address");
    let address = taken.local_addr().expect("an address");
    let set = format!("metrics.listen={address}");
    let ended = world.lanekeeper(&["run", "--until-idle", "--set", &set]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(
        ended.stderr.contains(&address.to_string()),
        "{}",
        ended.stderr
    );
    assert!(!world.path("seen").exists(), "the handler was called");
    // What ends by itself leaves the address to the worker beside it.
    let recovered = world.lanekeeper(&["recover", "--set", &set]);
    assert_eq!(recovered.code, Some(0), "{}", recovered.stderr);
}

/// The check of `deploy/Dockerfile`, asking at this address.
fn image_finds_healthy(address: &str) -> bool {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/Dockerfile");
    let file = std::fs::read_to_string(file).expect("the Dockerfile");
    let check = file.split("HEALTHCHECK ").nth(1).expect("a check");
    let check = check
        .split("CMD ")
        .nth(1)
        .and_then(|rest| rest.lines().next());
    let words: Vec<String> = serde_json::from_str(check.expect("a command")).expect("a list");
    let port = address.rsplit(':').next().expect("a port");
    let [program, arguments @ ..] = &words[..] else {
        panic!("no program: {words:?}");
    };
    let arguments = arguments.iter().map(|word| word.replace("9464", port));
    let mut command = std::process::Command::new(program);
    command.args(arguments).stderr(std::process::Stdio::null());
    command.status().expect("bash").success()
}

#[test]
fn the_image_s_check_tells_a_healthy_worker_from_others() {
    let world = World::new();
    let service = Service::start(&world);
    service.until("/healthz", 200, "ok");
    assert!(image_finds_healthy(&service.address));
    let address = service.address.clone();
    service.running.signal(Signal::TERM);
    assert_eq!(service.running.exit_code(), Some(0));
    assert!(!image_finds_healthy(&address), "nobody is there");

    let ill = std::net::TcpListener::bind("127.0.0.1:0").expect("an address");
    let address = ill.local_addr().expect("an address").to_string();
    let answer = std::thread::spawn(move || {
        let (mut stream, _) = ill.accept().expect("a connection");
        let mut request = [0; 200];
        let length = stream.read(&mut request).expect("a request");
        let says = "HTTP/1.1 503 Service Unavailable\r\n\r\nunhealthy: 200 \n";
        stream.write_all(says.as_bytes()).expect("an answer");
        String::from_utf8_lossy(&request[..length]).into_owned()
    });
    assert!(!image_finds_healthy(&address), "it says that it is ill");
    let asked = answer.join().expect("asked");
    assert!(asked.starts_with("GET /healthz HTTP/1.0\r\n"), "{asked}");
}
