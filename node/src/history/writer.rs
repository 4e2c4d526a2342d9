//! The journal's thread: judges what is to be appended, writes it, flushes it, then says so.
//!
//! Group commit: whatever arrived while the last flush ran goes into one record, up to 1,024 events
//! or 1 MiB, with one flush; nothing is waited for. What an event becomes is decided from memory:
//!
//! - its id is new to the stream if neither the tail has it nor the blocks reach up to it;
//! - its nonce is new if the [`Nonces`] prove it; else it is looked for in the tail from two minutes
//!   before the nonce's time on, and in blocks where they reach into that time.
//!
//! What blocks hold, a reading thread looks up; the event waits for it, the others do not. Should
//! the stream be folded during the look, it is repeated, twice at most: an id stored twice is one
//! event all the same, and of two twins both stay, as when two nodes take them.
//!
//! Where tails or journal are over their bounds, appends wait for the folding thread.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{mem, thread};

use bytes::Bytes;
use mesh::event::SharedEvent;
use mesh::id::{Conversation, EventId, StreamId};
use mesh::proto::output::Ticket;
use mesh::store::{Outcome, StoreError};
use mesh::time::Stamp;

use super::block::Encoded;
use super::journal::{Journal, Ready, Record, event_size};
use super::nonces::Nonces;
use super::queue::Taken;
use super::read::{Checked, Job};
use super::stats::micros;
use super::tails::{Needle, Tails, twin_in, window_start};
use super::{Done, Shared, Stop, wait};

/// The most events of one record.
const BATCH_MAX: usize = 1024;

/// How long the thread sleeps at the most: it looks at the free space then.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How often an event is looked for in blocks that change meanwhile.
const TRIES_MAX: u32 = 3;

/// What the journal's thread is told.
#[derive(Debug)]
pub(super) enum Command {
    /// Append these.
    Append {
        /// The number of this append.
        ticket: Ticket,
        /// What.
        events: Vec<SharedEvent>,
    },
    /// This stream is listed.
    List(StreamId),
    /// This is what blocks hold of an event.
    Checked {
        /// Which event of which append.
        place: Place,
        /// The event.
        event: SharedEvent,
        /// What was found.
        checked: Checked,
    },
}

/// One event of one append.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    append: u64,
    index: usize,
}

/// An append whose events are not all decided and durable.
#[derive(Debug)]
struct Open {
    ticket: Ticket,
    outcomes: Vec<Option<Outcome>>,
    left: usize,
}

/// One thing to be done, in the order of arrival.
#[derive(Debug)]
enum Item {
    Event {
        place: Place,
        event: SharedEvent,
        checked: Option<Checked>,
    },
    List(StreamId),
}

/// An item of the batch at hand.
#[derive(Debug)]
enum Staged {
    Event {
        place: Place,
        event: SharedEvent,
        checked: Option<Checked>,
        stream: StreamId,
        /// Its encoding.
        bytes: Range<usize>,
    },
    List(StreamId),
}

