//! Logging late samples and putting them into their series.
//!
//! A buffer that is full is written out before the next sample, and the log has the order of these things: the samples of
//! a buffer, the marker of its chunks, the samples of the next buffer. A batch that fills a buffer is therefore taken in
//! rounds, each of which fits all buffers: write out what is full, log markers and samples, insert the samples.

use super::series::{Inserted, Written};
use super::{OutOfOrder, Wbl};
use crate::model::{TimestampMs, Value};
use crate::storage::HistogramRef;
use crate::storage::chunk::TimedValue;
use crate::tsdb::head::Series;
use crate::tsdb::wal::WriteError;
use crate::tsdb::wal::record::markers::{Marker, push_marker};
use crate::tsdb::wal::record::{HistogramsEncoder, SamplesEncoder, WalHistogram, WalSample};

/// A late sample on its way.
#[derive(Clone, Debug)]
pub(crate) struct Late {
    pub(crate) slot: u32,
    /// The series' reference in the log.
    pub(crate) wal_ref: u64,
    pub(crate) sample: TimedValue,
}

impl Late {
    /// A float of a series.
    pub(crate) fn float(slot: u32, series: &Series, t: i64, start: i64, v: f64) -> Late {
        let (t, start, value) = (TimestampMs(t), TimestampMs(start), series.typed(v));
        Late { slot, wal_ref: series.wal_ref, sample: TimedValue { t, start, value } }
    }
}

/// What became of late samples.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Taken {
    /// Samples that are there now.
    pub(crate) new: u64,
    /// Samples not taken, because their buffer has one of that time already.
    pub(crate) known: u64,
    /// Bytes logged.
    pub(crate) bytes: u64,
}

impl OutOfOrder {
    /// Logs and takes late samples; those of one series in the order given. After an error the log's end is in an unknown state and nobody can read what it could not log.
    pub(crate) fn take(&self, log: &Wbl, mut late: Vec<Late>) -> Result<Taken, WriteError> {
        let _changing = self.changing.lock();
        let mut taken = Taken::default();
        late.sort_by_key(|l| l.slot);
        while !late.is_empty() {
            let round = self.plan(late, &mut taken);
            if !round.markers.is_empty() {
                // A marker must not outlive its chunk if the process dies.
                self.chunks.flush()?;
            }
            taken.bytes += log.log(&round.records())?;
            taken.new += round.now.len() as u64;
            for Late { slot, sample, .. } in round.now {
                let inserted = self.with(slot, |series| series.insert(sample));
                debug_assert_eq!(inserted, Inserted::New);
            }
            late = round.later;
        }
        Ok(taken)
    }

    /// Decides what fits the buffers, having written out the full ones. `late` is ordered by slot.
    fn plan(&self, late: Vec<Late>, taken: &mut Taken) -> Round {
        let mut round = Round::default();
        let mut rest = late.into_iter().peekable();
        while let Some((slot, wal_ref)) = rest.peek().map(|l| (l.slot, l.wal_ref)) {
            let mut room = self.room(slot, wal_ref, &mut round.markers);
            let shard = self.shard(slot);
            let series = shard.get(&slot);
            let begin = round.now.len();
            while let Some(next) = rest.next_if(|l| l.slot == slot) {
                if room == 0 {
                    round.later.push(next);
                    continue;
                }
                let t = next.sample.t;
                if series.is_some_and(|s| s.has_buffered(t)) || round.now[begin..].iter().any(|l| l.sample.t == t) {
                    taken.known += 1;
                } else {
                    room -= 1;
                    round.now.push(next);
                }
            }
        }
        round
    }

    /// Samples that a series' buffer takes now, after it was written out if it was full. If that fails it grows: the log
    /// holds its samples, and the next one tries again.
    fn room(&self, slot: u32, wal_ref: u64, markers: &mut Vec<u8>) -> usize {
        let mut shard = self.shard(slot);
        let Some(series) = shard.get_mut(&slot) else { return self.cap };
        if series.buffered() < self.cap {
            return self.cap - series.buffered();
        }
        match self.write_out(series, wal_ref, markers) {
            Ok(()) => self.cap,
            Err(error) => {
                tracing::warn!(%error, "a chunk of out-of-order samples could not be written");
                usize::MAX
            }
        }
    }

    /// Writes a series' buffer to chunks and adds their markers to a record.
    pub(super) fn write_out(
        &self,
        series: &mut super::OooSeries,
        wal_ref: u64,
        markers: &mut Vec<u8>,
    ) -> Result<(), WriteError> {
        let mut written = Vec::new();
        for chunk in series.encode() {
            let (min, max) = (chunk.min, chunk.max);
            let place = self.chunks.append(wal_ref, min.0, max.0, chunk.encoding, true, &chunk.data)?;
            written.push(Written { place, min, max });
        }
        series.replace_buffer(&written);
        for Written { place, .. } in written {
            push_marker(markers, Marker { series: wal_ref, place: place.0 });
        }
        Ok(())
    }
}

/// Samples that fit the buffers as they are.
#[derive(Debug, Default)]
struct Round {
    /// A record of the chunks written out; it stands before the samples.
    markers: Vec<u8>,
    now: Vec<Late>,
    /// What must wait until buffers have been written out.
    later: Vec<Late>,
}

impl Round {
    /// The markers, then the samples. A record holds one kind of them.
    fn records(&self) -> Vec<Vec<u8>> {
        let (mut floats, mut histograms) = (Vec::<SamplesEncoder>::new(), Vec::<HistogramsEncoder>::new());
        for Late { wal_ref, sample: TimedValue { t, start, value }, .. } in &self.now {
            let (series, t, start) = (*wal_ref, t.0, start.0);
            let value = match value {
                Value::Float(v) => {
                    let sample = WalSample { series, t, start, v: *v };
                    record_that(&mut floats, |record| record.takes(sample)).push(sample);
                    continue;
                }
                Value::Histogram(h) => HistogramRef::Integer(h),
                Value::FloatHistogram(h) => HistogramRef::Float(h),
            };
            let record = record_that(&mut histograms, |record| record.takes(start, value));
            record.push(WalHistogram { series, t, start, value });
        }
        let samples = floats.iter().map(SamplesEncoder::record).chain(histograms.iter().map(HistogramsEncoder::record));
        let all = std::iter::once(&self.markers[..]).chain(samples);
        all.filter(|record| !record.is_empty()).map(<[u8]>::to_vec).collect()
    }
}

/// The first record that takes a sample, a new one if none does. Samples of one round have different times, so their order
/// does not matter.
fn record_that<E: Default>(records: &mut Vec<E>, takes: impl Fn(&E) -> bool) -> &mut E {
    let at = records.iter().position(takes).unwrap_or(records.len());
    if at == records.len() {
        records.push(E::default());
    }
    &mut records[at]
}
