//! Apache Kafka's program: fetched once from Maven's repository, each jar held against its hash.

use crate::cache::{self, Fetched, at};
use sha2::{Digest as _, Sha256};
use std::{
    env,
    ffi::OsString,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Every jar with its version and hash.
const MANIFEST: &str = include_str!("../../kafka.txt");

/// What runs in the broker's own JVM: its launcher, and who may come by AWS's identities.
const SOURCES: [(&str, &str); 2] = [
    ("Launch.java", include_str!("Launch.java")),
    ("IamTokens.java", include_str!("IamTokens.java")),
];

/// What Kafka 4 asks for.
const JAVA_MIN: u32 = 17;

/// Pinned as well: it puts the jars where we want them.
const COPY: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";

/// What to do about what is missing.
pub(super) const REMEDY: &str = "install a JDK of 17 or later and Maven (Debian: `apt-get install \
                      default-jdk-headless maven`), or name the bootstrap servers of a Kafka in \
                      `LANEKEEPER_TEST_KAFKA`";

/// A folder with the jars and our classes.
pub(super) struct Package {
    fetched: Fetched,
}

/// One line of the manifest.
#[derive(Clone, Copy, Debug)]
struct Jar<'a> {
    group: &'a str,
    artifact: &'a str,
    version: &'a str,
    sha256: &'a str,
}

impl Package {
    /// Finds it in the cache, or makes it there.
    pub(super) fn find_or_fetch() -> io::Result<Self> {
        let sources = SOURCES.map(|(_, text)| text).join("\n");
        let made_of = format!("{MANIFEST}\n{sources}");
        let digest = hex(&Sha256::digest(made_of.as_bytes()));
        let name = format!("kafka-{}-{}", version(), &digest[..12]);
        let package = Self {
            fetched: Fetched::new(&name, made_of)?,
        };
        if package.fetched.is_whole() {
            return Ok(package);
        }
        let _held_until_here_ends = cache::lock("kafka-jars")?;
        // Another process may have made it meanwhile.
        if !package.fetched.is_whole() {
            package.fetched.make(fill)?;
        }
        Ok(package)
    }

    /// For `java -cp`.
    pub(super) fn class_path(&self) -> OsString {
        class_path(self.fetched.folder())
    }

    pub(super) fn into_folder(self) -> PathBuf {
        self.fetched.folder().to_owned()
    }
}

/// Kafka's version, as the manifest pins it.
pub(super) fn version() -> &'static str {
    let kafka = jars().find(|jar| jar.artifact == "kafka_2.13");
    kafka.map_or("", |jar| jar.version)
}

/// A program of the JDK: that of `JAVA_HOME`, as Maven has it, else the first on the path.
pub(super) fn program(name: &str) -> OsString {
    let home = env::var_os("JAVA_HOME").filter(|home| !home.is_empty());
    home.map_or_else(
        || name.into(),
        |home| Path::new(&home).join("bin").join(name).into(),
    )
}

fn jars() -> impl Iterator<Item = Jar<'static>> {
    let lines = MANIFEST.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| {
        let (coordinates, sha256) = line.split_once(' ')?;
        let mut parts = coordinates.split(':');
        Some(Jar {
            group: parts.next()?,
            artifact: parts.next()?,
            version: parts.next()?,
            sha256,
        })
    })
}

impl Jar<'_> {
    fn file(&self) -> String {
        format!("{}-{}.jar", self.artifact, self.version)
    }
}

fn java_is_there() -> io::Result<()> {
    let asked = Command::new(program("javac"))
        .arg("-version")
        .stdin(Stdio::null())
        .output()
        .map_err(|e| {
            io::Error::other(format!(
                "cannot run `javac`: {e}; Kafka is written in Java: {REMEDY}"
            ))
        })?;
    let said = String::from_utf8_lossy(&asked.stdout).trim().to_owned();
    let found = major(&said);
    if found.is_some_and(|major| major >= JAVA_MIN) {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "`javac -version` says `{said}`, Kafka {} needs {JAVA_MIN} or later: {REMEDY}",
        version()
    )))
}

/// Of `javac 17.0.15`, also of `javac 1.8.0_412`.
fn major(said: &str) -> Option<u32> {
    let digits = |text: &str| {
        text.split(|c: char| !c.is_ascii_digit())
            .next()?
            .parse()
            .ok()
    };
    digits(said.strip_prefix("javac ")?)
}

