//! What `docs/kafka.md` says to a newcomer, done as it stands there, with two workers on a table.

use lanekeeper_integration::{
    kafka::Kafka,
    scene::{Ended, Running, Scene, eventually},
    tables::Tables,
};
use rdkafka::{
    ClientConfig,
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use std::{fs, time::Duration};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/kafka.md");

/// The first block of the page in this language.
fn block<'a>(page: &'a str, language: &str) -> &'a str {
    let (_, rest) = page.split_once(&format!("```{language}\n")).unwrap();
    rest.split_once("```").unwrap().0
}

/// The page's configuration, for a topic, servers and a table of the test's own.
fn config(page: &str, kafka: &Kafka, topic: &str) -> String {
    let (before, _) = block(page, "toml").split_once("[store]").unwrap();
    let before = before
        .replace("127.0.0.1:9092", kafka.bootstrap())
        .replace("[\"orders\"]", &format!("[\"{topic}\"]"))
        .replace("\"billing\"", &format!("\"{topic}\""));
    assert_eq!(before.matches(topic).count(), 2, "{before}");
    format!("{before}[store]\n")
}

/// The records that the page gives to Kafka's own tool.
fn produce(page: &str, kafka: &Kafka, topic: &str) {
    let (_, rest) = page.split_once("<<'END'\n").unwrap();
    let (lines, _) = rest.split_once("END").unwrap();
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", kafka.bootstrap())
        .create()
        .unwrap();
    for line in lines.lines() {
        let (key, value) = line.split_once(':').unwrap();
        let record = BaseRecord::to(topic).key(key).payload(value);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(Duration::from_secs(60)).unwrap();
    assert_eq!(lines.lines().count(), 4);
}

struct Newcomer {
    page: String,
    scene: Scene,
}

impl Newcomer {
    /// Runs a command that the page has, with more words that it has not.
    fn does(&self, command: &str, more: &[&str]) -> Ended {
        assert!(
            self.page.contains(&format!("$ lanekeeper {command}")),
            "not on the page: {command}"
        );
        let ended = self.scene.run(&[&words(command)[..], more].concat());
        let ended = ended.unwrap();
        assert_eq!(ended.code, Some(0), "{command}: {ended:#?}");
        ended
    }

    fn two_workers(&self) -> [Running; 2] {
        [(); 2].map(|()| self.scene.start(&["run"]).unwrap())
    }

    fn lanes(&self) -> Vec<serde_json::Value> {
        let listed = self.does("lanes list", &["--json"]).json().unwrap();
        listed["lanes"].as_array().unwrap().clone()
    }
}

/// As a shell tells them apart.
fn words(command: &str) -> Vec<&str> {
    let parts = command.split('"').enumerate();
    parts
        .flat_map(|(number, part)| {
            if number % 2 == 1 {
                vec![part]
            } else {
                part.split_whitespace().collect()
            }
        })
        .collect()
}

#[test]
fn two_workers_from_nothing_park_release_and_replay_one_customers_requests() {
    let page = fs::read_to_string(PAGE).unwrap();
    let (kafka, tables) = (Kafka::start().unwrap(), Tables::start().unwrap());
    let topic = Kafka::topic_name();
    kafka.create_topic(&topic, 4, &[]).unwrap();
    let (scene, _) = tables.scene(&config(&page, &kafka, &topic)).unwrap();
    let worker = block(&page, "python").to_owned();
    scene.write("worker.py", &worker).unwrap();
    produce(&page, &kafka, &topic);
    let newcomer = Newcomer { page, scene };
    newcomer.does("store init", &[]);
    newcomer.does("check", &[]);
    let workers = newcomer.two_workers();
    eventually("a parked lane with its follower", || {
        let lanes = newcomer.lanes();
        Ok(lanes.len() == 1 && lanes[0]["state"] == "parked" && lanes[0]["count"] == 2)
    })
    .unwrap();
    newcomer.does("status", &[]);

    // Refunds are paid now.
    let mended = worker.replace("< 0", "is None");
    assert_ne!(mended, worker);
    newcomer.scene.write("worker.py", &mended).unwrap();
    for mut worker in workers {
        worker.signal("TERM").unwrap();
        let ended = worker.wait().unwrap();
        assert_eq!(ended.code, Some(0), "{ended:#?}");
    }
    let workers = newcomer.two_workers();
    let release = "lanes release --key customer-17 --why \"negative amounts are refunds\"";
    newcomer.does(release, &["--wait"]);
    eventually("no lane to stand", || Ok(newcomer.lanes().is_empty())).unwrap();

    let replay = "replay --from 1970-01-01T00:00:00Z --key customer-17 --alongside";
    let dry = newcomer.does(&format!("{replay} --dry-run"), &["--json"]);
    assert_eq!(dry.json().unwrap()["records"], 3, "{dry:#?}");
    let replayed = newcomer.does(replay, &["--report", "-"]);
    assert_eq!(replayed.json().unwrap()["done"], 3, "{replayed:#?}");
    for mut worker in workers {
        worker.signal("TERM").unwrap();
        let ended = worker.wait().unwrap();
        assert_eq!(ended.code, Some(0), "{ended:#?}");
    }
}
