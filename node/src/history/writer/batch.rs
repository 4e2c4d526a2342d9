//! One batch of the journal's thread: what goes into it, and what becomes of each event.

use std::collections::BTreeSet;
use std::mem;
use std::ops::Range;
use std::sync::{Arc, MutexGuard};

use bytes::Bytes;
use mesh::event::SharedEvent;
use mesh::id::{Conversation, EventId, StreamId};
use mesh::store::{Outcome, StoreError};
use mesh::time::Stamp;

use super::super::block::Encoded;
use super::super::database::Head;
use super::super::journal::event_size;
use super::super::read::{Checked, Job};
use super::super::tails::{Needle, Tails, twin_in, window_start};
use super::super::{Shared, State};
use super::{Item, Place, Writer};

/// The most events of one record.
const BATCH_MAX: usize = 1024;

/// How often an event is looked for in blocks that change meanwhile.
const TRIES_MAX: u32 = 3;

/// An item of the batch at hand.
#[derive(Debug)]
pub(super) enum Staged {
    Event(StagedEvent),
    List(StreamId),
}

/// An event to be decided on.
#[derive(Debug)]
pub(super) struct StagedEvent {
    place: Place,
    event: SharedEvent,
    checked: Option<Checked>,
    stream: StreamId,
    /// Its encoding, in [`Writer::encoded`].
    bytes: Range<usize>,
    /// What its nonce is remembered by.
    nonce: Option<u64>,
}

impl Staged {
    fn stream(&self) -> StreamId {
        match self {
            Self::Event(StagedEvent { stream, .. }) | Self::List(stream) => *stream,
        }
    }
}

impl StagedEvent {
    /// The question to a reading thread whether blocks hold it.
    fn into_look(self) -> Job {
        Job::Check {
            place: self.place,
            stream: self.stream,
            event: self.event,
            tries: self.checked.map_or(0, |checked| checked.tries) + 1,
        }
    }

    /// Whether its stream is a direct conversation whose contact entries are due.
    fn is_unlisted(&self, tails: &Tails) -> bool {
        matches!(self.event.conversation, Conversation::Direct(..))
            && tails.get(self.stream).is_some_and(|tail| !tail.head.listed)
    }
}

/// What is to be done with an event.
enum Verdict {
    /// Store it; beside this twin.
    Store(Option<EventId>),
    /// It is not stored, or was.
    Settled(Outcome),
    /// Memory does not tell.
    Look,
}

impl Writer {
    /// Takes items for one record, and encodes them. `None`: the store is being abandoned.
    pub(super) fn stage(&mut self) -> Result<Option<Vec<Staged>>, StoreError> {
        self.encoded.clear();
        let mut batch = Vec::with_capacity(self.items.len().min(BATCH_MAX));
        let mut payload = 0;
        while batch.len() < BATCH_MAX {
            let Some(item) = self.items.pop_front() else {
                break;
            };
            let start = self.encoded.len();
            let size = match &item {
                Item::Event { event, .. } => {
                    let taken = mem::take(&mut self.encoded);
                    self.encoded = postcard::to_extend(event.as_ref(), taken)
                        .expect("events are made of types that postcard can encode");
                    event_size(self.encoded.len() - start)
                }
                Item::List(_) => event_size(size_of::<StreamId>()),
            };
            if payload == 0 && !self.prepare(size)? {
                return Ok(None);
            }
            let too_large = size > self.journal.payload_max();
            if !too_large && payload > 0 && payload + size > self.journal.room() {
                self.encoded.truncate(start);
                self.items.push_front(item);
                break;
            }
            match item {
                Item::Event { place, .. } if too_large => {
                    self.shared.stats.too_large.add(1);
                    self.settled.push((place, Outcome::Full));
                    self.encoded.truncate(start);
                    continue;
                }
                Item::Event {
                    place,
                    event,
                    checked,
                } => batch.push(self.staged(place, event, checked, start)),
                Item::List(stream) => batch.push(Staged::List(stream)),
            }
            payload += size;
        }
        Ok(Some(batch))
    }

    fn staged(
        &self,
        place: Place,
        event: SharedEvent,
        checked: Option<Checked>,
        start: usize,
    ) -> Staged {
        let stream = event.stream();
        let hash = |nonce| self.nonces.hash(stream, &event.author, nonce);
        Staged::Event(StagedEvent {
            nonce: event.nonce.map(hash),
            place,
            event,
            checked,
            stream,
            bytes: start..self.encoded.len(),
        })
    }

