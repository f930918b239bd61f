//! What the DynamoDB store consumes, as the service counts it, and what that costs.

use crate::{
    emulator::Dynamodb,
    scene::{Ended, PATIENCE, Running, SCRIPTS, Scene, eventually},
};
use serde_json::Value;
use std::{
    fmt::Write as _,
    io::{self, Write as _},
    process::{Child, ChildStdin, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// Dollars per million request units, on demand, in us-east-1: see docs/dynamodb.md.
const DOLLARS_PER_MILLION_WRITE: f64 = 0.625;
const DOLLARS_PER_MILLION_READ: f64 = 0.125;

const SECONDS_A_MONTH: f64 = 730.0 * 3_600.0;

const WORKERS: usize = 10;
const PARTITIONS_EACH: usize = 10;

const PARTITIONS: u64 = 8;
const RECORDS_EACH: u64 = 1_000;

/// The table that is written to; made when it is not there.
pub struct Table<'a> {
    dynamodb: &'a Dynamodb,
    name: String,
}

impl<'a> Table<'a> {
    /// A table that nobody else has.
    pub fn new(dynamodb: &'a Dynamodb) -> Self {
        let name = Dynamodb::table_name();
        Self { dynamodb, name }
    }
}

/// Requests and request units.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Units {
    /// Requests that were answered.
    pub requests: u64,
    /// Read request units.
    pub read: f64,
    /// Write request units.
    pub write: f64,
}

impl Units {
    fn of(consumed: &Value) -> io::Result<Self> {
        let figure = |name: &str| {
            let found = consumed[name].as_f64();
            found.ok_or_else(|| io::Error::other(format!("no `{name}` in {consumed}")))
        };
        Ok(Self {
            requests: figure("requests")? as u64,
            read: figure("read_units")?,
            write: figure("write_units")?,
        })
    }

    fn since(self, before: Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(before.requests),
            read: self.read - before.read,
            write: self.write - before.write,
        }
    }

    fn dollars(self) -> f64 {
        (self.read * DOLLARS_PER_MILLION_READ + self.write * DOLLARS_PER_MILLION_WRITE) / 1e6
    }
}

/// One round of commits of 8 partitions with 1,000 finished records each: what a run with them consumed
/// more than one without.
///
/// # Errors
/// When something does not start or does not end as it should.
pub fn round(table: &Table<'_>) -> io::Result<Units> {
    // Long enough that all of them are finished by then.
    let scene = scene(table, "flush_interval = \"3s\"")?;
    let put = |name: &str, records: u64| {
        let mut lines = String::new();
        for i in 0..records {
            let _infallible = writeln!(lines, "{{\"account\":\"a{i}\"}}");
        }
        scene.write(name, &lines)?;
        fine(scene.run(&["put", "--topic", "orders", "--key", "account", name])?)
    };
    let lag = || lag(&scene);
    let run = |rounds: &[(&str, u64)]| {
        let run = scene.start(&["run", "--report", "-"])?;
        for (name, records) in rounds {
            put(name, *records)?;
            eventually("the records", || Ok(lag()? == 0))?;
        }
        consumed(&stop(run)?)
    };
    // The first run makes what is not there yet, and the first commit of each keeps a copy.
    let first = ("first", 100);
    run(&[first])?;
    let without = run(&[first])?;
    Ok(run(&[first, ("second", PARTITIONS * RECORDS_EACH)])?.since(without))
}

/// 1,000 records a second in one partition for so long, at the default settings: records, and all that
/// the run consumed.
///
/// # Errors
/// When something does not start or does not end as it should.
pub fn busy(table: &Table<'_>, time: Duration) -> io::Result<(u64, Units)> {
    let scene = scene(table, "")?;
    scene.write("none", "")?;
    let create = ["put", "--topic", "orders", "--key", "account"];
    fine(scene.run(&[&create[..], &["--partitions", "1", "none"]].concat())?)?;
    let run = scene.start(&["run", "--report", "-"])?;
    let mut put = Put(scene
        .command()?
        .args(create)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?);
    let input = put.0.stdin.take();
    let records = feed(input.ok_or_else(|| io::Error::other("no stdin"))?, time)?;
    let status = put.0.wait()?;
    if !status.success() {
        return Err(io::Error::other(format!("`put`: {status}")));
    }
    eventually("the last record", || Ok(lag(&scene)? == 0))?;
    let ended = stop(run)?;
    let done = ended.json()?["records"].as_u64();
    if done != Some(records) {
        return Err(io::Error::other(format!(
            "put {records} records, done {done:?}"
        )));
    }
    Ok((records, consumed(&ended)?))
}

