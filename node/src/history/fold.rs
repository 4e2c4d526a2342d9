//! Folding: putting tails into blocks, on a thread of its own.
//!
//! Full tails are folded once there are enough of them for a batch of the database. When the tails
//! together come near their bound, streams are folded in turn, round and round in the order of their
//! ids: neighbours share pages of the database, and each waits for a whole round, as the oldest would.
//! When the journal wants the oldest of its files back, the streams that need it are folded; all are
//! when the store is closed. Blocks and heads of the streams folded together change in one batch.
//!
//! New events go behind the last block, together with as many of the small blocks there as are not
//! larger than what comes: so each event is rewritten a logarithmic number of times before it is in
//! a block that stays. A late event goes to the block with the greatest first id below its own.
//!
//! A second thread flushes the database when enough was folded, or when the journal needs it; what
//! was folded before a flush began is not needed in the journal once it has succeeded.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use mesh::id::{EventId, StreamId};
use mesh::store::StoreError;

use super::block::{self, Encoded, Fill};
use super::database::{Block, Change, Database, Head};
use super::stats::{Stats, micros};
use super::tails::Folding;
use super::{Shared, State, Stop, shard_index, wait};

/// The database is flushed when that many bytes of events were folded: half a journal file.
const FLUSH_BYTES: usize = 32 * 1024 * 1024;

/// The most streams that are folded together: sled writes out its buffer after each batch and wakes
/// all its threads, which costs more than a small fold, and a batch of that many keeps readers waiting
/// for about a millisecond.
pub(super) const TOGETHER: usize = 32;

/// Streams that are taken note of at a time, when there is nothing to fold.
const SLICE: usize = 1_024;

/// Small blocks at a stream's end that are left unmerged.
const OPEN_MAX: usize = 8;

impl Shared {
    /// Whether the folding thread has something to do.
    pub(super) fn wants_fold(&self, state: &State) -> bool {
        self.wants_full(state) || self.wants_oldest(state) || self.wants_round(state)
    }

    /// Whether enough is in full tails that a batch of the database is worth it.
    fn wants_full(&self, state: &State) -> bool {
        state.tails.full_sum() >= TOGETHER * self.config.full_tail_bytes
    }

    /// Whether the streams that have waited for longest are to be folded.
    fn wants_oldest(&self, state: &State) -> bool {
        state.tails.dirty() > 0 && state.tails.needed_from() <= state.needed_safe
    }

    /// Whether streams are to be folded in turn.
    fn wants_round(&self, state: &State) -> bool {
        // Once begun it goes on for a while: starting and stopping costs as much as a small fold.
        let eighths = if state.rounding { 6 } else { 7 };
        let near_bound = state.tails.bytes() > self.config.tail_bytes / 8 * eighths;
        state.tails.dirty() > 0 && (near_bound || state.stop == Stop::Finish)
    }

    fn next_folds(&self, state: &mut State) -> Vec<Folding> {
        state.rounding = self.wants_round(state);
        // Full ones first: they free the most for what they cost.
        if self.wants_full(state) {
            state.tails.full(TOGETHER)
        } else if self.wants_oldest(state) {
            state.tails.oldest(TOGETHER)
        } else if state.rounding {
            state.tails.next_round(TOGETHER)
        } else {
            Vec::new()
        }
    }
}

/// Runs the folding thread.
pub(super) fn run(shared: &Arc<Shared>) {
    let mut streams = shared.database.streams();
    let mut state = shared.state();
    while state.stop != Stop::Abandon {
        let foldings = shared.next_folds(&mut state);
        if foldings.is_empty() {
            if shared.wants_flush(&state) {
                shared.flush_wanted.notify_one();
            }
            if state.stop == Stop::Finish {
                break;
            }
            if state.stored.is_known() {
                state = wait(&shared.fold_wanted, state);
                continue;
            }
            drop(state);
            if let Err(e) = find_stored(shared, &mut streams) {
                return shared.fail(e);
            }
            state = shared.state();
            continue;
        }
        drop(state);
        let events = || foldings.iter().flat_map(|folding| &folding.events);
        let bytes: usize = events().map(Encoded::raw).sum();
        shared.stats.folds.add(foldings.len() as u64);
        shared.stats.folded_events.add(events().count() as u64);
        if let Err(e) = fold(shared, foldings) {
            return shared.fail(e);
        }
        state = shared.state();
        state.unflushed += bytes;
        if shared.wants_flush(&state) {
            shared.flush_wanted.notify_one();
        }
        shared.room_made.notify_all();
    }
}

