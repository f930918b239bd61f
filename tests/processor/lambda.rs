//! Invocations of a Lambda function, from the event's bytes to the answer's, over a store in memory and a
//! clock that the test moves. Golden scenarios have the numbers of their list.

mod events;
mod figures;
mod lanes;
mod large;
mod letters;
mod marks;
mod shards;
mod windows;
mod world;
