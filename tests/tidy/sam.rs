//! The templates of `deploy/sam/` agree with the code and with themselves: the environment of each function
//! is a configuration, read by the real parser, and its numbers are those of function, mapping, source and
//! alarms. What AWS's tools make of them is held by `integration/tests/templates.rs`.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests: whatever they do not find is a failure"
)]

use crate::tree::{file, files};
use lanekeeper::{
    Config,
    config::{HandlerKind, Layers, SourceKind, StoreKind},
};
use std::{collections::BTreeSet, time::Duration};
use yaml_rust2::{Yaml, YamlLoader};

const NAMES: [&str; 3] = ["kafka", "kinesis", "sqs-fifo"];

/// What a handler by HTTP may be at, in the program without Rust of its own.
const URL: &str = "https://billing.example.org/records";

const QUEUE_ARN: &str = "arn:aws:sqs:eu-central-1:123456789012:orders.fifo";

/// Tags of CloudFormation (`!Ref`, `!Sub`, `!If`) are dropped by the parser: what they name is left.
struct Template {
    name: &'static str,
    yaml: Yaml,
    url: &'static str,
}

impl Template {
    fn all() -> Vec<Self> {
        let both = NAMES.iter().flat_map(|name| [(name, ""), (name, URL)]);
        both.map(|(name, url)| Self::new(name, url)).collect()
    }

    fn new(name: &'static str, url: &'static str) -> Self {
        let text = file(&format!("deploy/sam/{name}.yaml")).unwrap().text;
        let [yaml] = &YamlLoader::load_from_str(&text).expect(name)[..] else {
            unreachable!("{name} has one document");
        };
        let yaml = yaml.clone();
        Self { name, yaml, url }
    }

    fn properties(&self, resource: &str) -> &Yaml {
        &self.yaml["Resources"][resource]["Properties"]
    }

    fn function(&self, property: &str) -> &Yaml {
        &self.properties("Function")[property]
    }

    fn mapping(&self, property: &str) -> &Yaml {
        &self.function("Events")["Orders"]["Properties"][property]
    }

    /// The value where each parameter has its default, `None`: there is none.
    fn value(&self, yaml: &Yaml) -> Option<String> {
        if let Yaml::Array(branches) = yaml {
            let [condition, then, otherwise] = &branches[..] else {
                unreachable!("{}: {branches:?}", self.name);
            };
            assert_eq!(condition.as_str(), Some("PostsRecords"), "{}", self.name);
            let branch = if self.url.is_empty() { otherwise } else { then };
            return self.value(branch);
        }
        let text = plain(yaml)?;
        match text.as_str() {
            "AWS::NoValue" => None,
            "HandlerUrl" => Some(self.url.to_owned()),
            "Queue" => {
                Some("https://sqs.eu-central-1.amazonaws.com/123456789012/orders.fifo".to_owned())
            }
            "Queue.Arn" => Some(QUEUE_ARN.to_owned()),
            _ => Some(self.substituted(text)),
        }
    }

    /// Names of parameters, alone or within `${…}`.
    fn substituted(&self, mut text: String) -> String {
        for (name, parameter) in self.yaml["Parameters"].as_hash().expect("parameters") {
            let name = name.as_str().unwrap();
            let default = plain(&parameter["Default"]).unwrap_or_default();
            if text == name {
                return default;
            }
            text = text.replace(&format!("${{{name}}}"), &default);
        }
        text
    }

    fn number(&self, yaml: &Yaml) -> u64 {
        let text = self.value(yaml).expect(self.name);
        text.parse().expect(&text)
    }

    /// The function's, as its process finds it.
    fn config(&self) -> Config {
        let variables = self.function("Environment")["Variables"].as_hash();
        let variables = variables.expect(self.name).iter();
        let set = variables.filter_map(|(name, value)| {
            let name = name.as_str().unwrap();
            Some((name.into(), self.value(value)?.into()))
        });
        let layers = Layers {
            file: None,
            environment: set.collect(),
            set: Vec::new(),
        };
        Config::load(&layers).unwrap_or_else(|errors| unreachable!("{}: {errors}", self.name))
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs(self.number(self.function("Timeout")))
    }

