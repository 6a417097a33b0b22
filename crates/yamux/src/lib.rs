#![doc = include_str!("../README.md")]
//!
//! # The model
//!
//! ```text
//!  application                                                          channel
//!   open, accept        +------------------ Session ------------------+
//!   write  ------------>| share of the transmit buffer, remote's credit|--> poll_transmit
//!   read   <------------| receive window, grows while it is read fast  |<-- handle_read
//!   finish, reset       | table of streams, pings, goodbye             |<-> poll_timeout
//!                       +----------------------------------------------+
//! ```
//!
//! [`Session`] is a pure machine: no I/O, clock, tasks or locks. It is driven through the trait
//! [`peerkit_core::Session`], by the connection's task ([`Yamux`]) or by hand, as above.
//!
//! **Bytes.** What is written is copied once, into the buffer that is sent. What is received
//! stays where it was decrypted until it is read; small pieces are copied together.
//!
//! **Flow control.** Each stream starts with a window of 256 KiB in each direction. Reading opens it again, in
//! steps of at least half a window. It doubles while reading keeps pace with the remote
//! within a few round trips, up to [`Config::stream_window_max`], a total for the session and
//! another one for all sessions of a [`Yamux`].
//!
//! **Streams** are announced with their first data and acknowledged with the first answer, so
//! that neither costs a frame of its own. Writers that wait get equal shares of each batch.
//!
//! **Limits.** Whatever the remote does, a session holds at most the windows that it has
//! granted and the tables that [`Config`] names; a remote that breaks the rules ends it with
//! [`ConnectionError::Malformed`](peerkit_core::ConnectionError::Malformed), one that goes too far with
//! [`ConnectionError::Limit`](peerkit_core::ConnectionError::Limit), both after a goodbye on the wire.
//! Answers that the remote provokes are never dropped but for pings: whoever drives the session stops
//! reading while [`transmit_len`](peerkit_core::Session::transmit_len) is large.
//!
//! Specification: <https://github.com/libp2p/specs/blob/master/yamux/README.md>.

mod buffer;
mod config;
mod frame;
mod keep_alive;
mod limits;
mod local;
mod outbound;
mod remote;
mod session;
mod sizes;
mod stream;
mod table;
#[cfg(test)]
mod testing;
mod upgrade;
mod window;

pub use config::{Config, RateLimit};
pub use session::Session;
pub use sizes::Sizes;
pub use upgrade::Yamux;
