//! The places where peerkit's tasks meet, under loom: each function tries every order in which two tasks can take their
//! steps, and panics when one of them waits for ever.
//!
//! The sources are those of the crates themselves, compiled once more: they take their locks from `crate::sync`,
//! which is loom's here. The names that they expect of their own crate are those of `peerkit-core`.

mod driver;
mod pipes;
mod session;
mod sync;

#[path = "../../crates/core/src/muxer.rs"]
#[allow(dead_code, unused_imports, reason = "the models use a part")]
mod muxer;
#[path = "../../crates/memory/src/pipe.rs"]
#[allow(dead_code, unused_imports, reason = "the models use a part")]
mod pipe;
#[path = "../../crates/core/src/driver/shared.rs"]
#[allow(dead_code, unused_imports, reason = "the models use a part")]
mod shared;

pub use driver::{
    a_paused_driver_goes_on_once_the_application_has_read, a_reader_is_woken_by_bytes,
    a_reader_is_woken_by_the_end, a_write_is_never_left_lying,
};
pub use pipes::{a_full_pipe_wakes_its_writer, a_reader_of_a_pipe_is_woken_by_its_end};

pub(crate) use muxer::{CloseReason, Session, SessionEvent, StreamId};
pub(crate) use peerkit_core::{
    Batch, Channel, Connection, ConnectionError, ProtocolId, ResetCode, Role, Runtime, StreamError,
};
