//! The emulator's program: fetched once from PyPI into a virtual environment in the cache.

use super::other;
use std::{
    env,
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// Every package with its version and hashes.
const REQUIREMENTS: &str = include_str!("../../ministack.txt");

/// What the packages ask for.
const PYTHON_MIN: (u32, u32) = (3, 10);

/// How long a fetch may take, and hence how long one process waits for another's.
const FETCH_LIMIT: Duration = Duration::from_secs(300);

/// Written last into a virtual environment: what it was made of.
const MADE_OF: &str = "made-of";

/// A virtual environment that holds the emulator.
pub(super) struct Package {
    folder: PathBuf,
}

impl Package {
    /// Finds it in the cache, or makes it there.
    pub(super) fn find_or_fetch() -> io::Result<Self> {
        let python = python_version()?;
        let package = Self {
            folder: cache()?.join(format!("ministack-{}", version())),
        };
        let made_of = format!("{python}\n{REQUIREMENTS}");
        if package.is_made_of(&made_of) {
            return Ok(package);
        }
        let _held_until_here_ends = lock("ministack")?;
        // Another process may have made it meanwhile.
        if !package.is_made_of(&made_of) {
            package.make(&made_of)?;
        }
        Ok(package)
    }

    /// Its Python, which finds the emulator and nothing else of the machine's.
    pub(super) fn python(&self) -> PathBuf {
        python_in(&self.folder)
    }

    pub(super) fn into_folder(self) -> PathBuf {
        self.folder
    }

    /// Whole, of the versions that we want, and for the Python that is there: one that was upgraded no
    /// longer finds what its predecessor installed.
    fn is_made_of(&self, made_of: &str) -> bool {
        fs::read_to_string(self.folder.join(MADE_OF)).is_ok_and(|text| text == made_of)
            && self.python().exists()
    }

    /// Under another name first, so that a fetch that was cut short is never taken for a whole one.
    fn make(&self, made_of: &str) -> io::Result<()> {
        let part = self
            .folder
            .with_file_name(format!("ministack-{}.part", version()));
        for old in [&part, &self.folder] {
            if old.exists() {
                fs::remove_dir_all(old).map_err(|e| at("remove", old, &e))?;
            }
        }
        let venv = Command::new("python3")
            .args(["-I", "-m", "venv"])
            .arg(&part)
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
        fetch(&part, &requirements)?;
        let stamp = part.join(MADE_OF);
        fs::write(&stamp, made_of).map_err(|e| at("write", &stamp, &e))?;
        fs::rename(&part, &self.folder).map_err(|e| at("rename", &part, &e))
    }
}

/// The emulator's version, as the requirements pin it.
pub(super) fn version() -> &'static str {
    let pin = REQUIREMENTS
        .lines()
        .find_map(|line| line.strip_prefix("ministack=="));
    let version = pin.and_then(|rest| rest.split_whitespace().next());
    version.unwrap_or_default()
}

/// `${LANEKEEPER_CACHE:-~/.cache/lanekeeper}`.
pub(super) fn cache() -> io::Result<PathBuf> {
    if let Some(cache) = env::var_os("LANEKEEPER_CACHE").filter(|path| !path.is_empty()) {
        return Ok(cache.into());
    }
    match env::home_dir().filter(|home| !home.as_os_str().is_empty()) {
        Some(home) => Ok(home.join(".cache").join("lanekeeper")),
        None => Err(other(
            "neither `LANEKEEPER_CACHE` nor `HOME` says where the emulator may be kept: set one of \
             them",
        )),
    }
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

/// Runs pip, with its words in a file: a pipe that nobody reads would stop it.
fn fetch(part: &Path, requirements: &Path) -> io::Result<()> {
    let words = part.join("pip.log");
    let log = File::create(&words).map_err(|e| at("write", &words, &e))?;
    let mut pip = Command::new(python_in(part))
        .args(["-I", "-m", "pip", "install", "--no-input"])
        .args(["--retries", "2", "--timeout", "30"])
        .args(["--disable-pip-version-check", "--require-hashes", "-r"])
        .arg(requirements)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .map_err(|e| other(format!("cannot run pip in {}: {e}", part.display())))?;
    let began = Instant::now();
    let failed = loop {
        match pip.try_wait()? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => break format!("failed ({status})"),
            None if began.elapsed() > FETCH_LIMIT => {
                pip.kill()?;
                pip.wait()?;
                break format!("took more than {FETCH_LIMIT:?}");
            }
            None => sleep(Duration::from_millis(50)),
        }
    };
    let said = fs::read_to_string(&words).unwrap_or_default();
    let lines: Vec<&str> = said.lines().collect();
    let last = lines[lines.len().saturating_sub(15)..].join("\n");
    Err(other(format!(
        "fetching the emulator of DynamoDB from PyPI {failed}: is there a network? Without one, name a \
         table's endpoint in `LANEKEEPER_TEST_DYNAMODB`. All that pip said stands in {}; its last \
         lines:\n{last}",
        words.display(),
    )))
}

/// Waits for a lock in the cache. It goes with the file, also when its process is killed.
pub(super) fn lock(name: &str) -> io::Result<File> {
    let cache = cache()?;
    fs::create_dir_all(&cache).map_err(|e| at("make", &cache, &e))?;
    let path = &cache.join(format!("{name}.lock"));
    let mut options = OpenOptions::new();
    let lock = options.create(true).truncate(false).write(true).open(path);
    let lock = lock.map_err(|e| at("open", path, &e))?;
    let began = Instant::now();
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::WouldBlock) if began.elapsed() < FETCH_LIMIT => {
                sleep(Duration::from_millis(50));
            }
            Err(TryLockError::WouldBlock) => {
                return Err(other(format!(
                    "another process has held {} for {FETCH_LIMIT:?}, while it fetched or started the \
                     emulator of DynamoDB, and seems to hang: end it and run this again",
                    path.display()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(at("lock", path, &error)),
        }
    }
}

fn at(what: &str, path: &Path, error: &io::Error) -> io::Error {
    other(format!("cannot {what} {}: {error}", path.display()))
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
    fn a_half_made_one_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let package = Package {
            folder: folder.path().to_owned(),
        };
        fs::create_dir(folder.path().join("bin")).unwrap();
        fs::write(package.python(), "").unwrap();
        assert!(!package.is_made_of("3.11.7\n"));
        fs::write(folder.path().join(MADE_OF), "3.11.6\n").unwrap();
        assert!(!package.is_made_of("3.11.7\n"));
        fs::write(folder.path().join(MADE_OF), "3.11.7\n").unwrap();
        assert!(package.is_made_of("3.11.7\n"));
    }
}
