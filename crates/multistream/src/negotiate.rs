//! The machines over a pipe, for use without the rest of the stack.

use std::{io, sync::Arc, task::Poll};

use bytes::{Bytes, BytesMut};
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use peerkit_core::{NegotiationError, ProtocolId};

use crate::{
    Dialer, Listener,
    codec::{
        HEADER, LS, MAX_LINE, MAX_LISTING, NA, NO_HEADER, missing, parse_listing, put_line,
        take_bytes,
    },
};

/// Proposes `protocols` on `io`, best first, and returns the one that the remote accepts.
///
/// Reads not one byte beyond the answer. Sets no deadline.
///
/// Cancel safety: none. A pipe on which a negotiation was cancelled is of no further use.
///
/// # Errors
///
/// Those of [`Dialer::handle_read`], and [`Io`](NegotiationError::Io) when the pipe fails or ends.
pub async fn dial(
    io: &mut (impl AsyncRead + AsyncWrite + Unpin),
    protocols: Vec<ProtocolId>,
) -> Result<ProtocolId, NegotiationError> {
    let mut dialer = Dialer::new(protocols);
    let mut input = BytesMut::new();
    loop {
        let outcome = dialer.handle_read(&mut input);
        send(io, dialer.poll_transmit()).await?;
        if let Poll::Ready(outcome) = outcome {
            return outcome;
        }
        read_missing(io, &mut input, MAX_LINE).await?;
    }
}

/// Answers proposals on `io` until one of `supported` is accepted, and returns it.
///
/// Reads not one byte beyond the proposal. Sets no deadline.
///
/// Cancel safety: none. A pipe on which a negotiation was cancelled is of no further use.
///
/// # Errors
///
/// Those of [`Listener::handle_read`], and [`Io`](NegotiationError::Io) when the pipe
/// fails, or ends because the dialer has no further proposal.
pub async fn listen(
    io: &mut (impl AsyncRead + AsyncWrite + Unpin),
    supported: Arc<[ProtocolId]>,
) -> Result<ProtocolId, NegotiationError> {
    let mut listener = Listener::new(supported);
    let mut input = BytesMut::new();
    loop {
        let outcome = listener.handle_read(&mut input);
        send(io, listener.poll_transmit()).await?;
        if let Poll::Ready(outcome) = outcome {
            return outcome;
        }
        read_missing(io, &mut input, MAX_LINE).await?;
    }
}

/// Asks for the protocols that the remote supports; `None` when it does not tell, as Go never does.
///
/// For diagnosis: close the pipe afterwards. An answer may be incomplete, and
/// names that are no [`ProtocolId`] are left out.
///
/// Cancel safety: none.
///
/// # Errors
///
/// [`Malformed`](NegotiationError::Malformed) when the remote does not speak
/// multistream-select, [`Limit`](NegotiationError::Limit) when the answer is longer than
/// [`MAX_LISTING`], [`Io`](NegotiationError::Io) when the pipe fails or ends.
pub async fn list_protocols(
    io: &mut (impl AsyncRead + AsyncWrite + Unpin),
) -> Result<Option<Vec<ProtocolId>>, NegotiationError> {
    let mut request = BytesMut::new();
    put_line(&mut request, HEADER);
    put_line(&mut request, LS);
    send(io, Some(request.freeze())).await?;
    if read_line(io, MAX_LINE).await? != HEADER.as_bytes() {
        return Err(NO_HEADER);
    }
    let answer = read_line(io, MAX_LISTING).await?;
    if answer == NA.as_bytes() {
        return Ok(None);
    }
    parse_listing(answer).map(Some)
}

async fn read_line(
    io: &mut (impl AsyncRead + Unpin),
    limit: usize,
) -> Result<BytesMut, NegotiationError> {
    let mut input = BytesMut::new();
    loop {
        if let Poll::Ready(line) = take_bytes(&mut input, limit)? {
            return Ok(line);
        }
        read_missing(io, &mut input, limit).await?;
    }
}

async fn send(io: &mut (impl AsyncWrite + Unpin), bytes: Option<Bytes>) -> io::Result<()> {
    if let Some(bytes) = bytes {
        io.write_all(&bytes).await?;
        io.flush().await?;
    }
    Ok(())
}

/// Reads once, and no more than what surely belongs to the line that `input` begins with, so that a
/// remote which speaks something else is found out by what it has sent.
async fn read_missing(
    io: &mut (impl AsyncRead + Unpin),
    input: &mut BytesMut,
    limit: usize,
) -> io::Result<()> {
    let start = input.len();
    input.resize(start + missing(input, limit), 0);
    let read = io.read(&mut input[start..]).await;
    input.truncate(start + read.as_ref().map_or(0, |read| *read));
    match read? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}
