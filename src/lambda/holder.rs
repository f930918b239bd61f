//! Who writes a mark and acts on decisions: one invocation.

use crate::store::{Fence, Lease, Ownership, WorkerId};

/// How far the clocks of two environments may be apart, in milliseconds.
const CLOCKS_APART: i64 = 30_000;

/// An invocation, as its marks name it.
#[derive(Clone, Debug)]
pub(super) struct Invocation {
    /// Unlike any other, also of a request that comes again.
    pub(super) worker: WorkerId,
    /// Milliseconds since 1970.
    pub(super) begun: i64,
    /// Milliseconds since 1970: its process may be ended from then on.
    pub(super) deadline: i64,
    /// Part of the ids of its records.
    pub(super) generation: u64,
    /// Milliseconds that a remote may still work on what was begun.
    pub(super) settle: i64,
    /// Milliseconds for which a remote may go on with what an invocation began that is dead now.
    pub(super) quiet: i64,
    /// Milliseconds since 1970: no batch of today comes again from then on.
    pub(super) expires: i64,
    /// `failure.attempts`.
    pub(super) attempts_max: u32,
}

impl Invocation {
    pub(super) fn lease(&self) -> Lease {
        Lease {
            holder: self.worker.to_string(),
            until: self.deadline.saturating_add(self.settle + CLOCKS_APART),
        }
    }

    /// Its ownership number: what is written under it is told from what another invocation writes.
    pub(super) fn epoch(&self) -> u64 {
        let begun = u64::try_from(self.begun).unwrap_or(0) & ((1 << 42) - 1);
        begun << 20 | (self.worker.0.as_u64_pair().1 & 0xf_ffff)
    }

    /// What it has of each of its partitions for as long as it runs.
    pub(super) fn ownership(&self) -> Ownership {
        Ownership {
            worker: Some(self.worker),
            epoch: self.epoch(),
            generation: self.generation,
            commit: 0,
            content: [0; 16],
            unclean_claims: 0,
            checkpoint: None,
            updated_at: self.begun,
        }
    }

    pub(super) fn fence(&self) -> Fence {
        Fence {
            worker: self.worker,
            epoch: self.epoch(),
        }
    }
}
