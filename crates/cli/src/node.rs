//! Nodes as the options describe them.

use peerkit::{
    Builder, Host, HostConfig,
    core::read_key_file,
    runtime::{AsyncStd, Tokio},
};

use crate::{
    arguments::{MuxerName, Options, RuntimeName, SecurityName},
    failure::Failure,
};

/// Starts a node that listens nowhere yet.
pub(crate) async fn start(options: &Options) -> Result<Host, Failure> {
    start_with(options, HostConfig::default()).await
}

/// The same with other limits.
pub(crate) async fn start_with(options: &Options, config: HostConfig) -> Result<Host, Failure> {
    let mut builder = Host::builder().config(config);
    if let Some(file) = &options.key {
        builder = builder.identity(read_key_file(file)?);
    }
    Ok(with_stack(builder, options).build().await?)
}

/// Sets what the options say of runtime, security and muxer.
pub(crate) fn with_stack(builder: Builder, options: &Options) -> Builder {
    let builder = match options.runtime {
        RuntimeName::AsyncStd => builder.runtime(AsyncStd::new()),
        RuntimeName::Tokio => builder.runtime(Tokio::current()),
    };
    let builder = match options.security {
        SecurityName::Noise => builder.noise(),
        SecurityName::Plaintext => builder.danger_plaintext(),
    };
    let muxers = match options.muxer {
        Some(muxer) => vec![muxer],
        None => vec![MuxerName::Yamux, MuxerName::Mplex],
    };
    muxers.into_iter().fold(builder, with_muxer)
}

fn with_muxer(builder: Builder, muxer: MuxerName) -> Builder {
    match muxer {
        MuxerName::Yamux => builder.yamux(peerkit::yamux::Config::default()),
        MuxerName::Mplex => builder.mplex(peerkit::mplex::Config::default()),
    }
}
