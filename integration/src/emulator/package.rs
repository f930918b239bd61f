//! The emulator's program: fetched once from PyPI into a virtual environment in the cache.

use super::other;
use crate::cache::{self, Fetched, at};
use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Every package with its version and hashes.
const REQUIREMENTS: &str = include_str!("../../ministack.txt");

/// What the packages ask for.
const PYTHON_MIN: (u32, u32) = (3, 10);

/// A virtual environment that holds the emulator.
pub(crate) struct Package {
    fetched: Fetched,
}

impl Package {
    /// Finds it in the cache, or makes it there.
    pub(super) fn find_or_fetch() -> io::Result<Self> {
        let made_of = format!("{}\n{REQUIREMENTS}", python_version()?);
        let package = Self {
            fetched: Fetched::new(&format!("ministack-{}", version()), made_of)?,
        };
        if package.is_whole() {
            return Ok(package);
        }
        let _held_until_here_ends = cache::lock("ministack")?;
        // Another process may have made it meanwhile.
        if !package.is_whole() {
            package.fetched.make(fill)?;
        }
        Ok(package)
    }

    /// Its Python, which finds the emulator and nothing else of the machine's.
    pub(super) fn python(&self) -> PathBuf {
        python_in(self.fetched.folder())
    }

    pub(super) fn into_folder(self) -> PathBuf {
        self.fetched.folder().to_owned()
    }

    /// Of the versions that we want, and for the Python that is there: one that was upgraded no longer
    /// finds what its predecessor installed.
    fn is_whole(&self) -> bool {
        self.fetched.is_whole() && self.python().exists()
    }
}

/// Makes the virtual environment in this folder.
fn fill(part: &Path) -> io::Result<()> {
    let venv = Command::new("python3")
        .args(["-I", "-m", "venv"])
        .arg(part)
        .stdin(Stdio::null())
        .output()
        .map_err(|e| other(format!("cannot run `python3 -m venv`: {e}")))?;
    if !venv.status.success() {
        return Err(other(format!(
            "`python3 -m venv {}` failed: install what it misses (Debian: \
             `apt-get install python3-venv`) and run this again; it said:\n{}{}",
            part.display(),
            String::from_utf8_lossy(&venv.stdout),
            String::from_utf8_lossy(&venv.stderr),
        )));
    }
    let requirements = part.join("requirements.txt");
    fs::write(&requirements, REQUIREMENTS).map_err(|e| at("write", &requirements, &e))?;
    fetch(part, &requirements)
}

/// The emulator's version, as the requirements pin it.
pub(crate) fn version() -> &'static str {
    let pin = REQUIREMENTS
        .lines()
        .find_map(|line| line.strip_prefix("ministack=="));
    let version = pin.and_then(|rest| rest.split_whitespace().next());
    version.unwrap_or_default()
}

/// The version as Python prints it, when it is new enough.
fn python_version() -> io::Result<String> {
    let (major, minor) = PYTHON_MIN;
    let script = "import sys; print(*sys.version_info[:3], sep='.')";
    let asked = Command::new("python3")
        .args(["-I", "-c", script])
        .stdin(Stdio::null())
        .output()
        .map_err(|e| {
            other(format!(
                "cannot run `python3`: {e}; the emulator of DynamoDB is written in it: install it \
                 (Debian: `apt-get install python3 python3-venv`), or name a table's endpoint in \
                 `LANEKEEPER_TEST_DYNAMODB`"
            ))
        })?;
    let said = String::from_utf8_lossy(&asked.stdout).trim().to_owned();
    let mut parts = said.split('.').map(|part| part.parse::<u32>().ok());
    let found = (parts.next().flatten(), parts.next().flatten());
    match found {
        (Some(found_major), Some(found_minor)) if (found_major, found_minor) >= PYTHON_MIN => {
            Ok(said)
        }
        _ => Err(other(format!(
            "`python3` is `{said}`, the emulator of DynamoDB needs {major}.{minor} or later: \
             install it, or name a table's endpoint in `LANEKEEPER_TEST_DYNAMODB`"
        ))),
    }
}

fn python_in(folder: &Path) -> PathBuf {
    folder.join("bin").join("python3")
}

fn fetch(part: &Path, requirements: &Path) -> io::Result<()> {
    let mut pip = Command::new(python_in(part));
    pip.args(["-I", "-m", "pip", "install", "--no-input"])
        .args(["--retries", "2", "--timeout", "30"])
        .args(["--disable-pip-version-check", "--require-hashes", "-r"])
        .arg(requirements);
    cache::run(&mut pip, &part.join("pip.log")).map_err(|e| {
        other(format!(
            "cannot fetch the emulator of DynamoDB from PyPI with pip: is there a network? Without one, \
             name a table's endpoint in `LANEKEEPER_TEST_DYNAMODB`. Of pip: {e}"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_pinned_and_hashed() {
        assert!(version().split('.').count() == 3, "{}", version());
        let mut packages = 0;
        let joined = REQUIREMENTS.replace("\\\n", " ");
        for line in joined.lines().filter(|line| !line.starts_with('#')) {
            packages += 1;
            assert!(line.contains("=="), "no version: {line}");
            assert!(line.contains("--hash=sha256:"), "no hash: {line}");
        }
        assert!(packages > 10, "{packages}");
    }

    #[test]
    fn one_without_its_python_is_none() {
        let cache = tempfile::tempdir().unwrap();
        let folder = cache.path().join("ministack");
        let package = Package {
            fetched: Fetched::in_folder(folder, String::new()),
        };
        package
            .fetched
            .make(|part| {
                fs::create_dir(part.join("bin"))?;
                fs::write(python_in(part), "")
            })
            .unwrap();
        assert!(package.is_whole());
        fs::remove_file(package.python()).unwrap();
        assert!(!package.is_whole());
    }
}
