//! The handler: an HTTP endpoint that answers as it is told, and writes down every call.

use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::json;
use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    future::pending,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::{self, Runtime},
    task::JoinSet,
    time::sleep,
};

/// What the endpoint says to one call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Say {
    /// 200.
    Done,
    /// 200, and what the record adds to the values: 1 to `applied` under its text, to `sums` under its key.
    Effect,
    /// This status: 400 is a reject, 500 a retry, 503 blames the endpoint.
    Status(u16),
    /// This status after this time.
    StatusAfter(u16, Duration),
    /// 200 after this time.
    After(Duration),
    /// Effects after this time.
    EffectAfter(Duration),
    /// No answer while its caller waits.
    Never,
}

/// A call, as the endpoint saw it.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// The record's id.
    pub(crate) id: String,
    pub(crate) key: String,
    pub(crate) text: String,
    pub(crate) attempt: u32,
    /// `x-amzn-trace-id`.
    pub(crate) trace: String,
    pub(crate) began: Instant,
    /// When it was answered, or its caller was gone; `None`: under way.
    pub(crate) ended: Option<Instant>,
    /// It was answered, and by 200.
    pub(crate) is_done: bool,
}

/// A running endpoint. Dropped, it ends.
pub(crate) struct Target {
    address: SocketAddr,
    state: Arc<State>,
    runtime: Option<Runtime>,
}

#[derive(Default)]
struct State(Mutex<Books>);

#[derive(Default)]
struct Books {
    next: HashMap<String, VecDeque<Say>>,
    always: HashMap<String, Say>,
    otherwise: Option<Say>,
    calls: Vec<Call>,
}

impl Target {
    pub(crate) fn start() -> io::Result<Self> {
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("target")
            .enable_all()
            .build()?;
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0)))?;
        let address = listener.local_addr()?;
        let state = Arc::<State>::default();
        runtime.spawn(serve(listener, Arc::clone(&state)));
        Ok(Self {
            address,
            state,
            runtime: Some(runtime),
        })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/records", self.address)
    }

    /// What is said to the next calls of the record with this text, one after the other.
    pub(crate) fn says(&self, text: &str, says: &[Say]) {
        let mut books = self.state.books();
        let next = books.next.entry(text.to_owned()).or_default();
        next.extend(says);
    }

    /// What is said to every call of the record with this text, from now on.
    pub(crate) fn always(&self, text: &str, say: Say) {
        self.state.books().always.insert(text.to_owned(), say);
    }

    /// What is said to all that nothing else was said about: 200 without this.
    pub(crate) fn otherwise(&self, say: Say) {
        self.state.books().otherwise = Some(say);
    }

    /// All calls so far, in the order of their begin.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.state.books().calls.clone()
    }

    /// The texts of all calls so far, in the order of their begin.
    pub(crate) fn texts(&self) -> Vec<String> {
        let books = self.state.books();
        books.calls.iter().map(|call| call.text.clone()).collect()
    }

    /// The same of the records with this key.
    pub(crate) fn texts_of(&self, key: &str) -> Vec<String> {
        let books = self.state.books();
        let calls = books.calls.iter().filter(|call| call.key == key);
        calls.map(|call| call.text.clone()).collect()
    }

    /// How often the record with this text was called.
    pub(crate) fn count(&self, text: &str) -> usize {
        let books = self.state.books();
        books.calls.iter().filter(|call| call.text == text).count()
    }
}

impl State {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a call down; gives its place and what is said to it.
    fn begin(&self, call: Call) -> (usize, Say) {
        let mut books = self.books();
        let text = call.text.as_str();
        let next = books.next.get_mut(text).and_then(VecDeque::pop_front);
        let always = books.always.get(text).copied();
        let say = next.or(always).or(books.otherwise).unwrap_or(Say::Done);
        books.calls.push(call);
        (books.calls.len() - 1, say)
    }

    fn end(&self, place: usize, is_done: bool) {
        if let Some(call) = self.books().calls.get_mut(place) {
            call.ended = Some(Instant::now());
            call.is_done = is_done;
        }
    }
}

/// A call that is under way. Dropped without an answer, its caller is gone.
struct UnderWay<'a> {
    state: &'a State,
    place: usize,
    is_done: bool,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.state.end(self.place, self.is_done);
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            connections.spawn(connection(stream, Arc::clone(&state)));
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(stream: TcpStream, state: Arc<State>) {
    let _latency_only = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let state = Arc::clone(&state);
        async move { Ok::<_, Infallible>(answer(&state, request).await) }
    });
    // A caller that is gone ends it, with the call that is under way.
    let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let _ended = served.await;
}

async fn answer(state: &State, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let began = Instant::now();
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else {
        return status(400);
    };
    let header = |name: &str| {
        let value = head.headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let body = body.to_bytes();
    let (key, text) = item(&body).unwrap_or_else(|| {
        let text = String::from_utf8_lossy(&body).into_owned();
        (header("ce-partitionkey"), text)
    });
    let (place, say) = state.begin(Call {
        id: header("ce-id"),
        key: key.clone(),
        text: text.clone(),
        attempt: header("ce-attempt").parse().unwrap_or_default(),
        trace: header("x-amzn-trace-id"),
        began,
        ended: None,
        is_done: false,
    });
    let mut under_way = UnderWay {
        state,
        place,
        is_done: false,
    };
    let response = match say {
        Say::Done => status(200),
        Say::Effect => effects(&key, &text),
        Say::Status(code) => status(code),
        Say::StatusAfter(code, time) => {
            sleep(time).await;
            status(code)
        }
        Say::After(time) => {
            sleep(time).await;
            status(200)
        }
        Say::EffectAfter(time) => {
            sleep(time).await;
            effects(&key, &text)
        }
        Say::Never => pending().await,
    };
    under_way.is_done = response.status() == StatusCode::OK;
    response
}

/// Key and text of an item, where the payload is a record of a table's stream.
fn item(body: &[u8]) -> Option<(String, String)> {
    let record: serde_json::Value = serde_json::from_slice(body).ok()?;
    let of = |path: &str| Some(record.pointer(path)?.as_str()?.to_owned());
    Some((of("/dynamodb/Keys/id/S")?, of("/dynamodb/NewImage/text/S")?))
}

fn status(code: u16) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or_default();
    response
}

fn effects(key: &str, text: &str) -> Response<Full<Bytes>> {
    let add = |table: &str, key: &str| json!({"add": {"table": table, "key": key, "by": 1}});
    let body = json!({"effects": [add("applied", text), add("sums", key)]});
    let mut response = Response::new(Full::from(body.to_string()));
    let json = hyper::header::HeaderValue::from_static("application/json");
    response.headers_mut().insert("content-type", json);
    response
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
