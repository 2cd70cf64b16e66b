//! Walks over text and OpenMetrics.

use super::batch::Source;
use super::{Admission, Ingest, IngestError, Stamp, Taken, Text};
use crate::exposition::{Event, Format, Parser, Sample, unescape_help};
use crate::model::{MetricType, TimestampMs};
use crate::scrape::cache::{Entry, Kind};
use crate::scrape::families::Families;

/// What lines mean beyond themselves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Attention {
    /// Nothing: each line is a series or a comment.
    None,
    /// Some tell since when others have been counted, or are parts of a histogram. Those of families in which there can be
    /// such lines are all looked at.
    Needed {
        /// Of the first kind there may be some.
        created: bool,
    },
}

impl Ingest<'_, '_> {
    pub(super) fn lines(&mut self, body: &[u8], format: Format) -> Result<(), IngestError> {
        let created = format == Format::OpenMetrics && self.options.starts.are_read();
        let converts = self.options.histograms.convert_classic;
        if converts {
            let converter = self.cache.converter.take().unwrap_or_default();
            self.converter = Some(converter);
        }
        let attention = if created || converts { Attention::Needed { created } } else { Attention::None };
        let walked = self.walk(Source { body, format }, attention);
        if let Some(mut converter) = self.converter.take() {
            converter.end_body();
            self.cache.converter = Some(converter);
        }
        walked
    }

    fn walk(&mut self, source: Source<'_>, attention: Attention) -> Result<(), IngestError> {
        let mut parser = Parser::new(source.body, source.format);
        loop {
            let is_taken = self.is_simple(&parser, attention) && self.expected_line(&mut parser)? == Line::Taken;
            if !is_taken && !self.any_line(&mut parser, source.format, attention)? {
                break;
            }
            if self.is_full() {
                self.flush(source)?;
            }
        }
        self.flush(source)
    }

    /// Whether the next line, if it belongs to the family of those before, means nothing beyond itself.
    #[inline]
    fn is_simple(&mut self, parser: &Parser<'_>, attention: Attention) -> bool {
        let Attention::Needed { created } = attention else { return true };
        let family = parser.family_type();
        let is_converted = self.converter.is_some() && family == MetricType::Histogram;
        !(is_converted || created && self.created.concerns(family))
    }

    /// Reads on if the next line is the one that followed last time.
    #[inline]
    fn expected_line(&mut self, parser: &mut Parser<'_>) -> Result<Line, IngestError> {
        let Some((index, entry)) = self.cache.expected(parser.rest()) else { return Ok(Line::Unexpected) };
        match entry.kind {
            Kind::Series => {
                let Some(sample) = parser.accept_series(entry.len as usize)? else { return Ok(Line::Unexpected) };
                self.known_line((index, &entry), &sample, parser, TimestampMs(0))?;
            }
            Kind::Dropped => {
                if parser.accept_series(entry.len as usize)?.is_none() {
                    return Ok(Line::Unexpected);
                }
                self.dropped_series(index);
            }
            // The converter must be told the family's name.
            Kind::Type(_) if self.converter.is_some() => return Ok(Line::Unexpected),
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
    fn any_line(&mut self, parser: &mut Parser<'_>, format: Format, attention: Attention) -> Result<bool, IngestError> {
        let Some(event) = parser.next()? else {
            self.end_classic()?;
            return Ok(false);
        };
        match event {
            Event::Series(sample) => self.any_series(sample, parser, format, attention)?,
            comment => {
                self.end_classic()?;
                self.any_comment(comment, parser, format);
            }
        }
        Ok(true)
    }

    fn any_series(
        &mut self,
        mut sample: Sample<'_>,
        parser: &Parser<'_>,
        format: Format,
        attention: Attention,
    ) -> Result<(), IngestError> {
        let mut start = TimestampMs(0);
        if let Attention::Needed { created } = attention {
            if created && self.created.is_one(sample.series, parser.family_type()) {
                return Ok(());
            }
            if created {
                start = self.created.start_of(sample.series, parser);
            }
            if self.converter.is_some() && self.classic_line(&sample, parser, format, start)? {
                if !self.options.histograms.keep_classic {
                    return Ok(());
                }
                // Its exemplar has gone to the histogram.
                sample.exemplar = None;
            }
        }
        match self.cache.find(sample.series) {
            Some((index, entry)) if entry.kind == Kind::Series => {
                self.known_line((index, &entry), &sample, parser, start)
            }
            Some((index, entry)) if entry.kind == Kind::Dropped => {
                self.dropped_series(index);
                Ok(())
            }
            _ => {
                self.labels.decode(sample.series, format, parser.family_type())?;
                let (text, stamp) = self.of_line(&sample, parser, start);
                self.new_series(text, stamp, Admission::Counted, put_line(&sample))
            }
        }
    }

    #[inline]
    fn known_line(
        &mut self,
        entry: (u32, &Entry),
        sample: &Sample<'_>,
        parser: &Parser<'_>,
        start: TimestampMs,
    ) -> Result<(), IngestError> {
        let (text, stamp) = self.of_line(sample, parser, start);
        self.known_series(entry, text, stamp, Admission::Counted, put_line(sample))
    }

    #[inline]
    fn of_line<'t>(&self, sample: &Sample<'t>, parser: &Parser<'_>, start: TimestampMs) -> (Text<'t>, Stamp) {
        let own_t = self.honoured(sample.timestamp);
        (Text::Line(sample.series, parser.line_start()), Stamp { own_t, start, family: parser.family_type() })
    }

    fn any_comment(&mut self, event: Event<'_>, parser: &mut Parser<'_>, format: Format) {
        if let Event::Type(name, _) = event
            && let Some(converter) = &mut self.converter
        {
            converter.set_family(name);
        }
        match self.cache.find(parser.last_line()) {
            Some((index, entry)) if !matches!(entry.kind, Kind::Series | Kind::Dropped) => {
                self.known_comment(index, &entry, parser);
            }
            _ => self.new_comment(event, parser.last_line(), format),
        }
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
    fn see_family(&mut self, target: u64, change: impl FnOnce(&mut Families, u32)) {
        let scrape = self.cache.scrape_number();
        // Targets of comment entries are family numbers, which are 32 bits wide.
        let number = target as u32;
        change(&mut self.cache.families, number);
        self.cache.families.see(number, scrape);
        if self.options.starts.are_read() {
            self.created.set_family(self.cache.families.name_len(number));
        }
    }

    fn new_comment(&mut self, event: Event<'_>, line: &[u8], format: Format) {
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
            self.see_family(u64::from(number), |_, _| {});
        }
        self.cache.add(line, kind, u64::from(number));
    }
}

/// Puts a line's sample into the batch.
#[inline]
fn put_line(sample: &Sample<'_>) -> impl FnOnce(&mut Ingest<'_, '_>, Taken) -> Result<(), IngestError> {
    let (value, exemplar) = (sample.value, sample.exemplar);
    move |ingest, taken| {
        ingest.put_float(taken, value, exemplar.map(|exemplar| exemplar.decode()));
        Ok(())
    }
}

/// Whether the line that was expected came.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Line {
    Taken,
    Unexpected,
}
