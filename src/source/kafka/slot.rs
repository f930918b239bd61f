//! A partition that the group gave us, and what became of it.

use super::{client::Place, reading::Reading};
use crate::{record::PartitionName, source::Start};
use std::time::Instant;
use tokio::sync::oneshot;

/// A partition of ours, in the group's word.
pub(super) struct Slot {
    pub(super) name: PartitionName,
    pub(super) place: Place,
    /// The topic's identity, where the cluster knows it.
    pub(super) incarnation: Option<String>,
    pub(super) stage: Stage,
    /// librdkafka reads it. It takes a partition twice as an error, as it does one that it does not have.
    pub(super) assigned: bool,
    /// It should not: it is taken from librdkafka when the group is answered, and what comes until then is
    /// thrown away.
    pub(super) detached: bool,
    /// Where reading began: an offset that the group may be told although nothing was committed yet.
    pub(super) began: Option<u64>,
    /// The offset that the group should know: that of the record after the durable frontier.
    pub(super) durable: Option<u64>,
    /// The offset that the group was last told.
    pub(super) mirrored: Option<u64>,
}

/// When the group was asked last whether we are a member, and by which commit.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    pub(super) at: Instant,
    pub(super) commit: usize,
}

pub(super) enum Stage {
    /// The topic's identity is asked for.
    Naming,
    /// Announced; the claim is not answered yet.
    Claiming(oneshot::Receiver<Option<Start>>),
    /// Claimed; where it begins and ends is asked for.
    Placing(Start),
    Reading(Box<Reading>),
    /// The group's, and not ours to read.
    Left,
    /// The store says that it is another worker's, or was moved by an operator. Once the group has
    /// confirmed that we are a member, which it does by taking an offset, it is claimed anew.
    Fenced {
        asked: Option<Asked>,
    },
    /// The group wants it back: what runs of it is ending.
    Leaving(oneshot::Receiver<()>),
    /// Ended; the group is answered when all that it wants back are.
    Ended,
}

impl Slot {
    pub(super) fn new(source: &str, place: Place) -> Self {
        let partition = format!("{}/{}", place.0, place.1);
        Self {
            name: PartitionName::new(source, &partition),
            place,
            incarnation: None,
            stage: Stage::Naming,
            assigned: false,
            detached: false,
            began: None,
            durable: None,
            mirrored: None,
        }
    }

    pub(super) fn reading(&mut self) -> Option<&mut Reading> {
        match &mut self.stage {
            Stage::Reading(reading) => Some(reading),
            Stage::Naming
            | Stage::Claiming(_)
            | Stage::Placing(_)
            | Stage::Left
            | Stage::Fenced { .. }
            | Stage::Leaving(_)
            | Stage::Ended => None,
        }
    }

    /// Whether it is to be read, and librdkafka does not know yet.
    pub(super) fn can_be_assigned(&self) -> bool {
        let Stage::Reading(reading) = &self.stage else {
            return false;
        };
        !self.assigned && reading.looked_for.is_none() && !reading.is_through
    }

    /// Whether it may soon be read.
    pub(super) fn is_on_its_way(&self) -> bool {
        matches!(
            self.stage,
            Stage::Naming | Stage::Claiming(_) | Stage::Placing(_)
        )
    }

    /// The identity that the topic had when what is read was claimed, if it has another one now. An
    /// identity that is not known is no difference; the first one that is known is held against later ones.
    pub(super) fn differs_from(&mut self, now: Option<&str>) -> Option<String> {
        let (Stage::Reading(reading), Some(now)) = (&self.stage, now) else {
            return None;
        };
        let checkpoint = reading.start.checkpoint.as_ref();
        let claimed = self.incarnation.get_or_insert_with(|| {
            let known = checkpoint.and_then(|checkpoint| checkpoint.incarnation.clone());
            known.unwrap_or_else(|| now.to_owned())
        });
        (claimed != now).then(|| claimed.clone())
    }

    /// Whether the group waits for our answer about it.
    pub(super) fn is_leaving(&self) -> bool {
        matches!(self.stage, Stage::Leaving(_) | Stage::Ended)
    }
}
