//! Private keys in files.

use std::{
    error::Error,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use libp2p_identity::ed25519;
use prost::Message;
use zeroize::Zeroizing;

use crate::{KeyType, Keypair};

/// The most bytes of an encoded private key; RSA with 4096 bits has 2.4 kB.
pub const MAX_KEY_LEN: usize = 16 * 1024;

/// Reads a private key in the protobuf format that all libp2p implementations share.
///
/// The types are Ed25519 (64 bytes, or the old form of 96), secp256k1, ECDSA on the
/// curve P-256 (SEC1) and RSA with 2048 to 4096 bits (PKCS#1).
///
/// Source: libp2p peer-ids specification, *keys*.
pub fn load_keypair(encoded: &[u8]) -> Result<Keypair, KeyError> {
    if encoded.len() > MAX_KEY_LEN {
        return Err(KeyError::TooLarge);
    }
    let fields = Zeroizing::new(Fields::decode(encoded).map_err(|_| explain(encoded))?);
    let (Some(number), Some(data)) = (fields.key_type, &fields.data) else {
        return Err(explain(encoded));
    };
    let key_type = key_type_of(number)?;
    let decoded = match (&key_type, without_repetition(data)) {
        (KeyType::Ed25519, Some(short)) => ed25519_keypair(short),
        _ => Keypair::from_protobuf_encoding(encoded).map_err(Into::into),
    };
    decoded.map_err(|source| KeyError::BadKey { key_type, source })
}

/// Writes a private key in the format that [`load_keypair`] reads. The bytes are wiped when dropped.
///
/// RSA keys can't be taken out of memory ([`NotExportable`](KeyError::NotExportable)):
/// keep the bytes that they were loaded from.
pub fn save_keypair(keypair: &Keypair) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    keypair
        .to_protobuf_encoding()
        .map(Zeroizing::new)
        .map_err(|_| KeyError::NotExportable {
            key_type: keypair.key_type(),
        })
}

/// Reads the key in a file; see [`load_keypair`].
///
/// On Unix a warning is logged when other users may read the file. This call blocks.
pub fn read_key_file(path: impl AsRef<Path>) -> Result<Keypair, KeyFileError> {
    let path = path.as_ref();
    let encoded = read_bounded(path).map_err(|source| KeyFileError::Read {
        path: path.to_owned(),
        source,
    })?;
    load_keypair(&encoded).map_err(|source| invalid(path, source))
}

/// Writes a key to a file that only its owner can read (mode 0600 on Unix).
///
/// The file appears whole or not at all. See [`save_keypair`] for RSA. This call blocks.
pub fn write_key_file(
    path: impl AsRef<Path>,
    keypair: &Keypair,
    existing: Existing,
) -> Result<(), KeyFileError> {
    let path = path.as_ref();
    let encoded = save_keypair(keypair).map_err(|source| invalid(path, source))?;
    store(path, &encoded, existing)
}

/// Writes an encoded key to a file as [`write_key_file`] does, after a check that it is a key.
///
/// This is the way to store RSA keys. This call blocks.
pub fn write_encoded_key_file(
    path: impl AsRef<Path>,
    encoded: &[u8],
    existing: Existing,
) -> Result<(), KeyFileError> {
    let path = path.as_ref();
    load_keypair(encoded).map_err(|source| invalid(path, source))?;
    store(path, encoded, existing)
}

/// What to do with a file that is already there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Existing {
    /// Leave it alone and fail with [`KeyFileError::Exists`].
    #[default]
    Keep,
    /// Put the new file in its place.
    Replace,
}

/// Why bytes are no private key, or a key has no bytes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Nothing at all.
    #[error("it is empty")]
    Empty,
    /// Text in the PEM format of OpenSSL and others.
    #[error("it is PEM text, but libp2p keeps private keys in a binary protobuf format")]
    Pem,
    /// Something else.
    #[error("it is no private key in libp2p's protobuf format")]
    NotAKey,
    /// The key is announced to be longer than what is there.
    #[error("it is cut off: {expected} bytes are announced, {found} are there")]
    Truncated {
        /// Bytes that a whole key would have.
        expected: usize,
        /// Bytes that are there.
        found: usize,
    },
    /// More bytes than any key has.
    #[error("it is larger than any key ({MAX_KEY_LEN} bytes)")]
    TooLarge,
    /// A key of a type that is not known here.
    #[error(
        "keys of type {0} are not supported; those of type 0 (RSA), 1 (Ed25519), 2 (secp256k1) and 3 (ECDSA) are"
    )]
    UnsupportedType(i32),
    /// The type is known, but the key inside is broken.
    #[error("the {key_type} key in it is broken or of a kind that is not supported: {}", reasons(.source.as_ref()))]
    BadKey {
        /// The type that is announced.
        key_type: KeyType,
        /// What is wrong.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The private key can't be taken out of memory.
    #[error("{key_type} keys can only be stored as the bytes that they were loaded from")]
    NotExportable {
        /// RSA.
        key_type: KeyType,
    },
}

/// Why a key file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// The file could not be read, for example for want of permission.
    #[error("the key file {} can't be read: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file could not be written.
    #[error("the key file {} can't be written: {source}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is a file already, which is not to be replaced.
    #[error("the key file {} exists already and is left as it is", .path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// What is in the file, or was to be written to it, is no key.
    #[error("{} is no usable key file: {source}", .path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: KeyError,
    },
}

