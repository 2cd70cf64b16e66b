//! One request on its way into the store: batches for the store's calls, slices for its commits.

use super::super::histogram::{Decoded, HistogramIn};
use super::cache::{Key, Known, SeriesCache};
use super::labels::{LabelFault, RawPair, Shown, exemplar_labels, raw_bytes, series_labels};
use super::outcome::{Complaint, Complaints, Failure, Written};
use crate::model::{Exemplar, Labels, Metadata, TimestampMs, is_stale};
use crate::net::protobuf::ProtobufError;
use crate::storage::{
    AppendError, Appendable, Appender, FloatSample, HistogramRef, HistogramSample, Refusal, Refused, SeriesRef,
};

/// Samples are handed over in batches that fit into the first-level cache.
const BATCH: usize = 512;
/// Bytes of decoded histograms that wait to be handed over.
const HISTOGRAM_BATCH_BYTES: usize = 256 << 10;
/// What one commit holds in memory, roughly. A request of any usual size is one commit.
const SLICE_BYTES: usize = 16 << 20;
/// What a float costs until it is committed: its copies in the batch, in the appender and in the log's record.
const FLOAT_BYTES: usize = 80;
/// The same of an exemplar or of metadata beside its texts.
const OTHER_BYTES: usize = 160;

/// Bytes of all texts that one request may spell out for the store: labels of series and of exemplars, metadata. In 2.0 ten
/// bytes name a megabyte of them; honest series that are all new come to a tenth of this in the largest message.
const SPELLED_MAX: usize = 512 << 20;
/// An exemplar with more bytes of labels than this is not even spelled out: stores take 128 characters, of four bytes at most.
const EXEMPLAR_BYTES_MAX: usize = 4 * 128;

/// A series as a request names it.
#[derive(Clone, Copy, Debug)]
pub(super) struct At<'m> {
    /// The message `TimeSeries`.
    pub(super) text: &'m [u8],
    /// Everything that names the series, hashed; `None` if the message says it in an unusual way.
    pub(super) key: Option<Key>,
}

/// Reads again what names a series.
pub(super) trait Names<'m> {
    /// Appends the series' labels.
    fn pairs(&self, series: &'m [u8], out: &mut Vec<RawPair<'m>>) -> Result<(), NamesError>;
}

/// Why labels cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum NamesError {
    #[error(transparent)]
    Message(#[from] ProtobufError),
    #[error(transparent)]
    Fault(#[from] LabelFault),
}

/// Why a request ends early.
#[derive(Debug)]
pub(super) enum Stop {
    Message(ProtobufError),
    TooManySymbols,
    TooMuchText,
    Store(AppendError),
}

impl From<ProtobufError> for Stop {
    fn from(error: ProtobufError) -> Stop {
        Stop::Message(error)
    }
}

impl From<AppendError> for Stop {
    fn from(error: AppendError) -> Stop {
        Stop::Store(error)
    }
}

/// An exemplar as a request has it.
pub(super) struct RawExemplar<'p, 'm> {
    pub(super) pairs: Result<&'p [RawPair<'m>], LabelFault>,
    pub(super) value: f64,
    /// 0 for none.
    pub(super) t: i64,
}

/// What a series brings.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Contents {
    pub(super) samples: u64,
    pub(super) histograms: u64,
    pub(super) exemplars: u64,
}

impl Contents {
    /// What is counted when the series is refused.
    fn all(self) -> u64 {
        match self.samples + self.histograms {
            0 => self.exemplars,
            n => n,
        }
    }
}

/// A histogram that waits to be handed over.
struct PendingHistogram<'m> {
    at: At<'m>,
    series: SeriesRef,
    sample: HistogramIn,
}

