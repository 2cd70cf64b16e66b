//! `thanos.shipper.json` in the data directory: the blocks that need not be shipped any more.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::read_whole;
use crate::disk::Disk;
use crate::tsdb::block::{BlockError, BlockMeta, Ulid, replace_file, tabbed_json};

/// The name that Thanos uses, so that a sidecar can take over from us and we from it.
pub(super) const MEMORY_FILE: &str = "thanos.shipper.json";
const VERSION: u32 = 1;

/// What was shipped, by us or in another block.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Memory(BTreeSet<Ulid>);

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    // The reference writes null for an empty list.
    #[serde(default)]
    uploaded: Option<Vec<Ulid>>,
}

impl Memory {
    /// Reads the file; `None` if there is none or it cannot be used. Then the bucket must be asked instead.
    pub(super) fn read(disk: &dyn Disk, dir: &Path) -> Option<Memory> {
        let path = dir.join(MEMORY_FILE);
        if !disk.exists(&path).unwrap_or(true) {
            return None;
        }
        let why = match read_whole(disk, &path) {
            Err(error) => error.to_string(),
            Ok(bytes) => match serde_json::from_slice::<File>(&bytes) {
                Ok(file) if file.version == VERSION => {
                    return Some(Memory(file.uploaded.unwrap_or_default().into_iter().collect()));
                }
                Ok(file) => format!("version {} instead of {VERSION}", file.version),
                Err(error) => error.to_string(),
            },
        };
        tracing::warn!(path = %path.display(), %why, "what was shipped is not known; the bucket will be asked");
        None
    }

    /// Writes the file: whole or not at all.
    pub(super) fn write(&self, disk: &dyn Disk, dir: &Path) -> Result<(), BlockError> {
        let file = File { version: VERSION, uploaded: Some(self.0.iter().copied().collect()) };
        let json = tabbed_json(&file)
            .map_err(|error| BlockError::Refused(format!("{MEMORY_FILE} cannot be written: {error}")))?;
        replace_file(disk, dir, MEMORY_FILE, &json)
    }

    pub(super) fn has(&self, ulid: Ulid) -> bool {
        self.0.contains(&ulid)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = Ulid> + '_ {
        self.0.iter().copied()
    }

    /// True if that is news.
    pub(super) fn note(&mut self, ulid: Ulid) -> bool {
        self.0.insert(ulid)
    }

    /// Forgets what neither is a block here nor went into one, as it can no longer be of use. True if something was.
    pub(super) fn forget_all_but(&mut self, local: &[BlockMeta]) -> bool {
        let of_use: BTreeSet<Ulid> = local.iter().flat_map(|m| origins(m).chain([m.ulid])).collect();
        let before = self.0.len();
        self.0.retain(|ulid| of_use.contains(ulid));
        self.0.len() < before
    }
}

/// The blocks that went into this one.
pub(super) fn origins(meta: &BlockMeta) -> impl Iterator<Item = Ulid> {
    let compaction = &meta.compaction;
    let all = compaction.sources.iter().copied().chain(compaction.parents.iter().map(|p| p.ulid));
    all.filter(|ulid| *ulid != meta.ulid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tsdb::fixtures::{root, ulid};

    #[test]
    fn the_file_is_the_one_that_thanos_writes() {
        let (disk, dir) = (root(), Path::new("/data"));
        assert_eq!(Memory::read(&disk, dir), None);
        let mut memory = Memory::default();
        assert!(memory.note(ulid(1)) && memory.note(ulid(2)) && !memory.note(ulid(1)));
        memory.write(&disk, dir).unwrap();
        let text = String::from_utf8(disk.read(&dir.join(MEMORY_FILE)).unwrap()).unwrap();
        let expected =
            format!("{{\n\t\"version\": 1,\n\t\"uploaded\": [\n\t\t\"{}\",\n\t\t\"{}\"\n\t]\n}}", ulid(1), ulid(2));
        assert_eq!(text, expected);
        assert_eq!(Memory::read(&disk, dir), Some(memory));
        disk.write(&dir.join(MEMORY_FILE), br#"{"version": 1, "uploaded": null}"#);
        assert_eq!(Memory::read(&disk, dir), Some(Memory::default()));
        for unusable in ["", "{", r#"{"version": 2, "uploaded": []}"#, r#"{"version": 1, "uploaded": ["x"]}"#] {
            disk.write(&dir.join(MEMORY_FILE), unusable.as_bytes());
            assert_eq!(Memory::read(&disk, dir), None, "{unusable}");
        }
    }

    #[test]
    fn only_what_went_into_a_block_here_is_remembered() {
        let mut memory = Memory::default();
        (1..=4).for_each(|n| assert!(memory.note(ulid(n))));
        let mut compacted = BlockMeta::new(ulid(9), 0, 10);
        compacted.compaction.sources = vec![ulid(1), ulid(2)];
        assert!(memory.forget_all_but(&[compacted.clone(), BlockMeta::new(ulid(3), 0, 10)]));
        assert!(memory.has(ulid(1)) && memory.has(ulid(2)) && memory.has(ulid(3)) && !memory.has(ulid(4)));
        assert!(!memory.forget_all_but(&[compacted, BlockMeta::new(ulid(3), 0, 10)]));
    }
}
