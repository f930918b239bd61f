//! The Lambda Runtime API of one environment, version 2018-06-01.

use super::{
    Outcome,
    environment::{Offer, Refusal, Room},
};
use crate::lambda::event::millis;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::{convert::Infallible, sync::Arc};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

const PREFIX: &str = "/2018-06-01/runtime/";

/// The most bytes of an answer: 6 MB and 100 bytes.
pub(super) const RESPONSE_BYTES_MAX: usize = 6 * 1024 * 1024 + 100;

/// More than anybody answers in a test.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

const ERROR_TYPE: &str = "lambda-runtime-function-error-type";

type Answer = Response<Full<Bytes>>;

/// Takes connections until it is aborted.
pub(super) async fn serve(listener: std::net::TcpListener, room: Arc<Room>) {
    let Ok(listener) = TcpListener::from_std(listener) else {
        return;
    };
    let mut connections = JoinSet::new();
    loop {
        // A client that is gone before it is accepted is no fault of the listener.
        if let Ok((stream, _)) = listener.accept().await {
            connections.spawn(connection(stream, Arc::clone(&room)));
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(stream: TcpStream, room: Arc<Room>) {
    let _latency_only = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let room = Arc::clone(&room);
        async move { Ok::<_, Infallible>(answer(&room, request).await) }
    });
    // Ends with an error where the process is killed.
    let _ended = http1::Builder::new()
        // As Lambda writes them.
        .title_case_headers(true)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(room: &Room, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, BODY_BYTES_MAX).collect().await else {
        return refused(StatusCode::BAD_REQUEST, "InvalidRequest", "no whole body");
    };
    let body = body.to_bytes();
    let path = head.uri.path().strip_prefix(PREFIX).unwrap_or_default();
    let path: Vec<&str> = path.split('/').collect();
    match (&head.method, path.as_slice()) {
        (&Method::GET, ["invocation", "next"]) => match room.next().await {
            Ok(offer) => invocation(room, offer),
            Err(refusal) => refuse(refusal),
        },
        (&Method::POST, ["invocation", id, "response"]) if body.len() > RESPONSE_BYTES_MAX => {
            let told = format!(
                "Response payload size exceeded maximum allowed payload size ({RESPONSE_BYTES_MAX} bytes)."
            );
            let outcome = Outcome::failed("Function.ResponseSizeTooLarge", told.clone());
            match room.answer(id, outcome) {
                Ok(()) => refused(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "RequestEntityTooLarge",
                    &told,
                ),
                Err(refusal) => refuse(refusal),
            }
        }
        (&Method::POST, ["invocation", id, "response"]) => {
            accepted(room.answer(id, Outcome::Answered(body.to_vec())))
        }
        (&Method::POST, ["invocation", id, "error"]) => {
            accepted(room.answer(id, failure(&head.headers, &body)))
        }
        (&Method::POST, ["init", "error"]) => {
            accepted(room.refuse_start(failure(&head.headers, &body)))
        }
        _ => refused(StatusCode::NOT_FOUND, "NotFound", head.uri.path()),
    }
}

/// What a process says of an error, in its body or in a header.
fn failure(headers: &HeaderMap, body: &Bytes) -> Outcome {
    let told: Value = serde_json::from_slice(body).unwrap_or_default();
    let header = headers.get(ERROR_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = told["errorType"].as_str().or(header).unwrap_or("Unknown");
    let message = match told["errorMessage"].as_str() {
        Some(message) => message.to_owned(),
        None => String::from_utf8_lossy(body).into_owned(),
    };
    Outcome::failed(kind, message)
}

fn invocation(room: &Room, offer: Offer) -> Answer {
    let mut response = Response::new(Full::new(offer.event));
    let trace = format!(
        "Root=1-{:08x}-{:024x};Parent={:016x};Sampled=0",
        millis(offer.deadline) / 1000,
        fastrand::u128(..1 << 96),
        fastrand::u64(..)
    );
    let headers = [
        ("lambda-runtime-aws-request-id", offer.id),
        (
            "lambda-runtime-deadline-ms",
            millis(offer.deadline).to_string(),
        ),
        ("lambda-runtime-invoked-function-arn", room.arn().to_owned()),
        ("lambda-runtime-trace-id", trace),
        ("content-type", "application/json".to_owned()),
    ];
    for (name, value) in headers {
        // All of them are plain text.
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

fn accepted(taken: Result<(), Refusal>) -> Answer {
    match taken {
        Ok(()) => told(StatusCode::ACCEPTED, &json!({"status": "OK"})),
        Err(refusal) => refuse(refusal),
    }
}

fn refuse(refusal: Refusal) -> Answer {
    match refusal {
        Refusal::InvalidStateTransition => refused(
            StatusCode::FORBIDDEN,
            "InvalidStateTransition",
            "the runtime is not in a state for that",
        ),
        Refusal::InvalidRequestId => refused(
            StatusCode::BAD_REQUEST,
            "InvalidRequestID",
            "Invalid request ID",
        ),
    }
}

fn refused(status: StatusCode, kind: &str, message: &str) -> Answer {
    told(status, &json!({"errorType": kind, "errorMessage": message}))
}

fn told(status: StatusCode, body: &Value) -> Answer {
    let mut response = Response::new(Full::new(body.to_string().into()));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}
