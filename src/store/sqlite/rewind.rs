//! An operator's rewind or import: one transaction over the checkpoint item, lanes and history.

use super::{history, lanes, now_millis, ownership};
use crate::{
    record::PartitionName,
    sqlite::Fault,
    store::{
        AsRead, Ownership, Rewind, RewindError,
        rewind::{Rewound, remembered, rewound},
    },
};
use rusqlite::Connection;

pub(super) fn rewind(
    connection: &mut Connection,
    app: &str,
    partition: &PartitionName,
    read: AsRead,
    act: &Rewind,
) -> Result<Result<Ownership, RewindError>, Fault> {
    let transaction = connection.transaction()?;
    let found = ownership::read(&transaction, app, partition)?;
    let now = now_millis();
    let after = match rewound(partition, found.as_ref(), read, act, now) {
        Ok(Rewound::Write(after)) => after,
        Ok(Rewound::Landed(found)) => return Ok(Ok(found)),
        Err(error) => return Ok(Err(error)),
    };
    let moved = lanes::moved(&transaction, app, partition, &act.lanes)?;
    if !moved.is_empty() {
        return Ok(Err(RewindError::LaneMoved {
            partition: partition.clone(),
            lanes: moved,
        }));
    }
    for change in &act.lanes {
        lanes::write(&transaction, app, partition, change)?;
    }
    ownership::put(&transaction, app, partition, &after)?;
    history::register(&transaction, app, partition, now)?;
    for item in remembered(found.as_ref(), &after, act) {
        history::append(&transaction, app, partition, &item)?;
    }
    transaction.commit()?;
    Ok(Ok(after))
}
