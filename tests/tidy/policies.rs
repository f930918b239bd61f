//! The IAM policies of `deploy/` allow what the DynamoDB store calls, and nothing else.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests: whatever they do not find is a failure"
)]

use crate::{
    code,
    tree::{SourceFile, file, files},
};
use serde_json::Value;
use std::collections::BTreeSet;
use yaml_rust2::{Yaml, YamlLoader};

type Actions = BTreeSet<String>;

/// A statement's name, its actions and its resource.
type Statement = (&'static str, &'static [&'static str], &'static str);

/// Client methods, with the IAM action that each needs. A transaction is none: its items need theirs.
const OPERATIONS: [(&str, Option<&str>); 13] = [
    ("batch_write_item", Some("BatchWriteItem")),
    ("create_table", Some("CreateTable")),
    ("delete_item", Some("DeleteItem")),
    (
        "describe_continuous_backups",
        Some("DescribeContinuousBackups"),
    ),
    ("describe_table", Some("DescribeTable")),
    ("describe_time_to_live", Some("DescribeTimeToLive")),
    ("get_item", Some("GetItem")),
    ("put_item", Some("PutItem")),
    ("query", Some("Query")),
    ("transact_write_items", None),
    ("update_continuous_backups", Some("UpdateContinuousBackups")),
    ("update_item", Some("UpdateItem")),
    ("update_time_to_live", Some("UpdateTimeToLive")),
];

/// Items of transactions.
const ITEMS: [(&str, &str); 4] = [
    ("ConditionCheck::builder()", "ConditionCheckItem"),
    ("Delete::builder()", "DeleteItem"),
    ("Put::builder()", "PutItem"),
    ("Update::builder()", "UpdateItem"),
];

/// Whose calls no worker makes: setting up, looking, trying; and the user's own tables.
const NOT_A_WORKER_S: [&str; 5] = ["admin.rs", "check.rs", "native.rs", "probe.rs", "table.rs"];

/// What a function's role allows beside the store's calls, by statement: its log's, and what its mapping
/// does in its name, as AWS documents it for each source (`AWSLambdaKinesisExecutionRole`,
/// `AWSLambdaSQSQueueExecutionRole`, `AWSLambdaMSKExecutionRole`, the last with what IAM authentication
/// asks for), without what lists all streams or makes log groups. EC2 has no resource for what it describes, and
/// `GetBootstrapBrokers` has none either.
const STATEMENTS: [(&str, &[Statement]); 3] = [
    (
        "kinesis",
        &[
            (
                "MappingReads",
                &[
                    "kinesis:DescribeStream",
                    "kinesis:DescribeStreamSummary",
                    "kinesis:GetRecords",
                    "kinesis:GetShardIterator",
                    "kinesis:ListShards",
                ],
                "StreamArn",
            ),
            (
                "MappingSubscribes",
                &["kinesis:SubscribeToShard"],
                "ConsumerArn",
            ),
            (
                "MappingTellsWhatItGaveUp",
                &["sqs:SendMessage"],
                "GivenUp.Arn",
            ),
        ],
    ),
    (
        "sqs-fifo",
        &[(
            "MappingReads",
            &[
                "sqs:DeleteMessage",
                "sqs:GetQueueAttributes",
                "sqs:ReceiveMessage",
            ],
            "Queue.Arn",
        )],
    ),
    (
        "kafka",
        &[
            (
                "MappingFindsTheCluster",
                &["kafka:DescribeClusterV2"],
                "ClusterArn",
            ),
            (
                "MappingFindsTheBrokers",
                &["kafka:GetBootstrapBrokers"],
                "*",
            ),
            (
                "MappingReads",
                &[
                    "kafka-cluster:AlterGroup",
                    "kafka-cluster:Connect",
                    "kafka-cluster:DescribeClusterDynamicConfiguration",
                    "kafka-cluster:DescribeGroup",
                    "kafka-cluster:DescribeTopic",
                    "kafka-cluster:ReadData",
                ],
                TOPIC_AND_GROUP,
            ),
            (
                "MappingConnects",
                &[
                    "ec2:CreateNetworkInterface",
                    "ec2:DeleteNetworkInterface",
                    "ec2:DescribeNetworkInterfaces",
                    "ec2:DescribeSecurityGroups",
                    "ec2:DescribeSubnets",
                    "ec2:DescribeVpcs",
                ],
                "*",
            ),
        ],
    ),
];

const LOGS: Statement = (
    "FunctionLogs",
    &["logs:CreateLogStream", "logs:PutLogEvents"],
    "LogGroup.Arn",
);

/// The worker's, held equal to its policy.
const STORE: Statement = (
    "LanekeeperRuns",
    &[
        "dynamodb:BatchWriteItem",
        "dynamodb:ConditionCheckItem",
        "dynamodb:DeleteItem",
        "dynamodb:GetItem",
        "dynamodb:PutItem",
        "dynamodb:Query",
        "dynamodb:UpdateItem",
    ],
    "arn:${AWS::Partition}:dynamodb:${AWS::Region}:${AWS::AccountId}:table/${TableName}",
);

/// The cluster, and its topic and group under its name and id, which are two parts of its ARN.
const TOPIC_AND_GROUP: &str = "ClusterArn \
     arn:${AWS::Partition}:kafka:${AWS::Region}:${AWS::AccountId}:topic/${Cluster}/${Topic} \
     Cluster=/ 1 / ClusterArn 2 / ClusterArn \
     arn:${AWS::Partition}:kafka:${AWS::Region}:${AWS::AccountId}:group/${Cluster}/${GroupId} \
     Cluster=/ 1 / ClusterArn 2 / ClusterArn";

fn action(name: &str) -> String {
    format!("dynamodb:{name}")
}

/// What is called on a client: the method's name behind `client.`, over line ends.
fn operations(code: &str) -> BTreeSet<&str> {
    let names = code.match_indices("client").filter_map(|(at, word)| {
        let before = code[..at].chars().next_back();
        let rest = code[at + word.len()..].trim_start().strip_prefix('.')?;
        let name = rest.split('(').next().filter(|_| rest.contains('('))?;
        (!before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '.')).then_some(name)
    });
    names.filter(|name| *name != "config").collect()
}