    /// Decides what becomes of each item, and puts what is new into the record and the tails. The
    /// newest stamp of it.
    pub(super) fn decide(&mut self, batch: Vec<Staged>) -> Result<Stamp, StoreError> {
        let shared = Arc::clone(&self.shared);
        let mut state = know_streams(&shared, &batch)?;
        let mut newest = Stamp(0);
        for staged in batch {
            match staged {
                // It is asked for again when the stream is next appended to.
                Staged::List(_) if self.journal_full => shared.stats.lists_refused.add(1),
                Staged::List(stream) => {
                    if state.tails.list(stream, self.journal.next()) {
                        self.record.list(stream);
                    }
                }
                Staged::Event(staged) => {
                    let outcome = match self.judge(&state.tails, &staged) {
                        Verdict::Look => {
                            shared.jobs.push_first(staged.into_look());
                            continue;
                        }
                        Verdict::Settled(outcome) => outcome,
                        Verdict::Store(beside) => {
                            newest = newest.max(staged.event.id.stamp);
                            self.store(&mut state.tails, &staged);
                            let unlisted = staged.is_unlisted(&state.tails);
                            match beside {
                                Some(larger) => Outcome::Beside { larger, unlisted },
                                None => Outcome::Stored { unlisted },
                            }
                        }
                    };
                    self.settled.push((staged.place, outcome));
                }
            }
        }
        Ok(newest)
    }

    /// What is to be done with an event of a known stream.
    fn judge(&self, tails: &Tails, staged: &StagedEvent) -> Verdict {
        let event = &staged.event;
        let bytes = &self.encoded[staged.bytes.clone()];
        let tail = tails.get(staged.stream).expect("made known before");
        let checked = staged.checked.as_ref().filter(|checked| {
            let changes = self.shared.shard(staged.stream).changes();
            checked.changes == changes || checked.tries >= TRIES_MAX
        });
        let found = checked.and_then(|checked| checked.known.as_ref());
        if let Some(known) = tail.get(event.id).map(|known| &known.bytes).or(found) {
            return Verdict::Settled(if known[..] == *bytes {
                Outcome::Known {
                    unlisted: staged.is_unlisted(tails),
                }
            } else {
                Outcome::Differs
            });
        }
        if checked.is_none() && !tail.head.is_below(event.id) {
            return Verdict::Look;
        }
        let mut beside = None;
        if let Some(needle) = self.nonce_into_look(staged) {
            if checked.is_none() && !tail.head.is_below(needle.from()) {
                return Verdict::Look;
            }
            let recent = tail.from(needle.from()).find(|e| twin_in(e, &needle));
            let recent = recent.and_then(Encoded::decode);
            let found = checked.and_then(|checked| checked.twin.clone());
            let twin = recent.into_iter().chain(found).min_by_key(|twin| twin.id);
            match twin {
                Some(twin) if twin.id < event.id => {
                    return Verdict::Settled(Outcome::Twin(twin));
                }
                twin => beside = twin.map(|twin| twin.id),
            }
        }
        if self.room {
            Verdict::Store(beside)
        } else {
            Verdict::Settled(Outcome::Full)
        }
    }

    /// What to look for where this event's nonce is not proven to be new.
    fn nonce_into_look<'a>(&self, staged: &'a StagedEvent) -> Option<Needle<'a>> {
        let covered = window_start(staged.event.nonce?).stamp >= self.nonces.covers_from();
        let is_new = covered && !self.nonces.may_hold(staged.nonce?);
        if is_new {
            None
        } else {
            Needle::of(&staged.event)
        }
    }

    fn store(&mut self, tails: &mut Tails, staged: &StagedEvent) {
        let id = staged.event.id;
        let bytes = &self.encoded[staged.bytes.clone()];
        self.record.event(bytes);
        let encoded = Encoded {
            id,
            bytes: Bytes::copy_from_slice(bytes),
        };
        let inserted = tails.insert(staged.stream, encoded, self.journal.next());
        debug_assert!(inserted, "an id that is known is not stored");
        if let Some(nonce) = staged.nonce {
            self.nonces.insert(nonce, id.stamp);
        }
        self.shared.stats.stored.add(1);
    }
}

/// Makes sure that what is known of the streams of a batch is in memory, and gives the lock under
/// which that is so.
fn know_streams<'a>(
    shared: &'a Shared,
    batch: &[Staged],
) -> Result<MutexGuard<'a, State>, StoreError> {
    loop {
        let mut state = shared.state();
        let mut unknown = BTreeSet::new();
        for stream in batch.iter().map(Staged::stream) {
            if state.tails.get(stream).is_some() {
                continue;
            }
            if state.stored.may_hold(stream) {
                unknown.insert(stream);
            } else {
                state.tails.know(stream, Head::default());
            }
        }
        if unknown.is_empty() {
            return Ok(state);
        }
        drop(state);
        shared.stats.heads_read.add(unknown.len() as u64);
        // Not under the lock: it may read the disk. Only this thread gives a stream anything to
        // fold, so a head cannot change meanwhile.
        let mut heads = Vec::with_capacity(unknown.len());
        for stream in unknown {
            heads.push((stream, shared.database.head(stream)?));
        }
        let mut state = shared.state();
        for (stream, head) in heads {
            state.tails.know(stream, head);
        }
    }
}
