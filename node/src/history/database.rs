//! sled, and nothing else knows it: keys, heads, blocks, the way it is opened and flushed.
//!
//! One tree. The first byte of a key is its kind, numbers are big-endian:
//!
//! | key | value |
//! | --- | --- |
//! | 0, name | facts about the store |
//! | 1, stream 16 | [`Head`] |
//! | 2, stream 16, first id 16, part 2 | a [`super::block`] |
//!
//! A stream id begins with its slot, so a slot is a range of keys. Heads stand apart from blocks, so
//! that looking one up reads a small page.
//!
//! sled 0.34's own flush commits neither the size of its file nor the drive's cache, so a flush here
//! is followed by `fdatasync` through a descriptor of our own; and what it writes when it is opened
//! is flushed before anything relies on it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sled::{Batch, Db};

use mesh::id::{EventId, StreamId};
use mesh::store::StoreError;

use super::block::{self, Encoded, Header, Made};
use super::journal::sync_dir;

/// How long sled's lock may still be held by a store of this process that was just closed.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// sled writes out what it buffered this often, milliseconds; it gives space back only then.
const SLED_FLUSH_MS: u64 = 500;

const STORE_ID: &[u8] = b"\0store";
const SAFE: &[u8] = b"\0safe";
const HEAD: u8 = 1;
const BLOCK: u8 = 2;

/// What is known of the part of a stream that is in blocks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    /// Number of events.
    pub(super) count: u64,
    /// XOR of their mixed ids.
    pub(super) digest: u64,
    /// The greatest of their ids; [`EventId::MIN`] where there is none.
    pub(super) last: Option<EventId>,
    /// Every event of this stream that is in a journal record up to this one is in blocks.
    pub(super) folded: u64,
    /// The stream's contact entries are with its users.
    pub(super) listed: bool,
    /// The blocks at the stream's end that are small enough to be merged, in order: first id and
    /// bytes of events. No other block is between or behind them.
    pub(super) open: Vec<(EventId, u32)>,
}

impl Head {
    /// Whether blocks hold no event with that id or a greater one.
    pub(super) fn is_below(&self, id: EventId) -> bool {
        self.last.is_none_or(|last| last < id)
    }
}

/// The database of one store.
#[derive(Debug)]
pub(super) struct Database {
    db: Db,
    /// Our own descriptor of sled's file.
    file: File,
}

