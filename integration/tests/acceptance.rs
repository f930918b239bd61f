//! The acceptance that every front end passes, on the embedded log with each store and on Kafka with a
//! table: strict order, one record fails for good, a restart decides nothing, an operator does.
#![expect(clippy::unwrap_used, reason = "a test fails loudly, its helpers too")]

use lanekeeper_integration::{
    kafka::Kafka,
    scene::{PATIENCE, Running, Scene, eventually},
    tables::Tables,
};
use rdkafka::{
    ClientConfig,
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use serde_json::Value;

const STRICT: &str = r#"
app = "acceptance"
cap = 3
drain = "6s"

[sources.orders]
SOURCE

[order]
by = "partition"

[failure]
attempts = 3
backoff_min = "1ms"
backoff_max = "5ms"
timeout = "5s"

[store]
flush_interval = "20ms"

[handler]
type = "exec"
command = [WORKER, "--broken", "5"]
"#;

/// With each store, and on Kafka.
fn everywhere(act: fn(&Scene)) {
    let local = STRICT.replace("SOURCE", "type = \"local\"\ntopic = \"orders\"");
    let embedded = Scene::new(&local).unwrap();
    put(&embedded);
    act(&embedded);
    let tables = Tables::start().unwrap();
    let (on_dynamodb, _) = tables.scene(&local).unwrap();
    put(&on_dynamodb);
    act(&on_dynamodb);
    let kafka = Kafka::start().unwrap();
    let topic = Kafka::topic_name();
    let source = format!(
        "type = \"kafka\"\nbootstrap_servers = \"{}\"\ntopics = [\"{topic}\"]\ngroup_id = \"{topic}\"",
        kafka.bootstrap()
    );
    let (on_kafka, _) = tables.scene(&STRICT.replace("SOURCE", &source)).unwrap();
    produce(&kafka, &topic);
    act(&on_kafka);
}

/// Records 1 to 10 of one partition; the fifth is rejected until it is mended.
fn requests() -> impl Iterator<Item = (String, String)> {
    (1..=10).map(|n| {
        let account = format!("a{}", n % 3);
        let request = format!("{{\"account\":\"{account}\",\"n\":{n}}}");
        (account, request)
    })
}

/// The same at the same positions: what lies at offset 0 is deleted.
fn produce(kafka: &Kafka, topic: &str) {
    kafka.create_topic(topic, 1, &[]).unwrap();
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka.bootstrap());
    let producer: BaseProducer = config.create().unwrap();
    let first = ("none".to_owned(), "deleted".to_owned());
    for (account, request) in std::iter::once(first).chain(requests()) {
        let record = BaseRecord::to(topic).key(&account).payload(&request);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
    kafka.delete_records(topic, 0, 1).unwrap();
}

fn put(scene: &Scene) {
    let requests: String = requests().map(|(_, request)| request + "\n").collect();
    scene.write("requests.jsonl", &requests).unwrap();
    let args = [
        "put",
        "--topic",
        "orders",
        "--key",
        "account",
        "--partitions",
        "1",
    ];
    let put = scene
        .run(&[&args[..], &["requests.jsonl"]].concat())
        .unwrap();
    assert_eq!(put.code, Some(0), "{put:#?}");
}

/// `n` of every try, in the order of their starts.
fn started(scene: &Scene) -> Vec<u64> {
    let ledger = scene.lines("ledger.jsonl").unwrap();
    let starts = ledger.iter().filter(|line| line["event"] == "started");
    starts.map(|line| line["n"].as_u64().unwrap()).collect()
}

fn mend(scene: &Scene) {
    scene.write("mended", "").unwrap();
}

/// Run to idle: the lane stands, the checkpoint is 4 and `status` names 5.
fn stop_at_five(scene: &Scene) {
    let stopped = scene.run(&["run", "--until-idle"]).unwrap();
    assert_eq!(stopped.code, Some(3), "{stopped:#?}");
    assert_eq!(started(scene), [1, 2, 3, 4, 5], "6 to 10 never start");
    assert_status_names_five(scene);
}

fn assert_status_names_five(scene: &Scene) {
    let status = scene.run(&["status", "--json"]).unwrap();
    let status = status.json().unwrap();
    let partition = &status["partitions"][0];
    assert_eq!(partition["frontier"], "4", "{status:#}");
    let lane = find(&status, "position", "5");
    let text = lane.unwrap_or(&Value::Null).to_string();
    assert!(text.contains("cannot apply n = 5"), "{text} in {status:#}");
}

/// The first object, however deep, that has this field with this value.
fn find<'a>(value: &'a Value, field: &str, wanted: &str) -> Option<&'a Value> {
    if value[field] == wanted {
        return Some(value);
    }
    match value {
        Value::Array(items) => items.iter().find_map(|item| find(item, field, wanted)),
        Value::Object(fields) => fields.values().find_map(|item| find(item, field, wanted)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

fn run_to_the_end(scene: &Scene) {
    let ended = scene
        .run(&["run", "--until-idle", "--report", "report.json"])
        .unwrap();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert_eq!(started(scene), [1, 2, 3, 4, 5, 5, 6, 7, 8, 9, 10]);
    let report = &scene.lines("report.json").unwrap()[0];
    assert_eq!(report["partitions"][0]["frontier"], "10", "{report:#}");
}

#[test]
fn a_restart_begins_nothing_and_a_retry_before_it_begins_at_five() {
    everywhere(|scene| {
        stop_at_five(scene);
        mend(scene);
        let restarted = scene.run(&["run", "--until-idle"]).unwrap();
        assert_eq!(restarted.code, Some(3), "{restarted:#?}");
        assert_eq!(started(scene), [1, 2, 3, 4, 5], "a restart is no decision");
        assert_status_names_five(scene);
        let decided = scene
            .run(&["lanes", "retry", "--all", "--why", "mended"])
            .unwrap();
        assert_eq!(decided.code, Some(0), "{decided:#?}");
        run_to_the_end(scene);
    });
}

#[test]
fn a_running_worker_acts_on_a_retry() {
    everywhere(|scene| {
        stop_at_five(scene);
        mend(scene);
        let mut worker: Running = scene.start(&["run"]).unwrap();
        let decided = scene.run(&["lanes", "retry", "--all", "--wait"]).unwrap();
        assert_eq!(decided.code, Some(0), "{decided:#?}");
        eventually("record 10", || Ok(started(scene).last() == Some(&10))).unwrap();
        worker.signal("TERM").unwrap();
        let ended = worker.wait().unwrap();
        assert_eq!(ended.code, Some(0), "{ended:#?}");
        // Nothing is left to do, and a clean stop repeats nothing.
        run_to_the_end(scene);
    });
}
