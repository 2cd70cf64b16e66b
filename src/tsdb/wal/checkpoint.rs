//! Replacing old segments by what is still wanted of them.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::record::{self, ExemplarsEncoder, HistogramsEncoder, Kind, RecordError, SamplesEncoder};
use super::{
    Compression, Damage, WriteError, Writer, checkpoint_path, checkpoints, read_segment, segment_path, segments,
};
use crate::disk::Disk;

/// What a checkpoint keeps.
pub(crate) struct Keep<'a> {
    /// Whether a series' records are kept.
    pub(crate) series: &'a dyn Fn(u64) -> bool,
    /// Samples older than this are dropped.
    pub(crate) min_t: i64,
    /// Tombstones that end before this are dropped. It is what a restart would take for the end of all blocks: files of
    /// the head may still hold what lies behind it.
    pub(crate) tombstones_min_t: i64,
}

/// What writing a checkpoint has shown.
#[derive(Debug, Default)]
pub(crate) struct Checkpointed {
    pub(crate) series: u64,
    pub(crate) samples: u64,
    /// What could not be read of the segments replaced.
    pub(crate) damage: Vec<Damage>,
}

/// Output is handed to the system in pieces of about this size.
const FLUSH_BYTES: usize = 1 << 20;
/// Entries of one metadata record.
const METADATA_PER_RECORD: usize = 1000;

/// Writes `checkpoint.last` from the newest checkpoint and the segments up to `last`, then removes those. It has its
/// final name only once it is complete and durable, so a crash leaves either the old files or the new ones in charge.
pub(crate) fn write(disk: &Arc<dyn Disk>, dir: &Path, last: u32, keep: &Keep<'_>) -> Result<Checkpointed, WriteError> {
    let target = checkpoint_path(dir, last);
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source: io::Error| WriteError { path, source }
    };
    let work = PathBuf::from(format!("{}.tmp", target.display()));
    if disk.exists(&work).map_err(at(&work))? {
        disk.remove_dir_all(&work).map_err(at(&work))?;
    }
    disk.create_dir_all(&work).map_err(at(&work))?;

    let writer = Writer::create(disk.clone(), &work, 0, super::super::SEGMENT_SIZE, Compression::Snappy)?;
    let mut copy =
        Copy { writer, keep, failed: None, pending: 0, metadata: BTreeMap::new(), done: Checkpointed::default() };
    for path in sources(&**disk, dir, last).map_err(at(dir))? {
        let file = disk.open(&path).map_err(at(&path))?;
        let read = read_segment(&*file, &path, &mut |r| copy.record(r));
        copy.done.damage.extend(read.damage);
    }
    let done = copy.finish()?;

    disk.sync_dir(&work).map_err(at(&work))?;
    disk.rename(&work, &target).map_err(at(&target))?;
    disk.sync_dir(dir).map_err(at(dir))?;
    remove_replaced(&**disk, dir, last).map_err(at(dir))?;
    Ok(done)
}

/// The files that a checkpoint up to `last` is made of: the newest checkpoint's, then the segments behind it.
fn sources(disk: &dyn Disk, dir: &Path, last: u32) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    let mut from = 0;
    if let Some((index, name)) = checkpoints(disk, dir)?.pop() {
        let checkpoint = dir.join(name);
        paths.extend(segments(disk, &checkpoint)?.into_iter().map(|i| segment_path(&checkpoint, i)));
        from = index + 1;
    }
    paths.extend(segments(disk, dir)?.into_iter().filter(|i| (from..=last).contains(i)).map(|i| segment_path(dir, i)));
    Ok(paths)
}

/// Removes the segments up to `last` and the checkpoints before `checkpoint.last`.
pub(crate) fn remove_replaced(disk: &dyn Disk, dir: &Path, last: u32) -> io::Result<()> {
    for index in segments(disk, dir)?.into_iter().filter(|i| *i <= last) {
        disk.remove_file(&segment_path(dir, index))?;
    }
    for (_, name) in checkpoints(disk, dir)?.into_iter().filter(|(index, _)| *index < last) {
        disk.remove_dir_all(&dir.join(name))?;
    }
    disk.sync_dir(dir)
}

