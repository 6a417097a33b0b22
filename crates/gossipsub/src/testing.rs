//! What unit tests share.

use std::time::Instant;

#[expect(
    clippy::disallowed_methods,
    reason = "any instant will do as a beginning"
)]
pub(crate) fn start() -> Instant {
    Instant::now()
}
