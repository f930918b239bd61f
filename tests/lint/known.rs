//! What is known of a value before deployment, and what is not.

use crate::{broken, edited, good, report};
use lanekeeper::lint::{Deployed, Report, lint};
use std::fs;

/// What is not known, and the rules that hang on it.
fn open(report: &Report) -> Vec<String> {
    let line = |open: &lanekeeper::lint::Open| {
        let rules: Vec<&str> = open.rules.iter().copied().collect();
        format!("{}: {} ({})", open.place.path, open.what, rules.join(" "))
    };
    report.open.iter().map(line).collect()
}

/// The Kinesis template with parameters, and something of the function's or the mapping's changed.
fn kinesis(parameters: &str, edits: &[(&str, &str)]) -> Report {
    let head = format!("Parameters:\n{parameters}Resources:\n");
    report(&edited(
        good("kinesis"),
        &[&[("Resources:\n", head.as_str())], edits].concat(),
    ))
}

const BATCH: &str = "BatchSize: 100";
const RESERVED: &str = "ReservedConcurrentExecutions: 4";
const CONCURRENCY: &str = "LAMBDA__CONCURRENCY: 4";

#[test]
fn a_parameter_is_its_default_and_without_one_it_is_not_known() {
    let edit = [(BATCH, "BatchSize: !Ref Size")];
    let default = kinesis("  Size: {Type: Number, Default: 10001}\n", &edit);
    assert_eq!(broken(&default), ["value-refused"]);
    let found = &default.findings[0].found;
    assert_eq!(found, "BatchSize: 10001 (the default of parameter `Size`)");
    let none = kinesis("  Size: {Type: Number}\n", &edit);
    assert_eq!(broken(&none), [""; 0]);
    let path = "Properties.Events.Orders.Properties.BatchSize";
    assert_eq!(
        open(&none),
        [format!("{path}: `!Ref Size` (value-refused)")]
    );
    // Its default is where the value is kept.
    let stored = "  Size: {Type: 'AWS::SSM::Parameter::Value<Number>', Default: /batch/size}\n";
    assert_eq!(open(&kinesis(stored, &edit)).len(), 1);
    let resolved = [(BATCH, "BatchSize: '{{resolve:ssm:/batch/size}}'")];
    assert_eq!(
        open(&kinesis("  Size: {Type: Number}\n", &resolved)).len(),
        1
    );
}

#[test]
fn one_expression_on_both_sides_is_one_number() {
    let parameter = "  Count: {Type: Number}\n  Other: {Type: Number}\n";
    let same = [
        (RESERVED, "ReservedConcurrentExecutions: !Ref Count"),
        (CONCURRENCY, "LAMBDA__CONCURRENCY: !Ref Count"),
    ];
    let report = kinesis(parameter, &same);
    assert_eq!((broken(&report), open(&report)), (vec![], vec![]));
    let differ = [same[0], (CONCURRENCY, "LAMBDA__CONCURRENCY: !Ref Other")];
    let report = kinesis(parameter, &differ);
    assert_eq!(broken(&report), [""; 0]);
    assert_eq!(
        open(&report),
        ["Properties.ReservedConcurrentExecutions: `!Ref Count` (reserved-concurrency-differs)"]
    );
}

#[test]
fn a_function_or_a_source_that_is_elsewhere_is_told() {
    let text = "Resources:
  One:
    Type: AWS::Lambda::EventSourceMapping
    Properties: {EventSourceArn: !ImportValue Queue, FunctionName: elsewhere}
  Two:
    Type: AWS::Lambda::EventSourceMapping
    Properties: {EventSourceArn: 'arn:aws:sqs:eu-central-1:123456789012:q', FunctionName: elsewhere, FunctionResponseTypes: [ReportBatchItemFailures]}
  Three:
    Type: AWS::Lambda::EventSourceMapping
    Properties: {EventSourceArn: !GetAtt Broker.Arn, FunctionName: elsewhere}
  Broker: {Type: AWS::AmazonMQ::Broker}
";
    let report = report(text);
    assert_eq!(broken(&report), [""; 0]);
    assert_eq!(report.mappings, 2, "of MQ nothing is known");
    assert_eq!(
        open(&report),
        [
            "Properties.EventSourceArn: what kind of source `!ImportValue Queue` is ()",
            "Properties.EventSourceArn: the queue `arn:aws:sqs:eu-central-1:123456789012:q`, which is not in this template ()",
            "Properties.FunctionName: the function `elsewhere`, which is not in this template ()",
        ]
    );
}

