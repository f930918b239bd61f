//! Who could read along, and where passwords stand.

use super::{Check, Named, remote};
use crate::config::Property;

/// Never as text: a file with the configuration is read by many.
const SECRETS: [&str; 9] = [
    "sasl.password",
    "ssl.key.password",
    "ssl.keystore.password",
    "ssl.key.pem",
    // It may hold a client's secret, or claims.
    "sasl.oauthbearer.config",
    // An older name of the next one.
    "sasl.oauthbearer.client.credentials.client.secret",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.assertion.private.key.passphrase",
    "sasl.oauthbearer.assertion.private.key.pem",
];

/// Those that the rules here depend on: never read at the start only.
const WRITTEN: [&str; 7] = [
    "security.protocol",
    "sasl.mechanism",
    "sasl.mechanisms",
    "enable.ssl.certificate.verification",
    "ssl.endpoint.identification.algorithm",
    "group.protocol",
    "max.poll.interval.ms",
];

/// What this build can do.
const MECHANISMS: [&str; 3] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"];

/// By AWS's identities: Java's name for it, and lanekeeper's own to librdkafka.
const IAM: &str = "AWS_MSK_IAM";

/// `security.protocol`.
#[derive(Clone, Copy)]
struct Protocol {
    name: &'static str,
    tls: bool,
    sasl: bool,
}

const PROTOCOLS: [Protocol; 4] = [
    Protocol {
        name: "PLAINTEXT",
        tls: false,
        sasl: false,
    },
    Protocol {
        name: "SASL_PLAINTEXT",
        tls: false,
        sasl: true,
    },
    Protocol {
        name: "SSL",
        tls: true,
        sasl: false,
    },
    Protocol {
        name: "SASL_SSL",
        tls: true,
        sasl: true,
    },
];

