//! The node's store killed, cut and damaged.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use chinwag::history::{Blocking, Config, OpenError};
use mesh::event::{Event, SharedEvent};
use mesh::id::{Conversation, EventId, splitmix64};
use mesh::store::{Outcome, Store};
use tests::store_suite::{all, events, message, range, user};

use super::{OWNER, Size, config};

/// Tells the process that it is the one to be killed: the directory of its store.
const DIR: &str = "CHINWAG_TEST_STORE";
/// The number of the first event that it writes.
const FIRST: &str = "CHINWAG_TEST_FIRST";

const STREAMS: u64 = 40;
const KILLS: u64 = 20;

fn open(dir: &Path) -> Blocking {
    Blocking::open(config(dir, Size::Tiny), OWNER).unwrap()
}

fn conversation(n: u64) -> Conversation {
    let other = format!("@user{}", splitmix64(n) % STREAMS);
    Conversation::direct(user("@alice"), user(&other))
}

/// The event of that number, of changing size and in changing streams.
fn numbered(n: u64) -> SharedEvent {
    let body = format!("{n} {}", "z".repeat((splitmix64(n) % 300) as usize));
    let mut event = Event::clone(&message(n, &body));
    event.conversation = conversation(n);
    Arc::new(event)
}

/// Writes events in batches and says after each how far it came, until it is killed. Started by the
/// test below, and by nobody else.
#[test]
fn a_process_that_writes_until_it_is_killed() {
    let (Ok(dir), Ok(first)) = (std::env::var(DIR), std::env::var(FIRST)) else {
        return;
    };
    let mut store = open(Path::new(&dir));
    let mut next: u64 = first.parse().unwrap();
    let mut out = std::io::stdout();
    loop {
        let size = 1 + splitmix64(next) % 20;
        let batch: Vec<_> = (next..next + size).map(numbered).collect();
        for outcome in store.append(&batch).unwrap() {
            assert_eq!(outcome, Outcome::Stored { unlisted: true });
        }
        next += size;
        writeln!(out, "acknowledged {next}").unwrap();
    }
}

/// Lets a process write until it has said so many lines, kills it, and gives the number behind the
/// last event that it saw acknowledged.
fn write_and_kill(dir: &Path, first: u64, lines: usize) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture"])
        .arg("store::crash::a_process_that_writes_until_it_is_killed")
        .env(DIR, dir)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok)
        .filter_map(|line| line.strip_prefix("acknowledged ")?.parse().ok());
    let mut acknowledged = said.by_ref().take(lines).last().unwrap_or(first);
    child.kill().unwrap();
    // What it still said before it died counts too.
    acknowledged = said.last().unwrap_or(acknowledged);
    child.wait().unwrap();
    acknowledged
}

/// Every event that is there, by number.
fn stored(store: &mut Blocking) -> Vec<u64> {
    let mut found = Vec::new();
    for n in 0..STREAMS {
        let other = format!("@user{n}");
        let stream = Conversation::direct(user("@alice"), user(&other)).stream();
        let (events, more) = events(store, range(stream, EventId::MIN, EventId::MAX));
        assert!(!more && events.is_sorted_by_key(|event| event.id));
        for event in events {
            let number = event.id.stamp.unix_ms() - tests::store_suite::NOW;
            assert_eq!(event, numbered(number), "it is as it was written");
            found.push(number);
        }
    }
    found.sort_unstable();
    found
}

#[test]
fn everything_acknowledged_survives_twenty_kills() {
    let dir = tempfile::tempdir().unwrap();
    let mut next = 0;
    let mut held = BTreeSet::new();
    for kill in 0..KILLS {
        // Some are killed while they open the store.
        let lines = (splitmix64(kill) % 150) as usize * usize::from(kill % 5 != 1);
        let acknowledged = write_and_kill(dir.path(), next, lines);
        let mut store = open(dir.path());
        let found = stored(&mut store);
        let distinct: BTreeSet<u64> = found.iter().copied().collect();
        assert_eq!(distinct.len(), found.len(), "nothing twice");
        // Of an append that was cut off any part may be there; what was seen once stays.
        held.extend(next..acknowledged);
        let lost: Vec<&u64> = held.difference(&distinct).collect();
        assert!(lost.is_empty(), "{lost:?} of {acknowledged} are lost");
        next = distinct.last().map_or(next, |last| last + 1);
        held = distinct;
    }
    assert!(next > 1_000, "only {next} events were written");
}

