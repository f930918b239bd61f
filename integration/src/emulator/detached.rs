//! `cargo integration up` and `down`: an emulator that outlives the command that started it.

use super::{
    Dynamodb, ENDPOINT, other,
    package::{self, Package},
    probe,
    server::{self, Life},
    variable,
};
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use serde::{Deserialize, Serialize};
use std::{
    fmt::Write as _,
    fs, io,
    path::PathBuf,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

/// How long an emulator that is told to end may take.
const END_LIMIT: Duration = Duration::from_secs(10);

/// What `up` leaves for the tests and for `down`.
#[derive(Serialize, Deserialize)]
struct State {
    format: u32,
    endpoint: String,
    pid: i32,
    /// A process id is given anew; the moment at which its process began is not.
    began: String,
    folder: PathBuf,
}

/// Starts an emulator that runs until [`down`]; says what it did.
///
/// # Errors
/// When it cannot be fetched or started.
pub fn up() -> io::Result<String> {
    if let Some(endpoint) = variable(ENDPOINT) {
        return Ok(format!(
            "nothing started: tests use the DynamoDB that `{ENDPOINT}` names, {endpoint}"
        ));
    }
    let _held_until_here_ends = package::lock("dynamodb")?;
    if let Some(state) = running()? {
        return Ok(format!(
            "nothing started: an emulator runs already\n{}",
            directions(&state)
        ));
    }
    let package = Package::find_or_fetch()?;
    let folder = package::cache()?.join("dynamodb");
    fs::create_dir_all(&folder)?;
    let (child, endpoint) = server::start(&package, &folder, Life::Alone)?;
    let pid = Pid::from_child(&child);
    let state = State {
        format: 1,
        endpoint,
        pid: pid.as_raw_nonzero().get(),
        began: began(pid).unwrap_or_default(),
        folder,
    };
    if let Err(error) = state.write() {
        // Nobody would find it again.
        let _gone = kill_process_group(pid, Signal::KILL);
        return Err(error);
    }
    Ok(format!(
        "started an emulator of DynamoDB, which tests will use until `cargo integration down`\n{}",
        directions(&state)
    ))
}

/// Ends the emulator that [`up`] has started, and no other; says what it did.
///
/// # Errors
/// When it does not end.
pub fn down() -> io::Result<String> {
    let _held_until_here_ends = package::lock("dynamodb")?;
    let Some(state) = read()? else {
        return Ok("nothing to end: `cargo integration up` has started nothing".to_owned());
    };
    let said = match state.process() {
        None => "nothing to end: the emulator that `cargo integration up` started is gone".into(),
        Some(pid) => {
            kill_process_group(pid, Signal::TERM)?;
            let told = Instant::now();
            // Of a group, since the starter that would collect its status is gone.
            while test_kill_process_group(pid).is_ok() && state.process().is_some() {
                if told.elapsed() > END_LIMIT {
                    kill_process_group(pid, Signal::KILL)?;
                    break;
                }
                sleep(Duration::from_millis(20));
            }
            format!(
                "ended the emulator of DynamoDB at {} (process {})",
                state.endpoint, state.pid
            )
        }
    };
    fs::remove_file(path()?)?;
    Ok(said)
}

/// Where the emulator listens that `up` has started, if it is alive.
pub(super) fn endpoint() -> io::Result<Option<String>> {
    Ok(running()?.map(|state| state.endpoint))
}

fn running() -> io::Result<Option<State>> {
    let Some(state) = read()?.filter(|state| state.process().is_some()) else {
        return Ok(None);
    };
    match probe::status(&state.endpoint) {
        Ok(200) => Ok(Some(state)),
        answer => Err(other(format!(
            "the emulator that `cargo integration up` started runs (process {}) but does not answer at \
             {} ({answer:?}): `cargo integration down` ends it",
            state.pid, state.endpoint
        ))),
    }
}

fn read() -> io::Result<Option<State>> {
    let path = path()?;
    match fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text).map(Some).map_err(|e| {
            other(format!(
                "{} is not what `cargo integration up` writes ({e}): remove it, and end what it \
                 names, if that still runs",
                path.display()
            ))
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn path() -> io::Result<PathBuf> {
    Ok(package::cache()?.join("dynamodb.json"))
}

impl State {
    /// At once, since tests may be reading.
    fn write(&self) -> io::Result<()> {
        let path = path()?;
        let part = path.with_extension("part");
        fs::write(&part, serde_json::to_string(self)?)?;
        fs::rename(part, path)
    }

    /// Its process, while it is the one that was started.
    fn process(&self) -> Option<Pid> {
        Pid::from_raw(self.pid).filter(|&pid| began(pid).is_some_and(|began| began == self.began))
    }
}

/// When a process began, in words that are compared and not read; `None`: there is no such process.
fn began(pid: Pid) -> Option<String> {
    let id = pid.as_raw_nonzero().to_string();
    if let Ok(stat) = fs::read_to_string(format!("/proc/{id}/stat")) {
        // The name before it may hold anything, brackets and spaces too. State is the first field after
        // it, the start the twentieth.
        let (_, fields) = stat.rsplit_once(") ")?;
        let mut fields = fields.split(' ');
        let is_dead = fields.next().is_none_or(|state| matches!(state, "Z" | "X"));
        return fields.nth(18).filter(|_| !is_dead).map(str::to_owned);
    }
    let ps = Command::new("ps")
        .args(["-o", "lstart=", "-p", &id])
        .output();
    let told = ps.ok()?;
    let began = String::from_utf8_lossy(&told.stdout).trim().to_owned();
    (!began.is_empty()).then_some(began)
}

/// How a person uses it.
fn directions(state: &State) -> String {
    let dynamodb = Dynamodb {
        endpoint: state.endpoint.clone(),
        name: String::new(),
        server: None,
    };
    let mut text = format!(
        "  endpoint  {}\n  log       {}\n  for other programs:\n",
        state.endpoint,
        server::log_in(&state.folder).display()
    );
    for (name, value) in dynamodb.environment() {
        let _infallible = writeln!(text, "    export {name}={value}");
    }
    text.truncate(text.trim_end().len());
    text
}
