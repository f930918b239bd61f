//! Dead letters: from a stream into a queue of the emulator of SQS, standard and FIFO.

use crate::{
    target::Say,
    world::{World, stream},
};
use lanekeeper_integration::{
    lambda::{Function, Journal, Mapping, Stream},
    scene::Scene,
    sqs::{Sqs, SqsQueue},
};
use serde_json::Value;
use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    thread,
    time::Duration,
};

/// Longer than any test takes: what is received is deleted at once.
const VISIBILITY: Duration = Duration::from_secs(30);

/// A function behind this stream, which publishes to a queue of this URL at this endpoint.
fn publishing(stream: &Stream, then: &str, url: &str, endpoint: &str) -> (World, Function) {
    let then = format!("\"{then}\"");
    let url = format!("\"{url}\"");
    let world = World::kinesis(
        stream,
        &[
            ("failure.then", &then),
            ("failure.dead_letter.type", "\"sqs\""),
            ("failure.dead_letter.queue_url", &url),
        ],
    );
    let function = world.function().env("AWS_ENDPOINT_URL_SQS", endpoint);
    (world, function)
}

fn text_of<'a>(letter: &'a Value, attribute: &str) -> &'a str {
    let attribute = &letter["MessageAttributes"][format!("lanekeeper.{attribute}")];
    attribute["StringValue"].as_str().unwrap_or_default()
}

fn bodies(letters: &[Value]) -> Vec<&str> {
    letters.iter().filter_map(|l| l["Body"].as_str()).collect()
}

fn names_nothing(journal: &Journal, delivery: usize) {
    let answer = journal.deliveries[delivery].answer();
    let named = answer["batchItemFailures"].as_array();
    assert!(named.is_none_or(Vec::is_empty), "{answer}");
}

fn words(function: &Function) -> String {
    let environments = function.environments();
    let words = environments.iter().map(|e| e.words().unwrap());
    words.collect()
}

#[test]
fn what_fails_for_good_is_in_the_queue_and_the_mapping_goes_on() {
    let sqs = Sqs::start().unwrap();
    let fifo = sqs.create_fifo(VISIBILITY).unwrap();
    let standard = sqs.create_standard(VISIBILITY).unwrap();
    for queue in [&fifo, &standard] {
        let records = [
            ("a", "a1"),
            ("b", "b1"),
            ("a", "a2"),
            ("a", "a3"),
            ("b", "b2"),
        ];
        let stream = stream(&records);
        let (world, function) = publishing(&stream, "dead-letter", queue.url(), sqs.endpoint());
        for text in ["a1", "a2", "b2"] {
            world.target.always(text, Say::Status(400));
        }
        let journal = Mapping::kinesis(&function, &stream)
            .reports_failures()
            .run()
            .unwrap();
        assert_eq!(journal.deliveries.len(), 1);
        names_nothing(&journal, 0);
        assert_eq!(world.target.texts_of("a"), ["a1", "a2", "a3"]);
        assert_eq!(world.target.texts_of("b"), ["b1", "b2"]);
        assert!(world.lanes().is_empty());
        let letters = queue.drain().unwrap();
        let mut found = bodies(&letters);
        found.sort_unstable();
        assert_eq!(found, ["a1", "a2", "b2"]);
        let is_fifo = queue.url() == fifo.url();
        for letter in &letters {
            assert_letter(letter, is_fifo);
        }
        if is_fifo {
            let of_a = letters.iter().filter(|l| text_of(l, "key") == "a");
            let of_a: Vec<&str> = of_a.filter_map(|l| l["Body"].as_str()).collect();
            assert_eq!(of_a, ["a1", "a2"], "in the order of the lane");
        }
    }
}

/// A letter that is sent again is one in a FIFO queue, and none hides that of another app (F7).
#[test]
fn f7_a_fifo_queue_holds_a_letter_once_and_that_of_each_app() {
    let sqs = Sqs::start().unwrap();
    let queue = sqs.create_fifo(VISIBILITY).unwrap();
    // Another table each: the second function knows nothing of what the first has published.
    for app in ["\"orders\"", "\"orders\"", "\"billing\""] {
        let stream = stream(&[("a", "a1"), ("a", "a2")]);
        let (world, function) = publishing(&stream, "dead-letter", queue.url(), sqs.endpoint());
        let function = function.env("LANEKEEPER__APP", app);
        world.target.always("a1", Say::Status(400));
        let journal = Mapping::kinesis(&function, &stream)
            .reports_failures()
            .run()
            .unwrap();
        names_nothing(&journal, 0);
    }
    assert_eq!(bodies(&queue.drain().unwrap()), ["a1", "a1"]);
}

