//! Who this node is: an Ed25519 key pair.
//!
//! Keeping the 32 secret bytes on disk is the business of whoever owns the data directory.

use std::fmt;

use libp2p::PeerId;
use libp2p::identity::Keypair;

use crate::id::NodeId;

/// The key pair behind a [`NodeId`].
#[derive(Clone)]
pub struct Identity(Keypair);

impl Identity {
    /// A new one, from the system's randomness.
    pub fn generate() -> Self {
        Self(Keypair::generate_ed25519())
    }

    /// From the secret that [`Identity::secret`] gave: the same node again.
    pub fn from_secret(mut secret: [u8; 32]) -> Self {
        Self(Keypair::ed25519_from_bytes(&mut secret).expect("any 32 bytes are an Ed25519 secret"))
    }

    /// The secret half: whoever has it is this node.
    pub fn secret(&self) -> [u8; 32] {
        let pair = self.0.clone().try_into_ed25519();
        let secret = pair.expect("it is made of an Ed25519 key").secret();
        secret
            .as_ref()
            .try_into()
            .expect("an Ed25519 secret has 32 bytes")
    }

    /// The public half.
    pub fn node(&self) -> NodeId {
        node_of(&self.0.public().to_peer_id()).expect("it is made of an Ed25519 key")
    }

    pub(crate) fn keypair(&self) -> &Keypair {
        &self.0
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity").field(&self.node()).finish()
    }
}

/// The node of a peer id; `None` where its key is not Ed25519.
pub(crate) fn node_of(peer: &PeerId) -> Option<NodeId> {
    NodeId::from_peer_id_bytes(&peer.to_bytes())
}

/// The peer id of a node.
pub(crate) fn peer_of(node: NodeId) -> PeerId {
    PeerId::from_bytes(&node.to_peer_id_bytes())
        .expect("an identity multihash of 36 bytes is a peer id")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_secret_is_the_same_node() {
        let identity = Identity::generate();
        let again = Identity::from_secret(identity.secret());
        assert_eq!(again.node(), identity.node());
        assert_ne!(Identity::generate().node(), identity.node());
    }

    #[test]
    fn a_node_id_and_its_peer_id_name_each_other() {
        let identity = Identity::generate();
        let peer = identity.keypair().public().to_peer_id();
        assert_eq!(peer_of(identity.node()), peer);
        assert_eq!(identity.node().to_string(), peer.to_string());
    }
}
