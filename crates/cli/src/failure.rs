//! Why a command did not do what it was asked for: one sentence, and who is at fault.

use std::{fmt, io, process::ExitCode, time::Duration};

use peerkit::{
    BuildError, DialError, Fault, OpenStreamError, StreamError,
    core::{KeyFileError, ListenError},
    gossipsub::GossipsubError,
    identify::IdentifyError,
    ping::PingError,
    pubsub::{PublishError, SpawnError, SubscribeError},
};

/// The end of a command that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    sentence: String,
    fault: &'static str,
    exit_code: u8,
}

impl Failure {
    /// The remote broke a protocol's rules.
    pub(crate) fn misbehaved(sentence: impl Into<String>) -> Self {
        Self::new(Fault::PeerMisbehaved, sentence)
    }

    /// Nothing moved for too long.
    pub(crate) fn stalled(limit: Duration) -> Self {
        Self::new(Fault::Limit, format!("nothing moved for {limit:?}"))
    }

    /// The command was called with something that it can't work with.
    pub(crate) fn misuse(sentence: impl Into<String>) -> Self {
        Self::new(Fault::Misuse, sentence)
    }

    /// Something failed on this machine.
    pub(crate) fn local(sentence: impl Into<String>) -> Self {
        Self {
            sentence: sentence.into(),
            fault: "local",
            exit_code: 1,
        }
    }

    /// Ctrl-C, or another signal to stop.
    pub(crate) fn interrupted() -> Self {
        Self {
            sentence: "interrupted".into(),
            fault: INTERRUPTED,
            // What shells report of a program that SIGINT ended.
            exit_code: 130,
        }
    }

    /// A stream failed; the reason is in the error's inner [`StreamError`].
    pub(crate) fn stream(error: &io::Error) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        let fault = inner.map_or(Fault::Network, StreamError::fault);
        Self::new(fault, error.to_string())
    }

    pub(crate) fn new(fault: Fault, sentence: impl Into<String>) -> Self {
        Self {
            sentence: sentence.into(),
            fault: name(fault),
            exit_code: 1,
        }
    }

    /// Who has to change something: `peer_misbehaved`, `incompatible`, `limit`, `network`,
    /// `closed`, `misuse`, `local` or `interrupted`.
    pub(crate) fn fault(&self) -> &'static str {
        self.fault
    }

    /// Whether the remote, or this side, ended a stream or connection on purpose.
    pub(crate) fn is_closed(&self) -> bool {
        self.fault == name(Fault::Closed)
    }

    /// Whether a signal ended the command.
    pub(crate) fn is_interrupt(&self) -> bool {
        self.fault == INTERRUPTED
    }

    /// For commands that go on until they are interrupted.
    pub(crate) fn unless_interrupt(self) -> Result<(), Self> {
        if self.is_interrupt() {
            Ok(())
        } else {
            Err(self)
        }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        self.exit_code.into()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

/// Failures whose sentence is the error's.
macro_rules! from_errors {
    ($($error:ident)+) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::new(error.fault(), error.to_string())
            }
        })+
    };
}

from_errors! {
    DialError OpenStreamError ListenError
    PingError IdentifyError
    GossipsubError SpawnError SubscribeError PublishError
}

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Self {
        if let BuildError::Listen(error) = error {
            return error.into();
        }
        Self::misuse(error.to_string())
    }
}

impl From<KeyFileError> for Failure {
    fn from(error: KeyFileError) -> Self {
        Self::misuse(error.to_string())
    }
}

fn name(fault: Fault) -> &'static str {
    match fault {
        Fault::PeerMisbehaved => "peer_misbehaved",
        Fault::Incompatible => "incompatible",
        Fault::Limit => "limit",
        Fault::Network => "network",
        Fault::Closed => "closed",
        Fault::Misuse => "misuse",
        _ => "unknown",
    }
}

const INTERRUPTED: &str = "interrupted";
