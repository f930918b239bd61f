//! What the servers of tests have in common: they end with their starter, and leave their logs behind
//! when a test fails.

use rustix::process::{Pid, Signal, kill_process_group};
use std::{
    env, io,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
};
use tempfile::TempDir;

/// Whether a server ends with the process that started it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Life {
    WithStarter,
    Alone,
}

/// Starts a server in a process group of its own. One that is to end with its starter ends when its
/// standard input does: the system closes that pipe when a process dies, however it dies.
pub(crate) fn spawn(command: &mut Command, life: Life) -> io::Result<Child> {
    let stdin = match life {
        Life::WithStarter => Stdio::piped(),
        Life::Alone => Stdio::null(),
    };
    command.stdin(stdin).process_group(0).spawn()
}

/// Kills it with its group: nothing that it holds is worth a farewell.
pub(crate) fn end(child: &mut Child) {
    // Once its status is collected, its id may be another's.
    if let Ok(None) = child.try_wait() {
        let _gone = kill_process_group(Pid::from_child(child), Signal::KILL);
    }
    let _status = child.wait();
}

/// A temporary folder of a server. Dropped, it is removed, unless somebody wants to read in it.
pub(crate) struct Folder {
    folder: TempDir,
    is_kept: AtomicBool,
}

impl Folder {
    pub(crate) fn new(prefix: &str) -> io::Result<Self> {
        Ok(Self {
            folder: tempfile::Builder::new().prefix(prefix).tempdir()?,
            is_kept: AtomicBool::new(false),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// What lies in it is to be looked at.
    pub(crate) fn keep(&self) {
        self.is_kept.store(true, Ordering::Relaxed);
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.is_kept.load(Ordering::Relaxed) {
            self.folder.disable_cleanup(true);
        }
    }
}

/// A setting of the tests. An empty one is none.
pub(crate) fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scene::eventually;

    #[test]
    fn a_folder_goes_unless_it_is_kept() {
        let (gone, kept) = (Folder::new("gone-").unwrap(), Folder::new("kept-").unwrap());
        let (gone_path, kept_path) = (gone.path().to_owned(), kept.path().to_owned());
        kept.keep();
        drop((gone, kept));
        assert!(!gone_path.exists());
        assert!(kept_path.exists());
        std::fs::remove_dir(kept_path).unwrap();
    }

    #[test]
    fn the_end_of_a_server_is_that_of_what_it_started() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 60 & echo $!; wait"]);
        let mut child = spawn(command.stdout(Stdio::piped()), Life::WithStarter).unwrap();
        let mut line = String::new();
        let output = child.stdout.take().unwrap();
        io::BufRead::read_line(&mut io::BufReader::new(output), &mut line).unwrap();
        let pid = Pid::from_raw(line.trim().parse().unwrap()).unwrap();
        end(&mut child);
        eventually("the end of its child", || {
            Ok(crate::detached::began(pid).is_none())
        })
        .unwrap();
    }
}
