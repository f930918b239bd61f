//! All tests in stages, with one closing line.

use crate::{
    cargo::cargo,
    emulator::REFUSED,
    weather::{self, Weather},
};
use std::{
    fmt,
    io::{self, BufReader, Write as _},
    process::Stdio,
};

/// One `cargo test`.
struct Stage {
    what: &'static str,
    args: &'static [&'static str],
    /// Narrowed to tests with this in their names, and left out where others are asked for.
    only: Option<&'static str>,
}

/// First what runs in one process and needs nothing, then what drives the real binary: a fault that
/// both see is told by the smaller test first.
const STAGES: [Stage; 4] = [
    Stage {
        what: "the workspace",
        args: &[
            "--workspace",
            "--exclude",
            "lanekeeper-integration",
            "--features",
            "lanekeeper/dynamodb,lanekeeper/kafka,lanekeeper/kinesis,lanekeeper/lambda,lanekeeper/msk",
        ],
        only: None,
    },
    Stage {
        what: "bugs that are planted into the engine, each to be caught",
        args: &[
            "--package",
            "lanekeeper-partitions",
            "--features",
            "bug-zoo",
            "--test",
            "zoo",
        ],
        only: None,
    },
    Stage {
        what: "simulated histories, optimised: twenty thousand of them",
        args: &[
            "--package",
            "lanekeeper",
            "--test",
            "processor",
            "--profile",
            "simulation",
        ],
        only: Some("simulation::"),
    },
    Stage {
        what: "the real binary",
        args: &["--package", "lanekeeper-integration"],
        only: None,
    },
];

/// What runs again in each weather.
const UNDER_WEATHER: [&str; 9] = [
    "--package",
    "lanekeeper",
    // As in the first stage: nothing is compiled for this alone.
    "--features",
    "lanekeeper/dynamodb,lanekeeper/kafka,lanekeeper/kinesis,lanekeeper/lambda,lanekeeper/msk",
    "--test",
    "processor",
    "--",
    "conformance::dynamodb",
    "dynamodb_store::chains",
];

impl Stage {
    /// Its arguments for `cargo test` with those of the user; `None`: it has no test that they ask for.
    fn args(&self, asked: &[String]) -> Option<Vec<String>> {
        let narrowed = match self.only {
            Some(only) if asked.is_empty() => Some(only.to_owned()),
            Some(only) if !asked.iter().any(|arg| arg.contains(only)) => return None,
            Some(_) | None => None,
        };
        let own = self.args.iter().map(|&arg| arg.to_owned());
        Some(own.chain(narrowed).chain(asked.iter().cloned()).collect())
    }
}

/// What the test runners said.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    passed: u64,
    failed: u64,
    skipped: u64,
    /// Stages that cargo ended with an error, also where no test ran (it did not compile).
    broken_stages: u64,
}

/// Runs all tests in this environment, added to ours, and copies their output to standard output.
/// `args` are added to each `cargo test`.
///
/// # Errors
/// When cargo cannot be started or its output cannot be read.
pub fn run(args: &[String], environment: &[(&str, String)]) -> io::Result<Tally> {
    let mut tally = Tally::default();
    let environment = environment.to_vec();
    for stage in STAGES {
        if let Some(args) = stage.args(args) {
            tally.stage(stage.what, &args, &environment)?;
        }
    }
    // What its user asks for by name is in the stages above, in fair weather.
    let refused = environment.iter().any(|(name, _)| *name == REFUSED);
    if args.is_empty() && !refused {
        tally.weathers()?;
    }
    Ok(tally)
}

/// Runs the tests of the DynamoDB store alone, in one kind of weather after the other.
///
/// # Errors
/// As [`run`], and when no emulator is to be had.
pub fn run_weathers() -> io::Result<Tally> {
    let mut tally = Tally::default();
    tally.weathers()?;
    Ok(tally)
}

impl Tally {
    /// Some test ran and nothing failed.
    pub fn is_success(&self) -> bool {
        self.passed > 0 && self.failed == 0 && self.broken_stages == 0
    }

