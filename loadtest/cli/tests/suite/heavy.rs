//! What takes minutes: drills, load scenarios, a real Home Assistant. `make test-heavy` runs these, and
//! `make test` all others.

mod drills;
mod real_home;
mod scenarios;
