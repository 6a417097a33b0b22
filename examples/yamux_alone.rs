//! The crate `peerkit-yamux` alone: many streams on one plain TCP socket.
//!
//! ```text
//! $ cargo run -p peerkit-examples --example yamux_alone
//! stream 1: HELLO
//! stream 2: MANY
//! stream 3: STREAMS
//! ```
//!
//! Nothing is encrypted here, and nobody knows who is at the other end.

use std::{error::Error, io, sync::Arc};

use async_std::net::{TcpListener, TcpStream};
use futures::future::{poll_fn, try_join_all};
use peerkit_core::{
    Channel, CloseReason, Connection, MuxedStream, MuxerContext, MuxerUpgrade, Role, Task,
};
use peerkit_runtime::AsyncStd;
use peerkit_yamux::Yamux;

fn main() -> Result<(), Box<dyn Error>> {
    async_std::task::block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (dialed, accepted) = futures::join!(
            TcpStream::connect(listener.local_addr()?),
            listener.accept()
        );
        let (client, _client_task) = start(dialed?, Role::Dialer);
        let (server, server_task) = start(accepted?.0, Role::Listener);

        let words = ["hello", "many", "streams"];
        let asked = try_join_all(words.map(|word| ask(client.as_ref(), word)));
        let (answers, ()) = futures::try_join!(asked, serve(server.as_ref(), words.len()))?;
        for (at, answer) in answers.iter().enumerate() {
            println!("stream {}: {answer}", at + 1);
        }
        client.close(CloseReason::Normal);
        server_task.join().await; // ends at the client's goodbye
        Ok(())
    })
}

/// Yamux on a socket, and the task that moves its bytes.
fn start(socket: TcpStream, role: Role) -> (Arc<dyn Connection>, Task) {
    let runtime = Arc::new(AsyncStd::new());
    let channel = Channel::plain(Box::new(socket));
    let context = MuxerContext {
        role,
        runtime: runtime.clone(),
    };
    let (connection, driver) = Yamux::default().upgrade(channel, context);
    let task = Task::spawn(runtime.as_ref(), driver);
    (connection, task)
}

async fn ask(connection: &dyn Connection, word: &str) -> Result<String, Box<dyn Error>> {
    let stream = connection.open().await?;
    send(stream.as_ref(), word.as_bytes()).await?;
    Ok(String::from_utf8(receive(stream.as_ref()).await?)?)
}

/// Answers so many streams, all at the same time.
async fn serve(connection: &dyn Connection, count: usize) -> Result<(), Box<dyn Error>> {
    let answers = (0..count).map(|_| async {
        let stream = connection.accept().await?;
        let text = receive(stream.as_ref()).await?;
        send(stream.as_ref(), &text.to_ascii_uppercase()).await?;
        Ok::<_, Box<dyn Error>>(())
    });
    try_join_all(answers).await.map(drop)
}

/// Writes everything, then ends this direction of the stream.
async fn send(stream: &dyn MuxedStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let count = poll_fn(|cx| stream.poll_write(cx, bytes)).await?;
        bytes = &bytes[count..];
    }
    poll_fn(|cx| stream.poll_close(cx)).await
}

/// Reads until the remote ends its direction.
async fn receive(stream: &dyn MuxedStream) -> io::Result<Vec<u8>> {
    let (mut all, mut block) = (Vec::new(), [0; 1024]);
    loop {
        match poll_fn(|cx| stream.poll_read(cx, &mut block)).await? {
            0 => return Ok(all),
            count => all.extend_from_slice(&block[..count]),
        }
    }
}
