//! Processes ordered requests: every key has a lane, in order, stopped at its first failure; other
//! lanes go on; one cap bounds what is in flight; what is done is remembered exactly.

pub mod audit;
#[cfg(any(feature = "dynamodb", feature = "kinesis", feature = "sqs"))]
mod aws;
pub mod checkpoint;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
pub mod config;
pub mod effect;
pub mod handler;
pub mod history;
#[cfg(feature = "lambda")]
pub mod kpl;
#[cfg(feature = "lambda")]
pub mod lambda;
#[cfg(feature = "cli")]
pub mod lint;
#[cfg(feature = "metrics")]
pub mod metrics;
pub mod position;
pub mod processor;
#[cfg(any(feature = "cli", feature = "lambda"))]
mod program;
pub mod record;
#[cfg(any(feature = "local", feature = "lambda"))]
pub mod run;
pub mod source;
#[cfg(feature = "local")]
pub mod sqlite;
pub mod store;

pub use config::{Config, ConfigErrors, SourceConfig};
pub use effect::{Condition, Effect};
pub use handler::{Answer, Done, Failure, Handler, each, each_with};
pub use position::Position;
#[cfg(any(feature = "cli", feature = "lambda"))]
pub use program::Program;
pub use record::{Record, Run};
#[cfg(feature = "local")]
pub use run::{RunError, RunOptions, run, run_until};