/// 10 workers that own 100 idle partitions for so long: what all of them consumed meanwhile. Starts and
/// ends are not in it.
///
/// # Errors
/// When something does not start or does not end as it should.
pub fn idle(table: &Table<'_>, time: Duration) -> io::Result<Units> {
    let bare = ["run", "--until-idle", "--report", "-"];
    let mut workers = Vec::new();
    let mut units = Units::default();
    for _ in 0..WORKERS {
        let scene = scene(table, "")?;
        let partitions = PARTITIONS_EACH.to_string();
        scene.write("none", "")?;
        let create = [
            "put",
            "--topic",
            "orders",
            "--partitions",
            &partitions,
            "none",
        ];
        fine(scene.run(&create)?)?;
        // The first run makes what is not there yet, the second does nothing but start and end.
        fine(scene.run(&bare)?)?;
        let without = consumed(&fine(scene.run(&bare)?)?)?;
        let run = scene.start(&["run", "--report", "-"])?;
        workers.push((scene, run, without));
    }
    sleep(time);
    for (_scene, run, without) in workers {
        let more = consumed(&stop(run)?)?.since(without);
        units.requests += more.requests;
        units.read += more.read;
        units.write += more.write;
    }
    Ok(units)
}

/// Prints all of it, for as many seconds.
///
/// # Errors
/// When something does not start or does not end as it should.
pub fn tell(table: &Table<'_>, time: Duration) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "table `{}`", table.name)?;
    let seconds = time.as_secs();
    let units = round(table)?;
    writeln!(
        out,
        "one round of commits, {PARTITIONS} partitions with {RECORDS_EACH} records each: {} requests, {:.1} write units",
        units.requests, units.write
    )?;
    let (records, units) = busy(table, time)?;
    let of_million = 1e6 / records as f64;
    writeln!(
        out,
        "1,000 records/s in one partition for {seconds} s, start and end included: {records} records, {} requests, \
         {:.1} read and {:.1} write units; a million records: {:.0} write units, ${:.5}",
        units.requests,
        units.read,
        units.write,
        units.write * of_million,
        units.dollars() * of_million,
    )?;
    let units = idle(table, time)?;
    let month = units.dollars() * SECONDS_A_MONTH / time.as_secs_f64();
    writeln!(
        out,
        "{WORKERS} workers with {} idle partitions for {seconds} s: {} requests, {:.1} read and {:.1} write units; \
         a month: ${month:.2}",
        WORKERS * PARTITIONS_EACH,
        units.requests,
        units.read,
        units.write,
    )
}

/// A folder with an app that has nothing in the table.
fn scene(table: &Table<'_>, store: &str) -> io::Result<Scene> {
    // Apps are apart in one table.
    let app = format!("cost-{:016x}", fastrand::u64(..));
    let name = &table.name;
    let config = format!(
        r#"
app = "{app}"
cap = 2

[sources.orders]
type = "local"
topic = "orders"

[store]
type = "dynamodb"
table = "{name}"
{store}

[handler]
type = "exec"
command = ["python3", "{SCRIPTS}/done.py"]
records_per_call = 100
"#
    );
    let scene = Scene::within(&config, table.dynamodb.environment())?;
    fine(scene.run(&["store", "init"])?)?;
    Ok(scene)
}

/// A `put` that reads what it is fed. Dropped, it is killed.
struct Put(Child);

impl Drop for Put {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

/// A thousand lines a second, in twenty portions; gives how many.
fn feed(mut input: ChildStdin, time: Duration) -> io::Result<u64> {
    let began = Instant::now();
    let mut lines = 0;
    while began.elapsed() < time {
        let due = began.elapsed().as_millis() as u64;
        let mut text = String::new();
        while lines < due {
            lines += 1;
            let _infallible = writeln!(text, "{{\"account\":\"a{}\"}}", lines * 7_919 % 1_000);
        }
        input.write_all(text.as_bytes())?;
        sleep(Duration::from_millis(50));
    }
    Ok(lines)
}

fn stop(mut run: Running) -> io::Result<Ended> {
    run.signal("TERM")?;
    fine(run.wait_for(PATIENCE)?)
}

fn fine(ended: Ended) -> io::Result<Ended> {
    match ended.code {
        Some(0) => Ok(ended),
        _ => Err(io::Error::other(format!("{ended:#?}"))),
    }
}

/// Of a report.
fn consumed(ended: &Ended) -> io::Result<Units> {
    Units::of(&ended.json()?["store"])
}

/// Records of an app that are not settled yet.
fn lag(scene: &Scene) -> io::Result<u64> {
    let status = fine(scene.run(&["status", "--json"])?)?.json()?;
    let partitions = status["partitions"].as_array().into_iter().flatten();
    let lags: Vec<u64> = partitions.filter_map(|p| p["lag"].as_u64()).collect();
    Ok(if lags.is_empty() {
        u64::MAX
    } else {
        lags.iter().sum()
    })
}
