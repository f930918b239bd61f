//! The repository's text files.

use std::{fs, io, path::Path};

/// A text file of the repository.
pub(crate) struct SourceFile {
    /// Relative to the repository, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// Not ours, or not written by hand.
const SKIPPED: [&str; 4] = [".git", "target", "Cargo.lock", "__pycache__"];

/// All text files of the repository, in order of their paths.
pub(crate) fn files() -> io::Result<Vec<SourceFile>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if SKIPPED.iter().any(|skipped| entry.file_name() == *skipped) {
                continue;
            }
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else if let (Ok(text), Ok(relative)) =
                (String::from_utf8(fs::read(&path)?), path.strip_prefix(root))
            {
                files.push(SourceFile {
                    path: relative.to_string_lossy().replace('\\', "/"),
                    text,
                });
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

/// One file by its path.
pub(crate) fn file(path: &str) -> io::Result<SourceFile> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path))?;
    Ok(SourceFile {
        path: path.to_owned(),
        text,
    })
}
