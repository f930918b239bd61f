//! What a function behind an event source mapping cannot keep.

use super::Check;
use crate::{config::SourceKind, record::OrderBy};
use partitions::Stops;

impl Check<'_> {
    pub(super) fn lambda(&mut self) {
        let (cap, concurrency) = (self.config.cap, self.config.lambda.concurrency);
        if cap < concurrency {
            let message = format!(
                "`cap` is `{cap}` and `lambda.concurrency` is `{concurrency}` ({}): the cap is divided \
                 by the concurrency and each invocation needs at least one",
                self.place("lambda.concurrency"),
            );
            self.problem(&["cap", "lambda.concurrency"], message);
        }
        self.shard_order();
        self.unnamed_shards();
    }

    /// A shard is in order as a whole only where one batch of it is out at a time.
    fn shard_order(&mut self) {
        let factor = self.config.lambda.parallelization_factor;
        if self.config.order.by != OrderBy::Partition || factor == Some(1) {
            return;
        }
        for source in &self.config.sources {
            if !matches!(source.kind, SourceKind::Kinesis { .. }) {
                continue;
            }
            let factor =
                factor.map_or_else(|| "not set".to_owned(), |factor| format!("`{factor}`"));
            let message = format!(
                "`order.by` is `partition` and `lambda.parallelization_factor` is {factor} ({}): with a ParallelizationFactor above 1 batches of one shard of `sources.{}` are processed beside each other; let the mapping's be 1, and say so by `lambda.parallelization_factor = 1`",
                self.place("lambda.parallelization_factor"),
                source.name,
            );
            self.problem(&["order.by", "lambda.parallelization_factor"], message);
        }
    }

    /// An event of DynamoDB Streams does not say of which shard it is.
    fn unnamed_shards(&mut self) {
        for source in &self.config.sources {
            let SourceKind::DynamodbStreams { arn } = &source.kind else {
                continue;
            };
            let key = format!("sources.{}.arn", source.name);
            let has_stream =
                { arn.split_once(":table/") }.is_some_and(|(_, table)| table.contains("/stream/"));
            if !(arn.starts_with("arn:") && arn.contains(":dynamodb:") && has_stream) {
                let message = format!(
                    "`{key}` is `{}`: expected the ARN of a table's stream, `arn:aws:dynamodb:REGION:ACCOUNT:table/NAME/stream/TIME` (the table's `LatestStreamArn`)",
                    arn.escape_debug()
                );
                self.problem(&[&key], message);
            }
            let by = (self.config.order.by == OrderBy::Partition).then_some("order.by");
            let stops = (self.config.failure.stops == Stops::Partition).then_some("failure.stops");
            for setting in [by, stops].into_iter().flatten() {
                let message = format!(
                    "`{setting}` is `partition` ({}) and `sources.{}` is the stream of a table: its events do not name their shards, so that no shard can be kept in order, or stopped, as a whole; let it be the default, which keeps the order of each item",
                    self.place(setting),
                    source.name,
                );
                self.problem(&[setting, &key], message);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, DeadLetterConfig};
    use std::path::Path;

    #[test]
    fn a_queue_for_dead_letters_is_refused_by_name_where_the_build_has_none() {
        let text = "app = \"a\"\ncap = 1\n[sources.o]\ntype = \"local\"\ntopic = \"o\"\n[failure.dead_letter]\ntype = \"sqs\"\nqueue_url = \"https://sqs.eu-west-1.amazonaws.com/1/q\"\n";
        let found = Config::from_toml(text, Path::new("lanekeeper.toml"));
        if cfg!(feature = "sqs") {
            let queue_url = "https://sqs.eu-west-1.amazonaws.com/1/q".to_owned();
            let target = found.expect("a queue").failure.dead_letter;
            assert_eq!(target, Some(DeadLetterConfig::Sqs { queue_url }));
        } else {
            let told = found.expect_err("not built").to_string();
            assert!(
                told.contains(
                    "`failure.dead_letter.type`: this build has no `sqs` (built with features: `local`"
                ),
                "{told}"
            );
        }
    }

    #[test]
    fn what_a_mapping_delivers_is_refused_by_name_where_the_build_has_no_lambda() {
        let text = "app = \"a\"\ncap = 1\n[sources.k]\ntype = \"kinesis\"\narn = \"arn:aws:kinesis:eu-west-1:1:stream/s\"\n";
        let found = Config::from_toml(text, Path::new("lanekeeper.toml"));
        if cfg!(feature = "lambda") {
            assert_eq!(found.expect("a stream").sources[0].type_name(), "kinesis");
        } else {
            let told = found.expect_err("not built").to_string();
            assert!(
                told.contains("`sources.k.type`: this build has no `lambda` (built with"),
                "{told}"
            );
        }
    }

    #[test]
    fn a_table_s_stream_has_an_arn_of_its_own_and_no_shards() {
        let of = |arn: &str, rest: &str| {
            let text = format!(
                "app = \"a\"\ncap = 1\n[sources.d]\ntype = \"dynamodb-streams\"\narn = \"{arn}\"\n{rest}"
            );
            let found = Config::from_toml(&text, Path::new("lanekeeper.toml"));
            found.map_or_else(|told| told.to_string(), |_| String::new())
        };
        let arn = "arn:aws:dynamodb:eu-west-1:1:table/orders/stream/2020-11-10T20:21:56.370";
        let said = "expected the ARN of a table's stream";
        assert!(!of(arn, "").contains(said));
        for other in [
            "orders",
            "arn:aws:dynamodb:eu-west-1:1:table/orders",
            "arn:aws:kinesis:eu-west-1:1:stream/s",
        ] {
            assert!(of(other, "").contains(said), "{other}");
        }
        let by = of(
            arn,
            "[order]\nby = \"partition\"\n[lambda]\nparallelization_factor = 1\n",
        );
        assert!(
            by.contains("`order.by` is `partition` (lanekeeper.toml:7)"),
            "{by}"
        );
        let stops = of(arn, "[failure]\nstops = \"partition\"\n");
        assert!(
            stops.contains("`failure.stops` is `partition` (lanekeeper.toml:7)"),
            "{stops}"
        );
        assert!(
            of(arn, "start = \"latest\"\n").contains("start"),
            "nothing reads it but its mapping"
        );
    }

    #[test]
    fn a_shard_is_in_order_as_a_whole_where_its_mapping_has_one_batch_of_it_out() {
        let of = |source: &str, lambda: &str| {
            let text = format!(
                "app = \"a\"\ncap = 1\n[order]\nby = \"partition\"\n[sources.k]\n{source}{lambda}"
            );
            let found = Config::from_toml(&text, Path::new("lanekeeper.toml"));
            found.map_or_else(|told| told.to_string(), |_| String::new())
        };
        let stream = "type = \"kinesis\"\narn = \"arn:aws:kinesis:eu-west-1:1:stream/s\"\n";
        let said = "`lambda.parallelization_factor` is ";
        assert!(of(stream, "").contains(&format!("{said}not set (the default)")));
        let two = of(stream, "[lambda]\nparallelization_factor = 2\n");
        assert!(
            two.contains(&format!("{said}`2` (lanekeeper.toml:9)")),
            "{two}"
        );
        assert!(!of(stream, "[lambda]\nparallelization_factor = 1\n").contains(said));
        let log = "type = \"local\"\ntopic = \"t\"\n";
        assert!(!of(log, "").contains(said), "no mapping, no factor");
    }
}
