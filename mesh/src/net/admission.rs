//! Who may join: what two nodes say to each other before any frame.
//!
//! The Noise handshake has proved both node ids and, by its prologue, the mesh key. A prologue is
//! meant to bind data and not to be a key, so the key is proved once more, by a MAC over fresh
//! numbers of both sides; and only here the two learn each other's mesh name, so that a node that
//! was pointed at another mesh can say so.
//!
//! ```text
//! each side, on the control stream that it opened:
//!     Hello { version, mesh, nonce }
//!     Proof(mac)          or  Refused(why), then the end
//! ```
//!
//! Each message is a `u16` little-endian length and a postcard [`Message`]. Both sides write before
//! they read, so nobody waits for the other to begin. The MAC is bound to the role in which it is
//! given and to both ends, so it cannot be played back, to its maker or to anyone else. What a
//! refused peer says is quoted to people at most as a mesh name of bounded length.

use std::io;

use futures_util::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::id::NodeId;

/// What this version of the exchange is called.
const VERSION: u16 = 1;

/// The longest message, bytes: a hello with the longest mesh name takes 102.
const MESSAGE_MAX: usize = 256;

/// The longest mesh name, bytes.
pub const MESH_NAME_MAX: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Message {
    Hello(Hello),
    Proof([u8; 32]),
    Refused(Reason),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Hello {
    version: u16,
    mesh: String,
    nonce: [u8; 32],
}

/// Why the other side is refused, as it is told. The words are its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Reason {
    Version,
    MeshName,
    Proof,
}

/// Which end of the connection this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Dialler,
    Listener,
}

/// Why a peer was not admitted. Reads on after "the node at … ".
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("belongs to mesh {theirs:?}, this one to {ours:?}")]
    MeshName { ours: String, theirs: String },
    #[error("speaks version {theirs} of the admission, this one {VERSION}")]
    Version { theirs: u16 },
    #[error("has another mesh key")]
    Key,
    #[error("refuses this one: {0}")]
    Theirs(&'static str),
    #[error("does not speak the language of this mesh")]
    Junk,
    #[error("did not identify itself in time")]
    Late,
    #[error("closed the connection before it admitted this one")]
    Closed,
}

/// What a node is admitted with.
#[derive(Debug)]
pub(crate) struct Credentials<'a> {
    /// This node.
    pub(crate) node: NodeId,
    /// Its mesh.
    pub(crate) mesh_name: &'a str,
    /// From the mesh key.
    pub(crate) key: &'a [u8; 32],
    /// Fresh random bytes.
    pub(crate) nonce: [u8; 32],
}

/// Proves the mesh key to the peer and has it proved. Takes as long as the peer likes: the caller
/// sets the deadline.
///
/// # Errors
/// Why the peer is not one of this mesh. It has been told, where that makes sense to it; `write` is
/// closed then.
pub(crate) async fn exchange(
    mine: &Credentials<'_>,
    peer: NodeId,
    role: Role,
    mut read: impl AsyncRead + Unpin,
    mut write: impl AsyncWrite + Unpin,
) -> Result<(), Refusal> {
    let hello = Hello {
        version: VERSION,
        mesh: mine.mesh_name.to_owned(),
        nonce: mine.nonce,
    };
    send(&mut write, &Message::Hello(hello)).await?;
    let theirs = match receive(&mut read).await? {
        Message::Hello(hello) if hello.mesh.len() <= MESH_NAME_MAX => hello,
        Message::Refused(reason) => return Err(reason.of_theirs()),
        Message::Hello(_) | Message::Proof(_) => return Err(Refusal::Junk),
    };
    if theirs.version != VERSION {
        refuse(&mut write, Reason::Version).await;
        return Err(Refusal::Version {
            theirs: theirs.version,
        });
    }
    if theirs.mesh != mine.mesh_name {
        refuse(&mut write, Reason::MeshName).await;
        return Err(Refusal::MeshName {
            ours: mine.mesh_name.to_owned(),
            theirs: theirs.mesh,
        });
    }
    let transcript = Transcript::new(mine, peer, role, &theirs.nonce);
    let proof = transcript.mac(mine.key, role).finalize().into_bytes();
    send(&mut write, &Message::Proof(proof.into())).await?;
    match receive(&mut read).await? {
        Message::Proof(proof) => {
            let expected = transcript.mac(mine.key, role.other());
            if expected.verify_slice(&proof).is_ok() {
                return Ok(());
            }
            refuse(&mut write, Reason::Proof).await;
            Err(Refusal::Key)
        }
        Message::Refused(reason) => Err(reason.of_theirs()),
        Message::Hello(_) => Err(Refusal::Junk),
    }
}

impl Role {
    fn other(self) -> Self {
        match self {
            Self::Dialler => Self::Listener,
            Self::Listener => Self::Dialler,
        }
    }
}

impl Reason {
    fn of_theirs(self) -> Refusal {
        match self {
            Self::Version => Refusal::Theirs("it speaks another version of the admission"),
            Self::MeshName => Refusal::Theirs("it belongs to another mesh"),
            Self::Proof => Refusal::Key,
        }
    }
}

/// What both sides have seen, the dialler's part first.
struct Transcript {
    nodes: [NodeId; 2],
    nonces: [[u8; 32]; 2],
    mesh: [u8; 32],
}

impl Transcript {
    fn new(mine: &Credentials<'_>, peer: NodeId, role: Role, nonce: &[u8; 32]) -> Self {
        let mut nodes = [mine.node, peer];
        let mut nonces = [mine.nonce, *nonce];
        if role == Role::Listener {
            nodes.reverse();
            nonces.reverse();
        }
        Self {
            nodes,
            nonces,
            mesh: Sha256::digest(mine.mesh_name).into(),
        }
    }

    /// What the side in this role has to show.
    fn mac(&self, key: &[u8; 32], role: Role) -> Hmac<Sha256> {
        let mut mac = Hmac::new_from_slice(key).expect("HMAC takes keys of any length");
        mac.update(b"chinwag admission 1");
        mac.update(match role {
            Role::Dialler => &[0],
            Role::Listener => &[1],
        });
        for node in &self.nodes {
            mac.update(&node.0);
        }
        for nonce in &self.nonces {
            mac.update(nonce);
        }
        mac.update(&self.mesh);
        mac
    }
}

async fn send(mut write: impl AsyncWrite + Unpin, message: &Message) -> Result<(), Refusal> {
    let body =
        postcard::to_stdvec(message).expect("messages are made of types that postcard can encode");
    let length = u16::try_from(body.len()).expect("a message is short");
    let bytes = [&length.to_le_bytes()[..], &body].concat();
    write.write_all(&bytes).await.map_err(closed)?;
    write.flush().await.map_err(closed)
}

async fn receive(mut read: impl AsyncRead + Unpin) -> Result<Message, Refusal> {
    let mut length = [0; 2];
    read.read_exact(&mut length).await.map_err(closed)?;
    let length = usize::from(u16::from_le_bytes(length));
    let mut buffer = [0; MESSAGE_MAX];
    let body = buffer.get_mut(..length).ok_or(Refusal::Junk)?;
    read.read_exact(body).await.map_err(closed)?;
    postcard::from_bytes(body).map_err(|_| Refusal::Junk)
}

fn closed(_: io::Error) -> Refusal {
    Refusal::Closed
}

/// Tells the peer why, as well as it can be told: it is of no use to know that it could not.
async fn refuse(mut write: impl AsyncWrite + Unpin, reason: Reason) {
    if send(&mut write, &Message::Refused(reason)).await.is_ok() {
        write.close().await.ok();
    }
}

#[cfg(test)]
mod tests;
