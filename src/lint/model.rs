//! What of a template concerns event source mappings: mappings, functions, queues, streams, alarms.

use super::{
    condition::Relevant,
    node::{Entry, Node},
    section::{Known, Place, Property, Section},
    settings::{Deployed, Settings},
    template::Template,
    value::{Value, World},
};
use std::collections::BTreeSet;

mod source;

pub(super) use source::{Kind, Queue, Stream};

/// Resources in which conditions count, and what of them does not.
const LOOKED_AT: [&str; 8] = [
    "AWS::CloudWatch::Alarm",
    "AWS::Kinesis::Stream",
    "AWS::Kinesis::StreamConsumer",
    "AWS::Lambda::EventSourceMapping",
    "AWS::Lambda::Function",
    "AWS::SNS::Topic",
    "AWS::SQS::Queue",
    FUNCTION,
];
const FUNCTION: &str = "AWS::Serverless::Function";
const NOT_LOOKED_AT: [&str; 8] = [
    "AlarmActions",
    "OKActions",
    "InsufficientDataActions",
    "Policies",
    "Tags",
    "VpcConfig",
    "Layers",
    "KmsKeyArn",
];

/// What is looked at, and the conditions that decide about it.
pub(super) fn relevant(template: &Template) -> Relevant {
    let mut conditions = BTreeSet::new();
    let mut resources = 0;
    for entry in template.section("Resources") {
        let kind = entry.value.get("Type").and_then(Node::text);
        if kind.is_some_and(|kind| LOOKED_AT.contains(&kind)) {
            resources += 1;
            let condition = entry.value.get("Condition").and_then(Node::text);
            conditions.extend(condition.map(str::to_owned));
            branches(entry.value.get("Properties"), &mut conditions);
        }
    }
    for entry in template.section("Globals") {
        branches(Some(&entry.value), &mut conditions);
    }
    Relevant {
        conditions,
        resources,
    }
}

fn branches(node: Option<&Node>, names: &mut BTreeSet<String>) {
    let Some(node) = node else {
        return;
    };
    if let Some(("Fn::If", argument)) = node.call() {
        let condition = argument.items().first().and_then(Node::text);
        names.extend(condition.map(str::to_owned));
    }
    for item in node.items() {
        branches(Some(item), names);
    }
    for entry in node.entries() {
        if !NOT_LOOKED_AT.contains(&entry.key.as_str()) {
            branches(Some(&entry.value), names);
        }
    }
}

/// A Lambda function.
pub(super) struct Function<'w, 't> {
    pub(super) id: &'t str,
    pub(super) properties: Section<'w, 't>,
    /// Of lanekeeper, where it is one.
    pub(super) settings: Option<Settings>,
}

impl<'t> Function<'_, 't> {
    /// Seconds.
    pub(super) fn timeout(&self) -> Property<'t> {
        self.properties.get("Timeout")
    }

    pub(super) fn reserved(&self) -> Property<'t> {
        self.properties.get("ReservedConcurrentExecutions")
    }
}

/// An event source mapping.
pub(super) struct Mapping<'w, 't> {
    pub(super) properties: Section<'w, 't>,
    pub(super) kind: Kind,
    /// What it reads.
    pub(super) source: Property<'t>,
    /// The index of its function, where that is in the template.
    pub(super) function: Option<usize>,
    /// What names the function; absent in SAM, where the mapping stands in it.
    pub(super) function_name: Option<Property<'t>>,
}

/// What a template comes to in one world.
pub(super) struct Model<'w, 't> {
    pub(super) world: &'w World<'t>,
    pub(super) functions: Vec<Function<'w, 't>>,
    pub(super) mappings: Vec<Mapping<'w, 't>>,
    pub(super) queues: Vec<Queue<'w, 't>>,
    pub(super) streams: Vec<Stream<'w, 't>>,
    pub(super) alarms: Vec<Section<'w, 't>>,
}

impl<'w, 't> Model<'w, 't> {
    pub(super) fn of(world: &'w World<'t>, deployed: &Deployed) -> Self {
        let mut model = Self {
            world,
            functions: Vec::new(),
            mappings: Vec::new(),
            queues: Vec::new(),
            streams: Vec::new(),
            alarms: Vec::new(),
        };
        let resources = resources(world);
        for (entry, kind) in &resources {
            let properties = properties(world, entry);
            match *kind {
                FUNCTION | "AWS::Lambda::Function" => {
                    model.functions.push(function(world, entry, kind, deployed));
                }
                "AWS::SQS::Queue" => model.queues.push(Queue {
                    id: &entry.key,
                    properties,
                }),
                "AWS::Kinesis::Stream" => model.streams.push(Stream {
                    id: &entry.key,
                    properties,
                }),
                "AWS::CloudWatch::Alarm" => model.alarms.push(properties),
                _ => {}
            }
        }
        for (entry, kind) in &resources {
            match *kind {
                FUNCTION => model.events(entry),
                "AWS::Lambda::EventSourceMapping" => {
                    let mapping = model.mapping(properties(world, entry));
                    model.mappings.push(mapping);
                }
                _ => {}
            }
        }
        model
    }

