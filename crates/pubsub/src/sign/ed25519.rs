//! Ed25519 signatures of authors who write often.
//!
//! A signature (R, s) is good if R is the encoding of \[s\]B - \[k\]A, where k is a hash. Most of the time goes into some
//! 250 doublings of points. They are the same for all messages of an author, so with multiples of A at hand 32 of them
//! are left, and three fifths of the time. What remains is dear once for each signature, to encode a point, is shared
//! between those that are checked together.
//!
//! Who accepts other signatures than the rest of the network can be made to forward what the others punish. So
//! the answer is that of `ed25519-dalek`'s `verify`, and of go, for every key and every signature: s is below the
//! order of B, the equation has no cofactor, and R is compared as bytes. A batch equation would be as fast and different.
//!
//! Everything here is public, so that time may depend on it.

use std::{array, fmt, sync::LazyLock};

use curve25519_dalek::{
    constants::ED25519_BASEPOINT_POINT,
    edwards::{CompressedEdwardsY, EdwardsPoint},
    scalar::Scalar,
    traits::Identity,
};
use sha2::{Digest, Sha512};

/// The key of an author, ready for many signatures. Takes some 11 kB.
pub(super) struct Author {
    encoded: [u8; KEY_LEN],
    minus: Multiples<AUTHOR_ROW>,
}

/// A signature on its way: R, and what R has to be.
pub(super) struct Claim {
    named: [u8; 32],
    computed: EdwardsPoint,
}

impl Author {
    /// The author with this key; `None` if it is no point. Costs as much as two checks.
    pub(super) fn new(encoded: [u8; KEY_LEN]) -> Option<Self> {
        let point = CompressedEdwardsY(encoded).decompress()?;
        Some(Self {
            encoded,
            minus: Multiples::of(-point),
        })
    }

    /// Begins to check a signature, which is good if [`check`] says so; `None` if it has not the form of one.
    pub(super) fn claim(&self, message: &[u8], signature: &[u8]) -> Option<Claim> {
        let (named, rest) = signature.split_first_chunk()?;
        let s = Option::from(Scalar::from_canonical_bytes(rest.try_into().ok()?))?;
        let hash = Sha512::new()
            .chain_update(named)
            .chain_update(self.encoded)
            .chain_update(message);
        let k = Scalar::from_bytes_mod_order_wide(&hash.finalize().into());
        Some(Claim {
            named: *named,
            computed: sum(&k, &self.minus, &s, &BASE),
        })
    }
}

impl fmt::Debug for Author {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Author").field(&self.encoded).finish()
    }
}

/// Which signatures are good.
pub(super) fn check<'a>(
    claims: impl Iterator<Item = &'a Claim> + Clone,
) -> impl Iterator<Item = bool> {
    let points: Vec<_> = claims.clone().map(|claim| claim.computed).collect();
    let encoded = EdwardsPoint::compress_batch_alloc(&points).into_iter();
    encoded
        .zip(claims)
        .map(|(computed, claim)| computed.0 == claim.named)
}

/// A scalar is cut into this many parts, all of which share their doublings.
const PARTS: usize = 8;
const PART_BITS: usize = 256 / PARTS;
/// A carry may leave a part.
const DIGITS: usize = PART_BITS + 1;

/// For each part of a scalar, the odd multiples of the point that a 1 in that part stands for, up to `2 * ROW - 1`.
struct Multiples<const ROW: usize>([[EdwardsPoint; ROW]; PARTS]);

/// Doubling the length saves every seventh addition and is worth it only for the point that all signatures share.
const AUTHOR_ROW: usize = 8;
const BASE_ROW: usize = 64;

static BASE: LazyLock<Multiples<BASE_ROW>> =
    LazyLock::new(|| Multiples::of(ED25519_BASEPOINT_POINT));

impl<const ROW: usize> Multiples<ROW> {
    fn of(mut point: EdwardsPoint) -> Self {
        Self(array::from_fn(|part| {
            if part > 0 {
                (0..PART_BITS).for_each(|_| point += point);
            }
            let twice = point + point;
            let mut odd = point - twice;
            array::from_fn(|_| {
                odd += twice;
                odd
            })
        }))
    }

