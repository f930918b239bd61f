//! Signals that a worker is told to end by.

use std::{
    io,
    sync::OnceLock,
    time::{Duration, Instant},
};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// A signal that comes so soon after another is an echo of it.
const ECHO: Duration = Duration::from_millis(200);

/// SIGINT, SIGTERM, and SIGHUP unless this process was started to ignore it (`nohup`).
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Option<Signal>,
    told: Option<Instant>,
}

impl Signals {
    /// From here on they do not end the process. Within a runtime.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: if ignores_hang_up() {
                None
            } else {
                Some(signal(SignalKind::hangup())?)
            },
            told: None,
        })
    }

    /// The next one that is another's doing: what comes right behind one is the same, told twice (as
    /// `timeout` does, to the process and to its group).
    pub(crate) async fn next(&mut self) {
        loop {
            self.any().await;
            let now = Instant::now();
            if self.told.is_none_or(|told| now > told + ECHO) {
                self.told = Some(now);
                return;
            }
        }
    }

    async fn any(&mut self) {
        let hang_up = async {
            match &mut self.hang_up {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            }
        };
        let more = tokio::select! {
            more = self.interrupt.recv() => more,
            more = self.terminate.recv() => more,
            more = hang_up => more,
        };
        if more.is_none() {
            // The runtime hands out no more signals: nobody will come.
            std::future::pending().await
        }
    }
}

/// Whether SIGHUP is ignored now. Once it is waited for it is not, so the first answer stands.
fn ignores_hang_up() -> bool {
    static IGNORES: OnceLock<bool> = OnceLock::new();
    *IGNORES.get_or_init(|| {
        let mut found = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: without a new action the call writes the old one to `found` and changes nothing; all
        // zeroes are a value of that type too, in case that it fails.
        #[expect(unsafe_code, reason = "no safe interface asks for a signal's action")]
        let found = unsafe {
            libc::sigaction(libc::SIGHUP, std::ptr::null(), found.as_mut_ptr());
            found.assume_init()
        };
        found.sa_sigaction == libc::SIG_IGN
    })
}

/// Ends with the first SIGINT, SIGTERM or SIGHUP. Where signals cannot be waited for, they end the process
/// as ever.
pub async fn terminated() {
    match Signals::new() {
        Ok(mut signals) => signals.next().await,
        Err(error) => {
            tracing::warn!("signals end this process at once: {error}");
            std::future::pending().await
        }
    }
}
