//! The emulator's program.

use crate::python::Program;

pub(crate) const MINISTACK: Program = Program {
    package: "ministack",
    requirements: include_str!("../../ministack.txt"),
    what: "the emulator of DynamoDB",
    otherwise: ", or name a table's endpoint in `LANEKEEPER_TEST_DYNAMODB`",
};
