//! The programs that read, built for the benchmark.

use super::Options;
use crate::kafka;
use serde_json::Value;
use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// As the broker of the comparison has it.
const HEAP: &str = "-Xmx1g";

/// Who reads.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Reader {
    /// rdkafka's poll loop, which calls the handler itself.
    Bare,
    /// A worker with its checkpoints in SQLite.
    Sqlite,
    /// A worker with its checkpoints in DynamoDB.
    Dynamodb,
    /// Confluent's library in Java.
    ParallelConsumer,
    /// The nearest crate.
    RuststreamRdkafka,
}

impl Reader {
    pub(super) const ALL: [Self; 5] = [
        Self::Bare,
        Self::Sqlite,
        Self::Dynamodb,
        Self::ParallelConsumer,
        Self::RuststreamRdkafka,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Sqlite => "sqlite",
            Self::Dynamodb => "dynamodb",
            Self::ParallelConsumer => "parallel-consumer",
            Self::RuststreamRdkafka => "ruststream-rdkafka",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reader| reader.name() == name)
    }

    pub(super) fn is_peer(self) -> bool {
        matches!(self, Self::ParallelConsumer | Self::RuststreamRdkafka)
    }
}

/// Where they are. Those that were not asked for need not be there.
pub(super) struct Programs {
    own: PathBuf,
    ruststream: PathBuf,
    /// Of compiled classes and jars.
    parallel: PathBuf,
}

impl Programs {
    pub(super) fn build(options: &Options) -> io::Result<Self> {
        let own = own()?;
        // `…/release/deps/kafka-…`
        let target = own.ancestors().nth(3).unwrap_or(Path::new("target"));
        let peers = target.join("peers");
        let programs = Self {
            ruststream: peers.join("release").join("ruststream-rdkafka"),
            parallel: peers.join("parallel-consumer"),
            own,
        };
        if options.readers.contains(&Reader::RuststreamRdkafka) {
            let mut build = cargo();
            build
                .args(["build", "--release", "--locked", "--manifest-path"])
                .arg(sources("ruststream-rdkafka").join("Cargo.toml"))
                .arg("--target-dir")
                .arg(&peers);
            succeed(&mut build, "the peer ruststream-rdkafka")?;
        }
        if options.readers.contains(&Reader::ParallelConsumer) {
            let mut build = Command::new("mvn");
            build
                .args(["--quiet", "--batch-mode", "--strict-checksums", "compile"])
                .arg("--file")
                .arg(sources("parallel-consumer").join("pom.xml"))
                .arg(format!("-Dfolder={}", programs.parallel.display()))
                .arg("-Dstyle.color=never");
            succeed(&mut build, "the peer parallel-consumer")?;
        }
        Ok(programs)
    }

    /// What fills topics.
    pub(super) fn producer(&self) -> Command {
        let mut command = Command::new(&self.own);
        command.arg("produce");
        command
    }

    pub(super) fn reader(&self, reader: Reader) -> Command {
        match reader {
            Reader::Bare | Reader::Sqlite | Reader::Dynamodb => {
                let mut command = Command::new(&self.own);
                command.arg(reader.name());
                command
            }
            Reader::ParallelConsumer => {
                let mut path = OsString::from(self.parallel.join("classes"));
                path.push(":");
                path.push(self.parallel.join("jars").join("*"));
                let mut command = Command::new(kafka::java());
                command
                    .arg(HEAP)
                    .arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
                    .arg("-cp")
                    .arg(path)
                    .arg("Reader");
                command
            }
            Reader::RuststreamRdkafka => Command::new(&self.ruststream),
        }
    }
}

/// The benchmark of lanekeeper, built as `cargo bench` builds it.
fn own() -> io::Result<PathBuf> {
    let built = cargo()
        .args(["bench", "--no-run", "--package", "lanekeeper"])
        .args(["--features", "kafka,dynamodb", "--bench", "kafka"])
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()?;
    if !built.status.success() {
        let status = built.status;
        return Err(io::Error::other(format!(
            "`cargo bench --no-run`: {status}"
        )));
    }
    let messages = String::from_utf8_lossy(&built.stdout);
    let executable = messages.lines().find_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        let is_it = message["target"]["name"] == "kafka" && message["target"]["kind"][0] == "bench";
        Some(PathBuf::from(
            message["executable"].as_str().filter(|_| is_it)?,
        ))
    });
    executable.ok_or_else(|| io::Error::other("cargo names no program of `benches/kafka.rs`"))
}

pub(super) fn cargo() -> Command {
    let mut command = crate::cargo::cargo();
    command.current_dir(root());
    command
}

pub(super) fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

pub(super) fn sources(peer: &str) -> PathBuf {
    root().join("integration").join("peers").join(peer)
}

fn succeed(command: &mut Command, what: &str) -> io::Result<()> {
    let remedy = "leave it out with `--without-peers`, or see `integration/README.md`";
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(io::Error::other(format!(
            "cannot build {what} ({status}): {remedy}"
        ))),
        Err(error) => Err(io::Error::other(format!(
            "cannot build {what}: cannot run {command:?}: {error}; {remedy}"
        ))),
    }
}
