//! A behaviour for plain streams: opens them on request, answers those that come in.
//!
//! `libp2p-stream` negotiates one stream at a time and drops inbound ones under load; that would be
//! measured instead of the stack.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bench_kit::Delivered;
use futures::{
    FutureExt, StreamExt,
    channel::{mpsc, oneshot},
};
use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol,
    core::{Endpoint, transport::PortUse, upgrade::ReadyUpgrade},
    swarm::{
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm,
        NetworkBehaviour, SubstreamProtocol, THandlerInEvent, ToSwarm, handler::ConnectionEvent,
    },
};

/// Where the opened stream goes; dropped when there is none.
pub(crate) type Wanted = oneshot::Sender<Stream>;

/// The way to each connection, for those who open streams.
pub(crate) type Openers = Arc<Mutex<HashMap<PeerId, mpsc::UnboundedSender<Wanted>>>>;

pub(crate) struct Streams {
    openers: Openers,
    delivered: Delivered,
}

impl Streams {
    pub(crate) fn new(openers: Openers, delivered: Delivered) -> Self {
        Self { openers, delivered }
    }

    fn handler(&self, peer: PeerId) -> Handler {
        let (opener, wanted) = mpsc::unbounded();
        let mut openers = self.openers.lock().unwrap_or_else(PoisonError::into_inner);
        openers.insert(peer, opener);
        Handler {
            wanted,
            delivered: self.delivered.clone(),
        }
    }
}

impl NetworkBehaviour for Streams {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<Handler, ConnectionDenied> {
        Ok(self.handler(peer))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<Handler, ConnectionDenied> {
        Ok(self.handler(peer))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        if let FromSwarm::ConnectionClosed(closed) = event {
            let mut openers = self.openers.lock().unwrap_or_else(PoisonError::into_inner);
            openers.remove(&closed.peer_id);
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: Infallible) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

pub(crate) struct Handler {
    wanted: mpsc::UnboundedReceiver<Wanted>,
    delivered: Delivered,
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Infallible;
    type ToBehaviour = Infallible;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Wanted;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ())
    }

    fn connection_keep_alive(&self) -> bool {
        true
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Wanted, Infallible>> {
        let Poll::Ready(Some(wanted)) = self.wanted.poll_next_unpin(cx) else {
            return Poll::Pending;
        };
        Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest {
            protocol: SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), wanted),
        })
    }

    fn on_behaviour_event(&mut self, event: Infallible) {
        match event {}
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<
            '_,
            Self::InboundProtocol,
            Self::OutboundProtocol,
            Self::InboundOpenInfo,
            Self::OutboundOpenInfo,
        >,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(inbound) => {
                let answer = bench_kit::answer(inbound.protocol, self.delivered.clone(), sleep);
                tokio::spawn(answer);
            }
            ConnectionEvent::FullyNegotiatedOutbound(outbound) => {
                // Whoever has given up does not need it.
                let _ = outbound.info.send(outbound.protocol);
            }
            _ => {}
        }
    }
}

pub(crate) fn sleep(time: Duration) -> futures::future::BoxFuture<'static, ()> {
    tokio::time::sleep(time).boxed()
}

const PROTOCOL: StreamProtocol = StreamProtocol::new(bench_kit::PROTOCOL);
