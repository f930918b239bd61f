//! SASL by AWS's identities, as Amazon MSK has it: a real listener whose broker takes the tokens of the real
//! binary apart.

use crate::{FOR_EVER, HANDLER, PATIENCE, produce};
use lanekeeper_integration::{
    kafka::{ACCESS_KEY, Kafka, Listener, REGION, SECRET_KEY, SESSION, Secure},
    scene::{Ended, Scene, eventually},
};
use std::{
    fs,
    time::{Duration, Instant},
};

/// A key that the broker does not know and no output may show.
const WRONG: &str = "hunter2-is-not-it";

/// Every token begins with this: `https://kafka`, in base64.
const TOKEN: &str = "aHR0cHM6Ly9rYWZrY";

/// How long a session of `credentials.py` lasts.
const SESSION_TIME: Duration = Duration::from_secs(10);

/// What a program of the user's says of who this is, as AWS's tools take it from `credential_process`.
fn credentials() -> String {
    let seconds = SESSION_TIME.as_secs();
    format!(
        r#"
import datetime, json
end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds={seconds})
print(json.dumps({{
    "Version": 1,
    "AccessKeyId": "{ACCESS_KEY}",
    "SecretAccessKey": "{SECRET_KEY}",
    "SessionToken": "{SESSION}%d" % (end.timestamp() * 1000),
    "Expiration": end.isoformat(),
}}))
"#
    )
}

