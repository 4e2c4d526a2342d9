//! The rules of the journal.

use std::fs;

use mesh::id::StreamId;
use tempfile::TempDir;

use super::*;

const STORE: u128 = 77;
const FILE_BYTES: u64 = 4096;
const FILES_MAX: usize = 3;

fn create() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    Journal::create(dir.path(), STORE, FILE_BYTES).unwrap();
    dir
}

/// Sequence number and entries.
type Read = (u64, Vec<Entry>);

/// Every record that is there, and the journal behind them.
fn replay(dir: &Path) -> Result<(Vec<Read>, Journal), Damage> {
    let mut records = Vec::new();
    let journal = Replay::open(dir, STORE, FILE_BYTES, FILES_MAX)?.run(|record| {
        records.push((record.sequence, record.entries));
        Ok::<_, Damage>(Stamp(0))
    })?;
    Ok((records, journal))
}

fn write(journal: &mut Journal, text: &str, safe: u64) -> Ready {
    let ready = journal.prepare(event_size(text.len()), safe).unwrap();
    if ready == Ready::Yes {
        let mut record = Record::default();
        record.clear();
        record.event(text.as_bytes());
        journal
            .append(&mut record, Stamp(text.len() as u64))
            .unwrap();
    }
    ready
}

fn event(text: &str) -> Vec<Entry> {
    vec![Entry::Event(bytes::Bytes::copy_from_slice(text.as_bytes()))]
}

fn only_file(dir: &Path) -> PathBuf {
    dir.join("00.journal")
}

#[test]
fn records_come_back_in_order_with_all_they_hold() {
    let dir = create();
    let (records, mut journal) = replay(dir.path()).unwrap();
    assert_eq!(records, []);
    let mut record = Record::default();
    record.clear();
    record.event(b"one");
    record.list(StreamId(9));
    record.event(b"");
    assert_eq!(journal.append(&mut record, Stamp(5)).unwrap(), 1);
    assert!(record.is_empty(), "it is emptied by being written");
    write(&mut journal, "two", 0);
    let (records, journal) = replay(dir.path()).unwrap();
    let mut first = event("one");
    first.push(Entry::List(StreamId(9)));
    first.extend(event(""));
    assert_eq!(records, [(1, first), (2, event("two"))]);
    assert_eq!(journal.next(), 3);
}

#[test]
fn a_torn_last_record_is_cut_off_wherever_it_is_torn() {
    let dir = create();
    let (_, mut journal) = replay(dir.path()).unwrap();
    write(&mut journal, "kept", 0);
    let start = journal.end as usize;
    write(&mut journal, &"torn".repeat(30), 0);
    let end = start + RECORD_HEADER + event_size(120);
    let path = only_file(dir.path());
    let whole = fs::read(&path).unwrap();
    for cut in start..end {
        for tail in [0_usize, 1, whole.len() - cut] {
            // Cut off; cut off and one byte of junk; zeroes where the rest should be.
            let mut bytes = whole[..cut].to_vec();
            bytes.resize(cut + tail, if tail == 1 { 0xff } else { 0 });
            if bytes.len() >= whole.len() && bytes == whole {
                continue;
            }
            fs::write(&path, &bytes).unwrap();
            let (records, mut journal) = replay(dir.path()).unwrap();
            let intact = cut + tail >= end && bytes[..end] == whole[..end];
            assert_eq!(records.len(), if intact { 2 } else { 1 }, "cut at {cut}");
            assert_eq!(records[0], (1, event("kept")));
            write(&mut journal, "after", 0);
            let (records, _) = replay(dir.path()).unwrap();
            let last = records.last().unwrap();
            assert_eq!(last.1, event("after"), "cut at {cut}");
        }
    }
}

#[test]
fn a_byte_changed_in_the_last_record_cuts_it_off() {
    let dir = create();
    let (_, mut journal) = replay(dir.path()).unwrap();
    write(&mut journal, "kept", 0);
    let start = journal.end as usize;
    write(&mut journal, "last!", 0);
    let end = start + RECORD_HEADER + event_size(5);
    let path = only_file(dir.path());
    let whole = fs::read(&path).unwrap();
    for at in start..end {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs::write(&path, &bytes).unwrap();
        let (records, _) = replay(dir.path()).unwrap();
        assert_eq!(records, [(1, event("kept"))], "byte {at}");
    }
}

