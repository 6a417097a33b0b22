//! The yamux stream multiplexer.
