//! HTTP endpoints as handlers: each run is a POST, CloudEvents 1.0, signed where a secret is set.
//!
//! One record comes in binary mode: the payload is the body, and `ce-id` (the same at every try),
//! `ce-source` (`{source}/{partition}`), `ce-time`, `ce-partitionkey` (or `ce-keybase64`),
//! `ce-position`, `ce-attempt`, `ce-generation` and `ce-headers` (the record's own headers as JSON) say
//! what it is. With `records_per_call` above 1 every call is `application/cloudevents-batch+json`, with
//! the same attributes, also when it holds one. `webhook-id` names the call: the record's id, for
//! several the first one's with `+n`.
//!
//! Any 2xx is done; a JSON body may say `{"done": k, "effects": […]}`, as in the worker protocol. 408,
//! 425 and other 5xx are a retry; a refused connection, 429, 502 and 503 blame the target; a lost
//! connection and 504 are retries of unknown end; anything else is a reject. Where a call had several
//! records nobody knows which of them failed, so they come one by one.
//!
//! The target is called directly: neither proxies of the environment nor redirects are followed. A
//! connection is kept open between calls, as many as calls are in flight at once.

use super::{Answer, Failure, Target, causes, excerpt};
use crate::record::Run;
use futures_util::{future::BoxFuture, future::poll_fn};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Response, StatusCode, Uri,
    body::{Bytes, Incoming},
    header::{CONTENT_TYPE, LOCATION},
};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioTimer},
};
use rustls::RootCertStore;
use std::{
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::time::{Instant, timeout};
use tower_service::Service as _;

mod answer;
mod connect;
mod request;
mod signature;
mod trace;

use answer::{classified, failed, read_answer, retry_after};
use connect::Connector;
pub use signature::{Secret, SecretError};

/// Most bytes of an answer that are read for its `done` and `effects`.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Most bytes of an answer that are read only to show it and to keep its connection.
const SHOWN_BYTES_MAX: usize = 64 * 1024;

/// How long such bytes are waited for.
const SHOWN_WAIT: Duration = Duration::from_secs(1);

/// Idle connections are closed before a server would (Node.js: 5 s, gunicorn: 2 s): one that is
/// closed just when a call is sent is a call of unknown end.
const IDLE_MAX: Duration = Duration::from_millis(1_500);

/// Longest wait for a connection; less when a try may take less.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// Whom to call, and how.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// `http://` or `https://`, host, port, path, query.
    pub url: String,
    /// Signs every call.
    pub secret: Option<Secret>,
    /// Most records of a call. With more than 1 every call is a batch.
    pub records_per_call: u32,
    /// One try, as the processor's: it drops what takes longer.
    pub timeout: Duration,
    /// How long after a try's deadline the target may still be running it, where the try's end is
    /// unknown; `None`: as long as `timeout`.
    pub settle: Option<Duration>,
    /// Most calls in flight: so many connections are kept.
    pub cap: u32,
}

/// An HTTP endpoint.
pub struct Http {
    target: Uri,
    /// Without query, which may hold a token.
    shown: String,
    batch: bool,
    secret: Option<Secret>,
    timeout: Duration,
    settle: Duration,
    connector: Connector,
    client: Client<Connector, Full<Bytes>>,
}

/// Why an endpoint cannot be called.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HttpError {
    /// The URL is none that can be called.
    #[error(
        "`handler.url` = `{url}`: {why}; expected `http://` or `https://`, host, port and path"
    )]
    Url {
        /// As configured.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// No certificate authority is known, so no TLS server can be trusted.
    #[error(
        "no trusted certificates were found for `{url}` ({why}): install the system's (`ca-certificates`), or name a file by `SSL_CERT_FILE`"
    )]
    NoRoots {
        /// As configured.
        url: String,
        /// What was met while looking.
        why: String,
    },
    /// The TLS library refuses its settings.
    #[error("TLS cannot be set up: {why}")]
    Tls {
        /// What it said.
        why: String,
    },
    /// Nobody answers there.
    #[error("`{url}` cannot be reached: {why}: start the target, or correct `handler.url`")]
    Unreachable {
        /// As configured, without query.
        url: String,
        /// The causes.
        why: String,
    },
}

