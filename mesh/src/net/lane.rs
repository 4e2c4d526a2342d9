//! One lane of a link: the task of the one that writes it, and of the one that reads it.

use futures_util::{AsyncReadExt, AsyncWriteExt};
use libp2p::Stream;
use tokio::time::timeout;

use super::link::End;
use super::links::Links;
use super::outbox::{BATCH, KEPT, Outbox};
use crate::id::LinkId;
use crate::proto::Input;
use crate::wire::{self, DecodeError, Envelope, Lane};

/// A reader's buffer at rest, bytes; it grows to [`KEPT`] under load, and to one frame where that is
/// longer.
const READ: usize = 8 * 1024;
/// Writes what waits in an outbox, as much at once as there is, until the outbox is closed.
pub(crate) async fn write(links: &Links, outbox: &Outbox, mut stream: Stream) -> Result<(), End> {
    let deadline = links.limits.write_timeout;
    let mut batch = Vec::new();
    while outbox.take(&mut batch).await {
        for chunk in batch.chunks(BATCH) {
            match timeout(deadline, stream.write_all(chunk)).await {
                Ok(result) => result?,
                Err(_) => {
                    links.counters.write_timeouts.one();
                    return Err(End::WriteTimeout(deadline));
                }
            }
            links.counters.batches.one();
            links.counters.bytes_sent.add(chunk.len() as u64);
        }
        batch.clear();
        batch.shrink_to(KEPT);
    }
    Ok(stream.close().await?)
}

/// Hands up the frames of one lane, in order, until the peer closes it.
pub(crate) async fn read(
    links: &Links,
    link: LinkId,
    lane: Lane,
    mut stream: Stream,
) -> Result<(), End> {
    let mut incoming = Incoming::default();
    loop {
        let got = stream.read(incoming.room()).await?;
        if got == 0 {
            return Ok(());
        }
        links.counters.bytes_received.add(got as u64);
        incoming.filled(got);
        while let Some(next) = incoming.next() {
            match next {
                Ok(envelope) => {
                    let input = Input::Frame { link, envelope };
                    let sent = links.inputs.send(input).await;
                    sent.map_err(|_| End::Orphaned)?;
                    links.counters.received.of(lane).one();
                }
                Err(DecodeError::Junk(_)) => links.counters.junk.one(),
                Err(error @ DecodeError::TooLong { .. }) => {
                    links.counters.too_long.one();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::tests::{frame, long_frame};
    use crate::wire::FRAME_MAX;

    fn fill(incoming: &mut Incoming, bytes: &[u8]) -> usize {
        let room = incoming.room();
        let count = room.len().min(bytes.len());
        room[..count].copy_from_slice(&bytes[..count]);
        incoming.filled(count);
        count
    }

    #[test]
    fn frames_are_found_however_their_bytes_arrive() {
        let frames: Vec<_> = (0..5).map(|number| frame(Lane::Data, number)).collect();
        let mut bytes = Vec::new();
        for frame in &frames {
            assert!(wire::encode(frame, &mut bytes));
        }
        for step in [1, 7, bytes.len()] {
            let (mut incoming, mut came) = (Incoming::default(), Vec::new());
            for part in bytes.chunks(step) {
                assert_eq!(fill(&mut incoming, part), part.len());
                came.extend(std::iter::from_fn(|| incoming.next()).map(Result::unwrap));
            }
            assert_eq!(came, frames);
        }
    }

    #[test]
    fn the_buffer_grows_to_one_frame_and_goes_back() {
        let long = long_frame(Lane::Bulk, 1, FRAME_MAX / 2);
        let mut bytes = Vec::new();
        assert!(wire::encode(&long, &mut bytes));
        let mut incoming = Incoming::default();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            rest = &rest[fill(&mut incoming, rest)..];
        }
        assert!(incoming.bytes.len() <= bytes.len() + KEPT);
        assert_eq!(incoming.next(), Some(Ok(long)));
        assert_eq!(incoming.next(), None);
        assert!(!incoming.room().is_empty());
        assert!(incoming.bytes.capacity() <= KEPT);
    }

    #[test]
    fn no_buffer_is_made_for_a_frame_that_is_too_long() {
        let mut incoming = Incoming::default();
        fill(&mut incoming, &[0xff; 4]);
        assert!(matches!(
            incoming.next(),
            Some(Err(DecodeError::TooLong { .. }))
        ));
        assert!(incoming.room().len() <= 2 * READ);
    }
}
