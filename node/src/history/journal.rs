//! The journal: what has just been written, in preallocated files that are used over and over.
//!
//! One record per commit, one `fdatasync`, then it is durable. A file begins with a header (which
//! store, which number, the first record's sequence number, the newest stamp of all records before)
//! that is flushed before the first record; then records follow, aligned to eight bytes. Each record
//! carries its sequence number, one above the one before; so the old content of a file that is used
//! again is told from new content by its numbers. A file whose records are all folded, before a
//! flush of the database began that has since succeeded, is used again.
//!
//! What is read at the start: see [`replay`].

mod format;
mod replay;

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use mesh::id::StreamId;
use mesh::time::Stamp;

pub(super) use format::Entry;
use format::{ALIGN, FILE_HEADER, FileHeader, RECORD_HEADER};
pub(super) use replay::{Damage, Replay, Replayed};

/// How far ahead of its end a new file is filled with zeroes, bytes: a write to allocated but
/// never written space costs the file system a transaction at each flush, and one per MiB is not
/// felt.
const FILL_STEP: u64 = 1024 * 1024;

/// The largest payload of one record, bytes, where a file can hold it.
pub(super) const RECORD_MAX: usize = 1024 * 1024;

/// The files of a journal, and the end of the newest, where records are appended.
#[derive(Debug)]
pub(super) struct Journal {
    dir: PathBuf,
    store: u128,
    file_bytes: u64,
    files_max: usize,
    /// Files with records that may be needed, oldest first; the last is written to.
    used: VecDeque<Used>,
    /// Files that hold nothing.
    spare: Vec<PathBuf>,
    file: File,
    /// Where the next record goes.
    end: u64,
    /// Up to here the file was written before.
    filled: u64,
    /// The sequence number of the next record.
    next: u64,
    /// The newest stamp of all events ever journalled.
    newest: Stamp,
}

#[derive(Debug)]
struct Used {
    path: PathBuf,
    number: u64,
    /// The sequence number of its last record; of the last before it where it has none.
    last: u64,
}

/// Whether there is a file to write to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ready {
    /// There is.
    Yes,
    /// All files are in use, and the oldest is needed until all up to this sequence number is
    /// folded and flushed.
    Wait(u64),
    /// The disk is full.
    Full,
}

/// A record being put together: its header's place, then entries.
#[derive(Debug, Default)]
pub(super) struct Record {
    bytes: Vec<u8>,
    entries: u32,
}

impl Record {
    /// Empties it.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.resize(RECORD_HEADER, 0);
        self.entries = 0;
    }

    /// Adds an event, as encoded.
    pub(super) fn event(&mut self, bytes: &[u8]) {
        format::put_event(&mut self.bytes, bytes);
        self.entries += 1;
    }

    /// Adds the mark that a stream is listed.
    pub(super) fn list(&mut self, stream: StreamId) {
        format::put_list(&mut self.bytes, stream);
        self.entries += 1;
    }

    /// Bytes, with its header.
    pub(super) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it holds nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.entries == 0
    }
}

/// How many bytes of payload an event of that encoded length takes.
pub(super) fn event_size(encoded: usize) -> usize {
    format::EVENT_PREFIX + encoded
}

impl Journal {
    /// The sequence number that the next record gets.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// The newest stamp of all events ever journalled.
    pub(super) fn newest(&self) -> Stamp {
        self.newest
    }

    /// How many files hold records.
    pub(super) fn files(&self) -> usize {
        self.used.len()
    }

    /// The most bytes that the entries of one record may take.
    pub(super) fn payload_max(&self) -> usize {
        let file = self.file_bytes as usize - FILE_HEADER - RECORD_HEADER - ALIGN;
        file.min(RECORD_MAX)
    }

    /// The last sequence number of the oldest file, where that is not the one written to: once all
    /// up to it is folded and flushed, the file can be used again.
    pub(super) fn oldest_needs(&self) -> Option<u64> {
        (self.used.len() > 1).then(|| self.used[0].last)
    }

    /// The size of a file, bytes.
    pub(super) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// How many bytes of entries the next record may have in the present file.
    pub(super) fn room(&self) -> usize {
        // The files may have been larger in an earlier life of the node.
        let left = self.file_bytes.saturating_sub(self.end) as usize;
        left.saturating_sub(RECORD_HEADER + ALIGN).min(RECORD_MAX)
    }