#[test]
fn settings_of_a_file_are_not_known_unless_it_is_given() {
    let text = "Resources:
  Billing:
    Type: AWS::Serverless::Function
    Properties:
      Timeout: 60
      ReservedConcurrentExecutions: 4
      Environment: {Variables: {LANEKEEPER_CONFIG: lanekeeper.toml}}
      Events:
        Orders:
          Type: MSK
          Properties: {Stream: !ImportValue Cluster, Topics: [o], StartingPosition: TRIM_HORIZON}
  Throttled:
    Type: AWS::CloudWatch::Alarm
    Properties: {MetricName: Throttles, Dimensions: [{Name: FunctionName, Value: !Ref Billing}]}
";
    let alone = report(text);
    assert_eq!(broken(&alone), ["whole-batch-fails"]);
    assert_eq!(
        open(&alone),
        [
            "Properties.Environment.Variables: the setting `failure.timeout` (timeout-short)",
            "Properties.Environment.Variables: the setting `lambda.concurrency` (reserved-concurrency-differs)",
            "Properties.Environment.Variables: the setting `lambda.reports_failures` (answers-not-honoured)",
            "Properties.Environment.Variables: the setting `lambda.retention` (forgotten-before-retention)",
            "Properties.Environment.Variables: the setting `store.type` (settings-refused)",
        ]
    );
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("lanekeeper.toml");
    fs::write(&file, "app = \"a\"\ncap = 9\n[sources.o]\ntype = \"kafka\"\ntopics = [\"o\"]\nbootstrap_servers = \"localhost:9092\"\n[store]\ntype = \"dynamodb\"\n[failure]\ntimeout = \"28s\"\n[handler]\ntype = \"http\"\nurl = \"https://a.example/\"\n[lambda]\nreports_failures = true\nconcurrency = 3\n")
        .expect("write");
    let deployed = Deployed {
        file: Some(file),
        set: vec!["failure.settle=1m".to_owned()],
    };
    let given = lint(text, &deployed).expect("a template");
    assert_eq!(
        broken(&given),
        [
            "timeout-short",
            "reserved-concurrency-differs",
            "answers-not-honoured"
        ]
    );
    let asked: Vec<&str> = given.findings.iter().map(|f| f.asked.as_str()).collect();
    assert!(
        asked[0].starts_with("more than 1m 28s 500ms (failure.timeout 28s ("),
        "{asked:?}"
    );
}

#[test]
fn branches_are_looked_at_both_ways_and_conditions_agree() {
    let conditions = "  Stage: {Type: String, Default: test}
Conditions:
  Prod: !Equals [!Ref Stage, prod]
  Test: !Not [!Condition Prod]
  Both: !And [!Condition Prod, !Condition Test]
";
    let one = kinesis(conditions, &[(BATCH, "BatchSize: !If [Prod, 20000, 100]")]);
    assert_eq!(broken(&one), ["value-refused"]);
    assert_eq!(one.findings[0].when, "`Prod` is true");
    assert_eq!(one.findings[0].place.mark.column, 35, "of the branch");
    let both = kinesis(
        conditions,
        &[(BATCH, "BatchSize: !If [Prod, 20000, 30000]")],
    );
    assert_eq!(broken(&both), ["value-refused"; 2]);
    let never = kinesis(conditions, &[(BATCH, "BatchSize: !If [Both, 20000, 100]")]);
    assert_eq!(broken(&never), [""; 0]);
    let within = [(BATCH, "BatchSize: !If [Prod, !If [Test, 20000, 100], 100]")];
    assert_eq!(broken(&kinesis(conditions, &within)), [""; 0]);
    // What is always so is no condition of it.
    let always = format!("{conditions}  Always: !Equals [x, x]\n");
    let within = [(
        BATCH,
        "BatchSize: !If [Always, !If [Prod, 20000, 100], 100]",
    )];
    assert_eq!(kinesis(&always, &within).findings[0].when, "`Prod` is true");
    // A parameter is one thing at a time.
    let two = "  Stage: {Type: String}\nConditions:\n  A: !Equals [!Ref Stage, a]\n  B: !Equals [!Ref Stage, b]\n";
    let within = [(BATCH, "BatchSize: !If [A, !If [B, 20000, 100], 100]")];
    assert_eq!(broken(&kinesis(two, &within)), [""; 0]);
    // Where it is `prod`, it is that.
    let named = "  Stage: {Type: String, AllowedValues: [9, 20000]}
Conditions:
  Small: !Equals [9, !Ref Stage]
  Other: !Equals [!Ref Stage, nothing]
";
    let edit = [(
        BATCH,
        "BatchSize: !If [Small, !Ref Stage, !If [Other, 7, !Ref Stage]]",
    )];
    let report = kinesis(named, &edit);
    assert_eq!(
        (broken(&report), open(&report)),
        (vec!["value-refused"], vec![])
    );
    assert_eq!(
        report.findings[0].found,
        "BatchSize: 20000 (parameter `Stage`)"
    );
}