fn assert_letter(letter: &Value, is_fifo: bool) {
    let body = letter["Body"].as_str().unwrap();
    assert_eq!(text_of(letter, "key"), &body[..1], "{letter}");
    assert_eq!(text_of(letter, "source"), "orders");
    assert_eq!(text_of(letter, "partition"), "shardId-000000000000");
    assert_eq!(text_of(letter, "attempts"), "1");
    assert!(text_of(letter, "error").contains("400"), "{letter}");
    let position = text_of(letter, "position");
    let id = format!("orders/shardId-000000000000/{position}/0");
    assert_eq!(text_of(letter, "id"), id);
    let group = letter["Attributes"]["MessageGroupId"].as_str();
    assert_eq!(group, is_fifo.then_some(&body[..1]), "{letter}");
}

/// What is not published is passed by nobody: the answer names it until the queue is there.
#[test]
fn g7_a_queue_that_is_missing_or_closed_is_named_and_nothing_is_lost() {
    let sqs = Sqs::start().unwrap();
    // Both cases have the same record, which one queue would take once.
    let queues = [(); 2].map(|()| sqs.create_fifo(VISIBILITY).unwrap());
    let missing = queues[0].url().replace(".fifo", "-missing.fifo");
    let closed = Closed::start();
    let told = [
        (missing.as_str(), sqs.endpoint(), "there is no such queue"),
        (queues[1].url(), closed.endpoint(), "`sqs:SendMessage`"),
    ];
    for ((url, endpoint, why), queue) in told.into_iter().zip(&queues) {
        let stream = stream(&[("a", "a1"), ("b", "b1"), ("a", "a2")]);
        let (world, function) = publishing(&stream, "dead-letter", url, endpoint);
        world.target.always("a1", Say::Status(400));
        let function = function.timeout(Duration::from_secs(5));
        let mapping = Mapping::kinesis(&function, &stream).reports_failures();
        let journal = mapping.deliveries_max(1).run().unwrap();
        assert_eq!(crate::world::named(&journal.deliveries[0]), ["a1"]);
        let words = words(&function);
        assert!(words.contains(why) && words.contains(url), "{words}");
        assert_eq!(world.target.texts_of("a"), ["a1"], "nothing overtakes it");
        let lanes = world.lanes();
        assert_eq!((lanes.len(), &lanes[0]["state"]), (1, &"stopped".into()));
        assert!(queue.drain().unwrap().is_empty());
        // Mended: the record is published, and does not run again.
        let mended = function_of(&world, queue, &sqs);
        Mapping::kinesis(&mended, &stream)
            .reports_failures()
            .run()
            .unwrap();
        assert_eq!(bodies(&queue.drain().unwrap()), ["a1"]);
        assert_eq!(world.target.texts_of("a"), ["a1", "a2"]);
        assert!(world.lanes().is_empty());
    }
}

fn function_of(world: &World, queue: &SqsQueue, sqs: &Sqs) -> Function {
    let url = format!("\"{}\"", queue.url());
    world
        .function()
        .env("AWS_ENDPOINT_URL_SQS", sqs.endpoint())
        .env("LANEKEEPER__FAILURE__DEAD_LETTER__QUEUE_URL", &url)
}

#[test]
fn a_stopped_head_is_dead_lettered_by_decision() {
    let sqs = Sqs::start().unwrap();
    let queue = sqs.create_fifo(VISIBILITY).unwrap();
    let stream = stream(&[("a", "a1"), ("a", "a2")]);
    let (world, function) = publishing(&stream, "stop", queue.url(), sqs.endpoint());
    world.target.always("a1", Say::Status(400));
    let running = Mapping::kinesis(&function, &stream)
        .reports_failures()
        .start()
        .unwrap();
    running
        .until("it stands", |j| !j.verdicts().is_empty())
        .unwrap();
    assert!(queue.drain().unwrap().is_empty());
    world.lanekeeper(&[
        "lanes",
        "dead-letter",
        "--key",
        "a",
        "--why",
        "no such account",
    ]);
    running.until_idle().unwrap();
    running.stop().unwrap();
    assert_eq!(bodies(&queue.drain().unwrap()), ["a1"]);
    assert_eq!(world.target.texts_of("a"), ["a1", "a2"]);
    assert!(world.lanes().is_empty());
}

const WORKER: &str = r#"
app = "billing"
cap = 3
drain = "6s"

[sources.orders]
type = "local"
topic = "orders"

[failure]
attempts = 1
timeout = "5s"
then = "dead-letter"

[failure.dead_letter]
type = "sqs"
queue_url = "QUEUE"

