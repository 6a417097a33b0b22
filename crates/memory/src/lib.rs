//! In-process transport of peerkit.
