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

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::Stream;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::Limits;
use super::admission::{self, Credentials, Refusal, Role};
use super::counters::Counters;
use super::dial::{Failure, Try};
use super::keys::Keys;
use super::outbox::{BATCH, KEPT, Outbox, Put};
use crate::id::{LinkId, NodeId};
use crate::proto::{Input, PeerAddress};
use crate::wire::{self, DecodeError, Envelope, Lane};

/// How long a closing side waits for the other to close, and how long the other lanes may go on
/// once the peer has closed one: without it, closing with unread bytes would cut off the last frames.
const LINGER: Duration = Duration::from_millis(500);

/// How long what waits may take to be written once the link is to be closed.
const DRAIN: Duration = Duration::from_secs(1);

/// A reader's buffer at rest, bytes; it grows to [`KEPT`] under load, and to one frame where that is
/// longer.
const READ: usize = 8 * 1024;

/// What all links of this node share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) node: NodeId,
    pub(crate) mesh_name: String,
    pub(crate) keys: Keys,
    pub(crate) limits: Limits,
    pub(crate) inputs: mpsc::Sender<Input>,
    pub(crate) counters: Counters,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    links: BTreeMap<LinkId, Arc<Link>>,
    /// The number of the last link.
    last: u64,
    /// Lanes with frames whose reader has not been woken yet; at most three for each link.
    dirty: Vec<(Arc<Link>, Lane)>,
}

/// An admitted connection, as those see it who send on it.
#[derive(Debug)]
struct Link {
    outboxes: [Outbox; 3],
    hung_up: Notify,
}

impl Shared {
    pub(crate) fn new(
        node: NodeId,
        mesh_name: String,
        keys: Keys,
        limits: Limits,
        inputs: mpsc::Sender<Input>,
    ) -> Self {
        Self {
            node,
            mesh_name,
            keys,
            limits,
            inputs,
            counters: Counters::default(),
            table: Mutex::default(),
        }
    }

    /// Puts a frame in its lane's outbox, or drops and counts it.
    pub(crate) fn send(&self, link: LinkId, envelope: &Envelope) {
        let lane = envelope.frame.lane();
        let mut table = self.table();
        let Table { links, dirty, .. } = &mut *table;
        let Some(link) = links.get(&link) else {
            self.counters.linkless.one();
            return;
        };
        let put = link.outboxes[lane as usize].put(envelope);
        match put {
            Put::First => dirty.push((Arc::clone(link), lane)),
            Put::More => {}
            Put::Full => self.counters.dropped.of(lane).one(),
            Put::TooLong => self.counters.unsendable.one(),
            Put::Closed => self.counters.linkless.one(),
        }
        if matches!(put, Put::First | Put::More) {
            self.counters.sent.of(lane).one();
        }
    }

    /// Wakes everybody who has something to write.
    pub(crate) fn flush(&self) {
        for (link, lane) in self.table().dirty.drain(..) {
            link.outboxes[lane as usize].flush();
        }
    }

    /// Closes a link once what waits is written.
    pub(crate) fn hang_up(&self, link: LinkId) {
        if let Some(link) = self.table().links.get(&link) {
            link.hang_up();
        }
    }

    /// Closes all links.
    pub(crate) fn hang_up_all(&self) {
        for link in self.table().links.values() {
            link.hang_up();
        }
    }

    /// Sends bytes that need not be a frame.
    #[cfg(test)]
    pub(crate) fn send_raw(&self, link: LinkId, lane: Lane, bytes: &[u8]) {
        self.table().links[&link].outboxes[lane as usize].put_raw(bytes);
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().expect("nobody panics while holding it")
    }
}

impl Link {
    fn new(limits: &Limits) -> Self {
        Self {
            outboxes: Lane::ALL.map(|lane| Outbox::new(limits.outbox(lane))),
            hung_up: Notify::new(),
        }
    }

    fn hang_up(&self) {
        for outbox in &self.outboxes {
            outbox.close();
        }
        self.hung_up.notify_one();
    }
}

/// The place of a link in the table; gives it up when dropped.
struct Registered {
    shared: Arc<Shared>,
    id: LinkId,
    link: Arc<Link>,
}

impl Registered {
    fn new(shared: Arc<Shared>) -> Self {
        let link = Arc::new(Link::new(&shared.limits));
        let id = {
            let mut table = shared.table();
            table.last += 1;
            let id = LinkId(table.last);
            table.links.insert(id, Arc::clone(&link));
            id
        };
        Self { shared, id, link }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.shared.table().links.remove(&self.id);
    }
}

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
    shared: Arc<Shared>,
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
    let deadline = Instant::now() + shared.limits.admission_timeout;
    let mut lanes = match timeout_at(deadline, collect(&mut streams)).await {
        Ok(Some(lanes)) => lanes,
        Ok(None) => return refuse(&shared, &fate, attempt, Refusal::Junk),
        Err(_) => return refuse(&shared, &fate, attempt, Refusal::Late),
    };
    let admitted = timeout_at(deadline, admit(&shared, peer, role, &mut lanes)).await;
    if let Err(refusal) = admitted.unwrap_or(Err(Refusal::Late)) {
        let end = refuse(&shared, &fate, attempt, refusal);
        // The peer has to read the reason before the connection goes; then it closes too, or not.
        let rest = until_closed(&mut lanes.inn[Lane::Control as usize]);
        timeout(LINGER, rest).await.ok();
        return end;
    }
    let dial = attempt.as_ref().map(|attempt| attempt.dial);
    if attempt.is_some_and(|attempt| attempt.outcome.send(Ok(())).is_err()) {
        fate.set(None).expect("it is decided once");
        return End::Superfluous;
    }
    let registered = Registered::new(Arc::clone(&shared));
    let link = registered.id;
    let input = Input::LinkUp {
        link,
        peer,
        dial,
        remote,
    };
    if shared.inputs.send(input).await.is_err() {
        return End::Orphaned;
    }
    fate.set(Some(link)).expect("it is decided once");
    shared.counters.links_up.one();
    converse(&shared, &registered, lanes).await
}

