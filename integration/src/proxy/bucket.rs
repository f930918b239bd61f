//! How many write units a table bears.

use super::faults::WriteLimit;
use std::{collections::HashMap, time::Instant};

/// A bucket for each table.
#[derive(Default)]
pub(super) struct Buckets {
    of_table: HashMap<String, Bucket>,
}

struct Bucket {
    /// Below zero after a request that cost more than the bucket holds.
    units: f64,
    filled: Instant,
}

impl Buckets {
    /// Takes what a request costs, by table, from all of its tables or from none; then `false`.
    pub(super) fn take(
        &mut self,
        costs: &HashMap<&str, u64>,
        limit: WriteLimit,
        now: Instant,
    ) -> bool {
        let units_max = f64::from(limit.units_max);
        for &table in costs.keys() {
            let bucket = self.of_table.entry(table.to_owned()).or_insert(Bucket {
                units: units_max,
                filled: now,
            });
            let flowed = now.saturating_duration_since(bucket.filled).as_secs_f64()
                * f64::from(limit.units_per_second);
            bucket.units = (bucket.units + flowed).min(units_max);
            bucket.filled = now;
        }
        let suffices = costs.iter().all(|(&table, &cost)| {
            let bucket = self.of_table.get(table);
            bucket.is_some_and(|bucket| bucket.units >= as_units(cost).min(units_max))
        });
        if suffices {
            for (&table, &cost) in costs {
                if let Some(bucket) = self.of_table.get_mut(table) {
                    bucket.units -= as_units(cost);
                }
            }
        }
        suffices
    }
}

fn as_units(cost: u64) -> f64 {
    f64::from(u32::try_from(cost).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const LIMIT: WriteLimit = WriteLimit {
        units_per_second: 10,
        units_max: 20,
    };

    #[test]
    fn what_flows_in_is_what_can_be_written() {
        let (mut buckets, start) = (Buckets::default(), Instant::now());
        let cost = HashMap::from([("t", 5)]);
        let passed = (0..1_000).filter(|&i| {
            let now = start + Duration::from_millis(10 * i);
            buckets.take(&cost, LIMIT, now)
        });
        // The bucket, and ten seconds of inflow.
        let units = 5 * passed.count();
        assert!((115..=120).contains(&units), "{units}");
    }

    #[test]
    fn a_request_of_two_tables_takes_from_both_or_none() {
        let (mut buckets, now) = (Buckets::default(), Instant::now());
        assert!(buckets.take(&HashMap::from([("t", 20)]), LIMIT, now));
        assert!(!buckets.take(&HashMap::from([("t", 1), ("u", 20)]), LIMIT, now));
        assert!(buckets.take(&HashMap::from([("u", 20)]), LIMIT, now));
    }

    #[test]
    fn what_costs_more_than_the_bucket_holds_passes_and_leaves_a_debt() {
        let (mut buckets, now) = (Buckets::default(), Instant::now());
        assert!(buckets.take(&HashMap::from([("t", 50)]), LIMIT, now));
        let one = HashMap::from([("t", 1)]);
        assert!(!buckets.take(&one, LIMIT, now + Duration::from_secs(3)));
        assert!(buckets.take(&one, LIMIT, now + Duration::from_millis(3_200)));
    }
}
