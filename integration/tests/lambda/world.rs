//! A function, its target and its table, and who asks the command line about them.

use crate::target::{Say, Target};
use lanekeeper_integration::{
    kinesis::Kinesis,
    lambda::{Delivery, Function, MessageQueue as _, Queue, Stream},
    proxy::{Faults, Proxy},
    scene::{Ended, Running, Scene, binary, example},
    tables::Tables,
};
use serde_json::Value;
use std::{collections::BTreeMap, env, time::Duration};

/// What all functions of these tests are told, as TOML, unless a test says otherwise.
const SETTINGS: [(&str, &str); 12] = [
    ("app", "\"orders\""),
    ("cap", "10"),
    ("failure.attempts", "3"),
    ("failure.backoff_min", "\"5ms\""),
    ("failure.backoff_max", "\"20ms\""),
    ("failure.timeout", "\"2s\""),
    ("failure.settle", "\"100ms\""),
    ("lambda.reports_failures", "true"),
    ("lambda.parallelization_factor", "1"),
    ("lambda.margin", "\"200ms\""),
    ("handler.type", "\"http\""),
    ("store.flush_interval", "\"50ms\""),
];

/// What a source is called in all of them.
const SOURCE: &str = "orders";

/// A failure that ends when no further try may start in an invocation of four seconds, but whose backoff is
/// over when the record comes again.
pub(crate) const LAST_IN_FOUR_SECONDS: Say = Say::StatusAfter(500, Duration::from_millis(1_800));

fn by_the_command_line() -> Function {
    Function::new(binary().unwrap()).args(["lambda"])
}

pub(crate) struct World {
    pub(crate) target: Target,
    pub(crate) tables: Tables,
    scene: Scene,
    settings: BTreeMap<String, String>,
}

impl World {
    /// With this source, as TOML (`type = "kinesis"`, …), and these settings.
    pub(crate) fn new(source: &[(&str, &str)], settings: &[(&str, &str)]) -> Self {
        Self::asked(source, settings, None)
    }

    /// Behind a stream; the command line has this configuration, with a section `[store]` that is empty.
    pub(crate) fn kinesis_asked(
        stream: &Stream,
        settings: &[(&str, &str)],
        operator: &str,
    ) -> Self {
        let source = [("type", "kinesis"), ("arn", &stream.arn())];
        Self::asked(&source, settings, Some(operator))
    }

    fn asked(source: &[(&str, &str)], settings: &[(&str, &str)], operator: Option<&str>) -> Self {
        let target = Target::start().unwrap();
        let tables = Tables::start().unwrap();
        let all = SETTINGS.iter().chain(settings);
        let mut all: BTreeMap<String, String> = all
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        for (name, value) in source {
            let value = format!("\"{value}\"");
            all.insert(format!("sources.{SOURCE}.{name}"), value);
        }
        all.insert("handler.url".to_owned(), format!("\"{}\"", target.url()));
        // What the command line reads; the store's own section is the scene's.
        let lines = { all.iter() }
            .filter(|(name, _)| !name.starts_with("store."))
            .map(|(name, value)| format!("{name} = {value}\n"));
        let same = || lines.collect::<String>() + "\n[store]\n";
        let config = operator.map_or_else(same, str::to_owned);
        let (scene, table) = tables.scene(&config).unwrap();
        all.insert("store.type".to_owned(), "\"dynamodb\"".to_owned());
        all.insert("store.table".to_owned(), format!("\"{table}\""));
        Self {
            target,
            tables,
            scene,
            settings: all,
        }
    }

    /// Behind a stream.
    pub(crate) fn kinesis(stream: &Stream, settings: &[(&str, &str)]) -> Self {
        Self::new(&[("type", "kinesis"), ("arn", &stream.arn())], settings)
    }

    /// Behind the stream of a table.
    pub(crate) fn table(stream: &Stream, settings: &[(&str, &str)]) -> Self {
        let source = [("type", "dynamodb-streams"), ("arn", &stream.arn())];
        Self::new(&source, settings)
    }

    /// Behind a queue.
    pub(crate) fn sqs(queue: &Queue, settings: &[(&str, &str)]) -> Self {
        let url = "https://sqs.us-east-1.amazonaws.com/000000000000/orders";
        let arn = queue.arn();
        Self::new(
            &[("type", "sqs"), ("queue_url", url), ("arn", &arn)],
            settings,
        )
    }

