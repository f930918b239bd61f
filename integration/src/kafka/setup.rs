//! What a test asks for beyond one broker with Kafka's own defaults.

use std::collections::BTreeMap;

/// Starts fast and stays small: a quarter of the memory that Kafka takes by itself.
const JAVA: &str = "-Xms64m -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1";

/// Who keeps the metadata.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Controllers {
    /// Each broker is a controller too: the cluster lives while most of them do.
    #[default]
    Every,
    /// Broker 0 alone is a controller too: the cluster lives while it does, whoever else is gone.
    First,
}

/// So that one that was killed comes back at once: its predecessor has to be taken for dead first, which
/// takes 9 s by itself.
const QUICK_TO_MISS: [(&str, &str); 2] = [
    ("broker.session.timeout.ms", "3000"),
    ("broker.heartbeat.interval.ms", "500"),
];

/// A cluster of a test's own. By itself one broker, with a small and quickly started JVM; a broker that
/// is not heard of for 3 s (by Kafka's default, 9 s) is taken for dead.
#[derive(Clone, Debug)]
pub struct Setup {
    pub(super) brokers: usize,
    pub(super) controllers: Controllers,
    pub(super) java: Vec<String>,
    pub(super) properties: BTreeMap<String, String>,
    pub(super) listeners: Vec<(&'static str, &'static str)>,
    pub(super) users: Vec<String>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            brokers: 1,
            controllers: Controllers::default(),
            java: words(JAVA),
            properties: owned(QUICK_TO_MISS),
            listeners: Vec::new(),
            users: Vec::new(),
        }
    }
}

impl Setup {
    /// One broker that nobody ends: it is to bear a busy machine.
    pub(super) fn shared() -> Self {
        Self {
            properties: BTreeMap::new(),
            ..Self::default()
        }
    }

    /// So many brokers, at least one.
    #[must_use]
    pub fn with_brokers(mut self, brokers: usize) -> Self {
        self.brokers = brokers.max(1);
        self
    }

    /// Who keeps the metadata of several brokers.
    #[must_use]
    pub fn with_controllers(mut self, controllers: Controllers) -> Self {
        self.controllers = controllers;
        self
    }

    /// Flags of the JVM, separated by spaces, instead of all of ours: benchmarks want `-Xmx1g` and the
    /// compiler and collector that Kafka has in production.
    #[must_use]
    pub fn with_java(mut self, flags: &str) -> Self {
        self.java = words(flags);
        self
    }

    /// A property of every server, over ours.
    #[must_use]
    pub fn with(mut self, property: &str, value: &str) -> Self {
        self.properties
            .insert(property.to_owned(), value.to_owned());
        self
    }

    /// One more listener with one of Kafka's security protocols.
    pub(super) fn with_listener(mut self, name: &'static str, protocol: &'static str) -> Self {
        self.listeners.push((name, protocol));
        self
    }

    /// A user for SCRAM, as `kafka-storage format --add-scram` takes it.
    pub(super) fn with_user(mut self, user: String) -> Self {
        self.users.push(user);
        self
    }

