//! Dials: from a target to one connection, or to several where a name stands for several nodes.
//!
//! A dial is one task. It resolves names itself, tries the addresses in order, the next one as soon
//! as one has failed or has been silent for a while ("happy eyeballs", RFC 8305), and says in one
//! sentence why nothing came of it. It does not try again: that is the machine's decision.

use std::collections::VecDeque;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use libp2p::core::transport::TransportError;
use libp2p::core::upgrade::NegotiationError;
use libp2p::noise;
use libp2p::swarm::DialError;
use tokio::net::lookup_host;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{sleep, timeout};

use super::admission::Refusal;
use super::identity::node_of;
use crate::id::NodeId;
use crate::proto::{DialFailure, DialId, PeerAddress, Target};

/// How long an address may be silent before the next one is tried as well: RFC 8305, section 5.
const STAGGER: Duration = Duration::from_millis(250);

/// How long a name may take to be resolved.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// How many addresses one dial tries: the most nodes that one name stands for.
const ADDRESSES_MAX: usize = 256;

/// How many addresses one dial tries at once.
const AT_ONCE: usize = 8;

/// What Noise says where the prologues differ: the first message under a key cannot be read. Its type
/// is not exported.
const DECRYPT_ERROR: &str = "decrypt error";

/// What libp2p says where the handshake takes too long. Its type cannot be named here.
const TIMEOUT_ERROR: &str = "Timeout has been reached";

/// One address to connect to.
#[derive(Debug)]
pub(crate) struct Try {
    pub(crate) dial: DialId,
    pub(crate) address: SocketAddr,
    /// Whom to expect there.
    pub(crate) expected: Option<NodeId>,
    /// Whoever dials waits here; gone: it has another connection by now.
    pub(crate) outcome: oneshot::Sender<Result<(), Failure>>,
}

/// Why an address led to no link.
#[derive(Debug)]
pub(crate) enum Failure {
    /// This node itself answers there.
    Own,
    /// Nobody answers, or not to the end; why, in words.
    Unreachable(String),
    /// Another node than expected answers.
    WrongNode(String),
    /// The handshake failed as it does with another prologue.
    Key,
    /// Something answers that does not speak as nodes do.
    Stranger,
    /// The admission failed.
    Refused(Refusal),
}

impl Failure {
    /// What libp2p's error means, at an address that was dialled on its own.
    pub(crate) fn of_dial(error: &DialError, own: NodeId) -> Self {
        match error {
            // No address is left, since libp2p does not dial those it listens on.
            DialError::LocalPeerId { .. } | DialError::NoAddresses => Self::Own,
            DialError::WrongPeerId { obtained, .. } if node_of(obtained) == Some(own) => Self::Own,
            DialError::WrongPeerId { obtained, .. } => Self::WrongNode(obtained.to_string()),
            DialError::Denied { .. } => Self::Unreachable("too many connections here".to_owned()),
            DialError::DialPeerConditionFalse(_) | DialError::Aborted => {
                Self::Unreachable("the dial was given up".to_owned())
            }
            DialError::Transport(errors) => match errors.first() {
                Some((_, TransportError::Other(error))) => Self::of_transport(error),
                Some((_, TransportError::MultiaddrNotSupported(_))) | None => {
                    Self::Unreachable("no address to connect to".to_owned())
                }
            },
        }
    }

    fn of_transport(error: &io::Error) -> Self {
        let mut cause: Option<&(dyn Error + 'static)> = Some(error);
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<noise::Error>() {
                return Self::of_noise(error);
            }
            if let Some(NegotiationError::Failed) = error.downcast_ref() {
                return Self::Stranger;
            }
            cause = match error.downcast_ref::<io::Error>() {
                // The source of an I/O error is that of the error it holds, which would be skipped.
                Some(error) => error.get_ref().map(|inner| inner as _),
                None => error.source(),
            };
        }
        Self::Unreachable(plain(&error.to_string()))
    }

    fn of_noise(error: &noise::Error) -> Self {
        match error {
            noise::Error::Io(error) if error.to_string() == DECRYPT_ERROR => Self::Key,
            noise::Error::Io(error) if error.kind() != io::ErrorKind::InvalidData => {
                Self::Unreachable(format!(
                    "the handshake broke off, {}",
                    plain(&error.to_string())
                ))
            }
            // Also where the agreement on Noise failed, since it is only read here.
            _ => Self::Stranger,
        }
    }

