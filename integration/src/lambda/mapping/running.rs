//! A mapping at work, as a test sees it.

use super::drive::{Drive, Plan};
use crate::{
    lambda::{clock::Clock, function::Function, journal::Journal},
    scene::{PATIENCE, eventually},
};
use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

/// A mapping at work. Dropped, it hands out nothing any more; what is under way ends by itself.
pub struct Running {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What a mapping and its test share.
#[derive(Default)]
pub(super) struct Shared {
    journal: Mutex<Journal>,
    control: Mutex<Control>,
}

#[derive(Default)]
struct Control {
    is_stopped: bool,
    /// How often it has found nothing to do.
    rests: u64,
    /// How it ended.
    ended: Option<Result<(), String>>,
}

impl Running {
    pub(super) fn start(
        plan: Box<dyn Plan>,
        function: &Function,
        clock: &Clock,
        deliveries_max: Option<usize>,
    ) -> Self {
        let shared = Arc::new(Shared::default());
        let drive = Drive {
            plan,
            function: function.clone(),
            clock: clock.clone(),
            deliveries_max,
            shared: Arc::clone(&shared),
        };
        Self {
            shared,
            thread: Some(thread::spawn(move || drive.run())),
        }
    }

    /// What it has done so far.
    pub fn journal(&self) -> Journal {
        self.shared.journal().clone()
    }

    /// Waits until its journal is so.
    ///
    /// # Errors
    /// When it does not become so in time, or the mapping cannot go on; both say what was done.
    pub fn until(&self, what: &str, holds: impl Fn(&Journal) -> bool) -> io::Result<()> {
        let waited = eventually(what, || {
            if holds(&self.shared.journal()) {
                return Ok(true);
            }
            self.shared.refuse_if_broken().map(|()| false)
        });
        waited.map_err(|error| self.told(&error))
    }

    /// Waits until there is nothing to do: all that was there is done or given up, or the mapping holds
    /// still.
    ///
    /// # Errors
    /// As [`Running::until`].
    pub fn until_idle(&self) -> io::Result<()> {
        // The second rest from now on began after all that was there before.
        let wanted = self.shared.control().rests + 2;
        let waited = eventually("a mapping with nothing to do", || {
            self.shared.refuse_if_broken()?;
            Ok(self.shared.control().rests >= wanted)
        });
        waited.map_err(|error| self.told(&error))
    }

    /// Hands out nothing more, waits for what is under way, and gives what it has done.
    ///
    /// # Errors
    /// When the mapping could not go on, or does not end in time.
    pub fn stop(mut self) -> io::Result<Journal> {
        self.shared.control().is_stopped = true;
        eventually("the end of a mapping", || {
            Ok(self.shared.control().ended.is_some())
        })?;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            return Err(io::Error::other("the mapping has panicked"));
        }
        self.shared.refuse_if_broken()?;
        Ok(self.journal())
    }

    /// With what was done so far: a test that fails must be read.
    fn told(&self, error: &io::Error) -> io::Error {
        let journal = self.shared.journal();
        io::Error::other(format!(
            "{error} (patience: {PATIENCE:?}); of {} deliveries, the last: {:#?}",
            journal.deliveries.len(),
            journal.deliveries.last()
        ))
    }
}

impl Shared {
    pub(super) fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.control().is_stopped
    }

    /// It has found nothing to do.
    pub(super) fn rests(&self) {
        self.control().rests += 1;
    }

    pub(super) fn has_ended(&self, result: io::Result<()>) {
        self.control().ended = Some(result.map_err(|error| error.to_string()));
    }

    fn refuse_if_broken(&self) -> io::Result<()> {
        match &self.control().ended {
            Some(Err(error)) => Err(io::Error::other(format!("the mapping broke: {error}"))),
            Some(Ok(())) | None => Ok(()),
        }
    }

    fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.control().is_stopped = true;
    }
}
