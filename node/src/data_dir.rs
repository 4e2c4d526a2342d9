//! The data directory: who this node is, and what it must remember from one start to the next.
//!
//! | file | what | lost or unreadable |
//! | --- | --- | --- |
//! | `lock` | held while a node runs on it | – |
//! | `identity` | the secret half of the node's Ed25519 key, 32 bytes, mode 0600 | lost: a new node; unreadable: an error |
//! | `epoch` | the epoch of the latest life, decimal | the clock alone decides; peers that know better report it |
//! | `members` | members worth dialling, with version and checksum | `--peer` alone is dialled |
//! | `ports` | ports last listened on | any free port |
//!
//! Files are replaced as a whole (written beside, flushed, renamed, directory flushed), so that a
//! crash leaves the old or the new one. The history has a directory of its own in here and is not
//! touched. Calls block on the disk: they belong on a thread that may.

#[cfg(test)]
mod tests;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use mesh::id::Epoch;
use mesh::net::Identity;
use mesh::proto::KeptMember;

use crate::dir_lock::DirLock;

/// An open data directory, locked for this process until it is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: DirLock,
}

/// Why a data directory cannot be used. Says what to do.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another node runs on it.
    #[error(
        "{} is in use by another chinwag: stop that one, or give this one another --data directory",
        .0.display()
    )]
    Locked(PathBuf),
    /// The identity is not one.
    #[error(
        "{} is damaged ({found} bytes, 32 expected): restore it, or move the whole data directory \
         away to start as a new node",
        .path.display()
    )]
    Identity {
        /// The file.
        path: PathBuf,
        /// How long it is.
        found: usize,
    },
    /// The disk says no.
    #[error(
        "{action} {}: {source}; see that this user may write there, or name another one with --data",
        .path.display()
    )]
    Disk {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What came of it.
        source: io::Error,
    },
}

/// Ports that a node listened on; those that it had none of are `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ports {
    /// Clients.
    pub listen: Option<u16>,
    /// Peers.
    pub mesh: Option<u16>,
    /// `/metrics`, `/api/`.
    pub admin: Option<u16>,
}

