//! `peerkit info`: what this program is and speaks.

use crate::{
    arguments::{KeyTypeName, MuxerName, RouterName, SecurityName, names},
    failure::Failure,
    output::{Event, Info, Output},
};

pub(crate) fn run(output: Output) -> Result<(), Failure> {
    output.event(&Event::Info(&Info {
        version: env!("CARGO_PKG_VERSION"),
        muxers: names::<MuxerName>(),
        securities: names::<SecurityName>(),
        routers: names::<RouterName>(),
        key_types: names::<KeyTypeName>(),
        remote_key_types: names::<KeyTypeName>(),
    }))
}
