//! `lanekeeper init`: writes a commented configuration.

use super::{exit::CommandError, output};
use crate::config::TEMPLATE;
use clap::Args;
use std::{
    fs::OpenOptions,
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

#[derive(Args)]
pub(crate) struct InitArguments {
    /// The file to write; `-` is stdout.
    #[arg(default_value = "lanekeeper.toml")]
    file: PathBuf,
}

pub(crate) fn run(arguments: &InitArguments) -> Result<(), CommandError> {
    let path = &arguments.file;
    if path == Path::new("-") {
        return output::raw(TEMPLATE.as_bytes());
    }
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .and_then(|mut file| file.write_all(TEMPLATE.as_bytes()));
    match written {
        Ok(()) => {
            output::note(&format!(
                "wrote `{}`: set `app`, `cap`, the source and the handler, then run `lanekeeper check`",
                path.display()
            ));
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            Err(CommandError::Usage(format!(
                "`{}` is there already and was not touched: name another file, or `-` for stdout",
                path.display()
            )))
        }
        Err(error) => Err(CommandError::Usage(format!(
            "`{}` cannot be written: {error}",
            path.display()
        ))),
    }
}
