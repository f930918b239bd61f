//! Brokers that end, are killed, freeze, and come back.

use crate::client::{config, consume, produce, values};
use lanekeeper_integration::{
    kafka::{Controllers, Kafka, Setup},
    scene::eventually,
};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use std::{fs, net::TcpStream, path::Path, time::Duration};

fn accepts(bootstrap: &str) -> bool {
    bootstrap
        .split(',')
        .any(|address| TcpStream::connect(address).is_ok())
}

#[test]
fn a_killed_broker_comes_back_with_its_data() {
    let kafka = Kafka::own(&Setup::default()).unwrap();
    let topic = &Kafka::topic_name();
    kafka.create_topic(topic, 1, &[]).unwrap();
    let config = config(kafka.bootstrap());
    let written = values("value", 200);
    produce(&config, topic, &written[..100]);
    kafka.kill_broker(0).unwrap();
    assert!(!accepts(kafka.bootstrap()));
    kafka.start_broker(0).unwrap();
    let again = kafka.start_broker(0).unwrap_err().to_string();
    assert!(again.contains("runs already"), "{again}");
    produce(&config, topic, &written[100..]);
    assert_eq!(consume(&config, topic, 200), written);
}

#[test]
fn a_cluster_of_three_survives_a_rolling_restart() {
    let kafka = Kafka::cluster(3).unwrap();
    assert_eq!(kafka.brokers(), Some(3));
    let topic = &Kafka::topic_name();
    kafka
        .create_topic(topic, 1, &[("min.insync.replicas", "2")])
        .unwrap();
    let config = config(kafka.bootstrap());
    let written = values("value", 80);
    produce(&config, topic, &written[..20]);
    for index in 0..3 {
        kafka.stop_broker(index).unwrap();
        produce(&config, topic, &written[20 * (index + 1)..20 * (index + 2)]);
        kafka.start_broker(index).unwrap();
    }
    assert_eq!(consume(&config, topic, 80), written);
}

#[test]
fn a_frozen_broker_answers_nobody_until_it_is_thawed() {
    let kafka = Kafka::own(&Setup::default()).unwrap();
    let asking: BaseConsumer = config(kafka.bootstrap()).create().unwrap();
    let ask = |limit| asking.fetch_metadata(None, limit);
    assert!(ask(Duration::from_secs(10)).is_ok());
    kafka.freeze_broker(0).unwrap();
    assert!(ask(Duration::from_millis(500)).is_err());
    kafka.thaw_broker(0).unwrap();
    assert!(ask(Duration::from_secs(60)).is_ok());
}

#[test]
fn one_controller_outlives_the_other_brokers() {
    let setup = Setup::default()
        .with_brokers(2)
        .with_controllers(Controllers::First);
    let kafka = Kafka::own(&setup).unwrap();
    let asking: BaseConsumer = config(kafka.bootstrap()).create().unwrap();
    let brokers = || {
        let metadata = asking.fetch_metadata(None, Duration::from_secs(10));
        metadata.map_or(0, |metadata| metadata.brokers().len())
    };
    kafka.kill_broker(1).unwrap();
    // Of two controllers, one would be no majority, and decide nothing.
    eventually("the loss of a broker to be decided", || Ok(brokers() == 1)).unwrap();
    kafka.start_broker(1).unwrap();
    eventually("both brokers", || Ok(brokers() == 2)).unwrap();
}

#[test]
fn brokers_end_with_their_owner_and_take_their_files_along() {
    let kafka = Kafka::own(&Setup::default()).unwrap();
    let (bootstrap, logs) = (kafka.bootstrap().to_owned(), kafka.logs());
    assert!(accepts(&bootstrap));
    assert!(logs[0].exists());
    drop(kafka);
    assert!(!accepts(&bootstrap));
    assert!(!logs[0].exists());
}

#[test]
fn a_broker_that_does_not_start_is_quoted() {
    let wrong = Setup::default().with("num.io.threads", "many");
    let told = Kafka::own(&wrong).map(|_| ()).unwrap_err().to_string();
    assert!(told.contains("broker 0 ended by itself"), "{told}");
    assert!(told.contains("Invalid value many"), "{told}");
    // It stays, to be read.
    let log = told
        .split_once("(in ")
        .unwrap()
        .1
        .split_once(')')
        .unwrap()
        .0;
    assert!(Path::new(log).exists(), "{log}");
    fs::remove_dir_all(Path::new(log).ancestors().nth(2).unwrap()).unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn a_broker_ends_when_its_starter_is_killed() {
    use lanekeeper_integration::kafka;
    use std::process::{Command, Stdio};

    // This test binary once more, as the starter.
    if std::env::var_os("STARTER").is_some() {
        let kafka = Kafka::own(&Setup::default()).unwrap();
        let process = kafka.broker_process(0).unwrap();
        let folder = std::env::var("STARTER").unwrap();
        fs::write(Path::new(&folder).join("part"), process.to_string()).unwrap();
        fs::rename(
            Path::new(&folder).join("part"),
            Path::new(&folder).join("id"),
        )
        .unwrap();
        std::thread::sleep(Duration::from_secs(600));
    }
    kafka::fetch().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let name = "outages::a_broker_ends_when_its_starter_is_killed";
    let mut starter = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact"])
        .env("STARTER", folder.path())
        .env("TMPDIR", folder.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let id = folder.path().join("id");
    eventually("the broker of the starter", || Ok(id.exists())).unwrap();
    let broker = format!("/proc/{}/cmdline", fs::read_to_string(id).unwrap());
    let is_there = || fs::read_to_string(&broker).is_ok_and(|line| line.contains("Launch"));
    assert!(is_there());
    starter.kill().unwrap();
    starter.wait().unwrap();
    eventually("the end of the broker", || Ok(!is_there())).unwrap();
}
