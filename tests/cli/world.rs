//! A directory of its own with a configuration, a worker and the binary to run in it.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::{
    fs,
    io::{Read, Write},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Nothing in these tests takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Two calls at once, quick commits, one topic of one partition.
const CONFIG: &str = r#"
app = "shop"
cap = 2
drain = "5s"

[sources.orders]
type = "local"
topic = "orders"

[failure]
attempts = 2
backoff_min = "1ms"
backoff_max = "10ms"
timeout = "4s"

[store]
flush_interval = "20ms"

[handler]
type = "exec"
command = ["sh", "worker.sh"]
"#;

/// Notes each value in `seen`. What a value says decides the answer; `mended` changes them all to
/// done, `broken` those of what is fragile to a rejection.
const WORKER: &str = r#"
while read -r line; do
  id=$(printf '%s' "$line" | sed 's/.*"id":"\([^"]*\)".*/\1/')
  printf '%s\n' "$line" | sed 's/.*"position":"\([0-9]*\)".*/\1/' >> seen
  answer='"status":"done"'
  if [ ! -e mended ]; then
    case "$line" in
      *reject*) answer='"status":"reject","error":"no such account\u001b[2J"' ;;
      *retry*) answer='"status":"retry","error":"try later"' ;;
      *fragile*) if [ -e broken ]; then answer='"status":"reject","error":"broken"'; fi ;;
      *hang*) sleep 600 ;;
      *wait*) while [ ! -e go ]; do sleep 0.02; done ;;
      *add*) answer='"status":"done","effects":[{"add":{"table":"totals","key":"all","by":5}}]' ;;
    esac
  fi
  printf '{"id":"%s",%s}\n' "$id" "$answer"
done
"#;

pub(crate) struct World {
    dir: TempDir,
}

