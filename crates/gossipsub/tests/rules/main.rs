//! The rules of the router, one by one, against peers that the test plays.
#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]

mod config;
mod extensions;
mod gossip;
mod idontwant;
mod limits;
mod mesh;
mod node;
mod prune;
mod publish;
mod px;
mod scores;
mod validation;