/// Takes note of the next streams that have a head in the database.
fn find_stored(
    shared: &Shared,
    streams: &mut impl Iterator<Item = Result<StreamId, StoreError>>,
) -> Result<(), StoreError> {
    let found: Vec<StreamId> = streams.take(SLICE).collect::<Result<_, _>>()?;
    let last = found.len() < SLICE;
    let mut state = shared.state();
    for stream in found {
        state.stored.add(stream);
    }
    if last {
        state.stored.set_known();
    }
    Ok(())
}

/// Folds streams, on the only thread that does so.
pub(super) fn fold(shared: &Shared, foldings: Vec<Folding>) -> Result<(), StoreError> {
    // Blocks are read and made before readers are held up.
    let limit = shared.config.block_bytes;
    let (change, heads) = plan_all(&shared.database, &shared.stats, limit, foldings)?;
    let touched = heads.iter().map(|(stream, _)| shard_index(*stream));
    let touched: BTreeSet<usize> = touched.collect();
    let held: Vec<_> = touched.iter().map(|i| shared.shards[*i].hold()).collect();
    shared.database.apply(change)?;
    let mut state = shared.state();
    for (stream, head) in heads {
        state.stored.add(stream);
        state.tails.folded(stream, head);
    }
    for i in touched {
        shared.shards[i].changed();
    }
    drop(state);
    drop(held);
    Ok(())
}

/// What changes in the database when streams are folded, and their heads after that.
pub(super) fn plan_all(
    database: &Database,
    stats: &Stats,
    limit: usize,
    foldings: Vec<Folding>,
) -> Result<(Change, Vec<(StreamId, Head)>), StoreError> {
    let mut change = Change::default();
    let mut heads = Vec::with_capacity(foldings.len());
    for folding in foldings {
        let stream = folding.stream;
        let fold = Fold {
            database,
            stats,
            limit,
            stream,
            change: &mut change,
        };
        heads.push((stream, fold.plan(folding)?));
    }
    Ok((change, heads))
}

/// One stream being folded.
struct Fold<'a> {
    database: &'a Database,
    stats: &'a Stats,
    /// Bytes of events per block before compression.
    limit: usize,
    stream: StreamId,
    change: &'a mut Change,
}

