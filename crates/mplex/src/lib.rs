//! The mplex stream multiplexer, for networks that still use it.
