//! Reading a journal at the start: every record in order, and where it ends.
//!
//! Records follow each other by their sequence numbers, within a file and from file to file. The
//! first place where the next number is not found is the end, for a record that was being written
//! when the node died is the last there is. But if any record with a *higher* number stands
//! anywhere behind, something in the middle is damaged: that is said, and nothing is changed.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use mesh::time::Stamp;

use super::format::{self, ALIGN, Entry, FILE_HEADER, FileHeader, RECORD_HEADER, RecordHead};
use super::{Journal, Used, allocate};

/// How much of a file is read at a time, bytes.
const WINDOW: usize = 4 * 1024 * 1024;

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub(in super::super) enum Damage {
    /// The disk said so.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Something is missing or damaged between records that are there.
    #[error("journal record {missing} is unreadable in {} although later ones are there", file.display())]
    Gap {
        /// The number that was expected.
        missing: u64,
        /// Where.
        file: PathBuf,
    },
    /// A record is intact and yet cannot be read.
    #[error("journal record {sequence} in {} is of an unknown form", file.display())]
    Unknown {
        /// Which.
        sequence: u64,
        /// Where.
        file: PathBuf,
    },
    /// There is no journal at all.
    #[error("there is no journal file in {}", .0.display())]
    Missing(PathBuf),
}

/// A journal being read.
#[derive(Debug)]
pub(in super::super) struct Replay {
    dir: PathBuf,
    store: u128,
    file_bytes: u64,
    files_max: usize,
    /// Those with a header, by number.
    files: Vec<(FileHeader, PathBuf)>,
    spare: Vec<PathBuf>,
}

/// One record read.
#[derive(Debug)]
pub(in super::super) struct Replayed {
    /// Its sequence number.
    pub(in super::super) sequence: u64,
    /// What it holds.
    pub(in super::super) entries: Vec<Entry>,
}

impl Journal {
    /// Makes the journal of a new store in a directory that exists.
    pub(in super::super) fn create(dir: &Path, store: u128, file_bytes: u64) -> io::Result<()> {
        let path = dir.join("00.journal");
        let file = allocate(&path, file_bytes)?;
        let header = FileHeader {
            store,
            number: 1,
            first: 1,
            newest: Stamp(0),
        };
        file.write_all_at(&header.to_bytes(), 0)?;
        file.sync_all()?;
        super::sync_dir(dir)
    }
}

impl Replay {
    /// Looks at the files of a journal.
    pub(in super::super) fn open(
        dir: &Path,
        store: u128,
        file_bytes: u64,
        files_max: usize,
    ) -> Result<Self, Damage> {
        let mut replay = Self {
            dir: dir.to_owned(),
            store,
            file_bytes,
            files_max,
            files: Vec::new(),
            spare: Vec::new(),
        };
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|ext| ext == "journal") {
                let mut head = [0; FILE_HEADER];
                let read = File::open(&path)?.read_at(&mut head, 0)?;
                match FileHeader::from_bytes(&head[..read]) {
                    Some(header) if header.store == store => replay.files.push((header, path)),
                    _ => replay.spare.push(path),
                }
            }
        }
        if replay.files.is_empty() {
            return Err(Damage::Missing(replay.dir));
        }
        replay.files.sort_by_key(|(header, _)| header.number);
        Ok(replay)
    }

    /// The sequence number of the oldest record that is there.
    pub(in super::super) fn first(&self) -> u64 {
        self.files[0].0.first
    }

    /// The newest stamp of all events before the oldest record that is there.
    pub(in super::super) fn newest_before(&self) -> Stamp {
        self.files[0].0.newest
    }

    /// Gives every record to `each`, in order, and ends with the journal ready to be appended to.
    /// `newest`: the newest stamp of the events of one record, found by `each`.
    pub(in super::super) fn run<E: From<Damage>>(
        self,
        mut each: impl FnMut(Replayed) -> Result<Stamp, E>,
    ) -> Result<Journal, E> {
        let mut next = self.first();
        let mut newest = self.newest_before();
        let mut used = Vec::new();
        let mut end = FILE_HEADER as u64;
        for (header, path) in &self.files {
            if header.first != next {
                return Err(gap(next, path).into());
            }
            newest = newest.max(header.newest);
            let mut window = Window::open(path).map_err(Damage::from)?;
            end = FILE_HEADER as u64;
            while let Some((head, record)) = window
                .record(end, self.store, |sequence| sequence == next)
                .map_err(Damage::from)?
            {
                let entries = format::entries(record, &head).ok_or_else(|| Damage::Unknown {
                    sequence: next,
                    file: path.clone(),
                })?;
                let sequence = next;
                newest = newest.max(each(Replayed { sequence, entries })?);
                end += head.size() as u64;
                next += 1;
            }
            self.expect_nothing_above(next, path, end)?;
            used.push(Used {
                path: path.clone(),
                number: header.number,
                last: next - 1,
            });
        }
        for path in &self.spare {
            self.expect_nothing_above(next, path, 0)?;
        }
        self.finish(used, end, next, newest)
            .map_err(|e| Damage::from(e).into())
    }

    /// Looks for a record with a higher number than the one that is not there.
    fn expect_nothing_above(&self, missing: u64, path: &Path, from: u64) -> Result<(), Damage> {
        let mut window = Window::open(path)?;
        let mut from = from;
        while let Some(at) = window.find_magic(from)? {
            let found = at.is_multiple_of(ALIGN as u64)
                && window
                    .record(at, self.store, |sequence| sequence > missing)?
                    .is_some();
            if found {
                return Err(gap(missing, path));
            }
            from = at + 1;
        }
        Ok(())
    }

    fn finish(self, used: Vec<Used>, end: u64, next: u64, newest: Stamp) -> io::Result<Journal> {
        let last = &used.last().expect("a journal has a file").path;
        Ok(Journal {
            file: allocate(last, self.file_bytes)?,
            dir: self.dir,
            store: self.store,
            file_bytes: self.file_bytes,
            files_max: self.files_max,
            used: used.into(),
            spare: self.spare,
            end,
            // Whether what is behind was ever written is not known.
            filled: end,
            next,
            newest,
        })
    }
}

