//! `peerkit identify`: what a peer says of itself.

use peerkit::{Host, identify::Info};

use crate::{
    arguments::IdentifyArguments,
    failure::Failure,
    output::{Event, Identity, Output, hex},
};

pub(crate) async fn run(
    host: &Host,
    arguments: &IdentifyArguments,
    output: Output,
) -> Result<(), Failure> {
    let info = host.identify().identify(arguments.target.addr()?).await?;
    output.event(&Event::Identify(&identity(&info)))
}

fn identity(info: &Info) -> Identity {
    fn texts<T: ToString>(entries: &[T]) -> Vec<String> {
        entries.iter().map(ToString::to_string).collect()
    }
    Identity {
        peer: info.peer,
        agent: info.agent_version.clone().unwrap_or_default(),
        protocol_version: info.protocol_version.clone().unwrap_or_default(),
        protocols: texts(&info.protocols),
        listen_addrs: texts(&info.listen_addrs),
        observed_addr: info.observed_addr.as_ref().map(ToString::to_string),
        public_key: hex(&info.public_key.encode_protobuf()),
        signed_record: info.signed_record.is_some(),
    }
}
