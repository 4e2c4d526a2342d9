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

mod batch;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use mesh::event::SharedEvent;
use mesh::id::StreamId;
use mesh::proto::output::Ticket;
use mesh::store::{Outcome, StoreError};
use mesh::time::Stamp;

use super::journal::{Journal, Ready, Record};
use super::nonces::Nonces;
use super::queue::Taken;
use super::read::Checked;
use super::stats::micros;
use super::{Done, Shared, Stop, wait};

/// How long the thread sleeps at the most: it looks at the free space then.
const LOOK_EVERY: Duration = Duration::from_secs(2);

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

fn journal_failed(e: std::io::Error) -> StoreError {
    StoreError(format!("writing the journal of the history failed: {e}"))
}
