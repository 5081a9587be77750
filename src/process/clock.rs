//! The clock that nobody sets.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Since the machine started, its sleep included. Nothing sets this clock.
pub fn since_boot() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default()
}
