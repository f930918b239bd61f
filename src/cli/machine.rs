//! What the machine tells a command: its name, its processes, signals without a runtime.

use crate::run::Signals;
use std::{io, thread};

/// The machine's name.
pub(crate) fn host() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}

/// Whether there is a process of this id on this machine. A process that ended and was not waited
/// for yet is none.
pub(crate) fn is_running(pid: u32) -> bool {
    if cfg!(target_os = "linux") {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
        // The state follows the command in parentheses, which may hold anything.
        let state = stat
            .ok()
            .and_then(|stat| stat.rsplit(')').next()?.trim_start().chars().next());
        return state.is_some_and(|state| !matches!(state, 'Z' | 'X'));
    }
    let pid = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok())
}

/// Calls `act` with 1, 2, … as SIGINT or SIGTERM come, on a thread of its own: for commands that are
/// busy without a runtime.
pub(crate) fn on_signals(mut act: impl FnMut(u32) + Send + 'static) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let mut signals = {
        let _inside = runtime.enter();
        Signals::new()?
    };
    let wait = move || {
        runtime.block_on(async {
            for count in 1.. {
                signals.next().await;
                act(count);
            }
        });
    };
    thread::Builder::new()
        .name("lanekeeper-signals".to_owned())
        .spawn(wait)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_told_from_none() {
        assert!(is_running(std::process::id()));
        assert!(!is_running(u32::MAX));
        assert!(!host().is_empty());
    }
}
