//! The templates of `deploy/`, as AWS's tools take them: checked by `cfn-lint`, expanded by AWS's
//! translator, created on an emulator, and read back from its Lambda API. What the emulator does not keep
//! is looked for in the expanded template. That a function behind such a mapping does what it should is
//! held by `tests/lambda`.
#![expect(clippy::unwrap_used, reason = "a test fails loudly")]

use lanekeeper_integration::templates::{self, Stack};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

const STREAM: &str = "arn:aws:kinesis:eu-central-1:123456789012:stream/orders";
const CONSUMER: &str =
    "arn:aws:kinesis:eu-central-1:123456789012:stream/orders/consumer/billing:1700000000";
const CLUSTER: &str =
    "arn:aws:kafka:eu-central-1:123456789012:cluster/orders/6a8c1c1e-0000-4000-8000-000000000000-1";
const URL: &str = "https://billing.example.org/records";
const ALARMED: &str = "arn:aws:sns:eu-central-1:123456789012:alarms";

/// What every function may be told.
const COMMON: [(&str, &str); 6] = [
    ("TableName", "marks"),
    ("Cap", "8"),
    ("Concurrency", "2"),
    ("HandlerUrl", URL),
    ("Architecture", "arm64"),
    ("AlarmTopicArn", ALARMED),
];

/// A template's stacks: one with what has no default, and of a function one with everything.
static TOLD: LazyLock<Value> = LazyLock::new(|| {
    let all = all();
    let mut wanted = Vec::new();
    for path in &all {
        let name = name(path);
        let own = match name {
            "kinesis" => &[
                ("StreamArn", STREAM),
                ("ConsumerArn", CONSUMER),
                ("RetentionHours", "48"),
            ][..],
            "kafka" => &[
                ("ClusterArn", CLUSTER),
                ("Topic", "bills"),
                ("GroupId", "bills"),
                ("RetentionHours", "48"),
                ("LagAlarm", "7"),
            ],
            "sqs-fifo" => &[("QueueName", "bills.fifo")],
            _ => {
                wanted.push((name.to_owned(), path, Vec::new()));
                continue;
            }
        };
        let everything = own.iter().chain(&COMMON).copied();
        let needed = own
            .iter()
            .filter(|(key, _)| key.ends_with("Arn") && *key != "ConsumerArn");
        wanted.push((name.to_owned(), path, needed.copied().collect()));
        wanted.push((full(name), path, everything.collect()));
    }
    let stacks: Vec<Stack<'_>> = { wanted.iter() }
        .map(|(name, template, parameters)| {
            let app = (name != "dynamodb").then_some(("App", &**name));
            Stack {
                name,
                template,
                parameters: parameters.iter().copied().chain(app).collect(),
            }
        })
        .collect();
    templates::create(&stacks).unwrap()
});

fn name(path: &Path) -> &str {
    path.file_stem().unwrap().to_str().unwrap()
}

/// The stack of a function's template that is told everything.
fn full(name: &str) -> String {
    format!("{name}-told")
}

fn deploy() -> PathBuf {
    fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")).unwrap()
}

/// All of them: one that is added is checked with the others.
fn all() -> Vec<PathBuf> {
    let functions = fs::read_dir(deploy().join("sam")).unwrap();
    let mut all: Vec<PathBuf> = functions
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "yaml"))
        .collect();
    all.push(deploy().join("dynamodb.yaml"));
    all.sort();
    assert!(all.len() >= 4, "{all:?}");
    all
}

fn paths(all: &[PathBuf]) -> Vec<&Path> {
    all.iter().map(PathBuf::as_path).collect()
}

/// These members of an object, `Null` where there is none.
fn members(of: &Value, names: &[&str]) -> Value {
    let members = names
        .iter()
        .map(|name| ((*name).to_owned(), of[*name].clone()));
    Value::Object(members.collect())
}

