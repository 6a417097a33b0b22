//! The rules of the router, one by one, against peers that the test plays.
#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test looks for what it is about"
)]

mod config;
mod extensions;
mod gossip;
mod idontwant;
mod limits;
mod mesh;
mod node;
#[cfg(feature = "partial-messages")]
mod partial;
mod prune;
mod publish;
mod px;
mod scores;
mod validation;
