//! All tests in two stages, with one closing line.

use std::{
    env, fmt,
    io::{self, BufReader, Write as _},
    process::{Command, Stdio},
};

/// First what runs in this process or needs nothing, then what drives the real binary: a fault that
/// both see is told by the smaller test first.
const STAGES: [&[&str]; 2] = [
    &["--workspace", "--exclude", "lanekeeper-integration"],
    &["--package", "lanekeeper-integration"],
];

/// What the test runners said.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    passed: u64,
    failed: u64,
    skipped: u64,
    /// Stages that cargo ended with an error, also where no test ran (it did not compile).
    broken_stages: u64,
}

/// Runs all tests and copies their output to standard output. `args` are added to each `cargo test`.
///
/// # Errors
/// When cargo cannot be started or its output cannot be read.
pub fn run(args: &[String]) -> io::Result<Tally> {
    let mut tally = Tally::default();
    for stage in STAGES {
        let mut child = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["test", "--locked", "--no-fail-fast"])
            .args(stage)
            .args(args)
            .stdout(Stdio::piped())
            .spawn()?;
        if let Some(output) = child.stdout.take() {
            tally.copy(BufReader::new(output))?;
        }
        tally.broken_stages += u64::from(!child.wait()?.success());
    }
    Ok(tally)
}

impl Tally {
    /// Some test ran and nothing failed.
    pub fn is_success(&self) -> bool {
        self.passed > 0 && self.failed == 0 && self.broken_stages == 0
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
