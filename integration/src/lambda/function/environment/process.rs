//! The process of an environment: one group, which is stopped, continued and killed as a whole.

use super::{super::reaper::Reaper, Plan};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::{
    env,
    fs::File,
    io,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

pub(super) struct Process {
    state: Mutex<State>,
    reaper: Arc<Reaper>,
}

#[derive(Default)]
struct State {
    child: Option<Child>,
    /// Once it is known, the id may be another's.
    status: Option<ExitStatus>,
}

impl Process {
    /// Before it is started.
    pub(super) fn none(reaper: Arc<Reaper>) -> Self {
        Self {
            state: Mutex::default(),
            reaper,
        }
    }

    /// With nothing of the tests' environment but the path, in which what it starts is found.
    pub(super) fn start(
        &self,
        plan: &Plan<'_>,
        endpoint: &str,
        folder: &Path,
        words: &Path,
    ) -> io::Result<()> {
        let words = File::create(words)?;
        let mut command = Command::new(plan.path);
        command
            .args(plan.args)
            .env_clear()
            .env("PATH", env::var_os("PATH").unwrap_or_default())
            .env("AWS_LAMBDA_RUNTIME_API", endpoint)
            .envs(plan.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(words.try_clone()?)
            .stderr(words)
            .process_group(0);
        let mut state = self.state();
        let child = command
            .spawn()
            .map_err(|e| io::Error::other(format!("cannot start {}: {e}", plan.path.display())))?;
        let group = Pid::from_child(&child);
        state.child = Some(child);
        self.reaper.begun(group)
    }

    pub(super) fn id(&self) -> Option<u32> {
        self.living(&mut self.state()).map(Child::id)
    }

    pub(super) fn has_ended(&self) -> bool {
        let mut state = self.state();
        self.living(&mut state).is_none() && state.status.is_some()
    }

    /// How it ended.
    pub(super) fn status(&self) -> Option<ExitStatus> {
        self.state().status
    }

    pub(super) fn kill(&self) {
        let mut state = self.state();
        if self.living(&mut state).is_some() {
            self.end(&mut state);
        }
    }

    pub(super) fn freeze(&self) -> io::Result<()> {
        self.signal(Signal::STOP)
    }

    pub(super) fn thaw(&self) -> io::Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        let mut state = self.state();
        match self.living(&mut state) {
            Some(child) => Ok(kill_process_group(Pid::from_child(child), signal)?),
            None => Err(io::Error::other("the process has ended")),
        }
    }

    /// The process, unless it has ended.
    fn living<'a>(&self, state: &'a mut State) -> Option<&'a Child> {
        let child = state.child.as_ref().filter(|_| state.status.is_none())?;
        let looks = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        if let Ok(None) = waitid(WaitId::Pid(Pid::from_child(child)), looks) {
            return state.child.as_ref();
        }
        // What it started must not outlive it.
        self.end(state);
        None
    }

    /// Kills its group and collects its status: until then, the group's number is nobody else's.
    fn end(&self, state: &mut State) {
        if let Some(child) = &mut state.child {
            let group = Pid::from_child(child);
            let _gone = kill_process_group(group, Signal::KILL);
            state.status = child.wait().ok();
            let _gone = self.reaper.ended(group);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
