//! The bytes of a journal file. All numbers are little-endian.
//!
//! | file header | 64 bytes |
//! | --- | --- |
//! | 0 | magic `chwgjrnl` |
//! | 8 | format version, `u32`; 4 bytes of zero |
//! | 16 | store id, `u128` |
//! | 32 | number of this file, `u64`: one above the one before it |
//! | 40 | sequence number of its first record, `u64` |
//! | 48 | newest stamp of all events before it, `u64` |
//! | 56 | 4 bytes of zero; CRC-32 of the 60 bytes before, `u32` |
//!
//! | record | 40 bytes and its entries, padded with zeroes to a multiple of 8 |
//! | --- | --- |
//! | 0 | magic `CHWR` |
//! | 4 | CRC-32 of all after it, `u32` |
//! | 8 | bytes of entries, `u32` |
//! | 12 | number of entries, `u32` |
//! | 16 | sequence number, `u64` |
//! | 24 | store id, `u128`: it is random, so nobody can write a body that reads as a record |
//!
//! An entry is a byte 0, a `u32` length and an encoded event; or a byte 1 and a stream id, `u128`:
//! that stream is listed.

use bytes::Bytes;
use mesh::id::StreamId;
use mesh::time::Stamp;

pub(super) const FILE_HEADER: usize = 64;
pub(super) const RECORD_HEADER: usize = 40;
pub(super) const ALIGN: usize = 8;
/// Bytes before an event in a record.
pub(super) const EVENT_PREFIX: usize = 5;
/// The version of this format.
pub(super) const VERSION: u32 = 1;

const FILE_MAGIC: &[u8; 8] = b"chwgjrnl";
pub(super) const RECORD_MAGIC: &[u8; 4] = b"CHWR";
const EVENT: u8 = 0;
const LIST: u8 = 1;

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn u128_at(bytes: &[u8], at: usize) -> u128 {
    u128::from_le_bytes(bytes[at..at + 16].try_into().expect("sixteen bytes"))
}

/// What a file says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileHeader {
    pub(super) store: u128,
    pub(super) number: u64,
    pub(super) first: u64,
    pub(super) newest: Stamp,
}

impl FileHeader {
    pub(super) fn to_bytes(self) -> [u8; FILE_HEADER] {
        let mut bytes = [0; FILE_HEADER];
        bytes[..8].copy_from_slice(FILE_MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.store.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.number.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.first.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.newest.0.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// `None` where this is no header; the version is checked by whoever reads the marker.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..FILE_HEADER)?;
        let valid = bytes.starts_with(FILE_MAGIC)
            && u32_at(bytes, 60) == crc32fast::hash(&bytes[..60])
            && u32_at(bytes, 8) == VERSION;
        valid.then(|| Self {
            store: u128_at(bytes, 16),
            number: u64_at(bytes, 32),
            first: u64_at(bytes, 40),
            newest: Stamp(u64_at(bytes, 48)),
        })
    }
}

/// The head of a record whose content has not been checked.
#[derive(Debug, Clone, Copy)]
pub(super) struct RecordHead {
    pub(super) crc: u32,
    /// Bytes of entries.
    pub(super) len: usize,
    pub(super) entries: u32,
    pub(super) sequence: u64,
}

impl RecordHead {
    /// `None` where this is no record of that store.
    pub(super) fn from_bytes(bytes: &[u8], store: u128) -> Option<Self> {
        let bytes = bytes.get(..RECORD_HEADER)?;
        let valid = bytes.starts_with(RECORD_MAGIC) && u128_at(bytes, 24) == store;
        valid.then(|| Self {
            crc: u32_at(bytes, 4),
            len: u32_at(bytes, 8) as usize,
            entries: u32_at(bytes, 12),
            sequence: u64_at(bytes, 16),
        })
    }

    /// Bytes that the record takes in its file.
    pub(super) fn size(&self) -> usize {
        (RECORD_HEADER + self.len).next_multiple_of(ALIGN)
    }
}

/// Whether the bytes of a whole record are as they were written.
pub(super) fn is_intact(record: &[u8], head: &RecordHead) -> bool {
    record
        .get(8..RECORD_HEADER + head.len)
        .is_some_and(|checked| crc32fast::hash(checked) == head.crc)
}

pub(super) fn put_event(bytes: &mut Vec<u8>, event: &[u8]) {
    let len = u32::try_from(event.len()).expect("an event is below the size of a record");
    bytes.push(EVENT);
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(event);
}

pub(super) fn put_list(bytes: &mut Vec<u8>, stream: StreamId) {
    bytes.push(LIST);
    bytes.extend_from_slice(&stream.0.to_le_bytes());
}

/// Writes the header of a record, whose place is at the front of `bytes`, and pads it.
pub(super) fn finish(bytes: &mut Vec<u8>, entries: u32, sequence: u64, store: u128) {
    let len = bytes.len() - RECORD_HEADER;
    bytes[..4].copy_from_slice(RECORD_MAGIC);
    let short = u32::try_from(len).expect("a record is below the size of a file");
    bytes[8..12].copy_from_slice(&short.to_le_bytes());
    bytes[12..16].copy_from_slice(&entries.to_le_bytes());
    bytes[16..24].copy_from_slice(&sequence.to_le_bytes());
    bytes[24..40].copy_from_slice(&store.to_le_bytes());
    let crc = crc32fast::hash(&bytes[8..]);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    bytes.resize((RECORD_HEADER + len).next_multiple_of(ALIGN), 0);
}

/// One thing that a record holds.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) enum Entry {
    /// An event, as encoded.
    Event(Bytes),
    /// A stream is listed.
    List(StreamId),
}

/// The entries of a record that is intact; `None` where they do not parse all the same.
pub(super) fn entries(record: &[u8], head: &RecordHead) -> Option<Vec<Entry>> {
    let mut rest = record.get(RECORD_HEADER..RECORD_HEADER + head.len)?;
    let mut entries = Vec::new();
    while let Some((kind, after)) = rest.split_first() {
        match *kind {
            EVENT => {
                let len = u32::from_le_bytes(*after.first_chunk()?) as usize;
                let event = after.get(4..4 + len)?;
                entries.push(Entry::Event(Bytes::copy_from_slice(event)));
                rest = &after[4 + len..];
            }
            LIST => {
                let stream = u128::from_le_bytes(*after.first_chunk()?);
                entries.push(Entry::List(StreamId(stream)));
                rest = &after[16..];
            }
            _ => return None,
        }
    }
    (entries.len() == head.entries as usize).then_some(entries)
}
