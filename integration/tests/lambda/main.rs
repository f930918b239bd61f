//! The real binary as a function: `lanekeeper lambda` behind our own event source mappings, with its marks
//! in DynamoDB and a scripted HTTP endpoint as its handler, which keeps the books.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails loudly, its helpers too"
)]

mod acceptance;
mod aggregate;
mod chaos;
mod deadline;
mod ends;
mod examples;
mod faults;
mod golden;
mod instances;
mod letters;
mod oracle;
mod queues;
mod recovery;
mod refusals;
mod servers;
mod shards;
mod sizes;
mod table;
mod target;
mod tells;
mod windows;
mod world;
