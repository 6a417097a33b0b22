//! Key files, and what the program says of itself.

mod common;

use common::{Listener, TemporaryFile, events, failure, run, text};

#[test]
fn a_generated_key_is_shown_and_used() {
    for key_type in ["ed25519", "secp256k1", "ecdsa"] {
        let file = TemporaryFile::new();
        let options = ["--type", key_type, "--key", file.path()];
        let generated = events(&[&["key", "generate"], &options[..]].concat());
        let shown = events(&[&["key", "show"], &options[..]].concat());
        assert_eq!(generated, shown);
        assert_eq!(shown[0]["type"], key_type);
        let listener = Listener::start(&["--key", file.path()]);
        assert_eq!(shown[0]["peer"], listener.peer());
        let identity = events(&["identify", &listener.addr]);
        assert_eq!(identity[0]["public_key"], shown[0]["public_key"]);
    }
}

#[cfg(unix)]
#[test]
fn only_the_owner_can_read_a_key_file() {
    use std::os::unix::fs::PermissionsExt;
    let file = TemporaryFile::new();
    events(&["key", "generate", "--key", file.path()]);
    let mode = std::fs::metadata(file.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_key_is_never_overwritten() {
    let file = TemporaryFile::new();
    let first = events(&["key", "generate", "--key", file.path()]);
    let sentence = failure(&["key", "generate", "--key", file.path()]);
    assert!(sentence.contains(file.path()), "{sentence}");
    assert_eq!(events(&["key", "show", "--key", file.path()]), first);
}

#[test]
fn a_key_of_another_type_than_asked_for_is_refused() {
    let file = TemporaryFile::new();
    events(&["key", "generate", "--key", file.path()]);
    let sentence = failure(&["key", "show", "--type", "rsa", "--key", file.path()]);
    assert!(
        sentence.contains("ed25519") && sentence.contains("rsa"),
        "{sentence}"
    );
}

#[test]
fn rsa_keys_are_not_generated() {
    let file = TemporaryFile::new();
    let sentence = failure(&["key", "generate", "--type", "rsa", "--key", file.path()]);
    assert!(sentence.starts_with("RSA keys"), "{sentence}");
    assert!(!std::path::Path::new(file.path()).exists());
}

#[test]
fn a_key_command_without_a_file_asks_for_one() {
    for command in ["generate", "show"] {
        assert!(failure(&["key", command]).contains("--key FILE"));
    }
}

#[test]
fn info_tells_what_can_be_chosen() {
    let [info] = &events(&["info"])[..] else {
        panic!("one event");
    };
    assert_eq!(info["name"], "peerkit");
    assert_eq!(info["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(info["muxers"].to_string(), r#"["yamux","mplex"]"#);
    assert_eq!(info["securities"].to_string(), r#"["noise","plaintext"]"#);
    let readable = text(&run(&["info"]).stdout);
    assert!(readable.starts_with("peerkit "), "{readable}");
}