    /// One `cargo test`.
    fn stage(
        &mut self,
        what: &str,
        args: &[String],
        environment: &[(&str, String)],
    ) -> io::Result<()> {
        writeln!(io::stdout(), "\n--- {what}")?;
        let mut child = cargo()
            .args(["test", "--locked", "--no-fail-fast"])
            .args(args)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::piped())
            .spawn()?;
        if let Some(output) = child.stdout.take() {
            self.copy(BufReader::new(output))?;
        }
        self.broken_stages += u64::from(!child.wait()?.success());
        Ok(())
    }

    fn weathers(&mut self) -> io::Result<()> {
        weather::ALL
            .iter()
            .try_for_each(|weather| self.under(weather))
    }

    /// The conformance suite again, through the proxy.
    fn under(&mut self, weather: &Weather) -> io::Result<()> {
        let storm = weather.begin()?;
        let what = format!("the DynamoDB store while {}", weather.what);
        let args = UNDER_WEATHER.map(str::to_owned);
        self.stage(&what, &args, &storm.environment)?;
        match storm.end() {
            Ok(told) => writeln!(io::stdout(), "{told}"),
            Err(told) => {
                self.failed += 1;
                writeln!(io::stdout(), "FAILED: {told}")
            }
        }
    }

    fn copy(&mut self, mut output: impl io::BufRead) -> io::Result<()> {
        let mut line = Vec::new();
        while output.read_until(b'\n', &mut line)? > 0 {
            io::stdout().write_all(&line)?;
            self.add(&String::from_utf8_lossy(&line));
            line.clear();
        }
        Ok(())
    }

    /// `test result: ok. 12 passed; 0 failed; 1 ignored; …`; other lines say nothing.
    fn add(&mut self, line: &str) {
        let Some((_, figures)) = line
            .strip_prefix("test result: ")
            .and_then(|l| l.split_once(". "))
        else {
            return;
        };
        for figure in figures.split("; ") {
            let Some((count, what)) = figure.split_once(' ') else {
                continue;
            };
            let count: u64 = count.parse().unwrap_or(0);
            match what {
                "passed" => self.passed += count,
                "failed" => self.failed += count,
                "ignored" => self.skipped += count,
                _ => {}
            }
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            passed,
            failed,
            skipped,
            broken_stages,
        } = self;
        if passed + failed == 0 {
            writeln!(
                f,
                "no test ran: did it compile, does a test have that name?"
            )?;
        } else if *failed == 0 && *broken_stages > 0 {
            writeln!(f, "`cargo test` itself failed: its message stands above")?;
        }
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(output: &str) -> Tally {
        let mut tally = Tally::default();
        output.lines().for_each(|line| tally.add(line));
        tally
    }

    #[test]
    fn figures_of_all_binaries_are_summed() {
        let sum = tally(
            "running 3 tests\n\
             test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
             test result: FAILED. 5 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1s\n",
        );
        assert_eq!(sum.to_string(), "8 passed, 2 failed, 1 skipped");
        assert!(!sum.is_success());
    }

    #[test]
    fn what_is_asked_for_reaches_the_stages_that_have_it() {
        let asked = |args: &[&str]| {
            let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
            let stages = STAGES.iter().map(|stage| stage.args(&args));
            stages
                .map(|args| args.and_then(|args| args.last().cloned()))
                .collect::<Vec<_>>()
        };
        let name = |name: &str| Some(name.to_owned());
        let all = asked(&[]);
        assert_eq!(all[2], name("simulation::"));
        assert!(all.iter().all(Option::is_some));
        let (g7, histories) = (name("g7_"), "simulation::histories_hold");
        assert_eq!(asked(&["g7_"]), [g7.clone(), g7.clone(), None, g7]);
        assert_eq!(asked(&[histories])[2], name(histories));
    }

    #[test]
    fn no_test_is_no_success() {
        let none =
            tally("test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 9 filtered out\n");
        assert!(!none.is_success());
        assert!(none.to_string().starts_with("no test ran"), "{none}");
    }

    #[test]
    fn a_stage_that_did_not_compile_is_no_success() {
        let mut sum = tally("test result: ok. 3 passed; 0 failed; 0 ignored\n");
        assert!(sum.is_success());
        sum.broken_stages = 1;
        assert!(!sum.is_success());
        assert!(sum.to_string().contains("itself failed"), "{sum}");
    }
}
