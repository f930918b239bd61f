//! Behind an event source mapping nobody owns a partition: why its frontier is not known.

use crate::config::{Config, SourceKind};

/// Why nothing of a source can be known to be settled up to a position; `None`: its partitions have
/// owners, whose checkpoints say it. `is_owned`: the partition has had one.
pub(super) fn unknown_frontier(config: &Config, source: &str, is_owned: bool) -> Option<String> {
    let source = config.sources.iter().find(|s| s.name == source)?;
    match &source.kind {
        SourceKind::Kinesis { .. } => Some(of_stream(config)),
        SourceKind::DynamodbStreams { .. } => Some(
            "its mapping keeps a place in each shard, where nobody can read it, and its events do not name the shards, which are one partition here"
                .to_owned(),
        ),
        SourceKind::Sqs { .. } => Some(
            "a queue has no place up to which all is settled: its mapping deletes each message that is done"
                .to_owned(),
        ),
        SourceKind::Kafka { .. } if !is_owned => Some(
            "its mapping keeps the place, in the offsets of its own group; marks say what is done, and not that nothing before it was filtered or given up"
                .to_owned(),
        ),
        SourceKind::Kafka { .. } | SourceKind::Local { .. } => None,
    }
}

fn of_stream(config: &Config) -> String {
    let at_once = match config.lambda.parallelization_factor {
        Some(1) => String::new(),
        Some(n) => format!(
            "up to {n} invocations have records of a shard at once (`lambda.parallelization_factor`), and "
        ),
        None => "more than one invocation may have records of a shard at once (`lambda.parallelization_factor` is not set), and "
            .to_owned(),
    };
    format!(
        "{at_once}its mapping keeps the place, where nobody can read it; marks say what is done, and not that nothing before it was filtered or given up (by retries or age), which no setting declares"
    )
}

#[cfg(test)]
#[cfg(feature = "lambda")]
mod tests {
    use super::*;
    use std::path::Path;

    fn config(lambda: &str) -> Config {
        let text = format!(
            "app = \"a\"\ncap = 1\n\
             [sources.s]\ntype = \"kinesis\"\narn = \"arn:aws:kinesis:eu-west-1:1:stream/s\"\n\
             [sources.q]\ntype = \"sqs\"\nqueue_url = \"https://sqs.eu-west-1.amazonaws.com/1/q\"\n\
             [sources.d]\ntype = \"dynamodb-streams\"\narn = \"arn:aws:dynamodb:eu-west-1:1:table/t/stream/2020\"\n\
             [sources.k]\ntype = \"kafka\"\nbootstrap_servers = \"localhost:9092\"\ntopics = [\"t\"]\n\
             [sources.l]\ntype = \"local\"\ntopic = \"t\"\n{lambda}"
        );
        Config::from_toml(&text, Path::new("lanekeeper.toml")).expect("sound")
    }

    #[test]
    fn it_is_said_of_what_a_mapping_delivers_and_of_nothing_else() {
        let config = config("");
        let why = |source, is_owned| unknown_frontier(&config, source, is_owned);
        for (source, is_owned) in [("l", false), ("l", true), ("k", true), ("other", false)] {
            assert_eq!(why(source, is_owned), None, "{source}");
        }
        assert!(
            why("k", false)
                .expect("a mapping")
                .contains("its own group")
        );
        assert!(
            why("q", false)
                .expect("a queue")
                .contains("deletes each message")
        );
        assert!(
            why("d", false)
                .expect("a table's stream")
                .contains("do not name the shards")
        );
        assert!(
            why("s", false)
                .expect("a stream")
                .contains("no setting declares")
        );
    }

    #[test]
    fn of_a_stream_it_is_said_whether_several_invocations_have_a_shard() {
        let said = |lambda: &str| unknown_frontier(&config(lambda), "s", false).expect("a stream");
        assert!(said("").contains("`lambda.parallelization_factor` is not set"));
        let two = "[lambda]\nparallelization_factor = 2\n";
        assert!(said(two).contains("up to 2 invocations"));
        let one = "[lambda]\nparallelization_factor = 1\n";
        assert!(said(one).starts_with("its mapping keeps the place"));
    }
}
