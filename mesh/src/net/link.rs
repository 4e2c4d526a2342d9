//! One connection: admission, then frames on three lanes until it ends.
//!
//! The whole of it is one future, which the connection's own task polls (see
//! [`behaviour`](super::behaviour)): no further task, no wake-up across threads between Yamux and
//! the lanes, and when the connection goes, the link is gone with it. Each lane is one stream opened
//! by either side: written by the one that opened it, read by the other.
//!
//! It ends when the peer closes, a write takes too long, a frame is too long, or it is told to hang
//! up; what waits is then still written within a bounded time. It does not reopen streams: a stream
//! that broke on a healthy connection is a fault of one of the two nodes, and the machine dials.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{AsyncReadExt, StreamExt};
use libp2p::Stream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::admission::{self, Credentials, Refusal, Role};
use super::dial::{Failure, Try};
use super::lane;
use super::links::{Links, Registered};
use crate::id::{LinkId, NodeId};
use crate::proto::{Input, PeerAddress};
use crate::wire::{DecodeError, Lane};

/// How long a closing side waits for the other to close, and how long the other lanes may go on
/// once the peer has closed one: without it, closing with unread bytes would cut off the last frames.
const LINGER: Duration = Duration::from_millis(500);

/// How long what waits may take to be written once the link is to be closed.
const DRAIN: Duration = Duration::from_secs(1);

/// A stream of the connection, as its handler hands it over.
#[derive(Debug)]
pub(crate) enum Opened {
    /// By this side: to write to.
    Here(Lane, Stream),
    /// By the peer: to read from.
    There(Lane, Stream),
}

/// What became of a connection: a link once `LinkUp` was told, none once it was refused and counted.
pub(crate) type Fate = Arc<OnceLock<Option<LinkId>>>;

/// A connection whose two ends have proved their node ids.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) peer: NodeId,
    pub(crate) remote: PeerAddress,
    /// The dial that led to it, where this side dialled.
    pub(crate) attempt: Option<Try>,
    pub(crate) fate: Fate,
}

/// Why a link ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum End {
    #[error("the peer closed it")]
    Closed,
    #[error("this node closed it")]
    HungUp,
    #[error("the peer was not admitted: it {0}")]
    Refused(String),
    #[error("another connection of the same dial was faster")]
    Superfluous,
    #[error("a write took more than {0:?}")]
    WriteTimeout(Duration),
    #[error(transparent)]
    Frame(DecodeError),
    #[error("lost: {0}")]
    Lost(#[from] io::Error),
    #[error("nobody takes inputs any more")]
    Orphaned,
}

/// Runs a connection from its first stream to its end. `streams` ends where a stream could not be
/// opened.
pub(crate) async fn run(
    links: Arc<Links>,
    connection: Connection,
    mut streams: mpsc::Receiver<Opened>,
) -> End {
    let Connection {
        peer,
        remote,
        attempt,
        fate,
    } = connection;
    let role = match attempt {
        Some(_) => Role::Dialler,
        None => Role::Listener,
    };
    let deadline = Instant::now() + links.limits.admission_timeout;
    let mut lanes = match timeout_at(deadline, collect(&mut streams)).await {
        Ok(Some(lanes)) => lanes,
        Ok(None) => return refuse(&links, &fate, attempt, Refusal::Junk),
        Err(_) => return refuse(&links, &fate, attempt, Refusal::Late),
    };
    let admitted = timeout_at(deadline, admit(&links, peer, role, &mut lanes)).await;
    if let Err(refusal) = admitted.unwrap_or(Err(Refusal::Late)) {
        if attempt.is_none() {
            // What it dialled itself the machine reports.
            tracing::info!(%peer, %remote, "refused a peer: it {refusal}");
        }
        let end = refuse(&links, &fate, attempt, refusal);
        // The peer has to read the reason before the connection goes; then it closes too, or not.
        let rest = until_closed(&mut lanes.inn[Lane::Control as usize]);
        timeout(LINGER, rest).await.ok();
        return end;
    }
    let dial = attempt.as_ref().map(|attempt| attempt.dial);
    if attempt
        .as_ref()
        .is_some_and(|attempt| attempt.outcome.is_closed())
    {
        fate.set(None).expect("it is decided once");
        return End::Superfluous;
    }
    let registered = Registered::new(Arc::clone(&links));
    let link = registered.id;
    let input = Input::LinkUp {
        link,
        peer,
        dial,
        remote,
    };
    if links.inputs.send(input).await.is_err() {
        return End::Orphaned;
    }
    fate.set(Some(link)).expect("it is decided once");
    if let Some(attempt) = attempt {
        // Only once the machine knows of the link: a dial ends with the one or the other. Whoever
        // dialled may have another connection since; then there are two.
        attempt.outcome.send(Ok(())).ok();
    }
    links.counters.links_up.one();
    converse(&links, &registered, lanes).await
}

