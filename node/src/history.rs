//! The history: what a node keeps on its disk, as the [`Store`](mesh::store::Store) that the machine
//! asks for appends and answers.
//!
//! ```text
//!  append, list ──▶ journal's thread ──▶ journal ─ one fdatasync per batch ─▶ done
//!                     │ adds                 ▲ files used again
//!                     ▼                      │
//!                   tails ──▶ folding thread ──▶ blocks in sled ◀── flushing thread
//!                     ▲                                 ▲
//!  load ──────────▶ reading threads ────────────────────┘           ─▶ done
//! ```
//!
//! | part | what |
//! | --- | --- |
//! | `journal` | what has just been written, in preallocated files that are used over and over |
//! | `tails` | the same events in memory, by stream |
//! | `block`, `database` | runs of events, compressed, and a head per stream, in sled |
//! | `writer` | judges and commits appends, in groups |
//! | `fold` | moves tails into blocks, and flushes them |
//! | `read`, `cursor` | answers questions from both |
//! | `nonces` | proves that a nonce is new |
//! | `stored` | proves that a stream has nothing in sled |
//! | `marker` | whose directory it is |
//!
//! Nothing on the way of an acknowledgement waits for sled, but where an event may be in a block
//! already. Every queue has a bound: a full queue of appends answers [`Outcome::Full`] at once;
//! where folding cannot keep up, appends wait in that queue.
//!
//! A flush that fails is the end: nothing written after it can be trusted. [`Done::Failed`] is
//! reported once, and nothing is acknowledged any more.

mod block;
mod blocking;
mod cursor;
mod database;
mod filter;
mod fold;
mod journal;
mod marker;
mod nonces;
mod open;
mod queue;
mod read;
mod stats;
mod stored;
mod tails;
mod writer;

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use mesh::event::{EventKind, SharedEvent};
use mesh::id::StreamId;
use mesh::proto::output::Ticket;
use mesh::store::{Answer, Outcome, Query, StoreError};
use mesh::time::Stamp;

pub use blocking::Blocking;
pub use open::OpenError;

use cursor::Shard;
use database::Database;
use queue::Queue;
use read::Job;
use stats::Stats;
use stored::Stored;
use tails::Tails;
use writer::Command;

use crate::dir_lock::DirLock;

/// What can be tuned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where everything is kept. Made where it is missing, mode 0700, and locked.
    pub dir: PathBuf,
    /// Below that many free bytes on the file system nothing is stored. Default 512 MiB: room for
    /// folding what is in the journal, several times over.
    pub min_free: u64,
    /// The most memory that tails take, bytes; above it appends wait, and folding begins at seven
    /// eighths. Default 32 MiB: about 90,000 events of 200 bytes. More makes fewer and larger
    /// changes to blocks, and a longer replay at the start.
    pub tail_bytes: usize,
    /// A tail is full with that many bytes of events; when enough of them are, they are folded
    /// together. Default 16 KiB: two full blocks.
    pub full_tail_bytes: usize,
    /// Events of one block before compression, bytes. Default 8 KiB: with larger ones sled's pages
    /// would go to files that it never flushes.
    pub block_bytes: usize,
    /// Size of one journal file, bytes, at least 64 KiB. Default 64 MiB.
    pub journal_file_bytes: u64,
    /// The most journal files, at least 2; when all are needed, appends wait. Default 4; two or three
    /// are in use unless folding falls behind.
    pub journal_files: usize,
    /// sled's cache, bytes. Default 32 MiB: heads of some 200,000 streams and the blocks being
    /// merged; sled takes about one and a half times as much memory.
    pub cache_bytes: u64,
    /// How many nonces are remembered, four bytes of memory each, taken as they come. Default 4 Mi:
    /// two minutes at 35,000 events per second. Where more come, nonces are looked for in the
    /// stream's own events of the last minutes.
    pub nonces: usize,
    /// Threads that answer questions. Default 2: a long search leaves one for the others.
    pub readers: usize,
}

impl Config {
    /// The defaults, in this directory.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            min_free: 512 * 1024 * 1024,
            tail_bytes: 32 * 1024 * 1024,
            full_tail_bytes: 16 * 1024,
            block_bytes: 8 * 1024,
            journal_file_bytes: 64 * 1024 * 1024,
            journal_files: 4,
            cache_bytes: 32 * 1024 * 1024,
            nonces: 4 * 1024 * 1024,
            readers: 2,
        }
    }
}

