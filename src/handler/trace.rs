//! The trace that a try is of, where whoever started it knows one.

use std::{future::Future, sync::Arc};

tokio::task_local! {
    static TRACE: Option<Arc<str>>;
}

/// The X-Ray trace of the function's invocation that this try is of, as `X-Amzn-Trace-Id` has it
/// (`Root=…;Parent=…;Sampled=…`). `None`: it is of no invocation, or of one without a trace; or this is asked
/// in a task that the handler has spawned by itself.
pub fn trace_id() -> Option<Arc<str>> {
    TRACE.try_with(Clone::clone).ok().flatten()
}

/// Runs a future for which [`trace_id`] says this.
pub async fn within_trace<F: Future>(trace: Option<Arc<str>>, future: F) -> F::Output {
    TRACE.scope(trace, future).await
}