    /// A sentence for people.
    fn explain(self, address: SocketAddr, expected: Option<NodeId>) -> DialFailure {
        match self {
            Self::Own => DialFailure::Own,
            Self::Unreachable(why) => {
                DialFailure::Unreachable(format!("nobody answers at {address}: {why}"))
            }
            Self::WrongNode(got) => {
                let expected = expected.map_or_else(String::new, |node| format!(", not {node}"));
                DialFailure::Refused(format!("the node at {address} is {got}{expected}"))
            }
            Self::Key => {
                DialFailure::Refused(format!("the node at {address} has another mesh key"))
            }
            Self::Stranger => {
                DialFailure::Refused(format!("what answers at {address} is not a node of a mesh"))
            }
            Self::Refused(why) => DialFailure::Refused(format!("the node at {address} {why}")),
        }
    }
}

/// The system's words without their number.
fn plain(error: &str) -> String {
    if error == TIMEOUT_ERROR {
        return "no answer in time".to_owned();
    }
    let words = error.split(" (os error").next().unwrap_or(error);
    let mut letters = words.chars();
    let first = letters.next().map(|letter| letter.to_ascii_lowercase());
    first.into_iter().chain(letters).collect()
}

/// Connects to a target; `None`: it did.
pub(crate) async fn run(
    dial: DialId,
    target: Target,
    tries: mpsc::Sender<Try>,
    permits: Arc<Semaphore>,
) -> Option<DialFailure> {
    let (addresses, expected, every) = match &target {
        Target::Contact(contact) => {
            let address = std::slice::from_ref(&contact.address);
            (address, contact.node, contact.every)
        }
        Target::Member { node, addresses } => (&addresses[..], Some(*node), false),
    };
    let mut waiting = match resolve(addresses).await {
        Ok(resolved) => VecDeque::from(resolved),
        Err(failure) => return Some(failure),
    };
    let attempt = |address| {
        let connecting = connect(dial, address, expected, &tries, &permits);
        async move {
            connecting
                .await
                .map_err(|why| why.explain(address, expected))
        }
    };
    let stagger = if every { Duration::ZERO } else { STAGGER };
    let mut under_way = FuturesUnordered::new();
    let (mut linked, mut failure) = (false, None);
    under_way.extend(waiting.pop_front().map(&attempt));
    while !under_way.is_empty() {
        tokio::select! {
            biased;
            Some(result) = under_way.next() => {
                match result {
                    Ok(()) if every => linked = true,
                    Ok(()) => return None,
                    Err(next) => failure = Some(more_telling(failure, next)),
                }
                under_way.extend(waiting.pop_front().map(&attempt));
            }
            () = sleep(stagger), if !waiting.is_empty() && under_way.len() < AT_ONCE => {
                under_way.extend(waiting.pop_front().map(&attempt));
            }
        }
    }
    failure.filter(|_| !linked)
}

/// Tries one address to the end of its admission.
async fn connect(
    dial: DialId,
    address: SocketAddr,
    expected: Option<NodeId>,
    tries: &mpsc::Sender<Try>,
    permits: &Semaphore,
) -> Result<(), Failure> {
    let stopping = || Failure::Unreachable("this node stops".to_owned());
    let _permit = permits.acquire().await.map_err(|_| stopping())?;
    let (outcome, told) = oneshot::channel();
    let attempt = Try {
        dial,
        address,
        expected,
        outcome,
    };
    tries.send(attempt).await.map_err(|_| stopping())?;
    // Nobody tells where the connection broke before anything was known.
    told.await
        .unwrap_or_else(|_| Err(Failure::Refused(Refusal::Closed)))
}

/// The sockets that addresses stand for, in order, each once.
async fn resolve(addresses: &[PeerAddress]) -> Result<Vec<SocketAddr>, DialFailure> {
    let mut resolved = Vec::new();
    let mut failure = "there is no address to dial".to_owned();
    for address in addresses {
        match timeout(RESOLVE_TIMEOUT, lookup_host(address.as_str())).await {
            Ok(Ok(found)) => {
                for socket in found {
                    if resolved.len() < ADDRESSES_MAX && !resolved.contains(&socket) {
                        resolved.push(socket);
                    }
                }
            }
            Ok(Err(error)) => failure = format!("{address} cannot be resolved: {error}"),
            Err(_) => failure = format!("{address} cannot be resolved: no answer"),
        }
    }
    if resolved.is_empty() {
        Err(DialFailure::Unreachable(failure))
    } else {
        Ok(resolved)
    }
}

/// Of two failures the one that says more: somebody who refuses is a fact to act on, an address that
/// is dead may be one of many, and this node itself is to be expected behind a name of all nodes.
fn more_telling(first: Option<DialFailure>, second: DialFailure) -> DialFailure {
    let rank = |failure: &DialFailure| match failure {
        DialFailure::Refused(_) => 2,
        DialFailure::Unreachable(_) => 1,
        DialFailure::Own => 0,
    };
    match first {
        Some(first) if rank(&first) >= rank(&second) => first,
        Some(_) | None => second,
    }
}