[handler]
type = "exec"
command = [WORKER, "--broken", "2"]
"#;

/// The same target for a worker on its embedded log.
#[test]
fn a_worker_publishes_to_a_queue_too() {
    let sqs = Sqs::start().unwrap();
    let queue = sqs.create_fifo(VISIBILITY).unwrap();
    let environment = [
        ("AWS_ENDPOINT_URL_SQS", sqs.endpoint()),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ];
    let environment = environment.map(|(name, value)| (name, value.to_owned()));
    let config = WORKER.replace("QUEUE", queue.url());
    let scene = Scene::within(&config, environment.to_vec()).unwrap();
    let requests: String = (1..=3)
        .map(|n| format!("{{\"account\":\"a\",\"n\":{n}}}\n"))
        .collect();
    scene.write("requests.jsonl", &requests).unwrap();
    let put = [
        "put",
        "--topic",
        "orders",
        "--key",
        "account",
        "requests.jsonl",
    ];
    let ended = scene.run(&put).unwrap();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let ended = scene.run(&["run", "--until-idle"]).unwrap();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let letters = queue.drain().unwrap();
    assert_eq!(bodies(&letters), ["{\"account\":\"a\",\"n\":2}"]);
    assert_eq!(text_of(&letters[0], "key"), "a");
    assert_eq!(text_of(&letters[0], "source"), "orders");
}

/// S16: what no queue takes is not cut short: its lane stops, and says why.
#[test]
fn s16_a_record_that_is_too_large_for_a_queue_stops_its_lane_by_name() {
    let sqs = Sqs::start().unwrap();
    let queue = sqs.create_fifo(VISIBILITY).unwrap();
    let large = "x".repeat(1 << 20);
    let stream = stream(&[("a", &large), ("a", "a2"), ("b", "b1")]);
    let (world, function) = publishing(&stream, "dead-letter", queue.url(), sqs.endpoint());
    world.target.always(&large, Say::Status(400));
    let mapping = Mapping::kinesis(&function, &stream).reports_failures();
    let journal = mapping.deliveries_max(2).run().unwrap();
    for delivery in &journal.deliveries {
        assert_eq!(crate::world::named(delivery), [large.as_str()]);
    }
    assert_eq!(world.target.texts_of("b"), ["b1"]);
    let lanes = world.lanes();
    let told = lanes[0].to_string();
    assert_eq!(lanes[0]["state"], "stopped");
    assert!(
        told.contains("dead letter not published") && told.contains("1048576"),
        "{told}"
    );
    assert!(queue.drain().unwrap().is_empty());
}

/// A file of one environment is not there in the next: which setting it is, and what to set.
#[test]
fn a_log_of_dead_letters_is_refused_by_its_setting() {
    let stream = stream(&[("a", "a1")]);
    let world = World::kinesis(
        &stream,
        &[
            ("failure.then", "\"dead-letter\""),
            ("failure.dead_letter.type", "\"local\""),
            ("failure.dead_letter.path", "\"dead.db\""),
            ("failure.dead_letter.topic", "\"dead\""),
        ],
    );
    let function = world.function();
    let mapping = Mapping::kinesis(&function, &stream).reports_failures();
    mapping.deliveries_max(1).run().unwrap();
    let words = words(&function);
    assert!(words.contains("`failure.dead_letter.type`"), "{words}");
    // What else there is; the artefact that is deployed has no log at all.
    let others = ["`failure.dead_letter.queue_url`", "no `local`"];
    assert!(others.iter().any(|part| words.contains(part)), "{words}");
    assert!(world.target.calls().is_empty());
}

/// A queue that takes nothing from anybody.
struct Closed(String);

impl Closed {
    /// It answers for as long as the test's process lives.
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                refuse(stream);
            }
        });
        Self(endpoint)
    }

    fn endpoint(&self) -> &str {
        &self.0
    }
}

/// As AWS answers who is not allowed.
fn refuse(mut stream: std::net::TcpStream) {
    let body = r#"{"__type": "com.amazonaws.sqs#AccessDenied", "message": "User: test is not authorized to perform: sqs:sendmessage"}"#;
    let mut request = Vec::new();
    let mut part = [0; 4096];
    while let Ok(n @ 1..) = stream.read(&mut part) {
        request.extend_from_slice(&part[..n]);
        let text = String::from_utf8_lossy(&request);
        let whole = text.split_once("\r\n\r\n");
        if whole.is_some_and(|(_, body)| serde_json::from_str::<Value>(body).is_ok()) {
            break;
        }
    }
    let answer = format!(
        "HTTP/1.1 403 Forbidden\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let _gone = stream.write_all(answer.as_bytes());
}