    /// The parts of a scalar as sums of `digit * 2^place` with few digits, each of which is odd and in the table.
    fn digits(scalar: &Scalar) -> [[i8; DIGITS]; PARTS] {
        let (parts, _) = scalar.as_bytes().as_chunks();
        array::from_fn(|part| digits(u32::from_le_bytes(parts[part]), 4 * ROW as i64))
    }

    fn add(&self, sum: &mut EdwardsPoint, digits: &[[i8; DIGITS]; PARTS], place: usize) {
        for (row, digits) in self.0.iter().zip(digits) {
            let digit = digits[place];
            let multiple = &row[usize::from(digit.unsigned_abs() / 2)];
            match digit.signum() {
                1 => *sum += multiple,
                -1 => *sum -= multiple,
                _ => {}
            }
        }
    }
}

/// The non-adjacent form in windows that hold `modulus` values.
fn digits(part: u32, modulus: i64) -> [i8; DIGITS] {
    let mut digits = [0; DIGITS];
    let mut rest = i64::from(part);
    for digit in &mut digits {
        if rest % 2 != 0 {
            let low = rest % modulus;
            let odd = if low < modulus / 2 {
                low
            } else {
                low - modulus
            };
            *digit = i8::try_from(odd).expect("half of the modulus is at most 128");
            rest -= odd;
        }
        rest /= 2;
    }
    digits
}

/// Adds a multiple of one point to a multiple of another.
fn sum<const ONE: usize, const TWO: usize>(
    one: &Scalar,
    of_one: &Multiples<ONE>,
    two: &Scalar,
    of_two: &Multiples<TWO>,
) -> EdwardsPoint {
    let (one, two) = (Multiples::<ONE>::digits(one), Multiples::<TWO>::digits(two));
    let mut sum = EdwardsPoint::identity();
    for place in (0..DIGITS).rev() {
        if place < DIGITS - 1 {
            sum += sum;
        }
        of_one.add(&mut sum, &one, place);
        of_two.add(&mut sum, &two, place);
    }
    sum
}

pub(super) const KEY_LEN: usize = 32;

#[cfg(test)]
mod tests {
    use curve25519_dalek::constants::EIGHT_TORSION;
    use libp2p_identity::ed25519::{Keypair, PublicKey};
    use proptest::prelude::*;

    use super::*;

    fn verify(key: [u8; 32], message: &[u8], signature: &[u8]) -> bool {
        let author = Author::new(key).expect("it is a key");
        let claim = author.claim(message, signature);
        claim.is_some_and(|claim| check([claim].iter()).all(|good| good))
    }

    /// The same by the library; `None` if it does not take the key.
    fn reference(key: [u8; 32], message: &[u8], signature: &[u8]) -> Option<bool> {
        let key = PublicKey::try_from_bytes(&key).ok()?;
        Some(key.verify(message, signature))
    }

    /// Both have to agree.
    #[track_caller]
    fn agree(key: [u8; 32], message: &[u8], signature: &[u8]) -> bool {
        let expected = reference(key, message, signature);
        assert_eq!(Some(verify(key, message, signature)), expected);
        expected == Some(true)
    }

    fn keypair(seed: u8) -> Keypair {
        libp2p_identity::ed25519::SecretKey::try_from_bytes([seed; 32])
            .expect("any 32 bytes are a secret")
            .into()
    }

    fn challenge(r: &[u8; 32], key: &[u8; 32], message: &[u8]) -> Scalar {
        let hash = Sha512::new()
            .chain_update(r)
            .chain_update(key)
            .chain_update(message);
        Scalar::from_bytes_mod_order_wide(&hash.finalize().into())
    }

