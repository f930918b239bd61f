//! What of a source's partitions is read.

use std::{collections::BTreeMap, sync::Arc};

/// Which partitions, and how far; they are named as in [`crate::record::PartitionName`], such as
/// `orders/3`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Extent {
    /// All that there are (or that the group gives us), and what comes.
    #[default]
    Everything,
    /// These, each as far as what lies before a position. The others are left to nobody, and what comes
    /// later is left to the next reader.
    Before(BTreeMap<Arc<str>, u64>),
    /// Apart from the app's own reading: nobody is registered as a reader, no offset is told to anybody,
    /// and nothing is removed. Where there is a checkpoint it says how far the range was read before.
    Apart {
        /// First and last position by partition, both included.
        ranges: BTreeMap<Arc<str>, (u64, u64)>,
        /// Only records of this key; all others are passed over.
        key: Option<Vec<u8>>,
    },
}

impl Extent {
    #[cfg(feature = "local")]
    pub(super) fn has(&self, partition: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::Before(ends) => ends.contains_key(partition),
            Self::Apart { ranges, .. } => ranges.contains_key(partition),
        }
    }

    /// Reading ends before this position; `None`: nowhere.
    pub(super) fn before(&self, partition: &str) -> Option<u64> {
        match self {
            Self::Everything => None,
            Self::Before(ends) => ends.get(partition).copied(),
            Self::Apart { ranges, .. } => {
                let range = ranges.get(partition);
                range.map(|(_, last)| last.saturating_add(1))
            }
        }
    }

    /// Where reading begins without a checkpoint; `None`: as `start` says.
    pub(super) fn first(&self, partition: &str) -> Option<u64> {
        match self {
            Self::Everything | Self::Before(_) => None,
            Self::Apart { ranges, .. } => ranges.get(partition).map(|(first, _)| *first),
        }
    }

    /// The one key that is read.
    pub(super) fn key(&self) -> Option<&[u8]> {
        match self {
            Self::Everything | Self::Before(_) => None,
            Self::Apart { key, .. } => key.as_deref(),
        }
    }

    pub(super) fn is_apart(&self) -> bool {
        matches!(self, Self::Apart { .. })
    }

    /// The partitions that it names; `None`: whatever there are.
    #[cfg(feature = "kafka")]
    pub(super) fn named(&self) -> Option<Vec<Arc<str>>> {
        match self {
            Self::Everything => None,
            Self::Before(ends) => Some(ends.keys().cloned().collect()),
            Self::Apart { ranges, .. } => Some(ranges.keys().cloned().collect()),
        }
    }
}
