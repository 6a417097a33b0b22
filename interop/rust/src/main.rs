//! A rust-libp2p peer for the interop suite: it listens, or dials one address
//! and runs one test, and prints JSON lines on stdout.

mod node;
mod pubsub;
mod tests;

use std::{fmt, process::ExitCode, time::Duration};

use anyhow::{Result, bail};
use clap::{Args, Parser, ValueEnum};
use futures::StreamExt;
use libp2p::{Multiaddr, Swarm, swarm::SwarmEvent};
use serde_json::{Value, json};
use tokio::{io::AsyncReadExt, time::timeout};

use node::Behaviour;

const DEADLINE: Duration = Duration::from_secs(60);
const EXIT_UNSUPPORTED: u8 = 3;

#[derive(Parser)]
enum Command {
    /// Serve ping, identify and echo until stdin ends.
    Listen {
        #[arg(long, default_value = "/ip4/127.0.0.1/tcp/0")]
        listen: Multiaddr,
        #[command(flatten)]
        stack: Stack,
    },
    Ping {
        address: Multiaddr,
        #[arg(long, default_value_t = 1)]
        count: usize,
        #[command(flatten)]
        stack: Stack,
    },
    Identify {
        address: Multiaddr,
        #[command(flatten)]
        stack: Stack,
    },
    Echo {
        address: Multiaddr,
        #[arg(long, default_value_t = 1_000_000)]
        bytes: usize,
        #[command(flatten)]
        stack: Stack,
    },
    /// Subscribe to a topic, or publish to it.
    Pubsub {
        #[command(subcommand)]
        action: pubsub::Action,
    },
    /// What this peer can do.
    Info,
}

#[derive(Args, Clone, Copy)]
struct Stack {
    #[arg(long, value_enum, default_value_t = Muxer::Yamux)]
    muxer: Muxer,
    #[arg(long, value_enum, default_value_t = Security::Noise)]
    security: Security,
    #[arg(long, value_enum, default_value_t = KeyType::Ed25519)]
    key_type: KeyType,
}

#[derive(Clone, Copy, ValueEnum)]
enum Muxer {
    Yamux,
    Mplex,
}

#[derive(Clone, Copy, ValueEnum)]
enum Security {
    Noise,
    Plaintext,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum KeyType {
    Ed25519,
    Secp256k1,
    Ecdsa,
    /// Not supported: rust-libp2p cannot generate RSA keys.
    Rsa,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Command::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<Unsupported>() => {
            emit(json!({"event": "unsupported", "error": error.to_string()}));
            ExitCode::from(EXIT_UNSUPPORTED)
        }
        Err(error) => {
            emit(json!({"event": "error", "error": format!("{error:#}")}));
            ExitCode::FAILURE
        }
    }
}

/// What rust-libp2p cannot do.
#[derive(Debug)]
struct Unsupported(&'static str);

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Unsupported {}

async fn run(command: Command) -> Result<()> {
    match command {
        Command::Listen {
            listen: address,
            stack,
        } => listen(address, stack).await,
        Command::Ping {
            address,
            count,
            stack,
        } => {
            let swarm = node::swarm(stack, node::Pings::Fast)?;
            timeout(DEADLINE, tests::ping(swarm, address, count)).await?
        }
        Command::Identify { address, stack } => {
            let swarm = node::swarm(stack, node::Pings::Slow)?;
            timeout(DEADLINE, tests::identify(swarm, address)).await?
        }
        Command::Echo {
            address,
            bytes,
            stack,
        } => {
            let swarm = node::swarm(stack, node::Pings::Slow)?;
            timeout(DEADLINE, tests::echo(swarm, address, bytes)).await?
        }
        Command::Pubsub { action } => pubsub::run(action).await,
        Command::Info => {
            info();
            Ok(())
        }
    }
}

/// Serves until stdin ends.
async fn listen(address: Multiaddr, stack: Stack) -> Result<()> {
    let mut swarm = node::swarm(stack, node::Pings::Slow)?;
    tokio::spawn(tests::serve_echo(swarm.behaviour().streams.new_control()));
    swarm.listen_on(address)?;
    let mut stdin = tokio::io::stdin();
    let mut ignored = [0; 1024];
    loop {
        tokio::select! {
            read = stdin.read(&mut ignored) => if read? == 0 { return Ok(()) },
            event = swarm.select_next_some() => on_listen_event(&swarm, event)?,
        }
    }
}

fn on_listen_event(
    swarm: &Swarm<Behaviour>,
    event: SwarmEvent<node::BehaviourEvent>,
) -> Result<()> {
    match event {
        SwarmEvent::NewListenAddr { address, .. } => {
            let address = format!("{address}/p2p/{}", swarm.local_peer_id());
            emit(json!({"event": "listening", "addr": address}));
        }
        SwarmEvent::ListenerClosed { reason, .. } => {
            reason?;
            bail!("the listener closed");
        }
        other => eprintln!("{other:?}"),
    }
    Ok(())
}

fn info() {
    emit(json!({
        "event": "info",
        "name": "rust-libp2p",
        "version": node::LIBRARY_VERSION,
        "muxers": ["yamux", "mplex"],
        "securities": ["noise", "plaintext"],
        "key_types": ["ed25519", "secp256k1", "ecdsa"],
        "remote_key_types": ["ed25519", "secp256k1", "ecdsa", "rsa"],
        "routers": ["gossipsub", "floodsub"],
    }));
}

fn emit(line: Value) {
    println!("{line}");
}
