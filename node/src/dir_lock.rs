//! The file `lock` in a directory that one process at a time may use.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// A directory is this process's until this is dropped, or the process dies in whatever way.
#[derive(Debug)]
pub(crate) struct DirLock(File);

impl DirLock {
    /// `None`: somebody else has it.
    pub(crate) fn take(dir: &Path) -> io::Result<Option<Self>> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(dir.join("lock"))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Drop for DirLock {
    fn drop(&mut self) {
        // Closing alone leaves it with a child that was forked meanwhile, until that runs its program.
        // Where it fails, closing is what is left.
        let _ = self.0.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_free_again_at_once_though_a_child_still_has_the_file_open() {
        let dir = tempfile::tempdir().unwrap();
        let lock = DirLock::take(dir.path()).unwrap().unwrap();
        let inherited = lock.0.try_clone().unwrap();
        assert!(DirLock::take(dir.path()).unwrap().is_none());
        drop(lock);
        assert!(DirLock::take(dir.path()).unwrap().is_some());
        drop(inherited);
    }
}
