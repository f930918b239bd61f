//! What `docs/kafka.md` says to a newcomer, done as it stands there, with two workers on a table.

use lanekeeper_integration::{
    kafka::Kafka,
    scene::{Ended, Running, Scene, eventually, example},
    tables::Tables,
};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    process::{Command, Stdio},
};

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

/// The topic and the records, put as the page says.
fn put(page: &str, kafka: &Kafka, topic: &str) {
    let (command, rest) = page.split_once(" <<'END'\n").unwrap();
    let (_, args) = command.rsplit_once("--example kafka_put -- ").unwrap();
    let (lines, _) = rest.split_once("END\n").unwrap();
    let args = args
        .replace("127.0.0.1:9092", kafka.bootstrap())
        .replace("orders", topic);
    let mut put = Command::new(example("kafka_put").unwrap())
        .args(args.split(' '))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    put.stdin
        .take()
        .unwrap()
        .write_all(lines.as_bytes())
        .unwrap();
    let ended = put.wait_with_output().unwrap();
    assert!(ended.status.success());
    let said = String::from_utf8(ended.stdout).unwrap();
    assert_eq!(said, format!("4 records in `{topic}`\n"));
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

    fn lanes(&self) -> Vec<Value> {
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
    let (scene, _) = tables.scene(&config(&page, &kafka, &topic)).unwrap();
    let worker = block(&page, "python").to_owned();
    scene.write("worker.py", &worker).unwrap();
    put(&page, &kafka, &topic);
    let newcomer = Newcomer { page, scene };
    newcomer.does("store init", &[]);
    newcomer.does("check", &[]);
    let workers = newcomer.two_workers();
    eventually("a parked lane with its follower", || {
        let lanes = newcomer.lanes();
        Ok(lanes.len() == 1 && lanes[0]["state"] == "parked" && lanes[0]["count"] == 2)
    })
    .unwrap();
    eventually("both workers to own partitions", || {
        let status = newcomer.does("status", &["--json"]).json()?;
        let partitions = status["partitions"].as_array().unwrap();
        let owners = partitions.iter().map(|one| one["worker"].to_string());
        Ok(partitions.len() == 4 && owners.collect::<BTreeSet<_>>().len() == 2)
    })
    .unwrap();

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
