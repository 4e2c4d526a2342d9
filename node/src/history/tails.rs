//! Tails: the events that are in the journal and not in blocks yet, by stream, in memory.
//!
//! A plain value behind one lock. The journal's thread adds, the folding thread takes away what it
//! has put into blocks, readers copy what they need. An event is shown to readers only once its
//! record is durable.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::Bound;

use mesh::event::Event;
use mesh::id::{EventId, StreamId};

use super::block::Encoded;
use super::database::Head;

/// What an event costs besides its encoding, bytes: its entry and what the allocator adds.
const EVENT_COST: usize = 96;

/// What a stream costs besides its events, bytes.
const STREAM_COST: usize = 320;

/// How many streams are known without having anything to fold: their heads need not be read from
/// the database. That many take about 10 MB.
pub(super) const IDLE_MAX: usize = 32_768;

/// All tails, and what of the database is known without asking it.
#[derive(Debug)]
pub(super) struct Tails {
    /// Looked into several times per event; seeded, so that nobody can choose names that collide.
    streams: HashMap<StreamId, Tail, foldhash::quality::RandomState>,
    /// Streams with something to fold, by the oldest journal record that they need.
    oldest: BTreeSet<(u64, StreamId)>,
    /// The same streams by id, and where the last round of folding came to.
    dirty: BTreeSet<StreamId>,
    folded_upto: StreamId,
    /// Streams whose tail is full.
    full: VecDeque<StreamId>,
    /// Bytes of events in these.
    full_sum: usize,
    /// Streams that had nothing to fold when they came here.
    idle: VecDeque<StreamId>,
    /// A tail is full from here on, bytes of events.
    full_bytes: usize,
    bytes: usize,
    /// Every record up to this one is durable.
    durable: u64,
}

/// What is known of one stream.
#[derive(Debug)]
pub(super) struct Tail {
    /// Of the part that is in blocks; `listed` is ahead of the database.
    pub(super) head: Head,
    /// By id.
    events: Vec<Recent>,
    /// Bytes that its events take in blocks.
    raw: usize,
    /// The oldest journal record that it needs.
    needs: Option<u64>,
    /// It is in the list of full ones.
    queued: bool,
    /// It is in the list of idle ones.
    idle: bool,
}

#[derive(Debug)]
struct Recent {
    event: Encoded,
    /// The journal record that holds it.
    sequence: u64,
}

/// A stream to be folded, as it was when it was chosen.
#[derive(Debug)]
pub(super) struct Folding {
    pub(super) stream: StreamId,
    pub(super) head: Head,
    /// By id.
    pub(super) events: Vec<Encoded>,
    /// Everything of the stream in records up to this one is among them.
    pub(super) upto: u64,
}

impl Tail {
    fn position(&self, id: EventId) -> Result<usize, usize> {
        // Events mostly come in order.
        match self.events.last() {
            Some(last) if last.event.id < id => Err(self.events.len()),
            Some(_) | None => self.events.binary_search_by_key(&id, |r| r.event.id),
        }
    }

    /// The event with that id.
    pub(super) fn get(&self, id: EventId) -> Option<&Encoded> {
        self.position(id).ok().map(|i| &self.events[i].event)
    }

    /// Events from an id on, durable or not.
    pub(super) fn from(&self, id: EventId) -> impl Iterator<Item = &Encoded> {
        let start = self.events.partition_point(|recent| recent.event.id < id);
        self.events[start..].iter().map(|recent| &recent.event)
    }

    fn cost(&self) -> usize {
        self.raw + self.events.len() * EVENT_COST
    }
}

impl Tails {
    /// No streams; every record up to `durable` is.
    pub(super) fn new(full_bytes: usize, durable: u64) -> Self {
        Self {
            streams: HashMap::default(),
            oldest: BTreeSet::new(),
            dirty: BTreeSet::new(),
            folded_upto: StreamId(0),
            full: VecDeque::new(),
            full_sum: 0,
            idle: VecDeque::new(),
            full_bytes,
            bytes: 0,
            durable,
        }
    }

    /// What is known of a stream.
    pub(super) fn get(&self, stream: StreamId) -> Option<&Tail> {
        self.streams.get(&stream)
    }

    /// Bytes of all tails, with what they cost.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many streams have something to fold.
    pub(super) fn dirty(&self) -> usize {
        self.oldest.len()
    }