    /// Makes sure that an entry of that size fits, if any file can hold it. Everything up to `safe`
    /// is folded and flushed.
    pub(super) fn prepare(&mut self, size: usize, safe: u64) -> io::Result<Ready> {
        if size <= self.room() || size > self.payload_max() {
            return Ok(Ready::Yes);
        }
        self.roll(safe)
    }

    /// Goes on in another file: the oldest, if nothing in it is needed, or a new one.
    fn roll(&mut self, safe: u64) -> io::Result<Ready> {
        let oldest = &self.used[0];
        let (path, filled) = if self.used.len() > 1 && oldest.last <= safe {
            let oldest = self.used.pop_front().expect("there are two at least");
            (oldest.path, self.file_bytes)
        } else if self.used.len() >= self.files_max {
            return Ok(Ready::Wait(oldest.last));
        } else if let Some(path) = self.spare.pop() {
            (path, FILE_HEADER as u64)
        } else {
            (self.new_path(), FILE_HEADER as u64)
        };
        match self.begin(path.clone(), filled) {
            Ok(()) => Ok(Ready::Yes),
            Err(e) if e.kind() == io::ErrorKind::StorageFull => {
                self.spare.push(path);
                Ok(Ready::Full)
            }
            Err(e) => Err(e),
        }
    }

    /// The first name that no file has.
    fn new_path(&self) -> PathBuf {
        (0..)
            .map(|n: u32| self.dir.join(format!("{n:02}.journal")))
            .find(|path| !path.exists())
            .expect("there are few files and many names")
    }

    /// Makes a file the newest. Its header is durable before any record of it is written.
    fn begin(&mut self, path: PathBuf, filled: u64) -> io::Result<()> {
        let file = allocate(&path, self.file_bytes)?;
        let number = self.used.back().map_or(1, |used| used.number + 1);
        let header = FileHeader {
            store: self.store,
            number,
            first: self.next,
            newest: self.newest,
        };
        file.write_all_at(&header.to_bytes(), 0)?;
        file.sync_all()?;
        sync_dir(&self.dir)?;
        self.used.push_back(Used {
            path,
            number,
            last: self.next - 1,
        });
        self.file = file;
        self.end = FILE_HEADER as u64;
        self.filled = filled;
        Ok(())
    }

    /// Writes the record and flushes it: once this returns, it is durable. `newest`: the newest
    /// stamp of its events. The record is emptied.
    pub(super) fn append(&mut self, record: &mut Record, newest: Stamp) -> io::Result<u64> {
        let sequence = self.next;
        format::finish(&mut record.bytes, record.entries, sequence, self.store);
        let after = self.end + record.bytes.len() as u64;
        assert!(after <= self.file_bytes, "the caller asked whether it fits");
        self.file.write_all_at(&record.bytes, self.end)?;
        if after > self.filled {
            let upto = (after + FILL_STEP).min(self.file_bytes);
            let zeroes = vec![0; (upto - after) as usize];
            self.file.write_all_at(&zeroes, after)?;
            self.filled = upto;
        }
        self.file.sync_data()?;
        self.end = after;
        self.next += 1;
        self.newest = self.newest.max(newest);
        self.used.back_mut().expect("one is written to").last = sequence;
        record.clear();
        Ok(sequence)
    }
}

/// Opens or makes a file of that size, its space reserved.
fn allocate(path: &Path, bytes: u64) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) => {}
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => fill(&file, bytes)?,
        Err(e) => return Err(e.into()),
    }
    Ok(file)
}

/// Writes zeroes where the file is too short: for file systems that cannot reserve space.
fn fill(file: &File, bytes: u64) -> io::Result<()> {
    let zeroes = vec![0; FILL_STEP as usize];
    let mut at = file.metadata()?.len();
    while at < bytes {
        let step = (bytes - at).min(FILL_STEP);
        file.write_all_at(&zeroes[..step as usize], at)?;
        at += step;
    }
    Ok(())
}

/// Makes creations and renames in a directory durable.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests;
