//! What a handler is told to do, and what everybody did.

use lanekeeper::{
    effect::Effect,
    handler::Failure,
    store::{Commit, memory::Call},
};
use std::time::Duration;

/// One call of the handler.
#[derive(Clone, Debug)]
pub(super) struct Tried {
    pub(super) at: Duration,
    pub(super) worker: u64,
    pub(super) position: u64,
    pub(super) id: String,
    pub(super) attempt: u32,
    /// Which call of this record it is, over all workers, from 1.
    pub(super) nth: usize,
}

/// What the handler does with a call.
pub(super) struct Act {
    pub(super) takes: Duration,
    pub(super) ends: End,
}

pub(super) enum End {
    Done(Vec<Effect>),
    Fails(Failure),
    Panics,
    Never,
}

impl Act {
    pub(super) fn done() -> Self {
        Self::ends(End::Done(Vec::new()))
    }

    pub(super) fn fails(failure: Failure) -> Self {
        Self::ends(End::Fails(failure))
    }

    pub(super) fn ends(ends: End) -> Self {
        let takes = Duration::ZERO;
        Self { takes, ends }
    }

    pub(super) fn takes(self, takes: Duration) -> Self {
        Self { takes, ..self }
    }
}

/// What happened, in its order.
#[derive(Clone, Debug)]
pub(super) enum Deed {
    Called(Tried),
    /// That call's future is gone; a remote may go on with it for so long.
    Ended {
        position: u64,
        runs_on: Duration,
    },
    /// The store was called.
    Asked(&'static str),
    Committing(Box<Commit>),
    Handed(usize),
    Paused,
    Resumed,
    /// The source was told a frontier, and what the store held then.
    Acked {
        frontier: u64,
        durable: Option<u64>,
    },
    Published {
        id: String,
        error: String,
        attempts: u32,
        /// The lane's item says that its head is a dead letter.
        verdict: bool,
    },
}

/// A call to the store.
pub(super) fn asked(call: &Call<'_>) -> Deed {
    match call {
        Call::Commit(commits) => match commits {
            [commit] => Deed::Committing(Box::new(commit.clone())),
            _ => Deed::Asked("commits"),
        },
        Call::Claim(..) => Deed::Asked("claim"),
        Call::Ownership(_) => Deed::Asked("ownership"),
        Call::Release(_) => Deed::Asked("release"),
        Call::Lanes(_) => Deed::Asked("lanes"),
        Call::Chain(..) => Deed::Asked("chain"),
        Call::Decide(..) => Deed::Asked("decide"),
        Call::Take(..) => Deed::Asked("take"),
        Call::Worker(_) => Deed::Asked("worker"),
        Call::Look => Deed::Asked("look"),
        Call::Marks(_) => Deed::Asked("marks"),
        Call::Rewind(_) => Deed::Asked("rewind"),
        Call::Forget => Deed::Asked("forget"),
    }
}
