//! From (partition, key) to lane: one table over all partitions that owns no key.

use core::hash::{BuildHasher, Hasher};
use foldhash::fast::FixedState;
use hashbrown::HashTable;

/// Lane slots by hash. Equal hash is not equal key: callers compare.
pub(crate) struct Keys {
    table: HashTable<u32>,
    state: FixedState,
}

impl Keys {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            table: HashTable::new(),
            state: FixedState::with_seed(seed),
        }
    }

    /// By identity, not by assignment: ghosts of an earlier assignment are found by the same hash.
    #[inline(always)]
    pub(crate) fn hash(&self, identity: u64, key: &[u8]) -> u32 {
        let mut hasher = self.state.build_hasher();
        hasher.write_u64(identity);
        hasher.write(key);
        let hash = hasher.finish();
        (hash ^ (hash >> 32)) as u32
    }

    #[inline(always)]
    pub(crate) fn find(&self, hash: u32, is: impl Fn(u32) -> bool) -> Option<u32> {
        self.table.find(widen(hash), |&lane| is(lane)).copied()
    }

    #[inline]
    pub(crate) fn insert(&mut self, hash: u32, lane: u32, hash_of: impl Fn(u32) -> u32) {
        self.table
            .insert_unique(widen(hash), lane, |&lane| widen(hash_of(lane)));
    }

    #[inline]
    pub(crate) fn remove(&mut self, hash: u32, lane: u32) {
        if let Ok(found) = self.table.find_entry(widen(hash), |&other| other == lane) {
            found.remove();
        }
    }
}

/// The table looks at both ends of a hash.
fn widen(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}
