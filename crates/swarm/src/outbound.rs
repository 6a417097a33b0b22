//! Streams that this side opens.

use std::{sync::Arc, task::Poll};

use bytes::BytesMut;
use peerkit_core::{
    ConnectionError, Direction, MuxedStream, NegotiationError, PeerId, ProtocolId, ResetCode,
    StreamError, lock, with_deadline,
};
use peerkit_multistream::Dialer;

use crate::{
    ConnectionId, DialTarget, OpenStreamError, Stream,
    connections::Entry,
    dial,
    inbound::{read_some, write_all},
    inner::Inner,
    opening::Opening,
};

impl Inner {
    /// The best open connection to the target, or a new one. Of a target that names no peer, that
    /// is the connection which dialing the same address has led to.
    pub(crate) async fn reach(
        self: &Arc<Self>,
        target: DialTarget,
    ) -> Result<Arc<Entry>, crate::DialError> {
        let open = match (target.peer, target.addrs.first()) {
            (Some(peer), _) => lock(&self.connections).best(&peer),
            (None, Some(addr)) => lock(&self.connections).dialed(addr),
            (None, None) => None,
        };
        match open {
            Some(entry) => Ok(entry),
            None => dial::connect(self, target).await,
        }
    }

    /// Reaches the target and waits until the connection is confirmed. A remote
    /// that refuses the optimistic choice of the muxer is dialed once more, carefully.
    pub(crate) async fn reach_confirmed(
        self: &Arc<Self>,
        target: DialTarget,
    ) -> Result<Arc<Entry>, crate::DialError> {
        let entry = self.reach(target.clone()).await?;
        match entry.connection.confirmed().await {
            Ok(()) => return Ok(entry),
            Err(ConnectionError::Negotiation(_)) => {}
            Err(error) => return Err(unconfirmed(&entry, error)),
        }
        let peer = entry.info.remote_peer;
        self.remember_careful(peer);
        let target = DialTarget::new(peer, vec![entry.info.remote_addr.clone()]);
        let entry = self.reach(target).await?;
        match entry.connection.confirmed().await {
            Ok(()) => Ok(entry),
            Err(error) => Err(unconfirmed(&entry, error)),
        }
    }

    /// Opens a stream: at once when one protocol is proposed, after the remote's choice otherwise.
    pub(crate) async fn open_stream(
        self: &Arc<Self>,
        target: DialTarget,
        mut protocols: Vec<ProtocolId>,
    ) -> Result<Stream, OpenStreamError> {
        let protocol = match protocols.len() {
            0 => return Err(OpenStreamError::NoProtocol),
            1 => protocols.pop(),
            _ => None,
        };
        if let Some(protocol) = protocol {
            let (entry, muxed) = self.open_muxed(target).await?;
            return self.propose(entry, muxed, protocol);
        }
        let entry = self.reach_confirmed(target).await?;
        let muxed = self.open_on(&entry).await?;
        self.choose(entry, muxed, protocols).await
    }

    /// Opens a stream on a connection that is open.
    pub(crate) async fn open_stream_on(
        self: &Arc<Self>,
        connection: ConnectionId,
        mut protocols: Vec<ProtocolId>,
    ) -> Result<Stream, OpenStreamError> {
        let entry = lock(&self.connections).by_id(connection);
        let entry = entry.ok_or(ConnectionError::Closed)?;
        let muxed = self.open_on(&entry).await?;
        if protocols.len() > 1 {
            return self.choose(entry, muxed, protocols).await;
        }
        let protocol = protocols.pop().ok_or(OpenStreamError::NoProtocol)?;
        self.propose(entry, muxed, protocol)
    }

    fn propose(
        self: &Arc<Self>,
        entry: Arc<Entry>,
        muxed: Box<dyn MuxedStream>,
        protocol: ProtocolId,
    ) -> Result<Stream, OpenStreamError> {
        let permit = self.admit_stream(&entry, Direction::Outbound, Some(&protocol));
        let permit = permit.map_err(OpenStreamError::Limit)?;
        let opening = Opening::optimistic(self, &entry, protocol.clone());
        Ok(Stream::outbound(muxed, entry, protocol, opening, permit))
    }

