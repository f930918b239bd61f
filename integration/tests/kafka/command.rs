//! `cargo integration up` and `down` of Kafka, and the cache.

use crate::client::{config, consume, produce, values};
use lanekeeper_integration::kafka::{self, Kafka};
use std::{
    fs,
    net::TcpStream,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Output},
};

/// A cache of its own, in which the fetched jars are those of the real one: no test fetches twice.
fn cache() -> tempfile::TempDir {
    let cache = tempfile::tempdir().unwrap();
    let package = kafka::fetch().unwrap();
    symlink(&package, cache.path().join(package.file_name().unwrap())).unwrap();
    cache
}

/// The command itself.
fn integration(cache: &Path, command: &str, path: Option<&Path>) -> Output {
    let mut integration = Command::new(env!("CARGO_BIN_EXE_integration"));
    integration
        .args([command, "kafka"])
        .env("LANEKEEPER_CACHE", cache)
        .env_remove("JAVA_HOME")
        .env_remove("LANEKEEPER_TEST_KAFKA");
    if let Some(path) = path {
        integration.env("PATH", path);
    }
    integration.output().unwrap()
}

fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{output:?}");
    text
}

#[test]
fn up_starts_one_that_down_ends() {
    let cache = cache();
    let run = |command| said(&integration(cache.path(), command, None));
    let up = run("up");
    assert!(up.starts_with("started a Kafka"), "{up}");
    let state = fs::read_to_string(cache.path().join("kafka.json")).unwrap();
    let state: serde_json::Value = serde_json::from_str(&state).unwrap();
    let bootstrap = state["endpoint"].as_str().unwrap();
    assert!(up.contains(bootstrap), "{up}");
    assert!(TcpStream::connect(bootstrap).is_ok());

    let again = run("up");
    assert!(again.starts_with("nothing started"), "{again}");
    assert!(again.contains(bootstrap), "{again}");

    let down = run("down");
    assert!(down.contains(bootstrap), "{down}");
    assert!(TcpStream::connect(bootstrap).is_err());
    let again = run("down");
    assert!(again.starts_with("nothing to end"), "{again}");
}

#[test]
fn what_is_missing_is_named() {
    let (cache, path) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let complaint = || {
        let up = integration(cache.path(), "up", Some(path.path()));
        assert!(!up.status.success(), "{up:?}");
        String::from_utf8_lossy(&up.stderr).into_owned()
    };
    let script = |name: &str, text: &str| {
        let file = path.path().join(name);
        fs::write(&file, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    };
    let no_java = complaint();
    script("javac", "echo javac 11.0.2");
    let old_java = complaint();
    script("javac", "echo javac 21.0.2");
    let no_maven = complaint();
    script("mvn", "echo Unknown host repo.example; exit 1");
    let no_network = complaint();
    for (told, parts) in [
        (no_java, ["cannot run `javac`", "default-jdk-headless"]),
        (old_java, ["javac 11.0.2", "17 or later"]),
        (no_maven, ["`mvn`", "apt-get install"]),
        (no_network, ["Unknown host repo.example", "settings.xml"]),
    ] {
        for part in parts.into_iter().chain(["LANEKEEPER_TEST_KAFKA"]) {
            assert!(told.contains(part), "`{part}` is not in: {told}");
        }
    }
}

#[test]
fn the_environment_of_tests_leads_to_it() {
    let kafka = Kafka::start().unwrap();
    assert!(!kafka.name().is_empty());
    let environment = kafka.for_tests();
    assert_eq!(
        environment[0],
        ("LANEKEEPER_TEST_KAFKA", kafka.bootstrap().to_owned())
    );
    let topic = &Kafka::topic_name();
    kafka.create_topic(topic, 1, &[]).unwrap();
    let config = config(&environment[0].1);
    produce(&config, topic, &values("value", 1));
    assert_eq!(consume(&config, topic, 1), ["value-0"]);
}
