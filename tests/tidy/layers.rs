//! Who may know whom: the reason why each adapter can be read, tested and replaced by itself.

use crate::{
    code, demand_none,
    tree::{SourceFile, file, files},
};

/// The traits that adapters implement: each adapter is a public child module of one of them.
const SEAMS: [&str; 3] = ["source", "store", "handler"];
/// What an adapter may know beside the three traits.
const VOCABULARY: [&str; 4] = ["record", "position", "checkpoint", "effect"];
/// What adapters share, since they may not import each other.
const SHARED: [(&str, &[&str]); 2] = [
    ("aws", &["dynamodb", "kinesis", "sqs"]),
    ("sqlite", &["local", "sqlite"]),
];

struct Module {
    path: Vec<String>,
    file: SourceFile,
}

impl Module {
    /// `(seam, adapter)` where the module belongs to one.
    fn adapter(&self, adapters: &[(String, String)]) -> Option<(String, String)> {
        let own = (self.path.first()?.clone(), self.path.get(1)?.clone());
        adapters.contains(&own).then_some(own)
    }

    /// Every path into our own crate that the shipped code writes, from the crate's root.
    fn mentions(&self) -> Vec<Vec<String>> {
        let code = code::shipped(&self.file.text);
        let mut mentions = code::paths_below(&code, "crate");
        for path in code::paths_below(&code, "super") {
            let ups = path.iter().take_while(|s| *s == "super").count();
            let depth = self.path.len().saturating_sub(ups + 1);
            mentions.push([&self.path[..depth], &path[ups..]].concat());
        }
        mentions
    }
}

fn modules() -> Vec<Module> {
    files()
        .unwrap_or_default()
        .into_iter()
        .filter_map(|file| {
            let path = file.path.strip_prefix("src/")?.strip_suffix(".rs")?;
            let path = path.split('/').map(str::to_owned).collect();
            Some(Module { path, file })
        })
        .collect()
}

/// The public modules that a seam's own file declares.
fn adapters() -> Vec<(String, String)> {
    let mut adapters = Vec::new();
    for seam in SEAMS {
        let text = file(&format!("src/{seam}.rs")).map_or_else(|_| String::new(), |f| f.text);
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("pub mod ") {
                adapters.push((seam.to_owned(), name.trim_end_matches(';').to_owned()));
            }
        }
    }
    adapters
}

#[test]
fn adapters_know_the_vocabulary_and_the_traits_only() {
    let adapters = adapters();
    for known in [
        ("source", "local"),
        ("store", "sqlite"),
        ("handler", "exec"),
    ] {
        let known = (known.0.to_owned(), known.1.to_owned());
        assert!(
            adapters.contains(&known),
            "{known:?} is no adapter any more"
        );
    }
    let mut wrong = Vec::new();
    for module in modules() {
        let Some((seam, name)) = module.adapter(&adapters) else {
            continue;
        };
        for mention in module.mentions() {
            let first = mention.first().map_or("", String::as_str);
            let shared = SHARED
                .iter()
                .any(|(what, who)| first == *what && who.contains(&name.as_str()));
            let in_seam = SEAMS.contains(&first);
            let other = mention.get(1).filter(|second| {
                adapters.contains(&(first.to_owned(), (*second).clone()))
                    && (first, second.as_str()) != (seam.as_str(), name.as_str())
            });
            let reexport = first.starts_with(char::is_uppercase);
            let known = shared || in_seam || reexport || VOCABULARY.contains(&first);
            if other.is_some() || !known {
                let mention = mention.join("::");
                wrong.push(format!("{}: `{mention}`", module.file.path));
            }
        }
    }
    demand_none("what an adapter may not know", &wrong);
}

#[test]
fn only_the_processor_drives_the_engine() {
    let mut wrong = Vec::new();
    let mut drivers = 0;
    for module in modules() {
        let code = code::shipped(&module.file.text);
        let drives = code::paths_below(&code, "partitions")
            .iter()
            .any(|path| path.first().is_some_and(|name| name == "Engine"));
        let is_processor = module.path.first().is_some_and(|m| m == "processor");
        drivers += usize::from(drives && is_processor);
        if drives && !is_processor {
            wrong.push(module.file.path);
        }
    }
    demand_none("only `processor` may name `partitions::Engine`", &wrong);
    assert!(
        drivers > 0,
        "nobody drives the engine: is the search broken?"
    );
}

#[test]
fn the_engine_has_no_world() {
    let root = file("partitions/src/lib.rs").unwrap();
    assert!(
        root.text.lines().any(|line| line == "#![no_std]"),
        "`partitions` has to be no_std: no clock, no threads, no I/O, no randomness"
    );
    let mut wrong = Vec::new();
    for file in files().unwrap() {
        if !file.path.starts_with("partitions/src/") {
            continue;
        }
        let code = code::shipped(&file.text);
        for path in code::paths_below(&code, "std") {
            wrong.push(format!("{}: `std::{}`", file.path, path.join("::")));
        }
        if code.contains("extern crate std") {
            wrong.push(format!("{}: `extern crate std`", file.path));
        }
    }
    demand_none("the engine knows `core` and `alloc` only", &wrong);
    let manifest: toml::Table = file("partitions/Cargo.toml").unwrap().text.parse().unwrap();
    let dependencies = manifest["dependencies"].as_table().unwrap();
    assert!(
        dependencies
            .keys()
            .all(|d| d == "hashbrown" || d == "foldhash"),
        "the engine's only dependencies are a hash table and its hasher"
    );
}

#[test]
fn lint_reads_nothing_but_what_it_is_given() {
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for module in modules() {
        if module.path.first().is_none_or(|first| first != "lint") {
            continue;
        }
        seen += 1;
        for mention in module.mentions() {
            let first = mention.first().map_or("", String::as_str);
            if !["lint", "config", "record"].contains(&first) {
                let mention = mention.join("::");
                wrong.push(format!("{}: `{mention}`", module.file.path));
            }
        }
        let code = code::shipped(&module.file.text);
        for path in code::paths_below(&code, "std") {
            let first = path.first().map_or("", String::as_str);
            if ["env", "fs", "io", "net", "process", "thread", "time"].contains(&first)
                // A length of time is no clock.
                && path != ["time", "Duration"]
            {
                wrong.push(format!("{}: `std::{}`", module.file.path, path.join("::")));
            }
        }
    }
    assert!(seen > 10, "only {seen} files: is the search broken?");
    demand_none("lint has no world", &wrong);
}
