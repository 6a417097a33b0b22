//! The scenarios that every back end passes, in virtual time on one simulated host.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

#[macro_use]
mod scenarios;

use scenarios::runtime;

every_scenario!(runtime);
