//! `lanekeeper completions`: what a shell needs to complete our arguments.

use super::{command, exit::CommandError, output};
use crate::program::Program;
use clap::Args;
use clap_complete::Shell;

#[derive(Args)]
pub(crate) struct CompletionsArguments {
    /// Which shell.
    shell: Shell,
}

pub(crate) fn run(
    arguments: &CompletionsArguments,
    program: Option<&Program>,
) -> Result<(), CommandError> {
    let name = program.and_then(Program::name);
    let mut script = Vec::new();
    clap_complete::generate(
        arguments.shell,
        &mut command(program),
        name.map_or("lanekeeper", |(name, _)| name),
        &mut script,
    );
    output::raw(&script)
}