#[test]
fn cfn_lint_finds_nothing() {
    let said = templates::complaints(&paths(&all())).unwrap();
    assert!(said.is_empty(), "{said}");
}

#[test]
fn cfn_lint_is_heard() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = folder.path().join("wrong.yaml");
    let text = fs::read_to_string(deploy().join("sam/kinesis.yaml")).unwrap();
    fs::write(&wrong, text.replace("Timeout: 60", "Timeout: 6000")).unwrap();
    let said = templates::complaints(&[&wrong]).unwrap();
    assert!(said.contains("6000"), "{said}");
}

/// What each mapping must be, as the emulator's Lambda API tells it; in the last column what the emulator
/// drops or has nothing to say of, as CloudFormation gets it.
fn wanted(name: &str) -> (Value, Value) {
    let reports = json!(["ReportBatchItemFailures"]);
    match name {
        "kinesis" => (
            json!({
                "EventSourceArn": STREAM,
                "StartingPosition": "TRIM_HORIZON",
                "BatchSize": 100,
                "MaximumBatchingWindowInSeconds": 0,
                "ParallelizationFactor": 1,
                "FunctionResponseTypes": reports,
                "MaximumRetryAttempts": -1,
                "MaximumRecordAgeInSeconds": -1,
                "BisectBatchOnFunctionError": false,
            }),
            json!({
                "TumblingWindowInSeconds": null,
                "FilterCriteria": null,
                "DestinationConfig": {"OnFailure": {"Destination": {"Fn::GetAtt": ["GivenUp", "Arn"]}}},
            }),
        ),
        "sqs-fifo" => (
            json!({
                "EventSourceArn": "arn:aws:sqs:eu-central-1:000000000000:orders.fifo",
                "BatchSize": 10,
                "MaximumBatchingWindowInSeconds": 0,
                "FunctionResponseTypes": reports,
                "ScalingConfig": {"MaximumConcurrency": 5},
            }),
            json!({
                "ScalingConfig": {"MaximumConcurrency": {"Ref": "Concurrency"}},
                "DestinationConfig": null,
                "FilterCriteria": null,
            }),
        ),
        "kafka" => (
            json!({
                "StartingPosition": "TRIM_HORIZON",
                "BatchSize": 100,
                "FunctionResponseTypes": reports,
                "MaximumRetryAttempts": -1,
                "MaximumRecordAgeInSeconds": -1,
                "BisectBatchOnFunctionError": false,
            }),
            json!({
                "DestinationConfig": null,
                "FilterCriteria": null,
                "EventSourceArn": {"Ref": "ClusterArn"},
                "Topics": [{"Ref": "Topic"}],
                "AmazonManagedKafkaEventSourceConfig": {"ConsumerGroupId": {"Ref": "GroupId"}},
                "ProvisionedPollerConfig":
                    {"MinimumPollers": 1, "MaximumPollers": {"Ref": "Concurrency"}},
                // Once set, the default of 500 ms cannot be had back.
                "MaximumBatchingWindowInSeconds": null,
            }),
        ),
        _ => unreachable!("`deploy/sam/{name}.yaml`: say here what its mapping must be"),
    }
}

