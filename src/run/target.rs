//! The handler that a configuration names.

use crate::{
    config::{Config, HandlerKind, SecretError},
    handler::Target,
};
use std::sync::Arc;
#[cfg(feature = "http")]
use {
    crate::config::{SecretRef, duration_text},
    crate::handler::http::{self, Http, HttpError, HttpSettings},
};
#[cfg(feature = "exec")]
use {
    crate::handler::exec::{Exec, ExecSettings, ProbeError},
    std::path::Path,
};

/// Why a handler cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// None is configured.
    #[error(
        "`handler.type` is missing: name `exec` or `http`, as `lanekeeper init` shows; an application with its handler in Rust has this command line in its own program"
    )]
    Missing,
    /// Besides the handler that the program has in itself.
    #[error(
        "`handler.type` names a handler, and this program has its own, in Rust: remove `handler.type`"
    )]
    Two,
    /// The program's own.
    #[error("the program's handler could not be started: {0}")]
    Start(String),
    /// This build has no such handler.
    #[error("`handler.type`: this build has no `{0}`")]
    NotBuilt(&'static str),
    /// Its program cannot be started.
    #[cfg(feature = "exec")]
    #[error(transparent)]
    Exec(#[from] ProbeError),
    /// Its URL cannot be called.
    #[cfg(feature = "http")]
    #[error(transparent)]
    Http(#[from] HttpError),
    /// Its host does not answer.
    #[error(
        "`handler.url`: no connection within {0} (`failure.timeout`): start the target, or correct the URL"
    )]
    Silent(String),
    /// Its secret is not there.
    #[error(transparent)]
    SecretMissing(#[from] SecretError),
    /// Its secret is none.
    #[cfg(feature = "http")]
    #[error(transparent)]
    Secret(#[from] http::SecretError),
}

/// The handler that a configuration names, ready to be called: its program was seen to be there, or
/// its address answered.
///
/// # Errors
/// When there is none, or it cannot be used or reached.
pub async fn target(config: &Config) -> Result<Arc<dyn Target>, TargetError> {
    match &config.handler.kind {
        None => Err(TargetError::Missing),
        #[cfg(feature = "exec")]
        Some(HandlerKind::Exec { command, directory }) => {
            let exec = exec(config, command, directory);
            exec.probe()?;
            Ok(Arc::new(exec))
        }
        #[cfg(not(feature = "exec"))]
        Some(HandlerKind::Exec { .. }) => Err(TargetError::NotBuilt("exec")),
        #[cfg(feature = "http")]
        Some(HandlerKind::Http { url, secret }) => {
            let http = http(config, url, secret.as_ref())?;
            let timeout = config.failure.timeout;
            match tokio::time::timeout(timeout, http.probe()).await {
                Ok(answered) => answered?,
                Err(_) => return Err(TargetError::Silent(duration_text(timeout))),
            }
            Ok(Arc::new(http))
        }
        #[cfg(not(feature = "http"))]
        Some(HandlerKind::Http { .. }) => Err(TargetError::NotBuilt("http")),
    }
}

/// As [`target`], but nothing was asked of its program or address: what is out of reach is to blame for
/// the tries that it fails.
///
/// # Errors
/// When there is none, or its settings are wrong.
#[cfg(feature = "lambda")]
pub(crate) fn unseen(config: &Config) -> Result<Arc<dyn Target>, TargetError> {
    match &config.handler.kind {
        None => Err(TargetError::Missing),
        #[cfg(feature = "exec")]
        Some(HandlerKind::Exec { command, directory }) => {
            Ok(Arc::new(exec(config, command, directory)))
        }
        #[cfg(not(feature = "exec"))]
        Some(HandlerKind::Exec { .. }) => Err(TargetError::NotBuilt("exec")),
        #[cfg(feature = "http")]
        Some(HandlerKind::Http { url, secret }) => {
            Ok(Arc::new(http(config, url, secret.as_ref())?))
        }
        #[cfg(not(feature = "http"))]
        Some(HandlerKind::Http { .. }) => Err(TargetError::NotBuilt("http")),
    }
}

/// Child processes, none of them started yet.
#[cfg(feature = "exec")]
fn exec(config: &Config, command: &[String], directory: &Path) -> Exec {
    Exec::new(ExecSettings {
        command: command.to_vec(),
        dir: Some(directory.to_owned()).filter(|dir| !dir.as_os_str().is_empty()),
        env: Vec::new(),
        records_per_call: config.handler.records_per_call,
        timeout: config.failure.timeout,
    })
}

#[cfg(feature = "http")]
fn http(config: &Config, url: &str, secret: Option<&SecretRef>) -> Result<Http, TargetError> {
    let secret = match secret {
        None => None,
        Some(secret) => Some(http::Secret::new(secret.read()?.reveal())?),
    };
    Ok(Http::new(HttpSettings {
        url: url.to_owned(),
        secret,
        records_per_call: config.handler.records_per_call,
        timeout: config.failure.timeout,
        settle: config.failure.settle,
        cap: config.cap,
    })?)
}
