//! The file seam: every byte that the store writes or reads goes through it, so that tests can run on memory or crash it.
//!
//! [`Disk`] names the operations whose order decides what survives a crash: creating, appending, syncing a file,
//! renaming, syncing a directory. Each is one call, so that an implementation which simulates crashes can lose
//! everything unsynced at any of them. What the law is:
//!
//! * bytes of [`DiskFile::append`] survive the death of the process at once, and that of the machine after
//!   [`DiskFile::sync`];
//! * a created, renamed or removed name survives that of the machine after [`Disk::sync_dir`] of its directory;
//! * a rename replaces its target in one step.
//!
//! [`CrashDisk`] holds every writer to them: it forgets whatever was not synced.
//!
//! It does not buffer, retry or interpret anything, and it is synchronous: callers stand on threads that may wait.
//!
//! Files that do not change any more are read through a [`Source`]: mapped into memory on machines of 64 bits, by position
//! through a small cache elsewhere, because whole data directories do not fit the addresses of 32 bits. A mapping has one
//! danger: if somebody cuts the file while it is read, the system ends the process (SIGBUS). So only what the store itself
//! never shortens is mapped, up to the length that it had when it was opened, and nobody else may write into a data
//! directory, which the lock file says. [`UnmappedDisk`] is for file systems where that does not hold.

mod crash;
mod memory;
mod overlay;
mod real;
mod source;

use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

pub use crash::{CrashDisk, CrashPolicy, Operation};
pub use memory::MemDisk;
pub use overlay::OverlayDisk;
pub use real::{RealDisk, UnmappedDisk};
pub use source::Source;

/// A file system, as far as the store needs one. Errors are those of the system (or look like them).
pub trait Disk: Debug + Send + Sync {
    /// Creates an empty file; fails with `AlreadyExists` if the name is taken.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens a file for reading and writing; fails with `NotFound` if there is none.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Gives a file or directory another name, replacing a file (or an empty directory) of that name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes a directory with everything in it.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;
    /// The names in a directory, ascending.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Whether there is a file or directory of that name.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// Creates a directory and those above it that are missing.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Gives the file `from` a second name; fails with `AlreadyExists` if that is taken. A file system without such names
    /// makes a copy, and a durable one: whoever links a finished file does not sync it again.
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        copy(self, from, to)
    }
    /// Bytes of the file system that holds `dir`, free or not; fails with `Unsupported` if nobody knows.
    fn total_space(&self, dir: &Path) -> io::Result<u64> {
        let _ = dir;
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Makes created, renamed and removed names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Takes the exclusive lock file at `path` until the guard is dropped; fails with `WouldBlock` if another has it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DirLock>>;
}

/// An open file; shared, so that one thread can sync what another goes on appending to.
pub trait DiskFile: Debug + Send + Sync {
    /// Writes all of `bytes` behind the end. After an error an unknown part of them is there.
    fn append(&self, bytes: &[u8]) -> io::Result<()>;
    /// Overwrites from `offset` on.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Reads from `offset` until `buf` is full or the file ends; returns how many bytes there were.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Makes the content durable.
    fn sync(&self) -> io::Result<()>;
    /// Cuts the file to `len` bytes.
    fn truncate(&self, len: u64) -> io::Result<()>;
    /// Its length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// The first `len` bytes, which the file must have, as memory that the system fills when it is looked at; `None` if
    /// this disk or this machine does not do that. The caller promises that they are never changed or cut off.
    fn map(&self, len: u64) -> io::Result<Option<Bytes>> {
        let _ = len;
        Ok(None)
    }
    /// Whether it has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// Proof of holding a lock file; dropping it gives the lock back.
pub trait DirLock: Debug + Send + Sync {}

/// Bytes of a copy that are in memory at a time.
const COPY_BUFFER: usize = 1 << 20;

/// Makes `to` a durable copy of `from`.
fn copy<D: Disk + ?Sized>(disk: &D, from: &Path, to: &Path) -> io::Result<()> {
    let (source, copy) = (disk.open(from)?, disk.create(to)?);
    let mut buffer = vec![0; COPY_BUFFER];
    let mut offset = 0;
    loop {
        let got = source.read_at(&mut buffer, offset)?;
        if got == 0 {
            return copy.sync();
        }
        copy.append(&buffer[..got])?;
        offset += got as u64;
    }
}
