//! Runtime back ends of peerkit: async-io (async-std, smol) and tokio.
