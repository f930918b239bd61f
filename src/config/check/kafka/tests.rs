use crate::config::{Config, ConfigErrors, DeadLetterConfig, SourceKind, dead_letter_link};
use std::path::Path;

mod group;

/// A sound configuration with these lines in its Kafka source, and behind it.
fn read(lines: &str, behind: &str) -> Result<Config, ConfigErrors> {
    let mut text = "app = \"a\"\ncap = 1\n[sources.k]\ntype = \"kafka\"\n".to_owned();
    for (key, default) in [
        ("bootstrap_servers", "\"localhost:9092\""),
        ("topics", "[\"orders\"]"),
    ] {
        if !lines.contains(key) {
            text.push_str(&format!("{key} = {default}\n"));
        }
    }
    text.push_str(lines);
    text.push('\n');
    text.push_str(behind);
    Config::from_toml(&text, Path::new("etc/lanekeeper.toml"))
}

/// What is wrong with it, whether the build has Kafka or not.
fn problems(lines: &str, behind: &str) -> Vec<String> {
    let found = read(lines, behind).err().map(|errors| errors.0);
    let all = found.unwrap_or_default().into_iter();
    let all = all.map(|error| error.to_string());
    all.filter(|said| !said.contains("this build has no `"))
        .collect()
}

#[track_caller]
fn sound(lines: &str, behind: &str) {
    assert_eq!(
        problems(lines, behind),
        Vec::<String>::new(),
        "{lines} {behind}"
    );
}

/// The one thing that is wrong holds all of these.
#[track_caller]
fn wrong(lines: &str, behind: &str, named: &[&str]) {
    let found = problems(lines, behind);
    assert_eq!(found.len(), 1, "{lines} {behind}: {found:#?}");
    for named in named {
        assert!(
            found[0].contains(named),
            "`{named}` is missing: {}",
            found[0]
        );
    }
    assert!(!found[0].contains("hunter2"), "{}", found[0]);
}

fn properties(inner: &str) -> String {
    format!("properties = {{ {inner} }}")
}

const SASL: &str = "\"security.protocol\" = \"SASL_SSL\", \"sasl.mechanism\" = \"SCRAM-SHA-512\", \"sasl.username\" = \"u\", \"sasl.password\" = { env = \"P\" }";

#[test]
fn servers_are_hosts_with_ports() {
    for servers in [
        "localhost:9092",
        "127.0.0.1:1,127.8.9.1:65535",
        "[::1]:9092, LOCALHOST:9093",
    ] {
        sound(&format!("bootstrap_servers = \"{servers}\""), "");
    }
    for (servers, named) in [
        ("localhost", "without a port"),
        ("localhost:0", "from 1 to 65535"),
        ("localhost:65536", "from 1 to 65535"),
        ("localhost:+1", "from 1 to 65535"),
        ("localhost:", "from 1 to 65535"),
        (":9092", "without a host"),
        ("local host:9092", "without a host"),
        ("::1:9092", "needs brackets"),
        ("[::1:9092", "half a bracket"),
        ("[localhost]:9092", "no IPv6 address"),
        ("SSL://localhost:9092", "or with a scheme"),
        ("localhost:9092,", "without a port"),
    ] {
        wrong(
            &format!("bootstrap_servers = \"{servers}\""),
            "",
            &[
                "etc/lanekeeper.toml:6: `sources.k.bootstrap_servers` holds",
                named,
            ],
        );
    }
}

