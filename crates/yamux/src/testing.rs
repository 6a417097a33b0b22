//! What the unit tests of several modules need.

use std::time::Instant;

/// The beginning of virtual time.
#[expect(
    clippy::disallowed_methods,
    reason = "virtual time has to begin somewhere"
)]
pub(crate) fn start() -> Instant {
    Instant::now()
}
