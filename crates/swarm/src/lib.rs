#![doc = include_str!("../README.md")]

mod access;
mod address_book;
mod bus;
mod config;
mod connections;
mod dial;
mod error;
mod event;
mod gate;
mod handlers;
mod host;
mod inbound;
mod inner;
mod limits;
mod listen;
mod network;
mod opening;
mod outbound;
mod resources;
mod stream;
mod target;
mod trim;

pub use access::{Access, Unlisted};
pub use bus::{BusEvent, EventBus, EventStream};
pub use config::{DialConfig, HostConfig};
pub use connections::{ConnectionId, ConnectionSummary};
pub use dial::plan::{DialPlan, DialRank};
pub use error::{AttemptError, DialAttempt, DialError, OpenStreamError};
pub use event::{Events, HostEvent, Refusal};
pub use gate::{ConnectionGate, Denied, DenyRule, GateStage, GateVerdict};
pub use handlers::{HandlerFailure, HandlerOutcome, StreamHandler};
pub use host::{Host, HostBuilder, WeakHost};
pub use limits::{Capacity, ConnectionRate, Limits, PrefixLimit};
pub use listen::ListenerId;
pub use network::{InvalidIpNetwork, IpNetwork};
pub use resources::{
    LimitExceeded, MemoryReservation, Resource, ResourceScope, ResourceUsage, Resources, ScopeUsage,
};
pub use stream::{ReadHalf, Stream, WriteHalf};
pub use target::{DialTarget, Protocols};
pub use trim::{TrimConfig, Trimming};