impl DataDir {
    /// Opens it, creating it with mode 0700 where it is missing, and locks it.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        let created = DirBuilder::new().recursive(true).mode(0o700).create(path);
        created.map_err(disk("cannot create", path))?;
        let path = path.to_owned();
        match DirLock::take(&path).map_err(disk("cannot lock", &path))? {
            Some(lock) => Ok(Self { path, _lock: lock }),
            None => Err(DataDirError::Locked(path)),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The node's key, made at the first start.
    pub fn identity(&self) -> Result<Identity, DataDirError> {
        let path = self.path.join("identity");
        let secret = match fs::read(&path) {
            Ok(secret) => secret,
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.new_identity()?,
            Err(error) => return Err(disk("cannot read", &path)(error)),
        };
        warn_if_readable_by_others(&path);
        let found = secret.len();
        let damaged = || DataDirError::Identity { path, found };
        let secret: [u8; 32] = secret.try_into().map_err(|_| damaged())?;
        Ok(Identity::from_secret(secret))
    }

    fn new_identity(&self) -> Result<Vec<u8>, DataDirError> {
        let mut secret = [0; 32];
        let path = self.path.join("identity");
        getrandom::fill(&mut secret)
            .map_err(|error| disk("no random numbers for", &path)(io::Error::other(error)))?;
        self.replace("identity", &secret)?;
        Ok(secret.to_vec())
    }

    /// Begins a new life: the larger of `unix_ms` and one more than the epoch kept, kept in turn.
    pub fn next_epoch(&self, unix_ms: u64) -> Result<Epoch, DataDirError> {
        let kept = self.read_text("epoch")?;
        let kept = kept.and_then(|text| {
            let epoch = text.trim().parse::<u64>();
            if epoch.is_err() {
                tracing::warn!(%text, "the epoch file holds no number and is made anew");
            }
            epoch.ok()
        });
        let epoch = Epoch(unix_ms.max(kept.map_or(0, |kept| kept.saturating_add(1))));
        self.keep_epoch(epoch)?;
        Ok(epoch)
    }

    /// Keeps an epoch: the next start will be above it.
    pub fn keep_epoch(&self, epoch: Epoch) -> Result<(), DataDirError> {
        self.replace("epoch", format!("{}\n", epoch.0).as_bytes())
    }

    /// The members kept by the last [`DataDir::keep_members`]; none, with a warning, where the file
    /// cannot be read or understood.
    pub fn members(&self) -> Vec<KeptMember> {
        let path = self.path.join("members");
        let read = match fs::read(&path) {
            Ok(bytes) => decode_members(&bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error.to_string()),
        };
        read.unwrap_or_else(|why| {
            let path = path.display();
            tracing::warn!(%path, why, "the kept members cannot be used and are forgotten");
            Vec::new()
        })
    }

    /// Keeps members for the next start, instead of those kept before.
    pub fn keep_members(&self, members: &[KeptMember]) -> Result<(), DataDirError> {
        self.replace("members", &encode_members(members))
    }

    /// The ports of the last start; none where that is not known.
    pub fn ports(&self) -> Ports {
        // Ports are a convenience: without the file any free ones do.
        let text = self.read_text("ports").ok().flatten().unwrap_or_default();
        let port = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once('='));
            let (_, port) = lines.find(|(key, _)| *key == name)?;
            port.parse().ok()
        };
        Ports {
            listen: port("listen"),
            mesh: port("mesh"),
            admin: port("admin"),
        }
    }

    /// Keeps the ports of this start.
    pub fn keep_ports(&self, ports: Ports) -> Result<(), DataDirError> {
        let named = [
            ("listen", ports.listen),
            ("mesh", ports.mesh),
            ("admin", ports.admin),
        ];
        let lines = named
            .iter()
            .filter_map(|(name, port)| port.map(|port| format!("{name}={port}\n")));
        self.replace("ports", lines.collect::<String>().as_bytes())
    }

    fn read_text(&self, name: &str) -> Result<Option<String>, DataDirError> {
        let path = self.path.join(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(disk("cannot read", &path)(error)),
        }
    }

    /// Replaces a file so that after a crash it is the old one or the new one, with mode 0600.
    fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), DataDirError> {
        let path = self.path.join(name);
        let beside = self.path.join(format!("{name}.new"));
        let written = (|| {
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&beside)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&beside, &path)?;
            File::open(&self.path)?.sync_all()
        })();
        written.map_err(disk("cannot write", &path))
    }
}

fn disk(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DataDirError {
    let path = path.to_owned();
    move |source| DataDirError::Disk {
        action,
        path,
        source,
    }
}

fn warn_if_readable_by_others(path: &Path) {
    const OTHERS: u32 = 0o077;
    if fs::metadata(path).is_ok_and(|file| file.permissions().mode() & OTHERS != 0) {
        let path = path.display();
        tracing::warn!(%path, "other users of this machine may read the node's secret: chmod 600 it");
    }
}

/// What the file of members starts with; the last byte is its version.
const MEMBERS_HEAD: &[u8; 8] = b"chinwag\x01";

fn encode_members(members: &[KeptMember]) -> Vec<u8> {
    let body = postcard::to_stdvec(members).expect("a member list has no unserialisable part");
    let mut bytes = MEMBERS_HEAD.to_vec();
    bytes.extend(crc32fast::hash(&body).to_le_bytes());
    bytes.extend(body);
    bytes
}

fn decode_members(bytes: &[u8]) -> Result<Vec<KeptMember>, String> {
    let rest = bytes.strip_prefix(MEMBERS_HEAD);
    let rest = rest.ok_or("not a member list of this version")?;
    let (checksum, body) = rest.split_first_chunk::<4>().ok_or("cut short")?;
    if crc32fast::hash(body) != u32::from_le_bytes(*checksum) {
        return Err("the checksum is wrong".to_owned());
    }
    postcard::from_bytes(body).map_err(|error| error.to_string())
}
