//! One message over one stream.

use std::{io, time::Duration};

use futures::{AsyncReadExt, AsyncWriteExt};
use peerkit_core::{ResetCode, Runtime, with_deadline};
use peerkit_swarm::Stream;

use crate::{DecodeError, Decoder, IdentifyError, Message};

/// Reads what the remote says until it closes its side, then closes this one.
pub(crate) async fn receive(
    runtime: &dyn Runtime,
    limit: Duration,
    mut stream: Stream,
) -> Result<Message, IdentifyError> {
    let peer = stream.remote_peer();
    let outcome = with_deadline(runtime, limit, read(&mut stream)).await;
    match outcome {
        Some(Ok(message)) => {
            // The message is here; how the stream ends does not matter.
            let _ = with_deadline(runtime, limit, stream.close()).await;
            Ok(message)
        }
        Some(Err(ReadError::Io(source))) => Err(IdentifyError::stream(peer, source)),
        Some(Err(ReadError::Decode(source))) => {
            stream.reset(ResetCode::PROTOCOL_VIOLATION);
            Err(IdentifyError::Malformed { peer, source })
        }
        None => Err(IdentifyError::Timeout { peer, limit }),
    }
}

/// Writes a message, closes, and waits until the remote has closed as well: a
/// stream that is dropped earlier is reset, and the remote might lose the message.
pub(crate) async fn send(
    runtime: &dyn Runtime,
    limit: Duration,
    mut stream: Stream,
    message: &Message,
) -> io::Result<()> {
    let sending = async {
        stream.write_all(&message.encode()).await?;
        stream.close().await
    };
    let sent = with_deadline(runtime, limit, sending).await;
    sent.ok_or(io::ErrorKind::TimedOut)??;
    // The message is on its way; how the stream ends does not matter.
    let _ = with_deadline(runtime, limit, stream.read(&mut [0; 1])).await;
    Ok(())
}

enum ReadError {
    Io(io::Error),
    Decode(DecodeError),
}

async fn read(stream: &mut Stream) -> Result<Message, ReadError> {
    let mut decoder = Decoder::default();
    let mut buffer = [0; 2048];
    loop {
        let read = stream.read(&mut buffer).await.map_err(ReadError::Io)?;
        if read == 0 {
            return decoder.finish().map_err(ReadError::Decode);
        }
        decoder
            .handle_read(&buffer[..read])
            .map_err(ReadError::Decode)?;
    }
}
