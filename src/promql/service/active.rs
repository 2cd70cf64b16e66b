//! The file of the queries that run: what stands in it at the next start did not finish, and may be why the process died.
//!
//! The layout is the reference's, so that its tools and habits go on working: `[`, then slots of 1000 bytes, each empty
//! (zeros) or one JSON object, zeros, and a comma. The file describes a moment, it is not data: writes are not synced, and one
//! that fails only costs the note.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::disk::{Disk, DiskFile};
use crate::model::TimestampMs;

const FILE: &str = "queries.active";
const SLOT: usize = 1000;
/// More than any number of slots takes; what is longer was not written by this program.
const READ_MAX: u64 = 64 << 20;

/// The open file.
#[derive(Debug)]
pub(super) struct ActiveQueries {
    file: Arc<dyn DiskFile>,
    free: Mutex<Vec<usize>>,
    complained: AtomicBool,
}

/// A query's note in the file; dropping it takes the note away.
#[derive(Debug)]
pub(super) struct Noted {
    home: Arc<ActiveQueries>,
    slot: usize,
}

impl ActiveQueries {
    /// Makes an empty file with `slots` slots in the data directory. Also gives the queries that had not finished when the
    /// process ended before, as a JSON array; `None` if all had.
    pub fn open(disk: &dyn Disk, dir: &Path, slots: usize) -> io::Result<(ActiveQueries, Option<String>)> {
        let path = dir.join(FILE);
        let (file, unfinished) = if disk.exists(&path)? {
            let file = disk.open(&path)?;
            let unfinished = read_unfinished(&*file)?;
            file.truncate(0)?;
            (file, unfinished)
        } else {
            (disk.create(&path)?, None)
        };
        let mut content = vec![0; 1 + slots * SLOT];
        content[0] = b'[';
        file.append(&content)?;
        let free = Mutex::new((0..slots).rev().collect());
        Ok((ActiveQueries { file, free, complained: AtomicBool::new(false) }, unfinished))
    }

    /// Writes a query down; `None` if all slots are taken.
    pub fn note(self: &Arc<Self>, query: &str, now: TimestampMs) -> Option<Noted> {
        let slot = self.free.lock().pop()?;
        self.write(slot, &entry(query, now));
        Some(Noted { home: self.clone(), slot })
    }

    fn write(&self, slot: usize, bytes: &[u8; SLOT]) {
        if let Err(error) = self.file.write_at(bytes, (1 + slot * SLOT) as u64)
            && !self.complained.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(%error, "running queries cannot be written down; further such errors are not told");
        }
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        self.home.write(self.slot, &[0; SLOT]);
        self.home.free.lock().push(self.slot);
    }
}

/// A slot's content. A query that is too long is cut.
fn entry(query: &str, now: TimestampMs) -> [u8; SLOT] {
    let end = format!("\",\"timestamp_sec\":{}}}", now.0.div_euclid(1000));
    let mut text = br#"{"query":""#.to_vec();
    for c in query.chars() {
        let quoted = serde_json::Value::from(c.to_string()).to_string();
        let escaped = &quoted.as_bytes()[1..quoted.len() - 1];
        // The last byte is the comma's.
        if text.len() + escaped.len() + end.len() >= SLOT {
            break;
        }
        text.extend_from_slice(escaped);
    }
    text.extend_from_slice(end.as_bytes());
    let mut slot = [0; SLOT];
    slot[..text.len()].copy_from_slice(&text);
    slot[SLOT - 1] = b',';
    slot
}

fn read_unfinished(file: &dyn DiskFile) -> io::Result<Option<String>> {
    let mut bytes = vec![0; usize::try_from(file.len()?.min(READ_MAX)).unwrap_or(0)];
    let got = file.read_at(&mut bytes, 0)?;
    bytes.truncate(got);
    bytes.retain(|b| *b != 0);
    Ok(match bytes.split_last() {
        Some((_, rest)) if !rest.is_empty() => Some(format!("{}]", String::from_utf8_lossy(rest))),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemDisk;

    const DIR: &str = "/data";

    fn open(disk: &MemDisk, slots: usize) -> (Arc<ActiveQueries>, Option<String>) {
        let (active, unfinished) = ActiveQueries::open(disk, Path::new(DIR), slots).unwrap();
        (Arc::new(active), unfinished)
    }

    fn disk() -> MemDisk {
        let disk = MemDisk::new();
        disk.create_dir_all(Path::new(DIR)).unwrap();
        disk
    }

    #[test]
    fn queries_that_did_not_finish_are_told_at_the_next_start() {
        let disk = disk();
        let (active, unfinished) = open(&disk, 3);
        assert_eq!(unfinished, None);
        let done = active.note("done", TimestampMs(1_000)).unwrap();
        let hanging = active.note("a < \"b\\\n", TimestampMs(2_999)).unwrap();
        drop(done);
        std::mem::forget(hanging);
        let (active, unfinished) = open(&disk, 2);
        let queries: serde_json::Value = serde_json::from_str(&unfinished.unwrap()).unwrap();
        assert_eq!(queries, serde_json::json!([{"query": "a < \"b\\\n", "timestamp_sec": 2}]));
        drop(active);
        assert_eq!(open(&disk, 2).1, None, "they are told once");
    }

    #[test]
    fn a_long_query_is_cut_at_a_character_and_stays_json() {
        let disk = disk();
        let (active, _) = open(&disk, 2);
        let notes = ["\u{e9}\"".repeat(1000), "x".repeat(5000)].map(|q| active.note(&q, TimestampMs(0)).unwrap());
        assert!(active.note("no room", TimestampMs(0)).is_none());
        std::mem::forget(notes);
        let queries: serde_json::Value = serde_json::from_str(&open(&disk, 2).1.unwrap()).unwrap();
        assert!(queries[0]["query"].as_str().unwrap().len() > 600 && queries[1]["query"].as_str().unwrap().len() > 900);
    }

    #[test]
    fn a_slot_is_free_again_when_its_query_has_ended() {
        let disk = disk();
        let (active, _) = open(&disk, 1);
        for _ in 0..3 {
            assert!(active.note("up", TimestampMs(0)).is_some());
        }
    }

    #[test]
    fn a_damaged_file_is_told_as_it_is() {
        let disk = disk();
        disk.create(&Path::new(DIR).join(FILE)).unwrap().append(b"\xff\0garbage").unwrap();
        assert_eq!(open(&disk, 1).1.unwrap(), "\u{fffd}garbag]");
    }
}
