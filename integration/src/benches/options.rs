//! What to compare.

use super::{cases, programs::Reader};

/// Behind `cargo integration bench kafka`.
pub const USAGE: &str = "\
Usage: cargo integration bench kafka [CASE …] [READER …] [--rounds N] [--quick] [--without-peers]

  CASE      throughput, handlers, latency, or a part of one case's name, such as `zipf` or
            `throughput/1024` [default: all]
  READER    bare, sqlite, dynamodb, parallel-consumer, ruststream-rdkafka [default: all]
  --rounds  of each case [default: 5 of throughput, 3 of the others]
  --quick   a tenth of the records, 2 rounds: whether everything runs, no figures to show
  --without-peers
            without parallel-consumer (which needs Maven and a JDK) and ruststream-rdkafka (which is
            compiled for it)
";

/// Which cases and readers, and how thoroughly.
#[derive(Debug, Default)]
pub struct Options {
    pub(super) cases: Vec<String>,
    pub(super) readers: Vec<Reader>,
    pub(super) rounds: Option<usize>,
    pub(super) is_quick: bool,
}

impl Options {
    /// Reads the arguments behind `bench kafka`.
    ///
    /// # Errors
    /// When one of them is none; the message says which.
    pub fn from_args(args: &[String]) -> Result<Self, String> {
        let mut options = Self::default();
        let mut has_peers = true;
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--quick" => options.is_quick = true,
                "--without-peers" => has_peers = false,
                "--rounds" => {
                    let rounds = args.next().and_then(|text| text.parse().ok());
                    let rounds = rounds.filter(|rounds| *rounds > 0);
                    options.rounds = Some(rounds.ok_or("`--rounds` needs a number from 1 on")?);
                }
                option if option.starts_with('-') => {
                    return Err(format!("unexpected argument `{option}`"));
                }
                word => match Reader::named(word) {
                    Some(reader) => options.readers.push(reader),
                    None if cases::all().iter().any(|case| case.name.contains(word)) => {
                        options.cases.push(word.to_owned());
                    }
                    None => return Err(format!("`{word}` is neither a case nor a reader")),
                },
            }
        }
        if options.readers.is_empty() {
            options.readers = Reader::ALL.to_vec();
        }
        options
            .readers
            .retain(|reader| has_peers || !reader.is_peer());
        if options.readers.is_empty() {
            return Err("no reader is left".to_owned());
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &str) -> Result<Options, String> {
        let args: Vec<String> = args.split_whitespace().map(str::to_owned).collect();
        Options::from_args(&args)
    }

    #[test]
    fn cases_and_readers_are_told_apart() {
        let options = read("zipf sqlite parallel-consumer --rounds 7").unwrap();
        assert_eq!(options.cases, ["zipf"]);
        assert_eq!(options.readers, [Reader::Sqlite, Reader::ParallelConsumer]);
        assert_eq!(options.rounds, Some(7));
    }

    #[test]
    fn peers_can_be_left_out() {
        let options = read("--without-peers").unwrap();
        assert_eq!(
            options.readers,
            [Reader::Bare, Reader::Sqlite, Reader::Dynamodb]
        );
        assert!(
            read("--without-peers parallel-consumer").is_err(),
            "nothing is left"
        );
    }

    #[test]
    fn what_is_neither_is_refused() {
        for wrong in [
            "nonsense",
            "--nonsense",
            "--rounds",
            "--rounds 0",
            "--rounds x",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
