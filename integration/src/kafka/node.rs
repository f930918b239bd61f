//! One process of Kafka.

use super::{
    package::{self, Package, REMEDY},
    setup::Setup,
};
use crate::{
    cache::at,
    server::{self, Life},
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    collections::BTreeMap,
    env,
    fmt::Write as _,
    fs::{self, OpenOptions},
    io,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
    thread::sleep,
    time::{Duration, Instant},
};

/// How long a broker may take to hand its partitions over and end.
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// A broker in its folder, running or not. Dropped, it is killed.
pub(super) struct Node {
    folder: PathBuf,
    cluster: String,
    java: Vec<String>,
    users: Vec<String>,
    child: Option<Child>,
}

impl Node {
    /// Writes what it needs into this folder; starts nothing.
    pub(super) fn new(
        folder: PathBuf,
        cluster: &str,
        setup: &Setup,
        properties: &BTreeMap<String, String>,
    ) -> io::Result<Self> {
        fs::create_dir_all(&folder).map_err(|e| at("make", &folder, &e))?;
        let mut text = String::new();
        for (name, value) in properties {
            // A backslash would begin an escape.
            let _infallible = writeln!(text, "{name}={}", value.replace('\\', "\\\\"));
        }
        let path = folder.join("server.properties");
        fs::write(&path, text).map_err(|e| at("write", &path, &e))?;
        Ok(Self {
            folder,
            cluster: cluster.to_owned(),
            java: setup.java.clone(),
            users: setup.users.clone(),
            child: None,
        })
    }

    /// Where it writes, over all its starts.
    pub(super) fn log(&self) -> PathBuf {
        log_in(&self.folder)
    }

    /// Starts it, with an environment of its own: nothing of the user's may set other flags.
    pub(super) fn start(&mut self, package: &Package, life: Life) -> io::Result<()> {
        if self.child.is_some() && self.ended()?.is_none() {
            return Err(io::Error::other("this broker runs already"));
        }
        let log = self.log();
        let log = OpenOptions::new().create(true).append(true).open(log)?;
        let mut command = Command::new(package::program("java"));
        command
            .env_clear()
            .env("PATH", env::var_os("PATH").unwrap_or_default())
            .args(&self.java)
            // A file in the temporary folder of the machine, for tools that watch JVMs.
            .arg("-XX:-UsePerfData")
            .arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
            .arg("-Dorg.slf4j.simpleLogger.showDateTime=true")
            .arg("-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSX")
            // Where native libraries of codecs are unpacked.
            .arg(format!("-Djava.io.tmpdir={}", self.folder.display()))
            .arg("-cp")
            .arg(package.class_path())
            .arg("Launch");
        if life == Life::Alone {
            command.arg("--alone");
        }
        command
            .arg(&self.cluster)
            .arg(self.folder.join("server.properties"))
            .args(&self.users)
            .current_dir(&self.folder)
            .stdout(log.try_clone()?)
            .stderr(log);
        let child = server::spawn(&mut command, life).map_err(|e| {
            io::Error::other(format!("cannot start Kafka with `java`: {e}; {REMEDY}"))
        })?;
        self.child = Some(child);
        Ok(())
    }

    /// How it ended by itself; `None`: it did not.
    pub(super) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        match &mut self.child {
            Some(child) => child.try_wait(),
            None => Ok(None),
        }
    }

    /// Asks it to end, and waits until it has.
    pub(super) fn stop(&mut self) -> io::Result<()> {
        self.signal(Signal::TERM)?;
        let asked = Instant::now();
        while self.ended()?.is_none() {
            if asked.elapsed() > STOP_LIMIT {
                return Err(io::Error::other(format!(
                    "the broker did not end within {STOP_LIMIT:?} after SIGTERM; its log is {}",
                    self.log().display()
                )));
            }
            sleep(Duration::from_millis(20));
        }
        self.child = None;
        Ok(())
    }

    /// Kills it, frozen or not; nothing where it does not run.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            server::end(&mut child);
        }
    }

    /// Sends a signal to it.
    pub(super) fn signal(&mut self, signal: Signal) -> io::Result<()> {
        // Once its status is collected, its id may be another's.
        let ended = self.ended()?;
        match (&self.child, ended) {
            (Some(child), None) => Ok(kill_process(Pid::from_child(child), signal)?),
            (Some(_), Some(status)) => Err(io::Error::other(format!(
                "the broker had ended by itself ({status}); its log is {}",
                self.log().display()
            ))),
            (None, _) => Err(io::Error::other("this broker does not run")),
        }
    }

    /// Its process id.
    pub(super) fn id(&self) -> io::Result<u32> {
        let child = self.child.as_ref();
        let child = child.ok_or_else(|| io::Error::other("this broker does not run"))?;
        Ok(child.id())
    }

    /// The process goes on without this value.
    pub(super) fn release(&mut self) -> Option<Child> {
        self.child.take()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Where a broker with this folder writes.
pub(super) fn log_in(folder: &Path) -> PathBuf {
    folder.join("log")
}