/// Fills this folder with everything.
fn fill(part: &Path) -> io::Result<()> {
    java_is_there()?;
    let pom = part.join("pom.xml");
    fs::write(&pom, project()).map_err(|e| at("write", &pom, &e))?;
    let mut maven = Command::new("mvn");
    maven
        .args(["--batch-mode", "--strict-checksums", "--file"])
        .arg(&pom)
        .arg(COPY)
        .arg(format!("-DoutputDirectory={}", jars_in(part).display()));
    cache::run(&mut maven, &part.join("mvn.log")).map_err(|e| {
        io::Error::other(format!(
            "cannot fetch the jars of Kafka with `mvn`: is it installed, is there a network (a mirror \
             goes into `~/.m2/settings.xml`)? If not, {REMEDY}. Of Maven: {e}"
        ))
    })?;
    check(&jars_in(part), jars())?;
    let mut javac = Command::new(program("javac"));
    javac.args(["--release", "17", "-Xlint:all", "-Werror", "-d"]);
    javac.arg(part).arg("-cp").arg(class_path(part));
    for (name, text) in SOURCES {
        let source = part.join(name);
        fs::write(&source, text).map_err(|e| at("write", &source, &e))?;
        javac.arg(source);
    }
    let failed = |e| io::Error::other(format!("cannot compile {}: {e}", part.display()));
    cache::run(&mut javac, &part.join("javac.log")).map_err(failed)
}

/// Just the jars of the manifest: nothing that they ask for.
fn project() -> String {
    let mut dependencies = String::new();
    for jar in jars() {
        let Jar {
            group,
            artifact,
            version,
            ..
        } = jar;
        let _infallible = writeln!(
            dependencies,
            "<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>\
             <version>{version}</version><exclusions><exclusion><groupId>*</groupId>\
             <artifactId>*</artifactId></exclusion></exclusions></dependency>"
        );
    }
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\n\
         <groupId>lanekeeper</groupId><artifactId>kafka</artifactId><version>1</version>\n\
         <packaging>pom</packaging>\n<dependencies>\n{dependencies}</dependencies></project>\n"
    )
}

/// Demands these jars in this folder and no other file.
fn check<'a>(folder: &Path, jars: impl Iterator<Item = Jar<'a>>) -> io::Result<()> {
    let mut expected = 0;
    for jar in jars {
        expected += 1;
        let path = folder.join(jar.file());
        let bytes = fs::read(&path).map_err(|e| at("read", &path, &e))?;
        let found = hex(&Sha256::digest(&bytes));
        if found != jar.sha256 {
            return Err(io::Error::other(format!(
                "{} has the SHA-256 `{found}`, `kafka.txt` says `{}`: the repository that Maven uses \
                 has another file under this name; remove it there and in `~/.m2/repository`",
                path.display(),
                jar.sha256
            )));
        }
    }
    let found = fs::read_dir(folder)?.count();
    if found != expected {
        return Err(io::Error::other(format!(
            "{} has {found} files, `kafka.txt` names {expected}",
            folder.display()
        )));
    }
    Ok(())
}

fn jars_in(folder: &Path) -> PathBuf {
    folder.join("jars")
}

fn class_path(folder: &Path) -> OsString {
    let mut path = folder.as_os_str().to_owned();
    path.push(":");
    path.push(jars_in(folder));
    path.push("/*");
    path
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn everything_is_pinned_and_hashed() {
        let lines = MANIFEST.lines().filter(|line| !line.starts_with('#'));
        assert_eq!(jars().count(), lines.count());
        assert!(jars().count() > 40, "{}", jars().count());
        let files: BTreeSet<String> = jars().map(|jar| jar.file()).collect();
        assert_eq!(files.len(), jars().count(), "two under one name");
        for jar in jars() {
            let is_hash =
                jar.sha256.len() == 64 && jar.sha256.bytes().all(|b| b.is_ascii_hexdigit());
            assert!(is_hash, "no hash: {jar:?}");
            let is_pinned = jar.version.starts_with(|c: char| c.is_ascii_digit())
                && !jar.version.contains(['[', ',', '(']);
            assert!(is_pinned, "no version: {jar:?}");
        }
        assert_eq!(version().split('.').count(), 3, "{}", version());
    }

    #[test]
    fn a_jar_that_is_another_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let sha256 = &hex(&Sha256::digest(b"a jar"));
        let jar = Jar {
            group: "org.example",
            artifact: "thing",
            version: "1.0",
            sha256,
        };
        let told = || {
            let told = check(folder.path(), [jar].into_iter());
            told.err().map(|error| error.to_string())
        };
        assert!(told().unwrap().contains("thing-1.0.jar"), "it is missing");
        fs::write(folder.path().join("thing-1.0.jar"), "a jar").unwrap();
        assert_eq!(told(), None);
        fs::write(folder.path().join("thing-1.0.jar"), "a trap").unwrap();
        assert!(told().unwrap().contains(sha256));
        fs::write(folder.path().join("thing-1.0.jar"), "a jar").unwrap();
        fs::write(folder.path().join("more-1.0.jar"), "").unwrap();
        assert!(told().unwrap().contains("2 files"));
    }

    #[test]
    fn versions_of_java_compare_as_numbers() {
        assert_eq!(major("javac 17.0.15"), Some(17));
        assert_eq!(major("javac 9"), Some(9));
        assert_eq!(major("javac 1.8.0_412"), Some(1));
        assert_eq!(major("javac 25-ea"), Some(25));
        assert_eq!(major("no java"), None);
    }
}
