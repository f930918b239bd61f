//! From where to where a batch is, with what else is run with it.

use super::Standing;
use crate::{position::Position, store::Mark};

impl Standing {
    /// First and last position of the batch, and of the heads that are run with it from their copies.
    pub(in crate::lambda) fn ends(&self) -> (Position, Position) {
        (self.mark.first.clone(), self.mark.last.clone())
    }

    /// The mark with no more than the batch, where by now it begins before that, with a head that is run from
    /// its copy.
    pub(in crate::lambda) fn without_heads(&self) -> Option<Mark> {
        let first = self.batch.positions.first()?;
        (self.mark.first < *first).then(|| Mark {
            first: first.clone(),
            ..self.mark.clone()
        })
    }

    /// Nothing of the partition will come up to here but what is in the batch, as far as its lanes ask.
    pub(in crate::lambda) fn passed_over(&self) -> &Position {
        &self.through
    }
}
