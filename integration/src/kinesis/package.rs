//! The emulator's program: fetched once with npm into the cache.

use crate::cache::{self, Fetched, at};
use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

/// Every package with its version and hash, as npm writes them.
const LOCK: &str = include_str!("../../kinesis-local.json");

/// What of the lock file stands in `package.json`.
const MANIFEST: &str =
    r#"{"name": "lanekeeper-kinesis", "dependencies": {"kinesis-local": "VERSION"}}"#;

const REMEDY: &str = "the emulator of Kinesis runs in Node and npm fetches it: install both (Debian: \
                      `apt-get install nodejs npm`)";

/// A folder that holds the emulator.
pub(super) struct Package {
    fetched: Fetched,
}

impl Package {
    /// Finds it in the cache, or makes it there.
    pub(super) fn find_or_fetch() -> io::Result<Self> {
        let package = Self {
            fetched: Fetched::new(&format!("kinesis-local-{}", version()), LOCK.to_owned())?,
        };
        if package.fetched.is_whole() {
            return Ok(package);
        }
        let _held_until_here_ends = cache::lock("kinesis-local")?;
        // Another process may have made it meanwhile.
        if !package.fetched.is_whole() {
            package.fetched.make(fill)?;
        }
        Ok(package)
    }

    /// Where its program and its certificate are.
    pub(super) fn folder(&self) -> PathBuf {
        let modules = self.fetched.folder().join("node_modules");
        modules.join("kinesis-local")
    }
}

/// Its version, as the lock file pins it.
pub(super) fn version() -> String {
    let lock: serde_json::Value = serde_json::from_str(LOCK).unwrap_or_default();
    let package = &lock["packages"]["node_modules/kinesis-local"];
    package["version"].as_str().unwrap_or_default().to_owned()
}

/// Without scripts: nothing of it runs while it is fetched.
fn fill(part: &Path) -> io::Result<()> {
    for (name, text) in [
        ("package.json", MANIFEST.replace("VERSION", &version())),
        ("package-lock.json", LOCK.to_owned()),
    ] {
        let path = part.join(name);
        fs::write(&path, text).map_err(|e| at("write", &path, &e))?;
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .current_dir(part);
    cache::run(&mut npm, &part.join("npm.log")).map_err(|e| {
        io::Error::other(format!(
            "cannot fetch the emulator of Kinesis with npm: is there a network? {REMEDY}. Of npm: {e}"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_pinned_and_hashed() {
        assert_eq!(version().split('.').count(), 3, "{}", version());
        let lock: serde_json::Value = serde_json::from_str(LOCK).unwrap();
        let packages = lock["packages"].as_object().unwrap();
        assert!(packages.len() > 1);
        for (name, package) in packages.iter().filter(|(name, _)| !name.is_empty()) {
            let hash = package["integrity"].as_str().unwrap_or_default();
            assert!(hash.starts_with("sha512-"), "no hash: {name}");
            assert!(
                package["resolved"].is_null(),
                "from one registry alone: {name}"
            );
        }
        assert_eq!(packages[""]["dependencies"]["kinesis-local"], version());
    }
}
