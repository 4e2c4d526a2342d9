//! Opening: lock, marker, database, replay of the journal; then the threads.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};

use mesh::event::Event;
use mesh::id::NodeId;
use mesh::store::StoreError;
use mesh::time::Stamp;

use super::block::Encoded;
use super::cursor::Shard;
use super::database::{Database, DatabaseError};
use super::journal::{Damage, Entry, Journal, Replay, Replayed};
use super::marker::{self, Marker};
use super::nonces::Nonces;
use super::queue::Queue;
use super::stats::Stats;
use super::stored::Stored;
use super::tails::Tails;
use super::writer::Writer;
use super::{
    Config, History, QUESTIONS_MAX, Report, SHARDS, Shared, State, Stop, WAITING_MAX, fold, read,
};
use crate::dir_lock::DirLock;

/// The smallest journal file, bytes: any usual event fits.
const JOURNAL_FILE_MIN: u64 = 64 * 1024;

const MOVE_AWAY: &str = "move this directory away and start again: the other replicas refill it";

/// Why a store does not open. Nothing was changed or moved.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("the history in {} is in use by another process: stop that one, or give this node another directory", dir.display())]
    Locked {
        /// Which directory.
        dir: PathBuf,
    },
    /// It belongs to another node.
    #[error("the history in {} belongs to node {owner}, this is node {node}: put that node's identity back, or {MOVE_AWAY}", dir.display())]
    Foreign {
        /// Which directory.
        dir: PathBuf,
        /// Whose it is.
        owner: NodeId,
        /// Who wanted it.
        node: NodeId,
    },
    /// Another version of the program wrote it.
    #[error("the history in {} has format {found}, this program knows {known}: run the version that wrote it, or {MOVE_AWAY}", dir.display())]
    Version {
        /// Which directory.
        dir: PathBuf,
        /// Its format.
        found: u32,
        /// The format of this program.
        known: u32,
    },
    /// What is there is not what was written.
    #[error("the history in {} is damaged: {what}; {MOVE_AWAY}", dir.display())]
    Damaged {
        /// Which directory.
        dir: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The file system refused.
    #[error("the history cannot be opened: {}: {source}; check the directory's permissions and the disk", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl OpenError {
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            source,
        }
    }

    pub(super) fn damaged(dir: &Path, what: impl ToString) -> Self {
        Self::Damaged {
            dir: dir.to_owned(),
            what: what.to_string(),
        }
    }
}

/// What went wrong while the journal was read.
enum ReplayError {
    Damage(Damage),
    Store(StoreError),
}

impl From<Damage> for ReplayError {
    fn from(damage: Damage) -> Self {
        Self::Damage(damage)
    }
}

impl From<StoreError> for ReplayError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl History {
    /// Opens the store of a node, or makes one where there is none. `report` is told what it does.
    ///
    /// # Errors
    /// See [`OpenError`]: each says what to do.
    pub fn open(mut config: Config, owner: NodeId, report: Report) -> Result<Self, OpenError> {
        config.journal_file_bytes = config.journal_file_bytes.max(JOURNAL_FILE_MIN);
        config.journal_files = config.journal_files.max(2);
        let dir = config.dir.clone();
        let lock = marker::lock(&dir)?;
        let marker = match marker::read(&dir)? {
            Some(marker) if marker.owner != owner => {
                return Err(OpenError::Foreign {
                    dir,
                    owner: marker.owner,
                    node: owner,
                });
            }
            Some(marker) if marker.ready => marker,
            Some(_) | None => create(&config, owner).map_err(|e| OpenError::io(&dir, e))?,
        };
        let database = open_database(&config, &marker)?;
        if !marker.ready {
            let ready = Marker {
                ready: true,
                ..marker
            };
            ready.write(&dir).map_err(|e| OpenError::io(&dir, e))?;
        }
        let opened = Opening::new(&config, &marker, database)?;
        Self::start(config, report, lock, opened)
    }

    fn start(
        config: Config,
        report: Report,
        lock: DirLock,
        opened: Opening,
    ) -> Result<Self, OpenError> {
        let dir = config.dir.clone();
        let readers = config.readers.max(1);
        let free = super::free_bytes(&dir).map_err(|e| OpenError::io(&dir, e))?;
        let room = free >= config.min_free;
        let shared = Arc::new(Shared {
            stats: opened.stats,
            commands: Queue::new(WAITING_MAX),
            jobs: Queue::new(QUESTIONS_MAX),
            state: Mutex::new(State {
                tails: opened.tails,
                stored: Stored::new(),
                rounding: false,
                needed_safe: 0,
                safe: opened.safe,
                unflushed: 0,
                flushing: false,
                stop: Stop::No,
            }),
            fold_wanted: Condvar::new(),
            flush_wanted: Condvar::new(),
            room_made: Condvar::new(),
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            database: opened.database,
            report,
            failed: AtomicBool::new(false),
            newest: AtomicU64::new(opened.journal.newest().0),
            room: AtomicBool::new(room),
            config,
        });
        let writer = Writer::new(Arc::clone(&shared), opened.journal, opened.nonces);
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| -> Result<_, OpenError> {
            let thread = thread::Builder::new().name(format!("history-{name}"));
            thread.spawn(run).map_err(|e| OpenError::io(&dir, e))
        };
        let shared_with = |run: fn(&Arc<Shared>)| {
            let shared = Arc::clone(&shared);
            Box::new(move || run(&shared))
        };
        let mut history = Self {
            writer: None,
            folder: None,
            flusher: None,
            readers: Vec::new(),
            shared: Arc::clone(&shared),
            _lock: lock,
        };
        history.writer = Some(spawn("journal", Box::new(|| writer.run()))?);
        history.folder = Some(spawn("fold", shared_with(fold::run))?);
        history.flusher = Some(spawn("flush", shared_with(fold::run_flush))?);
        for _ in 0..readers {
            let reader: JoinHandle<()> = spawn("read", shared_with(read::run))?;
            history.readers.push(reader);
        }
        Ok(history)
    }
}

