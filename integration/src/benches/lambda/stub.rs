//! A table that holds nothing and takes everything, after a time that is set: what remains of an
//! invocation beside its round trips can be seen by it.

use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use std::{convert::Infallible, io, net::SocketAddr, thread, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Builder,
    sync::oneshot,
};

pub(super) struct Stub {
    address: SocketAddr,
    /// Dropped, it ends.
    _runs: oneshot::Sender<()>,
}

impl Stub {
    /// Each answer takes so long.
    pub(super) fn start(delay: Duration) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (runs, ends) = oneshot::channel();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = serve(listener, delay) => {}
                    _ = ends => {}
                }
            });
        });
        Ok(Self {
            address,
            _runs: runs,
        })
    }

    /// The environment with which a program talks to it.
    pub(super) fn environment(&self) -> Vec<(&'static str, String)> {
        vec![(
            "AWS_ENDPOINT_URL_DYNAMODB",
            format!("http://{}", self.address),
        )]
    }
}

async fn serve(listener: std::net::TcpListener, delay: Duration) {
    let Ok(listener) = TcpListener::from_std(listener) else {
        return;
    };
    // A client that is gone before it is accepted is no fault of the listener.
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(connection(stream, delay));
        }
    }
}

async fn connection(stream: TcpStream, delay: Duration) {
    let _latency_only = stream.set_nodelay(true);
    let service =
        service_fn(move |request| async move { Ok::<_, Infallible>(answer(request, delay).await) });
    // Ends with an error where the process is killed.
    let _ended = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(request: Request<Incoming>, delay: Duration) -> Response<Full<Bytes>> {
    let operation = request.headers().get("x-amz-target").cloned();
    let is_query = operation.is_some_and(|name| name.as_bytes().ends_with(b".Query"));
    let _whole = request.into_body().collect().await;
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    let body = match is_query {
        true => r#"{"Items":[],"Count":0,"ScannedCount":0}"#,
        false => "{}",
    };
    let mut response = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
    let json = hyper::header::HeaderValue::from_static("application/x-amz-json-1.0");
    let headers = response.headers_mut();
    headers.insert(hyper::header::CONTENT_TYPE, json);
    response
}