    /// Every record up to this one is durable.
    pub(super) fn durable(&self) -> u64 {
        self.durable
    }

    /// Takes note of a stream's head, as read from the database, unless the stream is known.
    pub(super) fn know(&mut self, stream: StreamId, head: Head) {
        let tail = self.streams.entry(stream).or_insert_with(|| Tail {
            head,
            events: Vec::new(),
            raw: 0,
            needs: None,
            queued: false,
            idle: false,
        });
        if tail.needs.is_none() && !tail.idle {
            tail.idle = true;
            self.idle.push_back(stream);
        }
    }

    /// Forgets the streams that have been idle for longest. Whoever makes streams known calls this
    /// when it has used them.
    pub(super) fn forget_idle(&mut self) {
        while self.idle.len() > IDLE_MAX {
            let Some(stream) = self.idle.pop_front() else {
                return;
            };
            if let Some(tail) = self.streams.get_mut(&stream) {
                tail.idle = false;
                if tail.needs.is_none() {
                    self.streams.remove(&stream);
                }
            }
        }
    }

    /// Adds an event of a known stream, which is in the journal record `sequence`. False: an event
    /// of that id is there.
    pub(super) fn insert(&mut self, stream: StreamId, event: Encoded, sequence: u64) -> bool {
        let tail = self.streams.get_mut(&stream).expect("made known before");
        let Err(at) = tail.position(event.id) else {
            return false;
        };
        let raw = event.raw();
        tail.raw += raw;
        self.bytes += raw + EVENT_COST;
        tail.events.insert(at, Recent { event, sequence });
        if tail.queued {
            self.full_sum += raw;
        } else if tail.raw >= self.full_bytes {
            tail.queued = true;
            self.full.push_back(stream);
            self.full_sum += tail.raw;
        }
        if tail.needs.is_none() {
            self.need(stream, sequence);
        }
        true
    }

    /// Marks a known stream as listed in the journal record `sequence`. False: it was.
    pub(super) fn list(&mut self, stream: StreamId, sequence: u64) -> bool {
        let tail = self.streams.get_mut(&stream).expect("made known before");
        if tail.head.listed {
            return false;
        }
        tail.head.listed = true;
        self.need(stream, sequence);
        true
    }

    fn need(&mut self, stream: StreamId, sequence: u64) {
        let tail = self.streams.get_mut(&stream).expect("made known before");
        if tail.needs.is_none() {
            tail.needs = Some(sequence);
            self.oldest.insert((sequence, stream));
            self.dirty.insert(stream);
            self.bytes += STREAM_COST;
        }
    }

    /// Every record up to this one is durable: its events are shown.
    pub(super) fn set_durable(&mut self, sequence: u64) {
        self.durable = sequence;
    }

    /// Events of a stream between two ids, both exclusive, that are durable.
    pub(super) fn durable_between(
        &self,
        stream: StreamId,
        after: EventId,
        before: EventId,
    ) -> Vec<Encoded> {
        let Some(tail) = self.streams.get(&stream) else {
            return Vec::new();
        };
        let start = tail.events.partition_point(|r| r.event.id <= after);
        tail.events[start..]
            .iter()
            .take_while(|recent| recent.event.id < before)
            .filter(|recent| recent.sequence <= self.durable)
            .map(|recent| recent.event.clone())
            .collect()
    }

    /// The oldest journal record that some tail needs; the first that is not durable where none
    /// does.
    pub(super) fn needed_from(&self) -> u64 {
        self.oldest
            .first()
            .map_or(self.durable + 1, |(sequence, _)| *sequence)
    }

    /// Streams whose tail is full, `max` at the most. Each is given out once.
    pub(super) fn full(&mut self, max: usize) -> Vec<Folding> {
        let mut foldings = Vec::new();
        while foldings.len() < max
            && let Some(stream) = self.full.pop_front()
        {
            let Some(tail) = self.streams.get_mut(&stream) else {
                continue;
            };
            tail.queued = false;
            self.full_sum -= tail.raw;
            // It may have been folded for another reason.
            if tail.raw >= self.full_bytes {
                foldings.extend(self.folding(stream));
            }
        }
        foldings
    }

    /// Bytes of events in full tails.
    pub(super) fn full_sum(&self) -> usize {
        self.full_sum
    }

