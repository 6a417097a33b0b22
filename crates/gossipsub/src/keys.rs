//! Short names for what strangers give long names.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, DefaultHasher, Hasher},
};

use rand::{RngExt, rngs::StdRng};

/// A peer that the router knows. Given once, in rising order, and never again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PeerKey(pub(crate) u64);

/// A topic that the router knows. Given once, in rising order, and never again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TopicKey(pub(crate) u64);

/// A message id, hashed with secret keys.
///
/// 128 bits stand for ids of any length: a table of tags neither holds on to the memory in which a
/// peer's bytes came, nor can a peer make two ids collide, since it doesn't know the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Tag(u128);

/// A table of tags; looked up, never iterated.
pub(crate) type TagMap<V> = HashMap<Tag, V, BuildHasherDefault<TagHasher>>;

/// Makes tags.
#[derive(Clone)]
pub(crate) struct Tagger {
    keys: [[u64; 2]; 2],
}

impl Tagger {
    pub(crate) fn new(rng: &mut StdRng) -> Self {
        Self { keys: rng.random() }
    }

    pub(crate) fn tag(&self, bytes: &[u8]) -> Tag {
        let [high, low] = self.keys.map(|key| keyed_hash(key, bytes));
        Tag(u128::from(high) << 64 | u128::from(low))
    }
}

/// SipHash whose state has taken in a secret of 128 bits before the bytes of a stranger.
fn keyed_hash(key: [u64; 2], bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write_u64(key[0]);
    hasher.write_u64(key[1]);
    hasher.write(bytes);
    hasher.finish()
}

/// Takes a part of the tag as its hash: a tag is a keyed hash already.
#[derive(Default)]
pub(crate) struct TagHasher(u64);

impl Hasher for TagHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, tag: u128) {
        self.0 = (tag >> 32) as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn tags_depend_on_the_secret_and_on_every_byte() {
        let one = Tagger::new(&mut StdRng::from_seed([1; 32]));
        let other = Tagger::new(&mut StdRng::from_seed([2; 32]));
        assert_eq!(one.tag(b"id"), one.tag(b"id"));
        assert_ne!(one.tag(b"id"), other.tag(b"id"));
        assert_ne!(one.tag(b"id"), one.tag(b"id\0"));
        assert_ne!(one.tag(b""), one.tag(b"\0"));
    }
}
