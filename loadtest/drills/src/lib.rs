//! Faults on a running system: drills, schedules of faults, and the alerts that each must bring.

pub mod alerts;
pub mod disturbed;
pub mod drill;
pub mod soak;
