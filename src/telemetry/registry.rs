//! Counters, gauges and histograms, and their exposition.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// A count that only grows.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }
    /// The count so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A value that goes up and down.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicU64>);

impl Gauge {
    /// Replaces the value.
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }
    /// Adds `delta`, which may be negative.
    pub fn add(&self, delta: f64) {
        // The closure always returns a value, so the update cannot fail.
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |bits| Some((f64::from_bits(bits) + delta).to_bits()));
    }
    /// The current value.
    pub fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}

/// Counts observations in buckets with fixed upper bounds.
#[derive(Clone, Debug)]
pub struct HistogramMetric(Arc<HistogramInner>);

#[derive(Debug)]
struct HistogramInner {
    bounds: &'static [f64],
    buckets: Vec<AtomicU64>,
    sum: Gauge,
}

impl HistogramMetric {
    fn new(bounds: &'static [f64]) -> HistogramMetric {
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        HistogramMetric(Arc::new(HistogramInner { bounds, buckets, sum: Gauge::default() }))
    }

    /// Counts one observation.
    pub fn observe(&self, value: f64) {
        let bucket = self.0.bounds.partition_point(|bound| *bound < value);
        self.0.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.0.sum.add(value);
    }

    fn value(&self) -> InstrumentValue {
        let mut count = 0;
        let mut buckets = Vec::with_capacity(self.0.bounds.len());
        for (i, bucket) in self.0.buckets.iter().enumerate() {
            count += bucket.load(Ordering::Relaxed);
            buckets.extend(self.0.bounds.get(i).map(|bound| (*bound, count)));
        }
        InstrumentValue::Histogram { count, sum: self.0.sum.get(), buckets }
    }
}

#[derive(Clone)]
enum Instrument {
    Counter(Counter),
    Gauge(Gauge),
    Histogram(HistogramMetric),
    Computed(&'static str, Arc<dyn Fn() -> f64 + Send + Sync>),
}

impl Instrument {
    fn type_name(&self) -> &'static str {
        match self {
            Instrument::Counter(_) => "counter",
            Instrument::Gauge(_) => "gauge",
            Instrument::Histogram(_) => "histogram",
            Instrument::Computed(kind, _) => kind,
        }
    }

    fn value(&self) -> InstrumentValue {
        InstrumentValue::Number(match self {
            Instrument::Counter(counter) => counter.get() as f64,
            Instrument::Gauge(gauge) => gauge.get(),
            Instrument::Computed(_, value) => value(),
            Instrument::Histogram(histogram) => return histogram.value(),
        })
    }
}

struct Family {
    help: &'static str,
    series: BTreeMap<String, Series>,
}

#[derive(Clone)]
struct Series {
    labels: LabelPairs,
    instrument: Instrument,
}

/// Labels of one series, in the order in which they were given.
pub type LabelPairs = Arc<[(String, String)]>;

/// What a family counts, as of one moment.
#[derive(Clone, PartialEq, Debug)]
pub struct FamilyValues {
    /// Its name.
    pub name: &'static str,
    /// What it means.
    pub help: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Labels and value of each series.
    pub series: Vec<(LabelPairs, InstrumentValue)>,
}

/// The value of one series.
#[derive(Clone, PartialEq, Debug)]
pub enum InstrumentValue {
    /// Of a counter or a gauge.
    Number(f64),
    /// Of a histogram.
    Histogram {
        /// Observations.
        count: u64,
        /// Their sum.
        sum: f64,
        /// Upper bounds, ascending, with the number of observations up to each; that without a bound is left out.
        buckets: Vec<(f64, u64)>,
    },
}

