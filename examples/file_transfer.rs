//! Sends a file, with a progress bar; the receiver says how much has arrived.
//!
//! ```text
//! $ cargo run -p peerkit-examples --example file_transfer
//! sent 16777216 bytes, and 16777216 bytes arrived
//! ```
//!
//! It makes a file of its own, or sends the one that is named behind `--`.

use std::{
    env,
    error::Error,
    io,
    path::{Path, PathBuf},
};

use async_std::fs::{self, File};
use futures::{AsyncReadExt, AsyncWriteExt};
use indicatif::ProgressBar;
use peerkit::{Host, PeerId, Stream, runtime::AsyncStd};

const FILE: &str = "/example/file/1.0.0";

fn main() -> Result<(), Box<dyn Error>> {
    async_std::task::block_on(async {
        let folder = env::temp_dir().join(format!("peerkit-file-transfer-{}", std::process::id()));
        fs::create_dir_all(&folder).await?;
        let outcome = run(&folder).await;
        fs::remove_dir_all(&folder).await?;
        outcome
    })
}

async fn run(folder: &Path) -> Result<(), Box<dyn Error>> {
    let file = match env::args_os().nth(1) {
        Some(file) => PathBuf::from(file),
        None => make_file(folder).await?,
    };
    let receiver = Host::builder()
        .runtime(AsyncStd::new())
        .listen_on("/ip4/127.0.0.1/tcp/0".parse()?)
        .build()
        .await?;
    // The receiver chooses the name: one that a remote sends could lead anywhere.
    let target = folder.join("received");
    let copy = target.clone();
    receiver.set_stream_handler(FILE, move |stream| receive(stream, copy.clone()));

    let sender = Host::builder().runtime(AsyncStd::new()).build().await?;
    let peer = sender.connect(receiver.addrs().remove(0)).await?;
    let (sent, arrived) = send(&sender, peer, &file).await?;
    println!("sent {sent} bytes, and {arrived} bytes arrived");
    sender.close().await;
    receiver.close().await;
    if fs::read(&file).await? != fs::read(&target).await? {
        return Err("the two files differ".into());
    }
    Ok(())
}

async fn make_file(folder: &Path) -> io::Result<PathBuf> {
    let file = folder.join("sent");
    let content: Vec<u8> = (0..4 * 1024 * 1024_u32)
        .flat_map(u32::to_le_bytes)
        .collect();
    fs::write(&file, content).await?;
    Ok(file)
}

/// The content, then the end of the stream; the answer is the number of bytes.
async fn send(host: &Host, peer: PeerId, path: &Path) -> Result<(u64, u64), Box<dyn Error>> {
    let mut file = File::open(path).await?;
    let mut stream = host.open_stream(peer, FILE).await?;
    let bar = ProgressBar::new(file.metadata().await?.len());
    let mut block = vec![0; 64 * 1024];
    let mut sent = 0;
    loop {
        let count = file.read(&mut block).await?;
        if count == 0 {
            break;
        }
        stream.write_all(&block[..count]).await?;
        sent += count as u64;
        bar.set_position(sent);
    }
    stream.close().await?;
    bar.finish_and_clear();
    let mut arrived = [0; 8];
    stream.read_exact(&mut arrived).await?;
    Ok((sent, u64::from_be_bytes(arrived)))
}

async fn receive(mut stream: Stream, path: PathBuf) -> io::Result<()> {
    let mut file = File::create(path).await?;
    let arrived = futures::io::copy(&mut stream, &mut file).await?;
    file.sync_all().await?;
    stream.write_all(&arrived.to_be_bytes()).await
}
