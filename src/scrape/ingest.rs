//! From a body to the storage: one walk over the lines, against the cache, into batches.

use super::cache::{Cache, Entry, Kind, Visit};
use super::config::JobConfig;
use super::sample_rules::{LabelError, SampleRules};
use crate::exposition::{Event, Format, ParseError, Parser, Sample, SeriesLabels, unescape_help};
use crate::model::{Exemplar, LabelsBuilder, MetricType, TimestampMs};
use crate::storage::{AppendError, Appender, FloatSample, SeriesRef, UnknownSeries};

/// Samples are handed over in batches that fit into the first-level cache.
const BATCH: usize = 512;
/// Samples further in the future than this are refused, as in the reference.
const MAX_AHEAD_MS: i64 = 10 * 60 * 1000;

/// What of the job's configuration the walk needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct IngestOptions {
    honor_timestamps: bool,
    track_timestamps: bool,
    sample_limit: u64,
}

impl IngestOptions {
    pub(super) fn new(job: &JobConfig) -> IngestOptions {
        IngestOptions {
            honor_timestamps: job.honor_timestamps,
            track_timestamps: job.track_timestamps_staleness,
            sample_limit: job.sample_limit.unwrap_or(u64::MAX),
        }
    }
}

/// What a body brought, also if it failed half-way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Counts {
    /// Samples in the body.
    pub(super) scraped: u64,
    /// Those that the label rules left.
    pub(super) after_relabelling: u64,
    /// Series that the scrape before did not have.
    pub(super) series_added: u64,
    /// Samples of a series that the same body had shown before.
    pub(super) repeated: u64,
    /// Samples too far in the future.
    pub(super) too_far_ahead: u64,
    /// The newest timestamp that a sample brought itself, kept or not.
    pub(super) newest_own: Option<TimestampMs>,
}