/// Appends that wait at most, bytes: above it they are answered [`Outcome::Full`].
const WAITING_MAX: usize = 32 * 1024 * 1024;

/// Questions that wait at most: above it they are not taken.
const QUESTIONS_MAX: usize = 16_384;

/// How finely streams are told apart by what keeps readers from seeing half a change.
const SHARDS: usize = 1024;

/// Something that the store has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// An append is durable, or what else became of its events.
    Appended {
        /// Which.
        ticket: Ticket,
        /// One for each event, in order.
        outcomes: Vec<Outcome>,
    },
    /// A question is answered.
    Loaded {
        /// Which.
        ticket: Ticket,
        /// The answer.
        answer: Answer,
    },
    /// Whether the store takes events has changed.
    Room(bool),
    /// The disk failed, or what is on it is damaged: the node must stop. Said once.
    Failed(StoreError),
}

/// Where the store reports what it has done: called on its threads, in batches, so that one wake-up
/// of the receiver is enough for each. It must not block.
pub type Report = Box<dyn Fn(Vec<Done>) + Send + Sync>;

/// A question that was not taken: too many are waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{QUESTIONS_MAX} questions to the store are waiting")]
pub struct Overloaded;

/// An open store. Dropping it stops it as a crash would, but for what the kernel has; see
/// [`History::close`].
pub struct History {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
    folder: Option<JoinHandle<()>>,
    flusher: Option<JoinHandle<()>>,
    readers: Vec<JoinHandle<()>>,
    /// Held until everything else is gone.
    _lock: DirLock,
}

/// What the threads share.
struct Shared {
    config: Config,
    stats: Stats,
    commands: Queue<Command>,
    jobs: Queue<Job>,
    state: Mutex<State>,
    /// For the folding thread.
    fold_wanted: Condvar,
    /// For the flushing thread.
    flush_wanted: Condvar,
    /// For the journal's thread: something was folded or flushed.
    room_made: Condvar,
    shards: Vec<Shard>,
    database: Database,
    report: Report,
    failed: AtomicBool,
    newest: AtomicU64,
    room: AtomicBool,
}

/// What the threads change, under one lock.
#[derive(Debug)]
struct State {
    tails: Tails,
    stored: Stored,
    /// Streams are being folded in turn, to make room.
    rounding: bool,
    /// The journal needs everything up to this record folded and flushed.
    needed_safe: u64,
    /// Everything up to this record is.
    safe: u64,
    /// Bytes of events folded since the last flush began.
    unflushed: usize,
    /// A flush is under way.
    flushing: bool,
    stop: Stop,
}

/// Whether the folding and flushing threads are to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    No,
    /// When everything is folded.
    Finish,
    /// At once.
    Abandon,
}

impl History {
    /// Appends events, without waiting: [`Done::Appended`] says what became of them.
    pub fn append(&self, ticket: Ticket, events: Vec<SharedEvent>) {
        let weight = events.iter().map(weight).sum();
        let command = Command::Append { ticket, events };
        if let Err(Command::Append { ticket, events }) = self.shared.commands.push(command, weight)
            && !self.shared.has_failed()
        {
            self.shared.stats.overload.add(events.len() as u64);
            let outcomes = vec![Outcome::Full; events.len()];
            (self.shared.report)(vec![Done::Appended { ticket, outcomes }]);
        }
    }

    /// Marks a stream as listed, before any later append is durable. Where too much is waiting, it
    /// is not: the stream's next event is then stored as unlisted again.
    pub fn list(&self, stream: StreamId) {
        if self
            .shared
            .commands
            .push(Command::List(stream), 64)
            .is_err()
        {
            self.shared.stats.lists_refused.add(1);
        }
    }

    /// Asks a question, without waiting: [`Done::Loaded`] answers it.
    ///
    /// # Errors
    /// Too many are waiting. This one is not answered.
    pub fn load(&self, ticket: Ticket, query: Query) -> Result<(), Overloaded> {
        let pushed = self.shared.jobs.push(Job::Load { ticket, query }, 1);
        pushed.map_err(|_| {
            self.shared.stats.loads_refused.add(1);
            Overloaded
        })
    }

