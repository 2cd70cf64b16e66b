//! Files in memory, for tests.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::{DirLock, Disk, DiskFile};

/// A file system in memory; clones see the same files.
#[derive(Clone, Debug, Default)]
pub struct MemDisk(Arc<Mutex<Tree>>);

#[derive(Debug, Default)]
struct Tree {
    files: BTreeMap<PathBuf, Arc<MemFile>>,
    dirs: BTreeSet<PathBuf>,
    locks: BTreeSet<PathBuf>,
    /// Bytes that may still be appended before the disk is full.
    room: Option<u64>,
    /// What the disk says of its size.
    total: Option<u64>,
}

impl MemDisk {
    /// An empty disk.
    pub fn new() -> MemDisk {
        MemDisk::default()
    }

    /// A disk with a copy of every file as it is now; locks are not copied. What the death of a process leaves behind.
    pub fn fork(&self) -> MemDisk {
        let tree = self.0.lock();
        let copy = MemDisk(Arc::new(Mutex::new(Tree { dirs: tree.dirs.clone(), ..Tree::default() })));
        for (path, file) in &tree.files {
            let data = Mutex::new(file.data.lock().clone());
            copy.0.lock().files.insert(path.clone(), copy.file(data));
        }
        copy
    }

    /// Lets appends fail once so many more bytes were written; `None` makes the disk endless again.
    pub fn set_room(&self, room: Option<u64>) {
        self.0.lock().room = room;
    }

    /// Sets the size of the disk as [`Disk::total_space`] tells it; `None`, as at first, is an unknown one.
    pub fn set_total_space(&self, total: Option<u64>) {
        self.0.lock().total = total;
    }

    /// The content of a file, if there is one.
    pub fn read(&self, path: &Path) -> Option<Vec<u8>> {
        self.0.lock().files.get(path).map(|f| f.data.lock().clone())
    }

    /// Replaces or creates a file.
    pub fn write(&self, path: &Path, content: &[u8]) {
        let file = self.file(Mutex::new(content.to_vec()));
        self.0.lock().files.insert(path.to_owned(), file);
    }

    fn file(&self, data: Mutex<Vec<u8>>) -> Arc<MemFile> {
        Arc::new(MemFile { data, tree: Arc::downgrade(&self.0) })
    }
}

impl Tree {
    fn take_room(&mut self, wanted: usize) -> usize {
        let Some(room) = &mut self.room else { return wanted };
        let granted = usize::try_from(*room).unwrap_or(usize::MAX).min(wanted);
        *room -= granted as u64;
        granted
    }
}

