//! Secures and multiplexes a raw pipe: multistream-select, security, muxer.