fn gap(missing: u64, file: &Path) -> Damage {
    Damage::Gap {
        missing,
        file: file.to_owned(),
    }
}

/// A file that is read from front to back, a window at a time.
struct Window {
    file: File,
    len: u64,
    /// Where in the file the buffer begins.
    start: u64,
    buffer: Vec<u8>,
}

impl Window {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        Ok(Self {
            len: file.metadata()?.len(),
            file,
            start: 0,
            buffer: Vec::new(),
        })
    }

    /// The bytes there; `None` where the file ends before.
    fn bytes(&mut self, at: u64, len: usize) -> io::Result<Option<&[u8]>> {
        if at + len as u64 > self.len {
            return Ok(None);
        }
        let inside = at >= self.start && at + len as u64 <= self.start + self.buffer.len() as u64;
        if !inside {
            let read = (self.len - at).min(len.max(WINDOW) as u64);
            self.buffer.resize(read as usize, 0);
            self.file.read_exact_at(&mut self.buffer, at)?;
            self.start = at;
        }
        let offset = (at - self.start) as usize;
        Ok(Some(&self.buffer[offset..offset + len]))
    }

    /// Where the next record may begin, at `from` or behind.
    fn find_magic(&mut self, mut from: u64) -> io::Result<Option<u64>> {
        loop {
            let len = self.len.saturating_sub(from).min(WINDOW as u64) as usize;
            let Some(bytes) = self.bytes(from, len)?.filter(|_| len >= RECORD_HEADER) else {
                return Ok(None);
            };
            if let Some(offset) = memchr::memmem::find(bytes, format::RECORD_MAGIC) {
                return Ok(Some(from + offset as u64));
            }
            // The windows overlap, for the magic may lie across their border.
            from += (len - RECORD_HEADER + 1) as u64;
        }
    }

    /// The intact record there, if its sequence number is wanted.
    fn record(
        &mut self,
        at: u64,
        store: u128,
        wanted: impl Fn(u64) -> bool,
    ) -> io::Result<Option<(RecordHead, &[u8])>> {
        let Some(bytes) = self.bytes(at, RECORD_HEADER)? else {
            return Ok(None);
        };
        let Some(head) = RecordHead::from_bytes(bytes, store) else {
            return Ok(None);
        };
        if !wanted(head.sequence) {
            return Ok(None);
        }
        let record = self.bytes(at, RECORD_HEADER + head.len)?;
        Ok(record
            .filter(|record| format::is_intact(record, &head))
            .map(|record| (head, record)))
    }
}
