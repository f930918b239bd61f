//! The workers: idle ones are kept, a busy one that is given up is killed and seen off.

use super::{
    child::{Child, gone},
    group::{ExitReceiver, Registry, lock},
};
use std::{
    io,
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

/// How long workers may take to end once their input is closed.
const CLOSE_GRACE: Duration = Duration::from_millis(500);

/// How long killed workers are waited for at the end.
const KILL_GRACE: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Pool {
    idle: Mutex<Vec<Child>>,
    /// Killed in the middle of a call that nobody waits for any more.
    dying: Mutex<Vec<ExitReceiver>>,
    registry: Arc<Registry>,
}

impl Pool {
    /// Waits until every worker that was given up is gone: its call may be of the lane that the next
    /// call is of.
    pub(super) async fn settled(&self) {
        loop {
            let Some(mut exit) = lock(&self.dying).last().cloned() else {
                return;
            };
            gone(&mut exit).await;
            lock(&self.dying).retain(|exit| exit.has_changed().is_ok() && exit.borrow().is_none());
        }
    }

    /// An idle worker that can take a call.
    pub(super) fn take(&self) -> Option<Busy<'_>> {
        loop {
            // The latest, so that a small load stays on few workers.
            let mut child = lock(&self.idle).pop()?;
            if child.is_sound() {
                return Some(self.busy(child));
            }
            child.group().kill();
        }
    }

    /// A new worker.
    pub(super) async fn start(&self, command: Command) -> io::Result<Busy<'_>> {
        Ok(self.busy(Child::start(command, &self.registry).await?))
    }

    fn busy(&self, child: Child) -> Busy<'_> {
        Busy {
            pool: self,
            child: Some(child),
        }
    }

    /// Process groups of the workers that are not gone.
    pub(super) fn pids(&self) -> Vec<u32> {
        self.registry.pids()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        lock(&self.idle).clear();
        self.registry.wait_until_empty(CLOSE_GRACE);
        self.registry.kill_all();
        self.registry.wait_until_empty(KILL_GRACE);
    }
}

/// A worker with a call. Dropped, it is killed with its group.
pub(super) struct Busy<'a> {
    pool: &'a Pool,
    /// `None` once it is given back or gone.
    child: Option<Child>,
}

impl Busy<'_> {
    /// The worker; `None` never comes before it is given back or ended.
    pub(super) fn child(&mut self) -> Option<&mut Child> {
        self.child.as_mut()
    }

    /// Its call is answered.
    pub(super) fn give_back(mut self) {
        if let Some(child) = self.child.take() {
            lock(&self.pool.idle).push(child);
        }
    }

    /// Kills the group and waits until it is gone.
    pub(super) async fn end(mut self) {
        if let Some(child) = &self.child {
            child.group().kill();
            gone(&mut child.exit().clone()).await;
        }
        self.child = None;
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            child.group().kill();
            lock(&self.pool.dying).push(child.exit().clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{os::unix::process::CommandExt as _, process::Stdio};

    #[tokio::test]
    async fn a_worker_that_is_given_up_is_seen_off() {
        let pool = Pool::default();
        let mut command = Command::new("sleep");
        command.arg("60").process_group(0);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let busy = pool.start(command).await.expect("started");
        assert_eq!(pool.pids().len(), 1);
        drop(busy);
        assert_eq!(lock(&pool.dying).len(), 1);
        pool.settled().await;
        assert!(lock(&pool.dying).is_empty());
        assert_eq!(pool.pids(), [0_u32; 0]);
    }
}
