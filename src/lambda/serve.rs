//! The function, as the Lambda runtime calls it: one process, one invocation at a time.

use super::{
    Aggregate, Aggregated, Answer, Delivery, Event, EventError, EventKind, Figures, Function,
    InvocationError, decode,
    figures::{self, Beside},
    release::{ReleaseError, Request},
    windows::WindowState,
};
use crate::{
    config::{Config, ConfigErrors, DeadLetterConfig, SourceKind, StoreKind},
    handler::{DeadLetter, Handler, Rust, Target, within_trace},
    history::Nowhere,
    run::MachineClock,
    source::pattern,
    store::MarkStore,
};
use lambda_runtime::{Context, Diagnostic, LambdaEvent, service_fn};
use serde_json::value::RawValue;
use std::{env, sync::Arc, time::Duration};
use tracing::Instrument;

/// What Lambda tells each function, and its client asks for. Source: AWS Lambda developer guide, "Defined
/// runtime environment variables".
const VARIABLES: [&str; 4] = [
    API_VARIABLE,
    "AWS_LAMBDA_FUNCTION_NAME",
    MEMORY_VARIABLE,
    "AWS_LAMBDA_FUNCTION_VERSION",
];
const API_VARIABLE: &str = "AWS_LAMBDA_RUNTIME_API";
/// What a program without a command line says of that.
const COMMANDS: &str = if cfg!(feature = "cli") {
    ""
} else {
    "; commands, such as `recover`, are in builds with the feature `cli`"
};
/// In MiB.
const MEMORY_VARIABLE: &str = "AWS_LAMBDA_FUNCTION_MEMORY_SIZE";

/// Serves Lambda invocations with a Rust handler, for as long as the environment lives.
///
/// # Errors
/// When the configuration cannot be used, or the Lambda runtime does not answer any more.
pub async fn run(config: &Config, handler: impl Handler) -> Result<(), ServeError> {
    serve(config, Arc::new(Rust(handler))).await
}

/// As [`run`], with what tumbling windows come to.
///
/// # Errors
/// As [`run`].
pub async fn run_windowed(
    config: &Config,
    handler: impl Handler,
    aggregate: impl Aggregate,
) -> Result<(), ServeError> {
    let windows: Arc<dyn WindowState> = Arc::new(Aggregated(aggregate));
    serve_with(config, Arc::new(Rust(handler)), Some(windows)).await
}

/// As [`run`], with any target.
///
/// # Errors
/// As [`run`].
pub async fn serve(config: &Config, target: Arc<dyn Target>) -> Result<(), ServeError> {
    serve_with(config, target, None).await
}

pub(crate) async fn serve_with(
    config: &Config,
    target: Arc<dyn Target>,
    aggregate: Option<Arc<dyn WindowState>>,
) -> Result<(), ServeError> {
    within_lambda()?;
    let served = Arc::new(Served::new(config, target, aggregate)?);
    let answer = move |event: LambdaEvent<Box<RawValue>>| {
        let served = Arc::clone(&served);
        async move { served.answer(&event.payload, &event.context).await }
    };
    lambda_runtime::run(service_fn(answer))
        .await
        .map_err(|error| ServeError::Runtime(error.to_string()))
}

/// Refuses where Lambda has not started this process: its client would panic.
pub(crate) fn within_lambda() -> Result<(), ServeError> {
    match missing(|name| env::var(name).ok()) {
        Some(name) => Err(ServeError::Elsewhere(name)),
        None => Ok(()),
    }
}

/// The first variable that is not there, or of no use.
fn missing(variable: impl Fn(&str) -> Option<String>) -> Option<&'static str> {
    let is_said = |name: &str| match variable(name) {
        None => false,
        Some(value) if name == API_VARIABLE => !value.is_empty(),
        Some(value) if name == MEMORY_VARIABLE => value.parse::<i32>().is_ok(),
        Some(_) => true,
    };
    VARIABLES.into_iter().find(|name| !is_said(name))
}

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The configuration, all that is wrong with it.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// What the configuration names is not for a function.
    #[error("{0}")]
    Unfit(String),
    /// Lambda has not started this process: a variable that it sets is missing or is no such value.
    #[error(
        "the environment variable {0} is missing or of no use: Lambda sets it for each function that it starts, and functions are served nowhere else{COMMANDS}"
    )]
    Elsewhere(&'static str),
    /// The runtime API.
    #[error("the Lambda runtime API: {0}")]
    Runtime(String),
}

