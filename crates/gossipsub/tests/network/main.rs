//! Many routers in virtual time: pure machines that exchange what they send, over links with a delay.
#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test looks for what it is about"
)]

mod attacks;
mod delivery;
mod net;
