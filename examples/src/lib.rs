//! Examples of peerkit.