impl Http {
    /// An endpoint; nothing is sent yet.
    ///
    /// # Errors
    /// When the URL cannot be called, or when no certificates are there for an `https` one.
    pub fn new(settings: HttpSettings) -> Result<Self, HttpError> {
        let target = parse_url(&settings.url)?;
        let roots = if target.scheme_str() == Some("https") {
            connect::native_roots().map_err(|why| HttpError::NoRoots {
                url: settings.url.clone(),
                why,
            })?
        } else {
            RootCertStore::empty()
        };
        Self::with_roots(target, settings, roots)
    }

    fn with_roots(
        target: Uri,
        settings: HttpSettings,
        roots: RootCertStore,
    ) -> Result<Self, HttpError> {
        let connect_max = CONNECT_MAX.min(settings.timeout / 2);
        let connector = Connector::new(roots, connect_max).map_err(|error| HttpError::Tls {
            why: error.to_string(),
        })?;
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(usize::try_from(settings.cap).unwrap_or(usize::MAX))
            .build(connector.clone());
        Ok(Self {
            shown: format!(
                "{}://{}{}",
                target.scheme_str().unwrap_or_default(),
                target
                    .authority()
                    .map_or("", |authority| authority.as_str()),
                target.path()
            ),
            target,
            batch: settings.records_per_call > 1,
            secret: settings.secret,
            timeout: settings.timeout,
            settle: settings.settle.unwrap_or(settings.timeout),
            connector,
            client,
        })
    }

    /// Connects, with the TLS handshake, and sends nothing.
    ///
    /// # Errors
    /// When the target cannot be reached, with the causes.
    pub async fn probe(&self) -> Result<(), HttpError> {
        let mut connector = self.connector.clone();
        let connected = match poll_fn(|context| connector.poll_ready(context)).await {
            Ok(()) => connector.call(self.target.clone()).await,
            Err(error) => Err(error),
        };
        connected.map(drop).map_err(|error| HttpError::Unreachable {
            url: self.shown.clone(),
            why: causes(&*error),
        })
    }

    async fn call(&self, run: &Run) -> Answer {
        let deadline = Instant::now() + self.timeout;
        let records = run.records().len();
        let now = SystemTime::now();
        let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        // A run is a batch also where the settings promised none: an event shows one record.
        let batch = self.batch || records > 1;
        let request = request::build(run, &self.target, batch, self.secret.as_ref(), seconds);
        let request = match request {
            Ok(request) => request,
            Err(error) => return failed(records, Failure::reject(error)),
        };
        match self.client.request(request).await {
            Ok(response) if response.status().is_success() => {
                self.done(response, records, deadline).await
            }
            Ok(response) => self.refused(response, records, deadline).await,
            Err(error) => {
                let unsent = error.is_connect() || is_canceled(&error);
                let text = format!("`{}`: {}", self.shown, causes(&error));
                if unsent {
                    // It never saw the record.
                    return failed(records, Failure::target(text));
                }
                failed(records, self.unknown_end(Failure::retry(text), deadline))
            }
        }
    }

