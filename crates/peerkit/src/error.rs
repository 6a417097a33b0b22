//! Errors of building a node.

use peerkit_core::{ListenError, SecurityError};

/// Why a node could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// An address could not be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The identity key can't be used.
    #[error("the identity key can't be used: {0}")]
    Identity(SecurityError),
    /// No runtime was given and the feature `async-io` is off.
    #[error("no runtime: give one to the builder or turn the feature `async-io` on")]
    NoRuntime,
    /// No security protocol was given and the features `ring` and `noise` are off.
    #[error(
        "no security protocol: give one to the builder or turn the feature `ring` or `noise` on"
    )]
    NoSecurity,
    /// No muxer was given and the features `yamux` and `mplex` are off.
    #[error("no muxer: give one to the builder or turn the feature `yamux` on")]
    NoMuxer,
}
