//! The processor's rules one by one: a scripted source and a scripted handler, the store in memory
//! with its faults, paused time. Each test names the guarantee that it shows, and the history of all
//! its workers passes the audit as well.

mod careful;
mod commits;
mod decisions;
mod deeds;
mod endings;
mod failures;
mod feed;
mod memory;
mod oddities;
mod order;
mod outage;
mod ownership;
mod places;
mod target;
mod watch;
mod world;
