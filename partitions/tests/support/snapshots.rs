//! What a commit says and does.

use super::{
    commits::{prefix_covers, settled_with},
    lane::Stage,
    store::Stored,
    world::{Commit, World},
};
use partitions::{Change, Resume};

impl World {
    /// A commit says of each record exactly whether it is settled.
    pub(super) fn check_snapshot(&self, at: usize, commit: &Commit) {
        let part = &self.parts[at];
        let (settled, after) = (settled_with(part, commit), &commit.after);
        let within = after
            .open
            .iter()
            .all(|open| Some(*open) <= after.settled_to && !prefix_covers(&after.resume, *open));
        assert!(
            within,
            "G5 checkpoint: {after:?} names open positions outside its range"
        );
        if let (Resume::After(resume), Some(to)) = (&after.resume, after.settled_to) {
            assert!(
                *resume <= to,
                "G5 checkpoint: the prefix is past the highest settled: {after:?}"
            );
        }
        let mut whole = true;
        for row in part
            .model
            .rows
            .iter()
            .filter(|row| row.stage != Stage::Void)
        {
            let expected = settled.contains(&row.position);
            let position = row.position;
            assert_eq!(
                after.covers(position),
                expected,
                "G5 checkpoint: {at}/{position} in {after:?}"
            );
            whole &= expected;
            if whole && row.accepted {
                assert!(
                    prefix_covers(&after.resume, position),
                    "G5 checkpoint: the prefix of {after:?} stops before {position}"
                );
            }
            if row.accepted && !expected && !row.failed {
                let attempts = after.attempts.get(&position).copied().unwrap_or(0);
                let lane = &part.model.lanes[&row.key];
                let reopened = commit.tickets.iter().any(|(_, key)| *key == row.key)
                    && matches!(lane.persist, Some((_, Change::Reopen, _)))
                    && lane.head == Some(position);
                let expected = if reopened { 0 } else { row.attempts };
                assert_eq!(attempts, expected, "attempts of {at}/{position}");
            }
        }
    }

    pub(super) fn check_drained(
        &self,
        at: usize,
        key: u8,
        through: u64,
        records: u64,
        passed: &[u64],
    ) {
        let rows = self.parts[at]
            .model
            .rows
            .iter()
            .filter(|row| row.key == key && row.chained);
        let ran = rows.clone().filter(|row| row.position <= through);
        for row in ran {
            assert!(
                passed.contains(&row.position),
                "G7 loss: {at}/{} leaves its chain unpassed",
                row.position
            );
        }
        let fresh =
            rows.filter(|row| passed.contains(&row.position) && !row.durable && !row.published);
        assert_eq!(
            records,
            fresh.count() as u64,
            "release: records drained of {at}/{}",
            key as char
        );
    }

    /// A refusal leaves each change with exactly the records that may still go.
    pub(super) fn check_loans(&self, at: usize) {
        for (key, lane) in &self.parts[at].model.lanes {
            if let Some((ticket, change, lent)) = &lane.persist {
                let name = format!("effects prefix: {change:?} of {at}/{}", *key as char);
                assert_eq!(&self.lent(*ticket), lent, "{name}");
            }
        }
    }

    /// What was durable stays durable, and effects go in once.
    pub(super) fn check_forward(&self, at: usize, before: &Stored) {
        let part = &self.parts[at];
        for row in &part.model.rows {
            let back = before.covers(row.position) && !part.store.covers(row.position);
            assert!(
                !back,
                "G5 checkpoint: {at}/{} was durable and is open again",
                row.position
            );
            let effects = part.store.effects.get(&row.position).copied().unwrap_or(0);
            assert!(
                effects <= 1,
                "G8 repeats: effects of {at}/{} went in {effects} times",
                row.position
            );
        }
    }
}