#[test]
fn topics_and_groups_have_names() {
    sound("topics = [\"a\", \"A.b_c-9\"]\ngroup_id = \"g\"", "");
    for (topics, named) in [
        (
            "[\"^orders-(\"]",
            "a pattern of topics that does not compile",
        ),
        ("[\"a/b\"]", "no name of a topic"),
        ("[\"..\"]", "no name of a topic"),
        ("[\"a\", \"a\"]", "`a` twice"),
        ("[]", "at least one"),
    ] {
        wrong(
            &format!("topics = {topics}"),
            "",
            &["`sources.k.topics`", named],
        );
    }
    wrong("group_id = \"\"", "", &["`sources.k.group_id`"]);
    let mut config = Config::new("a", 1);
    let mut source = crate::SourceConfig::local("k", "x", "x");
    source.kind = SourceKind::Kafka {
        bootstrap_servers: String::new(),
        topics: Vec::new(),
        group_id: String::new(),
        group_protocol: None,
        group_instance_id: None,
        properties: std::collections::BTreeMap::new(),
        allow_plaintext: false,
        new_partitions_wait: true,
    };
    config = config.source(source);
    let said = config.validate().expect_err("a program's").to_string();
    for key in ["bootstrap_servers", "topics", "group_id"] {
        assert!(said.contains(&format!("`sources.k.{key}`")), "{said}");
    }
}

#[test]
fn plaintext_off_this_machine_is_refused_by_name() {
    let remote = "bootstrap_servers = \"localhost:1,kafka.example.org:9092\"\n";
    wrong(
        remote,
        "",
        &[
            "etc/lanekeeper.toml:6",
            "`kafka.example.org:9092`",
            "`PLAINTEXT` (the default)",
            "`SSL`",
            "`sources.k.allow_plaintext = true`",
        ],
    );
    sound(&format!("{remote}allow_plaintext = true"), "");
    sound(
        &format!("{remote}{}", properties("\"security.protocol\" = \"ssl\"")),
        "",
    );
    sound(&format!("{remote}{}", properties(SASL)), "");
    let open = SASL.replace("SASL_SSL", "SASL_PLAINTEXT");
    sound(&properties(&open), "");
    wrong(
        &format!("{remote}{}", properties(&open)),
        "",
        &["`SASL_PLAINTEXT`", "set it to `SASL_SSL`"],
    );
    for server in ["10.0.0.1:1", "[2001:db8::1]:1", "localhost.example.org:1"] {
        wrong(&format!("bootstrap_servers = \"{server}\""), "", &[server]);
    }
}

#[test]
fn certificates_are_looked_at_off_this_machine() {
    let remote = "bootstrap_servers = \"kafka.example.org:9092\"\n";
    for off in [
        "\"enable.ssl.certificate.verification\" = false",
        "\"ssl.endpoint.identification.algorithm\" = \"none\"",
    ] {
        let lines = properties(&format!("\"security.protocol\" = \"SSL\", {off}"));
        let name = off.split('"').nth(1).expect("a name");
        wrong(
            &format!("{remote}{lines}"),
            "",
            &[name, "`ssl.ca.location`", "allow_plaintext = true"],
        );
        sound(&format!("{remote}allow_plaintext = true\n{lines}"), "");
        sound(&lines, "");
    }
    let on = "\"security.protocol\" = \"SSL\", \"enable.ssl.certificate.verification\" = true, \"ssl.endpoint.identification.algorithm\" = \"https\"";
    sound(&format!("{remote}{}", properties(on)), "");
}

#[test]
fn what_lanekeeper_sets_itself_is_refused_with_the_reason() {
    for (name, why) in [
        ("bootstrap.servers", "`bootstrap_servers` says it"),
        ("group.id", "`group_id` says it"),
        ("plugin.paths", "no other code is loaded"),
        ("enable.auto.commit", "once everything before it is durable"),
        ("auto.offset.reset", "`start` and `on_gap` say it"),
        ("enable.partition.eof", "must be seen"),
        ("partition.assignment.strategy", "`cooperative-sticky`"),
    ] {
        let lines = properties(&format!("\"{name}\" = \"hunter2\""));
        wrong(&lines, "", &[name, "which lanekeeper sets itself", why]);
    }
    sound(
        &properties(
            "\"group.instance.id\" = \"a\", \"client.rack\" = \"r\", \"statistics.interval.ms\" = 1000, \"isolation.level\" = \"read_uncommitted\"",
        ),
        "",
    );
}