impl Fold<'_> {
    /// Adds to the change what becomes of the stream's blocks, and gives its new head.
    fn plan(mut self, folding: Folding) -> Result<Head, StoreError> {
        let (mut head, mut events) = (folding.head, folding.events);
        let late = events.partition_point(|event| !head.is_below(event.id));
        let (late, new) = events.split_at(late);
        let keep = self.open_kept(&head, late, new);
        let end = head.open.get(keep).map(|(first, _)| *first);
        let late = late.partition_point(|event| end.is_none_or(|end| event.id < end));
        let at_end = events.split_off(late);
        self.late(events, &mut head)?;
        self.end(keep, at_end, &mut head)?;
        head.folded = folding.upto;
        self.change.head(self.stream, &head);
        Ok(head)
    }

    /// How many of the small blocks at the stream's end stay as they are.
    fn open_kept(&self, head: &Head, late: &[Encoded], new: &[Encoded]) -> usize {
        let open = &head.open;
        let mut keep = open.len();
        let mut bytes: usize = new.iter().map(Encoded::raw).sum();
        while keep > 0 && bytes > 0 && open[keep - 1].1 as usize <= bytes {
            keep -= 1;
            bytes += open[keep].1 as usize;
        }
        if keep > OPEN_MAX {
            keep = 0;
        }
        // A late event among the small blocks joins them.
        let touched = late
            .iter()
            .filter_map(|event| open.iter().rposition(|(first, _)| *first < event.id))
            .min();
        keep.min(touched.unwrap_or(keep))
    }

    /// Puts events that lie among old blocks where they belong.
    fn late(&mut self, events: Vec<Encoded>, head: &mut Head) -> Result<(), StoreError> {
        let mut events = VecDeque::from(events);
        while let Some(event) = events.front() {
            let below = self.database.block_below(self.stream, event.id)?;
            let next = self.database.block_from(self.stream, event.id)?;
            let upto = next.map_or(EventId::MAX, |block| block.first);
            if upto == event.id {
                // In blocks already, and still one event.
                events.pop_front();
                continue;
            }
            let together = events.partition_point(|event| event.id < upto);
            let here = events.drain(..together).collect();
            let below = below.filter(|block| block.parts == 0);
            self.rewrite(below.into_iter().collect(), here, Fill::Even, head);
        }
        Ok(())
    }

    /// Puts events behind all blocks but the small ones that are merged with them.
    fn end(
        &mut self,
        keep: usize,
        events: Vec<Encoded>,
        head: &mut Head,
    ) -> Result<(), StoreError> {
        let mut merged = Vec::new();
        for (first, _) in head.open.split_off(keep) {
            let block = self.database.block_from(self.stream, first)?;
            let block = block.filter(|block| block.first == first);
            merged.push(
                block.ok_or_else(|| super::database::damaged(self.stream, "a block at the end"))?,
            );
        }
        if merged.is_empty() && events.is_empty() {
            return Ok(());
        }
        let made = self.rewrite(merged, events, Fill::Full, head);
        // A quarter stays: to merge it a page of the database would be read and written again.
        let small = |raw: usize| raw < self.limit / 4;
        let Some((first, raw)) = made.last().copied() else {
            return Ok(());
        };
        // Small blocks that full ones follow are no longer at the end.
        if made.len() > 1 || !small(raw) {
            head.open.clear();
        }
        if small(raw) {
            let raw = u32::try_from(raw).expect("a small block");
            head.open.push((first, raw));
        }
        Ok(())
    }

    /// Puts blocks of `old` and `events` together in the place of `old`. First id and size of each.
    fn rewrite(
        &mut self,
        mut old: Vec<Block>,
        events: Vec<Encoded>,
        fill: Fill,
        head: &mut Head,
    ) -> Vec<(EventId, usize)> {
        self.stats.blocks_rewritten.add(old.len() as u64);
        let known = old.iter_mut().flat_map(|block| block.events.drain(..));
        let mut known = known.peekable();
        let mut all = Vec::with_capacity(events.len());
        for event in events {
            while let Some(before) = known.next_if(|known| known.id < event.id) {
                all.push(before);
            }
            if known.peek().is_none_or(|known| known.id != event.id) {
                head.count += 1;
                head.digest ^= event.id.mix();
                head.last = head.last.max(Some(event.id));
                all.push(event);
            }
        }
        all.extend(known);
        let made = block::make(self.stream, &all, self.limit, fill);
        self.stats.blocks_written.add(made.len() as u64);
        let sizes = made.iter().map(|made| (made.first, made.raw)).collect();
        self.change.replace(self.stream, &old, made);
        sizes
    }
}

impl Shared {
    fn wants_flush(&self, state: &State) -> bool {
        let folded_upto = state.tails.needed_from() - 1;
        let journal_wants = state.safe < state.needed_safe && folded_upto >= state.needed_safe;
        !state.flushing && (state.unflushed >= FLUSH_BYTES || journal_wants)
    }
}

/// Runs the flushing thread.
pub(super) fn run_flush(shared: &Arc<Shared>) {
    let mut state = shared.state();
    while state.stop == Stop::No {
        if !shared.wants_flush(&state) {
            state = wait(&shared.flush_wanted, state);
            continue;
        }
        let upto = state.tails.needed_from() - 1;
        state.flushing = true;
        state.unflushed = 0;
        drop(state);
        if let Err(e) = flush(shared, upto) {
            return shared.fail(e);
        }
        state = shared.state();
        state.flushing = false;
        state.safe = upto;
        shared.room_made.notify_all();
    }
}

/// Flushes the database. Everything in journal records up to `upto` was folded before.
pub(super) fn flush(shared: &Shared, upto: u64) -> Result<(), StoreError> {
    let began = Instant::now();
    shared.database.flush(upto)?;
    shared.stats.database_flushes.add(1);
    shared.stats.database_flush_us.add(micros(began.elapsed()));
    Ok(())
}
