//! A broker that speaks TLS and asks who is there.

use super::{
    Kafka, iam,
    setup::{PLAINTEXT, Setup},
};
use crate::{cache::at, server::Folder};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use std::{fs, io, path::PathBuf};

/// The one user, by all SASL mechanisms.
pub const USER: &str = "lanekeeper";

/// The user's password.
pub const PASSWORD: &str = "keeps-lanes";

/// One of a [`Secure`] broker's addresses. All of them lead to the same topics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Listener {
    /// No security.
    Plaintext,
    /// TLS, for whoever comes.
    Tls,
    /// TLS, for those with a certificate of the CA.
    MutualTls,
    /// SASL without TLS.
    Sasl,
    /// SASL over TLS.
    SaslTls,
    /// SASL by AWS's identities over TLS, as Amazon MSK has it, for
    /// [`ACCESS_KEY`](super::ACCESS_KEY) with [`SECRET_KEY`](super::SECRET_KEY).
    Iam,
    /// TLS by a certificate for another host.
    WrongHost,
}

impl Listener {
    /// As the broker calls it.
    fn name(self) -> &'static str {
        match self {
            Self::Plaintext => PLAINTEXT,
            Self::Tls => "TLS",
            Self::MutualTls => "MUTUALTLS",
            Self::Sasl => "SASL",
            Self::SaslTls => "SASLTLS",
            Self::Iam => "IAM",
            Self::WrongHost => "WRONGHOST",
        }
    }

    pub(super) fn property(self, name: &str) -> String {
        format!("listener.name.{}.{name}", self.name().to_lowercase())
    }
}

/// A broker with every kind of listener, and the certificates for it. SASL is PLAIN, SCRAM-SHA-256 and
/// SCRAM-SHA-512, for [`USER`] with [`PASSWORD`].
pub struct Secure {
    kafka: Kafka,
    folder: Folder,
}

impl Secure {
    pub(super) fn start() -> io::Result<Self> {
        let folder = Folder::new("lanekeeper-certificates-")?;
        for (name, text) in certificates().map_err(io::Error::other)? {
            let path = folder.path().join(name);
            fs::write(&path, text).map_err(|e| at("write", &path, &e))?;
        }
        let kafka = Kafka::own(&setup(&folder))?;
        Ok(Self { kafka, folder })
    }

    /// The broker.
    pub fn kafka(&self) -> &Kafka {
        &self.kafka
    }

    /// Its bootstrap servers at one of its listeners.
    pub fn bootstrap(&self, listener: Listener) -> String {
        self.kafka.bootstrap_at(listener.name())
    }

    /// PEM file of the CA that signed the broker's certificates.
    pub fn ca(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// PEM file of a CA that signed none of them.
    pub fn other_ca(&self) -> PathBuf {
        self.path("other-ca.pem")
    }

    /// PEM file of a client's certificate by the CA.
    pub fn client_certificate(&self) -> PathBuf {
        self.path("client.pem")
    }

    /// PEM file of the key of that certificate, without a password.
    pub fn client_key(&self) -> PathBuf {
        self.path("client.key")
    }

    /// PEM file of a client's certificate by the other CA.
    pub fn stranger_certificate(&self) -> PathBuf {
        self.path("stranger.pem")
    }

    /// PEM file of the key of that certificate.
    pub fn stranger_key(&self) -> PathBuf {
        self.path("stranger.key")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// All files by name. A server's has its key and its certificate, as Kafka wants it.
fn certificates() -> Result<Vec<(&'static str, String)>, rcgen::Error> {
    let (ca, other) = (
        Authority::new("CA of tests")?,
        Authority::new("another CA")?,
    );
    let hosts = ["localhost", "127.0.0.1"];
    let server = ca.server(&hosts)?;
    let elsewhere = ca.server(&["elsewhere.example"])?;
    let (client, stranger) = (ca.client(USER)?, other.client(USER)?);
    Ok(vec![
        ("ca.pem", ca.certificate.clone()),
        ("other-ca.pem", other.certificate.clone()),
        (
            "server.pem",
            format!("{}{}", server.key, server.certificate),
        ),
        (
            "elsewhere.pem",
            format!("{}{}", elsewhere.key, elsewhere.certificate),
        ),
        ("client.pem", client.certificate),
        ("client.key", client.key),
        ("stranger.pem", stranger.certificate),
        ("stranger.key", stranger.key),
    ])
}

/// The broker's listeners and what each of them demands.
fn setup(folder: &Folder) -> Setup {
    let file = |name: &str| folder.path().join(name).display().to_string();
    let mut setup = Setup::default()
        .with(
            "sasl.enabled.mechanisms",
            "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
        )
        .with_user(format!("SCRAM-SHA-256=[name={USER},password={PASSWORD}]"))
        .with_user(format!("SCRAM-SHA-512=[name={USER},password={PASSWORD}]"));
    for (listener, protocol) in [
        (Listener::Tls, "SSL"),
        (Listener::MutualTls, "SSL"),
        (Listener::WrongHost, "SSL"),
        (Listener::SaslTls, "SASL_SSL"),
        (Listener::Sasl, "SASL_PLAINTEXT"),
        (Listener::Iam, "SASL_SSL"),
    ] {
        setup = setup.with_listener(listener.name(), protocol);
        if protocol.ends_with("SSL") {
            let server = if listener == Listener::WrongHost {
                "elsewhere.pem"
            } else {
                "server.pem"
            };
            setup = setup
                .with(&listener.property("ssl.keystore.type"), "PEM")
                .with(&listener.property("ssl.keystore.location"), &file(server))
                .with(&listener.property("ssl.truststore.type"), "PEM")
                .with(
                    &listener.property("ssl.truststore.location"),
                    &file("ca.pem"),
                );
        }
        if listener == Listener::Iam {
            setup = iam::with(setup);
        } else if protocol.starts_with("SASL") {
            let plain = format!(
                "org.apache.kafka.common.security.plain.PlainLoginModule required \
                 user_{USER}=\"{PASSWORD}\";"
            );
            let scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
            setup = setup
                .with(&listener.property("plain.sasl.jaas.config"), &plain)
                .with(&listener.property("scram-sha-256.sasl.jaas.config"), scram)
                .with(&listener.property("scram-sha-512.sasl.jaas.config"), scram);
        }
    }
    setup.with(&Listener::MutualTls.property("ssl.client.auth"), "required")
}

/// A CA of its own.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

/// A certificate and its key, in PEM.
struct Signed {
    certificate: String,
    key: String,
}

impl Authority {
    fn new(name: &str) -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self {
            issuer: Issuer::new(params, key),
            certificate,
        })
    }

    fn server(&self, hosts: &[&str]) -> Result<Signed, rcgen::Error> {
        self.sign(hosts[0], hosts, ExtendedKeyUsagePurpose::ServerAuth)
    }

    fn client(&self, name: &str) -> Result<Signed, rcgen::Error> {
        self.sign(name, &[], ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn sign(
        &self,
        name: &str,
        hosts: &[&str],
        purpose: ExtendedKeyUsagePurpose,
    ) -> Result<Signed, rcgen::Error> {
        let key = KeyPair::generate()?;
        let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
        let mut params = CertificateParams::new(hosts)?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![purpose];
        params.use_authority_key_identifier_extension = true;
        Ok(Signed {
            certificate: params.signed_by(&key, &self.issuer)?.pem(),
            key: key.serialize_pem(),
        })
    }
}