fn refuse(shared: &Shared, fate: &Fate, attempt: Option<Try>, refusal: Refusal) -> End {
    shared.counters.refused(&refusal);
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

async fn admit(
    shared: &Shared,
    peer: NodeId,
    role: Role,
    lanes: &mut Lanes,
) -> Result<(), Refusal> {
    let mut nonce = [0; 32];
    getrandom::fill(&mut nonce).expect("the system gives random bytes");
    let mine = Credentials {
        node: shared.node,
        mesh_name: &shared.mesh_name,
        key: &shared.keys.admission,
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
async fn converse(shared: &Shared, registered: &Registered, lanes: Lanes) -> End {
    let Lanes { out, inn } = lanes;
    let link = &*registered.link;
    let writing = async {
        let mut writers: FuturesUnordered<_> = out
            .into_iter()
            .zip(&link.outboxes)
            .map(|(stream, outbox)| write(shared, outbox, stream))
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
            .map(|(stream, lane)| read(shared, registered.id, lane, stream))
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

/// Writes what waits in an outbox, as much at once as there is, until the outbox is closed.
async fn write(shared: &Shared, outbox: &Outbox, mut stream: Stream) -> Result<(), End> {
    let deadline = shared.limits.write_timeout;
    let mut batch = Vec::new();
    while outbox.take(&mut batch).await {
        for chunk in batch.chunks(BATCH) {
            match timeout(deadline, stream.write_all(chunk)).await {
                Ok(result) => result?,
                Err(_) => {
                    shared.counters.write_timeouts.one();
                    return Err(End::WriteTimeout(deadline));
                }
            }
            shared.counters.batches.one();
            shared.counters.bytes_sent.add(chunk.len() as u64);
        }
        batch.clear();
        batch.shrink_to(KEPT);
    }
    Ok(stream.close().await?)
}

/// Hands up the frames of one lane, in order, until the peer closes it.
async fn read(shared: &Shared, link: LinkId, lane: Lane, mut stream: Stream) -> Result<(), End> {
    let mut incoming = Incoming::default();
    loop {
        let got = stream.read(incoming.room()).await?;
        if got == 0 {
            return Ok(());
        }
        shared.counters.bytes_received.add(got as u64);
        incoming.filled(got);
        while let Some(next) = incoming.next() {
            match next {
                Ok(envelope) => {
                    let input = Input::Frame { link, envelope };
                    let sent = shared.inputs.send(input).await;
                    sent.map_err(|_| End::Orphaned)?;
                    shared.counters.received.of(lane).one();
                }
                Err(DecodeError::Junk(_)) => shared.counters.junk.one(),
                Err(error @ DecodeError::TooLong { .. }) => {
                    shared.counters.too_long.one();
                    return Err(End::Frame(error));
                }
            }
        }
    }
}

/// Bytes of a lane that are not whole frames yet: `bytes[start..end]`.
#[derive(Debug, Default)]
struct Incoming {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Incoming {
    /// Where the next bytes go; never empty.
    fn room(&mut self) -> &mut [u8] {
        // A read that filled the buffer means that more is likely to be there.
        let grow = if self.end == self.bytes.len() { 2 } else { 1 };
        let usual = (self.bytes.len() * grow).clamp(READ, KEPT);
        self.bytes.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let first = wire::length(&self.bytes[..self.end]).ok().flatten();
        let size = usual.max(first.unwrap_or(0)).max(self.end + 1);
        self.bytes.resize(size, 0);
        self.bytes.shrink_to(size);
        &mut self.bytes[self.end..]
    }

    /// So many bytes are there now.
    fn filled(&mut self, count: usize) {
        self.end += count;
    }

    /// Takes the next whole frame; junk is skipped.
    fn next(&mut self) -> Option<Result<Envelope, DecodeError>> {
        let bytes = &self.bytes[self.start..self.end];
        match wire::decode(bytes) {
            Ok(Some((envelope, taken))) => {
                self.start += taken;
                Some(Ok(envelope))
            }
            Ok(None) => None,
            Err(error @ DecodeError::Junk(_)) => {
                let length = wire::length(bytes).ok().flatten();
                self.start += length.expect("junk is a whole frame");
                Some(Err(error))
            }
            Err(error @ DecodeError::TooLong { .. }) => Some(Err(error)),
        }
    }
}