impl Staged {
    fn stream(&self) -> StreamId {
        match self {
            Self::Event { stream, .. } | Self::List(stream) => *stream,
        }
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

/// The state of the journal's thread.
pub(super) struct Writer {
    shared: Arc<Shared>,
    journal: Journal,
    nonces: Nonces,
    arrived: VecDeque<Command>,
    items: VecDeque<Item>,
    open: HashMap<u64, Open>,
    appends: u64,
    record: Record,
    /// Encodings of the batch at hand.
    encoded: Vec<u8>,
    /// Events decided by the batch at hand.
    settled: Vec<(Place, Outcome)>,
    /// When the free space was last looked at, and what was found.
    looked: Option<Instant>,
    room: bool,
    /// The journal found no space for another file.
    journal_full: bool,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, journal: Journal, nonces: Nonces) -> Self {
        let mut record = Record::default();
        record.clear();
        Self {
            shared,
            journal,
            nonces,
            arrived: VecDeque::new(),
            items: VecDeque::new(),
            open: HashMap::new(),
            appends: 0,
            record,
            encoded: Vec::new(),
            settled: Vec::new(),
            looked: None,
            room: true,
            journal_full: false,
        }
    }

    /// Runs the thread until the queue is closed and everything in it is done, or the disk fails.
    pub(super) fn run(mut self) {
        loop {
            let wait = if self.items.is_empty() {
                LOOK_EVERY
            } else {
                Duration::ZERO
            };
            let taken = self.shared.commands.take(&mut self.arrived, wait);
            self.unpack();
            if taken == Taken::Closed && self.items.is_empty() {
                if self.open.is_empty() || self.shared.has_failed() {
                    return;
                }
                // Only while stopping: a reading thread still looks something up.
                thread::sleep(Duration::from_millis(1));
            }
            if let Err(e) = self.look_at_space().and_then(|()| self.commit()) {
                return self.shared.fail(e);
            }
            if self.shared.state().stop == Stop::Abandon {
                return;
            }
        }
    }

    fn unpack(&mut self) {
        for command in self.arrived.drain(..) {
            match command {
                Command::Append { ticket, events } if events.is_empty() => {
                    let outcomes = Vec::new();
                    (self.shared.report)(vec![Done::Appended { ticket, outcomes }]);
                }
                Command::Append { ticket, events } => {
                    let append = self.appends;
                    self.appends += 1;
                    self.open.insert(
                        append,
                        Open {
                            ticket,
                            outcomes: vec![None; events.len()],
                            left: events.len(),
                        },
                    );
                    for (index, event) in events.into_iter().enumerate() {
                        self.items.push_back(Item::Event {
                            place: Place { append, index },
                            event,
                            checked: None,
                        });
                    }
                }
                Command::List(stream) => self.items.push_back(Item::List(stream)),
                Command::Checked {
                    place,
                    event,
                    checked,
                } => self.items.push_front(Item::Event {
                    place,
                    event,
                    checked: Some(checked),
                }),
            }
        }
    }

    /// Takes note of how much space is left, now and then.
    fn look_at_space(&mut self) -> Result<(), StoreError> {
        if self.looked.is_some_and(|at| at.elapsed() < LOOK_EVERY / 2) {
            return Ok(());
        }
        self.looked = Some(Instant::now());
        let free = super::free_bytes(&self.shared.config.dir)
            .map_err(|e| StoreError(format!("asking for the free disk space failed: {e}")))?;
        self.shared.stats.free_bytes.set(free);
        self.journal_full &= free < self.journal.file_bytes();
        self.set_room(free >= self.shared.config.min_free && !self.journal_full);
        Ok(())
    }

    fn set_room(&mut self, room: bool) {
        self.room = room;
        self.shared.set_room(room);
    }

    /// Makes one batch of what is waiting durable and says so.
    fn commit(&mut self) -> Result<(), StoreError> {
        if self.items.is_empty() {
            self.answer();
            return Ok(());
        }
        if !self.wait_for_tails() {
            return Ok(());
        }
        let Some(batch) = self.stage()? else {
            return Ok(());
        };
        let newest = self.decide(batch)?;
        if !self.record.is_empty() {
            self.write(newest)?;
        }
        self.answer();
        Ok(())
    }

    /// Waits until the tails are within their bound. False: the store is being abandoned.
    fn wait_for_tails(&self) -> bool {
        let bound = self.shared.config.tail_bytes;
        self.wait_while(|state| state.tails.bytes() >= bound && state.tails.dirty() > 0)
    }

    fn wait_while(&self, waits: impl Fn(&super::State) -> bool) -> bool {
        let mut state = self.shared.state();
        if waits(&state) {
            let began = Instant::now();
            self.shared.stats.waits.add(1);
            while waits(&state) && state.stop != Stop::Abandon {
                self.shared.fold_wanted.notify_one();
                state = wait(&self.shared.room_made, state);
            }
            self.shared.stats.wait_us.add(micros(began.elapsed()));
        }
        state.stop != Stop::Abandon
    }

    /// Takes items for one record, and encodes them. `None`: the store is being abandoned.
    fn stage(&mut self) -> Result<Option<Vec<Staged>>, StoreError> {
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
                } => batch.push(Staged::Event {
                    stream: event.stream(),
                    place,
                    event,
                    checked,
                    bytes: start..self.encoded.len(),
                }),
                Item::List(stream) => batch.push(Staged::List(stream)),
            }
            payload += size;
        }
        Ok(Some(batch))
    }

    /// Makes sure that the journal has room for a first entry of that size. False: the store is
    /// being abandoned.
    fn prepare(&mut self, size: usize) -> Result<bool, StoreError> {
        loop {
            let safe = self.shared.state().safe;
            match self.journal.prepare(size, safe).map_err(journal_failed)? {
                Ready::Yes => break,
                Ready::Full => {
                    self.journal_full = true;
                    self.set_room(false);
                    break;
                }
                Ready::Wait(upto) => {
                    self.shared.state().needed_safe = upto;
                    if !self.wait_while(|state| state.safe < upto) {
                        return Ok(false);
                    }
                }
            }
        }
        let needs = self.journal.oldest_needs().unwrap_or(0);
        self.shared.state().needed_safe = needs;
        self.shared
            .stats
            .journal_files
            .set(self.journal.files() as u64);
        Ok(true)
    }

    /// Decides what becomes of each item, and puts what is new into the record and the tails. The
    /// newest stamp of it.
    fn decide(&mut self, batch: Vec<Staged>) -> Result<Stamp, StoreError> {
        let shared = Arc::clone(&self.shared);
        let mut state = loop {
            let state = shared.state();
            let unknown: BTreeSet<StreamId> = batch
                .iter()
                .map(Staged::stream)
                .filter(|stream| state.tails.get(*stream).is_none())
                .collect();
            if unknown.is_empty() {
                break state;
            }
            drop(state);
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
        };
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
                Staged::Event {
                    place,
                    event,
                    checked,
                    stream,
                    bytes,
                } => {
                    let verdict =
                        self.judge(&state.tails, stream, &event, checked.as_ref(), &bytes);
                    match verdict {
                        Verdict::Look => {
                            let tries = checked.map_or(0, |checked| checked.tries) + 1;
                            shared.jobs.push_first(Job::Check {
                                place,
                                stream,
                                event,
                                tries,
                            });
                        }
                        Verdict::Settled(outcome) => self.settled.push((place, outcome)),
                        Verdict::Store(beside) => {
                            newest = newest.max(event.id.stamp);
                            self.store(&mut state.tails, stream, &event, bytes);
                            let unlisted = is_unlisted(&state.tails, stream, &event);
                            let outcome = match beside {
                                Some(larger) => Outcome::Beside { larger, unlisted },
                                None => Outcome::Stored { unlisted },
                            };
                            self.settled.push((place, outcome));
                        }
                    }
                }
            }
        }
        Ok(newest)
    }

    /// What is to be done with an event of a known stream.
    fn judge(
        &self,
        tails: &Tails,
        stream: StreamId,
        event: &SharedEvent,
        checked: Option<&Checked>,
        bytes: &Range<usize>,
    ) -> Verdict {
        let bytes = &self.encoded[bytes.clone()];
        let tail = tails.get(stream).expect("made known before");
        let checked = checked.filter(|checked| {
            let changes = self.shared.shard(stream).changes();
            checked.changes == changes || checked.tries >= TRIES_MAX
        });
        let found = checked.and_then(|checked| checked.known.as_ref());
        if let Some(known) = tail.get(event.id).map(|known| &known.bytes).or(found) {
            return Verdict::Settled(if known[..] == *bytes {
                Outcome::Known {
                    unlisted: is_unlisted(tails, stream, event),
                }
            } else {
                Outcome::Differs
            });
        }
        if checked.is_none() && !tail.head.is_below(event.id) {
            return Verdict::Look;
        }
        let mut beside = None;
        if let Some(needle) = self.nonce_to_look_for(stream, event) {
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
    fn nonce_to_look_for<'a>(
        &self,
        stream: StreamId,
        event: &'a SharedEvent,
    ) -> Option<Needle<'a>> {
        let nonce = event.nonce?;
        let covered = window_start(nonce).stamp >= self.nonces.covers_from();
        let is_new = covered && !self.nonces.may_hold(stream, &event.author, nonce);
        if is_new { None } else { Needle::of(event) }
    }

    fn store(
        &mut self,
        tails: &mut Tails,
        stream: StreamId,
        event: &SharedEvent,
        bytes: Range<usize>,
    ) {
        let bytes = &self.encoded[bytes];
        self.record.event(bytes);
        let encoded = Encoded {
            id: event.id,
            bytes: Bytes::copy_from_slice(bytes),
        };
        let inserted = tails.insert(stream, encoded, self.journal.next());
        debug_assert!(inserted, "an id that is known is not stored");
        if let Some(nonce) = event.nonce {
            self.nonces
                .insert(stream, &event.author, nonce, event.id.stamp);
        }
        self.shared.stats.stored.add(1);
    }

    /// Writes the record; what is in it is shown from then on.
    fn write(&mut self, newest: Stamp) -> Result<(), StoreError> {
        let stats = &self.shared.stats;
        let began = Instant::now();
        stats.journal_bytes.add(self.record.size() as u64);
        let sequence = self
            .journal
            .append(&mut self.record, newest)
            .map_err(journal_failed)?;
        let took = micros(began.elapsed());
        stats.flushes.add(1);
        stats.flush_us.add(took);
        stats.flush_us_max.raise(took);
        self.shared.raise_newest(newest);
        let mut state = self.shared.state();
        state.tails.set_durable(sequence);
        state.tails.forget_idle();
        stats.tail_bytes.set(state.tails.bytes() as u64);
        stats.tails.set(state.tails.dirty() as u64);
        if self.shared.wants_fold(&state) {
            self.shared.fold_wanted.notify_one();
        }
        Ok(())
    }

    /// Reports the appends that are complete.
    fn answer(&mut self) {
        let mut done = Vec::new();
        for (place, outcome) in self.settled.drain(..) {
            self.shared.count(&outcome);
            let open = self
                .open
                .get_mut(&place.append)
                .expect("an append stays open until all of it is settled");
            open.outcomes[place.index] = Some(outcome);
            open.left -= 1;
            if open.left == 0 {
                let open = self.open.remove(&place.append).expect("got it above");
                done.push(Done::Appended {
                    ticket: open.ticket,
                    outcomes: open.outcomes.into_iter().flatten().collect(),
                });
            }
        }
        if !done.is_empty() {
            (self.shared.report)(done);
        }
    }
}

fn is_unlisted(tails: &Tails, stream: StreamId, event: &SharedEvent) -> bool {
    matches!(event.conversation, Conversation::Direct(..))
        && tails.get(stream).is_some_and(|tail| !tail.head.listed)
}

fn journal_failed(e: std::io::Error) -> StoreError {
    StoreError(format!("writing the journal of the history failed: {e}"))
}