fn calls(files: &[SourceFile]) -> Actions {
    let mut actions = Actions::new();
    for file in files {
        let code = code::shipped(&file.text);
        for name in operations(&code) {
            let known = OPERATIONS.iter().find(|(method, _)| *method == name);
            let (_, needs) = known.unwrap_or_else(|| {
                panic!(
                    "{}: what does `client.{name}()` need? Say it here",
                    file.path
                )
            });
            actions.extend(needs.map(action));
        }
        let items = ITEMS.iter().filter(|(built, _)| {
            let uses = code.match_indices(built);
            uses.into_iter()
                .any(|(at, _)| !code[..at].ends_with(char::is_alphanumeric))
        });
        actions.extend(items.map(|(_, name)| action(name)));
    }
    actions
}

/// The store's files, those that are named or the others.
fn store(named: &[&str], wanted: bool) -> Vec<SourceFile> {
    let all = files().unwrap();
    let ours = all.into_iter().filter(|file| {
        let inner = file.path.strip_prefix("src/store/dynamodb/");
        let is_named = inner.is_some_and(|name| named.contains(&name));
        (inner.is_some() || file.path == "src/store/dynamodb.rs") && is_named == wanted
    });
    let ours: Vec<SourceFile> = ours.collect();
    assert!(!ours.is_empty(), "{named:?}: is the search broken?");
    ours
}

