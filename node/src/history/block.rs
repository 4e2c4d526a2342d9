//! Blocks: runs of consecutive events as values of the database.
//!
//! Up to 8 KiB of events go together, compressed (lz4); a value stays below 7 KiB, for sled puts
//! larger pages into files that it never flushes. A larger event stands alone, in parts. The first
//! part begins with a header, all numbers little-endian:
//!
//! | 0 | CRC-32 of stream, first id and all bytes after this field in all parts, `u32` |
//! | --- | --- |
//! | 4 | form of the block: 1 |
//! | 5 | one byte of zero; number of further parts, `u16` |
//! | 8 | number of events, `u32` |
//! | 12 | bytes of events before compression, `u32` |
//! | 16 | digest: XOR of the mixed ids, `u64` |
//! | 24 | last id, `u128` |
//!
//! The events follow, compressed: of each a `u32` length and its encoding.

use bytes::Bytes;
use mesh::event::{Event, SharedEvent};
use mesh::id::{EventId, StreamId};

/// The most bytes of a value: sixteen of them on one page stay below the 128 KiB above which sled
/// moves a page to a file of its own.
const VALUE_MAX: usize = 7 * 1024 - 1;

const HEADER: usize = 40;
const FORM: u8 = 1;
const EVENT_PREFIX: usize = 4;

/// An event as the store keeps it: its encoding, and its id beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Encoded {
    pub(super) id: EventId,
    pub(super) bytes: Bytes,
}

impl Encoded {
    /// From an encoding that was read; `None` where it does not begin with an id.
    pub(super) fn read(bytes: Bytes) -> Option<Self> {
        let (id, _) = postcard::take_from_bytes(&bytes).ok()?;
        Some(Self { id, bytes })
    }

    /// The event itself; `None` where it is damaged.
    pub(super) fn decode(&self) -> Option<SharedEvent> {
        postcard::from_bytes::<Event>(&self.bytes)
            .ok()
            .map(Into::into)
    }

    /// Bytes that it takes in a block before compression.
    pub(super) fn raw(&self) -> usize {
        EVENT_PREFIX + self.bytes.len()
    }
}

/// What the header of a block says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    crc: u32,
    /// Number of values after the first.
    pub(super) parts: u16,
    /// Number of events.
    pub(super) count: u32,
    raw: u32,
    /// XOR of the mixed ids.
    pub(super) digest: u64,
    /// The greatest id.
    pub(super) last: EventId,
}

impl Header {
    /// `None` where this is no block.
    pub(super) fn from_bytes(value: &[u8]) -> Option<Self> {
        let field = |at: usize| value.get(at..).and_then(|rest| rest.first_chunk::<4>());
        (value.len() >= HEADER && value[4] == FORM).then_some(())?;
        Some(Self {
            crc: u32::from_le_bytes(*field(0)?),
            parts: u16::from_le_bytes([value[6], value[7]]),
            count: u32::from_le_bytes(*field(8)?),
            raw: u32::from_le_bytes(*field(12)?),
            digest: u64::from_le_bytes(*value[16..].first_chunk()?),
            last: EventId::from_u128(u128::from_le_bytes(*value[24..].first_chunk()?)),
        })
    }
}

/// A block that was made: what goes into the database.
#[derive(Debug)]
pub(super) struct Made {
    /// The smallest id: its key.
    pub(super) first: EventId,
    /// Bytes of events before compression.
    pub(super) raw: usize,
    /// The value of each part.
    pub(super) values: Vec<Vec<u8>>,
}

/// How events are dealt out to blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fill {
    /// Full blocks, and one with the rest: at the end of a stream, where more will come.
    Full,
    /// Blocks of about equal size: in the middle, where each may have to take in late events.
    Even,
}

/// Makes blocks of events in rising order of ids. `limit`: bytes of events per block before
/// compression.
pub(super) fn make(stream: StreamId, events: &[Encoded], limit: usize, fill: Fill) -> Vec<Made> {
    let mut blocks = Vec::new();
    for run in runs(events, limit) {
        let target = match fill {
            Fill::Full => limit,
            Fill::Even => {
                let raw: usize = run.iter().map(Encoded::raw).sum();
                raw.div_ceil(raw.div_ceil(limit).max(1))
            }
        };
        let mut rest = run;
        while !rest.is_empty() {
            let (block, taken) = make_first(stream, rest, target, fill);
            blocks.push(block);
            rest = &rest[taken..];
        }
    }
    blocks
}