/// Why nothing of a body is kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum IngestError {
    #[error(transparent)]
    Parse(#[from] ParseError),
    #[error(transparent)]
    Labels(#[from] LabelError),
    #[error("sample limit exceeded")]
    SampleLimit,
    #[error("storing the scrape: {0}")]
    Append(#[from] AppendError),
}

/// Where a sample of the batch came from, should its series turn out to be unknown.
#[derive(Clone, Copy)]
struct Origin {
    line: usize,
    entry: u32,
    family: MetricType,
    /// Whether the entry is marked once the store has judged the sample.
    is_to_be_marked: bool,
    /// Whether the sample was counted as one of a series that the scrape before did not have.
    is_new: bool,
}

/// One walk over one body.
pub(super) struct Ingest<'a, 's> {
    pub(super) cache: &'a mut Cache,
    pub(super) appender: &'a mut (dyn Appender + 's),
    pub(super) rules: &'a SampleRules,
    pub(super) options: IngestOptions,
    /// The timestamp of samples that have none of their own.
    pub(super) t: TimestampMs,
    pub(super) counts: Counts,
    /// Series that are still there, but whose absence would not end them any more.
    pub(super) untracked: Vec<SeriesRef>,
    batch: Vec<FloatSample>,
    origins: Vec<Origin>,
    /// Exemplars of the batch, each with the position of its sample.
    exemplars: Vec<(usize, Exemplar)>,
    labels: SeriesLabels,
    builder: LabelsBuilder,
    /// Samples counted against the limit.
    taken: u64,
    max_t: TimestampMs,
}

impl<'a, 's> Ingest<'a, 's> {
    pub(super) fn new(
        cache: &'a mut Cache,
        appender: &'a mut (dyn Appender + 's),
        rules: &'a SampleRules,
        options: IngestOptions,
        t: TimestampMs,
        now: TimestampMs,
    ) -> Ingest<'a, 's> {
        Ingest {
            cache,
            appender,
            rules,
            options,
            t,
            counts: Counts::default(),
            untracked: Vec::new(),
            batch: Vec::with_capacity(BATCH),
            origins: Vec::with_capacity(BATCH),
            exemplars: Vec::new(),
            labels: SeriesLabels::new(),
            builder: LabelsBuilder::new(),
            taken: 0,
            max_t: TimestampMs(now.0.saturating_add(MAX_AHEAD_MS)),
        }
    }

    /// Takes the whole body. After an error the appender must be dropped.
    pub(super) fn body(&mut self, body: &[u8], format: Format) -> Result<(), IngestError> {
        let result = self.walk(body, format);
        if result.is_err() {
            self.mark_batch(|_| false);
        }
        result
    }

    fn walk(&mut self, body: &[u8], format: Format) -> Result<(), IngestError> {
        let mut parser = Parser::new(body, format);
        loop {
            match self.expected_line(&mut parser)? {
                Line::Taken => {}
                Line::Unexpected => {
                    if !self.any_line(&mut parser, format)? {
                        break;
                    }
                }
            }
            if self.batch.len() >= BATCH {
                self.flush(body, format)?;
            }
        }
        if self.taken > self.options.sample_limit {
            return Err(IngestError::SampleLimit);
        }
        self.flush(body, format)
    }

    /// Reads on if the next line is the one that followed last time.
    #[inline]
    fn expected_line(&mut self, parser: &mut Parser<'_>) -> Result<Line, IngestError> {
        let Some((index, entry)) = self.cache.expected(parser.rest()) else { return Ok(Line::Unexpected) };
        match entry.kind {
            Kind::Series => {
                let Some(sample) = parser.accept_series(entry.len as usize)? else { return Ok(Line::Unexpected) };
                self.known_series(index, &entry, &sample, parser);
            }
            Kind::Dropped => {
                if parser.accept_series(entry.len as usize)?.is_none() {
                    return Ok(Line::Unexpected);
                }
                self.counts.scraped += 1;
                self.cache.visit(index);
            }
            Kind::Comment | Kind::Metadata | Kind::Type(_) => {
                if !parser.accept_line(entry.len as usize) {
                    return Ok(Line::Unexpected);
                }
                self.known_comment(index, &entry, parser);
            }
        }
        Ok(Line::Taken)
    }

    /// Reads any line; false at the end.
    fn any_line(&mut self, parser: &mut Parser<'_>, format: Format) -> Result<bool, IngestError> {
        let Some(event) = parser.next()? else { return Ok(false) };
        if let Event::Series(sample) = event {
            match self.cache.find(sample.series) {
                Some((index, entry)) if entry.kind == Kind::Series => {
                    self.known_series(index, &entry, &sample, parser);
                }
                Some((index, entry)) if entry.kind == Kind::Dropped => {
                    self.counts.scraped += 1;
                    self.cache.visit(index);
                }
                _ => self.new_series(&sample, parser, format)?,
            }
            return Ok(true);
        }
        match self.cache.find(parser.last_line()) {
            Some((index, entry)) if !matches!(entry.kind, Kind::Series | Kind::Dropped) => {
                self.known_comment(index, &entry, parser);
            }
            _ => self.new_comment(event, parser.last_line(), format),
        }
        Ok(true)
    }

    fn known_comment(&mut self, index: u32, entry: &Entry, parser: &mut Parser<'_>) {
        self.cache.visit(index);
        if let Kind::Type(metric_type) = entry.kind {
            parser.set_family_type(metric_type);
            self.see_family(entry.target, |families, number| families.set_type(number, metric_type));
        } else if entry.kind == Kind::Metadata {
            self.see_family(entry.target, |_, _| {});
        }
    }

    #[inline]
    fn see_family(&mut self, target: u64, change: impl FnOnce(&mut super::families::Families, u32)) {
        let scrape = self.cache.scrape_number();
        // Targets of comment entries are family numbers, which are 32 bits wide.
        let number = target as u32;
        change(&mut self.cache.families, number);
        self.cache.families.see(number, scrape);
    }

    fn new_comment(&mut self, event: Event<'_>, line: &[u8], format: Format) {
        let scrape = self.cache.scrape_number();
        let families = &mut self.cache.families;
        let (kind, number) = match event {
            Event::Type(name, metric_type) => {
                let number = families.number(name);
                families.set_type(number, metric_type);
                (Kind::Type(metric_type), number)
            }
            Event::Help(name, text) => {
                let number = families.number(name);
                families.set_help(number, &unescape_help(text, format));
                (Kind::Metadata, number)
            }
            Event::Unit(name, unit) => {
                let number = families.number(name);
                families.set_unit(number, unit);
                (Kind::Metadata, number)
            }
            Event::Comment | Event::Series(_) => (Kind::Comment, 0),
        };
        if kind != Kind::Comment {
            families.see(number, scrape);
        }
        self.cache.add(line, kind, u64::from(number));
    }

    #[inline]
    fn known_series(&mut self, index: u32, entry: &Entry, sample: &Sample<'_>, parser: &Parser<'_>) {
        self.counts.scraped += 1;
        self.counts.after_relabelling += 1;
        let own_t = if self.options.honor_timestamps { sample.timestamp } else { None };
        let visit = self.cache.visit(index);
        if visit == Visit::Again && own_t.is_none() {
            self.counts.repeated += 1;
            return;
        }
        let taken = self.take(own_t);
        let is_first = visit != Visit::Again;
        let is_to_be_marked = is_first && taken && self.is_marked_late(own_t);
        let is_new = visit == Visit::Back;
        if taken {
            let (line, family) = (parser.line_start(), parser.family_type());
            let origin = Origin { line, entry: index, family, is_to_be_marked, is_new };
            self.push(SeriesRef(entry.target), own_t, sample, origin);
        }
        if is_first {
            if !is_to_be_marked {
                self.mark(index, entry.target, taken, own_t);
            }
            if is_new {
                self.counts.series_added += u64::from(taken);
                if !taken {
                    self.cache.forget(index);
                }
            }
        }
    }

    fn new_series(&mut self, sample: &Sample<'_>, parser: &Parser<'_>, format: Format) -> Result<(), IngestError> {
        self.counts.scraped += 1;
        self.labels.decode(sample.series, format, parser.family_type())?;
        let Some(labels) = self.rules.apply(&self.labels, &mut self.builder)? else {
            self.cache.add(sample.series, Kind::Dropped, 0);
            return Ok(());
        };
        self.counts.after_relabelling += 1;
        let own_t = if self.options.honor_timestamps { sample.timestamp } else { None };
        if !self.take(own_t) {
            return Ok(());
        }
        let series = self.appender.series(&labels)?;
        self.counts.series_added += 1;
        // A cache that is full costs speed and staleness markers, not samples.
        let index = self.cache.add(sample.series, Kind::Series, series.0);
        let is_to_be_marked = index.is_some() && self.is_marked_late(own_t);
        if let Some(index) = index
            && !is_to_be_marked
        {
            self.mark(index, series.0, true, own_t);
        }
        let entry = index.unwrap_or(u32::MAX);
        let (line, family) = (parser.line_start(), parser.family_type());
        self.push(series, own_t, sample, Origin { line, entry, family, is_to_be_marked, is_new: true });
        Ok(())
    }

    /// Counts a sample against the limits; false if it must not be stored.
    #[inline]
    fn take(&mut self, own_t: Option<TimestampMs>) -> bool {
        self.taken += 1;
        // The walk goes on over the limit, so that the report tells how many samples there were.
        if self.taken > self.options.sample_limit {
            return false;
        }
        self.counts.newest_own = self.counts.newest_own.max(own_t);
        let too_far = own_t.is_some_and(|t| t > self.max_t);
        self.counts.too_far_ahead += u64::from(too_far);
        !too_far
    }

    /// Notes whether the absence of a series in the next scrape would end it. Own timestamps mean that the target
    /// decides by itself when a sample is too old.
    #[inline]
    fn mark(&mut self, index: u32, series: u64, taken: bool, own_t: Option<TimestampMs>) {
        if taken && (own_t.is_none() || self.options.track_timestamps) {
            self.cache.track(index);
        } else if self.cache.untrack(index) {
            self.untracked.push(SeriesRef(series));
        }
    }

    /// Whether a sample's entry waits for the store's judgement: of tracked samples with times of their own only those
    /// that are kept are expected again, so one that goes back in time ends its series. Samples without are as good as
    /// never refused, and the judgement comes batch by batch.
    #[inline]
    fn is_marked_late(&self, own_t: Option<TimestampMs>) -> bool {
        self.options.track_timestamps && own_t.is_some()
    }

    /// Marks what waited for the judgement of its batch.
    fn mark_batch(&mut self, is_refused: impl Fn(u32) -> bool) {
        if !self.options.track_timestamps {
            return;
        }
        let origins = std::mem::take(&mut self.origins);
        for (position, origin) in (0..).zip(&origins).filter(|(_, origin)| origin.is_to_be_marked) {
            let (series, sample) = (self.cache.entry(origin.entry).target, self.batch[position as usize]);
            self.mark(origin.entry, series, !is_refused(position), Some(sample.t));
        }
        self.origins = origins;
    }

    #[inline]
    fn push(&mut self, series: SeriesRef, own_t: Option<TimestampMs>, sample: &Sample<'_>, origin: Origin) {
        if let Some(exemplar) = &sample.exemplar {
            self.exemplars.push((self.batch.len(), exemplar.decode()));
        }
        self.batch.push(FloatSample { series, t: own_t.unwrap_or(self.t), v: sample.value });
        self.origins.push(origin);
    }

    fn flush(&mut self, body: &[u8], format: Format) -> Result<(), IngestError> {
        if !self.batch.is_empty() {
            let unknown = self.appender.append(&self.batch)?;
            // Positions come in ascending order.
            let mut refused = self.appender.refused().to_vec();
            if !unknown.0.is_empty() {
                refused.extend(self.resolve_again(&unknown, body, format)?);
                refused.sort_unstable();
            }
            self.mark_batch(|position| refused.binary_search(&position).is_ok());
            self.flush_exemplars()?;
            for position in refused {
                self.forget_new(self.origins[position as usize]);
            }
            self.batch.clear();
            self.origins.clear();
        }
        Ok(())
    }

    /// Hands over the batch's exemplars, once its series are known.
    fn flush_exemplars(&mut self) -> Result<(), IngestError> {
        for (position, exemplar) in self.exemplars.drain(..) {
            let (sample, origin) = (self.batch[position], self.origins[position]);
            let exemplar = std::slice::from_ref(&exemplar);
            if !self.appender.append_exemplars(sample.series, sample.t, exemplar)? && origin.entry != u32::MAX {
                // The series has another reference since its sample was put into the batch.
                let series = SeriesRef(self.cache.entry(origin.entry).target);
                self.appender.append_exemplars(series, sample.t, exemplar)?;
            }
        }
        Ok(())
    }

    /// A line whose first sample the store refuses is as new as before when it comes the next time.
    #[cold]
    fn forget_new(&mut self, origin: Origin) {
        if origin.is_new {
            self.counts.series_added -= 1;
            if origin.entry != u32::MAX {
                self.cache.forget(origin.entry);
            }
        }
    }

    /// The store has collected series that the cache still knew: names them again by their labels. Returns the
    /// positions that are refused all the same.
    #[cold]
    fn resolve_again(&mut self, unknown: &UnknownSeries, body: &[u8], format: Format) -> Result<Vec<u32>, IngestError> {
        let mut positions = Vec::with_capacity(unknown.0.len());
        let mut again = Vec::with_capacity(unknown.0.len());
        for &position in &unknown.0 {
            let (mut sample, origin) = (self.batch[position as usize], self.origins[position as usize]);
            if origin.entry == u32::MAX {
                continue;
            }
            let len = self.cache.entry(origin.entry).len as usize;
            self.labels.decode(&body[origin.line..origin.line + len], format, origin.family)?;
            let Some(labels) = self.rules.apply(&self.labels, &mut self.builder)? else { continue };
            sample.series = self.appender.series(&labels)?;
            self.cache.set_series(origin.entry, sample.series);
            again.push(sample);
            positions.push(position);
        }
        // References that were given just now are known.
        self.appender.append(&again)?;
        Ok(self.appender.refused().iter().map(|&i| positions[i as usize]).collect())
    }
}

/// Whether the line that was expected came.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Line {
    Taken,
    Unexpected,
}