#[test]
fn a_resource_that_is_there_under_a_condition_is_there_then() {
    let conditions = "  Stage: {Type: String}\nConditions:\n  Prod: !Equals [!Ref Stage, prod]\n";
    let alarm = "  Throttled:\n    Condition: Prod\n";
    let report = kinesis(conditions, &[("  Throttled:\n", alarm)]);
    assert_eq!(broken(&report), ["throttles-alarm-missing"]);
    assert_eq!(report.findings[0].when, "`Prod` is false");
}

#[test]
fn too_many_conditions_are_looked_at_one_way_and_circles_end() {
    let mut conditions = String::from("  P: {Type: String}\nConditions:\n");
    let mut size = "1".to_owned();
    for n in 0..9 {
        conditions.push_str(&format!("  C{n}: !Equals [!ImportValue v{n}, x]\n"));
        size = format!("!If [C{n}, 2, {size}]");
    }
    let report = kinesis(&conditions, &[(BATCH, &format!("BatchSize: {size}"))]);
    assert_eq!(broken(&report), [""; 0]);
    let told = open(&report);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].contains("`!Equals [!ImportValue v8, x]`: there are too many"),
        "{told:?}"
    );
    let circle = "  P: {Type: String}\nConditions:\n  A: !Not [!Condition B]\n  B: !Not [!Condition A]\n  C: !Or [!Condition C]\n";
    let edit = [(BATCH, "BatchSize: !If [A, !If [C, 1, 2], 3]")];
    assert_eq!(broken(&kinesis(circle, &edit)), [""; 0]);
}

#[test]
fn globals_maps_and_joined_texts_are_read() {
    let edits = [
        (
            "Resources:\n",
            "Globals: {Function: {Timeout: 10, Environment: {Variables: {LANEKEEPER__LAMBDA__MARGIN: 1s}}}}\nMappings: {Of: {prod: {Size: 20000}}}\nResources:\n",
        ),
        ("      Timeout: 60\n", ""),
        (
            BATCH,
            "BatchSize: !FindInMap [Of, !Join ['', [pr, od]], Size]",
        ),
    ];
    let report = report(&edited(good("kinesis"), &edits));
    assert_eq!(broken(&report), ["timeout-short", "value-refused"]);
    let finding = &report.findings[0];
    assert_eq!(finding.place.path, "Globals.Function.Timeout");
    assert_eq!(finding.place.mark.line, 2);
    assert!(finding.asked.contains("margin 1s"), "{}", finding.asked);
}

#[test]
fn what_loops_make_is_told_to_be_not_known() {
    let text = "Resources:\n  'Fn::ForEach::Queues': [Name, [a, b], {'Q${Name}': {Type: AWS::SQS::Queue}}]\n";
    let report = report(text);
    assert_eq!(
        open(&report),
        [": what `Fn::ForEach::Queues` makes of resources ()"]
    );
}