fn refuse(links: &Links, fate: &Fate, attempt: Option<Try>, refusal: Refusal) -> End {
    links.counters.refused(&refusal);
    fate.set(None).expect("it is decided once");
    let end = End::Refused(refusal.to_string());
    if let Some(attempt) = attempt {
        // Whoever dialled may have another connection by now, and then does not care.
        attempt.outcome.send(Err(Failure::Refused(refusal))).ok();
    }
    end
}

async fn until_closed(stream: &mut Stream) {
    let mut rest = [0; 64];
    while matches!(stream.read(&mut rest).await, Ok(1..)) {}
}

/// The streams of a link, by lane.
struct Lanes {
    out: [Stream; 3],
    inn: [Stream; 3],
}

async fn admit(links: &Links, peer: NodeId, role: Role, lanes: &mut Lanes) -> Result<(), Refusal> {
    let mut nonce = [0; 32];
    getrandom::fill(&mut nonce).expect("the system gives random bytes");
    let mine = Credentials {
        node: links.node,
        mesh_name: &links.mesh_name,
        key: &links.keys.admission,
        nonce,
    };
    let control = Lane::Control as usize;
    let (read, write) = (&mut lanes.inn[control], &mut lanes.out[control]);
    admission::exchange(&mine, peer, role, read, write).await
}

/// All six streams; `None`: one of them cannot be opened.
async fn collect(streams: &mut mpsc::Receiver<Opened>) -> Option<Lanes> {
    let (mut out, mut inn) = ([None, None, None], [None, None, None]);
    while out.iter().chain(&inn).any(Option::is_none) {
        match streams.recv().await? {
            Opened::Here(lane, stream) => out[lane as usize] = Some(stream),
            Opened::There(lane, stream) => inn[lane as usize] = Some(stream),
        }
    }
    let all = |streams: [Option<Stream>; 3]| streams.map(|stream| stream.expect("none is missing"));
    Some(Lanes {
        out: all(out),
        inn: all(inn),
    })
}

/// Frames both ways until the end.
async fn converse(links: &Links, registered: &Registered, lanes: Lanes) -> End {
    let Lanes { out, inn } = lanes;
    let link = &*registered.link;
    let writing = async {
        let mut writers: FuturesUnordered<_> = out
            .into_iter()
            .zip(&link.outboxes)
            .map(|(stream, outbox)| lane::write(links, outbox, stream))
            .collect();
        while let Some(result) = writers.next().await {
            result?;
        }
        Ok(())
    };
    let reading = async {
        let mut readers: FuturesUnordered<_> = inn
            .into_iter()
            .zip(Lane::ALL)
            .map(|(stream, lane)| lane::read(links, registered.id, lane, stream))
            .collect();
        if let Some(Err(end)) = readers.next().await {
            return end;
        }
        // The peer is closing: what it wrote on the other lanes is on its way.
        let rest = async {
            while let Some(result) = readers.next().await {
                result?;
            }
            Ok(())
        };
        match timeout(LINGER, rest).await {
            Ok(Err(end)) => end,
            Ok(Ok(())) | Err(_) => End::Closed,
        }
    };
    let overdue = async {
        link.hung_up.notified().await;
        sleep(DRAIN).await;
    };
    tokio::pin!(reading);
    tokio::select! {
        biased;
        end = &mut reading => end,
        result = writing => match result {
            Err(end) => end,
            Ok(()) => {
                // It hangs up when it has read to the end, or else this side does.
                timeout(LINGER, reading).await.ok();
                End::HungUp
            }
        },
        () = overdue => End::HungUp,
    }
}