impl Check<'_> {
    pub(super) fn security(&mut self, named: &Named<'_>) {
        let key = named.key("properties");
        for (name, property) in &named.link.properties {
            let is_text = matches!(property, Property::Text(_));
            if is_text && SECRETS.contains(&name.as_str()) {
                let message = format!(
                    "`{key}` holds `{name}` as text: a secret does not belong in the configuration; write `{{ env = \"NAME\" }}` or `{{ file = \"PATH\" }}`"
                );
                self.problem(&[&key], message);
            }
            if !is_text && WRITTEN.contains(&name.as_str()) {
                let message = format!(
                    "`{key}` has `{name}` read from elsewhere: it is no secret, and must be known to be checked; write it as text"
                );
                self.problem(&[&key], message);
            }
        }
        let written = named.text("security.protocol");
        let found = written.map_or(Some(PROTOCOLS[0]), |written| {
            let is_it = |one: &&Protocol| one.name.eq_ignore_ascii_case(written);
            PROTOCOLS.iter().find(is_it).copied()
        });
        let Some(protocol) = found else {
            let names = PROTOCOLS.map(|protocol| format!("`{}`", protocol.name));
            let message = format!(
                "`{key}`: `security.protocol` is something else: expected one of {}",
                names.join(", ")
            );
            self.problem(&[&key], message);
            return;
        };
        self.without_effect(named, protocol);
        self.mechanism(named, protocol);
        self.exposed(named, protocol, written.is_none());
    }

    fn without_effect(&mut self, named: &Named<'_>, protocol: Protocol) {
        let key = named.key("properties");
        for name in named.link.properties.keys() {
            let of = |prefixes: [&str; 2]| prefixes.iter().any(|p| name.starts_with(p));
            let needs = if of(["ssl.", "enable.ssl."]) && !protocol.tls {
                "TLS: `SSL` or `SASL_SSL`"
            } else if of(["sasl.", "enable.sasl."]) && !protocol.sasl {
                "SASL: `SASL_SSL`"
            } else {
                continue;
            };
            let message = format!(
                "`{key}` holds `{}`, which has no effect with the `security.protocol` `{}`: choose one with {needs}, or remove it",
                name.escape_debug(),
                protocol.name,
            );
            self.problem(&[&key], message);
        }
    }

    fn mechanism(&mut self, named: &Named<'_>, protocol: Protocol) {
        if !protocol.sasl {
            return;
        }
        let key = named.key("properties");
        let has = |name: &str| named.link.properties.contains_key(name);
        if has("sasl.mechanism") && has("sasl.mechanisms") {
            let message = format!(
                "`{key}` holds `sasl.mechanism` and `sasl.mechanisms`, which are one: remove one of them"
            );
            self.problem(&[&key], message);
        }
        let mechanism = { named.text("sasl.mechanism") }.or(named.text("sasl.mechanisms"));
        let can = MECHANISMS.map(|one| format!("`{one}`")).join(", ");
        match mechanism {
            Some(mechanism) if MECHANISMS.contains(&mechanism) => {}
            Some(IAM) => return self.iam(named),
            Some(mechanism @ ("GSSAPI" | "OAUTHBEARER")) => {
                let message = format!(
                    "`{key}`: `sasl.mechanism` is `{mechanism}`, which this build cannot do: it can do {can}"
                );
                self.problem(&[&key], message);
            }
            // A name that was written where the mechanism belongs may be anything.
            Some(_) => {
                let message = format!("`{key}`: `sasl.mechanism` is none: expected one of {can}");
                self.problem(&[&key], message);
            }
            None if has("sasl.mechanism") || has("sasl.mechanisms") => {}
            None => {
                let message = format!(
                    "`{key}`: `security.protocol` is `{}` and `sasl.mechanism` is missing: name one of {can}",
                    protocol.name
                );
                self.problem(&[&key], message);
            }
        }
        for name in ["sasl.username", "sasl.password"] {
            if !has(name) {
                let message = format!(
                    "`{key}`: `security.protocol` is `{}` and `{name}` is missing",
                    protocol.name
                );
                self.problem(&[&key], message);
            }
        }
    }

    /// Tokens stand in for user and password.
    fn iam(&mut self, named: &Named<'_>) {
        let key = named.key("properties");
        self.built(&key, "msk");
        for name in ["sasl.username", "sasl.password"] {
            if named.link.properties.contains_key(name) {
                let message = format!(
                    "`{key}` holds `{name}`, which has no effect with the `sasl.mechanism` `{IAM}`: AWS's own settings say who this is; remove it"
                );
                self.problem(&[&key], message);
            }
        }
    }

    /// What is said to brokers off this machine must reach nobody else.
    fn exposed(&mut self, named: &Named<'_>, protocol: Protocol, is_default: bool) {
        if named.link.allow_plaintext {
            return;
        }
        let Some(server) = remote(&named.link.servers) else {
            return;
        };
        let (servers, key) = (named.key("bootstrap_servers"), named.key("properties"));
        let allow = format!(
            "`{} = true`, where the network between is yours alone",
            named.key("allow_plaintext")
        );
        if !protocol.tls {
            let message = format!(
                "`{servers}` holds `{server}` and `security.protocol` is `{}`{}: records and passwords would cross the network in the open; set it to `{}` in `{key}`, or set {allow}",
                protocol.name,
                if is_default { " (the default)" } else { "" },
                if protocol.sasl { "SASL_SSL" } else { "SSL" },
            );
            // Whichever is written has the place.
            self.problem(&[&servers, &key], message);
            return;
        }
        let verification = named.text("enable.ssl.certificate.verification");
        let is_on = |text: &str| {
            ["true", "t", "1"]
                .iter()
                .any(|on| on.eq_ignore_ascii_case(text))
        };
        let algorithm = named.text("ssl.endpoint.identification.algorithm");
        let (name, what) = if verification.is_some_and(|text| !is_on(text)) {
            ("enable.ssl.certificate.verification", "which broker it is")
        } else if algorithm.is_some_and(|text| !text.eq_ignore_ascii_case("https")) {
            (
                "ssl.endpoint.identification.algorithm",
                "whether the certificate is of the broker that was meant",
            )
        } else {
            return;
        };
        let message = format!(
            "`{key}` turns `{name}` off and `{servers}` holds `{server}`: nobody would look {what}, so that anybody on the way could read along; remove it and name the authority in `ssl.ca.location`, or set {allow}"
        );
        self.problem(&[&key, &servers], message);
    }
}
