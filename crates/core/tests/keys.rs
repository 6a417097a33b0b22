//! Private keys of all types, in memory and in files.
#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]

use std::{fs, path::PathBuf};

use peerkit_core::{
    Existing, KeyError, KeyFileError, KeyType, Keypair, MAX_KEY_LEN, PeerId, PublicKey,
    import_rsa_key, load_keypair, parse_peer_id, read_key_file, save_keypair,
    write_encoded_key_file, write_key_file,
};
use proptest::prelude::*;

#[test]
fn the_published_keys_give_the_published_public_keys_and_peer_ids() {
    let types = spec_keys().map(|row| {
        let keypair = load_keypair(&row.private).unwrap();
        let public = PublicKey::try_decode_protobuf(&row.public).unwrap();
        assert_eq!(keypair.public(), public, "{}", row.name);
        assert_eq!(public.encode_protobuf(), row.public, "{}", row.name);
        let peer_id = public.to_peer_id();
        assert_eq!(peer_id.to_string(), row.base58);
        assert_eq!(peer_id.to_bytes(), row.peer_id);
        assert_eq!(parse_peer_id(&row.cid), Ok(peer_id));
        keypair.key_type()
    });
    assert_eq!(
        types.collect::<Vec<_>>(),
        [
            KeyType::Ecdsa,
            KeyType::Ed25519,
            KeyType::Secp256k1,
            KeyType::RSA
        ]
    );
}

#[test]
fn the_signatures_of_go_verify_and_the_deterministic_ones_are_reproduced() {
    let message = b"Libp2p is the _best_!";
    for row in rows(include_str!("testdata/go-signatures.tsv")) {
        let [name, private, public, signature] = row[..] else {
            panic!("a row has four columns")
        };
        let public = PublicKey::try_decode_protobuf(&unhex(public)).unwrap();
        let keypair = load_keypair(&unhex(private)).unwrap();
        assert_eq!(keypair.public(), public, "{name}");
        assert!(public.verify(message, &unhex(signature)), "{name}");
        let own = keypair.sign(message).unwrap();
        assert!(public.verify(message, &own), "{name}");
        if name != "ecdsa" {
            assert_eq!(own, unhex(signature), "{name}");
        }
    }
}

#[test]
fn a_saved_key_has_the_bytes_that_the_specification_shows() {
    for row in spec_keys() {
        let keypair = load_keypair(&row.private).unwrap();
        match save_keypair(&keypair) {
            Ok(encoded) => assert_eq!(*encoded, row.private, "{}", row.name),
            Err(error) => {
                assert!(matches!(error, KeyError::NotExportable { .. }), "{error}");
                assert_eq!(row.name, "rsa");
            }
        }
    }
}

#[test]
fn the_old_form_of_ed25519_keys_is_read_if_its_two_public_keys_agree() {
    let whole = spec_key("ed25519");
    let mut old = vec![0x08, 0x01, 0x12, 96];
    old.extend_from_slice(&whole[4..]);
    old.extend_from_slice(&whole[36..]);
    let keypair = load_keypair(&old).unwrap();
    assert_eq!(*save_keypair(&keypair).unwrap(), whole);

    *old.last_mut().unwrap() ^= 1;
    assert!(matches!(
        load_keypair(&old),
        Err(KeyError::BadKey {
            key_type: KeyType::Ed25519,
            ..
        })
    ));
}

#[test]
fn an_ed25519_key_whose_halves_do_not_belong_together_is_refused() {
    let mut key = spec_key("ed25519");
    key[10] ^= 1;
    assert!(matches!(load_keypair(&key), Err(KeyError::BadKey { .. })));
}

#[test]
fn each_way_of_being_no_key_has_its_own_words() {
    let words = |bytes: &[u8]| load_keypair(bytes).unwrap_err().to_string();
    assert_eq!(words(b""), "it is empty");
    assert!(words(b"-----BEGIN PRIVATE KEY-----\n").contains("PEM"));
    assert!(words(b"hello, I am text\n").contains("no private key"));
    assert!(words(&[0x08, 0x01]).contains("no private key"));
    assert!(words(&[0x08, 0x04, 0x12, 0x01, 0x00]).contains("type 4"));
    assert!(words(&[0x08, 0x01, 0x12, 0x02, 0, 0]).contains("Ed25519 key"));
    assert!(words(&vec![0; MAX_KEY_LEN + 1]).contains("larger"));
    let cut = words(&spec_key("secp256k1")[..20]);
    assert_eq!(cut, "it is cut off: 36 bytes are announced, 20 are there");
}

#[test]
fn no_cut_off_key_is_taken_for_a_key() {
    for row in spec_keys() {
        for len in 0..row.private.len() {
            assert!(load_keypair(&row.private[..len]).is_err(), "{len}");
        }
    }
}

#[test]
fn a_key_file_is_written_once_and_read_again() {
    let folder = Folder::new("once");
    let path = folder.path("node.key");
    let keypair = Keypair::generate_ed25519();
    write_key_file(&path, &keypair, Existing::Keep).unwrap();
    assert_eq!(id(&read_key_file(&path).unwrap()), id(&keypair));

    let other = Keypair::generate_secp256k1();
    let error = write_key_file(&path, &other, Existing::Keep).unwrap_err();
    assert!(matches!(error, KeyFileError::Exists { .. }), "{error}");
    assert_eq!(id(&read_key_file(&path).unwrap()), id(&keypair));

    write_key_file(&path, &other, Existing::Replace).unwrap();
    assert_eq!(id(&read_key_file(&path).unwrap()), id(&other));
    assert_eq!(folder.names(), ["node.key"]);
}

