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
        let noise::Error::Io(error) = error else {
            return Self::Stranger;
        };
        let words = error.to_string();
        if words == DECRYPT_ERROR {
            Self::Key
        } else if error.kind() == io::ErrorKind::InvalidData {
            // Also where the agreement on Noise failed, whose answer is read only here.
            Self::Stranger
        } else {
            Self::Unreachable(format!("the handshake broke off, {}", plain(&words)))
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
    let (addresses, expected, wish) = match &target {
        Target::Contact(contact) => {
            let wish = match contact.every {
                true => Wish::Every,
                false => Wish::Any,
            };
            (std::slice::from_ref(&contact.address), contact.node, wish)
        }
        Target::Member { node, addresses } => (&addresses[..], Some(*node), Wish::Any),
    };
    let addresses = match resolve(addresses).await {
        Ok(addresses) => addresses,
        Err(failure) => return Some(failure),
    };
    let connect = |address| {
        let connecting = connect(dial, address, expected, &tries, &permits);
        async move {
            connecting
                .await
                .map_err(|why| why.explain(address, expected))
        }
    };
    race(addresses, wish, connect).await
}

/// How many connections a dial is to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    /// One, to any of the addresses.
    Any,
    /// One to each.
    Every,
}

/// Connects to one of the addresses, or to each; `None`: to one at least.
async fn race<F>(
    addresses: Vec<SocketAddr>,
    wish: Wish,
    connect: impl Fn(SocketAddr) -> F,
) -> Option<DialFailure>
where
    F: Future<Output = Result<(), DialFailure>>,
{
    let stagger = match wish {
        Wish::Any => STAGGER,
        Wish::Every => Duration::ZERO,
    };
    let mut waiting = VecDeque::from(addresses);
    let mut under_way = FuturesUnordered::new();
    let (mut linked, mut failure) = (false, None);
    under_way.extend(waiting.pop_front().map(&connect));
    while !under_way.is_empty() {
        tokio::select! {
            biased;
            Some(result) = under_way.next() => {
                match result {
                    Ok(()) if wish == Wish::Any => return None,
                    Ok(()) => linked = true,
                    Err(next) => failure = Some(more_telling(failure, next)),
                }
                under_way.extend(waiting.pop_front().map(&connect));
            }
            () = sleep(stagger), if !waiting.is_empty() && under_way.len() < AT_ONCE => {
                under_way.extend(waiting.pop_front().map(&connect));
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
    told.await.unwrap_or(Err(Failure::Refused(Refusal::Closed)))
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

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::Mutex;

    use super::*;

    fn addresses(count: u16) -> Vec<SocketAddr> {
        let address = |port| SocketAddr::new("127.0.0.1".parse().unwrap(), port);
        (1..=count).map(address).collect()
    }

    fn unreachable(port: u16) -> Result<(), DialFailure> {
        Err(DialFailure::Unreachable(format!("nobody at {port}")))
    }

    #[tokio::test]
    async fn an_address_that_is_silent_does_not_hold_up_the_next() {
        let connect = |address: SocketAddr| async move {
            match address.port() {
                1 => pending().await,
                _ => Ok(()),
            }
        };
        assert_eq!(race(addresses(2), Wish::Any, connect).await, None);
    }

    #[tokio::test]
    async fn the_first_link_is_enough_where_any_address_will_do() {
        let tried = Mutex::new(Vec::new());
        let connect = |address: SocketAddr| {
            tried.lock().unwrap().push(address.port());
            async move {
                match address.port() {
                    1 => unreachable(1),
                    _ => Ok(()),
                }
            }
        };
        assert_eq!(race(addresses(4), Wish::Any, connect).await, None);
        assert_eq!(*tried.lock().unwrap(), [1, 2]);
    }

    #[tokio::test]
    async fn every_address_is_tried_where_every_one_is_meant() {
        let tried = Mutex::new(Vec::new());
        let connect = |address: SocketAddr| {
            tried.lock().unwrap().push(address.port());
            async move {
                match address.port() % 2 {
                    0 => unreachable(address.port()),
                    _ => Ok(()),
                }
            }
        };
        assert_eq!(race(addresses(20), Wish::Every, connect).await, None);
        assert_eq!(*tried.lock().unwrap(), (1..=20).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn of_many_failures_the_most_telling_one_is_told() {
        let refused = DialFailure::Refused("another mesh".to_owned());
        let connect = |address: SocketAddr| {
            let refused = refused.clone();
            async move {
                match address.port() {
                    1 => Err(DialFailure::Own),
                    3 => Err(refused),
                    port => unreachable(port),
                }
            }
        };
        let failure = race(addresses(4), Wish::Any, connect).await;
        assert_eq!(failure, Some(refused.clone()));
        let failure = race(addresses(2), Wish::Every, connect).await;
        assert_eq!(failure, unreachable(2).err());
    }

    #[test]
    fn the_systems_words_are_made_part_of_a_sentence() {
        assert_eq!(plain("No route to host (os error 113)"), "no route to host");
        assert_eq!(plain(TIMEOUT_ERROR), "no answer in time");
    }
}
