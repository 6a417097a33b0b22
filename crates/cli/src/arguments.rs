//! What can be written on the command line.

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand, ValueEnum, error::ErrorKind};
use peerkit::{
    KeyType, Multiaddr,
    core::{
        multiaddr::{self, Protocol},
        parse_peer_id,
    },
};

use crate::{failure::Failure, output::Output};

/// A libp2p node on the command line.
#[derive(Debug, Parser)]
#[command(name = "peerkit", version, about, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) options: Options,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Print one JSON object a line on stdout.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Speak only this muxer [default: both, yamux preferred].
    #[arg(long, global = true, value_name = "MUXER")]
    pub(crate) muxer: Option<MuxerName>,
    /// Speak this security protocol; plaintext protects nothing and is for tests.
    #[arg(long, global = true, default_value = "noise", value_name = "SECURITY")]
    pub(crate) security: SecurityName,
    /// Run on this runtime.
    #[arg(
        long,
        global = true,
        default_value = "async-std",
        value_name = "RUNTIME"
    )]
    pub(crate) runtime: RuntimeName,
    /// The identity key, in libp2p's protobuf format [default: a fresh Ed25519 key].
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum MuxerName {
    Yamux,
    Mplex,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SecurityName {
    Noise,
    Plaintext,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RuntimeName {
    AsyncStd,
    Tokio,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeyTypeName {
    Ed25519,
    Secp256k1,
    Ecdsa,
    Rsa,
}

impl KeyTypeName {
    pub(crate) fn of(key_type: KeyType) -> Self {
        match key_type {
            KeyType::Ed25519 => Self::Ed25519,
            KeyType::Secp256k1 => Self::Secp256k1,
            KeyType::Ecdsa => Self::Ecdsa,
            KeyType::RSA => Self::Rsa,
        }
    }
}

/// The names of all variants, as they are written on the command line.
pub(crate) fn names<T: ValueEnum>() -> Vec<String> {
    T::value_variants().iter().map(name).collect()
}

/// The name of a variant, as it is written on the command line.
pub(crate) fn name<T: ValueEnum>(value: &T) -> String {
    let value = value.to_possible_value().expect("no variant is hidden");
    value.get_name().to_owned()
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start several nodes in this process, connect them over TCP, ping, send a file-sized stream, and gossip.
    Demo(DemoArguments),
    /// Listen, and serve ping, identify, /echo/1.0.0 and /perf/1.0.0.
    Listen(ListenArguments),
    /// Measure round trips.
    Ping(PingArguments),
    /// Ask a peer what it says of itself.
    Identify(IdentifyArguments),
    /// Send bytes to a peer, read them back and compare the hashes.
    Echo(EchoArguments),
    /// Measure throughput with the protocol /perf/1.0.0.
    Perf(PerfArguments),
    /// Publish and subscribe.
    #[command(subcommand)]
    Pubsub(PubsubCommand),
    /// Chat: the lines of stdin go to everybody in the topic.
    Chat(ChatArguments),
    /// Make or show the key of an identity.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Tell the version, and what this program speaks.
    Info,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArguments {
    /// How many nodes.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(2..=64), value_name = "N")]
    pub(crate) nodes: u16,
    /// How many bytes go to each node.
    #[arg(long, default_value_t = 64 * 1024 * 1024, value_name = "N")]
    pub(crate) bytes: u64,
}

#[derive(Debug, Args)]
pub(crate) struct ListenArguments {
    /// Where to listen; may be given more than once.
    #[arg(long, default_value = ANYWHERE, value_name = "ADDR")]
    pub(crate) listen: Vec<String>,
    /// End when stdin ends, for programs that start this one.
    #[arg(long)]
    pub(crate) until_stdin_ends: bool,
    /// Set a limit, for example connections_max=1000; may be given more than once. The line that
    /// tells that a limit was reached has its name.
    #[arg(long, value_name = "NAME=N")]
    pub(crate) limit: Vec<String>,
    /// Subscribe to this topic and print its messages; may be given more than once.
    #[arg(long, value_name = "TOPIC")]
    pub(crate) topic: Vec<String>,
    #[command(flatten)]
    pub(crate) routing: Routing,
}

/// How messages find their way.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Routing {
    /// How messages find their way; gossipsub speaks floodsub with those who know nothing else.
    #[arg(long, default_value = "gossipsub", value_name = "ROUTER")]
    pub(crate) router: RouterName,
    /// Neither sign messages nor accept signed ones.
    #[arg(long)]
    pub(crate) unsigned: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RouterName {
    Gossipsub,
    Floodsub,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PubsubCommand {
    /// Print the messages of a topic.
    Subscribe(SubscribeArguments),
    /// Wait for subscribers, send messages and tell to how many peers each of them went.
    Publish(PublishArguments),
}

/// Where the others are.
#[derive(Debug, Args)]
pub(crate) struct Gathering {
    /// The topic.
    #[arg(value_name = "TOPIC")]
    pub(crate) topic: String,
    #[command(flatten)]
    pub(crate) routing: Routing,
    /// Connect to this peer; may be given more than once.
    #[arg(long, value_name = "ADDR")]
    pub(crate) connect: Vec<String>,
    /// Where to listen; may be given more than once [default: a free port, unless there is --connect].
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct SubscribeArguments {
    #[command(flatten)]
    pub(crate) gathering: Gathering,
    /// End after so many messages [default: never].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..), value_name = "N")]
    pub(crate) count: Option<u64>,
    /// With --count: leave the topic then, and stay connected until stdin ends.
    #[arg(long, requires = "count")]
    pub(crate) leave: bool,
    /// End when stdin ends, for programs that start this one.
    #[arg(long)]
    pub(crate) until_stdin_ends: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PublishArguments {
    #[command(flatten)]
    pub(crate) gathering: Gathering,
    /// What to send; with --count, followed by a number.
    #[arg(long, default_value = "hello", value_name = "TEXT")]
    pub(crate) message: String,
    /// Send what stdin says, a message for each line.
    #[arg(long, conflicts_with_all = ["message", "size", "count", "until_stdin_ends"])]
    pub(crate) stdin: bool,
    /// Send so many bytes instead of a text.
    #[arg(long, conflicts_with = "message", value_name = "B")]
    pub(crate) size: Option<usize>,
    /// How many messages.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..), value_name = "N")]
    pub(crate) count: u64,
    /// For how many subscribers to wait.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) peers: usize,
    /// Stay until all subscribers have left or stdin ends.
    #[arg(long)]
    pub(crate) until_stdin_ends: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ChatArguments {
    #[command(flatten)]
    pub(crate) gathering: Gathering,
    /// The name that stands before this side's lines [default: the end of the peer id].
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PingArguments {
    #[command(flatten)]
    pub(crate) target: Target,
    /// How many pings.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..), value_name = "N")]
    pub(crate) count: u64,
}

#[derive(Debug, Args)]
pub(crate) struct IdentifyArguments {
    #[command(flatten)]
    pub(crate) target: Target,
}

#[derive(Debug, Args)]
pub(crate) struct EchoArguments {
    #[command(flatten)]
    pub(crate) target: Target,
    /// How many pseudo-random bytes to send.
    #[arg(long, default_value_t = 1024 * 1024, value_name = "N")]
    pub(crate) bytes: u64,
    /// Send stdin instead; the answer goes to stdout, except with --json.
    #[arg(long, conflicts_with = "bytes")]
    pub(crate) stdin: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PerfArguments {
    #[command(flatten)]
    pub(crate) target: Target,
    /// How many bytes to send.
    #[arg(long, default_value_t = 64 * 1024 * 1024, value_name = "N")]
    pub(crate) upload_bytes: u64,
    /// How many bytes to receive.
    #[arg(long, default_value_t = 64 * 1024 * 1024, value_name = "N")]
    pub(crate) download_bytes: u64,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Write a fresh key to the file that --key names; only its owner can read it.
    Generate {
        /// The type of the key.
        #[arg(long = "type", default_value = "ed25519", value_name = "TYPE")]
        key_type: KeyTypeName,
    },
    /// Show the type, the peer id and the public key of the file that --key names.
    Show {
        /// Fail unless the key is of this type.
        #[arg(long = "type", value_name = "TYPE")]
        key_type: Option<KeyTypeName>,
    },
}

impl Gathering {
    /// Where to listen, and whom to dial.
    pub(crate) fn addrs(&self) -> Result<(Vec<Multiaddr>, Vec<Multiaddr>), Failure> {
        let connect = parse_addrs(&self.connect)?;
        if self.listen.is_empty() && connect.is_empty() {
            return Ok((parse_addrs(&[ANYWHERE.into()])?, connect));
        }
        Ok((parse_addrs(&self.listen)?, connect))
    }
}

/// Whom to dial.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// The address, for example /ip4/127.0.0.1/tcp/4001/p2p/12D3..; without /p2p anybody may answer.
    #[arg(value_name = "ADDR")]
    addr: String,
}

impl Target {
    pub(crate) fn addr(&self) -> Result<Multiaddr, Failure> {
        parse_addr(&self.addr)
    }
}

pub(crate) fn parse_addrs(texts: &[String]) -> Result<Vec<Multiaddr>, Failure> {
    texts.iter().map(|text| parse_addr(text)).collect()
}

/// Reads an address, with an error that says how one looks.
pub(crate) fn parse_addr(text: &str) -> Result<Multiaddr, Failure> {
    let addr: Multiaddr = text
        .parse()
        .map_err(|error| no_multiaddr(text, &reason(text, &error)))?;
    if addr.is_empty() {
        return Err(no_multiaddr(text, ""));
    }
    if !is_tcp(&addr) {
        return Err(Failure::misuse(format!(
            "{addr} can't be used: this program speaks TCP, as in {EXAMPLE}"
        )));
    }
    Ok(addr)
}

/// Why a text is no address, in brackets, as far as it can be told in words.
fn reason(text: &str, error: &multiaddr::Error) -> String {
    let peer = text.rsplit_once("/p2p/").map(|(_, peer)| peer);
    if peer.is_some_and(|peer| parse_peer_id(peer).is_err()) {
        return " (what stands behind /p2p is no peer id, or not all of it)".into();
    }
    if matches!(error, multiaddr::Error::InvalidMultiaddr) {
        return String::new();
    }
    format!(" ({error})")
}

fn no_multiaddr(text: &str, reason: &str) -> Failure {
    Failure::misuse(format!(
        "{text:?} is no multiaddr{reason}; one looks like {EXAMPLE}"
    ))
}

/// Whether an address is a host, a TCP port and perhaps a peer.
fn is_tcp(addr: &Multiaddr) -> bool {
    let mut parts = addr.iter().skip(1);
    matches!(parts.next(), Some(Protocol::Tcp(_)))
        && matches!(parts.next(), None | Some(Protocol::P2p(_)))
        && parts.next().is_none()
}

/// A free port on all interfaces.
const ANYWHERE: &str = "/ip4/0.0.0.0/tcp/0";

const EXAMPLE: &str = "/ip4/127.0.0.1/tcp/4001/p2p/12D3KooW..";

/// Reads the command line; help, versions and errors are printed already when this fails.
pub(crate) fn parse() -> Result<Arguments, ExitCode> {
    let words: Vec<OsString> = std::env::args_os().collect();
    Arguments::try_parse_from(&words).map_err(|error| {
        let is_error = error.use_stderr()
            && error.kind() != ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
        if is_error && words.iter().any(|word| word == "--json") {
            let failure = Failure::misuse(first_sentence(&error.to_string()));
            Output::new(true).failure(&failure);
        } else {
            // Fails only when nobody reads.
            let _ = error.print();
        }
        ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
    })
}

/// The first paragraph of clap's text on one line.
fn first_sentence(text: &str) -> String {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let lines = text.lines().take_while(|line| !line.trim().is_empty());
    lines.map(str::trim).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn options_stand_before_and_after_the_command() {
        for line in [
            "peerkit --json --muxer mplex ping /ip4/127.0.0.1/tcp/1",
            "peerkit ping --muxer mplex /ip4/127.0.0.1/tcp/1 --json",
        ] {
            let arguments = Arguments::try_parse_from(line.split(' ')).unwrap();
            assert!(arguments.options.json);
            assert_eq!(arguments.options.muxer, Some(MuxerName::Mplex));
        }
    }

    #[test]
    fn an_error_of_the_parser_becomes_one_sentence() {
        let error = Arguments::try_parse_from(["peerkit", "ping", "/a", "--count", "none"]);
        let sentence = first_sentence(&error.unwrap_err().to_string());
        assert!(sentence.starts_with("invalid value 'none'"), "{sentence}");
        assert!(!sentence.contains('\n'));
    }
}
