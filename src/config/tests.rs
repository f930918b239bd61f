use super::{
    Config, ConfigErrors, KEYS, Layers, Origin, SourceConfig, TEMPLATE, read::Reader, tables, tree,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

const SMALL: &str =
    "app = \"a\"\ncap = 3\n[sources.orders]\ntype = \"local\"\ntopic = \"orders\"\n";

fn read(text: &str) -> Result<Config, ConfigErrors> {
    Config::from_toml(text, Path::new("etc/lanekeeper.toml"))
}

fn errors(text: &str) -> String {
    match read(text) {
        Ok(config) => panic!("accepted: {config:?}"),
        Err(errors) => errors.to_string(),
    }
}

/// What is wrong with a sound configuration after these lines, of the table that they begin with.
fn errors_with(lines: &str) -> String {
    errors(&format!("{SMALL}{lines}"))
}

fn layered(environment: &[(&str, &str)], set: &[&str]) -> Result<Config, ConfigErrors> {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("lanekeeper.toml");
    std::fs::write(&path, SMALL).expect("write");
    Config::load(&Layers {
        file: Some(path),
        environment: environment
            .iter()
            .map(|(k, v)| (k.into(), v.into()))
            .collect(),
        set: set.iter().map(|s| (*s).to_owned()).collect(),
    })
}

#[test]
fn the_defaults_are_those_of_the_documentation() {
    let config = read(SMALL).expect("sound");
    let mut expected =
        Config::new("a", 3).source(SourceConfig::local("orders", "etc/lanekeeper.db", "orders"));
    expected.origins = config.origins.clone();
    assert_eq!(config, expected);
    assert_eq!(expected.validate(), Ok(()));
    insta::assert_debug_snapshot!(config);
}

/// The lines of the template's defaults and of its alternatives, taken out of their comments.
fn uncommented() -> (String, Vec<String>) {
    let mut defaults = String::new();
    let mut blocks = Vec::new();
    for line in TEMPLATE.lines() {
        if let Some(line) = line.strip_prefix("#   ") {
            if line.starts_with('[') {
                blocks.push(String::new());
            }
            let block: &mut String = blocks.last_mut().expect("a block begins with its table");
            block.push_str(line);
            block.push('\n');
        } else if let Some(line) = line.strip_prefix('#').filter(|l| !l.starts_with(' ')) {
            defaults.push_str(line);
            defaults.push('\n');
        } else {
            defaults.push_str(line);
            defaults.push('\n');
        }
    }
    (defaults, blocks)
}

#[test]
fn the_template_shows_the_defaults() {
    let mut plain = read(TEMPLATE).expect("the template is sound");
    let (defaults, _) = uncommented();
    let mut shown = read(&defaults).expect("its defaults are sound");
    // `earliest` spelled out is not quite the default: see `SourceConfig::start`.
    assert_eq!(shown.sources[0].start, Some(super::StartAt::Earliest));
    shown.sources[0].start = None;
    plain.origins = shown.origins.clone();
    assert_eq!(plain, shown);
}

#[test]
fn the_template_has_every_key_and_there_are_no_others() {
    let (defaults, blocks) = uncommented();
    let mut asked = BTreeSet::new();
    let mut written = BTreeSet::new();
    let texts = std::iter::once(defaults).chain(blocks);
    for text in texts {
        let (table, problems) = tree::parse(&text, Path::new("template"));
        assert_eq!(problems, []);
        let reader = Reader::default();
        tables::read_config(&reader, &table, Path::new(""));
        asked.extend(reader.asked.borrow().iter().map(|key| general(key)));
        let (_, origins) = reader.finish();
        written.extend(origins.keys().map(|key| general(key)));
    }
    let keys: BTreeSet<String> = KEYS.iter().map(|key| (*key).to_owned()).collect();
    assert_eq!(keys.len(), KEYS.len(), "a key is there twice");
    assert_eq!(asked, keys, "what is read is what is listed");
    assert_eq!(written, keys, "what the template shows is what is listed");
}

fn general(key: &str) -> String {
    let mut parts: Vec<&str> = key.split('.').collect();
    if parts[0] == "sources" {
        parts[1] = "NAME";
    }
    parts.join(".")
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn every_error_names_key_value_place_and_what_is_allowed() {
    let cases = BTreeMap::from([
        (
            "cap 0",
            errors("app = \"a\"\ncap = 0\n[sources.o]\ntype = \"local\"\ntopic = \"o\"\n"),
        ),
        (
            "cap as text",
            errors("app = \"a\"\ncap = \"three\"\n[sources.o]\ntype = \"local\"\ntopic = \"o\"\n"),
        ),
        ("nothing required", errors("memory = \"1GiB\"\n")),
        (
            "no unit",
            errors_with(
                "[failure]\ntimeout = 20\nbackoff_min = \"200\"\n[store]\nflush_interval = \"1\"\n",
            ),
        ),
        (
            "negative",
            errors_with("[failure]\ntimeout = \"-20s\"\nattempts = -1\n"),
        ),
        (
            "size without unit",
            errors(
                "memory = \"256\"\napp = \"a\"\ncap = 1\n[sources.o]\ntype = \"local\"\ntopic = \"o\"\n",
            ),
        ),
        (
            "size too small",
            errors(
                "memory = \"1KiB\"\napp = \"a\"\ncap = 1\n[sources.o]\ntype = \"local\"\ntopic = \"o\"\n",
            ),
        ),
        (
            "unknown keys",
            errors_with(
                "retenton = \"7d\"\nattempts = 3\n[failure]\ntimout = \"1s\"\n[stor]\ntype = \"local\"\n",
            ),
        ),
        ("key of another type", errors_with("group_id = \"g\"\n")),
        (
            "unknown type",
            errors_with("[sources.x]\ntype = \"rabbit\"\nfoo = 1\n"),
        ),
        (
            "no type",
            errors_with("[sources.x]\ntopic = \"x\"\n[handler]\ncommand = [\"x\"]\n"),
        ),
        (
            "source name",
            errors_with("[sources.My_Orders]\ntype = \"local\"\ntopic = \"x\"\n"),
        ),
        ("drain", errors_with("[failure]\ntimeout = \"30s\"\n")),
        ("backoff", errors_with("[failure]\nbackoff_min = \"1m\"\n")),
        (
            "park by partition",
            errors_with(
                "[order]\nby = \"partition\"\nno_key = \"each\"\n[failure]\nthen = \"park\"\n",
            ),
        ),
        (
            "dead letter missing",
            errors_with("[failure]\nthen = \"dead-letter\"\n"),
        ),
        (
            "dead letter loops",
            errors_with(
                "[failure]\nthen = \"dead-letter\"\ndead_letter = { type = \"local\", topic = \"orders\" }\n",
            ),
        ),
        (
            "dead letter without topic",
            errors_with("[failure]\nthen = \"dead-letter\"\ndead_letter = { type = \"local\" }\n"),
        ),
        (
            "same topic twice",
            errors_with("[sources.again]\ntype = \"local\"\ntopic = \"orders\"\n"),
        ),
        (
            "no queue",
            errors_with("[failure.dead_letter]\ntype = \"sqs\"\nqueue_url = \"orders-dead\"\n"),
        ),
        (
            "kafka properties",
            errors_with(
                "[sources.k]\ntype = \"kafka\"\nbootstrap_servers = \"localhost:1\"\ntopics = []\nproperties = { \"group.id\" = \"x\", \"linger\" = [1] }\n",
            ),
        ),
        (
            "start",
            errors_with("start = \"sometime\"\non_gap = \"panic\"\nretention = \"7\"\n"),
        ),
        (
            "start at no moment",
            errors_with("start = { time = 2026-11-23T08:00:00 }\n"),
        ),
        (
            "secret in the open",
            errors_with(
                "[handler]\ntype = \"http\"\nurl = \"https://user:pw@host/\"\nsecret = \"whsec_hunter2\"\n",
            ),
        ),
        (
            "empty command",
            errors_with("[handler]\ntype = \"exec\"\ncommand = []\n"),
        ),
        (
            "command as text",
            errors_with("[handler]\ntype = \"exec\"\ncommand = \"python3 worker.py\"\n"),
        ),
        (
            "lambda",
            errors_with("[lambda]\nconcurrency = 4\nreports_failures = \"yes\"\n"),
        ),
        (
            "no table",
            errors("app = \"a\"\ncap = 3\nfailure = 3\nsources = \"x\"\n"),
        ),
        (
            "no toml",
            errors("app = \"a\ncap = 3\n[sources.o]\ntype = \"local\"\ntopic = \"o\"\n"),
        ),
        (
            "key twice",
            errors(
                "app = \"a\"\napp = \"b\"\ncap = 3\n[sources.o]\ntype = \"local\"\ntopic = \"o\"\n",
            ),
        ),
    ]);
    let text: String = cases
        .iter()
        .map(|(name, errors)| format!("## {name}\n{errors}\n\n"))
        .collect();
    assert!(!text.contains("hunter2") && !text.contains("pw@"), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn a_table_is_refused_by_name_where_the_build_has_none() {
    let text = "app = \"a\"\ncap = 1\n[sources.o]\ntype = \"local\"\ntopic = \"o\"\n[store]\ntype = \"dynamodb\"\n";
    let found = Config::from_toml(text, Path::new("lanekeeper.toml"));
    if cfg!(feature = "dynamodb") {
        let table = "lanekeeper".to_owned();
        let kind = found.expect("a table").store.kind;
        assert_eq!(kind, super::StoreKind::Dynamodb { table });
        let short = format!("{text}table = \"lk\"\n");
        let told = Config::from_toml(&short, Path::new("lanekeeper.toml"));
        let told = told.expect_err("too short").to_string();
        assert!(
            told.contains("`store.table` is `lk`: expected 3 to 255"),
            "{told}"
        );
    } else {
        let told = found.expect_err("not built").to_string();
        assert!(
            told.contains("`store.type`: this build has no `dynamodb` (built with"),
            "{told}"
        );
    }
}

#[test]
fn later_layers_win_and_errors_name_theirs() {
    let config = layered(
        &[
            ("LANEKEEPER__CAP", "7"),
            ("LANEKEEPER__FAILURE__BACKOFF_MIN", "1s"),
            ("LANEKEEPER__FAILURE__ATTEMPTS", "9"),
            ("LANEKEEPER__APP", "12"),
            ("LANEKEEPER__SOURCES__MY_ORDERS__TYPE", "local"),
            ("LANEKEEPER__SOURCES__MY_ORDERS__TOPIC", "mine"),
            ("LANEKEEPER_LOG", "debug"),
            ("OTHER__THING", "x"),
        ],
        &[
            "failure.attempts=2",
            "store.path=/x/y.db",
            "sources.\"my-orders\".on_gap=\"latest\"",
        ],
    )
    .expect("sound");
    assert_eq!((config.app.as_str(), config.cap), ("12", 7));
    assert_eq!(config.failure.attempts, 2);
    assert_eq!(config.failure.backoff_min, Duration::from_secs(1));
    assert_eq!(
        config.store.kind,
        super::StoreKind::Local {
            path: "/x/y.db".into()
        }
    );
    let names: Vec<_> = config.sources.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["orders", "my-orders"]);
    assert_eq!(config.sources[1].on_gap, super::OnGap::Latest);
    assert_eq!(
        config.origin("failure.attempts"),
        Origin::Set("failure.attempts".into())
    );
    assert_eq!(config.origin("drain"), Origin::Unwritten);
}

#[test]
fn errors_of_layers_name_the_variable_or_the_argument() {
    let errors = layered(
        &[
            ("LANEKEEPER__FAILURE__TIMOUT", "1s"),
            ("LANEKEEPER__CAP", "none"),
            ("LANEKEEPER__", "x"),
            ("LANEKEEPER__CAP__X", "1"),
        ],
        &["drain=1s", "attempts", "failure.attempts = 0", "=3"],
    )
    .expect_err("wrong");
    insta::assert_snapshot!(errors.to_string());
}

#[test]
fn a_variable_with_one_underscore_is_refused_with_its_right_name() {
    for (name, meant) in [
        ("LANEKEEPER_CAP", "LANEKEEPER__CAP"),
        ("LANEKEEPER_STORE_PATH", "LANEKEEPER__STORE__PATH"),
        (
            "LANEKEEPER_FAILURE__BACKOFF_MIN",
            "LANEKEEPER__FAILURE__BACKOFF_MIN",
        ),
        (
            "LANEKEEPER_SOURCES_MY_ORDERS_ON_GAP",
            "LANEKEEPER__SOURCES__MY_ORDERS__ON_GAP",
        ),
    ] {
        let expected = format!(
            "environment variable {name}: it sets nothing: prefix and levels are parted by two \
             underscores; name it `{meant}`, or unset it"
        );
        let errors = layered(&[(name, "1")], &[]).expect_err("misnamed");
        assert_eq!(errors.to_string(), expected);
        let alone = Config::load(&Layers {
            environment: vec![(name.into(), "1".into())],
            ..Layers::default()
        });
        let alone = alone.expect_err("misnamed").to_string();
        assert!(alone.contains(&expected), "{alone}");
    }
    for own in [
        "LANEKEEPER_CONFIG",
        "LANEKEEPER_LOG",
        "LANEKEEPER_TEST_SEED",
    ] {
        layered(&[(own, "cap")], &[]).expect("the process's own");
    }
}

#[test]
fn without_any_layer_the_error_says_what_to_do() {
    let errors = Config::load(&Layers::default()).expect_err("nothing");
    insta::assert_snapshot!(errors.to_string());
    let missing = Layers {
        file: Some("no/such.toml".into()),
        ..Layers::default()
    };
    let errors = Config::load(&missing).expect_err("missing").to_string();
    assert!(
        errors.starts_with("the configuration file `no/such.toml` cannot be read: "),
        "{errors}"
    );
}

#[test]
fn a_program_s_values_are_checked_as_well() {
    let mut config = Config::new("", 0);
    config.drain = Duration::from_secs(1);
    insta::assert_snapshot!(config.validate().expect_err("wrong").to_string());
}

/// The template with a few places cut, doubled or overwritten: whatever comes of it is read, or named.
#[test]
fn no_text_makes_it_panic() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let pieces = [
        "\"",
        "=",
        "[",
        "]",
        "{",
        "}",
        "\n",
        "#",
        ".",
        "-1",
        "0",
        "\u{0}",
        "é",
        "'''",
        "99999999999999999999",
    ];
    let (mut read_well, mut refused) = (0, 0);
    for _ in 0..2_000 {
        let (defaults, _) = uncommented();
        let mut text: Vec<char> = defaults.chars().collect();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..text.len());
            let end = (at + random.usize(..20)).min(text.len());
            let piece = pieces[random.usize(..pieces.len())];
            text.splice(at..end, piece.chars());
        }
        let text: String = text.into_iter().collect();
        match read(&text) {
            Ok(config) => {
                read_well += 1;
                assert_eq!(config.validate(), Ok(()), "seed {seed}: {text}");
            }
            Err(errors) => {
                refused += 1;
                let named = errors.0.iter().all(|error| !error.message.is_empty());
                assert!(named && !errors.0.is_empty(), "seed {seed}: {text}");
            }
        }
    }
    assert!(
        read_well > 0 && refused > 0,
        "seed {seed}: {read_well} and {refused}"
    );
}

#[test]
fn relative_paths_begin_at_the_file() {
    let config = read(&format!(
        "{SMALL}path = \"data/log.db\"\n[failure]\ndead_letter = {{ type = \"local\", path = \"dead.db\", topic = \"dead\" }}\n[store]\npath = \"/abs/store.db\"\n[handler]\ntype = \"exec\"\ncommand = [\"./worker\"]\n"
    ))
    .expect("sound");
    let path = Path::new;
    assert!(matches!(
        &config.sources[0].kind,
        super::SourceKind::Local { path: found, .. } if found == path("etc/data/log.db")
    ));
    assert!(matches!(
        &config.failure.dead_letter,
        Some(super::DeadLetterConfig::Local { path: found, .. }) if found == path("etc/dead.db")
    ));
    assert!(matches!(
        &config.store.kind,
        super::StoreKind::Local { path: found } if found == path("/abs/store.db")
    ));
    assert!(matches!(
        &config.handler.kind,
        Some(super::HandlerKind::Exec { directory, .. }) if directory == path("etc")
    ));
}