/// A worker of this topic, who finds no other credentials than these. Failed records go to `dead`.
fn scene(secure: &Secure, topic: &str, credentials: &[(&'static str, &str)]) -> Scene {
    let config = format!(
        r#"
app = "{topic}"
cap = 2

[sources.orders]
type = "kafka"
bootstrap_servers = "{}"
topics = ["{topic}"]

[sources.orders.properties]
"security.protocol" = "SASL_SSL"
"ssl.ca.location" = "{}"
"sasl.mechanism" = "AWS_MSK_IAM"

[failure]
then = "dead-letter"
dead_letter = {{ type = "kafka", topic = "dead" }}

[store]
flush_interval = "50ms"
{HANDLER}"#,
        secure.bootstrap(Listener::Iam),
        secure.ca().display(),
    );
    // Whatever the machine has of its own is hidden. An empty variable is none.
    let mut environment: Vec<(&'static str, String)> = [
        ("AWS_ACCESS_KEY_ID", ""),
        ("AWS_SECRET_ACCESS_KEY", ""),
        ("AWS_SESSION_TOKEN", ""),
        ("AWS_PROFILE", "default"),
        ("AWS_CONFIG_FILE", "aws.config"),
        ("AWS_SHARED_CREDENTIALS_FILE", "aws.credentials"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_REGION", REGION),
        // Whatever is said at all must show no secret.
        ("LANEKEEPER_LOG", "trace"),
    ]
    .map(|(name, value)| (name, value.to_owned()))
    .into();
    for (name, value) in credentials {
        environment.push((name, (*value).to_owned()));
    }
    let scene = Scene::within(&config, environment).unwrap();
    scene.write("aws.config", "").unwrap();
    scene
}

fn shows_no_secret(ended: &Ended) {
    for secret in [SECRET_KEY, WRONG, TOKEN] {
        let shown = ended.output.contains(secret) || ended.errors.contains(secret);
        assert!(!shown, "`{secret}` is shown: {ended:#?}");
    }
}

fn broker_said(secure: &Secure) -> String {
    fs::read_to_string(&secure.kafka().logs()[0]).unwrap()
}

fn is_refused(secure: &Secure, credentials: &[(&'static str, &str)], broker_says: &str) {
    let scene = scene(secure, "orders", credentials);
    for command in ["run", "check"] {
        let ended = scene.run(&[command]).unwrap();
        assert_eq!(ended.code, Some(4), "{ended:#?}");
        let said = if command == "run" {
            &ended.errors
        } else {
            &ended.output
        };
        for advice in ["`kafka-cluster:Connect`", "`AWS_REGION`", "clock"] {
            assert!(said.contains(advice), "{advice}: {ended:#?}");
        }
        assert!(!said.contains("sasl.password"), "{ended:#?}");
        shows_no_secret(&ended);
    }
    let said = broker_said(secure);
    let expected = format!("iam: refused: {broker_says}");
    assert!(said.contains(&expected), "`{expected}` not in:\n{said}");
}

#[test]
fn whose_request_to_connect_is_signed_is_served_and_others_are_told_what_to_do() {
    let secure = &Kafka::secure().unwrap();
    for topic in ["orders", "dead"] {
        secure.kafka().create_topic(topic, 1, &FOR_EVER).unwrap();
    }
    let records = [("a", Some("good")), ("a", Some("bad")), ("a", Some("good"))];
    produce(secure.kafka().bootstrap(), "orders", &records);

    let key = ("AWS_ACCESS_KEY_ID", ACCESS_KEY);
    let secret = ("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
    let right = scene(secure, "orders", &[key, secret]);
    let checked = right.run(&["check"]).unwrap();
    assert_eq!(checked.code, Some(0), "{checked:#?}");
    let ended = right
        .run(&["run", "--until-idle", "--report", "-"])
        .unwrap();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let report = ended.json().unwrap();
    assert_eq!(report["done"], 2, "{report}");
    assert_eq!(report["dead_lettered"], 1, "{report}");
    let status = right.run(&["status", "--json"]).unwrap();
    assert_eq!(status.code, Some(0), "{status:#?}");
    assert_eq!(status.json().unwrap()["partitions"][0]["lag"], 0);
    for ended in [&checked, &ended, &status] {
        shows_no_secret(ended);
    }
    let said = broker_said(secure);
    assert!(said.contains("iam: accepted until "), "{said}");
    assert!(!said.contains("iam: refused"), "{said}");

    let wrong = ("AWS_SECRET_ACCESS_KEY", WRONG);
    is_refused(secure, &[key, wrong], "the signature is another");
    let elsewhere = ("AWS_REGION", "us-east-1");
    let host = "the host is kafka.us-east-1.amazonaws.com";
    is_refused(secure, &[key, secret, elsewhere], host);

    let nobody = scene(secure, "orders", &[]);
    let ended = nobody.run(&["check"]).unwrap();
    assert_eq!(ended.code, Some(4), "{ended:#?}");
    for said in ["no AWS credentials", "give the worker a role"] {
        assert!(ended.output.contains(said), "{said}: {ended:#?}");
    }
}

/// Ends of the tokens that the broker has accepted, in milliseconds since 1970.
fn accepted(secure: &Secure) -> Vec<u64> {
    let said = broker_said(secure);
    { said.lines() }
        .filter_map(|line| line.strip_prefix("iam: accepted until ")?.parse().ok())
        .collect()
}

/// The broker closes what shows no new token in time, and lets nobody in by an old one.
#[test]
fn g7_sessions_end_again_and_again_and_each_record_is_handled_once() {
    let secure = &Kafka::secure().unwrap();
    for topic in ["orders", "dead"] {
        secure.kafka().create_topic(topic, 1, &FOR_EVER).unwrap();
    }
    let scene = scene(secure, "orders", &[]);
    scene.write("credentials.py", &credentials()).unwrap();
    let profile = "[default]\ncredential_process = python3 credentials.py\n";
    scene.write("aws.config", profile).unwrap();
    let mut worker = scene.start(&["run"]).unwrap();
    let handled = || fs::read_to_string(scene.path("ledger.txt")).unwrap_or_default();
    let mut sent = 0;
    let mut send_and_wait = || {
        produce(secure.kafka().bootstrap(), "orders", &[("a", Some("good"))]);
        sent += 1;
        eventually("the record to be handled", || {
            Ok(handled().lines().count() >= sent)
        })
        .unwrap();
        sent
    };
    let lasts = u64::try_from(SESSION_TIME.as_millis()).unwrap();
    let began = Instant::now();
    loop {
        let sent = send_and_wait();
        let ends = accepted(secure);
        let (first, last) = (ends.iter().min().unwrap(), ends.iter().max().unwrap());
        if last - first >= 3 * lasts {
            break;
        }
        assert!(
            began.elapsed() < 3 * PATIENCE,
            "{sent} records, ends of tokens: {ends:?}"
        );
    }
    let sent = send_and_wait();
    worker.signal("TERM").unwrap();
    let ended = worker.wait().unwrap();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    shows_no_secret(&ended);
    let expected: Vec<String> = (0..sent).map(|position| position.to_string()).collect();
    assert_eq!(handled().lines().collect::<Vec<_>>(), expected);
}
