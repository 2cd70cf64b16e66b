//! Sending one block.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::bucket::{Bucket, BucketError, Content};
use super::pace::Pace;
use super::thanos::BlockFile;
use crate::disk::Disk;
use crate::tsdb::block::{BlockMeta, CHUNKS_DIR, INDEX_FILE, META_FILE, Ulid};

/// The name of a block's object.
pub(super) fn object(ulid: Ulid, file: &str) -> String {
    format!("{ulid}/{file}")
}

/// The files of a block in the order in which they are sent: chunks, then the index. Tombstones are not among them:
/// the readers of buckets know none.
pub(super) fn files(disk: &dyn Disk, dir: &Path) -> Result<Vec<BlockFile>, BucketError> {
    let fail = |path: &Path| {
        let path = path.to_owned();
        move |source: io::Error| BucketError::Content { path, source }
    };
    let chunks = dir.join(CHUNKS_DIR);
    let mut segments = disk.list(&chunks).map_err(fail(&chunks))?;
    segments.retain(|name| name.bytes().all(|b| b.is_ascii_digit()));
    let names = segments.into_iter().map(|name| format!("{CHUNKS_DIR}/{name}")).chain([INDEX_FILE.to_owned()]);
    let sized = names.map(|name| {
        let path: PathBuf = dir.join(&name);
        let len = disk.open(&path).and_then(|f| f.len()).map_err(fail(&path))?;
        Ok(BlockFile { name, path, len })
    });
    sized.collect()
}

/// Sends the files that are not in the bucket yet, and `meta.json` last: a block whose `meta.json` is there is complete.
/// Gives the bytes that were sent.
pub(super) fn upload(
    bucket: &dyn Bucket,
    disk: &dyn Disk,
    files: &[BlockFile],
    meta: &BlockMeta,
    pace: &Pace,
) -> Result<u64, BucketError> {
    let mut sent = 0;
    for file in files {
        pace.check()?;
        let name = object(meta.ulid, &file.name);
        // A block's files never change, and objects are whole: the same length is the same content.
        if bucket.size(&name)? == Some(file.len) {
            continue;
        }
        let open = disk.open(&file.path);
        let open = open.map_err(|source| BucketError::Content { path: file.path.clone(), source })?;
        bucket.put(&name, &mut Content::file(open, file.path.clone(), file.len, pace))?;
        sent += file.len;
    }
    let name = object(meta.ulid, META_FILE);
    let json = meta.to_json().map_err(|error| BucketError::failed("describing the block in", &name, error))?;
    sent += json.len() as u64;
    bucket.put(&name, &mut Content::bytes(Bytes::from(json), pace))?;
    Ok(sent)
}
