//! Gossipsub on real hosts.
#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]

mod memory;
mod simulated;
