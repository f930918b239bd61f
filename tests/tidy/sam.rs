//! The templates of `deploy/sam/` agree with the code and with themselves: the environment of each function
//! is a configuration, read by the real parser, and its numbers are those of function, mapping, source and
//! alarms. What AWS's tools make of them is held by `integration/tests/templates.rs`.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests: whatever they do not find is a failure"
)]

mod alarms;

use crate::tree::{file, files};
use lanekeeper::{
    Config,
    config::{HandlerKind, Layers, SourceKind, StoreKind},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use yaml_rust2::{Yaml, YamlLoader};

const NAMES: [&str; 3] = ["kafka", "kinesis", "sqs-fifo"];

/// What a handler by HTTP may be at, in the program without Rust of its own.
const URL: &str = "https://billing.example.org/records";

/// Of parameters that have no default.
const ARNS: [(&str, &str); 2] = [
    (
        "ClusterArn",
        "arn:aws:kafka:eu-central-1:123456789012:cluster/orders/6a8c1c1e-0000-4000-8000-000000000000-1",
    ),
    (
        "StreamArn",
        "arn:aws:kinesis:eu-central-1:123456789012:stream/orders",
    ),
];

/// Conditions, each with the parameter that must not be empty.
const CONDITIONS: [(&str, &str); 2] = [("FansOut", "ConsumerArn"), ("PostsRecords", "HandlerUrl")];

const QUEUE_ARN: &str = "arn:aws:sqs:eu-central-1:123456789012:orders.fifo";

/// Tags of CloudFormation (`!Ref`, `!Sub`, `!If`) are dropped by the parser: what they name is left.
struct Template {
    name: &'static str,
    yaml: Yaml,
    told: BTreeMap<&'static str, &'static str>,
}

impl Template {
    fn all() -> Vec<Self> {
        let both = NAMES.iter().flat_map(|name| [(name, ""), (name, URL)]);
        both.map(|(name, url)| Self::told(name, &[("HandlerUrl", url)]))
            .collect()
    }

    fn new(name: &'static str) -> Self {
        Self::told(name, &[])
    }

    /// With these parameters.
    fn told(name: &'static str, told: &[(&'static str, &'static str)]) -> Self {
        let text = file(&format!("deploy/sam/{name}.yaml")).unwrap().text;
        let [yaml] = &YamlLoader::load_from_str(&text).expect(name)[..] else {
            unreachable!("{name} has one document");
        };
        Self {
            name,
            yaml: yaml.clone(),
            told: ARNS.iter().chain(told).copied().collect(),
        }
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

    /// The value where each parameter that is not told has its default, `None`: there is none.
    fn value(&self, yaml: &Yaml) -> Option<String> {
        if let Yaml::Array(branches) = yaml {
            let [condition, then, otherwise] = &branches[..] else {
                unreachable!("{}: {branches:?}", self.name);
            };
            let known = CONDITIONS
                .iter()
                .find(|(c, _)| Some(*c) == condition.as_str());
            let (_, parameter) = known.expect(self.name);
            let is_told = !self.parameter(parameter).is_empty();
            return self.value(if is_told { then } else { otherwise });
        }
        let text = plain(yaml)?;
        match text.as_str() {
            "AWS::NoValue" => None,
            "Queue" => {
                Some("https://sqs.eu-central-1.amazonaws.com/123456789012/orders.fifo".to_owned())
            }
            "Queue.Arn" => Some(QUEUE_ARN.to_owned()),
            _ => Some(self.substituted(text)),
        }
    }

    fn parameter(&self, name: &str) -> String {
        let default = &self.yaml["Parameters"][name]["Default"];
        let told = self.told.get(name).map(|told| (*told).to_owned());
        { told.or_else(|| plain(default)) }.expect(name)
    }

    /// Names of parameters, alone or within `${…}`.
    fn substituted(&self, mut text: String) -> String {
        for name in self.yaml["Parameters"]
            .as_hash()
            .expect("parameters")
            .keys()
        {
            let name = name.as_str().unwrap();
            if text == name {
                return self.parameter(name);
            }
            text = text.replace(&format!("${{{name}}}"), &self.parameter(name));
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
            SourceKind::DynamodbStreams { .. } | SourceKind::Local { .. } => {
                unreachable!("{name}: no mapping")
            }
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
            Some(HandlerKind::Http { url, .. }) => {
                assert_eq!(*url, template.parameter("HandlerUrl"), "{name}");
            }
            None => assert!(template.parameter("HandlerUrl").is_empty(), "{name}"),
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
    let queue = Template::new("sqs-fifo");
    let visible = queue.number(&queue.properties("Queue")["VisibilityTimeout"]);
    assert!(Duration::from_secs(visible) >= 6 * queue.timeout());
    assert!(queue.number(queue.mapping("BatchSize")) <= 10);
}