#[test]
fn a_function_is_found_by_whatever_names_it() {
    let template = |name: &str| {
        format!(
            "Parameters: {{Name: {{Type: String, Default: billing}}}}
Resources:
  F: {{Type: AWS::Lambda::Function, Properties: {{FunctionName: !Ref Name, ReservedConcurrentExecutions: 0}}}}
  Live: {{Type: AWS::Lambda::Alias, Properties: {{FunctionName: !GetAtt F.Arn, Name: live}}}}
  M: {{Type: AWS::Lambda::EventSourceMapping, Properties: {{EventSourceArn: !GetAtt Q.Arn, FunctionName: {name}, FunctionResponseTypes: [ReportBatchItemFailures]}}}}
  Q: {{Type: AWS::SQS::Queue}}
"
        )
    };
    for name in [
        "!Ref F",
        "!GetAtt F.Arn",
        "!GetAtt [F, Arn]",
        "!Ref Live",
        "!Ref Name",
        "!Sub '${F.Arn}:live'",
        "!Sub '${F}'",
        "billing",
        "'billing:live'",
        "'arn:aws:lambda:eu-central-1:123456789012:function:billing:live'",
    ] {
        let report = report(&template(name));
        let rules = ["reserved-concurrency-zero", "throttles-alarm-missing"];
        assert_eq!(broken(&report), rules, "{name}");
    }
    assert_eq!(broken(&report(&template("other"))), [""; 0]);
}

#[test]
fn a_source_is_known_by_its_arn_also_where_parts_of_it_are_not() {
    let mapping = |arn: &str| {
        let text = format!(
            "Resources:
  M: {{Type: AWS::Lambda::EventSourceMapping, Properties: {{EventSourceArn: {arn}, FunctionName: other, BatchSize: 11, StartingPosition: LATEST, FunctionResponseTypes: [ReportBatchItemFailures], ProvisionedPollerConfig: {{MinimumPollers: 2}}}}}}
  C: {{Type: AWS::Kinesis::StreamConsumer}}
  T: {{Type: AWS::DynamoDB::Table}}
"
        );
        broken(&report(&text))
    };
    for arn in [
        "!Sub 'arn:${AWS::Partition}:kinesis:${AWS::Region}:${AWS::AccountId}:stream/s'",
        "!Join [':', [arn, !Ref AWS::Partition, kinesis, !Ref AWS::Region, x, stream/s]]",
        "arn:aws-cn:dynamodb:cn-north-1:123456789012:table/t/stream/x",
        "!GetAtt T.StreamArn",
        "!Ref C",
        "!Sub 'arn:aws:kafka:${AWS::Region}:${AWS::AccountId}:cluster/c/1'",
    ] {
        assert_eq!(mapping(arn), ["start-latest"], "{arn}");
    }
    let fifo = ["value-refused", "not-for-this-source"];
    for arn in [
        "'arn:aws:sqs:eu-central-1:1:q.fifo'",
        "!Sub 'arn:aws:sqs:${AWS::Region}:1:${Q}.fifo'",
    ] {
        assert_eq!(mapping(arn), fifo, "{arn}");
    }
    let queue = ["batch-without-window", "not-for-this-source"];
    assert_eq!(mapping("!Sub 'arn:aws:sqs:${AWS::Region}:1:q'"), queue);
    for arn in [
        "arn:aws:mq:eu-central-1:1:broker:b",
        "!ImportValue x",
        "!GetAtt M.Foo",
    ] {
        assert_eq!(mapping(arn), [""; 0], "{arn}");
    }
}

#[test]
fn a_stream_by_its_name_and_by_its_resource_may_be_the_same() {
    let named = "ARN: arn:aws:kinesis:eu-central-1:123456789012:stream/orders";
    let edit = ("ARN: !GetAtt Orders.Arn", named);
    let report = report(&edited(good("kinesis"), &[edit]));
    let told =
        "Properties.Events.Orders.Properties.Stream: `!GetAtt Orders.Arn` (source-not-configured)";
    assert_eq!(
        (broken(&report), open(&report)),
        (vec![], vec![told.to_owned()])
    );
    let both = [
        edit,
        (
            "Stream: !GetAtt Orders.Arn",
            "Stream: arn:aws:kinesis:eu-central-1:123456789012:stream/others",
        ),
    ];
    let report = self::report(&edited(good("kinesis"), &both));
    assert_eq!(broken(&report), ["source-not-configured"]);
}
