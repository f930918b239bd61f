//! The DynamoDB that tests talk to: a table that the user names, or an emulator of our own.

mod detached;
pub(crate) mod package;
mod probe;
pub(crate) mod server;

pub use detached::{down, up};

use crate::{python::Package, server::variable};
use package::MINISTACK;
use server::{DYNAMODB, Server};
use std::{
    io::{self, Write as _},
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
    thread,
};

/// Names the endpoint that tests use.
pub const ENDPOINT: &str = "LANEKEEPER_TEST_DYNAMODB";

/// What stands behind the endpoint, set by `cargo integration test` for the tests that it runs.
const NAME: &str = "LANEKEEPER_TEST_DYNAMODB_NAME";

/// Why `cargo integration test` could not start an emulator: its tests need not find out each by
/// itself.
pub(crate) const REFUSED: &str = "LANEKEEPER_TEST_DYNAMODB_REFUSED";

/// The one emulator of this process.
static OWN: Mutex<Weak<Server>> = Mutex::new(Weak::new());

/// Fetches the emulator into the cache, unless it is there, and says where.
///
/// # Errors
/// When something is missing or there is no network; the message says what to do.
pub fn fetch() -> io::Result<PathBuf> {
    Ok(MINISTACK.find_or_fetch()?.into_folder())
}

/// A DynamoDB for tests. Dropped, it ends the emulator, if it was the last to use one that this process
/// has started.
pub struct Dynamodb {
    endpoint: String,
    name: String,
    server: Option<Arc<Server>>,
}

impl Dynamodb {
    /// What `LANEKEEPER_TEST_DYNAMODB` names; else the emulator that `cargo integration up` has
    /// started; else an emulator for this process, which all its tests share.
    ///
    /// # Errors
    /// When the named endpoint does not answer, or the emulator cannot be fetched or started; the
    /// message says what to do.
    pub fn start() -> io::Result<Self> {
        if let Some(error) = variable(REFUSED) {
            return Err(other(error));
        }
        if let Some(endpoint) = variable(ENDPOINT) {
            return Self::named(endpoint);
        }
        Self::emulator()
    }

    /// As [`Dynamodb::start`], but an emulator where `LANEKEEPER_TEST_DYNAMODB` names an `https://`
    /// endpoint: nothing of ours can stand between a client and that.
    ///
    /// # Errors
    /// As [`Dynamodb::start`].
    pub fn start_plain() -> io::Result<Self> {
        match variable(ENDPOINT) {
            Some(endpoint) if endpoint.starts_with("https://") => Self::emulator(),
            Some(_) | None => Self::start(),
        }
    }

    fn named(endpoint: String) -> io::Result<Self> {
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        if !endpoint.starts_with("https://") {
            probe::status(&endpoint, DYNAMODB.question).map_err(|e| {
                other(format!(
                    "the DynamoDB that `{ENDPOINT}` names does not answer at `{endpoint}`: {e}; start \
                     it, or unset the variable for an emulator of our own"
                ))
            })?;
        }
        let name = variable(NAME).unwrap_or_else(|| format!("the DynamoDB at {endpoint}"));
        Ok(Self {
            endpoint,
            name,
            server: None,
        })
    }

    fn emulator() -> io::Result<Self> {
        let name = format!("the emulator ministack {}", MINISTACK.version());
        if let Some(endpoint) = detached::endpoint()? {
            return Ok(Self {
                endpoint,
                name,
                server: None,
            });
        }
        let mut own = OWN.lock().unwrap_or_else(PoisonError::into_inner);
        let server = match own.upgrade() {
            Some(server) => server,
            None => Arc::new(Server::start(&package_once()?, DYNAMODB)?),
        };
        *own = Arc::downgrade(&server);
        Ok(Self {
            endpoint: server.endpoint().to_owned(),
            name,
            server: Some(server),
        })
    }

    /// A name that no other test's table has: tests share one DynamoDB.
    pub fn table_name() -> String {
        format!("lanekeeper-test-{:016x}", fastrand::u64(..))
    }

    /// Where it listens, without a slash at the end.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// What it is, for figures: nobody may take those of an emulator for those of AWS.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it writes, if this process has started it.
    pub fn log(&self) -> Option<PathBuf> {
        self.server.as_ref().map(|server| server.log())
    }

    /// Keeps the folder of an emulator that this process has started, so that its log can be read.
    pub fn keep_log(&self) {
        if let Some(server) = &self.server {
            server.keep_folder();
        }
    }

    /// The environment with which a program that uses AWS's settings talks to it.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        self.environment_through(&self.endpoint)
    }

    /// The same through what stands at another endpoint before it. A real table (`https://`) needs the
    /// user's own credentials and region; everything else takes any.
    pub fn environment_through(&self, endpoint: &str) -> Vec<(&'static str, String)> {
        let mut environment = vec![("AWS_ENDPOINT_URL_DYNAMODB", endpoint.to_owned())];
        if !self.endpoint.starts_with("https://") {
            let any = [
                ("AWS_ACCESS_KEY_ID", "test"),
                ("AWS_SECRET_ACCESS_KEY", "test"),
                ("AWS_REGION", "us-east-1"),
                ("AWS_EC2_METADATA_DISABLED", "true"),
            ];
            environment.extend(any.map(|(name, value)| (name, value.to_owned())));
        }
        environment
    }

    /// The environment with which [`Dynamodb::start`] in a child process gives this one.
    pub fn for_tests(&self) -> Vec<(&'static str, String)> {
        vec![(ENDPOINT, self.endpoint.clone()), (NAME, self.name.clone())]
    }

    /// The environment with which [`Dynamodb::start`] in a child process fails at once with this error.
    pub fn refused(error: &io::Error) -> Vec<(&'static str, String)> {
        vec![(REFUSED, error.to_string())]
    }
}

impl Drop for Dynamodb {
    fn drop(&mut self) {
        if thread::panicking()
            && let Some(log) = self.log()
        {
            self.keep_log();
            let (name, log) = (&self.name, log.display());
            let _gone = writeln!(io::stderr(), "the log of {name} is {log}");
        }
    }
}

/// Refused once, refused always: without a network, tests would try one after the other.
pub(crate) fn package_once() -> io::Result<Package> {
    static REFUSAL: OnceLock<String> = OnceLock::new();
    if let Some(refusal) = REFUSAL.get() {
        return Err(other(refusal.as_str()));
    }
    let package = MINISTACK.find_or_fetch();
    package.inspect_err(|error| REFUSAL.set(error.to_string()).unwrap_or_default())
}

fn other(text: impl Into<String>) -> io::Error {
    io::Error::other(text.into())
}
