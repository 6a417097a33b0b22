//! `peerkit info`: what this program is and speaks.

use crate::{
    arguments::{KeyTypeName, MuxerName, SecurityName, names},
    failure::Failure,
    output::{Event, Info, Output},
};

pub(crate) fn run(output: Output) -> Result<(), Failure> {
    output.event(&Event::Info(&Info {
        version: env!("CARGO_PKG_VERSION"),
        muxers: names::<MuxerName>(),
        securities: names::<SecurityName>(),
        key_types: names::<KeyTypeName>(),
        remote_key_types: names::<KeyTypeName>(),
    }))
}
