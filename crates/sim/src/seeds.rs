//! Many seeds, or the one that failed.

use std::env;

use rand::{TryRng, rngs::SysRng};

/// Seeds to run a scenario with: `count` fresh ones, or only the one that the environment
/// variable `PEERKIT_SIM_SEED` names.
///
/// # Panics
///
/// If that variable holds no number, or if the operating system has no randomness.
pub fn seeds(count: usize) -> Vec<u64> {
    if let Ok(text) = env::var(VARIABLE) {
        let seed = text.parse();
        return vec![seed.unwrap_or_else(|_| panic!("{VARIABLE} holds no number: {text:?}"))];
    }
    let fresh = |_| {
        SysRng
            .try_next_u64()
            .expect("the operating system provides randomness")
    };
    (0..count).map(fresh).collect()
}

const VARIABLE: &str = "PEERKIT_SIM_SEED";
