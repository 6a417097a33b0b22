//! multistream-select on the wire and inside the secured channel.

use std::{sync::Arc, task::Poll};

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use futures::future::BoxFuture;
use peerkit_core::{Channel, NegotiationError, ProtocolId, SecurityError, Wire};
use peerkit_multistream::{Dialer, Listener};

/// Where a negotiation happens: queued bytes go out before more are read.
pub(crate) trait Carrier: Send {
    fn queue(&mut self, bytes: &[u8]) -> Result<(), NegotiationError>;
    fn input(&mut self) -> &mut BytesMut;
    fn flush(&mut self) -> BoxFuture<'_, Result<(), NegotiationError>>;
    fn read_more(&mut self) -> BoxFuture<'_, Result<(), NegotiationError>>;
}

impl Carrier for Wire {
    fn queue(&mut self, bytes: &[u8]) -> Result<(), NegotiationError> {
        self.outbound().extend_from_slice(bytes);
        Ok(())
    }

    fn input(&mut self) -> &mut BytesMut {
        self.inbound()
    }

    fn flush(&mut self) -> BoxFuture<'_, Result<(), NegotiationError>> {
        async { Ok(Wire::flush(self).await?) }.boxed()
    }

    fn read_more(&mut self) -> BoxFuture<'_, Result<(), NegotiationError>> {
        Wire::read_more(self).boxed()
    }
}

/// A channel reports failures of the cipher as well; they are kept for the caller.
pub(crate) struct SecuredCarrier<'a> {
    pub(crate) channel: &'a mut Channel,
    pub(crate) failure: Option<SecurityError>,
}

impl SecuredCarrier<'_> {
    fn note(&mut self, outcome: Result<(), SecurityError>) -> Result<(), NegotiationError> {
        outcome.map_err(|error| {
            if let SecurityError::Io(error) = error {
                return NegotiationError::Io(error);
            }
            self.failure = Some(error);
            NegotiationError::Malformed("the secured channel failed")
        })
    }
}

impl Carrier for SecuredCarrier<'_> {
    fn queue(&mut self, bytes: &[u8]) -> Result<(), NegotiationError> {
        let outcome = self.channel.queue(bytes);
        self.note(outcome)
    }

    fn input(&mut self) -> &mut BytesMut {
        self.channel.early()
    }

    fn flush(&mut self) -> BoxFuture<'_, Result<(), NegotiationError>> {
        async {
            let outcome = self.channel.flush().await;
            self.note(outcome)
        }
        .boxed()
    }

    fn read_more(&mut self) -> BoxFuture<'_, Result<(), NegotiationError>> {
        async {
            let outcome = self.channel.read_more().await;
            self.note(outcome)
        }
        .boxed()
    }
}

/// Proposes one protocol after the other and waits for each answer.
pub(crate) async fn propose(
    carrier: &mut dyn Carrier,
    protocols: Vec<ProtocolId>,
) -> Result<ProtocolId, NegotiationError> {
    let mut dialer = Dialer::new(protocols);
    loop {
        if let Some(message) = dialer.poll_transmit() {
            carrier.queue(&message)?;
        } else {
            carrier.read_more().await?;
        }
        // A refusal leaves the next proposal to be sent.
        if let Poll::Ready(outcome) = dialer.handle_read(carrier.input()) {
            return outcome;
        }
    }
}

/// Answers proposals until one is supported. The last answer stays queued.
pub(crate) async fn answer(
    carrier: &mut dyn Carrier,
    supported: Arc<[ProtocolId]>,
) -> Result<ProtocolId, NegotiationError> {
    let mut listener = Listener::new(supported);
    loop {
        let outcome = listener.handle_read(carrier.input());
        queue_all(carrier, std::iter::from_fn(|| listener.poll_transmit()))?;
        if let Poll::Ready(outcome) = outcome {
            if outcome.is_err() {
                // What the dialer sent ahead of its answer can't be understood, but the answer can.
                carrier.flush().await?;
            }
            return outcome;
        }
        carrier.read_more().await?;
    }
}

/// Queues the proposal of one protocol; the returned machine checks the answer when it comes.
pub(crate) fn propose_eagerly(
    carrier: &mut dyn Carrier,
    protocol: ProtocolId,
) -> Result<Dialer, NegotiationError> {
    let mut dialer = Dialer::new(vec![protocol]);
    queue_all(carrier, std::iter::from_fn(|| dialer.poll_transmit()))?;
    Ok(dialer)
}

fn queue_all(
    carrier: &mut dyn Carrier,
    messages: impl Iterator<Item = Bytes>,
) -> Result<(), NegotiationError> {
    for message in messages {
        carrier.queue(&message)?;
    }
    Ok(())
}