/// Splits off the events that are too large to share a block.
fn runs(events: &[Encoded], limit: usize) -> Vec<&[Encoded]> {
    let large = |event: &Encoded| event.raw() > limit;
    events.chunk_by(|a, b| !large(a) && !large(b)).collect()
}

/// A block of the first events, about `target` bytes of them, and how many went into it.
fn make_first(stream: StreamId, events: &[Encoded], target: usize, fill: Fill) -> (Made, usize) {
    let mut raw = 0;
    let fitting = events.iter().take_while(|event| {
        raw += event.raw();
        raw <= target
    });
    let mut taken = fitting.count().max(1);
    loop {
        let bytes = pack(&events[..taken]);
        if bytes.len() <= VALUE_MAX || taken == 1 {
            return (finish(stream, &events[..taken], bytes), taken);
        }
        // It compressed badly.
        let fewer = match fill {
            Fill::Full => taken * VALUE_MAX / bytes.len(),
            Fill::Even => taken.div_ceil(2),
        };
        taken = fewer.clamp(1, taken - 1);
    }
}

/// Room for a header, and events, compressed.
fn pack(events: &[Encoded]) -> Vec<u8> {
    let raw: usize = events.iter().map(Encoded::raw).sum();
    let mut plain = Vec::with_capacity(raw);
    for event in events {
        plain.extend_from_slice(&narrow(event.bytes.len()).to_le_bytes());
        plain.extend_from_slice(&event.bytes);
    }
    let mut bytes = vec![0; HEADER + lz4_flex::block::get_maximum_output_size(raw)];
    let packed = lz4_flex::block::compress_into(&plain, &mut bytes[HEADER..])
        .expect("the output is as large as it can get");
    bytes.truncate(HEADER + packed);
    bytes
}

fn finish(stream: StreamId, events: &[Encoded], mut bytes: Vec<u8>) -> Made {
    let (first, last) = (events[0].id, events[events.len() - 1].id);
    let raw = events.iter().map(Encoded::raw).sum();
    let further = bytes.len().div_ceil(VALUE_MAX) - 1;
    let further = u16::try_from(further).expect("an event has few parts");
    let digest = events
        .iter()
        .fold(0, |digest, event| digest ^ event.id.mix());
    bytes[4] = FORM;
    bytes[6..8].copy_from_slice(&further.to_le_bytes());
    bytes[8..12].copy_from_slice(&narrow(events.len()).to_le_bytes());
    bytes[12..16].copy_from_slice(&narrow(raw).to_le_bytes());
    bytes[16..24].copy_from_slice(&digest.to_le_bytes());
    bytes[24..40].copy_from_slice(&last.to_u128().to_le_bytes());
    let crc = checksum(stream, first, &bytes[4..]);
    bytes[..4].copy_from_slice(&crc.to_le_bytes());
    Made {
        first,
        raw,
        values: bytes.chunks(VALUE_MAX).map(<[u8]>::to_vec).collect(),
    }
}

fn narrow(n: usize) -> u32 {
    u32::try_from(n).expect("a block is below the size of a record")
}

fn checksum(stream: StreamId, first: EventId, rest: &[u8]) -> u32 {
    let mut hash = crc32fast::Hasher::new();
    hash.update(&stream.0.to_le_bytes());
    hash.update(&first.to_u128().to_le_bytes());
    hash.update(rest);
    hash.finalize()
}

/// The events of a block, whose parts are joined in `bytes`; `None` where it is damaged.
pub(super) fn open(stream: StreamId, first: EventId, bytes: &[u8]) -> Option<Vec<Encoded>> {
    let header = Header::from_bytes(bytes)?;
    (header.crc == checksum(stream, first, &bytes[4..])).then_some(())?;
    let plain = lz4_flex::block::decompress(&bytes[HEADER..], header.raw as usize).ok()?;
    let plain = Bytes::from(plain);
    let mut events = Vec::with_capacity(header.count as usize);
    let mut at = 0;
    while at < plain.len() {
        let len = u32::from_le_bytes(*plain[at..].first_chunk()?) as usize;
        at += EVENT_PREFIX;
        (at + len <= plain.len()).then_some(())?;
        events.push(Encoded::read(plain.slice(at..at + len))?);
        at += len;
    }
    (events.len() == header.count as usize).then_some(events)
}

#[cfg(test)]
mod tests;
