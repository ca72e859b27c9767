//! Nothing: the crate is its tests, in `tests/suite.rs`.
