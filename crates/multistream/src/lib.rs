//! multistream-select 1.0: agreeing on a protocol by name, without I/O.
//!
//! Both sides first send the header `/multistream/1.0.0`. Then the dialer
//! proposes protocols, one after the other, and the listener repeats the
//! name that it accepts or says `na`. After that the bytes belong to the protocol.
//!
//! ```text
//! dialer                                    listener
//!   | /multistream/1.0.0  /tls/1.0.0           |    one packet
//!   |----------------------------------------->|
//!   |           /multistream/1.0.0  na         |    one packet
//!   |<-----------------------------------------|
//!   | /noise                                   |
//!   |----------------------------------------->|
//!   |                                  /noise  |
//!   |<-----------------------------------------|
//! ```
//!
//! A message is `varint(length) || text || '\n'`, the length counting text and newline.
//!
//! [`Dialer`] and [`Listener`] are pure machines. Feed them with `handle_read`,
//! which takes exactly the bytes of the negotiation from the front of its
//! input, and after each call send what `poll_transmit` yields, also after the
//! call that brought the outcome. A [`Dialer`] is also a
//! [`Preamble`](peerkit_core::Preamble): with one proposal it can be left
//! to check the answer while the protocol's own bytes are already on their way.
//!
//! [`dial`], [`listen`] and [`list_protocols`] do the same over any
//! `AsyncRead + AsyncWrite` and read no byte too many.
//!
//! What a remote can make this crate hold or do is bounded by [`MAX_LINE`],
//! [`MAX_PROPOSALS`], [`MAX_TOTAL`] and [`MAX_LISTING`]. Deadlines are the caller's.
//!
//! Specification: <https://github.com/multiformats/multistream-select> and, for
//! the order of messages, the connections document of
//! <https://github.com/libp2p/specs/blob/master/connections/README.md>.

mod codec;
mod dialer;
mod listener;
mod negotiate;

pub use codec::{MAX_LINE, MAX_LISTING};
pub use dialer::Dialer;
pub use listener::{Listener, MAX_PROPOSALS, MAX_TOTAL};
pub use negotiate::{dial, list_protocols, listen};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
