//! Hand-made histories, good and bad, and generated ones with one thing wrong.

mod checkpoints;
mod generated;
mod mutations;
mod order;
mod owners;
mod repeats;
mod rewinds;
mod script;
mod stops;
