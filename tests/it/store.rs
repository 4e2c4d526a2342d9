//! The stores: the list of behaviours for each, and what only the node's own has to survive.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use chinwag::history::{Blocking, Config, OpenError};
use mesh::event::SharedEvent;
use mesh::id::NodeId;
use mesh::store::Store;
use sim::disk::Disk;
use tests::store_suite::Rig;

mod crash;
mod model;

const OWNER: NodeId = NodeId([1; 32]);

struct DiskRig(Disk);

impl Rig for DiskRig {
    fn store(&mut self) -> &mut dyn Store {
        &mut self.0
    }

    fn restart(&mut self) {
        self.0.crash();
    }

    fn set_full(&mut self, full: bool) {
        self.0.set_full(full);
    }
}

/// How the node's store of a test is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Size {
    /// As it ships, but for a journal that is cheap to make.
    Usual,
    /// So small that everything is folded, split, merged and used again all the time.
    Tiny,
}

fn config(dir: &std::path::Path, size: Size) -> Config {
    let usual = Config {
        min_free: 0,
        journal_file_bytes: 4 * 1024 * 1024,
        ..Config::new(dir)
    };
    match size {
        Size::Usual => usual,
        Size::Tiny => Config {
            tail_bytes: 3_000,
            full_tail_bytes: 20,
            block_bytes: 400,
            journal_file_bytes: 256 * 1024,
            journal_files: 2,
            nonces: 16,
            ..usual
        },
    }
}

struct HistoryRig {
    dir: tempfile::TempDir,
    size: Size,
    full: bool,
    store: Option<Blocking>,
}

impl HistoryRig {
    fn new(size: Size) -> Self {
        let mut rig = Self {
            dir: tempfile::tempdir().unwrap(),
            size,
            full: false,
            store: None,
        };
        rig.open();
        rig
    }

    fn open(&mut self) {
        self.store = None;
        let config = Config {
            min_free: if self.full { u64::MAX } else { 0 },
            ..config(self.dir.path(), self.size)
        };
        self.store = Some(Blocking::open(config, OWNER).unwrap());
    }
}

impl Rig for HistoryRig {
    fn store(&mut self) -> &mut dyn Store {
        self.store.as_mut().unwrap()
    }

    fn restart(&mut self) {
        self.open();
    }

    fn set_full(&mut self, full: bool) {
        self.full = full;
        self.open();
    }
}

mod of_the_simulator {
    use super::*;
    tests::store_suite!(DiskRig(Disk::new()));
}

mod of_the_node {
    use super::*;
    tests::store_suite!(HistoryRig::new(Size::Usual));
}

mod of_the_node_when_everything_is_folded_at_once {
    use super::*;
    tests::store_suite!(HistoryRig::new(Size::Tiny));
}

#[test]
fn a_closed_store_has_folded_everything_and_opens_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let stored: Vec<SharedEvent> = (1..100)
        .map(|ms| tests::store_suite::message(ms, "hi"))
        .collect();
    let mut store = Blocking::open(config(dir.path(), Size::Usual), OWNER).unwrap();
    store.append(&stored).unwrap();
    store.close().unwrap();
    let mut store = Blocking::open(config(dir.path(), Size::Usual), OWNER).unwrap();
    assert_eq!(tests::store_suite::all(&mut store), stored);
    let counters = store.history().counters();
    assert!(counters.contains(&("history_tails", 0)), "{counters:?}");
}

#[test]
fn a_store_that_is_open_is_not_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let _open = Blocking::open(config(dir.path(), Size::Usual), OWNER).unwrap();
    let error = Blocking::open(config(dir.path(), Size::Usual), OWNER).unwrap_err();
    assert!(matches!(error, OpenError::Locked { .. }), "{error}");
}

#[test]
fn another_nodes_store_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Blocking::open(config(dir.path(), Size::Usual), OWNER).unwrap();
    let event = tests::store_suite::message(1, "hi");
    store.append(std::slice::from_ref(&event)).unwrap();
    drop(store);
    let stranger = NodeId([2; 32]);
    let error = Blocking::open(config(dir.path(), Size::Usual), stranger).unwrap_err();
    assert!(matches!(error, OpenError::Foreign { owner: OWNER, .. }));
    assert!(error.to_string().contains("move this directory away"));
    let mut store = Blocking::open(config(dir.path(), Size::Usual), OWNER).unwrap();
    assert_eq!(tests::store_suite::all(&mut store), [event]);
}
