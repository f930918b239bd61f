//! Real brokers of Apache Kafka: started, broken, secured.
#![expect(clippy::unwrap_used, reason = "a test fails loudly")]
#![expect(clippy::panic, reason = "a test fails loudly")]

mod client;
mod command;
mod outages;
mod secure;
mod topics;