struct Copy<'a> {
    writer: Writer,
    keep: &'a Keep<'a>,
    failed: Option<WriteError>,
    pending: usize,
    /// The newest entry of each series; written at the end.
    metadata: BTreeMap<u64, Vec<u8>>,
    done: Checkpointed,
}

impl Copy<'_> {
    fn record(&mut self, bytes: &[u8]) -> Result<(), RecordError> {
        let keep = self.keep;
        match Kind::of(bytes) {
            Kind::Series => {
                let mut kept = Vec::new();
                record::each_series(bytes, &mut |series, labels| {
                    if (keep.series)(series) {
                        record::push_series(&mut kept, series, crate::model::labels::LabelsIter::over(labels));
                        self.done.series += 1;
                    }
                })?;
                self.push(&kept);
            }
            Kind::Samples | Kind::SamplesV2 => self.samples(bytes)?,
            Kind::Metadata => record::each_metadata(bytes, &mut |series, entry| {
                if (keep.series)(series) {
                    self.metadata.insert(series, entry.to_vec());
                }
            })?,
            Kind::Tombstones => {
                let mut kept = Vec::new();
                record::each_tombstone(bytes, &mut |series, min, max| {
                    if (keep.series)(series) && max >= keep.tombstones_min_t {
                        record::push_tombstone(&mut kept, series, min, max);
                    }
                })?;
                self.push(&kept);
            }
            kind if kind.is_histograms() => self.histograms(bytes)?,
            Kind::Exemplars => {
                let mut kept = ExemplarsEncoder::default();
                record::each_exemplar(bytes, &mut |exemplar| {
                    if (keep.series)(exemplar.series) && exemplar.t >= keep.min_t {
                        kept.push(exemplar);
                    }
                })?;
                self.push(kept.record());
            }
            _ => {}
        }
        Ok(())
    }

    /// What is left may begin without starts, and then becomes two records.
    fn samples(&mut self, bytes: &[u8]) -> Result<(), RecordError> {
        let (min_t, mut kept) = (self.keep.min_t, vec![SamplesEncoder::default()]);
        record::each_sample(bytes, &mut |sample| {
            if sample.t < min_t {
                return;
            }
            if kept.last().is_none_or(|open| !open.takes(sample)) {
                kept.push(SamplesEncoder::default());
            }
            if let Some(open) = kept.last_mut() {
                open.push(sample);
                self.done.samples += 1;
            }
        })?;
        kept.iter().for_each(|record| self.push(record.record()));
        Ok(())
    }

    /// A record of one kind can become several: the first version tells custom bounds apart, and has no starts.
    fn histograms(&mut self, bytes: &[u8]) -> Result<(), RecordError> {
        let (min_t, mut kept) = (self.keep.min_t, vec![HistogramsEncoder::default()]);
        record::each_histogram(bytes, &mut |h| {
            if h.t < min_t {
                return;
            }
            if kept.last().is_none_or(|open| !open.takes(h.start, h.value)) {
                kept.push(HistogramsEncoder::default());
            }
            if let Some(open) = kept.last_mut() {
                open.push(h);
                self.done.samples += 1;
            }
        })?;
        kept.iter().for_each(|record| self.push(record.record()));
        Ok(())
    }

    fn push(&mut self, record: &[u8]) {
        if record.is_empty() || self.failed.is_some() {
            return;
        }
        self.pending += record.len();
        let mut step = self.writer.push(record);
        if self.pending >= FLUSH_BYTES {
            self.pending = 0;
            step = step.and_then(|()| self.writer.flush().map(|_| ()));
        }
        self.failed = step.err();
    }

    fn finish(mut self) -> Result<Checkpointed, WriteError> {
        let entries: Vec<_> = std::mem::take(&mut self.metadata).into_values().collect();
        for some in entries.chunks(METADATA_PER_RECORD) {
            let mut bytes = vec![Kind::Metadata as u8];
            some.iter().for_each(|entry| bytes.extend_from_slice(entry));
            self.push(&bytes);
        }
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.writer.flush()?;
        self.writer.sync()?;
        Ok(self.done)
    }
}
