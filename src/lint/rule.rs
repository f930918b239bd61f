//! The table of rules.

use super::check;

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// Records are lost or overtaken, the deployment is refused, or settings contradict each other.
    Error,
    /// Records run again, wait, or nobody sees it.
    Warning,
}

impl Level {
    /// As it is written, also in SARIF.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// A rule, and the fact that it stands on.
#[derive(PartialEq, Eq, Debug)]
pub struct Rule {
    /// Its name, as it is written where it is ignored.
    pub id: &'static str,
    /// How bad it is to break it.
    pub level: Level,
    /// What is asked for.
    pub title: &'static str,
    /// What happens otherwise.
    pub reason: &'static str,
    /// Who says so.
    pub fact: Fact,
    /// What to do.
    pub mend: &'static str,
}

/// Where a fact is from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fact {
    /// A page of the AWS Lambda Developer Guide.
    Lambda(&'static str),
    /// A page of the SQS Developer Guide.
    Sqs(&'static str),
    /// A page of the Kinesis Data Streams Developer Guide.
    Kinesis(&'static str),
    /// An operation of Lambda's API.
    LambdaApi(&'static str),
    /// An operation of SQS's API.
    SqsApi(&'static str),
    /// An operation of Kinesis's API.
    KinesisApi(&'static str),
    /// What AWS was seen to do, and the operation of Lambda's API that it is about.
    Seen(&'static str, &'static str),
    /// A page of lanekeeper's own, in `docs/`, with what it is called.
    Ours(&'static str, &'static str),
}

impl Fact {
    /// As people are told it.
    pub fn name(&self) -> String {
        match self {
            Self::Lambda(page) => format!("Lambda guide: {page}"),
            Self::Sqs(page) => format!("SQS guide: {page}"),
            Self::Kinesis(page) => format!("Kinesis guide: {page}"),
            Self::LambdaApi(operation) => format!("Lambda API: {operation}"),
            Self::SqsApi(operation) => format!("SQS API: {operation}"),
            Self::KinesisApi(operation) => format!("Kinesis API: {operation}"),
            Self::Seen(what, _) => format!("seen on AWS: {what}"),
            Self::Ours(page, _) => format!("lanekeeper: docs/{page}"),
        }
    }

    /// Where to read it: an address, or a path in lanekeeper's repository.
    pub fn address(&self) -> String {
        let aws = |path: &str| format!("https://docs.aws.amazon.com/{path}");
        match self {
            Self::Lambda(page) => aws(&format!("lambda/latest/dg/{page}.html")),
            Self::Sqs(page) => aws(&format!(
                "AWSSimpleQueueService/latest/SQSDeveloperGuide/{page}.html"
            )),
            Self::Kinesis(page) => aws(&format!("streams/latest/dev/{page}.html")),
            Self::LambdaApi(operation) | Self::Seen(_, operation) => {
                aws(&format!("lambda/latest/api/API_{operation}.html"))
            }
            Self::SqsApi(operation) => aws(&format!(
                "AWSSimpleQueueService/latest/APIReference/API_{operation}.html"
            )),
            Self::KinesisApi(operation) => {
                aws(&format!("kinesis/latest/APIReference/API_{operation}.html"))
            }
            Self::Ours(page, anchor) => format!("docs/{page}#{anchor}"),
        }
    }
}

/// All rules, by what they are about.
pub fn groups() -> [(&'static str, &'static [&'static Rule]); 8] {
    [
        ("Answers", check::answers::RULES),
        ("Giving records up", check::limits::RULES),
        (
            "Where a mapping begins, and what AWS refuses",
            check::start::RULES,
        ),
        ("Order", check::order::RULES),
        ("Concurrency", check::concurrency::RULES),
        ("Queues", check::queue::RULES),
        ("Time", check::time::RULES),
        ("Settings, and this lint", check::own::RULES),
    ]
}

/// All rules.
pub fn rules() -> impl Iterator<Item = &'static Rule> {
    groups().into_iter().flat_map(|(_, rules)| rules).copied()
}

/// A rule by its name.
pub fn rule(id: &str) -> Option<&'static Rule> {
    rules().find(|rule| rule.id == id)
}