fn journal_files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.join("journal")).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn with_three_appends(dir: &Path) -> Vec<SharedEvent> {
    let stored: Vec<_> = (1..=3).map(|ms| message(ms, "hi")).collect();
    let mut store = Blocking::open(config(dir, Size::Usual), OWNER).unwrap();
    for event in &stored {
        store.append(std::slice::from_ref(event)).unwrap();
    }
    stored
}

/// Where the text of the `nth` message begins in the journal's file.
fn place_of_body(bytes: &[u8], nth: usize) -> usize {
    let places = bytes.windows(4).enumerate();
    let mut places = places.filter(|(_, window)| *window == b"\"hi\"");
    places.nth(nth).unwrap().0
}

#[test]
fn a_torn_end_of_the_journal_loses_only_what_was_torn() {
    let dir = tempfile::tempdir().unwrap();
    let stored = with_three_appends(dir.path());
    let path = &journal_files(dir.path())[0];
    let at = place_of_body(&fs::read(path).unwrap(), 2);
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(at as u64).unwrap();
    let mut store = Blocking::open(config(dir.path(), Size::Usual), OWNER).unwrap();
    assert_eq!(all(&mut store), stored[..2]);
    let again = store.append(&stored[2..]).unwrap();
    assert_eq!(again, [Outcome::Stored { unlisted: true }]);
}

#[test]
fn damage_in_the_middle_of_the_journal_is_said_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    with_three_appends(dir.path());
    let path = &journal_files(dir.path())[0];
    let mut bytes = fs::read(path).unwrap();
    let at = place_of_body(&bytes, 1);
    bytes[at] = b'!';
    fs::write(path, &bytes).unwrap();
    let error = Blocking::open(config(dir.path(), Size::Usual), OWNER).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    let said = error.to_string();
    assert!(said.contains("record 2") && said.contains("move this directory away"));
    assert_eq!(fs::read(path).unwrap(), bytes, "nothing was changed");
}

fn refused(config: Config) -> String {
    let error = Blocking::open(config, OWNER).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    error.to_string()
}

#[test]
fn a_store_that_lost_a_part_is_refused() {
    for part in ["journal/00.journal", "blocks/db", "store"] {
        let dir = tempfile::tempdir().unwrap();
        with_three_appends(dir.path());
        fs::remove_file(dir.path().join(part)).unwrap();
        let said = refused(config(dir.path(), Size::Usual));
        assert!(said.contains("move this directory away"), "{part}: {said}");
    }
}

#[test]
fn a_store_of_another_version_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    with_three_appends(dir.path());
    let path = dir.path().join("store");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(
        &path,
        text.replace("chinwag-history 1", "chinwag-history 2"),
    )
    .unwrap();
    let error = Blocking::open(config(dir.path(), Size::Usual), OWNER).unwrap_err();
    assert!(
        matches!(error, OpenError::Version { found: 2, .. }),
        "{error}"
    );
}

#[test]
fn a_store_whose_making_was_cut_short_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    with_three_appends(dir.path());
    let path = dir.path().join("store");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("state ready", "state new")).unwrap();
    let mut store = Blocking::open(config(dir.path(), Size::Usual), OWNER).unwrap();
    assert_eq!(all(&mut store), []);
}

#[test]
fn a_damaged_snapshot_of_the_database_is_done_without() {
    let dir = tempfile::tempdir().unwrap();
    let stored: Vec<_> = (1..=300).map(|ms| message(ms, "hi")).collect();
    let mut store = open(dir.path());
    store.append(&stored).unwrap();
    store.close().unwrap();
    drop(open(dir.path()));
    for entry in fs::read_dir(dir.path().join("blocks")).unwrap() {
        let path = entry.unwrap().path();
        if path
            .file_name()
            .unwrap()
            .to_string_lossy()
            .starts_with("snap.")
        {
            fs::write(path, b"").unwrap();
        }
    }
    assert_eq!(all(&mut open(dir.path())), stored);
}
