//! What a store's requests consumed, for people. Prices differ by region and change: docs/dynamodb.md
//! says how units become money.

use super::view::counted;
use crate::store::Consumed;
use std::time::Duration;

/// A shorter time says nothing of an hour.
const RATE_FROM: Duration = Duration::from_secs(60);

/// Requests and units, and how many units that is an hour.
pub(crate) fn consumed_text(consumed: &Consumed, within: Duration) -> String {
    let Consumed {
        requests,
        read_units,
        write_units,
    } = consumed;
    let requests = counted(*requests, "request");
    let mut text = format!("{requests}, {read_units:.1} read and {write_units:.1} write units");
    if within >= RATE_FROM {
        let an_hour = |units: f64| units * 3_600.0 / within.as_secs_f64();
        let (read, write) = (an_hour(*read_units), an_hour(*write_units));
        text.push_str(&format!(" ({read:.0} and {write:.0} an hour)"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_told_once_there_is_one() {
        let consumed = Consumed {
            requests: 12,
            read_units: 4.5,
            write_units: 30.0,
        };
        let soon = consumed_text(&consumed, Duration::from_secs(59));
        assert_eq!(soon, "12 requests, 4.5 read and 30.0 write units");
        let later = consumed_text(&consumed, Duration::from_secs(1_800));
        assert_eq!(
            later,
            "12 requests, 4.5 read and 30.0 write units (9 and 60 an hour)"
        );
    }
}
