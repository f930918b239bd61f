//! Listeners with TLS and SASL: the right client is served, every wrong one is not.

use crate::client::{config, consume, produce, values};
use lanekeeper_integration::kafka::{Kafka, Listener, PASSWORD, Secure, USER};
use rdkafka::{
    ClientConfig, ClientContext,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
    error::KafkaError,
};
use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

const LIMIT: Duration = Duration::from_secs(60);

/// Remembers why connections fail.
#[derive(Clone, Default)]
struct Complaints(Arc<Mutex<Vec<String>>>);

impl ClientContext for Complaints {
    fn error(&self, error: KafkaError, reason: &str) {
        self.0.lock().unwrap().push(format!("{error}: {reason}"));
    }
}

impl ConsumerContext for Complaints {}

/// The settings of a client that trusts the CA.
fn tls(secure: &Secure, listener: Listener) -> ClientConfig {
    let mut config = config(&secure.bootstrap(listener));
    config.set("security.protocol", "ssl");
    trust(&mut config, &secure.ca());
    config
}

fn trust(config: &mut ClientConfig, ca: &Path) {
    config.set("ssl.ca.location", ca.to_str().unwrap());
}

fn present(config: &mut ClientConfig, certificate: &Path, key: &Path) {
    config
        .set("ssl.certificate.location", certificate.to_str().unwrap())
        .set("ssl.key.location", key.to_str().unwrap());
}

fn sasl(config: &mut ClientConfig, mechanism: &str, password: &str) {
    let protocol = match config.get("security.protocol") {
        Some("ssl") => "sasl_ssl",
        Some(_) | None => "sasl_plaintext",
    };
    config
        .set("security.protocol", protocol)
        .set("sasl.mechanisms", mechanism)
        .set("sasl.username", USER)
        .set("sasl.password", password);
}

/// Writes and reads.
fn is_served(secure: &Secure, topic: &str, config: &ClientConfig) {
    let written = values("value", 10);
    secure.kafka().create_topic(topic, 1, &[]).unwrap();
    produce(config, topic, &written);
    assert_eq!(consume(config, topic, 10), written);
}

/// What the client is told instead of an answer.
fn complaint(config: &ClientConfig, part: &str) {
    let complaints = Complaints::default();
    let client: BaseConsumer<Complaints> = config.create_with_context(complaints.clone()).unwrap();
    let began = Instant::now();
    while began.elapsed() < LIMIT {
        let answer = client.fetch_metadata(None, Duration::from_millis(200));
        assert!(answer.is_err(), "served, without `{part}`");
        // Errors are handed over here.
        drop(client.poll(Duration::ZERO));
        let told = complaints.0.lock().unwrap();
        if told.iter().any(|told| told.contains(part)) {
            return;
        }
    }
    panic!("no word of `{part}` in: {:?}", complaints.0.lock().unwrap());
}

#[test]
fn the_right_client_is_served_and_every_wrong_one_is_not() {
    let secure = &Kafka::secure().unwrap();

    is_served(secure, "tls", &tls(secure, Listener::Tls));
    let mut wrong = tls(secure, Listener::Tls);
    trust(&mut wrong, &secure.other_ca());
    complaint(&wrong, "certificate verify failed");
    complaint(
        &tls(secure, Listener::WrongHost),
        "certificate verify failed",
    );
    let mut careless = tls(secure, Listener::WrongHost);
    careless.set("ssl.endpoint.identification.algorithm", "none");
    is_served(secure, "careless", &careless);

    let mut mutual = tls(secure, Listener::MutualTls);
    complaint(&mutual, "SSL");
    present(
        &mut mutual,
        &secure.stranger_certificate(),
        &secure.stranger_key(),
    );
    complaint(&mutual, "SSL");
    present(
        &mut mutual,
        &secure.client_certificate(),
        &secure.client_key(),
    );
    is_served(secure, "mutual", &mutual);

    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let mut right = tls(secure, Listener::SaslTls);
        sasl(&mut right, mechanism, PASSWORD);
        is_served(secure, mechanism, &right);
        let mut wrong = tls(secure, Listener::SaslTls);
        sasl(&mut wrong, mechanism, "another");
        complaint(&wrong, "uthentication failed");
    }
    let mut without_tls = config(&secure.bootstrap(Listener::Sasl));
    sasl(&mut without_tls, "SCRAM-SHA-256", PASSWORD);
    is_served(secure, "without-tls", &without_tls);
}
