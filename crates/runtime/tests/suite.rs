//! The same scenarios on every back end.

#![cfg(any(feature = "async-io", feature = "tokio"))]
#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

#[macro_use]
mod scenarios;

#[cfg(feature = "async-io")]
mod on_async_io {
    use std::sync::Arc;

    use peerkit_core::Runtime;

    fn runtime() -> Arc<dyn Runtime> {
        Arc::new(peerkit_runtime::AsyncIo::new())
    }

    every_scenario!(runtime);
}

#[cfg(feature = "async-std")]
mod on_async_std {
    use std::sync::Arc;

    use peerkit_core::Runtime;

    fn runtime() -> Arc<dyn Runtime> {
        Arc::new(peerkit_runtime::AsyncStd::new())
    }

    every_scenario!(runtime);
}

#[cfg(feature = "smol")]
mod on_smol {
    use std::sync::Arc;

    use peerkit_core::Runtime;

    fn runtime() -> Arc<dyn Runtime> {
        Arc::new(peerkit_runtime::Smol::new())
    }

    every_scenario!(runtime);
}

#[cfg(feature = "tokio")]
mod on_tokio {
    use std::sync::{Arc, OnceLock};

    use peerkit_core::Runtime;

    /// The tests' own threads are outside of this runtime.
    fn runtime() -> Arc<dyn Runtime> {
        static TOKIO: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
        let tokio = TOKIO.get_or_init(|| {
            tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap()
        });
        Arc::new(peerkit_runtime::Tokio::new(tokio.handle().clone()))
    }

    every_scenario!(runtime);

    #[test]
    fn the_current_runtime_is_found() {
        let tokio = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let runtime = tokio.block_on(async { peerkit_runtime::Tokio::current() });
        let sleep = async { runtime.timer(runtime.now()).await };
        tokio.block_on(sleep);
    }
}