    /// Opens a stream on another connection, after the `refusal` of the first one that a
    /// second dial can mend; used when a stream has to begin again.
    pub(crate) async fn open_again(
        self: &Arc<Self>,
        target: DialTarget,
        refusal: ConnectionError,
    ) -> Result<Arc<dyn MuxedStream>, StreamError> {
        // Why the second dial failed is told by its event.
        let refused = |_| StreamError::Connection(refusal);
        let entry = self.reach_confirmed(target).await.map_err(refused)?;
        match self.open_on(&entry).await {
            Ok(muxed) => Ok(Arc::from(muxed)),
            Err(OpenStreamError::Connection(error)) => Err(error.into()),
            Err(_) => Err(StreamError::Limit("no stream could be opened in time")),
        }
    }

    async fn open_muxed(
        self: &Arc<Self>,
        target: DialTarget,
    ) -> Result<(Arc<Entry>, Box<dyn MuxedStream>), OpenStreamError> {
        let entry = self.reach(target.clone()).await?;
        match self.open_on(&entry).await {
            Ok(muxed) => Ok((entry, muxed)),
            // The connection ended since it was looked up: once more with a fresh one.
            Err(OpenStreamError::Connection(_)) if !self.is_closed() => {
                let entry = self.reach(target).await?;
                let muxed = self.open_on(&entry).await?;
                Ok((entry, muxed))
            }
            Err(error) => Err(error),
        }
    }

    async fn open_on(&self, entry: &Entry) -> Result<Box<dyn MuxedStream>, OpenStreamError> {
        let limit = self.config.negotiation_timeout;
        with_deadline(self.runtime.as_ref(), limit, entry.connection.open())
            .await
            .ok_or(OpenStreamError::Timeout {
                peer: entry.info.remote_peer,
                limit,
            })?
            .map_err(Into::into)
    }

    async fn choose(
        &self,
        entry: Arc<Entry>,
        muxed: Box<dyn MuxedStream>,
        protocols: Vec<ProtocolId>,
    ) -> Result<Stream, OpenStreamError> {
        let peer = entry.info.remote_peer;
        let permit = self.admit_stream(&entry, Direction::Outbound, None);
        let mut permit = permit.map_err(OpenStreamError::Limit)?;
        let limit = self.config.negotiation_timeout;
        let negotiation = negotiate(muxed.as_ref(), protocols);
        let outcome = with_deadline(self.runtime.as_ref(), limit, negotiation).await;
        match outcome {
            Some(Ok((protocol, rest))) => {
                let scope = self.accounts.protocol(&protocol);
                if let Err(limit) = permit.enter(scope) {
                    muxed.reset(ResetCode::LIMIT_EXCEEDED);
                    self.report_stream(&entry, Direction::Outbound, Some(&protocol), limit.clone());
                    return Err(OpenStreamError::Limit(limit));
                }
                let opening = Opening::agreed(rest);
                Ok(Stream::outbound(muxed, entry, protocol, opening, permit))
            }
            Some(Err(error)) => {
                muxed.reset(ResetCode::NEGOTIATION_FAILED);
                Err(negotiation_failed(peer, error))
            }
            None => {
                muxed.reset(ResetCode::NEGOTIATION_FAILED);
                Err(OpenStreamError::Timeout { peer, limit })
            }
        }
    }
}

async fn negotiate(
    muxed: &dyn MuxedStream,
    protocols: Vec<ProtocolId>,
) -> Result<(ProtocolId, BytesMut), NegotiationError> {
    let mut dialer = Dialer::new(protocols);
    let mut input = BytesMut::new();
    loop {
        if let Some(message) = dialer.poll_transmit() {
            write_all(muxed, &message).await?;
        } else {
            read_some(muxed, &mut input).await?;
        }
        // A refusal leaves the next proposal to be sent.
        if let Poll::Ready(outcome) = dialer.handle_read(&mut input) {
            return Ok((outcome?, input));
        }
    }
}

fn negotiation_failed(peer: PeerId, source: NegotiationError) -> OpenStreamError {
    if let NegotiationError::Unsupported { proposed } = source {
        return OpenStreamError::Unsupported {
            peer,
            protocols: proposed,
        };
    }
    OpenStreamError::Negotiation { peer, source }
}

fn unconfirmed(entry: &Entry, error: ConnectionError) -> crate::DialError {
    crate::DialError::Failed {
        peer: Some(entry.info.remote_peer),
        attempts: Arc::new([crate::DialAttempt {
            addr: entry.info.remote_addr.clone(),
            error: crate::AttemptError::Connection(error),
        }]),
    }
}
