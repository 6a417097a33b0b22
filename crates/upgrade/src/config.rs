//! Limits of an upgrade.

use std::time::Duration;

/// Limits of an upgrade.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UpgradeConfig {
    /// How long security and muxer may take together. Stops peers that connect and
    /// stay silent, or send one byte at a time. 10 s by default.
    pub timeout: Duration,
}

impl Default for UpgradeConfig {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
        }
    }
}