impl PendingHistogram<'_> {
    /// What the store is given; only sound ones are pending.
    fn sample(&self) -> Option<HistogramSample<'_>> {
        let value = match &self.sample.value {
            Decoded::Integer(h) => HistogramRef::Integer(h),
            Decoded::Float(h) => HistogramRef::Float(h),
            Decoded::Malformed(_) => return None,
        };
        Some(HistogramSample { series: self.series, t: self.sample.t, start: self.sample.start, value })
    }

    fn is_stale(&self) -> bool {
        match &self.sample.value {
            Decoded::Integer(h) => is_stale(h.sum),
            Decoded::Float(h) => is_stale(h.sum),
            Decoded::Malformed(_) => false,
        }
    }
}

/// What is in the open slice.
#[derive(Default)]
struct Slice {
    taken: Written,
    /// Refused samples and histograms that the store's report will count.
    refused: u64,
    refused_histograms: u64,
    by_reason: Refused,
    weight: usize,
    /// What to note in the cache once it is committed.
    metadata: Vec<(Key, Known)>,
}

/// One request on its way into the store.
pub(super) struct Intake<'s, 'm, N> {
    store: &'s dyn Appendable,
    pub(super) cache: &'s SeriesCache,
    names: &'s N,
    appender: Option<Box<dyn Appender + 's>>,
    /// Samples after this are refused.
    max_t: TimestampMs,
    minute: u32,
    floats: Vec<FloatSample>,
    starts: Vec<TimestampMs>,
    has_starts: bool,
    float_ats: Vec<At<'m>>,
    histograms: Vec<PendingHistogram<'m>>,
    histogram_bytes: usize,
    slice: Slice,
    written: Written,
    complaints: Complaints,
    pairs: Vec<RawPair<'m>>,
    /// Bytes of texts that were spelled out.
    spelled: usize,
}

