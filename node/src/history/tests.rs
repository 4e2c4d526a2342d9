//! The rules of the store as a whole.

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use mesh::event::{Event, Json};
use mesh::id::{Conversation, EventId, NodeId, Nonce, splitmix64};
use mesh::store::{End, Range};
use tempfile::TempDir;

use super::*;

const OWNER: NodeId = NodeId([1; 32]);
const START: u64 = 1_800_000_000_000;

/// A store whose every part is so small that it is always at its bound.
fn tiny(dir: &TempDir) -> Config {
    Config {
        min_free: 0,
        tail_bytes: 8_000,
        full_tail_bytes: 60,
        block_bytes: 500,
        journal_file_bytes: JOURNAL_FILE,
        journal_files: 2,
        nonces: 64 * 1024,
        ..Config::new(dir.path())
    }
}

const JOURNAL_FILE: u64 = 64 * 1024;

/// Appends are reported to the first, all else to the second.
fn open(config: Config) -> (History, Receiver<Done>, Receiver<Done>) {
    let (appended, appends) = sync_channel(100_000);
    let (other, others) = sync_channel(100_000);
    let report = move |done: Vec<Done>| {
        for done in done {
            let to = match done {
                Done::Appended { .. } => &appended,
                Done::Loaded { .. } | Done::Room(_) | Done::Failed(_) => &other,
            };
            // The test has ended.
            let _ = to.try_send(done);
        }
    };
    let history = History::open(config, OWNER, Box::new(report)).unwrap();
    (history, appends, others)
}

fn conversation() -> Conversation {
    Conversation::direct("@a".parse().unwrap(), "@b".parse().unwrap())
}

fn event(n: u64) -> SharedEvent {
    let body = "b".repeat((splitmix64(n) % 90) as usize);
    Arc::new(Event {
        id: EventId {
            stamp: Stamp::from_unix_ms(START + n),
            origin: 3,
        },
        conversation: conversation(),
        author: "@a".parse().unwrap(),
        nonce: Some(Nonce::new(START + n, u128::from(n))),
        kind: EventKind::Message {
            body: Json::from_valid(format!("{body:?}")),
            reply_to: None,
        },
    })
}

fn all(end: End) -> Query {
    Query::Range(Range {
        stream: conversation().stream(),
        after: EventId::MIN,
        before: EventId::MAX,
        limit: u32::MAX,
        bytes: u32::MAX,
        end,
    })
}

fn counter(history: &History, name: &str) -> u64 {
    let counters = history.counters();
    counters.iter().find(|(n, _)| *n == name).unwrap().1
}

#[test]
fn an_append_of_many_records_is_reported_once_when_all_of_it_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let (history, appends, _) = open(tiny(&dir));
    let events: Vec<_> = (0..3_000).map(event).collect();
    history.append(Ticket(7), events);
    let Done::Appended { ticket, outcomes } = appends.recv().unwrap() else {
        unreachable!("only appends are reported there");
    };
    assert_eq!((ticket, outcomes.len()), (Ticket(7), 3_000));
    let stored = Outcome::Stored { unlisted: true };
    assert!(outcomes.iter().all(|outcome| *outcome == stored));
    assert!(counter(&history, "history_journal_flushes_total") >= 3);
    history.close().unwrap();
    assert!(appends.recv().is_err(), "nothing more is reported");
}

#[test]
fn everything_appended_before_a_store_is_closed_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let (history, appends, _) = open(tiny(&dir));
    for n in 0..500 {
        history.append(Ticket(n), vec![event(n)]);
    }
    history.append(Ticket(500), vec![]);
    history.close().unwrap();
    let tickets: Vec<u64> = appends
        .iter()
        .map(|done| match done {
            Done::Appended { ticket, .. } => ticket.0,
            Done::Loaded { .. } | Done::Room(_) | Done::Failed(_) => unreachable!(),
        })
        .collect();
    let mut sorted = tickets.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..=500).collect::<Vec<_>>());
}

#[test]
fn tails_and_journal_stay_within_their_bounds_however_much_is_appended() {
    let dir = tempfile::tempdir().unwrap();
    let (history, appends, _) = open(tiny(&dir));
    for n in 0..200 {
        history.append(Ticket(n), (n * 20..n * 20 + 20).map(event).collect());
    }
    for _ in 0..200 {
        appends.recv().unwrap();
        let tails = counter(&history, "history_tail_bytes");
        let batch = BATCH_COST;
        assert!(tails <= 8_000 + batch, "{tails} bytes");
        assert!(counter(&history, "history_journal_files") <= 2);
    }
    assert!(counter(&history, "history_database_flushes_total") > 0);
    let files = std::fs::read_dir(dir.path().join("journal")).unwrap();
    assert_eq!(files.count(), 2, "they are used again");
}

/// A full record's worth of events, with what they cost in memory: what is taken in at once.
const BATCH_COST: u64 = 1_024 * 300;

#[test]
fn a_store_without_room_says_so_and_refuses() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        min_free: u64::MAX,
        ..tiny(&dir)
    };
    let (history, appends, _) = open(config);
    assert!(!history.room());
    history.append(Ticket(1), vec![event(1)]);
    let full = Done::Appended {
        ticket: Ticket(1),
        outcomes: vec![Outcome::Full],
    };
    assert_eq!(appends.recv().unwrap(), full);
    assert_eq!(counter(&history, "history_events_refused_full_total"), 1);
}

