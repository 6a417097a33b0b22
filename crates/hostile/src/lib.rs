//! Peers that break one rule at a time, and what they do to a peerkit node.
//!
//! [`frames`] writes the bytes of each layer by hand, [`dial`] and [`peer`] bring them to a victim, [`node`] is the
//! victim: a facade host with default settings. [`live`] runs it in a process of its own, with honest peers
//! beside the attackers, and measures memory, throughput, latency and what is left behind. [`scenarios`] has
//! one table for each layer.
//!
//! ```text
//! cargo run --release -p peerkit-hostile -- all [--only ID..] [--quick] [--markdown FILE]
//! ```

#![allow(
    clippy::disallowed_methods,
    reason = "attackers and measurements live in real time, on threads of their own"
)]
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a scenario looks for one event among all that there are and will be"
)]

pub mod child;
pub mod dial;
pub mod frames;
pub mod honest;
pub mod live;
pub mod machine;
pub mod measure;
pub mod node;
pub mod peer;
pub mod report;
pub mod rig;
pub mod scenario;
pub mod scenarios;
pub mod settings;
pub mod victim;
