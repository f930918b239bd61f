//! What an operator's rewind or import does to the contents.

use super::Contents;
use crate::{
    record::PartitionName,
    store::{
        AsRead, Ownership, Rewind, RewindError,
        rewind::{self, Rewound},
        rules,
    },
};

impl Contents {
    pub(super) fn rewind(
        &mut self,
        partition: &PartitionName,
        read: AsRead,
        act: &Rewind,
        now: i64,
    ) -> Result<Ownership, RewindError> {
        let found = self.ownership(partition)?;
        let after = match rewind::rewound(partition, found.as_ref(), read, act, now)? {
            Rewound::Write(after) => after,
            Rewound::Landed(found) => return Ok(found),
        };
        let mut lanes = Vec::new();
        for (index, change) in act.lanes.iter().enumerate() {
            let item = self.lane(partition, &change.lane)?;
            if rules::moved(change, item) {
                lanes.push(index);
            }
        }
        if !lanes.is_empty() {
            return Err(RewindError::LaneMoved {
                partition: partition.clone(),
                lanes,
            });
        }
        for change in &act.lanes {
            self.write_lane(partition, change);
        }
        self.registry.insert(partition.clone());
        for item in rewind::remembered(found.as_ref(), &after, act) {
            self.remember(partition, item, now);
        }
        self.ownerships.insert(partition.clone(), after.clone());
        Ok(after)
    }
}