fn policy(name: &str) -> Actions {
    let text = file(&format!("deploy/iam/{name}.json")).unwrap().text;
    let policy: Value = serde_json::from_str(&text).unwrap();
    let statements = policy["Statement"].as_array().unwrap();
    assert_eq!(statements.len(), 1, "{name}");
    assert_eq!(statements[0]["Effect"], "Allow", "{name}");
    let resource = statements[0]["Resource"].as_str().unwrap();
    assert!(
        resource.ends_with(":table/lanekeeper"),
        "{name}: {resource}"
    );
    let actions = statements[0]["Action"].as_array().unwrap();
    actions
        .iter()
        .map(|a| a.as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_worker_may_call_what_the_store_calls() {
    let called = calls(&store(&NOT_A_WORKER_S, false));
    assert!(called.len() > 5, "only {called:?}: is the search broken?");
    assert_eq!(
        policy("worker"),
        called,
        "deploy/iam/worker.json, and what is called"
    );
}

#[test]
fn an_operator_may_look_at_the_table_too() {
    let looks = calls(&store(&["table.rs"], true));
    let both: Actions = policy("worker").union(&looks).cloned().collect();
    assert_eq!(
        policy("operator"),
        both,
        "deploy/iam/operator.json, and what is called"
    );
    let checks = calls(&store(&["check.rs", "probe.rs"], true));
    assert!(checks.is_subset(&both), "{checks:?}");
}

#[test]
fn whoever_sets_up_may_set_up() {
    let called = calls(&store(&["admin.rs", "table.rs"], true));
    assert_eq!(
        policy("init"),
        called,
        "deploy/iam/init.json, and what is called"
    );
}

#[test]
fn check_tries_each_action_of_a_worker() {
    let text = file("src/store/dynamodb/probe.rs").unwrap().text;
    let code = code::shipped(&text);
    let mut tried: Actions = code
        .match_indices("\"dynamodb:")
        .filter_map(|(at, _)| code[at + 1..].split('"').next())
        .map(str::to_owned)
        .collect();
    // The first read of all.
    tried.insert(action("GetItem"));
    assert_eq!(tried, policy("worker"));
}

#[test]
fn whoever_publishes_dead_letters_may_send_them() {
    let all = files().unwrap();
    let ours = all
        .iter()
        .filter(|f| f.path.starts_with("src/source/sqs/") && !f.path.ends_with("/tests.rs"));
    let called: BTreeSet<String> = ours
        .flat_map(|file| {
            let code = code::shipped(&file.text);
            let names = operations(&code).into_iter().map(str::to_owned);
            names.collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(called, BTreeSet::from(["send_message".to_owned()]));
    let text = file("deploy/iam/dead-letters.json").unwrap().text;
    let policy: Value = serde_json::from_str(&text).unwrap();
    let statements = policy["Statement"].as_array().unwrap();
    assert_eq!(statements.len(), 1);
    assert_eq!(statements[0]["Effect"], "Allow");
    assert_eq!(
        statements[0]["Action"],
        serde_json::json!(["sqs:SendMessage"])
    );
}

#[test]
fn whoever_recovers_a_stream_may_read_it() {
    const OPERATIONS: [(&str, &str); 4] = [
        ("describe_stream_summary", "DescribeStreamSummary"),
        ("get_records", "GetRecords"),
        ("get_shard_iterator", "GetShardIterator"),
        ("list_shards", "ListShards"),
    ];
    let text = file("src/source/kinesis/client.rs").unwrap().text;
    // A request may be built on the next line, within braces.
    let code = code::shipped(&text).replace("{ client", "client");
    let called = operations(&code);
    let known: BTreeSet<&str> = OPERATIONS.iter().map(|(method, _)| *method).collect();
    assert_eq!(called, known);
    let text = file("deploy/iam/recovery.json").unwrap().text;
    let policy: Value = serde_json::from_str(&text).unwrap();
    let statements = policy["Statement"].as_array().unwrap();
    assert_eq!(statements.len(), 1);
    assert_eq!(statements[0]["Effect"], "Allow");
    let allowed = OPERATIONS.map(|(_, action)| format!("kinesis:{action}"));
    assert_eq!(statements[0]["Action"], serde_json::json!(allowed));
}

#[test]
fn the_template_has_the_same_policies() {
    let text = file("deploy/dynamodb.yaml").unwrap().text;
    for (resource, name) in [("WorkerPolicy", "worker"), ("OperatorPolicy", "operator")] {
        let start = format!("\n  {resource}:\n");
        let body = text.split(&start).nth(1).expect(resource);
        let body = body.split("\n\n").next().unwrap();
        let actions: Actions = body
            .lines()
            .filter_map(|line| line.trim().strip_prefix("- dynamodb:"))
            .map(action)
            .collect();
        assert_eq!(actions, policy(name), "{resource}");
    }
}

/// What a resource is, with `!Ref`, `!Sub`, `!GetAtt` and `!Join` dropped by the parser: words, several
/// separated by spaces.
fn words(yaml: &Yaml) -> String {
    let all = |parts: Vec<String>| parts.join(" ");
    match yaml {
        Yaml::String(text) => text.clone(),
        Yaml::Integer(number) => number.to_string(),
        Yaml::Array(parts) => all(parts.iter().map(words).collect()),
        Yaml::Hash(named) => all({ named.iter() }
            .map(|(name, value)| format!("{}={}", words(name), words(value)))
            .collect()),
        Yaml::Real(_) | Yaml::Boolean(_) | Yaml::Alias(_) | Yaml::Null | Yaml::BadValue => {
            panic!("no resource: {yaml:?}")
        }
    }
}

/// The statements of a function's role, each with its actions and its resource.
fn statements(template: &str) -> Vec<(String, Actions, String)> {
    let text = file(&format!("deploy/sam/{template}.yaml")).unwrap().text;
    let documents = YamlLoader::load_from_str(&text).unwrap();
    let policies = &documents[0]["Resources"]["Role"]["Properties"]["Policies"];
    let [policy] = &policies.as_vec().unwrap()[..] else {
        panic!("{template}: one policy");
    };
    let statements = policy["PolicyDocument"]["Statement"].as_vec().unwrap();
    let of = |statement: &Yaml| {
        // One that is there on a condition: `!If [condition, statement, AWS::NoValue]`.
        let statement = match statement.as_vec().map(Vec::as_slice) {
            Some([_, then, otherwise]) if otherwise.as_str() == Some("AWS::NoValue") => then,
            _ => statement,
        };
        assert_eq!(statement["Effect"].as_str(), Some("Allow"), "{template}");
        let actions = statement["Action"].as_vec().unwrap().iter();
        let actions = actions.map(|action| action.as_str().unwrap().to_owned());
        (
            statement["Sid"].as_str().unwrap().to_owned(),
            actions.collect(),
            words(&statement["Resource"]),
        )
    };
    statements.iter().map(of).collect()
}

/// Its store is the worker's, with the same calls: partitions are registered and marks written (`PutItem`,
/// `UpdateItem`, transactions), read (`Query`, `GetItem`) and taken away (`DeleteItem`), chains that have
/// run deleted (`BatchWriteItem`).
#[test]
fn a_function_may_call_what_the_store_calls_and_its_mapping_reads_on_what_is_its_own() {
    for (template, of_mapping) in STATEMENTS {
        let wanted: Vec<(String, Actions, String)> =
            { [STORE].iter().chain(of_mapping).chain([&LOGS]) }
                .map(|(sid, names, resource)| {
                    let names = names.iter().map(|name| (*name).to_owned()).collect();
                    ((*sid).to_owned(), names, (*resource).to_owned())
                })
                .collect();
        assert_eq!(statements(template), wanted, "{template}");
    }
    let of_store = STORE.1.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(policy("worker"), of_store);
}

#[test]
fn calls_are_found_over_line_ends() {
    let code = "let client = self.client().await;\nclient\n    .get_item()\n    .send();\nclient.query();\nclient.config().region();\nmy_client.scan();\n";
    assert_eq!(operations(code), BTreeSet::from(["get_item", "query"]));
}
