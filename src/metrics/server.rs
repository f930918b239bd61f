//! The pages, on a thread and a runtime of their own: a loop that hangs does not make them hang.

use super::{families::Families, health};
use crate::processor::Watch;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::{
    encoding::prometheus_text::{self, CONTENT_TYPE as METRICS_TYPE},
    registry::Registry,
};
use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};
use tokio::{
    net,
    sync::oneshot,
    task::AbortHandle,
    time::{sleep, timeout},
};

/// Most connections at once. The oldest makes way for one more, so that clients that are slow or say
/// nothing keep nobody out.
const CONNECTIONS_MAX: usize = 32;
/// How long a client may take for its request's head.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// How long a connection may last: it serves one request.
const CONNECTION_WITHIN: Duration = Duration::from_secs(10);
/// Wait after a connection could not be accepted, as without file descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
const TEXT: &str = "text/plain; charset=utf-8";

/// Serves the pages until it is dropped.
pub struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens at the address, and shows there what `watch` shows.
    ///
    /// # Errors
    /// When nothing can listen there, or there is no thread for it.
    pub fn start(listen: SocketAddr, watch: Arc<Watch>) -> io::Result<Self> {
        let listener = TcpListener::bind(listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (stop, stopped) = oneshot::channel();
        let pages = Arc::new(Pages::new(watch));
        let serve = move || {
            runtime.block_on(async {
                tokio::select! { biased;
                    _ = stopped => {}
                    () = accept(listener, pages) => {}
                }
            });
        };
        let thread = thread::Builder::new().name("lanekeeper-metrics".to_owned());
        Ok(Self {
            address,
            stop: Some(stop),
            thread: Some(thread.spawn(serve)?),
        })
    }

    /// Where it listens: with port 0 in the configuration, the port that it was given.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Dropping it stops the thread, which waits for nothing.
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of `metrics.listen` panicked: please report it");
        }
    }
}

async fn accept(listener: TcpListener, pages: Arc<Pages>) {
    let listener = match net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!("`metrics.listen` cannot be served: {error}");
            return;
        }
    };
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!("`metrics.listen`: a connection was not accepted: {error}");
                sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        open.retain(|connection| !connection.is_finished());
        if open.len() >= CONNECTIONS_MAX
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
        }
        let connection = tokio::spawn(serve(stream, Arc::clone(&pages)));
        open.push_back(connection.abort_handle());
    }
}

async fn serve(stream: net::TcpStream, pages: Arc<Pages>) {
    let answer = move |request: Request<Incoming>| {
        let answer = pages.answer(request.method(), request.uri().path());
        async move { Ok::<_, Infallible>(answer) }
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service_fn(answer));
    // A client that went away, or was too slow, is its own affair.
    let _ = timeout(CONNECTION_WITHIN, connection).await;
}

/// What there is to see.
struct Pages {
    watch: Arc<Watch>,
    registry: Registry,
}

impl Pages {
    fn new(watch: Arc<Watch>) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Families(Arc::clone(&watch))));
        Self { watch, registry }
    }

    fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        let page: fn(&Self) -> (StatusCode, &'static str, String) = match path {
            "/metrics" => Self::metrics,
            "/healthz" => Self::health,
            "/readyz" => Self::ready,
            _ => {
                let known = "not found: there are /metrics, /healthz and /readyz\n";
                return respond((StatusCode::NOT_FOUND, TEXT, known.to_owned()));
            }
        };
        if *method == Method::GET || *method == Method::HEAD {
            return respond(page(self));
        }
        let refused = "method not allowed: GET and HEAD are\n".to_owned();
        let mut answer = respond((StatusCode::METHOD_NOT_ALLOWED, TEXT, refused));
        let allowed = HeaderValue::from_static("GET, HEAD");
        answer.headers_mut().insert(ALLOW, allowed);
        answer
    }

    fn metrics(&self) -> (StatusCode, &'static str, String) {
        let mut text = String::new();
        match prometheus_text::encode(&mut text, &self.registry) {
            Ok(()) => (StatusCode::OK, METRICS_TYPE, text),
            Err(error) => {
                let text = format!("the metrics cannot be written: {error}\n");
                (StatusCode::INTERNAL_SERVER_ERROR, TEXT, text)
            }
        }
    }

    fn health(&self) -> (StatusCode, &'static str, String) {
        let watch = &self.watch;
        page(health::health(
            &watch.vitals(),
            watch.silent_for(),
            watch.now(),
        ))
    }

    fn ready(&self) -> (StatusCode, &'static str, String) {
        page(health::ready(&self.watch.vitals(), self.watch.silent_for()))
    }
}

fn page(verdict: health::Verdict) -> (StatusCode, &'static str, String) {
    let status = if verdict.good {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, TEXT, verdict.text)
}

fn respond((status, content, text): (StatusCode, &'static str, String)) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests;
