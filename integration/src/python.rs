//! Programs in Python: fetched once from PyPI, each with all that it needs into a virtual environment in
//! the cache.

use crate::cache::{self, Fetched, at};
use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// What the packages ask for.
const PYTHON_MIN: (u32, u32) = (3, 10);

/// A program, and how it is pinned.
pub(crate) struct Program {
    /// The package that is wanted; the others are what it needs.
    pub(crate) package: &'static str,
    /// Every package with its version and hashes.
    pub(crate) requirements: &'static str,
    /// For people: "the emulator of DynamoDB".
    pub(crate) what: &'static str,
    /// What else would do, behind "install it".
    pub(crate) otherwise: &'static str,
}

/// A virtual environment that holds a program.
pub(crate) struct Package {
    fetched: Fetched,
}

impl Program {
    /// Finds it in the cache, or makes it there.
    pub(crate) fn find_or_fetch(&self) -> io::Result<Package> {
        let made_of = format!("{}\n{}", self.python_version()?, self.requirements);
        let package = Package {
            fetched: Fetched::new(&format!("{}-{}", self.package, self.version()), made_of)?,
        };
        if package.is_whole() {
            return Ok(package);
        }
        let _held_until_here_ends = cache::lock(self.package)?;
        // Another process may have made it meanwhile.
        if !package.is_whole() {
            package.fetched.make(|part| self.fill(part))?;
        }
        Ok(package)
    }

    /// Its version, as the requirements pin it.
    pub(crate) fn version(&self) -> &'static str {
        let pin = self.requirements.lines().find_map(|line| {
            let rest = line.strip_prefix(self.package)?;
            rest.strip_prefix("==")
        });
        let version = pin.and_then(|rest| rest.split_whitespace().next());
        version.unwrap_or_default()
    }

    /// Makes the virtual environment in this folder.
    fn fill(&self, part: &Path) -> io::Result<()> {
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
        fs::write(&requirements, self.requirements).map_err(|e| at("write", &requirements, &e))?;
        self.fetch(part, &requirements)
    }

    /// The version as Python prints it, when it is new enough.
    fn python_version(&self) -> io::Result<String> {
        let (major, minor) = PYTHON_MIN;
        let script = "import sys; print(*sys.version_info[:3], sep='.')";
        let asked = Command::new("python3")
            .args(["-I", "-c", script])
            .stdin(Stdio::null())
            .output()
            .map_err(|e| {
                other(format!(
                    "cannot run `python3`: {e}; {} is written in it: install it (Debian: \
                     `apt-get install python3 python3-venv`){}",
                    self.what, self.otherwise
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
                "`python3` is `{said}`, {} needs {major}.{minor} or later: install it{}",
                self.what, self.otherwise
            ))),
        }
    }

    fn fetch(&self, part: &Path, requirements: &Path) -> io::Result<()> {
        let mut pip = Command::new(python_in(part));
        pip.args(["-I", "-m", "pip", "install", "--no-input"])
            .args(["--retries", "2", "--timeout", "30"])
            .args(["--disable-pip-version-check", "--require-hashes", "-r"])
            .arg(requirements);
        cache::run(&mut pip, &part.join("pip.log")).map_err(|e| {
            other(format!(
                "cannot fetch {} from PyPI with pip: is there a network? Without one it cannot be had{}. \
                 Of pip: {e}",
                self.what, self.otherwise
            ))
        })
    }
}

impl Package {
    /// Its Python, which finds the program and nothing else of the machine's.
    pub(crate) fn python(&self) -> PathBuf {
        python_in(self.fetched.folder())
    }

    pub(crate) fn into_folder(self) -> PathBuf {
        self.fetched.folder().to_owned()
    }

    /// Of the versions that we want, and for the Python that is there: one that was upgraded no longer
    /// finds what its predecessor installed.
    fn is_whole(&self) -> bool {
        self.fetched.is_whole() && self.python().exists()
    }
}

fn python_in(folder: &Path) -> PathBuf {
    folder.join("bin").join("python3")
}

fn other(text: String) -> io::Error {
    io::Error::other(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{emulator::package::MINISTACK, templates::CFN_LINT};

    #[test]
    fn everything_is_pinned_and_hashed() {
        for program in [&MINISTACK, &CFN_LINT] {
            let version = program.version();
            assert_eq!(version.split('.').count(), 3, "{}", program.package);
            let mut packages = 0;
            let joined = program.requirements.replace("\\\n", " ");
            for line in joined.lines().filter(|line| !line.starts_with('#')) {
                packages += 1;
                assert!(line.contains("=="), "no version: {line}");
                assert!(line.contains("--hash=sha256:"), "no hash: {line}");
            }
            assert!(packages > 10, "{}: {packages}", program.package);
        }
    }

    #[test]
    fn one_without_its_python_is_none() {
        let cache = tempfile::tempdir().unwrap();
        let folder = cache.path().join("program");
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
