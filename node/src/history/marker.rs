//! Whose directory it is: the lock, and a file that says which store of which node is in it.
//!
//! The marker is text, so that an operator can read it. It is written twice when a store is made:
//! as `new` before anything else, as `ready` once all of it is on disk. A directory whose marker
//! still says `new` never held an acknowledged event, and is made anew.

use std::fs::{self, DirBuilder, File};
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use mesh::id::NodeId;

use super::OpenError;
use super::journal::sync_dir;
use crate::dir_lock::DirLock;

const NAME: &str = "store";
/// The version of everything in the directory.
const VERSION: u32 = 1;

/// What the marker says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Marker {
    /// Names this store; random.
    pub(super) store: u128,
    /// Whose it is.
    pub(super) owner: NodeId,
    /// Everything was made.
    pub(super) ready: bool,
}

/// Makes the directory where there is none, and locks it.
pub(super) fn lock(dir: &Path) -> Result<DirLock, OpenError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|e| OpenError::io(dir, e))?;
    let lock = DirLock::take(dir).map_err(|e| OpenError::io(dir, e))?;
    lock.ok_or_else(|| OpenError::Locked {
        dir: dir.to_owned(),
    })
}

/// Reads the marker; `None` where there is none and nothing else either.
pub(super) fn read(dir: &Path) -> Result<Option<Marker>, OpenError> {
    let path = dir.join(NAME);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return if dir.join("journal").exists() || dir.join("blocks").exists() {
                Err(OpenError::damaged(dir, "the file `store` is missing"))
            } else {
                Ok(None)
            };
        }
        Err(e) => return Err(OpenError::io(&path, e)),
    };
    let unreadable = || OpenError::damaged(dir, "the file `store` is unreadable");
    let mut lines = text.lines();
    let mut field = |name: &str| {
        let line = lines.next()?;
        line.strip_prefix(name)?
            .strip_prefix(' ')
            .map(str::to_owned)
    };
    let version = field("chinwag-history").and_then(|text| text.parse::<u32>().ok());
    let version = version.ok_or_else(unreadable)?;
    if version != VERSION {
        return Err(OpenError::Version {
            dir: dir.to_owned(),
            found: version,
            known: VERSION,
        });
    }
    let store = field("id").and_then(|text| u128::from_str_radix(&text, 16).ok());
    let owner = field("node").and_then(|text| text.parse().ok());
    let ready = match field("state").as_deref() {
        Some("new") => Some(false),
        Some("ready") => Some(true),
        _ => None,
    };
    Ok(Some(Marker {
        store: store.ok_or_else(unreadable)?,
        owner: owner.ok_or_else(unreadable)?,
        ready: ready.ok_or_else(unreadable)?,
    }))
}

impl Marker {
    /// For a store that is made now.
    pub(super) fn new(owner: NodeId) -> Self {
        // Two independent hashes under keys from the system's randomness.
        let half = || u128::from(RandomState::new().hash_one(owner.0));
        Self {
            store: half() << 64 | half(),
            owner,
            ready: false,
        }
    }

    /// Puts the marker in the place of the one that was there.
    pub(super) fn write(&self, dir: &Path) -> io::Result<()> {
        let state = if self.ready { "ready" } else { "new" };
        let text = format!(
            "chinwag-history {VERSION}\nid {:032x}\nnode {}\nstate {state}\n",
            self.store, self.owner,
        );
        let temporary = dir.join("store.new");
        let mut file = File::create(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, dir.join(NAME))?;
        sync_dir(dir)
    }
}
