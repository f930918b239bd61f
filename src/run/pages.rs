//! Where a worker shows what it does, for as long as it lives.

#[cfg(feature = "metrics")]
use super::MachineClock;
use super::{RunError, RunOptions};
use crate::{config::Config, processor::Processor};
#[cfg(feature = "metrics")]
use crate::{metrics::Server, processor::Watch};
#[cfg(feature = "metrics")]
use std::sync::Arc;

/// `metrics.listen`, where that is set and built.
#[derive(Default)]
pub(super) struct Pages {
    #[cfg(feature = "metrics")]
    _server: Option<Server>,
}

impl Pages {
    /// Listens, and has the loop show what it does. A recovery shows nothing: it ends by itself, and a
    /// worker beside it may have the address.
    #[cfg(feature = "metrics")]
    pub(super) fn open(
        config: &Config,
        options: &RunOptions,
        processor: Processor,
    ) -> Result<(Self, Processor), RunError> {
        let (Some(listen), None) = (config.metrics, &options.recover) else {
            return Ok((Self::default(), processor));
        };
        let watch = Arc::new(Watch::new(Arc::new(MachineClock), config.cap));
        let server = Server::start(listen, Arc::clone(&watch))
            .map_err(|error| RunError::Listen { listen, error })?;
        let address = server.address();
        tracing::info!(%address, "serving /metrics, /healthz and /readyz");
        let pages = Self {
            _server: Some(server),
        };
        Ok((pages, processor.watched_by(watch)))
    }

    /// A checked configuration asks for none.
    #[cfg(not(feature = "metrics"))]
    pub(super) fn open(
        _: &Config,
        _: &RunOptions,
        processor: Processor,
    ) -> Result<(Self, Processor), RunError> {
        Ok((Self::default(), processor))
    }
}