    /// The events of a function of SAM that are mappings.
    fn events(&mut self, entry: &'t Entry) {
        let function = self.functions.iter().position(|f| f.id == entry.key);
        let events = properties(self.world, entry).section("Events");
        for name in events.names() {
            let event = events.section(name);
            let Known::Is(kind) = event.get("Type").text() else {
                continue;
            };
            let properties = event.section("Properties");
            let source = match kind.as_str() {
                "SQS" => properties.get("Queue"),
                "SelfManagedKafka" => properties.get("KafkaBootstrapServers"),
                "Kinesis" | "DynamoDB" | "MSK" => properties.get("Stream"),
                _ => continue,
            };
            let kind = match kind.as_str() {
                "SQS" => Kind::Queue {
                    fifo: self.is_fifo(&source),
                },
                "Kinesis" => Kind::Kinesis {
                    fan_out: source::is_consumer(self.world, &source),
                },
                "DynamoDB" => Kind::Dynamodb,
                "MSK" => Kind::Msk,
                _ => Kind::SelfManaged,
            };
            self.mappings.push(Mapping {
                properties,
                kind,
                source,
                function,
                function_name: None,
            });
        }
    }

    /// A mapping as a resource of its own.
    fn mapping(&self, properties: Section<'w, 't>) -> Mapping<'w, 't> {
        let name = properties.get("FunctionName");
        let source = properties.get("EventSourceArn");
        let kind = if properties.get("SelfManagedEventSource").is_there() {
            Kind::SelfManaged
        } else {
            self.kind(&source)
        };
        Mapping {
            kind,
            source,
            function: self.named(&name),
            function_name: Some(name),
            properties,
        }
    }

    /// The function that a name, an ARN or an alias is of.
    fn named(&self, name: &Property<'t>) -> Option<usize> {
        let of_id = |id: &str| self.functions.iter().position(|f| f.id == id);
        if let Some(id) = name.found.resource() {
            let alias = self.world.template.named("Resources", id);
            let alias = alias.and_then(|resource| resource.get("Properties")?.get("FunctionName"));
            let of_alias = || {
                let found = self.world.resolve(alias?);
                of_id(found.resource()?)
            };
            return of_id(id).or_else(of_alias);
        }
        let Value::Text(text) = &name.found.value else {
            // The name by a parameter that the function has, too.
            let shown = name.found.shown();
            let same =
                |f: &Function<'_, '_>| f.properties.get("FunctionName").found.shown() == shown;
            return self.functions.iter().position(same);
        };
        let parts: Vec<&str> = text.split(':').collect();
        let name = match parts.as_slice() {
            ["arn", _, "lambda", _, _, "function", name, ..] | [name, ..] => *name,
            [] => return None,
        };
        self.functions.iter().position(|function| {
            function.properties.get("FunctionName").text() == Known::Is(name.to_owned())
        })
    }

    pub(super) fn function(&self, mapping: &Mapping<'_, '_>) -> Option<&Function<'w, 't>> {
        mapping.function.and_then(|index| self.functions.get(index))
    }

    /// The settings of the function of a mapping, if it is lanekeeper's.
    pub(super) fn settings(&self, mapping: &Mapping<'_, '_>) -> Option<&Settings> {
        self.function(mapping)?.settings.as_ref()
    }

    pub(super) fn queue(&self, source: &Property<'_>) -> Option<&Queue<'w, 't>> {
        let id = source.found.resource()?;
        self.queues.iter().find(|queue| queue.id == id)
    }

    pub(super) fn stream(&self, source: &Property<'_>) -> Option<&Stream<'w, 't>> {
        let id = source.found.resource()?;
        let of = |id: &str| self.streams.iter().find(|stream| stream.id == id);
        of(id).or_else(|| {
            // Of a consumer with fan-out.
            let consumer = self.world.template.named("Resources", id)?;
            let stream = consumer.get("Properties")?.get("StreamARN")?;
            of(self.world.resolve(stream).resource()?)
        })
    }
}

/// The resources that there are in a world, with their types.
fn resources<'t>(world: &World<'t>) -> Vec<(&'t Entry, &'t str)> {
    let mut resources = Vec::new();
    for entry in world.template.section("Resources") {
        let condition = entry.value.get("Condition").and_then(Node::text);
        let is_there = condition.is_none_or(|name| world.truths.get(name) != Some(&false));
        if let Some(kind) = entry.value.get("Type").and_then(Node::text)
            && is_there
        {
            resources.push((entry, kind));
        }
    }
    resources
}

fn place(entry: &Entry) -> Place {
    Place {
        mark: entry.mark,
        resource: entry.key.clone(),
        path: String::new(),
    }
}

fn properties<'w, 't>(world: &'w World<'t>, entry: &'t Entry) -> Section<'w, 't> {
    let place = Place {
        path: "Properties".to_owned(),
        ..place(entry)
    };
    Section::empty(world, place).over(entry.value.get("Properties"), "Properties")
}

fn function<'w, 't>(
    world: &'w World<'t>,
    entry: &'t Entry,
    kind: &str,
    deployed: &Deployed,
) -> Function<'w, 't> {
    let mut properties = properties(world, entry);
    if kind == FUNCTION {
        let globals = world.template.named("Globals", "Function");
        properties = properties.over(globals, "Globals.Function");
    }
    let variables = properties.section("Environment").section("Variables");
    Function {
        id: &entry.key,
        settings: Settings::of(&variables, deployed),
        properties,
    }
}
