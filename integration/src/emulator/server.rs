//! One process of the emulator.

use super::{other, probe};
use crate::{
    python::Package,
    server::{Folder, Life, end, spawn as spawn_server},
};
use std::{
    env,
    fs::{self, File},
    io,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command},
    thread::sleep,
    time::{Duration, Instant},
};

/// How long it may take until it answers.
const START_LIMIT: Duration = Duration::from_secs(30);

/// A port that was free may be taken until the emulator gets to it.
const STARTS_MAX: u32 = 3;

const LAUNCH: &str = include_str!("launch.py");

/// What an emulator is asked to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Service {
    /// As it is called in settings and folders.
    pub(crate) name: &'static str,
    /// Which of the emulator's services it has, separated by commas.
    pub(crate) services: &'static str,
    /// For people.
    pub(crate) what: &'static str,
    /// An operation that any client may ask for at any time.
    pub(crate) question: &'static str,
}

pub(crate) const DYNAMODB: Service = Service {
    name: "dynamodb",
    services: "dynamodb",
    what: "emulator of DynamoDB",
    question: "DynamoDB_20120810.ListTables",
};

pub(crate) const SQS: Service = Service {
    name: "sqs",
    services: "sqs",
    what: "emulator of SQS",
    question: "AmazonSQS.ListQueues",
};

/// What makes stacks, and what tells of the functions and alarms in them. Whatever else a stack holds is made all the
/// same.
pub(crate) const CLOUDFORMATION: Service = Service {
    name: "cloudformation",
    services: "cloudformation,cloudwatch,dynamodb,lambda",
    what: "emulator of CloudFormation",
    question: "DynamoDB_20120810.ListTables",
};

/// An emulator that this process has started. Dropped, it is killed with all that it started; its
/// folder goes with it unless [`Server::keep_folder`] was called.
pub(crate) struct Server {
    child: Child,
    endpoint: String,
    folder: Folder,
}

impl Server {
    pub(crate) fn start(package: &Package, service: Service) -> io::Result<Self> {
        let folder = Folder::new(&format!("lanekeeper-{}-", service.name))?;
        match start(package, service, folder.path(), Life::WithStarter) {
            Ok((child, endpoint)) => Ok(Self {
                child,
                endpoint,
                folder,
            }),
            Err(error) => {
                // Its log is there, and the error names it.
                folder.keep();
                Err(error)
            }
        }
    }

    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    pub(crate) fn log(&self) -> PathBuf {
        log_in(self.folder.path())
    }

