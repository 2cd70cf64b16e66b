//! `meta.json`: what a block is, in words (drawn in `META.md`).

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::BlockError;
use super::bytes::{Sink, Source};
use super::ulid::Ulid;
use crate::disk::Disk;

/// The file's name in a block's directory.
pub const META_FILE: &str = "meta.json";
/// The only version there is.
const VERSION: u32 = 1;
/// What we keep in the file beside what the format has.
const SECTION: &str = "watershed";
/// Sources and parents of thousands of blocks stay far below it.
const MAX_LEN: u64 = 16 << 20;

/// The content of `meta.json`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockMeta {
    /// The block's name, which is its directory's, too.
    pub ulid: Ulid,
    /// No sample is older, in milliseconds since 1970.
    pub min_time: i64,
    /// Every sample is older than this, in milliseconds since 1970.
    pub max_time: i64,
    /// What it holds.
    #[serde(default)]
    pub stats: BlockStats,
    /// Where it comes from.
    pub compaction: Compaction,
    /// The version of this file's format, 1.
    pub version: u32,
    /// What others (Thanos, for one) keep in the file; written back as it was.
    /// Our checksum is put in when it is written and taken out when it is read.
    #[serde(flatten)]
    pub extra: serde_json::Map<String, serde_json::Value>,
}

/// How much a block holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BlockStats {
    /// Samples of every kind.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_samples: u64,
    /// Float samples; older writers leave it out.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_float_samples: u64,
    /// Native histograms; older writers leave it out.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_histogram_samples: u64,
    /// Series.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_series: u64,
    /// Chunks.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_chunks: u64,
    /// Deleted intervals.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_tombstones: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// The compactions that a block went through.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Compaction {
    /// How many; a block cut from the head has 1.
    pub level: u32,
    /// The blocks of level 1 that are in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<Ulid>,
    /// A compaction left no sample; the block may be deleted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deletable: bool,
    /// The blocks that it was made of directly.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<BlockDesc>,
    /// Compacting it went wrong; leave it alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub failed: bool,
    /// Remarks, such as `from-out-of-order`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
}

/// A block in short.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockDesc {
    /// Its name.
    pub ulid: Ulid,
    /// No sample is older.
    pub min_time: i64,
    /// Every sample is older than this.
    pub max_time: i64,
}

impl BlockMeta {
    /// A block cut from the head: level 1 and its own source. `max_time` is exclusive.
    pub fn new(ulid: Ulid, min_time: i64, max_time: i64) -> BlockMeta {
        let compaction = Compaction { level: 1, sources: vec![ulid], ..Compaction::default() };
        let (stats, extra) = (BlockStats::default(), serde_json::Map::new());
        BlockMeta { ulid, min_time, max_time, stats, compaction, version: VERSION, extra }
    }

    /// Reads a block directory's `meta.json`.
    pub fn read(disk: &dyn Disk, dir: &Path) -> Result<BlockMeta, BlockError> {
        let source = Source::open(disk, &dir.join(META_FILE))?;
        if source.len() > MAX_LEN {
            return Err(source.damaged(MAX_LEN, "the file's end"));
        }
        let bytes = source.read(0, source.len(), "the block's description")?;
        let mut meta: BlockMeta = serde_json::from_slice(&bytes).map_err(|error| {
            let before: usize =
                bytes.split_inclusive(|b| *b == b'\n').take(error.line().saturating_sub(1)).map(<[u8]>::len).sum();
            source.damaged((before + error.column()) as u64, format!("a block's description ({error})"))
        })?;
        if meta.version != VERSION {
            return Err(source.damaged(0, format!("version 1, not {}", meta.version)));
        }
        if let Some(section) = meta.extra.remove(SECTION)
            && section["crc32c"].as_str() != Some(&checksum(serde_json::from_slice(&bytes).unwrap_or_default()))
        {
            let expected =
                "a description that fits its checksum; who changed it on purpose takes the section \"watershed\" out";
            return Err(source.damaged(0, expected));
        }
        if meta.min_time > meta.max_time {
            return Err(source.damaged(0, "a minTime that is not behind maxTime"));
        }
        Ok(meta)
    }

    /// Writes `meta.json` into a directory: whole or not at all.
    pub fn write(&self, disk: &dyn Disk, dir: &Path) -> Result<(), BlockError> {
        replace_file(disk, dir, META_FILE, &self.to_json()?)
    }

