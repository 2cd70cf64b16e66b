//! Reading files that do not change: mapped where the machine can, by position through a cache elsewhere.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use parking_lot::Mutex;

use super::{Disk, DiskFile};

/// What is read at a time where files are not mapped.
const BLOCK: u64 = 64 << 10;
/// Blocks that the process keeps, 16 MiB of them: on a machine of 32 bits memory is dear, and behind this stands the
/// system's own cache.
const BLOCKS: usize = 256;
/// Reads of more blocks than this go past the cache; they would only push everything else out of it.
const MAX_CACHED_READ: u64 = 4 * BLOCK;

/// The one cache of the process: blocks of all files compete for the same memory.
static CACHE: LazyLock<BlockCache> = LazyLock::new(|| BlockCache::new(BLOCKS));
/// Names files in the cache. A number is never used again, so what is left of a closed file is never taken for another's.
static NEXT_FILE: AtomicU64 = AtomicU64::new(0);

/// An open file whose bytes up to the length at opening do not change any more.
#[derive(Debug)]
pub struct Source {
    bytes: Access,
    len: u64,
}

#[derive(Debug)]
enum Access {
    Mapped(Bytes),
    Positioned { file: Arc<dyn DiskFile>, number: u64 },
}

impl Source {
    /// Opens a file with the length that it has now.
    pub fn open(disk: &dyn Disk, path: &Path) -> io::Result<Source> {
        let file = disk.open(path)?;
        let len = file.len()?;
        Source::new(file, len)
    }

    /// The first `len` bytes of a file, or all if it has fewer.
    pub fn new(file: Arc<dyn DiskFile>, len: u64) -> io::Result<Source> {
        let len = len.min(file.len()?);
        let mapped = match len {
            0 => Some(Bytes::new()),
            _ => file.map(len)?,
        };
        let bytes = match mapped {
            Some(bytes) => Access::Mapped(bytes),
            None => Access::Positioned { file, number: NEXT_FILE.fetch_add(1, Ordering::Relaxed) },
        };
        Ok(Source { bytes, len })
    }

    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether reads give the file's own memory instead of copies.
    pub fn is_mapped(&self) -> bool {
        matches!(self.bytes, Access::Mapped(_))
    }

    /// The `len` bytes at `offset`, or as many as there are. Without a copy where the file is mapped; the mapping lives
    /// as long as the bytes do. Memory is taken only for bytes that the file has.
    pub fn read(&self, offset: u64, len: u64) -> io::Result<Bytes> {
        let start = offset.min(self.len);
        let len = len.min(self.len - start);
        // A length of memory and a place in it: the file was mapped, or the length is about to be allocated.
        let size = usize::try_from(len).map_err(|_| io::ErrorKind::OutOfMemory)?;
        match &self.bytes {
            Access::Mapped(bytes) => {
                let start = start as usize;
                Ok(bytes.slice(start..start + size))
            }
            Access::Positioned { file, .. } if len > MAX_CACHED_READ => {
                let mut bytes = vec![0; size];
                let got = file.read_at(&mut bytes, start)?;
                bytes.truncate(got);
                Ok(bytes.into())
            }
            Access::Positioned { file, number } => self.read_blocks(&**file, *number, start, size),
        }
    }

    fn read_blocks(&self, file: &dyn DiskFile, number: u64, start: u64, size: usize) -> io::Result<Bytes> {
        let mut bytes = Vec::with_capacity(size);
        let end = start + size as u64;
        while start + (bytes.len() as u64) < end {
            let at = start + bytes.len() as u64;
            let (index, skip) = (at / BLOCK, (at % BLOCK) as usize);
            let block = CACHE.get((number, index), || self.read_block(file, index))?;
            let until = block.len().min(skip + size - bytes.len());
            match block.get(skip..until) {
                Some(part) if !part.is_empty() => bytes.extend_from_slice(part),
                // The file has become shorter.
                _ => break,
            }
        }
        Ok(bytes.into())
    }

    fn read_block(&self, file: &dyn DiskFile, index: u64) -> io::Result<Arc<[u8]>> {
        let start = index * BLOCK;
        let mut block = vec![0; BLOCK.min(self.len - start) as usize];
        let got = file.read_at(&mut block, start)?;
        block.truncate(got);
        Ok(block.into())
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if let Access::Positioned { number, .. } = self.bytes {
            CACHE.forget(number);
        }
    }
}

/// A file's number and the block's number in it.
type Key = (u64, u64);

/// Blocks by second chance: a hand goes round and takes the place of the first block that was not used since it came by
/// last.
#[derive(Debug)]
struct BlockCache {
    capacity: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    places: HashMap<Key, usize>,
    slots: Vec<Slot>,
    hand: usize,
}

#[derive(Debug)]
struct Slot {
    key: Key,
    block: Arc<[u8]>,
    used: bool,
}

impl BlockCache {
    fn new(capacity: usize) -> BlockCache {
        BlockCache { capacity, state: Mutex::default() }
    }

    /// The block, read by `read` if it is not there. Others are not held up by the reading; two who miss the same block
    /// both read it.
    fn get(&self, key: Key, read: impl FnOnce() -> io::Result<Arc<[u8]>>) -> io::Result<Arc<[u8]>> {
        if let Some(block) = self.state.lock().find(key) {
            return Ok(block);
        }
        let block = read()?;
        self.state.lock().insert(self.capacity, key, block.clone());
        Ok(block)
    }

