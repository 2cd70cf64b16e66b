//! From the write-behind log back into memory, at start; after the write-ahead log, which names the series.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::OutOfOrder;
use super::series::{Inserted, Written};
use crate::disk::Disk;
use crate::model::{TimestampMs, Value};
use crate::storage::Chunk;
use crate::storage::chunk::{TimedValue, decode_values};
use crate::tsdb::head::Head;
use crate::tsdb::head_chunks::{ChunkPlace, FoundChunk};
use crate::tsdb::replay::Replayed;
use crate::tsdb::wal::record::markers::{Marker, each_marker};
use crate::tsdb::wal::record::{self, Kind, RecordError, each_histogram};
use crate::tsdb::wal::repair::{Repair, finish_interrupted, repair_segment};
use crate::tsdb::wal::{Damage, read_segment, segment_path, segments};

/// What reading the log has brought.
#[derive(Debug, Default)]
pub(crate) struct OooReplayed {
    /// The number of the first segment to write.
    pub(crate) next_segment: u32,
    /// Segments read.
    pub(crate) segments: u64,
    /// Samples taken.
    pub(crate) samples: u64,
    /// Samples, markers and chunks on disk whose series the write-ahead log does not name.
    pub(crate) unknown_series: u64,
    /// What could not be read.
    pub(crate) damage: Vec<Damage>,
    /// What was done about it.
    pub(crate) repairs: Vec<(PathBuf, Repair)>,
}

impl OutOfOrder {
    /// Fills this with what an earlier process left in `dir` and in the chunks found, once the write-ahead log has been
    /// read; adds what there is to say to its report. Returns the number of the first segment to write.
    pub(in crate::tsdb) fn restore(
        &self,
        disk: &Arc<dyn Disk>,
        dir: &Path,
        found: &[FoundChunk],
        head: &Head,
        replayed: &mut Replayed,
    ) -> io::Result<u32> {
        let mut foreign = HashSet::new();
        let mut slot_of = |wal_ref| {
            head.reserve_wal_ref(wal_ref);
            let slot = replayed.refs.get(wal_ref)?;
            if head.wal_ref(slot) != wal_ref {
                foreign.insert(wal_ref);
            }
            Some(slot)
        };
        let found = replay(disk, dir, self, found, &mut slot_of)?;
        *self.foreign.lock() = foreign;
        let report = &mut replayed.report;
        report.late_samples = found.samples;
        report.unknown_series += found.unknown_series;
        report.damage.extend(found.damage);
        report.repairs.extend(found.repairs);
        Ok(found.next_segment)
    }
}

/// Takes the late chunks of those found in `chunks_head`, then reads the log in `dir`, if there is one. `slot_of` says
/// where the series of a reference is now. Fails only if the directory itself cannot be worked with.
pub(crate) fn replay(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    ooo: &OutOfOrder,
    found: &[FoundChunk],
    slot_of: &mut dyn FnMut(u64) -> Option<u32>,
) -> io::Result<OooReplayed> {
    let mut replay = Replay { ooo, slot_of, places: HashMap::new(), out: OooReplayed::default() };
    found.iter().filter(|chunk| chunk.out_of_order).for_each(|chunk| replay.chunk(chunk));
    if !disk.exists(dir)? {
        replay.take_all();
        return Ok(replay.out);
    }
    finish_interrupted(&**disk, dir)?;
    let indexes = segments(&**disk, dir)?;
    for pair in indexes.windows(2).filter(|pair| pair[1] != pair[0] + 1) {
        let reason = format!("the segments from {} to {} are missing", pair[0] + 1, pair[1] - 1);
        replay.out.damage.push(Damage { path: dir.to_owned(), offset: 0, reason });
    }
    for &index in &indexes {
        replay.segment(disk, dir, index, Some(&index) == indexes.last());
        replay.out.segments += 1;
        replay.out.next_segment = index + 1;
    }
    // The last segment may be torn anywhere behind its last sync. What was lost there is a marker of samples that the log
    // still has, or both of them were never promised.
    let last = indexes.last().map(|index| segment_path(dir, *index));
    let is_torn =
        |path: &Path, repair: &Repair| last.as_deref() == Some(path) || matches!(repair, Repair::Truncated { .. });
    if replay.out.repairs.iter().any(|(path, repair)| !is_torn(path, repair)) {
        replay.take_all();
    }
    Ok(replay.out)
}