    #[test]
    fn multiples_of_points_add_up() {
        let two = ED25519_BASEPOINT_POINT * Scalar::from(77_u8) + EIGHT_TORSION[1];
        let multiples = Multiples::<AUTHOR_ROW>::of(two);
        let largest = Scalar::ZERO - Scalar::ONE;
        for one in [0_u64, 1, 2, 15, 16, 31, u64::from(u32::MAX), u64::MAX] {
            for scalar in [Scalar::from(one), largest - Scalar::from(one)] {
                let expected = scalar * two + ED25519_BASEPOINT_POINT * largest;
                assert_eq!(sum(&scalar, &multiples, &largest, &BASE), expected);
            }
        }
    }

    #[test]
    fn s_has_to_be_below_the_order() {
        let keypair = keypair(1);
        let (key, mut signature) = (keypair.public().to_bytes(), keypair.sign(b"m"));
        assert!(agree(key, b"m", &signature));
        // The order of the base point, little-endian.
        let order = (Scalar::ZERO - Scalar::ONE).to_bytes();
        let mut carry = 1;
        for (byte, more) in signature[32..].iter_mut().zip(order) {
            let sum = u16::from(*byte) + u16::from(more) + carry;
            *byte = sum as u8;
            carry = sum >> 8;
        }
        assert!(!agree(key, b"m", &signature));
    }

    /// What a batch equation, or one with a cofactor, would accept: a point of small order hides in R or in the key.
    #[test]
    fn points_of_small_order_change_nothing() {
        let (secret, nonce) = (Scalar::from(7_u8), Scalar::from(9_u8));
        let mut good = 0;
        for in_key in EIGHT_TORSION {
            let key = (EdwardsPoint::mul_base(&secret) + in_key).compress().0;
            for in_r in EIGHT_TORSION {
                for number in 0..8 {
                    let r = (EdwardsPoint::mul_base(&nonce) + in_r).compress().0;
                    let s = nonce + challenge(&r, &key, &[number]) * secret;
                    let signature = [r, s.to_bytes()].concat();
                    good += usize::from(agree(key, &[number], &signature));
                }
            }
        }
        // Those without such points, and others by chance.
        assert!((8..8 * 64).contains(&good), "{good}");
    }

    #[test]
    fn keys_and_points_of_small_order_or_strange_form_are_judged_alike() {
        let mut strange: Vec<_> = EIGHT_TORSION.iter().map(|it| it.compress().0).collect();
        // y = p + 1, p, and -0: encodings that are not canonical.
        for low in [0xee, 0xed] {
            let mut bytes = [0xff; 32];
            bytes[0] = low;
            strange.push(bytes);
            bytes[31] = 0x7f;
            strange.push(bytes);
        }
        for key in &strange {
            for r in &strange {
                for s in [Scalar::ZERO, Scalar::ONE] {
                    let signature = [*r, s.to_bytes()].concat();
                    match reference(*key, b"m", &signature) {
                        Some(expected) => assert_eq!(verify(*key, b"m", &signature), expected),
                        None => assert!(Author::new(*key).is_none()),
                    }
                }
            }
        }
    }

    #[test]
    fn several_are_told_apart() {
        let authors: Vec<_> = (0..8).map(keypair).collect();
        let mut claims = Vec::new();
        for (number, keypair) in authors.iter().enumerate() {
            let author = Author::new(keypair.public().to_bytes()).expect("it is a key");
            let text: &[u8] = if number % 3 == 0 { b"other" } else { b"m" };
            claims.extend(author.claim(text, &keypair.sign(b"m")));
        }
        let good: Vec<_> = check(claims.iter()).collect();
        let expected: Vec<_> = (0..8).map(|number| number % 3 != 0).collect();
        assert_eq!(good, expected);
        assert_eq!(check([].iter()).count(), 0);
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_library(
            seed in any::<u8>(),
            message in proptest::collection::vec(any::<u8>(), 0..300),
            at in 0..64_usize,
            change in any::<u8>(),
            len in 0..70_usize,
        ) {
            let keypair = keypair(seed);
            let key = keypair.public().to_bytes();
            let mut signature = keypair.sign(&message);
            assert!(agree(key, &message, &signature));
            let mut cut = signature.clone();
            cut.resize(len, 0);
            agree(key, &message, &cut);
            signature[at] ^= change;
            prop_assert_eq!(agree(key, &message, &signature), change == 0);
        }
    }
}
