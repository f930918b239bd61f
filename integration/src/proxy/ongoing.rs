//! Which items are being written right now.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Table and key.
pub(super) type ItemId = String;

/// Writes in progress, by item.
#[derive(Default)]
pub(super) struct Ongoing(Mutex<Items>);

#[derive(Default)]
struct Items {
    in_transactions: HashSet<ItemId>,
    /// How many single writes; several of them wait for each other at the table.
    in_writes: HashMap<ItemId, u32>,
    tokens: HashSet<String>,
}

/// What a request waits for that is refused.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Overlap {
    /// Which of its items are in a transaction.
    Items(Vec<bool>),
    /// It repeats a transaction that has not ended.
    Token,
}

/// A request in progress; dropped, it has ended.
pub(super) struct InProgress {
    ongoing: Arc<Ongoing>,
    items: Vec<ItemId>,
    is_transaction: bool,
    token: Option<String>,
}

impl Ongoing {
    /// A transaction begins, unless it overlaps with another one.
    pub(super) fn transact(
        self: &Arc<Self>,
        items: Vec<ItemId>,
        token: Option<&str>,
    ) -> Result<InProgress, Overlap> {
        let mut ongoing = self.lock();
        if token.is_some_and(|token| ongoing.tokens.contains(token)) {
            return Err(Overlap::Token);
        }
        ongoing.refuse_overlap(&items)?;
        ongoing.in_transactions.extend(items.iter().cloned());
        ongoing.tokens.extend(token.map(str::to_owned));
        Ok(InProgress {
            ongoing: Arc::clone(self),
            items,
            is_transaction: true,
            token: token.map(str::to_owned),
        })
    }

    /// Single writes begin, unless one overlaps with a transaction.
    pub(super) fn write(self: &Arc<Self>, items: Vec<ItemId>) -> Result<InProgress, Overlap> {
        let mut ongoing = self.lock();
        ongoing.refuse_overlap(&items)?;
        for item in &items {
            *ongoing.in_writes.entry(item.clone()).or_default() += 1;
        }
        Ok(InProgress {
            ongoing: Arc::clone(self),
            items,
            is_transaction: false,
            token: None,
        })
    }

    /// A transactional read asks: it overlaps with anything that writes.
    pub(super) fn read(&self, items: &[ItemId]) -> Result<(), Overlap> {
        let ongoing = self.lock();
        let is_written =
            |item| ongoing.in_transactions.contains(item) || ongoing.in_writes.contains_key(item);
        overlap(items.iter().map(is_written).collect())
    }

    fn lock(&self) -> MutexGuard<'_, Items> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Items {
    fn refuse_overlap(&self, items: &[ItemId]) -> Result<(), Overlap> {
        let is_held = |item| self.in_transactions.contains(item);
        overlap(items.iter().map(is_held).collect())
    }
}

fn overlap(items: Vec<bool>) -> Result<(), Overlap> {
    if items.contains(&true) {
        Err(Overlap::Items(items))
    } else {
        Ok(())
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        let mut ongoing = self.ongoing.lock();
        for item in &self.items {
            if self.is_transaction {
                ongoing.in_transactions.remove(item);
            } else if let Some(writes) = ongoing.in_writes.get_mut(item) {
                *writes -= 1;
                if *writes == 0 {
                    ongoing.in_writes.remove(item);
                }
            }
        }
        if let Some(token) = &self.token {
            ongoing.tokens.remove(token);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(names: &[&str]) -> Vec<ItemId> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn transactions_exclude_each_other_and_single_writes() {
        let ongoing = Arc::new(Ongoing::default());
        let first = ongoing.transact(items(&["a", "b"]), Some("one")).ok();
        assert!(first.is_some());
        let second = ongoing.transact(items(&["c", "b"]), Some("two")).err();
        assert_eq!(second, Some(Overlap::Items(vec![false, true])));
        let single = ongoing.write(items(&["a"])).err();
        assert_eq!(single, Some(Overlap::Items(vec![true])));
        let repeated = ongoing.transact(items(&["a", "b"]), Some("one")).err();
        assert_eq!(repeated, Some(Overlap::Token));
        drop(first);
        assert!(ongoing.transact(items(&["a", "b"]), Some("one")).is_ok());
    }

    #[test]
    fn single_writes_hold_up_transactional_reads_alone() {
        let ongoing = Arc::new(Ongoing::default());
        let (one, two) = (ongoing.write(items(&["a"])), ongoing.write(items(&["a"])));
        assert!(one.is_ok() && two.is_ok());
        assert!(ongoing.transact(items(&["a"]), None).is_ok());
        drop(one);
        assert_eq!(
            ongoing.read(&items(&["a"])),
            Err(Overlap::Items(vec![true]))
        );
        drop(two);
        assert_eq!(ongoing.read(&items(&["a"])), Ok(()));
    }
}
