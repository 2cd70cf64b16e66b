//! A disk that can be written to without anything being written.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use super::{DirLock, Disk, DiskFile};

/// Shows another disk as it is and keeps all changes in memory. The other disk is only ever asked for names and bytes.
///
/// Files are seen with the length that they had when they were opened first; what others append to them later is not
/// seen. Locks are those of this layer alone: a directory that another process has locked can be read. Nothing is mapped,
/// because nobody promises what the owner of the directory does to its files.
#[derive(Clone, Debug)]
pub struct OverlayDisk {
    base: Arc<dyn Disk>,
    layer: Arc<Mutex<Layer>>,
}

#[derive(Debug, Default)]
struct Layer {
    /// Names about which the base has nothing more to say; below a directory or a gap of this layer it has neither.
    entries: BTreeMap<PathBuf, Entry>,
    locks: BTreeSet<PathBuf>,
}

#[derive(Clone, Debug)]
enum Entry {
    Gone,
    Dir,
    File(Arc<OverlayFile>),
}

impl Layer {
    /// Whether a directory above `path` is this layer's own.
    fn hides(&self, path: &Path) -> bool {
        path.ancestors().skip(1).any(|dir| matches!(self.entries.get(dir), Some(Entry::Gone | Entry::Dir)))
    }

    fn file(&mut self, base: &dyn Disk, path: &Path) -> io::Result<Arc<OverlayFile>> {
        match self.entries.get(path) {
            Some(Entry::File(file)) => return Ok(file.clone()),
            Some(Entry::Gone | Entry::Dir) => return Err(io::ErrorKind::NotFound.into()),
            None if self.hides(path) => return Err(io::ErrorKind::NotFound.into()),
            None => {}
        }
        let file = Arc::new(OverlayFile::over(base.open(path)?)?);
        self.entries.insert(path.to_owned(), Entry::File(file.clone()));
        Ok(file)
    }

    fn exists(&self, base: &dyn Disk, path: &Path) -> io::Result<bool> {
        match self.entries.get(path) {
            Some(Entry::File(_) | Entry::Dir) => Ok(true),
            Some(Entry::Gone) => Ok(false),
            None if self.hides(path) => Ok(false),
            None => base.exists(path),
        }
    }

    fn list(&self, base: &dyn Disk, dir: &Path) -> io::Result<BTreeSet<String>> {
        let mut names: BTreeSet<String> = match self.entries.get(dir) {
            Some(Entry::Dir) => BTreeSet::new(),
            Some(Entry::Gone | Entry::File(_)) => return Err(io::ErrorKind::NotFound.into()),
            None if self.hides(dir) => return Err(io::ErrorKind::NotFound.into()),
            None => base.list(dir)?.into_iter().collect(),
        };
        for (path, entry) in &self.entries {
            let Some(name) = path.file_name().filter(|_| path.parent() == Some(dir)) else { continue };
            let name = name.to_string_lossy().into_owned();
            match entry {
                Entry::Gone => names.remove(&name),
                Entry::Dir | Entry::File(_) => names.insert(name),
            };
        }
        Ok(names)
    }

    /// Takes a directory and everything in it to another name.
    fn move_dir(&mut self, base: &dyn Disk, from: &Path, to: &Path) -> io::Result<()> {
        for name in self.list(base, from)? {
            let (from, to) = (from.join(&name), to.join(&name));
            match self.list(base, &from) {
                Ok(_) => self.move_dir(base, &from, &to)?,
                Err(_) => {
                    let file = self.file(base, &from)?;
                    self.entries.insert(to, Entry::File(file));
                }
            }
        }
        self.remove_dir(from);
        self.entries.insert(to.to_owned(), Entry::Dir);
        Ok(())
    }

    fn remove_dir(&mut self, dir: &Path) {
        self.entries.retain(|path, _| !path.starts_with(dir));
        self.entries.insert(dir.to_owned(), Entry::Gone);
    }
}

impl OverlayDisk {
    /// A layer without changes over `base`.
    pub fn new(base: Arc<dyn Disk>) -> OverlayDisk {
        OverlayDisk { base, layer: Arc::default() }
    }
}

