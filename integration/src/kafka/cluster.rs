//! Brokers that this process has started.

use super::{
    node::Node,
    package::Package,
    probe::Probe,
    setup::{self, CONTROLLER, PLAINTEXT, Setup},
};
use crate::{
    cache::at,
    server::{Folder, Life},
};
use rustix::process::Signal;
use std::{
    collections::BTreeMap,
    fs, io,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, ExitStatus},
    sync::{Mutex, MutexGuard, PoisonError},
    thread::sleep,
    time::{Duration, Instant},
};

/// How long it may take until all brokers take part; on a busy machine JVMs start slowly.
const START_LIMIT: Duration = Duration::from_secs(120);

/// A port that was free may be taken until the broker gets to it.
const STARTS_MAX: u32 = 3;

/// Below those that systems give to outgoing connections: while a broker is down, nobody takes its port
/// by chance.
const PORTS: std::ops::Range<u16> = 15_000..30_000;

/// Draws of a port until nothing is believed to be free.
const DRAWS_MAX: u32 = 1_000;

/// The ports of a node, by listener.
pub(super) type Ports = BTreeMap<&'static str, u16>;

/// A cluster. Dropped, its brokers are killed; its folder goes with them unless it is to be kept.
pub(super) struct Cluster {
    package: Package,
    id: String,
    ports: Vec<Ports>,
    nodes: Mutex<Vec<Node>>,
    // After the nodes, which write into it.
    folder: Folder,
}

impl Cluster {
    pub(super) fn start(package: Package, setup: &Setup) -> io::Result<Self> {
        let folder = Folder::new("lanekeeper-kafka-")?;
        match start(&package, folder.path(), setup, Life::WithStarter) {
            Ok(Started { id, ports, nodes }) => Ok(Self {
                package,
                id,
                ports,
                nodes: Mutex::new(nodes),
                folder,
            }),
            Err(error) => {
                // Its logs are there, and the error names them.
                folder.keep();
                Err(error)
            }
        }
    }

    pub(super) fn brokers(&self) -> usize {
        self.ports.len()
    }

    /// `host:port,…` of all brokers at a listener.
    pub(super) fn bootstrap(&self, listener: &str) -> String {
        let ports = self.ports.iter().filter_map(|ports| ports.get(listener));
        let addresses: Vec<String> = ports.map(|port| format!("127.0.0.1:{port}")).collect();
        addresses.join(",")
    }

    pub(super) fn logs(&self) -> Vec<PathBuf> {
        self.nodes().iter().map(Node::log).collect()
    }

    pub(super) fn keep_folder(&self) {
        self.folder.keep();
    }

    /// Starts brokers that do not run, and waits until they take part.
    pub(super) fn start_brokers(&self, indices: &[usize]) -> io::Result<()> {
        let mut nodes = self.nodes();
        for &index in indices {
            of(&mut nodes, index)?.start(&self.package, Life::WithStarter)?;
        }
        wait_until_up(&mut nodes, &self.ports, &self.id, indices)
            .map_err(|not_up| not_up.told("cannot be started again", &nodes))
    }

    pub(super) fn stop_broker(&self, index: usize) -> io::Result<()> {
        of(&mut self.nodes(), index)?.stop()
    }

    pub(super) fn kill_broker(&self, index: usize) -> io::Result<()> {
        of(&mut self.nodes(), index)?.kill();
        Ok(())
    }

    pub(super) fn signal_broker(&self, index: usize, signal: Signal) -> io::Result<()> {
        of(&mut self.nodes(), index)?.signal(signal)
    }

    pub(super) fn broker_process(&self, index: usize) -> io::Result<u32> {
        of(&mut self.nodes(), index)?.id()
    }

    fn nodes(&self) -> MutexGuard<'_, Vec<Node>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn of(nodes: &mut [Node], index: usize) -> io::Result<&mut Node> {
    let brokers = nodes.len();
    nodes.get_mut(index).ok_or_else(|| {
        io::Error::other(format!(
            "there is no broker {index} of {brokers}, which count from 0"
        ))
    })
}

/// Starts one broker that keeps its files in this folder and outlives this process.
pub(super) fn start_alone(package: &Package, folder: &Path) -> io::Result<(Child, String)> {
    // What an earlier one left.
    let home = home(folder, 0);
    if home.exists() {
        fs::remove_dir_all(&home).map_err(|e| at("remove", &home, &e))?;
    }
    let mut started = start(package, folder, &Setup::shared(), Life::Alone)?;
    let child = started.nodes.iter_mut().find_map(Node::release);
    let child = child.ok_or_else(|| io::Error::other("Kafka is gone"))?;
    Ok((child, format!("127.0.0.1:{}", started.ports[0][PLAINTEXT])))
}

