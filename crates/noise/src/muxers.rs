//! Agreeing on a muxer inside the handshake.
//!
//! spec: libp2p connections r1, "Inlining multiplexer negotiation".

use peerkit_core::{ProtocolId, Role, SecurityError};

/// The most muxers that a remote may offer; go-libp2p has the same limit.
pub const MAX_MUXERS: usize = 100;

/// The part of the local muxers that is offered: so many of the best that any handshake message has room for them.
pub(crate) fn offer(muxers: &[ProtocolId]) -> &[ProtocolId] {
    let mut room = OFFER_BYTES;
    let fits = |id: &&ProtocolId| {
        let rest = room.checked_sub(id.as_str().len() + MAX_FIELD_HEADER);
        room = rest.unwrap_or(0);
        rest.is_some()
    };
    let count = muxers.iter().take(MAX_MUXERS).take_while(fits).count();
    &muxers[..count]
}

/// The first muxer of the initiator that both have, or none if one side offers nothing.
pub(crate) fn choose(
    role: Role,
    local: &[ProtocolId],
    remote: &[String],
) -> Result<Option<ProtocolId>, SecurityError> {
    if local.is_empty() || remote.is_empty() {
        return Ok(None);
    }
    let chosen = match role {
        Role::Dialer => local
            .iter()
            .find(|id| remote.iter().any(|name| name == id.as_str())),
        Role::Listener => remote
            .iter()
            .find_map(|name| local.iter().find(|id| name == id.as_str())),
    };
    match chosen {
        Some(id) => Ok(Some(id.clone())),
        None => Err(SecurityError::NoCommonMuxer {
            remote: remote.iter().filter_map(|name| name.parse().ok()).collect(),
        }),
    }
}

/// With an identity of [`MAX_IDENTITY`](crate::identity::MAX_IDENTITY) bytes this fits
/// [`MAX_HANDSHAKE_MESSAGE`](crate::MAX_HANDSHAKE_MESSAGE).
pub(crate) const OFFER_BYTES: usize = 4096;

/// Tag and length in front of a name of at most [`ProtocolId::MAX_LEN`] bytes.
const MAX_FIELD_HEADER: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    const YAMUX: ProtocolId = ProtocolId::from_static("/yamux/1.0.0");
    const MPLEX: ProtocolId = ProtocolId::from_static("/mplex/6.7.0");

    fn names(ids: &[ProtocolId]) -> Vec<String> {
        ids.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_order_of_the_initiator_decides_on_both_sides() {
        let (dialer, listener) = ([MPLEX, YAMUX], [YAMUX, MPLEX]);
        let chosen = choose(Role::Dialer, &dialer, &names(&listener)).unwrap();
        assert_eq!(chosen, Some(MPLEX));
        let chosen = choose(Role::Listener, &listener, &names(&dialer)).unwrap();
        assert_eq!(chosen, Some(MPLEX));
    }

    #[test]
    fn an_initiator_may_name_its_choice_alone() {
        let chosen = choose(Role::Listener, &[YAMUX, MPLEX], &names(&[MPLEX])).unwrap();
        assert_eq!(chosen, Some(MPLEX));
    }

    #[test]
    fn nothing_is_chosen_when_one_side_offers_nothing() {
        for role in [Role::Dialer, Role::Listener] {
            assert_eq!(choose(role, &[], &names(&[YAMUX])).unwrap(), None);
            assert_eq!(choose(role, &[YAMUX], &[]).unwrap(), None);
        }
    }

    #[test]
    fn names_that_are_no_protocol_ids_are_passed_over() {
        let remote = [String::new(), "yamux".into(), YAMUX.to_string()];
        let chosen = choose(Role::Listener, &[YAMUX], &remote).unwrap();
        assert_eq!(chosen, Some(YAMUX));
        let Err(SecurityError::NoCommonMuxer { remote }) =
            choose(Role::Listener, &[MPLEX], &remote)
        else {
            panic!("they have none in common");
        };
        assert_eq!(remote, [YAMUX]);
    }

    #[test]
    fn an_offer_is_cut_to_what_a_message_can_hold() {
        assert_eq!(offer(&vec![YAMUX; 101]).len(), MAX_MUXERS);
        let long: ProtocolId = format!("/{}", "m".repeat(999)).parse().unwrap();
        assert_eq!(offer(&vec![long; 100]).len(), 4);
        assert_eq!(offer(&[YAMUX, MPLEX]), [YAMUX, MPLEX]);
    }
}
