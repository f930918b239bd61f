//! What tests fetch once, and what `cargo integration up` says of what it started: a folder outside the
//! clone.

use std::{
    env,
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// How long a fetch may take, and hence how long one process waits for another's.
const FETCH_LIMIT: Duration = Duration::from_secs(300);

/// Written last into what was fetched: what it was made of.
pub(crate) const MADE_OF: &str = "made-of";

/// Lines of a fetch's output that an error repeats.
const LINES_TOLD: usize = 15;

/// `${LANEKEEPER_CACHE:-~/.cache/lanekeeper}`.
///
/// # Errors
/// When the environment says neither.
pub(crate) fn folder() -> io::Result<PathBuf> {
    if let Some(cache) = env::var_os("LANEKEEPER_CACHE").filter(|path| !path.is_empty()) {
        return Ok(cache.into());
    }
    match env::home_dir().filter(|home| !home.as_os_str().is_empty()) {
        Some(home) => Ok(home.join(".cache").join("lanekeeper")),
        None => Err(io::Error::other(
            "neither `LANEKEEPER_CACHE` nor `HOME` says where the servers of tests may be kept: set one \
             of them",
        )),
    }
}

/// Something that is fetched into a folder of the cache and whole there, or not there.
pub(crate) struct Fetched {
    folder: PathBuf,
    made_of: String,
}

impl Fetched {
    /// What lies under this name in the cache if it is made of just that.
    pub(crate) fn new(name: &str, made_of: String) -> io::Result<Self> {
        Ok(Self::in_folder(folder()?.join(name), made_of))
    }

    pub(crate) fn in_folder(folder: PathBuf, made_of: String) -> Self {
        Self { folder, made_of }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Nothing of it is missing, and it is of the kind that is wanted.
    pub(crate) fn is_whole(&self) -> bool {
        fs::read_to_string(self.folder.join(MADE_OF)).is_ok_and(|text| text == self.made_of)
    }

    /// Makes it, under another name first, so that a fetch that was cut short is never taken for a whole
    /// one. The caller holds a [`lock`].
    pub(crate) fn make(&self, fill: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
        let mut part = self.folder.clone().into_os_string();
        part.push(".part");
        let part = PathBuf::from(part);
        for old in [&part, &self.folder] {
            if old.exists() {
                fs::remove_dir_all(old).map_err(|e| at("remove", old, &e))?;
            }
        }
        fs::create_dir_all(&part).map_err(|e| at("make", &part, &e))?;
        fill(&part)?;
        let stamp = part.join(MADE_OF);
        fs::write(&stamp, &self.made_of).map_err(|e| at("write", &stamp, &e))?;
        fs::rename(&part, &self.folder).map_err(|e| at("rename", &part, &e))
    }
}

/// Runs a program that fetches, with its words in a file: a pipe that nobody reads would stop it.
///
/// # Errors
/// When it cannot be started, fails, or takes too long: what became of it, and its last words.
pub(crate) fn run(command: &mut Command, words: &Path) -> io::Result<()> {
    let log = File::create(words).map_err(|e| at("write", words, &e))?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?;
    let began = Instant::now();
    let failed = loop {
        match child.try_wait()? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => break format!("failed ({status})"),
            None if began.elapsed() > FETCH_LIMIT => {
                child.kill()?;
                child.wait()?;
                break format!("took more than {FETCH_LIMIT:?}");
            }
            None => sleep(Duration::from_millis(50)),
        }
    };
    let said = fs::read_to_string(words).unwrap_or_default();
    let lines: Vec<&str> = said.lines().collect();
    let last = lines[lines.len().saturating_sub(LINES_TOLD)..].join("\n");
    Err(io::Error::other(format!(
        "it {failed}; all that it said stands in {}, its last lines:\n{last}",
        words.display()
    )))
}

/// Waits for a lock in the cache. It goes with the file, also when its process is killed.
pub(crate) fn lock(name: &str) -> io::Result<File> {
    let cache = folder()?;
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
                return Err(io::Error::other(format!(
                    "another process has held {} for {FETCH_LIMIT:?}, while it fetched or started \
                     `{name}`, and seems to hang: end it and run this again",
                    path.display()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(at("lock", path, &error)),
        }
    }
}

/// An error with what was tried and where.
pub(crate) fn at(what: &str, path: &Path, error: &io::Error) -> io::Error {
    io::Error::other(format!("cannot {what} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fetched(within: &Path, made_of: &str) -> Fetched {
        Fetched::in_folder(within.join("thing-1.2.3"), made_of.to_owned())
    }

    #[test]
    fn a_half_made_one_is_none() {
        let cache = tempfile::tempdir().unwrap();
        let thing = fetched(cache.path(), "a b");
        let cut_short = thing.make(|part| {
            fs::write(part.join("a"), "")?;
            Err(io::Error::other("the network is gone"))
        });
        assert!(cut_short.is_err());
        assert!(!thing.is_whole());
        assert!(!thing.folder().exists());
        thing
            .make(|part| {
                assert!(!part.join("a").exists(), "of the one that was cut short");
                fs::write(part.join("b"), "")
            })
            .unwrap();
        assert!(thing.is_whole());
        assert!(thing.folder().join("b").exists());
    }

    #[test]
    fn one_made_of_something_else_is_none_and_made_anew() {
        let cache = tempfile::tempdir().unwrap();
        fetched(cache.path(), "old").make(|_| Ok(())).unwrap();
        let thing = fetched(cache.path(), "new");
        assert!(!thing.is_whole());
        thing.make(|_| Ok(())).unwrap();
        assert!(thing.is_whole());
    }

    #[test]
    fn a_failure_has_the_last_words() {
        let folder = tempfile::tempdir().unwrap();
        let words = folder.path().join("log");
        let mut script = Command::new("sh");
        script.args(["-c", "echo first; seq 100; echo no such host >&2; exit 3"]);
        let told = run(&mut script, &words).unwrap_err().to_string();
        assert!(told.contains("exit status: 3"), "{told}");
        assert!(told.ends_with("100\nno such host"), "{told}");
        assert!(!told.contains("first"), "{told}");
        assert!(fs::read_to_string(words).unwrap().starts_with("first\n"));
    }
}