#[test]
fn a_byte_changed_before_a_later_record_is_said_loudly_and_nothing_is_changed() {
    let dir = create();
    let (_, mut journal) = replay(dir.path()).unwrap();
    write(&mut journal, "first", 0);
    let end = FILE_HEADER + RECORD_HEADER + event_size(5);
    write(&mut journal, "second", 0);
    let path = only_file(dir.path());
    let whole = fs::read(&path).unwrap();
    for at in FILE_HEADER..end {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs::write(&path, &bytes).unwrap();
        let damage = replay(dir.path()).unwrap_err();
        assert!(
            matches!(damage, Damage::Gap { missing: 1, .. }),
            "byte {at}: {damage}"
        );
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
}

#[test]
fn a_damaged_file_header_is_said_loudly() {
    let dir = create();
    let (_, mut journal) = replay(dir.path()).unwrap();
    while journal.files() < 2 {
        write(&mut journal, &"x".repeat(500), 0);
    }
    write(&mut journal, "y", 0);
    for name in ["00.journal", "01.journal"] {
        let path = dir.path().join(name);
        let whole = fs::read(&path).unwrap();
        let mut bytes = whole.clone();
        bytes[40] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let result = replay(dir.path());
        if name == "01.journal" {
            assert!(matches!(result, Err(Damage::Gap { .. })), "{result:?}");
        } else {
            // Whether that file was needed, whoever knows what is folded decides.
            assert!(result.unwrap().0[0].0 > 1);
        }
        fs::write(&path, &whole).unwrap();
    }
}

#[test]
fn a_missing_file_in_the_middle_is_said_loudly() {
    let dir = create();
    let (_, mut journal) = replay(dir.path()).unwrap();
    while journal.files() < 3 {
        write(&mut journal, &"x".repeat(500), 0);
    }
    fs::remove_file(dir.path().join("01.journal")).unwrap();
    let damage = replay(dir.path()).unwrap_err();
    assert!(matches!(damage, Damage::Gap { .. }), "{damage}");
}

#[test]
fn a_file_is_used_again_once_nothing_in_it_is_needed() {
    let dir = create();
    let (_, mut journal) = replay(dir.path()).unwrap();
    let body = "x".repeat(700);
    for n in 0..60 {
        // Everything but the last two records is folded.
        let safe = journal.next().saturating_sub(3);
        assert_eq!(write(&mut journal, &body, safe), Ready::Yes, "{n}");
        let (records, _) = replay(dir.path()).unwrap();
        let sequences: Vec<u64> = records.iter().map(|(sequence, _)| *sequence).collect();
        let expected: Vec<u64> = (sequences[0]..journal.next()).collect();
        assert_eq!(sequences, expected, "the newest ones, without a gap");
        assert!(sequences[0] <= safe + 1);
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    assert_eq!(journal.newest(), Stamp(700));
}

#[test]
fn a_journal_whose_files_are_all_needed_waits() {
    let dir = create();
    let (_, mut journal) = replay(dir.path()).unwrap();
    let body = "x".repeat(700);
    let upto = loop {
        match write(&mut journal, &body, 0) {
            Ready::Yes => {}
            Ready::Wait(upto) => break upto,
            Ready::Full => panic!("there is space"),
        }
    };
    assert_eq!(journal.files(), FILES_MAX);
    assert_eq!(journal.oldest_needs(), Some(upto));
    assert_eq!(write(&mut journal, &body, upto - 1), Ready::Wait(upto));
    assert_eq!(write(&mut journal, &body, upto), Ready::Yes);
}

#[test]
fn an_entry_that_no_file_can_hold_does_not_make_the_journal_roll() {
    let dir = create();
    let (_, mut journal) = replay(dir.path()).unwrap();
    assert_eq!(journal.prepare(FILE_BYTES as usize, 0).unwrap(), Ready::Yes);
    assert_eq!(journal.files(), 1);
}

#[test]
fn the_newest_stamp_outlives_the_records_that_had_it() {
    let dir = create();
    let (_, mut journal) = replay(dir.path()).unwrap();
    write(&mut journal, &"x".repeat(1_000), 0);
    for _ in 0..20 {
        let safe = journal.next() - 1;
        write(&mut journal, &"y".repeat(900), safe);
    }
    let (records, journal) = replay(dir.path()).unwrap();
    assert!(
        records
            .iter()
            .all(|(_, entries)| *entries == event(&"y".repeat(900)))
    );
    assert_eq!(journal.newest(), Stamp(1_000));
}

#[test]
fn another_stores_files_are_not_read() {
    let dir = create();
    let damage = Replay::open(dir.path(), STORE + 1, FILE_BYTES, FILES_MAX).unwrap_err();
    assert!(matches!(damage, Damage::Missing(_)), "{damage}");
}