    /// Alarms, each as namespace, metric and resource.
    fn alarms(&self) -> Vec<(&str, &str, &Yaml)> {
        let resources = self.yaml["Resources"].as_hash().expect(self.name).iter();
        let alarms =
            resources.filter(|(_, r)| r["Type"].as_str() == Some("AWS::CloudWatch::Alarm"));
        let alarms = alarms.map(|(_, resource)| &resource["Properties"]);
        let named = alarms.map(|alarm| {
            let word = |name: &str| alarm[name].as_str();
            Some((word("Namespace")?, word("MetricName")?, alarm))
        });
        { named.collect::<Option<_>>() }.expect(self.name)
    }
}

/// A number, a word or a flag, as CloudFormation makes text of it.
fn plain(yaml: &Yaml) -> Option<String> {
    match yaml {
        Yaml::String(text) | Yaml::Real(text) => Some(text.clone()),
        Yaml::Integer(number) => Some(number.to_string()),
        Yaml::Boolean(flag) => Some(flag.to_string()),
        Yaml::Array(_) | Yaml::Hash(_) | Yaml::Alias(_) | Yaml::Null | Yaml::BadValue => None,
    }
}

/// `24h`, `14d`.
fn duration(text: &str) -> Duration {
    let (number, unit) = text.split_at(text.len() - 1);
    let hours = match unit {
        "h" => 1,
        "d" => 24,
        _ => unreachable!("{text}"),
    };
    Duration::from_hours(hours * number.parse::<u64>().expect(text))
}

#[test]
fn each_template_is_looked_at() {
    let files = files().unwrap();
    let there = files.iter().filter_map(|file| {
        let name = file.path.strip_prefix("deploy/sam/")?;
        name.strip_suffix(".yaml")
    });
    assert_eq!(there.collect::<BTreeSet<_>>(), BTreeSet::from(NAMES));
}

#[test]
fn each_environment_is_a_configuration_of_the_function_that_its_mapping_serves() {
    for template in Template::all() {
        let (name, config) = (template.name, template.config());
        let [source] = &config.sources[..] else {
            unreachable!("{name}: one source");
        };
        let mapped = template.function("Events")["Orders"]["Type"].as_str();
        match &source.kind {
            SourceKind::Kinesis { arn } => {
                assert_eq!(mapped, Some("Kinesis"), "{name}");
                assert_eq!(
                    template.value(template.mapping("Stream")).as_ref(),
                    Some(arn)
                );
            }
            SourceKind::Sqs { arn, queue_url } => {
                assert_eq!(mapped, Some("SQS"), "{name}");
                assert_eq!(&template.value(template.mapping("Queue")), arn);
                assert!(queue_url.starts_with("https://sqs."), "{queue_url}");
            }
            SourceKind::Kafka { topics, .. } => {
                assert_eq!(mapped, Some("MSK"), "{name}");
                let listed = template.mapping("Topics").as_vec().expect(name).iter();
                let listed: Vec<String> =
                    listed.filter_map(|topic| template.value(topic)).collect();
                assert_eq!(&listed, topics, "{name}");
            }
            SourceKind::Local { .. } => unreachable!("{name}: no mapping"),
        }
        let StoreKind::Dynamodb { table } = &config.store.kind else {
            unreachable!("{name}: no file lasts");
        };
        assert_eq!(
            template.substituted("TableName".to_owned()),
            *table,
            "{name}"
        );
        assert_eq!(
            config.app,
            template.value(template.function("FunctionName")).unwrap()
        );
        // With a URL the program `bootstrap`, without one a handler in Rust.
        match &config.handler.kind {
            Some(HandlerKind::Http { url, .. }) => assert_eq!(url, template.url, "{name}"),
            None => assert!(template.url.is_empty(), "{name}"),
            Some(HandlerKind::Exec { .. }) => unreachable!("{name}"),
        }
    }
}