impl Disk for MemDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut tree = self.0.lock();
        if tree.files.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if path.parent().is_some_and(|dir| !tree.dirs.contains(dir)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if tree.room == Some(0) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let file = self.file(Mutex::default());
        tree.files.insert(path.to_owned(), file.clone());
        Ok(file)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        match self.0.lock().files.get(path) {
            Some(file) => Ok(file.clone()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut tree = self.0.lock();
        if let Some(file) = tree.files.remove(from) {
            tree.files.insert(to.to_owned(), file);
            return Ok(());
        }
        if !tree.dirs.contains(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let moved = |path: &PathBuf| path.strip_prefix(from).ok().map(|rest| to.join(rest));
        tree.dirs = tree.dirs.iter().map(|d| moved(d).unwrap_or_else(|| d.clone())).collect();
        tree.files = tree.files.iter().map(|(p, f)| (moved(p).unwrap_or_else(|| p.clone()), f.clone())).collect();
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        match self.0.lock().files.remove(path) {
            Some(_) => Ok(()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut tree = self.0.lock();
        if !tree.dirs.contains(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        tree.dirs.retain(|d| !d.starts_with(path));
        tree.files.retain(|f, _| !f.starts_with(path));
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let tree = self.0.lock();
        if !tree.dirs.contains(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside = |path: &PathBuf| {
            let name = path.file_name().filter(|_| path.parent() == Some(dir))?;
            Some(name.to_string_lossy().into_owned())
        };
        let names: BTreeSet<_> = tree.files.keys().chain(&tree.dirs).filter_map(inside).collect();
        Ok(names.into_iter().collect())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let tree = self.0.lock();
        Ok(tree.files.contains_key(path) || tree.dirs.contains(path))
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut tree = self.0.lock();
        tree.dirs.extend(dir.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut tree = self.0.lock();
        if tree.files.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = tree.files.get(from).cloned().ok_or(io::ErrorKind::NotFound)?;
        if to.parent().is_some_and(|dir| !tree.dirs.contains(dir)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        tree.files.insert(to.to_owned(), file);
        Ok(())
    }

    fn total_space(&self, _dir: &Path) -> io::Result<u64> {
        self.0.lock().total.ok_or_else(|| io::ErrorKind::Unsupported.into())
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DirLock>> {
        if !self.0.lock().locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(MemLock { disk: self.clone(), path: path.to_owned() }))
    }
}

#[derive(Debug)]
struct MemLock {
    disk: MemDisk,
    path: PathBuf,
}

impl DirLock for MemLock {}

impl Drop for MemLock {
    fn drop(&mut self) {
        self.disk.0.lock().locks.remove(&self.path);
    }
}

struct MemFile {
    data: Mutex<Vec<u8>>,
    /// Where its room is; the tree has the file, and not the other way round.
    tree: Weak<Mutex<Tree>>,
}

impl std::fmt::Debug for MemFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MemFile({} bytes)", self.data.lock().len())
    }
}

impl DiskFile for MemFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let granted = self.tree.upgrade().map_or(bytes.len(), |tree| tree.lock().take_room(bytes.len()));
        self.data.lock().extend_from_slice(&bytes[..granted]);
        if granted < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut data = self.data.lock();
        let end = start + bytes.len();
        if data.len() < end {
            data.resize(end, 0);
        }
        data[start..end].copy_from_slice(bytes);
        Ok(())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let data = self.data.lock();
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(data.len());
        let n = buf.len().min(data.len() - start);
        buf[..n].copy_from_slice(&data[start..start + n]);
        Ok(n)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
        self.data.lock().resize(len, 0);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.data.lock().len() as u64)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::disk::RealDisk;

    /// The same steps on both disks must end in the same listing and content.
    pub(in crate::disk) fn steps(disk: &dyn Disk, root: &Path) -> (Vec<String>, Vec<String>, Vec<u8>) {
        let (a, b) = (root.join("a"), root.join("b"));
        disk.create_dir_all(&a).unwrap();
        let file = disk.create(&a.join("x")).unwrap();
        assert_eq!(disk.create(&a.join("x")).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        file.append(b"hello").unwrap();
        file.append(b" world").unwrap();
        file.write_at(b"J", 0).unwrap();
        file.truncate(7).unwrap();
        file.append(b"!").unwrap();
        disk.create(&a.join("y")).unwrap();
        disk.hard_link(&a.join("x"), &a.join("link")).unwrap();
        assert_eq!(disk.hard_link(&a.join("x"), &a.join("y")).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(disk.hard_link(&a.join("none"), &a.join("n")).unwrap_err().kind(), io::ErrorKind::NotFound);
        disk.remove_file(&a.join("x")).unwrap();
        disk.rename(&a.join("link"), &a.join("x")).unwrap();
        disk.rename(&a.join("y"), &a.join("z")).unwrap();
        disk.rename(&a, &b).unwrap();
        assert_eq!(disk.open(&a.join("x")).unwrap_err().kind(), io::ErrorKind::NotFound);
        disk.sync_dir(&b).unwrap();
        let mut content = vec![0; 100];
        let n = disk.open(&b.join("x")).unwrap().read_at(&mut content, 1).unwrap();
        content.truncate(n);
        disk.remove_file(&b.join("z")).unwrap();
        let out = (disk.list(root).unwrap(), disk.list(&b).unwrap(), content);
        disk.remove_dir_all(&b).unwrap();
        assert!(!disk.exists(&b).unwrap());
        out
    }

    #[test]
    fn memory_behaves_as_the_system_does() {
        let dir = tempfile::tempdir().unwrap();
        let mem = MemDisk::new();
        let root = Path::new("/data");
        mem.create_dir_all(root).unwrap();
        let expected = (vec!["b".to_owned()], vec!["x".to_owned()], b"ello w!".to_vec());
        assert_eq!(steps(&RealDisk, dir.path()), expected);
        assert_eq!(steps(&mem, root), expected);
    }

    #[test]
    fn a_copy_stands_in_for_a_second_name() {
        let disk = MemDisk::new();
        disk.create_dir_all(Path::new("/d")).unwrap();
        let content: Vec<u8> = (0..3_000_000_u32).map(|i| i as u8).collect();
        disk.write(Path::new("/d/a"), &content);
        super::super::copy(&disk, Path::new("/d/a"), Path::new("/d/b")).unwrap();
        assert_eq!(disk.read(Path::new("/d/b")).unwrap(), content);
    }

    #[test]
    fn the_system_tells_the_size_of_its_file_system() {
        let dir = tempfile::tempdir().unwrap();
        assert!(RealDisk.total_space(dir.path()).unwrap() > 1 << 20);
        let disk = MemDisk::new();
        assert_eq!(disk.total_space(Path::new("/")).unwrap_err().kind(), io::ErrorKind::Unsupported);
        disk.set_total_space(Some(9));
        assert_eq!(disk.total_space(Path::new("/")).unwrap(), 9);
    }

    #[test]
    fn files_go_with_the_last_handle_to_their_disk() {
        let disk = MemDisk::new();
        disk.write(Path::new("/f"), b"content");
        let file = Arc::downgrade(disk.0.lock().files.values().next().unwrap());
        let clone = disk.clone();
        drop(disk);
        assert!(file.upgrade().is_some());
        drop(clone);
        assert!(file.upgrade().is_none());
    }

    #[test]
    fn a_full_disk_takes_a_part_and_then_fails() {
        let disk = MemDisk::new();
        disk.create_dir_all(Path::new("/d")).unwrap();
        let file = disk.create(Path::new("/d/f")).unwrap();
        disk.set_room(Some(3));
        assert_eq!(file.append(b"hello").unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(file.len().unwrap(), 3);
    }
}