/// Why an invocation fails: the mapping delivers all of it again.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Event(#[from] EventError),
    #[error(transparent)]
    Invocation(#[from] InvocationError),
    #[error(transparent)]
    Release(#[from] ReleaseError),
    #[error("{kind} event of `{arn}`: no source of the configuration has it; {known}")]
    UnknownSource {
        kind: EventKind,
        arn: String,
        known: String,
    },
    #[error("{0}")]
    Unfinished(String),
}

impl From<Failed> for Diagnostic {
    fn from(failed: Failed) -> Self {
        let kind = match &failed {
            Failed::Event(_) | Failed::Invocation(InvocationError::Event(_)) => "Event",
            Failed::Invocation(_) => "Invocation",
            Failed::Release(_) => "Release",
            Failed::UnknownSource { .. } => "UnknownSource",
            Failed::Unfinished(_) => "Unfinished",
        };
        Self {
            error_type: format!("lanekeeper.{kind}"),
            error_message: failed.to_string(),
        }
    }
}

/// What serves one invocation after the other.
struct Served {
    function: Function,
    config: Config,
}

impl Served {
    fn new(
        config: &Config,
        target: Arc<dyn Target>,
        aggregate: Option<Arc<dyn WindowState>>,
    ) -> Result<Self, ServeError> {
        config.validate()?;
        Ok(Self {
            function: Function {
                aggregate,
                ..function(config, store(config)?, target)?
            },
            config: config.clone(),
        })
    }

    async fn answer(&self, payload: &RawValue, context: &Context) -> Result<Box<RawValue>, Failed> {
        let trace = context.xray_trace_id.as_deref();
        let (request_id, trace_id) = (context.request_id.as_str(), trace);
        let span = tracing::info_span!("invocation", request_id, trace_id);
        let invoked = async {
            let answer = self.invoke(payload, context).await;
            if let Err(error) = &answer {
                tracing::error!(%error, "the invocation fails");
            }
            answer
        };
        within_trace(trace.map(Arc::from), invoked.instrument(span)).await
    }

    async fn invoke(&self, payload: &RawValue, context: &Context) -> Result<Box<RawValue>, Failed> {
        let delivery = match decode(payload.get().as_bytes())? {
            Event::Delivery(delivery) => delivery,
            Event::Request(request) => {
                let wanted = Request::read(request.get())?;
                let left = self.left(context.deadline);
                let mut figures = Vec::new();
                let released = self.function.release(&wanted, left, &mut figures).await;
                for (source, figures) in &figures {
                    self.tell(source, figures, context, released.is_err());
                }
                let released = released?;
                return written(&serde_json::json!({ "lanekeeper": { "release": released } }));
            }
        };
        let source = self.source(&delivery)?;
        if self.config.lambda.parallelization_factor != Some(1) {
            delivery.refuse_mixed_keys().inspect_err(|_| {
                self.tell(&source, &Figures::of_nothing(&delivery), context, true);
            })?;
        }
        let (left, delivery) = (self.left(context.deadline), Arc::new(delivery));
        let invoked = { &self.function }.invoke(&source, Arc::clone(&delivery), left);
        let invoked = invoked.await.inspect_err(|_| {
            self.tell(&source, &Figures::of_nothing(&delivery), context, true);
        })?;
        let failed = matches!(invoked.answer, Answer::Fail(_));
        self.tell(&source, &invoked.figures, context, failed);
        match invoked.answer {
            Answer::Body(body) => {
                let text = String::from_utf8_lossy(&body).into_owned();
                RawValue::from_string(text).map_err(|e| Failed::Unfinished(e.to_string()))
            }
            Answer::Fail(why) => Err(Failed::Unfinished(why)),
        }
    }

    /// Prints what an invocation came to, where that is wanted.
    fn tell(&self, source: &str, of: &Figures, context: &Context, failed: bool) {
        if !self.config.lambda.metrics {
            return;
        }
        let left = self.left(context.deadline);
        let beside = Beside {
            request: &context.request_id,
            trace: context.xray_trace_id.as_deref(),
            failed,
            left_millis: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
        };
        let now = self.function.clock.wall_millis();
        figures::print(of.line((&self.config.app, source), now, &beside));
    }

    /// Until a deadline, in milliseconds since 1970.
    fn left(&self, deadline: u64) -> Duration {
        let now = u64::try_from(self.function.clock.wall_millis()).unwrap_or(0);
        Duration::from_millis(deadline.saturating_sub(now))
    }

    /// The name of the source that a delivery is of.
    fn source(&self, delivery: &Delivery) -> Result<Arc<str>, Failed> {
        let arn = delivery.source_arn();
        let is_of = |kind: &SourceKind| match (kind, delivery.kind) {
            (SourceKind::Kinesis { arn: own }, EventKind::Kinesis) => {
                // A consumer's ARN names its stream, too.
                let own = own
                    .split_once("/consumer/")
                    .map_or(own.as_str(), |(own, _)| own);
                arn == Some(own)
            }
            (SourceKind::DynamodbStreams { arn: own }, EventKind::DynamodbStreams) => {
                arn == Some(own.as_str())
            }
            (SourceKind::Sqs { arn: own, .. }, EventKind::Sqs | EventKind::SqsFifo) => {
                own.as_deref() == arn
            }
            (SourceKind::Kafka { topics, .. }, EventKind::Kafka) => {
                delivery.partitions.iter().all(|partition| {
                    let topic = partition.name().rsplit_once('/').map(|(topic, _)| topic);
                    topic.is_some_and(|topic| pattern::name(topics, topic))
                })
            }
            (
                SourceKind::Local { .. }
                | SourceKind::Kafka { .. }
                | SourceKind::Kinesis { .. }
                | SourceKind::DynamodbStreams { .. }
                | SourceKind::Sqs { .. },
                EventKind::Kinesis
                | EventKind::DynamodbStreams
                | EventKind::Sqs
                | EventKind::SqsFifo
                | EventKind::Kafka,
            ) => false,
        };
        let mut found = { self.config.sources.iter() }.filter(|source| is_of(&source.kind));
        match found.next() {
            Some(source) => Ok(source.name.as_str().into()),
            None => Err(Failed::UnknownSource {
                kind: delivery.kind,
                arn: arn.unwrap_or("no ARN").to_owned(),
                known: self.known(),
            }),
        }
    }

    /// What the configuration knows, for whoever mends it.
    fn known(&self) -> String {
        let sources = self.config.sources.iter().map(|source| {
            let of = match &source.kind {
                SourceKind::Kinesis { arn } | SourceKind::DynamodbStreams { arn } => {
                    format!("`{arn}`")
                }
                SourceKind::Sqs { arn: Some(arn), .. } => format!("`{arn}`"),
                SourceKind::Sqs { arn: None, .. } => "a queue without `arn`".to_owned(),
                SourceKind::Kafka { topics, .. } => format!("topics `{}`", topics.join("`, `")),
                SourceKind::Local { .. } => "an embedded log".to_owned(),
            };
            format!("`sources.{}` is {of}", source.name)
        });
        let known: Vec<String> = sources.collect();
        if known.is_empty() {
            "there is none".to_owned()
        } else {
            known.join(", ")
        }
    }
}

fn written(answer: &serde_json::Value) -> Result<Box<RawValue>, Failed> {
    RawValue::from_string(answer.to_string()).map_err(|e| Failed::Unfinished(e.to_string()))
}

/// The function that a configuration describes, over this store.
pub(crate) fn function(
    config: &Config,
    store: Arc<dyn MarkStore>,
    target: Arc<dyn Target>,
) -> Result<Function, ServeError> {
    let lambda = &config.lambda;
    Ok(Function {
        settings: config.settings(),
        concurrency: lambda.concurrency,
        reports_failures: lambda.reports_failures,
        // Where it is not known, there may be several.
        parallelization_factor: lambda.parallelization_factor.unwrap_or(u32::MAX),
        margin: lambda.margin,
        retention: lambda.retention,
        store,
        target,
        dead_letter: dead_letter(config)?,
        aggregate: None,
        history: Arc::new(Nowhere),
        clock: Arc::new(MachineClock),
    })
}

/// The store that a configuration names.
pub(crate) fn store(config: &Config) -> Result<Arc<dyn MarkStore>, ServeError> {
    match &config.store.kind {
        #[cfg(feature = "dynamodb")]
        StoreKind::Dynamodb { table } => Ok(Arc::new(
            crate::store::dynamodb::DynamodbStore::new(table, &config.app),
        )),
        #[cfg(not(feature = "dynamodb"))]
        StoreKind::Dynamodb { .. } => Err(ServeError::Unfit(
            "`store.type` is \"dynamodb\": this build has no `dynamodb`".to_owned(),
        )),
        StoreKind::Local { .. } => Err(ServeError::Unfit(
            "`store.type` is \"local\": a file of one environment is not there in the next; let it be \"dynamodb\", with `store.table`"
                .to_owned(),
        )),
    }
}

/// The store of a replay whose effects are applied: in a namespace of its own, with the app's values.
#[cfg(all(feature = "cli", feature = "kinesis"))]
pub(crate) fn store_apart(
    config: &Config,
    name: &str,
    generation: u64,
) -> Result<Arc<dyn MarkStore>, ServeError> {
    match &config.store.kind {
        #[cfg(feature = "dynamodb")]
        StoreKind::Dynamodb { table } => {
            let store = crate::store::dynamodb::DynamodbStore::new(table, &config.app);
            Ok(Arc::new(store.apart(name, generation)))
        }
        #[cfg(not(feature = "dynamodb"))]
        StoreKind::Dynamodb { .. } => store(config),
        // It is refused.
        StoreKind::Local { .. } => {
            let _ = (name, generation);
            store(config)
        }
    }
}

/// Where a function publishes what failed for good: an environment has no file that lasts, and no thread
/// that goes on behind the answer.
fn dead_letter(config: &Config) -> Result<Option<Arc<dyn DeadLetter>>, ServeError> {
    let kind = match &config.failure.dead_letter {
        None => return Ok(None),
        #[cfg(feature = "sqs")]
        Some(DeadLetterConfig::Sqs { queue_url }) => {
            use crate::source::sqs::dead_letter::{Settings, SqsDeadLetter};
            return Ok(Some(Arc::new(SqsDeadLetter::new(Settings {
                queue_url: queue_url.clone(),
                app: config.app.clone(),
            }))));
        }
        #[cfg(not(feature = "sqs"))]
        Some(DeadLetterConfig::Sqs { .. }) => {
            return Err(ServeError::Unfit(
                "`failure.dead_letter.type` is \"sqs\": this build has no `sqs`".to_owned(),
            ));
        }
        Some(DeadLetterConfig::Local { .. }) => "local",
        Some(DeadLetterConfig::Kafka { .. }) => "kafka",
    };
    Err(ServeError::Unfit(format!(
        "`failure.dead_letter.type` is \"{kind}\", and a function publishes to SQS alone: let it be \"sqs\", with `failure.dead_letter.queue_url`"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_lambda_did_not_start_it_the_missing_variable_is_named() {
        let all = ["127.0.0.1:9001", "", "512", "$LATEST"];
        let with = |name: &'static str, value: Option<&'static str>| {
            missing(move |asked| {
                let mut own = VARIABLES.iter().zip(all);
                let own = own.find(|(own, _)| **own == asked).map(|(_, value)| value);
                if asked == name { value } else { own }.map(str::to_owned)
            })
        };
        assert_eq!(with("", None), None, "all are there");
        for name in VARIABLES {
            assert_eq!(with(name, None), Some(name));
        }
        assert_eq!(with(API_VARIABLE, Some("")), Some(API_VARIABLE));
        assert_eq!(with(MEMORY_VARIABLE, Some("much")), Some(MEMORY_VARIABLE));
    }
}
