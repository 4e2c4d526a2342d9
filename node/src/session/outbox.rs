//! The bounded queue to one client: complete WebSocket frames, oldest first.
//!
//! Plain data without a socket. Lines that are put in between two writes are gathered into one frame,
//! which spares the client a frame per line; frames that many sessions share are queued by reference
//! count. The bound counts bytes that were put in without asking (live lines, control frames); bulk
//! frames wait for room before they are made, one at a time, and do not count.
//!
//! A client whose socket does not take what is above the bound is too slow: what waits is dropped and
//! the session closes, since a client that is missing something must know it. It resumes.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::Bytes;

use super::frame;

/// Bytes that may wait for a client unasked; more, and it is closed with 4008. Covers about a second
/// of 1,000 short messages on a stalled link. (A choice, as in the measured design.)
pub(crate) const LIVE_MAX: usize = 256 * 1024;

/// Bytes below which a client counts as keeping up: its commands are read again and the next bulk
/// frame may be made.
pub(crate) const LOW_WATER: usize = 64 * 1024;

/// Bytes of a gathered frame; a longer line has a frame of its own. Small enough to be taken from the
/// pool, large enough that a frame's share of the cost is gone.
const GATHERED_MAX: usize = 16 * 1024;

/// Frames that one write call takes.
const SLICES: usize = 16;

/// Slots that an empty queue keeps: what a live conversation uses, without the memory of a burst.
const SLOTS_KEPT: usize = 4;

/// How a frame counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Towards [`LIVE_MAX`].
    Live,
    /// Waited for room; the session is told when it has been taken.
    Bulk,
}

/// Why a session is being closed by the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// With a close frame after what waits.
    Code(u16),
    /// The client does not read: with a close frame instead of what waits.
    TooSlow,
    /// The connection is dead: without a word.
    Dead,
}

/// What became of something that was put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "somebody has to write it"]
pub(crate) enum Queued {
    /// It is the first since the last write: whoever put it in sees to a write.
    ToWrite,
    /// Somebody already sees to a write.
    Waiting,
    /// The bound is passed: the socket has to be offered what waits, at once.
    Over,
    /// The session is ending: dropped.
    Ended,
}

/// What a write came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    /// Everything.
    All,
    /// As much as the socket takes now.
    Blocked,
    /// Nothing: the connection is broken.
    Broken,
}

#[derive(Debug)]
enum Frame {
    /// Made once for many, or by the WebSocket library.
    Shared(Bytes, Class),
    /// This session's lines; complete from `start` on.
    Own {
        buffer: Vec<u8>,
        start: u32,
        class: Class,
    },
}

impl Frame {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Shared(bytes, _) => bytes,
            Self::Own { buffer, start, .. } => &buffer[*start as usize..],
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::Shared(_, class) | Self::Own { class, .. } => *class,
        }
    }
}

/// Buffers for gathered frames, used again: a write per message costs no allocation. The default keeps
/// none.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    buffers: Vec<Vec<u8>>,
    kept: usize,
}

impl Pool {
    /// Keeps up to so many buffers, each of at most [`GATHERED_MAX`] bytes.
    pub(crate) fn keeping(kept: usize) -> Self {
        let buffers = Vec::new();
        Self { buffers, kept }
    }

    fn take(&mut self) -> Vec<u8> {
        let mut buffer = self.buffers.pop().unwrap_or_default();
        buffer.resize(frame::HEADER_MAX, 0);
        buffer
    }

    fn give(&mut self, mut buffer: Vec<u8>) {
        if self.buffers.len() < self.kept && buffer.capacity() <= GATHERED_MAX {
            buffer.clear();
            self.buffers.push(buffer);
        }
    }
}

/// The queue to one client.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: VecDeque<Frame>,
    /// Bytes of the oldest frame that are written.
    written: usize,
    /// Bytes that wait.
    bytes: usize,
    /// Those of them that count towards [`LIVE_MAX`].
    live: usize,
    ending: Option<Ending>,
    /// The newest frame takes further lines: its header is not there yet.
    gathering: bool,
    /// Somebody sees to a write.
    claimed: bool,
    /// The socket takes no more: the connection's task writes when it does.
    blocked: bool,
    /// A bulk frame was put in and the session has not been told of room since.
    bulk: bool,
}

impl Outbox {
    /// Puts in a line of this session's own.
    pub(crate) fn line(&mut self, line: &[u8], class: Class, pool: &mut Pool) -> Queued {
        if self.ending.is_some() {
            return Queued::Ended;
        }
        let added = match self.gathered(line.len(), class) {
            Some(buffer) => {
                buffer.push(b'\n');
                buffer.extend_from_slice(line);
                line.len() + 1
            }
            None => {
                self.seal();
                let mut buffer = pool.take();
                buffer.extend_from_slice(line);
                let added = buffer.len();
                let start = 0;
                self.queue.push_back(Frame::Own {
                    buffer,
                    start,
                    class,
                });
                self.gathering = true;
                added
            }
        };
        self.account(added, class)
    }

    /// Puts in a complete frame that other sessions are given too.
    pub(crate) fn shared(&mut self, frame: Bytes) -> Queued {
        if self.ending.is_some() {
            return Queued::Ended;
        }
        self.append(frame)
    }

