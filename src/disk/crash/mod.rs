//! A disk for tests that forgets what was not synced, as a real one may when the power fails.
//!
//! It keeps two states of everything: what a running system sees, and what is surely on the platter. [`DiskFile::sync`]
//! and [`Disk::sync_dir`] bring the second up to the first, for one file's content or one directory's names.
//! [`CrashDisk::crash`] gives the disk that the machine finds when it comes back: what was durable, and of the rest
//! nothing, all, or some of it ([`CrashPolicy`]): appended bytes may be torn, pages may hold zeros or garbage, names may
//! be there or not, in any combination that the laws of the seam allow. [`CrashDisk::killed`] gives what the death of
//! the process alone leaves.
//!
//! Every operation that changes something has a number, so that a test can die at each in turn
//! ([`CrashDisk::fail_after`], [`CrashDisk::fail_within`]). A single one can be made to fail ([`CrashDisk::inject`]),
//! and the room be limited. A failed sync is as bad as in life: what it should have made durable never is, even if a later
//! one succeeds.
//!
//! What it assumes of real disks: bytes that were synced stay, also beside ones that are torn; a rename within or between
//! directories never loses both names. Under one thread it does the same at each run.

mod tree;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{DirLock, Disk, DiskFile};
use tree::{NodeId, Tree};

/// What of the things that were not synced survives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CrashPolicy {
    /// Nothing.
    LoseAll,
    /// Everything.
    KeepAll,
    /// Some of it, the same for the same seed.
    Random(u64),
}

/// The kinds of operations that change something. Reading, listing and locking are none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// [`DiskFile::append`].
    Append,
    /// [`DiskFile::write_at`].
    WriteAt,
    /// [`DiskFile::sync`].
    Sync,
    /// [`DiskFile::truncate`].
    Truncate,
    /// [`Disk::create`], and each directory of [`Disk::create_dir_all`].
    Create,
    /// [`Disk::rename`].
    Rename,
    /// [`Disk::remove_file`], and each file and directory of [`Disk::remove_dir_all`].
    Remove,
    /// [`Disk::sync_dir`].
    SyncDir,
}

/// A file system in memory that can crash; clones see the same files.
#[derive(Clone, Debug, Default)]
pub struct CrashDisk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    tree: Tree,
    locks: BTreeSet<PathBuf>,
    /// Operations so far.
    done: u64,
    death: Option<Death>,
    faults: Vec<Fault>,
    /// Bytes that may still be written before the disk is full.
    room: Option<u64>,
}

/// From this operation on everything fails.
#[derive(Clone, Copy, Debug)]
struct Death {
    at: u64,
    /// The operation is done, but nobody is told.
    within: bool,
}

/// An operation that will fail once.
#[derive(Clone, Copy, Debug)]
struct Fault {
    operation: Operation,
    /// So many of its kind come before it.
    skip: u64,
    error: io::ErrorKind,
}

/// How an operation goes on.
enum Course {
    Normal,
    /// It is done and fails all the same.
    Unheard,
    Fails(io::Error),
}

fn dead() -> io::Error {
    io::Error::other("the process is dead")
}

impl State {
    fn begin(&mut self, operation: Operation) -> Course {
        let number = self.done;
        self.done += 1;
        match self.death {
            Some(death) if number == death.at && death.within => return Course::Unheard,
            Some(death) if number >= death.at => return Course::Fails(dead()),
            _ => {}
        }
        let mut failing = None;
        for (i, fault) in self.faults.iter_mut().enumerate().filter(|(_, f)| f.operation == operation) {
            match fault.skip.checked_sub(1) {
                Some(left) => fault.skip = left,
                None => failing = Some(i),
            }
        }
        failing.map_or(Course::Normal, |i| Course::Fails(self.faults.remove(i).error.into()))
    }

    /// Does `change` unless the operation fails without an effect.
    fn operate<R>(&mut self, operation: Operation, change: impl FnOnce(&mut State) -> io::Result<R>) -> io::Result<R> {
        match self.begin(operation) {
            Course::Normal => change(self),
            Course::Unheard => change(self).and_then(|_| Err(dead())),
            Course::Fails(error) => Err(error),
        }
    }

    fn take_room(&mut self, wanted: usize) -> usize {
        let Some(room) = &mut self.room else { return wanted };
        let granted = usize::try_from(*room).unwrap_or(usize::MAX).min(wanted);
        *room -= granted as u64;
        granted
    }

    fn remove_all(&mut self, path: &Path) -> io::Result<()> {
        for name in self.tree.names(path).unwrap_or_default() {
            self.remove_all(&path.join(name))?;
        }
        self.operate(Operation::Remove, |state| state.tree.remove(path))
    }
}

impl CrashDisk {
    /// An empty disk.
    pub fn new() -> CrashDisk {
        CrashDisk::default()
    }

    fn of(tree: Tree) -> CrashDisk {
        CrashDisk(Arc::new(Mutex::new(State { tree, ..State::default() })))
    }

    /// How many operations there have been; the next one has this number.
    pub fn operations(&self) -> u64 {
        self.0.lock().done
    }

