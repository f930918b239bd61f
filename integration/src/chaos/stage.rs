//! Everything that members work with: a cluster, a topic, a store behind a proxy, a target's table.

use super::{APP, CAP, DRAIN, Options, PARTITIONS, RUN, Store, UNFLUSHED};
use crate::{
    kafka::{Kafka, Setup},
    proxy::{Counts, Fault, Faults, Proxy, Rule},
    scene::{Running, Scene},
    tables::Tables,
};
use fastrand::Rng;
use serde_json::Value;
use std::{collections::BTreeMap, io, path::PathBuf, time::Duration};

pub(super) struct Stage {
    pub(super) scene: Scene,
    pub(super) kafka: Kafka,
    pub(super) topic: String,
    table: Option<Table>,
}

/// The store's table and the target's.
struct Table {
    proxy: Proxy,
    tables: Tables,
    target: String,
}

impl Stage {
    pub(super) fn set(options: &Options) -> io::Result<Self> {
        let setup = Setup::default()
            .with_brokers(options.brokers)
            .with("group.min.session.timeout.ms", "1000");
        let kafka = Kafka::own(&setup)?;
        let topic = Kafka::topic_name();
        let in_sync = options.brokers.clamp(1, 2).to_string();
        kafka.create_topic(&topic, PARTITIONS, &[("min.insync.replicas", &in_sync)])?;
        let (scene, table) = match options.store {
            Store::Local => (Scene::new(&config(&kafka, &topic, "\"--each\""))?, None),
            Store::Dynamodb => {
                let tables = Tables::start()?;
                let target = tables.user_table()?;
                let worker = format!("\"--dynamodb\", \"{target}\"");
                let (scene, _) = tables.scene(&config(&kafka, &topic, &worker))?;
                let proxy = Proxy::start(tables.dynamodb().endpoint(), Faults::none())?;
                let table = Table {
                    proxy,
                    tables,
                    target,
                };
                (scene, Some(table))
            }
        };
        Ok(Self {
            scene,
            kafka,
            topic,
            table,
        })
    }

    /// Starts a member, which reaches the store through the proxy.
    pub(super) fn member(&self, history: &str) -> io::Result<Running> {
        let environment = { self.table.as_ref() }
            .map(|table| table.tables.through(&table.proxy))
            .unwrap_or_default();
        let args = ["run", "--history", history];
        self.scene.start_within(&args, &environment)
    }

    /// Other draws of what goes wrong on the way to the table: answers of writes are lost, requests and
    /// answers are late, some are throttled.
    pub(super) fn weather(&self, random: &mut Rng) {
        let seed = random.u64(..);
        let Some(table) = &self.table else {
            return;
        };
        let (short, long) = (Duration::from_millis(30), Duration::from_millis(400));
        table.proxy.set_faults(
            Faults::seeded(seed)
                .rule(Rule::sometimes(Fault::DelayRequest(long), 20).on(["TransactWriteItems"]))
                .rule(Rule::sometimes(Fault::DelayResponse(short), 200))
                .rule(Rule::sometimes(Fault::DropResponse, 40).on_writes())
                .rule(Rule::sometimes(Fault::Throttle, 20)),
        );
    }

    /// Nobody reaches the table for so long; whether there is one.
    pub(super) fn cut_off(&self, time: Duration) -> bool {
        let Some(table) = &self.table else {
            return false;
        };
        table.proxy.freeze(time);
        std::thread::sleep(time);
        table.proxy.thaw();
        true
    }

    pub(super) fn heal(&self) {
        if let Some(table) = &self.table {
            table.proxy.set_faults(Faults::none());
            table.proxy.thaw();
        }
    }

    /// What the proxy did.
    pub(super) fn counts(&self) -> Option<Counts> {
        self.table.as_ref().map(|table| table.proxy.counts())
    }

    /// The requests of each account in the order in which the target has them: by its own table, or, with
    /// a local store, each as often as it was counted.
    pub(super) fn applied(&self) -> io::Result<BTreeMap<String, Vec<u64>>> {
        let mut applied: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        let Some(table) = &self.table else {
            let list = self.scene.run(&["value", "list", "each"])?;
            for line in list.output.lines() {
                let (key, count) = line.split_once('\t').unwrap_or_default();
                let (account, n) = key.split_once('/').unwrap_or_default();
                let number = |text: &str| text.parse::<u64>().map_err(io::Error::other);
                let times = usize::try_from(number(count)?).unwrap_or_default();
                let account = applied.entry(account.to_owned()).or_default();
                account.extend(std::iter::repeat_n(number(n)?, times));
            }
            // Keys are in the order of text, and counts have none.
            applied
                .values_mut()
                .for_each(|requests| requests.sort_unstable());
            return Ok(applied);
        };
        for item in table.tables.items(&table.target, "applied")? {
            let list = item["requests"]["L"].as_array().into_iter().flatten();
            let number = |value: &Value| value["N"].as_str().unwrap_or_default().parse().ok();
            let account = item["sk"]["S"].as_str().unwrap_or_default().to_owned();
            applied.insert(account, list.filter_map(number).collect());
        }
        Ok(applied)
    }

    /// Its folder stays, with the logs of its brokers.
    pub(super) fn keep(&mut self) -> PathBuf {
        self.kafka.keep_logs();
        self.scene.keep()
    }
}

fn config(kafka: &Kafka, topic: &str, worker: &str) -> String {
    let bootstrap = kafka.bootstrap();
    format!(
        r#"
app = "{APP}"
cap = {CAP}
drain = "{DRAIN}s"

[sources.orders]
type = "kafka"
bootstrap_servers = "{bootstrap}"
topics = ["{topic}"]

[sources.orders.properties]
"session.timeout.ms" = 4000
"heartbeat.interval.ms" = 400
"reconnect.backoff.max.ms" = 500

[failure]
attempts = 20
backoff_min = "5ms"
backoff_max = "50ms"
timeout = "3s"

[store]
flush_interval = "100ms"
unflushed_max = {UNFLUSHED}

[handler]
type = "exec"
command = [WORKER, "--millis", "2", "--fails", "10", "--dies", "1", {worker}]
records_per_call = {RUN}
"#
    )
}
