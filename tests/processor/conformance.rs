//! What every store must do, run over each of them: the same bodies for all, so that the fake cannot
//! promise more than the real ones keep.

use futures_util::future::BoxFuture;
use lanekeeper::{
    Position,
    checkpoint::{Checkpoint, OpenSet},
    record::{Assignment, BatchBuilder, LaneKey, LaneOrder, NoKey, OrderBy, PartitionName, Record},
    store::{
        Commit, CommitError, Committed, DecisionNote, Fence, LaneChange, LaneItem, LaneState,
        MarkStore, RecordEffects, Store, Verb, WorkerId,
    },
};
use partitions::Resume;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use uuid::Uuid;

mod benches;
mod chains;
mod commits;
mod effects;
mod kept;
mod lanes;
mod marks;
mod ownership;
mod rewinds;
mod shards;

#[cfg(feature = "dynamodb")]
pub(crate) use benches::DynamodbBench;

/// A store to be tried, with what the trait does not offer.
pub(crate) trait Bench: Send + Sync {
    /// A handle to the one store, for this app. Called again, it is another worker's.
    fn open(&self, app: &str) -> Arc<dyn Store> {
        self.open_marks(app)
    }

    /// The same, with what it does behind a mapping.
    fn open_marks(&self, app: &str) -> Arc<dyn MarkStore>;

    /// Does this behind the store's back, to what `app` has.
    fn spoil<'a>(&'a self, app: &'a str, what: Spoil<'a>) -> BoxFuture<'a, ()>;
}