    /// Lets the operation of that number and all after it fail without an effect. Reading goes on.
    pub fn fail_after(&self, number: u64) {
        self.0.lock().death = Some(Death { at: number, within: false });
    }

    /// As [`CrashDisk::fail_after`], but the operation of that number is done before it fails.
    pub fn fail_within(&self, number: u64) {
        self.0.lock().death = Some(Death { at: number, within: true });
    }

    /// Lets one operation of a kind fail once, after `skip` others of its kind. An append that fails so has written half.
    pub fn inject(&self, operation: Operation, skip: u64, error: io::ErrorKind) {
        self.0.lock().faults.push(Fault { operation, skip, error });
    }

    /// Lets the operations that were to fail and have not come yet succeed; returns how many those are.
    pub fn forget_faults(&self) -> usize {
        std::mem::take(&mut self.0.lock().faults).len()
    }

    /// Lets appends fail once so many more bytes were written, and creations when none is left; `None` makes the disk
    /// endless again.
    pub fn set_room(&self, room: Option<u64>) {
        self.0.lock().room = room;
    }

    /// Makes everything durable as it is now. Not an operation.
    pub fn sync_all(&self) {
        self.0.lock().tree.sync_all();
    }

    /// The content of a file, if there is one.
    pub fn read(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.0.lock();
        let node = state.tree.file(path).ok()?;
        Some(state.tree.content(node).to_vec())
    }

    /// What the machine finds when it comes back. This disk stays as it is, so that it can crash in many ways.
    pub fn crash(&self, policy: CrashPolicy) -> CrashDisk {
        CrashDisk::of(self.0.lock().tree.after_crash(policy))
    }

    /// What the death of the process leaves: everything that was written. What was not synced still is not.
    pub fn killed(&self) -> CrashDisk {
        CrashDisk::of(self.0.lock().tree.clone())
    }
}

impl Disk for CrashDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let node = self.0.lock().operate(Operation::Create, |state| match state.room {
            Some(0) => Err(io::ErrorKind::StorageFull.into()),
            _ => state.tree.create_file(path),
        })?;
        Ok(Arc::new(CrashFile { disk: self.clone(), node }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let node = self.0.lock().tree.file(path)?;
        Ok(Arc::new(CrashFile { disk: self.clone(), node }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.lock().operate(Operation::Rename, |state| state.tree.rename(from, to))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.0.lock().operate(Operation::Remove, |state| {
            state.tree.file(path)?;
            state.tree.remove(path)
        })
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.tree.names(path)?;
        state.remove_all(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.0.lock().tree.names(dir)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.0.lock().tree.find(path).is_ok())
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        let mut missing: Vec<_> = dir.ancestors().take_while(|dir| state.tree.find(dir).is_err()).collect();
        while let Some(dir) = missing.pop() {
            state.operate(Operation::Create, |state| state.tree.create_dir(dir))?;
        }
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.lock().operate(Operation::SyncDir, |state| state.tree.sync_dir(dir))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DirLock>> {
        if !self.0.lock().locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(CrashLock { disk: self.clone(), path: path.to_owned() }))
    }
}

#[derive(Debug)]
struct CrashLock {
    disk: CrashDisk,
    path: PathBuf,
}

impl DirLock for CrashLock {}

impl Drop for CrashLock {
    fn drop(&mut self) {
        self.disk.0.lock().locks.remove(&self.path);
    }
}

#[derive(Debug)]
struct CrashFile {
    disk: CrashDisk,
    node: NodeId,
}

impl DiskFile for CrashFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        let state = &mut *state;
        let end = state.tree.content(self.node).len();
        match state.begin(Operation::Append) {
            Course::Normal => {
                let granted = state.take_room(bytes.len());
                state.tree.write(self.node, end, &bytes[..granted]);
                if granted < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
            }
            Course::Unheard => {
                state.tree.write(self.node, end, bytes);
                Err(dead())
            }
            Course::Fails(error) => {
                let alive = state.death.is_none_or(|death| state.done <= death.at);
                state.tree.write(self.node, end, if alive { &bytes[..bytes.len() / 2] } else { &[] });
                Err(error)
            }
        }
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let write = |state: &mut State| {
            state.tree.write(self.node, start, bytes);
            Ok(())
        };
        self.disk.0.lock().operate(Operation::WriteAt, write)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.0.lock();
        let content = state.tree.content(self.node);
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
        let n = buf.len().min(content.len() - start);
        buf[..n].copy_from_slice(&content[start..start + n]);
        Ok(n)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        let state = &mut *state;
        match state.begin(Operation::Sync) {
            Course::Normal => state.tree.sync(self.node),
            Course::Unheard => {
                state.tree.sync(self.node);
                return Err(dead());
            }
            Course::Fails(error) => {
                state.tree.fail_sync(self.node);
                return Err(error);
            }
        }
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let truncate = |state: &mut State| {
            state.tree.truncate(self.node, len);
            Ok(())
        };
        self.disk.0.lock().operate(Operation::Truncate, truncate)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.0.lock().tree.content(self.node).len() as u64)
    }
}

#[cfg(test)]
mod tests;