/// Where a broker keeps its files.
pub(super) fn home(folder: &Path, index: usize) -> PathBuf {
    folder.join(format!("broker-{index}"))
}

struct Started {
    id: String,
    ports: Vec<Ports>,
    nodes: Vec<Node>,
}

/// Starts all brokers, and waits until each knows of all.
fn start(package: &Package, folder: &Path, setup: &Setup, life: Life) -> io::Result<Started> {
    let all: Vec<usize> = (0..setup.brokers).collect();
    let mut starts = 1;
    loop {
        let mut started = spawn(package, folder, setup, life)?;
        match wait_until_up(&mut started.nodes, &started.ports, &started.id, &all) {
            Ok(()) => return Ok(started),
            Err(NotUp::Ended(..)) if starts < STARTS_MAX => starts += 1,
            Err(not_up) => {
                let what = format!("does not start ({starts} tries)");
                return Err(not_up.told(&what, &started.nodes));
            }
        }
    }
}

fn spawn(package: &Package, folder: &Path, setup: &Setup, life: Life) -> io::Result<Started> {
    let id: String = std::iter::repeat_with(fastrand::alphanumeric)
        .take(22)
        .collect();
    let ports = free_ports(setup)?;
    let mut nodes = Vec::new();
    for index in 0..ports.len() {
        let home = home(folder, index);
        // What an earlier try left.
        let data = home.join("data");
        if data.exists() {
            fs::remove_dir_all(&data).map_err(|e| at("remove", &data, &e))?;
        }
        let properties = setup.server_properties(index, &ports, &data.to_string_lossy());
        nodes.push(Node::new(home, &id, setup, &properties)?);
    }
    for node in &mut nodes {
        node.start(package, life)?;
    }
    Ok(Started { id, ports, nodes })
}

/// Ports that nobody had a moment ago, one for each listener of each node.
fn free_ports(setup: &Setup) -> io::Result<Vec<Ports>> {
    // Held until all are drawn: none twice.
    let mut held = Vec::new();
    let mut draw = || {
        for _ in 0..DRAWS_MAX {
            let port = fastrand::u16(PORTS);
            if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
                held.push(listener);
                return Ok(port);
            }
        }
        Err(io::Error::other(format!(
            "no port of {PORTS:?} is free on 127.0.0.1"
        )))
    };
    let names = setup.listeners.iter().map(|(name, _)| *name);
    let names: Vec<&str> = [PLAINTEXT, CONTROLLER].into_iter().chain(names).collect();
    (0..setup.brokers)
        .map(|_| names.iter().map(|name| Ok((*name, draw()?))).collect())
        .collect()
}

enum NotUp {
    Ended(usize, ExitStatus),
    Silent(usize),
    Unknown(usize, io::Error),
}

impl NotUp {
    /// With what the broker said that it is about.
    fn told(self, what: &str, nodes: &[Node]) -> io::Error {
        let (index, why) = match self {
            Self::Ended(index, status) => (index, format!("ended by itself ({status})")),
            Self::Silent(index) => (index, format!("did not take part within {START_LIMIT:?}")),
            Self::Unknown(index, error) => (index, format!("cannot be watched: {error}")),
        };
        let log = nodes.get(index).map(Node::log).unwrap_or_default();
        let said = fs::read_to_string(&log).unwrap_or_default();
        io::Error::other(format!(
            "Kafka {what}: broker {index} {why}; it said (in {}):\n{said}",
            log.display()
        ))
    }
}

/// Waits until these brokers answer, each of them knowing of all these.
fn wait_until_up(
    nodes: &mut [Node],
    ports: &[Ports],
    id: &str,
    wanted: &[usize],
) -> Result<(), NotUp> {
    let began = Instant::now();
    for &index in wanted {
        let address = format!("127.0.0.1:{}", ports[index][PLAINTEXT]);
        let probe = Probe::new(&address).map_err(|e| NotUp::Unknown(index, e))?;
        loop {
            for &other in wanted {
                match nodes[other].ended() {
                    Ok(None) => {}
                    Ok(Some(status)) => return Err(NotUp::Ended(other, status)),
                    Err(error) => return Err(NotUp::Unknown(other, error)),
                }
            }
            // Who answers on a port that another cluster has taken is not ours.
            if knows(&probe, wanted) && probe.cluster().as_deref() == Some(id) {
                break;
            }
            if began.elapsed() > START_LIMIT {
                return Err(NotUp::Silent(index));
            }
            sleep(Duration::from_millis(10));
        }
    }
    Ok(())
}

fn knows(probe: &Probe, wanted: &[usize]) -> bool {
    let ids = wanted.iter().map(|&index| i32::try_from(setup::id(index)));
    let mut ids = ids.map(Result::unwrap_or_default);
    probe
        .brokers()
        .is_ok_and(|known| ids.all(|id| known.contains(&id)))
}