    /// The properties of one broker of this cluster, whose nodes listen there.
    pub(super) fn server_properties(
        &self,
        index: usize,
        nodes: &[BTreeMap<&'static str, u16>],
        data: &str,
    ) -> BTreeMap<String, String> {
        let controllers = match self.controllers {
            Controllers::Every => nodes.len(),
            Controllers::First => 1,
        };
        let is_controller = index < controllers;
        let voters = nodes.iter().take(controllers).enumerate();
        let voters = voters.map(|(i, ports)| format!("{}@127.0.0.1:{}", id(i), ports[CONTROLLER]));
        let voters: Vec<String> = voters.collect();
        let addresses = |with_controller: bool| {
            let ports = nodes[index].iter();
            let ports = ports.filter(|(name, _)| with_controller || **name != CONTROLLER);
            let addresses = ports.map(|(name, port)| format!("{name}://127.0.0.1:{port}"));
            addresses.collect::<Vec<_>>().join(",")
        };
        let protocols = [(CONTROLLER, PLAINTEXT), (PLAINTEXT, PLAINTEXT)];
        let protocols = protocols.iter().chain(&self.listeners);
        let protocols = protocols.map(|(name, protocol)| format!("{name}:{protocol}"));
        let replicas = nodes.len().min(3).to_string();
        let roles = if is_controller {
            "broker,controller"
        } else {
            "broker"
        };
        let mut properties: BTreeMap<String, String> = [
            ("process.roles", roles.to_owned()),
            ("node.id", id(index).to_string()),
            ("listeners", addresses(is_controller)),
            ("advertised.listeners", addresses(false)),
            (
                "listener.security.protocol.map",
                protocols.collect::<Vec<_>>().join(","),
            ),
            ("inter.broker.listener.name", PLAINTEXT.to_owned()),
            ("controller.listener.names", CONTROLLER.to_owned()),
            ("controller.quorum.voters", voters.join(",")),
            ("log.dirs", data.to_owned()),
            ("default.replication.factor", replicas.clone()),
            ("offsets.topic.replication.factor", replicas.clone()),
            ("transaction.state.log.replication.factor", replicas.clone()),
            ("share.coordinator.state.topic.replication.factor", replicas),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        properties.extend(owned(FIXED));
        properties.extend(self.properties.clone());
        properties
    }
}

/// The listener of clients that need no security, and of the other brokers.
pub(super) const PLAINTEXT: &str = "PLAINTEXT";

/// The listener of controllers.
pub(super) const CONTROLLER: &str = "CONTROLLER";

/// Kafka's own defaults are for a machine of its own.
const FIXED: [(&str, &str); 12] = [
    // A topic that a test has not made is a mistake in the test.
    ("auto.create.topics.enable", "false"),
    ("group.initial.rebalance.delay.ms", "0"),
    ("offsets.topic.num.partitions", "4"),
    ("transaction.state.log.num.partitions", "4"),
    ("transaction.state.log.min.isr", "1"),
    ("share.coordinator.state.topic.num.partitions", "4"),
    ("share.coordinator.state.topic.min.isr", "1"),
    // 128 MB by itself.
    ("log.cleaner.dedupe.buffer.size", "2097152"),
    ("background.threads", "2"),
    ("num.io.threads", "4"),
    ("num.network.threads", "2"),
    ("num.recovery.threads.per.data.dir", "1"),
];

/// A broker's id in Kafka, where they count from 1.
pub(super) fn id(index: usize) -> usize {
    index + 1
}

fn owned<const N: usize>(properties: [(&str, &str); N]) -> BTreeMap<String, String> {
    let properties = properties.map(|(name, value)| (name.to_owned(), value.to_owned()));
    properties.into()
}

fn words(flags: &str) -> Vec<String> {
    flags.split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(setup: &Setup, index: usize) -> BTreeMap<String, String> {
        let nodes: Vec<_> = (0..setup.brokers)
            .map(|i| {
                let port = 20_000 + u16::try_from(i).unwrap() * 10;
                BTreeMap::from([(PLAINTEXT, port), (CONTROLLER, port + 1)])
            })
            .collect();
        setup.server_properties(index, &nodes, "/data")
    }

    #[test]
    fn every_broker_or_the_first_alone_is_a_controller() {
        let every = Setup::default().with_brokers(3);
        let last = properties(&every, 2);
        assert_eq!(last["process.roles"], "broker,controller");
        assert_eq!(
            last["controller.quorum.voters"],
            "1@127.0.0.1:20001,2@127.0.0.1:20011,3@127.0.0.1:20021"
        );
        let first = every.with_controllers(Controllers::First);
        assert_eq!(properties(&first, 0)["process.roles"], "broker,controller");
        let last = properties(&first, 2);
        assert_eq!(last["process.roles"], "broker");
        assert_eq!(last["controller.quorum.voters"], "1@127.0.0.1:20001");
        assert_eq!(last["listeners"], "PLAINTEXT://127.0.0.1:20020");
    }

    #[test]
    fn the_users_properties_and_flags_go_before_ours() {
        let setup = Setup::default();
        assert!(setup.java.contains(&"-Xmx256m".to_owned()));
        let setup = setup.with("num.io.threads", "8").with_java("-Xmx1g -Xms1g");
        assert_eq!(properties(&setup, 0)["num.io.threads"], "8");
        assert_eq!(setup.java, ["-Xmx1g", "-Xms1g"]);
    }
}