    /// What it wrote is to be looked at.
    pub(crate) fn keep_folder(&self) {
        self.folder.keep();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Where an emulator with this folder writes.
pub(super) fn log_in(folder: &Path) -> PathBuf {
    folder.join("log")
}

/// Starts one that keeps its files in this folder, and waits until it answers.
pub(super) fn start(
    package: &Package,
    service: Service,
    folder: &Path,
    life: Life,
) -> io::Result<(Child, String)> {
    let mut starts = 1;
    loop {
        let (mut child, endpoint) = spawn(package, service, folder, life)?;
        match wait_until_it_answers(&mut child, service, &endpoint) {
            Ok(()) => return Ok((child, endpoint)),
            Err(NotUp::Ended(_)) if starts < STARTS_MAX => starts += 1,
            Err(not_up) => {
                end(&mut child);
                let what = match not_up {
                    NotUp::Ended(status) => format!("ended at once, {starts} times ({status})"),
                    NotUp::Silent => format!("did not answer at {endpoint} within {START_LIMIT:?}"),
                    NotUp::Unknown(error) => format!("cannot be watched: {error}"),
                };
                let log = log_in(folder);
                let said = fs::read_to_string(&log).unwrap_or_default();
                let log = log.display();
                return Err(other(format!(
                    "the {} {what}; it said (in {log}):\n{said}",
                    service.what
                )));
            }
        }
    }
}

/// With an environment of its own: nothing of the user's may make it listen elsewhere, keep data, or
/// find real credentials.
fn spawn(
    package: &Package,
    service: Service,
    folder: &Path,
    life: Life,
) -> io::Result<(Child, String)> {
    let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
    let log = File::create(log_in(folder))?;
    let mut command = Command::new(package.python());
    command.args(["-I", "-c", LAUNCH]);
    if life == Life::Alone {
        command.arg("--alone");
    }
    command
        .env_clear()
        .env("PATH", env::var_os("PATH").unwrap_or_default())
        .env("HOME", folder)
        .env("TMPDIR", folder)
        .env("BIND_HOST", "127.0.0.1")
        .env("GATEWAY_PORT", port.to_string())
        .env("SERVICES", service.services)
        .env("PERSIST_STATE", "0")
        .env("STATE_DIR", folder)
        .env("LOG_LEVEL", "WARNING")
        // Listeners of other services, and a Docker daemon, whose containers it would tidy up.
        .env("IOT_MTLS_ENABLED", "0")
        .env("SFTP_ENABLED", "0")
        .env(
            "DOCKER_HOST",
            format!("unix://{}", folder.join("none").display()),
        )
        .current_dir(folder)
        .stdout(log.try_clone()?)
        .stderr(log);
    let child = spawn_server(&mut command, life).map_err(|e| {
        let python = package.python();
        other(format!(
            "cannot start the {} with {}: {e}",
            service.what,
            python.display()
        ))
    })?;
    Ok((child, format!("http://127.0.0.1:{port}")))
}

enum NotUp {
    Ended(std::process::ExitStatus),
    Silent,
    Unknown(io::Error),
}

fn wait_until_it_answers(child: &mut Child, service: Service, endpoint: &str) -> Result<(), NotUp> {
    let began = Instant::now();
    while began.elapsed() < START_LIMIT {
        let answers = probe::status(endpoint, service.question).is_ok_and(|status| status == 200);
        // After the question: who answers on a port that another process has taken is not ours.
        match child.try_wait() {
            Ok(None) if answers => return Ok(()),
            Ok(None) => sleep(Duration::from_millis(20)),
            Ok(Some(status)) => return Err(NotUp::Ended(status)),
            Err(error) => return Err(NotUp::Unknown(error)),
        }
    }
    Err(NotUp::Silent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{emulator::package::MINISTACK, scene::eventually};
    use std::net::TcpStream;

    fn server() -> Server {
        Server::start(&MINISTACK.find_or_fetch().unwrap(), DYNAMODB).unwrap()
    }

    fn accepts(endpoint: &str) -> bool {
        TcpStream::connect(endpoint.trim_start_matches("http://")).is_ok()
    }

    #[test]
    fn it_ends_with_its_owner_and_takes_its_folder_along() {
        let server = server();
        let (endpoint, log) = (server.endpoint().to_owned(), server.log());
        assert!(accepts(&endpoint));
        assert!(log.exists());
        drop(server);
        assert!(!accepts(&endpoint));
        assert!(!log.exists());
    }

    #[test]
    fn it_ends_when_its_starter_is_gone() {
        let mut server = server();
        // What the system does to the pipe of a process that was killed.
        drop(server.child.stdin.take());
        eventually("its end", || Ok(server.child.try_wait()?.is_some())).unwrap();
        assert!(!accepts(server.endpoint()));
    }

    /// Sockets of a process that wait for somebody, as the system lists them: `address:port` in
    /// hexadecimal digits.
    #[cfg(target_os = "linux")]
    fn listeners(id: u32) -> Vec<String> {
        let links = fs::read_dir(format!("/proc/{id}/fd")).unwrap();
        let sockets: Vec<String> = links
            .filter_map(|link| fs::read_link(link.ok()?.path()).ok())
            .filter_map(|target| {
                let name = target.to_str()?.strip_prefix("socket:[")?;
                Some(name.trim_end_matches(']').to_owned())
            })
            .collect();
        let mut found = Vec::new();
        for table in ["tcp", "tcp6", "udp", "udp6"] {
            // No such table where the system has no such protocol.
            let text = fs::read_to_string(format!("/proc/{id}/net/{table}")).unwrap_or_default();
            for line in text.lines().skip(1) {
                let fields: Vec<&str> = line.split_whitespace().collect();
                let is_open = fields[3] == "0A" || table.starts_with("udp");
                if is_open && sockets.iter().any(|inode| inode == fields[9]) {
                    found.push(fields[1].to_owned());
                }
            }
        }
        found
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn it_listens_on_the_loopback_interface_alone() {
        let server = server();
        let port: u16 = server
            .endpoint()
            .rsplit_once(':')
            .unwrap()
            .1
            .parse()
            .unwrap();
        // 127.0.0.1 in the order of the machine's bytes.
        let loopback = format!("{:08X}", u32::from_ne_bytes([127, 0, 0, 1]));
        assert_eq!(
            listeners(server.child.id()),
            [format!("{loopback}:{port:04X}")]
        );
    }
}