#[test]
fn an_rsa_key_is_stored_as_the_bytes_that_it_came_in() {
    let folder = Folder::new("rsa");
    let path = folder.path("rsa.key");
    let encoded = spec_key("rsa");
    write_encoded_key_file(&path, &encoded, Existing::Keep).unwrap();
    assert_eq!(fs::read(&path).unwrap(), encoded);
    assert_eq!(read_key_file(&path).unwrap().key_type(), KeyType::RSA);

    let error = write_encoded_key_file(&path, b"junk", Existing::Replace).unwrap_err();
    assert!(matches!(error, KeyFileError::Invalid { .. }), "{error}");
    assert_eq!(fs::read(&path).unwrap(), encoded);
}

#[test]
fn an_rsa_key_of_another_program_becomes_a_libp2p_key() {
    let encoded = spec_key("rsa");
    let pkcs1 = &encoded[5..];
    let pkcs8 = pkcs8(pkcs1);
    assert!(Keypair::rsa_from_pkcs8(&mut pkcs8.clone()).is_ok());
    assert_eq!(*import_rsa_key(&pkcs8).unwrap(), encoded);
    assert_eq!(*import_rsa_key(pkcs1).unwrap(), encoded);
}

#[test]
fn what_is_no_rsa_key_is_not_imported() {
    let whole = pkcs8(&spec_key("rsa")[5..]);
    for len in 0..whole.len() {
        assert!(import_rsa_key(&whole[..len]).is_err(), "{len}");
    }
    let pem = import_rsa_key(b"-----BEGIN RSA PRIVATE KEY-----");
    assert!(matches!(pem, Err(KeyError::Pem)));
    let huge = import_rsa_key(&vec![0; MAX_KEY_LEN + 1]);
    assert!(matches!(huge, Err(KeyError::TooLarge)));
    // An elliptic curve key in PKCS#8 has another algorithm.
    let mut other = whole;
    other[15] ^= 1;
    assert!(matches!(
        import_rsa_key(&other),
        Err(KeyError::BadKey { .. })
    ));
}

#[cfg(unix)]
#[test]
fn only_the_owner_may_read_a_key_file() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new("mode");
    let path = folder.path("node.key");
    for existing in [Existing::Keep, Existing::Replace] {
        write_key_file(&path, &Keypair::generate_ed25519(), existing).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
    }
}

#[test]
fn errors_of_key_files_name_the_file_and_the_reason() {
    let folder = Folder::new("errors");
    let missing = folder.path("missing.key");
    let error = read_key_file(&missing).unwrap_err().to_string();
    assert!(error.contains("missing.key can't be read"), "{error}");

    let text = folder.path("text.key");
    fs::write(&text, "not a key").unwrap();
    let error = read_key_file(&text).unwrap_err().to_string();
    assert!(
        error.contains("text.key is no usable key file: it is no private key"),
        "{error}"
    );

    let nowhere = folder.path("no/such/folder/node.key");
    let error = write_key_file(&nowhere, &Keypair::generate_ed25519(), Existing::Keep);
    assert!(matches!(error, Err(KeyFileError::Write { .. })));

    let huge = folder.path("huge.key");
    fs::write(&huge, vec![0; 10 * MAX_KEY_LEN]).unwrap();
    let error = read_key_file(&huge).unwrap_err().to_string();
    assert!(error.contains("larger than any key"), "{error}");
}

#[test]
fn several_writers_leave_one_whole_file() {
    let folder = Folder::new("race");
    let path = folder.path("node.key");
    let winners = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    write_key_file(&path, &Keypair::generate_ed25519(), Existing::Keep).is_ok()
                })
            })
            .collect();
        let ended = threads.into_iter().map(|thread| thread.join().unwrap());
        ended.filter(|won| *won).count()
    });
    assert_eq!(winners, 1);
    read_key_file(&path).unwrap();
    assert_eq!(folder.names(), ["node.key"]);
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = load_keypair(&bytes);
    }

    #[test]
    fn any_key_body_is_read_without_a_panic(
        key_type in 0..6u8,
        body in proptest::collection::vec(any::<u8>(), 0..120),
    ) {
        let mut bytes = vec![0x08, key_type, 0x12, body.len() as u8];
        bytes.extend(body);
        let _ = load_keypair(&bytes);
    }

    #[test]
    fn any_der_is_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let _ = import_rsa_key(&[&[0x30, 0x20][..], &bytes].concat());
    }
}

/// Wraps a key as RFC 5208 says; all lengths take two bytes here.
fn pkcs8(pkcs1: &[u8]) -> Vec<u8> {
    let long = |tag: u8, content: &[u8]| {
        let len = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[tag, 0x82][..], &len, content].concat()
    };
    let algorithm = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
    let version = b"\x02\x01\x00";
    let fields = [&version[..], algorithm, &long(0x04, pkcs1)].concat();
    long(0x30, &fields)
}

struct SpecKey {
    name: String,
    private: Vec<u8>,
    public: Vec<u8>,
    base58: String,
    peer_id: Vec<u8>,
    cid: String,
}

fn spec_keys() -> impl Iterator<Item = SpecKey> {
    rows(include_str!("testdata/spec-keys.tsv")).map(|row| {
        let [name, private, public, base58, peer_id, cid] = row[..] else {
            panic!("a row has six columns")
        };
        SpecKey {
            name: name.to_owned(),
            private: unhex(private),
            public: unhex(public),
            base58: base58.to_owned(),
            peer_id: unhex(peer_id),
            cid: cid.to_owned(),
        }
    })
}

fn spec_key(name: &str) -> Vec<u8> {
    spec_keys().find(|row| row.name == name).unwrap().private
}

fn rows(text: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split('\t').collect())
}

fn unhex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks_exact(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn id(keypair: &Keypair) -> PeerId {
    keypair.public().to_peer_id()
}

/// A folder of its own for one test, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("keys-{name}"));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
