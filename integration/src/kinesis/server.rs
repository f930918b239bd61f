//! One process of the emulator.

use super::{api, package::Package};
use crate::server::{Folder, Life, end, spawn};
use serde_json::json;
use std::{
    env,
    fs::{self, File},
    io::{self, Write as _},
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command},
    thread::{panicking, sleep},
    time::{Duration, Instant},
};

/// How long it may take until it answers.
const START_LIMIT: Duration = Duration::from_secs(30);

/// A port that was free may be taken until the emulator gets to it.
const STARTS_MAX: u32 = 3;

const LAUNCH: &str = include_str!("launch.js");

/// How long an emulated change of a stream takes.
const CHANGE: &str = "20ms";

/// An emulator that this process has started. Dropped, it is killed; its folder goes with it unless a test
/// fails.
pub(super) struct Server {
    child: Child,
    endpoint: String,
    folder: Folder,
}

impl Server {
    pub(super) fn start(package: &Package) -> io::Result<Self> {
        let mut starts = 1;
        loop {
            let mut server = Self::spawn(package)?;
            match server.wait_until_it_answers() {
                Ok(()) => return Ok(server),
                Err(_) if starts < STARTS_MAX => starts += 1,
                Err(error) => {
                    server.folder.keep();
                    let said = fs::read_to_string(server.log()).unwrap_or_default();
                    let log = server.log();
                    return Err(io::Error::other(format!(
                        "the emulator of Kinesis {error}, {starts} times; it said (in {}):\n{said}",
                        log.display()
                    )));
                }
            }
        }
    }

    /// With an environment of its own: nothing of the user's may make it listen elsewhere or keep data.
    fn spawn(package: &Package) -> io::Result<Self> {
        let folder = Folder::new("lanekeeper-kinesis-")?;
        let launch = folder.path().join("launch.js");
        fs::write(&launch, LAUNCH)?;
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let log = File::create(folder.path().join("log"))?;
        let mut command = Command::new("node");
        command
            .arg("--require")
            .arg(&launch)
            .arg(package.folder().join("main.js"))
            .env_clear()
            .env("PATH", env::var_os("PATH").unwrap_or_default())
            .env("HOME", folder.path())
            .env("KINESIS_MOCK_PLAIN_PORT", port.to_string())
            .env(
                "KINESIS_MOCK_CERT_PATH",
                package.folder().join("server.json"),
            )
            .env("LOG_LEVEL", "ERROR")
            .env("CREATE_STREAM_DURATION", CHANGE)
            .env("SPLIT_SHARD_DURATION", CHANGE)
            .env("MERGE_SHARDS_DURATION", CHANGE)
            .current_dir(folder.path())
            .stdout(log.try_clone()?)
            .stderr(log);
        let child = spawn(&mut command, Life::WithStarter).map_err(|e| {
            io::Error::other(format!(
                "cannot start the emulator of Kinesis with `node`: {e}; install it (Debian: \
                 `apt-get install nodejs npm`)"
            ))
        })?;
        Ok(Self {
            child,
            endpoint: format!("http://127.0.0.1:{port}"),
            folder,
        })
    }

    fn wait_until_it_answers(&mut self) -> io::Result<()> {
        let api = api(&self.endpoint)?;
        let began = Instant::now();
        while began.elapsed() < START_LIMIT {
            let answers = api.ask("ListStreams", &json!({})).is_ok();
            // After the question: who answers on a port that another process has taken is not ours.
            match self.child.try_wait()? {
                None if answers => return Ok(()),
                None => sleep(Duration::from_millis(20)),
                Some(status) => return Err(io::Error::other(format!("ended at once ({status})"))),
            }
        }
        Err(io::Error::other(format!(
            "did not answer within {START_LIMIT:?}"
        )))
    }

    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if panicking() {
            self.folder.keep();
            let log = self.log();
            let _gone = writeln!(io::stderr(), "the log of Kinesis is {}", log.display());
        }
        end(&mut self.child);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scene::eventually;
    use std::net::TcpStream;

    fn server() -> Server {
        Server::start(&Package::find_or_fetch().unwrap()).unwrap()
    }

    #[test]
    fn it_ends_with_its_owner_and_takes_its_folder_along() {
        let server = server();
        let address = server.endpoint().trim_start_matches("http://").to_owned();
        let log = server.log();
        assert!(TcpStream::connect(&address).is_ok() && log.exists());
        drop(server);
        assert!(TcpStream::connect(&address).is_err() && !log.exists());
    }

    #[test]
    fn it_ends_when_its_starter_is_gone() {
        let mut server = server();
        // What the system does to the pipe of a process that was killed.
        drop(server.child.stdin.take());
        eventually("its end", || Ok(server.child.try_wait()?.is_some())).unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn it_listens_on_the_loopback_interface_alone() {
        let server = server();
        let id = server.child.id();
        let sockets: Vec<String> = fs::read_dir(format!("/proc/{id}/fd"))
            .unwrap()
            .filter_map(|link| fs::read_link(link.ok()?.path()).ok())
            .filter_map(|target| {
                let name = target.to_str()?.strip_prefix("socket:[")?;
                Some(name.trim_end_matches(']').to_owned())
            })
            .collect();
        // 127.0.0.1 in the order of the machine's bytes, then the port.
        let loopback = format!("{:08X}:", u32::from_ne_bytes([127, 0, 0, 1]));
        let mut found = 0;
        for table in ["tcp", "tcp6"] {
            let text = fs::read_to_string(format!("/proc/{id}/net/{table}")).unwrap_or_default();
            for line in text.lines().skip(1) {
                let fields: Vec<&str> = line.split_whitespace().collect();
                if fields[3] == "0A" && sockets.iter().any(|inode| inode == fields[9]) {
                    found += 1;
                    assert!(fields[1].starts_with(&loopback), "{line}");
                }
            }
        }
        assert!(found > 0, "it listens nowhere");
    }
}