    /// Lets the blocks of a file go.
    fn forget(&self, number: u64) {
        let state = &mut *self.state.lock();
        for slot in state.slots.iter_mut().filter(|slot| slot.key.0 == number) {
            state.places.remove(&slot.key);
            (slot.block, slot.used) = (Arc::new([]), false);
        }
    }
}

impl State {
    fn find(&mut self, key: Key) -> Option<Arc<[u8]>> {
        let slot = self.slots.get_mut(*self.places.get(&key)?)?;
        slot.used = true;
        Some(slot.block.clone())
    }

    fn insert(&mut self, capacity: usize, key: Key, block: Arc<[u8]>) {
        if self.places.contains_key(&key) {
            return;
        }
        let slot = Slot { key, block, used: false };
        let place = if self.slots.len() < capacity {
            self.slots.push(slot);
            self.slots.len() - 1
        } else {
            let place = self.free_place();
            if self.places.get(&self.slots[place].key) == Some(&place) {
                self.places.remove(&self.slots[place].key);
            }
            self.slots[place] = slot;
            place
        };
        self.places.insert(key, place);
    }

    /// Ends after two rounds at most: the first one takes every mark away.
    fn free_place(&mut self) -> usize {
        loop {
            let place = self.hand;
            self.hand = (place + 1) % self.slots.len();
            if !std::mem::take(&mut self.slots[place].used) {
                return place;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{MemDisk, RealDisk, UnmappedDisk};

    fn content() -> Vec<u8> {
        (0..5 * BLOCK + 100).map(|i| (i * 31 % 251) as u8).collect()
    }

    /// Reads at every kind of place, in and across blocks, at the end and behind it.
    fn check(source: &Source, content: &[u8]) {
        assert_eq!(source.len(), content.len() as u64);
        let starts =
            [0, 1, BLOCK - 1, BLOCK, BLOCK + 7, 3 * BLOCK, 5 * BLOCK, 5 * BLOCK + 99, 5 * BLOCK + 100, u64::MAX];
        let lengths = [0, 1, 100, BLOCK, BLOCK + 1, 4 * BLOCK, 4 * BLOCK + 1, u64::MAX];
        for (start, len) in starts.iter().flat_map(|s| lengths.map(|l| (*s, l))) {
            let from = start.min(content.len() as u64) as usize;
            let to = start.saturating_add(len).min(content.len() as u64) as usize;
            assert!(source.read(start, len).unwrap() == content[from..to.max(from)], "{len} bytes at {start}");
        }
    }

    #[test]
    fn mapped_and_positioned_reads_bring_the_same_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        RealDisk.create(&path).unwrap().append(&content()).unwrap();
        let mapped = Source::open(&RealDisk, &path).unwrap();
        assert_eq!(matches!(mapped.bytes, Access::Mapped(_)), cfg!(target_pointer_width = "64"));
        check(&mapped, &content());
        let positioned = Source::open(&UnmappedDisk, &path).unwrap();
        assert!(matches!(positioned.bytes, Access::Positioned { .. }));
        check(&positioned, &content());
        let memory = MemDisk::new();
        memory.write(&path, &content());
        check(&Source::open(&memory, &path).unwrap(), &content());
    }

    #[test]
    fn bytes_outlive_the_source_and_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        RealDisk.create(&path).unwrap().append(&content()).unwrap();
        let bytes = Source::open(&RealDisk, &path).unwrap().read(BLOCK, 50).unwrap();
        RealDisk.remove_file(&path).unwrap();
        assert_eq!(bytes, content()[BLOCK as usize..][..50]);
    }

    #[test]
    fn empty_files_and_those_that_grow_are_read_up_to_where_they_were() {
        for disk in [&RealDisk as &dyn Disk, &UnmappedDisk] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("file");
            let file = disk.create(&path).unwrap();
            let empty = Source::open(disk, &path).unwrap();
            file.append(b"12345").unwrap();
            let five = Source::open(disk, &path).unwrap();
            file.append(b"678").unwrap();
            assert_eq!((empty.read(0, 9).unwrap(), five.read(3, 9).unwrap()), (Bytes::new(), Bytes::from("45")));
            assert_eq!(Source::new(file, 2).unwrap().read(0, 9).unwrap(), "12");
        }
    }

    #[test]
    fn the_cache_keeps_its_bound_and_what_is_used() {
        let cache = BlockCache::new(3);
        let block = |n: u8| move || Ok(Arc::from([n]));
        let hit = || Err(io::Error::other("it should have been there"));
        cache.get((1, 0), block(9)).unwrap();
        for n in 0..100u8 {
            assert_eq!(*cache.get((0, u64::from(n)), block(n)).unwrap(), [n]);
            assert_eq!(*cache.get((1, 0), hit).unwrap(), [9]);
        }
        let state = cache.state.lock();
        assert_eq!((state.places.len(), state.slots.len()), (3, 3));
    }

    #[test]
    fn what_a_closed_file_left_is_gone_and_its_places_are_used_again() {
        let cache = BlockCache::new(2);
        let block = || Ok(Arc::from([1]));
        cache.get((1, 0), block).unwrap();
        cache.get((2, 0), block).unwrap();
        cache.forget(1);
        assert!(cache.state.lock().find((1, 0)).is_none());
        cache.get((2, 1), block).unwrap();
        cache.get((2, 2), block).unwrap();
        let state = cache.state.lock();
        assert!(state.places.iter().all(|(key, place)| state.slots[*place].key == *key));
        assert_eq!(state.places.len(), 2);
    }
}
