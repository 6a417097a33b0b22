//! What libp2p's publish/subscribe protocols share.

mod codec;
mod id;
mod message;
mod router;
mod rpc;
mod seen;
mod sign;
mod topic;

pub use codec::{DecodeError, DecodeLimits, Decoded, FrameDecoder, RpcDecoder, encode_rpc};
pub use id::{MessageId, MessageIdFn};
pub use message::Message;
pub use router::{Outgoing, PeerLink, PublishRefused, Published, Router, RouterEvent, Verdict};
pub use rpc::{Control, Extensions, IHave, Partial, PeerInfo, Prune, Rpc, SubscriptionChange};
pub use seen::SeenCache;
pub use sign::{InvalidMessage, MessageSigner, MessageVerifier, SignaturePolicy, SigningFailed};
pub use topic::Topic;
