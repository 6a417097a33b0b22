//! Why none of a name's addresses could be connected.

use std::{fmt, io, net::SocketAddr};

/// One address of a name, and why it could not be connected.
#[derive(Debug)]
#[non_exhaustive]
pub struct ConnectAttempt {
    /// Where.
    pub remote: SocketAddr,
    /// What the system said.
    pub error: io::Error,
}

/// Every address of a name that was tried.
///
/// It is the inner error of the [`io::Error`] in [`TransportError::Connect`](peerkit_core::TransportError::Connect)
/// when a name had more than one address: `error.get_ref()` can be downcast to it.
#[derive(Debug)]
pub struct ConnectAttempts {
    attempts: Vec<ConnectAttempt>,
}

impl ConnectAttempts {
    /// The attempts in the order in which they failed.
    pub fn attempts(&self) -> &[ConnectAttempt] {
        &self.attempts
    }

    /// One attempt is reported as the system's own error.
    pub(crate) fn into_error(mut attempts: Vec<ConnectAttempt>) -> io::Error {
        match attempts.pop() {
            None => io::ErrorKind::AddrNotAvailable.into(),
            Some(only) if attempts.is_empty() => only.error,
            Some(last) => {
                let kind = last.error.kind();
                attempts.push(last);
                io::Error::new(kind, Self { attempts })
            }
        }
    }
}

impl ConnectAttempt {
    pub(crate) fn new(remote: SocketAddr, error: io::Error) -> Self {
        Self { remote, error }
    }
}

impl fmt::Display for ConnectAttempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, ConnectAttempt { remote, error }) in self.attempts.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{remote}: {error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConnectAttempts {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let last = self.attempts.last()?;
        Some(&last.error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(remote: &str, kind: io::ErrorKind) -> ConnectAttempt {
        ConnectAttempt::new(remote.parse().unwrap(), kind.into())
    }

    #[test]
    fn one_attempt_is_the_systems_error() {
        let error = ConnectAttempts::into_error(vec![attempt(
            "127.0.0.1:7",
            io::ErrorKind::ConnectionRefused,
        )]);
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert!(error.get_ref().is_none());
    }

    #[test]
    fn several_attempts_are_all_named() {
        let error = ConnectAttempts::into_error(vec![
            attempt("[::1]:7", io::ErrorKind::NetworkUnreachable),
            attempt("127.0.0.1:7", io::ErrorKind::ConnectionRefused),
        ]);
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(
            error.to_string(),
            "[::1]:7: network unreachable, 127.0.0.1:7: connection refused"
        );
        let inner = error.get_ref().unwrap().downcast_ref::<ConnectAttempts>();
        assert_eq!(inner.unwrap().attempts().len(), 2);
    }
}
