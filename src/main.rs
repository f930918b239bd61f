//! The command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    lanekeeper::cli::main()
}
