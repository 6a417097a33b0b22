//! What the fuzzer has found and kept is replayed, and a few thousand changes of it.
#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use peerkit_fuzz_targets::{TARGETS, Target};

/// Changed inputs of each target; fewer when they take long.
const CHANGES: usize = 3000;
const TIME_MAX: Duration = Duration::from_secs(3);
/// What the corpus of one target may hold.
const FILES_MAX: usize = 30;
const BYTES_MAX: usize = 64 * 1024;

macro_rules! replay {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            replay(stringify!($name));
        })*

        #[test]
        fn every_target_is_replayed_and_has_a_program_and_a_corpus() {
            let named = |dir: &str| -> BTreeSet<String> {
                let entries = fs::read_dir(fuzz().join(dir)).unwrap();
                let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
                names.map(|name| name.trim_end_matches(".rs").to_owned()).collect()
            };
            let targets: BTreeSet<_> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
            assert_eq!(BTreeSet::from([$(stringify!($name).to_owned()),*]), targets);
            assert_eq!(named("fuzz_targets"), targets);
            assert_eq!(named("corpus"), targets);
        }
    };
}

replay![
    multistream_dialer,
    multistream_listener,
    multistream_listing,
    multistream_pair,
    noise_handshake,
    noise_payload,
    noise_framing,
    noise_records,
    plaintext,
    yamux_frames,
    yamux_session,
    yamux_pair,
    mplex_frames,
    mplex_session,
    mplex_pair,
    public_key,
    private_key,
    peer_id,
    envelope,
    peer_record,
    identify,
    multiaddr,
    ip_network,
    dial_plan,
    pubsub_frames,
    pubsub_rpc,
    pubsub_signatures,
    seen_cache,
    floodsub_router,
    gossipsub_router,
    gossipsub_wire,
];

fn replay(name: &str) {
    let target = *TARGETS.iter().find(|target| target.name == name).unwrap();
    let corpus = corpus(name);
    let bytes: usize = corpus.iter().map(|(_, input)| input.len()).sum();
    assert!((1..=FILES_MAX).contains(&corpus.len()) && bytes <= BYTES_MAX);
    (target.run)(&[]);
    for (path, input) in &corpus {
        run(target, input, &path.display().to_string());
    }
    replay_changes(target, &corpus);
}

/// The same changes in each run, as far as the time allows.
fn replay_changes(target: Target, corpus: &[(PathBuf, Vec<u8>)]) {
    let start = now();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for round in 0..CHANGES {
        let (path, original) = &corpus[random.below(corpus.len())];
        let mut input = original.clone();
        for _ in 0..=random.below(4) {
            change(&mut input, &mut random, corpus);
        }
        run(
            target,
            &input,
            &format!("change {round} of {}", path.display()),
        );
        if now() - start > TIME_MAX {
            break;
        }
    }
}

/// Says which input it was, when a promise is broken.
fn run(target: Target, input: &[u8], what: &str) {
    let outcome = std::panic::catch_unwind(|| (target.run)(input));
    if outcome.is_err() {
        let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
        panic!("{what}, as hexadecimal digits: {hex}");
    }
}

fn change(input: &mut Vec<u8>, random: &mut Random, corpus: &[(PathBuf, Vec<u8>)]) {
    let at = random.below(input.len() + 1);
    match random.below(6) {
        0 => input.insert(at, random.byte()),
        1 => input.truncate(at),
        2 => {
            let (_, other) = &corpus[random.below(corpus.len())];
            input.extend_from_slice(&other[random.below(other.len() + 1)..]);
            input.truncate(16 * 1024);
        }
        3 if at < input.len() => drop(input.remove(at)),
        4 if at < input.len() => input[at] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
        _ if at < input.len() => input[at] ^= 1 << random.below(8),
        _ => input.push(random.byte()),
    }
}

fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(fuzz().join("corpus").join(name)).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let input = fs::read(&path).unwrap();
        (path, input)
    };
    paths.into_iter().map(read).collect()
}

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long the test takes is real time"
)]
fn now() -> Instant {
    Instant::now()
}

/// xorshift: good enough to choose what to change.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 11) as usize % end
    }

    fn byte(&mut self) -> u8 {
        (self.next() >> 24) as u8
    }
}