struct Replay<'a> {
    ooo: &'a OutOfOrder,
    slot_of: &'a mut dyn FnMut(u64) -> Option<u32>,
    /// The late chunks on disk that no marker has named yet, with their series' slots.
    places: HashMap<ChunkPlace, (u32, Written)>,
    out: OooReplayed,
}

impl Replay<'_> {
    fn chunk(&mut self, chunk: &FoundChunk) {
        let Some(slot) = self.slot(chunk.series) else { return };
        let written = Written { place: chunk.place, min: TimestampMs(chunk.min), max: TimestampMs(chunk.max) };
        self.places.insert(chunk.place, (slot, written));
    }

    /// Takes the chunks that no marker has named, when markers may be missing. Ordinarily such a chunk is in blocks and only
    /// waits for the rest of its file, or all its samples are in the log: what was deleted of it must not come back.
    fn take_all(&mut self) {
        let mut left: Vec<_> = self.places.drain().collect();
        left.sort_unstable_by_key(|(place, _)| place.0);
        for (_, (slot, written)) in left {
            self.ooo.with(slot, |series| series.found(written));
        }
    }

    fn slot(&mut self, wal_ref: u64) -> Option<u32> {
        let slot = (self.slot_of)(wal_ref);
        self.out.unknown_series += u64::from(slot.is_none());
        slot
    }

    fn segment(&mut self, disk: &Arc<dyn Disk>, dir: &Path, index: u32, is_last: bool) {
        let path = segment_path(dir, index);
        let read = match disk.open(&path) {
            Ok(file) => read_segment(&*file, &path, &mut |bytes| self.record(bytes)),
            Err(error) => {
                let reason = format!("cannot be opened: {error}");
                self.out.damage.push(Damage { path, offset: 0, reason });
                return;
            }
        };
        if read.damage.is_empty() {
            return;
        }
        let repair = repair_segment(disk, dir, index, &read, is_last);
        for damage in &read.damage {
            tracing::warn!(path = %path.display(), offset = damage.offset, reason = damage.reason, "damaged log");
        }
        tracing::warn!(path = %path.display(), ?repair, "repaired log");
        self.out.damage.extend(read.damage);
        self.out.repairs.push((path, repair));
    }

    fn record(&mut self, bytes: &[u8]) -> Result<(), RecordError> {
        // A record is taken whole or not at all.
        record::check(bytes)?;
        match Kind::of(bytes) {
            Kind::Samples | Kind::SamplesV2 => record::each_sample(bytes, &mut |sample| {
                let (t, start, value) = (TimestampMs(sample.t), TimestampMs(sample.start), Value::Float(sample.v));
                self.sample(sample.series, TimedValue { t, start, value });
            }),
            kind if kind.is_histograms() => each_histogram(bytes, &mut |sample| {
                let (t, start, value) = (TimestampMs(sample.t), TimestampMs(sample.start), sample.value.to_value());
                self.sample(sample.series, TimedValue { t, start, value });
            }),
            Kind::MmapMarkers => each_marker(bytes, &mut |marker| self.marker(marker)),
            // Nothing else belongs here; the reference passes over it as well.
            _ => Ok(()),
        }
    }

    /// Buffers may become larger than they do while the store runs: what follows a chunk that is gone comes to the rest.
    fn sample(&mut self, wal_ref: u64, sample: TimedValue) {
        let Some(slot) = self.slot(wal_ref) else { return };
        if self.ooo.with(slot, |series| series.insert(sample)) == Inserted::New {
            self.out.samples += 1;
        }
    }

    /// Takes the chunk, and out of the buffer what it holds. The reference empties the buffer if the chunk's place lies before the last one it has found, whatever is there.
    fn marker(&mut self, marker: Marker) {
        let Some(slot) = self.slot(marker.series) else { return };
        let place = ChunkPlace(marker.place);
        if self.places.get(&place).is_none_or(|(owner, _)| *owner != slot) {
            return;
        }
        let Some((_, written)) = self.places.remove(&place) else { return };
        self.ooo.with(slot, |series| series.found(written));
        let mut held = Vec::new();
        if let Ok((encoding, data)) = self.ooo.chunks.read(place) {
            let chunk = Chunk { min: written.min, max: written.max, encoding, data };
            if decode_values(&chunk, &mut held).is_ok() {
                self.ooo.with(slot, |series| series.drop_buffered(&held));
            }
        }
    }
}
