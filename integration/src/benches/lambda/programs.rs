//! The functions, built for the benchmark.

use crate::{
    benches::programs::{cargo, sources},
    lambda::Function,
};
use serde_json::Value;
use std::{
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// What the artefact of a function is built with, beside what names it.
const FEATURES: [&str; 7] = [
    "--profile",
    "lambda",
    "--package",
    "lanekeeper",
    "--no-default-features",
    "--features",
    "lambda,dynamodb,http",
];

/// Where they are.
pub(super) struct Programs {
    /// The program without a handler of its own.
    pub(super) bootstrap: PathBuf,
    /// `benches/function.rs`.
    pub(super) function: PathBuf,
    /// Python with Powertools in it.
    python: PathBuf,
}

impl Programs {
    pub(super) fn build(has_peers: bool) -> io::Result<Self> {
        let bootstrap = built("bin", "bootstrap")?;
        let function = built("bench", "function")?;
        // `…/lambda/bootstrap`
        let target = bootstrap.ancestors().nth(2).unwrap_or(Path::new("target"));
        let venv = target.join("peers").join("powertools");
        let python = venv.join("bin").join("python");
        if has_peers {
            fetch(&venv, &python)?;
        }
        Ok(Self {
            bootstrap,
            function,
            python,
        })
    }

    pub(super) fn powertools(&self) -> Function {
        let script = sources("powertools").join("function.py");
        Function::new(&self.python).args([&*script.to_string_lossy()])
    }
}

fn built(kind: &str, name: &str) -> io::Result<PathBuf> {
    let output = cargo()
        .arg("build")
        .args(FEATURES)
        .args([&format!("--{kind}"), name])
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(io::Error::other(format!(
            "`cargo build --{kind} {name}`: {}",
            output.status
        )));
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let executable = messages.lines().find_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        let is_it = message["target"]["name"] == name && message["target"]["kind"][0] == kind;
        Some(PathBuf::from(
            message["executable"].as_str().filter(|_| is_it)?,
        ))
    });
    executable.ok_or_else(|| io::Error::other(format!("cargo names no program `{name}`")))
}

/// Makes a virtual environment of what `requirements.txt` pins; pip leaves alone what is there.
fn fetch(venv: &Path, python: &Path) -> io::Result<()> {
    if !python.exists() {
        let mut make = Command::new("python3");
        succeed(make.args(["-I", "-m", "venv"]).arg(venv))?;
    }
    let mut install = Command::new(python);
    install
        .args([
            "-I",
            "-m",
            "pip",
            "--quiet",
            "--disable-pip-version-check",
            "install",
        ])
        .args(["--only-binary", ":all:", "--require-hashes", "-r"])
        .arg(sources("powertools").join("requirements.txt"));
    succeed(&mut install)
}

fn succeed(command: &mut Command) -> io::Result<()> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(io::Error::other(format!(
            "cannot make the peer powertools ({command:?}: {status}): leave it out with `--without-peers`"
        ))),
        Err(error) => Err(io::Error::other(format!(
            "cannot run {command:?}: {error}; leave the peer out with `--without-peers`"
        ))),
    }
}
