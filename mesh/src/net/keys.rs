//! What the mesh key is turned into.
//!
//! The 32 bytes that an operator shares among the nodes are never used themselves: each purpose has
//! a key of its own, derived as in HKDF (RFC 5869) with SHA-256. A mesh without a key uses 32 zero
//! bytes in its place, which keeps nobody out.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Names this derivation; another one would be another mesh.
const SALT: &[u8] = b"chinwag mesh key 1";

/// The keys of a mesh.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    /// Mixed into the Noise handshake: a stranger fails there, before any code of ours runs.
    pub(crate) prologue: [u8; 32],
    /// Proves the mesh key once more, bound to both ends of one connection.
    pub(crate) admission: [u8; 32],
    /// Keys the hash of addresses, see [`RouteHasher`](crate::id::RouteHasher).
    pub route: [u8; 16],
}

impl Keys {
    /// From the mesh key; `None`: the mesh has none, and anybody may join it.
    pub fn derive(mesh_key: Option<&[u8; 32]>) -> Self {
        let secret = mac(SALT, mesh_key.unwrap_or(&[0; 32]));
        let expand = |label: &[u8]| mac(&secret, &[label, &[1]].concat());
        let route = expand(b"route hash");
        Self {
            prologue: expand(b"noise prologue"),
            admission: expand(b"admission"),
            route: *route.first_chunk().expect("a MAC has 32 bytes"),
        }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(secret)")
    }
}

fn mac(key: &[u8], data: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(data);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_purpose_and_every_mesh_key_has_keys_of_its_own() {
        let (a, b) = (Keys::derive(Some(&[1; 32])), Keys::derive(Some(&[2; 32])));
        assert_ne!(a.prologue, b.prologue);
        assert_ne!(a.admission, b.admission);
        assert_ne!(a.route, b.route);
        assert_ne!(a.prologue, a.admission);
        assert_ne!(a.route[..], a.admission[..16]);
        assert_ne!(a.route[..], a.prologue[..16]);
    }

    #[test]
    fn no_mesh_key_is_the_same_as_one_of_zeros() {
        assert_eq!(Keys::derive(None), Keys::derive(Some(&[0; 32])));
    }

    #[test]
    fn the_derivation_never_changes() {
        let hex: String = Keys::derive(Some(&[7; 32]))
            .route
            .map(|byte| format!("{byte:02x}"))
            .concat();
        assert_eq!(hex, "4c8f2371dd726a6cd7315baafe3942a7");
    }
}