#[test]
fn secrets_are_named_and_never_written() {
    for name in [
        "sasl.password",
        "ssl.key.password",
        "ssl.keystore.password",
        "ssl.key.pem",
        "sasl.oauthbearer.config",
    ] {
        let others = SASL.replace(", \"sasl.password\" = { env = \"P\" }", "");
        let others = if name == "sasl.password" {
            others
        } else {
            SASL.to_owned()
        };
        let lines = properties(&format!("{others}, \"{name}\" = \"hunter2\""));
        wrong(
            &lines,
            "",
            &[name, "{ env = \"NAME\" }", "{ file = \"PATH\" }"],
        );
    }
    wrong(
        "properties = { sasl.password = \"hunter2\" }",
        "",
        &["names in quotes", "\"sasl.…\""],
    );
    wrong(
        &properties("\"security.protocol\" = { env = \"X\" }"),
        "",
        &["`security.protocol`", "write it as text"],
    );
    let config = read(&properties(SASL), "");
    let shown = format!("{config:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn sasl_needs_a_mechanism_that_this_build_can_do() {
    let with = |mechanism: &str| properties(&SASL.replace("SCRAM-SHA-512", mechanism));
    for mechanism in ["PLAIN", "SCRAM-SHA-256"] {
        sound(&with(mechanism), "");
    }
    for mechanism in ["GSSAPI", "OAUTHBEARER"] {
        wrong(
            &with(mechanism),
            "",
            &[mechanism, "this build cannot do", "`SCRAM-SHA-512`"],
        );
    }
    wrong(
        &with("hunter2"),
        "",
        &["`sasl.mechanism`", "expected one of `PLAIN`"],
    );
    wrong(
        &properties(&SASL.replace("\"sasl.mechanism\" = \"SCRAM-SHA-512\", ", "")),
        "",
        &["`sasl.mechanism` is missing"],
    );
    wrong(
        &properties(&SASL.replace("\"sasl.username\" = \"u\", ", "")),
        "",
        &["`sasl.username` is missing"],
    );
    for (name, needs) in [
        ("ssl.ca.location", "`SASL_SSL`"),
        ("sasl.username", "`SASL_SSL`"),
        ("enable.ssl.certificate.verification", "TLS"),
    ] {
        wrong(
            &properties(&format!("\"{name}\" = \"true\"")),
            "",
            &[name, "has no effect", needs],
        );
    }
    wrong(
        &properties("\"security.protocol\" = \"hunter2\""),
        "",
        &["`security.protocol`", "expected one of `PLAINTEXT`"],
    );
}

#[test]
fn aws_identities_need_neither_user_nor_password() {
    let iam = "\"security.protocol\" = \"SASL_SSL\", \"sasl.mechanism\" = \"AWS_MSK_IAM\"";
    sound(&properties(iam), "");
    wrong(
        &properties(&format!("{iam}, \"sasl.username\" = \"u\"")),
        "",
        &["`sasl.username`", "no effect", "AWS's own settings"],
    );
    let built = read(&properties(iam), "").is_ok();
    assert_eq!(built, cfg!(feature = "msk"));
}

#[cfg(feature = "kafka")]
#[test]
fn what_librdkafka_does_not_take_is_known_when_the_configuration_is_read() {
    wrong(
        &properties("\"fetch.wait.max.msec\" = \"hunter2\""),
        "",
        &["`fetch.wait.max.msec`", "librdkafka does not know"],
    );
    wrong(
        &properties("\"fetch.wait.max.ms\" = 987654321"),
        "",
        &["`fetch.wait.max.ms`", "expected 0 to 300000"],
    );
}

#[test]
fn paths_among_properties_begin_at_the_file() {
    let lines = properties(
        "\"security.protocol\" = \"SSL\", \"ssl.ca.location\" = \"ca.pem\", \"ssl.key.location\" = \"/abs/key.pem\"",
    );
    let config = read(&lines, "");
    if let Ok(config) = &config {
        let SourceKind::Kafka { properties, .. } = &config.sources[0].kind else {
            panic!("{config:?}");
        };
        let is = |name: &str, path: &str| {
            properties[name] == crate::config::Property::Text(path.to_owned())
        };
        assert!(is("ssl.ca.location", "etc/ca.pem") && is("ssl.key.location", "/abs/key.pem"));
    }
    assert_eq!(config.is_ok(), cfg!(feature = "kafka"));
}

const DEAD: &str = "[failure]\nthen = \"dead-letter\"\n[failure.dead_letter]\ntype = \"kafka\"\ntopic = \"dead\"\n";

#[test]
fn dead_letters_go_to_the_cluster_of_the_source_or_to_one_of_their_own() {
    sound("", DEAD);
    wrong("topics = [\"^de.*\"]", DEAD, &["would come back for ever"]);
    sound("topics = [\"^orders\"]", DEAD);
    wrong(
        "",
        &DEAD.replace("\"dead\"", "\"orders\""),
        &["would come back for ever"],
    );
    let own = format!("{DEAD}bootstrap_servers = \"localhost:7777\"\n");
    sound("", &own.replace("\"dead\"", "\"orders\""));
    wrong(
        "",
        &DEAD.replace("\"dead\"", "\"a/b\""),
        &["`failure.dead_letter.topic`"],
    );
    wrong(
        "",
        &format!("{DEAD}bootstrap_servers = \"kafka.example.org:1\"\n"),
        &[
            "`failure.dead_letter.bootstrap_servers`",
            "`failure.dead_letter.allow_plaintext = true`",
        ],
    );
    for (name, why) in [
        ("acks", "all replicas"),
        ("delivery.timeout.ms", "`failure.timeout`"),
    ] {
        wrong(
            "",
            &format!("{DEAD}{}\n", properties(&format!("\"{name}\" = \"1\""))),
            &["`failure.dead_letter.properties`", name, why],
        );
    }
    // What is wrong with the source is said once.
    wrong(
        "bootstrap_servers = \"kafka.example.org:1\"",
        DEAD,
        &["`sources.k.bootstrap_servers`"],
    );
    let alone = "app = \"a\"\ncap = 1\n[sources.o]\ntype = \"local\"\ntopic = \"o\"\n";
    let said = Config::from_toml(&format!("{alone}{DEAD}"), Path::new("c.toml"));
    let said = said.expect_err("no cluster").to_string();
    assert!(
        said.contains("`failure.dead_letter.bootstrap_servers` is missing"),
        "{said}"
    );
}

#[test]
fn without_servers_of_their_own_dead_letters_connect_as_the_source_does() {
    let lines = properties(&format!("{SASL}, \"fetch.min.bytes\" = 7"));
    let mut config = Config::new("a", 1);
    if let Ok(read) = read(
        &lines,
        &format!("{DEAD}{}", properties("\"compression.type\" = \"zstd\"")),
    ) {
        config = read;
        let link = dead_letter_link(&config).expect("the source's");
        let names: Vec<_> = link.properties.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "compression.type",
                "sasl.mechanism",
                "sasl.password",
                "sasl.username",
                "security.protocol"
            ]
        );
        assert_eq!(link.servers, "localhost:9092");
        if let Some(DeadLetterConfig::Kafka {
            bootstrap_servers, ..
        }) = &mut config.failure.dead_letter
        {
            *bootstrap_servers = Some("localhost:7777".to_owned());
        }
        let link = dead_letter_link(&config).expect("its own");
        assert_eq!(
            (link.servers.as_str(), link.properties.len()),
            ("localhost:7777", 1)
        );
    }
    assert_eq!(config.sources.is_empty(), !cfg!(feature = "kafka"));
}
