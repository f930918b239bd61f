//! Where reading begins, as the user may say it; the same for all logs.

#[cfg(any(feature = "kafka", feature = "local"))]
use super::SourceError;

/// `start`: where to begin without a checkpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StartAt {
    /// The log's first record.
    Earliest,
    /// Behind the log's last record.
    Latest,
    /// Nowhere: that there is no checkpoint is an error.
    Refuse,
    /// The first record of this time or later, in milliseconds since 1970.
    Time(i64),
}

/// `on_gap`: what to do when records between the checkpoint and the log are gone: the checkpoint is older
/// than retention, ahead of the log's end, or of another log of the same name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnGap {
    /// It is an error that names both sides.
    Refuse,
    /// Go on at the oldest record that is left; of another log, at its beginning.
    Earliest,
    /// Go on behind the newest record.
    Latest,
}

#[cfg(any(feature = "kafka", feature = "local"))]
impl OnGap {
    /// Where a log goes on that begins at `first` and whose next record will be `next`, and what of it is
    /// lost, in words. `what` says which log does not hold which position.
    ///
    /// # Errors
    /// When gaps are refused.
    pub(crate) fn go_on(
        self,
        first: u64,
        next: u64,
        what: &str,
    ) -> Result<(u64, String), SourceError> {
        let position = match self {
            Self::Refuse => {
                return Err(SourceError::Refused {
                    what: format!(
                        "{what}; `on_gap` is `refuse`: restore the log that the checkpoint belongs to, or set `on_gap` to `earliest` or `latest` to go on without what is lost"
                    ),
                });
            }
            Self::Earliest => first,
            Self::Latest => next,
        };
        Ok((position, format!("{what}; going on at position {position}")))
    }
}
