//! What a reader is asked to do. Every harness takes the same arguments and prints the same line.

use std::time::Duration;

/// Of one reader: which records, how, and how long each takes.
pub(crate) struct Job {
    pub(crate) servers: String,
    pub(crate) topic: String,
    pub(crate) group: String,
    /// Measured; behind them nothing is expected.
    pub(crate) records: u64,
    /// Read first and not measured.
    pub(crate) warm_up: u64,
    /// Keys are numbered below this.
    pub(crate) keys: usize,
    pub(crate) cap: u32,
    pub(crate) records_per_call: u32,
    /// Of one call of the handler; 0: it does nothing.
    pub(crate) delay: Duration,
    pub(crate) latencies: bool,
}

impl Job {
    /// Of `--servers HOST:PORT --topic T --group G --records N --warm-up N --keys N --cap N
    /// --records-per-call N --delay MS --latencies yes|no`, each of which has to be there.
    pub(crate) fn from_args(args: &[String]) -> Result<Self, String> {
        let text = |name: &str| text(args, name);
        let number = |name: &str| number(args, name);
        let small = |name: &str| {
            let number = number(name)?;
            u32::try_from(number).map_err(|e| format!("`{name} {number}`: {e}"))
        };
        Ok(Self {
            servers: text("--servers")?,
            topic: text("--topic")?,
            group: text("--group")?,
            records: number("--records")?,
            warm_up: number("--warm-up")?,
            keys: small("--keys")? as usize,
            cap: small("--cap")?,
            records_per_call: small("--records-per-call")?,
            delay: Duration::from_millis(number("--delay")?),
            latencies: text("--latencies")? == "yes",
        })
    }

    /// All that the topic has.
    pub(crate) fn total(&self) -> u64 {
        self.warm_up + self.records
    }
}

/// The value behind a name.
pub(crate) fn text(args: &[String], name: &str) -> Result<String, String> {
    let at = args.iter().position(|arg| arg == name);
    let value = at.and_then(|at| args.get(at + 1));
    value.cloned().ok_or_else(|| format!("`{name}` is missing"))
}

/// The number behind a name.
pub(crate) fn number(args: &[String], name: &str) -> Result<u64, String> {
    let text = text(args, name)?;
    text.parse().map_err(|e| format!("`{name} {text}`: {e}"))
}
