//! Which shard comes before which: a key goes on in a child of its shard when that is split or merged.

use super::Shard;
use std::collections::BTreeSet;

/// The shards in an order in which each comes behind all its parents that are listed, both of a merge;
/// else by the numbers with which they begin.
pub fn in_order(mut shards: Vec<Shard>) -> Vec<Shard> {
    shards.sort_by(|a, b| (&a.first, &a.id).cmp(&(&b.first, &b.id)));
    let mut waiting: BTreeSet<_> = shards.iter().map(|shard| shard.id.clone()).collect();
    let mut ordered = Vec::with_capacity(shards.len());
    while !shards.is_empty() {
        let is_ready = |shard: &Shard| shard.parents.iter().all(|id| !waiting.contains(id));
        let (mut ready, rest): (Vec<_>, Vec<_>) = shards.into_iter().partition(is_ready);
        shards = rest;
        if ready.is_empty() {
            // No stream lists a shard as its own ancestor; were there one, it would be read all the same.
            ready.append(&mut shards);
        }
        for shard in &ready {
            waiting.remove(&shard.id);
        }
        ordered.append(&mut ready);
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::Position;

    fn shard(id: &str, parents: &[&str], first: &str) -> Shard {
        Shard {
            id: id.into(),
            parents: parents.iter().map(|id| (*id).into()).collect(),
            first: Position::sequence(first, None).expect("a number"),
            last: None,
        }
    }

    fn ids(shards: Vec<Shard>) -> Vec<String> {
        let ordered = in_order(shards).into_iter();
        ordered.map(|shard| shard.id.to_string()).collect()
    }

    #[test]
    fn k34_both_parents_come_before_the_child_of_a_merge() {
        // A split, and a merge of one half with another shard; numbers alone would say otherwise.
        let shards = vec![
            shard("merged", &["left", "other"], "30"),
            shard("left", &["root"], "9"),
            shard("right", &["root"], "10"),
            shard("other", &[], "40"),
            shard("root", &[], "2"),
        ];
        assert_eq!(ids(shards), ["root", "other", "left", "right", "merged"]);
    }

    #[test]
    fn a_parent_that_has_expired_is_not_waited_for() {
        let shards = vec![shard("b", &["gone"], "10"), shard("a", &["gone"], "9")];
        assert_eq!(ids(shards), ["a", "b"]);
    }

    #[test]
    fn shards_that_name_each_other_are_all_there() {
        let shards = vec![
            shard("b", &["a"], "2"),
            shard("a", &["b"], "1"),
            shard("c", &[], "3"),
        ];
        assert_eq!(ids(shards), ["c", "a", "b"]);
    }
}
