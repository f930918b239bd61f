//! `cargo integration up` and `down`: an emulator that outlives the command that started it.

use super::{
    Dynamodb, ENDPOINT, other,
    package::MINISTACK,
    probe,
    server::{self, DYNAMODB},
};
use crate::{
    detached::{Detached, State},
    server::{Life, variable},
};
use std::{fmt::Write as _, io};

const EMULATOR: Detached = Detached {
    name: DYNAMODB.name,
    what: DYNAMODB.what,
};

/// Starts an emulator that runs until [`down`]; says what it did.
///
/// # Errors
/// When it cannot be fetched or started.
pub fn up() -> io::Result<String> {
    if let Some(endpoint) = variable(ENDPOINT) {
        return Ok(format!(
            "nothing started: tests use the DynamoDB that `{ENDPOINT}` names, {endpoint}"
        ));
    }
    let _held_until_here_ends = EMULATOR.lock()?;
    if let Some(state) = EMULATOR.running(answers)? {
        return Ok(format!(
            "nothing started: an emulator of DynamoDB runs already\n{}",
            directions(&state)
        ));
    }
    let package = MINISTACK.find_or_fetch()?;
    let (child, endpoint) = server::start(&package, DYNAMODB, &EMULATOR.folder()?, Life::Alone)?;
    let state = EMULATOR.remember(&child, endpoint)?;
    Ok(format!(
        "started an emulator of DynamoDB, which tests will use until `cargo integration down`\n{}",
        directions(&state)
    ))
}

/// Ends the emulator that [`up`] has started, and no other; says what it did.
///
/// # Errors
/// When it does not end.
pub fn down() -> io::Result<String> {
    EMULATOR.down()
}

/// Where the emulator listens that `up` has started, if it is alive.
pub(super) fn endpoint() -> io::Result<Option<String>> {
    Ok(EMULATOR.running(answers)?.map(|state| state.endpoint))
}

fn answers(endpoint: &str) -> io::Result<()> {
    match probe::status(endpoint, DYNAMODB.question)? {
        200 => Ok(()),
        status => Err(other(format!("HTTP status {status}"))),
    }
}

/// How a person uses it.
fn directions(state: &State) -> String {
    let dynamodb = Dynamodb {
        endpoint: state.endpoint.clone(),
        name: String::new(),
        server: None,
    };
    let mut text = format!(
        "  endpoint  {}\n  log       {}\n  for other programs:\n",
        state.endpoint,
        server::log_in(&state.folder).display()
    );
    for (name, value) in dynamodb.environment() {
        let _infallible = writeln!(text, "    export {name}={value}");
    }
    text.truncate(text.trim_end().len());
    text
}
