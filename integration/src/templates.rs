//! The templates of `deploy/`: what `cfn-lint` says of them, and the stacks that an emulator of
//! CloudFormation makes of them.

use crate::{
    emulator::{
        package_once,
        server::{CLOUDFORMATION, Server},
    },
    python::{Package, Program},
};
use serde_json::{Map, Value, json};
use std::{
    env,
    ffi::OsStr,
    io,
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
    let before = ["-c", program, "--"].map(OsStr::new);
    let arguments = before
        .into_iter()
        .chain(templates.iter().map(|t| t.as_os_str()));
    let output = run(&CFN_LINT.find_or_fetch()?, arguments)?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let is_silent = said.trim().is_empty();
    if output.status.success() == is_silent {
        Ok(said)
    } else {
        Err(io::Error::other(format!("cfn-lint: {output:?}")))
    }
}

/// A stack that is to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stack<'a> {
    /// Its name; no other one has it.
    pub name: &'a str,
    /// What it is made of.
    pub template: &'a Path,
    /// Names and values; without a value a parameter has its default.
    pub parameters: Vec<(&'a str, &'a str)>,
}

impl Stack<'_> {
    fn json(&self) -> Value {
        let parameters = { self.parameters.iter() }
            .map(|(name, value)| ((*name).to_owned(), (*value).into()))
            .collect::<Map<_, _>>();
        json!({"name": self.name, "template": self.template, "parameters": parameters})
    }
}

/// Creates these on one emulator of their own: an object with what came of each under its name, as
/// `create.py` tells.
///
/// # Errors
/// When something cannot be fetched or started, or a stack is not made; the message says why.
pub fn create(stacks: &[Stack<'_>]) -> io::Result<Value> {
    let server = Server::start(&package_once()?, CLOUDFORMATION)?;
    let wanted = Value::Array(stacks.iter().map(Stack::json).collect()).to_string();
    let arguments = ["-c", CREATE, server.endpoint(), &wanted].map(OsStr::new);
    let output = run(&CFN_LINT.find_or_fetch()?, arguments)?;
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
fn run<'a>(
    package: &Package,
    arguments: impl IntoIterator<Item = &'a OsStr>,
) -> io::Result<Output> {
    let folder = tempfile::tempdir()?;
    Command::new(package.python())
        .arg("-I")
        .args(arguments)
        .env_clear()
        .env("PATH", env::var_os("PATH").unwrap_or_default())
        .env("HOME", folder.path())
        .current_dir(folder.path())
        .output()
}
