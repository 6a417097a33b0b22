//! Gossipsub on real hosts.
#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test looks for what it is about"
)]

mod connections;
mod memory;
#[cfg(feature = "partial-messages")]
mod partial;
mod px;
mod raw;
mod simulated;
mod withdrawn;
