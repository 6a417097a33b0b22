#![doc = include_str!("../README.md")]

mod address_book;
mod config;
mod connections;
mod dial;
mod error;
mod event;
mod half_open;
mod handlers;
mod host;
mod inbound;
mod inner;
mod listen;
mod opening;
mod outbound;
mod permits;
mod stream;
mod target;

pub use config::{DialConfig, HostConfig, Limits};
pub use connections::{ConnectionId, ConnectionSummary};
pub use dial::plan::{DialPlan, DialRank};
pub use error::{AttemptError, DialAttempt, DialError, OpenStreamError};
pub use event::{Events, HostEvent};
pub use handlers::{HandlerFailure, HandlerOutcome, StreamHandler};
pub use host::{Host, HostBuilder, WeakHost};
pub use listen::ListenerId;
pub use stream::{ReadHalf, Stream, WriteHalf};
pub use target::{DialTarget, Protocols};