/// What is spoilt behind a store's back.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Spoil<'a> {
    /// The checkpoint item is no longer what was written.
    Checkpoint(&'a PartitionName),
    /// It is gone.
    NoCheckpoint(&'a PartitionName),
    /// The lane item is no longer what was written.
    Lane(&'a PartitionName, &'a LaneKey),
    /// This record of the chain is no longer what was written.
    Chain(&'a PartitionName, &'a LaneKey, u64),
    /// The value is no longer what was written.
    Value(&'a str, &'a str),
    /// Nor is a line of the history.
    History(&'a PartitionName),
}

/// Each case is a function of [`Bench`] and a test of each store.
macro_rules! suite {
    ($($module:ident: $($case:ident)*;)*) => {
        mod memory {
            $($(
                #[tokio::test]
                async fn $case() {
                    super::$module::$case(&super::benches::MemoryBench::new()).await;
                }
            )*)*
        }

        #[cfg(feature = "local")]
        mod sqlite {
            $($(
                #[tokio::test]
                async fn $case() {
                    super::$module::$case(&super::benches::SqliteBench::new()).await;
                }
            )*)*
        }

        #[cfg(feature = "dynamodb")]
        mod dynamodb {
            $($(
                #[tokio::test]
                async fn $case() {
                    super::$module::$case(&super::benches::DynamodbBench::new().await).await;
                }
            )*)*
        }
    };
}

suite! {
    ownership:
        a_first_claim_makes_the_item
        a_claim_after_a_release_is_clean
        claims_that_find_a_worker_are_unclean_and_counted
        the_former_owner_is_fenced
        only_the_owner_releases
        a_deleted_checkpoint_is_noticed_and_not_made_again
        claims_at_once_leave_one_owner
        a_claim_finds_what_was_committed_last
        claimed_partitions_are_registered;
    commits:
        a_checkpoint_reads_back_whole
        numbers_only_go_up
        a_late_write_of_an_older_commit_changes_nothing
        a_lost_answer_is_recognised
        another_content_of_the_number_is_told_apart
        each_commit_of_a_call_is_in_or_out
        a_checkpoint_beyond_the_bound_is_refused
        settling_in_clears_the_unclean_claims;
    lanes:
        a_park_is_one_with_its_checkpoint
        a_decision_wins_over_an_older_view
        of_two_decisions_one_is_written
        of_a_decision_and_a_lanes_end_one_is_written
        a_decision_that_nobody_took_is_replaced
        each_state_offers_its_verbs
        a_decision_is_taken_once_and_by_the_owner
        every_state_survives_a_restart
        lanes_of_all_kinds_are_told_apart
        a_moved_lane_refuses_all_of_its_commit;
    chains:
        an_append_repeated_adds_nothing
        a_stale_owners_append_is_refused
        a_cut_and_a_drain_end_in_no_lane
        a_chain_is_read_in_pages
        records_join_a_chain_in_order_only
        records_join_in_front_of_a_chain_whole;
    rewinds:
        a_rewind_fences_the_owner_and_leaves_it_named
        of_two_rewinds_one_is_written
        a_commit_meanwhile_refuses_a_rewind
        a_rewind_takes_lanes_along_or_nothing
        history_keeps_what_stood_and_the_act
        an_import_makes_a_partition
        a_checkpoint_beyond_the_bound_is_not_imported;
    marks:
        a_mark_reads_back_whole_and_needs_no_claim
        marks_are_found_by_what_they_overlap
        marks_of_few_and_of_many_numbers_are_found
        g6_a_marks_number_decides_whatever_comes_late
        g6_a_mark_and_its_lanes_are_one
        g8_effects_of_a_record_apply_once_whoever_commits_them
        a_lane_that_is_live_again_keeps_its_tail
        g1_one_invocation_at_a_time_acts_on_a_decision
        a_mark_beyond_the_bound_is_refused;
    shards:
        g1_lanes_that_partitions_share_are_in_one_place
        g8_effects_are_those_of_a_records_own_partition;
    effects:
        values_follow_their_conditions
        sums_add_up_and_never_wrap
        a_refused_effect_inside_a_lane_writes_nothing
        several_lanes_are_refused_at_once
        a_records_effects_are_all_or_none
        later_effects_see_earlier_ones
        what_no_store_takes_is_refused
        a_repeated_commit_adds_once
        values_are_read_in_pages;
    kept:
        history_keeps_what_it_is_told_to
        old_history_goes
        workers_come_and_go
        forgetting_one_app_spares_the_other
        tables_of_any_name_are_forgotten
        damage_is_refused_by_name;
}

/// A number that no other caller of this process got.
pub(crate) fn fresh() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

pub(crate) fn worker() -> WorkerId {
    WorkerId(Uuid::from_u64_pair(7, fresh()))
}

pub(crate) fn partition(name: &str) -> PartitionName {
    PartitionName::new("orders", name)
}

/// An owner of a partition that numbers its commits.
pub(crate) struct Owner {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) partition: PartitionName,
    pub(crate) fence: Fence,
    pub(crate) number: u64,
}

impl Owner {
    pub(crate) async fn of(store: &Arc<dyn Store>, partition: &PartitionName) -> Self {
        let worker = worker();
        let claimed = store.claim(partition, worker).await.expect("claim");
        Self {
            store: Arc::clone(store),
            partition: partition.clone(),
            fence: Fence {
                worker,
                epoch: claimed.ownership.epoch,
            },
            number: 0,
        }
    }

    /// The next commit, which settles everything up to `frontier`.
    pub(crate) fn next(&mut self, frontier: u64) -> Commit {
        self.number += 1;
        Commit {
            partition: self.partition.clone(),
            fence: self.fence,
            number: self.number,
            content: Uuid::from_u64_pair(9, fresh()).into_bytes(),
            checkpoint: settled(frontier),
            lanes: Vec::new(),
            effects: Vec::new(),
            keep: false,
            settled_in: false,
            mark: None,
            failed: Vec::new(),
            lanes_at: None,
        }
    }

    pub(crate) async fn commit(&self, commit: &Commit) -> Result<Committed, CommitError> {
        let mut outcomes = self.store.commit(std::slice::from_ref(commit)).await;
        assert_eq!(outcomes.len(), 1, "one outcome a commit");
        outcomes.remove(0).map(uncounted)
    }

    /// Commits the next one with this lane change; it must succeed.
    pub(crate) async fn change(&mut self, frontier: u64, change: LaneChange) -> Commit {
        let mut commit = self.next(frontier);
        commit.lanes = vec![change];
        assert_eq!(self.commit(&commit).await, Ok(DONE), "{commit:?}");
        commit
    }

    /// Where the store says that the prefix ends.
    pub(crate) async fn frontier(&self) -> Option<u64> {
        let found = self.store.ownership(&self.partition).await.expect("read");
        let checkpoint = found.expect("an item").checkpoint?;
        checkpoint.frontier().and_then(Position::offset)
    }

    pub(crate) fn assignment(&self) -> Arc<Assignment> {
        Arc::new(Assignment {
            name: self.partition.clone(),
            epoch: self.fence.epoch,
            generation: 0,
        })
    }

    /// Offsets of all records in a chain.
    pub(crate) async fn chain(&self, lane: &LaneKey) -> Vec<u64> {
        let records = self
            .store
            .chain(&self.assignment(), lane, None, usize::MAX, u64::MAX)
            .await
            .expect("chain");
        records.iter().map(offset).collect()
    }

    pub(crate) async fn lane(&self, lane: &LaneKey) -> Option<LaneItem> {
        let lanes = self.store.lanes(&self.partition).await.expect("lanes");
        lanes.into_iter().find(|item| item.lane == *lane)
    }
}

pub(crate) const DONE: Committed = Committed {
    repeated: false,
    write_units: 0.0,
};

/// What a commit cost is the store's own, and so is which of its requests landed where answers are lost
/// on purpose (`LANEKEEPER_TEST_DYNAMODB_DIRECT` says that): there, every commit passes for one that did
/// at first.
pub(crate) fn uncounted(committed: Committed) -> Committed {
    Committed {
        write_units: 0.0,
        repeated: committed.repeated && !loses_answers(),
    }
}

/// Whether the store of this run is told to lose answers on purpose.
pub(crate) fn loses_answers() -> bool {
    cfg!(feature = "dynamodb") && std::env::var_os("LANEKEEPER_TEST_DYNAMODB_DIRECT").is_some()
}

/// A commit that had landed before.
pub(crate) fn repeated() -> Committed {
    uncounted(REPEATED)
}

pub(crate) const REPEATED: Committed = Committed {
    repeated: true,
    write_units: 0.0,
};

pub(crate) fn settled(frontier: u64) -> Checkpoint {
    Checkpoint {
        resume: Resume::After(Position::Offset(frontier)),
        settled_to: Some(Position::Offset(frontier)),
        open: OpenSet::default(),
        ..Checkpoint::default()
    }
}

pub(crate) fn offset(record: &Record) -> u64 {
    record.position().offset().expect("an offset")
}

pub(crate) fn record(partition: &PartitionName, key: &str, offset: u64) -> Record {
    let assignment = Assignment {
        name: partition.clone(),
        epoch: 1,
        generation: 0,
    };
    let mut batch = BatchBuilder::new(Arc::new(assignment));
    let order = LaneOrder {
        by: OrderBy::Key,
        no_key: NoKey::Partition,
    };
    let (key, value) = (Some(key.as_bytes()), format!("value {offset}"));
    let headers = [("trace", &b"\xff\x00"[..])];
    batch
        .push(
            order,
            Position::Offset(offset),
            key,
            Some(value.as_bytes()),
            headers,
            Some(17),
        )
        .expect("has a key");
    batch.finish(None).remove(0)
}

pub(crate) fn lane(key: &str) -> LaneKey {
    LaneKey::of_key(key.as_bytes())
}

/// The item of a lane whose chain is `head..=tail`, or that is stopped at `head`.
pub(crate) fn item(key: &str, state: LaneState, head: u64, tail: Option<u64>) -> LaneItem {
    LaneItem {
        lane: lane(key),
        state,
        head: Position::Offset(head),
        record: None,
        tail: tail.map(Position::Offset),
        tails: Vec::new(),
        cut: None,
        count: tail.map_or(0, |tail| tail - head + 1),
        bytes: tail.map_or(0, |tail| (tail - head + 1) * 10),
        attempts: 5,
        first_error: "first: `ü`\n".to_owned(),
        last_error: "last".to_owned(),
        since: 1_700_000_000_000,
        rev: 1,
        decision: None,
    }
}

/// A change from nothing, or from an item, to another.
pub(crate) fn change(key: &str, from: Option<&LaneItem>, to: Option<LaneItem>) -> LaneChange {
    LaneChange {
        lane: lane(key),
        expected: from.map(|item| (item.rev, item.tail.clone())),
        item: to,
        append: Vec::new(),
        passed: None,
    }
}

/// Parks a lane with a chain of these offsets and settles up to the last one.
pub(crate) async fn park(
    owner: &mut Owner,
    key: &str,
    offsets: std::ops::RangeInclusive<u64>,
) -> LaneItem {
    let (first, last) = (*offsets.start(), *offsets.end());
    let parked = item(key, LaneState::Parked, first, Some(last));
    let append = offsets.map(|n| record(&owner.partition, key, n)).collect();
    let change = LaneChange {
        append,
        ..change(key, None, Some(parked.clone()))
    };
    owner.change(last, change).await;
    parked
}

pub(crate) fn note(verb: Verb) -> DecisionNote {
    DecisionNote {
        verb,
        by: "ann".to_owned(),
        why: Some("mended".to_owned()),
        at: 1_700_000_000_001,
        taken: false,
        lease: None,
        tried: None,
    }
}

pub(crate) fn effects_of(
    key: &str,
    offset: u64,
    effects: Vec<lanekeeper::Effect>,
) -> RecordEffects {
    RecordEffects {
        lane: lane(key),
        partition: None,
        position: Position::Offset(offset),
        effects,
    }
}