#[test]
fn the_answer_is_honoured_and_nothing_is_given_up() {
    for template in Template::all() {
        let (name, config) = (template.name, template.config());
        let types = template.mapping("FunctionResponseTypes").as_vec();
        let honours = types
            .is_some_and(|types| types == &[Yaml::String("ReportBatchItemFailures".to_owned())]);
        assert_eq!(config.lambda.reports_failures, honours, "{name}");
        assert!(honours, "{name}");
        assert_eq!(config.failure.then, partitions::Then::Stop, "{name}");
        for absent in [
            "FilterCriteria",
            "TumblingWindowInSeconds",
            "StartingPositionTimestamp",
        ] {
            assert!(template.mapping(absent).is_badvalue(), "{name}: {absent}");
        }
        let destination = !template.mapping("DestinationConfig").is_badvalue();
        // Unlimited retries and a destination are ten retries behind Kafka; a queue's mapping has none.
        assert_eq!(destination, name == "kinesis", "{name}");
        if name == "sqs-fifo" {
            let queue = template.properties("Queue");
            assert!(queue["RedrivePolicy"].is_badvalue(), "{name}");
            assert_eq!(queue["FifoQueue"].as_bool(), Some(true));
            assert_eq!(queue["DeduplicationScope"].as_str(), Some("messageGroup"));
            continue;
        }
        for unlimited in ["MaximumRetryAttempts", "MaximumRecordAgeInSeconds"] {
            assert_eq!(
                template.mapping(unlimited).as_i64(),
                Some(-1),
                "{name}: {unlimited}"
            );
        }
        assert_eq!(
            template.mapping("BisectBatchOnFunctionError").as_bool(),
            Some(false)
        );
        assert_eq!(
            template.mapping("StartingPosition").as_str(),
            Some("TRIM_HORIZON")
        );
        if name == "kafka" {
            assert!(
                template
                    .mapping("MaximumBatchingWindowInSeconds")
                    .is_badvalue()
            );
            let pollers = &template.mapping("ProvisionedPollerConfig")["MinimumPollers"];
            assert!(
                pollers.as_i64().is_some_and(|pollers| pollers >= 1),
                "{name}"
            );
        }
    }
}

#[test]
fn numbers_of_function_mapping_and_configuration_agree() {
    for template in Template::all() {
        let (name, config) = (template.name, template.config());
        let reserved = template.function("ReservedConcurrentExecutions");
        assert_eq!(
            template.number(reserved),
            u64::from(config.lambda.concurrency),
            "{name}"
        );
        // One parameter, so that they cannot come apart.
        let variables = &template.function("Environment")["Variables"];
        let of_config = &variables["LANEKEEPER__LAMBDA__CONCURRENCY"];
        let of_mapping = match name {
            "kafka" => &template.mapping("ProvisionedPollerConfig")["MaximumPollers"],
            "sqs-fifo" => &template.mapping("ScalingConfig")["MaximumConcurrency"],
            _ => reserved,
        };
        for other in [of_config, of_mapping] {
            assert_eq!(
                (other, other.as_str()),
                (reserved, Some("Concurrency")),
                "{name}"
            );
        }
        assert!(config.cap >= config.lambda.concurrency, "{name}");
        if name == "kinesis" {
            let factor = template.number(template.mapping("ParallelizationFactor"));
            let known = config.lambda.parallelization_factor.map(u64::from);
            assert_eq!(known, Some(factor), "{name}");
        }
        // A try, what its target may still do after it, and the margin.
        let timeout = config.failure.timeout;
        let settle = config.failure.settle.unwrap_or(timeout);
        let least = timeout + settle + config.lambda.margin;
        assert!(template.timeout() > 2 * least, "{name}: {least:?}");
        if name == "kafka" {
            assert!(template.timeout() <= Duration::from_mins(14), "{name}");
        }
        let memory = template.number(template.function("MemorySize")) << 20;
        assert!(memory >= 2 * config.memory, "{name}: {memory}");
    }
    let queue = Template::new("sqs-fifo", "");
    let visible = queue.number(&queue.properties("Queue")["VisibilityTimeout"]);
    assert!(Duration::from_secs(visible) >= 6 * queue.timeout());
    assert!(queue.number(queue.mapping("BatchSize")) <= 10);
}