/// spec: peer-ids, `PrivateKey { 1: type, 2: data }`, both required.
#[derive(Clone, PartialEq, Message)]
struct Fields {
    #[prost(int32, optional, tag = "1")]
    key_type: Option<i32>,
    #[prost(bytes = "vec", optional, tag = "2")]
    data: Option<Vec<u8>>,
}

impl zeroize::Zeroize for Fields {
    fn zeroize(&mut self) {
        self.data.zeroize();
    }
}

fn key_type_of(number: i32) -> Result<KeyType, KeyError> {
    match number {
        0 => Ok(KeyType::RSA),
        1 => Ok(KeyType::Ed25519),
        2 => Ok(KeyType::Secp256k1),
        3 => Ok(KeyType::Ecdsa),
        other => Err(KeyError::UnsupportedType(other)),
    }
}

/// What is wrong with bytes that are no protobuf of a key.
fn explain(encoded: &[u8]) -> KeyError {
    if encoded.is_empty() {
        return KeyError::Empty;
    }
    if encoded.trim_ascii_start().starts_with(b"-----BEGIN") {
        return KeyError::Pem;
    }
    let found = encoded.len();
    match announced_len(encoded) {
        Some(expected) if expected > found => KeyError::Truncated { expected, found },
        _ => KeyError::NotAKey,
    }
}

/// The length of the layout that every implementation writes: `08 type 12 length data`.
fn announced_len(encoded: &[u8]) -> Option<usize> {
    let [0x08, _, 0x12, rest @ ..] = encoded else {
        return None;
    };
    let mut data = rest;
    let len = prost::decode_length_delimiter(&mut data).ok()?;
    let header = encoded.len() - data.len();
    header.checked_add(len).filter(|len| *len <= MAX_KEY_LEN)
}

/// spec: peer-ids, old Ed25519 keys hold the public key twice; both have to be the same.
fn without_repetition(data: &[u8]) -> Option<&[u8]> {
    let (short, last) = data.split_at_checked(64)?;
    (last.len() == 32 && short[32..] == *last).then_some(short)
}

fn ed25519_keypair(bytes: &[u8]) -> Result<Keypair, Box<dyn Error + Send + Sync>> {
    let mut bytes = Zeroizing::new(bytes.to_vec());
    Ok(ed25519::Keypair::try_from_bytes(&mut bytes)?.into())
}

fn reasons(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text.push_str(": ");
        text.push_str(&error.to_string());
        next = error.source();
    }
    text
}

fn invalid(path: &Path, source: KeyError) -> KeyFileError {
    KeyFileError::Invalid {
        path: path.to_owned(),
        source,
    }
}

/// Reads one byte more than a key may have, so that [`load_keypair`] can tell.
fn read_bounded(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = File::open(path)?;
    warn_if_shared(path, &file);
    let mut encoded = Zeroizing::new(Vec::with_capacity(MAX_KEY_LEN + 1));
    file.take(MAX_KEY_LEN as u64 + 1)
        .read_to_end(&mut encoded)?;
    Ok(encoded)
}

#[cfg(unix)]
fn warn_if_shared(path: &Path, file: &File) {
    use std::os::unix::fs::PermissionsExt;
    let mode = file.metadata().map(|data| data.permissions().mode());
    if mode.is_ok_and(|mode| mode & 0o077 != 0) {
        tracing::warn!(path = %path.display(), "other users may read or change this key file");
    }
}

#[cfg(not(unix))]
fn warn_if_shared(_path: &Path, _file: &File) {}

fn store(path: &Path, encoded: &[u8], existing: Existing) -> Result<(), KeyFileError> {
    let failed = |source| KeyFileError::Write {
        path: path.to_owned(),
        source,
    };
    let temporary = write_beside(path, encoded).map_err(failed)?;
    let outcome = match existing {
        Existing::Replace => fs::rename(&temporary, path),
        Existing::Keep => publish(&temporary, path),
    };
    // After a rename it is gone already.
    let _ = fs::remove_file(&temporary);
    match outcome {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(KeyFileError::Exists {
            path: path.to_owned(),
        }),
        Err(error) => Err(failed(error)),
    }
}

/// Gives a file its name unless the name is taken. A link does both in one step;
/// where the file system has none, somebody else may take the name between two.
fn publish(temporary: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(temporary, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            if fs::symlink_metadata(path).is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            fs::rename(temporary, path)
        }
        outcome => outcome,
    }
}

/// Writes a new file into the directory of `path`, where it can be renamed to it.
fn write_beside(path: &Path, encoded: &[u8]) -> io::Result<PathBuf> {
    let (temporary, mut file) = create_beside(path)?;
    let written = file.write_all(encoded).and_then(|()| file.sync_all());
    if let Err(error) = written {
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    Ok(temporary)
}

fn create_beside(path: &Path) -> io::Result<(PathBuf, File)> {
    let Some(name) = path.file_name() else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the path names no file",
        ));
    };
    let mut attempts = 0;
    loop {
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        let count = NEXT_TEMPORARY.fetch_add(1, Ordering::Relaxed);
        hidden.push(format!(".{}-{count}.tmp", std::process::id()));
        let temporary = path.with_file_name(hidden);
        match private_file(&temporary) {
            Err(error)
                if error.kind() == io::ErrorKind::AlreadyExists && attempts < MAX_ATTEMPTS =>
            {
                attempts += 1;
            }
            outcome => return outcome.map(|file| (temporary, file)),
        }
    }
}

fn private_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

static NEXT_TEMPORARY: AtomicU64 = AtomicU64::new(0);

/// Leftovers of a crashed process with the same number may be in the way.
const MAX_ATTEMPTS: u32 = 16;
