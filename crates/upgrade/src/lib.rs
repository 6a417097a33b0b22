#![doc = include_str!("../README.md")]

mod config;
mod negotiation;
mod upgrader;

pub use config::UpgradeConfig;
pub use upgrader::StandardUpgrader;
