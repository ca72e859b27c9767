//! Nothing: the crate is its tests, in `tests/suite/main.rs`.