    /// The streams that need the oldest journal records, `max` at the most, as far as these are
    /// durable.
    pub(super) fn oldest(&self, max: usize) -> Vec<Folding> {
        let oldest = self.oldest.iter().take(max);
        oldest
            .map_while(|(_, stream)| self.folding(*stream))
            .collect()
    }

    /// The next streams in the order of their ids, round and round, `max` at the most: neighbours
    /// share pages of the database. Empty where the next of them has nothing durable.
    pub(super) fn next_round(&mut self, max: usize) -> Vec<Folding> {
        let ahead = (Bound::Excluded(self.folded_upto), Bound::Unbounded);
        let ahead = self.dirty.range(ahead);
        let around = self.dirty.range(..=self.folded_upto);
        let next = ahead.chain(around).take(max);
        let foldings: Vec<Folding> = next.filter_map(|stream| self.folding(*stream)).collect();
        if let Some(last) = foldings.last() {
            self.folded_upto = last.stream;
        }
        foldings
    }

    fn folding(&self, stream: StreamId) -> Option<Folding> {
        let tail = self.streams.get(&stream)?;
        tail.needs.filter(|needs| *needs <= self.durable)?;
        let durable = tail.events.iter().filter(|r| r.sequence <= self.durable);
        Some(Folding {
            stream,
            head: tail.head.clone(),
            events: durable.map(|recent| recent.event.clone()).collect(),
            upto: self.durable,
        })
    }

    /// A stream was folded: its events up to there are in blocks, and this is its head.
    pub(super) fn folded(&mut self, stream: StreamId, head: Head) {
        let tail = self
            .streams
            .get_mut(&stream)
            .expect("a stream with something to fold is never forgotten");
        let (before, raw_before) = (tail.cost(), tail.raw);
        tail.events.retain(|recent| recent.sequence > head.folded);
        tail.raw = tail.events.iter().map(|r| r.event.raw()).sum();
        self.bytes -= before - tail.cost();
        if tail.queued {
            self.full_sum -= raw_before - tail.raw;
        }
        // A mark that came meanwhile is not in the head that was written.
        let listed_since = tail.head.listed && !head.listed;
        tail.head = head;
        tail.head.listed |= listed_since;
        let needed = tail.needs.take().expect("it had something to fold");
        self.oldest.remove(&(needed, stream));
        self.dirty.remove(&stream);
        self.bytes -= STREAM_COST;
        let rest = tail.events.iter().map(|recent| recent.sequence).min();
        let mark = listed_since.then_some(tail.head.folded + 1);
        if let Some(sequence) = rest.into_iter().chain(mark).min() {
            self.need(stream, sequence);
        } else {
            tail.events = Vec::new();
            if !tail.idle {
                tail.idle = true;
                self.idle.push_back(stream);
            }
        }
    }
}

/// Whether an encoded event names that message: the quick look first, then the sure one.
pub(super) fn twin_in(event: &Encoded, of: &Needle<'_>) -> bool {
    of.finder.find(&event.bytes).is_some()
        && event
            .decode()
            .is_some_and(|event| event.nonce == Some(of.nonce) && event.author == *of.author)
}

/// What is looked for in encoded events: author and nonce, which stand next to each other.
#[derive(Debug)]
pub(super) struct Needle<'a> {
    author: &'a mesh::id::UserName,
    nonce: mesh::id::Nonce,
    finder: memchr::memmem::Finder<'static>,
}

impl<'a> Needle<'a> {
    pub(super) fn new(author: &'a mesh::id::UserName, nonce: mesh::id::Nonce) -> Self {
        let bytes =
            postcard::to_stdvec(&(author, Some(nonce))).expect("names and numbers can be encoded");
        Self {
            author,
            nonce,
            finder: memchr::memmem::Finder::new(&bytes).into_owned(),
        }
    }

    /// What names this event; `None` for one without a nonce.
    pub(super) fn of(event: &'a Event) -> Option<Self> {
        event.nonce.map(|nonce| Self::new(&event.author, nonce))
    }

    /// The smallest id that an event of this nonce can have.
    pub(super) fn from(&self) -> EventId {
        window_start(self.nonce)
    }
}

/// The smallest id under which a nonce is looked for.
pub(super) fn window_start(nonce: mesh::id::Nonce) -> EventId {
    let from = nonce.unix_ms().saturating_sub(mesh::store::NONCE_REACH_MS);
    EventId {
        stamp: mesh::time::Stamp::from_unix_ms(from),
        origin: 0,
    }
}

#[cfg(test)]
mod tests;
