//! Names of protocols.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

/// The name of a protocol, as multistream-select negotiates it, for example `/ipfs/ping/1.0.0`.
///
/// A name starts with `/`, has at most [`ProtocolId::MAX_LEN`] bytes and no
/// line break; these are the rules that all deployed implementations accept.
/// Cloning is cheap.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProtocolId(Name);

#[derive(Clone)]
enum Name {
    Static(&'static str),
    Shared(Arc<str>),
}

impl ProtocolId {
    /// The longest name in bytes; with the line break it fits the 1024 bytes that Go and JavaScript read.
    pub const MAX_LEN: usize = 1000;

    /// A name known at compile time; a bad one does not compile when this is used in a `const`.
    ///
    /// # Panics
    ///
    /// If the name breaks the rules of [`ProtocolId`].
    pub const fn from_static(name: &'static str) -> Self {
        assert!(
            is_valid(name),
            "a protocol id starts with '/', has at most 1000 bytes and no line break"
        );
        Self(Name::Static(name))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Name::Static(name) => name,
            Name::Shared(name) => name,
        }
    }
}

/// Text that is no protocol name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no protocol id: it must start with '/', have at most 1000 bytes and no line break"
)]
pub struct InvalidProtocolId(pub String);

impl FromStr for ProtocolId {
    type Err = InvalidProtocolId;

    fn from_str(name: &str) -> Result<Self, InvalidProtocolId> {
        Self::try_from(name)
    }
}

impl TryFrom<&str> for ProtocolId {
    type Error = InvalidProtocolId;

    fn try_from(name: &str) -> Result<Self, InvalidProtocolId> {
        if is_valid(name) {
            Ok(Self(Name::Shared(name.into())))
        } else {
            Err(InvalidProtocolId(name.to_owned()))
        }
    }
}

impl TryFrom<String> for ProtocolId {
    type Error = InvalidProtocolId;

    fn try_from(name: String) -> Result<Self, InvalidProtocolId> {
        Self::try_from(name.as_str())
    }
}

impl TryFrom<&ProtocolId> for ProtocolId {
    type Error = InvalidProtocolId;

    fn try_from(id: &ProtocolId) -> Result<Self, InvalidProtocolId> {
        Ok(id.clone())
    }
}

impl From<std::convert::Infallible> for InvalidProtocolId {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

impl AsRef<str> for ProtocolId {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl Borrow<str> for ProtocolId {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for ProtocolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for ProtocolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl Name {
    fn as_str(&self) -> &str {
        match self {
            Name::Static(name) => name,
            Name::Shared(name) => name,
        }
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Name {}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl std::hash::Hash for Name {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

const fn is_valid(name: &str) -> bool {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes.len() > ProtocolId::MAX_LEN || bytes[0] != b'/' {
        return false;
    }
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'\n' {
            return false;
        }
        at += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        assert!(ProtocolId::try_from("/echo/1.0.0").is_ok());
        for bad in ["", "echo", "/a\nb", &format!("/{}", "x".repeat(1000))] {
            assert!(ProtocolId::try_from(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn static_and_shared_names_are_the_same_key() {
        let fixed = ProtocolId::from_static("/echo/1.0.0");
        let parsed: ProtocolId = "/echo/1.0.0".parse().unwrap();
        assert_eq!(fixed, parsed);
        let map = std::collections::BTreeMap::from([(fixed, 1)]);
        assert_eq!(map.get("/echo/1.0.0"), Some(&1));
    }
}
