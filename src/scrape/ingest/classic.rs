//! The series of classic histograms in text, on their way to native histograms with custom buckets.
//!
//! Lines of a `histogram` family that follow each other and differ in nothing but `le` and the suffix of the name are one
//! histogram; whatever else comes, and the end of the body, completes it. Lines of which none can be made are left out
//! silently, as in the reference. One thing is better: the histogram's own timestamp is that of its last line, where the
//! reference takes the one of the line behind it.
//!
//! What a line is a part of is remembered by the hash of its text, so that its labels are read once and not in each scrape.

use hashbrown::HashMap;

use super::keys::pairs_key;
use super::{Ingest, IngestError, Stamp};
use crate::exposition::{Format, Parser, Sample, SeriesLabels, parse_float};
use crate::model::labels::push_pair;
use crate::model::{ClassicHistogram, Exemplar, METRIC_NAME, MetricType, TimestampMs};

/// So many more lines than the last body had may be remembered before all are forgotten.
const SPARE_LINES: usize = 1000;

/// What is known of the lines of one target, and the histogram that is being put together.
#[derive(Default)]
pub(in crate::scrape) struct Converter {
    lines: HashMap<u64, Known>,
    /// Keys of histograms, by number.
    keys: Vec<Box<[u8]>>,
    numbers: HashMap<Box<[u8]>, u32>,
    /// Lines looked up in this body.
    looked_up: usize,
    /// The family's name as the last `# TYPE` line wrote it.
    family: Vec<u8>,
    current: Option<Current>,
    histogram: ClassicHistogram,
}

/// What a line is.
#[derive(Clone, Copy)]
struct Known {
    /// Hash of the family's name: below another `# TYPE` the line may mean something else.
    family: u64,
    /// The histogram's number and the line's role in it; `None` if it is no part of any.
    part: Option<(u32, Role)>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Role {
    Bucket(f64),
    Sum,
    Count,
}

/// The histogram that is being put together.
struct Current {
    number: u32,
    own_t: Option<TimestampMs>,
    start: TimestampMs,
    exemplars: Vec<Exemplar>,
}

impl Converter {
    /// Notes a `# TYPE` line.
    pub(super) fn set_family(&mut self, name: &[u8]) {
        self.family.clear();
        self.family.extend_from_slice(name);
    }

    /// Ends a body. Lines come and go; remembering is given up when too many have gone.
    pub(super) fn end_body(&mut self) {
        let looked_up = std::mem::take(&mut self.looked_up);
        if self.lines.len() > looked_up * 2 + SPARE_LINES {
            self.lines.clear();
            self.keys.clear();
            self.numbers.clear();
        }
        self.family.clear();
        self.current = None;
        self.histogram.clear();
    }

    fn number(&mut self, key: Box<[u8]>) -> u32 {
        if let Some(number) = self.numbers.get(&key) {
            return *number;
        }
        // There are fewer histograms than bytes in a body.
        let number = u32::try_from(self.keys.len()).unwrap_or(u32::MAX);
        self.keys.push(key.clone());
        self.numbers.insert(key, number);
        number
    }

    /// What a line of the current family is, by its labels.
    fn judge(&mut self, labels: &SeriesLabels) -> Option<(u32, Role)> {
        let metric = labels.get(METRIC_NAME)?;
        let family = std::str::from_utf8(&self.family).ok()?;
        let role = match metric.strip_prefix(family)? {
            "_sum" => Role::Sum,
            "_count" => Role::Count,
            "_bucket" => Role::Bucket(parse_float(labels.get("le")?.as_bytes()).ok().filter(|bound| !bound.is_nan())?),
            _ => return None,
        };
        let mut pairs: Vec<(&str, &str)> =
            labels.iter().filter(|(name, value)| *name != "le" && !value.is_empty()).collect();
        pairs.iter_mut().filter(|(name, _)| *name == METRIC_NAME).for_each(|(_, value)| *value = family);
        pairs.sort_by_key(|(name, _)| *name);
        let mut encoded = Vec::new();
        pairs.iter().for_each(|(name, value)| push_pair(&mut encoded, name, value));
        Some((self.number(pairs_key(&encoded)), role))
    }
}

impl Ingest<'_, '_> {
    /// Takes a line as a part of a classic histogram; false if it is none. What was put together before and has another
    /// identity is complete.
    pub(super) fn classic_line(
        &mut self,
        sample: &Sample<'_>,
        parser: &Parser<'_>,
        format: Format,
        start: TimestampMs,
    ) -> Result<bool, IngestError> {
        let part = self.classic_part(sample, parser.family_type(), format)?;
        let is_of_current = |(number, _): (u32, Role)| {
            let current = self.converter.as_ref().and_then(|converter| converter.current.as_ref());
            current.is_some_and(|current| current.number == number)
        };
        if !part.is_some_and(is_of_current) {
            self.end_classic()?;
        }
        let (Some((number, role)), own_t) = (part, self.honoured(sample.timestamp)) else { return Ok(false) };
        let Some(converter) = &mut self.converter else { return Ok(false) };
        let current = converter.current.get_or_insert(Current { number, own_t, start, exemplars: Vec::new() });
        current.own_t = own_t;
        current.exemplars.extend(sample.exemplar.map(|exemplar| exemplar.decode()));
        match role {
            Role::Bucket(bound) => converter.histogram.set_bucket(bound, sample.value),
            Role::Sum => converter.histogram.set_sum(sample.value),
            Role::Count => converter.histogram.set_count(sample.value),
        }
        Ok(true)
    }