    /// 2xx: all is done, unless a JSON body says otherwise.
    async fn done(
        &self,
        response: Response<Incoming>,
        records: usize,
        deadline: Instant,
    ) -> Answer {
        let status = response.status();
        let header = response.headers().get(CONTENT_TYPE);
        let kind = header.and_then(|kind| kind.to_str().ok());
        if !kind.is_some_and(request::is_json) {
            // Read, so that the connection can be used again.
            start_of(response.into_body()).await;
            return Answer::all(records);
        }
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
        let answer = match body.collect().await {
            Ok(body) => read_answer(&body.to_bytes(), records),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                Err(format!("its body is longer than {ANSWER_BYTES_MAX} bytes"))
            }
            Err(error) => {
                let text = format!(
                    "`{}`: HTTP {status}, but its body did not come whole: {}",
                    self.shown,
                    causes(&*error)
                );
                return failed(records, self.unknown_end(Failure::retry(text), deadline));
            }
        };
        answer.unwrap_or_else(|why| {
            let text = format!("`{}`: HTTP {status}, but {why}", self.shown);
            failed(records, Failure::retry(text))
        })
    }

    async fn refused(
        &self,
        response: Response<Incoming>,
        records: usize,
        deadline: Instant,
    ) -> Answer {
        let (head, body) = response.into_parts();
        let mut text = format!("`{}`: HTTP {}", self.shown, head.status);
        if head.status.is_redirection() {
            let location = head.headers.get(LOCATION);
            if let Some(location) = location {
                text += &format!(" to `{}`", excerpt(location.as_bytes(), 500));
            }
            text += ", and redirects are not followed: set `handler.url` to the final address";
        }
        let start = start_of(body).await;
        if !start.trim_ascii().is_empty() {
            text += &format!(": `{}`", excerpt(start.trim_ascii(), 200));
        }
        let mut failure = classified(head.status, text);
        failure.after = retry_after(&head.headers, SystemTime::now());
        if head.status == StatusCode::GATEWAY_TIMEOUT {
            failure = self.unknown_end(failure, deadline);
        }
        failed(records, failure)
    }

    /// What is known of such a try: it is over `settle` after its deadline.
    fn unknown_end(&self, failure: Failure, deadline: Instant) -> Failure {
        failure.unknown_end(deadline.saturating_duration_since(Instant::now()) + self.settle)
    }
}

fn parse_url(url: &str) -> Result<Uri, HttpError> {
    let error = |why: String| HttpError::Url {
        url: url.to_owned(),
        why,
    };
    let target: Uri = url
        .parse()
        .map_err(|e| error(format!("it is no URL ({e})")))?;
    match target.scheme_str() {
        Some("http" | "https") => {}
        Some(other) => return Err(error(format!("`{other}` is not supported"))),
        None => return Err(error("it has no scheme".to_owned())),
    }
    let authority = target
        .authority()
        .map_or("", |authority| authority.as_str());
    if target.host().is_none_or(str::is_empty) {
        return Err(error("it has no host".to_owned()));
    }
    if authority.contains('@') {
        let why = "a user name and password in it are not supported, sign by `handler.secret`";
        return Err(HttpError::Url {
            // Without what may be a password.
            url: authority.rsplit('@').next().unwrap_or_default().to_owned(),
            why: why.to_owned(),
        });
    }
    Ok(target)
}

/// What comes of a body soon, at most [`SHOWN_BYTES_MAX`] and one frame.
async fn start_of(mut body: Incoming) -> Vec<u8> {
    let mut start = Vec::new();
    // What is missing is missed by nobody.
    let _ = timeout(SHOWN_WAIT, async {
        while start.len() < SHOWN_BYTES_MAX
            && let Some(Ok(frame)) = body.frame().await
        {
            start.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        }
    })
    .await;
    start
}

/// Whether the request was given up before any of it was sent.
fn is_canceled(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(|error| {
        error
            .downcast_ref::<hyper::Error>()
            .is_some_and(hyper::Error::is_canceled)
    })
}

impl Target for Http {
    fn try_run(self: Arc<Self>, run: Run) -> BoxFuture<'static, Answer> {
        Box::pin(async move { self.call(&run).await })
    }

    // A server does not notice that its client has gone, and goes on.
    fn settle(&self, timeout: Duration) -> Duration {
        timeout
    }

    fn children(&self) -> Vec<u32> {
        Vec::new()
    }

    fn share(&self, _descriptors: Vec<OwnedFd>) {}
}

#[cfg(test)]
mod tests;
