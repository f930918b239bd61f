//! Who ends environments when the test that started them was killed: a frozen one cannot notice.

use rustix::process::Pid;
use std::{
    io::{self, Write as _},
    os::unix::process::CommandExt as _,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Mutex, PoisonError},
};

/// Keeps the process groups that it is told of, and kills them when its input ends: the system closes that
/// pipe when a process dies, however it dies.
const SCRIPT: &str = r#"
groups=" "
while read -r what group; do
    case $what in
        begun) groups="$groups$group " ;;
        ended) groups="${groups%% $group *} ${groups#* $group }" ;;
    esac
done
for group in $groups; do
    kill -s KILL -- "-$group" 2>/dev/null
done
"#;

pub(super) struct Reaper {
    child: Child,
    /// Taken when it is to end.
    words: Mutex<Option<ChildStdin>>,
}

impl Reaper {
    pub(super) fn start() -> io::Result<Self> {
        let mut command = Command::new("sh");
        // In a group of its own: an interrupt at the terminal ends the test and not this.
        command.args(["-c", SCRIPT]).process_group(0);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let words = Mutex::new(child.stdin.take());
        Ok(Self { child, words })
    }

    /// A group that is to end with us.
    pub(super) fn begun(&self, group: Pid) -> io::Result<()> {
        self.tell("begun", group)
    }

    /// A group that has ended: its number may soon be another's.
    pub(super) fn ended(&self, group: Pid) -> io::Result<()> {
        self.tell("ended", group)
    }

    fn tell(&self, what: &str, group: Pid) -> io::Result<()> {
        let mut words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        match words.as_mut() {
            Some(words) => writeln!(words, "{what} {}", group.as_raw_nonzero()),
            None => Ok(()),
        }
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        let words = self.words.get_mut().unwrap_or_else(PoisonError::into_inner);
        drop(words.take());
        let _status = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scene::eventually;
    use rustix::process::{Signal, kill_process_group};

    fn sleeper() -> Child {
        let mut command = Command::new("sleep");
        command.arg("600").process_group(0).spawn().unwrap()
    }

    #[test]
    fn what_has_not_ended_ends_with_it_also_frozen() {
        let reaper = Reaper::start().unwrap();
        let mut sleepers = [sleeper(), sleeper(), sleeper(), sleeper()];
        for sleeper in &sleepers {
            reaper.begun(Pid::from_child(sleeper)).unwrap();
        }
        let pids = sleepers.each_ref().map(Pid::from_child);
        kill_process_group(pids[1], Signal::STOP).unwrap();
        for let_go in [pids[0], pids[2]] {
            reaper.ended(let_go).unwrap();
        }
        drop(reaper);
        for ended in [1, 3] {
            eventually("its end", || Ok(sleepers[ended].try_wait()?.is_some())).unwrap();
        }
        for let_go in [0, 2] {
            assert!(sleepers[let_go].try_wait().unwrap().is_none());
            sleepers[let_go].kill().unwrap();
            sleepers[let_go].wait().unwrap();
        }
    }
}
