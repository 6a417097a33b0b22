//! The implementations, and how a process of each is started.
//!
//! Every peer program has the command line that interop/README.md describes.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use serde_json::Value;

/// A foreign implementation, named after its language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Language {
    Go,
    Js,
    Py,
    Rust,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Muxer {
    Yamux,
    Mplex,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Security {
    Noise,
    Plaintext,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum KeyType {
    Ed25519,
    Secp256k1,
    Ecdsa,
    Rsa,
}

/// How publish/subscribe messages find their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Router {
    Gossipsub,
    Floodsub,
}

/// Whether publish/subscribe messages have an author and a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Signing {
    Signed,
    Unsigned,
}

/// How the members of a topic talk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Talk {
    pub(crate) router: Router,
    pub(crate) signing: Signing,
}

/// What both sides of a connection are asked to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stack {
    pub(crate) muxer: Muxer,
    pub(crate) security: Security,
}

impl Stack {
    /// What every implementation has.
    pub(crate) const DEFAULT: Self = Self {
        muxer: Muxer::Yamux,
        security: Security::Noise,
    };
}

/// A peer program that can be started.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// As the tables name it.
    pub(crate) name: String,
    /// Name and version of the library under it.
    pub(crate) title: String,
    pub(crate) muxers: Vec<Muxer>,
    pub(crate) securities: Vec<Security>,
    /// The types of identity keys that it can be started with.
    pub(crate) key_types: Vec<KeyType>,
    /// The types of identity keys that it accepts from a remote.
    pub(crate) remote_key_types: Vec<KeyType>,
    /// The publish/subscribe routers that it has.
    pub(crate) routers: Vec<Router>,
    launcher: Launcher,
    local: Option<Local>,
}

/// What is special about peerkit's own command line.
#[derive(Clone, Debug)]
struct Local {
    key_files: BTreeMap<KeyType, PathBuf>,
}

/// The program, and the arguments that come before the peer's own.
#[derive(Clone, Debug)]
pub(crate) struct Launcher {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
}

impl Launcher {
    pub(crate) fn new<const N: usize>(program: PathBuf, args: [OsString; N]) -> Self {
        let args = args.into();
        Self { program, args }
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args);
        command
    }
}

impl Peer {
    /// A foreign peer, which tells by its `info` command what it can do.
    pub(crate) fn foreign(language: Language, launcher: Launcher) -> Result<Self> {
        let output = launcher.command().arg("info").output();
        let output = output.with_context(|| format!("cannot start {:?}", launcher.program))?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "`info` of {language} failed: {told}"
        );
        let info: Value = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("`info` of {language} is not JSON"))?;
        Ok(Self::of_info(language, launcher, &info))
    }

    pub(crate) fn of_info(language: Language, launcher: Launcher, info: &Value) -> Self {
        Self {
            name: language.to_string(),
            title: format!("{} {}", text(&info["name"]), text(&info["version"])),
            muxers: known(&info["muxers"]),
            securities: known(&info["securities"]),
            key_types: known(&info["key_types"]),
            remote_key_types: known(&info["remote_key_types"]),
            routers: known(&info["routers"]),
            launcher,
            local: None,
        }
    }

    /// peerkit's own command line. A key type beside the default one comes
    /// from a file.
    pub(crate) fn local(binary: &Path, key_files: BTreeMap<KeyType, PathBuf>) -> Self {
        let mut key_types = vec![KeyType::Ed25519];
        key_types.extend(key_files.keys());
        Self {
            name: "peerkit".into(),
            title: format!("peerkit {}", env!("CARGO_PKG_VERSION")),
            muxers: Muxer::value_variants().to_vec(),
            securities: Security::value_variants().to_vec(),
            key_types,
            remote_key_types: KeyType::value_variants().to_vec(),
            routers: Router::value_variants().to_vec(),
            launcher: Launcher::new(binary.into(), ["--json".into()]),
            local: Some(Local { key_files }),
        }
    }

    pub(crate) fn is_local(&self) -> bool {
        self.local.is_some()
    }

    pub(crate) fn can(&self, stack: Stack) -> bool {
        self.muxers.contains(&stack.muxer) && self.securities.contains(&stack.security)
    }

    /// Whether it can have a key of type `own` and meet one of type `remote`.
    pub(crate) fn has_keys(&self, own: KeyType, remote: KeyType) -> bool {
        self.key_types.contains(&own) && self.remote_key_types.contains(&remote)
    }

    /// The command that listens on a free loopback port until its stdin ends.
    pub(crate) fn listen(&self, stack: Stack, key: KeyType) -> Command {
        let mut command = self.launcher.command();
        command.args(["listen", "--listen", "/ip4/127.0.0.1/tcp/0"]);
        if self.is_local() {
            command.arg("--until-stdin-ends");
        }
        self.add_options(command, stack, key)
    }

    /// The command that dials `address` and runs one test.
    pub(crate) fn dial(&self, test: &[&str], address: &str, stack: Stack, key: KeyType) -> Command {
        let (name, options) = test.split_first().expect("a test has a name");
        let mut command = self.launcher.command();
        command.args([name, address]).args(options);
        self.add_options(command, stack, key)
    }

    /// The command that joins a topic: `action` is `subscribe` or `publish`.
    pub(crate) fn pubsub(&self, action: &str, topic: &str, talk: Talk) -> Command {
        let mut command = self.launcher.command();
        command.args([
            "pubsub",
            action,
            topic,
            "--router",
            &talk.router.to_string(),
        ]);
        if self.is_local() {
            command.arg("--until-stdin-ends");
        }
        if talk.signing == Signing::Unsigned {
            command.arg("--unsigned");
        }
        self.add_options(command, Stack::DEFAULT, KeyType::Ed25519)
    }

    fn add_options(&self, mut command: Command, stack: Stack, key: KeyType) -> Command {
        let (muxer, security) = (stack.muxer.to_string(), stack.security.to_string());
        command.args(["--muxer", &muxer, "--security", &security]);
        if key == KeyType::Ed25519 {
            return command; // the default of every peer
        }
        match self
            .local
            .as_ref()
            .and_then(|local| local.key_files.get(&key))
        {
            Some(file) => command.arg("--key").arg(file),
            None => command.args(["--key-type", &key.to_string()]),
        };
        command
    }
}

/// The entries of a JSON list that this program has a name for.
fn known<T: ValueEnum>(list: &Value) -> Vec<T> {
    let names = list.as_array().into_iter().flatten();
    let names = names.filter_map(Value::as_str);
    names
        .filter_map(|name| T::from_str(name, true).ok())
        .collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("unknown")
}

macro_rules! display_as_on_the_command_line {
    ($($name:ty),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let value = self.to_possible_value().expect("no variant is hidden");
                f.pad(value.get_name())
            }
        }
    )*};
}

display_as_on_the_command_line!(Language, Muxer, Security, KeyType, Router, Signing);
