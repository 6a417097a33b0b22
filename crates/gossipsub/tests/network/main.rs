//! Many routers in virtual time: pure machines that exchange what they send, over links with a delay.
#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]

mod attacks;
mod delivery;
mod net;
