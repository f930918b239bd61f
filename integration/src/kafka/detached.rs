//! `cargo integration up` and `down`: a Kafka that outlives the command that started it.

use super::{BOOTSTRAP, cluster, node, package::Package, probe::Probe};
use crate::{
    detached::{Detached, State},
    server::variable,
};
use std::io;

const KAFKA: Detached = Detached {
    name: "kafka",
    what: "Kafka",
};

/// Starts a broker that runs until [`down`]; says what it did.
///
/// # Errors
/// When it cannot be fetched or started.
pub fn up() -> io::Result<String> {
    if let Some(bootstrap) = variable(BOOTSTRAP) {
        return Ok(format!(
            "nothing started: tests use the Kafka that `{BOOTSTRAP}` names, {bootstrap}"
        ));
    }
    let _held_until_here_ends = KAFKA.lock()?;
    if let Some(state) = KAFKA.running(answers)? {
        return Ok(format!(
            "nothing started: a Kafka runs already\n{}",
            directions(&state)
        ));
    }
    let package = Package::find_or_fetch()?;
    let (child, bootstrap) = cluster::start_alone(&package, &KAFKA.folder()?)?;
    let state = KAFKA.remember(&child, bootstrap)?;
    Ok(format!(
        "started a Kafka, which tests will use until `cargo integration down`\n{}",
        directions(&state)
    ))
}

/// Ends the broker that [`up`] has started, and no other; says what it did.
///
/// # Errors
/// When it does not end.
pub fn down() -> io::Result<String> {
    KAFKA.down()
}

/// Where the broker listens that `up` has started, if it is alive.
pub(super) fn bootstrap() -> io::Result<Option<String>> {
    Ok(KAFKA.running(answers)?.map(|state| state.endpoint))
}

fn answers(bootstrap: &str) -> io::Result<()> {
    match Probe::new(bootstrap)?.brokers() {
        Ok(_) => Ok(()),
        Err(error) => Err(io::Error::other(error)),
    }
}

/// How a person uses it.
fn directions(state: &State) -> String {
    format!(
        "  bootstrap servers  {}\n  log                {}",
        state.endpoint,
        node::log_in(&cluster::home(&state.folder, 0)).display()
    )
}