    /// Another value of one setting from now on, for functions alone.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.settings.insert(name.to_owned(), value.to_owned());
    }

    /// The function, configured by its environment alone.
    pub(crate) fn function(&self) -> Function {
        self.function_within(&self.tables.dynamodb().environment())
    }

    /// The same, which talks to its table through a proxy.
    pub(crate) fn function_through(&self, proxy: &Proxy) -> Function {
        self.function_within(&self.tables.through(proxy))
    }

    /// An example in Rust, configured likewise: its handler is its own. That behind a stream may be there as it
    /// is deployed, without a command line.
    pub(crate) fn example(&self, name: &str) -> Function {
        let deployed = env::var_os("LANEKEEPER_TEST_LAMBDA_KINESIS");
        let function = match deployed.filter(|_| name == "lambda_kinesis") {
            Some(artefact) => Function::new(artefact),
            None => Function::new(example(name).unwrap()),
        };
        let is_its_own = |name: &str| name.starts_with("handler.");
        self.configured(function, &self.tables.dynamodb().environment(), is_its_own)
    }

    fn function_within(&self, environment: &[(&'static str, String)]) -> Function {
        let function = match env::var_os("LANEKEEPER_TEST_FUNCTION") {
            Some(artefact) => Function::new(artefact),
            None => by_the_command_line(),
        };
        self.configured(function, environment, |_| false)
    }

    /// The command line as the function's program, whatever the artefact is.
    pub(crate) fn command_line(&self) -> Function {
        let environment = self.tables.dynamodb().environment();
        self.configured(by_the_command_line(), &environment, |_| false)
    }

    /// With an environment and all settings but these.
    fn configured(
        &self,
        function: Function,
        environment: &[(&'static str, String)],
        but: impl Fn(&str) -> bool,
    ) -> Function {
        let function = function.envs(environment).timeout(Duration::from_secs(10));
        let settings = self.settings.iter().filter(|(name, _)| !but(name));
        settings.fold(function, |function, (name, value)| {
            let name = name.replace('.', "__").to_uppercase();
            function.env(&format!("LANEKEEPER__{name}"), value)
        })
    }

    pub(crate) fn proxy(&self, faults: Faults) -> Proxy {
        Proxy::start(self.tables.dynamodb().endpoint(), faults).unwrap()
    }

    /// Runs `lanekeeper` on the same table; it must end well.
    pub(crate) fn lanekeeper(&self, args: &[&str]) -> Ended {
        let ended = self.scene.run(args).unwrap();
        assert_eq!(ended.code, Some(0), "{ended:#?}");
        ended
    }

    /// Runs `lanekeeper` on the same table and a stream of this Kinesis.
    pub(crate) fn on(&self, kinesis: &Kinesis, args: &[&str]) -> Ended {
        self.start_on(kinesis, args).wait().unwrap()
    }

    /// The same, and goes on.
    pub(crate) fn start_on(&self, kinesis: &Kinesis, args: &[&str]) -> Running {
        let running = self.scene.start_within(args, &kinesis.environment());
        running.unwrap()
    }

    /// Runs the command line that an example has in it, beside its handler, likewise.
    pub(crate) fn example_on(&self, name: &str, kinesis: &Kinesis, args: &[&str]) -> Ended {
        let program = example(name).unwrap();
        let running = { &self.scene }.start_as(&program, args, &kinesis.environment());
        running.unwrap().wait().unwrap()
    }

    /// Writes a file beside the configuration.
    pub(crate) fn write(&self, name: &str, text: &str) {
        self.scene.write(name, text).unwrap();
    }

    /// Decides to try all lanes that stand anew, if any does.
    pub(crate) fn retry_all(&self) {
        let any = self
            .scene
            .run(&["lanes", "retry", "--all", "--why", "mended"]);
        any.unwrap();
    }

    /// The lanes that stand, as `lanes list --json` has them.
    pub(crate) fn lanes(&self) -> Vec<Value> {
        let listed = self
            .lanekeeper(&["lanes", "list", "--json"])
            .json()
            .unwrap();
        listed["lanes"].as_array().unwrap().clone()
    }

    /// The table of values that effects have written.
    pub(crate) fn values(&self, table: &str) -> BTreeMap<String, i64> {
        let listed = self.lanekeeper(&["value", "list", table, "--json"]);
        let values = listed.output.lines().map(|line| {
            let value: Value = serde_json::from_str(line).unwrap();
            let key = value["key"].as_str().unwrap().to_owned();
            (key, value["value"].as_i64().unwrap())
        });
        values.collect()
    }

    /// Each of these records had its effect, once.
    pub(crate) fn assert_applied_once<'a>(&self, texts: impl IntoIterator<Item = &'a str>) {
        let expected: BTreeMap<String, i64> =
            texts.into_iter().map(|text| (text.to_owned(), 1)).collect();
        assert_eq!(self.values("applied"), expected);
    }
}

/// What an answer names, by the texts of the delivery's records.
pub(crate) fn named(delivery: &Delivery) -> Vec<&str> {
    let answer = delivery.answer();
    let failures = answer["batchItemFailures"].as_array();
    let failures = failures.unwrap_or_else(|| unreachable!("{delivery:#?}"));
    let text = |failure: &Value| {
        let id = failure["itemIdentifier"].as_str().unwrap();
        let item = delivery.items.iter().find(|item| item.id == id);
        item.unwrap_or_else(|| unreachable!("`{id}` was not delivered"))
            .text
            .as_str()
    };
    failures.iter().map(text).collect()
}

/// A stream of one shard with these records: keys and texts.
pub(crate) fn stream(records: &[(&str, &str)]) -> Stream {
    let stream = Stream::new("orders", 1);
    for (key, text) in records {
        stream.put(key, text).unwrap();
    }
    stream
}

/// The stream of a table, with these items: ids and texts.
pub(crate) fn table(shards: usize, items: &[(&str, &str)]) -> Stream {
    let stream = Stream::of_table("items", shards);
    for (id, text) in items {
        stream.put(id, text).unwrap();
    }
    stream
}

pub(crate) fn owned(records: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = records
        .iter()
        .map(|(key, text)| ((*key).to_owned(), (*text).to_owned()));
    owned.collect()
}
