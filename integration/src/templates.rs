//! The templates of `deploy/`: what `cfn-lint` says of them, and the stacks that an emulator of
//! CloudFormation makes of them.

use crate::{
    emulator::{
        package_once,
        server::{CLOUDFORMATION, Server},
    },
    python::{Package, Program},
};
use serde_json::Value;
use std::{
    env, io,
    path::Path,
    process::{Command, Output},
};

/// It checks templates, and brings the translator that AWS itself expands `AWS::Serverless` with.
pub(crate) const CFN_LINT: Program = Program {
    package: "cfn-lint",
    requirements: include_str!("../cfn-lint.txt"),
    what: "cfn-lint, which checks the templates of deploy/,",
    otherwise: "",
};

const CREATE: &str = include_str!("templates/create.py");

/// What `cfn-lint` finds wrong in these, down to its hints; nothing where all is well.
///
/// # Errors
/// When it cannot be fetched or started.
pub fn complaints(templates: &[&Path]) -> io::Result<String> {
    let program = "import sys; from cfnlint.runner import main; sys.exit(main())";
    let arguments = ["-c", program, "--"];
    let output = run(&CFN_LINT.find_or_fetch()?, &arguments, templates)?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let is_silent = said.trim().is_empty();
    if output.status.success() == is_silent {
        Ok(said)
    } else {
        Err(io::Error::other(format!("cfn-lint: {output:?}")))
    }
}

/// Creates a stack of each on an emulator of its own: an object with what came of it under each
/// template's name, as `create.py` tells.
///
/// # Errors
/// When something cannot be fetched or started, or a stack is not made; the message says why.
pub fn create(templates: &[&Path]) -> io::Result<Value> {
    let server = Server::start(&package_once()?, CLOUDFORMATION)?;
    let arguments = ["-c", CREATE, server.endpoint()];
    let output = run(&CFN_LINT.find_or_fetch()?, &arguments, templates)?;
    if output.status.success() {
        return serde_json::from_slice(&output.stdout).map_err(io::Error::other);
    }
    server.keep_folder();
    Err(io::Error::other(format!(
        "no stack ({}); the emulator's log is {}; it was said:\n{}",
        output.status,
        server.log().display(),
        String::from_utf8_lossy(&output.stderr)
    )))
}

/// In an environment of its own: no profile and no settings of the user's.
fn run(package: &Package, arguments: &[&str], templates: &[&Path]) -> io::Result<Output> {
    let folder = tempfile::tempdir()?;
    Command::new(package.python())
        .arg("-I")
        .args(arguments)
        .args(templates)
        .env_clear()
        .env("PATH", env::var_os("PATH").unwrap_or_default())
        .env("HOME", folder.path())
        .current_dir(folder.path())
        .output()
}