impl Disk for OverlayDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut layer = self.layer.lock();
        if layer.exists(&*self.base, path)? {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if let Some(dir) = path.parent()
            && !dir.as_os_str().is_empty()
            && !layer.exists(&*self.base, dir)?
        {
            return Err(io::ErrorKind::NotFound.into());
        }
        let file = Arc::new(OverlayFile::default());
        layer.entries.insert(path.to_owned(), Entry::File(file.clone()));
        Ok(file)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.layer.lock().file(&*self.base, path)?)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut layer = self.layer.lock();
        if layer.list(&*self.base, from).is_ok() {
            return layer.move_dir(&*self.base, from, to);
        }
        let file = layer.file(&*self.base, from)?;
        layer.entries.insert(from.to_owned(), Entry::Gone);
        layer.entries.insert(to.to_owned(), Entry::File(file));
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut layer = self.layer.lock();
        if !layer.exists(&*self.base, path)? {
            return Err(io::ErrorKind::NotFound.into());
        }
        layer.entries.insert(path.to_owned(), Entry::Gone);
        Ok(())
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut layer = self.layer.lock();
        layer.list(&*self.base, path)?;
        layer.remove_dir(path);
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        Ok(self.layer.lock().list(&*self.base, dir)?.into_iter().collect())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.layer.lock().exists(&*self.base, path)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut layer = self.layer.lock();
        for dir in dir.ancestors().filter(|d| !d.as_os_str().is_empty()) {
            if layer.exists(&*self.base, dir)? {
                break;
            }
            layer.entries.insert(dir.to_owned(), Entry::Dir);
        }
        Ok(())
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut layer = self.layer.lock();
        let file = layer.file(&*self.base, from)?;
        if layer.exists(&*self.base, to)? {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        layer.entries.insert(to.to_owned(), Entry::File(file));
        Ok(())
    }

    fn total_space(&self, dir: &Path) -> io::Result<u64> {
        self.base.total_space(dir)
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DirLock>> {
        if !self.layer.lock().locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(OverlayLock { path: path.to_owned(), layer: self.layer.clone() }))
    }
}

#[derive(Debug)]
struct OverlayLock {
    path: PathBuf,
    layer: Arc<Mutex<Layer>>,
}

impl DirLock for OverlayLock {}

impl Drop for OverlayLock {
    fn drop(&mut self) {
        self.layer.lock().locks.remove(&self.path);
    }
}

#[derive(Debug, Default)]
struct OverlayFile {
    base: Option<Arc<dyn DiskFile>>,
    content: RwLock<Content>,
}

/// What the file holds: the base's first bytes, then others.
#[derive(Debug, Default)]
struct Content {
    kept: u64,
    tail: Vec<u8>,
}

impl OverlayFile {
    fn over(base: Arc<dyn DiskFile>) -> io::Result<OverlayFile> {
        let content = RwLock::new(Content { kept: base.len()?, tail: Vec::new() });
        Ok(OverlayFile { base: Some(base), content })
    }

    fn read_base(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        match &self.base {
            Some(base) => base.read_at(buf, offset),
            None => Ok(0),
        }
    }

    /// Takes everything behind `from` into memory.
    fn detach(&self, content: &mut Content, from: u64) -> io::Result<()> {
        let Some(len) = content.kept.checked_sub(from).filter(|len| *len > 0) else { return Ok(()) };
        let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
        let read = self.read_base(&mut bytes, from)?;
        bytes.truncate(read);
        bytes.append(&mut content.tail);
        *content = Content { kept: from, tail: bytes };
        Ok(())
    }
}

