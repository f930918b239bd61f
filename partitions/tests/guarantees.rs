//! The guarantees that the engine alone can prove, by number. Every operation of the world is also
//! held against the reference, so a test names only what it adds.

#[path = "guarantees/bounds.rs"]
mod bounds;
#[path = "guarantees/careful.rs"]
mod careful;
#[path = "guarantees/chains.rs"]
mod chains;
#[path = "guarantees/checkpoint.rs"]
mod checkpoint;
#[path = "guarantees/failures.rs"]
mod failures;
#[path = "guarantees/order.rs"]
mod order;
#[path = "guarantees/restart.rs"]
mod restart;
#[path = "support/support.rs"]
mod support;
#[path = "guarantees/turns.rs"]
mod turns;
#[path = "guarantees/waits.rs"]
mod waits;
