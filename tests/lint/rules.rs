//! Each rule: a good template with one thing changed breaks it, and nothing else.

use crate::{GOOD, broken, edited, good, report};
use lanekeeper::lint::rules;
use std::collections::BTreeSet;

type Edit = (&'static str, &'static str);

const RESPONSES: Edit = (
    "            FunctionResponseTypes: [ReportBatchItemFailures]\n            DestinationConfig",
    "            DestinationConfig",
);
const POSITION: &str = "StartingPosition: TRIM_HORIZON\n            BatchSize";

/// The rule, the good template, and what is changed in it.
const BROKEN: &[(&str, &str, &[Edit])] = &[
    ("answers-not-honoured", "kinesis", &[RESPONSES]),
    (
        "answers-not-declared",
        "kinesis",
        &[("REPORTS_FAILURES: \"true\"", "REPORTS_FAILURES: \"false\"")],
    ),
    (
        "whole-batch-fails",
        "plain",
        &[("[ReportBatchItemFailures]", "[]")],
    ),
    (
        "retries-limited",
        "kinesis",
        &[("MaximumRetryAttempts: -1", "MaximumRetryAttempts: 10")],
    ),
    (
        "age-limited",
        "kinesis",
        &[("InSeconds: -1", "InSeconds: 3600")],
    ),
    (
        "given-up-without-trace",
        "plain",
        &[("DestinationConfig", "Unheard")],
    ),
    (
        "destination-fifo",
        "plain",
        &[(":given-up", ":given-up.fifo")],
    ),
    (
        "destination-fifo",
        "kinesis",
        &[(
            "  GivenUp:\n    Type: AWS::SQS::Queue",
            "  GivenUp:\n    Type: AWS::SQS::Queue\n    Properties: {FifoQueue: true}",
        )],
    ),
    (
        "destination-limits-retries",
        "kafka",
        &[(
            "            MaximumRetryAttempts: -1",
            "            DestinationConfig: {OnFailure: {Destination: arn:aws:s3:::given-up}}",
        )],
    ),
    (
        "bisect",
        "kafka",
        &[("OnFunctionError: false", "OnFunctionError: true")],
    ),
    (
        "controls-need-provisioned",
        "kafka",
        &[(
            "            ProvisionedPollerConfig: {MinimumPollers: 1}\n",
            "",
        )],
    ),
    (
        "registry-without-destination",
        "kafka",
        &[(
            "Topics: [refunds]",
            "Topics: [refunds]\n            SchemaRegistryConfig: {SchemaRegistryURI: https://registry.example.org}",
        )],
    ),
    (
        "start-latest",
        "kinesis",
        &[(POSITION, "StartingPosition: LATEST\n            BatchSize")],
    ),
    ("start-missing", "kinesis", &[(POSITION, "BatchSize")]),
    (
        "start-missing",
        "kinesis",
        &[(
            POSITION,
            "StartingPosition: AT_TIMESTAMP\n            BatchSize",
        )],
    ),
    (
        "value-refused",
        "kinesis",
        &[("BatchSize: 100", "BatchSize: 10001")],
    ),
    (
        "value-refused",
        "fifo",
        &[("BatchSize: 10\n", "BatchSize: 11\n")],
    ),
    (
        "not-for-this-source",
        "fifo",
        &[("BatchSize: 10\n", "MaximumBatchingWindowInSeconds: 1\n")],
    ),
    (
        "not-for-this-source",
        "queue",
        &[(
            "\"BatchSize\": 50",
            "\"ParallelizationFactor\": 2, \"BatchSize\": 50",
        )],
    ),
    (
        "batch-without-window",
        "queue",
        &[("\"MaximumBatchingWindowInSeconds\": 5,", "")],
    ),
    (
        "filter",
        "kinesis",
        &[(
            "BatchSize: 100",
            "FilterCriteria: {Filters: [{Pattern: '{\"data\": {\"x\": [1]}}'}]}",
        )],
    ),
    (
        "factor-breaks-shard-order",
        "kinesis",
        &[
            ("ORDER__BY: key", "ORDER__BY: partition"),
            // Where the configuration is elsewhere, it cannot say so itself.
            ("          LANEKEEPER__SOURCES__ORDERS__TYPE: kinesis\n", ""),
            (
                "          LANEKEEPER__SOURCES__ORDERS__ARN: !GetAtt Orders.Arn\n",
                "",
            ),
            ("PARALLELIZATION_FACTOR: 1", "PARALLELIZATION_FACTOR: 2"),
            ("BatchSize: 100", "ParallelizationFactor: 2"),
        ],
    ),
    (
        "factor-differs",
        "kinesis",
        &[("BatchSize: 100", "ParallelizationFactor: 2")],
    ),
    (
        "stream-without-keys",
        "kinesis",
        &[(
            "StreamMode: ON_DEMAND",
            "StreamMode: ON_DEMAND, RecordDistributionStrategy: AUTO",
        )],
    ),
    (
        "tumbling-window",
        "kinesis",
        &[("BatchSize: 100", "TumblingWindowInSeconds: 60")],
    ),
    (
        "unordered-consumption",
        "kafka",
        &[(
            "ConsumerGroupId: billing-refunds",
            "SelfManagedKafkaEventSourceConfig: {ConsumptionMode: Queue}",
        )],
    ),
    (
        "group-shared",
        "kafka",
        &[
            ("Type: SelfManagedKafka", "Type: MSK"),
            (
                "KafkaBootstrapServers: [kafka.example.org:9093]",
                "Stream: !Ref Cluster",
            ),
            ("billing-refunds", "billing"),
        ],
    ),
    (
        "mapping-twice",
        "kinesis",
        &[(
            "  GivenUp:\n",
            "  Again:\n    Type: AWS::Lambda::EventSourceMapping\n    Properties: {EventSourceArn: !GetAtt Orders.Arn, FunctionName: !GetAtt Billing.Arn, StartingPosition: TRIM_HORIZON, FunctionResponseTypes: [ReportBatchItemFailures]}\n  GivenUp:\n",
        )],
    ),
    (
        "reserved-concurrency-missing",
        "kinesis",
        &[("      ReservedConcurrentExecutions: 4\n", "")],
    ),
    (
        "reserved-concurrency-differs",
        "kinesis",
        &[(
            "ReservedConcurrentExecutions: 4",
            "ReservedConcurrentExecutions: 5",
        )],
    ),
    (
        "reserved-concurrency-zero",
        "kinesis",
        &[(
            "ReservedConcurrentExecutions: 4",
            "ReservedConcurrentExecutions: 0",
        )],
    ),
    (
        "maximum-concurrency-missing",
        "queue",
        &[(
            "\"ScalingConfig\": {\"MaximumConcurrency\": 20}",
            "\"Enabled\": true",
        )],
    ),
    (
        "concurrency-over-reserved",
        "queue",
        &[("\"MaximumConcurrency\": 20", "\"MaximumConcurrency\": 21")],
    ),
    (
        "serial-with-redrive",
        "queue",
        &[(
            "\"ReservedConcurrentExecutions\": 20",
            "\"ReservedConcurrentExecutions\": 1",
        )],
    ),
    (
        "visibility-short",
        "fifo",
        &[("VisibilityTimeout: 180", "VisibilityTimeout: 179")],
    ),
    (
        "visibility-short",
        "queue",
        &[(
            "\"MaximumBatchingWindowInSeconds\": 5",
            "\"MaximumBatchingWindowInSeconds\": 61",
        )],
    ),
    (
        "visibility-below-timeout",
        "fifo",
        &[("VisibilityTimeout: 180", "VisibilityTimeout: 29")],
    ),
    (
        "receives-few",
        "queue",
        &[("\"maxReceiveCount\": 10", "\"maxReceiveCount\": 4")],
    ),
    (
        "fifo-receives-few",
        "fifo",
        &[("maxReceiveCount: 1000", "maxReceiveCount: 59")],
    ),
    (
        "fifo-redrive",
        "fifo",
        &[("maxReceiveCount: 1000", "maxReceiveCount: 60")],
    ),
    (
        "fifo-dead-letters-standard",
        "fifo",
        &[(
            "    Properties:\n      FifoQueue: true\n      QueueName: letters.fifo",
            "    Properties: {}",
        )],
    ),
    ("dead-letters-expire", "queue", &[("1209600", "345600")]),
    (
        "deduplicated-across-groups",
        "fifo",
        &[(
            "DeduplicationScope: messageGroup",
            "DeduplicationScope: queue",
        )],
    ),
    (
        "timeout-short",
        "kinesis",
        &[("Timeout: 60", "Timeout: 10")],
    ),
    ("kafka-timeout", "kafka", &[("Timeout: 60", "Timeout: 841")]),
    (
        "forgotten-before-retention",
        "kinesis",
        &[("RETENTION: 3d", "RETENTION: 71h")],
    ),
    (
        "iterator-age-alarm-missing",
        "kinesis",
        &[("MetricName: IteratorAge", "MetricName: Duration")],
    ),
    (
        "iterator-age-alarm-late",
        "kinesis",
        &[("129600000", "129600001")],
    ),
    (
        "throttles-alarm-missing",
        "kinesis",
        &[("MetricName: Throttles", "MetricName: Errors")],
    ),
    (
        "settings-refused",
        "kinesis",
        &[("LANEKEEPER__CAP: 20", "LANEKEEPER__CAP: 3")],
    ),
    (
        "settings-refused",
        "kinesis",
        &[(
            "LAMBDA__CONCURRENCY: 4",
            "LAMBDA__CONCURRENCY: 4\n          LANEKEEPER__FAILURE__ATTEMTPS: 3",
        )],
    ),
    (
        "settings-refused",
        "kinesis",
        &[("STORE__TYPE: dynamodb", "STORE__TYPE: local")],
    ),
    (
        "settings-refused",
        "fifo",
        &[(
            "STORE__TYPE: dynamodb",
            "STORE__TYPE: dynamodb\n          LANEKEEPER__FAILURE__DEAD_LETTER__TYPE: local\n          LANEKEEPER__FAILURE__DEAD_LETTER__TOPIC: dead",
        )],
    ),
    (
        "source-not-configured",
        "fifo",
        &[("ARN: !GetAtt Orders.Arn", "ARN: !GetAtt Letters.Arn")],
    ),
    (
        "source-not-configured",
        "kafka",
        &[("Topics: [refunds]", "Topics: [refunds, orders, others]")],
    ),
    (
        "ignore-unsound",
        "kinesis",
        &[(
            "  GivenUp:\n",
            "  GivenUp:\n    Metadata: {lanekeeper: {ignore: [bisect]}}\n",
        )],
    ),
];