impl DiskFile for OverlayFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.content.write().tail.extend_from_slice(bytes);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut content = self.content.write();
        self.detach(&mut content, offset)?;
        let start = usize::try_from(offset.saturating_sub(content.kept)).map_err(io::Error::other)?;
        let end = start + bytes.len();
        if content.tail.len() < end {
            content.tail.resize(end, 0);
        }
        content.tail[start..end].copy_from_slice(bytes);
        Ok(())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let content = self.content.read();
        let of_base = usize::try_from(content.kept.saturating_sub(offset)).unwrap_or(usize::MAX).min(buf.len());
        let (front, back) = buf.split_at_mut(of_base);
        if !front.is_empty() {
            let read = self.read_base(front, offset)?;
            if read < front.len() {
                return Ok(read);
            }
        }
        let start = usize::try_from(offset.saturating_sub(content.kept)).unwrap_or(usize::MAX);
        let rest = content.tail.get(start..).unwrap_or_default();
        let len = rest.len().min(back.len());
        back[..len].copy_from_slice(&rest[..len]);
        Ok(of_base + len)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut content = self.content.write();
        if len <= content.kept {
            *content = Content { kept: len, tail: Vec::new() };
            return Ok(());
        }
        let tail = usize::try_from(len - content.kept).map_err(io::Error::other)?;
        content.tail.resize(tail, 0);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let content = self.content.read();
        Ok(content.kept + content.tail.len() as u64)
    }

    fn map(&self, len: u64) -> io::Result<Option<Bytes>> {
        match &self.base {
            Some(base) if len <= self.content.read().kept => base.map(len),
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemDisk;
    use proptest::prelude::*;

    const FILES: [&str; 6] = ["/d/a", "/d/b", "/d/sub/a", "/d/sub/c", "/d/other/a", "/d/other/b"];
    const DIRS: [&str; 3] = ["/d", "/d/sub", "/d/other"];

    #[derive(Clone, Debug)]
    enum Step {
        Create(usize),
        Append(usize, Vec<u8>),
        WriteAt(usize, Vec<u8>, u64),
        Truncate(usize, u64),
        Rename(usize, usize),
        RenameDir(usize, usize),
        Remove(usize),
        RemoveDir(usize),
        MakeDir(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let (file, dir) = (0..FILES.len(), 1..DIRS.len());
        let bytes = || prop::collection::vec(any::<u8>(), 0..8);
        prop_oneof![
            file.clone().prop_map(Step::Create),
            (file.clone(), bytes()).prop_map(|(f, b)| Step::Append(f, b)),
            (file.clone(), bytes(), 0..8u64).prop_map(|(f, b, at)| Step::WriteAt(f, b, at)),
            (file.clone(), 0..12u64).prop_map(|(f, len)| Step::Truncate(f, len)),
            (file.clone(), file.clone()).prop_map(|(a, b)| Step::Rename(a, b)),
            (dir.clone(), dir.clone()).prop_map(|(a, b)| Step::RenameDir(a, b)),
            file.prop_map(Step::Remove),
            dir.clone().prop_map(Step::RemoveDir),
            dir.prop_map(Step::MakeDir),
        ]
    }

    /// Does a step where it makes sense; both disks must agree on that.
    fn apply(disk: &dyn Disk, step: &Step) -> bool {
        let (file, dir) = (|n: usize| Path::new(FILES[n]), |n: usize| Path::new(DIRS[n]));
        match step {
            Step::Create(f) => disk.create(file(*f)).is_ok(),
            Step::Append(f, bytes) => disk.open(file(*f)).is_ok_and(|f| f.append(bytes).is_ok()),
            Step::WriteAt(f, bytes, at) => {
                let within = |f: &Arc<dyn DiskFile>| f.len().is_ok_and(|len| *at <= len);
                disk.open(file(*f)).ok().filter(within).is_some_and(|f| f.write_at(bytes, *at).is_ok())
            }
            Step::Truncate(f, len) => {
                let longer = |f: &Arc<dyn DiskFile>| f.len().is_ok_and(|now| *len <= now);
                disk.open(file(*f)).ok().filter(longer).is_some_and(|f| f.truncate(*len).is_ok())
            }
            Step::Rename(a, b) => {
                let free = file(*b).parent().is_some_and(|dir| disk.exists(dir).unwrap());
                a != b && free && disk.open(file(*a)).is_ok() && disk.rename(file(*a), file(*b)).is_ok()
            }
            Step::RenameDir(a, b) => {
                let known = disk.exists(dir(*a)).unwrap() && !disk.exists(dir(*b)).unwrap();
                known && disk.rename(dir(*a), dir(*b)).is_ok()
            }
            Step::Remove(f) => disk.open(file(*f)).is_ok() && disk.remove_file(file(*f)).is_ok(),
            Step::RemoveDir(d) => disk.remove_dir_all(dir(*d)).is_ok(),
            Step::MakeDir(d) => disk.create_dir_all(dir(*d)).is_ok(),
        }
    }

    fn content(disk: &dyn Disk) -> Vec<(String, Option<Vec<u8>>)> {
        let mut seen = Vec::new();
        for dir in DIRS {
            for name in disk.list(Path::new(dir)).unwrap_or_default() {
                let path = format!("{dir}/{name}");
                let bytes = disk.open(Path::new(&path)).ok().map(|file| {
                    let mut bytes = vec![0; file.len().unwrap() as usize];
                    assert_eq!(file.read_at(&mut bytes, 0).unwrap(), bytes.len());
                    bytes
                });
                seen.push((path, bytes));
            }
        }
        seen
    }

    proptest! {
        #[test]
        fn it_behaves_as_the_disk_below_which_stays_as_it_was(
            before in prop::collection::vec(step(), 0..12),
            after in prop::collection::vec(step(), 0..24),
        ) {
            let base = MemDisk::new();
            base.create_dir_all(Path::new("/d/sub")).unwrap();
            before.iter().for_each(|s| { apply(&base, s); });
            let (twin, untouched) = (base.fork(), content(&base));
            let overlay = OverlayDisk::new(Arc::new(base.clone()));
            for step in &after {
                prop_assert_eq!(apply(&overlay, step), apply(&twin, step), "{:?}", step);
                prop_assert_eq!(content(&overlay), content(&twin), "after {:?}", step);
            }
            prop_assert_eq!(content(&base), untouched);
        }
    }

    #[test]
    fn what_is_appended_below_after_opening_is_not_seen() {
        let base = MemDisk::new();
        base.create_dir_all(Path::new("/d")).unwrap();
        base.write(Path::new("/d/a"), b"one");
        let overlay = OverlayDisk::new(Arc::new(base.clone()));
        let file = overlay.open(Path::new("/d/a")).unwrap();
        base.open(Path::new("/d/a")).unwrap().append(b"two").unwrap();
        file.append(b"!").unwrap();
        let mut bytes = [0; 9];
        assert_eq!(file.read_at(&mut bytes, 1).unwrap(), 3);
        assert_eq!(&bytes[..3], b"ne!");
    }

    #[test]
    fn a_lock_is_held_once_and_not_below() {
        let base = Arc::new(MemDisk::new());
        let held = base.lock(Path::new("/lock")).unwrap();
        let overlay = OverlayDisk::new(base);
        let lock = overlay.lock(Path::new("/lock")).unwrap();
        assert_eq!(overlay.lock(Path::new("/lock")).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop((lock, held));
        assert!(overlay.lock(Path::new("/lock")).is_ok());
    }
}