    /// The content of `meta.json`.
    pub fn to_json(&self) -> Result<Vec<u8>, BlockError> {
        let mut meta = self.clone();
        let json = serde_json::to_value(self).and_then(|whole| {
            meta.extra.insert(SECTION.to_owned(), json!({ "crc32c": checksum(whole) }));
            tabbed_json(&meta)
        });
        json.map_err(|error| BlockError::Refused(format!("a block's description cannot be written: {error}")))
    }
}

/// The checksum of a description without our section.
fn checksum(mut description: Value) -> String {
    if let Some(fields) = description.as_object_mut() {
        fields.remove(SECTION);
    }
    format!("{:08x}", crc32c::crc32c(description.to_string().as_bytes()))
}

/// JSON as the reference indents it.
pub(in crate::tsdb) fn tabbed_json(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut json = Vec::new();
    let tabs = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut json, tabs))?;
    Ok(json)
}

/// Writes a file beside its place, syncs it and puts it there.
pub(in crate::tsdb) fn replace_file(disk: &dyn Disk, dir: &Path, name: &str, content: &[u8]) -> Result<(), BlockError> {
    let (path, temporary) = (dir.join(name), dir.join(format!("{name}.tmp")));
    if disk.exists(&temporary).map_err(|e| BlockError::disk(&temporary, e))? {
        disk.remove_file(&temporary).map_err(|e| BlockError::disk(&temporary, e))?;
    }
    let mut sink = Sink::create(disk, &temporary)?;
    sink.put(content)?;
    sink.finish()?;
    disk.rename(&temporary, &path).map_err(|e| BlockError::disk(&path, e))?;
    disk.sync_dir(dir).map_err(|e| BlockError::disk(dir, e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemDisk;
    use crate::model::TimestampMs;

    #[test]
    fn a_description_is_read_back_with_what_others_keep_in_it() {
        let disk = MemDisk::new();
        let dir = Path::new("/b");
        disk.create_dir_all(dir).unwrap();
        let mut meta = BlockMeta::new(Ulid::generate(TimestampMs(5)), -7, 9);
        meta.compaction.hints.push("from-out-of-order".to_owned());
        meta.compaction.parents.push(BlockDesc { ulid: meta.ulid, min_time: 1, max_time: 2 });
        meta.stats.num_samples = 3;
        meta.extra.insert("thanos".to_owned(), serde_json::json!({"labels": {"a": "b"}}));
        meta.write(&disk, dir).unwrap();
        assert_eq!(BlockMeta::read(&disk, dir).unwrap(), meta);
        assert_eq!(disk.list(dir).unwrap(), ["meta.json"]);
        let json: serde_json::Value = serde_json::from_slice(&disk.read(&dir.join(META_FILE)).unwrap()).unwrap();
        assert_eq!(json["compaction"]["parents"][0]["maxTime"], 2);
        assert_eq!(json["stats"], serde_json::json!({"numSamples": 3}));
    }

    /// Nothing in the file itself tells that a digit of a time has become another.
    #[test]
    fn a_changed_description_is_refused_unless_it_has_no_checksum() {
        let disk = MemDisk::new();
        let dir = Path::new("/b");
        disk.create_dir_all(dir).unwrap();
        let meta = BlockMeta::new(Ulid::generate(TimestampMs(5)), 1_700_000_000_000, 1_700_000_480_000);
        let text = String::from_utf8(meta.to_json().unwrap()).unwrap();
        let put = |text: &str| {
            disk.write(&dir.join(META_FILE), text.as_bytes());
            BlockMeta::read(&disk, dir)
        };
        let changed = text.replace("1700000480000", "1700000080000");
        let error = put(&changed).unwrap_err().to_string();
        assert!(error.starts_with("/b/meta.json: damaged at byte 0: expected a description that fits"), "{error}");
        // Space and order are nothing that counts.
        assert_eq!(put(&text.replace('\t', " ")).unwrap(), meta);
        assert_eq!(put(&serde_json::from_str::<Value>(&text).unwrap().to_string()).unwrap(), meta);
        // The reference writes none.
        let mut without: Value = serde_json::from_str(&changed).unwrap();
        without.as_object_mut().unwrap().remove(SECTION);
        assert_eq!(put(&without.to_string()).unwrap().max_time, 1_700_000_080_000);
    }

    #[test]
    fn another_version_is_refused() {
        let disk = MemDisk::new();
        disk.create_dir_all(Path::new("/b")).unwrap();
        let mut meta = BlockMeta::new(Ulid::generate(TimestampMs(5)), 0, 9);
        meta.version = 2;
        meta.write(&disk, Path::new("/b")).unwrap();
        let error = BlockMeta::read(&disk, Path::new("/b")).unwrap_err().to_string();
        assert_eq!(error, "/b/meta.json: damaged at byte 0: expected version 1, not 2");
    }
}
