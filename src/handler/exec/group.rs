//! A worker's process group and the thread that keeps it: forks it, waits for its end, ends what it
//! left behind.

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process_group, test_kill_process_group,
    waitid, waitpgid,
};
use std::{
    collections::BTreeMap,
    fmt, io,
    os::unix::process::ExitStatusExt as _,
    process::{ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};
use tokio::sync::{oneshot, watch};

/// A process group that a worker leads.
pub(super) struct Group {
    pid: Pid,
    reaped: Mutex<bool>,
}

impl Group {
    /// The worker's process id, which is its group's.
    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Ends every process of the group at once. Their end is told by [`Started::exit`].
    pub(super) fn kill(&self) {
        let reaped = lock(&self.reaped);
        // Once it is reaped, the number may belong to somebody else.
        if !*reaped {
            // It fails when nobody is left, which is what is wanted.
            let _ = kill_process_group(self.pid, Signal::KILL);
        }
    }
}

/// How a worker ended. It is told when nothing of its group runs any more.
#[derive(Clone, Debug)]
pub(super) struct Exit(Option<ExitStatus>);

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(status) = self.0 else {
            return f.write_str("ended");
        };
        match (status.code(), status.signal()) {
            (Some(code), _) => write!(f, "exited with status {code}"),
            (None, Some(signal)) => write!(f, "was killed by signal {signal}"),
            (None, None) => write!(f, "ended ({status})"),
        }
    }
}

/// A worker's end, `None` until then.
pub(super) type ExitReceiver = watch::Receiver<Option<Exit>>;

/// A worker that runs.
pub(super) struct Started {
    pub(super) stdin: ChildStdin,
    pub(super) stdout: ChildStdout,
    pub(super) stderr: ChildStderr,
    pub(super) group: Arc<Group>,
    pub(super) exit: ExitReceiver,
}

/// The groups that are not gone yet.
#[derive(Default)]
pub(super) struct Registry {
    groups: Mutex<BTreeMap<u32, Arc<Group>>>,
    fewer: Condvar,
}

impl Registry {
    pub(super) fn pids(&self) -> Vec<u32> {
        lock(&self.groups).keys().copied().collect()
    }

    pub(super) fn kill_all(&self) {
        for group in lock(&self.groups).values() {
            group.kill();
        }
    }

    /// Blocks until all are gone, at most so long.
    pub(super) fn wait_until_empty(&self, at_most: Duration) {
        // Whether it was enough is seen in the registry.
        let _ = self
            .fewer
            .wait_timeout_while(lock(&self.groups), at_most, |groups| !groups.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
    }

    fn add(&self, group: &Arc<Group>) {
        lock(&self.groups).insert(group.pid(), Arc::clone(group));
    }

    fn remove(&self, group: &Group) {
        lock(&self.groups).remove(&group.pid());
        self.fewer.notify_all();
    }
}

/// Starts a worker. `command` must make it the leader of a group and pipe its three streams.
///
/// Each worker has a thread of its own, which forks it and waits for it. Linux sends a parent-death
/// signal when the *thread* that forked ends, so a worker that was forked by a thread of the runtime
/// would be killed whenever the runtime retires that thread. And only somebody who waits without
/// reaping can end the rest of the group while its number is still certain to be ours.
pub(super) async fn start(command: Command, registry: &Arc<Registry>) -> io::Result<Started> {
    let (tell, told) = oneshot::channel();
    let registry = Arc::clone(registry);
    thread::Builder::new()
        .name("worker".to_owned())
        .stack_size(256 * 1024)
        .spawn(move || keep(command, &registry, tell))?;
    told.await
        .unwrap_or_else(|_| Err(io::Error::other("the thread that starts workers ended")))
}

fn keep(mut command: Command, registry: &Registry, tell: oneshot::Sender<io::Result<Started>>) {
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            // If nobody waits any more, nobody needs a worker either.
            let _ = tell.send(Err(error));
            return;
        }
    };
    let group = Arc::new(Group {
        pid: Pid::from_child(&child),
        reaped: Mutex::new(false),
    });
    registry.add(&group);
    let (gone, exit) = watch::channel(None);
    let started = match (child.stdin.take(), child.stdout.take(), child.stderr.take()) {
        (Some(stdin), Some(stdout), Some(stderr)) => Ok(Started {
            stdin,
            stdout,
            stderr,
            group: Arc::clone(&group),
            exit,
        }),
        _ => Err(io::Error::other("the worker's streams are not piped")),
    };
    let of_use = started.is_ok();
    if tell.send(started).is_err() || !of_use {
        group.kill();
    }
    while waitid(
        WaitId::Pid(group.pid),
        WaitIdOptions::EXITED | WaitIdOptions::NOWAIT,
    )
    .is_err_and(|error| error == rustix::io::Errno::INTR)
    {}
    let status = {
        let mut reaped = lock(&group.reaped);
        // What the worker started and left behind must not go on with its call.
        let _ = kill_process_group(group.pid, Signal::KILL);
        *reaped = true;
        child.wait()
    };
    wait_until_gone(group.pid);
    registry.remove(&group);
    gone.send_replace(Some(Exit(status.ok())));
}

/// Waits, for ever if need be, until no process of the group runs: as long as one does, another try
/// of the same lane must not start.
fn wait_until_gone(group: Pid) {
    const PAUSE_MAX: Duration = Duration::from_millis(50);
    const WARN_AFTER: Duration = Duration::from_secs(5);
    let since = Instant::now();
    let mut pause = Duration::from_micros(100);
    let mut warned = false;
    loop {
        // Orphans become our children where this process is the first of its container.
        while let Ok(Some(_)) = waitpgid(group, WaitOptions::NOHANG) {}
        if test_kill_process_group(group).is_err_and(|e| e == rustix::io::Errno::SRCH) {
            return;
        }
        // Where the first process does not reap, orphans stay as zombies for ever.
        if pause >= Duration::from_millis(1) && !has_living_member(group) {
            return;
        }
        if !warned && since.elapsed() > WARN_AFTER {
            tracing::warn!(
                group = group.as_raw_nonzero(),
                "a killed worker does not end"
            );
            warned = true;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Whether a process of the group is more than a zombie. True where that cannot be told.
fn has_living_member(group: Pid) -> bool {
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return true;
    };
    let group = group.as_raw_nonzero().get().to_string();
    let mut readable = false;
    for process in processes.flatten() {
        let Ok(stat) = std::fs::read(process.path().join("stat")) else {
            continue;
        };
        // `pid (name) state parent group …`, where the name may hold anything.
        let stat = String::from_utf8_lossy(&stat);
        let Some((_, fields)) = stat.rsplit_once(')') else {
            continue;
        };
        readable = true;
        let mut fields = fields.split_ascii_whitespace();
        let (state, of) = (fields.next(), fields.nth(1));
        if of == Some(&group) && !matches!(state, Some("Z" | "X")) {
            return true;
        }
    }
    !readable
}

/// No holder of these locks can leave half a change behind.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt as _;

    #[test]
    fn a_group_is_gone_when_its_last_process_is() {
        let mut leader = Command::new("sh")
            .args(["-c", "sleep 0.3 & exit"])
            .process_group(0)
            .spawn()
            .expect("started");
        let group = Pid::from_child(&leader);
        let since = Instant::now();
        leader.wait().expect("reaped");
        assert!(has_living_member(group));
        wait_until_gone(group);
        assert!(!has_living_member(group));
        assert!(since.elapsed() >= Duration::from_millis(250));
    }
}
