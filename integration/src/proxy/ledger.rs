//! What has happened, for assertions: a test whose fault never came says nothing.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What the proxy did to a request.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// [`super::Fault::DropRequest`].
    RequestDropped,
    /// [`super::Fault::DropResponse`].
    ResponseDropped,
    /// [`super::Fault::DelayRequest`].
    RequestDelayed,
    /// [`super::Fault::DelayResponse`].
    ResponseDelayed,
    /// [`super::Fault::InternalError`].
    InternalError,
    /// [`super::Fault::InternalErrorAfterwards`].
    InternalErrorAfterwards,
    /// [`super::Fault::Unavailable`].
    Unavailable,
    /// [`super::Fault::Throttle`] and [`super::Fault::ThrottleProvisioned`].
    Throttled,
    /// Refused by [`super::WriteLimit`].
    LimitReached,
    /// Overlapped with a transaction on an item.
    Conflict,
    /// Repeated a transaction that had not ended.
    InProgress,
    /// [`super::Faults::denied`].
    Denied,
    /// Broke a limit of DynamoDB: a bug of the client.
    Invalid,
    /// Waited for the end of [`super::Proxy::freeze`], on its way there or back.
    Frozen,
    /// Waited for the end of [`super::Proxy::hold_writes`].
    Held,
    /// Not by design: what stands behind the proxy did not answer. The connection was closed.
    Unanswered,
}

/// Sums over all requests since the proxy started.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Requests that came, by operation.
    pub requests: BTreeMap<String, u64>,
    /// Requests that reached what stands behind the proxy.
    pub forwarded: u64,
    /// What was done to them.
    pub faults: BTreeMap<Kind, u64>,
    /// Write units of what was forwarded, as they follow from the requests: without the items that
    /// updates and deletes find.
    pub write_units: u64,
    /// IAM actions, without `dynamodb:`, that the requests needed.
    pub permissions: BTreeSet<String>,
}

/// One request, in the order of arrival.
#[derive(Clone, PartialEq, Debug)]
pub struct Entry {
    /// Such as `PutItem`.
    pub operation: String,
    /// As it came.
    pub body: Value,
    /// What was done to it so far.
    pub faults: Vec<Kind>,
    /// The status with which it was answered behind the proxy; `None`: it has not come that far.
    pub status: Option<u16>,
}

/// Counts and, if it is kept, the journal.
#[derive(Default)]
pub(super) struct Ledger {
    pub(super) counts: Counts,
    pub(super) journal: Vec<Entry>,
}

impl Counts {
    /// How often this was done.
    pub fn of(&self, kind: Kind) -> u64 {
        self.faults.get(&kind).copied().unwrap_or(0)
    }

    /// Requests for this operation.
    pub fn requests_for(&self, operation: &str) -> u64 {
        self.requests.get(operation).copied().unwrap_or(0)
    }
}
