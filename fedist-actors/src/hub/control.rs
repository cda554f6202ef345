//! What the hubs at the two ends of a link say to each other.
//!
//! Control messages are hop-local: they are never forwarded. They travel in frames of kind
//! `Control` on the control stream, as MessagePack, at most one frame each.

use bytes::Bytes;
use fedist_registry::{
    ClockAdvert, FloodMessage, HeldGrant, LinkState, RegionRecord, RegistryMessage, Version,
};
use serde::{Deserialize, Serialize};

use crate::message::{DecodeError, decode, encode};

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Control {
    /// The first message of each side on a new link.
    Hello(Hello),
    /// Link states and what two neighbours say about them.
    Flood(FloodMessage),
    /// The same about the states of borders between areas.
    Borders(FloodMessage),
    /// About the copies of the registry.
    Registry(RegistryMessage),
    /// A newcomer asks to be taken in; whoever gets it forwards it to the root.
    Join(RegionRecord),
    /// A joining region holds the registry and has its links.
    Activate,
    /// Answer to a join that was refused, or could not be forwarded now.
    JoinRefused { reason: String, permanent: bool },
    /// Members by a delegate's word, to be passed on.
    Grants(Vec<HeldGrant>),
    /// What the clock of this node reads, and what it knows about the root's.
    Clock(ClockAdvert),
    /// Whether this side is about to close the link; both sides announce it as closing then.
    LinkClosing(bool),
    /// Whether this side keeps the link whatever the traffic; "no" until said otherwise.
    LinkWanted(bool),
    /// "Route around me from now on": the sender's own link state, which says *no transit*.
    Draining(LinkState),
    /// "Nothing of mine passes you any more."
    DrainMoved,
    /// This node is stopping.
    Leaving,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) boot: u32,
    pub(super) registry: Version,
}

impl Control {
    pub(super) fn encode(&self) -> Option<Bytes> {
        match encode("fedist.control", self) {
            Ok(body) => Some(body),
            Err(error) => {
                tracing::error!(%error, "a control message could not be encoded");
                None
            }
        }
    }

    pub(super) fn decode(body: &[u8]) -> Result<Control, DecodeError> {
        decode(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::Signal;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_a_message_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = Control::decode(&bytes);
            let _ = decode::<Signal>(&bytes);
        }

        #[test]
        fn nearly_valid_messages_are_a_message_or_an_error(at in 0_usize..200, byte: u8) {
            let hello = Control::Hello(Hello {
                boot: 7,
                registry: Version { index: 3, hash: [9; 32] },
            });
            let mut bytes = hello.encode().unwrap().to_vec();
            prop_assert!(Control::decode(&bytes).is_ok());
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = Control::decode(&bytes);
            prop_assert!(Control::decode(&bytes[..at]).is_err(), "a cut message is an error");
        }
    }
}