/// How a command ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl World {
    /// With configuration and worker.
    pub(crate) fn new() -> Self {
        let world = Self::empty();
        world.write("lanekeeper.toml", CONFIG);
        world.write("worker.sh", WORKER);
        world
    }

    pub(crate) fn empty() -> Self {
        let dir = tempfile::tempdir().expect("directory");
        Self { dir }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path(name), text).expect("write");
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// The binary, without anything of the environment that configures it.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lanekeeper"));
        command
            .args(args)
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .env("USER", "operator")
            // Messages name it.
            .env("PATH", "/usr/bin:/bin")
            // Help is wrapped to it.
            .env_remove("COLUMNS");
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("LANEKEEPER_") {
                command.env_remove(name);
            }
        }
        command
    }

    pub(crate) fn lanekeeper(&self, args: &[&str]) -> Ended {
        self.end(self.command(args))
    }

    pub(crate) fn with_input(&self, args: &[&str], input: &[u8]) -> Ended {
        let mut command = self.command(args);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("spawn");
        let mut stdin = child.stdin.take().expect("stdin");
        // It may well end before it has read all.
        let _ = stdin.write_all(input);
        drop(stdin);
        self.ended(child)
    }

    pub(crate) fn end(&self, mut command: Command) -> Ended {
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("spawn");
        self.ended(child)
    }

    fn ended(&self, child: Child) -> Ended {
        let output = child.wait_with_output().expect("wait");
        Ended {
            code: output.status.code(),
            stdout: self.plain(&output.stdout),
            stderr: self.plain(&output.stderr),
        }
    }

    /// Text without the directory's name.
    fn plain(&self, bytes: &[u8]) -> String {
        let text = String::from_utf8(bytes.to_vec()).expect("UTF-8");
        text.replace(&format!("{}/", self.dir.path().display()), "")
    }

    /// Puts lines into topic `orders`, all in one partition, keyed by their field `k`.
    pub(crate) fn put(&self, lines: &str) {
        let args = [
            "put",
            "--topic",
            "orders",
            "--key",
            "k",
            "--partitions",
            "1",
        ];
        let ended = self.with_input(&args, lines.as_bytes());
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }

    /// As [`World::put`], spread over two partitions: keys `a`, `b`, `c` in the first, `d` in the second.
    pub(crate) fn put_in_two(&self, lines: &str) {
        let args = [
            "put",
            "--topic",
            "orders",
            "--key",
            "k",
            "--partitions",
            "2",
        ];
        let ended = self.with_input(&args, lines.as_bytes());
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }

    /// All rows of the file's tables, but for those whose table `leave_out` names, as text.
    pub(crate) fn rows(&self, leave_out: impl Fn(&str, &str) -> bool) -> Vec<String> {
        let file = rusqlite::Connection::open(self.path("lanekeeper.db")).expect("open");
        let list = "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name";
        let mut tables = file.prepare(list).expect("tables");
        let tables: Vec<String> = tables
            .query_map([], |row| row.get(0))
            .expect("tables")
            .collect::<Result<_, _>>()
            .expect("tables");
        let mut rows = Vec::new();
        for table in tables {
            let mut select = file
                .prepare(&format!("SELECT * FROM {table}"))
                .expect("a table");
            let columns = select.column_count();
            let mut found = select.query([]).expect("rows");
            while let Some(row) = found.next().expect("a row") {
                let values = (0..columns).map(|n| {
                    let value: rusqlite::types::Value = row.get(n).expect("value");
                    format!("{value:?}")
                });
                let row = values.collect::<Vec<_>>().join(", ");
                if !leave_out(&table, &row) {
                    rows.push(format!("{table}: {row}"));
                }
            }
        }
        rows.sort();
        rows
    }

    /// Starts a command that goes on.
    pub(crate) fn start(&self, args: &[&str]) -> Running {
        self.start_as(self.command(args))
    }

    /// As [`World::start`], by another program.
    pub(crate) fn start_as(&self, mut command: Command) -> Running {
        let log = fs::File::create(self.path("running.log")).expect("log");
        let child = command
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("spawn");
        Running(child)
    }

    /// Waits until something holds.
    pub(crate) fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !holds() {
            assert!(
                Instant::now() < end,
                "{what} did not come; {}",
                self.read("running.log")
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Positions that the worker was called with, in order.
    pub(crate) fn seen(&self) -> Vec<u64> {
        let text = self.read("seen");
        text.lines()
            .map(|line| line.parse().expect("position"))
            .collect()
    }
}

impl Ended {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}\n{}", self.stdout, self.stderr))
    }
}

/// A process of ours; it does not outlive the test.
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("pid"), signal).expect("signal");
    }

    pub(crate) fn exit_code(mut self) -> Option<i32> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Some(status) = self.0.try_wait().expect("wait") {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it does not end");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A document with what differs from run to run replaced by what it is.
pub(crate) fn steady(mut document: Value) -> Value {
    steady_in(&mut document);
    document
}

fn steady_in(value: &mut Value) {
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                let number = value.is_number();
                match key.as_str() {
                    "worker" if value.is_string() => *value = "(uuid)".into(),
                    "host" => *value = "(host)".into(),
                    "by" => *value = "(user@host)".into(),
                    "pid" | "commit" | "elapsed_ms" | "age_ms" | "records_per_second"
                    | "timestamp"
                        if number =>
                    {
                        *value = "(number)".into();
                    }
                    "incarnation" if value.is_string() => *value = "(log id)".into(),
                    // A position may be called `at` as well.
                    "since" | "at" | "started"
                        if { value.as_str() }.is_some_and(|v| v.contains('T')) =>
                    {
                        *value = "(time)".into();
                    }
                    _ => steady_in(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(steady_in),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

pub(crate) fn pretty(document: Value) -> String {
    serde_json::to_string_pretty(&steady(document)).expect("JSON")
}

/// Reads what a child has written so far, for a closed pipe.
pub(crate) fn read_some(child: &mut Child, bytes: usize) {
    let mut some = vec![0; bytes];
    let stdout = child.stdout.as_mut().expect("stdout");
    stdout.read_exact(&mut some).expect("read");
}
