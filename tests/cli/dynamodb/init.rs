//! `store init`: what it makes, mends, leaves and refuses.

use super::{command, emulator, run, table, world};
use crate::world::World;
use serde_json::{Value, json};
use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

/// One call to the emulator, which takes any signature.
pub(super) fn call(endpoint: &str, operation: &str, body: &Value) -> Value {
    let address = endpoint.trim_start_matches("http://").trim_end_matches('/');
    let body = body.to_string();
    let request = format!(
        "POST / HTTP/1.1\r\nHost: {address}\r\nX-Amz-Target: DynamoDB_20120810.{operation}\r\nContent-Type: application/x-amz-json-1.0\r\nAuthorization: AWS4-HMAC-SHA256 Credential=test/20260101/eu-west-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(address).expect("the emulator");
    let limit = Some(Duration::from_secs(30));
    stream.set_read_timeout(limit).expect("a limit");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    let (from, to) = (body.find('{'), body.rfind('}'));
    let (Some(from), Some(to)) = (from, to) else {
        panic!("{answer}");
    };
    serde_json::from_str(&body[from..=to]).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

/// The table of a world's configuration.
pub(super) fn table_of(world: &World) -> String {
    let text = world.read("lanekeeper.toml");
    let line = text.lines().find_map(|line| line.strip_prefix("table = "));
    line.expect("a table").trim_matches('"').to_owned()
}

#[test]
fn a_table_is_made_once_and_as_the_template_makes_it() {
    let endpoint = emulator();
    let name = table();
    let world = world(&name);
    let first = run(&world, &endpoint, &["store", "init"]);
    assert_eq!(first.code, Some(0), "{}", first.stderr);
    assert!(
        first.stderr.contains("is created, on-demand"),
        "{}",
        first.stderr
    );
    let described = call(&endpoint, "DescribeTable", &json!({"TableName": name}));
    let described = &described["Table"];
    assert_eq!(
        described["BillingModeSummary"]["BillingMode"],
        "PAY_PER_REQUEST"
    );
    assert_eq!(described["DeletionProtectionEnabled"], true);
    let key = json!([
        {"AttributeName": "pk", "KeyType": "HASH"},
        {"AttributeName": "sk", "KeyType": "RANGE"},
    ]);
    assert_eq!(described["KeySchema"], key);
    let expiry = call(&endpoint, "DescribeTimeToLive", &json!({"TableName": name}));
    assert_eq!(
        expiry["TimeToLiveDescription"]["AttributeName"], "expires_at",
        "{expiry}"
    );
    let backups = call(
        &endpoint,
        "DescribeContinuousBackups",
        &json!({"TableName": name}),
    );
    let status = &backups["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"];
    assert_eq!(status["PointInTimeRecoveryStatus"], "ENABLED", "{backups}");

    let again = run(&world, &endpoint, &["store", "init"]);
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert_eq!(
        again.stderr.matches("as wanted: ").count(),
        4,
        "{}",
        again.stderr
    );
    assert!(!again.stderr.contains("done: "), "{}", again.stderr);
}

fn create(endpoint: &str, name: &str, keys: &[(&str, &str, &str)]) {
    let schema: Vec<Value> = { keys.iter() }
        .map(|(name, role, _)| json!({"AttributeName": name, "KeyType": role}))
        .collect();
    let attributes: Vec<Value> = { keys.iter() }
        .map(|(name, _, kind)| json!({"AttributeName": name, "AttributeType": kind}))
        .collect();
    let made = call(
        endpoint,
        "CreateTable",
        &json!({
            "TableName": name, "KeySchema": schema, "AttributeDefinitions": attributes,
            "ProvisionedThroughput": {"ReadCapacityUnits": 5, "WriteCapacityUnits": 5},
        }),
    );
    assert!(made["TableDescription"].is_object(), "{made}");
}

#[test]
fn what_is_off_is_mended_and_what_may_hurt_is_left() {
    let endpoint = emulator();
    let name = table();
    let keys = [("pk", "HASH", "S"), ("sk", "RANGE", "S")];
    create(&endpoint, &name, &keys);
    let world = world(&name);
    let ended = run(&world, &endpoint, &["store", "init"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    for said in [
        "left as it is: its capacity is provisioned",
        "left as it is: deletion protection is off",
        "done: `expires_at` expires items",
        "done: point-in-time recovery is on",
    ] {
        assert!(ended.stderr.contains(said), "{said}: {}", ended.stderr);
    }
    let described = call(&endpoint, "DescribeTable", &json!({"TableName": name}));
    assert_ne!(described["Table"]["DeletionProtectionEnabled"], true);
}

#[test]
fn another_program_s_table_is_refused_and_left_alone() {
    let endpoint = emulator();
    let name = table();
    create(&endpoint, &name, &[("id", "HASH", "N")]);
    let world = world(&name);
    let ended = run(&world, &endpoint, &["store", "init"]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    let both = "has the key `id` (partition key, number), expected `pk` (partition key, string) and `sk` (sort key, string)";
    assert!(ended.stderr.contains(both), "{}", ended.stderr);
    let expiry = call(&endpoint, "DescribeTimeToLive", &json!({"TableName": name}));
    assert_ne!(
        expiry["TimeToLiveDescription"]["TimeToLiveStatus"], "ENABLED",
        "{expiry}"
    );
}

#[test]
fn two_at_once_make_one_table() {
    let endpoint = emulator();
    let world = world(&table());
    let threads = [(); 2].map(|()| {
        let command = command(&world, &endpoint, &["store", "init"]);
        std::thread::spawn(move || {
            let mut command = command;
            command.output().expect("run").status.code()
        })
    });
    let codes = threads.map(|thread| thread.join().expect("a thread"));
    assert_eq!(codes, [Some(0), Some(0)]);
}