fn names(of: &Value) -> Vec<&str> {
    of.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn the_stacks_are_made_and_their_mappings_are_as_the_code_needs_them() {
    for path in &all() {
        let name = name(path);
        let (stack, template) = (&TOLD[name], &TOLD[name]["template"]["Resources"]);
        let made: BTreeSet<&str> = names(&stack["resources"]).into_iter().collect();
        let meant: BTreeSet<&str> = names(template).into_iter().collect();
        assert_eq!(made, meant, "{name}");
        if name == "dynamodb" {
            continue;
        }
        let (of_api, of_template) = wanted(name);
        let mapping = members(&stack["mapping"], &names(&of_api));
        assert_eq!(mapping, of_api, "{name}");
        let mapping = &template["FunctionOrders"]["Properties"];
        assert_eq!(
            members(mapping, &names(&of_template)),
            of_template,
            "{name}"
        );

        let function = &stack["function"];
        let wanted = json!({
            "Runtime": "provided.al2023", "Handler": "bootstrap", "Timeout": 60, "MemorySize": 512,
            "Architectures": ["x86_64"],
        });
        assert_eq!(members(function, &names(&wanted)), wanted, "{name}");
        assert_eq!(
            function["LoggingConfig"]["LogGroup"],
            format!("/aws/lambda/{name}")
        );
        let variables = &function["Environment"]["Variables"];
        assert_eq!(variables["LANEKEEPER__APP"], name);
        // Without a URL the handler is in Rust, and a type without one would be refused.
        assert_eq!(
            variables["LANEKEEPER__HANDLER__TYPE"],
            Value::Null,
            "{name}"
        );
        // The emulator does not keep it.
        let reserved = &template["Function"]["Properties"]["ReservedConcurrentExecutions"];
        assert_eq!(reserved, &json!({"Ref": "Concurrency"}), "{name}");
        // Nothing is allowed but what the template says: the translator adds a role or a managed policy
        // to a function that has none of its own.
        let roles = stack["resources"].as_object().unwrap().values();
        let roles = roles.filter(|kind| *kind == "AWS::IAM::Role").count();
        assert_eq!(roles, 1, "{name}");
        let managed = &template["Role"]["Properties"]["ManagedPolicyArns"];
        assert_eq!(managed, &Value::Null, "{name}");
    }
}

#[test]
fn every_parameter_arrives_where_it_is_for() {
    for path in &all() {
        let name = name(path);
        if name == "dynamodb" {
            continue;
        }
        let stack = &TOLD[full(name)];
        let parameters = names(&stack["template"]["Parameters"]);
        let told: BTreeSet<&str> = names(&stack["told"]).into_iter().collect();
        assert_eq!(told, parameters.into_iter().collect(), "{name}");

        let function = &stack["function"];
        assert_eq!(function["Architectures"], json!(["arm64"]), "{name}");
        let variables = &function["Environment"]["Variables"];
        let wanted = json!({
            "LANEKEEPER__APP": full(name),
            "LANEKEEPER__CAP": "8",
            "LANEKEEPER__LAMBDA__CONCURRENCY": "2",
            "LANEKEEPER__STORE__TABLE": "marks",
            "LANEKEEPER__LAMBDA__RETENTION": if name == "sqs-fifo" { "14d" } else { "48h" },
            "LANEKEEPER__HANDLER__TYPE": "http",
            "LANEKEEPER__HANDLER__URL": URL,
        });
        assert_eq!(members(variables, &names(&wanted)), wanted, "{name}");
        let mapping = &stack["mapping"];
        match name {
            "kinesis" => assert_eq!(mapping["EventSourceArn"], CONSUMER),
            "kafka" => {
                assert_eq!(
                    variables["LANEKEEPER__SOURCES__ORDERS__TOPICS"],
                    r#"["bills"]"#
                );
            }
            _ => {
                let arn = "arn:aws:sqs:eu-central-1:000000000000:bills.fifo";
                assert_eq!(mapping["EventSourceArn"], arn);
                assert_eq!(mapping["ScalingConfig"]["MaximumConcurrency"], 2);
            }
        }
        let alarms = |stack: &str| TOLD[stack]["alarms"].as_array().unwrap().clone();
        let told = alarms(&full(name));
        assert!(told.len() >= 5, "{name}: {told:#?}");
        for alarm in &told {
            assert_eq!(alarm["AlarmActions"], json!([ALARMED]), "{alarm:#}");
            let lag = alarm["MetricName"] == "OffsetLag";
            assert!(!lag || alarm["Threshold"] == 7.0, "{alarm:#}");
        }
        for alarm in alarms(name) {
            assert_eq!(alarm["AlarmActions"], json!([]), "{alarm:#}");
        }
    }
}