fn journal_dir(config: &Config) -> PathBuf {
    config.dir.join("journal")
}

fn blocks_dir(config: &Config) -> PathBuf {
    config.dir.join("blocks")
}

/// Makes a new store, or one whose making was cut short: nothing in it was ever acknowledged.
fn create(config: &Config, owner: NodeId) -> io::Result<Marker> {
    let marker = Marker::new(owner);
    marker.write(&config.dir)?;
    for dir in [journal_dir(config), blocks_dir(config)] {
        match fs::remove_dir_all(&dir) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            Ok(()) | Err(_) => {}
        }
    }
    let journal = journal_dir(config);
    fs::create_dir(&journal)?;
    Journal::create(&journal, marker.store, config.journal_file_bytes)?;
    Ok(marker)
}

fn open_database(config: &Config, marker: &Marker) -> Result<Database, OpenError> {
    let dir = &config.dir;
    let blocks = blocks_dir(config);
    Database::open(&blocks, marker.store, config.cache_bytes, !marker.ready).map_err(|e| match e {
        DatabaseError::Io(e) => OpenError::io(&blocks, e),
        e @ (DatabaseError::Lost | DatabaseError::Sled(_)) => OpenError::damaged(dir, e),
    })
}

/// A store being opened: one thread has all of it.
struct Opening {
    stats: Stats,
    database: Database,
    journal: Journal,
    tails: Tails,
    nonces: Nonces,
    safe: u64,
}

impl Opening {
    /// Reads the journal.
    fn new(config: &Config, marker: &Marker, database: Database) -> Result<Self, OpenError> {
        let damaged = |what: &dyn ToString| OpenError::damaged(&config.dir, what.to_string());
        let dir = journal_dir(config);
        let replay = Replay::open(
            &dir,
            marker.store,
            config.journal_file_bytes,
            config.journal_files,
        );
        let replay = replay.map_err(|e| damaged(&e))?;
        let safe = database.safe().map_err(|e| damaged(&e))?;
        if replay.first() > safe + 1 {
            return Err(damaged(&format!(
                "journal records {} to {} are missing",
                safe + 1,
                replay.first() - 1,
            )));
        }
        let mut replaying = Replaying {
            config,
            stats: Stats::default(),
            tails: Tails::new(config.full_tail_bytes, 0),
            nonces: Nonces::new(config.nonces, Stamp(replay.newest_before().0 + 1)),
            database,
        };
        let journal = replay
            .run(|record| replaying.take(record))
            .map_err(|e| match e {
                ReplayError::Damage(Damage::Io(e)) => OpenError::io(&dir, e),
                ReplayError::Damage(e) => damaged(&e),
                ReplayError::Store(e) => damaged(&e),
            })?;
        if safe >= journal.next() {
            return Err(damaged(&format!(
                "the journal ends at record {}, the database knows record {safe}",
                journal.next() - 1,
            )));
        }
        Ok(Self {
            stats: replaying.stats,
            database: replaying.database,
            journal,
            tails: replaying.tails,
            nonces: replaying.nonces,
            safe,
        })
    }
}

struct Replaying<'a> {
    config: &'a Config,
    stats: Stats,
    database: Database,
    tails: Tails,
    nonces: Nonces,
}

impl Replaying<'_> {
    /// Puts into the tails what of a record is not in blocks. The newest stamp of its events.
    fn take(&mut self, record: Replayed) -> Result<Stamp, ReplayError> {
        let mut newest = Stamp(0);
        for entry in record.entries {
            let (stream, event) = match entry {
                Entry::List(stream) => (stream, None),
                Entry::Event(bytes) => {
                    let event: Event =
                        postcard::from_bytes(&bytes).map_err(|_| unknown(record.sequence))?;
                    let stream = event.stream();
                    newest = newest.max(event.id.stamp);
                    if let Some(nonce) = event.nonce {
                        let hash = self.nonces.hash(stream, &event.author, nonce);
                        self.nonces.insert(hash, event.id.stamp);
                    }
                    (
                        stream,
                        Some(Encoded {
                            id: event.id,
                            bytes,
                        }),
                    )
                }
            };
            if self.tails.get(stream).is_none() {
                self.tails.know(stream, self.database.head(stream)?);
            }
            let head = self.tails.get(stream).map(|tail| tail.head.folded);
            if head.is_some_and(|folded| record.sequence <= folded) {
                continue;
            }
            match event {
                Some(event) => self.tails.insert(stream, event, record.sequence),
                None => self.tails.list(stream, record.sequence),
            };
        }
        self.tails.set_durable(record.sequence);
        self.make_room()?;
        Ok(newest)
    }

    /// Folds where there is more than fits.
    fn make_room(&mut self) -> Result<(), StoreError> {
        self.tails.forget_idle();
        while self.tails.bytes() > self.config.tail_bytes / 4 * 3 {
            let foldings = self.tails.next_round(fold::TOGETHER);
            if foldings.is_empty() {
                break;
            }
            let (change, heads) = fold::plan_all(
                &self.database,
                &self.stats,
                self.config.block_bytes,
                foldings,
            )?;
            self.database.apply(change)?;
            for (stream, head) in heads {
                self.tails.folded(stream, head);
            }
        }
        Ok(())
    }
}

fn unknown(sequence: u64) -> StoreError {
    StoreError(format!(
        "an event in journal record {sequence} is unreadable"
    ))
}
