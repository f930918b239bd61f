//! The artefact of a Lambda function whose handler is an HTTP endpoint: configured as everywhere, by
//! `LANEKEEPER_CONFIG` and variables.

use std::process::ExitCode;

fn main() -> ExitCode {
    lanekeeper::lambda::bootstrap()
}
