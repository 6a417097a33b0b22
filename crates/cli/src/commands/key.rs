//! `peerkit key`: the file that holds an identity.

use std::path::Path;

use peerkit::{
    Keypair,
    core::{Existing, read_key_file, write_key_file},
};

use crate::{
    arguments::{KeyCommand, KeyTypeName, name},
    failure::Failure,
    output::{Event, KeyFacts, Output, hex},
};

pub(crate) fn run(
    command: &KeyCommand,
    file: Option<&Path>,
    output: Output,
) -> Result<(), Failure> {
    let file = file.ok_or_else(|| Failure::misuse("name the key file with --key FILE"))?;
    let keypair = match command {
        KeyCommand::Generate { key_type } => generate(*key_type, file)?,
        KeyCommand::Show { key_type } => show(*key_type, file)?,
    };
    let public_key = keypair.public();
    output.event(&Event::Key(&KeyFacts {
        key_type: name(&KeyTypeName::of(keypair.key_type())),
        peer: public_key.to_peer_id(),
        public_key: hex(&public_key.encode_protobuf()),
        file: file.display().to_string(),
    }))
}

fn generate(key_type: KeyTypeName, file: &Path) -> Result<Keypair, Failure> {
    let keypair = match key_type {
        KeyTypeName::Ed25519 => Keypair::generate_ed25519(),
        KeyTypeName::Secp256k1 => Keypair::generate_secp256k1(),
        KeyTypeName::Ecdsa => Keypair::generate_ecdsa(),
        KeyTypeName::Rsa => {
            return Err(Failure::misuse(
                "RSA keys can be used and shown but not generated here: take the key file of another libp2p program",
            ));
        }
    };
    write_key_file(file, &keypair, Existing::Keep)?;
    Ok(keypair)
}

fn show(expected: Option<KeyTypeName>, file: &Path) -> Result<Keypair, Failure> {
    let keypair = read_key_file(file)?;
    let found = KeyTypeName::of(keypair.key_type());
    match expected {
        Some(expected) if expected != found => Err(Failure::misuse(format!(
            "the key in {} is of type {}, not {}",
            file.display(),
            name(&found),
            name(&expected)
        ))),
        _ => Ok(keypair),
    }
}