/// Everything that the process counts. Cloning gives another handle to the same registry.
#[derive(Clone, Default)]
pub struct Registry(Arc<Mutex<BTreeMap<&'static str, Family>>>);

impl Registry {
    /// An empty registry.
    pub fn new() -> Registry {
        Registry::default()
    }

    /// The counter of that name and labels, created at first use.
    pub fn counter(&self, name: &'static str, help: &'static str, labels: &[(&str, &str)]) -> Counter {
        match self.instrument(name, help, labels, || Instrument::Counter(Counter::default())) {
            Instrument::Counter(counter) => counter,
            _ => Counter::default(),
        }
    }

    /// The gauge of that name and labels, created at first use.
    pub fn gauge(&self, name: &'static str, help: &'static str, labels: &[(&str, &str)]) -> Gauge {
        match self.instrument(name, help, labels, || Instrument::Gauge(Gauge::default())) {
            Instrument::Gauge(gauge) => gauge,
            _ => Gauge::default(),
        }
    }

    /// The histogram of that name and labels, created at first use with ascending upper `bounds`.
    pub fn histogram(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&str, &str)],
        bounds: &'static [f64],
    ) -> HistogramMetric {
        match self.instrument(name, help, labels, || Instrument::Histogram(HistogramMetric::new(bounds))) {
            Instrument::Histogram(histogram) => histogram,
            _ => HistogramMetric::new(bounds),
        }
    }

    /// A gauge whose value is computed when asked for; replaces an earlier one of that name and labels.
    pub fn gauge_fn(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&str, &str)],
        value: impl Fn() -> f64 + Send + Sync + 'static,
    ) {
        self.put(name, help, labels, Instrument::Computed("gauge", Arc::new(value)));
    }

    /// A counter whose value is computed when asked for; replaces an earlier one of that name and labels.
    pub fn counter_fn(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&str, &str)],
        value: impl Fn() -> f64 + Send + Sync + 'static,
    ) {
        self.put(name, help, labels, Instrument::Computed("counter", Arc::new(value)));
    }

    /// Forgets one series, for example of a job that is gone.
    pub fn remove(&self, name: &'static str, labels: &[(&str, &str)]) {
        if let Some(family) = self.0.lock().get_mut(name) {
            family.series.remove(&render_labels(labels));
        }
    }

    /// Writes everything in text format 0.0.4.
    pub fn write_text(&self, out: &mut String) {
        for (name, help, series) in self.snapshot() {
            let Some(first) = series.values().next() else { continue };
            // Writing to a String cannot fail.
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {}", first.instrument.type_name());
            for (labels, series) in &series {
                write_series(out, name, labels, &series.instrument);
            }
        }
    }

    /// The values of the families whose names are `wanted`, by name.
    pub fn values(&self, wanted: impl Fn(&str) -> bool) -> Vec<FamilyValues> {
        let mut families = self.snapshot();
        families.retain(|(name, _, series)| wanted(name) && !series.is_empty());
        let read = |(name, help, series): (_, _, BTreeMap<String, Series>)| FamilyValues {
            name,
            help,
            kind: series.values().next().map_or("untyped", |first| first.instrument.type_name()),
            series: series.into_values().map(|one| (one.labels, one.instrument.value())).collect(),
        };
        families.into_iter().map(read).collect()
    }

    /// Computed values may take locks of their own, so they are read after ours is released.
    fn snapshot(&self) -> Vec<(&'static str, &'static str, BTreeMap<String, Series>)> {
        self.0.lock().iter().map(|(name, f)| (*name, f.help, f.series.clone())).collect()
    }

    fn instrument(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&str, &str)],
        create: impl FnOnce() -> Instrument,
    ) -> Instrument {
        let mut map = self.0.lock();
        let family = map.entry(name).or_insert_with(|| Family { help, series: BTreeMap::new() });
        let new = || Series::new(labels, create());
        let instrument = family.series.entry(render_labels(labels)).or_insert_with(new).instrument.clone();
        debug_assert!(
            family.series.values().all(|s| s.instrument.type_name() == instrument.type_name()),
            "{name} was registered with two types"
        );
        instrument
    }

    fn put(&self, name: &'static str, help: &'static str, labels: &[(&str, &str)], instrument: Instrument) {
        let mut map = self.0.lock();
        let family = map.entry(name).or_insert_with(|| Family { help, series: BTreeMap::new() });
        family.series.insert(render_labels(labels), Series::new(labels, instrument));
    }
}

impl Series {
    fn new(labels: &[(&str, &str)], instrument: Instrument) -> Series {
        Series { labels: labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(), instrument }
    }
}

fn render_labels(labels: &[(&str, &str)]) -> String {
    let mut out = String::new();
    for (name, value) in labels {
        let separator = if out.is_empty() { "" } else { "," };
        let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = write!(out, "{separator}{name}=\"{escaped}\"");
    }
    out
}

fn write_series(out: &mut String, name: &str, labels: &str, instrument: &Instrument) {
    let braced = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
    let _ = match instrument {
        Instrument::Counter(c) => writeln!(out, "{name}{braced} {}", c.get()),
        Instrument::Gauge(g) => writeln!(out, "{name}{braced} {}", g.get()),
        Instrument::Computed(_, value) => writeln!(out, "{name}{braced} {}", value()),
        Instrument::Histogram(h) => {
            let separator = if labels.is_empty() { "" } else { "," };
            let mut count = 0;
            for (i, bucket) in h.0.buckets.iter().enumerate() {
                count += bucket.load(Ordering::Relaxed);
                let le = h.0.bounds.get(i).map_or("+Inf".to_owned(), f64::to_string);
                let _ = writeln!(out, "{name}_bucket{{{labels}{separator}le=\"{le}\"}} {count}");
            }
            writeln!(out, "{name}_sum{braced} {}\n{name}_count{braced} {count}", h.0.sum.get())
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exposition_has_help_type_and_every_series() {
        let r = Registry::new();
        r.counter("watershed_a_total", "A.", &[("job", "x\"y")]).add(3);
        r.gauge("watershed_b", "B.", &[]).set(-0.5);
        r.histogram("watershed_c_seconds", "C.", &[], &[0.1, 1.0]).observe(0.1);
        r.gauge_fn("watershed_d", "D.", &[], || 4.0);
        let mut text = String::new();
        r.write_text(&mut text);
        for line in [
            "# TYPE watershed_a_total counter",
            r#"watershed_a_total{job="x\"y"} 3"#,
            "watershed_b -0.5",
            r#"watershed_c_seconds_bucket{le="0.1"} 1"#,
            r#"watershed_c_seconds_bucket{le="+Inf"} 1"#,
            "watershed_c_seconds_count 1",
            "watershed_d 4",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn values_are_those_of_the_families_asked_for() {
        let r = Registry::new();
        r.counter("watershed_a_total", "A.", &[("job", "x\"y")]).add(3);
        r.histogram("watershed_c_seconds", "C.", &[], &[0.1, 1.0]).observe(0.5);
        let only = |wanted: &'static str| r.values(|name| name == wanted).pop().expect("a family");
        let counter = only("watershed_a_total");
        assert_eq!((counter.kind, counter.help), ("counter", "A."));
        let labels: LabelPairs = Arc::new([("job".to_owned(), "x\"y".to_owned())]);
        assert_eq!(counter.series, [(labels, InstrumentValue::Number(3.0))]);
        let expected = InstrumentValue::Histogram { count: 1, sum: 0.5, buckets: vec![(0.1, 0), (1.0, 1)] };
        assert_eq!(only("watershed_c_seconds").series[0].1, expected);
        assert!(r.values(|_| false).is_empty());
    }
}
