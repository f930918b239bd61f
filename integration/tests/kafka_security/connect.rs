//! TLS, client certificates and SASL, by the real binary.

use crate::{FOR_EVER, HANDLER, produce};
use lanekeeper_integration::{
    kafka::{Kafka, Listener, PASSWORD, Secure, USER},
    scene::{Ended, Scene},
};
use std::{fs, path::Path};

const TOPIC: &str = "orders";
const RECORDS: usize = 5;

/// A password that no broker knows and no output may show.
const WRONG: &str = "hunter2-is-not-it";

fn scene(servers: &str, group: &str, properties: &[(&str, String)], password: &str) -> Scene {
    let lines: String = { properties.iter() }
        .map(|(name, value)| format!("\"{name}\" = {value}\n"))
        .collect();
    let config = format!(
        "app = \"{group}\"\ncap = 2\n[sources.orders]\ntype = \"kafka\"\nbootstrap_servers = \"{servers}\"\ntopics = [\"{TOPIC}\"]\n[sources.orders.properties]\n{lines}[store]\nflush_interval = \"50ms\"\n{HANDLER}"
    );
    let environment = vec![
        ("KAFKA_PASSWORD", password.to_owned()),
        // Whatever is said at all must show no secret.
        ("LANEKEEPER_LOG", "trace".to_owned()),
    ];
    Scene::within(&config, environment).unwrap()
}

fn text(value: &str) -> String {
    format!("\"{value}\"")
}

fn path(path: &Path) -> String {
    text(path.to_str().unwrap())
}

fn tls(ca: &Path) -> Vec<(&'static str, String)> {
    vec![
        ("security.protocol", text("SSL")),
        ("ssl.ca.location", path(ca)),
    ]
}

fn with_certificate(ca: &Path, certificate: &Path, key: &Path) -> Vec<(&'static str, String)> {
    let mut properties = tls(ca);
    properties.push(("ssl.certificate.location", path(certificate)));
    // A key is a secret: as text from a file.
    let key = format!("{{ file = {} }}", path(key));
    properties.push(("ssl.key.pem", key));
    properties
}

fn sasl(ca: Option<&Path>, mechanism: &str) -> Vec<(&'static str, String)> {
    let protocol = if ca.is_some() {
        "SASL_SSL"
    } else {
        "SASL_PLAINTEXT"
    };
    let mut properties = vec![
        ("security.protocol", text(protocol)),
        ("sasl.mechanism", text(mechanism)),
        ("sasl.username", text(USER)),
        ("sasl.password", "{ env = \"KAFKA_PASSWORD\" }".to_owned()),
    ];
    properties.extend(ca.map(|ca| ("ssl.ca.location", path(ca))));
    properties
}

fn shows_no_secret(ended: &Ended, secrets: &[&str]) {
    for secret in secrets {
        let shown = ended.output.contains(secret) || ended.errors.contains(secret);
        assert!(!shown, "`{secret}` is shown: {ended:#?}");
    }
}

/// A line of a private key in PEM.
fn line_of(key: &Path) -> String {
    let text = fs::read_to_string(key).unwrap();
    text.lines().nth(1).unwrap().to_owned()
}

fn is_served(name: &str, secure: &Secure, listener: Listener, properties: &[(&str, String)]) {
    let scene = scene(&secure.bootstrap(listener), name, properties, PASSWORD);
    let checked = scene.run(&["check"]).unwrap();
    assert_eq!(checked.code, Some(0), "{name}: {checked:#?}");
    let ended = scene
        .run(&["run", "--until-idle", "--report", "-"])
        .unwrap();
    assert_eq!(ended.code, Some(0), "{name}: {ended:#?}");
    assert_eq!(ended.json().unwrap()["done"], RECORDS, "{name}");
    let ledger = fs::read_to_string(scene.path("ledger.txt")).unwrap();
    let expected: Vec<String> = (0..RECORDS).map(|n| n.to_string()).collect();
    assert_eq!(ledger.lines().collect::<Vec<_>>(), expected, "{name}");
    let status = scene.run(&["status", "--json"]).unwrap();
    assert_eq!(status.code, Some(0), "{name}: {status:#?}");
    let partition = &status.json().unwrap()["partitions"][0];
    assert_eq!(partition["lag"], 0, "{name}: {partition}");
    let key = line_of(&secure.client_key());
    for ended in [&checked, &ended, &status] {
        shows_no_secret(ended, &[PASSWORD, &key]);
    }
}

fn is_refused(
    name: &str,
    servers: &str,
    properties: &[(&str, String)],
    secrets: &[&str],
    says: &str,
) {
    let scene = scene(servers, name, properties, WRONG);
    for command in ["run", "check"] {
        let ended = scene.run(&[command]).unwrap();
        assert_eq!(ended.code, Some(4), "{name}: {ended:#?}");
        let said = if command == "run" {
            &ended.errors
        } else {
            &ended.output
        };
        assert!(said.contains(says), "{name}: {ended:#?}");
        shows_no_secret(&ended, &[WRONG]);
        shows_no_secret(&ended, secrets);
    }
}

#[test]
fn the_right_client_is_served_and_a_wrong_one_is_told_why_not_without_its_secrets() {
    let secure = &Kafka::secure().unwrap();
    secure.kafka().create_topic(TOPIC, 1, &FOR_EVER).unwrap();
    let records = [("a", Some("good")); RECORDS];
    produce(secure.kafka().bootstrap(), TOPIC, &records);
    let (ca, other) = (secure.ca(), secure.other_ca());
    let mutual = with_certificate(&ca, &secure.client_certificate(), &secure.client_key());

    is_served("tls", secure, Listener::Tls, &tls(&ca));
    is_served("mutual", secure, Listener::MutualTls, &mutual);
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        is_served(
            mechanism,
            secure,
            Listener::SaslTls,
            &sasl(Some(&ca), mechanism),
        );
    }
    is_served(
        "sasl-alone",
        secure,
        Listener::Sasl,
        &sasl(None, "SCRAM-SHA-256"),
    );

    let certificate = "not of an authority in `ssl.ca.location`";
    let at = |listener| secure.bootstrap(listener);
    is_refused(
        "other-ca",
        &at(Listener::Tls),
        &tls(&other),
        &[],
        certificate,
    );
    let elsewhere = "of another host name than `bootstrap_servers` says";
    is_refused(
        "elsewhere",
        &at(Listener::WrongHost),
        &tls(&ca),
        &[],
        elsewhere,
    );
    let asks = "`ssl.certificate.location`";
    is_refused("nobody", &at(Listener::MutualTls), &tls(&ca), &[], asks);
    let key = secure.stranger_key();
    let stranger = with_certificate(&ca, &secure.stranger_certificate(), &key);
    let line = line_of(&key);
    is_refused(
        "stranger",
        &at(Listener::MutualTls),
        &stranger,
        &[&line],
        asks,
    );
    for mechanism in ["PLAIN", "SCRAM-SHA-512"] {
        let properties = sasl(Some(&ca), mechanism);
        let said = "does not know `sasl.username` with this `sasl.password`";
        is_refused(mechanism, &at(Listener::SaslTls), &properties, &[], said);
    }
}
