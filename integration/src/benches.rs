//! `cargo integration bench`: benchmarks that need servers, with servers as in production.

use crate::{
    kafka::{Kafka, Setup},
    tables::Tables,
};
use std::{
    env, io,
    process::{Command, ExitStatus},
};

/// A heap as brokers have it; compiler and collector are the JVM's own choice.
const JAVA: &str = "-Xms1g -Xmx1g";

const CONFIG: &str = r#"
app = "bench"
cap = 1

[sources.unused]
type = "local"
topic = "unused"

[handler]
type = "exec"
command = ["true"]

[store]
"#;

/// Runs `benches/kafka.rs` with a broker and a table of its own.
///
/// # Errors
/// When a server cannot be started, or cargo cannot.
pub fn kafka(args: &[String]) -> io::Result<ExitStatus> {
    let kafka = Kafka::own(&Setup::default().with_java(JAVA))?;
    let tables = Tables::start()?;
    let (_scene, table) = tables.scene(CONFIG)?;
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["bench", "--package", "lanekeeper"])
        .args(["--features", "kafka,dynamodb", "--bench", "kafka", "--"])
        .args(args)
        .env("LANEKEEPER_TEST_KAFKA", kafka.bootstrap())
        .env("LANEKEEPER_BENCH_TABLE", table)
        .envs(tables.dynamodb().environment())
        .status()
}