/// Why a database cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum DatabaseError {
    /// It is not what was there before.
    #[error("the database is empty or belongs to another store")]
    Lost,
    /// sled found it damaged or could not read it.
    #[error("the database does not open: {0}")]
    Sled(#[from] sled::Error),
    /// The disk said so.
    #[error(transparent)]
    Io(#[from] io::Error),
}

fn head_key(stream: StreamId) -> [u8; 17] {
    let mut key = [HEAD; 17];
    key[1..].copy_from_slice(&stream.0.to_be_bytes());
    key
}

fn block_key(stream: StreamId, first: EventId, part: u16) -> [u8; 35] {
    let mut key = [BLOCK; 35];
    key[1..17].copy_from_slice(&stream.0.to_be_bytes());
    key[17..33].copy_from_slice(&first.to_u128().to_be_bytes());
    key[33..].copy_from_slice(&part.to_be_bytes());
    key
}

/// The first id in a block's key.
fn first_of(key: &[u8]) -> Option<EventId> {
    let id = key.get(17..33)?.first_chunk()?;
    Some(EventId::from_u128(u128::from_be_bytes(*id)))
}

fn failed(e: &sled::Error) -> StoreError {
    StoreError(format!("the database of the history failed: {e}"))
}

/// What is said of a block or head that does not read as it was written.
pub(super) fn damaged(stream: StreamId, what: &str) -> StoreError {
    StoreError(format!(
        "the history is damaged: {what} of stream {stream:?}"
    ))
}

impl Database {
    /// Makes the database of a new store, or opens the one that is there. `store` is kept in it.
    pub(super) fn open(
        dir: &Path,
        store: u128,
        cache_bytes: u64,
        is_new: bool,
    ) -> Result<Self, DatabaseError> {
        remove_half_written(dir)?;
        let db = match open_patiently(dir, cache_bytes) {
            Err(sled::Error::Corruption { .. }) if !is_new => {
                open_without_snapshot(dir, cache_bytes)?
            }
            other => other?,
        };
        let known = db.get(STORE_ID)?;
        if is_new {
            db.insert(STORE_ID, &store.to_le_bytes())?;
            db.flush()?;
        } else if !db.was_recovered() || known.is_none_or(|id| id != store.to_le_bytes()) {
            return Err(DatabaseError::Lost);
        }
        sync_all_below(dir)?;
        let file = File::open(dir.join("db"))?;
        file.sync_all()?;
        Ok(Self { db, file })
    }

    /// Everything up to this journal record was in blocks when the last flush began.
    pub(super) fn safe(&self) -> Result<u64, StoreError> {
        let safe = self.db.get(SAFE).map_err(|e| failed(&e))?;
        let bytes = safe.and_then(|safe| safe.first_chunk().copied());
        Ok(bytes.map_or(0, u64::from_le_bytes))
    }

    /// Makes everything written before durable. `safe` is kept with it.
    pub(super) fn flush(&self, safe: u64) -> Result<(), StoreError> {
        self.db
            .insert(SAFE, &safe.to_le_bytes())
            .and_then(|_| self.db.flush())
            .map_err(|e| failed(&e))?;
        self.file
            .sync_data()
            .map_err(|e| StoreError(format!("flushing the database of the history failed: {e}")))
    }

    /// The head of a stream.
    pub(super) fn head(&self, stream: StreamId) -> Result<Head, StoreError> {
        let value = self.db.get(head_key(stream)).map_err(|e| failed(&e))?;
        value.map_or_else(
            || Ok(Head::default()),
            |value| postcard::from_bytes(&value).map_err(|_| damaged(stream, "the head")),
        )
    }

    /// Every stream that has a head.
    pub(super) fn streams(&self) -> impl Iterator<Item = Result<StreamId, StoreError>> {
        let keys = self.db.scan_prefix([HEAD]).keys();
        keys.map(|key| {
            let key = key.map_err(|e| failed(&e))?;
            let id = key.get(1..).and_then(|id| id.first_chunk().copied());
            let id = id.ok_or_else(|| StoreError("the history is damaged: a key".to_owned()))?;
            Ok(StreamId(u128::from_be_bytes(id)))
        })
    }

    /// The block with the greatest first id below `id`.
    pub(super) fn block_below(
        &self,
        stream: StreamId,
        id: EventId,
    ) -> Result<Option<Block>, StoreError> {
        let from = block_key(stream, EventId::MIN, 0);
        let mut range = self.db.range(from..block_key(stream, id, 0)).rev();
        // The parts of a large event come before its first, from behind.
        range
            .find_map(|entry| self.block(stream, entry).transpose())
            .transpose()
    }

    /// The block with the smallest first id at or above `id`.
    pub(super) fn block_from(
        &self,
        stream: StreamId,
        id: EventId,
    ) -> Result<Option<Block>, StoreError> {
        let upto = block_key(stream, EventId::MAX, u16::MAX);
        let mut range = self.db.range(block_key(stream, id, 0)..=upto);
        range
            .find_map(|entry| self.block(stream, entry).transpose())
            .transpose()
    }

    /// An entry of the tree as a block; `None` where it is a further part of one.
    fn block(
        &self,
        stream: StreamId,
        entry: sled::Result<(sled::IVec, sled::IVec)>,
    ) -> Result<Option<Block>, StoreError> {
        let (key, value) = entry.map_err(|e| failed(&e))?;
        if !key.ends_with(&[0, 0]) {
            return Ok(None);
        }
        let bad = || damaged(stream, "a block");
        let first = first_of(&key).ok_or_else(bad)?;
        let header = Header::from_bytes(&value).ok_or_else(bad)?;
        let events = if header.parts == 0 {
            block::open(stream, first, &value)
        } else {
            let mut joined = value.to_vec();
            for part in 1..=header.parts {
                let key = block_key(stream, first, part);
                let value = self.db.get(key).map_err(|e| failed(&e))?;
                joined.extend_from_slice(&value.ok_or_else(bad)?);
            }
            block::open(stream, first, &joined)
        };
        let events = events.ok_or_else(bad)?;
        Ok(Some(Block {
            first,
            parts: header.parts,
            events,
        }))
    }

    /// Writes what changes together.
    pub(super) fn apply(&self, change: Change) -> Result<(), StoreError> {
        self.db.apply_batch(change.batch).map_err(|e| failed(&e))
    }
}

/// A block as it was read.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) first: EventId,
    /// Number of values after the first.
    pub(super) parts: u16,
    pub(super) events: Vec<Encoded>,
}

