use super::*;
use partitions::Item;
use tokio::sync::Semaphore;

#[test]
fn a_partition_is_meant_by_its_name_with_and_without_its_source() {
    let name = PartitionName::new("orders", "orders/3");
    for said in ["orders/3", "orders/orders/3"] {
        assert!(name.is_meant_by(said), "{said}");
    }
    for said in [
        "orders",
        "3",
        "orders/",
        "orders/33",
        "other/orders/3",
        "ordersorders/3",
    ] {
        assert!(!name.is_meant_by(said), "{said}");
    }
}

/// A batch of three records, and a budget that has so much left beside it.
fn batch(left: usize) -> (Vec<Record>, Arc<Semaphore>) {
    let assignment = Arc::new(Assignment {
        name: PartitionName::new("orders", "orders/3"),
        epoch: 1,
        generation: 0,
    });
    let order = LaneOrder {
        by: OrderBy::Key,
        no_key: NoKey::Partition,
    };
    let mut batch = BatchBuilder::new(assignment);
    for n in 1..=3 {
        let (key, value) = (Some(&b"key"[..]), Some(&b"value"[..]));
        let pushed = batch.push(order, Position::Offset(n), key, value, [], None);
        assert!(pushed.is_ok(), "it has a key");
    }
    let weight = u32::try_from(batch.weight()).unwrap_or(u32::MAX);
    let budget = Arc::new(Semaphore::new(weight as usize + left));
    let permit = Arc::clone(&budget).try_acquire_many_owned(weight).ok();
    assert!(permit.is_some());
    (batch.finish(permit), budget)
}

fn weight(record: &Record) -> usize {
    record.weight() as usize
}

#[test]
fn g9_a_record_leaves_its_batch_with_a_permit_of_its_own_or_says_that_there_is_none() {
    let (mut records, _) = batch(0);
    assert!(!records[0].detach(), "there is none left");

    let one = weight(&records[0]);
    let (mut records, budget) = batch(one);
    assert!(records[0].detach());
    assert_eq!(budget.available_permits(), 0, "it took what was left");
    assert!(!records[1].detach());
    assert!(records[0].detach(), "it owns its bytes already");
    records.truncate(1);
    assert_eq!(
        budget.available_permits(),
        3 * one,
        "nothing pins its batch"
    );
    assert_eq!(records[0].value(), Some(&b"value"[..]));
}

#[test]
fn g9_the_last_records_of_a_batch_need_no_more_than_the_batch_has() {
    let (mut records, budget) = batch(0);
    let one = weight(&records[0]);
    let third = records.pop();
    Record::share_out(&mut records);
    assert_eq!(budget.available_permits(), 0, "somebody has the third one");
    assert!(!records[0].detach());
    drop(third);
    Record::share_out(&mut records);
    assert_eq!(budget.available_permits(), one);
    for (n, record) in (1..).zip(&mut records) {
        assert!(record.detach(), "it owns its bytes");
        assert_eq!(record.position(), &Position::Offset(n));
        assert_eq!(record.key(), Some(&b"key"[..]));
    }
    assert_eq!(budget.available_permits(), one);
    records.pop();
    assert_eq!(budget.available_permits(), 2 * one, "each by itself");
    records.clear();
    assert_eq!(budget.available_permits(), 3 * one);
}
