//! A protocol of one's own with typed messages: each is a protobuf with its length in front.
//!
//! ```text
//! $ cargo run -p peerkit-examples --example typed_messages
//! the sum of [1, 20, 300] is 321
//! the server refused: the sum is too large
//! ```

use std::{error::Error, io};

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use peerkit::{Host, PeerId, Stream, runtime::AsyncStd};
use prost::Message;

const SUM: &str = "/example/sum/1.0.0";

fn main() -> Result<(), Box<dyn Error>> {
    async_std::task::block_on(async {
        let server = Host::builder()
            .runtime(AsyncStd::new())
            .listen_on("/ip4/127.0.0.1/tcp/0".parse()?)
            .build()
            .await?;
        server.set_stream_handler(SUM, answer);

        let client = Host::builder().runtime(AsyncStd::new()).build().await?;
        let peer = client.connect(server.addrs().remove(0)).await?;
        for numbers in [vec![1, 20, 300], vec![u64::MAX, 1]] {
            let response = ask(&client, peer, &numbers).await?;
            match response.sum {
                Some(sum) => println!("the sum of {numbers:?} is {sum}"),
                None => println!("the server refused: {}", response.error),
            }
        }
        client.close().await;
        server.close().await;
        Ok(())
    })
}

#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(uint64, repeated, tag = "1")]
    numbers: Vec<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct Response {
    #[prost(uint64, optional, tag = "1")]
    sum: Option<u64>,
    #[prost(string, tag = "2")]
    error: String,
}

/// One request, one response. After a success the stream is closed, after an error reset.
async fn answer(mut stream: Stream) -> io::Result<()> {
    let request: Request = receive(&mut stream).await?;
    let sum = request
        .numbers
        .iter()
        .try_fold(0, |sum: u64, it| sum.checked_add(*it));
    let error = match sum {
        Some(_) => String::new(),
        None => "the sum is too large".to_owned(),
    };
    send(&mut stream, &Response { sum, error }).await
}

async fn ask(host: &Host, peer: PeerId, numbers: &[u64]) -> Result<Response, Box<dyn Error>> {
    let mut stream = host.open_stream(peer, SUM).await?;
    let numbers = numbers.to_vec();
    send(&mut stream, &Request { numbers }).await?;
    stream.close().await?;
    Ok(receive(&mut stream).await?)
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), message: &impl Message) -> io::Result<()> {
    stream
        .write_all(&message.encode_length_delimited_to_vec())
        .await
}

/// Never trusts a length: a remote may claim anything.
async fn receive<M: Message + Default>(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<M> {
    let len = unsigned_varint::aio::read_usize(&mut *stream)
        .await
        .map_err(io::Error::other)?;
    if len > MESSAGE_LEN_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the message is too long",
        ));
    }
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).await?;
    Ok(M::decode(bytes.as_slice())?)
}

const MESSAGE_LEN_MAX: usize = 64 * 1024;