/// What changes together.
#[derive(Debug, Default)]
pub(super) struct Change {
    batch: Batch,
}

impl Change {
    /// Puts `made` in the place of `old`.
    pub(super) fn replace(&mut self, stream: StreamId, old: &[Block], made: Vec<Made>) {
        for block in old {
            for part in 0..=block.parts {
                self.batch.remove(&block_key(stream, block.first, part)[..]);
            }
        }
        // What comes later in a batch holds.
        for block in made {
            for (part, value) in (0..).zip(block.values) {
                self.batch
                    .insert(&block_key(stream, block.first, part)[..], value);
            }
        }
    }

    pub(super) fn head(&mut self, stream: StreamId, head: &Head) {
        let value = postcard::to_stdvec(head).expect("a head is made of plain fields");
        self.batch.insert(&head_key(stream)[..], value);
    }
}

fn open_sled(dir: &Path, cache_bytes: u64) -> sled::Result<Db> {
    sled::Config::new()
        .path(dir)
        .cache_capacity(cache_bytes)
        .flush_every_ms(Some(SLED_FLUSH_MS))
        .open()
}

/// sled gives its lock back a while after it was dropped.
fn open_patiently(dir: &Path, cache_bytes: u64) -> sled::Result<Db> {
    let began = Instant::now();
    loop {
        match open_sled(dir, cache_bytes) {
            Err(sled::Error::Io(e))
                if e.to_string().contains("could not acquire lock")
                    && began.elapsed() < LOCK_PATIENCE =>
            {
                thread::sleep(Duration::from_millis(10));
            }
            other => return other,
        }
    }
}

fn snapshots(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("snap.") {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// sled takes a snapshot that it had not finished for the newest one.
fn remove_half_written(dir: &Path) -> io::Result<()> {
    if !dir.exists() {
        return Ok(());
    }
    for path in snapshots(dir)? {
        if path.extension().is_some_and(|ext| ext == "generating") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// A snapshot is only a cache of the log: a damaged one is laid aside, and laid back where the
/// database does not open without it either.
fn open_without_snapshot(dir: &Path, cache_bytes: u64) -> Result<Db, DatabaseError> {
    let aside = dir.with_extension("snapshots");
    fs::create_dir_all(&aside)?;
    let mut moved = Vec::new();
    for path in snapshots(dir)? {
        let to = aside.join(path.file_name().expect("it was listed by its name"));
        fs::rename(&path, &to)?;
        moved.push((path, to));
    }
    open_patiently(dir, cache_bytes).or_else(|e| {
        for (path, to) in moved {
            fs::rename(to, path)?;
        }
        // It may hold snapshots that were laid aside before, and does no harm.
        let _ = fs::remove_dir(&aside);
        Err(e.into())
    })
}

/// Makes durable what opening wrote.
fn sync_all_below(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        File::open(path)?.sync_all()?;
    }
    sync_dir(dir)?;
    dir.parent().map_or(Ok(()), sync_dir)
}
