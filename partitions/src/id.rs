//! Names of slots that are used again and again.

use core::num::{NonZeroU32, NonZeroU64};

/// A slot, and which of its uses is meant: a name of an earlier use is told apart. One word, since
/// names go through memory between engine and shell for every record, and a word that was written in
/// two halves stalls whoever reads it whole.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Id(NonZeroU64);

impl Id {
    #[inline]
    pub(crate) fn new(slot: u32, generation: NonZeroU32) -> Self {
        Self(NonZeroU64::from(generation) | u64::from(slot) << 32)
    }

    #[inline]
    pub(crate) fn slot(self) -> u32 {
        (self.0.get() >> 32) as u32
    }
}

impl core::fmt::Debug for Id {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} (use {})", self.slot(), self.0.get() as u32)
    }
}

/// Wraps round after four billion uses of one slot, past the one value that is not allowed.
#[inline]
pub(crate) fn next_generation(generation: NonZeroU32) -> NonZeroU32 {
    generation.checked_add(1).unwrap_or(NonZeroU32::MIN)
}
