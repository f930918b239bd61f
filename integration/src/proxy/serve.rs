//! What happens to one request, from its arrival to its answer.

use super::{
    Bytes, State,
    answer::{self, Answer},
    faults::{Fault, Plan},
    ledger::{Entry, Kind},
    limits,
    ongoing::{InProgress, ItemId, Overlap},
    request::{Request, Shape},
    upstream::{Answered, TARGET},
};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    HeaderMap, Response,
    body::Incoming,
    header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, TRANSFER_ENCODING},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use std::{collections::HashMap, fmt, sync::Arc, time::Instant};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::sleep,
};

/// More than DynamoDB takes.
const BODY_BYTES_MAX: usize = 20 * 1024 * 1024;

/// The connection is closed without an answer.
#[derive(Debug)]
pub(super) struct Dropped;

type Served = Result<Response<Full<Bytes>>, Dropped>;

/// Takes connections until the runtime ends.
pub(super) async fn serve(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        // A client that is gone before it is accepted is no fault of the listener.
        if let Ok((stream, _)) = listener.accept().await {
            connections.spawn(connection(stream, Arc::clone(&state)));
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(stream: TcpStream, state: Arc<State>) {
    let _latency_only = stream.set_nodelay(true);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let state = Arc::clone(&state);
        async move {
            let (head, body) = request.into_parts();
            let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
            let body = body.map_err(|_| Dropped)?.to_bytes();
            // On its own: what is on its way arrives, also when its client has given up.
            let served = tokio::spawn(async move { state.serve(head.headers, body).await });
            served.await.map_err(|_| Dropped)?
        }
    });
    // Ends with an error where an answer was dropped, which is what was asked for.
    let _ended = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

impl State {
    async fn serve(&self, headers: HeaderMap, body: Bytes) -> Served {
        let target = headers.get(TARGET).and_then(|target| target.to_str().ok());
        let request = target.and_then(|target| Request::decode(target, &body));
        let Some(request) = request else {
            // Nothing that we know how to spoil.
            let answered = self.upstream.post(&headers, body).await;
            return answered.map_or(Err(Dropped), |answered| Ok(pass_on(answered)));
        };
        let number = self.arrived(&request);
        self.hold(number, &self.frozen, Kind::Frozen).await;
        let plan = self.plan(&request);
        if !plan.delay_request.is_zero() {
            self.note(number, Kind::RequestDelayed);
            sleep(plan.delay_request).await;
        }
        let served = match self.before(number, &request, plan, &headers).await {
            Ok(in_progress) => {
                sleep(plan.write_time).await;
                if in_progress.is_some() {
                    self.hold(number, &self.held, Kind::Held).await;
                }
                let answered = self.forward(number, &request, &headers, body).await;
                // The table is done with it; what follows is the way back.
                drop(in_progress);
                self.hold(number, &self.frozen, Kind::Frozen).await;
                self.afterwards(number, plan, answered)
            }
            Err(refused) => {
                self.hold(number, &self.frozen, Kind::Frozen).await;
                refused.map(respond)
            }
        };
        if !plan.delay_response.is_zero() {
            self.note(number, Kind::ResponseDelayed);
            sleep(plan.delay_response).await;
        }
        served
    }

    /// What keeps a request from being forwarded, in the order in which DynamoDB looks: the way there,
    /// permission, form, capacity, other requests.
    async fn before(
        &self,
        number: usize,
        request: &Request,
        plan: Plan,
        headers: &HeaderMap,
    ) -> Result<Option<InProgress>, Result<Answer, Dropped>> {
        let refuse = |kind, answer| {
            self.note(number, kind);
            Err(Ok(answer))
        };
        match plan.fault {
            Some(Fault::DropRequest) => {
                self.note(number, Kind::RequestDropped);
                return Err(Err(Dropped));
            }
            Some(Fault::Unavailable) => return refuse(Kind::Unavailable, answer::unavailable()),
            Some(Fault::InternalError) => {
                return refuse(Kind::InternalError, answer::internal_error());
            }
            _ => {}
        }
        if let Some(action) = self.denied(request) {
            return refuse(Kind::Denied, answer::denied(request, &action));
        }
        let items = self.items(request, headers).await;
        if let Some(broken) = limits::broken_by(request, &items) {
            return refuse(Kind::Invalid, answer::invalid(&broken));
        }
        match plan.fault {
            Some(Fault::Throttle) => {
                return refuse(Kind::Throttled, answer::throttled(request, plan.victim));
            }
            Some(Fault::ThrottleProvisioned) => {
                let answer = answer::throttled_as_provisioned(request, plan.victim);
                return refuse(Kind::Throttled, answer);
            }
            _ => {}
        }
        if !self.bears(request) {
            let answer = answer::throttled_by_limit(request, plan.victim);
            return refuse(Kind::LimitReached, answer);
        }
        let token = request.token();
        let begun = match request.shape() {
            Shape::Transaction => self.ongoing.transact(items, token).map(Some),
            Shape::Write | Shape::Batch => self.ongoing.write(items).map(Some),
            Shape::TransactionalRead => self.ongoing.read(&items).map(|()| None),
            Shape::Other => Ok(None),
        };
        match begun {
            Ok(in_progress) => Ok(in_progress),
            Err(Overlap::Token) => refuse(Kind::InProgress, answer::in_progress()),
            Err(Overlap::Items(items)) => refuse(
                Kind::Conflict,
                match request.shape() {
                    Shape::Transaction | Shape::TransactionalRead => {
                        answer::transaction_conflict(&items)
                    }
                    Shape::Batch => answer::unprocessed(request),
                    Shape::Write | Shape::Other => answer::write_conflict(),
                },
            ),
        }
    }

    async fn forward(
        &self,
        number: usize,
        request: &Request,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Answered, Dropped> {
        let touches = request.touches();
        let shape = request.shape();
        let units = touches
            .iter()
            .map(|touch| Request::write_units(touch, shape))
            .sum::<u64>();
        {
            let mut ledger = self.ledger();
            ledger.counts.forwarded += 1;
            ledger.counts.write_units += units;
        }
        let Ok(answered) = self.upstream.post(headers, body).await else {
            self.note(number, Kind::Unanswered);
            return Err(Dropped);
        };
        if request.operation == "DeleteTable" {
            self.upstream.forget(request.table());
        }
        if let Some(entry) = self.ledger().journal.get_mut(number) {
            entry.status = Some(answered.head.status.as_u16());
        }
        Ok(answered)
    }

    /// What happens to an answer on its way back.
    fn afterwards(&self, number: usize, plan: Plan, answered: Result<Answered, Dropped>) -> Served {
        let answered = answered?;
        match plan.fault {
            Some(Fault::DropResponse) => {
                self.note(number, Kind::ResponseDropped);
                Err(Dropped)
            }
            Some(Fault::InternalErrorAfterwards) => {
                self.note(number, Kind::InternalErrorAfterwards);
                Ok(respond(answer::internal_error()))
            }
            _ => Ok(pass_on(answered)),
        }
    }

    /// Counts a request and gives its number in the journal.
    fn arrived(&self, request: &Request) -> usize {
        let is_journal_kept = self.draws().faults.is_journal_kept;
        let mut ledger = self.ledger();
        let operation = request.operation.clone();
        *ledger.counts.requests.entry(operation).or_default() += 1;
        let permissions = request.permissions().into_iter().map(str::to_owned);
        ledger.counts.permissions.extend(permissions);
        if !is_journal_kept {
            return usize::MAX;
        }
        ledger.journal.push(Entry {
            operation: request.operation.clone(),
            body: request.body.clone(),
            faults: Vec::new(),
            status: None,
        });
        ledger.journal.len() - 1
    }

    fn note(&self, number: usize, kind: Kind) {
        let mut ledger = self.ledger();
        *ledger.counts.faults.entry(kind).or_default() += 1;
        if let Some(entry) = ledger.journal.get_mut(number) {
            entry.faults.push(kind);
        }
    }

    fn plan(&self, request: &Request) -> Plan {
        self.draws().plan(request)
    }

    fn denied(&self, request: &Request) -> Option<String> {
        let draws = self.draws();
        let needed = request.permissions();
        let denied = needed
            .into_iter()
            .find(|&action| draws.faults.denied.contains(action));
        denied.map(str::to_owned)
    }

    /// Takes what the request costs out of its tables' buckets.
    fn bears(&self, request: &Request) -> bool {
        let limit = self.draws().faults.write_limit;
        let (Some(limit), true) = (limit, request.is_write()) else {
            return true;
        };
        let touches = request.touches();
        let mut costs: HashMap<&str, u64> = HashMap::new();
        for touch in &touches {
            *costs.entry(touch.table).or_default() += Request::write_units(touch, request.shape());
        }
        self.buckets().take(&costs, limit, Instant::now())
    }

    async fn items(&self, request: &Request, headers: &HeaderMap) -> Vec<ItemId> {
        let mut items = Vec::new();
        for touch in request.touches() {
            match self.upstream.item(&touch, headers).await {
                Some(item) => items.push(item),
                // What stands behind will refuse it.
                None => return Vec::new(),
            }
        }
        items
    }

    /// Waits until a gate opens, or its time is over.
    async fn hold(&self, number: usize, gate: &watch::Sender<Option<Instant>>, kind: Kind) {
        let mut gate = gate.subscribe();
        let mut is_noted = false;
        loop {
            let until = *gate.borrow_and_update();
            let Some(until) = until.filter(|&until| Instant::now() < until) else {
                return;
            };
            if !is_noted {
                self.note(number, kind);
                is_noted = true;
            }
            // Opened, shut anew, or over: all three are looked at again.
            let _elapsed = tokio::time::timeout_at(until.into(), gate.changed()).await;
        }
    }
}

fn pass_on(answered: Answered) -> Response<Full<Bytes>> {
    let Answered { mut head, body } = answered;
    // The body was read whole; its length follows from it.
    for of_the_connection in [CONTENT_LENGTH, TRANSFER_ENCODING] {
        head.headers.remove(of_the_connection);
    }
    Response::from_parts(head, Full::new(body))
}

fn respond(answer: Answer) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(answer.body.to_string().into()));
    *response.status_mut() = answer.status;
    let json = HeaderValue::from_static("application/x-amz-json-1.0");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("dropped")
    }
}

impl std::error::Error for Dropped {}