#[test]
fn good_templates_break_nothing() {
    for name in GOOD {
        let report = report(good(name));
        assert_eq!(broken(&report), [""; 0], "{name}: {report:#?}");
        assert!(report.mappings > 0, "{name}");
    }
}

#[test]
fn each_rule_is_broken_by_its_own_template_alone() {
    let mut seen = BTreeSet::new();
    let mut wrong = Vec::new();
    for (rule, name, edits) in BROKEN {
        let report = report(&edited(good(name), edits));
        let broken = broken(&report);
        if broken != [*rule] {
            wrong.push(format!("{rule}, {name} {edits:?}: {broken:?}"));
        }
        seen.insert(*rule);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let all: BTreeSet<&str> = rules().map(|rule| rule.id).collect();
    assert_eq!(seen, all);
}

#[test]
fn rules_have_names_of_their_own_and_say_all_that_is_asked_of_them() {
    let mut names = BTreeSet::new();
    for rule in rules() {
        assert!(names.insert(rule.id), "{} twice", rule.id);
        let plain = |c: char| c.is_ascii_lowercase() || c == '-';
        assert!(rule.id.chars().all(plain), "{}", rule.id);
        for said in [rule.title, rule.reason, rule.mend] {
            assert!(
                said.len() > 10 && !said.ends_with('.'),
                "{}: {said}",
                rule.id
            );
            assert!(!said.contains("  "), "{}: {said}", rule.id);
        }
        let address = rule.fact.address();
        let is_ours = address.starts_with("docs/") && address.contains('#');
        assert!(
            is_ours || address.starts_with("https://docs.aws.amazon.com/"),
            "{address}"
        );
    }
    assert!(names.len() > 30);
}

/// What AWS refuses, at each end.
#[test]
fn bounds_are_those_of_the_api() {
    let values = |property: &str, value: &str| {
        let text = edited(
            good("plain"),
            &[(
                "      MaximumRetryAttempts: 10\n",
                &format!("      {property}: {value}\n"),
            )],
        );
        broken(&report(&text))
    };
    for (property, good, bad) in [
        ("BatchSize", ["1", "10000"], ["0", "10001"]),
        (
            "MaximumBatchingWindowInSeconds",
            ["0", "300"],
            ["-1", "301"],
        ),
        ("ParallelizationFactor", ["1", "10"], ["0", "11"]),
        ("MaximumRetryAttempts", ["-1", "10000"], ["-2", "10001"]),
        ("MaximumRecordAgeInSeconds", ["-1", "60"], ["0", "59"]),
        (
            "MaximumRecordAgeInSeconds",
            ["604800", "60"],
            ["604801", "many"],
        ),
    ] {
        for value in good {
            assert_eq!(values(property, value), [""; 0], "{property} {value}");
        }
        for value in bad {
            assert_eq!(
                values(property, value),
                ["value-refused"],
                "{property} {value}"
            );
        }
    }
    assert_eq!(
        values("TumblingWindowInSeconds", "901"),
        ["tumbling-window", "value-refused"]
    );
    let concurrency = |value: &str| {
        let to = format!("\"MaximumConcurrency\": {value}");
        let text = edited(
            good("queue"),
            &[
                ("\"MaximumConcurrency\": 20", &to),
                (
                    "\"ReservedConcurrentExecutions\": 20",
                    "\"MemorySize\": 128",
                ),
            ],
        );
        broken(&report(&text))
    };
    assert_eq!(concurrency("2"), [""; 0]);
    assert_eq!(concurrency("1000"), [""; 0]);
    assert_eq!(concurrency("1"), ["value-refused"]);
    assert_eq!(concurrency("1001"), ["value-refused"]);
}