impl<'s, 'm, N: Names<'m>> Intake<'s, 'm, N> {
    pub(super) fn new(
        store: &'s dyn Appendable,
        cache: &'s SeriesCache,
        names: &'s N,
        now: TimestampMs,
        max_t: TimestampMs,
    ) -> Intake<'s, 'm, N> {
        Intake {
            store,
            cache,
            names,
            appender: None,
            max_t,
            minute: u32::try_from(now.0 / 60_000).unwrap_or(0),
            floats: Vec::with_capacity(BATCH),
            starts: Vec::with_capacity(BATCH),
            has_starts: false,
            float_ats: Vec::with_capacity(BATCH),
            histograms: Vec::new(),
            histogram_bytes: 0,
            slice: Slice::default(),
            written: Written::default(),
            complaints: Complaints::default(),
            pairs: Vec::new(),
            spelled: 0,
        }
    }

    /// The store's reference for a series; `None` if it is refused, which is noted.
    #[inline]
    pub(super) fn series(&mut self, at: At<'m>, contents: Contents) -> Result<Option<Known>, Stop> {
        if let Some(known) = at.key.and_then(|key| self.cache.get(key, self.minute)) {
            return Ok(Some(known));
        }
        match self.resolve(at)? {
            Ok(series) => {
                self.settle()?;
                Ok(Some(Known { series, metadata: 0 }))
            }
            Err(fault) => {
                self.complain(fault.into(), contents.all(), at, None);
                Ok(None)
            }
        }
    }

    /// Takes a float.
    #[inline]
    pub(super) fn float(&mut self, at: At<'m>, sample: FloatSample, start: TimestampMs) -> Result<(), Stop> {
        if sample.t > self.max_t {
            self.complain(Refusal::TooFarInFuture.into(), 1, at, Some(sample.t));
            return Ok(());
        }
        // A series may bring both kinds, and their order is that of the message.
        if !self.histograms.is_empty() {
            self.flush_histograms()?;
        }
        self.floats.push(sample);
        self.starts.push(start);
        self.has_starts |= start.0 != 0;
        self.float_ats.push(at);
        if self.floats.len() < BATCH {
            return Ok(());
        }
        self.flush_floats()?;
        self.settle()
    }

    /// Takes a native histogram.
    pub(super) fn histogram(&mut self, at: At<'m>, series: SeriesRef, sample: HistogramIn) -> Result<(), Stop> {
        if let Decoded::Malformed(why) = &sample.value {
            let about = format!("{}: {why}", self.describe(at, Some(sample.t)));
            self.complaints.add(Refusal::Malformed.into(), 1, || about);
            return Ok(());
        }
        if sample.t > self.max_t {
            self.complain(Refusal::TooFarInFuture.into(), 1, at, Some(sample.t));
            return Ok(());
        }
        if !self.floats.is_empty() {
            self.flush_floats()?;
        }
        self.histogram_bytes += sample.value.weight();
        self.histograms.push(PendingHistogram { at, series, sample });
        let is_full = self.histograms.len() >= BATCH || self.histogram_bytes >= HISTOGRAM_BATCH_BYTES;
        if !is_full {
            return Ok(());
        }
        self.flush_histograms()?;
        self.settle()
    }

    /// Notes that a series of so many bytes of labels brings exemplars, also if the store has known it for long: they wait
    /// with its labels for the commit, and the store looks up each of them by these.
    pub(super) fn expect_exemplars(&mut self, label_bytes: usize, exemplars: u64) -> Result<(), Stop> {
        self.slice.weight = self.slice.weight.saturating_add(label_bytes);
        self.spell(label_bytes.saturating_mul(usize::try_from(exemplars).unwrap_or(usize::MAX)))
    }

    /// Takes an exemplar. `complains`: whether one that the store does not keep is told.
    pub(super) fn exemplar(
        &mut self,
        at: At<'m>,
        series: SeriesRef,
        raw: &RawExemplar<'_, 'm>,
        complains: bool,
    ) -> Result<(), Stop> {
        let complaint = match self.spell_exemplar(raw)? {
            Ok(exemplar) => self.append_exemplar(at, series, &exemplar)?,
            Err(complaint) => Some(complaint),
        };
        match complaint {
            None => self.slice.taken.exemplars += 1,
            Some(complaint) if complains => self.complain(complaint, 1, at, None),
            Some(_) => {}
        }
        self.settle()
    }

    /// Spells out an exemplar, unless it is refused whatever its labels are.
    fn spell_exemplar(&mut self, raw: &RawExemplar<'_, 'm>) -> Result<Result<Exemplar, Complaint>, Stop> {
        let pairs = match raw.pairs {
            // It would be one of 1970, and no two of a series could be told apart.
            Ok(_) if raw.t == 0 => return Ok(Err(Complaint::UntimedExemplar)),
            Ok(_) if raw.t > self.max_t.0 => return Ok(Err(Complaint::FutureExemplar)),
            Ok(pairs) => pairs,
            Err(fault) => return Ok(Err(Complaint::ExemplarLabels(fault))),
        };
        let bytes = match raw_bytes(pairs) {
            Ok(bytes @ ..=EXEMPLAR_BYTES_MAX) => bytes,
            Ok(_) | Err(_) => return Ok(Err(Complaint::LongExemplar)),
        };
        self.spell(bytes)?;
        let labels = exemplar_labels(pairs).map_err(Complaint::ExemplarLabels);
        Ok(labels.map(|labels| Exemplar { labels, value: raw.value, t: Some(TimestampMs(raw.t)) }))
    }

    fn append_exemplar(
        &mut self,
        at: At<'m>,
        series: SeriesRef,
        exemplar: &Exemplar,
    ) -> Result<Option<Complaint>, Stop> {
        let one = std::slice::from_ref(exemplar);
        let t = exemplar.t.unwrap_or_default();
        if !self.appender().append_exemplars(series, t, one)? {
            // The series has gone since it was cached.
            match self.resolve(at)? {
                Ok(series) => drop(self.appender().append_exemplars(series, t, one)?),
                Err(fault) => return Ok(Some(fault.into())),
            }
        }
        self.slice.weight += OTHER_BYTES + exemplar.labels.as_bytes().len();
        let refused = self.appender().refused_exemplars();
        Ok(match (refused.out_of_order, refused.too_long) {
            (0, 0) => None,
            (0, _) => Some(Complaint::LongExemplar),
            _ => Some(Complaint::LateExemplar),
        })
    }

    /// Notes what a series says of itself. `hash` stands for the metadata and is not 0.
    pub(super) fn metadata(&mut self, at: At<'m>, known: Known, metadata: &Metadata, hash: u32) -> Result<(), Stop> {
        let bytes = metadata.help.len() + metadata.unit.len();
        self.spell(bytes)?;
        let mut series = known.series;
        if !self.appender().set_metadata(series, metadata)? {
            match self.resolve(at)? {
                Ok(again) => series = again,
                // It was resolved before.
                Err(_) => return Ok(()),
            }
            self.appender().set_metadata(series, metadata)?;
        }
        self.slice.weight += OTHER_BYTES + bytes;
        if let Some(key) = at.key {
            self.slice.metadata.push((key, Known { series, metadata: hash }));
        }
        self.settle()
    }

    /// Commits if enough has come together.
    #[inline]
    fn settle(&mut self) -> Result<(), Stop> {
        if self.slice.weight < SLICE_BYTES { Ok(()) } else { self.commit() }
    }

    /// Notes something that is not written.
    #[cold]
    pub(super) fn complain(&mut self, complaint: Complaint, count: u64, at: At<'m>, t: Option<TimestampMs>) {
        let about = self.describe(at, t);
        self.complaints.add(complaint, count, || about);
    }

    /// Ends the request. What was committed stays, the rest is rolled back if `walked` is an error.
    pub(super) fn finish(mut self, walked: Result<(), Stop>) -> (Written, Complaints, Option<Failure>) {
        let end = walked.and_then(|()| self.commit());
        let failure = match end {
            Ok(()) => self.complaints.text().map(Failure::Invalid),
            Err(stop) => Some(stop.into()),
        };
        (self.written, self.complaints, failure)
    }

    fn appender(&mut self) -> &mut (dyn Appender + 's) {
        let store = self.store;
        &mut **self.appender.get_or_insert_with(|| store.appender())
    }

    /// Finds or creates a series by its labels.
    #[cold]
    fn resolve(&mut self, at: At<'m>) -> Result<Result<SeriesRef, LabelFault>, Stop> {
        self.pairs.clear();
        match self.names.pairs(at.text, &mut self.pairs) {
            Ok(()) => {}
            Err(NamesError::Message(error)) => return Err(error.into()),
            Err(NamesError::Fault(fault)) => return Ok(Err(fault)),
        }
        let labels = match self.spell_labels()? {
            Ok(labels) => labels,
            Err(fault) => return Ok(Err(fault)),
        };
        let series = self.appender().series(&labels)?;
        // A new series waits with its labels for the commit that logs it.
        self.slice.weight += OTHER_BYTES + labels.as_bytes().len();
        if let Some(key) = at.key {
            self.cache.put(key, Known { series, metadata: 0 }, self.minute);
        }
        Ok(Ok(series))
    }

    /// The labels of the pairs that were read last.
    fn spell_labels(&mut self) -> Result<Result<Labels, LabelFault>, Stop> {
        match raw_bytes(&self.pairs) {
            Ok(bytes) => self.spell(bytes)?,
            Err(fault) => return Ok(Err(fault)),
        }
        Ok(series_labels(&self.pairs))
    }

    /// Counts bytes of text before anything is built of them.
    fn spell(&mut self, bytes: usize) -> Result<(), Stop> {
        self.spelled = self.spelled.saturating_add(bytes);
        if self.spelled > SPELLED_MAX { Err(Stop::TooMuchText) } else { Ok(()) }
    }

    /// Nothing if there is no room to show it: a message may have millions of wrong samples in one series.
    fn describe(&mut self, at: At<'m>, t: Option<TimestampMs>) -> String {
        if !self.complaints.has_room() {
            return String::new();
        }
        self.pairs.clear();
        // What cannot be read is shown as far as it could be.
        let _ = self.names.pairs(at.text, &mut self.pairs);
        let when = t.map(|t| format!(" at {}", t.0)).unwrap_or_default();
        format!("series {}{when}", Shown(&self.pairs))
    }

    fn flush_floats(&mut self) -> Result<(), Stop> {
        if self.floats.is_empty() {
            return Ok(());
        }
        let (floats, ats) = (std::mem::take(&mut self.floats), std::mem::take(&mut self.float_ats));
        let (starts, has_starts) = (std::mem::take(&mut self.starts), std::mem::take(&mut self.has_starts));
        let unknown = if has_starts {
            self.appender().append_with_starts(&floats, &starts)?
        } else {
            self.appender().append(&floats)?
        };
        self.slice.taken.samples += floats.len() as u64;
        self.slice.weight += floats.len() * FLOAT_BYTES;
        self.refuse_floats(&floats, &ats);
        if !unknown.0.is_empty() {
            self.append_again(&unknown.0, &floats, &starts, &ats)?;
        }
        (self.floats, self.starts, self.float_ats) = (floats, starts, ats);
        self.floats.clear();
        self.starts.clear();
        self.float_ats.clear();
        Ok(())
    }

    /// The store has collected series that the cache still knew: names them again by their labels.
    #[cold]
    fn append_again(
        &mut self,
        positions: &[u32],
        floats: &[FloatSample],
        starts: &[TimestampMs],
        ats: &[At<'m>],
    ) -> Result<(), Stop> {
        let (mut again, mut again_starts, mut again_ats) = (Vec::new(), Vec::new(), Vec::new());
        let mut last = None;
        for position in positions.iter().map(|&p| p as usize) {
            let (at, sample) = (ats[position], floats[position]);
            let resolved = match last {
                Some((text, resolved)) if std::ptr::eq(text, at.text) => resolved,
                _ => self.resolve(at)?,
            };
            last = Some((at.text, resolved));
            match resolved {
                Ok(series) => {
                    again.push(FloatSample { series, ..sample });
                    again_starts.push(starts[position]);
                    again_ats.push(at);
                }
                Err(fault) => {
                    self.slice.taken.samples -= 1;
                    self.complain(fault.into(), 1, at, Some(sample.t));
                }
            }
        }
        // References that were given just now are known.
        self.appender().append_with_starts(&again, &again_starts)?;
        self.refuse_floats(&again, &again_ats);
        Ok(())
    }

    /// Notes what the store has refused of the batch that it was given last.
    #[inline]
    fn refuse_floats(&mut self, floats: &[FloatSample], ats: &[At<'m>]) {
        if self.appender().refused().is_empty() {
            return;
        }
        for (position, reason) in self.refused() {
            let (sample, at) = (floats[position], ats[position]);
            self.slice.taken.samples -= 1;
            self.slice.note(reason, is_stale(sample.v));
            self.complain(reason.into(), 1, at, Some(sample.t));
        }
    }

    #[cold]
    fn refused(&mut self) -> Vec<(usize, Refusal)> {
        let appender = self.appender();
        let reasons = appender.refusals().iter().copied().chain(std::iter::repeat(Refusal::OutOfOrder));
        appender.refused().iter().map(|&position| position as usize).zip(reasons).collect()
    }

    fn flush_histograms(&mut self) -> Result<(), Stop> {
        if self.histograms.is_empty() {
            return Ok(());
        }
        let pending = std::mem::take(&mut self.histograms);
        self.slice.weight += std::mem::take(&mut self.histogram_bytes);
        self.slice.taken.histograms += pending.len() as u64;
        let unknown = self.append_histograms(&pending)?;
        if !unknown.is_empty() {
            let again = self.named_again(&unknown, pending)?;
            let unknown = self.append_histograms(&again)?;
            debug_assert!(unknown.is_empty(), "references that were given just now are known");
        }
        Ok(())
    }

    /// Those at the positions, with references to series that the store has collected since the cache knew them.
    #[cold]
    fn named_again(
        &mut self,
        positions: &[u32],
        pending: Vec<PendingHistogram<'m>>,
    ) -> Result<Vec<PendingHistogram<'m>>, Stop> {
        let mut again = Vec::with_capacity(positions.len());
        for (_, mut one) in (0..).zip(pending).filter(|(position, _)| positions.contains(position)) {
            match self.resolve(one.at)? {
                Ok(series) => {
                    one.series = series;
                    again.push(one);
                }
                Err(fault) => {
                    self.slice.taken.histograms -= 1;
                    self.complain(fault.into(), 1, one.at, Some(one.sample.t));
                }
            }
        }
        Ok(again)
    }

    fn append_histograms(&mut self, pending: &[PendingHistogram<'m>]) -> Result<Vec<u32>, Stop> {
        let samples: Vec<_> = pending.iter().filter_map(PendingHistogram::sample).collect();
        let unknown = self.appender().append_histograms(&samples)?;
        for (position, reason) in self.refused() {
            let (at, t, is_stale) = (pending[position].at, pending[position].sample.t, pending[position].is_stale());
            self.slice.taken.histograms -= 1;
            self.slice.refused_histograms += u64::from(!is_stale);
            self.slice.note(reason, is_stale);
            self.complain(reason.into(), 1, at, Some(t));
        }
        Ok(unknown.0)
    }

    /// Commits the slice. What the store refuses only now contradicts other samples of the same request.
    fn commit(&mut self) -> Result<(), Stop> {
        self.flush_floats()?;
        self.flush_histograms()?;
        let Some(appender) = self.appender.take() else { return Ok(()) };
        let report = appender.commit()?;
        let mut slice = std::mem::take(&mut self.slice);
        let late = report.refused.total().saturating_sub(slice.refused);
        if late > 0 {
            let histograms = report.refused_histograms.saturating_sub(slice.refused_histograms).min(late);
            slice.taken.histograms = slice.taken.histograms.saturating_sub(histograms);
            slice.taken.samples = slice.taken.samples.saturating_sub(late - histograms);
            for (reason, count) in slice.refused_since(&report.refused) {
                self.complaints
                    .add(reason.into(), count, || "samples that contradict others of this request".to_owned());
            }
        }
        self.written.samples += slice.taken.samples;
        self.written.histograms += slice.taken.histograms;
        self.written.exemplars += slice.taken.exemplars;
        for (key, known) in slice.metadata {
            self.cache.note_metadata(key, known);
        }
        Ok(())
    }
}

impl Slice {
    /// Counts a refused sample as the store's report will: without markers of series that have ended.
    fn note(&mut self, reason: Refusal, is_stale: bool) {
        if is_stale {
            return;
        }
        self.refused += 1;
        *match reason {
            Refusal::OutOfOrder => &mut self.by_reason.out_of_order,
            Refusal::DuplicateTimestamp => &mut self.by_reason.duplicate_timestamp,
            Refusal::TooOld => &mut self.by_reason.too_old,
            Refusal::TooFarInFuture => &mut self.by_reason.too_far_in_future,
            Refusal::Malformed => &mut self.by_reason.malformed,
        } += 1;
    }

    /// What the report has refused beyond what was noted.
    fn refused_since(&self, report: &Refused) -> Vec<(Refusal, u64)> {
        let noted = &self.by_reason;
        let differences = [
            (Refusal::OutOfOrder, report.out_of_order, noted.out_of_order),
            (Refusal::DuplicateTimestamp, report.duplicate_timestamp, noted.duplicate_timestamp),
            (Refusal::TooOld, report.too_old, noted.too_old),
            (Refusal::TooFarInFuture, report.too_far_in_future, noted.too_far_in_future),
            (Refusal::Malformed, report.malformed, noted.malformed),
        ];
        let more = differences.into_iter().map(|(reason, report, noted)| (reason, report.saturating_sub(noted)));
        more.filter(|(_, count)| *count > 0).collect()
    }
}