/// One thread stores events in a wild order while another reads all of them, over and over: it must
/// see every event that was acknowledged before it asked, in order, once.
#[test]
fn a_reader_misses_nothing_while_events_are_being_folded() {
    const EVENTS: u64 = 600;
    let dir = tempfile::tempdir().unwrap();
    let (history, appends, others) = open(tiny(&dir));
    let acknowledged = AtomicU64::new(0);
    let (history, acknowledged) = (&history, &acknowledged);
    // The order in which they are stored: 7 has no factor in common with 600.
    let nth = |i: u64| i * 7 % EVENTS;
    thread::scope(|scope| {
        scope.spawn(move || {
            for i in 0..EVENTS {
                history.append(Ticket(i), vec![event(nth(i))]);
                appends.recv().unwrap();
                acknowledged.store(i + 1, Relaxed);
            }
        });
        let mut round = 0;
        while acknowledged.load(Relaxed) < EVENTS {
            round += 1;
            let before = acknowledged.load(Relaxed);
            let end = if round % 2 == 0 {
                End::Oldest
            } else {
                End::Newest
            };
            history.load(Ticket(round), all(end)).unwrap();
            let Done::Loaded { answer, .. } = others.recv().unwrap() else {
                unreachable!("there is room, and the disk works");
            };
            let Answer::Events { events, more } = answer else {
                unreachable!("a range was asked for");
            };
            assert!(!more);
            assert!(events.is_sorted_by(|a, b| a.id < b.id), "in order and once");
            let ids: std::collections::BTreeSet<_> = events.iter().map(|e| e.id).collect();
            let missing = (0..before).find(|i| !ids.contains(&event(nth(*i)).id));
            assert_eq!(missing, None, "of {before}, reading from {end:?}");
        }
    });
    assert!(counter(history, "history_folds_total") > 20);
}

/// Stores events and folds them, all of them together.
fn append_and_fold(history: &History, appends: &Receiver<Done>, numbers: std::ops::Range<u64>) {
    history.append(Ticket(0), numbers.map(event).collect());
    appends.recv().unwrap();
    let foldings = history.shared.state().tails.oldest(1);
    fold::fold(&history.shared, foldings).unwrap();
}

#[test]
fn a_walk_gives_what_was_there_when_it_began_though_blocks_are_merged_under_it() {
    for end in [End::Oldest, End::Newest] {
        let dir = tempfile::tempdir().unwrap();
        // Nothing is folded but by the test.
        let config = Config {
            tail_bytes: 1_000_000,
            full_tail_bytes: 1_000_000,
            block_bytes: 24_000,
            ..tiny(&dir)
        };
        let (history, appends, _) = open(config);
        append_and_fold(&history, &appends, 10..20);
        append_and_fold(&history, &appends, 20..22);
        let stream = conversation().stream();
        let open = |history: &History| history.shared.database.head(stream).unwrap().open.len();
        assert_eq!(open(&history), 2, "two blocks small enough to be merged");
        let mut walk =
            cursor::Cursor::new(&history.shared, stream, EventId::MIN, EventId::MAX, end);
        let mut given = vec![walk.next().unwrap().unwrap().id];
        // Behind, before, and in the middle of what is left.
        history.append(Ticket(0), (0..5).map(event).collect());
        appends.recv().unwrap();
        append_and_fold(&history, &appends, 30..50);
        assert_eq!(open(&history), 1, "they were merged");
        while let Some(event) = walk.next().unwrap() {
            given.push(event.id);
        }
        if end == End::Newest {
            given.reverse();
        }
        assert!(given.is_sorted_by(|a, b| a < b), "in order and once");
        let missing = (10..22).find(|n| !given.contains(&event(*n).id));
        assert_eq!(missing, None, "walking from {end:?}");
    }
}

/// Waits until the store knows which streams it has, then has it forget what it knows of them by heart.
fn forget_streams(history: &History) {
    while !history.shared.state().stored.is_known() {
        thread::yield_now();
    }
    let mut state = history.shared.state();
    for n in 0..=tails::IDLE_MAX as u128 {
        state.tails.know(StreamId(n), database::Head::default());
    }
    state.tails.forget_idle();
    assert!(state.tails.get(conversation().stream()).is_none());
}

fn append_again(history: &History, appends: &Receiver<Done>) -> Vec<Outcome> {
    history.append(Ticket(0), vec![event(1), event(2)]);
    match appends.recv().unwrap() {
        Done::Appended { outcomes, .. } => outcomes,
        other @ (Done::Loaded { .. } | Done::Room(_) | Done::Failed(_)) => panic!("{other:?}"),
    }
}

#[test]
fn an_event_of_a_stream_that_is_only_on_disk_is_known_there() {
    let dir = tempfile::tempdir().unwrap();
    let (history, appends, _) = open(Config::new(dir.path()));
    append_and_fold(&history, &appends, 1..2);
    forget_streams(&history);
    let read_before = counter(&history, "history_heads_read_total");
    let known = Outcome::Known { unlisted: true };
    let stored = Outcome::Stored { unlisted: true };
    assert_eq!(append_again(&history, &appends), [known.clone(), stored]);
    let read = counter(&history, "history_heads_read_total") - read_before;
    assert_eq!(read, 1, "for both events together");
    history.close().unwrap();
    let (history, appends, _) = open(Config::new(dir.path()));
    forget_streams(&history);
    assert_eq!(append_again(&history, &appends), [known.clone(), known]);
}

#[test]
fn a_stream_that_is_new_is_not_looked_for_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (history, appends, _) = open(Config::new(dir.path()));
    forget_streams(&history);
    append_again(&history, &appends);
    assert_eq!(counter(&history, "history_heads_read_total"), 0);
}
