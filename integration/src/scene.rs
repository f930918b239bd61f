//! A folder of its own with a configuration, and the real binary running in it.

use crate::cargo::cargo;
use serde_json::Value;
use std::{
    env,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    thread::{self, sleep},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// How long anything may take that is expected to end by itself: long enough for a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Where the scripts of the tests are.
pub(crate) const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts");

/// A temporary folder with a `lanekeeper.toml` in it; removed with the value, kept when the test fails.
pub struct Scene {
    folder: TempDir,
    runs: AtomicU32,
    environment: Vec<(&'static str, String)>,
}

/// A `lanekeeper` that runs in a scene. Dropped, it is killed; what it started dies with it.
pub struct Running {
    child: Child,
    output: PathBuf,
    errors: PathBuf,
}

/// A `lanekeeper` that has ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; `None`: a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub output: String,
    /// Its standard error.
    pub errors: String,
}

impl Scene {
    /// A folder with this configuration, in which `WORKER` stands for the command line of
    /// `worker.py` with its ledger `ledger.jsonl`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn new(config: &str) -> io::Result<Self> {
        Self::within(config, Vec::new())
    }

    /// The same; what runs in it gets these variables beside ours.
    ///
    /// # Errors
    /// As [`Scene::new`].
    pub fn within(config: &str, environment: Vec<(&'static str, String)>) -> io::Result<Self> {
        let scene = Self {
            folder: tempfile::tempdir()?,
            runs: AtomicU32::new(0),
            environment,
        };
        let worker = format!("\"python3\", \"{SCRIPTS}/worker.py\", \"ledger.jsonl\"");
        scene.write("lanekeeper.toml", &config.replace("WORKER", &worker))?;
        Ok(scene)
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file in the folder.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, name: &str, text: &str) -> io::Result<()> {
        fs::write(self.path(name), text)
    }

    /// The JSON lines of a file in the folder; none when there is no such file.
    ///
    /// # Errors
    /// When it cannot be read, or a line is no JSON.
    pub fn lines(&self, name: &str) -> io::Result<Vec<Value>> {
        let path = self.path(name);
        if !path.exists() {
            return Ok(Vec::new());
        }
        let text = fs::read_to_string(path)?;
        let lines: Result<_, _> = text.lines().map(serde_json::from_str).collect();
        Ok(lines?)
    }

    /// Bytes of a file in the folder; 0 when there is no such file.
    pub fn size(&self, name: &str) -> u64 {
        fs::metadata(self.path(name)).map_or(0, |file| file.len())
    }

    /// Keeps the folder, and says where it is.
    pub fn keep(&mut self) -> PathBuf {
        self.folder.disable_cleanup(true);
        self.folder.path().to_owned()
    }

    /// Starts `lanekeeper` with these arguments.
    ///
    /// # Errors
    /// When it cannot be built or started.
    pub fn start(&self, args: &[&str]) -> io::Result<Running> {
        self.start_within(args, &[])
    }

    /// The same with these variables more, which go before those of the scene.
    ///
    /// # Errors
    /// As [`Scene::start`].
    pub fn start_within(
        &self,
        args: &[&str],
        environment: &[(&'static str, String)],
    ) -> io::Result<Running> {
        self.start_as(binary()?, args, environment)
    }

    /// The same of another program, which has the command line of `lanekeeper` in it, and its own handler.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_as(
        &self,
        program: &Path,
        args: &[&str],
        environment: &[(&'static str, String)],
    ) -> io::Result<Running> {
        let number = self.runs.fetch_add(1, Ordering::Relaxed);
        let output = self.path(&format!("output.{number}"));
        let errors = self.path(&format!("errors.{number}"));
        let child = self
            .command_of(program)
            .args(args)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(File::create(&output)?)
            .stderr(File::create(&errors)?)
            .spawn()?;
        Ok(Running {
            child,
            output,
            errors,
        })
    }

    /// A `lanekeeper` in the folder, without settings from the environment of the tests.
    ///
    /// # Errors
    /// When it cannot be built.
    pub fn command(&self) -> io::Result<Command> {
        Ok(self.command_of(binary()?))
    }

    fn command_of(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        for (name, _) in env::vars_os() {
            if name.to_string_lossy().starts_with("LANEKEEPER_") {
                command.env_remove(name);
            }
        }
        let environment = self.environment.iter().map(|(name, value)| (name, value));
        command.envs(environment).current_dir(self.folder.path());
        command
    }

    /// Runs `lanekeeper` with these arguments to its end.
    ///
    /// # Errors
    /// As [`Scene::start`] and [`Running::wait`].
    pub fn run(&self, args: &[&str]) -> io::Result<Ended> {
        self.start(args)?.wait()
    }

    /// Runs `check.py` over two files of the folder and gives its figures.
    ///
    /// # Errors
    /// With what it found, when the ledger does not hold.
    pub fn check(&self, requests: &str, ledger: &str, cap: u32) -> io::Result<Value> {
        self.checked(&[requests, ledger, "--cap", &cap.to_string()])
    }

    /// The same where several members have worked side by side, each with this cap.
    ///
    /// # Errors
    /// As [`Scene::check`].
    pub fn check_members(&self, requests: &str, ledger: &str, cap: u32) -> io::Result<Value> {
        self.checked(&[requests, ledger, "--members", "--cap", &cap.to_string()])
    }

    fn checked(&self, args: &[&str]) -> io::Result<Value> {
        let checked = Command::new("python3")
            .arg(Path::new(SCRIPTS).join("check.py"))
            .args(args)
            .current_dir(self.folder.path())
            .output()?;
        if !checked.status.success() {
            return Err(other(String::from_utf8_lossy(&checked.stderr).into_owned()));
        }
        Ok(serde_json::from_slice(&checked.stdout)?)
    }
}

impl Running {
    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal by its name, such as `KILL`, `STOP`, `CONT`, `TERM`.
    ///
    /// # Errors
    /// When it has ended, or the name is none.
    pub fn signal(&mut self, name: &str) -> io::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            return Err(other(format!("it had ended before SIG{name}: {status}")));
        }
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status()?;
        if sent.success() {
            Ok(())
        } else {
            Err(other(format!("`kill -s {name} {id}`: {sent}")))
        }
    }

    /// Whether it has not ended yet.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn is_running(&mut self) -> io::Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it has not ended within [`PATIENCE`]; then it is killed.
    pub fn wait(self) -> io::Result<Ended> {
        self.wait_for(PATIENCE)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it has not ended within `limit`; then it is killed.
    pub fn wait_for(mut self, limit: Duration) -> io::Result<Ended> {
        let mut status: Option<ExitStatus> = None;
        let ended = within(limit, "its end", || {
            status = self.child.try_wait()?;
            Ok(status.is_some())
        });
        if let Err(error) = ended {
            let errors = fs::read_to_string(&self.errors)?;
            return Err(other(format!("{error}; it said:\n{errors}")));
        }
        Ok(Ended {
            code: status.and_then(|status| status.code()),
            output: fs::read_to_string(&self.output)?,
            errors: fs::read_to_string(&self.errors)?,
        })
    }

    /// What it wrote to standard error so far.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn errors(&self) -> io::Result<String> {
        fs::read_to_string(&self.errors)
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if thread::panicking() {
            self.folder.disable_cleanup(true);
            let folder = self.folder.path().display();
            let _gone = writeln!(io::stderr(), "what the test left stands in {folder}");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended; then there is nothing to kill and its status is collected.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

impl Ended {
    /// Its standard output as JSON.
    ///
    /// # Errors
    /// When it is none.
    pub fn json(&self) -> io::Result<Value> {
        serde_json::from_str(&self.output).map_err(|e| other(format!("{e} in {self:#?}")))
    }
}

/// Waits until something holds.
///
/// # Errors
/// When it does not within [`PATIENCE`], or cannot be told.
pub fn eventually(what: &str, holds: impl FnMut() -> io::Result<bool>) -> io::Result<()> {
    within(PATIENCE, what, holds)
}

fn within(
    limit: Duration,
    what: &str,
    mut holds: impl FnMut() -> io::Result<bool>,
) -> io::Result<()> {
    let deadline = Instant::now() + limit;
    while !holds()? {
        if Instant::now() > deadline {
            return Err(other(format!("waited {limit:?} for {what}")));
        }
        sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// The `lanekeeper` of this workspace, as `cargo build` gives it; built once per test process, with all
/// sources and stores: one binary for all tests, whatever they use.
///
/// # Errors
/// When it does not compile.
pub fn binary() -> io::Result<&'static Path> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match BINARY.get_or_init(|| build("--bin", "lanekeeper").map_err(|e| e.to_string())) {
        Ok(path) => Ok(path),
        Err(error) => Err(other(error.clone())),
    }
}

/// An example in Rust of this workspace, built as [`binary`] is.
///
/// # Errors
/// As [`binary`].
pub fn example(name: &str) -> io::Result<PathBuf> {
    build("--example", name)
}

fn build(kind: &str, name: &str) -> io::Result<PathBuf> {
    let built = cargo()
        .args(["build", "--quiet", "--locked", "--package", "lanekeeper"])
        .args([
            kind,
            name,
            "--features",
            "dynamodb,kafka,kinesis,lambda,msk",
            "--message-format=json-render-diagnostics",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::inherit())
        .output()?;
    let messages = String::from_utf8_lossy(&built.stdout);
    let path = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find_map(|message| Some(PathBuf::from(message["executable"].as_str()?)));
    path.filter(|_| built.status.success())
        .ok_or_else(|| other(format!("`{name}` does not build: see above")))
}

fn other(text: String) -> io::Error {
    io::Error::other(text)
}
