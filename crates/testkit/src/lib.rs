//! What the tests of several peerkit crates share. Nothing here is published; whatever goes wrong is a panic.
//!
//! - [`FakeUpgrader`] for transports, without cryptography and without a muxer;
//! - [`SessionPair`] for the machines of muxers: both ends, back to back;
//! - [`MuxedPair`] for muxers: a connection over loopback, and transfers whose every byte is checked;
//! - `Net` for services (feature `hosts`): hosts in one process, connected through memory;
//! - `simulated` for services (feature `simulated`): hosts in virtual time.

#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]

mod fake_upgrader;
mod muxed;
#[cfg(feature = "hosts")]
mod net;
mod session_pair;
#[cfg(feature = "simulated")]
pub mod simulated;

pub use fake_upgrader::FakeUpgrader;
pub use muxed::{MuxedPair, echo, read, receive, send, write};
#[cfg(feature = "hosts")]
pub use net::{Net, listen, reset_code, run};
pub use session_pair::SessionPair;