    fn classic_part(
        &mut self,
        sample: &Sample<'_>,
        family: MetricType,
        format: Format,
    ) -> Result<Option<(u32, Role)>, IngestError> {
        let Some(converter) = self.converter.as_mut().filter(|_| family == MetricType::Histogram) else {
            return Ok(None);
        };
        let (line, family_hash) = (self.cache.hash(sample.series), self.cache.hash(&converter.family));
        converter.looked_up += 1;
        if let Some(known) = converter.lines.get(&line).filter(|known| known.family == family_hash) {
            return Ok(known.part);
        }
        self.labels.decode(sample.series, format, family)?;
        let part = converter.judge(&self.labels);
        converter.lines.insert(line, Known { family: family_hash, part });
        Ok(part)
    }

    /// Takes the histogram that has been put together, if there is one.
    pub(super) fn end_classic(&mut self) -> Result<(), IngestError> {
        let Some(converter) = &mut self.converter else { return Ok(()) };
        let Some(Current { number, own_t, start, exemplars }) = converter.current.take() else { return Ok(()) };
        let converted = converter.histogram.convert();
        converter.histogram.clear();
        let sound = converted.ok().filter(|value| match value {
            crate::model::Value::Histogram(h) => h.validate().is_ok(),
            crate::model::Value::FloatHistogram(h) => h.validate().is_ok(),
            crate::model::Value::Float(_) => false,
        });
        let (Some(value), Some(key)) = (sound, converter.keys.get(number as usize)) else { return Ok(()) };
        let from = self.keys.len();
        self.keys.extend_from_slice(key);
        let stamp = Stamp { own_t, start, family: MetricType::Unknown };
        self.native_histogram(from, stamp, value, || Ok(exemplars))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(family: &str, series: &str) -> Option<(u32, Role)> {
        let (mut converter, mut labels) = (Converter::default(), SeriesLabels::new());
        converter.set_family(family.as_bytes());
        labels.decode(series.as_bytes(), Format::Text, MetricType::Histogram).expect("a good line");
        converter.judge(&labels)
    }

    #[test]
    fn the_suffix_and_the_bound_tell_what_a_line_is() {
        for (series, role) in [
            ("h_bucket{le=\"0.5\"}", Some(Role::Bucket(0.5))),
            ("h_bucket{le=\"+Inf\",a=\"b\"}", Some(Role::Bucket(f64::INFINITY))),
            ("h_bucket{le=\"NaN\"}", None),
            ("h_bucket{le=\"x\"}", None),
            ("h_bucket", None),
            ("h_sum", Some(Role::Sum)),
            ("h_count", Some(Role::Count)),
            ("h_created", None),
            ("h", None),
            ("hh_count", None),
        ] {
            assert_eq!(judge("h", series).map(|(_, role)| role), role, "{series}");
        }
    }

    #[test]
    fn lines_that_differ_in_the_bound_only_are_of_one_histogram() {
        let (mut converter, mut labels) = (Converter::default(), SeriesLabels::new());
        converter.set_family(b"h");
        let mut number = |series: &str| {
            labels.decode(series.as_bytes(), Format::Text, MetricType::Histogram).expect("a good line");
            converter.judge(&labels).expect("a part").0
        };
        let first = number("h_bucket{le=\"1\",a=\"x\",b=\"y\"}");
        assert_eq!([number("h_bucket{b=\"y\",le=\"2\",a=\"x\"}"), number("h_sum{a=\"x\",b=\"y\"}")], [first, first]);
        assert_ne!(number("h_count{a=\"x\"}"), first);
    }
}
