//! The section `thanos` of a shipped block's `meta.json`; `SHIP.md` draws it.

use std::path::PathBuf;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::model::{Labels, TimestampMs};
use crate::tsdb::block::{BlockMeta, META_FILE};

/// The section's name.
const SECTION: &str = "thanos";
/// Who made the block; the reference takes any word here.
const SOURCE: &str = "watershed";

/// A file of a block that becomes an object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct BlockFile {
    /// Its path below the block, with slashes: `chunks/000001`.
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) len: u64,
}

/// `meta.json` as it is shipped: with the labels of this server, and the `files` (all but `meta.json` itself).
pub(super) fn describe(meta: &BlockMeta, labels: &Labels, files: &[BlockFile], now: TimestampMs) -> BlockMeta {
    let mut meta = meta.clone();
    let mut section = match meta.extra.remove(SECTION) {
        // A block that was in a bucket before keeps what was said of it there.
        Some(Value::Object(section)) => section,
        _ => Map::new(),
    };
    let mut all_labels = match section.remove("labels") {
        Some(Value::Object(labels)) => labels,
        _ => Map::new(),
    };
    all_labels.extend(labels.iter().map(|(name, value)| (name.to_owned(), value.into())));
    section.insert("version".to_owned(), 1.into());
    section.insert("labels".to_owned(), all_labels.into());
    section.entry("downsample").or_insert_with(|| json!({"resolution": 0}));
    section.insert("source".to_owned(), SOURCE.into());
    let segments: Vec<&str> = files.iter().filter_map(|f| f.name.strip_prefix("chunks/")).collect();
    section.insert("segment_files".to_owned(), segments.into());
    let mut listed: Vec<Value> = files.iter().map(|f| json!({"rel_path": f.name, "size_bytes": f.len})).collect();
    listed.push(json!({"rel_path": META_FILE}));
    section.insert("files".to_owned(), listed.into());
    if let Ok(now) = Timestamp::from_millisecond(now.0) {
        section.insert("upload_time".to_owned(), now.to_string().into());
    }
    meta.extra.insert(SECTION.to_owned(), section.into());
    meta
}

/// True if the block in a bucket has these labels and full resolution, so that its samples are of the same series as ours.
pub(super) fn is_of(meta: &BlockMeta, labels: &Labels) -> bool {
    let Some(section) = meta.extra.get(SECTION) else { return false };
    let resolution = section["downsample"]["resolution"].as_i64().unwrap_or(0);
    let theirs = section["labels"].as_object().map_or(0, Map::len);
    resolution == 0
        && theirs == labels.iter().count()
        && labels.iter().all(|(name, value)| section["labels"][name].as_str() == Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tsdb::fixtures::ulid;

    fn files() -> Vec<BlockFile> {
        let file = |name: &str, len| BlockFile { name: name.to_owned(), path: PathBuf::from(name), len };
        vec![file("chunks/000001", 10), file("chunks/000002", 20), file("index", 30)]
    }

    #[test]
    fn the_section_names_labels_and_files() {
        let labels = Labels::from_pairs([("site", "garage"), ("replica", "a")]);
        let meta = describe(&BlockMeta::new(ulid(1), 0, 10), &labels, &files(), TimestampMs(1_700_000_000_123));
        let expected = json!({
            "version": 1,
            "labels": {"site": "garage", "replica": "a"},
            "downsample": {"resolution": 0},
            "source": "watershed",
            "segment_files": ["000001", "000002"],
            "files": [
                {"rel_path": "chunks/000001", "size_bytes": 10},
                {"rel_path": "chunks/000002", "size_bytes": 20},
                {"rel_path": "index", "size_bytes": 30},
                {"rel_path": "meta.json"},
            ],
            "upload_time": "2023-11-14T22:13:20.123Z",
        });
        assert_eq!(meta.extra["thanos"], expected);
        assert!(is_of(&meta, &labels));
        for other in [
            Labels::empty(),
            Labels::from_pairs([("site", "garage")]),
            Labels::from_pairs([("site", "x"), ("replica", "a")]),
        ] {
            assert!(!is_of(&meta, &other), "{other}");
        }
        assert!(!is_of(&BlockMeta::new(ulid(1), 0, 10), &labels));
    }

    #[test]
    fn a_block_that_came_from_a_bucket_keeps_what_it_was_given_there() {
        let mut meta = BlockMeta::new(ulid(1), 0, 10);
        meta.extra.insert("thanos".to_owned(), json!({"labels": {"tenant": "t"}, "extensions": 7}));
        let labels = Labels::from_pairs([("site", "garage")]);
        let section = &describe(&meta, &labels, &files(), TimestampMs(0)).extra["thanos"];
        assert_eq!(section["labels"], json!({"tenant": "t", "site": "garage"}));
        assert_eq!((&section["extensions"], &section["source"]), (&json!(7), &json!("watershed")));
    }
}