    /// Puts in what the WebSocket library writes, also while the session ends: it is the close frame
    /// then.
    pub(crate) fn control(&mut self, bytes: &[u8]) -> Queued {
        self.append(Bytes::copy_from_slice(bytes))
    }

    fn append(&mut self, frame: Bytes) -> Queued {
        self.seal();
        let added = frame.len();
        self.queue.push_back(Frame::Shared(frame, Class::Live));
        self.account(added, Class::Live)
    }

    /// The buffer of the newest frame, where it takes that much more of that class.
    fn gathered(&mut self, line: usize, class: Class) -> Option<&mut Vec<u8>> {
        match self.queue.back_mut() {
            Some(Frame::Own {
                buffer, class: its, ..
            }) if self.gathering && *its == class && buffer.len() + line < GATHERED_MAX => {
                Some(buffer)
            }
            _ => None,
        }
    }

    /// Completes the newest frame.
    fn seal(&mut self) {
        if !std::mem::take(&mut self.gathering) {
            return;
        }
        if let Some(Frame::Own {
            buffer,
            start,
            class,
        }) = self.queue.back_mut()
        {
            let unused = frame::seal(buffer);
            *start = unused as u32;
            self.bytes -= unused;
            if *class == Class::Live {
                self.live -= unused;
            }
        }
    }

    fn account(&mut self, added: usize, class: Class) -> Queued {
        self.bytes += added;
        match class {
            Class::Live => self.live += added,
            Class::Bulk => self.bulk = true,
        }
        if self.is_over() && self.ending.is_none() {
            return Queued::Over;
        }
        if std::mem::replace(&mut self.claimed, true) || self.blocked {
            Queued::Waiting
        } else {
            Queued::ToWrite
        }
    }

    /// Takes nothing more but a close frame. The first reason given stays, unless the connection dies.
    pub(crate) fn end(&mut self, ending: Ending) {
        match self.ending {
            Some(Ending::Dead) => return,
            Some(_) if ending != Ending::Dead => return,
            Some(_) | None => {}
        }
        self.ending = Some(ending);
        match ending {
            Ending::Code(_) => {}
            Ending::TooSlow => {
                // A frame that is half on its way has to be finished for the next to be understood.
                self.seal();
                self.keep(usize::from(self.written > 0));
            }
            Ending::Dead => self.keep(0),
        }
    }

    fn keep(&mut self, frames: usize) {
        self.queue.truncate(frames);
        self.gathering = false;
        self.bytes = self
            .queue
            .front()
            .map_or(0, |frame| frame.bytes().len() - self.written);
        self.live = match self.queue.front().map(Frame::class) {
            Some(Class::Live) => self.bytes,
            Some(Class::Bulk) | None => 0,
        };
    }

    /// Writes what waits, in as few calls as the socket allows.
    pub(crate) fn write(
        &mut self,
        pool: &mut Pool,
        mut write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> Written {
        self.seal();
        self.claimed = false;
        self.blocked = false;
        while !self.queue.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let mut filled = 0;
            for (slice, frame) in slices.iter_mut().zip(&self.queue) {
                let skip = if filled == 0 { self.written } else { 0 };
                *slice = IoSlice::new(&frame.bytes()[skip..]);
                filled += 1;
            }
            match write(&slices[..filled]) {
                Ok(0) => return Written::Broken,
                Ok(written) => self.advance(written, pool),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.blocked = true;
                    return Written::Blocked;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Written::Broken,
            }
        }
        if self.queue.capacity() > SLOTS_KEPT {
            self.queue.shrink_to(SLOTS_KEPT);
        }
        Written::All
    }

    fn advance(&mut self, mut written: usize, pool: &mut Pool) {
        self.bytes -= written;
        while written > 0 {
            let front = self
                .queue
                .front()
                .expect("no more is written than was offered");
            let left = front.bytes().len() - self.written;
            let part = left.min(written);
            if front.class() == Class::Live {
                self.live -= part;
            }
            written -= part;
            if part < left {
                self.written += part;
            } else {
                self.written = 0;
                if let Some(Frame::Own { buffer, .. }) = self.queue.pop_front() {
                    pool.give(buffer);
                }
            }
        }
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether more waits unasked than may.
    pub(crate) fn is_over(&self) -> bool {
        self.live > LIVE_MAX
    }

    /// Whether the client keeps up.
    pub(crate) fn has_room(&self) -> bool {
        self.bytes <= LOW_WATER
    }

    /// Whether the socket takes no more at present.
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Why the session is being closed.
    pub(crate) fn ending(&self) -> Option<Ending> {
        self.ending
    }

    /// In place of a bulk frame.
    pub(crate) fn skip_bulk(&mut self) {
        self.bulk = true;
    }

    /// Whether a bulk frame was put in and there is room again.
    pub(crate) fn is_drained(&self) -> bool {
        self.bulk && self.has_room()
    }

    /// As [`Outbox::is_drained`]; true once per bulk frame.
    pub(crate) fn take_drained(&mut self) -> bool {
        let drained = self.is_drained();
        self.bulk &= !drained;
        drained
    }
}

#[cfg(test)]
mod tests;
