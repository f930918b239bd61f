//! `lanekeeper completions`: what a shell needs to complete our arguments.

use super::{Arguments, exit::CommandError, output};
use clap::{Args, CommandFactory};
use clap_complete::Shell;

#[derive(Args)]
pub(crate) struct CompletionsArguments {
    /// Which shell.
    shell: Shell,
}

pub(crate) fn run(arguments: &CompletionsArguments) -> Result<(), CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(
        arguments.shell,
        &mut Arguments::command(),
        "lanekeeper",
        &mut script,
    );
    output::raw(&script)
}
