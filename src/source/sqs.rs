//! SQS queues.

pub mod dead_letter;
