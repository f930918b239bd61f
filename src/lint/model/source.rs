//! Sources of mappings: what kind they are, and queues and streams that are in the template.

use super::Model;
use crate::lint::{
    node::Node,
    section::{Known, Property, Section},
    value::{Value, World},
};

/// What a mapping reads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::lint) enum Kind {
    /// `fan_out`: through a registered consumer.
    Kinesis {
        fan_out: bool,
    },
    Dynamodb,
    Queue {
        fifo: Known<bool>,
    },
    Msk,
    SelfManaged,
    /// Something that no rule is about.
    Other,
    /// Not known before deployment.
    Unknown,
}

impl Kind {
    pub(in crate::lint) fn is_stream(&self) -> bool {
        matches!(self, Self::Kinesis { .. } | Self::Dynamodb)
    }

    pub(in crate::lint) fn is_kafka(&self) -> bool {
        matches!(self, Self::Msk | Self::SelfManaged)
    }

    pub(in crate::lint) fn is_queue(&self) -> bool {
        matches!(self, Self::Queue { .. })
    }

    pub(in crate::lint) fn is_fifo(&self) -> bool {
        matches!(
            self,
            Self::Queue {
                fifo: Known::Is(true)
            }
        )
    }
}

/// An SQS queue of the template.
#[derive(Debug)]
pub(in crate::lint) struct Queue<'w, 't> {
    pub(in crate::lint) id: &'t str,
    pub(in crate::lint) properties: Section<'w, 't>,
}

impl<'t> Queue<'_, 't> {
    pub(in crate::lint) fn is_fifo(&self) -> Known<bool> {
        self.properties.get("FifoQueue").flag().or(false)
    }

    /// `None`: the queue has no redrive policy.
    pub(in crate::lint) fn receives_max(&self) -> Option<Property<'t>> {
        let policy = self.properties.get("RedrivePolicy");
        { policy.is_there() }.then(|| {
            self.properties
                .section("RedrivePolicy")
                .get("maxReceiveCount")
        })
    }

    /// Seconds.
    pub(in crate::lint) fn retention(&self) -> Property<'t> {
        self.properties.get("MessageRetentionPeriod")
    }
}

/// A Kinesis stream of the template.
#[derive(Debug)]
pub(in crate::lint) struct Stream<'w, 't> {
    pub(in crate::lint) id: &'t str,
    pub(in crate::lint) properties: Section<'w, 't>,
}

impl Stream<'_, '_> {
    /// Hours, 24 unless it says otherwise.
    pub(in crate::lint) fn retention(&self) -> Known<i64> {
        self.properties.get("RetentionPeriodHours").number().or(24)
    }
}

/// The service of an ARN, also where parts of it are not known yet.
fn service(arn: &str) -> Option<String> {
    let mut flat = String::new();
    let mut rest = arn.strip_prefix("!Sub ").unwrap_or(arn);
    // `${AWS::Region}` has colons of its own.
    while let Some((before, after)) = rest.split_once("${") {
        flat.push_str(before);
        flat.push('*');
        rest = after.split_once('}')?.1;
    }
    flat.push_str(rest);
    let mut parts = flat.split(':');
    let service = (parts.next()? == "arn").then(|| parts.nth(1))??;
    Some(service.to_owned())
}

/// Whether a stream's ARN is that of a registered consumer.
pub(super) fn is_consumer(world: &World<'_>, source: &Property<'_>) -> bool {
    if let Some(id) = source.found.resource() {
        return type_of(world, id) == Some("AWS::Kinesis::StreamConsumer");
    }
    source.found.shown().contains("/consumer/")
}

fn type_of<'t>(world: &World<'t>, id: &str) -> Option<&'t str> {
    let resource = world.template.named("Resources", id)?;
    resource.get("Type").and_then(Node::text)
}

impl Model<'_, '_> {
    /// What an ARN is of.
    pub(super) fn kind(&self, source: &Property<'_>) -> Kind {
        if let Value::Resource { id, .. } = &source.found.value {
            return match type_of(self.world, id) {
                Some("AWS::Kinesis::Stream" | "AWS::Kinesis::StreamConsumer") => Kind::Kinesis {
                    fan_out: is_consumer(self.world, source),
                },
                Some(
                    "AWS::DynamoDB::Table"
                    | "AWS::DynamoDB::GlobalTable"
                    | "AWS::Serverless::SimpleTable",
                ) => Kind::Dynamodb,
                Some("AWS::SQS::Queue") => Kind::Queue {
                    fifo: self.is_fifo(source),
                },
                Some("AWS::MSK::Cluster" | "AWS::MSK::ServerlessCluster") => Kind::Msk,
                Some("AWS::DocDB::DBCluster" | "AWS::AmazonMQ::Broker") => Kind::Other,
                // A custom resource, a nested stack.
                Some(_) | None => Kind::Unknown,
            };
        }
        match service(&source.found.shown()).as_deref() {
            Some("kinesis") => Kind::Kinesis {
                fan_out: is_consumer(self.world, source),
            },
            Some("dynamodb") => Kind::Dynamodb,
            Some("sqs") => Kind::Queue {
                fifo: self.is_fifo(source),
            },
            Some("kafka") => Kind::Msk,
            Some("mq" | "rds") => Kind::Other,
            Some(_) | None => Kind::Unknown,
        }
    }

    /// Whether a queue is FIFO: as the template makes it, or by its name, which ends with `.fifo`.
    pub(in crate::lint) fn is_fifo(&self, source: &Property<'_>) -> Known<bool> {
        if let Some(queue) = self.queue(source) {
            return queue.is_fifo();
        }
        match &source.found.value {
            Value::Text(arn) => Known::Is(arn.ends_with(".fifo")),
            Value::Unknown { shown, .. } if shown.ends_with(".fifo") => Known::Is(true),
            Value::Unknown { shown, .. } if shown.starts_with("!Sub ") && !shown.ends_with('}') => {
                Known::Is(false)
            }
            Value::Unknown { .. }
            | Value::Absent
            | Value::List(_)
            | Value::Map(_)
            | Value::Resource { .. } => Known::Unknown,
        }
    }
}
