//! Cargo, called from a program that cargo runs.

use std::{env, process::Command};

/// The cargo that runs us, without what it has told us of our package: build scripts that look at that, such
/// as ring's, would run again whenever it changes, and all that stands on them would be built anew.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let said = env::vars_os().map(|(name, _)| name).filter(|name| {
        let name = name.to_string_lossy();
        name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
    });
    said.for_each(|name| {
        command.env_remove(name);
    });
    command
}
