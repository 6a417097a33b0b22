//! The protocols that this program brings along.

pub(crate) mod delivery;
pub(crate) mod echo;
pub(crate) mod perf;
pub(crate) mod pubsub;

use peerkit::{Host, PeerId, ProtocolId, StreamError};

use crate::failure::Failure;

/// Looks for the reason when a stream of a protocol was reset.
///
/// A remote that does not have the protocol says so, and then takes the data that came along for
/// another proposal. Its reset can overtake its answer; what it has, identify tells.
pub(crate) async fn explain(
    host: &Host,
    peer: PeerId,
    protocol: &'static str,
    failure: Failure,
) -> Failure {
    if !failure.is_closed() || !host.is_connected(&peer) {
        return failure;
    }
    match host.identify().identify(peer).await {
        Ok(info) if !info.supports(protocol) => unsupported(protocol),
        Ok(_) | Err(_) => failure,
    }
}

fn unsupported(protocol: &'static str) -> Failure {
    let error = StreamError::Unsupported(ProtocolId::from_static(protocol));
    Failure::new(error.fault(), error.to_string())
}