    /// The newest stamp of all events ever stored here; zero where there is none.
    pub fn newest(&self) -> Stamp {
        Stamp(self.shared.newest.load(Relaxed))
    }

    /// Whether the store takes events; [`Done::Room`] tells when that changes.
    pub fn room(&self) -> bool {
        self.shared.room.load(Relaxed)
    }

    /// What the store has counted: names ending in `_total` only rise.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        self.shared.stats.pairs()
    }

    /// Stops: everything appended before is made durable and reported, every tail is folded, the
    /// database is flushed.
    ///
    /// # Errors
    /// The disk failed, now or before.
    pub fn close(mut self) -> Result<(), StoreError> {
        self.shared.commands.close();
        join(self.writer.take());
        {
            let mut state = self.shared.state();
            if state.stop == Stop::No {
                state.stop = Stop::Finish;
            }
            self.shared.notify_all();
        }
        join(self.folder.take());
        join(self.flusher.take());
        if self.shared.has_failed() {
            return Err(StoreError("the history has failed before".to_owned()));
        }
        let upto = self.shared.state().tails.durable();
        fold::flush(&self.shared, upto)
    }
}

impl Drop for History {
    fn drop(&mut self) {
        self.shared.state().stop = Stop::Abandon;
        self.shared.stop_taking();
        for thread in [&mut self.writer, &mut self.folder, &mut self.flusher] {
            join(thread.take());
        }
        for reader in self.readers.drain(..) {
            join(Some(reader));
        }
    }
}

fn join(thread: Option<JoinHandle<()>>) {
    if let Some(thread) = thread
        && let Err(panic) = thread.join()
    {
        tracing::error!("a thread of the history panicked: {panic:?}");
    }
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("History")
            .field("dir", &self.shared.config.dir)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shard(&self, stream: StreamId) -> &Shard {
        &self.shards[shard_index(stream)]
    }

    fn has_failed(&self) -> bool {
        self.failed.load(Relaxed)
    }

    /// Stops everything, and reports why, once.
    fn fail(&self, error: StoreError) {
        if !self.failed.swap(true, Relaxed) {
            self.state().stop = Stop::Abandon;
            self.stop_taking();
            (self.report)(vec![Done::Failed(error)]);
        }
    }

    fn stop_taking(&self) {
        self.commands.close();
        self.jobs.close();
        self.notify_all();
    }

    fn notify_all(&self) {
        for waiting in [&self.fold_wanted, &self.flush_wanted, &self.room_made] {
            waiting.notify_all();
        }
    }

    fn raise_newest(&self, stamp: Stamp) {
        self.newest.fetch_max(stamp.0, Relaxed);
    }

    fn set_room(&self, room: bool) {
        if self.room.swap(room, Relaxed) != room {
            (self.report)(vec![Done::Room(room)]);
        }
    }

    fn count(&self, outcome: &Outcome) {
        match outcome {
            // Counted when it goes into the record.
            Outcome::Stored { .. } | Outcome::Beside { .. } => {}
            Outcome::Known { .. } => self.stats.known.add(1),
            Outcome::Twin(_) => self.stats.twins.add(1),
            Outcome::Differs => self.stats.differs.add(1),
            Outcome::Full => self.stats.full.add(1),
        }
    }
}

/// Which of the [`SHARDS`] a stream belongs to.
fn shard_index(stream: StreamId) -> usize {
    // A stream id is a hash; its first bits are the slot, its last are as good.
    stream.0 as usize % SHARDS
}

/// Waits for a change of the state.
fn wait<'a>(on: &Condvar, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
    on.wait(state).unwrap_or_else(PoisonError::into_inner)
}

/// About how much memory an event takes, bytes.
fn weight(event: &SharedEvent) -> usize {
    let body = match &event.kind {
        EventKind::Message { body, .. } => body.as_str().len(),
        EventKind::Contact { .. } | EventKind::Read { .. } => 0,
    };
    body + 512
}

/// Free bytes for this user on the file system of a directory.
fn free_bytes(dir: &std::path::Path) -> std::io::Result<u64> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(test)]
mod tests;
