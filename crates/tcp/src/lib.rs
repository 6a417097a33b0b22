//! TCP and DNS transport of peerkit.