#[test]
fn alarms_ring_at_half_of_the_retention_that_the_configuration_knows() {
    for name in NAMES {
        let template = Template::new(name, "");
        let retention = template.config().lambda.retention;
        let half = retention.as_secs() / 2;
        let rows = template.yaml["Mappings"]["Half"].as_hash();
        for (of, half) in rows.into_iter().flatten() {
            let seconds = duration(of.as_str().unwrap()).as_secs() / 2;
            assert_eq!(
                half["Seconds"].as_i64(),
                Some(seconds.cast_signed()),
                "{name}"
            );
            let millis = half["Milliseconds"].as_i64();
            assert!(
                millis.is_none_or(|m| m == 1000 * seconds.cast_signed()),
                "{name}"
            );
        }
        let allowed = template.yaml["Parameters"]["Retention"]["AllowedValues"].as_vec();
        let allowed = allowed.into_iter().flatten().collect::<Vec<_>>();
        assert_eq!(rows.map_or(0, |rows| rows.len()), allowed.len(), "{name}");
        let threshold = |alarm: &Yaml| -> u64 {
            let value = &alarm["Threshold"];
            let Yaml::Array(steps) = value else {
                return template.number(value);
            };
            let [table, of, unit] = &steps[..] else {
                unreachable!("{name}: {steps:?}");
            };
            let of = template.value(of).unwrap();
            let table = &template.yaml["Mappings"][table.as_str().unwrap()];
            template.number(&table[of.as_str()][unit.as_str().unwrap()])
        };
        let mut rings_late = 0;
        for (_, metric, alarm) in template.alarms() {
            match metric {
                "OldestStoppedLaneAge" | "ApproximateAgeOfOldestMessage" => {
                    assert_eq!(threshold(alarm), half, "{name}: {metric}");
                }
                "IteratorAge" => assert_eq!(threshold(alarm), 1000 * half, "{name}"),
                _ => continue,
            }
            rings_late += 1;
        }
        assert_eq!(rings_late, if name == "kafka" { 1 } else { 2 }, "{name}");
    }
    let queue = Template::new("sqs-fifo", "");
    let kept = queue.number(&queue.properties("Queue")["MessageRetentionPeriod"]);
    assert_eq!(Duration::from_secs(kept), queue.config().lambda.retention);
}

#[test]
fn what_stops_fails_or_is_throttled_is_watched() {
    for name in NAMES {
        let template = Template::new(name, "");
        let config = template.config();
        let mut watched = BTreeSet::new();
        for (namespace, metric, alarm) in template.alarms() {
            watched.insert((namespace, metric));
            let dimensions = alarm["Dimensions"].as_vec().expect(name).iter();
            let dimensions: Vec<(String, String)> = dimensions
                .map(|one| {
                    let value = template.value(&one["Value"]).unwrap();
                    (plain(&one["Name"]).unwrap(), value)
                })
                .collect();
            let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
            let wanted = match namespace {
                // As the function writes them.
                "lanekeeper" => {
                    vec![
                        own("app", &config.app),
                        own("source", &config.sources[0].name),
                    ]
                }
                "AWS/Lambda" => vec![own("FunctionName", "Function")],
                _ if name == "sqs-fifo" => vec![own("QueueName", "Queue.QueueName")],
                _ => vec![own("QueueName", "GivenUp.QueueName")],
            };
            assert_eq!(dimensions, wanted, "{name}: {metric}");
            assert_eq!(
                alarm["AlarmActions"][0].as_str(),
                Some("Notifies"),
                "{name}: {metric}"
            );
        }
        let mut wanted = BTreeSet::from([
            ("lanekeeper", "LanesStopped"),
            ("lanekeeper", "OldestStoppedLaneAge"),
            ("AWS/Lambda", "Errors"),
            ("AWS/Lambda", "Throttles"),
        ]);
        wanted.extend(match name {
            "kinesis" => &[
                ("AWS/Lambda", "IteratorAge"),
                ("AWS/SQS", "ApproximateNumberOfMessagesVisible"),
            ][..],
            "sqs-fifo" => &[("AWS/SQS", "ApproximateAgeOfOldestMessage")],
            _ => &[("AWS/Lambda", "OffsetLag")],
        });
        assert_eq!(watched, wanted, "{name}");
    }
}
